"""The patients' blocks as the registry's database keeps them: read at the moment of decision, each change numbered.

Implements policy.facts.Blocks. The number of a change is given under a lock that is held until it is committed, so that
whoever sees number n sees every change up to n: a decision is still good if the number has not moved since.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from policy.blocks import Block, BlockKind, Setter
from policy.facts import Basis, BlocksUnavailable
from registry.database.engine import Database, StoreTrouble, Undone
from registry.database.rows import instant, microseconds
from registry.database.statements import Prepared
from registry.database.tables import block, block_history, block_journal, document, patient, patient_key
from registry.lineage import relatives
from registry.people.identities import identity_set, is_known

_PERSON = (
    sa.select(patient.c.survivor_key)
    .where(patient.c.patient_key == sa.bindparam("key"), patient.c.patient_id == sa.bindparam("patient_id"))
    .scalar_subquery()
)
"""One person's blocks stand under the survivor's key; a patient nobody registered for has blocks under its own."""
_BLOCKS = Prepared(
    sa.select(block.c.terms).where(
        block.c.person_key == sa.func.coalesce(_PERSON, sa.bindparam("key", type_=sa.BigInteger))
    )
)
_LAST_CHANGE = sa.select(block_journal.c.sequence).where(block_journal.c.id == 1)
_SEQUENCE = Prepared(_LAST_CHANGE)
_TURN = _LAST_CHANGE.with_for_update()
"""Taken by whoever sets or lifts a block and by whoever ties documents together, before they look: of two that look at
the same time each would miss what the other writes, and a merge in between would bring a block whose id the one looking
has found free, to be written over (on SQLite writers have their turns anyway)."""


class BlockChange(StrEnum):
    """What was done to a block."""

    SET = "set"
    LIFTED = "lifted"
    EXTENDED = "extended"
    """A new version of a blocked document came under the block."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a block's history."""

    sequence: int
    at: datetime
    by: str
    change: BlockChange
    block: Block


class BlockRefused(Undone):
    """A block that cannot be set or lifted: its id is taken by other terms, or names none. `str()` says which."""


class BlockBook:
    """The blocks of one registry database. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, patient_ids: Iterable[str]) -> Mapping[str, tuple[Block, ...]]:
        """Blocks (in force or not) of each patient's whole identity set, by the CX asked.

        Raises: BlocksUnavailable, also for one single block that cannot be read: part of the truth is not it.
        """
        try:
            with self._database.reading() as connection:
                return {each: tuple(_blocks(connection, each)) for each in patient_ids}
        except (StoreTrouble, ValueError, KeyError, OverflowError) as trouble:
            raise BlocksUnavailable(type(trouble).__name__) from trouble

    def knows(self, patient_id: str) -> bool:
        """Whether anything was ever registered for exactly this CX. Raises BlocksUnavailable."""
        try:
            with self._database.reading() as connection:
                return is_known(connection, patient_id)
        except StoreTrouble as trouble:
            raise BlocksUnavailable(str(trouble)) from trouble

    def unmet(self, patient_id: str, documents: Collection[str]) -> frozenset[str]:
        """Those of these uniqueIds that no document of this person has. Raises BlocksUnavailable."""
        try:
            with self._database.reading() as connection:
                keys = {patient_key(each) for each in identity_set(connection, patient_id)}
                held = sa.select(document.c.unique_id).where(
                    document.c.patient_key.in_(keys), document.c.unique_id.in_(documents)
                )
                return frozenset(documents) - set(connection.execute(held).scalars())
        except StoreTrouble as trouble:
            raise BlocksUnavailable(str(trouble)) from trouble

    def sequence(self) -> int:
        """Number of the last change to any block, or to who is one person. Raises BlocksUnavailable."""
        try:
            with self._database.reading() as connection:
                return _sequence(connection)
        except StoreTrouble as trouble:
            raise BlocksUnavailable(str(trouble)) from trouble

    def glance(self) -> int | None:
        """sequence() for an event loop: read from memory without waiting, or None where it must be asked for."""
        found = self._database.glance(_SEQUENCE)
        return None if found is None else int(found[0][0])

    def list(self, patient_id: str) -> tuple[Block, ...]:
        """The blocks of one person, oldest first. Raises BlocksUnavailable."""
        return tuple(sorted(self.of((patient_id,))[patient_id], key=lambda each: (each.valid_from, each.block_id)))

    def set_block(self, new: Block, by: str, now: datetime) -> int:
        """Sets a block; when this returns, no decision that starts later misses it. Returns the change's number.

        A block of documents also covers what replaces, transforms or is appended to them, and what they replaced.
        Setting the same block again changes nothing. Raises: BlockRefused where its id has other terms; StoreTrouble.
        """
        return self._database.write(lambda connection: _set(connection, new, by, now))

    def lift(self, patient_id: str, block_id: str, by: str, now: datetime) -> int:
        """Ends a block at `now`; the next decision no longer sees it in force. Returns the change's number.

        Raises: BlockRefused where this person has no such block, or it has ended before; StoreTrouble.
        """
        return self._database.write(lambda connection: _lift(connection, patient_id, block_id, by, now))

    def history(self, block_id: str) -> tuple[Change, ...]:
        """Everything that was done to a block, oldest first. Raises StoreTrouble."""
        lines = sa.select(block_history).where(block_history.c.block_id == block_id).order_by(block_history.c.sequence)
        with self._database.reading() as connection:
            return tuple(
                Change(row.sequence, instant(row.at), row.by, BlockChange(row.change), from_terms(row.terms))
                for row in connection.execute(lines)
            )


def extend(connection: Connection, identities: Iterable[str], now: datetime, by: str) -> None:
    """Brings documents that were just tied to blocked ones under their blocks, in the transaction that tied them."""
    people = frozenset(identities)
    connection.execute(_TURN)
    for old in _blocks(connection, min(people)):
        if not old.documents:
            continue
        covered = relatives(connection, {patient_key(each) for each in people}, old.documents)
        if covered != old.documents:
            keep(connection, replace(old, documents=covered), BlockChange.EXTENDED, by, now)


def decide_again(connection: Connection) -> int:
    """Makes every decision that is under way be made again once this is committed, as a change of a block does.

    For writers that take away what a decision may stand on. Returns the change's number; whoever sets a block, merges
    or separates waits for the commit, so what only takes away calls it last, and what looks at blocks calls it first.
    """
    journal = block_journal.update().where(block_journal.c.id == 1).values(sequence=block_journal.c.sequence + 1)
    return int(connection.execute(journal.returning(block_journal.c.sequence)).scalar_one())


def _set(connection: Connection, new: Block, by: str, now: datetime) -> int:
    connection.execute(_TURN)
    people = identity_set(connection, new.patient_id)
    if new.documents:
        keys = {patient_key(each) for each in people}
        new = replace(new, documents=relatives(connection, keys, new.documents))
    for old in _blocks(connection, new.patient_id):
        if old == new:
            return _sequence(connection)
        if old.block_id == new.block_id:
            raise BlockRefused(f"the block {new.block_id} has other terms already")
    return keep(connection, new, BlockChange.SET, by, now)


def _lift(connection: Connection, patient_id: str, block_id: str, by: str, now: datetime) -> int:
    connection.execute(_TURN)
    for old in _blocks(connection, patient_id):
        if old.block_id == block_id and (old.valid_to is None or now < old.valid_to):
            # One that was never in force is lifted from its first instant on.
            end = max(now, old.valid_from + datetime.resolution)
            return keep(connection, replace(old, valid_to=end), BlockChange.LIFTED, by, now)
    raise BlockRefused(f"the patient has no block {block_id} to lift")


def keep(
    connection: Connection,
    new: Block,
    change: BlockChange,
    by: str,
    now: datetime,
    renamed: Callable[[str, int], str] | None = None,
    identities: frozenset[str] | None = None,
) -> int:
    """Writes a block as it is now, and the line of its history; returns the change's number.

    With `renamed` it is kept under another id, made of its own and that number. `identities` as in to_terms().
    """
    sequence = decide_again(connection)
    if renamed is not None:
        new = replace(new, block_id=renamed(new.block_id, sequence))
    key = patient_key(new.patient_id)
    person = connection.execute(
        sa.select(patient.c.survivor_key).where(patient.c.patient_key == key, patient.c.patient_id == new.patient_id)
    ).scalar()
    row = {
        "person_key": key if person is None else person,
        "block_id": new.block_id,
        "terms": to_terms(new, identities),
    }
    where = (block.c.person_key == row["person_key"], block.c.block_id == new.block_id)
    connection.execute(block.delete().where(*where))
    connection.execute(block.insert(), row)
    line = {"sequence": sequence, "at": microseconds(now), "by": by, "change": change.value}
    connection.execute(block_history.insert(), {**line, "block_id": new.block_id, "terms": row["terms"]})
    return sequence


def _blocks(connection: Connection, patient_id: str) -> Iterable[Block]:
    values = {"key": patient_key(patient_id), "patient_id": patient_id}
    return [from_terms(terms) for (terms,) in _BLOCKS.rows(connection, values)]


def _sequence(connection: Connection) -> int:
    return int(_SEQUENCE.rows(connection, {})[0][0])


def to_terms(each: Block, identities: frozenset[str] | None = None) -> str:
    """A block as its row keeps it, with the identifiers that would keep it in a separation if those are not all."""
    among = {} if identities is None else {"identities": sorted(identities)}
    return json.dumps(
        {
            **among,
            "block_id": each.block_id,
            "kind": each.kind.value,
            "patient_id": each.patient_id,
            "set_by": each.set_by.value,
            "valid_from": microseconds(each.valid_from),
            "valid_to": None if each.valid_to is None else microseconds(each.valid_to),
            "person": each.person,
            "organisation": each.organisation,
            "department": each.department,
            "source": each.source,
            "documents": sorted(each.documents),
            "overridable_by": None if each.overridable_by is None else sorted(each.overridable_by),
        },
        sort_keys=True,
    )


def identities_of(terms: str) -> frozenset[str] | None:
    """The identifiers that to_terms() was given: None, all of the person's, for a block set or extended as it is."""
    among = json.loads(terms).get("identities")
    return None if among is None else frozenset(among)


def from_terms(terms: str) -> Block:
    """The block of a row. Raises ValueError, KeyError or OverflowError for terms that this version cannot mean."""
    read = json.loads(terms)
    by = read["overridable_by"]
    return Block(
        block_id=read["block_id"],
        kind=BlockKind(read["kind"]),
        patient_id=read["patient_id"],
        set_by=Setter(read["set_by"]),
        valid_from=instant(read["valid_from"]),
        valid_to=None if read["valid_to"] is None else instant(read["valid_to"]),
        person=read["person"],
        organisation=read["organisation"],
        department=read["department"],
        source=read["source"],
        documents=frozenset(read["documents"]),
        overridable_by=None if by is None else frozenset(Basis(each) for each in by),
    )
