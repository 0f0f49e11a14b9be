"""The registries that measurements stand on: the promised shape, and entries as the store itself would have them."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from bench import entries
from ihe.names import Status
from registry.database.engine import open_database
from registry.database.tables import patient_key, uid_hash
from registry.store import Store


def test_some_patients_have_exactly_so_many_entries_and_the_rest_are_log_normal() -> None:
    shape = entries.shape(100_000)
    assert sum(shape.counts) == 100_000
    for size, times in entries.EXACT.items():
        assert len(shape.having(size)) == times
    chance = shape.counts[sum(entries.EXACT.values()) :]
    assert 45 < statistics.mean(chance) < 55
    assert statistics.median(chance) < 35


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INNSYN_BENCH_CACHE", str(tmp_path))
    return entries.on_sqlite(2000)


def test_entries_that_were_made_are_those_that_a_store_finds(made: Path) -> None:
    database = open_database(f"sqlite:///{made}")
    try:
        store = Store(database)
        with database.reading() as connection:
            counted = connection.exec_driver_sql("SELECT count(*) FROM document WHERE unique_id <> ''").scalar()
            claims = connection.exec_driver_sql("SELECT count(*) FROM uid_claim").scalar()
            listed = connection.exec_driver_sql("SELECT count(*) FROM object_dir").scalar()
            row = connection.exec_driver_sql("SELECT * FROM document WHERE unique_id <> ''").mappings().first()
            person = next(
                each for each in entries.shape(2000).patients if patient_key(each.patient_id) == row["patient_key"]
            )
            claim = "SELECT entry_uuid FROM uid_claim WHERE uid_hash = ?"
            holder = connection.exec_driver_sql(claim, (uid_hash(row["unique_id"]),)).scalar()
            body = store._bodies.inflate(row["codec"], row["body"])
    finally:
        database.close()
    assert (counted, claims, listed) == (2000, 4000, 6000)
    assert holder == row["entry_uuid"]
    assert row["unique_id"].encode() in body
    assert row["hash"].encode() in body
    assert person.number.encode() in body
    assert row["status"] == list(Status).index(Status.APPROVED)


def test_a_registry_that_was_made_is_kept(made: Path) -> None:
    before = made.stat().st_mtime_ns
    assert entries.on_sqlite(2000) == made
    assert made.stat().st_mtime_ns == before
