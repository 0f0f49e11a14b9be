"""Files as a power cut leaves them: what was synced is there, and of the rest whatever the disk happened to have done.

A sync that has ended covers the writes that had ended before it began. Of later ones each is kept, undone or torn at a
sector by chance. A name is there for certain only after its folder was synced. More than a real file system loses, and
nothing that POSIX promises.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.traced import WAYS_AROUND, Step

SECTOR = 512
VOLATILE = ("-shm", ".lock", ".writer")
"""Files that mean nothing after a restart: SQLite's shared memory and locks."""


@dataclass
class _File:
    durable: bytearray
    cached: bytearray
    """As processes see it."""
    pending: list[Step] = field(default_factory=list)
    named: bool = True
    """Its name is in the folder for certain."""


class Unknown(Exception):
    """The trace holds a call whose effect is not known here."""


class Disk:
    """The files below one folder, as they are after some steps."""

    def __init__(self, before: Path, after: Path, deaf: Callable[[str], bool] = lambda path: False) -> None:
        """`before`: the folder as it was; `after`: its path in the trace. Syncs of files that are `deaf` do nothing."""
        self._root = str(after)
        self._deaf = deaf
        self._files: dict[str, _File] = {}
        self._gone: dict[str, _File] = {}
        """Removed, and the folder not synced since."""
        for path in sorted(before.rglob("*")):
            if path.is_file() and not path.name.endswith(VOLATILE):
                content = path.read_bytes()
                self._files[str(path.relative_to(before))] = _File(bytearray(content), bytearray(content))

    def take(self, step: Step) -> None:
        """One step further. Raises Unknown."""
        if not step.where.startswith(self._root) and not (step.name in ("unlink", "unlinkat") and step.data):
            return
        path = step.where.removeprefix(self._root).removeprefix("/")
        if path.endswith(VOLATILE):
            return
        match step.name:
            case "open" | "openat":
                self._opened(path, step)
            case "write" | "pwrite64" | "writev" | "ftruncate":
                file = self._files[path]
                _apply(file.cached, step)
                file.pending.append(step)
            case "fsync" | "fdatasync":
                self._synced(path, step)
            case "unlink" | "unlinkat":
                removed = step.data.decode(errors="replace").removeprefix(self._root).removeprefix("/")
                if removed in self._files:
                    self._gone[removed] = self._files.pop(removed)
            case other if other in WAYS_AROUND or other.startswith("rename"):
                raise Unknown(f"{other} of {path}")

    def _opened(self, path: str, step: Step) -> None:
        if path not in self._files and step.creates:
            self._files[path] = _File(bytearray(), bytearray(), named=False)
        if step.number:
            raise Unknown(f"O_TRUNC of {path}")

    def _synced(self, path: str, step: Step) -> None:
        if (file := self._files.get(path)) is None:
            # The folder itself: names made or removed before are durable now.
            within = [each for each in (*self._files, *self._gone) if each.rpartition("/")[0] == path.strip("/")]
            for name in within:
                self._gone.pop(name, None)
                if name in self._files:
                    self._files[name].named = True
            return
        if self._deaf(path):
            return
        covered = [each for each in file.pending if each.ended < step.begun]
        for each in covered:
            _apply(file.durable, each)
        file.pending = file.pending[len(covered) :]

    def differs(self, folder: Path) -> list[str]:
        """Files that are not what they would be had everything been kept: empty, or this replay is wrong."""
        return [
            path
            for path, file in self._files.items()
            if not (folder / path).is_file() or (folder / path).read_bytes() != file.cached
        ]

    def cut(self, folder: Path, dice: random.Random) -> None:
        """Writes what is there after the power is back."""
        way = dice.choice(("none", "some", "torn", "all"))
        for path, file in (*self._files.items(), *self._gone.items()):
            removed = path in self._gone and path not in self._files
            if (not file.named or removed) and dice.random() < 0.5:
                continue
            content = bytearray(file.durable)
            for step in file.pending:
                if way == "all" or (way != "none" and dice.random() < 0.5):
                    _apply(content, step, dice if way == "torn" else None)
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o600)


def _apply(content: bytearray, step: Step, dice: random.Random | None = None) -> None:
    if step.name == "ftruncate":
        if len(content) > step.number:
            del content[step.number :]
        content.extend(bytes(step.number - len(content)))
        return
    at = len(content) if step.number < 0 else step.number
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    if dice is None:
        content[at : at + len(step.data)] = step.data
        return
    for begin in range(0, len(step.data), SECTOR):
        if dice.random() < 0.5:
            piece = step.data[begin : begin + SECTOR]
            where = at + begin
            if len(content) < where:
                content.extend(bytes(where - len(content)))
            content[where : where + len(piece)] = piece


def replayed(disk: Disk, steps: Iterable[Step]) -> None:
    """All of these steps."""
    for step in steps:
        disk.take(step)
