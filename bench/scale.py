"""`python -m bench scale`: writes bench/scale.md, the nation computed from bytes and CPU measured here.

Bytes are those of the registry with 1 000 000 entries (bench.entries), on SQLite and on PostgreSQL. CPU is that of a
node and of its PostgreSQL for a query, a registration and a retrieve, measured as P1, P3 and P5 measure it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from bench import entries
from bench.documents import stage, unique_id
from bench.load import offer, post
from bench.machine import cpu, line
from bench.p1_query import EACH, answered, whole
from bench.p3_register import messages, place_one
from bench.place import REPOSITORY
from bench.report import Report
from bench.sides import Side, median
from bench.stored import Engine, engines

BYTES, SERVED = 1_000_000, 100_000
PEOPLE = 5_500_000
BLOAT = 1.25
YEARS = 10
"""Years in which the entries came: a tenth of them is a year's."""
PEAK_HOUR = 6
CLINICIANS, LOOKUPS, QUERIES = 400_000, 25, 2.5
"""Who looks, how often in a day, and how many queries a look takes; each look retrieves one document."""
DAYTIME, HOURS, PEAK = 0.7, 8, 2
HEADROOM = 2.5
"""What a design has above the expected peak."""
BUSY = 0.6
"""How much of a core may be in use when latencies are to stay what they are."""
RESULT = Path(__file__).with_name("scale.md")


@dataclass(frozen=True)
class Measured:
    """What everything is computed from."""

    sqlite: float
    """Bytes per entry, the file as a whole."""
    tables: dict[str, float]
    """Bytes per entry on PostgreSQL, by table, indexes included."""
    query: tuple[float, float]
    """Seconds of CPU, in the node and in PostgreSQL."""
    registration: tuple[float, float]
    retrieve: float

    @property
    def postgresql(self) -> float:
        """Bytes per entry on PostgreSQL."""
        return sum(self.tables.values())


def run(report: Report, full: bool) -> None:
    """Measures, computes and writes."""
    with engines(report, "scale", (SERVED, BYTES)) as found:
        server = next((each for each in found if each.server is not None), None)
        if server is None or server.server is None:
            report.say("scale  is computed for PostgreSQL, which cannot be started here")
            return
        sizes = server.server.size(server.server.holding(BYTES))
        measured = Measured(
            entries.on_sqlite(BYTES).stat().st_size / BYTES,
            {table: size / BYTES for table, size in sizes.items() if size > BYTES},
            _query(server),
            _registration(server),
            _retrieve(),
        )
    RESULT.write_text(_text(measured))
    report.say(f"scale  written to {RESULT.name}")


def _query(engine: Engine) -> tuple[float, float]:
    with engine.place(SERVED) as place, place.node() as pid:
        requests, answers = answered(place, entries.shape(SERVED).having(EACH))
        node = Side("node", engine.pids(pid), place.url, requests, whole(answers))
        node.ask(100.0, 2 * len(requests), kept=False)
        for _ in range(3):
            node.ask(100.0, 600)
    return median([each[0] for each in node.costs]), median([each[1] for each in node.costs])


def _registration(engine: Engine) -> tuple[float, float]:
    with engine.place(SERVED, machine=True) as place, place.node() as node:
        sent = list(messages(1, 320))
        for message in sent[:20]:
            place_one(place.url, message)
        before = [cpu(pid) for pid in engine.pids(node)]
        for message in sent[20:]:
            place_one(place.url, message)
        own, server = ((cpu(pid) - was) / 300 for pid, was in zip(engine.pids(node), before, strict=True))
    return own, server


def _retrieve() -> float:
    with stage({"small": (10 * 1024, 0)}) as built:
        requests = [post(built.place.url, REPOSITORY, *built.request(unique_id("small")))]
        offer(built.place.url, requests, 50.0, 100, lambda answer: True)
        before = cpu(built.node)
        offer(built.place.url, requests, 100.0, 600, lambda answer: True)
        return (cpu(built.node) - before) / 600


def _text(found: Measured) -> str:
    looks = CLINICIANS * LOOKUPS * DAYTIME / (HOURS * 3600) * PEAK
    queries, retrieves = looks * QUERIES * HEADROOM, looks * HEADROOM
    rows = [_nation(found, each, queries, retrieves) for each in (50, 500)]
    labels = list(rows[0])
    table = "\n".join(f"| {label} | {rows[0][label]} | {rows[1][label]} |" for label in labels)
    tables = ", ".join(f"{name} {size:,.0f}" for name, size in sorted(found.tables.items(), key=lambda kept: -kept[1]))
    return f"""# The nation, computed from what was measured

Written by `python -m bench scale` on {time.strftime("%Y-%m-%d", time.gmtime())}; {line()}. Do not edit: run it again.

Measured here:

| | |
| --- | --- |
| bytes per entry with SubmissionSet, association, directory and claims, SQLite, {BYTES:,} entries | \
{found.sqlite:,.0f} |
| the same on PostgreSQL, indexes included | {found.postgresql:,.0f} ({tables}) |
| CPU of FindDocuments with {EACH} entries, {SERVED:,} stored: node + PostgreSQL | \
{found.query[0] * 1000:.2f} + {found.query[1] * 1000:.2f} ms |
| CPU of ITI-42 with one document, durable: node + PostgreSQL | \
{found.registration[0] * 1000:.2f} + {found.registration[1] * 1000:.2f} ms |
| CPU of ITI-43 with one document of 10 KB: node | {found.retrieve * 1000:.2f} ms |

Assumed, and not measured: {PEOPLE:,} people; {CLINICIANS:,} clinicians who look {LOOKUPS} times a day, each look \
{QUERIES:g} queries and one document; {DAYTIME:.0%} of it within {HOURS} hours, the peak {PEAK} times their mean, and \
a design for {HEADROOM:g} times that peak. A tenth of all entries comes each year, the peak hour {PEAK_HOUR} times the \
mean. Tables bloat by {BLOAT:g}. A core is planned to be {BUSY:.0%} busy.

| | 50 entries each | 500 entries each |
| --- | --- | --- |
{table}

What follows from it:

- Load never forces a second database server; size and its maintenance do (vacuum, backup, the time a restore takes).
  Bytes are proportional to entries, and P2 says that the cost of a query is not.
- Nodes share nothing but the database and are added as needed; P7 says what a second one brings.
- Cores are counted for TLS ended in front of the node; mutual TLS in the node comes on top.
- Random reads: a heap on PostgreSQL holds rows in the order of arrival, so a patient's {EACH} entries lie on as many
  pages. While the tables fit into memory this costs nothing; the 500-entry nation does not fit, and is the case for
  hash partitions or for distributing by patient (docs/operations.md).
"""


def _nation(found: Measured, each: int, queries: float, retrieves: float) -> dict[str, str]:
    count = PEOPLE * each
    year = count / YEARS
    writes = year / (365 * 86400) * PEAK_HOUR
    touched = found.tables.get("object_dir", 0) + found.tables.get("uid_claim", 0)
    node = queries * found.query[0] + retrieves * found.retrieve + writes * found.registration[0]
    server = queries * found.query[1] + writes * found.registration[1]
    backfill = count * sum(found.registration) / 86400 / 16
    return {
        "entries": f"{count / 1e9:.3g} G",
        "PostgreSQL, tables and indexes": f"{count * found.postgresql * BLOAT / 1e12:.2g} TB",
        "of which directory and claims, touched by every registration": f"{count * touched * BLOAT / 1e9:,.0f} GB",
        "SQLite, were it one file": f"{count * found.sqlite / 1e12:.2g} TB",
        "registrations in the peak hour": f"{writes:,.1f} /s",
        "queries, design": f"{queries:,.0f} /s",
        "retrieves, design": f"{retrieves:,.0f} /s",
        "cores for the nodes": f"{node / BUSY:,.0f}",
        "cores for PostgreSQL": f"{server / BUSY:,.1f}",
        "first load through ITI-42, one document each, 16 cores in all": f"{backfill:,.1f} days",
    }
