"""SubmitAssociation of ITI-57: associations between objects that are registered already.

Source: IHE ITI supplement XDS Metadata Update 3.57.4.1.3.3.4; ITI TF-3 4.2.2 for what may be joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.metadata import Association
from ihe.names import ON_DEMAND_ENTRY, STABLE_ENTRY, AssociationType
from ihe.updates import Update
from registry.changes.filing import APPROVED
from registry.changes.reach import Held
from registry.changes.references import REPLACING, deprecate
from registry.database.tables import ASSOCIATION_NUMBER, OBJECT_TYPE_NUMBER, ObjectKind, association, uuid_bytes
from registry.rules.table import Rule, Violation
from registry.rules.update import NEW_ASSOCIATION, ONE_PERSON, SUBMITTED_ENDS


class _End(NamedTuple):
    kind: ObjectKind
    object_type: int
    held: Held | None
    """None for a new version that the same message brings."""


@dataclass(slots=True)
class Joining:
    """The submitted associations of one update."""

    update: Update
    objects: Mapping[bytes, Held]
    """What the message names and the sender may change, locked."""
    keys: frozenset[int]
    folders: set[tuple[int, bytes]] = field(default_factory=set)
    """Folders that were there before and gain a member; known once it was checked."""

    def check(self, connection: Connection) -> Iterator[Violation]:
        """What is wrong with each association."""
        new = self._new()
        for each in self.update.submitted:
            source, target = self._end(each.source, new), self._end(each.target, new)
            if source is None or target is None:
                missing = each.source if source is None else each.target
                expected = "approved entries or folders that the sender may change"
                yield _broken(SUBMITTED_ENDS, each, expected, missing)
            elif expected := _misjoined(each.type, source, target):
                yield _broken(SUBMITTED_ENDS, each, expected, f"{source.kind.title} to {target.kind.title}")
            elif any(end.held is not None and end.held.key not in self.keys for end in (source, target)):
                yield _broken(ONE_PERSON, each, "objects of the SubmissionSet's patient", each.target)
            elif self._exists(connection, each):
                yield _broken(NEW_ASSOCIATION, each, "one that is not there yet", f"{each.source} to {each.target}")
            elif source.kind is ObjectKind.FOLDER and source.held is not None:
                self.folders.add((source.held.key, source.held.uuid))

    def _new(self) -> dict[str, _End]:
        sent = self.update.submission
        new = {each.entry_uuid: _End(ObjectKind.FOLDER, 0, None) for each in sent.folders}
        for entry in sent.entries:
            new[entry.entry_uuid] = _End(ObjectKind.DOCUMENT, OBJECT_TYPE_NUMBER[entry.object_type], None)
        return new

    def _end(self, entry_uuid: str, new: Mapping[str, _End]) -> _End | None:
        if entry_uuid in new:
            return new[entry_uuid]
        raw = uuid_bytes(entry_uuid)
        held = None if raw is None else self.objects.get(raw)
        if held is None or held.kind not in (ObjectKind.DOCUMENT, ObjectKind.FOLDER) or held.row.status != APPROVED:
            return None
        return _End(held.kind, held.row.object_type if held.kind is ObjectKind.DOCUMENT else 0, held)

    def _exists(self, connection: Connection, each: Association) -> bool:
        same = sa.select(sa.literal(1)).where(
            association.c.patient_key.in_(sorted(self.keys)),
            association.c.source == uuid_bytes(each.source),
            association.c.target == uuid_bytes(each.target),
            association.c.type == ASSOCIATION_NUMBER[each.type],
            association.c.status == APPROVED,
        )
        return connection.execute(same.limit(1)).first() is not None

    def carry_out(self, connection: Connection) -> bool:
        """What follows from the associations, which are written already; whether anything was deprecated by it."""
        taken_away = False
        for each in self.update.submitted:
            raw = uuid_bytes(each.target)
            if each.type in REPLACING and raw is not None and (held := self.objects.get(raw)) is not None:
                deprecate(connection, self.keys, (held.key, held.uuid))
                taken_away = True
        return taken_away


def _misjoined(kind: AssociationType, source: _End, target: _End) -> str:
    """What an association of this type joins, where these are others; else nothing."""
    if kind is AssociationType.HAS_MEMBER:
        return "" if (source.kind, target.kind) == (ObjectKind.FOLDER, ObjectKind.DOCUMENT) else "a folder and an entry"
    if source.kind is not ObjectKind.DOCUMENT or target.kind is not ObjectKind.DOCUMENT:
        return "two entries"
    stable_of = (OBJECT_TYPE_NUMBER[STABLE_ENTRY], OBJECT_TYPE_NUMBER[ON_DEMAND_ENTRY])
    if kind is AssociationType.IS_SNAPSHOT_OF and (source.object_type, target.object_type) != stable_of:
        return "a stable entry and an on-demand one"
    return ""


def _broken(rule: Rule, each: Association, expected: str, sent: str) -> Violation:
    return Violation(rule, f"Association {each.type.value}", expected, sent)
