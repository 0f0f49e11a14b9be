"""A registry database per test, on SQLite and on a real PostgreSQL that is started once for the session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from registry.database import tables
from registry.database.engine import Database, open_database
from registry.database.statements import Prepared
from registry.desk import Desk
from registry.migrations import migrate
from registry.store import Store
from tests.databases import text_of
from tests.policy.casebook import machine, person
from tests.registry.desks import OUS, UNN, Trail, desk_for, machine_policy

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


LAID_OUT = ["partitioned", *(["citus"] if "INNSYN_TEST_CITUS" in os.environ else [])]
STATEMENTS = {
    "partitioned": {"test_store.py", "test_find.py", "test_races.py", "test_related_queries.py"},
    "citus": {
        *("test_store.py", "test_find.py", "test_races.py", "test_related_queries.py"),
        *("test_merges.py", "test_any_merge.py"),
        *("test_update.py", "test_remove.py", "test_tombstones.py", "test_blocks.py", "test_findings.py"),
    },
}
"""Files that run the statements on a patient's rows: they are run on tables in partitions, and on a Citus, as well."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes other layouts than the plain one off the tests that they could tell nothing about."""
    beside = [each for each in items if each.path.name not in STATEMENTS.get(_layout(each), {each.path.name})]
    if beside:
        config.hook.pytest_deselected(items=beside)
        items[:] = [each for each in items if each not in set(beside)]


def _layout(item: pytest.Item) -> str:
    called = getattr(item, "callspec", None)
    return str(called.params.get("database_url", "")) if called else ""


@pytest.fixture(
    params=["sqlite", *(pytest.param(each, marks=pytest.mark.postgresql) for each in ("postgresql", *LAID_OUT))]
)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a migrated database is that holds nothing yet."""
    if request.param != "sqlite":
        url: URL = request.getfixturevalue(request.param)
        return text_of(url)
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
    rows = Prepared.rows

    def note_prepared(prepared: Prepared, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        ran.append(str(prepared.statement))
        return rows(prepared, connection, values)

    # These go to the driver, where SQLAlchemy sees nothing.
    monkeypatch.setattr(Prepared, "rows", note_prepared)

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        ran.append(statement)

    def since() -> list[str]:
        told, ran[:] = list(ran), []
        return told

    return since


@pytest.fixture
def bodies_read_for(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every value bound in a statement that reads bodies: the keys of their patients are among them."""
    bound: list[object] = []
    rows = Prepared.rows

    def note(prepared: Prepared, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        if "document.codec" in str(prepared.statement):
            bound.extend(values.values())
        return rows(prepared, connection, values)

    monkeypatch.setattr(Prepared, "rows", note)
    return bound


@pytest.fixture
def trail() -> Trail:
    """What the desks of a test record."""
    return Trail()


@pytest.fixture
def anne(store: Store, database: Database, trail: Trail) -> Desk:
    """The desk at which Anne asks about P1."""
    return desk_for(person("Anne", "P1"), database, trail, registers={"ous": (OUS,), "unn": (UNN,)})


@pytest.fixture
def ous(store: Store, database: Database, trail: Trail) -> Desk:
    """The desk at which OUS looks at what it registered."""
    return desk_for(machine("ous"), database, trail, policy=machine_policy(), registers={"ous": (OUS,)})
