"""What took the place of deprecated entries: where those are shared, one shows only if its replacement does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.names import Status
from policy.facts import DocumentKey, EntryFacts
from registry.lineage import REPLACING
from registry.patients import identity_set
from registry.tables import DECOY_UUID, association, document, patient_key, uuid_bytes, uuid_text

Families = Mapping[DocumentKey, tuple[EntryFacts, ...]]
FamiliesOf = Callable[[Connection, Collection[str]], Families]
"""The families of all documents with these uniqueIds."""


def replaced_by(
    connection: Connection, entries: Iterable[EntryFacts], families_of: FamiliesOf
) -> dict[str, tuple[tuple[EntryFacts, ...], ...]]:
    """Per deprecated entry (by entryUUID) the family of each document that replaced it. Needs a snapshot.

    Where nothing is deprecated the same statements look for nobody's, so that it does not tell by time.
    """
    deprecated = [entry for entry in entries if entry.status is Status.DEPRECATED]
    people = {entry.patient_id for entry in deprecated} or {""}
    keys = {patient_key(each) for person in people for each in identity_set(connection, person)}
    later: dict[bytes, set[bytes]] = defaultdict(set)
    front = {raw for entry in deprecated if (raw := uuid_bytes(entry.entry_uuid)) is not None} or {DECOY_UUID}
    seen: set[bytes] = set()
    while front:
        seen |= front
        steps = sa.select(association.c.target, association.c.source).where(
            association.c.patient_key.in_(keys), association.c.target.in_(front), association.c.type.in_(REPLACING)
        )
        for row in connection.execute(steps):
            later[row.target].add(row.source)
        front = {raw for old in front for raw in later[old]} - seen
    placed = sa.select(document.c.entry_uuid, document.c.unique_id).where(
        document.c.patient_key.in_(keys), document.c.entry_uuid.in_(seen)
    )
    unique_ids = {row.entry_uuid: row.unique_id for row in connection.execute(placed)}
    families = families_of(connection, frozenset(unique_ids.values()))
    by_entry = {entry.entry_uuid: family for family in families.values() for entry in family}
    return {
        entry.entry_uuid: tuple(
            by_entry[uuid_text(raw)] for raw in _after(uuid_bytes(entry.entry_uuid), later) if raw in unique_ids
        )
        for entry in deprecated
    }


def _after(old: bytes | None, later: Mapping[bytes, set[bytes]]) -> list[bytes]:
    """Everything that came after, nearest first."""
    found: list[bytes] = []
    front = sorted(later.get(old, ())) if old is not None else []
    while front:
        found += front
        front = sorted({raw for each in front for raw in later.get(each, ())} - set(found))
    return found
