"""The files of the spool: how a line is written, hashed and chained, so that any later change to it shows.

A worker writes segments `WORKER.NUMBER.DAY.jsonl`. The first line is the header; every other line is

    {"n":SEQUENCE,"leaf":HASH,"chain":HASH,"event":{...}}

with leaf = SHA-256(0x00 | event bytes as they stand) and chain = SHA-256(chain before | sequence, 8 bytes | leaf). A
segment's chain starts at SHA-256(0x02 | header bytes); the header holds the last chain of the segment before, so
segments of one worker form one chain too. The leaf prefix is that of RFC 6962 section 2.1, which lets a sealer build
trees over leaves of many workers later.

`WORKER.head` repeats sequence and chain of the last durable line. It is written after the line is durable, so a
segment that ends before its head has lost lines that were acknowledged.

`WORKER.anchor`, where it exists, stands for the oldest segments: they were removed when their time was over, and the
chain of those that are left begins at what it says (audit/retention.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from audit.wire import Unreadable

ZERO = "0" * 64
WORKER = re.compile(r"[A-Za-z0-9_-]{1,32}")
_NAME = re.compile(r"([A-Za-z0-9_-]{1,32})\.([0-9]{8})\.([0-9]{8})\.jsonl")
_LINE = re.compile(rb'\{"n":([0-9]{1,19}),"leaf":"([0-9a-f]{64})","chain":"([0-9a-f]{64})","event":(\{.*\})\}')
HEAD_BYTES = 256
"""A head is one line of this size exactly: it is overwritten in place and never grows, also on a full disk."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of one worker."""

    path: Path
    worker: str
    number: int
    day: str

    @classmethod
    def named(cls, folder: Path, worker: str, number: int, day: str) -> Segment:
        """The segment with this number; it need not exist."""
        return cls(folder / f"{worker}.{number:08d}.{day}.jsonl", worker, number, day)


@dataclass(frozen=True, slots=True)
class Header:
    """First line of a segment. `open` maps the correlation of every exchange under way to (segment, sequence)."""

    worker: str
    number: int
    first: int
    """Sequence of the segment's first line."""
    before: str
    """Chain of the line before, in the previous segment; 64 zeros in the very first."""
    open: dict[str, tuple[int, int]] = field(default_factory=dict)

    def write(self) -> bytes:
        """The header as a line, without its line break."""
        named = {
            "spool": 1,
            "worker": self.worker,
            "segment": self.number,
            "first": self.first,
            "before": self.before,
            "open": self.open,
        }
        return json.dumps(named, separators=(",", ":")).encode("ascii")

    @classmethod
    def read(cls, raw: bytes) -> Header:
        """Raises Unreadable."""
        try:
            found = json.loads(raw)
            if found["spool"] != 1:
                raise Unreadable("a header of another version")
            opened = {str(each): (int(where[0]), int(where[1])) for each, where in found["open"].items()}
            return cls(str(found["worker"]), int(found["segment"]), int(found["first"]), str(found["before"]), opened)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise Unreadable("a broken header") from None


@dataclass(frozen=True, slots=True)
class Line:
    """One line whose hashes were checked against its bytes and against the line before."""

    number: int
    """Line of the file, counted from 1; the header is line 1."""
    sequence: int
    chain: str
    event: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """A worker's last durable line: its segment, its sequence and the chain up to it."""

    number: int
    sequence: int
    chain: str

    def write(self) -> bytes:
        """Exactly HEAD_BYTES bytes."""
        named = {"head": 1, "segment": self.number, "sequence": self.sequence, "chain": self.chain}
        return json.dumps(named, separators=(",", ":")).encode("ascii").ljust(HEAD_BYTES - 1) + b"\n"

    @classmethod
    def read(cls, path: Path) -> Head | None:
        """The head in this file, None if there is no file. Raises Unreadable."""
        try:
            found = json.loads(path.read_bytes())
            return cls(int(found["segment"]), int(found["sequence"]), str(found["chain"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise Unreadable("a broken head") from None


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the oldest segment that is left stands on: the number, last sequence and last chain of the one removed."""

    number: int = 0
    sequence: int = 0
    chain: str = ZERO

    def write(self) -> bytes:
        """One line."""
        named = {"anchor": 1, "segment": self.number, "sequence": self.sequence, "chain": self.chain}
        return json.dumps(named, separators=(",", ":")).encode("ascii") + b"\n"

    @classmethod
    def read(cls, path: Path) -> Anchor:
        """The anchor in this file; the beginning of everything if there is no file. Raises Unreadable."""
        try:
            found = json.loads(path.read_bytes())
            return cls(int(found["segment"]), int(found["sequence"]), str(found["chain"]))
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError):
            raise Unreadable("a broken anchor") from None


class Broken(Exception):
    """A segment that is not as it was written. `number` is the line at fault, counted from 1."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.number, self.why = number, why


def head_path(folder: Path, worker: str) -> Path:
    """The file that holds this worker's head."""
    return folder / f"{worker}.head"


def anchor_path(folder: Path, worker: str) -> Path:
    """The file that holds this worker's anchor."""
    return folder / f"{worker}.anchor"


def segments(folder: Path) -> dict[str, list[Segment]]:
    """Every worker's segments in the order they were written."""
    found: dict[str, list[Segment]] = {}
    for path in sorted(folder.iterdir()):
        if match := _NAME.fullmatch(path.name):
            worker, number, day = match.groups()
            found.setdefault(worker, []).append(Segment(path, worker, int(number), day))
    for each in found.values():
        each.sort(key=lambda segment: segment.number)
    return found


def start_of(header: bytes) -> str:
    """The chain a segment's first line stands on."""
    return hashlib.sha256(b"\x02" + header).hexdigest()


def append(before: str, sequence: int, event: bytes) -> tuple[bytes, str]:
    """The finished line, with its line break, and the chain after it."""
    leaf = leaf_of(event)
    chain = chained(before, sequence, leaf)
    return b'{"n":%d,"leaf":"%b","chain":"%b","event":%b}\n' % (sequence, leaf.encode(), chain.encode(), event), chain


def leaf_of(event: bytes) -> str:
    """The hash of one event by itself."""
    return hashlib.sha256(b"\x00" + event).hexdigest()


def chained(before: str, sequence: int, leaf: str) -> str:
    """The hash that stands for this line and every line before it."""
    return hashlib.sha256(bytes.fromhex(before) + sequence.to_bytes(8) + bytes.fromhex(leaf)).hexdigest()


def whole_lines(raw: bytes) -> tuple[list[bytes], int]:
    """The finished lines of a segment, and how many bytes of an unfinished one follow."""
    end = raw.rfind(b"\n") + 1
    return raw[:end].splitlines() if end else [], len(raw) - end


def event_of(raw: bytes) -> bytes:
    """The event on one line, hashes unchecked. Raises Unreadable."""
    match = _LINE.fullmatch(raw)
    if match is None:
        raise Unreadable("not a line of the spool")
    return match[4]


def walk(lines: list[bytes], segment: Segment) -> Iterator[Line]:
    """The lines of a segment in order, each checked before it is given out. Raises Broken at the first bad one."""
    if not lines:
        raise Broken(1, "the segment is empty")
    try:
        header = Header.read(lines[0])
    except Unreadable as problem:
        raise Broken(1, str(problem)) from None
    if (header.worker, header.number) != (segment.worker, segment.number):
        raise Broken(1, "the header belongs to another segment")
    chain, sequence = start_of(lines[0]), header.first - 1
    for number, raw in enumerate(lines[1:], start=2):
        match = _LINE.fullmatch(raw)
        if match is None:
            raise Broken(number, "not a line of the spool")
        found, leaf, stated, event = int(match[1]), match[2].decode(), match[3].decode(), match[4]
        if leaf_of(event) != leaf:
            raise Broken(number, "the event does not match its hash")
        if found != sequence + 1:
            raise Broken(number, f"sequence {found} follows {sequence}")
        if chained(chain, found, leaf) != stated:
            raise Broken(number, "the line does not continue the chain")
        chain, sequence = stated, found
        yield Line(number, sequence, chain, event)
