"""P1: what FindDocuments with 20 entries costs, token, policy and durable audit included, against the bare floor."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.dialects import postgresql, sqlite

from bench import entries
from bench.documents import fetch
from bench.load import post
from bench.place import REGISTRY, SIMPLE, Place
from bench.processes import companion
from bench.report import Report
from bench.sides import Side, alternate, percentiles, ratios
from bench.stored import Engine, engines
from ihe.names import Status
from registry.database.engine import open_database
from registry.database.tables import patient_key
from registry.database.vocabulary import Vocabulary
from registry.queries.find import FindStatements
from registry.queries.stored_queries import FindDocuments
from simulators.people import Person

EACH = 20
ROUNDS = 3
PROMISED = 2.0
_SUCCESS = b"ResponseStatusType:Success"


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    stored, count = (100_000, 3000) if full else (5_000, 200)
    with engines(report, "P1", (stored,)) as found:
        for engine in found:
            _compared(report, engine, stored, count)


def _compared(report: Report, engine: Engine, stored: int, count: int) -> None:
    asked = entries.shape(stored).having(EACH)
    with engine.place(stored) as place, place.node() as pid:
        requests, answers = answered(place, asked)
        wrong = [each for each in answers if each.count(b"<ExtrinsicObject ") != EACH]
        if wrong:
            report.holds("P1", f"{EACH} entries are found", False, wrong[0][:300].decode(errors="replace"))
            return
        node = Side("node", engine.pids(pid), place.url, requests, whole(answers))
        with bare(engine, place, asked, answers, requests) as floor:
            rate = alternate([node, floor], ROUNDS, count, 2 * len(asked))
    size = len(answers[0]) / EACH
    raw = f"CPU ms per request, {node.told()}, {floor.told()}; {rate:.0f}/s offered, {count} a round"
    claim = (
        f"{engine.name}, FindDocuments, {EACH} entries of {size / 1000:.1f} KB, {stored} stored, CPU against the floor"
    )
    report.ratio("P1", claim, ratios(node, floor), PROMISED, raw)
    report.say(f"P1  {engine.name}, latency from the intended moment: {percentiles(node.latencies)}")
    bad = node.bad + floor.bad
    report.holds("P1", f"{engine.name}, every answer is whole and the right one", not bad, f"{len(bad)} {bad[:1]}")


def answered(place: Place, asked: Sequence[Person]) -> tuple[list[bytes], list[bytes]]:
    """A request with a token of its own for each patient, as bytes on the wire, and the whole answer to each."""
    messages = [place.query(each) for each in asked]
    answers = [fetch(place.url, SIMPLE, message, REGISTRY)[1] for message in messages]
    return [post(place.url, REGISTRY, SIMPLE, message) for message in messages], answers


def whole(answers: Sequence[bytes]) -> Callable[[bytes], bool]:
    """Whether an answer is a Success as long as one of these (of a long one the beginning is looked at)."""
    lengths = {b"%d" % len(each) for each in answers}

    def good(answer: bytes) -> bool:
        head, _, body = answer.partition(b"\r\n\r\n")
        told = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return head.startswith(b"HTTP/1.1 200") and told in lengths and _SUCCESS in body[:2000]

    return good


@contextmanager
def bare(
    engine: Engine, place: Place, asked: Sequence[Person], answers: Sequence[bytes], requests: Sequence[bytes]
) -> Iterator[Side]:
    """The floor, running: the very statement that the registry runs, its values, and the answers."""
    told = _statement(place, asked, engine.server is None)
    kept = place.folder / "answers"
    kept.mkdir(exist_ok=True)
    names = {}
    for number, (each, answer) in enumerate(zip(asked, answers, strict=True)):
        names[each.patient_id] = f"{number}.xml"
        (kept / names[each.patient_id]).write_bytes(answer)
    (kept / "names.json").write_text(json.dumps(names))
    settings = told | {"answers": str(kept), "content_type": SIMPLE}
    with companion("floor", place.folder, settings, measured=True) as (pid, url):
        sent = [each.replace(_host(place.url), _host(url), 1) for each in requests]
        yield Side("floor", engine.pids(pid), url, sent, whole(answers))


def _host(url: str) -> bytes:
    return urlsplit(url).netloc.encode()


def _statement(place: Place, asked: Sequence[Person], on_sqlite: bool) -> dict[str, Any]:
    where = f"sqlite:///{place.database}" if on_sqlite else place.url_of_database
    database = open_database(where)
    statements = FindStatements(Vocabulary(database), on_sqlite=on_sqlite)
    dialect: Any = sqlite.dialect() if on_sqlite else postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]
    sql, values = "", {}
    for each in asked:
        query = FindDocuments(each.patient_id, frozenset({Status.APPROVED}))
        statement, bound = statements.of(query, (patient_key(each.patient_id),), True)
        compiled = statement.statement.compile(dialect=dialect)
        sql = str(compiled)
        ordered = [bound.get(name, compiled.params[name]) for name in compiled.positiontup or ()]
        values[each.patient_id] = ordered if on_sqlite else {**compiled.params, **bound}
    database.close()
    return {"database": str(place.database) if on_sqlite else where, "sqlite": on_sqlite, "sql": sql, "values": values}
