"""ITI-44 and ITI-8 Patient Identity Feed, from the first look at the sender to the acknowledgement.

A registry keeps two things of a feed: which patients there are, and who lives on under whom. A positive answer means
that it is on disk; any other means that nothing was changed. In order:

1. identify      only a machine that may feed: ITI-44 a SOAP fault, ITI-8 a rejection; recorded
2. read          ihe/hl7v3.py or ihe/hl7v2.py: a negative answer that says where
3. domain        identifiers of other domains are passed over; what is left is judged as a patient's number
4. intent        recorded before anything is written; no record, no change
5. store         one transaction (registry/people/book.py)
6. outcome       recorded if it can be; what is committed is never called a failure

Source: ITI TF-2 3.8, 3.44.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from uuid import uuid4

import structlog

from audit.event import Event, Exchange, Kind, Recorder, RecordLost
from ihe import hl7v2, hl7v3
from ihe.errors import FaultCode, SoapFault, Subcode, XdsFailure, clip
from ihe.soap import Call, Reply, write_reply
from policy.facts import Clock, Identify, Peer, Reason, Refusal, Rules, RulesUnknown, Subject
from policy.numbers import PatientId, is_patient
from registry.database.engine import StoreTrouble
from registry.people.book import PatientBook
from registry.people.merges import MergeRefused, Obstacle
from registry.refusals import admitted, answering, machine, record_unanswered

log = structlog.get_logger()

MOST_IDENTIFIERS = 16
"""Identifiers of our domain in one message: no person has as many, and each is a row and a text in the trail."""
MAY_NOT_FEED = "this machine identity may not feed"


@dataclass(frozen=True, slots=True)
class Domain:
    """The patient identifier domain of this affinity domain (XAD-PID): whose numbers documents are registered under."""

    authorities: frozenset[str] = frozenset()
    """OIDs of its assigning authorities; empty: the registers that the policy names."""
    namespaces: Mapping[str, str] = field(default_factory=dict)
    """What HL7 v2 senders call an authority -> its OID, for messages that give no OID."""


@dataclass(frozen=True, slots=True)
class FeedDesk:
    """Everything the feeds need of the world."""

    clock: Clock
    identify: Identify
    rules: Rules
    audit: Recorder
    patients: PatientBook
    domain: Domain = field(default_factory=Domain)


class Wrong(StrEnum):
    """Why a message that can be read is not followed."""

    DATA_TYPE = "data type"
    MISSING = "missing"
    TOO_MANY = "too many"
    UNKNOWN = "unknown"
    DUPLICATE = "duplicate"
    INTERNAL = "internal"


@dataclass(slots=True)
class NotFollowed(Exception):
    """A message that changes nothing and is answered negatively. The sentence repeats nothing of it."""

    wrong: Wrong
    sentence: str
    subsumed: bool = False
    """It is about the identifier that would be merged into another."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What a message of either kind tells."""

    patients: tuple[PatientId, ...]
    subsumed: tuple[PatientId, ...]
    merges: bool


# ITI-44 --------------------------------------------------------------------------------------------------------------


def feed(call: Call, peer: Peer, desk: FeedDesk) -> Reply:
    """The one answer to a message of ITI-44. Raises SoapFault, and nothing else whatever the sender sent."""
    exchange = Exchange.begin(call, peer, desk.clock)
    with answering(call, exchange, desk):
        subject = admitted(_feeder(call, machine(call, desk.identify(call, peer, exchange.at))), exchange, desk)
        return write_reply(call, [_answered(call, exchange, subject, desk)])


def _feeder(call: Call, caller: Subject | Refusal) -> Subject | Refusal:
    if isinstance(caller, Refusal) or caller.may_feed:
        return caller
    reason = Reason.ROLE_NOT_ALLOWED
    fault = SoapFault(FaultCode.SENDER, reason.value, Subcode.FAILED_AUTHENTICATION, relates_to=call.message_id)
    return Refusal(reason, fault, caller, MAY_NOT_FEED)


def _answered(call: Call, exchange: Exchange, subject: Subject, desk: FeedDesk) -> bytes:
    """The acknowledgement. Raises RulesUnknown, RecordLost."""
    own_id = hl7v3.InstanceId(f"2.25.{uuid4().int}", "")
    try:
        notice = hl7v3.read(call.action, call.body)
        if (message := notice.header.message) is not None:
            exchange = replace(exchange, message_id=f"{message.root}^{message.extension}")
        ours, prior = (tuple(map(_patient, ids)) for ids in (notice.patients, notice.subsumed))
        try:
            _follow(_Told(ours, prior, merges=bool(prior)), exchange, subject, desk)
        except NotFollowed as refused:
            raise _as_v3(call, notice, refused) from refused
    except hl7v3.Unacceptable as refused:
        if not isinstance(refused.__cause__, NotFollowed):
            desk.audit.record(_failed(exchange, subject, refused.fault.value, refused.sentence))
        return hl7v3.write_ack(refused.header, refused.answer, exchange.at, own_id, refused)
    return hl7v3.write_ack(notice.header, hl7v3.Answer.ACCEPT, exchange.at, own_id)


def _patient(sent: hl7v3.InstanceId) -> PatientId:
    return PatientId(sent.extension, sent.root)


def _as_v3(call: Call, notice: hl7v3.Notice, refused: NotFollowed) -> hl7v3.Unacceptable:
    event = f"/{call.action.body.rpartition('}')[2]}/controlActProcess/subject/registrationEvent"
    role = "replacementOf/priorRegistration/subject1/priorRegisteredRole" if refused.subsumed else "subject1/patient"
    location = "" if refused.wrong is Wrong.INTERNAL else f"{event}/{role}/id"
    return hl7v3.Unacceptable(notice.header, hl7v3.Answer.ERROR, _V3[refused.wrong], refused.sentence, location)


_V3 = {
    Wrong.DATA_TYPE: hl7v3.Fault.DATA_TYPE,
    Wrong.MISSING: hl7v3.Fault.MISSING,
    Wrong.TOO_MANY: hl7v3.Fault.TOO_MANY,
    Wrong.UNKNOWN: hl7v3.Fault.UNKNOWN_KEY,
    Wrong.DUPLICATE: hl7v3.Fault.DUPLICATE_KEY,
    Wrong.INTERNAL: hl7v3.Fault.INTERNAL,
}
_V2 = {
    Wrong.DATA_TYPE: hl7v2.Fault.DATA_TYPE,
    Wrong.MISSING: hl7v2.Fault.MISSING,
    Wrong.TOO_MANY: hl7v2.Fault.DATA_TYPE,
    Wrong.UNKNOWN: hl7v2.Fault.UNKNOWN_KEY,
    Wrong.DUPLICATE: hl7v2.Fault.DUPLICATE_KEY,
    Wrong.INTERNAL: hl7v2.Fault.INTERNAL,
}
assert set(_V3) == set(_V2) == set(Wrong)


# ITI-8 ---------------------------------------------------------------------------------------------------------------


def take_message(raw: bytes, charset: str, subject: Subject | None, peer: Peer, desk: FeedDesk) -> bytes:
    """The acknowledgement of one HL7 v2 message. `subject` is who sends on this connection; None: nobody who may.

    Raises nothing for any bytes: what this node cannot do now is an error that the sender may repeat the message for.
    """
    at = desk.clock.now()
    exchange = Exchange("ITI-8", at, desk.clock.wall(), desk.clock.simulated, "", peer)
    own_id = uuid4().hex[:20]
    try:
        notice = hl7v2.read(raw, charset)
        exchange = replace(exchange, message_id=clip(notice.header.control_id, 256))
        if subject is None or not subject.may_feed:
            refusal = replace(exchange.event(Kind.REFUSED, subject), reason=Reason.ROLE_NOT_ALLOWED.value)
            desk.audit.record(replace(refusal, note=MAY_NOT_FEED))
            return hl7v2.write_ack(notice.header, hl7v2.Answer.REJECT, at, own_id)
        try:
            if notice.header.event in hl7v2.IGNORED:
                desk.audit.record(exchange.fed(subject, (), note=f"{notice.header.event} is ignored"))
            else:
                _follow(_told(notice, desk.domain), exchange, subject, desk)
        except NotFollowed as refused:
            where = "MRG^1^1" if refused.subsumed else "PID^1^3"
            location = "" if refused.wrong is Wrong.INTERNAL else where
            raise hl7v2.Unacceptable(notice.header, hl7v2.Answer.ERROR, _V2[refused.wrong], location) from refused
        return hl7v2.write_ack(notice.header, hl7v2.Answer.ACCEPT, at, own_id)
    except hl7v2.Unacceptable as wrong:
        if not isinstance(wrong.__cause__, NotFollowed):
            record_unanswered(desk, exchange, str(wrong), subject)
        return hl7v2.write_ack(wrong.header, wrong.answer, at, own_id, wrong)
    except (RulesUnknown, RecordLost) as trouble:
        log.error("feed not answered", correlation=peer.correlation, reason=type(trouble).__name__)
        broken = hl7v2.Unacceptable(notice.header, hl7v2.Answer.ERROR, hl7v2.Fault.INTERNAL, "")
        return hl7v2.write_ack(notice.header, broken.answer, at, own_id, broken)


def _told(notice: hl7v2.Notice, domain: Domain) -> _Told:
    def named(sent: Iterable[hl7v2.Identifier]) -> tuple[PatientId, ...]:
        return tuple(
            PatientId(each.number, each.authority or domain.namespaces.get(each.namespace, "")) for each in sent
        )

    return _Told(named(notice.patients), named(notice.subsumed), notice.header.event in hl7v2.MERGES)


# Either --------------------------------------------------------------------------------------------------------------


def _follow(told: _Told, exchange: Exchange, subject: Subject, desk: FeedDesk) -> None:
    """Does what a message tells, and records it. Raises NotFollowed, recorded too; RulesUnknown, RecordLost."""
    policy = desk.rules()
    exchange = exchange.under(policy.edition)
    authorities = desk.domain.authorities or policy.identifiers.patient
    ours = _of_domain(told.patients, authorities)
    prior = _of_domain(told.subsumed, authorities)
    try:
        for subsumed, ids in ((False, ours), (True, prior)):
            if not all(is_patient(each, authorities, policy.numbers) for each in ids):
                raise NotFollowed(Wrong.DATA_TYPE, "the number is none that its authority gives out", subsumed)
            if len(ids) > (1 if told.merges else MOST_IDENTIFIERS):
                raise NotFollowed(Wrong.TOO_MANY, "more than one identifier of this domain", subsumed)
            if told.merges and not ids:
                raise NotFollowed(Wrong.UNKNOWN, "no identifier of this domain", subsumed)
        if told.merges:
            _merge(ours[0], prior[0], exchange, subject, desk)
        else:
            _add(ours, exchange, subject, desk)
    except NotFollowed as refused:
        log.warning("feed not followed", correlation=exchange.peer.correlation, reason=refused.sentence)
        failed = _failed(exchange, subject, refused.wrong.value, refused.sentence)
        desk.audit.record(replace(failed, patient_id=ours[0] if ours else "", patients=(*ours[1:], *prior)))
        raise


def _of_domain(sent: Iterable[PatientId], authorities: frozenset[str]) -> tuple[str, ...]:
    """The identifiers of our own domain as CX, each once."""
    return tuple(dict.fromkeys(each.cx for each in sent if each.authority in authorities))


def _add(ours: tuple[str, ...], exchange: Exchange, subject: Subject, desk: FeedDesk) -> None:
    if not ours:
        desk.audit.record(exchange.fed(subject, (), note="no identifier of this domain"))
        return
    desk.audit.record(exchange.feeding(subject, ours))
    try:
        new = desk.patients.add(ours)
    except XdsFailure:
        raise NotFollowed(Wrong.DUPLICATE, "the identifier cannot be kept beside another") from None
    except StoreTrouble as trouble:
        raise NotFollowed(Wrong.INTERNAL, f"the registry could not store it ({trouble.code.value})") from trouble
    _record_outcome(exchange.fed(subject, ours, note="" if new else "known already"), desk)


def _merge(survivor: str, subsumed: str, exchange: Exchange, subject: Subject, desk: FeedDesk) -> None:
    desk.audit.record(exchange.feeding(subject, (survivor,), subsumed))
    try:
        desk.patients.merge(survivor, subsumed, subject.machine, exchange.at)
    except MergeRefused as refused:
        raise NotFollowed(*_OBSTACLES[refused.obstacle]) from refused
    except StoreTrouble as trouble:
        raise NotFollowed(Wrong.INTERNAL, f"the registry could not store it ({trouble.code.value})") from trouble
    _record_outcome(exchange.fed(subject, (survivor,), subsumed), desk)


_OBSTACLES = {
    Obstacle.SAME: (Wrong.DUPLICATE, Obstacle.SAME.value, True),
    Obstacle.SURVIVOR_UNKNOWN: (Wrong.UNKNOWN, Obstacle.SURVIVOR_UNKNOWN.value, False),
    Obstacle.SUBSUMED_UNKNOWN: (Wrong.UNKNOWN, Obstacle.SUBSUMED_UNKNOWN.value, True),
    Obstacle.SURVIVOR_SUBSUMED: (Wrong.DUPLICATE, Obstacle.SURVIVOR_SUBSUMED.value, False),
    Obstacle.ALREADY_SUBSUMED: (Wrong.DUPLICATE, Obstacle.ALREADY_SUBSUMED.value, True),
}


def _record_outcome(event: Event, desk: FeedDesk) -> None:
    try:
        desk.audit.record(event)
    except RecordLost:
        # The change is committed and its intent is on record; recovery writes the outcome from the database.
        log.error("outcome of a feed not recorded", correlation=event.correlation)


def _failed(exchange: Exchange, subject: Subject, code: str, sentence: str) -> Event:
    return replace(exchange.event(Kind.FAILED, subject), errors=(code,), note=sentence)
