"""P2: a query costs the same in a registry ten times as large; a long answer costs little above the bare floor."""

from __future__ import annotations

from contextlib import ExitStack

from bench import entries
from bench.p1_query import answered, bare, whole
from bench.place import Place
from bench.report import Report
from bench.sides import Side, alternate, median, ratios
from bench.stored import Engine, engines

EACH, MANY = 20, 1000
SMOKE, FULL = (5_000, 50_000), (100_000, 1_000_000)
GROWS, LONG = 1.15, 1.3
ROUNDS = 3


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    small, large = FULL if full else SMOKE
    with engines(report, "P2", (small, large)) as found:
        for engine in found:
            with engine.place(large) as place, place.node() as node:
                _grows(report, engine, (small, large), (place, node), 25 if full else 2)
                _long(report, engine, large, (place, node), 60 if full else 4)


def _grows(report: Report, engine: Engine, sizes: tuple[int, int], larger: tuple[Place, int], batches: int) -> None:
    small, large = sizes
    with ExitStack() as stack:
        place = stack.enter_context(engine.place(small))
        sides = []
        for count, (where, pid) in ((large, larger), (small, (place, stack.enter_context(place.node())))):
            requests, answers = answered(where, entries.shape(count).having(EACH))
            sides.append(Side(f"{count}", engine.pids(pid), where.url, requests, whole(answers)))
        # Every round is one batch of each patient once: the middle of many is a p50 that no burst of others moves.
        size = len(sides[0].requests)
        rate = alternate(sides, ROUNDS * batches, size, 2 * size)
    costs = [each.totals() for each in sides]
    parts = [slice(begin * batches, (begin + 1) * batches) for begin in range(ROUNDS)]
    grown = [median(costs[0][part]) / median(costs[1][part]) for part in parts]
    shown = ", ".join(
        f"{side.name} {' '.join(f'{median(cost[part]) * 1000:.3f}' for part in parts)}"
        for side, cost in zip(sides, costs, strict=True)
    )
    raw = f"p50 of {batches} batches of {size} in each round, CPU ms per request, {shown}; {rate:.0f}/s offered"
    claim = f"{engine.name}, FindDocuments, {EACH} entries, {large} stored against {small}, p50 CPU"
    report.ratio("P2", claim, grown, GROWS, raw)
    bad = [each for side in sides for each in side.bad]
    report.holds("P2", f"{engine.name}, every answer is whole and the right one", not bad, f"{len(bad)} {bad[:1]}")


def _long(report: Report, engine: Engine, stored: int, served: tuple[Place, int], count: int) -> None:
    place, pid = served
    asked = entries.shape(stored).having(MANY)
    requests, answers = answered(place, asked)
    wrong = [each for each in answers if each.count(b"<ExtrinsicObject ") != MANY]
    if wrong or not answers:
        report.holds("P2", f"{MANY} entries are found", False, wrong[0][:300].decode(errors="replace") if wrong else "")
        return
    node = Side("node", engine.pids(pid), place.url, requests, whole(answers))
    with bare(engine, place, asked, answers, requests) as floor:
        rate = alternate([node, floor], ROUNDS, count, len(asked))
    size = len(answers[0]) / MANY
    raw = f"CPU ms per request, {node.told()}, {floor.told()}; {rate:.0f}/s offered, {count} a round"
    claim = (
        f"{engine.name}, {MANY} entries of {size / 1000:.1f} KB in the answer, {stored} stored, CPU against the floor"
    )
    report.ratio("P2", claim, ratios(node, floor), LONG, raw)
    bad = node.bad + floor.bad
    report.holds("P2", f"{engine.name}, every long answer is whole", not bad, f"{len(bad)} {bad[:1]}")
