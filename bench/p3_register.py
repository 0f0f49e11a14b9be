"""P3: what a durable registration costs against the same inserts through the raw driver with the same fsync.

The floor is the driver alone: rows made beforehand, one transaction per submission, the same tables, keys, claims and
directory, committed as durably as the registry commits. It reads no message, checks nothing and keeps no trail.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from bench import entries
from bench.machine import SERVER_CORE, cpu
from bench.place import OUS, REGISTRY, SIMPLE, Place, people
from bench.report import Report
from bench.stored import Engine, engines
from ihe.names import ResponseStatus
from registry.database import tables
from registry.database.tables import patient_key
from simulators.papers import PILOT, paper
from simulators.source import envelope, submission

PROMISED = {1: 2.5, 100: 1.8}
"""Documents in one submission -> at most so many times the floor, per document."""
ROUNDS = 3
SUCCESS = f'"{ResponseStatus.SUCCESS.value}"'.encode()
FIRST = 50_000_000
"""Numbers of the floor's entries, above those of any registry that is made."""

Job = Callable[[], bool]


@dataclass
class Timed:
    """What one submission took, in each round: seconds by the clock, and of CPU in all processes together."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    bad: int = 0

    def run(self, jobs: Sequence[Job], pids: Sequence[int]) -> None:
        """One after the other, as one source sends them."""
        before = sum(cpu(pid) for pid in pids)
        each = []
        for job in jobs:
            begun = time.perf_counter()
            self.bad += not job()
            each.append(time.perf_counter() - begun)
        self.wall.append(statistics.median(each))
        self.cpu.append((sum(cpu(pid) for pid in pids) - before) / len(jobs))


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    stored = 100_000 if full else 5_000
    with engines(report, "P3", (stored,)) as found:
        for engine in found:
            for documents, count in ((1, 400 if full else 60), (100, 20 if full else 5)):
                with engine.place(stored, machine=True) as place, place.node() as node:
                    _compared(report, engine, place, node, documents, count)


def _compared(report: Report, engine: Engine, place: Place, node: int, documents: int, count: int) -> None:
    sent, floor = Timed(), Timed()
    server = () if engine.server is None else (engine.server.pid,)
    submissions = messages(documents, count * ROUNDS + 5)
    rows = _transactions(documents, count * ROUNDS + 5)
    with _Driver(engine, place) as driver:
        for _ in range(5):
            place_one(place.url, next(submissions))
            driver.insert(next(rows))
        for _ in range(ROUNDS):
            own = [next(submissions) for _ in range(count)]
            sent.run([lambda each=each: place_one(place.url, each) for each in own], (node, *server))  # type: ignore[misc]
            given = [next(rows) for _ in range(count)]
            affinity = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {SERVER_CORE})
            floor.run([lambda each=each: driver.insert(each) for each in given], (os.getpid(), *server))  # type: ignore[misc]
            os.sched_setaffinity(0, affinity)
    words = "1 document" if documents == 1 else f"{documents} documents in one submission"
    for what, ours, theirs in (("by the clock", sent.wall, floor.wall), ("in CPU", sent.cpu, floor.cpu)):
        shown = ", ".join(
            f"{side} {' '.join(f'{each / documents * 1000:.3f}' for each in values)}"
            for side, values in (("node", ours), ("driver", theirs))
        )
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        claim = f"{engine.name}, ITI-42, {words}, against the same inserts and fsync, {what}"
        report.ratio("P3", claim, ratios, PROMISED[documents], f"ms per document, {shown}; {count} a round")
    report.holds("P3", f"{engine.name}, every submission of {words} is acknowledged", not sent.bad, f"{sent.bad} not")


_kept: dict[str, HTTPConnection] = {}


def place_one(url: str, message: bytes) -> bool:
    """Registers it over a kept connection; whether it was acknowledged."""
    where = urlsplit(url)
    connection = _kept.setdefault(url, HTTPConnection(where.hostname or "", where.port, timeout=60))
    connection.request("POST", REGISTRY, message, {"Content-Type": SIMPLE})
    answer = connection.getresponse()
    return SUCCESS in answer.read()


_numbers = itertools.count(1)


def messages(documents: int, count: int) -> Iterator[bytes]:
    """Submissions of new documents, each about another patient than the one before; made before they are timed."""
    patients, kinds = people(997), sorted(PILOT)
    for number in range(count):
        patient = patients[number % len(patients)]
        papers = [paper(patient, OUS, kinds[at % len(kinds)], next(_numbers)) for at in range(documents)]
        yield envelope(submission(papers).body, "", f"urn:uuid:00000000-0000-4000-8000-{number:012d}")


def _transactions(documents: int, count: int) -> Iterator[dict[sa.Table, list[entries.Row]]]:
    """The rows of as many submissions as the store itself would write them."""
    patterns, patients = entries.patterns(), people(997)
    for number in range(count):
        patient = patients[number % len(patients)]
        key = patient_key(patient.patient_id)
        rows: dict[sa.Table, list[entries.Row]] = {
            tables.patient: [
                {
                    "patient_key": key,
                    "patient_id": patient.patient_id,
                    "survivor": patient.patient_id,
                    "survivor_key": key,
                }
            ]
        }
        for at in range(documents):
            pattern = patterns[at % len(patterns)]
            made = pattern.rows(FIRST + next(_numbers), key, patient)
            if at == 0:
                listed, claims = pattern.beside(made)
                own = made[tables.submission_set]["entry_uuid"]
                rows[tables.submission_set] = [made.pop(tables.submission_set)]
                rows[tables.object_dir], rows[tables.uid_claim] = listed[:1], claims
                member = listed[1:]
            else:
                made.pop(tables.submission_set)
                member = pattern.beside_member(made)
            made[tables.document]["submission_uuid"] = made[tables.association]["submission_uuid"] = own
            made[tables.association]["source"] = own
            rows[tables.object_dir] += member
            for table, row in made.items():
                rows.setdefault(table, []).append(row)
        yield rows


class _Driver:
    """The driver of a database and nothing above it."""

    ORDER = (
        tables.patient, tables.uid_claim, tables.object_dir, tables.submission_set, tables.document, tables.association,
    )  # fmt: skip

    def __init__(self, engine: Engine, place: Place) -> None:
        self._sqlite = engine.server is None
        if self._sqlite:
            self._driver: Any = sqlite3.connect(place.database, isolation_level=None, timeout=10)
            for pragma in ("synchronous=FULL", "mmap_size=1073741824", "cache_size=-65536"):
                self._driver.execute(f"PRAGMA {pragma}")
        else:
            self._driver = psycopg.connect(place.url_of_database)
        self._texts: dict[sa.Table, tuple[str, tuple[str, ...]]] = {}

    def __enter__(self) -> _Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.close()

    def insert(self, rows: dict[sa.Table, list[entries.Row]]) -> bool:
        """One durable transaction."""
        cursor = self._driver.cursor()
        if self._sqlite:
            cursor.execute("BEGIN IMMEDIATE")
        for table in self.ORDER:
            text, names = self._text(table, rows[table][0])
            cursor.executemany(text, [[row[name] for name in names] for row in rows[table]])
        if self._sqlite:
            cursor.execute("COMMIT")
        else:
            self._driver.commit()
        return True

    def _text(self, table: sa.Table, row: entries.Row) -> tuple[str, tuple[str, ...]]:
        if table not in self._texts:
            names = tuple(row)
            dialect: Any = sqlite.dialect() if self._sqlite else postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]
            name = dialect.identifier_preparer.format_table(table)
            marks = ", ".join("?" if self._sqlite else "%s" for _ in names)
            text = f"INSERT INTO {name} ({', '.join(names)}) VALUES ({marks}) ON CONFLICT DO NOTHING"
            self._texts[table] = text, names
        return self._texts[table]
