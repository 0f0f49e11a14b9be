"""The first tables of the registry, its first compression dictionary, and the row read in place of unknown ids."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from registry.database.bodies import first_dictionary

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_DECOY = {
    "patient_key": -1,
    "entry_uuid": bytes(16),
    "lid": bytes(16),
    "version": 1,
    "status": 0,
    "unique_id": "",
    "object_type": 0,
    "repository": 0,
    "mime_type": 0,
    "source_id": 0,
    "registered_by": 0,
    "hash": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "size": 0,
    "creation_time": 20000101000000,
    "class_code": 0,
    "type_code": 0,
    "format_code": 0,
    "practice_code": 0,
    "facility_code": 0,
    "confidentiality_codes": ",0,",
    "event_codes": "",
    "authors": "",
    "signed_at": 946684800000000,
    "withdrawn": 0,
    "shared": 0,
    "submission_uuid": bytes(16),
    "registered_at": 946684800000000,
    "codec": 0,
    "body": bytes(300),
}
"""As large as an entry usually is. Its patient has no id, so that no query names it and every reader knows it."""


def upgrade() -> None:
    """From nothing to version 1."""
    _words()
    _patients()
    _documents()
    _other_objects()
    _directory()
    _blocks()
    _first_rows()


def _patients() -> None:
    op.create_table(
        "patient",
        sa.Column("patient_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("survivor", sa.Text(), nullable=False),
        sa.Column("survivor_key", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("patient_key", name=op.f("pk_patient")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "patient_alias",
        sa.Column("patient_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("patient_key", "alias", name=op.f("pk_patient_alias")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "binding",
        sa.Column("assertion", sa.LargeBinary(length=16), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("assertion", name=op.f("pk_binding")),
        sqlite_with_rowid=False,
    )


def _words() -> None:
    op.create_table(
        "schema_version",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("compatible", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schema_version")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "code",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_code")),
        sa.UniqueConstraint("scheme", "value", name=op.f("uq_code_scheme_value")),
    )
    op.create_table(
        "label",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label")),
        sa.UniqueConstraint("text", name=op.f("uq_label_text")),
    )
    op.create_table(
        "body_dict",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("dictionary", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_body_dict")),
        sqlite_with_rowid=False,
    )


def _documents() -> None:
    op.create_table(
        "document",
        sa.Column("patient_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entry_uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("lid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("version", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("unique_id", sa.Text(), nullable=False),
        sa.Column("object_type", sa.SmallInteger(), nullable=False),
        sa.Column("repository", sa.Integer(), nullable=False),
        sa.Column("mime_type", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("registered_by", sa.Integer(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("creation_time", sa.BigInteger(), nullable=True),
        sa.Column("service_start", sa.BigInteger(), nullable=True),
        sa.Column("service_stop", sa.BigInteger(), nullable=True),
        sa.Column("class_code", sa.Integer(), nullable=False),
        sa.Column("type_code", sa.Integer(), nullable=False),
        sa.Column("format_code", sa.Integer(), nullable=False),
        sa.Column("practice_code", sa.Integer(), nullable=False),
        sa.Column("facility_code", sa.Integer(), nullable=False),
        sa.Column("confidentiality_codes", sa.Text(), nullable=False),
        sa.Column("event_codes", sa.Text(), nullable=False),
        sa.Column("authors", sa.Text(), nullable=False),
        sa.Column("reference_ids", sa.Text(), nullable=True),
        sa.Column("signed_at", sa.BigInteger(), nullable=True),
        sa.Column("withdrawn", sa.SmallInteger(), nullable=False),
        sa.Column("shared", sa.SmallInteger(), nullable=False),
        sa.Column("submission_uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.Column("codec", sa.SmallInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("patient_key", "entry_uuid", name=op.f("pk_document")),
        postgresql_with={"fillfactor": 90},
        sqlite_with_rowid=False,
    )


def _other_objects() -> None:
    op.create_table(
        "submission_set",
        sa.Column("patient_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entry_uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("unique_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("registered_by", sa.Integer(), nullable=False),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.Column("submission_time", sa.BigInteger(), nullable=True),
        sa.Column("content_type", sa.Integer(), nullable=False),
        sa.Column("authors", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("codec", sa.SmallInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("patient_key", "entry_uuid", name=op.f("pk_submission_set")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "folder",
        sa.Column("patient_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entry_uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("unique_id", sa.Text(), nullable=False),
        sa.Column("registered_by", sa.Integer(), nullable=False),
        sa.Column("last_update", sa.BigInteger(), nullable=False),
        sa.Column("codes", sa.Text(), nullable=False),
        sa.Column("submission_uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("codec", sa.SmallInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("patient_key", "entry_uuid", name=op.f("pk_folder")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "association",
        sa.Column("patient_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entry_uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("type", sa.SmallInteger(), nullable=False),
        sa.Column("source", sa.LargeBinary(length=16), nullable=False),
        sa.Column("target", sa.LargeBinary(length=16), nullable=False),
        sa.Column("original", sa.SmallInteger(), nullable=True),
        sa.Column("submission_uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("codec", sa.SmallInteger(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("patient_key", "entry_uuid", name=op.f("pk_association")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_association_patient_key_source"), "association", ["patient_key", "source"], unique=False)
    op.create_index(op.f("ix_association_patient_key_target"), "association", ["patient_key", "target"], unique=False)


def _directory() -> None:
    op.create_table(
        "object_dir",
        sa.Column("entry_uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("patient_key", sa.BigInteger(), nullable=False),
        sa.Column("uid_hash", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("entry_uuid", name=op.f("pk_object_dir")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "uid_claim",
        sa.Column("uid_hash", sa.LargeBinary(length=16), nullable=False),
        sa.Column("holder", sa.LargeBinary(length=16), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("patient_key", sa.BigInteger(), nullable=False),
        sa.Column("entry_uuid", sa.LargeBinary(length=16), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("uid_hash", "holder", name=op.f("pk_uid_claim")),
        sqlite_with_rowid=False,
    )


def _blocks() -> None:
    op.create_table(
        "block",
        sa.Column("person_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("block_id", sa.Text(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("person_key", "block_id", name=op.f("pk_block")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "block_history",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("block_id", sa.Text(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_block_history")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_block_history_block_id"), "block_history", ["block_id"], unique=False)
    op.create_table(
        "block_journal",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_block_journal")),
        sqlite_with_rowid=False,
    )


def _first_rows() -> None:
    body_dict = sa.table("body_dict", sa.column("id"), sa.column("dictionary", sa.LargeBinary))
    op.execute(body_dict.insert().values(id=1, dictionary=first_dictionary()))
    op.execute(sa.table("block_journal", sa.column("id"), sa.column("sequence")).insert().values(id=1, sequence=0))
    op.execute(
        sa.table("code", sa.column("id"), sa.column("scheme"), sa.column("value"))
        .insert()
        .values(id=0, scheme="", value="")
    )
    op.execute(sa.table("label", sa.column("id"), sa.column("text")).insert().values(id=0, text=""))
    patient = sa.table(
        "patient", *[sa.column(name) for name in ("patient_key", "patient_id", "survivor", "survivor_key")]
    )
    op.execute(patient.insert().values(patient_key=-1, patient_id="", survivor="", survivor_key=-1))
    document = sa.table("document", *[sa.column(name) for name in _DECOY])
    op.execute(document.insert().values(_DECOY))
