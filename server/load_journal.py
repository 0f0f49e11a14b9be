"""The journal of a first load: what came of each file, so that a load that was ended goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from server.load_files import File


class Outcome(StrEnum):
    """What came of one file."""

    REGISTERED = "registered"
    """It is in the registry; perhaps it was before."""
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    """No submission at all."""
    PUT_OFF = "put off"
    """The database stayed busy; the next load tries again."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a file was not registered."""

    code: str
    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """A file and what came of it: a line of the journal."""

    file: str
    key: str
    outcome: Outcome
    problems: tuple[Problem, ...] = ()


class Journal:
    """What was loaded, a JSON object a line; read when a load is started again. Open to its owner alone."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.registered = set(_keys(path)) if path.exists() else set[bytes]()
        """Keys of what is in the registry."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.fchmod(number, 0o600)  # also where it was there before
        self._file = os.fdopen(number, "a", encoding="utf-8")
        # A line that a kill cut short must not take the next one with it.
        if self._file.tell() and not _ends(path):
            self._file.write("\n")

    def has(self, file: File) -> bool:
        """Whether just this content is registered already."""
        return bytes.fromhex(file.key) in self.registered

    def add(self, told: Told) -> None:
        """Notes what came of a file."""
        if told.outcome is Outcome.REGISTERED:
            self.registered.add(bytes.fromhex(told.key))
        self._file.write(json.dumps(asdict(told), ensure_ascii=False) + "\n")

    def flush(self) -> None:
        """Hands what was noted to the system."""
        self._file.flush()

    def close(self) -> None:
        """Everything noted is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def _ends(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _keys(path: Path) -> Iterator[bytes]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                told = json.loads(line)
                if told["outcome"] == Outcome.REGISTERED:
                    yield bytes.fromhex(told["key"])
            except (ValueError, KeyError, TypeError):
                continue
