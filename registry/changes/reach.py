"""What a sender may change of what is registered; to it nothing else exists, so that no answer tells of it.

An entry belongs to its repository. A set, a folder or an association belongs to who registered it, and to whoever may
change every document in it. Objects are read one patient at a time, by key, and locked on demand in that order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.names import AssociationType
from registry.database.rows import AnyRow
from registry.database.tables import (
    ASSOCIATION_NUMBER,
    REMOVED,
    ObjectKind,
    association,
    document,
    folder,
    object_dir,
    patient,
    patient_key,
    submission_set,
    uid_claim,
    uuid_bytes,
    uuid_text,
)
from registry.database.vocabulary import Vocabulary
from registry.people.identities import identity_set

HAS_MEMBER = ASSOCIATION_NUMBER[AssociationType.HAS_MEMBER]
TABLE_OF = {
    ObjectKind.DOCUMENT: document,
    ObjectKind.FOLDER: folder,
    ObjectKind.ASSOCIATION: association,
    ObjectKind.SUBMISSION_SET: submission_set,
}
"""In the order in which rows are locked."""


class Place(NamedTuple):
    """Where an object is. `uid_hash` is empty for what the directory does not know a uniqueId of."""

    kind: ObjectKind
    key: int
    uid_hash: bytes = b""


@dataclass(frozen=True, slots=True)
class Held:
    """One object of the registry as it is now."""

    kind: ObjectKind
    row: AnyRow

    @property
    def uuid(self) -> bytes:
        """Its entryUUID."""
        return bytes(self.row.entry_uuid)

    @property
    def key(self) -> int:
        """The patient key it stands under."""
        return int(self.row.patient_key)


def places(connection: Connection, uuids: Iterable[bytes]) -> dict[bytes, Place]:
    """Where these objects are; absent is what is not registered, or was removed."""
    wanted = sorted(set(uuids))
    if not wanted:
        return {}
    found = sa.select(object_dir).where(object_dir.c.entry_uuid.in_(wanted), object_dir.c.removed_at.is_(None))
    return {
        bytes(row.entry_uuid): Place(ObjectKind(row.kind), row.patient_key, row.uid_hash)
        for row in connection.execute(found)
    }


def read(connection: Connection, where: Mapping[bytes, Place], *, lock: bool = False) -> dict[bytes, Held]:
    """The objects at these places, with `lock` kept as they are until the transaction ends."""
    held: dict[bytes, Held] = {}
    for kind, table in TABLE_OF.items():
        by_key = defaultdict(list)
        for uuid, place in where.items():
            if place.kind is kind:
                by_key[place.key].append(uuid)
        for key in sorted(by_key):
            rows = sa.select(table).where(table.c.patient_key == key, table.c.entry_uuid.in_(sorted(by_key[key])))
            rows = rows.order_by(table.c.entry_uuid)
            for row in connection.execute(rows.with_for_update() if lock else rows):
                held[bytes(row.entry_uuid)] = Held(kind, row)
    return held


def everyones(connection: Connection, keys: Collection[int]) -> frozenset[int]:
    """These patient keys and those of every identity merged with them."""
    if not keys:
        return frozenset()
    found = sa.select(patient.c.patient_id).where(patient.c.patient_key.in_(sorted(keys)))
    people = {each for known in connection.execute(found).scalars() for each in identity_set(connection, known)}
    return frozenset(keys) | {patient_key(each) for each in people}


@dataclass(frozen=True, slots=True)
class Reach:
    """What one sender may change: `by` is its name, `repositories` are those whose metadata it may change."""

    by: str
    repositories: frozenset[str]
    vocabulary: Vocabulary

    def of(self, connection: Connection, objects: Mapping[bytes, Held]) -> frozenset[bytes]:
        """Those of these objects that the sender may change."""
        found = {uuid for uuid, each in objects.items() if each.kind is ObjectKind.DOCUMENT and self._entry(each.row)}
        containers = {
            uuid: each for uuid, each in objects.items() if each.kind in (ObjectKind.FOLDER, ObjectKind.SUBMISSION_SET)
        }
        found |= self._containers(connection, containers)
        associations = [each for each in objects.values() if each.kind is ObjectKind.ASSOCIATION]
        return frozenset(found | self._associations(connection, associations))

    def _entry(self, row: AnyRow) -> bool:
        return self.vocabulary.label(row.repository) in self.repositories

    def _mine(self, row: AnyRow) -> bool:
        return self.vocabulary.label(row.registered_by) == self.by

    def _containers(self, connection: Connection, containers: Mapping[bytes, Held]) -> set[bytes]:
        mine = {uuid for uuid, each in containers.items() if self._mine(each.row)}
        others = {uuid: each for uuid, each in containers.items() if uuid not in mine}
        if not others:
            return mine
        keys = everyones(connection, {each.key for each in others.values()})
        members = sa.select(association.c.source, association.c.target).where(
            association.c.patient_key.in_(sorted(keys)),
            association.c.source.in_(sorted(others)),
            association.c.type == HAS_MEMBER,
        )
        content: dict[bytes, set[bytes]] = defaultdict(set)
        for row in connection.execute(members):
            content[row.source].add(row.target)
        allowed = self._documents(connection, {target for targets in content.values() for target in targets})
        for uuid, targets in content.items():
            documents = targets & allowed.keys()
            if documents and all(allowed[each] for each in documents):
                mine.add(uuid)
        return mine

    def _documents(self, connection: Connection, uuids: Iterable[bytes]) -> dict[bytes, bool]:
        """Of the documents among these: whether the sender may change each."""
        where = {uuid: place for uuid, place in places(connection, uuids).items() if place.kind is ObjectKind.DOCUMENT}
        return {uuid: self._entry(each.row) for uuid, each in read(connection, where).items()}

    def _associations(self, connection: Connection, found: Collection[Held]) -> set[bytes]:
        if not found:
            return set()
        sets = {each.row.submission_uuid: Place(ObjectKind.SUBMISSION_SET, each.key) for each in found}
        mine = {uuid for uuid, each in read(connection, sets).items() if self._mine(each.row)}
        allowed = {each.uuid for each in found if each.row.submission_uuid in mine}
        others = [each for each in found if each.uuid not in allowed]
        if not others:
            return allowed
        documents = self._documents(connection, {end for each in others for end in _ends(each)})
        sources = {each.row.source for each in others if not documents.keys() & set(_ends(each))}
        where = places(connection, sources)
        containers = self._containers(
            connection,
            {uuid: each for uuid, each in read(connection, where).items() if each.kind in _CONTAINERS},
        )
        for each in others:
            ends = [end for end in _ends(each) if end in documents]
            if all(documents[end] for end in ends) if ends else each.row.source in containers:
                allowed.add(each.uuid)
        return allowed


_CONTAINERS = (ObjectKind.FOLDER, ObjectKind.SUBMISSION_SET)


def _ends(each: Held) -> Iterator[bytes]:
    yield bytes(each.row.source)
    yield bytes(each.row.target)


def known_as(connection: Connection, uuids: Iterable[str]) -> dict[bytes, Place]:
    """places() of ids as a message spells them."""
    return places(connection, (raw for each in uuids if (raw := uuid_bytes(each)) is not None))


class Touched(NamedTuple):
    """One object that a message names and its sender may change; repository and uniqueId are of entries alone."""

    entry_uuid: str
    patient_id: str
    repository_unique_id: str
    unique_id: str


def touched(connection: Connection, reach: Reach, uuids: Iterable[str]) -> tuple[Touched, ...]:
    """What the trail needs to know of the objects a message is about, before anything is done to them.

    An entry is told with every version it has: a correction may be about another patient than the first of them.
    """
    named = known_as(connection, uuids)
    hashes = sorted({place.uid_hash for place in named.values() if place.uid_hash})
    held = sa.select(uid_claim).where(uid_claim.c.uid_hash.in_(hashes), uid_claim.c.kind < REMOVED)
    others = read(
        connection,
        {
            bytes(row.entry_uuid): Place(ObjectKind(row.kind), row.patient_key)
            for row in (connection.execute(held) if hashes else ())
        },
    )
    objects = read(connection, named)
    lids = {lid_of(each) for each in objects.values() if each.kind in VERSIONED}
    objects |= {uuid: each for uuid, each in others.items() if each.kind in VERSIONED and lid_of(each) in lids}
    keys = {each.key for each in objects.values()}
    known = sa.select(patient.c.patient_key, patient.c.patient_id).where(patient.c.patient_key.in_(sorted(keys)))
    patients = {row.patient_key: row.patient_id for row in connection.execute(known)}
    allowed = reach.of(connection, objects)
    return tuple(
        Touched(
            uuid_text(uuid),
            patients.get(each.key, ""),
            reach.vocabulary.label(each.row.repository) if each.kind is ObjectKind.DOCUMENT else "",
            each.row.unique_id if each.kind is ObjectKind.DOCUMENT else "",
        )
        for uuid, each in objects.items()
        if uuid in allowed
    )


VERSIONED = (ObjectKind.DOCUMENT, ObjectKind.FOLDER)
"""Kinds of which there are versions."""


def lid_of(each: Held) -> bytes:
    """The logical object that an entry or folder is a version of."""
    return bytes(each.row.lid) if each.row.lid is not None else each.uuid
