"""P1: what FindDocuments with 20 entries costs, token, policy and durable audit included, against the bare floor."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy.dialects import sqlite

from bench.filling import fill
from bench.load import Outcome, offer, post
from bench.machine import spent
from bench.place import REGISTRY, SIMPLE, Place, people
from bench.processes import companion
from bench.report import Report
from ihe.names import Status
from registry.engine import open_database
from registry.find import FindStatements
from registry.stored_queries import FindDocuments
from registry.tables import patient_key
from registry.vocabulary import Vocabulary
from simulators.people import Person

EACH = 20
ASKED = 64
"""Patients asked about in turn, each with a token of its own: all of them stay in the node's cache."""
ROUNDS = 3
PROMISED = 2.0
_SUCCESS = b"ResponseStatusType:Success"


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    stored, count = (100_000, 3000) if full else (5_000, 700)
    with TemporaryDirectory(prefix="innsyn-bench-") as name:
        folder = Path(name)
        place = Place(folder)
        patients = people(stored // EACH)
        fill(place.database, patients, EACH)
        asked = patients[:: max(1, len(patients) // ASKED)][:ASKED]
        requests = [post(place.url, REGISTRY, SIMPLE, place.query(each)) for each in asked]
        with place.node() as node:
            answers = _answers(place, requests, report)
            if answers is None:
                return
            with companion("floor", folder, _floor(place, asked, answers, folder), measured=True) as (floor, url):
                bare = [request.replace(place.url[7:].encode(), url[7:].encode(), 1) for request in requests]
                _measure(report, stored, count, (node, place.url, requests), (floor, url, bare), answers)


def _measure(
    report: Report,
    stored: int,
    count: int,
    ours: tuple[int, str, list[bytes]],
    theirs: tuple[int, str, list[bytes]],
    answers: list[bytes],
) -> None:
    size = len(answers[0]) / EACH
    rate = 0.0
    sides: dict[str, list[float]] = {"node": [], "floor": []}
    latencies: list[float] = []
    bad: list[str] = []
    for number in range(ROUNDS + 1):
        for side, (pid, url, requests) in (("node", ours), ("floor", theirs)):
            outcome: list[Outcome] = []
            used = spent(
                pid,
                lambda url=url, requests=requests, rate=rate, outcome=outcome, number=number: outcome.append(
                    offer(url, requests, rate or 100.0, count if number else 2 * ASKED, _is_good(answers))
                ),
            )
            bad += outcome[0].bad
            if number:
                sides[side].append(used / count)
                latencies += outcome[0].latencies if side == "node" else []
            elif side == "node":
                # Half of what one core can do, the same for both: neither is measured while it drowns.
                rate = min(400.0, 0.5 * 2 * ASKED / used)
    ratios = [one / other for one, other in zip(sides["node"], sides["floor"], strict=True)]
    shown = {side: " ".join(f"{each * 1000:.3f}" for each in values) for side, values in sides.items()}
    raw = f"CPU ms per request, node {shown['node']}, floor {shown['floor']}; {rate:.0f}/s offered, {count} a round"
    claim = f"FindDocuments, {EACH} entries of {size / 1000:.1f} KB, {stored} stored, CPU against the floor"
    report.ratio("P1", claim, ratios, PROMISED, raw)
    report.say(f"P1  latency from the intended moment: {told(latencies)}")
    report.holds("P1", "every answer is whole and the right one", not bad, f"{len(bad)} were not {bad[:1]}")


def told(latencies: list[float]) -> str:
    """Percentiles in milliseconds."""
    from bench.machine import quantile

    parts = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))
    return ", ".join(f"{word} {quantile(latencies, part) * 1000:.1f} ms" for part, word in parts)


def _is_good(answers: list[bytes]) -> Any:
    lengths = {len(each) for each in answers}

    def good(answer: bytes) -> bool:
        head, _, body = answer.partition(b"\r\n\r\n")
        return head.startswith(b"HTTP/1.1 200") and len(body) in lengths and _SUCCESS in body[:2000]

    return good


def _answers(place: Place, requests: list[bytes], report: Report) -> list[bytes] | None:
    """The body of the answer to each request; None if one is not what was asked for."""
    bodies: list[bytes] = []

    def keep(answer: bytes) -> bool:
        bodies.append(answer.partition(b"\r\n\r\n")[2])
        return answer.startswith(b"HTTP/1.1 200") and bodies[-1].count(b"<ExtrinsicObject ") == EACH

    outcome = offer(place.url, requests, 50.0, len(requests), keep, connections=1)
    if outcome.bad:
        report.holds("P1", "20 entries are found", False, outcome.bad[0])
        return None
    return bodies


def _floor(place: Place, asked: list[Person], answers: list[bytes], folder: Path) -> dict[str, Any]:
    """What the floor needs: the very statement that the registry runs, its values, and the answers."""
    database = open_database(f"sqlite:///{place.database}")
    statements = FindStatements(Vocabulary(database), on_sqlite=True)
    sql, values = "", {}
    for each in asked:
        query = FindDocuments(each.patient_id, frozenset({Status.APPROVED}))
        statement, bound = statements.of(query, (patient_key(each.patient_id),), True)
        compiled = statement.compile(dialect=sqlite.dialect())
        sql, values[each.patient_id] = str(compiled), [bound[name] for name in compiled.positiontup or ()]
    database.close()
    kept = folder / "answers"
    kept.mkdir()
    names = {}
    for number, (each, answer) in enumerate(zip(asked, answers, strict=True)):
        names[each.patient_id] = f"{number}.xml"
        (kept / names[each.patient_id]).write_bytes(answer)
    (kept / "names.json").write_text(json.dumps(names))
    return {
        "database": str(place.database),
        "sql": sql,
        "values": values,
        "answers": str(kept),
        "content_type": SIMPLE,
    }
