"""One ITI-62 removal in the database: rows go, their ids stay as tombstones; all of it or nothing.

What is removed is evaluated as a set, so that the order of ids means nothing. An entryUUID that was removed is never
given again, nor is the uniqueId of a set or folder; that of a document only for the same document (hash and size), so
that a source can take back a mistake. Locks are taken in the order of every writer (registry.changes.writing).
Source: IHE ITI supplement Remove Metadata and Documents 3.62; docs/decisions: removal and tombstones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from registry.blocks import decide_again
from registry.changes.claims import UNCLAIMED, locked_claims
from registry.changes.reach import (
    HAS_MEMBER,
    TABLE_OF,
    VERSIONED,
    Held,
    Place,
    Reach,
    everyones,
    known_as,
    lid_of,
    places,
    read,
)
from registry.database.rows import AnyRow, microseconds
from registry.database.tables import (
    REMOVED,
    ObjectKind,
    association,
    object_dir,
    uid_claim,
    uid_hash,
    uuid_bytes,
    uuid_text,
)
from registry.database.vocabulary import Vocabulary
from registry.rules.removal import KEPT_IN_SET, KNOWN_REMOVAL, OLDER_VERSIONS, UNREFERENCED_REMOVAL
from registry.rules.strictness import Verdict
from registry.rules.table import Rule, Violation


@dataclass(slots=True)
class Removal:
    """A removal on its way. `run` may be run again: everything it finds out starts afresh."""

    ids: tuple[str, ...]
    by: str
    now: datetime
    repositories: frozenset[str]
    """Those whose metadata the sender may remove."""
    vocabulary: Vocabulary

    def run(self, connection: Connection) -> None:
        """The whole transaction. Raises XdsFailure with everything that stands against it."""
        where = known_as(connection, self.ids)
        claims = _claims_of(connection, read(connection, where))
        # What somebody else has removed meanwhile is not among them: its rows are gone, and no id is given again.
        objects = read(connection, where, lock=True)
        reachable = Reach(self.by, self.repositories, self.vocabulary).of(connection, objects)
        verdict = Verdict()
        verdict.add(self._unknown(reachable))
        if verdict.rejects:
            raise verdict.failure
        keys = everyones(connection, {each.key for each in objects.values()})
        verdict.add(_referenced(connection, objects, keys))
        verdict.add(_older_versions(connection, objects))
        if not verdict.rejects:
            verdict.add(_orphans(connection, objects, keys))
        if verdict.rejects:
            raise verdict.failure
        _remove(connection, objects)
        _release(connection, objects, claims)
        tombs = object_dir.update().where(object_dir.c.entry_uuid.in_(sorted(objects)))
        connection.execute(tombs.values(removed_at=microseconds(self.now)))
        if any(each.kind is ObjectKind.DOCUMENT for each in objects.values()):
            decide_again(connection)

    def _unknown(self, reachable: Collection[bytes]) -> Iterator[Violation]:
        for each in self.ids:
            if uuid_bytes(each) not in reachable:
                yield _broken(KNOWN_REMOVAL, "an object that the sender may remove", each)


def _claims_of(connection: Connection, objects: Mapping[bytes, Held]) -> set[bytes]:
    """The uniqueIds of these objects as claims, to which nobody adds a holder meanwhile."""
    hashes = {uid_hash(each.row.unique_id) for each in objects.values() if each.kind is not ObjectKind.ASSOCIATION}
    if hashes:
        locked_claims(connection, hashes)
    return hashes


def _associations_at(
    connection: Connection, keys: Collection[int], ends: Iterable[bytes], column: sa.Column[bytes]
) -> Iterator[AnyRow]:
    """Associations that have one of these objects at this end."""
    for key in sorted(keys):
        found = sa.select(association).where(association.c.patient_key == key, column.in_(sorted(ends)))
        yield from connection.execute(found)


def _referenced(connection: Connection, objects: Mapping[bytes, Held], keys: Collection[int]) -> Iterator[Violation]:
    told: set[bytes] = set()
    for column in (association.c.source, association.c.target):
        for row in _associations_at(connection, keys, objects, column):
            end = bytes(row.source if column is association.c.source else row.target)
            if bytes(row.entry_uuid) not in objects and end not in told:
                told.add(end)
                expected = "every association it is an end of in the same request"
                yield _broken(UNREFERENCED_REMOVAL, expected, uuid_text(end))


def _older_versions(connection: Connection, objects: Mapping[bytes, Held]) -> Iterator[Violation]:
    """A version that was superseded hides behind the latest one; that one may not go before it."""
    versioned = [each for each in objects.values() if each.kind in VERSIONED]
    later = [each for each in versioned if each.row.version > 1]
    if not later:
        return
    hashes = sorted({uid_hash(each.row.unique_id) for each in later})
    held = sa.select(uid_claim).where(uid_claim.c.uid_hash.in_(hashes), uid_claim.c.kind < REMOVED)
    where = {bytes(row.entry_uuid): Place(ObjectKind(row.kind), row.patient_key) for row in connection.execute(held)}
    staying: dict[bytes, int] = defaultdict(int)
    for uuid, other in read(connection, where).items():
        if uuid not in objects and other.kind in VERSIONED:
            staying[lid_of(other)] = max(staying[lid_of(other)], int(other.row.version))
    for each in later:
        if 0 < staying[lid_of(each)] < each.row.version:
            expected = "its earlier versions in the same request"
            yield _broken(OLDER_VERSIONS, expected, uuid_text(each.uuid))


def _orphans(connection: Connection, objects: Mapping[bytes, Held], keys: Collection[int]) -> Iterator[Violation]:
    """Sets that would be left without members, and members that would be left without a set."""
    links = [each for each in objects.values() if each.kind is ObjectKind.ASSOCIATION and each.row.type == HAS_MEMBER]
    ends = {bytes(end) for each in links for end in (each.row.source, each.row.target)} - objects.keys()
    kinds = {uuid: place.kind for uuid, place in places(connection, ends).items()}
    kinds |= {uuid: each.kind for uuid, each in objects.items()}
    of_sets = [each for each in links if kinds.get(bytes(each.row.source)) is ObjectKind.SUBMISSION_SET]
    sets = {bytes(each.row.source) for each in of_sets} - objects.keys()
    members = {bytes(each.row.target) for each in of_sets} - objects.keys()
    for row in _associations_at(connection, keys, sets, association.c.source):
        if bytes(row.entry_uuid) not in objects:
            sets.discard(bytes(row.source))
    holders: dict[bytes, set[bytes]] = defaultdict(set)
    for row in _associations_at(connection, keys, members, association.c.target):
        if bytes(row.entry_uuid) not in objects and row.type == HAS_MEMBER:
            holders[bytes(row.target)].add(bytes(row.source))
    known = places(connection, {source for sources in holders.values() for source in sources})
    kept = {
        member
        for member, sources in holders.items()
        if any((place := known.get(each)) and place.kind is ObjectKind.SUBMISSION_SET for each in sources)
    }
    told: set[bytes] = set()
    for each in of_sets:
        for end in (bytes(each.row.source), bytes(each.row.target)):
            if end in sets or end in members - kept:
                if each.uuid not in told:
                    told.add(each.uuid)
                    expected = "both its ends in the same request, or another membership that stays"
                    yield _broken(KEPT_IN_SET, expected, uuid_text(each.uuid))


def _remove(connection: Connection, objects: Mapping[bytes, Held]) -> None:
    for kind, table in TABLE_OF.items():
        by_key: dict[int, list[bytes]] = defaultdict(list)
        for uuid, each in objects.items():
            if each.kind is kind:
                by_key[each.key].append(uuid)
        for key in sorted(by_key):
            mine = (table.c.patient_key == key, table.c.entry_uuid.in_(sorted(by_key[key])))
            connection.execute(table.delete().where(*mine))


def _release(connection: Connection, objects: Mapping[bytes, Held], hashes: Collection[bytes]) -> None:
    """Lets go of uniqueIds: another holder takes up the claim, and where there is none it becomes a tombstone."""
    holders: dict[bytes, list[AnyRow]] = defaultdict(list)
    for row in connection.execute(sa.select(uid_claim).where(uid_claim.c.uid_hash.in_(sorted(hashes)))):
        holders[bytes(row.uid_hash)].append(row)
    over: list[bytes] = []
    dropped: list[dict[str, bytes]] = []
    for uid, rows in sorted(holders.items()):
        gone = [row for row in rows if bytes(row.entry_uuid) in objects]
        left = sorted((row for row in rows if row not in gone), key=lambda row: row.holder)
        dropped += [{"uid": uid, "by": row.holder} for row in gone if row.holder != UNCLAIMED]
        if not any(row.holder == UNCLAIMED for row in gone):
            continue
        if not left:
            over.append(uid)
            continue
        heir = left[0]
        values = {"patient_key": heir.patient_key, "entry_uuid": heir.entry_uuid, "hash": heir.hash, "size": heir.size}
        claim = (uid_claim.c.uid_hash == uid, uid_claim.c.holder == UNCLAIMED)
        connection.execute(uid_claim.update().where(*claim).values(values))
        dropped.append({"uid": uid, "by": heir.holder})
    if over:
        claims = (uid_claim.c.uid_hash.in_(over), uid_claim.c.holder == UNCLAIMED)
        connection.execute(uid_claim.update().where(*claims).values(kind=uid_claim.c.kind + REMOVED))
    if dropped:
        one = (uid_claim.c.uid_hash == sa.bindparam("uid"), uid_claim.c.holder == sa.bindparam("by"))
        connection.execute(uid_claim.delete().where(*one), dropped)


def _broken(rule: Rule, expected: str, sent: str) -> Violation:
    """`sent` is one of the ids of the request; what stands against its removal is not told."""
    return Violation(rule, "ObjectRef", expected, sent)
