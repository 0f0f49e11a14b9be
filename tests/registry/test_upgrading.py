"""Nodes are upgraded one by one: the old program goes on working on the new tables, also while they change under it."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from registry import migrations
from registry.database.engine import Database, open_database
from registry.database.tables import association, folder, metadata, object_dir, schema_version
from registry.migrations import SCHEMA_COMPAT_VERSION, SCHEMA_VERSION, check, migrate
from registry.store import Store
from tests.databases import fresh_database, text_of
from tests.registry.submissions import NOW, entry, submission

NEW_IN_2 = {
    "folder": {"lid", "version"},
    "association": {"lid", "version", "status"},
    "object_dir": {"removed_at"},
}
OLD = sa.MetaData()
"""The tables as a program of version 1 knows them."""
for _table in (folder, association, object_dir):
    sa.Table(
        _table.name,
        OLD,
        *(sa.Column(each.name, each.type) for each in _table.columns if each.name not in NEW_IN_2[_table.name]),
    )


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with tables of version 1."""
    if request.param == "sqlite":
        where = f"sqlite:///{tmp_path}/registry.db"
        first_version(where)
        yield where
        return
    with fresh_database(request.getfixturevalue("server")) as made:
        first_version(text_of(made))
        yield text_of(made)


def first_version(url: str) -> None:
    database = open_database(url, create=True)

    def upgrade(connection: Connection) -> None:
        migrations._run(connection, "0001")
        connection.execute(schema_version.insert(), {"id": 1, "version": 1, "compatible": 1})

    database.write(upgrade)
    database.close()


def old_rows(number: int) -> dict[str, dict[str, object]]:
    """What version 1 writes for a folder and its membership, column by column."""
    raw = number.to_bytes(16)
    common = {"patient_key": 7, "entry_uuid": raw, "submission_uuid": raw}
    return {
        "folder": common
        | {"status": 0, "unique_id": f"2.999.{number}", "registered_by": 0, "last_update": 0, "codes": ""}
        | {"codec": 0, "body": zlib.compress(b"")},
        "association": common
        | {"type": 0, "source": raw, "target": raw, "original": None, "codec": None, "body": None},
        "object_dir": {"entry_uuid": raw, "kind": 2, "patient_key": 7, "uid_hash": b""},
    }


def write_as_version_1(database: Database, number: int) -> None:
    def work(connection: Connection) -> None:
        for name, row in old_rows(number).items():
            connection.execute(OLD.tables[name].insert(), row)

    database.write(work)


def test_an_old_program_writes_while_the_tables_are_migrated_and_after(url: str) -> None:
    running, beside = open_database(url), open_database(url)
    for number in range(1, 9):
        write_as_version_1(running, number)
    written, stop = [8], threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            write_as_version_1(running, written[0] + 1)
            written[0] += 1

    writer = threading.Thread(target=go_on)
    writer.start()
    migrate(beside)
    at = written[0]
    while written[0] < at + 5 and writer.is_alive():
        time.sleep(0.001)
    stop.set()
    writer.join()
    assert written[0] >= at + 5
    with beside.reading() as connection:
        for name, new in NEW_IN_2.items():
            table = metadata.tables[name]
            columns = [table.c[each] for each in sorted(new)]
            rows = set(connection.execute(sa.select(*columns).where(table.c.entry_uuid != bytes(16))))
            told = {"lid": None, "removed_at": None, "status": 0, "version": 1}
            assert rows == {tuple(told[each] for each in sorted(new))}
            count = sa.select(sa.func.count()).select_from(table)
            assert connection.execute(count).scalar() == written[0]
    running.close()
    beside.close()


def test_the_old_program_starts_on_the_new_tables_and_the_new_one_not_on_the_old(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(url)
    with pytest.raises(migrations.DatabaseMissing, match=f"of version 1; migrate them to {SCHEMA_VERSION}"):
        check(database)
    migrate(database)
    check(database)
    Store(database).register(submission(entry()), "ous", NOW)
    assert SCHEMA_COMPAT_VERSION == 1
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", 1)
    check(database)
    migrate(database)
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", 0)
    with pytest.raises(migrations.DatabaseMissing, match="need a newer Innsyn"):
        check(database)
    database.close()
