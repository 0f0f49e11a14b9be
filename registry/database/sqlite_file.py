"""One SQLite file as an SQLAlchemy engine: found or made, closed to others, every connection prepared alike."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

from registry.database.troubles import DatabaseMissing


def open_engine(
    url: URL, create: bool, pragmas: Callable[[], Sequence[str]], pool: int, wait: float
) -> tuple[Engine, Path]:
    """The engine and the file it works on. `pragmas` are run on every new connection; `pool` connections are kept and
    as many more made for a while, and `wait` is how many seconds one is waited for, as is another's lock.

    Raises: DatabaseMissing.
    """
    path = Path(url.database or "").absolute()
    if not url.database or url.database == ":memory:":
        raise DatabaseMissing("the registry is kept in a file; give the database's URL a path")
    if not create and not path.is_file():
        raise DatabaseMissing(f"there is no registry at {path}; restore it, or create one with a migration")
    if create and not path.exists():
        _born_closed(path)
    engine = sa.create_engine(
        "sqlite://",
        creator=partial(connect, path, "rwc" if create else "rw", wait),
        poolclass=sa.QueuePool,
        pool_size=pool,
        max_overflow=pool,
        pool_timeout=wait,
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        try:
            for pragma in pragmas():
                _execute(connection, f"PRAGMA {pragma}", wait)
        except sqlite3.Error:
            connection.close()  # the pool forgets what it could not prepare, and does not close it
            raise

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # sqlite3 by itself begins late and upgrades a reader, which fails at once whatever the time limit.
        if statement := connection.get_execution_options().get("innsyn_begin", "BEGIN IMMEDIATE"):
            connection.exec_driver_sql(statement)

    return engine, path


def connect(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    """A connection of the driver alone, that commits by itself. `mode` is SQLite's: ro, rw or rwc."""
    name = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(name, timeout=timeout, uri=True, isolation_level=None, check_same_thread=False)


def log_bytes(path: Path) -> int:
    """Size of the write-ahead log beside this file, in bytes."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _execute(connection: sqlite3.Connection, pragma: str, wait: float) -> None:
    """Runs a pragma; a new file's change to WAL needs the file for itself and, by itself, does not wait for it."""
    until = time.monotonic() + wait
    while True:
        try:
            connection.execute(pragma)
            return
        except sqlite3.OperationalError as busy:
            if not busy.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _born_closed(path: Path) -> None:
    """An empty file that only its owner reads; SQLite gives its log the same mode. Raises DatabaseMissing."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as problem:
        raise DatabaseMissing(f"the registry at {path} cannot be created: {problem.strerror}") from None
