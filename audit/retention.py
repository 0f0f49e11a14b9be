"""Audit files go when their time is over: whole files only, oldest first, and the chain of the rest stays provable.

What is removed is proven once more before it goes: a trail that somebody altered is evidence, and stays. The removal is
on record in the trail itself, with the hash that the rest stands on, before the first file is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from audit import segment
from audit.event import Kind, Recorder, unasked
from audit.segment import Anchor, Broken, Header, Segment
from audit.wire import Unreadable
from policy.facts import Clock

LOCK = "retention.lock"


@dataclass(frozen=True, slots=True)
class Cut:
    """The oldest files of one worker, whose time is over, and what the rest stands on once they are gone."""

    worker: str
    files: tuple[Segment, ...]
    anchor: Anchor

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(each.path.stat().st_size for each in self.files)

    @property
    def note(self) -> str:
        """For the trail."""
        first, last = self.files[0], self.files[-1]
        return (
            f"retention removes the files {first.number} to {last.number} of {self.worker}, days {first.day} to "
            f"{last.day}; the rest stands on sequence {self.anchor.sequence}, chain {self.anchor.chain}"
        )


def due(folder: Path, before: datetime) -> tuple[Cut, ...]:
    """What holds nothing of the day of `before` (UTC) or later. The newest file of a worker always stays.

    Raises: Broken where what is to be removed is not as it was written, naming the file; OSError.
    """
    day = f"{before:%Y%m%d}"
    found = (_cut(folder, worker, mine, day) for worker, mine in sorted(segment.segments(folder).items()))
    return tuple(each for each in found if each is not None)


def remove(folder: Path, cuts: tuple[Cut, ...], audit: Recorder, clock: Clock) -> int:
    """Removes them and returns how many files that were. Raises: RecordLost, with nothing removed; OSError."""
    removed = 0
    with hold(folder, exclusive=True):
        for cut in cuts:
            audit.record(unasked(clock.now(), clock.wall(), clock.simulated, Kind.NODE, cut.note))
            _write(segment.anchor_path(folder, cut.worker), cut.anchor.write())
            for each in cut.files:
                with suppress(FileNotFoundError):
                    each.path.unlink()
                removed += 1
    return removed


@contextmanager
def hold(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Within it no file is removed by anybody else. With `exclusive` nobody copies either; waits for neither.

    Raises OSError (EBUSY) if another holds it.
    """
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(errno.EBUSY, "the audit files are being copied or removed") from None
        yield
    finally:
        os.close(lock)


def _cut(folder: Path, worker: str, mine: list[Segment], day: str) -> Cut | None:
    try:
        anchor = Anchor.read(segment.anchor_path(folder, worker))
        newest = _header(mine[-1])
    except Unreadable as problem:
        raise Broken(0, f"{worker}: {problem}") from None
    # A start reads the exchanges under way from where they began, however long ago that was.
    needed = min((number for number, _ in newest.open.values()), default=mine[-1].number) if newest else 0
    left = [each for each in mine if each.number > anchor.number]
    old = [each for each in left if each.day < day and each.number < min(needed, mine[-1].number)]
    over = [each for each in mine if each.number <= anchor.number]
    if not old:
        return Cut(worker, tuple(over), anchor) if over else None
    for each in old:
        anchor = _proven(each, anchor)
    return Cut(worker, (*over, *old), anchor)


def _proven(each: Segment, before: Anchor) -> Anchor:
    """What stands after this segment, its every line checked. Raises Broken."""
    lines, torn = segment.whole_lines(each.path.read_bytes())
    try:
        header = Header.read(lines[0]) if lines else None
        if header is None or torn or each.number != before.number + 1:
            raise Broken(len(lines) + 1, "the trail is not whole")
        if (header.before, header.first) != (before.chain, before.sequence + 1):
            raise Broken(1, "the segment does not continue the one before")
        sequence, chain = before.sequence, segment.start_of(lines[0])
        for line in segment.walk(lines, each):
            sequence, chain = line.sequence, line.chain
    except Unreadable as problem:
        raise Broken(1, f"{each.path.name}: {problem}") from None
    except Broken as broken:
        raise Broken(broken.number, f"{each.path.name} line {broken.number}: {broken.why}") from None
    return Anchor(each.number, sequence, chain)


def _header(newest: Segment) -> Header | None:
    with newest.path.open("rb") as file:
        line = file.readline()
    return Header.read(line[:-1]) if line.endswith(b"\n") else None


def _write(path: Path, raw: bytes) -> None:
    """The whole file or the old one, whatever happens."""
    beside = path.with_name(f"{path.name}.new")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, raw)
        os.fsync(file)
    finally:
        os.close(file)
    beside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
