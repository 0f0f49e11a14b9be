"""ITI-57 Update Document Set and ITI-92 Restricted Update Document Set, from first look at the sender to the answer.

A Success means that every operation of the message is carried out and on disk; any other answer means that none is.
What happens to an update, and where it can be refused, in order:

1. identify      rows A1-A9; only machines that may update some repository: a SOAP fault, recorded
2. schema        an ebRIM message that is none: Failure, one error per finding
3. rules         operations, and new versions by the rules of a submission, all of it at once
4. intent        recorded before anything is written; no record, no update
5. store         everything in one transaction, or the errors that only the registry can tell
6. outcome       recorded if it can be; a committed update is never called a failure, but may be warned of

To the sender nothing exists but what lies in the repositories it may update, and what it registered itself.
Sources: IHE ITI supplements XDS Metadata Update 3.57 and RMU 3.92.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import structlog

from audit.event import Exchange, Object, RecordLost
from ihe import queries, updates
from ihe.errors import XdsError, XdsFailure
from ihe.names import ON_DEMAND_ENTRY, STABLE_ENTRY, Action, ResponseStatus
from ihe.soap import Call, Reply, write_reply
from ihe.submittal import Kind, Submittal
from ihe.updates import Operations, Update
from policy.facts import Decision, Peer, Reason, Subject
from registry.changes.reach import Touched
from registry.database.engine import StoreTrouble
from registry.database.tables import URN_UUID
from registry.desk import Desk
from registry.refusals import administrator, admitted, answering
from registry.register import count_refused, submittal_of
from registry.rules.attributes import attributes
from registry.rules.extra_metadata import without_extra_metadata
from registry.rules.relations import relations
from registry.rules.strictness import Demands, Verdict
from registry.rules.structure import structure
from registry.rules.update import update_operations

log = structlog.get_logger()

ENTRY_TYPES = frozenset({STABLE_ENTRY, ON_DEMAND_ENTRY})
"""objectTypes of which there may be new versions; whether it is the old one's is the registry's to tell."""


def update(call: Call, peer: Peer, desk: Desk) -> Reply:
    """The one answer to an update, restricted or not. Raises SoapFault, and nothing else whatever the sender sent."""
    exchange = Exchange.begin(call, peer, desk.clock)
    with answering(call, exchange, desk):
        subject = admitted(administrator(call, desk.identify(call, peer, exchange.at)), exchange, desk)
        return _answered(call, exchange, subject, desk)


def _answered(call: Call, exchange: Exchange, subject: Subject, desk: Desk) -> Reply:
    restricted = call.action is Action.RESTRICTED_UPDATE
    verdict = Verdict(desk.strictness, subject.machine, exchange.transaction, exchange.peer.correlation)
    patients: tuple[str, ...] = ()
    try:
        asked = _read(call, verdict, restricted, desk)
        patients = _record_intent(exchange, subject, asked, desk)
        sender, allowed = subject.machine, subject.may_update
        receipt = desk.store.update(asked, sender, exchange.at, allowed, verdict, restricted)
    except XdsFailure as failure:
        count_refused(desk, exchange, verdict, failure)
        return failed(call, exchange, subject, patients, failure.errors, desk)
    except StoreTrouble as trouble:
        errors = (XdsError(trouble.code, "the registry could not store the update; send it again"),)
        return failed(call, exchange, subject, patients, errors, desk)
    try:
        sent = asked.submission.submission_set.unique_id
        desk.audit.record(exchange.updated(subject, patients, sent, receipt.resent))
    except RecordLost:
        # The update is committed and its intent is on record; recovery writes the outcome from the database.
        log.error("outcome of an update not recorded", correlation=exchange.peer.correlation)
    return write_reply(call, queries.write_registry_response(ResponseStatus.SUCCESS, receipt.warnings))


def _read(call: Call, verdict: Verdict, restricted: bool, desk: Desk) -> Update:
    """The update as typed values. Raises XdsFailure with every problem of the first stage that finds any."""
    submittal = submittal_of(call)
    demands = Demands(ENTRY_TYPES, desk.value_limit, desk.strictness.codes)
    asked = judge_update(submittal, restricted, desk.home, demands, verdict)
    if verdict.rejects:
        raise verdict.failure
    if desk.strictness.extra_metadata == "warn":
        submittal = without_extra_metadata(submittal, updates.SLOTS)
        asked = updates.operations(submittal)
    return updates.typed(submittal, asked, lambda: f"{URN_UUID}{uuid4()}")


def judge_update(submittal: Submittal, restricted: bool, home: str, demands: Demands, verdict: Verdict) -> Operations:
    """Adds every rule an update breaks that its message can tell; where the structure rejects it, only that."""
    verdict.add(structure(submittal, demands.value_limit))
    asked = updates.operations(submittal)
    if not verdict.rejects:
        verdict.add(update_operations(submittal, asked, restricted, home))
        judge_content(submittal, asked, demands, verdict)
    return asked


def judge_content(submittal: Submittal, asked: Operations, demands: Demands, verdict: Verdict) -> None:
    """Adds what the rules of a submission find in the new versions, and in what is said of submitted associations."""
    ordinary = updates.plain(submittal, asked)
    joined = {each.found.path for each in asked.submitted if each.found is not None}
    associations = tuple(each for each in submittal.of(Kind.ASSOCIATION) if each.path in joined)
    verdict.add(attributes(ordinary, demands))
    verdict.add(relations(ordinary))
    verdict.add(attributes(Submittal(associations, (), submittal.body), demands))


def _record_intent(exchange: Exchange, subject: Subject, asked: Update, desk: Desk) -> tuple[str, ...]:
    """Durable before the commit, and about every patient it concerns: who a document was filed for by mistake, too.

    Returns them, the update's own first.
    """
    sent = asked.submission.submission_set
    named = [each.lid for each in asked.versions.values()] + [each.target for each in asked.statuses]
    named += [end for each in asked.submitted for end in (each.source, each.target)]
    before = desk.store.touched(named, subject.machine, subject.may_update)
    permit = Decision(permit=True, reason=Reason.OK)
    objects = [
        Object(permit, each.entry_uuid, each.repository_unique_id, each.unique_id) for each in asked.submission.entries
    ]
    objects += [Object(permit, each.entry_uuid) for each in asked.submission.folders]
    objects += [_object(permit, each) for each in before]
    patients = tuple(dict.fromkeys([sent.patient_id, *(each.patient_id for each in before if each.patient_id)]))
    desk.audit.record(exchange.updating(subject, patients, sent.unique_id, objects))
    return patients


def _object(decision: Decision, each: Touched) -> Object:
    return Object(decision, each.entry_uuid, each.repository_unique_id, each.unique_id)


def failed(
    call: Call,
    exchange: Exchange,
    subject: Subject,
    patients: tuple[str, ...],
    errors: tuple[XdsError, ...],
    desk: Desk,
) -> Reply:
    """The answer to a change that was not made, on record for the patients its intent was about (if it came so far)."""
    event = exchange.failed(subject, errors, patient_id=next(iter(patients), ""))
    desk.audit.record(replace(event, patients=patients[1:]))
    return write_reply(call, queries.write_registry_response(ResponseStatus.FAILURE, errors))
