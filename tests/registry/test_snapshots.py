"""registry.database.snapshots: what was saved is one state of the database, and comes back whole or not at all."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from ihe.names import AssociationType, Status
from registry import migrations
from registry.database import snapshots
from registry.database.engine import Database, open_database
from registry.database.layout import partition
from registry.database.snapshots import SnapshotBroken, examine, put_back, save
from registry.database.tables import metadata
from registry.migrations import migrate
from registry.queries.stored_queries import FindDocuments
from registry.store import Store
from tests.databases import fresh_database, text_of
from tests.registry.submissions import CX, NOW, entry, folder, relation, submission
from tests.registry.test_upgrading import first_version, write_as_version_1


def quiet(what: str, done: int, total: int | None) -> None:
    """Progress that nobody looks at."""


@pytest.fixture
def filled(database: Database) -> Database:
    store = Store(database)
    for number in range(3):
        sent, holder = entry(body=b"<Name>a\tb\\n</Name>"), folder()
        into = relation(AssociationType.HAS_MEMBER, holder.entry_uuid, sent.entry_uuid)
        store.register(submission(sent, folders=(holder,), relations=(into,)), f"ous-{number}", NOW)
    return database


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Iterator[str]:
    """Where a database of the same kind may come into being."""
    if database.sqlite:
        yield f"sqlite:///{tmp_path}/elsewhere/registry.db"
        return
    with fresh_database(request.getfixturevalue("server")) as url:
        yield text_of(url)


def content(database: Database) -> dict[str, set[tuple[object, ...]]]:
    with database.snapshot() as connection:
        return {
            name: {tuple(row) for row in connection.execute(sa.select(table))}
            for name, table in metadata.tables.items()
        }


def kept(tmp_path: Path) -> Path:
    made = tmp_path / "kept"
    made.mkdir()
    return made


def test_what_comes_back_is_what_was_there_and_goes_on(filled: Database, elsewhere: str, tmp_path: Path) -> None:
    told: list[str] = []
    saved = save(filled, kept(tmp_path), lambda what, done, total: told.append(what))
    assert told
    back = put_back(elsewhere, tmp_path / "kept", saved, quiet)
    assert content(back) == content(filled)
    assert examine(back, saved, quiet) == 3 + 3 + 3
    store = Store(back)
    store.register(submission(entry(class_code=entry().type_code)), "new-name", NOW)
    assert len(store.find_documents(FindDocuments(CX, frozenset(Status)), {CX}, True)) == 4
    back.close()


def test_a_place_that_holds_a_registry_is_left_alone(filled: Database, elsewhere: str, tmp_path: Path) -> None:
    saved = save(filled, kept(tmp_path), quiet)
    put_back(elsewhere, tmp_path / "kept", saved, quiet).close()
    with pytest.raises(SnapshotBroken, match="already"):
        put_back(elsewhere, tmp_path / "kept", saved, quiet)


def test_rows_of_sqlite_go_into_postgresql_in_partitions(filled: Database, server: URL, tmp_path: Path) -> None:
    saved = save(filled, kept(tmp_path), quiet)
    with fresh_database(server) as url:
        made = open_database(text_of(url))
        migrate(made)
        partition(made, 4)
        made.close()
        back = put_back(text_of(url), tmp_path / "kept", saved, quiet)
        assert content(back) == content(filled)
        Store(back).register(submission(entry()), "new-name", NOW)
        back.close()
    if not filled.sqlite:
        with pytest.raises(SnapshotBroken, match="go into PostgreSQL"):
            put_back(f"sqlite:///{tmp_path}/other.db", tmp_path / "kept", saved, quiet)


def test_saving_beside_writers_keeps_submissions_whole(filled: Database, elsewhere: str, tmp_path: Path) -> None:
    store, stop, acknowledged = Store(filled), threading.Event(), [0]

    def write() -> None:
        while not stop.is_set():
            store.register(submission(entry(), entry()), "ous", NOW)
            acknowledged[0] += 1

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while acknowledged[0] < 5:
        time.sleep(0.001)
    before = acknowledged[0]

    def meanwhile(what: str, done: int, total: int | None) -> None:
        # Between two tables, whatever the scheduler does.
        store.register(submission(entry(), entry()), "ous", NOW)
        acknowledged[0] += 1

    try:
        saved = save(filled, kept(tmp_path), meanwhile)
    finally:
        after = acknowledged[0]
        stop.set()
        for writer in writers:
            writer.join()
    back = put_back(elsewhere, tmp_path / "kept", saved, quiet)
    examine(back, saved, quiet)
    # Three of the fixture, each with one document; one of every writer may have been committed and not yet counted.
    submissions = saved.rows["submission_set"] - 3
    assert before <= submissions <= after + 2
    assert saved.rows["document"] - 1 == 3 + 2 * submissions
    back.close()


def spoil_a_body(back: Database) -> None:
    back.write(lambda connection: connection.exec_driver_sql("UPDATE document SET codec = 9 WHERE patient_key <> -1"))


def lose_a_row(back: Database) -> None:
    back.write(lambda connection: connection.exec_driver_sql("DELETE FROM object_dir"))


@pytest.mark.parametrize(("spoil", "sentence"), [(spoil_a_body, "cannot be read: codec 9"), (lose_a_row, "0 rows and")])
def test_an_examination_finds_what_is_missing(
    filled: Database, elsewhere: str, tmp_path: Path, spoil: Callable[[Database], None], sentence: str
) -> None:
    saved = save(filled, kept(tmp_path), quiet)
    back = put_back(elsewhere, tmp_path / "kept", saved, quiet)
    spoil(back)
    with pytest.raises(SnapshotBroken, match=sentence):
        examine(back, saved, quiet)
    back.close()


def test_a_damaged_copy_is_not_put_in_place(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/registry.db", create=True)
    migrate(database)
    saved = save(database, kept(tmp_path), quiet)
    with (tmp_path / "kept" / snapshots.FILE).open("rb+") as copy:
        copy.seek(8192 + 8)
        copy.write(bytes(4000))
    target = tmp_path / "back.db"
    with pytest.raises((SnapshotBroken, sqlite3.DatabaseError)):
        put_back(f"sqlite:///{target}", tmp_path / "kept", saved, quiet)
    assert not target.exists()
    database.close()


@pytest.mark.postgresql
def test_rows_that_an_older_program_saved_come_back_and_are_migrated(
    server: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_database(server) as url, fresh_database(server) as target:
        first_version(text_of(url))
        database = open_database(text_of(url))
        known = sa.MetaData()
        known.reflect(database.engine, only=lambda name, _: name != "alembic_version")
        with monkeypatch.context() as older:
            older.setattr(snapshots, "metadata", known)
            older.setattr(migrations, "SCHEMA_VERSION", 1)
            write_as_version_1(database, 5)
            saved = save(database, kept(tmp_path), quiet)
        back = put_back(text_of(target), tmp_path / "kept", saved, quiet)
        assert len(content(back)["association"]) == 1
        examine(back, saved, quiet)
        back.close()
        database.close()


def test_a_snapshot_of_sqlite_is_one_file(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/registry.db", create=True)
    migrate(database)
    save(database, kept(tmp_path), quiet)
    assert [each.name for each in (tmp_path / "kept").iterdir()] == [snapshots.FILE]
    with closing(sqlite3.connect(tmp_path / "kept" / snapshots.FILE)) as copy:
        assert copy.execute("SELECT version FROM schema_version").fetchone() is not None
    database.close()
