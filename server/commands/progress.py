"""What a long command shows while it works: a bar with rate and time left, or a line now and then for nobody."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from server.commands.terminal import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_SECONDS = 10.0
"""Between two lines where nobody watches a bar."""


class Shown:
    """Called with what is being done, how much of it is, and of how much in all if that is known."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}
        self._told = time.monotonic()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Costs next to nothing when called often."""
        if self._bars is not None:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=total)
            self._bars.update(self._tasks[what], completed=done, total=total)
            return
        now = time.monotonic()
        began = self._began.setdefault(what, now)
        if now - self._told >= LINE_SECONDS:
            self._told = now
            told = f"{what}: {done:,}" + (f" of {total:,}" if total else "")
            if (took := now - began) >= 1 and done:
                left = f", {(total - done) * took / done:,.0f} s left" if total else ""
                told += f"{left}, {done / took:,.0f}/s"
            console(error=True).print(told)


@contextmanager
def progress() -> Iterator[Shown]:
    """Shows on stderr, and leaves stdout to what the command has to say."""
    if not sys.stderr.isatty():
        yield Shown(None)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """How much a second; empty at first."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(error=True)) as bars:
        yield Shown(bars)
