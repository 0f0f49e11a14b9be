"""The statements that read sets, folders, associations and documents by where they are; each built once per length."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from ihe.names import AssociationType
from registry.database.rows import CONTENT, CONTENT_FACTS, WITH_PATIENT
from registry.database.statements import Prepared, listed
from registry.database.tables import (
    ASSOCIATION_NUMBER,
    ObjectKind,
    association,
    document,
    folder,
    object_dir,
    submission_set,
    uid_claim,
)
from registry.queries.containers import FOLDER_COLUMNS, FOLDERS, LINK_COLUMNS, SET_COLUMNS, SETS

_MEMBER = ASSOCIATION_NUMBER[AssociationType.HAS_MEMBER]
OF_SETS, OF_FOLDERS, OF_LINKS = ("sets", "entry_uuid"), ("folders", "entry_uuid"), ("links", "entry_uuid")
OF_ENTRIES, OF_ENTRIES_LEAF = ("entries", "entry_uuid"), ("entries with bodies", "entry_uuid")
OF_STAMPS = ("stamps", "entry_uuid")
"""What is read, and the column it is read by. Stamps are when submission sets were registered."""
_SELECTED: Mapping[str, tuple[sa.Table, Any, tuple[Any, ...]]] = {
    "sets": (submission_set, SETS, SET_COLUMNS),
    "folders": (folder, FOLDERS, FOLDER_COLUMNS),
    "links": (association, association, LINK_COLUMNS),
    "entries": (document, WITH_PATIENT, CONTENT_FACTS),
    "entries with bodies": (document, WITH_PATIENT, CONTENT),
    "stamps": (submission_set, submission_set, (submission_set.c.entry_uuid, submission_set.c.registered_at)),
}


@lru_cache(1024)
def by_uuid(name: tuple[str, str], keys: int, uuids: int) -> Prepared:
    """Objects of these patients by entryUUID, or by another column; `member` is what these sets and folders have."""
    table, source, columns = _SELECTED[name[0]]
    by = table.c["source" if name[1] == "member" else name[1]]
    where = [listed(table.c.patient_key, "key", keys), listed(by, "uuid", uuids)]
    if name[1] == "member":
        where.append(table.c.type == _MEMBER)
    return Prepared(sa.select(*columns).select_from(source).where(*where))


@lru_cache(128)
def of_patients(name: tuple[str, str], keys: int) -> Prepared:
    """All of these patients' objects."""
    table, source, columns = _SELECTED[name[0]]
    return Prepared(sa.select(*columns).select_from(source).where(listed(table.c.patient_key, "key", keys)))


@lru_cache(128)
def folders_by(column: str, keys: int, values: int) -> Prepared:
    """Folders of these patients by a column."""
    where = listed(folder.c.patient_key, "key", keys), listed(folder.c[column], "value", values)
    return Prepared(sa.select(*FOLDER_COLUMNS).select_from(FOLDERS).where(*where))


@lru_cache(32)
def directory(uuids: int) -> Prepared:
    """Where objects are: (entryUUID, key of the patient)."""
    wanted = listed(object_dir.c.entry_uuid, "uuid", uuids)
    return Prepared(sa.select(object_dir.c.entry_uuid, object_dir.c.patient_key).where(wanted))


@lru_cache(64)
def claimed(kind: ObjectKind, hashes: int) -> Prepared:
    """Who holds uniqueIds: (key of the patient, entryUUID)."""
    where = listed(uid_claim.c.uid_hash, "hash", hashes), uid_claim.c.kind == int(kind)
    return Prepared(sa.select(uid_claim.c.patient_key, uid_claim.c.entry_uuid).where(*where))
