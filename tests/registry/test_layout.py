"""registry.database.layout: partitions and Citus change where rows lie, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import URL

from ihe.names import AssociationType, Status
from registry.database.engine import Database, open_database
from registry.database.layout import PATIENT_TABLES, LayoutRefused, distribute, distribution, is_partition, partition
from registry.database.tables import metadata
from registry.migrations import migrate
from registry.queries.stored_queries import FindDocuments
from registry.store import Store
from tests.databases import fresh_database, text_of
from tests.registry.submissions import CX, NOW, entry, folder, relation, submission

BOTH = frozenset(Status)


@pytest.fixture
def plain(server: URL) -> Iterator[Database]:
    """A migrated PostgreSQL of one's own."""
    with fresh_database(server) as url:
        database = open_database(text_of(url))
        migrate(database)
        yield database
        database.close()


def listed(store: Store) -> set[tuple[str, str]]:
    found = store.find_documents(FindDocuments(CX, BOTH), {CX}, True)
    return {(each.facts.entry_uuid, each.facts.status.value) for each in found}


@pytest.mark.postgresql
def test_a_registry_that_grew_is_put_into_partitions_with_all_it_holds(plain: Database) -> None:
    store = Store(plain)
    old, new, holder = entry(), entry(), folder()
    into = relation(AssociationType.HAS_MEMBER, holder.entry_uuid, old.entry_uuid)
    store.register(submission(old, folders=(holder,), relations=(into,)), "ous", NOW)
    before = listed(store)
    assert partition(plain, 8)
    # The same store goes on, with statements that it prepared on the tables as they were.
    assert listed(store) == before
    replaces = relation(AssociationType.RPLC, new.entry_uuid, old.entry_uuid)
    store.register(submission(new, relations=(replaces,)), "ous", NOW)
    statuses = {status.rpartition(":")[2] for _, status in listed(store)}
    assert (len(listed(store)), statuses) == (2, {"Approved", "Deprecated"})
    with plain.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: kind != "table" or not is_partition(name or "")}
        )
        assert compare_metadata(context, metadata) == []
        names = connection.exec_driver_sql("SELECT relname, reloptions FROM pg_class WHERE relispartition").all()
        tables = {name: options for name, options in names if is_partition(name)}
        assert len(tables) == 8 * len(PATIENT_TABLES)
        assert tables["document_p003"] == ["fillfactor=90"]
        spread = "SELECT count(DISTINCT tableoid) FROM document WHERE patient_key <> -1"
        assert connection.exec_driver_sql(spread).scalar() == 1
    assert not partition(plain, 8)
    migrate(plain)


@pytest.mark.postgresql
def test_a_query_by_patient_looks_into_one_partition(plain: Database) -> None:
    partition(plain, 8)
    with plain.reading() as connection:
        plan = connection.exec_driver_sql("EXPLAIN SELECT unique_id FROM document WHERE patient_key = 5").scalars()
        assert sum("document_p" in line for line in plan) == 1


@pytest.mark.postgresql
def test_a_layout_that_cannot_be_is_refused_and_changes_nothing(plain: Database, tmp_path: Path) -> None:
    with pytest.raises(LayoutRefused, match="2 to 1024"):
        partition(plain, 1)
    with pytest.raises(LayoutRefused, match="no Citus"):
        distribute(plain)
    file = open_database(f"sqlite:///{tmp_path}/registry.db", create=True)
    for lay_out in (partition, distribute):
        with pytest.raises(LayoutRefused):
            lay_out(file)
    file.close()
    with plain.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM pg_class WHERE relispartition").scalar() == 0


def test_citus_is_told_where_each_table_lies() -> None:
    told = distribution()
    by_patient = [line for line in told if "'patient_key'" in line]
    assert [line.split("'")[1] for line in by_patient] == [
        "patient",
        "patient_alias",
        *(table.name for table in PATIENT_TABLES),
    ]
    assert all("colocate_with => 'patient'" in line for line in by_patient[1:])
    assert told[:3] == tuple(f"SELECT create_reference_table('{table}')" for table in ("code", "label", "body_dict"))
    assert told[-2:] == (
        "SELECT create_distributed_table('object_dir', 'entry_uuid', colocate_with => 'none', shard_count => 64)",
        "SELECT create_distributed_table('uid_claim', 'uid_hash', colocate_with => 'none', shard_count => 64)",
    )


@pytest.mark.skipif(
    "INNSYN_TEST_CITUS" not in os.environ,
    reason="INNSYN_TEST_CITUS names no Citus (its coordinator's URL), so nothing here ran on one",
)
def test_a_citus_holds_each_patient_table_in_shards(citus: URL) -> None:
    database = open_database(text_of(citus))
    with database.reading() as connection:
        spread = connection.exec_driver_sql(
            "SELECT logicalrelid::text FROM pg_dist_partition WHERE partmethod = 'h' AND colocationid ="
            " (SELECT colocationid FROM pg_dist_partition WHERE logicalrelid = 'patient'::regclass)"
        ).scalars()
        assert set(spread) == {"patient", "patient_alias", *(table.name for table in PATIENT_TABLES)}
    with pytest.raises(LayoutRefused, match="spread"):
        distribute(database)
    with pytest.raises(LayoutRefused, match="shards of its own"):
        partition(database)
    database.close()
