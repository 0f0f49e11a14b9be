"""Nothing leaves the node unless it can be accounted for: `record` returns only when the event is on disk.

One file per worker and segment, written by that worker alone. Threads that record at the same time share one
fdatasync: the first becomes the writer for all that queued up meanwhile. Any failure closes the spool (RecordLost)
until a new segment could be opened. The trail's form is audit/segment.py's.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path

from audit import segment, wire
from audit.event import Event, Kind, RecordLost, unasked
from audit.recovery import SETTLES, Found, look
from audit.segment import Head, Header, Segment
from ihe.errors import clip
from policy.facts import Clock

MIB = 1024 * 1024
RESERVE = 512 * MIB
"""Free space below which no new exchange starts. Only outcomes of started ones may use it."""
SEGMENT_BYTES = 32 * MIB
"""A segment is closed above this size: recovery reads the last one whole, at about 100 MiB a second."""
LOCK_SECONDS = 5.0
"""How long a start waits for the worker of the same name to let go; commands of the CLI share one name."""
RETRY_SECONDS = 5.0
"""A closed spool tries again at most this often, so that a dead disk is not hammered by every request."""

INTO_RESERVE = frozenset(
    {
        *(Kind.RELEASED, Kind.REGISTERED, Kind.RESENT, Kind.UPDATED, Kind.REMOVED, Kind.FED, Kind.MERGED),
        *(Kind.NODE, Kind.BLOCK_SET),
    }
)
"""What has happened already, or protects a patient: it may use the reserve that stops new exchanges."""
OUTCOME_UNKNOWN = "outcome unknown, treat as released"


@dataclass(slots=True)
class _Waiting:
    """An event in the queue, until its thread knows how it went."""

    event: Event
    written: bytes
    settled: bool = False
    lost: str = ""


class Spool:
    """The audit trail of one worker; implements audit.event.Recorder. Any number of threads may record."""

    def __init__(
        self,
        folder: Path,
        worker: str,
        *,
        clock: Clock | None = None,
        reserve: int = RESERVE,
        segment_bytes: int = SEGMENT_BYTES,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Opens the worker's trail, repairs a torn last line and accounts for releases a crash left without outcome.

        `clock` dates what recovery writes; without one it bears the time of the newest event found. Sizes in bytes.
        Raises RecordLost if the folder cannot be written or another living worker has this name.
        """
        if not segment.WORKER.fullmatch(worker):
            raise ValueError("a worker's name is 1 to 32 letters, digits, _ or -")
        self.worker = worker
        self._folder, self._clock = folder, clock
        self._reserve, self._segment_bytes, self._retry_seconds = reserve, segment_bytes, retry_seconds
        self._turn = threading.Condition()
        self._queue: list[_Waiting] = []
        self._writing = False
        self._lost = ""
        self._retry_at = 0.0
        self._file = self._lock = self._head = -1
        self._segment = Segment.named(folder, worker, 0, "")
        self._size = self._sequence = 0
        self._chain = segment.ZERO
        self._last = Head(0, 0, segment.ZERO)
        self._open: dict[str, tuple[int, int]] = {}
        self._intents: dict[str, Kind] = {}
        self.unsettled: tuple[Event, ...] = ()
        """Changes whose outcome a crash left unwritten; the registry knows whether they were committed."""
        try:
            self._begin()
        except OSError as problem:
            self.close()
            raise RecordLost(_why(problem)) from problem

    def record(self, event: Event) -> None:
        """Returns only when the event is durable. Raises RecordLost otherwise; then nothing may leave."""
        mine = _Waiting(event, wire.write(event))
        batch: list[_Waiting] = []
        with self._turn:
            self._queue.append(mine)
            while self._writing and not mine.settled:
                self._turn.wait()
            if not mine.settled:
                self._writing = True
                batch, self._queue = self._queue, []
        if batch:
            self._lead(batch)
        if mine.lost:
            raise RecordLost(mine.lost)

    def trouble(self) -> str:
        """Why nothing new may be released just now, as one sentence; empty when all is well."""
        if self._lost:
            return self._lost
        try:
            return "" if self._spacious() else "less free space than the reserve"
        except OSError as problem:
            return _why(problem)

    def close(self) -> None:
        """Lets the worker's name go. Everything recorded is durable already; later records are lost."""
        with self._turn:
            while self._writing:
                self._turn.wait()
            self._lost = self._lost or "the audit spool is closed"
            self._retry_at = float("inf")
            for each in (self._file, self._head, self._lock):
                if each >= 0:
                    os.close(each)
            self._file = self._head = self._lock = -1

    # One batch, by the thread that leads it ---------------------------------------------------------------------------

    def _lead(self, batch: list[_Waiting]) -> None:
        """Settles every event of the batch, whatever happens to this thread."""
        why = "the audit spool's writer was interrupted"
        try:
            self._commit(batch)
            why = ""
        except RecordLost as problem:
            why = str(problem)
        except OSError as problem:
            why = _why(problem)
        finally:
            with self._turn:
                if why and not self._lost:
                    self._lost, self._retry_at = why, time.monotonic() + self._retry_seconds
                for each in batch:
                    if not each.settled:
                        each.settled, each.lost = True, why
                self._writing = False
                self._turn.notify_all()

    def _commit(self, batch: list[_Waiting]) -> None:
        """Writes what may be written, makes it durable with one fdatasync, and only then settles it."""
        if self._lost:
            self._heal(batch[0].event)
        admitted = self._admit(batch)
        if not admitted:
            return
        day = _day(admitted[0].event)
        if day > self._segment.day or self._size >= self._segment_bytes:
            self._turn_over(max(day, self._segment.day))
        self._append(admitted)
        for each in admitted:
            each.settled = True
        # Last on purpose: the events are durable, and a head that lags behind them is true all the same.
        os.pwrite(self._head, self._last.write(), 0)

    def _admit(self, batch: list[_Waiting]) -> list[_Waiting]:
        """The events there is room for; the others are settled as lost, which does not close the spool."""
        if self._spacious():
            return batch
        for each in batch:
            if each.event.kind not in INTO_RESERVE:
                each.settled, each.lost = True, "less free space than the reserve"
        return [each for each in batch if not each.settled]

    def _append(self, batch: list[_Waiting]) -> None:
        lines: list[bytes] = []
        chain, sequence = self._chain, self._sequence
        for each in batch:
            sequence += 1
            line, chain = segment.append(chain, sequence, each.written)
            lines.append(line)
        raw = b"".join(lines)
        _write(self._file, raw)
        os.fdatasync(self._file)
        for number, each in enumerate(batch, start=self._sequence + 1):
            self._follow(each.event, number)
        self._size, self._chain, self._sequence = self._size + len(raw), chain, sequence
        self._last = Head(self._segment.number, sequence, chain)

    def _follow(self, event: Event, sequence: int) -> None:
        """Keeps the list of exchanges under way, which a new segment's header repeats."""
        if event.kind in SETTLES:
            self._open[event.correlation] = (self._segment.number, sequence)
            self._intents[event.correlation] = event.kind
        elif event.kind in SETTLES.get(self._intents.get(event.correlation, Kind.NODE), ()):
            del self._open[event.correlation], self._intents[event.correlation]

    def _spacious(self) -> bool:
        room = os.statvfs(self._folder)
        return room.f_bavail * room.f_frsize >= self._reserve

    # Segments ---------------------------------------------------------------------------------------------------------

    def _turn_over(self, day: str) -> None:
        """Goes on in a new segment that stands on the last durable line of this one."""
        new = Segment.named(self._folder, self.worker, self._segment.number + 1, day)
        header = Header(self.worker, new.number, self._sequence + 1, self._chain, dict(self._open)).write()
        file = os.open(new.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write(file, header + b"\n")
            os.fsync(file)
            _sync_folder(self._folder)
        except OSError:
            # Nothing in it was acknowledged; left behind, its number would be taken twice on the next day.
            os.close(file)
            new.path.unlink()
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._segment, self._size = file, new, len(header) + 1
        self._chain = segment.start_of(header)

    def _heal(self, event: Event) -> None:
        """Opens a new segment after a failure, at most every few seconds. Raises RecordLost or OSError."""
        if time.monotonic() < self._retry_at:
            raise RecordLost(self._lost)
        self._retry_at = time.monotonic() + self._retry_seconds
        # After a failed fdatasync the kernel may call lost pages clean, so this file is never synced again: what was
        # acknowledged stays, the rest is cut off, and the trail goes on in another file.
        if self._file >= 0:
            os.ftruncate(self._file, self._size)
        why = self._lost
        self._turn_over(max(_day(event), self._segment.day))
        self._append([_node(event, f"the audit spool is open again after: {why}")])
        self._lost = ""

    # Start ------------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._folder / f"{self.worker}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _claim(self._lock)
        found = look(self._folder, self.worker)
        self._resume(found)
        self._head = os.open(segment.head_path(self._folder, self.worker), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        notes = self._account(found)
        if notes:
            if self._file < 0:
                self._turn_over(_day(notes[0].event))
            self._append(notes)
        os.pwrite(self._head, self._last.write(), 0)
        os.fsync(self._head)
        _sync_folder(self._folder)

    def _resume(self, found: Found) -> None:
        """Goes on in the last segment if it is sound, else in a new one that stands on the head."""
        self._sequence, self._chain, self._last = found.sequence, found.chain, found.head
        self._open = dict(found.open)
        self._intents = {correlation: each.kind for correlation, each in found.intents.items()}
        if found.leftover is not None:
            found.leftover.unlink()
        day = found.last.day if found.last else ""
        self._segment = Segment.named(self._folder, self.worker, found.number, day)
        if found.last is not None and found.sound:
            self._file, self._size = os.open(found.last.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC), found.size
            if found.torn:
                os.ftruncate(self._file, found.size)
                os.fsync(self._file)
        elif found.last is not None:
            self._turn_over(day)

    def _account(self, found: Found) -> list[_Waiting]:
        """What recovery has to say: repairs, and an outcome for every release that has none."""
        intents = found.intents.values()
        self.unsettled = tuple(each for each in intents if each.kind is not Kind.RELEASING)
        dated = self._dated(found)
        if dated is None:
            return []
        notes = [replace(dated, note=note) for note in found.notes]
        for each in intents:
            if each.kind is Kind.RELEASING:
                when = replace(each, at=dated.at, wall=dated.wall, simulated=dated.simulated)
                notes.append(replace(when, kind=Kind.RELEASED, note=OUTCOME_UNKNOWN))
        return [_Waiting(note, wire.write(note)) for note in notes]

    def _dated(self, found: Found) -> Event | None:
        """An empty node event at the time of recovery, or None where nothing tells the time."""
        if self._clock is not None:
            return unasked(self._clock.now(), self._clock.wall(), self._clock.simulated, Kind.NODE, "")
        return found.newest and _node(found.newest, "").event


def _day(event: Event) -> str:
    return event.wall.astimezone(UTC).strftime("%Y%m%d")


def _node(dated: Event, note: str) -> _Waiting:
    event = unasked(dated.at, dated.wall, dated.simulated, Kind.NODE, note)
    return _Waiting(event, wire.write(event))


def _write(file: int, raw: bytes) -> None:
    """Every byte, or OSError. A full disk takes some and refuses the rest."""
    rest: memoryview = memoryview(raw)
    while rest:
        rest = rest[os.write(file, rest) :]


def _sync_folder(folder: Path) -> None:
    """Makes new names in the folder durable: fsync of a file does not cover the name it is found by."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _claim(lock: int) -> None:
    """Two writers in one chain would break it: the name belongs to one living process at a time."""
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise OSError(errno.EBUSY, "another process writes this worker's audit spool") from None
            time.sleep(0.02)


def _why(problem: OSError) -> str:
    return clip(f"the audit spool cannot be written: {problem.strerror or type(problem).__name__}", 200)
