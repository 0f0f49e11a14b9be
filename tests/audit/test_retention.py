"""audit.retention: files go when their time is over, and what is left still proves that nothing else is gone."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit import retention, segment
from audit.event import Kind, RecordLost
from audit.search import verify
from audit.segment import Anchor, Broken
from audit.spool import Spool
from tests.audit.trail import NOW, event
from tests.registry.desks import FixedClock

DAY = timedelta(days=1)


def days(folder: Path, number: int, kind: Kind = Kind.QUERIED) -> None:
    """One file a day, two lines each."""
    spool = Spool(folder, "worker-1", reserve=0)
    for day in range(number):
        for each in range(2):
            # Only the first day's first exchange has an intent, if any.
            what = kind if (day, each) == (0, 0) else Kind.QUERIED
            when = NOW + day * DAY
            spool.record(replace(event(what, f"c{day}-{each}"), at=when, wall=when))
    spool.close()


class Trail:
    """Notes of what was recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.files: list[int] = []

    def record(self, told: object) -> None:
        self.notes.append(told.note)  # type: ignore[attr-defined]
        self.files.append(len(list(self.folder.glob("*.jsonl"))))


def names(folder: Path) -> list[str]:
    return [path.name.split(".")[2] for path in sorted(folder.glob("*.jsonl"))]


def test_whole_days_go_and_the_rest_is_still_proven(tmp_path: Path) -> None:
    days(tmp_path, 5)
    before = verify(tmp_path)
    cuts = retention.due(tmp_path, NOW + 3 * DAY)
    trail = Trail(tmp_path)
    assert retention.remove(tmp_path, cuts, trail, FixedClock()) == 3
    assert names(tmp_path) == ["20210218", "20210219"]
    assert trail.files == [5], "recorded before the first file was gone"
    assert "files 1 to 3 of worker-1, days 20210215 to 20210217" in trail.notes[0]
    assert cuts[0].anchor.chain in trail.notes[0]
    after = verify(tmp_path)
    assert (after.findings, before.lines - after.lines) == ((), 6)
    # The worker goes on, and the next cut stands on this one.
    days(tmp_path, 6)
    assert retention.remove(tmp_path, retention.due(tmp_path, NOW + 4 * DAY), trail, FixedClock()) == 1
    assert verify(tmp_path).findings == ()


def test_a_file_that_is_missing_beside_the_cut_is_still_noticed(tmp_path: Path) -> None:
    days(tmp_path, 5)
    retention.remove(tmp_path, retention.due(tmp_path, NOW + 2 * DAY), Trail(tmp_path), FixedClock())
    third = segment.segments(tmp_path)["worker-1"][0]
    third.path.unlink()
    (finding,) = verify(tmp_path).findings
    assert "segment 3 is missing" in finding.why


def test_an_anchor_that_does_not_fit_is_noticed(tmp_path: Path) -> None:
    days(tmp_path, 5)
    retention.remove(tmp_path, retention.due(tmp_path, NOW + 2 * DAY), Trail(tmp_path), FixedClock())
    path = segment.anchor_path(tmp_path, "worker-1")
    path.write_bytes(replace(Anchor.read(path), chain="1" * 64).write())
    (finding,) = verify(tmp_path).findings
    assert "does not continue" in finding.why
    path.write_text("{")
    (finding,) = verify(tmp_path).findings
    assert "a broken anchor" in finding.why


def test_what_somebody_altered_is_evidence_and_stays(tmp_path: Path) -> None:
    days(tmp_path, 4)
    first = segment.segments(tmp_path)["worker-1"][0].path
    first.write_bytes(first.read_bytes().replace(b"c0-1", b"c0-9"))
    with pytest.raises(Broken, match="does not match its hash"):
        retention.due(tmp_path, NOW + 3 * DAY)
    assert len(names(tmp_path)) == 4


def test_the_newest_file_and_exchanges_under_way_stay(tmp_path: Path) -> None:
    days(tmp_path / "quiet", 2)
    (cut,) = retention.due(tmp_path / "quiet", NOW + 100 * DAY)
    assert [each.number for each in cut.files] == [1]
    days(tmp_path / "open", 3, Kind.RELEASING)
    assert retention.due(tmp_path / "open", NOW + 100 * DAY) == ()


def test_nothing_goes_without_a_record(tmp_path: Path) -> None:
    days(tmp_path, 3)

    class Full(Trail):
        def record(self, told: object) -> None:
            raise RecordLost("full")

    with pytest.raises(RecordLost):
        retention.remove(tmp_path, retention.due(tmp_path, NOW + 2 * DAY), Full(tmp_path), FixedClock())
    assert len(names(tmp_path)) == 3
    assert not segment.anchor_path(tmp_path, "worker-1").exists()


def test_a_removal_that_was_interrupted_is_whole_at_every_moment_and_ends_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days(tmp_path, 4)
    unlink, gone = Path.unlink, [0]

    def once(path: Path, missing_ok: bool = False) -> None:
        if gone[0]:
            raise OSError("power cut")
        gone[0] += 1
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", once)
    with pytest.raises(OSError, match="power cut"):
        retention.remove(tmp_path, retention.due(tmp_path, NOW + 3 * DAY), Trail(tmp_path), FixedClock())
    monkeypatch.undo()
    assert len(names(tmp_path)) == 3
    assert verify(tmp_path).findings == ()
    assert retention.remove(tmp_path, retention.due(tmp_path, NOW + 3 * DAY), Trail(tmp_path), FixedClock()) == 2
    assert names(tmp_path) == ["20210218"]
    assert verify(tmp_path).findings == ()
    assert retention.due(tmp_path, NOW + 3 * DAY) == ()


def test_files_are_not_removed_while_they_are_copied(tmp_path: Path) -> None:
    days(tmp_path, 3)
    cuts = retention.due(tmp_path, datetime(2021, 2, 17, tzinfo=UTC))
    with retention.hold(tmp_path, exclusive=False), pytest.raises(OSError, match="copied or removed"):
        retention.remove(tmp_path, cuts, Trail(tmp_path), FixedClock())
    assert len(names(tmp_path)) == 3
    assert os.listdir(tmp_path).count(retention.LOCK) == 1
