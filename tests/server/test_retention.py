"""server.retention: nothing goes unless the operator said so, and then only what is over its time."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from audit.event import Kind
from audit.search import verify
from audit.spool import Spool
from registry.database.engine import open_database
from registry.store import Store
from server.config import Config
from server.settings import ConfigRefused, load
from tests import loading
from tests.audit.trail import event
from tests.nodes import STUB, node_here
from tests.registry.submissions import entry, submission
from tests.server.place import innsyn

DAY = timedelta(days=1)


def node(folder: Path, section: str) -> Config:
    """A node whose trail is ten days old, with a document that was removed eight days ago."""
    config = loading.node(folder)
    path = folder / "innsyn.toml"
    path.write_text(path.read_text() + section)
    now = datetime.now(UTC)
    spool = Spool(config.audit_folder, "worker-1", reserve=0)
    for days in range(10, 0, -1):
        when = now - days * DAY
        spool.record(replace(event(Kind.QUERIED, f"c{days}"), at=when, wall=when))
    spool.close()
    database = open_database(config.database_url)
    store, sent = Store(database), submission(entry(repository_unique_id=STUB))
    store.register(sent, "toolkit", now - 9 * DAY, [STUB])
    ids = [sent.submission_set.entry_uuid, *(each.entry_uuid for each in (*sent.entries, *sent.associations))]
    store.remove(ids, "toolkit", now - 8 * DAY, [STUB])
    database.close()
    return load(path)


BOTH = "\n[retention]\naudit_days = 5\ntombstone_days = 7\n"


def test_by_default_everything_is_kept(tmp_path: Path) -> None:
    config = node(tmp_path, "")
    told = innsyn(tmp_path / "innsyn.toml", "retention")
    assert told.stdout == "removed 0 audit files and 0 tombstones\n"
    assert len(list(config.audit_folder.glob("worker-1.*.jsonl"))) == 10
    with node_here(config) as here:
        assert "retention" not in {chore.name for chore in here.node._chores()}


def test_a_dry_run_tells_and_removes_nothing(tmp_path: Path) -> None:
    config = node(tmp_path, BOTH)
    told = innsyn(tmp_path / "innsyn.toml", "retention", "--dry-run")
    assert told.exit_code == 0, told.output
    assert "worker-1: 5 files" in told.stdout
    assert "3 tombstones" in told.stdout
    assert len(list(config.audit_folder.glob("worker-1.*.jsonl"))) == 10
    told = innsyn(tmp_path / "innsyn.toml", "retention")
    assert told.stdout == "removed 5 audit files and 3 tombstones\n"
    assert innsyn(tmp_path / "innsyn.toml", "audit", "verify").exit_code == 0
    assert innsyn(tmp_path / "innsyn.toml", "retention").stdout == "removed 0 audit files and 0 tombstones\n"


def test_the_first_worker_does_it_by_itself_and_goes_on_recording(tmp_path: Path) -> None:
    config = node(tmp_path, BOTH)
    with node_here(config) as here, capture_logs() as lines:
        (chore,) = [chore for chore in here.node._chores() if chore.name == "retention"]
        chore.work()
        told = [(line["what"], line["count"]) for line in lines if line["event"] == "removed when its time was over"]
        assert told == [("audit files", 5), ("tombstones", 3)]
        here.node.audit.record(event(Kind.QUERIED, "after"))
    assert verify(config.audit_folder).findings == ()
    newest = sorted(config.audit_folder.glob("worker-1.*.jsonl"))[-1]
    assert "retention removes the files 1 to 5 of worker-1" in newest.read_text()


def test_an_altered_trail_is_kept_and_told_of(tmp_path: Path) -> None:
    config = node(tmp_path, BOTH)
    first = sorted(config.audit_folder.glob("worker-1.*.jsonl"))[0]
    first.write_bytes(first.read_bytes().replace(b"c10", b"c99"))
    told = innsyn(tmp_path / "innsyn.toml", "retention")
    assert told.exit_code == 1
    assert f"{first.name} line 2: the event does not match its hash" in told.stderr
    shutil.copyfile(first, tmp_path / "kept")
    with node_here(config) as here, capture_logs() as lines:
        (chore,) = [chore for chore in here.node._chores() if chore.name == "retention"]
        chore.work()
    assert [line["what"] for line in lines if line["event"] == "put off"] == ["retention"]
    assert len(list(config.audit_folder.glob("worker-1.*.jsonl"))) >= 10


@pytest.mark.parametrize("value", ["0", '"never"', "true", "40000"])
def test_a_time_that_is_none_is_a_mistake(tmp_path: Path, value: str) -> None:
    loading.node(tmp_path)
    path = tmp_path / "innsyn.toml"
    path.write_text(f"{path.read_text()}\n[retention]\naudit_days = {value}\n")
    with pytest.raises(ConfigRefused) as refused:
        load(path)
    (mistake,) = refused.value.mistakes
    assert str(mistake) == 'retention.audit_days: must be a number of days, at least 1, or "forever"'
