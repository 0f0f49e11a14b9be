"""A PostgreSQL (or Citus) server as an SQLAlchemy engine, with what every connection to it is promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import psycopg
import sqlalchemy as sa
from psycopg.errors import FeatureNotSupported
from psycopg.pq import TransactionStatus
from sqlalchemy.engine import URL, Connection, Engine

from registry.database.troubles import is_stale

IDLE_SECONDS = 60
"""A transaction that asks nothing for so long belongs to a process that hangs: it would keep old rows from vacuum."""


class _Replanning(psycopg.Cursor[Any]):
    """Runs a statement once more that was prepared before a migration changed what it returns.

    PostgreSQL answers such a statement once with "cached plan must not change result type"; nothing has happened then.
    Within a transaction only its first statement can be run again here; later ones are the whole transaction's matter.
    """

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        """See psycopg.Cursor."""
        before = self.connection.pgconn.transaction_status
        try:
            return super().execute(query, params, **options)
        except FeatureNotSupported as refused:
            if before != TransactionStatus.IDLE or not is_stale(refused):
                raise
        # Either makes the driver forget what it has prepared on this connection.
        if self.connection.autocommit:
            super().execute("DEALLOCATE ALL")
        else:
            self.connection.rollback()
        return super().execute(query, params, **options)


def rows(connection: Connection, sql: str, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
    """All rows of a statement that the driver runs alone. Raises psycopg.Error, for the engine to translate."""
    driver: Any = connection.connection.driver_connection
    try:
        # In binary: a body as text has twice the bytes, written by the server to be read again here.
        found: Sequence[tuple[Any, ...]] = driver.execute(sql, values, binary=True).fetchall()
    except psycopg.OperationalError:
        if driver.closed:
            # Asking on it itself, SQLAlchemy sees that it is lost, and forgets all that went with the same server.
            connection.exec_driver_sql("SELECT 1")
        raise
    return found


def open_engine(url: URL, pool: int, wait: int) -> Engine:
    """The engine. `pool` connections are kept and as many more made for a while; `wait` is how many seconds a
    connection, or a lock, is waited for. A statement may take twice as long."""
    limits = f"-c lock_timeout={wait}s -c statement_timeout={2 * wait}s"
    limits += f" -c idle_in_transaction_session_timeout={IDLE_SECONDS}s"
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=pool,
        max_overflow=pool,
        pool_timeout=wait,
        hide_parameters=True,  # values of patients have no business in a message or a trace
        connect_args={
            "connect_timeout": wait,
            "cursor_factory": _Replanning,
            "options": f"-c synchronous_commit=on {limits} -c timezone=UTC",
        },
    )
