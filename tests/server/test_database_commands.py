"""innsyn database, and migrate --partitions: the layout of the tables as an operator asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from registry.database.engine import open_database
from server.commands import progress
from tests.databases import fresh_database, text_of
from tests.server.place import SIMPLE, innsyn, place


def test_sqlite_has_no_layout_to_choose(tmp_path: Path) -> None:
    path = place(tmp_path)
    assert "no partitions" in innsyn(path, "migrate", "--partitions", "8").stderr
    assert innsyn(path, "migrate").exit_code == 0
    for words, sentence in ((("partition", "8"), "no partitions"), (("distribute",), "extension of PostgreSQL")):
        told = innsyn(path, "database", *words)
        assert (told.exit_code, sentence in told.stderr) == (1, True)


@pytest.mark.postgresql
def test_partitions_are_made_with_the_tables_or_later(server: URL, tmp_path: Path) -> None:
    with fresh_database(server) as url:
        path = place(tmp_path, f'{SIMPLE}\n[database]\nurl = "{text_of(url)}"\n')
        assert innsyn(path, "database", "partition").exit_code == 1
        told = innsyn(path, "migrate", "--partitions", "4")
        assert told.exit_code == 0, told.output
        assert innsyn(path, "migrate", "--partitions", "4").exit_code == 0
        assert innsyn(path, "database", "partition", "8").stdout == "the tables are in partitions already\n"
        assert "no Citus" in innsyn(path, "database", "distribute").stderr
        database = open_database(text_of(url))
        with database.reading() as connection:
            made = "SELECT count(*) FROM pg_class WHERE relispartition AND relkind = 'r'"
            assert connection.exec_driver_sql(made).scalar() == 16
        database.close()


def test_without_a_terminal_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("server.commands.progress.time.monotonic", lambda: now[0])
    with progress.progress() as shown:
        for done in range(1, 31):
            shown("loading", done * 100, 10_000)
            now[0] += 1
        shown("rows", 5, None)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "loading: 1,100 of 10,000, 81 s left, 110/s",
        "loading: 2,100 of 10,000, 75 s left, 105/s",
        "rows: 5",
    ]


def test_on_a_terminal_progress_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.progress() as shown:
        shown("loading", 5, 10)
        shown("loading", 10, 10)
        assert shown._bars is not None
        (bar,) = shown._bars.tasks
        assert (bar.description, bar.completed, bar.total, bar.finished) == ("loading", 10, 10, True)
