"""Where a caller stands before any document is looked at: rows C per source, blocks in force per patient.

Pure. A Situation is one request at one instant; what is worked out for a source or a patient is kept in it, so that
twenty entries cost little more than one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from ihe.metadata import Coded
from ihe.names import Status
from policy.agreements import Policy, Seat, Source
from policy.blocks import ABSOLUTE, PATIENT_WIDE, REASON_OF, Block, BlockKind, covers, covers_caller
from policy.facts import Basis, Channel, Decision, DocumentKey, EntryFacts, Reason, Subject
from policy.rows import Caller, first, opening, rows_of


class Failure(NamedTuple):
    """One row that failed, and the block that made it fail."""

    reason: Reason
    block: str = ""


Alike = tuple[str, Status, Coded, Coded, tuple[Coded, ...], bool, bool, bool, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """Rows C1-C7 for one source: the seats left, or the rows that left none."""

    source_id: str
    source: Source | None
    seats: tuple[Seat, ...]
    """Those that passed every row; where a row left none, those that reached it."""
    failed: tuple[Reason, ...]
    agreement: str
    """The agreement at the first failing row, by lowest id; empty where none names source and caller."""
    aged: bool
    """Whether an agreement of these seats has a limit of age."""
    decided: dict[Alike, Decision] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What policy.decide has said here of entries that are alike."""

    @property
    def open(self) -> bool:
        """Whether this source gives the caller anything at all."""
        return not self.failed

    def alike(self, entry: EntryFacts, now: datetime) -> Alike:
        """Everything in which two entries at this source can differ to the rows B2, D1-D3 and E, block records aside.

        Times count as passed or not; when it was created only where a seat has a limit of age.
        """
        return (
            entry.patient_id,
            entry.status,
            entry.class_code,
            entry.type_code,
            entry.confidentiality_codes,
            entry.withdrawn,
            entry.signed_at is None,
            (entry.registered_at if entry.signed_at is None else entry.signed_at) <= now,
            entry.creation_time if self.aged else "",
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A patient's blocks that are in force now and aimed at this caller, by the row that reads them."""

    known: bool
    """False where the patient's blocks were not given: unknown is not empty."""
    wide: tuple[Failure, ...] = ()
    """Rows D1-D3."""
    narrower: tuple[Block, ...] = ()
    """Rows D4-D6, and document blocks (E5)."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One request at one instant: the caller, the policy in force, the patients' blocks.

    `blocks` holds every patient whose entries are judged, also former patients of corrected entries: a patient that is
    missing from it is treated as blocked (BLOCKS_UNAVAILABLE), never as free. `identities` are all CX of the token's
    patient. `listed` are the documents this token was shown before; None where the node does not remember.
    """

    subject: Subject
    policy: Policy
    blocks: Mapping[str, tuple[Block, ...]]
    identities: frozenset[str]
    now: datetime
    listed: frozenset[DocumentKey] | None = None
    across: bool = False
    """Whether a query across patients is answered (ITI-51): then only agreements that hold for those count."""
    _standings: dict[tuple[str, bool], Standing] = field(default_factory=dict, init=False, repr=False, compare=False)
    _held: dict[str, Held] = field(default_factory=dict, init=False, repr=False, compare=False)
    _whole: list[tuple[Standing, ...]] = field(default_factory=list, init=False, repr=False, compare=False)
    shown: dict[int, tuple[Sequence[EntryFacts], bool]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Families by identity, kept so that none takes another's, and whether one entry of each may be listed: of what
    replaced others every one of those asks."""

    @property
    def is_machine(self) -> bool:
        """Whether the caller is a machine identity: B2, C5-C7 and D3 do not apply to it."""
        return self.subject.channel is Channel.MACHINE

    def own_patient(self, patient_id: str) -> bool:
        """B2: whether this is the patient the caller may ask about. A machine is bound to none."""
        return self.is_machine or patient_id in self.identities or patient_id == self.subject.patient_id

    def standing_for(self, entry: EntryFacts) -> Standing:
        """Rows C for the source that owns the entry's repository."""
        own = self.is_machine and self._registered_itself(entry)
        return self.standing(self.policy.source_of(entry.repository_unique_id), own)

    def standing(self, source: Source | None, own: bool = False) -> Standing:
        """Rows C for one source; `own` adds a machine's seats for what it registered itself."""
        key = (source.source_id if source is not None else "", own)
        if (found := self._standings.get(key)) is None:
            found = self._standings[key] = self._walk(source, own)
        return found

    def standings(self) -> tuple[Standing, ...]:
        """Rows C for every source; for a machine also for repositories of its own that no source has."""
        if not self._whole:
            found = [self.standing(source, self._registers_at(source)) for source in self.policy.sources.values()]
            if self.is_machine and any(self.policy.source_of(repo) is None for repo in self.subject.may_register):
                found.append(self.standing(None, own=True))
            self._whole.append(tuple(found))
        return self._whole[0]

    def reachable(self) -> frozenset[str]:
        """Sources that rows C1-C7 give this caller, whoever the patient is; empty text stands for own repositories."""
        return frozenset(standing.source_id for standing in self.standings() if standing.open)

    def held(self, patient_id: str) -> Held:
        """The blocks of this patient that stand in this caller's way now."""
        if (found := self._held.get(patient_id)) is None:
            found = self._held[patient_id] = self._hold(self.blocks.get(patient_id))
        return found

    def opens(self, block: Block) -> bool:
        """Whether the caller's basis opens a block: the block's own word, else the policy's; absolute kinds never."""
        allowed = self.policy_override(block.kind) if block.overridable_by is None else block.overridable_by
        return opening(self.subject) in allowed

    def policy_override(self, kind: BlockKind) -> frozenset[Basis]:
        """What opens blocks of this kind that say nothing themselves."""
        rule = self.policy.block_rules.get(kind)
        return frozenset() if rule is None or kind in ABSOLUTE else rule.override

    def standings_at(self, registered_by: str, repositories: Iterable[str]) -> list[Standing]:
        """Rows C for the sources of these repositories, for something this machine identity registered; once each."""
        mine = self.is_machine and registered_by == self.subject.machine
        found: dict[tuple[str, bool], Standing] = {}
        for repository in sorted(repositories):
            source = self.policy.source_of(repository)
            own = mine and repository in self.subject.may_register
            found["" if source is None else source.source_id, own] = self.standing(source, own)
        return list(found.values())

    def _registered_itself(self, entry: EntryFacts) -> bool:
        subject = self.subject
        return entry.registered_by == subject.machine and entry.repository_unique_id in subject.may_register

    def _registers_at(self, source: Source) -> bool:
        return self.is_machine and not set(source.repository_unique_ids).isdisjoint(self.subject.may_register)

    def _seats(self, source: Source | None, own: bool) -> tuple[Seat, ...]:
        subject, policy = self.subject, self.policy
        if self.is_machine:
            seats = () if source is None else policy.machine_seats(source.source_id, subject.machine)
            seats = (*seats, *policy.own_seats(subject.machine)) if own else seats
            return tuple(seat for seat in seats if seat.agreement.multi_patient) if self.across else seats
        if source is None or not {source.legal_entity, source.organisation_number}.isdisjoint(self._units()):
            # A source's own staff read its documents in its own record system, not through the portal.
            return ()
        return policy.seats_at(source.source_id, subject.place_of_care)

    def _walk(self, source: Source | None, own: bool) -> Standing:
        seats = self._seats(source, own)
        source_id = "" if source is None else source.source_id
        if not seats:
            return Standing(source_id, source, (), (Reason.NO_AGREEMENT_SOURCE,), "", aged=False)
        caller = Caller(self.subject, self.now)
        failed: list[Reason] = []
        stuck = seats
        for reason, passes in rows_of(self.subject):
            left = tuple(seat for seat in seats if passes(seat, source, caller))
            if left:
                seats = left
            else:
                stuck = stuck if failed else seats
                failed.append(reason)
        aged = any(seat.agreement.max_age is not None for seat in seats)
        return Standing(source_id, source, seats, tuple(failed), lowest(stuck if failed else seats), aged)

    def _units(self) -> frozenset[str]:
        subject = self.subject
        above = self.policy.places.get(subject.place_of_care, "")
        return frozenset({subject.place_of_care, subject.legal_entity, above} - {""})

    def _hold(self, blocks: tuple[Block, ...] | None) -> Held:
        if blocks is None:
            return Held(known=False)
        units = self._units()
        aimed = [
            block
            for block in blocks
            if block.in_force(self.now)
            and not (self.is_machine and block.kind is BlockKind.NAMED_PERSON)
            and covers_caller(block, self.subject, units)
        ]
        wide: dict[Reason, list[Block]] = {}
        for block in aimed:
            if block.kind in PATIENT_WIDE:
                wide.setdefault(REASON_OF[block.kind], []).append(block)
        return Held(
            known=True,
            wide=tuple(Failure(reason, first(hits)) for reason, hits in wide.items()),
            narrower=tuple(block for block in aimed if block.kind not in PATIENT_WIDE),
        )


def lowest(seats: Iterable[Seat]) -> str:
    """The agreement that is named where several say the same, whatever order they came in."""
    return min((seat.agreement.agreement_id for seat in seats), default="")


def kept_back(situation: Situation, held: Held, source_id: str, unique_id: str | None) -> tuple[list[Failure], bool]:
    """Rows D4 and D5 at this source, with a `unique_id` also D6; and whether the caller's basis opened one of them."""
    failures: list[Failure] = []
    opened = False
    for block in held.narrower:
        if block.kind is BlockKind.DOCUMENT or (block.kind is BlockKind.OPENABLE and unique_id is None):
            continue
        if not covers(block, source_id, unique_id or ""):
            continue
        if situation.opens(block):
            opened = True
        else:
            failures.append(Failure(REASON_OF[block.kind], block.block_id))
    return failures, opened
