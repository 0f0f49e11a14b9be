"""Tombstones of what was removed (ITI-62) go when their time is over: from then on an id may be given again.

A tombstone holds no more than ids, so that most registries keep them for good. Forgotten in small transactions, so that
nobody waits behind this. Source: ITI TF-2 3.62; docs/operations.md (retention).
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from registry.database.engine import Database
from registry.database.rows import microseconds
from registry.database.tables import REMOVED, object_dir, uid_claim

BATCH = 500
"""Tombstones per transaction: a few milliseconds of everybody's turn."""

# Not bound: only a condition that is told at once is seen to be the one of the small index.
_IS_TOMBSTONE = uid_claim.c.kind >= sa.literal_column(str(REMOVED))


def count(database: Database, before: datetime) -> int:
    """How many are older than this. Raises: StoreTrouble."""
    with database.reading() as connection:
        return int(connection.execute(sa.select(sa.func.count()).where(_old(before))).scalar_one())


def forget(database: Database, before: datetime, batch: int = BATCH) -> int:
    """Forgets those of objects that were removed before this moment, and their uniqueIds; returns how many.

    A uniqueId that somebody took up again is in use and stays. Raises: StoreTrouble; what is done by then is done.
    """
    forgotten = 0
    while number := database.write(lambda connection: _forget(connection, before, batch)):
        forgotten += number
    return forgotten


def _old(before: datetime) -> sa.ColumnElement[bool]:
    return object_dir.c.removed_at < microseconds(before)


def _forget(connection: Connection, before: datetime, batch: int) -> int:
    oldest = sa.select(object_dir.c.entry_uuid).where(_old(before)).order_by(object_dir.c.removed_at).limit(batch)
    over = [bytes(each) for each in connection.execute(oldest).scalars()]
    if over:
        connection.execute(uid_claim.delete().where(_IS_TOMBSTONE, uid_claim.c.entry_uuid.in_(over)))
        connection.execute(object_dir.delete().where(object_dir.c.entry_uuid.in_(over)))
    return len(over)
