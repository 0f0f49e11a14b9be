"""How two patient identifiers become one person, and how an operator takes that back.

A merge moves pointers and blocks; documents stay under the identifier they were registered for, so that everything can
go back. Each change has a line of history that says who made it, when, and what moved. Blocks follow the person:
after a separation each half has the blocks it came with, and those set while both were one person hold for both halves
(fail closed: whose they are is not known any more). Sources: ITI TF-2 3.8.4.2, 3.44.4.3; docs/operations.md.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from policy.blocks import Block
from registry.blocks import BlockChange, decide_again, extend, from_terms, identities_of, keep, to_terms
from registry.database.engine import Undone
from registry.database.rows import instant, microseconds
from registry.database.tables import (
    block,
    block_history,
    patient,
    patient_alias,
    patient_history,
    patient_key,
)
from registry.people.identities import identity_set, make_known, survivor_of


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
    sequence = decide_again(connection)
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
    _mark_blocks(connection, survivor, identity_set(connection, survivor))
    _mark_blocks(connection, subsumed, frozenset(moved))
    connection.execute(patient_alias.delete().where(patient_alias.c.patient_key == key))
    _point(connection, moved, survivor)
    blocks = _move_blocks(connection, key, patient_key(survivor), sequence)
    # Versions of a blocked document may lie under the other number: from now on they are versions of this person's.
    extend(connection, {survivor, *moved}, now, by)
    line = Line(sequence, now, by, Change.MERGED, survivor, subsumed, moved, blocks)
    return _write(connection, line)


def separate(connection: Connection, subsumed: str, by: str, now: datetime) -> Separation:
    """Takes the merge of `subsumed` back: it and what was merged into it before are a person of their own again.

    Documents are shown under the person of the identifier they were registered for. Counts as a change to blocks.
    Raises: MergeRefused.
    """
    sequence = decide_again(connection)
    survivor = survivor_of(connection, subsumed)
    if survivor in (None, subsumed):
        raise MergeRefused(Obstacle.NOT_SUBSUMED)
    assert survivor is not None
    person = identity_set(connection, subsumed)
    merges = _in_force(history(connection, person))
    undone = merges[subsumed]
    moved = (subsumed, *sorted(_under(subsumed, merges.values())))
    connection.execute(patient_alias.delete().where(patient_alias.c.alias.in_(moved), _of_person(survivor)))
    _point(connection, moved, subsumed)
    done = _share_blocks(connection, _Halves(survivor, moved, person - {*moved}, undone.sequence), by, now)
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


def _under(patient_id: str, merges: Collection[Line]) -> frozenset[str]:
    """Those that were merged into this identifier, and into those: what else its own merge took along has left since.

    What moved with that merge is no help: it may have left by a separation from somebody who has left as well.
    """
    found: set[str] = set()
    reached = {patient_id}
    while reached:
        reached = {line.subsumed for line in merges if line.survivor in reached}
        found |= reached
    return frozenset(found)


# Blocks --------------------------------------------------------------------------------------------------------------


def _blocks(connection: Connection, key: int) -> list[tuple[Block, frozenset[str] | None]]:
    """Each block of one person, with the identifiers it holds for if those may be fewer than the person's."""
    found = connection.execute(sa.select(block.c.terms).where(block.c.person_key == key)).scalars()
    return [(from_terms(terms), identities_of(terms)) for terms in found.all()]


def _row(key: int, block_id: str) -> sa.Update:
    return block.update().where(block.c.person_key == key, block.c.block_id == block_id)


def _mark_blocks(connection: Connection, survivor: str, person: frozenset[str]) -> None:
    """Notes whom each block of one person holds for, before that person becomes one with another."""
    key = patient_key(survivor)
    for each, identities in _blocks(connection, key):
        if identities is None:
            connection.execute(_row(key, each.block_id).values(terms=to_terms(each, person)))


def _move_blocks(connection: Connection, key: int, to: int, sequence: int) -> tuple[str, ...]:
    """Every block of one person to another; one whose id the other has too goes on under a new id."""
    held = {each.block_id for each, _ in _blocks(connection, to)}
    moved: list[str] = []
    for each, identities in _blocks(connection, key):
        new = replace(each, block_id=_new_id(each.block_id, sequence)) if each.block_id in held else each
        values = {"person_key": to, "block_id": new.block_id, "terms": to_terms(new, identities)}
        connection.execute(_row(key, each.block_id).values(values))
        moved.append(new.block_id)
    return tuple(sorted(moved))


def _new_id(block_id: str, sequence: int) -> str:
    return f"{block_id}+{sequence}"


@dataclass(frozen=True, slots=True)
class _Halves:
    """Two halves of what was one person since the merge with this number."""

    survivor: str
    moved: tuple[str, ...]
    stayed: frozenset[str]
    since: int


def _share_blocks(connection: Connection, halves: _Halves, by: str, now: datetime) -> Separation:
    """Gives each half the blocks that hold for any of its identifiers; those that hold for both, to both.

    What a block holds for is divided with it. So neither the merge that is taken back, nor a later one and its
    separation, brings a block to anybody who was another person when it was set.
    """
    back, away = patient_key(halves.moved[0]), patient_key(halves.survivor)
    blocks = [(each, among or halves.stayed.union(halves.moved)) for each, among in _blocks(connection, away)]
    copied: list[str] = []
    for each, identities in blocks:
        mine = each.patient_id in halves.moved
        others = identities & halves.stayed if mine else identities.intersection(halves.moved)
        values = {"person_key": back if mine else away, "terms": to_terms(each, identities - others)}
        connection.execute(_row(away, each.block_id).values(values))
        if others and not _ended(each, now):
            copied.append(each.block_id)
            copy = replace(each, patient_id=_first(others, halves))
            keep(connection, copy, BlockChange.SET, by, now, renamed=_new_id, identities=others)
    return Separation(
        halves.survivor,
        halves.moved,
        tuple(sorted(each.block_id for each, _ in blocks if each.patient_id in halves.moved)),
        tuple(sorted(copied)),
        tuple(sorted(each.block_id for each, _ in blocks if _lifted_since(connection, each, halves.since))),
    )


def _ended(each: Block, now: datetime) -> bool:
    """Whether a block holds no more; one lifted at its own first instant ends an instant later."""
    return each.valid_to is not None and each.valid_to <= max(now, each.valid_from + datetime.resolution)


def _first(identities: frozenset[str], halves: _Halves) -> str:
    """Whose a block of several is said to be: if it can be, theirs whom the half lives on under."""
    return next((each for each in (halves.survivor, halves.moved[0]) if each in identities), min(identities))


def _lifted_since(connection: Connection, each: Block, since: int) -> bool:
    lifted = block_history.c.change == BlockChange.LIFTED.value
    found = sa.select(sa.literal(1)).where(
        block_history.c.block_id == each.block_id, lifted, block_history.c.sequence > since
    )
    return connection.execute(found).first() is not None
