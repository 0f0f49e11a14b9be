"""The tables come into being once, equal to what the program expects, and a wrong version is told what to do."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from registry.database.engine import Database, DatabaseMissing, open_database
from registry.database.tables import metadata, schema_version
from registry.migrations import SCHEMA_VERSION, check, migrate, pending


def test_the_migrated_tables_are_those_the_program_expects(database: Database) -> None:
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    check(database)
    assert pending(database) == ()


def test_migrating_again_changes_nothing(database: Database) -> None:
    migrate(database)
    check(database)


def test_two_nodes_that_migrate_at_once_make_one_registry(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.db"
    failures: list[BaseException] = []

    def run() -> None:
        database = open_database(url, create=True)
        try:
            migrate(database)
            check(database)
        except DatabaseMissing as failure:
            failures.append(failure)
        finally:
            database.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    ("version", "compatible", "sentence"),
    [(9, 9, "need a newer Innsyn"), (0, 0, "no tables")],
)
def test_tables_of_another_version_are_refused_with_a_sentence(
    tmp_path: Path, version: int, compatible: int, sentence: str
) -> None:
    database = open_database(f"sqlite:///{tmp_path}/registry.db", create=True)
    if version:
        migrate(database)
        newer = {"version": version, "compatible": compatible}
        database.write(lambda connection: connection.execute(schema_version.update().values(newer)))
        with pytest.raises(DatabaseMissing):
            migrate(database)
    with pytest.raises(DatabaseMissing, match=sentence):
        check(database)
    database.close()


def test_tables_of_a_newer_compatible_version_are_served(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/registry.db", create=True)
    migrate(database)
    database.write(
        lambda connection: connection.execute(
            schema_version.update().values(version=SCHEMA_VERSION + 1, compatible=SCHEMA_VERSION)
        )
    )
    check(database)
    migrate(database)
    database.close()


def test_a_database_that_does_not_write_through_is_refused(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/registry.db", create=True)
    migrate(database)
    with database.reading() as connection:
        connection.exec_driver_sql("PRAGMA synchronous=normal")
    with pytest.raises(DatabaseMissing, match="write through"):
        check(database)
    database.close()
