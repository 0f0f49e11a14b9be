"""ITI-18 Registry Stored Query and ITI-51 Multi-Patient Stored Query, from the first look at the caller to the last
byte of the answer.

Nothing is returned that policy.shield has not passed, and nothing is returned before it is recorded. What happens to a
request, and where it can be refused, in order:

1. identify          rows A1-A9: a SOAP fault, recorded
2. read, understand  a malformed query or a misused parameter: Failure with every error
3. situation         row A10, then A10b: without identities and blocks nobody is answered
4. refusal           rows A11-A12: Failure with the reason code
5. outlook, find     a patient closed to this caller costs the same statements and finds nothing
6. sift              rows B-E: what is hidden is not there; limits count what is left
7. record            no record, no answer
8. confirm           a block or policy that changed meanwhile: back to 3, three times at most

Sources: ITI TF-2 3.18, 3.51, TF-3 4.2.4; the decision table (docs/policy-guide.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO

import structlog

from audit.event import Event, Exchange, Object
from ihe import ebrim, queries, xml
from ihe.errors import XdsError, XdsFailure
from ihe.names import Action, Code, ResponseStatus
from ihe.queries import AdhocQuery, Returns
from ihe.soap import Call, Reply, write_reply
from policy.agreements import Policy
from policy.decide import Situation, malformed, outlook, refusal
from policy.facts import BlocksUnavailable, Channel, Decision, Peer, Reason, Subject
from policy.rows import RANK
from registry.database.engine import StoreTrouble
from registry.desk import Desk
from registry.queries.gathered import Chosen, Gathered
from registry.queries.sifting import Sifted, patients_of, sift, sift_documents
from registry.queries.stored_queries import (
    EVERYBODY,
    AcrossPatients,
    ById,
    Everybody,
    FindDocuments,
    GetDocuments,
    OfOnePatient,
    StoredQuery,
)
from registry.queries.understanding import understand
from registry.refusals import admitted, answering, receiver
from registry.store import Found

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
        """The patient a query of ITI-18 names; None where it names none."""
        return self.query.patient_id if isinstance(self.query, OfOnePatient) else None

    @property
    def named(self) -> tuple[str, ...]:
        """Every patient the query names."""
        if isinstance(self.query, AcrossPatients):
            return self.query.patient_ids
        return () if self.patient_id is None else (self.patient_id,)

    @property
    def about(self) -> tuple[str, ...]:
        """Whom the exchange is about: the token's patient, or those a machine asks for."""
        return (self.subject.patient_id,) if self.subject.patient_id else self.named

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
    objects: bytes = b""

    def reply(self, call: Call) -> Reply:
        """The answer as the caller's SOAP stack reads it."""
        status = ResponseStatus.FAILURE if self.errors else ResponseStatus.SUCCESS
        return write_reply(call, queries.write_response(status, self.errors, (self.objects,)))


def answer_query(call: Call, peer: Peer, desk: Desk) -> Reply:
    """The one answer to a stored query. Raises SoapFault, and nothing else whatever the caller sent."""
    exchange = Exchange.begin(call, peer, desk.clock)
    with answering(call, exchange, desk, "caller"):
        subject = admitted(desk.identify(call, peer, exchange.at), exchange, desk)
        try:
            asked = queries.read(call.body)
            query = understand(asked, desk.home, desk.across if call.action is Action.MULTI_PATIENT_QUERY else None)
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


def decided(question: Question, desk: Desk) -> tuple[Answer, Basis | None]:
    """The answer as rules and blocks are now, and what it stands on; None where it would be the same on any.

    Raises RulesUnknown.
    """
    subject, policy = question.subject, desk.rules()
    question = replace(question, exchange=question.exchange.under(policy.edition))
    asked = question.named or (None,)
    if (reason := _first(malformed(subject, policy, each) for each in asked)) is not None:
        return _refused(question, reason), None
    try:
        # The number first: a block that is set while the blocks are read must count as a change.
        basis = Basis(policy, desk.blocks.sequence())
        people = frozenset(each for patient in question.about for each in desk.store.identity_set(patient))
        across = isinstance(question.query, AcrossPatients)
        situation = Situation(subject, policy, desk.blocks.of(people), people, question.exchange.at, across=across)
        situation = _brought_up(situation, desk)
        if (reason := _first(refusal(situation, each) for each in asked)) is not None:
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


def _first(reasons: Iterable[Reason | None]) -> Reason | None:
    """Of the reasons to refuse what is asked of several patients the one that the decision table has first."""
    return min((reason for reason in reasons if reason is not None), key=RANK.__getitem__, default=None)


def _answered(question: Question, situation: Situation, desk: Desk) -> Answer:
    """Finds, sifts, counts and writes. Raises XdsFailure, StoreTrouble, BlocksUnavailable."""
    situation, sifted, gathered = _found(question, situation, desk)
    chosen = sifted.chosen
    # An alert of these goes out from the trail: a line written here would tell by its time that the document exists.
    if errors := tuple(_limits(question, chosen, desk)):
        refused = _failed(question, errors)
        return replace(refused, event=replace(refused.event, objects=sifted.objects, note=sifted.note))
    written = BytesIO()
    # Each is written out and forgotten: a thousand kept beside each other cost a quarter more (measured).
    written.writelines(_written(question, sifted, gathered, desk))
    # A machine that asks by id names no patient: the trail must know all the same whose documents it was shown.
    first, *others = dict.fromkeys([*question.about, *sifted.patients]) or ("",)
    event = question.exchange.queried(question.subject, first, question.asked.id, question.text, sifted.objects)
    event = replace(event, patients=tuple(others), note=sifted.note)
    return Answer(event, (), written.getvalue())


def _found(question: Question, situation: Situation, desk: Desk) -> tuple[Situation, Sifted, Gathered]:
    """What there is, sifted, in the situation that holds the blocks of everybody it is about."""
    query, leaf, later = question.query, question.leaf, situation.policy.shares_deprecated
    closed = {each: why for each in question.about if (why := outlook(situation, each).closed) is not None}
    if isinstance(query, OfOnePatient):
        _must_be_known(query, situation, desk)
    found: tuple[Found, ...] = ()
    decoys: tuple[Found, ...] = ()
    gathered = Gathered()
    if isinstance(query, FindDocuments):
        found = desk.store.find_documents(query, _open(question, situation, closed, desk), leaf, later)
    elif isinstance(query, AcrossPatients) and isinstance(query.wanted, FindDocuments):
        found = desk.store.find_documents(query.wanted, _open(question, situation, closed, desk), leaf, later)
    elif isinstance(query, GetDocuments):
        hits = desk.store.get_documents(query, leaf, later)
        found, decoys = hits.found, hits.decoys
    else:
        gathered = desk.store.gather(query, _open(question, situation, closed, desk), leaf, later)
    entries = found or tuple(gathered.entries.values())
    missing = patients_of(situation, entries, gathered.containers.values())
    if isinstance(query, ById) and not situation.is_machine:
        # One look more for every id, or it would tell a corrected entry from an unknown one.
        missing = missing or frozenset({""})
    if missing:
        situation = replace(situation, blocks={**situation.blocks, **desk.blocks.of(missing)})
    situation = _brought_up(situation, desk)
    if isinstance(query, FindDocuments | GetDocuments) or found:
        return situation, sift_documents(situation, query, found, decoys, closed.values()), gathered
    return situation, sift(situation, query, gathered, desk.registers, closed.values()), gathered


def _open(
    question: Question, situation: Situation, closed: Mapping[str, Decision], desk: Desk
) -> frozenset[str] | Everybody:
    """Whose objects are read: every identifier of the patients asked about, but of those closed to this caller; where a
    machine names nobody (by id, or across patients) whoever's turn up.

    An identifier that was merged into another of its register finds nothing any more (ITI TF-2 3.8.4.2.3).
    """
    if not question.about:
        return EVERYBODY if question.subject.channel is Channel.MACHINE else frozenset()
    # Whoever has one identifier only was never merged: most queries cost no look more.
    merged = len(situation.identities) > 1
    gone = {each for each in question.named if merged and desk.store.superseded(each)}
    if gone and question.subject.patient_id:
        return frozenset()
    if not closed and not gone:
        return situation.identities
    left = [patient for patient in question.about if patient not in closed and patient not in gone]
    return frozenset(each for patient in left for each in desk.store.identity_set(patient))


def _must_be_known(query: OfOnePatient, situation: Situation, desk: Desk) -> None:
    """XDSUnknownPatientId, on nodes whose every agreement is with machines: to anybody else it would tell too much."""
    told = desk.unknown_patient_is_error and situation.policy.machines_only and situation.is_machine
    if told and not desk.store.is_known(query.patient_id):
        raise XdsFailure.of(Code.UNKNOWN_PATIENT_ID, query.patient_id)


def _limits(question: Question, chosen: Chosen, desk: Desk) -> Iterable[XdsError]:
    """Limits of an answer, counted on what the caller may see (ITI TF-2 3.18.4.1.2.5, 3.18.4.1.2.6)."""
    if question.leaf and isinstance(question.query, ById) and len(chosen.patients) > 1:
        yield XdsError(Code.RESULT_NOT_SINGLE_PATIENT, "what the ids name is of more than one patient")
    if question.leaf and chosen.size > desk.max_results:
        yield XdsError(Code.TOO_MANY_RESULTS, f"more than {desk.max_results} objects; ask for ObjectRef or narrow it")


def _written(question: Question, sifted: Sifted, gathered: Gathered, desk: Desk) -> Iterator[bytes]:
    """The objects of the answer as XML."""
    store, home, chosen = desk.store, desk.home, sifted.chosen
    if not question.leaf:
        for uuid in chosen.uuids:
            yield ebrim.object_ref(uuid, home)
        return
    for container in chosen.containers:
        yield store.render_container(container, gathered.last_update(container, sifted.shows), home)
    for entry in chosen.entries:
        yield store.render(entry, home)
    for link in chosen.links:
        yield store.render_link(link, home)


def _refused(question: Question, reason: Reason) -> Answer:
    """Rows A10-A12: the caller's own fault, told by its reason code (and an alarm, for somebody else's patient)."""
    answer = _failed(question, (XdsError(Code.REGISTRY_ERROR, reason.value),))
    decision = Decision(permit=False, reason=reason, alert=reason is Reason.PATIENT_MISMATCH)
    if decision.alert:
        log.warning("somebody asked across patients", correlation=question.exchange.peer.correlation)
    return replace(answer, event=replace(answer.event, reason=reason.value, objects=(Object(decision),)))


def _failed(question: Question, errors: tuple[XdsError, ...]) -> Answer:
    first, *others = question.about or ("",)
    event = question.exchange.failed(question.subject, errors, patient_id=first)
    return Answer(replace(event, patients=tuple(others), query_id=question.asked.id, query=question.text), errors)
