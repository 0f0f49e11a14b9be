"""The associations of an old version, repeated for the new one: AssociationPropagation of ITI-57.

What is repeated is approved: memberships in approved folders, content of folders, relationships of entries. What an
old version is linked to stays linked to it. The memberships made here are in no SubmissionSet; the NIST toolkit counts
those of an update's set (20000d). Source: IHE ITI supplement XDS Metadata Update 3.57.4.1.3.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.errors import XdsFailure
from ihe.metadata import Association
from ihe.names import AssociationType, Code
from registry.changes.filing import APPROVED
from registry.changes.reach import HAS_MEMBER, Held, everyones, places, read
from registry.changes.versions import Versions
from registry.database.bodies import Bodies, BodyLost
from registry.database.rows import AnyRow
from registry.database.tables import ASSOCIATION_NUMBER, URN_UUID, ObjectKind, association, uuid_bytes, uuid_text
from registry.rules.table import Violation
from registry.rules.update import ONE_PERSON

TYPE_OF = {number: kind for kind, number in ASSOCIATION_NUMBER.items()}


@dataclass(slots=True)
class Propagation:
    """What follows the new versions of one update."""

    versions: Versions
    bodies: Bodies
    carried: list[Association] = field(default_factory=list)
    folders: set[tuple[int, bytes]] = field(default_factory=set)
    """Folders that were there before and gain a member."""

    def find(self, connection: Connection) -> Iterator[Violation]:
        """Finds and locks what is to be repeated; tells what would then join two patients."""
        update, lines = self.versions.update, self.versions.lines
        follows = {
            line.latest.uuid: uuid_bytes(entry_uuid) or b""
            for entry_uuid, line in lines.items()
            if update.versions[entry_uuid].propagate
        }
        left = {line.latest.uuid for line in lines.values()} - follows.keys()
        if not follows:
            return
        rows = self._associations(connection, follows, {line.latest.key for line in lines.values()})
        ends = {bytes(end) for row in rows for end in (row.source, row.target)}
        held = read(connection, places(connection, ends))
        made: set[tuple[int, bytes, bytes]] = set()
        for row in rows:
            source, target = held.get(bytes(row.source)), held.get(bytes(row.target))
            if source is None or target is None or {source.uuid, target.uuid} & left or not _is_repeated(row, source):
                continue
            new = (row.type, follows.get(source.uuid, source.uuid), follows.get(target.uuid, target.uuid))
            staying = [end for end in (source, target) if end.uuid not in follows]
            if any(end.key not in self.versions.keys for end in staying):
                expected = "associations of one patient; AssociationPropagation no leaves them to the old version"
                yield Violation(ONE_PERSON, "RegistryObjectList", expected, "a new version for another patient")
                return
            if new not in made:
                made.add(new)
                self.carried.append(self._repeated(row, new[1], new[2]))
                self.folders |= {(end.key, end.uuid) for end in staying if end.kind is ObjectKind.FOLDER}

    def _associations(self, connection: Connection, follows: Mapping[bytes, bytes], keys: set[int]) -> list[AnyRow]:
        olds = sorted(follows)
        found: list[AnyRow] = []
        for key in sorted(everyones(connection, keys)):
            mine = sa.select(association).where(
                association.c.patient_key == key,
                association.c.status == APPROVED,
                sa.or_(association.c.source.in_(olds), association.c.target.in_(olds)),
            )
            found += connection.execute(mine.order_by(association.c.entry_uuid).with_for_update()).all()
        return found

    def _repeated(self, row: AnyRow, source: bytes, target: bytes) -> Association:
        kind: AssociationType = TYPE_OF[row.type]
        try:
            body = b"" if row.body is None else self.bodies.inflate(row.codec, row.body)
        except BodyLost:
            raise XdsFailure.of(Code.REGISTRY_ERROR, "the registry cannot read what is to be propagated") from None
        return Association(f"{URN_UUID}{uuid4()}", kind, uuid_text(source), uuid_text(target), None, body)


def _is_repeated(row: AnyRow, source: Held) -> bool:
    """Relationships are, and memberships in folders; not those in SubmissionSets, which say how something came."""
    if row.type != HAS_MEMBER:
        return True
    return source.kind is ObjectKind.FOLDER and source.row.status == APPROVED
