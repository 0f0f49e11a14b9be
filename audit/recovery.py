"""What a worker's trail looks like before it is written to again: where it ends, and what a crash left open.

Reads only. `audit.spool` acts on what is found here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from audit import segment, wire
from audit.event import Event, Kind
from audit.segment import Broken, Head, Header, Segment
from audit.wire import Unreadable

SETTLES: Mapping[Kind, frozenset[Kind]] = {
    Kind.RELEASING: frozenset({Kind.RELEASED, Kind.FAILED}),
    Kind.REGISTERING: frozenset({Kind.REGISTERED, Kind.RESENT, Kind.FAILED}),
    Kind.UPDATING: frozenset({Kind.UPDATED, Kind.RESENT, Kind.FAILED}),
    Kind.REMOVING: frozenset({Kind.REMOVED, Kind.FAILED}),
    Kind.FEEDING: frozenset({Kind.FED, Kind.FAILED}),
    Kind.MERGING: frozenset({Kind.MERGED, Kind.FAILED}),
}
"""Which events end an exchange that began with an intent."""


@dataclass(slots=True)
class Found:
    """The end of a trail. `sound` is False where writing on would hide that lines are missing or were changed."""

    last: Segment | None = None
    number: int = 0
    """Number of the newest segment that must not be written over."""
    size: int = 0
    """Bytes of whole lines in `last`."""
    torn: int = 0
    """Bytes of an unfinished line after them: written by a crash, acknowledged to nobody."""
    sound: bool = True
    sequence: int = 0
    chain: str = segment.ZERO
    """What the next line stands on: the last line's chain, or that of a header without lines."""
    head: Head = field(default_factory=lambda: Head(0, 0, segment.ZERO))
    """The last line, as it is or as it was acknowledged."""
    newest: Event | None = None
    notes: list[str] = field(default_factory=list)
    open: dict[str, tuple[int, int]] = field(default_factory=dict)
    intents: dict[str, Event] = field(default_factory=dict)
    """The intents behind `open`, by correlation."""
    leftover: Path | None = None
    """A segment that never got its header: nothing in it was acknowledged, its number is free."""


def look(folder: Path, worker: str) -> Found:
    """Where this worker's trail ends. Raises OSError where it cannot be read."""
    found = Found()
    mine = segment.segments(folder).get(worker, [])
    try:
        head = Head.read(segment.head_path(folder, worker))
    except Unreadable:
        head = None
        found.notes.append("the head of the audit spool is unreadable")
    while mine and found.last is None:
        _read(mine[-1], mine[:-1], found, head)
        if found.last is None:
            mine = mine[:-1]
    if head is not None:
        _compare(found, head)
    return found


def _read(last: Segment, earlier: list[Segment], found: Found, head: Head | None) -> None:
    """Walks the newest segment. One without even a header is passed over if no acknowledged line can be missing."""
    raw = last.path.read_bytes()
    lines, torn = segment.whole_lines(raw)
    if not lines and (head is None or head.number < last.number):
        found.leftover = last.path
        return
    found.last, found.number, found.size, found.torn = last, last.number, len(raw) - torn, torn
    line, unfinished = 1, "last line"
    try:
        header = Header.read(lines[0]) if lines else None
        if header is None:
            raise Broken(1, "the header is missing")
        found.sequence, found.chain = header.first - 1, segment.start_of(lines[0])
        found.head = Head(last.number - 1, found.sequence, header.before)
        _acknowledged(found.head, 1, head)
        _carried(header, earlier, found)
        for each in segment.walk(lines, last):
            line = each.number
            follow(found, wire.read(each.event), (last.number, each.sequence))
            found.sequence, found.chain = each.sequence, each.chain
            found.head = Head(last.number, each.sequence, each.chain)
            _acknowledged(found.head, line, head)
    except Broken as problem:
        if head is not None and head.sequence <= found.sequence and problem.number > line:
            # A power cut may keep the end of what was being written and not its beginning: that looks like lines, and
            # none was acknowledged, for a sync that covers a line covers every line before it.
            found.size = sum(len(each) + 1 for each in lines[:line])
            found.torn, unfinished = len(raw) - found.size, "end"
        else:
            found.sound = False
            found.notes.append(f"{last.path.name} line {problem.number}: {problem.why}")
    except Unreadable as problem:
        found.sound = False
        found.notes.append(f"{last.path.name} line {line}: {problem}")
    if found.torn:
        found.notes.append(f"an unfinished {unfinished} of {found.torn} bytes was cut off {last.path.name}")


def _acknowledged(stands: Head, line: int, head: Head | None) -> None:
    """Raises Broken where another line stands than the one that was acknowledged under this sequence."""
    if head is not None and head.sequence == stands.sequence and head.chain != stands.chain:
        raise Broken(line, "the line is not the one that was acknowledged")


def follow(found: Found, event: Event, where: tuple[int, int]) -> None:
    """Takes one event into account: it opens an exchange, ends one, or neither."""
    found.newest = event
    if event.kind in SETTLES:
        found.open[event.correlation], found.intents[event.correlation] = where, event
    elif ends(found.intents.get(event.correlation), event):
        del found.open[event.correlation], found.intents[event.correlation]


def ends(intent: Event | None, event: Event) -> bool:
    """Whether `event` is the outcome of this intent."""
    return intent is not None and event.kind in SETTLES[intent.kind]


def _carried(header: Header, earlier: list[Segment], found: Found) -> None:
    """Fetches the intents that were under way when this segment began; they stand in segments before it."""
    by_number = {each.number: each for each in earlier}
    wanted: dict[int, set[int]] = {}
    for number, sequence in header.open.values():
        wanted.setdefault(number, set()).add(sequence)
    for number, sequences in wanted.items():
        if number not in by_number:
            raise Broken(1, f"segment {number} with exchanges under way is missing")
        lines, _ = segment.whole_lines(by_number[number].path.read_bytes())
        for each in segment.walk(lines, by_number[number]):
            if each.sequence in sequences:
                follow(found, wire.read(each.event), (number, each.sequence))


def _compare(found: Found, head: Head) -> None:
    """The head was written after its line was durable: a trail that ends earlier has lost acknowledged lines."""
    if found.sound and head.sequence > found.sequence:
        found.sound = False
        found.notes.append(f"{head.sequence - found.sequence} acknowledged lines are missing after {found.sequence}")
    if not found.sound and head.sequence >= found.sequence:
        # The trail goes on from what was acknowledged: going on from what stands there would make it look whole.
        found.sequence, found.chain, found.head = head.sequence, head.chain, head
    found.number = max(found.number, head.number)
