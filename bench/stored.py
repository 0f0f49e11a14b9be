"""The places that P1, P2, P3 and P7 measure: a node on a registry of bench.entries, on SQLite or on PostgreSQL."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import entries
from bench.place import Place
from bench.postgres import Server, server, sqlite_copy
from bench.report import Report


@dataclass(frozen=True)
class Engine:
    """Where registries are kept."""

    name: str
    server: Server | None = None

    @contextmanager
    def place(self, count: int, workers: int = 1, machine: bool = False) -> Iterator[Place]:
        """A folder with all that a node on a registry of `count` entries needs; gone afterwards."""
        with TemporaryDirectory(prefix="innsyn-bench-") as name:
            folder = Path(name)
            if self.server is None:
                place = Place(folder, workers=workers, machine=machine)
                with sqlite_copy(count, place.database):
                    yield place
                return
            with self.server.copy(count) as copy:
                yield Place(folder, url_of_database=self.server.url(copy), workers=workers, machine=machine)

    def pids(self, node: int) -> tuple[int, ...]:
        """The processes that answer for a node."""
        return (node,) if self.server is None else (node, self.server.pid)


@contextmanager
def engines(report: Report, claim: str, sizes: tuple[int, ...]) -> Iterator[list[Engine]]:
    """SQLite, and PostgreSQL where one can be started; their registries of these sizes are made before it begins."""
    for size in sizes:
        entries.on_sqlite(size)
    found = [Engine("SQLite")]
    with ExitStack() as stack:
        try:
            running = stack.enter_context(server())
            for size in sizes:
                running.holding(size)
            found.append(Engine("PostgreSQL", running))
        except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as missing:
            report.say(f"{claim}  no PostgreSQL can be started here ({type(missing).__name__}): SQLite alone")
        yield found
