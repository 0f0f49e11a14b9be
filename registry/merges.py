"""How two patient identifiers become one person, and how an operator takes that back.

A merge moves pointers and blocks; documents stay under the identifier they were registered for, so that everything can
go back. Each change has a line of history that says who made it, when, and what moved. Blocks follow the person:
after a separation each half has the blocks it came with, and those set while both were one person hold for both halves
(fail closed: whose they are is not known any more). Sources: ITI TF-2 3.8.4.2, 3.44.4.3; docs/operations.md.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from policy.blocks import Block
from registry.blocks import BlockChange, from_terms, keep, to_terms
from registry.engine import Undone
from registry.patients import identity_set, make_known, survivor_of
from registry.rows import instant, microseconds
from registry.tables import block, block_history, block_journal, patient, patient_alias, patient_history, patient_key


class Change(StrEnum):
    """What was done to two identifiers."""

    MERGED = "merged"
    SEPARATED = "separated"


class Obstacle(StrEnum):
    """Why two identifiers cannot become one person, or be separated; the values are sentences about the message."""

    SAME = "an identifier cannot be merged into itself"
    SURVIVOR_UNKNOWN = "the surviving identifier is not known"
    SUBSUMED_UNKNOWN = "the subsumed identifier is not known"
    SURVIVOR_SUBSUMED = "the surviving identifier lives on under another"
    ALREADY_SUBSUMED = "the subsumed identifier already lives on under another"
    NOT_SUBSUMED = "the identifier was not merged into another"


class MergeRefused(Undone):
    """Nothing was changed; `str()` says why."""

    def __init__(self, obstacle: Obstacle) -> None:
        super().__init__(obstacle.value)
        self.obstacle = obstacle


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the history of a person's identifiers."""

    sequence: int
    at: datetime
    by: str
    change: Change
    survivor: str
    subsumed: str
    moved: tuple[str, ...]
    """Every CX that moved along, the subsumed one first."""
    blocks: tuple[str, ...]
    """Ids of the blocks that moved along."""


@dataclass(frozen=True, slots=True)
class Separation:
    """What a separation did, for whoever must now look at both halves."""

    survivor: str
    moved: tuple[str, ...]
    """The identifiers that are one person again, the separated one first."""
    returned: tuple[str, ...]
    """Ids of blocks that went back with them."""
    copied: tuple[str, ...]
    """Ids of blocks set while both were one, each now held by the other half too under a new id."""
    lifted: tuple[str, ...]
    """Ids of blocks that ended while both were one: perhaps at the wish of the other half."""


def merge(connection: Connection, survivor: str, subsumed: str, by: str, now: datetime, ahead: bool = False) -> Line:
    """From now on both are one person, shown as `survivor`. With `ahead` identifiers nobody knew become known first.

    Counts as a change to blocks: a block of either now covers both, so running decisions must be made again.
    Raises: MergeRefused for each case in which a registry leaves everything as it is (ITI TF-2 3.8.4.2.3).
    """
    if survivor == subsumed:
        raise MergeRefused(Obstacle.SAME)
    # First of all: a block that is being set meanwhile is set before this begins, or on the person it has made.
    sequence = _turn(connection)
    for each in sorted((survivor, subsumed)) if ahead else ():
        make_known(connection, each)
    stands = _locked(connection, (survivor, subsumed))
    for each, unknown, merged in (
        (survivor, Obstacle.SURVIVOR_UNKNOWN, Obstacle.SURVIVOR_SUBSUMED),
        (subsumed, Obstacle.SUBSUMED_UNKNOWN, Obstacle.ALREADY_SUBSUMED),
    ):
        if each not in stands:
            raise MergeRefused(unknown)
        if stands[each] != each:
            raise MergeRefused(merged)
    key = patient_key(subsumed)
    aliases = connection.execute(sa.select(patient_alias.c.alias).where(patient_alias.c.patient_key == key))
    moved = (subsumed, *sorted(aliases.scalars()))
    connection.execute(patient_alias.delete().where(patient_alias.c.patient_key == key))
    _point(connection, moved, survivor)
    blocks = _move_blocks(connection, key, patient_key(survivor), sequence)
    line = Line(sequence, now, by, Change.MERGED, survivor, subsumed, moved, blocks)
    return _write(connection, line)


def separate(connection: Connection, subsumed: str, by: str, now: datetime) -> Separation:
    """Takes the merge of `subsumed` back: it and what was merged into it before are a person of their own again.

    Documents are shown under the person of the identifier they were registered for. Counts as a change to blocks.
    Raises: MergeRefused.
    """
    sequence = _turn(connection)
    survivor = survivor_of(connection, subsumed)
    if survivor in (None, subsumed):
        raise MergeRefused(Obstacle.NOT_SUBSUMED)
    assert survivor is not None
    person = identity_set(connection, subsumed)
    lines = history(connection, person)
    merges = _in_force(lines)
    undone = merges[subsumed]
    gone = {each for line in lines if _later_separation(line, undone) for each in line.moved}
    moved = tuple(each for each in undone.moved if each not in gone)
    connection.execute(patient_alias.delete().where(patient_alias.c.alias.in_(moved), _of_person(survivor)))
    _point(connection, moved, subsumed)
    done = _share_blocks(connection, _Halves(survivor, moved, undone.sequence, merges), by, now)
    # Under whom it was merged, which need not be who both live on under: its history must be found with that one's.
    _write(connection, Line(sequence, now, by, Change.SEPARATED, undone.survivor, subsumed, moved, done.returned))
    return done


def history(connection: Connection, people: Collection[str]) -> tuple[Line, ...]:
    """Every merge and separation that any of these identifiers had part in, oldest first."""
    named = patient_history.c.survivor.in_(people) | patient_history.c.subsumed.in_(people)
    rows = connection.execute(sa.select(patient_history).where(named).order_by(patient_history.c.sequence))
    return tuple(
        Line(
            row.sequence,
            instant(row.at),
            row.by,
            Change(row.change),
            row.survivor,
            row.subsumed,
            tuple(json.loads(row.moved)),
            tuple(json.loads(row.blocks)),
        )
        for row in rows
    )


def merges_in_force(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Those merges of a history that were not taken back since."""
    return tuple(sorted(_in_force(lines).values(), key=lambda line: line.sequence))


# Pointers ------------------------------------------------------------------------------------------------------------


def _turn(connection: Connection) -> int:
    """The number of this change, held until it is committed: setters of blocks and other merges wait."""
    journal = block_journal.update().where(block_journal.c.id == 1).values(sequence=block_journal.c.sequence + 1)
    return int(connection.execute(journal.returning(block_journal.c.sequence)).scalar_one())


def _locked(connection: Connection, patient_ids: Iterable[str]) -> dict[str, str]:
    """Each known one with its survivor, locked in the order of their keys; one at a time, as Citus locks rows."""
    found = sa.select(patient.c.patient_id, patient.c.survivor).with_for_update()
    stands: dict[str, str] = {}
    for key in sorted(patient_key(each) for each in patient_ids):
        stands |= {
            row.patient_id: row.survivor for row in connection.execute(found.where(patient.c.patient_key == key))
        }
    return stands


def _point(connection: Connection, moved: Sequence[str], survivor: str) -> None:
    """Makes `survivor` the one that all of these live on under; their old aliases are gone already."""
    key = patient_key(survivor)
    aliases = [{"patient_key": key, "alias": each} for each in moved if each != survivor]
    if aliases:
        connection.execute(patient_alias.insert(), aliases)
    keys = [patient_key(each) for each in moved]
    pointed = patient.update().where(patient.c.patient_key.in_(keys))
    connection.execute(pointed.values(survivor=survivor, survivor_key=key))


def _of_person(survivor: str) -> sa.ColumnElement[bool]:
    return patient_alias.c.patient_key == patient_key(survivor)


def _write(connection: Connection, line: Line) -> Line:
    row = {
        "sequence": line.sequence,
        "at": microseconds(line.at),
        "by": line.by,
        "change": line.change.value,
        "survivor": line.survivor,
        "subsumed": line.subsumed,
        "moved": json.dumps(line.moved),
        "blocks": json.dumps(line.blocks),
    }
    connection.execute(patient_history.insert(), row)
    return line


def _in_force(lines: Sequence[Line]) -> dict[str, Line]:
    """The merge in force of each subsumed identifier: the last, unless it was separated after it."""
    found: dict[str, Line] = {}
    for line in lines:
        found.pop(line.subsumed, None)
        if line.change is Change.MERGED:
            found[line.subsumed] = line
    return found


def _later_separation(line: Line, merged: Line) -> bool:
    """Whether this line took something out of what moved with that merge."""
    return line.change is Change.SEPARATED and line.sequence > merged.sequence and line.subsumed in merged.moved


# Blocks --------------------------------------------------------------------------------------------------------------


def _move_blocks(connection: Connection, key: int, to: int, sequence: int) -> tuple[str, ...]:
    """Every block of one person to another; one whose id the other has too goes on under a new id."""
    held = set(connection.execute(sa.select(block.c.block_id).where(block.c.person_key == to)).scalars())
    moving = connection.execute(sa.select(block.c.block_id, block.c.terms).where(block.c.person_key == key)).all()
    for block_id, terms in moving:
        if block_id in held:
            renamed = replace(from_terms(terms), block_id=_new_id(block_id, sequence))
            row = block.update().where(block.c.person_key == key, block.c.block_id == block_id)
            connection.execute(row.values(block_id=renamed.block_id, terms=to_terms(renamed)))
    connection.execute(block.update().where(block.c.person_key == key).values(person_key=to))
    return tuple(sorted(_new_id(each, sequence) if each in held else each for each, _ in moving))


_NEVER = 2**63
"""In place of the number of a change nobody knows: later than any, so that the block counts as set on both halves."""


def _new_id(block_id: str, sequence: int) -> str:
    return f"{block_id}+{sequence}"


@dataclass(frozen=True, slots=True)
class _Halves:
    """Two halves of what was one person since the merge with this number."""

    survivor: str
    moved: tuple[str, ...]
    since: int
    merges: Mapping[str, Line]

    def one_since(self, patient_id: str) -> int:
        """The number of the change from which this identifier and the separated ones were one person.

        It is the last of the merges that lie between them: those that one of the two moved along with.
        """
        separated = self.moved[0]
        between = (
            line.sequence for line in self.merges.values() if (patient_id in line.moved) != (separated in line.moved)
        )
        return self.since if patient_id in self.moved else max(between, default=self.since)


def _share_blocks(connection: Connection, halves: _Halves, by: str, now: datetime) -> Separation:
    """Gives each half its blocks: what it came with, and all that was set or extended while they were one."""
    back, away = patient_key(halves.moved[0]), patient_key(halves.survivor)
    terms = connection.execute(sa.select(block.c.terms).where(block.c.person_key == away)).scalars().all()
    blocks = [from_terms(each) for each in terms]
    changed = _last_changes(connection, [each.block_id for each in blocks])
    mine = [each for each in blocks if each.patient_id in halves.moved]
    for each in mine:
        row = block.update().where(block.c.person_key == away, block.c.block_id == each.block_id)
        connection.execute(row.values(person_key=back))
    copied: list[Block] = []
    for each in blocks:
        ended = each.valid_to is not None and each.valid_to <= now
        if not ended and changed.get(each.block_id, _NEVER) > halves.one_since(each.patient_id):
            other = halves.survivor if each in mine else halves.moved[0]
            copied.append(each)
            keep(connection, replace(each, patient_id=other), BlockChange.SET, by, now, renamed=_new_id)
    lifted = [each.block_id for each in blocks if _lifted_since(connection, each, halves.since)]
    return Separation(
        halves.survivor,
        halves.moved,
        tuple(sorted(each.block_id for each in mine)),
        tuple(sorted(each.block_id for each in copied)),
        tuple(sorted(lifted)),
    )


def _last_changes(connection: Connection, block_ids: Collection[str]) -> dict[str, int]:
    """When each block was last set or brought to more documents, as the number of that change."""
    grew = block_history.c.change.in_((BlockChange.SET.value, BlockChange.EXTENDED.value))
    last = sa.select(block_history.c.block_id, sa.func.max(block_history.c.sequence))
    found = connection.execute(
        last.where(block_history.c.block_id.in_(block_ids), grew).group_by(block_history.c.block_id)
    )
    return {block_id: int(sequence) for block_id, sequence in found}


def _lifted_since(connection: Connection, each: Block, since: int) -> bool:
    lifted = block_history.c.change == BlockChange.LIFTED.value
    found = sa.select(sa.literal(1)).where(
        block_history.c.block_id == each.block_id, lifted, block_history.c.sequence > since
    )
    return connection.execute(found).first() is not None
