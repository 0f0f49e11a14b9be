"""The registry's tables: one row per object, all that a query or a decision touches as typed columns.

One MetaData for SQLite and PostgreSQL. Every patient-scoped table has the primary key (patient_key, entry_uuid), which
on SQLite is also the order on disk: a query reads one patient's rows and nothing else. Multi-valued attributes stand
inline, delimited; no side tables and no secondary indexes are needed for Find queries (docs/decisions: the store's
shape).
"""

from __future__ import annotations

import hashlib
from enum import IntEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from ihe.names import ON_DEMAND_ENTRY, STABLE_ENTRY, AssociationType, Status

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Key16 = LargeBinary(16)
"""A UUID or a truncated SHA-256 as 16 raw bytes, alike on both engines."""

IMPOSSIBLE_KEY = -2
"""A patient key that no patient can have: the statements of a hidden patient run with it."""
DECOY_KEY = -1
DECOY_UUID = bytes(16)
"""The row read in place of an id nobody registered, so that unknown and hidden cost the same (written by migration)."""
SEPARATOR = "\x1f"
"""Stands around each value of an inline text list; no XML 1.0 text can contain it."""
URN_UUID = "urn:uuid:"


class ObjectKind(IntEnum):
    """What an entryUUID or a uniqueId belongs to."""

    DOCUMENT = 0
    SUBMISSION_SET = 1
    FOLDER = 2
    ASSOCIATION = 3

    @property
    def title(self) -> str:
        """The standard's word for it."""
        return ("DocumentEntry", "SubmissionSet", "Folder", "Association")[self]


REMOVED = 16
"""Added to the kind of a claim when its last holder is removed (ITI-62): no question finds it, and of all objects only
the same document (by hash and size) may take it up again."""
STATUS_NUMBER = {Status.APPROVED: 0, Status.DEPRECATED: 1}
STATUS_OF = {number: status for status, number in STATUS_NUMBER.items()}
OBJECT_TYPE_NUMBER = {STABLE_ENTRY: 0, ON_DEMAND_ENTRY: 1}
ASSOCIATION_NUMBER = {
    AssociationType.HAS_MEMBER: 0,
    AssociationType.RPLC: 1,
    AssociationType.XFRM: 2,
    AssociationType.APND: 3,
    AssociationType.XFRM_RPLC: 4,
    AssociationType.SIGNS: 5,
    AssociationType.IS_SNAPSHOT_OF: 6,
}
assert set(STATUS_NUMBER) == set(Status)
assert set(ASSOCIATION_NUMBER) == set(AssociationType)


def patient_key(patient_id: str) -> int:
    """Where this patient's rows are: 63 bits of SHA-256 over the CX, so that any node can route without asking.

    Two CX with one key are possible on purpose only; every reader compares the CX beside the key.
    """
    return int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:8]) >> 1


def uid_hash(unique_id: str) -> bytes:
    """The directory's key of a uniqueId."""
    return hashlib.sha256(unique_id.encode()).digest()[:16]


def uuid_bytes(entry_uuid: str) -> bytes | None:
    """The 16 bytes of a canonical `urn:uuid:...` in lower case, or None for any other text: ids are never repaired."""
    try:
        raw = bytes.fromhex(entry_uuid[len(URN_UUID) :].replace("-", ""))
    except ValueError:
        return None
    return raw if len(raw) == 16 and uuid_text(raw) == entry_uuid else None


def uuid_text(raw: bytes) -> str:
    """The `urn:uuid:...` of 16 bytes."""
    h = raw.hex()
    return f"{URN_UUID}{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


schema_version = Table(
    "schema_version",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("compatible", Integer, nullable=False),
    sqlite_with_rowid=False,
)

patient = Table(
    "patient",
    metadata,
    Column("patient_key", BigInteger, primary_key=True, autoincrement=False),
    Column("patient_id", Text, nullable=False),
    Column("survivor", Text, nullable=False),  # the CX this identity lives on under; its own while it was never merged
    Column("survivor_key", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

patient_alias = Table(
    "patient_alias",
    metadata,
    Column("patient_key", BigInteger, primary_key=True, autoincrement=False),  # of the survivor
    Column("alias", Text, primary_key=True),  # a CX merged into it
    sqlite_with_rowid=False,
)

code = Table(
    "code",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("scheme", Text, nullable=False),
    Column("value", Text, nullable=False),
    UniqueConstraint("scheme", "value"),
)

label = Table(
    "label",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text", Text, nullable=False),
    UniqueConstraint("text"),
)

body_dict = Table(
    "body_dict",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("dictionary", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

document = Table(
    "document",
    metadata,
    Column("patient_key", BigInteger, primary_key=True, autoincrement=False),
    Column("entry_uuid", Key16, primary_key=True),
    Column("lid", Key16, nullable=False),
    Column("version", SmallInteger, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("unique_id", Text, nullable=False),
    Column("object_type", SmallInteger, nullable=False),
    Column("repository", Integer, nullable=False),  # label
    Column("mime_type", Integer, nullable=False),  # label
    Column("source_id", Integer, nullable=False),  # label: sourceId of the submission set
    Column("registered_by", Integer, nullable=False),  # label: name of the machine identity
    Column("hash", Text, nullable=False),  # lower case
    Column("size", BigInteger),
    Column("creation_time", BigInteger),  # these three: yyyymmddhhmmss, padded low
    Column("service_start", BigInteger),
    Column("service_stop", BigInteger),
    Column("class_code", Integer, nullable=False),
    Column("type_code", Integer, nullable=False),
    Column("format_code", Integer, nullable=False),
    Column("practice_code", Integer, nullable=False),
    Column("facility_code", Integer, nullable=False),
    Column("confidentiality_codes", Text, nullable=False),  # ,1,2,
    Column("event_codes", Text, nullable=False),  # ,7,8, or empty
    Column("authors", Text, nullable=False),  # authorPerson of every author, between SEPARATORs
    Column("reference_ids", Text),
    Column("signed_at", BigInteger),  # microseconds since 1970, as registered_at
    Column("withdrawn", SmallInteger, nullable=False),
    Column("shared", SmallInteger, nullable=False),  # 1: another entry carries the same uniqueId
    Column("submission_uuid", Key16, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
    Column("codec", SmallInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
    postgresql_with={"fillfactor": 90},
)

submission_set = Table(
    "submission_set",
    metadata,
    Column("patient_key", BigInteger, primary_key=True, autoincrement=False),
    Column("entry_uuid", Key16, primary_key=True),
    Column("unique_id", Text, nullable=False),
    Column("source_id", Integer, nullable=False),  # label
    Column("registered_by", Integer, nullable=False),  # label
    Column("registered_at", BigInteger, nullable=False),
    Column("submission_time", BigInteger),
    Column("content_type", Integer, nullable=False),
    Column("authors", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of the whole submission as sent
    Column("codec", SmallInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

folder = Table(
    "folder",
    metadata,
    Column("patient_key", BigInteger, primary_key=True, autoincrement=False),
    Column("entry_uuid", Key16, primary_key=True),
    Column("status", SmallInteger, nullable=False),
    Column("unique_id", Text, nullable=False),
    Column("registered_by", Integer, nullable=False),  # label
    Column("last_update", BigInteger, nullable=False),  # yyyymmddhhmmss
    Column("codes", Text, nullable=False),
    Column("submission_uuid", Key16, nullable=False),
    Column("codec", SmallInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("lid", Key16),  # null: its own entryUUID, for a first version
    Column("version", SmallInteger, nullable=False, server_default="1"),
    sqlite_with_rowid=False,
)

association = Table(
    "association",
    metadata,
    Column("patient_key", BigInteger, primary_key=True, autoincrement=False),
    Column("entry_uuid", Key16, primary_key=True),
    Column("type", SmallInteger, nullable=False),
    Column("source", Key16, nullable=False),
    Column("target", Key16, nullable=False),
    Column("original", SmallInteger),  # SubmissionSetStatus: 1 Original, 0 Reference, null absent
    Column("submission_uuid", Key16, nullable=False),
    Column("codec", SmallInteger),
    Column("body", LargeBinary),  # only where it carries more than type and ends
    Column("lid", Key16),  # null: its own entryUUID, for a first version
    Column("version", SmallInteger, nullable=False, server_default="1"),
    Column("status", SmallInteger, nullable=False, server_default="0"),
    Index(None, "patient_key", "source"),
    Index(None, "patient_key", "target"),
    sqlite_with_rowid=False,
)

object_dir = Table(
    "object_dir",
    metadata,
    Column("entry_uuid", Key16, primary_key=True),
    Column("kind", SmallInteger, nullable=False),
    Column("patient_key", BigInteger, nullable=False),
    Column("uid_hash", Key16, nullable=False),  # of an entry's or folder's uniqueId, its versions' too; else empty
    Column("removed_at", BigInteger),  # microseconds; set: a tombstone, whose id is never given again (ITI-62)
    # Tombstones are few, and found by their age when their time is over.
    Index(
        None, "removed_at", postgresql_where=text("removed_at IS NOT NULL"), sqlite_where=text("removed_at IS NOT NULL")
    ),
    sqlite_with_rowid=False,
)

uid_claim = Table(
    "uid_claim",
    metadata,
    Column("uid_hash", Key16, primary_key=True),
    Column("holder", Key16, primary_key=True),  # empty: the claim itself; else the entryUUID of a later holder
    Column("kind", SmallInteger, nullable=False),
    Column("patient_key", BigInteger, nullable=False),
    Column("entry_uuid", Key16, nullable=False),
    Column("hash", Text, nullable=False),
    Column("size", BigInteger),
    Index(None, "entry_uuid", postgresql_where=text("kind >= 16"), sqlite_where=text("kind >= 16")),  # REMOVED
    sqlite_with_rowid=False,
)

block = Table(
    "block",
    metadata,
    Column("person_key", BigInteger, primary_key=True, autoincrement=False),  # the survivor's: a merge moves blocks
    Column("block_id", Text, primary_key=True),
    Column("terms", Text, nullable=False),  # JSON
    sqlite_with_rowid=False,
)

block_history = Table(
    "block_history",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("change", Text, nullable=False),
    Column("block_id", Text, nullable=False),
    Column("terms", Text, nullable=False),
    Index(None, "block_id"),
    sqlite_with_rowid=False,
)

block_journal = Table(
    "block_journal",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

binding = Table(
    "binding",
    metadata,
    Column("assertion", Key16, primary_key=True),
    Column("certificate", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

patient_history = Table(
    "patient_history",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),  # microseconds since 1970
    Column("by", Text, nullable=False),
    Column("change", Text, nullable=False),  # merged, separated
    Column("survivor", Text, nullable=False),
    Column("subsumed", Text, nullable=False),
    Column("moved", Text, nullable=False),  # JSON: every CX that moved along, so that a merge can be undone
    Column("blocks", Text, nullable=False),  # JSON: ids of the blocks that moved along
    Index(None, "survivor"),
    Index(None, "subsumed"),
    sqlite_with_rowid=False,
)

finding = Table(
    "finding",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),  # yyyymmdd
    Column("sender", Text, primary_key=True),
    Column("rule", Text, primary_key=True),
    Column("transaction", Text, primary_key=True),
    Column("seen", Integer, nullable=False),  # messages that broke the rule
    Column("rejected", Integer, nullable=False),  # of them, those that were rejected for it
    Column("last_at", BigInteger, nullable=False),
    Column("correlation", Text, nullable=False),  # of the last one, to find it by
    sqlite_with_rowid=False,
)
