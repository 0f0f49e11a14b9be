"""ITI-42 Register Document Set-b, from the first look at the sender to the last byte of the answer.

A Success means that everything of the submission is on disk; any other answer means that nothing of it is. What happens
to a submission, and where it can be refused, in order:

1. identify      rows A1-A9, and only machines register: a SOAP fault, recorded
2. schema        an ebRIM message that is none: Failure, one error per finding
3. rules         everything that the message alone can tell, all of it at once
4. ownership     a source registers for its own repositories only
5. intent        recorded before anything is written; no record, no registration
6. store         claims, references and rows in one transaction, or the errors that only the registry can tell
7. outcome       recorded if it can be; a committed submission is never called a failure

Sources: ITI TF-2 3.42, TF-3 4.2; docs/policy-guide.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import structlog

from audit.event import Exchange, Object, RecordLost
from ihe import ebrim, queries, xml
from ihe.errors import XdsError, XdsFailure
from ihe.metadata import Submission
from ihe.names import Code, ResponseStatus
from ihe.soap import Call, Reply, write_reply
from policy.facts import CallerUnknown, Decision, Peer, Reason, Refusal, RulesUnknown, Subject
from registry import rules
from registry.desk import Desk
from registry.engine import StoreTrouble
from registry.refusals import machine, receiver, record_unanswered
from registry.rules_table import OWN_REPOSITORY, Violation
from registry.tables import URN_UUID

log = structlog.get_logger()


def register(call: Call, peer: Peer, desk: Desk) -> Reply:
    """The one answer to a submission. Raises SoapFault, and nothing else whatever the sender sent."""
    exchange = Exchange.begin(call, peer, desk.clock)
    try:
        subject = machine(call, desk.identify(call, peer, exchange.at))
        if isinstance(subject, Refusal):
            desk.audit.record(exchange.refused(subject))
            raise subject.fault
        try:
            submission = _read(call, subject, desk)
            _record_intent(exchange, subject, submission, desk)
            receipt = desk.store.register(submission, subject.machine, exchange.at, subject.may_register)
        except XdsFailure as failure:
            return _failed(call, exchange, subject, failure.errors, desk)
        except StoreTrouble as trouble:
            errors = (XdsError(trouble.code, "the registry could not store the submission; send it again"),)
            return _failed(call, exchange, subject, errors, desk)
        _record_outcome(exchange, subject, submission, receipt.resent, desk)
        return write_reply(call, queries.write_registry_response(ResponseStatus.SUCCESS, ()))
    except RulesUnknown:
        record_unanswered(desk, exchange, "RULES_UNKNOWN")
        raise receiver(call, "No policy is in force") from None
    except CallerUnknown as unknown:
        record_unanswered(desk, exchange, str(unknown))
        raise receiver(call, f"The sender could not be identified; quote {peer.correlation}") from unknown
    except RecordLost as lost:
        raise receiver(call, f"The exchange could not be recorded; quote {peer.correlation}") from lost


def _read(call: Call, subject: Subject, desk: Desk) -> Submission:
    """The submission as typed values. Raises XdsFailure with every problem of the first stage that finds any."""
    body = ebrim.repair(call.body)
    if findings := xml.schema("lcm").findings(body):
        errors = [
            XdsError(Code.REGISTRY_METADATA_ERROR, f"{each.path}: {each.message}", each.path) for each in findings
        ]
        raise XdsFailure(tuple(errors))
    submittal = ebrim.read_submission(body)
    if broken := rules.check(submittal, desk.value_limit):
        raise rules.failure(broken)
    submission = ebrim.metadata(submittal, lambda: f"{URN_UUID}{uuid4()}")
    if foreign := tuple(_foreign(submission, subject)):
        raise rules.failure(foreign)
    return submission


def _foreign(submission: Submission, subject: Subject) -> Iterator[Violation]:
    for entry in submission.entries:
        repository = entry.repository_unique_id
        if repository not in subject.may_register:
            place = f"DocumentEntry {entry.unique_id}"
            yield Violation(OWN_REPOSITORY, place, "a repositoryUniqueId this sender may register for", repository)


def _record_intent(exchange: Exchange, subject: Subject, submission: Submission, desk: Desk) -> None:
    """Durable before the commit: after a crash in between, the trail can be completed from the database."""
    sent = submission.submission_set
    permit = Decision(permit=True, reason=Reason.OK)
    objects = [
        Object(permit, entry.entry_uuid, entry.repository_unique_id, entry.unique_id) for entry in submission.entries
    ]
    desk.audit.record(exchange.registering(subject, sent.patient_id, sent.unique_id, objects))


def _record_outcome(exchange: Exchange, subject: Subject, submission: Submission, resent: bool, desk: Desk) -> None:
    sent = submission.submission_set
    try:
        desk.audit.record(exchange.registered(subject, sent.patient_id, sent.unique_id, resent))
    except RecordLost:
        # The submission is committed and its intent is on record; recovery writes the outcome from the database.
        log.error("outcome of a registration not recorded", correlation=exchange.peer.correlation)


def _failed(call: Call, exchange: Exchange, subject: Subject, errors: tuple[XdsError, ...], desk: Desk) -> Reply:
    desk.audit.record(exchange.failed(subject, errors))
    return write_reply(call, queries.write_registry_response(ResponseStatus.FAILURE, errors))
