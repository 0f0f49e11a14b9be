"""audit.copies: a copy made beside writing workers proves by itself and holds what was recorded before it began."""

from __future__ import annotations

import stat
import threading
import time
from pathlib import Path

import pytest

from audit.copies import copy_trail
from audit.event import Kind
from audit.retention import hold
from audit.search import exchange, since, verify
from audit.spool import Spool
from tests.audit.test_retention import DAY, days
from tests.audit.trail import NOW, event


def quiet(what: str, done: int, total: int | None) -> None:
    """Progress that nobody looks at."""


def test_a_copy_beside_writers_is_a_prefix_that_verifies(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    spools = [Spool(folder, f"worker-{number}", reserve=0, segment_bytes=4000) for number in (1, 2)]
    stop = threading.Event()
    written = [0, 0]

    def write(number: int) -> None:
        while not stop.is_set():
            spools[number].record(event(Kind.QUERIED, f"w{number}-{written[number]}"))
            written[number] += 1

    writers = [threading.Thread(target=write, args=(number,)) for number in (0, 1)]
    for writer in writers:
        writer.start()
    try:
        for attempt in range(6):
            while min(written) < 10 * (attempt + 1):
                time.sleep(0.001)
            before = list(written)
            target = tmp_path / f"copy-{attempt}"
            target.mkdir()
            copy_trail(folder, target, quiet)
            verdict = verify(target)
            assert verdict.findings == ()
            assert verdict.lines >= sum(before)
            for number in (0, 1):
                assert exchange(target, f"w{number}-{before[number] - 1}")
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in target.iterdir() if path.suffix == ".head"} == {0}
    for spool in spools:
        spool.close()


def test_a_worker_goes_on_from_the_copy(tmp_path: Path) -> None:
    days(tmp_path / "audit", 3)
    (tmp_path / "copy").mkdir()
    copy_trail(tmp_path / "audit", tmp_path / "copy", quiet)
    spool = Spool(tmp_path / "copy", "worker-1", reserve=0)
    spool.record(event(Kind.QUERIED, "after", minutes=10_000))
    spool.close()
    assert verify(tmp_path / "copy").findings == ()


def test_an_unfinished_line_is_left_out_and_a_lost_one_is_still_noticed(tmp_path: Path) -> None:
    days(tmp_path / "audit", 2)
    newest = sorted((tmp_path / "audit").glob("*.jsonl"))[-1]
    whole = newest.read_bytes()
    newest.write_bytes(whole + b'{"n":99')
    for name in ("torn", "altered"):
        (tmp_path / name).mkdir()
    copy_trail(tmp_path / "audit", tmp_path / "torn", quiet)
    assert verify(tmp_path / "torn").findings == ()
    assert (tmp_path / "torn" / newest.name).read_bytes() == whole
    newest.write_bytes(whole.replace(b"c1-1", b"c1-9"))
    copy_trail(tmp_path / "audit", tmp_path / "altered", quiet)
    assert len(verify(tmp_path / "altered").findings) == 1


def test_nothing_is_copied_while_files_are_removed(tmp_path: Path) -> None:
    days(tmp_path / "audit", 1)
    (tmp_path / "copy").mkdir()
    with hold(tmp_path / "audit", exclusive=True), pytest.raises(OSError, match="copied or removed"):
        copy_trail(tmp_path / "audit", tmp_path / "copy", quiet)


def test_events_since_a_moment_are_found(tmp_path: Path) -> None:
    days(tmp_path, 4)
    assert [each.correlation for each in since(tmp_path, NOW + 2 * DAY, {Kind.QUERIED})] == [
        "c2-0",
        "c2-1",
        "c3-0",
        "c3-1",
    ]
    assert list(since(tmp_path, NOW, {Kind.BLOCK_SET})) == []
