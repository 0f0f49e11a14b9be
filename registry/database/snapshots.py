"""The whole database as files, as it was at one moment, and back again.

SQLite gives its own file, copied in one step while others write. PostgreSQL gives the rows of each table in its COPY
text form, compressed, all read in one REPEATABLE READ snapshot: such files go into any later PostgreSQL, into tables in
partitions and into a Citus, and need no tool of the server's own version (docs/decisions/0006). A body is worth nothing
without its dictionary; both are rows, so they travel together.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection

from registry import migrations
from registry.database import sqlite_file
from registry.database.bodies import Bodies, BodyLost
from registry.database.engine import Database, DatabaseMissing, open_database
from registry.database.tables import DECOY_KEY, block_history, code, label, metadata, object_dir, patient

Progress = Callable[[str, int, int | None], None]
"""What is being done, how much of it is, and of how much in all if that is known."""

FILE = "innsyn.db"
ROWS = "{}.copy.gz"
PACE = 10_000
"""Rows between two reports of progress."""
LEVEL = 3
"""Of gzip: rows are mostly compressed bodies in hexadecimal, of which any level gives back the half."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What was saved, for the manifest."""

    engine: str
    """sqlite or postgresql."""
    revision: str
    """Of the migrations, so that tables of just this shape can be made again."""
    version: int
    rows: Mapping[str, int]
    """Of each table."""
    columns: Mapping[str, tuple[str, ...]]
    """Of each table, in the order they were saved in: a later version may have more."""


class SnapshotBroken(Exception):
    """What was saved cannot be put back, or is not what was saved. `str()` says what, in one sentence."""


def save(database: Database, folder: Path, progress: Progress) -> Saved:
    """Writes everything that was committed before this began into the folder, which exists and is empty.

    Others read and write meanwhile. Raises: DatabaseMissing for tables of another version; StoreTrouble; OSError.
    """
    migrations.check(database)
    with database.reading() as connection:
        version, _ = migrations.versions(connection)
        revision = migrations.revision(connection)
    if version != migrations.SCHEMA_VERSION:
        raise DatabaseMissing("the tables are of a newer Innsyn; let that one save them")
    if database.path is not None:
        rows = _save_file(database.path, folder / FILE, progress)
    else:
        rows = _save_rows(database, folder, progress)
    columns = {table.name: tuple(each.name for each in table.columns) for table in metadata.tables.values()}
    return Saved("sqlite" if database.sqlite else "postgresql", revision, version, rows, columns)


def put_back(url: str, folder: Path, saved: Saved, progress: Progress) -> Database:
    """The database at this URL, now holding what was saved and brought to this program's version.

    It must hold nothing: no SQLite file, or PostgreSQL without tables or with newly made ones (in partitions, or spread
    by Citus). Rows of SQLite go into PostgreSQL too. Raises: SnapshotBroken, DatabaseMissing, StoreTrouble, OSError.
    """
    if url.startswith("sqlite"):
        database = _put_file(url, folder, saved)
    else:
        database = _put_rows(url, folder, saved, progress)
    with contextlib.ExitStack() as otherwise:
        otherwise.callback(database.close)
        migrations.migrate(database)
        migrations.check(database)
        otherwise.pop_all()
    return database


def examine(database: Database, saved: Saved, progress: Progress) -> int:
    """Counts every table's rows and reads every body; returns how many bodies. Raises: SnapshotBroken, StoreTrouble."""
    bodies = 0
    with database.snapshot() as connection:
        _take_time(connection)
        for name, expected in saved.rows.items():
            count = connection.execute(sa.select(sa.func.count()).select_from(metadata.tables[name])).scalar_one()
            if count != expected:
                raise SnapshotBroken(f"table {name} holds {count} rows and not {expected}")
        dictionaries = Bodies.read(connection)
        for table in metadata.tables.values():
            if "body" in table.c:
                bodies += _read_bodies(connection, table, dictionaries, progress)
    return bodies


def _read_bodies(connection: Connection, table: sa.Table, dictionaries: Bodies, progress: Progress) -> int:
    # The decoy's body is none.
    real = (table.c.patient_key != DECOY_KEY, table.c.body.is_not(None))
    stored = sa.select(table.c.codec, table.c.body).where(*real).execution_options(yield_per=1000)
    number = 0
    try:
        with connection.execute(stored) as rows:
            for number, (codec, body) in enumerate(rows, start=1):
                dictionaries.inflate(codec, body)
                if number % PACE == 0:
                    progress(f"reading bodies of {table.name}", number, None)
    except BodyLost as lost:
        raise SnapshotBroken(f"a body of {table.name} cannot be read: {lost}") from lost
    return number


def _take_time(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


# SQLite --------------------------------------------------------------------------------------------------------------


def _save_file(source: Path, target: Path, progress: Progress) -> dict[str, int]:
    failed: list[BaseException] = []

    def copy() -> None:
        try:
            with _opened(source, "ro") as reading, _opened(target, "rwc") as writing:
                # In one step: in several it begins anew whenever another process commits, and never ends under load.
                reading.backup(writing, pages=-1)
                # One file, whose last bytes are in it.
                writing.execute("PRAGMA journal_mode=delete")
        except sqlite3.Error as problem:
            failed.append(problem)

    copying = threading.Thread(target=copy, name="snapshot")
    copying.start()
    while copying.is_alive():
        copying.join(0.2)
        size = target.stat().st_size if target.exists() else 0
        progress("copying the database, in bytes", size, max(size, source.stat().st_size))
    if failed:
        raise SnapshotBroken(f"the database cannot be copied: {getattr(failed[0], 'sqlite_errorname', failed[0])}")
    with _opened(target, "ro") as driver:
        count = {name: str(sa.select(sa.func.count()).select_from(table)) for name, table in metadata.tables.items()}
        return {name: driver.execute(statement).fetchone()[0] for name, statement in count.items()}


@contextlib.contextmanager
def _opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite_file.connect(path, mode, timeout=5.0)) as driver:
        yield driver


def _put_file(url: str, folder: Path, saved: Saved) -> Database:
    if saved.engine != "sqlite":
        raise SnapshotBroken("rows of PostgreSQL go into PostgreSQL; give the database such a URL")
    path = Path(sa.make_url(url).database or "")
    if path.exists():
        raise SnapshotBroken(f"there is a registry at {path} already")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.restoring")
    shutil.copyfile(folder / FILE, beside)
    with _opened(beside, "ro") as driver:
        if (found := driver.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
            raise SnapshotBroken(f"the copy of the database is damaged: {found}")
    with beside.open("rb+") as written:
        os.fsync(written.fileno())
    beside.chmod(0o600)
    beside.rename(path)
    return open_database(url)


# PostgreSQL ----------------------------------------------------------------------------------------------------------


def _save_rows(database: Database, folder: Path, progress: Progress) -> dict[str, int]:
    rows: dict[str, int] = {}
    with database.snapshot() as connection:
        _take_time(connection)
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        driver: Any = connection.connection.driver_connection
        for table in metadata.tables.values():
            with gzip.open(folder / ROWS.format(table.name), "wb", compresslevel=LEVEL) as written:
                rows[table.name] = _copy_out(driver, table, written, progress)
    return rows


def _copy_out(driver: psycopg.Connection[Any], table: sa.Table, written: gzip.GzipFile, progress: Progress) -> int:
    count = told = 0
    statement = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT")
    copied = statement.format(_named(table.columns.keys()), sql.Identifier(table.name))
    with driver.cursor() as cursor, cursor.copy(copied) as rows:
        for block in rows:
            written.write(block)
            # A line break within a value is written as backslash and n, so each of these ends a row.
            count += bytes(block).count(b"\n")
            if count - told >= PACE:
                told = count
                progress(f"saving {table.name}, in rows", count, None)
    progress(f"saving {table.name}, in rows", count, count)
    return count


def _named(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _put_rows(url: str, folder: Path, saved: Saved, progress: Progress) -> Database:
    database = open_database(url)
    with contextlib.ExitStack() as otherwise:
        otherwise.callback(database.close)
        with database.reading() as connection:
            version, _ = migrations.versions(connection)
        if not version:
            migrations.create(database, saved.revision)
        elif version != saved.version:
            raise SnapshotBroken(
                f"the tables are of version {version} and the rows of {saved.version}; drop the tables"
            )
        database.write(lambda connection: _fill(connection, folder, saved, progress))
        otherwise.pop_all()
    return database


def _fill(connection: Connection, folder: Path, saved: Saved, progress: Progress) -> None:
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    if not _is_new(connection):
        raise SnapshotBroken("the database holds a registry already")
    driver: Any = connection.connection.driver_connection
    for name, count in saved.rows.items():
        columns = saved.columns[name]
        # What the migration has put into new tables is among what was saved.
        connection.execute(sa.delete(sa.table(name)))
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(name), _named(columns))
        with driver.cursor() as cursor, cursor.copy(statement) as into:
            if saved.engine == "sqlite":
                rows = sa.table(name, *map(sa.column, columns))
                _rows_of_file(folder / FILE, rows, into, count, progress)
            else:
                _rows_of_text(folder / ROWS.format(name), into, f"restoring {name}, in bytes", progress)
    for counted in (code, label):
        sequence = sa.func.pg_get_serial_sequence(counted.name, "id")
        # Number 0 is the empty word, which no sequence gives.
        connection.execute(sa.select(sa.func.setval(sequence, sa.func.greatest(sa.func.max(counted.c.id), 1))))


def _is_new(connection: Connection) -> bool:
    people = sa.select(patient.c.patient_key).where(patient.c.patient_key != DECOY_KEY)
    entered, blocked = sa.select(object_dir.c.kind), sa.select(block_history.c.at)
    return not any(connection.execute(each.limit(1)).first() for each in (people, entered, blocked))


def _rows_of_text(path: Path, into: Any, what: str, progress: Progress) -> None:
    with gzip.open(path, "rb") as saved:
        done = 0
        while block := saved.read(1 << 20):
            into.write(block)
            done += len(block)
            progress(what, done, None)


def _rows_of_file(path: Path, table: sa.TableClause, into: Any, count: int, progress: Progress) -> None:
    with _opened(path, "ro") as driver:
        for number, row in enumerate(driver.execute(str(sa.select(table).compile(dialect=sqlite.dialect()))), 1):
            into.write_row(row)
            if number % PACE == 0:
                progress(f"restoring {table.name}, in rows", number, count)
