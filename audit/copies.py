"""A copy of the trail that proves by itself: every whole line up to one moment, and heads that say where it ends.

Made beside workers that write: files are only ever added to, so a worker's files in order, the last one up to its last
line break, are a prefix of its chain.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from audit import segment
from audit.retention import hold
from audit.segment import Broken, Head, Header, Segment
from audit.wire import Unreadable

Progress = Callable[[str, int, int | None], None]
"""What is being done, how much of it is, and of how much in all."""


def copy_trail(folder: Path, target: Path, progress: Progress) -> None:
    """Copies every worker's files into `target`, which exists and is empty. A line that is recorded before this begins
    is in the copy. A trail with a finding keeps it: nothing is repaired.

    Raises OSError, also while audit files are being removed.
    """
    with hold(folder, exclusive=False):
        # Heads before segments: what a head names is on disk, so it is found in what is copied after it.
        heads = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.head"))}
        files = segment.segments(folder)
        size = sum(each.path.stat().st_size for mine in files.values() for each in mine)
        done = 0
        for anchor in sorted(folder.glob("*.anchor")):
            _place(target / anchor.name, anchor.read_bytes())
        for worker in sorted(heads.keys() | files.keys()):
            mine = files.get(worker, [])
            for each in mine[:-1]:
                shutil.copyfile(each.path, target / each.path.name)
                done += each.path.stat().st_size
                progress("copying the audit trail, in bytes", done, max(done, size))
            head = _newest(mine[-1], target) if mine else None
            if head is not None:
                _place(segment.head_path(target, worker), head.write())
            elif worker in heads:
                _place(segment.head_path(target, worker), heads[worker])


def _newest(each: Segment, target: Path) -> Head | None:
    """Copies the segment that is being written to; returns where it ends, or None where that cannot be said."""
    raw = each.path.read_bytes()
    lines, torn = segment.whole_lines(raw)
    if not lines:
        return None
    _place(target / each.path.name, raw[: len(raw) - torn])
    try:
        header = Header.read(lines[0])
        head = Head(each.number - 1, header.first - 1, header.before)
        for line in segment.walk(lines, each):
            head = Head(each.number, line.sequence, line.chain)
    except (Unreadable, Broken):
        return None
    return head


def _place(path: Path, raw: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as written:
        written.write(raw)
