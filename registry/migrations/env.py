"""Alembic's entry: runs the revisions inside the transaction that registry.migrations gives it."""

from __future__ import annotations

from alembic import context

from registry.database.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
