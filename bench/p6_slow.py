"""P6: many slow retrieves at once, and a small one in between that must not notice them."""

from __future__ import annotations

import asyncio
import time

from bench.documents import Stage, stage, unique_id
from bench.load import Connection, Outcome, connect, post, run_on_load_core
from bench.machine import Peak, cpu, quantile
from bench.place import REPOSITORY
from bench.report import Report

MIB = 1024 * 1024
SIZE, RATE, SMALL = 800_000, 100_000, 10 * 1024
EVERY = 0.05
"""Seconds between two probes."""
WIDE, PROBE, MEMORY = 1.15, 50.0, 64.0


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    count = 500 if full else 60
    with stage({"slow": (SIZE, RATE), "small": (SMALL, 0)}, connections=2048) as built:
        slow = post(built.place.url, REPOSITORY, *built.request(unique_id("slow")))
        small = post(built.place.url, REPOSITORY, *built.request(unique_id("small")))
        run_on_load_core(_probes(built, small, 40, Outcome()))
        before = cpu(built.node)
        with Peak(built.node) as peak:
            one, probes = run_on_load_core(_scene(built, slow, small, count))
        used = cpu(built.node) - before
    ideal = SIZE / RATE
    complete = sum(size > SIZE for size in one.sizes)
    claim = f"{count} retrieves of 800 KB at 100 KB/s at once: all complete"
    report.holds("P6", claim, complete == count and not one.bad, f"{complete} complete {one.bad[:1]}")
    p99 = quantile(one.latencies, 0.99)
    raw = (
        f"p50 {quantile(one.latencies, 0.5):.2f} s, p99 {p99:.2f} s, ideal {ideal:.1f} s; CPU of the node {used:.2f} s"
    )
    report.ratio("P6", "their p99 against the ideal", [p99 / ideal], WIDE, raw)
    # While they all arrive in one instant, whoever comes next waits for 500 decisions; that is told, not promised.
    under_way = max(one.first)
    early, late = _split(probes, under_way)
    worst = quantile(late, 0.99) * 1000
    raw = f"{len(late)} probes once all were under way, p50 {quantile(late, 0.5) * 1000:.1f} ms; "
    raw += f"{len(early)} while they arrived, slowest {max(early, default=0) * 1000:.0f} ms"
    report.amount("P6", "p99 of a 10 KB probe meanwhile", worst, PROBE, "ms", raw)
    report.holds("P6", "every probe was answered", not probes.bad, f"{len(probes.bad)} were not {probes.bad[:1]}")
    base = f"from {peak.base / MIB:.0f} MiB"
    report.amount("P6", "memory of the node above its base", peak.grown / MIB, MEMORY, "MiB", base)


def _split(probes: Outcome, moment: float) -> tuple[list[float], list[float]]:
    """Latencies of probes that were meant to leave before and after a moment."""
    pairs = list(zip(probes.intended, probes.latencies, strict=True))
    return [each for at, each in pairs if at < moment], [each for at, each in pairs if at >= moment]


async def _scene(built: Stage, slow: bytes, small: bytes, count: int) -> tuple[Outcome, Outcome]:
    outcome, probes = Outcome(), Outcome()
    connections = [await connect(built.place.url) for _ in range(count)]
    start = time.monotonic()

    async def one(connection: Connection) -> None:
        try:
            answer = await connection.ask(slow)
        except (OSError, TimeoutError) as wrong:
            outcome.bad.append(type(wrong).__name__)
            return
        outcome.latencies.append(time.monotonic() - start)
        outcome.first.append(connection.first)
        outcome.sizes.append(connection.size)
        if not answer.startswith(b"HTTP/1.1 200"):
            outcome.bad.append(answer[:200].decode("latin-1"))

    asked = [asyncio.create_task(one(connection)) for connection in connections]
    await asyncio.sleep(0.5)
    await _probes(built, small, int((SIZE / RATE - 1.0) / EVERY), probes)
    await asyncio.gather(*asked)
    return outcome, probes


async def _probes(built: Stage, small: bytes, count: int, outcome: Outcome) -> None:
    """Asks by schedule, each on one of four kept connections."""
    connections = [await connect(built.place.url) for _ in range(4)]
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for each in connections:
        free.put_nowait(each)
    start = time.monotonic()

    async def probe(number: int) -> None:
        intended = start + number * EVERY
        await asyncio.sleep(max(0.0, intended - time.monotonic()))
        connection = await free.get()
        try:
            answer = await connection.ask(small)
        except (OSError, TimeoutError) as wrong:
            outcome.bad.append(type(wrong).__name__)
            return
        free.put_nowait(connection)
        outcome.latencies.append(time.monotonic() - intended)
        outcome.intended.append(intended)
        if not answer.startswith(b"HTTP/1.1 200") or len(answer) < SMALL:
            outcome.bad.append(answer[:200].decode("latin-1"))

    await asyncio.gather(*(probe(number) for number in range(count)))
    for each in connections:
        each.transport.close()
