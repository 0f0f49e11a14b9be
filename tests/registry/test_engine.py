"""What a write promises: whole, durable, in turn; and what a database that is not right is told."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

import registry.database.engine
import registry.database.turns
from ihe.names import Code, Status
from registry.database.engine import Database, DatabaseMissing, StoreTrouble, Undone, open_database
from registry.database.statements import Prepared
from registry.database.tables import label
from registry.migrations import check, migrate
from registry.queries.stored_queries import FindDocuments
from registry.store import Store
from tests.registry.submissions import CX


def put(text: str) -> registry.database.engine.Work[str]:
    def work(connection: Connection) -> str:
        connection.execute(label.insert(), {"text": text})
        return text

    return work


def labels(database: Database) -> set[str]:
    with database.reading() as connection:
        return set(connection.execute(sa.select(label.c.text)).scalars()) - {""}


class Refused(Undone):
    pass


def put_and_refuse(connection: Connection) -> None:
    put("never")(connection)
    raise Refused("no")


def test_a_refused_work_leaves_nothing_and_spoils_nobody_elses(database: Database) -> None:
    outcomes: list[object] = []

    def write(number: int) -> None:
        try:
            outcomes.append(database.write(put_and_refuse if number % 3 == 0 else put(str(number))))
        except Refused:
            outcomes.append("refused")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("refused") == 4
    assert labels(database) == {str(number) for number in range(12) if number % 3}


def test_a_defect_in_one_work_reaches_its_caller_and_commits_nothing(database: Database) -> None:
    def defect(connection: Connection) -> None:
        put("never")(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(defect)
    assert database.write(put("after")) == "after"
    assert labels(database) == {"after"}


def test_a_snapshot_sees_one_state(database: Database) -> None:
    with database.snapshot() as connection:
        count = sa.select(sa.func.count()).select_from(label)
        before = connection.execute(count).scalar()
        database.write(put("meanwhile"))
        assert connection.execute(count).scalar() == before
    assert labels(database) == {"meanwhile"}


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    path = tmp_path / "registry.db"
    database = open_database(f"sqlite:///{path}", create=True)
    migrate(database)
    database.close()
    return path


def test_sqlite_writes_through_to_the_disk(sqlite_file: Path) -> None:
    database = open_database(f"sqlite:///{sqlite_file}")
    with database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()


def test_a_database_held_by_another_is_busy_not_broken(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pragmas = ["busy_timeout=100" if "busy" in pragma else pragma for pragma in registry.database.engine.PRAGMAS]
    monkeypatch.setattr(registry.database.engine, "PRAGMAS", pragmas)
    database = open_database(f"sqlite:///{sqlite_file}")
    other = sqlite3.connect(sqlite_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreTrouble) as trouble:
        database.write(put("x"))
    assert trouble.value.code is Code.REGISTRY_BUSY
    other.execute("ROLLBACK")
    assert database.write(put("x")) == "x"
    other.close()
    database.close()


def test_a_write_that_gets_no_turn_is_taken_back(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.database.turns, "QUEUE_SECONDS", 0.1)
    database = open_database(f"sqlite:///{sqlite_file}")
    with registry.database.turns.turn(sqlite_file.with_name("registry.db.writer")):
        with pytest.raises(StoreTrouble) as trouble:
            database.write(put("taken back"))
        assert trouble.value.code is Code.REGISTRY_BUSY
    monkeypatch.undo()
    database.write(put("later"))
    assert labels(database) == {"later"}
    database.close()


def test_a_full_disk_is_told_as_such(sqlite_file: Path) -> None:
    database = open_database(f"sqlite:///{sqlite_file}")

    def fill(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
        put("x" * 1_000_000)(connection)

    with pytest.raises(StoreTrouble) as trouble:
        database.write(fill)
    assert trouble.value.code is Code.REGISTRY_OUT_OF_RESOURCES
    assert labels(database) == set()
    database.close()


def test_a_lost_database_file_does_not_become_an_empty_registry(tmp_path: Path) -> None:
    with pytest.raises(DatabaseMissing, match="no registry at"):
        open_database(f"sqlite:///{tmp_path}/gone.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["sqlite://", "mysql://x/y"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(DatabaseMissing):
        open_database(url)


def test_a_broken_database_is_never_an_empty_answer(sqlite_file: Path) -> None:
    database = open_database(f"sqlite:///{sqlite_file}")
    store = Store(database)
    database.write(lambda connection: connection.exec_driver_sql("DROP TABLE document"))
    with pytest.raises(StoreTrouble):
        store.find_documents(FindDocuments(CX, frozenset({Status.APPROVED})), {CX}, True)
    database.close()


def test_a_trouble_tells_nothing_of_what_was_bound(database: Database) -> None:
    def twice(connection: Connection) -> None:
        put("15837510047")(connection)
        put("15837510047")(connection)

    with pytest.raises(StoreTrouble) as trouble:
        database.write(twice)
    assert "15837510047" not in "".join(traceback.format_exception(trouble.value))
    assert str(trouble.value).startswith(("IntegrityError SQLITE_CONSTRAINT", "UniqueViolation 23505"))


WRITER = """
import sys
from registry.database.engine import open_database
from registry.store import Store
from tests.registry.submissions import NOW, entry, new_uuid, submission
store = Store(open_database(sys.argv[1]))
while True:
    sent, second = entry(unique_id=new_uuid()), entry(unique_id=new_uuid())
    store.register(submission(sent, second, unique_id=new_uuid()), "ous", NOW)
    print(sent.entry_uuid, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(sqlite_file: Path) -> None:
    url = f"sqlite:///{sqlite_file}"
    acknowledged: set[str] = set()
    for pause in (0.2, 0.31, 0.43):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            acknowledged.add(writer.stdout.readline().strip())
        time.sleep(pause)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            told, _ = writer.communicate()
            acknowledged |= {line for line in told.splitlines() if len(line) == 45}
    database = open_database(url)
    check(database)
    found = Store(database).find_documents(FindDocuments(CX, frozenset({Status.APPROVED})), {CX}, False)
    assert acknowledged <= {each.facts.entry_uuid for each in found}
    assert len(found) % 2 == 0
    with database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    database.close()


def test_a_server_that_was_away_fails_one_reader_at_most(database: Database) -> None:
    if database.sqlite:
        pytest.skip("a file is not a server")
    with database.reading() as first, database.reading() as second:
        put("x")(first)
        assert second.exec_driver_sql("SELECT 1").scalar() == 1
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    with database.engine.connect() as connection:
        connection.exec_driver_sql(f"{ended} AND datname = current_database()").all()
    with pytest.raises(StoreTrouble):
        labels(database)
    assert labels(database) == {"x"}


def test_a_server_that_was_away_fails_one_prepared_question_at_most(database: Database) -> None:
    """The driver runs these alone, so that SQLAlchemy does not see its connections fail."""
    if database.sqlite:
        pytest.skip("a file is not a server")
    asked = Prepared(sa.select(label.c.text).where(label.c.text == "x"))
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    database.write(put("x"))
    for manner in (database.reading, database.snapshot):
        with manner() as first, manner() as second:
            assert len(asked.rows(first, {})) == len(asked.rows(second, {})) == 1
        with psycopg.connect(database.engine.url.set(drivername="postgresql").render_as_string(False)) as beside:
            beside.execute(f"{ended} AND datname = current_database()")
        with pytest.raises(StoreTrouble), manner() as connection:
            asked.rows(connection, {})
        for _ in range(2):
            with manner() as first, manner() as second:
                assert len(asked.rows(first, {})) == len(asked.rows(second, {})) == 1


def test_a_migration_beside_a_running_node_costs_nobody_an_answer(database: Database) -> None:
    """A new type of a column is what PostgreSQL refuses a prepared statement for, once on each connection."""
    if database.sqlite:
        pytest.skip("a file prepares statements for itself alone")
    asked = sa.select(label.c.id, label.c.text).where(label.c.text == sa.bindparam("text"))

    def ask(connection: Connection) -> int:
        return int(connection.execute(asked, {"text": "x"}).one().id)

    def ask_twice(connection: Connection) -> int:
        connection.exec_driver_sql("SELECT 1")
        return ask(connection)

    database.write(put("x"))
    ways = [lambda: database.write(ask), lambda: database.write(ask_twice)]
    for manner in (database.reading, database.snapshot):
        ways.append(lambda manner=manner: _with(manner, ask))
    for _ in range(8):
        answers = {way() for way in ways}
    assert len(answers) == 1
    beside = open_database(database.engine.url.render_as_string(hide_password=False))
    try:
        beside.write(lambda connection: connection.exec_driver_sql("ALTER TABLE label ALTER COLUMN id TYPE bigint"))
        assert {way() for way in ways} == answers
    finally:
        beside.write(lambda connection: connection.exec_driver_sql("ALTER TABLE label ALTER COLUMN id TYPE integer"))
        beside.close()


def _with(manner: Callable[[], AbstractContextManager[Connection]], ask: Callable[[Connection], int]) -> int:
    with manner() as connection:
        return ask(connection)


def test_a_long_reader_stops_no_writer_and_is_told_of_once_the_log_is_far_too_large(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.database.engine, "LOG_BYTES", 200_000)
    monkeypatch.setattr(registry.database.engine, "LOG_TOO_LARGE", 1_000_000)
    database = open_database(f"sqlite:///{sqlite_file}")
    reader = sqlite3.connect(sqlite_file, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM label").fetchone() == (1,)
    for number in range(4):
        database.write(put(str(number) * 400_000))
    began = time.monotonic()
    with pytest.raises(StoreTrouble, match=r"a reader keeps \d MiB"):
        database.checkpoint()
    assert time.monotonic() - began < 2
    assert reader.execute("SELECT count(*) FROM label").fetchone() == (1,)
    reader.execute("COMMIT")
    database.checkpoint()
    assert sqlite_file.with_name("registry.db-wal").stat().st_size == 0
    reader.close()
    database.close()


def test_without_a_lock_to_write_under_a_write_fails_at_once(sqlite_file: Path) -> None:
    database = open_database(f"sqlite:///{sqlite_file}")
    lock = sqlite_file.with_name("registry.db.writer")
    lock.unlink()
    lock.mkdir()
    with pytest.raises(StoreTrouble, match="no lock"):
        database.write(put("x"))
    lock.rmdir()
    assert database.write(put("x")) == "x"
    database.close()


def test_a_reader_that_outlives_the_database_leaves_no_connection_behind(sqlite_file: Path) -> None:
    database = open_database(f"sqlite:///{sqlite_file}")
    with database.reading() as connection:
        driver = connection.connection.driver_connection
        database.close()
    assert driver is not None
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        driver.execute("SELECT 1")
