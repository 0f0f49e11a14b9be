"""SubmissionSets, Folders and associations as questions select them: their columns, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ihe.metadata import Association, Head
from ihe.names import AssociationType, Status
from registry.database.rows import AnyRow, instant
from registry.database.tables import (
    ASSOCIATION_NUMBER,
    STATUS_OF,
    ObjectKind,
    association,
    folder,
    patient,
    submission_set,
    uuid_text,
)
from registry.database.vocabulary import Vocabulary

SET_COLUMNS = (
    submission_set.c.entry_uuid,
    submission_set.c.unique_id,
    patient.c.patient_id,
    patient.c.survivor,
    submission_set.c.registered_by,
    submission_set.c.registered_at,
    submission_set.c.authors,
    submission_set.c.codec,
    submission_set.c.body,
)
FOLDER_COLUMNS = (
    folder.c.entry_uuid,
    folder.c.unique_id,
    patient.c.patient_id,
    patient.c.survivor,
    folder.c.registered_by,
    folder.c.last_update,
    folder.c.lid,
    folder.c.version,
    folder.c.status,
    folder.c.submission_uuid,
    folder.c.codec,
    folder.c.body,
)
LINK_COLUMNS = (
    association.c.entry_uuid,
    association.c.lid,
    association.c.version,
    association.c.status,
    association.c.type,
    association.c.source,
    association.c.target,
    association.c.original,
    association.c.submission_uuid,
    association.c.codec,
    association.c.body,
)
OWNER, AUTHORS = 2, 6
"""Places in a row of SET_COLUMNS; the first also in FOLDER_COLUMNS."""
SETS = submission_set.join(patient, patient.c.patient_key == submission_set.c.patient_key)
FOLDERS = folder.join(patient, patient.c.patient_key == folder.c.patient_key)
_TYPE_OF = {number: kind for kind, number in ASSOCIATION_NUMBER.items()}


@dataclass(frozen=True, slots=True)
class Container:
    """A SubmissionSet or Folder: what decides about it, and its body still deflated."""

    kind: ObjectKind
    entry_uuid: str
    unique_id: str
    patient_id: str
    """Already resolved to the surviving identity."""
    registered_by: str
    stamp: int
    """yyyymmddhhmmss: when a set was registered, when a folder last changed."""
    lid: str
    version: int
    status: Status
    submission_uuid: str
    codec: int
    stored: bytes

    def head(self, home: str) -> Head:
        """What the registry says of it and its source does not."""
        return Head(self.entry_uuid, self.lid, self.version, self.status, home, self.patient_id)


@dataclass(frozen=True, slots=True)
class Link:
    """An association; `stored` is None where it says nothing but type, ends and SubmissionSetStatus."""

    entry_uuid: str
    lid: str
    version: int
    status: Status
    type: AssociationType
    source: str
    target: str
    original: bool | None
    submission_uuid: str
    codec: int | None
    stored: bytes | None

    @property
    def member(self) -> bool:
        """Whether it says what belongs to a set or a folder."""
        return self.type is AssociationType.HAS_MEMBER

    def association(self, body: bytes) -> Association:
        """As ihe.ebrim writes it."""
        return Association(self.entry_uuid, self.type, self.source, self.target, self.original, body)

    def head(self, home: str) -> Head:
        """What the registry says of it and its source does not."""
        return Head(self.entry_uuid, self.lid, self.version, self.status, home, "")


def reader_of_sets(words: Vocabulary) -> Callable[[AnyRow], Container]:
    """Reads rows of SET_COLUMNS."""

    def read(row: AnyRow) -> Container:
        uuid = uuid_text(row[0])
        stamp = int(instant(row[5]).strftime("%Y%m%d%H%M%S"))
        return Container(
            ObjectKind.SUBMISSION_SET,
            uuid,
            row[1],
            row[3],
            words.label(row[4]),
            stamp,
            uuid,
            1,
            Status.APPROVED,
            uuid,
            row[7],
            row[8],
        )

    return read


def reader_of_folders(words: Vocabulary) -> Callable[[AnyRow], Container]:
    """Reads rows of FOLDER_COLUMNS."""

    def read(row: AnyRow) -> Container:
        uuid = uuid_text(row[0])
        return Container(
            ObjectKind.FOLDER,
            uuid,
            row[1],
            row[3],
            words.label(row[4]),
            row[5],
            uuid if row[6] is None else uuid_text(row[6]),
            row[7],
            STATUS_OF[row[8]],
            uuid_text(row[9]),
            row[10],
            row[11],
        )

    return read


def link(row: AnyRow) -> Link:
    """A row of LINK_COLUMNS."""
    uuid = uuid_text(row[0])
    return Link(
        uuid,
        uuid if row[1] is None else uuid_text(row[1]),
        row[2],
        STATUS_OF[row[3]],
        _TYPE_OF[row[4]],
        uuid_text(row[5]),
        uuid_text(row[6]),
        None if row[7] is None else bool(row[7]),
        uuid_text(row[8]),
        row[9],
        row[10],
    )
