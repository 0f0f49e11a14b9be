"""An assertion serves the client certificate it first came with, and no other (row A3, TOKEN_REPLAY).

Kept in the database, so that it holds between processes and after a restart, until the assertion has expired anyway.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from registry.database.engine import Database
from registry.database.rows import microseconds
from registry.database.statements import insert_new
from registry.database.tables import binding

_BOUND = sa.select(binding.c.certificate).where(binding.c.assertion == sa.bindparam("assertion"))


class Bindings:
    """The bindings of one registry database. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def bind(self, assertion_id: str, certificate: str, until: datetime) -> bool:
        """True if the assertion belongs to this certificate, from now on if from no earlier time; False if to another.

        `until` is when the assertion can no longer be used. Raises StoreTrouble.
        """
        key = hashlib.sha256(assertion_id.encode()).digest()[:16]
        with self._database.reading() as connection:
            bound = connection.execute(_BOUND, {"assertion": key}).scalar()
        if bound is None:
            row = {"assertion": key, "certificate": certificate, "until": microseconds(until)}
            bound = self._database.write(lambda connection: _bind(connection, row))
        return bool(bound == certificate)

    def forget(self, now: datetime) -> int:
        """Removes what has expired; returns how many. Raises StoreTrouble."""
        expired = binding.delete().where(binding.c.until < microseconds(now))
        return self._database.write(lambda connection: connection.execute(expired).rowcount)


def _bind(connection: Connection, row: dict[str, object]) -> str:
    """Binds, or finds who was first."""
    connection.execute(insert_new(connection, binding), row)
    return str(connection.execute(_BOUND, {"assertion": row["assertion"]}).scalar_one())
