"""Finding entries: each question is one prebuilt statement per shape, answered from the rows of one patient or by key.

A row carries everything that decides about its entry; the XML stays deflated until somebody may see it. Whoever asks by
id costs the same statements and the same rows whether the id is known or not: for an unknown one the decoy row is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from policy.facts import DocumentKey, EntryFacts
from registry.find import FindStatements
from registry.replacements import replaced_by
from registry.rows import BODY, FACTS, LEAF, PATIENT_ID, SHARED, UNIQUE_ID, WITH_PATIENT, AnyRow, Columns
from registry.statements import padded
from registry.stored_queries import FindDocuments, GetDocuments
from registry.tables import (
    DECOY_KEY,
    DECOY_UUID,
    IMPOSSIBLE_KEY,
    ObjectKind,
    document,
    object_dir,
    uid_claim,
    uid_hash,
    uuid_bytes,
)
from registry.vocabulary import Vocabulary

_DIRECTORY = sa.select(object_dir.c.entry_uuid, object_dir.c.kind, object_dir.c.uid_hash).where(
    object_dir.c.entry_uuid.in_(sa.bindparam("uuids", expanding=True))
)
_HOLDERS = sa.select(uid_claim.c.uid_hash, uid_claim.c.patient_key, uid_claim.c.entry_uuid).where(
    uid_claim.c.uid_hash.in_(sa.bindparam("hashes", expanding=True)), uid_claim.c.kind == int(ObjectKind.DOCUMENT)
)
# Not as pairs: SQLite reads the whole table for a list of pairs (measured plan). An entryUUID has one place only.
_BY_KEY = sa.and_(
    document.c.patient_key.in_(sa.bindparam("keys", expanding=True)),
    document.c.entry_uuid.in_(sa.bindparam("uuids", expanding=True)),
)
_FACTS_BY_KEY = sa.select(*FACTS).select_from(WITH_PATIENT).where(_BY_KEY)
_LEAF_BY_KEY = sa.select(*LEAF).select_from(WITH_PATIENT).where(_BY_KEY)

_Read = tuple[AnyRow, EntryFacts]
_NO_BODY = (0, b"")
_NOBODYS_HASH = bytes(16)


@dataclass(frozen=True, slots=True)
class Found:
    """One entry that matches a query: what decides about it, and its body still deflated (empty for ObjectRef)."""

    facts: EntryFacts
    family: tuple[EntryFacts, ...]
    """Every entry with the same (repositoryUniqueId, uniqueId), whoever's; this one included."""
    codec: int
    stored: bytes
    replaced_by: tuple[tuple[EntryFacts, ...], ...] = ()
    """The family of each document that replaced a deprecated entry; filled in by Reader.with_replacements."""


@dataclass(frozen=True, slots=True)
class Hits:
    """What was found by id, and the decoy once for each id that found nothing: to be judged alike, and never shown."""

    found: tuple[Found, ...]
    decoys: tuple[Found, ...]


class Reader:
    """Runs the two stored queries and the lookup of the proxy on a connection it is given."""

    def __init__(self, vocabulary: Vocabulary, on_sqlite: bool) -> None:
        self._columns = Columns(vocabulary)
        self._statements = FindStatements(vocabulary, on_sqlite)

    def find(self, connection: Connection, query: FindDocuments, keys: Mapping[int, str], leaf: bool) -> list[Found]:
        """Entries of one patient. `keys` are the patient keys to read, each with the CX that must stand there."""
        statement, values = self._statements.of(query, tuple(keys), leaf)
        rows = connection.execute(statement, values).all()
        if query.author_persons:
            rows = [row for row in rows if query.matches_author(row.authors)]
        known, facts = set(keys.values()), self._columns.facts
        found = [(row, facts(row)) for row in rows if row[PATIENT_ID] in known]
        shared = {row[UNIQUE_ID] for row, _ in found if row[SHARED]}
        if not shared:
            return [Found(each, (each,), *(row[BODY:] if leaf else _NO_BODY)) for row, each in found]
        families = self._families(connection, shared)
        return [_found(row, each, families, leaf) for row, each in found]

    def get(self, connection: Connection, query: GetDocuments, leaf: bool) -> Hits:
        """Entries by entryUUID or by uniqueId, of any patient. Needs a snapshot."""
        wanted = {raw for each in query.entry_uuids if (raw := uuid_bytes(each)) is not None}
        hashes = {uid_hash(each) for each in query.unique_ids}
        if query.entry_uuids:
            asked = padded(sorted(wanted), DECOY_UUID)
            known = connection.execute(_DIRECTORY, {"uuids": asked}).all()
            hashes = {row.uid_hash for row in known if row.kind == ObjectKind.DOCUMENT}
        rows, decoys = self._rows(connection, hashes, len({*query.entry_uuids, *query.unique_ids}), leaf)
        families = _by_family(facts for _, facts in rows)
        unique_ids = set(query.unique_ids)
        found = tuple(
            _found(row, facts, families, leaf)
            for row, facts in rows
            if row[0] in wanted or facts.unique_id in unique_ids
        )
        return Hits(found, tuple(_found(row, facts, families, leaf) for row, facts in decoys))

    def lookup(self, connection: Connection, asked: Sequence[DocumentKey]) -> dict[DocumentKey, tuple[EntryFacts, ...]]:
        """The family of each asked document; empty for an unknown one. Needs a snapshot."""
        unique_ids = {key.unique_id for key in asked}
        rows, _ = self._rows(connection, {uid_hash(each) for each in unique_ids}, len(unique_ids), leaf=False)
        families = _by_family(facts for _, facts in rows)
        return {key: families.get(key, ()) for key in asked}

    def with_replacements(self, connection: Connection, found: Iterable[Found]) -> tuple[Found, ...]:
        """`found` with what replaced its deprecated entries. Needs a snapshot."""
        found = tuple(found)
        later = self.replaced_by(connection, (each.facts for each in found))
        return tuple(replace(each, replaced_by=later.get(each.facts.entry_uuid, ())) for each in found)

    def replaced_by(
        self, connection: Connection, entries: Iterable[EntryFacts]
    ) -> dict[str, tuple[tuple[EntryFacts, ...], ...]]:
        """By entryUUID, the families of what replaced each deprecated one of these. Needs a snapshot."""
        return replaced_by(connection, entries, self._families)

    def _families(self, connection: Connection, unique_ids: Iterable[str]) -> dict[DocumentKey, tuple[EntryFacts, ...]]:
        hashes = {uid_hash(each) for each in unique_ids}
        rows, _ = self._rows(connection, hashes, len(hashes), leaf=False)
        return _by_family(facts for _, facts in rows)

    def _rows(
        self, connection: Connection, hashes: set[bytes], asked: int, leaf: bool
    ) -> tuple[list[_Read], list[_Read]]:
        """Every entry that holds one of these uniqueIds, and the decoy once for each of them that nobody holds."""
        holders = connection.execute(_HOLDERS, {"hashes": padded(sorted(hashes), _NOBODYS_HASH)}).all()
        keys = {holder.patient_key for holder in holders}
        uuids = {holder.entry_uuid for holder in holders}
        missing = asked - len({holder.uid_hash for holder in holders})
        if missing > 0:
            keys.add(DECOY_KEY)
            uuids.add(DECOY_UUID)
        statement = _LEAF_BY_KEY if leaf else _FACTS_BY_KEY
        values = {"keys": padded(sorted(keys), IMPOSSIBLE_KEY), "uuids": padded(sorted(uuids), _NOBODYS_HASH)}
        rows = connection.execute(statement, values).all()
        found: list[_Read] = []
        decoys: list[_Read] = []
        for row in rows:
            if row[PATIENT_ID]:
                found.append((row, self._columns.facts(row)))
            else:
                # Reading a row costs time; an id without one must cost it too, however many of them are asked at once.
                decoys += [(row, self._columns.facts(row)) for _ in range(missing)]
        return found, decoys


def _found(row: AnyRow, facts: EntryFacts, families: Mapping[DocumentKey, tuple[EntryFacts, ...]], leaf: bool) -> Found:
    family = families.get(facts.key, ())
    others = tuple(each for each in family if each.entry_uuid != facts.entry_uuid)
    return Found(facts, (facts, *others), *(row[BODY:] if leaf else _NO_BODY))


def _by_family(entries: Iterable[EntryFacts]) -> dict[DocumentKey, tuple[EntryFacts, ...]]:
    families: dict[DocumentKey, tuple[EntryFacts, ...]] = {}
    for entry in entries:
        families[entry.key] = (*families.get(entry.key, ()), entry)
    return families
