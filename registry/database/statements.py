"""The few constructs in which SQLite and PostgreSQL differ, so that every statement is written once.

A list is one bind value whatever its length, so that a statement's text, and every cache that holds it, stays the same.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from registry.database import postgres_server

LIKE_ESCAPE = "\\"


def insert_new(connection: Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """INSERT that leaves out rows whose key is taken. Count with RETURNING: psycopg reports no row count."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def any_of(column: sa.ColumnElement[int], name: str, on_sqlite: bool) -> sa.ColumnElement[bool]:
    """`column` is one of the numbers bound to `name` with alternatives()."""
    if on_sqlite:
        each = sa.func.json_each(sa.bindparam(name)).table_valued("value")
        return column.in_(sa.select(each.c.value))
    return column == sa.func.any(sa.bindparam(name, type_=sa.ARRAY(sa.BigInteger)))


def like_any_of(column: sa.Column[str], name: str, on_sqlite: bool) -> sa.ColumnElement[bool]:
    """`column` is like one of the patterns bound to `name` with alternatives(); escape_like() escapes in them."""
    if on_sqlite:
        each = sa.func.json_each(sa.bindparam(name)).table_valued("value")
        matching = sa.select(sa.literal(1)).select_from(each).where(column.like(each.c.value, escape=LIKE_ESCAPE))
        return sa.exists(matching.correlate(column.table))
    # PostgreSQL takes no ESCAPE here and has the same character for it.
    return column.like(sa.any_(sa.bindparam(name, type_=sa.ARRAY(sa.Text))))


def alternatives(values: Sequence[int] | Sequence[str], on_sqlite: bool) -> Any:
    """The bind value of any_of() and like_any_of()."""
    return json.dumps(list(values)) if on_sqlite else list(values)


def escape_like(text: str, keep_wildcards: bool = False) -> str:
    """`text` for LIKE with LIKE_ESCAPE: its wildcards meant literally, or kept as wildcards."""
    text = text.replace(LIKE_ESCAPE, LIKE_ESCAPE * 2)
    return text if keep_wildcards else text.replace("%", LIKE_ESCAPE + "%").replace("_", LIKE_ESCAPE + "_")


MOST_ACROSS = 100_000
"""Rows read for a question about everybody (ITI-51): more are a report, and would fill the memory. The one limit that
counts what is hidden, too; a number this large tells nothing of anybody."""
LENGTHS = 16
"""Lengths of padded() lists that are met: a message holds fewer than 2**16 ids."""


class Prepared:
    """A statement compiled once, for questions that every request asks.

    The driver then runs it alone: SQLAlchemy's way there costs three times a small statement on SQLite, and on
    PostgreSQL more than the server does (measured).
    """

    def __init__(self, statement: sa.Select[*tuple[Any, ...]]) -> None:
        self.statement = statement

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        """All rows, to be read by place. Raises what the driver raises, for the engine to translate."""
        if connection.dialect.name == "sqlite":
            driver: Any = connection.connection.driver_connection
            return self.driven(driver, values)
        sql, defaults = self._on_postgresql
        return postgres_server.rows(connection, sql, {**defaults, **values})

    def driven(self, driver: sqlite3.Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        """The same on a connection of SQLite's own driver."""
        sql, defaults = self._on_sqlite
        return driver.execute(sql, [values.get(*each) for each in defaults]).fetchall()

    @cached_property
    def _on_sqlite(self) -> tuple[str, tuple[tuple[str, Any], ...]]:
        """The text, and in the order of its marks each bind's name and what stands in it where nothing is given."""
        compiled = self.statement.compile(dialect=sqlite.dialect())
        return str(compiled), tuple((name, compiled.params[name]) for name in compiled.positiontup or ())

    @cached_property
    def _on_postgresql(self) -> tuple[str, Mapping[str, Any]]:
        compiled = self.statement.compile(dialect=postgresql.psycopg.dialect())  # type: ignore[no-untyped-call]
        return str(compiled), compiled.params


class Insertion:
    """An INSERT compiled once. SQLite's driver runs it alone: one row takes it 15 us, and through SQLAlchemy 100."""

    def __init__(self, table: sa.Table) -> None:
        self._table = table
        self._texts: dict[tuple[bool, tuple[str, ...]], str] = {}

    def insert(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes these rows, which name the same columns. Raises what driver or SQLAlchemy raise, for the engine."""
        if connection.dialect.name != "sqlite":
            connection.execute(self._table.insert(), rows)
        elif rows:
            driver: Any = connection.connection.driver_connection
            driver.executemany(self._text(rows[0], new=False), rows)

    def insert_new(self, connection: Connection, rows: Sequence[Mapping[str, Any]], key: sa.Column[Any]) -> set[Any]:
        """Writes the rows whose key is not taken, and tells `key` of each that went in. Raises: as insert()."""
        if connection.dialect.name != "sqlite":
            # psycopg reports no row count for several rows.
            return set(connection.execute(insert_new(connection, self._table).returning(key), rows).scalars())
        driver: Any = connection.connection.driver_connection
        return {row[key.name] for row in rows if driver.execute(self._text(row, new=True), row).rowcount == 1}

    def _text(self, row: Mapping[str, Any], new: bool) -> str:
        columns = tuple(row)
        text = self._texts.get((new, columns))
        if text is None:
            insert = sqlite.insert(self._table)
            statement = insert.on_conflict_do_nothing() if new else insert
            compiled = statement.compile(dialect=sqlite.dialect(paramstyle="named"), column_keys=columns)
            text = self._texts[new, columns] = str(compiled)
        return text


def listed(column: sa.ColumnElement[Any], name: str, size: int) -> sa.ColumnElement[bool]:
    """`column` is one of `size` values, bound with each()."""
    return column.in_([sa.bindparam(f"{name}_{number}") for number in range(size)])


def bound(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """The bind values of listed()."""
    return {f"{name}_{number}": value for number, value in enumerate(values)}


def padded(values: Sequence[Any], filler: Any) -> list[Any]:
    """`values` filled up to the next power of two, so that few lengths, and few statement texts, exist."""
    size = 1
    while size < len(values):
        size *= 2
    return [*values, *[filler] * (size - len(values))]
