"""Two or more servers that answer the same requests in turn, and what each of them spends on one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.load import Outcome, offer
from bench.machine import cpu, quantile

MOST_PER_SECOND = 400.0


@dataclass
class Side:
    """One of them. `pids` are its processes, the database server's among them where there is one."""

    name: str
    pids: tuple[int, ...]
    url: str
    requests: Sequence[bytes]
    good: Callable[[bytes], bool]
    costs: list[tuple[float, ...]] = field(default_factory=list)
    """Seconds of CPU per request in each round, for each of the processes."""
    latencies: list[float] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)

    def totals(self) -> list[float]:
        """Seconds of CPU per request in each round, all processes together."""
        return [sum(each) for each in self.costs]

    def told(self) -> str:
        """Milliseconds of CPU per request in each round; after + what the database server spent of them."""
        return f"{self.name} " + " ".join(
            f"{sum(each) * 1000:.3f}" + (f" (+{each[1] * 1000:.3f})" if len(each) > 1 else "") for each in self.costs
        )

    def ask(self, rate: float, count: int, kept: bool = True) -> float:
        """Offers `count` requests; seconds of CPU for each."""
        before = [cpu(pid) for pid in self.pids]
        outcome: Outcome = offer(self.url, self.requests, rate, count, self.good)
        each = tuple((cpu(pid) - was) / count for pid, was in zip(self.pids, before, strict=True))
        self.bad += outcome.bad
        if kept:
            self.costs.append(each)
            self.latencies += outcome.latencies
        return sum(each)


def alternate(sides: Sequence[Side], rounds: int, count: int, warm: int, most: float = MOST_PER_SECOND) -> float:
    """Asks every side `rounds` times, one after the other in each round; returns the requests per second offered.

    The rate is half of what one core can do for the first side, so that none is measured while it drowns.
    """
    rate = 0.0
    for side in sides:
        spent = side.ask(rate or 50.0, warm, kept=False)
        rate = rate or min(most, 0.5 / spent)
    for _ in range(rounds):
        for side in sides:
            side.ask(rate, count)
    return rate


def ratios(above: Side, below: Side) -> list[float]:
    """What one costs against the other, round by round."""
    return [one / other for one, other in zip(above.totals(), below.totals(), strict=True)]


def percentiles(latencies: Sequence[float]) -> str:
    """Percentiles in milliseconds."""
    parts = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))
    return ", ".join(f"{word} {quantile(latencies, part) * 1000:.1f} ms" for part, word in parts)


def median(values: Sequence[float]) -> float:
    """The value in the middle."""
    return statistics.median(values)
