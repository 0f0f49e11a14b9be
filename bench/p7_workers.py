"""P7: two worker processes serve so many times what one serves, when more is asked than can be answered."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench import entries
from bench.load import connect, run_on_load_core
from bench.machine import CORES, cpu
from bench.p1_query import answered, whole
from bench.report import Report
from bench.sides import median
from bench.stored import Engine, engines

EACH = 20
PROMISED = 1.7
ROUNDS = 3
CONNECTIONS = 8
"""Callers that ask again at once when they are answered: enough for two workers, and too few to be refused."""


@dataclass
class Served:
    """What a node answered in a round."""

    per_second: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    """Seconds of CPU for each."""
    load: list[float] = field(default_factory=list)
    """Seconds of CPU that asking took for each."""
    bad: list[str] = field(default_factory=list)


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    stored, seconds = (100_000, 8.0) if full else (5_000, 1.0)
    with engines(report, "P7", (stored,)) as found:
        for engine in found:
            _compared(report, engine, stored, seconds)


def _compared(report: Report, engine: Engine, stored: int, seconds: float) -> None:
    one, two = Served(), Served()
    with ExitStack() as stack:
        nodes = []
        for workers, served in ((1, one), (2, two)):
            place = stack.enter_context(engine.place(stored, workers=workers))
            pids = engine.pids(stack.enter_context(place.node(CORES)))
            requests, answers = answered(place, entries.shape(stored).having(EACH))
            nodes.append((served, place.url, requests, whole(answers), pids))
        for number in range(ROUNDS + 1):
            for served, url, requests, good, pids in nodes:
                before, own, begun = sum(map(cpu, pids)), time.process_time(), time.monotonic()
                count, bad = run_on_load_core(_crowd(url, requests, good, seconds if number else 1.0))
                took = time.monotonic() - begun
                if number:
                    served.per_second.append(count / took)
                    served.cost.append((sum(map(cpu, pids)) - before) / count)
                    served.load.append((time.process_time() - own) / count)
                served.bad += bad
    ratios = [many / few for few, many in zip(one.per_second, two.per_second, strict=True)]
    raw = (
        f"per second, one {' '.join(f'{each:.0f}' for each in one.per_second)}, two "
        f"{' '.join(f'{each:.0f}' for each in two.per_second)}; CPU ms per request, one {median(one.cost) * 1000:.3f}, "
        f"two {median(two.cost) * 1000:.3f}, the caller {median(two.load) * 1000:.3f}; {len(CORES)} cores for all"
    )
    report.least("P7", f"{engine.name}, two workers against one, {stored} stored", ratios, PROMISED, raw)
    cores = 2 * median(one.cost) / median(two.cost)
    report.say(f"P7  {engine.name}, the same from CPU per request, had each worker a core of its own: {cores:.2f} x")
    bad = one.bad + two.bad
    report.holds("P7", f"{engine.name}, every answer is whole and the right one", not bad, f"{len(bad)} {bad[:1]}")


async def _crowd(url: str, requests: list[bytes], good: object, seconds: float) -> tuple[int, list[str]]:
    until, counted, bad = time.monotonic() + seconds, 0, []

    async def caller(first: int) -> None:
        nonlocal counted
        connection, number = await connect(url), first
        while time.monotonic() < until:
            answer = await connection.ask(requests[number % len(requests)])
            number, counted = number + CONNECTIONS, counted + 1
            if not good(answer):  # type: ignore[operator]
                bad.append(answer[:300].decode("latin-1"))
        if connection.transport is not None:
            connection.transport.close()

    # With as many cores as there are workers, asking takes its part of one of them: told in the line.
    if len(CORES) <= 2:
        os.sched_setaffinity(0, CORES)
    await asyncio.gather(*(caller(number) for number in range(CONNECTIONS)))
    return counted, bad
