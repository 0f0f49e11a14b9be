"""What took the place of deprecated entries: where those are shared, one shows only if its replacement does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.names import Status
from policy.facts import DocumentKey, EntryFacts
from registry.database.tables import DECOY_UUID, association, patient_key, uuid_bytes, uuid_text
from registry.lineage import REPLACING, versions
from registry.people.identities import identity_set

Families = Mapping[DocumentKey, tuple[EntryFacts, ...]]
FamiliesOf = Callable[[Connection, Collection[str]], Families]
"""The families of all documents with these uniqueIds."""


def replaced_by(
    connection: Connection, entries: Iterable[EntryFacts], families_of: FamiliesOf
) -> dict[str, tuple[tuple[EntryFacts, ...], ...]]:
    """Per deprecated entry (by entryUUID) the family of each document that replaced it. Needs a snapshot.

    A replacement of one version is one of all (ITI-57): a superseded version does not outlive the latest.
    Where nothing is deprecated the same statements look for nobody's, so that it does not tell by time.
    """
    deprecated = [entry for entry in entries if entry.status is Status.DEPRECATED]
    people = {entry.patient_id for entry in deprecated} or {""}
    keys = {patient_key(each) for person in people for each in identity_set(connection, person)}
    lines: dict[bytes, bytes] = {}
    unique_ids: dict[bytes, str] = {}
    steps: list[tuple[bytes, bytes]] = []
    front = {raw for entry in deprecated if (raw := uuid_bytes(entry.entry_uuid)) is not None} or {DECOY_UUID}
    seen: set[bytes] = set()
    while front:
        for row in versions(connection, keys, front):
            lines[row.entry_uuid], unique_ids[row.lid] = row.lid, row.unique_id
            front.add(row.entry_uuid)
        seen |= front
        replacing = sa.select(association.c.target, association.c.source).where(
            association.c.patient_key.in_(keys), association.c.target.in_(front), association.c.type.in_(REPLACING)
        )
        found = [(row.target, row.source) for row in connection.execute(replacing)]
        steps += found
        front = {source for _, source in found} - seen
    later: dict[bytes, set[bytes]] = defaultdict(set)
    for old, new in steps:
        if new in lines:
            later[lines.get(old, old)].add(lines[new])
    families = families_of(connection, frozenset(unique_ids.values()))
    by_line = {entry.lid: family for family in families.values() for entry in family}
    return {
        entry.entry_uuid: tuple(by_line[uuid_text(raw)] for raw in _after(uuid_bytes(entry.lid), later))
        for entry in deprecated
    }


def _after(old: bytes | None, later: Mapping[bytes, set[bytes]]) -> list[bytes]:
    """Every logical entry that came after this one, nearest first."""
    found: list[bytes] = []
    seen = {old}
    front = sorted(later.get(old, set()) - {old}) if old is not None else []
    while front:
        found += front
        seen.update(front)
        front = sorted({raw for each in front for raw in later.get(each, ())} - seen)
    return found
