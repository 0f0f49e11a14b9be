"""ITI-18 Registry Stored Query, from the first look at the caller to the last byte of the answer.

Nothing is returned that policy.shield has not passed, and nothing is returned before it is recorded. What happens to a
request, and where it can be refused, in order:

1. identify          rows A1-A9: a SOAP fault, recorded
2. read, understand  a malformed query or a misused parameter: Failure with every error
3. situation         row A10, then A10b: without identities and blocks nobody is answered
4. refusal           rows A11-A12: Failure with the reason code
5. outlook, find     a patient closed to this caller costs the same statements and finds nothing
6. shield            rows B-E: what is hidden is not there; limits count what is left
7. record            no record, no answer
8. confirm           a block or policy that changed meanwhile: back to 3, three times at most

Sources: ITI TF-2 3.18, TF-3 4.2.4; the decision table (docs/policy-guide.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from audit.event import Event, Exchange, Object, RecordLost
from ihe import ebrim, queries, xml
from ihe.errors import XdsError, XdsFailure, clip
from ihe.names import Code, ResponseStatus
from ihe.queries import AdhocQuery, Returns
from ihe.soap import Call, Reply, write_reply
from policy.agreements import Policy
from policy.decide import Situation, malformed, outlook, refusal
from policy.facts import BlocksUnavailable, CallerUnknown, Decision, Peer, Reason, Refusal, RulesUnknown, Subject
from policy.shield import Family, Shown, shield
from registry.desk import Desk
from registry.engine import StoreTrouble
from registry.refusals import receiver, record_unanswered
from registry.store import Found
from registry.stored_queries import FindDocuments, GetDocuments, StoredQuery, understand

log = structlog.get_logger()

DECISIONS = 3
"""Times a request is decided because rules changed under it; a block that is set takes milliseconds, so two suffice."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was understood: who asks what, in which exchange."""

    exchange: Exchange
    subject: Subject
    asked: AdhocQuery
    query: StoredQuery
    text: str
    """The AdhocQueryRequest, for the trail."""

    @property
    def patient_id(self) -> str | None:
        """The patient the query names; None where it names none."""
        return self.query.patient_id if isinstance(self.query, FindDocuments) else None

    @property
    def leaf(self) -> bool:
        """Whether whole entries are asked for, not references."""
        return self.asked.returns is Returns.LEAF


@dataclass(frozen=True, slots=True)
class Basis:
    """What a decision stands on: the policy, and the number of the last change to any block."""

    policy: Policy
    sequence: int

    def holds(self, desk: Desk) -> bool:
        """Whether nothing has changed since; not, where that cannot be told. Raises RulesUnknown."""
        try:
            return desk.rules() is self.policy and desk.blocks.sequence() == self.sequence
        except BlocksUnavailable:
            return False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is decided and not yet recorded."""

    event: Event
    errors: tuple[XdsError, ...] = ()
    objects: tuple[bytes, ...] = ()

    def reply(self, call: Call) -> Reply:
        """The answer as the caller's SOAP stack reads it."""
        status = ResponseStatus.FAILURE if self.errors else ResponseStatus.SUCCESS
        return write_reply(call, queries.write_response(status, self.errors, self.objects))


def answer_query(call: Call, peer: Peer, desk: Desk) -> Reply:
    """The one answer to a stored query. Raises SoapFault, and nothing else whatever the caller sent."""
    exchange = Exchange.begin(call, peer, desk.clock)
    try:
        subject = desk.identify(call, peer, exchange.at)
        if isinstance(subject, Refusal):
            desk.audit.record(exchange.refused(subject))
            raise subject.fault
        try:
            asked = queries.read(call.body)
            query = understand(asked, desk.home)
        except XdsFailure as failure:
            answer = Answer(exchange.failed(subject, failure.errors, patient_id=subject.patient_id), failure.errors)
            desk.audit.record(answer.event)
            return answer.reply(call)
        question = Question(exchange, subject, asked, query, xml.write(call.body).decode())
        for _ in range(DECISIONS):
            answer, basis = decided(question, desk)
            desk.audit.record(answer.event)
            if basis is None or basis.holds(desk):
                return answer.reply(call)
        raise receiver(call, f"The rules kept changing; ask again, or quote {peer.correlation}")
    except RulesUnknown:
        record_unanswered(desk, exchange, "RULES_UNKNOWN")
        raise receiver(call, "No policy is in force") from None
    except CallerUnknown as unknown:
        record_unanswered(desk, exchange, str(unknown))
        raise receiver(call, f"The caller could not be identified; quote {peer.correlation}") from unknown
    except RecordLost as lost:
        raise receiver(call, f"The exchange could not be recorded; quote {peer.correlation}") from lost


def decided(question: Question, desk: Desk) -> tuple[Answer, Basis | None]:
    """The answer as rules and blocks are now, and what it stands on; None where it would be the same on any.

    Raises RulesUnknown.
    """
    subject, policy = question.subject, desk.rules()
    question = replace(question, exchange=question.exchange.under(policy.edition))
    if (reason := malformed(subject, policy, question.patient_id)) is not None:
        return _refused(question, reason), None
    try:
        # The number first: a block that is set while the blocks are read must count as a change.
        basis = Basis(policy, desk.blocks.sequence())
        people = _people(question, desk)
        situation = _brought_up(Situation(subject, policy, desk.blocks.of(people), people, question.exchange.at), desk)
        if (reason := refusal(situation, question.patient_id)) is not None:
            return _refused(question, reason), basis
        return _answered(question, situation, desk), basis
    except BlocksUnavailable:
        return _refused(question, Reason.BLOCKS_UNAVAILABLE), None
    except XdsFailure as failure:
        return _failed(question, failure.errors), basis
    except StoreTrouble as trouble:
        return _failed(question, (XdsError(trouble.code, "the registry cannot be read now"),)), None


def _brought_up(situation: Situation, desk: Desk) -> Situation:
    """The situation as it is, or at this later instant if a block began after the request did.

    Its acknowledgement may be older than this decision; at the request's own instant it would not be in force yet.
    """
    now = desk.clock.now()
    began = (situation.now < block.valid_from <= now for held in situation.blocks.values() for block in held)
    return replace(situation, now=now) if any(began) else situation


def _people(question: Question, desk: Desk) -> frozenset[str]:
    """Every identifier of the one patient the request is about: the token's, or what a machine asks for."""
    patient_id = question.subject.patient_id or question.patient_id
    return desk.store.identity_set(patient_id) if patient_id else frozenset()


def _answered(question: Question, situation: Situation, desk: Desk) -> Answer:
    """Finds, shields, counts and writes. Raises XdsFailure, StoreTrouble, BlocksUnavailable."""
    query, subject = question.query, question.subject
    shares_deprecated = situation.policy.shares_deprecated
    patient_id = subject.patient_id or question.patient_id
    closed = outlook(situation, patient_id).closed if patient_id else None
    decoys: tuple[Found, ...] = ()
    if isinstance(query, GetDocuments):
        hits = desk.store.get_documents(query, question.leaf, shares_deprecated)
        found, decoys = hits.found, hits.decoys
    else:
        _must_be_known(query, situation, desk)
        people = situation.identities if closed is None else frozenset[str]()
        found = desk.store.find_documents(query, people, question.leaf, shares_deprecated)
    situation = _brought_up(_with_blocks_of(found, situation, desk), desk)
    # Decoys are judged like what they stand for, so that an unknown id takes as long as a hidden one (B6).
    shown = shield(situation, [Family(each.family, (each.facts,), each.replaced_by) for each in (*found, *decoys)])
    seen = set(shown.visible)
    visible = [each for each in found if each.facts.entry_uuid in seen]
    objects = _objects(query, found, shown, closed)
    # An alert of these goes out from the trail: a line written here would tell by its time that the document exists.
    if errors := tuple(_limits(question, visible, desk)):
        refused = _failed(question, errors)
        return replace(refused, event=replace(refused.event, objects=objects, note="; ".join(shown.notes)))
    write = desk.store.render if question.leaf else _reference
    written = tuple(write(each, desk.home) for each in visible)
    # A machine that asks by id names no patient: the trail must know all the same whose documents it was shown.
    first, *others = dict.fromkeys([*([patient_id] if patient_id else ()), *_patients(visible)]) or ("",)
    event = question.exchange.queried(subject, first, question.asked.id, question.text, objects)
    event = replace(event, patients=tuple(others), note="; ".join(shown.notes))
    return Answer(event, (), written)


def _patients(visible: Sequence[Found]) -> list[str]:
    return [each.facts.patient_id for each in visible]


def _must_be_known(query: FindDocuments, situation: Situation, desk: Desk) -> None:
    """XDSUnknownPatientId, on nodes whose every agreement is with machines: to anybody else it would tell too much."""
    told = desk.unknown_patient_is_error and situation.policy.machines_only and situation.is_machine
    if told and not desk.store.is_known(query.patient_id):
        raise XdsFailure.of(Code.UNKNOWN_PATIENT_ID, query.patient_id)


def _with_blocks_of(found: Sequence[Found], situation: Situation, desk: Desk) -> Situation:
    """The situation with the blocks of every patient found; to a person, row B2 hides all but one anyway."""
    if not situation.is_machine:
        return situation
    families = [family for each in found for family in (each.family, *each.replaced_by)]
    others = {entry.patient_id for family in families for entry in family} - set(situation.blocks)
    return replace(situation, blocks={**situation.blocks, **desk.blocks.of(others)}) if others else situation


def _limits(question: Question, visible: Sequence[Found], desk: Desk) -> Iterable[XdsError]:
    """Limits of an answer, counted on what the caller may see (ITI TF-2 3.18.4.1.2.5, 3.18.4.1.2.6)."""
    if question.leaf and isinstance(question.query, GetDocuments) and len(set(_patients(visible))) > 1:
        yield XdsError(Code.RESULT_NOT_SINGLE_PATIENT, "the ids are of more than one patient")
    if question.leaf and len(visible) > desk.max_results:
        yield XdsError(Code.TOO_MANY_RESULTS, f"more than {desk.max_results} entries; ask for ObjectRef or narrow it")


def _objects(query: StoredQuery, found: Sequence[Found], shown: Shown, closed: Decision | None) -> tuple[Object, ...]:
    """Every decision of the exchange: patients of whom nothing was looked at, entries, and ids that name none."""
    patients = {closed, *(decision for patient_id, decision in shown.patients.items() if patient_id)} - {None}
    objects = [Object(decision) for decision in patients if decision is not None]
    for each in shown.judgements:
        entry = each.entry
        if entry.patient_id:  # a decoy has none; what it stands for follows
            objects.append(Object(each.decision, entry.entry_uuid, entry.repository_unique_id, entry.unique_id))
    if isinstance(query, GetDocuments):
        unknown = Decision(permit=False, reason=Reason.UNKNOWN_DOC)
        known = {each.facts.entry_uuid for each in found} | {each.facts.unique_id for each in found}
        objects += [Object(unknown, entry_uuid=clip(each, 256)) for each in query.entry_uuids if each not in known]
        objects += [Object(unknown, unique_id=clip(each, 256)) for each in query.unique_ids if each not in known]
    return tuple(objects)


def _reference(found: Found, home: str) -> bytes:
    return ebrim.object_ref(found.facts.entry_uuid, home)


def _refused(question: Question, reason: Reason) -> Answer:
    """Rows A10-A12: the caller's own fault, told by its reason code (and an alarm, for somebody else's patient)."""
    answer = _failed(question, (XdsError(Code.REGISTRY_ERROR, reason.value),))
    decision = Decision(permit=False, reason=reason, alert=reason is Reason.PATIENT_MISMATCH)
    if decision.alert:
        log.warning("somebody asked across patients", correlation=question.exchange.peer.correlation)
    return replace(answer, event=replace(answer.event, reason=reason.value, objects=(Object(decision),)))


def _failed(question: Question, errors: tuple[XdsError, ...]) -> Answer:
    patient_id = question.subject.patient_id or question.patient_id or ""
    event = question.exchange.failed(question.subject, errors, patient_id=patient_id)
    return Answer(replace(event, query_id=question.asked.id, query=question.text), errors)
