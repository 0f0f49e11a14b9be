"""ITI-62 Remove Metadata, from the first look at the sender to the last byte of the answer.

A Success means that everything the message names is gone; any other answer means that all of it is there as before.
What happens to a removal, and where it can be refused, in order:

1. identify      rows A1-A9; only machines that may remove from some repository: a SOAP fault, recorded
2. read          a message that names no objects by their id: Failure
3. intent        recorded before anything is removed, with every object the sender may remove; no record, no removal
4. store         all of it in one transaction, or what stands against it
5. outcome       recorded if it can be; a committed removal is never called a failure

Source: IHE ITI supplement Remove Metadata and Documents 3.62.
"""

from __future__ import annotations

import structlog

from audit.event import Exchange, Object, RecordLost
from ihe import queries, removal
from ihe.errors import XdsError, XdsFailure
from ihe.names import Code, ResponseStatus
from ihe.soap import Call, Reply, write_reply
from policy.facts import Decision, Peer, Reason, Subject
from registry.database.engine import StoreTrouble
from registry.desk import Desk
from registry.refusals import administrator, admitted, answering
from registry.update import failed

log = structlog.get_logger()

MOST_REMOVED = 5_000
"""Objects in one message: writers wait while they go, a second or two for as many as this (measured on SQLite)."""


def remove(call: Call, peer: Peer, desk: Desk) -> Reply:
    """The one answer to a removal. Raises SoapFault, and nothing else whatever the sender sent."""
    exchange = Exchange.begin(call, peer, desk.clock)
    with answering(call, exchange, desk):
        subject = admitted(administrator(call, desk.identify(call, peer, exchange.at)), exchange, desk)
        return _answered(call, exchange, subject, desk)


def _answered(call: Call, exchange: Exchange, subject: Subject, desk: Desk) -> Reply:
    patients: tuple[str, ...] = ()
    try:
        ids = removal.read(call.body)
        if len(ids) > MOST_REMOVED:
            raise XdsFailure.of(Code.REGISTRY_ERROR, f"more than {MOST_REMOVED} objects in one message")
        patients = _record_intent(exchange, subject, ids, desk)
        desk.store.remove(ids, subject.machine, exchange.at, subject.may_remove)
    except XdsFailure as failure:
        return failed(call, exchange, subject, patients, failure.errors, desk)
    except StoreTrouble as trouble:
        errors = (XdsError(trouble.code, "the registry could not remove anything; send it again"),)
        return failed(call, exchange, subject, patients, errors, desk)
    try:
        desk.audit.record(exchange.removed(subject, patients))
    except RecordLost:
        # The removal is committed and its intent is on record; recovery writes the outcome from the database.
        log.error("outcome of a removal not recorded", correlation=exchange.peer.correlation)
    return write_reply(call, queries.write_registry_response(ResponseStatus.SUCCESS, ()))


def _record_intent(exchange: Exchange, subject: Subject, ids: tuple[str, ...], desk: Desk) -> tuple[str, ...]:
    """Durable before the commit; afterwards nothing but the trail knows whose the objects were. Returns the patients.

    Ids that are none of the sender's business are left out: they fail the removal, and the errors name them.
    """
    named = {each.entry_uuid: each for each in desk.store.touched(ids, subject.machine, subject.may_remove)}
    permit = Decision(permit=True, reason=Reason.OK)
    objects = [
        Object(permit, each.entry_uuid, each.repository_unique_id, each.unique_id)
        for each in (named[one] for one in ids if one in named)
    ]
    patients = tuple(dict.fromkeys(named[one].patient_id for one in ids if one in named and named[one].patient_id))
    desk.audit.record(exchange.removing(subject, patients, objects))
    return patients
