"""What can go wrong with a database, in three words a caller can act on: busy, full, broken."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ihe.names import Code

BORN_BUSY = frozenset({"55P03", "57014", "53300", "57P03"})
"""PostgreSQL: lock and statement time limits, too many connections, starting up."""
OUT_OF_RESOURCES = frozenset({"53000", "53100", "53200"})
RETRIED = frozenset({"40001", "40P01"})
"""PostgreSQL: lost to a deadlock, or could not be serialised."""


@dataclass(slots=True)
class StoreTrouble(Exception):
    """The database could not answer. `code` is what the caller of a transaction is told; never an empty answer."""

    code: Code
    what: str

    def __str__(self) -> str:
        return self.what


class DatabaseMissing(Exception):
    """The database is not there, or is not one this version can work on. `str()` says in one sentence what to do."""


class Undone(Exception):
    """Raised by a work, as XdsFailure may be, to undo what it wrote and tell its caller why; subclasses carry more."""


@contextlib.contextmanager
def troubles() -> Iterator[None]:
    """Within it, whatever a driver or SQLAlchemy raises comes out as StoreTrouble."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
        _raise_trouble(error)


def passes(error: BaseException | None) -> bool:
    """Whether PostgreSQL would take the whole transaction if it came once more."""
    error = error.orig if isinstance(error, DBAPIError) else error
    return getattr(error, "sqlstate", None) in RETRIED or is_stale(error)


def is_stale(error: BaseException | None) -> bool:
    """Whether a prepared statement was refused for a migration that came between ("cached plan must not change result
    type"). PostgreSQL has no code of its own for that and translates the text; its function's name stays."""
    diagnosis = getattr(error, "diag", None)
    return getattr(diagnosis, "source_function", None) == "RevalidateCachedQuery"


def _raise_trouble(error: SQLAlchemyError | sqlite3.Error | psycopg.Error) -> NoReturn:
    """`error` as StoreTrouble, telling busy from full from broken."""
    first: BaseException = error
    earlier = error.__context__
    # A full disk ends SQLite's transaction by itself, and undoing a savepoint then fails in turn: the first one counts.
    while earlier is not None:
        first = earlier if isinstance(earlier, DBAPIError | sqlite3.Error) else first
        earlier = earlier.__context__
    original = first.orig if isinstance(first, DBAPIError) else first
    state = getattr(original, "sqlstate", None) or ""
    name = getattr(original, "sqlite_errorname", None) or ""
    code = Code.REGISTRY_ERROR
    if isinstance(error, PoolTimeout) or state in BORN_BUSY or is_stale(original):
        code = Code.REGISTRY_BUSY
    elif name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        code = Code.REGISTRY_BUSY
    elif state in OUT_OF_RESOURCES or name.startswith("SQLITE_FULL"):
        code = Code.REGISTRY_OUT_OF_RESOURCES
    # The driver's message can hold values of patients, so it goes no further; class and state say what to look for.
    raise StoreTrouble(code, f"{type(original).__name__} {state or name}".strip()) from None
