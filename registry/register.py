"""ITI-42 Register Document Set-b and ITI-61 Register On-Demand Document Entry, from the first look at the sender to the
last byte of the answer. They differ in the entries they take, and in nothing else.

A Success means that everything of the submission is on disk; any other answer means that nothing of it is. What happens
to a submission, and where it can be refused, in order:

1. identify      rows A1-A9, and only machines register: a SOAP fault, recorded
2. schema        an ebRIM message that is none: Failure, one error per finding
3. rules         everything that the message alone can tell, all of it at once, as strictly as this sender is judged
4. ownership     a source registers for its own repositories only
5. intent        recorded before anything is written; no record, no registration
6. store         claims, references and rows in one transaction, or the errors that only the registry can tell
7. outcome       recorded if it can be; a committed submission is never called a failure, but may be warned of

Whatever breaks a rule is counted, along with the submission or, where that is refused, by itself.
Sources: ITI TF-2 3.42, 3.61, TF-3 4.2; docs/policy-guide.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import uuid4

import structlog

from audit.event import Exchange, Object, RecordLost
from ihe import ebrim, queries, xml
from ihe.errors import XdsError, XdsFailure
from ihe.metadata import Submission
from ihe.names import ON_DEMAND_ENTRY, STABLE_ENTRY, Action, Code, ResponseStatus
from ihe.soap import Call, Reply, write_reply
from ihe.submittal import Submittal
from policy.facts import Decision, Peer, Reason, Subject
from registry.database.engine import StoreTrouble
from registry.database.tables import URN_UUID
from registry.desk import Desk
from registry.refusals import admitted, answering, machine
from registry.rules import judge as rules
from registry.rules.extra_metadata import without_extra_metadata
from registry.rules.strictness import Demands, Verdict
from registry.rules.table import OWN_REPOSITORY, Violation

log = structlog.get_logger()

ENTRY_TYPES = {
    Action.REGISTER: frozenset({STABLE_ENTRY}),
    Action.REGISTER_ON_DEMAND: frozenset({ON_DEMAND_ENTRY}),
}
"""objectTypes of entries that each transaction takes."""


def register(call: Call, peer: Peer, desk: Desk) -> Reply:
    """The one answer to a submission. Raises SoapFault, and nothing else whatever the sender sent."""
    exchange = Exchange.begin(call, peer, desk.clock)
    with answering(call, exchange, desk):
        subject = admitted(machine(call, desk.identify(call, peer, exchange.at)), exchange, desk)
        verdict = Verdict(desk.strictness, subject.machine, exchange.transaction, peer.correlation)
        try:
            submission = _read(call, subject, verdict, desk)
            _record_intent(exchange, subject, submission, desk)
            receipt = desk.store.register(submission, subject.machine, exchange.at, subject.may_register, verdict)
        except XdsFailure as failure:
            count_refused(desk, exchange, verdict, failure)
            return _failed(call, exchange, subject, failure.errors, desk)
        except StoreTrouble as trouble:
            errors = (XdsError(trouble.code, "the registry could not store the submission; send it again"),)
            return _failed(call, exchange, subject, errors, desk)
        _record_outcome(exchange, subject, submission, receipt.resent, desk)
        return write_reply(call, queries.write_registry_response(ResponseStatus.SUCCESS, receipt.warnings))


def submittal_of(call: Call) -> Submittal:
    """The message's objects as they were sent. Raises XdsFailure with one error per finding of the schema."""
    body = ebrim.repair(call.body)
    if findings := xml.schema("lcm").findings(body):
        errors = [
            XdsError(Code.REGISTRY_METADATA_ERROR, f"{each.path}: {each.message}", each.path) for each in findings
        ]
        raise XdsFailure(tuple(errors))
    return ebrim.read_submission(body)


def _read(call: Call, subject: Subject, verdict: Verdict, desk: Desk) -> Submission:
    """The submission as typed values. Raises XdsFailure with every problem of the first stage that finds any."""
    submittal = submittal_of(call)
    rules.judge(submittal, Demands(ENTRY_TYPES[call.action], desk.value_limit, desk.strictness.codes), verdict)
    if verdict.rejects:
        raise verdict.failure
    if desk.strictness.extra_metadata == "warn":
        submittal = without_extra_metadata(submittal)
    submission = ebrim.metadata(submittal, lambda: f"{URN_UUID}{uuid4()}")
    verdict.add(foreign(submission, subject.may_register))
    if verdict.rejects:
        raise verdict.failure
    return submission


def foreign(submission: Submission, may_register: Collection[str]) -> Iterator[Violation]:
    """Entries of repositories that the sender may not register for."""
    for entry in submission.entries:
        repository = entry.repository_unique_id
        if repository not in may_register:
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


def count_refused(desk: Desk, exchange: Exchange, verdict: Verdict, failure: XdsFailure) -> None:
    """Counts what a refused message broke. A count that is lost changes nothing about the answer."""
    verdict.hear(failure.errors)
    try:
        if verdict.broken:
            desk.store.count(verdict, exchange.at)
    except StoreTrouble as trouble:
        log.warning(
            "a refused message was not counted", correlation=exchange.peer.correlation, reason=trouble.code.value
        )


def _failed(call: Call, exchange: Exchange, subject: Subject, errors: tuple[XdsError, ...], desk: Desk) -> Reply:
    desk.audit.record(exchange.failed(subject, errors))
    return write_reply(call, queries.write_registry_response(ResponseStatus.FAILURE, errors))
