"""P5: what a retrieve of one small document costs, everything included, against a bare pass-through of the same."""

from __future__ import annotations

from bench.documents import Stage, stage, unique_id
from bench.load import offer, post
from bench.machine import spent
from bench.place import REPOSITORY
from bench.processes import companion
from bench.report import Report
from bench.sides import percentiles

SIZE = 10 * 1024
ROUNDS = 3
PROMISED = 2.5
_SUCCESS = b"ResponseStatusType:Success"


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    with stage({"small": (SIZE, 0)}) as built:
        told = {"hospital": built.hospital}
        with companion("passthrough", built.folder, told, measured=True) as (pid, url):
            _measure(report, built, pid, url, 3000 if full else 600)


def _measure(report: Report, built: Stage, pid: int, url: str, count: int) -> None:
    request = built.request(unique_id("small"))
    sides = {"node": (built.node, built.place.url), "pass-through": (pid, url)}
    costs: dict[str, list[float]] = {side: [] for side in sides}
    latencies: list[float] = []
    bad: list[str] = []
    rate = 0.0
    for number in range(ROUNDS + 1):
        for side, (where, target) in sides.items():
            asked = [post(target, REPOSITORY, *request)]
            outcomes = []
            used = spent(
                where,
                lambda target=target, asked=asked, outcomes=outcomes, number=number, rate=rate: outcomes.append(
                    offer(target, asked, rate or 50.0, count if number else 100, _is_good)
                ),
            )
            bad += outcomes[0].bad
            if number:
                costs[side].append(used / count)
                latencies += outcomes[0].latencies if side == "node" else []
            elif side == "node":
                rate = min(400.0, 0.5 * 100 / used)
    ratios = [one / other for one, other in zip(costs["node"], costs["pass-through"], strict=True)]
    shown = ", ".join(f"{side} {' '.join(f'{each * 1000:.3f}' for each in values)}" for side, values in costs.items())
    raw = f"CPU ms per request, {shown}; {rate:.0f}/s offered, {count} a round"
    report.ratio("P5", "retrieve of one 10 KB document, CPU against a bare pass-through", ratios, PROMISED, raw)
    report.say(f"P5  latency from the intended moment: {percentiles(latencies)}")
    report.holds("P5", "every document arrived", not bad, f"{len(bad)} did not {bad[:1]}")


def _is_good(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 200") and _SUCCESS in answer and len(answer) > SIZE
