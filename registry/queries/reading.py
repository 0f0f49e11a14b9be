"""Finding entries: each question is one prebuilt statement per shape, answered from the rows of one patient or by key.

A row carries everything that decides about its entry; the XML stays deflated until somebody may see it. Whoever asks by
id costs the same statements and the same rows whether the id is known or not: for an unknown one the decoy row is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.errors import XdsFailure
from ihe.names import Code
from policy.facts import DocumentKey, EntryFacts
from registry.database.rows import (
    BODY,
    ENTRY_AUTHORS,
    FACTS,
    LEAF,
    PATIENT_ID,
    SHARED,
    UNIQUE_ID,
    WITH_PATIENT,
    AnyRow,
    Columns,
)
from registry.database.statements import LENGTHS, MOST_ACROSS, Prepared, bound, listed, padded
from registry.database.tables import (
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
from registry.database.vocabulary import Vocabulary
from registry.queries.find import FindStatements
from registry.queries.replacements import replaced_by
from registry.queries.stored_queries import EVERYBODY, Everybody, FindDocuments, GetDocuments


@lru_cache(LENGTHS)
def _directory(uuids: int) -> Prepared:
    wanted = listed(object_dir.c.entry_uuid, "uuid", uuids)
    return Prepared(sa.select(object_dir.c.kind, object_dir.c.uid_hash).where(wanted))


@lru_cache(LENGTHS)
def _holders(hashes: int) -> Prepared:
    held = sa.select(uid_claim.c.uid_hash, uid_claim.c.patient_key, uid_claim.c.entry_uuid)
    documents = uid_claim.c.kind == int(ObjectKind.DOCUMENT)
    return Prepared(held.where(listed(uid_claim.c.uid_hash, "hash", hashes), documents))


@lru_cache(LENGTHS**2)
def _entries(keys: int, uuids: int, leaf: bool) -> Prepared:
    # Not as pairs: SQLite reads the whole table for a list of pairs (measured plan). An entryUUID has one place only.
    places = listed(document.c.patient_key, "key", keys), listed(document.c.entry_uuid, "uuid", uuids)
    return Prepared(sa.select(*(LEAF if leaf else FACTS)).select_from(WITH_PATIENT).where(*places))


_NO_BODY = (0, b"")
_NOBODYS_HASH = bytes(16)


class Found(NamedTuple):
    """One entry that matches a query: what decides about it, and its body still deflated (empty for ObjectRef)."""

    facts: EntryFacts
    family: tuple[EntryFacts, ...]
    """Every entry with the same (repositoryUniqueId, uniqueId), whoever's; this one included."""
    codec: int
    stored: bytes
    replaced_by: tuple[tuple[EntryFacts, ...], ...] = ()
    """The family of each document that replaced a deprecated entry; filled in by Reader.with_replacements."""

    @property
    def superseded(self) -> bool:
        """Whether there is a newer version of the same logical entry (ITI-57)."""
        facts = self.facts
        return any(each.lid == facts.lid and each.version > facts.version for each in self.family)


@dataclass(frozen=True, slots=True)
class Hits:
    """What was found by id, and the decoy once for each id that found nothing: to be judged alike, and never shown."""

    found: tuple[Found, ...]
    decoys: tuple[Found, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of asked documents."""

    families: Mapping[DocumentKey, tuple[EntryFacts, ...]]
    """Of each; empty for an unknown one."""
    replaced_by: Mapping[str, tuple[tuple[EntryFacts, ...], ...]]
    """By entryUUID, the families of the documents that replaced each entry, nearest first; empty unless asked for."""
    decoys: Mapping[DocumentKey, EntryFacts]
    """An entry of nobody for each unknown document: to be judged in its place, and never shown."""


class Reader:
    """Runs the two stored queries and the lookup of the proxy on a connection it is given."""

    def __init__(self, vocabulary: Vocabulary, on_sqlite: bool) -> None:
        self._columns = Columns(vocabulary)
        self.facts = self._columns.facts
        self._statements = FindStatements(vocabulary, on_sqlite)

    def find(
        self, connection: Connection, query: FindDocuments, keys: Mapping[int, str] | Everybody, leaf: bool
    ) -> list[Found]:
        """Entries of the patients with these keys, each with the CX that must stand there."""
        statement, values = self._statements.of(query, keys if keys is EVERYBODY else tuple(keys), leaf)
        rows = statement.rows(connection, values)
        if keys is EVERYBODY:
            refuse_reports(len(rows))
        else:
            known = set(keys.values())
            rows = [row for row in rows if row[PATIENT_ID] in known]
        if query.sifts_authors:
            rows = [row for row in rows if query.matches_author(row[ENTRY_AUTHORS])]
        facts = self.facts
        found = [(row, facts(row)) for row in rows]
        shared = {row[UNIQUE_ID] for row, _ in found if row[SHARED]}
        if not shared:
            return [Found(each, (each,), *(row[BODY:] if leaf else _NO_BODY)) for row, each in found]
        families = self.families(connection, shared)
        return [_found(row, each, families, leaf) for row, each in found]

    def get(self, connection: Connection, query: GetDocuments, leaf: bool) -> Hits:
        """Entries by entryUUID, uniqueId or logical id, of any patient. Needs a snapshot."""
        uuids = query.entry_uuids or query.logical_ids
        wanted = {raw for each in uuids if (raw := uuid_bytes(each)) is not None}
        hashes = {uid_hash(each) for each in query.unique_ids}
        if uuids:
            asked = padded(sorted(wanted), DECOY_UUID)
            known = _directory(len(asked)).rows(connection, bound("uuid", asked))
            hashes = {found for kind, found in known if kind == ObjectKind.DOCUMENT}
        unique_ids = set(query.unique_ids)
        rows = self._rows(connection, hashes, len({*uuids, *unique_ids}), leaf)
        # Reading a row costs time; an id without one must cost it too, however many of them are asked at once.
        read = [(row, self._columns.facts(row)) for row in rows]
        families = _by_family(facts for _, facts in read)
        # A logical id is the entryUUID of the first version; all versions have one uniqueId.
        by = 1 if query.logical_ids else 0
        hits = [
            _found(row, facts, families, leaf)
            for row, facts in read
            if row[by] in wanted or facts.unique_id in unique_ids or not row[PATIENT_ID]
        ]
        newest = bool(unique_ids) and query.level == 1
        found = tuple(each for each in hits if each.facts.patient_id and not (newest and each.superseded))
        return Hits(found, tuple(each for each in hits if not each.facts.patient_id))

    def lookup(self, connection: Connection, asked: Sequence[DocumentKey], replacements: bool) -> Known:
        """What is known of each asked document, with `replacements` also what replaced it. Needs a snapshot."""
        unique_ids = {key.unique_id for key in asked}
        rows = self._rows(connection, {uid_hash(each) for each in unique_ids}, len(unique_ids), leaf=False)
        families = _by_family(self._columns.facts(row) for row in rows if row[PATIENT_ID])
        known = {key: families.get(key, ()) for key in asked}
        entries = [entry for family in known.values() for entry in family]
        later = self.replaced_by(connection, entries) if replacements else {}
        # An id may be known, and not from this repository: then a row of what is known stands in.
        decoys = {key: self._columns.facts(rows[-1], key) for key, family in known.items() if not family}
        return Known(known, later, decoys)

    def with_replacements(self, connection: Connection, found: Iterable[Found]) -> tuple[Found, ...]:
        """`found` with what replaced its deprecated entries. Needs a snapshot."""
        found = tuple(found)
        later = self.replaced_by(connection, (each.facts for each in found))
        return tuple(each._replace(replaced_by=later.get(each.facts.entry_uuid, ())) for each in found)

    def replaced_by(
        self, connection: Connection, entries: Iterable[EntryFacts]
    ) -> dict[str, tuple[tuple[EntryFacts, ...], ...]]:
        """By entryUUID, the families of what replaced each deprecated one of these. Needs a snapshot."""
        return replaced_by(connection, entries, self.families)

    def families(self, connection: Connection, unique_ids: Iterable[str]) -> dict[DocumentKey, tuple[EntryFacts, ...]]:
        """All entries that carry these uniqueIds, whoever's, by document. Needs a snapshot."""
        hashes = {uid_hash(each) for each in unique_ids}
        rows = self._rows(connection, hashes, len(hashes), leaf=False)
        return _by_family(self._columns.facts(row) for row in rows if row[PATIENT_ID])

    def _rows(self, connection: Connection, hashes: set[bytes], asked: int, leaf: bool) -> list[AnyRow]:
        """Every entry that holds one of these uniqueIds; at the end the decoy, once for each that nobody holds."""
        wanted = padded(sorted(hashes), _NOBODYS_HASH)
        holders = _holders(len(wanted)).rows(connection, bound("hash", wanted))
        keys = {key for _, key, _ in holders}
        uuids = {uuid for _, _, uuid in holders}
        missing = asked - len({unique for unique, _, _ in holders})
        if missing > 0:
            keys.add(DECOY_KEY)
            uuids.add(DECOY_UUID)
        places = padded(sorted(keys), IMPOSSIBLE_KEY), padded(sorted(uuids), _NOBODYS_HASH)
        statement = _entries(len(places[0]), len(places[1]), leaf)
        rows = statement.rows(connection, bound("key", places[0]) | bound("uuid", places[1]))
        found = [row for row in rows if row[PATIENT_ID]]
        return found + [row for row in rows if not row[PATIENT_ID]] * missing


def refuse_reports(rows: int) -> None:
    """Raises XdsFailure (XDSTooManyResults) where a question about everybody matched more than can be looked at."""
    if rows > MOST_ACROSS:
        raise XdsFailure.of(Code.TOO_MANY_RESULTS, "name patients, or narrow it")


def _found(row: AnyRow, facts: EntryFacts, families: Mapping[DocumentKey, tuple[EntryFacts, ...]], leaf: bool) -> Found:
    family = families.get(facts.key, ())
    others = tuple(each for each in family if each.entry_uuid != facts.entry_uuid)
    return Found(facts, (facts, *others), *(row[BODY:] if leaf else _NO_BODY))


def _by_family(entries: Iterable[EntryFacts]) -> dict[DocumentKey, tuple[EntryFacts, ...]]:
    families: dict[DocumentKey, tuple[EntryFacts, ...]] = {}
    for entry in entries:
        families[entry.key] = (*families.get(entry.key, ()), entry)
    return families
