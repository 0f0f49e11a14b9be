"""audit.spool: what was recorded is there, whatever happens to the process, the disk or the file."""

from __future__ import annotations

import os
import stat
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit import segment, wire
from audit.event import Event, Kind, RecordLost
from audit.search import verify
from audit.spool import OUTCOME_UNKNOWN, Spool
from tests.audit.trail import ANNE, NOW, document, event, only_segment, python

WRITER = """
import sys, threading
from pathlib import Path
from audit.event import Kind
from audit.spool import Spool
from tests.audit.trail import event
spool = Spool(Path(sys.argv[1]), "w1", reserve=0, segment_bytes=int(sys.argv[2]))
gate = threading.Lock()
def work(me):
    for n in range(1_000_000):
        spool.record(event(Kind.QUERIED, f"{me}-{n}"))
        with gate:
            print(f"{me}-{n}", flush=True)
for me in "abcd":
    threading.Thread(target=work, args=(me,)).start()
"""

FULL_DISK = """
import resource, sys
from pathlib import Path
from audit.event import Kind, RecordLost
from audit.spool import Spool
from tests.audit.trail import event
spool = Spool(Path(sys.argv[1]), "w1", reserve=0, retry_seconds=0)
spool.record(event(Kind.QUERIED, "before"))
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
outcomes = ""
for n in range(20):
    try:
        spool.record(event(Kind.QUERIED, f"full-{n}", note="n" * 900))
        outcomes += "+"
    except RecordLost:
        outcomes += "-"
print(outcomes)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
spool.record(event(Kind.QUERIED, "after"))
"""


class At:
    """A clock that stands still."""

    simulated = False

    def __init__(self, when: datetime) -> None:
        self.when = when

    def now(self) -> datetime:
        return self.when

    def wall(self) -> datetime:
        return self.when


def events(folder: Path) -> list[Event]:
    found = []
    for mine in segment.segments(folder).values():
        for each in mine:
            lines, _ = segment.whole_lines(each.path.read_bytes())
            found += [wire.read(line.event) for line in segment.walk(lines, each)]
    return found


def test_a_recorded_event_is_in_the_file_when_record_returns(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", reserve=0)
    spool.record(event(Kind.QUERIED))
    assert events(tmp_path) == [event(Kind.QUERIED)]
    assert not verify(tmp_path).findings


def test_every_record_is_synced_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "w1", reserve=0)
    synced: list[int] = []
    real = os.fdatasync

    def watched(number: int) -> None:
        real(number)
        synced.append(os.fstat(number).st_size)

    monkeypatch.setattr(os, "fdatasync", watched)
    for n in range(5):
        spool.record(event(Kind.QUERIED, f"c{n}"))
        assert synced[-1] == only_segment(tmp_path).stat().st_size
    assert len(synced) == 5


def test_threads_that_record_together_share_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "w1", reserve=0)
    calls: list[int] = []
    real = os.fdatasync

    def slow(number: int) -> None:
        time.sleep(0.02)
        real(number)
        calls.append(number)

    monkeypatch.setattr(os, "fdatasync", slow)
    threads = [threading.Thread(target=spool.record, args=(event(Kind.QUERIED, f"c{n}"),)) for n in range(32)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(calls) <= 8, "32 events at once should need a few syncs, not one each"
    assert {each.correlation for each in events(tmp_path)} == {f"c{n}" for n in range(32)}
    assert not verify(tmp_path).findings


@pytest.mark.parametrize("segment_bytes", [32 * 1024 * 1024, 20_000])
def test_no_acknowledged_event_is_lost_to_kill_9(tmp_path: Path, segment_bytes: int) -> None:
    for after in (0.05, 0.15, 0.4):
        writer = python(WRITER, str(tmp_path), str(segment_bytes))
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(after)
        writer.kill()
        printed = first + writer.communicate()[0]
        acknowledged = {line.strip() for line in printed.splitlines(keepends=True) if line.endswith("\n")}
        Spool(tmp_path, "w1", reserve=0).close()
        verdict = verify(tmp_path)
        assert not verdict.findings, str(verdict.findings[0])
        assert acknowledged <= {each.correlation for each in events(tmp_path)}


def test_a_full_disk_loses_records_loudly_and_heals_when_space_returns(tmp_path: Path) -> None:
    writer = python(FULL_DISK, str(tmp_path))
    out, err = writer.communicate(timeout=30)
    assert writer.returncode == 0, err
    outcomes = out.strip()
    assert "-" in outcomes
    kept = [each.correlation for each in events(tmp_path) if each.kind is Kind.QUERIED]
    assert kept == ["before", *(f"full-{n}" for n, one in enumerate(outcomes) if one == "+"), "after"]
    assert not verify(tmp_path).findings
    assert any("open again" in each.note for each in events(tmp_path))


def test_after_the_first_failed_write_nothing_is_recorded_until_the_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, "w1", reserve=0, retry_seconds=60)
    spool.record(event(Kind.QUERIED, "before"))

    def broken(number: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", broken)
        with pytest.raises(RecordLost, match="Input/output error"):
            spool.record(event(Kind.QUERIED, "lost"))
    for n in range(3):
        with pytest.raises(RecordLost):
            spool.record(event(Kind.QUERIED, f"later-{n}"))
    assert "Input/output error" in spool.trouble()


def test_a_file_whose_sync_failed_is_never_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "w1", reserve=0, retry_seconds=0)
    spool.record(event(Kind.QUERIED, "before"))
    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", lambda number: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(RecordLost):
            spool.record(event(Kind.QUERIED, "lost"))
    spool.record(event(Kind.QUERIED, "after"))
    assert [each.correlation for each in events(tmp_path) if each.kind is Kind.QUERIED] == ["before", "after"]
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert not verify(tmp_path).findings
    assert spool.trouble() == ""


def test_the_reserve_stops_new_exchanges_but_takes_outcomes(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", reserve=1 << 62)
    with pytest.raises(RecordLost, match="reserve"):
        spool.record(event(Kind.RELEASING))
    spool.record(event(Kind.RELEASED))
    assert [each.kind for each in events(tmp_path)] == [Kind.RELEASED]
    assert "reserve" in spool.trouble()


def test_a_torn_last_line_is_cut_off_and_noted(tmp_path: Path) -> None:
    with_clock = At(NOW + timedelta(hours=1))
    spool = Spool(tmp_path, "w1", reserve=0)
    spool.record(event(Kind.QUERIED, "whole"))
    spool.close()
    with only_segment(tmp_path).open("ab") as file:
        file.write(b'{"n":2,"leaf":"00')
    Spool(tmp_path, "w1", reserve=0, clock=with_clock).close()
    whole, note = events(tmp_path)
    assert whole.correlation == "whole"
    assert (note.kind, note.at) == (Kind.NODE, with_clock.when)
    assert "unfinished last line of 17 bytes" in note.note
    assert not verify(tmp_path).findings


def test_a_release_without_outcome_gets_one_at_the_next_start(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", reserve=0)
    spool.record(event(Kind.RELEASING, "left", objects=(document(1),)))
    spool.record(event(Kind.RELEASING, "ended"))
    spool.record(event(Kind.RELEASED, "ended"))
    spool.close()
    for _ in range(2):
        Spool(tmp_path, "w1", reserve=0).close()
    (told,) = [each for each in events(tmp_path) if each.note == OUTCOME_UNKNOWN]
    assert (told.kind, told.correlation, told.objects) == (Kind.RELEASED, "left", (document(1),))
    assert told.subject == ANNE


def test_an_intent_from_an_earlier_segment_is_found_at_the_next_start(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", reserve=0, segment_bytes=2000)
    spool.record(event(Kind.RELEASING, "long"))
    for n in range(20):
        spool.record(event(Kind.QUERIED, f"c{n}"))
    spool.close()
    assert len(list(tmp_path.glob("*.jsonl"))) > 3
    Spool(tmp_path, "w1", reserve=0).close()
    assert events(tmp_path)[-1].note == OUTCOME_UNKNOWN
    assert not verify(tmp_path).findings


def test_a_crash_right_after_a_new_segment_began_leaves_a_whole_trail(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", reserve=0, segment_bytes=1)
    spool.record(event(Kind.QUERIED, "c0"))
    spool._turn_over("20210215")
    spool.close()
    for _ in range(2):
        Spool(tmp_path, "w1", reserve=0).close()
        assert not verify(tmp_path).findings
    again = Spool(tmp_path, "w1", reserve=0)
    again.record(event(Kind.QUERIED, "c1"))
    assert (verify(tmp_path).lines, verify(tmp_path).segments) == (2, 2)


def test_a_registration_in_doubt_is_left_to_who_knows_the_database(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", reserve=0)
    spool.record(event(Kind.REGISTERING, "doubt", submission_set_unique_id="1.2.9"))
    spool.record(event(Kind.REGISTERING, "done"))
    spool.record(event(Kind.REGISTERED, "done"))
    spool.close()
    again = Spool(tmp_path, "w1", reserve=0)
    assert [each.submission_set_unique_id for each in again.unsettled] == ["1.2.9"]
    again.record(replace(again.unsettled[0], kind=Kind.REGISTERED, note="found in the registry"))
    again.close()
    assert Spool(tmp_path, "w1", reserve=0).unsettled == ()


def test_a_new_day_begins_a_new_segment(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", reserve=0)
    spool.record(event(Kind.QUERIED, "today"))
    spool.record(event(Kind.QUERIED, "tomorrow", minutes=24 * 60))
    spool.record(event(Kind.QUERIED, "clock set back"))
    days = [path.name.split(".")[2] for path in sorted(tmp_path.glob("*.jsonl"))]
    assert days == ["20210215", "20210216"]
    assert not verify(tmp_path).findings


def test_a_start_goes_on_in_the_same_segment(tmp_path: Path) -> None:
    for n in range(3):
        spool = Spool(tmp_path, "w1", reserve=0)
        spool.record(event(Kind.QUERIED, f"c{n}"))
        spool.close()
    assert only_segment(tmp_path)
    assert verify(tmp_path).lines == 3


def test_a_start_on_a_shortened_trail_says_so_for_ever(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", reserve=0)
    for n in range(3):
        spool.record(event(Kind.QUERIED, f"c{n}"))
    spool.close()
    path = only_segment(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    again = Spool(tmp_path, "w1", reserve=0)
    again.record(event(Kind.QUERIED, "c3"))
    again.close()
    assert any("1 acknowledged lines are missing" in each.note for each in events(tmp_path))
    (finding,) = verify(tmp_path).findings
    assert finding.why.startswith("the segment does not continue")


def test_a_start_on_a_rewritten_trail_does_not_go_on_in_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", reserve=0)
    spool.record(event(Kind.QUERIED, "c0"))
    spool.close()
    path = only_segment(tmp_path)
    header, line = path.read_bytes().splitlines()
    forged = segment.event_of(line).replace(b"Anne", b"Anna")
    path.write_bytes(header + b"\n" + segment.append(segment.start_of(header), 1, forged)[0])
    Spool(tmp_path, "w1", reserve=0).close()
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert "not the one that was acknowledged" in events(tmp_path)[-1].note
    (finding,) = verify(tmp_path).findings
    assert finding.file.name.startswith("w1.00000002")


def test_one_name_has_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.spool.LOCK_SECONDS", 0.05)
    spool = Spool(tmp_path, "w1", reserve=0)
    with pytest.raises(RecordLost, match="another process"):
        Spool(tmp_path, "w1", reserve=0)
    spool.close()
    Spool(tmp_path, "w1", reserve=0).close()


def test_a_closed_spool_records_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", reserve=0)
    spool.close()
    with pytest.raises(RecordLost, match="closed"):
        spool.record(event(Kind.QUERIED))


def test_a_folder_that_cannot_be_made_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordLost):
        Spool(tmp_path / "file" / "spool", "w1")


def test_only_the_owner_reads_the_trail(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "w1", reserve=0)
    spool.record(event(Kind.QUERIED))
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "spool").iterdir()} == {0o600}


def test_the_day_is_that_of_the_real_clock_in_utc(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", reserve=0)
    spool.record(replace(event(Kind.QUERIED), wall=datetime(2021, 3, 1, 23, 30, tzinfo=UTC), simulated=True))
    assert only_segment(tmp_path).name == "w1.00000001.20210301.jsonl"
