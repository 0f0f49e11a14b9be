"""One registry database: how it is opened, read and written. SQLite or PostgreSQL, with the same promises.

A write that returned is on disk (synchronous=FULL, synchronous_commit=on) and whole. Writers of SQLite queue
(registry/database/turns.py); those of PostgreSQL run beside each other and again where they lost a race.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError

from ihe.names import Code
from registry.database import postgres_server, sqlite_file
from registry.database.statements import Prepared
from registry.database.troubles import DatabaseMissing, StoreTrouble, Undone, passes, troubles
from registry.database.turns import Work, WriterQueue

__all__ = ["Database", "DatabaseMissing", "StoreTrouble", "Undone", "Work", "open_database"]

T = TypeVar("T")

BUSY_SECONDS = 5
"""How long a statement waits for another writer: beyond it a source's own time limit is near, and it may send again."""
ATTEMPTS = 6
"""Runs of one PostgreSQL transaction that lost to a deadlock or a serialisation failure."""
POOL = 8
"""Connections per process: its threads, and as many again for tasks."""
LOG_BYTES = 64 * 1024 * 1024
"""SQLite's log is cut down when it is larger than this."""
LOG_TOO_LARGE = 16 * LOG_BYTES
"""Above this somebody has been reading one old state for very long, and is told of."""
PRAGMAS = (
    "busy_timeout=5000",
    "page_size=8192",  # 4 KiB pages read more, 16 KiB double what a commit writes
    "journal_mode=wal",
    "synchronous=full",  # NORMAL lost acknowledged commits in 57 of 60 simulated power cuts
    "cache_size=-65536",
    "mmap_size=1073741824",
    "case_sensitive_like=on",  # matching is case sensitive (ITI TF-3 4.2.3.1.2), as PostgreSQL does it anyway
    "journal_size_limit=67108864",
    # Savepoints keep pages of patients to undo by: in memory, where they would else go to a file below /var/tmp.
    "temp_store=memory",
    "trusted_schema=off",
)


class Database:
    """Opened with open_database; used by every thread of one process. Not to be carried over a fork."""

    def __init__(self, engine: Engine, path: Path | None) -> None:
        self.engine = engine
        self.path = path
        """The SQLite file, or None."""
        self._single = engine.execution_options(innsyn_begin="")
        self._writing = engine.execution_options(innsyn_begin="BEGIN IMMEDIATE")
        if path is None:
            self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
            self._snapshot = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            self._writing = engine.execution_options(isolation_level="READ COMMITTED")
        self._idle: deque[Connection] = deque()
        """Connections between single statements: taking one from the pool and giving it back costs half a statement."""
        self._closed = False
        self._glancing: sqlite3.Connection | None = None
        self._queue = None if path is None else WriterQueue(self._writing, path.with_name(path.name + ".writer"))

    @property
    def sqlite(self) -> bool:
        """True on SQLite, False on PostgreSQL."""
        return self.path is not None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for single statements, each of which sees one state; no transaction, no round trip for one.

        Raises: StoreTrouble, here and in the other two for whatever the database refuses.
        """
        with troubles():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._single.connect()
            whole = False
            try:
                yield connection
                whole = True
            finally:
                if self._closed:
                    # The pool it came from is gone: given back to that, nobody would ever close it.
                    connection.detach()
                    connection.close()
                elif whole:
                    self._idle.append(connection)
                else:
                    # If the server went away, the idle ones are as broken; each would fail a caller to tell so.
                    connection.close()
                    self._close_idle()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection whose statements all see one and the same state."""
        if self.path is None:
            with troubles(), self._snapshot.connect() as connection:
                yield connection
            return
        with self.reading() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute("BEGIN")
            yield connection
            driver.execute("COMMIT")

    def write(self, work: Work[T]) -> T:
        """What `work` returns, its changes durable; or its exception, and nothing changed.

        `work` may run again after a deadlock, so it must have no effect beyond its connection.
        Raises: StoreTrouble (busy, full or broken), and whatever `work` raises.
        """
        with troubles():
            if self._queue is not None:
                return self._queue.write(work)
            return self._write_now(work)

    def _write_now(self, work: Work[T]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._writing.begin() as connection:
                    return work(connection)
            except (DBAPIError, psycopg.Error) as error:
                if attempt == ATTEMPTS or not passes(error):
                    raise
            time.sleep(0.005 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def glance(self, statement: Prepared) -> Sequence[Any] | None:
        """The rows of a statement without binds, for an event loop: never waits for another process or a network.

        None where that cannot be had: on PostgreSQL, and while SQLite's file is held. One thread at a time.
        """
        if self.path is None:
            return None
        try:
            if self._glancing is None:
                self._glancing = sqlite_file.connect(self.path, "rw", timeout=0)
            return statement.driven(self._glancing, {})
        except sqlite3.Error:
            return None

    def checkpoint(self) -> None:
        """Folds SQLite's log into its file; without it overlapping readers let the log grow (measured 400 MB).

        Raises: StoreTrouble, also where a reader has kept the log from being cut down until it is far too large.
        """
        if self.path is None:
            return
        with self.reading() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
        if sqlite_file.log_bytes(self.path) <= LOG_BYTES:
            return
        # Cutting it down holds writers back while a reader is waited for, so it does not wait long.
        with troubles(), contextlib.closing(sqlite_file.connect(self.path, "rw", timeout=0.2)) as driver:
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if (left := sqlite_file.log_bytes(self.path)) > LOG_TOO_LARGE:
            raise StoreTrouble(Code.REGISTRY_BUSY, f"a reader keeps {left >> 20} MiB of SQLite's log")

    def close(self) -> None:
        """Ends the writing thread and every connection."""
        self._closed = True
        if self._queue is not None:
            self._queue.close()
        self._close_idle()
        if self._glancing is not None:
            self._glancing.close()
        self.engine.dispose()

    def _close_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()


def open_database(url: str, *, create: bool = False) -> Database:
    """The database at this SQLAlchemy URL (`sqlite:////path`, `postgresql://...`), connected on first use.

    A missing SQLite file is created only with `create`: a registry that lost its file must not come up empty.
    Raises: DatabaseMissing.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return Database(*sqlite_file.open_engine(parsed, create, lambda: PRAGMAS, POOL, BUSY_SECONDS))
    if parsed.get_backend_name() != "postgresql":
        raise DatabaseMissing("the registry runs on SQLite or PostgreSQL; correct the database's URL")
    return Database(postgres_server.open_engine(parsed, POOL, BUSY_SECONDS), None)
