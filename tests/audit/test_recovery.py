"""What a start makes of a trail that a power cut left: what nobody was told goes, everything else is evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit import search, segment
from audit.event import Kind
from audit.spool import Spool
from tests.audit.trail import event, only_segment

ENDS = {
    "only the end of a line": b"\0" * 700 + b'"note":"x"}}\n',
    "the end of one and the whole of the next": b'{"n":3,"le\0\0\0\0"}}\n{"n":4,"leaf":"0"}\n',
    "a line whose event is holes": b'{"n":3,"leaf":"%b","chain":"%b","event":{\0\0\0\0}}\n' % (b"a" * 64, b"b" * 64),
    "line breaks of another kind": b"\r\0\r\n\0\n",
}


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    """A folder with two events that were acknowledged."""
    spool = Spool(tmp_path, "w1", reserve=0)
    spool.record(event(Kind.QUERIED, "c1"))
    spool.record(event(Kind.QUERIED, "c2"))
    spool.close()
    return tmp_path


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_lines_that_a_power_cut_tore_are_cut_off_and_the_trail_is_whole(trail: Path, end: bytes) -> None:
    with only_segment(trail).open("ab") as file:
        file.write(end)
    spool = Spool(trail, "w1", reserve=0)
    spool.record(event(Kind.QUERIED, "c3"))
    spool.close()
    assert search.verify(trail).findings == ()
    lines = list(segment.walk(segment.whole_lines(only_segment(trail).read_bytes())[0], _only(trail)))
    assert [b'"correlation":"c' in each.event for each in lines] == [True, True, False, True]
    assert f"unfinished end of {len(end)} bytes".encode() in lines[2].event


@pytest.mark.parametrize("number", [1, 2])
def test_an_acknowledged_line_that_is_broken_stays_as_evidence(trail: Path, number: int) -> None:
    path = only_segment(trail)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number] = lines[number].replace(b'"ITI-43"', b'"ITI-18"')
    path.write_bytes(b"".join(lines) + b"\0\0\n")
    Spool(trail, "w1", reserve=0).close()
    (finding,) = search.verify(trail).findings
    assert finding.line == number + 1


def test_without_its_head_nothing_is_cut_off(trail: Path) -> None:
    segment.head_path(trail, "w1").unlink()
    with only_segment(trail).open("ab") as file:
        file.write(b"\0\0\n")
    Spool(trail, "w1", reserve=0).close()
    assert search.verify(trail).findings


def _only(folder: Path) -> segment.Segment:
    ((found,),) = segment.segments(folder).values()
    return found
