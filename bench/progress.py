"""A progress bar on the terminal of whoever waits; nothing where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

T = TypeVar("T")


def bar(items: Iterable[T], total: int, words: str) -> Iterator[T]:
    """`items`, with a bar on stderr while they are taken; gone when they are done."""
    columns = (TextColumn(f"  {words}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        yield from progress.track(items, total=total)
