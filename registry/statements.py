"""The few constructs in which SQLite and PostgreSQL differ, so that every statement is written once.

A list is one bind value whatever its length, so that a statement's text, and every cache that holds it, stays the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

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
    """`column` is like one of the patterns bound to `name` with alternatives(); patterns have no escaped wildcards."""
    if on_sqlite:
        each = sa.func.json_each(sa.bindparam(name)).table_valued("value")
        matching = sa.select(sa.literal(1)).select_from(each).where(column.like(each.c.value))
        return sa.exists(matching.correlate(column.table))
    return column.like(sa.any_(sa.bindparam(name, type_=sa.ARRAY(sa.Text))))


def alternatives(values: Sequence[int] | Sequence[str], on_sqlite: bool) -> Any:
    """The bind value of any_of() and like_any_of()."""
    return json.dumps(list(values)) if on_sqlite else list(values)


def escape_like(text: str, keep_wildcards: bool = False) -> str:
    """`text` for LIKE with LIKE_ESCAPE: its wildcards meant literally, or kept as wildcards."""
    text = text.replace(LIKE_ESCAPE, LIKE_ESCAPE * 2)
    return text if keep_wildcards else text.replace("%", LIKE_ESCAPE + "%").replace("_", LIKE_ESCAPE + "_")


def padded(values: Sequence[Any], filler: Any) -> list[Any]:
    """`values` filled up to the next power of two, so that few lengths, and few statement texts, exist."""
    size = 1
    while size < len(values):
        size *= 2
    return [*values, *[filler] * (size - len(values))]
