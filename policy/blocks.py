"""What a patient's block is, whom and what it covers, and what may open it.

Pure. A block is a fact of the moment of decision: it takes effect and is lifted without any other step. Periods are
half-open. Blocks match up the hierarchy of organisations, where agreements never do: a block must not be escaped by
naming a smaller unit, and an agreement must not be stretched by naming a larger one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from policy.facts import Basis, Reason, Subject


class BlockKind(StrEnum):
    """The nine kinds of block, by what they keep back."""

    VISIT_HISTORY = "visit_history"
    RESERVATION = "reservation"
    JOURNAL_SHARING = "journal_sharing"
    NAMED_PERSON = "named_person"
    ORGANISATION = "organisation"
    DEPARTMENT = "department"
    OPENABLE = "openable"
    DOCUMENT = "document"
    SOURCE_TOTAL = "source_total"


class Setter(StrEnum):
    """On whose word a block stands."""

    PATIENT = "patient"
    SOURCE = "source"


ABSOLUTE = frozenset(
    {
        BlockKind.VISIT_HISTORY,
        BlockKind.RESERVATION,
        BlockKind.JOURNAL_SHARING,
        BlockKind.NAMED_PERSON,
        BlockKind.SOURCE_TOTAL,
    }
)
"""Kinds that nothing opens, an emergency included: only lifting them does."""

PATIENT_WIDE = frozenset(
    {BlockKind.VISIT_HISTORY, BlockKind.RESERVATION, BlockKind.JOURNAL_SHARING, BlockKind.NAMED_PERSON}
)
"""Kinds that hold at every source at once (rows D1-D3)."""

REASON_OF: dict[BlockKind, Reason] = {
    BlockKind.VISIT_HISTORY: Reason.BLOCK_VISIT_HISTORY,
    BlockKind.RESERVATION: Reason.BLOCK_RESERVATION,
    BlockKind.JOURNAL_SHARING: Reason.BLOCK_SHARING,
    BlockKind.NAMED_PERSON: Reason.BLOCK_PERSON,
    BlockKind.ORGANISATION: Reason.BLOCK_ORG,
    BlockKind.DEPARTMENT: Reason.BLOCK_ORG,
    BlockKind.SOURCE_TOTAL: Reason.BLOCK_SOURCE_TOTAL,
    BlockKind.OPENABLE: Reason.BLOCK_OPENABLE,
    BlockKind.DOCUMENT: Reason.BLOCK_DOC,
}
assert set(REASON_OF) == set(BlockKind)

_TARGETS: dict[BlockKind, tuple[frozenset[str], frozenset[str]]] = {
    BlockKind.VISIT_HISTORY: (frozenset(), frozenset()),
    BlockKind.RESERVATION: (frozenset(), frozenset()),
    BlockKind.JOURNAL_SHARING: (frozenset(), frozenset()),
    BlockKind.NAMED_PERSON: (frozenset({"person"}), frozenset()),
    BlockKind.ORGANISATION: (frozenset({"organisation"}), frozenset({"source"})),
    BlockKind.DEPARTMENT: (frozenset({"organisation", "department"}), frozenset({"source"})),
    BlockKind.OPENABLE: (frozenset(), frozenset({"source", "documents"})),
    BlockKind.DOCUMENT: (frozenset({"documents"}), frozenset()),
    BlockKind.SOURCE_TOTAL: (frozenset({"source"}), frozenset()),
}
"""Per kind: the targets it must name, and those it may name besides."""
assert set(_TARGETS) == set(BlockKind)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of one patient. Times are aware, the period is half-open, an empty target means: not narrowed by it.

    Raises ValueError for a block that could not mean what it says: no target where the kind needs one, a target the
    kind does not read, a way to open a kind that nothing opens, an empty period.
    """

    block_id: str
    kind: BlockKind
    patient_id: str
    """CX under which it was set; it holds for the whole identity set."""
    set_by: Setter
    valid_from: datetime
    valid_to: datetime | None = None
    """First instant at which it no longer holds; None while nobody has lifted it."""
    person: str = ""
    """named_person: HPR number, else F or D number."""
    organisation: str = ""
    """organisation, department: organisation number of a legal entity or a place of care."""
    department: str = ""
    """department: its id (RESH) within `organisation`."""
    source: str = ""
    """Id of the source whose documents are meant: source_total always, organisation, department and openable if set."""
    documents: frozenset[str] = frozenset()
    """uniqueIds, at whichever repository: document always, openable if only part of the journal is meant. Whoever
    keeps the blocks adds the versions that replace, transform or are replaced by a blocked document."""
    overridable_by: frozenset[Basis] | None = None
    """What opens this block; None leaves it to the policy in force. Kinds in ABSOLUTE take neither."""

    def __post_init__(self) -> None:
        needs, takes = _TARGETS[self.kind]
        named = {
            name for name in ("person", "organisation", "department", "source", "documents") if getattr(self, name)
        }
        if missing := needs - named:
            raise ValueError(f"a block of kind {self.kind.value} names its {' and '.join(sorted(missing))}")
        if foreign := named - needs - takes:
            raise ValueError(f"a block of kind {self.kind.value} does not read {' or '.join(sorted(foreign))}")
        if self.kind in ABSOLUTE and self.overridable_by:
            raise ValueError(f"nothing opens a block of kind {self.kind.value}; it can only be lifted")
        if self.valid_from.tzinfo is None or (self.valid_to is not None and self.valid_to.tzinfo is None):
            raise ValueError("the period of a block is in aware times")
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("a block ends after it begins")
        if not (self.block_id and self.patient_id):
            raise ValueError("a block has an id and a patient")

    def in_force(self, now: datetime) -> bool:
        """Whether it holds at `now`."""
        return self.valid_from <= now and (self.valid_to is None or now < self.valid_to)


def people_of(subject: Subject) -> frozenset[str]:
    """Every number by which a named_person block can mean this caller: HPR, F or D number, provider-identifiers."""
    numbers = {subject.hpr, subject.name_id, *(extension for _, extension in subject.provider_identifiers)}
    return frozenset(numbers - {""})


def covers_caller(block: Block, subject: Subject, units: Collection[str]) -> bool:
    """Whether the block is aimed at this caller. `units` are the caller's place of care and everything above it.

    Kinds that are aimed at nobody in particular cover everybody. A department block also hits a caller of its
    organisation who names no department: otherwise leaving the department out would open it. So does a block of any
    organisation a machine of which nobody has said whose it is.
    """
    if block.kind is BlockKind.NAMED_PERSON:
        return block.person in people_of(subject)
    if block.kind is BlockKind.ORGANISATION:
        return not units or block.organisation in units
    if block.kind is BlockKind.DEPARTMENT:
        return (not units or block.organisation in units) and subject.department in ("", block.department)
    return True


def covers(block: Block, source: str, unique_id: str) -> bool:
    """Whether the block reaches a document of this source: what it does not narrow, it covers."""
    return (not block.source or block.source == source) and (not block.documents or unique_id in block.documents)
