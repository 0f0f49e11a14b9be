"""The way of the registry's tables from one version to the next, and the check that a node makes before it serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from registry.database.engine import Database, DatabaseMissing, StoreTrouble
from registry.database.tables import schema_version

# alembic is imported where it is used: a node only checks, and would start a fifth of a second later.
if TYPE_CHECKING:
    from alembic.config import Config

SCHEMA_VERSION = 2
"""The version of the tables that this program works on."""
SCHEMA_COMPAT_VERSION = 1
"""The oldest program version (its SCHEMA_VERSION) that may still work on tables of SCHEMA_VERSION: raised only by a
migration that an older program would misread, so that nodes can be upgraded one by one."""

MIGRATION_LOCK = 0x696E6E73
"""PostgreSQL advisory lock: of two nodes that migrate at once one does it and the other finds it done."""


def migrate(database: Database) -> None:
    """Brings the tables to SCHEMA_VERSION, all of it or nothing; does nothing where they already are.

    Raises: DatabaseMissing where the tables are of a newer program; StoreTrouble where the database cannot be written.
    """
    with database.reading() as connection:
        version, compatible = versions(connection)
    if version >= SCHEMA_VERSION and compatible <= SCHEMA_VERSION:
        return
    database.write(_upgrade)


def check(database: Database) -> None:
    """Returns if this program may serve from these tables and what it acknowledges will be durable.

    Raises: DatabaseMissing with one sentence that says what to do; StoreTrouble where the database cannot be read.
    """
    try:
        with database.reading() as connection:
            version, compatible = versions(connection)
            durable = _durability(connection)
    except StoreTrouble as trouble:
        raise DatabaseMissing(
            f"the registry's database cannot be read ({trouble}); see the operations guide"
        ) from trouble
    if version == 0:
        raise DatabaseMissing("the registry's database has no tables; create them with a migration")
    if compatible > SCHEMA_VERSION:
        raise DatabaseMissing(
            f"the registry's tables (version {version}) need a newer Innsyn than this one (version {SCHEMA_VERSION})"
        )
    if version < SCHEMA_VERSION:
        raise DatabaseMissing(f"the registry's tables are of version {version}; migrate them to {SCHEMA_VERSION}")
    if not durable:
        raise DatabaseMissing("the database does not write through to the disk; remove what overrides that setting")


def create(database: Database, to: str) -> None:
    """Makes the tables as they were at one revision, for rows saved from such tables. Raises: StoreTrouble."""
    database.write(lambda connection: _run(connection, to))


def revision(connection: Connection) -> str:
    """The last revision these tables were brought to."""
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision() or ""


def versions(connection: Connection) -> tuple[int, int]:
    """Version and oldest compatible program; (0, 0) where there are no tables."""
    if not sa.inspect(connection).has_table(schema_version.name):
        return 0, 0
    row = connection.execute(sa.select(schema_version.c.version, schema_version.c.compatible)).one_or_none()
    return (0, 0) if row is None else (row.version, row.compatible)


def _durability(connection: Connection) -> bool:
    if connection.dialect.name == "sqlite":
        return int(connection.exec_driver_sql("PRAGMA synchronous").scalar_one()) >= 2
    return bool(connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on")


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # An index over a large table takes its time; waiting for a lock does not, or everybody would wait behind it.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    version, compatible = versions(connection)
    if compatible > SCHEMA_VERSION:
        raise DatabaseMissing(
            f"the registry's tables are of version {version}, newer than this program; upgrade Innsyn"
        )
    _run(connection, "head")
    connection.execute(schema_version.delete())
    connection.execute(
        schema_version.insert(), {"id": 1, "version": SCHEMA_VERSION, "compatible": SCHEMA_COMPAT_VERSION}
    )


def _run(connection: Connection, to: str) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def pending(database: Database) -> tuple[str, ...]:
    """The revisions a migration would run, oldest first."""
    from alembic.script import ScriptDirectory

    with database.reading() as connection:
        current = revision(connection)
    script = ScriptDirectory.from_config(_config())
    return tuple(each.revision for each in reversed(list(script.iterate_revisions("head", current or "base"))))
