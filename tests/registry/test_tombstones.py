"""registry.changes.tombstones: an id of something removed is taken until its time is over, and then free."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from ihe.errors import XdsFailure
from ihe.metadata import Submission
from registry.changes import tombstones
from registry.database.engine import Database
from registry.database.tables import REMOVED, object_dir, uid_claim
from registry.store import Store
from tests.registry.submissions import NOW, REPOSITORY, entry, submission

DAY = timedelta(days=1)


def removed(store: Store, days: int) -> Submission:
    """A submission that was registered, and removed so many days later."""
    sent = submission(entry())
    store.register(sent, "ous", NOW, [REPOSITORY])
    ids = [sent.submission_set.entry_uuid, *(each.entry_uuid for each in (*sent.entries, *sent.associations))]
    store.remove(ids, "ous", NOW + days * DAY, [REPOSITORY])
    return sent


def tombs(database: Database) -> tuple[int, int]:
    with database.reading() as connection:
        gone = sa.select(sa.func.count()).where(object_dir.c.removed_at.is_not(None))
        claims = sa.select(sa.func.count()).where(uid_claim.c.kind >= REMOVED)
        return connection.execute(gone).scalar_one(), connection.execute(claims).scalar_one()


def test_tombstones_go_when_their_time_is_over_and_not_before(store: Store, database: Database) -> None:
    old, young = removed(store, 1), removed(store, 9)
    again = entry(entry_uuid=old.entries[0].entry_uuid, unique_id=old.entries[0].unique_id, hash="0" * 40)
    with pytest.raises(XdsFailure):
        store.register(submission(again), "ous", NOW, [REPOSITORY])
    assert tombs(database) == (6, 4)
    before = NOW + 5 * DAY
    assert tombstones.count(database, before) == 3
    assert tombstones.forget(database, before, batch=2) == 3
    assert tombs(database) == (3, 2)
    assert tombstones.forget(database, before) == 0
    store.register(submission(again), "ous", NOW, [REPOSITORY])
    with pytest.raises(XdsFailure):
        store.register(submission(entry(entry_uuid=young.entries[0].entry_uuid)), "ous", NOW, [REPOSITORY])


def test_a_unique_id_that_was_taken_up_again_stays_taken(store: Store, database: Database) -> None:
    old = removed(store, 1)
    same = entry(unique_id=old.entries[0].unique_id)
    store.register(submission(same), "ous", NOW + 2 * DAY, [REPOSITORY])
    assert tombstones.forget(database, NOW + 5 * DAY) == 3
    with pytest.raises(XdsFailure):
        store.register(submission(entry(unique_id=same.unique_id, hash="0" * 40)), "ous", NOW, [REPOSITORY])


def test_old_tombstones_are_found_without_reading_the_directory(database: Database) -> None:
    compiled = sa.select(object_dir.c.entry_uuid).where(tombstones._old(NOW)).order_by(object_dir.c.removed_at)
    claims = uid_claim.delete().where(tombstones._IS_TOMBSTONE, uid_claim.c.entry_uuid == b"x")
    with database.snapshot() as connection:
        explain = "EXPLAIN QUERY PLAN " if database.sqlite else "EXPLAIN "
        if not database.sqlite:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        for statement in (compiled, claims):
            told = statement.compile(connection, compile_kwargs={"literal_binds": True})
            plan = " ".join(str(row) for row in connection.exec_driver_sql(f"{explain}{told}"))
            assert "removed_at" in plan or "ix_uid_claim_entry_uuid" in plan
