"""What a submission's associations point to in the registry: whether they may, and what follows from it.

A source refers only to what it registered itself or what lies in its repositories; for it anything else does not exist,
so that the answers tell nothing about others. Sources: ITI TF-3 4.2.2, TF-2 3.42.4.1.3.3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.errors import XdsFailure
from ihe.metadata import Association, Submission
from ihe.names import ON_DEMAND_ENTRY, AssociationType, Status
from registry.database.rows import AnyRow
from registry.database.tables import (
    ASSOCIATION_NUMBER,
    OBJECT_TYPE_NUMBER,
    STATUS_NUMBER,
    URN_UUID,
    ObjectKind,
    association,
    document,
    folder,
    object_dir,
    uuid_bytes,
    uuid_text,
)
from registry.database.vocabulary import Vocabulary
from registry.rules.strictness import MOST_VIOLATIONS
from registry.rules.table import (
    APPENDED_TRANSFORM,
    APPROVED_TARGET,
    KNOWN_ENDS,
    RELATED_PATIENT,
    RELATIONSHIP_SOURCE,
    RELATIONSHIP_TARGET,
    SNAPSHOT_ENDS,
    Rule,
    Violation,
)

APPROVED, DEPRECATED = STATUS_NUMBER[Status.APPROVED], STATUS_NUMBER[Status.DEPRECATED]
REPLACING = frozenset({AssociationType.RPLC, AssociationType.XFRM_RPLC})
TO_REGISTERED = REPLACING | {AssociationType.IS_SNAPSHOT_OF}
"""Types whose target must be in the registry already (ITI TF-3 4.2.2.2)."""
FOLLOWING = tuple(ASSOCIATION_NUMBER[each] for each in (AssociationType.XFRM, AssociationType.APND))
"""Types whose source is deprecated with its target."""
HAS_MEMBER = ASSOCIATION_NUMBER[AssociationType.HAS_MEMBER]

_Place = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class End:
    """One end of an association: an object of this submission, or one in the registry that its source may refer to."""

    kind: ObjectKind
    place: _Place | None = None
    """Where it is in the registry; None for an object of the submission."""
    status: int = APPROVED
    object_type: int = 0

    @property
    def registered(self) -> bool:
        """Whether it was there before."""
        return self.place is not None


@dataclass(slots=True)
class References:
    """The associations of one submission against the registry."""

    submission: Submission
    by: str
    repositories: frozenset[str]
    vocabulary: Vocabulary
    keys: frozenset[int]
    """Patient keys of the submission's patient and every identity merged with it."""
    ends: dict[str, End] = field(default_factory=dict)
    transforms: frozenset[str] = frozenset()
    """What an addendum of this submission is to and what was made by transformation."""

    @property
    def relates(self) -> bool:
        """Whether any document is tied to another one."""
        return any(each.type is not AssociationType.HAS_MEMBER for each in self.submission.associations)

    def check(self, connection: Connection) -> list[Violation]:
        """Associations that may not be, as what their source is told. What they point to stays locked."""
        sent = self.submission
        self.ends = {sent.submission_set.entry_uuid: End(ObjectKind.SUBMISSION_SET)}
        self.ends |= {each.entry_uuid: End(ObjectKind.DOCUMENT) for each in sent.entries}
        self.ends |= {each.entry_uuid: End(ObjectKind.FOLDER) for each in sent.folders}
        self.ends |= {each.entry_uuid: End(ObjectKind.ASSOCIATION) for each in sent.associations}
        outside = {end for each in sent.associations for end in (each.source, each.target)} - set(self.ends)
        if outside:
            self.ends |= self._registered(connection, outside)
            self.transforms = self._transformed(connection)
        problems = (broken for each in sent.associations if (broken := self._problem(each)) is not None)
        return list(islice(problems, MOST_VIOLATIONS))

    def _registered(self, connection: Connection, outside: Collection[str]) -> Iterator[tuple[str, End]]:
        uuids = sorted(raw for each in outside if (raw := uuid_bytes(each)) is not None)
        directory = sa.select(object_dir.c.entry_uuid, object_dir.c.kind, object_dir.c.patient_key)
        places: dict[ObjectKind, list[_Place]] = {kind: [] for kind in ObjectKind}
        for row in connection.execute(directory.where(object_dir.c.entry_uuid.in_(uuids))):
            places[ObjectKind(row.kind)].append((row.patient_key, row.entry_uuid))
        if found := places[ObjectKind.DOCUMENT]:
            for row in _rows_of(connection, document, found):
                if self._own(row.registered_by, row.repository):
                    place = (row.patient_key, row.entry_uuid)
                    yield uuid_text(row.entry_uuid), End(ObjectKind.DOCUMENT, place, row.status, row.object_type)
        if found := places[ObjectKind.FOLDER]:
            for row in _rows_of(connection, folder, found):
                if self._own(row.registered_by):
                    yield (
                        uuid_text(row.entry_uuid),
                        End(ObjectKind.FOLDER, (row.patient_key, row.entry_uuid), row.status),
                    )

    def _transformed(self, connection: Connection) -> frozenset[str]:
        appended = {each.target for each in self.submission.associations if each.type is AssociationType.APND}
        places = [place for each in appended if (end := self.ends.get(each)) and (place := end.place) is not None]
        if not places:
            return frozenset()
        made = sa.select(association.c.source).where(
            association.c.patient_key.in_({key for key, _ in places}),
            association.c.source.in_({raw for _, raw in places}),
            association.c.type == ASSOCIATION_NUMBER[AssociationType.XFRM],
        )
        return frozenset(uuid_text(raw) for raw in connection.execute(made).scalars())

    def _own(self, registered_by: int, repository: int | None = None) -> bool:
        if self.vocabulary.label(registered_by) == self.by:
            return True
        return repository is not None and self.vocabulary.label(repository) in self.repositories

    def _problem(self, each: Association) -> Violation | None:
        source, target = self.ends.get(each.source), self.ends.get(each.target)
        if source is None or target is None:
            missing = each.source if source is None else each.target
            return _broken(KNOWN_ENDS, each, "an object of this submission or one registered by this sender", missing)
        if each.type is AssociationType.HAS_MEMBER:
            return self._problem_of_member(each, source, target)
        if source.registered or source.kind is not ObjectKind.DOCUMENT:
            return _broken(RELATIONSHIP_SOURCE, each, "an entry of this submission", each.source)
        if target.kind is not ObjectKind.DOCUMENT:
            return _broken(KNOWN_ENDS, each, "a document", each.target)
        if each.type in TO_REGISTERED and not target.registered:
            return _broken(RELATIONSHIP_TARGET, each, "an entry that is registered already", each.target)
        if each.type is AssociationType.IS_SNAPSHOT_OF and target.object_type != OBJECT_TYPE_NUMBER[ON_DEMAND_ENTRY]:
            return _broken(SNAPSHOT_ENDS, each, "an on-demand entry", each.target)
        problem = self._problem_of_registered(each, each.target, target)
        if problem is None and each.type is AssociationType.APND and each.target in self.transforms:
            return _broken(APPENDED_TRANSFORM, each, "an entry that is no transformation", each.target)
        return problem

    def _problem_of_member(self, each: Association, source: End, target: End) -> Violation | None:
        if source.kind is ObjectKind.SUBMISSION_SET:
            member = target.kind is not ObjectKind.SUBMISSION_SET
            return None if member else _broken(KNOWN_ENDS, each, "a document, a folder or a membership", each.target)
        if source.kind is not ObjectKind.FOLDER or target.kind is not ObjectKind.DOCUMENT:
            return _broken(KNOWN_ENDS, each, "a folder that has a document as member", each.source)
        problem = self._problem_of_registered(each, each.source, source)
        return problem or self._problem_of_registered(each, each.target, target)

    def _problem_of_registered(self, each: Association, sent: str, end: End) -> Violation | None:
        """The rules for an end that is in the registry already: approved, and of the same patient."""
        if end.place is None:
            return None
        if end.status != APPROVED:
            return _broken(APPROVED_TARGET, each, "an approved object", sent)
        if end.place[0] not in self.keys:
            return _broken(RELATED_PATIENT, each, "an object of the same patient", sent)
        return None

    # Effects ----------------------------------------------------------------------------------------------------------

    def take_effect(self, connection: Connection, stamp: int) -> list[Association]:
        """Deprecates what was replaced, lets the new entry follow it into its folders and dates every folder that grew.

        Returns the memberships to add. Source: ITI TF-2 3.42.4.1.3.3.
        """
        carried: list[Association] = []
        folders = {
            end.place
            for each in self.submission.associations
            if (end := self.ends[each.source]).kind is ObjectKind.FOLDER and end.place is not None
        }
        for each in self.submission.associations:
            old = self.ends[each.target].place
            if each.type in REPLACING and old is not None:
                if not deprecate(connection, self.keys, old):
                    raise XdsFailure((_broken(APPROVED_TARGET, each, "an approved object", each.target).error,))
                for place in self._folders_of(connection, old[1]):
                    folders.add(place)
                    carried += self._membership(place[1], each.source)
        date_folders(connection, folders, stamp)
        return carried

    def _folders_of(self, connection: Connection, raw: bytes) -> list[_Place]:
        """The approved folders that hold this entry."""
        holding = sa.select(association.c.source).where(
            association.c.patient_key.in_(self.keys),
            association.c.target == raw,
            association.c.type == HAS_MEMBER,
            association.c.status == APPROVED,
        )
        holders = sorted(bytes(each) for each in connection.execute(holding).scalars())
        if not holders:
            return []
        # Locked: a folder that gets a new version meanwhile would take its members along without this one. One by one,
        # for folders of merged patients may lie on several servers (Citus).
        held = sa.select(folder.c.patient_key, folder.c.entry_uuid).where(
            folder.c.entry_uuid.in_(holders), folder.c.status == APPROVED
        )
        held = held.order_by(folder.c.entry_uuid).with_for_update()
        return [
            (place, raw)
            for key in sorted(self.keys)
            for place, raw in connection.execute(held.where(folder.c.patient_key == key))
        ]

    def _membership(self, holder: bytes, entry_uuid: str) -> Iterable[Association]:
        """Folder to entry, and the submission set to that association; none where the submission says it itself."""
        sent = self.submission
        if any(each.source == uuid_text(holder) and each.target == entry_uuid for each in sent.associations):
            return
        member = f"{URN_UUID}{uuid4()}"
        ends = (
            (member, uuid_text(holder), entry_uuid),
            (f"{URN_UUID}{uuid4()}", sent.submission_set.entry_uuid, member),
        )
        for each, source, target in ends:
            yield Association(each, AssociationType.HAS_MEMBER, source, target, None, b"")


def deprecate(connection: Connection, keys: Collection[int], old: _Place) -> bool:
    """Deprecates a replaced entry, and whatever was transformed from or appended to it, however far down.

    False where it was deprecated already, and nothing was done. `keys` are the patient's, every identity's.
    """
    if _set_deprecated(connection, old) != 1:
        return False
    seen = {old[1]}
    front = [old[1]]
    while front:
        children = connection.execute(
            sa.select(association.c.source)
            .where(association.c.patient_key.in_(keys), association.c.target.in_(front))
            .where(association.c.type.in_(FOLLOWING), association.c.status == APPROVED)
        )
        front = sorted(set(children.scalars()) - seen)
        seen.update(front)
        for raw in front:
            for key in sorted(keys):
                _set_deprecated(connection, (key, raw))
    return True


def date_folders(connection: Connection, grown: Collection[_Place], stamp: int) -> None:
    """lastUpdateTime of folders that gained a member: now, and never earlier than it was (ITI TF-2 3.42.4.1.3.3)."""
    for key, raw in sorted(grown):
        later = sa.case((folder.c.last_update < stamp, stamp), else_=folder.c.last_update)
        where = (folder.c.patient_key == key, folder.c.entry_uuid == raw)
        connection.execute(folder.update().where(*where).values(last_update=later))


def _rows_of(connection: Connection, table: sa.Table, places: list[_Place]) -> Iterator[AnyRow]:
    """These rows, locked in the order of their keys until the transaction ends; one patient's at a time (Citus)."""
    for key in sorted({key for key, _ in places}):
        uuids = {raw for held, raw in places if held == key}
        mine = sa.select(table).where(table.c.patient_key == key, table.c.entry_uuid.in_(uuids))
        yield from connection.execute(mine.order_by(table.c.entry_uuid).with_for_update()).all()


def _set_deprecated(connection: Connection, place: _Place) -> int:
    """Compare and set; 1 if the row was approved until now."""
    key, raw = place
    where = (document.c.patient_key == key, document.c.entry_uuid == raw, document.c.status == APPROVED)
    return connection.execute(document.update().where(*where).values(status=DEPRECATED)).rowcount


def _broken(rule: Rule, each: Association, expected: str, sent: str) -> Violation:
    """`sent` is an id of the sender's own message; what the registry holds under it is never told."""
    return Violation(rule, f"Association {each.type.value}", expected, sent)
