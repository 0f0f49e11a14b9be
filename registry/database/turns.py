"""How the writers of one SQLite file take turns: one thread per process, one process at a time, a group per commit.

SQLite's own busy handler is unfair (longest wait measured 3.6-5 s with four writers); with a lock on `FILE.writer` that
each waits for in turn it was 0.2 s.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.engine import Connection, Engine

from ihe.errors import XdsFailure
from ihe.names import Code
from registry.database.troubles import StoreTrouble, Undone

T = TypeVar("T")
Work = Callable[[Connection], T]

QUEUE_SECONDS = 8
"""How long a write waits for its turn before it is taken back unrun: one busy wait and the group before it."""
GROUP = 64
"""Submissions per commit: beyond 64 a group gains little more (measured 7 300/s against 6 100/s at 16)."""


@dataclass(slots=True)
class _Queued:
    work: Work[Any]
    outcome: Future[Any] = field(default_factory=Future)


class WriterQueue:
    """The one writing thread of a process. Work that waits while a group commits joins the next group."""

    def __init__(self, engine: Engine, lock: Path) -> None:
        """`engine` begins its transactions with BEGIN IMMEDIATE; `lock` is a file that may come into being."""
        self._engine = engine
        self._lock = lock
        self._waiting: deque[_Queued] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="registry-writer")

    def write(self, work: Work[T]) -> T:
        """What `work` returns once its group is on disk, or its exception. Raises StoreTrouble without a turn."""
        queued = _Queued(work)
        self._waiting.append(queued)
        self._thread.submit(self._commit_group)
        try:
            return queued.outcome.result(QUEUE_SECONDS)  # type: ignore[no-any-return]
        except TimeoutError:
            # Either it never ran, and never will; or it runs now, within the busy time limit, and its end is awaited.
            if queued.outcome.cancel():
                raise StoreTrouble(Code.REGISTRY_BUSY, "no turn to write") from None
            return queued.outcome.result()  # type: ignore[no-any-return]

    def close(self) -> None:
        """Ends the thread once everything that waits is written."""
        self._thread.shutdown(wait=True)

    def _commit_group(self) -> None:
        if not self._waiting:
            return  # it went along with an earlier group
        with contextlib.ExitStack() as mine:
            try:
                mine.enter_context(turn(self._lock))
            except OSError as locked:
                for queued in self._take():
                    if queued.outcome.set_running_or_notify_cancel():
                        trouble = StoreTrouble(Code.REGISTRY_ERROR, f"no lock to write under: {locked.strerror}")
                        queued.outcome.set_exception(trouble)
                return
            group = [queued for queued in self._take() if queued.outcome.set_running_or_notify_cancel()]
            try:
                outcomes = self._run(group)
            finally:
                # One that broke the whole transaction fails them all: nothing was committed, and each hears it.
                broken = sys.exception()
                if broken is not None:
                    for queued in group:
                        queued.outcome.set_exception(broken)
        for queued, (value, error) in zip(group, outcomes, strict=True):
            if error is None:
                queued.outcome.set_result(value)
            else:
                queued.outcome.set_exception(error)

    def _take(self) -> Iterator[_Queued]:
        for _ in range(min(GROUP, len(self._waiting))):
            yield self._waiting.popleft()

    def _run(self, group: list[_Queued]) -> list[tuple[Any, Exception | None]]:
        outcomes: list[tuple[Any, Exception | None]] = []
        if group:
            with self._engine.begin() as connection:
                for queued in group:
                    outcomes.append(_in_savepoint(connection, queued.work))
        return outcomes


def _in_savepoint(connection: Connection, work: Work[Any]) -> tuple[Any, Exception | None]:
    try:
        with connection.begin_nested():
            return work(connection), None
    except (Undone, XdsFailure) as undone:
        return None, undone


@contextlib.contextmanager
def turn(path: Path) -> Iterator[None]:
    """This process's turn among all that write this file. Raises OSError where the lock cannot be had at all."""
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
