"""N7: how long an answer takes does not tell what is hidden from what never existed: GetDocuments and ITI-43.

One caller asks for single documents in random order: hidden by their kind, by a block, another patient's, and unknown
ones, through the transactions themselves on a real database and a real audit trail. For each sort the latencies are
compared with those of unknown ids: the AUC is the chance that a hidden one took longer, and 0.5 where nothing can be
told apart.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from audit.spool import Spool
from bench import questions
from bench.n6_no_trace import fast_folder
from bench.progress import bar
from bench.quiet import quiet
from bench.registries import Built, Hospitals, Workshop
from bench.report import Report
from bench.worlds import ASKED, OTHER, REGISTERED, Step, World, pilot
from ihe import xml
from ihe.names import Action, QueryId
from ihe.soap import Call, Packaging
from policy.blocks import Block, BlockKind, Setter
from policy.facts import Channel, Peer, Subject
from registry.query import answer_query
from repository_proxy.retrieve import prepare, send
from simulators.consumer import adhoc_query
from simulators.papers import Paper, paper
from simulators.people import Person, source
from simulators.personae import ANNE
from simulators.sts import SCOPE

SMOKE, FULL = 1000, 4000
EACH = 20
"""Documents of each sort, asked for in turn."""
LEAST, MOST = 0.42, 0.58
UNKNOWN = "unknown"
_OUS = source("ous")
_SEED = 7


@dataclass(frozen=True)
class Sort:
    """Documents that all are hidden for the same reason; the calls that ask for each, by transaction."""

    name: str
    calls: dict[str, list[Call]]


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    quiet()
    count = FULL if full else SMOKE
    with _node() as (built, sorts), asyncio.Runner() as runner:
        # As a worker does once it has started: what is here stays.
        gc.collect()
        gc.freeze()
        for transaction, ask in (
            ("GetDocuments by uniqueId", _queried),
            ("GetDocuments by entryUUID", _queried),
            ("ITI-43", _retrieved),
        ):
            took = runner.run(_measured(transaction, ask, built, sorts, count))
            told = {name: auc(times, took[UNKNOWN]) for name, times in took.items() if name != UNKNOWN}
            shown = ", ".join(f"{name} {value:.3f}" for name, value in told.items())
            median = sorted(took[UNKNOWN])[count // 2] * 1e6
            raw = f"AUC against unknown ids: {shown}; {count} of each, median {median:.0f} us"
            even = all(LEAST <= value <= MOST for value in told.values())
            met = "met" if even else "NOT MET"
            report.say(f"N7  {transaction}: hidden and unknown take equally long: promised 0.42-0.58, {met}; {raw}")
        gc.unfreeze()


def auc(ones: Sequence[float], others: Sequence[float]) -> float:
    """The chance that a value of `ones` is larger than one of `others`; equal ones count half."""
    ordered = sorted(others)
    wins = sum(bisect_left(ordered, each) + bisect_right(ordered, each) for each in ones)
    return wins / (2 * len(ones) * len(others))


Ask = Callable[[Call, Built, Peer], Awaitable[None]]


async def _measured(
    transaction: str, ask: Ask, built: Built, sorts: Sequence[Sort], count: int
) -> dict[str, list[float]]:
    """Seconds of `count` answers to each sort, interleaved at random, so that no drift of the machine counts."""
    dice = random.Random(_SEED)
    took: dict[str, list[float]] = {sort.name: [] for sort in sorts}
    warm = count // 10
    for number in bar(range(count + warm), count + warm, transaction):
        for sort in dice.sample(sorts, len(sorts)):
            call = sort.calls[transaction][number % EACH]
            peer = replace(built.peer, correlation=f"{dice.getrandbits(128):032x}")
            begun = time.perf_counter()
            await ask(call, built, peer)
            if number >= warm:
                took[sort.name].append(time.perf_counter() - begun)
    return took


async def _queried(call: Call, built: Built, peer: Peer) -> None:
    answer_query(call, peer, built.registry)


async def _retrieved(call: Call, built: Built, peer: Peer) -> None:
    await send(prepare(call, peer, built.proxy), _nowhere)


async def _nowhere(chunk: bytes) -> None:
    return


@contextmanager
def _node() -> Iterator[tuple[Built, list[Sort]]]:
    """The world on its database, with desks that record to a real spool."""
    asked, papers = _world()
    with TemporaryDirectory(prefix="innsyn-bench-", dir=fast_folder()) as name, asyncio.Runner() as runner:
        folder = Path(name)
        hospitals = runner.run(Hospitals.open())
        spool = Spool(folder / "audit", "bench", reserve=0)
        try:
            with Workshop(folder).built(asked, hospitals) as bare:
                registry, proxy = replace(bare.registry, audit=spool), replace(bare.proxy, audit=spool)
                yield replace(bare, registry=registry, proxy=proxy), _sorts(papers)
        finally:
            spool.close()
            runner.run(hospitals.close())


def _world() -> tuple[World, dict[str, tuple[Paper, ...]]]:
    """One patient with papers that nobody may see, each for another reason, and somebody else's papers."""
    papers = {
        "hidden by kind": _papers(ASKED, "C01-2", 100),
        "hidden by block": _papers(ASKED, "A03-2", 200),
        "another patient's": _papers(OTHER, "A03-2", 300),
    }
    steps = tuple(
        Step(
            papers=each,
            entry_uuids=tuple(one.entry_uuid for one in each),
            replaces=("",) * EACH,
            by=_OUS.key,
            at=REGISTERED,
        )
        for each in papers.values()
    )
    blocked = frozenset(each.unique_id for each in papers["hidden by block"])
    block = Block("b1", BlockKind.DOCUMENT, ASKED.patient_id, Setter.PATIENT, REGISTERED, documents=blocked)
    return World(_SEED, _doctor(), pilot(), steps, merged=False, blocks=(block,)), papers


def _papers(person: Person, kind: str, first: int) -> tuple[Paper, ...]:
    return tuple(paper(person, _OUS, kind, first + number) for number in range(EACH))


def _doctor() -> Subject:
    return Subject(
        channel=Channel.CLINICIAN,
        name=ANNE.name,
        issuer="https://sts.bench.example",
        name_id=ANNE.number,
        hpr=ANNE.hpr,
        role=ANNE.role,
        legal_entity=ANNE.legal_entity,
        place_of_care=ANNE.place_of_care,
        purpose="TREAT",
        patient_id=ASKED.patient_id,
        patient_ids=1,
        security_level="4",
        scopes=frozenset({SCOPE}),
        user_selected=True,
        token_profile="2.1",
    )


def _sorts(papers: dict[str, tuple[Paper, ...]]) -> list[Sort]:
    known = {name: [(each.unique_id, each.entry_uuid) for each in sort] for name, sort in papers.items()}
    dice = random.Random(_SEED)
    like = known["hidden by kind"][0][0]
    # As long as a real one, and in the same arc.
    made_up = [(f"{like[:-6]}{dice.randrange(10**5, 10**6)}", _uuid(dice)) for _ in range(EACH)]
    return [Sort(name, _calls(ids)) for name, ids in (known | {UNKNOWN: made_up}).items()]


def _uuid(dice: random.Random) -> str:
    return f"urn:uuid:{uuid.UUID(int=dice.getrandbits(128), version=4)}"


def _calls(ids: Sequence[tuple[str, str]]) -> dict[str, list[Call]]:
    requests = [questions.retrieve_request([(_OUS.repository_unique_id, unique_id)]) for unique_id, _ in ids]
    return {
        "GetDocuments by uniqueId": [_get_documents("UniqueId", unique_id) for unique_id, _ in ids],
        "GetDocuments by entryUUID": [_get_documents("EntryUUID", entry_uuid) for _, entry_uuid in ids],
        "ITI-43": [questions.retrieve_call(raw, content_type) for content_type, raw in requests],
    }


def _get_documents(name: str, value: str) -> Call:
    body = adhoc_query(QueryId.GET_DOCUMENTS, [(f"{questions.DE}{name}", f"('{value}')")], "LeafClass")
    return Call(Action.QUERY, xml.read(body), None, questions.MESSAGE, Packaging.SIMPLE)
