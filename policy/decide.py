"""May they? One caller, one patient's documents, one instant; every answer with the reason an operator can be told.

Pure. The rows are those of docs/policy-guide.md and are tested in its order: the first that fails is the primary
reason, later ones stand beside it. Query and retrieve ask the same question here, so what is listed is what can be
fetched. No answer depends on the order of sources, agreements or blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from policy.agreements import Policy
from policy.blocks import BlockKind
from policy.facts import Basis, Channel, Decision, DocumentKey, EntryFacts, Reason, Subject
from policy.numbers import is_patient, patient_id
from policy.rows import ENTRY_ROWS, RANK, Judged, marked, opening, shares, signature
from policy.standing import Failure, Situation, Standing, kept_back, lowest

__all__ = [
    "Outlook",
    "Situation",
    "current",
    "decide",
    "decide_alone",
    "decide_document",
    "malformed",
    "outlook",
    "refusal",
]

_ROWS_C = range(RANK[Reason.NO_AGREEMENT_SOURCE], RANK[Reason.PURPOSE_NOT_IN_SCOPE] + 1)
_OF_ANOTHER_PATIENT = Failure(Reason.PATIENT_MISMATCH_DOC)
_OK = {None: Reason.OK, Basis.EMERGENCY: Reason.OK_BTG, Basis.CONSENT: Reason.OK_CONSENT}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a caller can expect of a patient before any document is looked at: rows C and D1-D5."""

    patient_id: str
    reachable: frozenset[str]
    """Source ids that rows C1-C7 give this caller, whoever the patient is."""
    open_sources: frozenset[str]
    """Those of them that no block of rows D1-D5 closes."""
    closed: Decision | None
    """The one patient-level decision if no source is left: then nothing of the patient is looked at."""


def malformed(subject: Subject, policy: Policy, asked_patient: str | None) -> Reason | None:
    """Row A10: the token names one well-formed patient, and so does a query that names one. Needs no blocks.

    A machine has no token; what it asks for may carry its own enterprise's authority.
    """
    person = subject.channel is not Channel.MACHINE
    authorities = policy.identifiers.patient if person else frozenset[str]()
    if person and subject.patient_ids == 0:
        return Reason.PATIENT_MISSING
    if person and not (subject.patient_ids == 1 and is_patient(subject.patient_id, authorities, policy.numbers)):
        return Reason.PATIENT_INVALID
    if asked_patient is not None and not is_patient(asked_patient, authorities, policy.numbers):
        return Reason.PATIENT_INVALID
    return None


def refusal(situation: Situation, asked_patient: str | None) -> Reason | None:
    """The first of rows A10-A12 that refuses the whole request, or None. `asked_patient` is the query's, if it has one.

    PATIENT_MISMATCH is raised as an alert by the caller of this. A machine is refused where no agreement names it.
    """
    subject, policy = situation.subject, situation.policy
    if (reason := malformed(subject, policy, asked_patient)) is not None:
        return reason
    if situation.is_machine:
        return None if policy.serves_machine(subject.machine, situation.across) else Reason.NO_AGREEMENT
    if asked_patient is not None and not _same_patient(situation, asked_patient):
        return Reason.PATIENT_MISMATCH
    if situation.across:
        # A token is for one patient, so no agreement can let a person ask across patients.
        return Reason.NO_AGREEMENT
    if subject.place_of_care not in policy.places_served:
        return Reason.NO_AGREEMENT
    return None


def outlook(situation: Situation, patient_id: str) -> Outlook:
    """Rows C and D1-D5, per source and then for the patient as a whole."""
    reachable = situation.reachable()
    held = situation.held(patient_id)
    if not held.known:
        return Outlook(patient_id, reachable, frozenset(), Decision(False, Reason.BLOCKS_UNAVAILABLE))
    if reachable and held.wide:
        return Outlook(patient_id, reachable, frozenset(), _decision(held.wide, "", ""))
    left: set[str] = set()
    closed: list[Decision] = []
    for standing in situation.standings():
        failures, _ = kept_back(situation, held, standing.source_id, None)
        failures = [*(Failure(reason) for reason in standing.failed), *held.wide, *failures]
        if failures:
            closed.append(_decision(failures, standing.source_id, standing.agreement))
        else:
            left.add(standing.source_id)
    return Outlook(patient_id, reachable, frozenset(left), None if left else _furthest(closed))


def decide(
    situation: Situation,
    family: Sequence[EntryFacts],
    entry: EntryFacts,
    replaced_by: Sequence[Sequence[EntryFacts]] = (),
) -> Decision:
    """Rows B2-F1 for one entry in the light of its family: every entry of the same (repositoryUniqueId, uniqueId).

    Rows B2, D and E5 deny for the whole family, superseded versions aside; the others are the entry's own. Where an
    agreement shares Deprecated entries, one that was superseded or replaced shows only if what took its place does:
    `replaced_by` holds the family of each document that replaced this one, step by step.

    An entry alone in its family, of a patient without blocks of single documents or sources, is decided by what
    Standing.alike() takes from it and by nothing else; the next one that is alike is not decided again.
    """
    standing = situation.standing_for(entry)
    if not (len(family) == 1 and family[0] is entry):
        if all(entry.entry_uuid != each.entry_uuid for each in family):
            family = (*family, entry)
    elif not replaced_by and not situation.held(entry.patient_id).narrower:
        alike = standing.alike(entry, situation.now)
        if (decision := standing.decided.get(alike)) is None:
            decision = standing.decided[alike] = _decide(situation, standing, family, entry, ())
        return decision
    return _decide(situation, standing, family, entry, replaced_by)


def _decide(
    situation: Situation,
    standing: Standing,
    family: Sequence[EntryFacts],
    entry: EntryFacts,
    replaced_by: Sequence[Sequence[EntryFacts]],
) -> Decision:
    alone = len(family) == 1
    failures = [Failure(reason) for reason in standing.failed]
    opened = _patient_rows(situation, standing, entry, failures)
    for other in () if alone else current(family):
        if other.patient_id != entry.patient_id:
            opened |= _patient_rows(situation, standing, other, failures)
    agreement = _entry_rows(situation, standing, entry, failures)
    opened |= _document_rows(situation, family, entry, failures)
    if not failures and not (alone and not replaced_by) and not _successors_show(situation, family, entry, replaced_by):
        failures.append(Failure(Reason.DEPRECATED))
    if failures:
        wide = bool(standing.failed) and bool(situation.reachable()) and bool(situation.held(entry.patient_id).wide)
        decision = _decision(failures, standing.source_id, agreement, wide_first=wide)
        corrected = _corrected_away(situation, family)  # also where nothing hangs on it: whose it is must not tell (N7)
        return replace(decision, alert=decision.alert and not corrected)
    reason = _OK[situation.subject.basis] if opened else Reason.OK
    return Decision(True, reason, (), standing.source_id, agreement, "", opened)


def decide_document(
    situation: Situation,
    key: DocumentKey,
    family: Sequence[EntryFacts],
    replaced_by: Mapping[str, Sequence[Sequence[EntryFacts]]] = MappingProxyType({}),
) -> Decision:
    """Whether this document may be fetched: one entry of its family may be listed. An unknown one has no family.

    `replaced_by` holds, by entryUUID, what replaced each of its entries: one that was replaced takes no other along.

    A superseded version never carries a document on its own, since it shows only if its successor does.
    """
    found = [entry for entry in family if entry.key == key]
    if not found:
        return Decision(False, Reason.UNKNOWN_DOC)
    decisions = [decide(situation, found, entry, replaced_by.get(entry.entry_uuid, ())) for entry in current(found)]
    permits = [decision for decision in decisions if decision.permit]
    if not permits:
        return _furthest(decisions)
    permit = min(permits, key=lambda each: (RANK[each.reason], each.agreement))
    if situation.listed is not None and key in situation.listed:
        return permit
    if situation.policy.defaults.require_listed:
        return replace(permit, permit=False, reason=Reason.NOT_LISTED, notify_patient=False)
    return permit if situation.listed is None else replace(permit, also=(Reason.NOT_LISTED,))


def decide_alone(situation: Situation, patient_id: str, registered_by: str, repositories: Collection[str]) -> Decision:
    """Rows B2, C and D for a submission set or folder, which has no kind, signature or status that an agreement reads.

    `repositories` tell whose it is, by their sources: those of its documents, or those its sender registers for. One
    source that is open to the caller suffices, as one of its documents does.
    """
    if not situation.own_patient(patient_id):
        return _decision([_OF_ANOTHER_PATIENT], "", "")
    held = situation.held(patient_id)
    if not held.known:
        return _decision([Failure(Reason.BLOCKS_UNAVAILABLE)], "", "")
    closed: list[Decision] = []
    for standing in situation.standings_at(registered_by, repositories):
        failures, opened = kept_back(situation, held, standing.source_id, "")
        failures = [*(Failure(reason) for reason in standing.failed), *held.wide, *failures]
        if not failures:
            reason = _OK[situation.subject.basis] if opened else Reason.OK
            return Decision(True, reason, (), standing.source_id, standing.agreement, "", opened)
        wide = bool(standing.failed) and bool(situation.reachable()) and bool(held.wide)
        closed.append(_decision(failures, standing.source_id, standing.agreement, wide_first=wide))
    return _furthest(closed)


def current(family: Sequence[EntryFacts]) -> tuple[EntryFacts, ...]:
    """The entries that no newer version of the same logical entry (metadata update, ITI-57) has superseded.

    One walk however large the family: a source may register one document as often as it likes.
    """
    newest: dict[str, int] = {}
    for entry in family:
        newest[entry.lid] = max(entry.version, newest.get(entry.lid, 0))
    return tuple(entry for entry in family if entry.version == newest[entry.lid])


def _same_patient(situation: Situation, asked: str) -> bool:
    # Another spelling of the token's own patient is compared as the CX it means; nothing is looked up by it.
    read = patient_id(asked)
    return situation.own_patient(asked) or (read is not None and situation.own_patient(read.cx))


def _patient_rows(situation: Situation, standing: Standing, entry: EntryFacts, failures: list[Failure]) -> bool:
    """B2 and D1-D6 of one entry's patient. True where the caller's basis opened a block."""
    if not situation.own_patient(entry.patient_id):
        # What another patient has blocked is nothing that this exchange should tell, its own record included.
        failures.append(_OF_ANOTHER_PATIENT)
        return False
    held = situation.held(entry.patient_id)
    if not held.known:
        failures.append(Failure(Reason.BLOCKS_UNAVAILABLE))
    failures.extend(held.wide)
    if not held.narrower:
        return False
    more, opened = kept_back(situation, held, standing.source_id, entry.unique_id)
    failures.extend(more)
    return opened


def _entry_rows(situation: Situation, standing: Standing, entry: EntryFacts, failures: list[Failure]) -> str:
    """E1-E4 and E6 along one seat. Returns the agreement at the first failing row, or the one that permits."""
    seats = standing.seats
    stuck = standing.agreement if standing.failed else ""
    judged = Judged(entry, signature(entry, standing.source, situation.now).holds, situation.now)
    if entry.withdrawn:
        failures.append(Failure(Reason.WITHDRAWN))
    if left := [seat for seat in seats if shares(seat, judged)]:
        return stuck or lowest(left)
    for reason, passes in ENTRY_ROWS if seats else ():
        left = [seat for seat in seats if passes(seat, judged)]
        if left:
            seats = tuple(left)
        else:
            stuck = stuck or lowest(seats)
            failures.append(Failure(reason))
    return stuck or lowest(seats)


def _document_rows(
    situation: Situation, family: Sequence[EntryFacts], entry: EntryFacts, failures: list[Failure]
) -> bool:
    """E5. Block records reach the whole family, the code NORS not from a superseded version."""
    opened = False
    codes = situation.policy.blocking_codes
    if marked(entry, codes) or any(marked(each, codes) for each in (() if len(family) == 1 else current(family))):
        if opening(situation.subject) in situation.policy_override(BlockKind.DOCUMENT):
            opened = True
        else:
            failures.append(Failure(Reason.BLOCK_DOC))
    foreign = _OF_ANOTHER_PATIENT in failures
    for patient in (entry.patient_id,) if len(family) == 1 else {each.patient_id for each in family}:
        held = situation.held(patient)
        if not held.known and not foreign:
            failures.append(Failure(Reason.BLOCKS_UNAVAILABLE))
        for block in held.narrower:
            if block.kind is BlockKind.DOCUMENT and entry.unique_id in block.documents:
                if situation.opens(block):
                    opened = True
                else:
                    failures.append(Failure(Reason.BLOCK_DOC, block.block_id))
    return opened


def _successors_show(
    situation: Situation,
    family: Sequence[EntryFacts],
    entry: EntryFacts,
    replaced_by: Sequence[Sequence[EntryFacts]],
) -> bool:
    for other in current(family):
        if other.lid == entry.lid and other.version > entry.version:
            if not decide(situation, family, other).permit:
                return False
    return all(_shows(situation, later) for later in replaced_by)


def _shows(situation: Situation, family: Sequence[EntryFacts]) -> bool:
    if (found := situation.shown.get(id(family))) is None:
        shows = bool(family) and decide_document(situation, family[0].key, family).permit
        found = situation.shown[id(family)] = (family, shows)
    return found[1]


def _corrected_away(situation: Situation, family: Sequence[EntryFacts]) -> bool:
    """Whether only versions that a correction left behind are another's: then nobody asked across patients."""
    return all(situation.own_patient(each.patient_id) for each in current(family))


def _decision(failures: Sequence[Failure], source: str, agreement: str, *, wide_first: bool = False) -> Decision:
    """The refusal that these rows make, the same whatever order they were found in."""

    def place(failure: Failure) -> tuple[int, int, str]:
        # D1-D3 stand for all sources once any source is open to the caller, also for one that is not.
        late = wide_first and RANK[failure.reason] in _ROWS_C
        return (RANK[Reason.BLOCK_PERSON] if late else RANK[failure.reason], RANK[failure.reason], failure.block)

    ordered = sorted(failures, key=place)
    primary = ordered[0]
    also = tuple(dict.fromkeys(failure.reason for failure in ordered if failure.reason is not primary.reason))
    return Decision(
        False, primary.reason, also, source, agreement, primary.block, alert=_OF_ANOTHER_PATIENT in failures
    )


def _furthest(decisions: Sequence[Decision]) -> Decision:
    """Of several refusals the one that came furthest down the table: that row left none."""
    if not decisions:
        return Decision(False, Reason.NO_AGREEMENT_SOURCE)
    return min(decisions, key=lambda each: (-RANK[each.reason], each.source, each.agreement, each.block, each.also))
