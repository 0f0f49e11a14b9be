"""One registry database: how it is opened, read and written. SQLite or PostgreSQL, with the same promises.

A write that returned is on disk (synchronous=FULL, synchronous_commit=on) and whole. Writers of SQLite queue: each
process has one writing thread that takes a lock on `<database>.writer`, commits everything waiting as one group (a
savepoint each) and releases, because SQLite's own busy handler is unfair (longest wait measured 3.6-5 s, with the lock
0.2 s).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ihe.errors import XdsFailure
from ihe.names import Code
from registry.statements import Prepared

T = TypeVar("T")
Work = Callable[[Connection], T]

BUSY_SECONDS = 5
"""How long a statement waits for another writer: beyond it a source's own time limit is near, and it may send again."""
QUEUE_SECONDS = 8
"""How long a write waits for its turn before it is taken back unrun: one busy wait and the group before it."""
GROUP = 64
"""Submissions per commit: beyond 64 a group gains little more (measured 7 300/s against 6 100/s at 16)."""
ATTEMPTS = 6
"""Runs of one PostgreSQL transaction that lost to a deadlock or a serialisation failure."""
POOL = 8
"""Connections per process: its threads, and as many again for tasks."""
BORN_BUSY = frozenset({"55P03", "57014", "53300", "57P03"})
"""PostgreSQL: lock and statement time limits, too many connections, starting up."""
OUT_OF_RESOURCES = frozenset({"53000", "53100", "53200"})
RETRIED = frozenset({"40001", "40P01"})
PRAGMAS = (
    "busy_timeout=5000",
    "page_size=8192",  # 4 KiB pages read more, 16 KiB double what a commit writes
    "journal_mode=wal",
    "synchronous=full",  # NORMAL lost acknowledged commits in 57 of 60 simulated power cuts
    "cache_size=-65536",
    "mmap_size=1073741824",
    "case_sensitive_like=on",  # matching is case sensitive (ITI TF-3 4.2.3.1.2), as PostgreSQL does it anyway
    "journal_size_limit=67108864",
    "trusted_schema=off",
)


@dataclass(slots=True)
class StoreTrouble(Exception):
    """The database could not answer. `code` is what the caller of a transaction is told; never an empty answer."""

    code: Code
    what: str

    def __str__(self) -> str:
        return self.what


class DatabaseMissing(Exception):
    """The database is not there, or is not one this version can work on. `str()` says in one sentence what to do."""


def _raise_trouble(error: SQLAlchemyError | sqlite3.Error) -> NoReturn:
    """`error` as StoreTrouble, telling busy from full from broken."""
    first: BaseException = error
    earlier = error.__context__
    # A full disk ends SQLite's transaction by itself, and undoing a savepoint then fails in turn: the first one counts.
    while earlier is not None:
        first = earlier if isinstance(earlier, DBAPIError) else first
        earlier = earlier.__context__
    original = first.orig if isinstance(first, DBAPIError) else first
    state = getattr(original, "sqlstate", None) or ""
    name = getattr(original, "sqlite_errorname", None) or ""
    code = Code.REGISTRY_ERROR
    if isinstance(error, PoolTimeout) or state in BORN_BUSY or name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        code = Code.REGISTRY_BUSY
    elif state in OUT_OF_RESOURCES or name.startswith("SQLITE_FULL"):
        code = Code.REGISTRY_OUT_OF_RESOURCES
    # The driver's message can hold values of patients, so it goes no further; class and state say what to look for.
    raise StoreTrouble(code, f"{type(original).__name__} {state or name}".strip()) from None


@contextlib.contextmanager
def _troubles() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        _raise_trouble(error)


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
        self._glancing: sqlite3.Connection | None = None
        self._queue = None if path is None else _WriterQueue(self._writing, path.with_name(path.name + ".writer"))

    @property
    def sqlite(self) -> bool:
        """True on SQLite, False on PostgreSQL."""
        return self.path is not None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for single statements, each of which sees one state; no transaction, no round trip for one.

        Raises: StoreTrouble, here and in the other two for whatever the database refuses.
        """
        with _troubles():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._single.connect()
            whole = False
            try:
                yield connection
                whole = True
            finally:
                if whole:
                    self._idle.append(connection)
                else:
                    # If the server went away, the idle ones are as broken; each would fail a caller to tell so.
                    connection.close()
                    self._close_idle()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection whose statements all see one and the same state."""
        if self.path is None:
            with _troubles(), self._snapshot.connect() as connection:
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
        with _troubles():
            if self._queue is not None:
                return self._queue.write(work)
            return self._write_now(work)

    def _write_now(self, work: Work[T]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._writing.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                if attempt == ATTEMPTS or getattr(error.orig, "sqlstate", None) not in RETRIED:
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
                self._glancing = _connect(self.path, "rw", timeout=0)
            return statement.driven(self._glancing, {})
        except sqlite3.Error:
            return None

    def checkpoint(self) -> None:
        """Folds SQLite's log into its file; without it overlapping readers let the log grow (measured 400 MB)."""
        if self.sqlite:
            with self.reading() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Ends the writing thread and every connection."""
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


@dataclass(slots=True)
class _Queued:
    work: Work[Any]
    outcome: Future[Any] = field(default_factory=Future)


class _WriterQueue:
    """The one writing thread of a process. Work that waits while a group commits joins the next group."""

    def __init__(self, engine: Engine, lock: Path) -> None:
        self._engine = engine
        self._lock = lock
        self._waiting: deque[_Queued] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="registry-writer")

    def write(self, work: Work[T]) -> T:
        queued = _Queued(work)
        self._waiting.append(queued)
        self._thread.submit(self._commit_group)
        try:
            return queued.outcome.result(QUEUE_SECONDS)  # type: ignore[no-any-return]
        except TimeoutError:
            # Either it never ran, and never will; or it runs now, within the busy time limit, and its end is awaited.
            if queued.outcome.cancel():
                raise StoreTrouble(Code.REGISTRY_BUSY, "no turn to write") from None
            return queued.outcome.result()  # type: ignore[no-any-return]

    def close(self) -> None:
        self._thread.shutdown(wait=True)

    def _commit_group(self) -> None:
        if not self._waiting:
            return  # it went along with an earlier group
        with contextlib.ExitStack() as turn:
            try:
                turn.enter_context(_turn(self._lock))
            except OSError as locked:
                for queued in self._take():
                    if queued.outcome.set_running_or_notify_cancel():
                        trouble = StoreTrouble(Code.REGISTRY_ERROR, f"no lock to write under: {locked.strerror}")
                        queued.outcome.set_exception(trouble)
                return
            group = [queued for queued in self._take() if queued.outcome.set_running_or_notify_cancel()]
            try:
                outcomes = self._run(group)
            finally:
                # One that broke the whole transaction fails them all: nothing was committed, and each hears it.
                broken = sys.exception()
                if broken is not None:
                    for queued in group:
                        queued.outcome.set_exception(broken)
        for queued, (value, error) in zip(group, outcomes, strict=True):
            if error is None:
                queued.outcome.set_result(value)
            else:
                queued.outcome.set_exception(error)

    def _take(self) -> Iterator[_Queued]:
        for _ in range(min(GROUP, len(self._waiting))):
            yield self._waiting.popleft()

    def _run(self, group: list[_Queued]) -> list[tuple[Any, Exception | None]]:
        outcomes: list[tuple[Any, Exception | None]] = []
        if group:
            with self._engine.begin() as connection:
                for queued in group:
                    outcomes.append(_in_savepoint(connection, queued.work))
        return outcomes


class Undone(Exception):
    """Raised by a work, as XdsFailure may be, to undo what it wrote and tell its caller why; subclasses carry more."""


def _in_savepoint(connection: Connection, work: Work[Any]) -> tuple[Any, Exception | None]:
    try:
        with connection.begin_nested():
            return work(connection), None
    except (Undone, XdsFailure) as undone:
        return None, undone


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[None]:
    """This process's turn among all that write this file."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def open_database(url: str, *, create: bool = False) -> Database:
    """The database at this SQLAlchemy URL (`sqlite:////path`, `postgresql://...`), connected on first use.

    A missing SQLite file is created only with `create`: a registry that lost its file must not come up empty.
    Raises: DatabaseMissing.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, create)
    if parsed.get_backend_name() != "postgresql":
        raise DatabaseMissing("the registry runs on SQLite or PostgreSQL; correct the database's URL")
    engine = sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=POOL,
        max_overflow=POOL,
        pool_timeout=BUSY_SECONDS,
        hide_parameters=True,  # values of patients have no business in a message or a trace
        connect_args={
            "connect_timeout": BUSY_SECONDS,
            "options": "-c synchronous_commit=on -c lock_timeout=5s -c statement_timeout=10s -c timezone=UTC",
        },
    )
    return Database(engine, None)


def _execute(connection: sqlite3.Connection, pragma: str) -> None:
    """Runs a pragma; a new file's change to WAL needs the file for itself and, by itself, does not wait for it."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(pragma)
            return
        except sqlite3.OperationalError as busy:
            if not busy.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _open_sqlite(url: URL, create: bool) -> Database:
    path = Path(url.database or "").absolute()
    if not url.database or url.database == ":memory:":
        raise DatabaseMissing("the registry is kept in a file; give the database's URL a path")
    if not create and not path.is_file():
        raise DatabaseMissing(f"there is no registry at {path}; restore it, or create one with a migration")
    if create and not path.exists():
        _born_closed(path)
    mode = "rwc" if create else "rw"

    engine = sa.create_engine(
        "sqlite://",
        creator=partial(_connect, path, mode),
        poolclass=sa.QueuePool,
        pool_size=POOL,
        max_overflow=POOL,
        pool_timeout=BUSY_SECONDS,
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        for pragma in PRAGMAS:
            _execute(connection, f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # sqlite3 by itself begins late and upgrades a reader, which fails at once whatever the time limit.
        if statement := connection.get_execution_options().get("innsyn_begin", "BEGIN IMMEDIATE"):
            connection.exec_driver_sql(statement)

    return Database(engine, path)


def _connect(path: Path, mode: str, timeout: float = BUSY_SECONDS) -> sqlite3.Connection:
    name = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(name, timeout=timeout, uri=True, isolation_level=None, check_same_thread=False)


def _born_closed(path: Path) -> None:
    """An empty file that only its owner reads; SQLite gives its log the same mode. Raises DatabaseMissing."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as problem:
        raise DatabaseMissing(f"the registry at {path} cannot be created: {problem.strerror}") from None
