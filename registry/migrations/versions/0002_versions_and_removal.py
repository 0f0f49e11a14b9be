"""Versions and status for folders and associations, tombstones, merges that can be undone, findings per sender.

A program of version 1 goes on working on these tables: every new column may be left out when it writes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """From version 1 to version 2; no row is rewritten."""
    for table in ("folder", "association"):
        op.add_column(table, sa.Column("lid", sa.LargeBinary(length=16), nullable=True))
        op.add_column(table, sa.Column("version", sa.SmallInteger(), server_default="1", nullable=False))
    op.add_column("association", sa.Column("status", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("object_dir", sa.Column("removed_at", sa.BigInteger(), nullable=True))
    for table, column, where in (
        ("object_dir", "removed_at", "removed_at IS NOT NULL"),
        ("uid_claim", "entry_uuid", "kind >= 16"),
    ):
        only = sa.text(where)
        op.create_index(
            op.f(f"ix_{table}_{column}"), table, [column], unique=False, postgresql_where=only, sqlite_where=only
        )
    op.create_table(
        "patient_history",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("survivor", sa.Text(), nullable=False),
        sa.Column("subsumed", sa.Text(), nullable=False),
        sa.Column("moved", sa.Text(), nullable=False),
        sa.Column("blocks", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_patient_history")),
        sqlite_with_rowid=False,
    )
    for column in ("survivor", "subsumed"):
        op.create_index(op.f(f"ix_patient_history_{column}"), "patient_history", [column], unique=False)
    op.create_table(
        "finding",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("transaction", sa.Text(), nullable=False),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("correlation", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("day", "sender", "rule", "transaction", name=op.f("pk_finding")),
        sqlite_with_rowid=False,
    )
