"""N6: what a caller may not see leaves no trace in any answer.

Each world is built twice through ITI-42 on real databases: as it is, and as if only what the caller may see had ever
been registered or blocked. Every question must then get the same answer, byte for byte: time, message ids, boundaries
and Content-IDs are fixed, so nothing has to be evened out. What a caller may see is what GetDocuments shows of the
world as it is; that FindDocuments and ITI-43 agree with it is checked beside.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import questions
from bench.progress import bar
from bench.quiet import quiet
from bench.registries import Built, Hospitals, Workshop
from bench.report import Report
from bench.worlds import World, world
from ihe import mtom
from ihe.errors import SoapFault
from ihe.soap import Call
from registry.query import answer_query
from repository_proxy.retrieve import prepare, send

SMOKE, FULL = 60, 2000
SMOKE_RELATED = 20
"""Worlds with folders: each of them is asked some thousand questions."""
FIRST_SEED = 1
_IDS = re.compile(rb'<(?:ExtrinsicObject|ObjectRef)[^>]* id="([^"]*)"')


@dataclass
class Tally:
    """What was compared, and everything that was not as it should be."""

    worlds: int = 0
    answers: int = 0
    hidden: int = 0
    visible: int = 0
    differences: list[str] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    tally = compare(range(FIRST_SEED, FIRST_SEED + (FULL if full else SMOKE)))
    raw = (
        f"{tally.worlds} worlds from seed {FIRST_SEED}, {tally.answers} answers, {tally.visible} entries visible and "
        f"{tally.hidden} hidden, {len(tally.differences)} differ"
    )
    report.holds("N6", "no trace of what is hidden, byte for byte", not tally.differences and tally.hidden > 0, raw)
    for each in tally.differences[:5]:
        report.say(f"    {each}")
    claim = "FindDocuments lists, GetDocuments gives and ITI-43 releases the same documents"
    report.holds("N6", claim, not tally.disagreements, f"{len(tally.disagreements)} worlds disagree")
    for each in tally.disagreements[:5]:
        report.say(f"    {each}")
    _related(report, SMOKE_RELATED if not full else FULL)


def _related(report: Report, worlds: int) -> None:
    from bench import n6_related

    with workplace() as (workshop, hospitals, _):
        tally = n6_related.compare(
            bar(range(FIRST_SEED, FIRST_SEED + worlds), worlds, "worlds with folders"), workshop, hospitals
        )
    raw = (
        f"{tally.worlds} worlds from seed {FIRST_SEED}, {tally.answers} answers, {tally.visible} objects visible and "
        f"{tally.hidden} hidden, {len(tally.differences)} differ"
    )
    holds = not tally.differences and tally.hidden > 0
    report.holds("N6", "no trace in any stored query, with folders, replacements and merges", holds, raw)
    claim = "an association shows with both ends, a set or folder with something in it"
    report.holds("N6", claim, not tally.disagreements, f"{len(tally.disagreements)} disagree")
    for each in (*tally.differences[:5], *tally.disagreements[:5]):
        report.say(f"    {each}")


def compare(seeds: Iterable[int]) -> Tally:
    """Builds and asks the worlds of these seeds."""
    numbers = list(seeds)
    tally = Tally()
    with workplace() as (workshop, hospitals, runner):
        for seed in bar(numbers, len(numbers), "worlds"):
            _compare(world(seed), workshop, hospitals, runner, tally)
    return tally


@contextmanager
def workplace() -> Iterator[tuple[Workshop, Hospitals, asyncio.Runner]]:
    """Where worlds are built and asked."""
    quiet()
    with TemporaryDirectory(prefix="innsyn-bench-", dir=fast_folder()) as folder, asyncio.Runner() as runner:
        workshop = Workshop(Path(folder))
        hospitals = runner.run(Hospitals.open())
        try:
            yield workshop, hospitals, runner
        finally:
            runner.run(hospitals.close())


def fast_folder() -> str | None:
    """A folder in memory where there is one: nothing here is about durability."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _compare(asked: World, workshop: Workshop, hospitals: Hospitals, runner: asyncio.Runner, tally: Tally) -> None:
    hospitals.hold(asked)
    with workshop.built(asked, hospitals) as whole:
        asked = whole.world
        uuids = [each for step in asked.steps for each in step.entry_uuids]
        seen = frozenset(each for each in uuids if _IDS.findall(queried(whole, questions.by_entry_uuid(each))))
        tally.worlds, tally.visible = tally.worlds + 1, tally.visible + len(seen)
        tally.hidden += len(uuids) - len(seen)
        with workshop.built(asked.only(seen), hospitals) as less:
            listed: set[str] = set()
            for name, call in questions.queries(asked):
                one, other = queried(whole, call), queried(less, call)
                listed |= {each.decode() for each in _IDS.findall(one)} if "PatientId" in name else set()
                tally.answers += 1
                if one != other:
                    tally.differences.append(f"seed {asked.seed}: {name}: {difference(one, other)}")
            released = _retrieves(asked, whole, less, runner, tally)
    _agree(asked, seen, listed, released, tally)


def _retrieves(
    asked: World, whole: Built, less: Built, runner: asyncio.Runner, tally: Tally
) -> dict[tuple[str, str], bool]:
    """Asks both for documents; whether the whole one releases each when it is asked for by itself."""
    released: dict[tuple[str, str], bool] = {}
    for name, keys in questions.retrieves(asked):
        one, other = (runner.run(_retrieved(each, keys)) for each in (whole, less))
        tally.answers += 1
        if one != other:
            tally.differences.append(
                f"seed {asked.seed}: {name}: {difference(repr(one).encode(), repr(other).encode())}"
            )
        if len(keys) == 1:
            released[keys[0]] = len(one) > 1
    return released


def _agree(
    asked: World, seen: frozenset[str], listed: set[str], released: dict[tuple[str, str], bool], tally: Tally
) -> None:
    families: dict[tuple[str, str], bool] = {}
    for step in asked.steps:
        for each, uuid in zip(step.papers, step.entry_uuids, strict=True):
            key = (each.source.repository_unique_id, each.unique_id)
            families[key] = families.get(key, False) or uuid in seen
    if listed != seen:
        tally.disagreements.append(f"seed {asked.seed}: listed and not given, or given and not listed: {listed ^ seen}")
    if wrong := [key for key, shown in families.items() if shown is not released[key]]:
        tally.disagreements.append(
            f"seed {asked.seed}: released {released[wrong[0]]}, visible {families[wrong[0]]}: {wrong}"
        )


def queried(built: Built, call: Call) -> bytes:
    """The whole answer of a registry to a query."""
    try:
        reply = answer_query(call, built.peer, built.registry)
    except SoapFault as fault:
        return f"fault {fault.code} {fault.reason}".encode()
    return b"%d %s\n%s" % (reply.status, reply.content_type.encode(), reply.body)


async def _retrieved(built: Built, keys: list[tuple[str, str]]) -> dict[str, bytes]:
    """The root part and every document of the answer; the parts may come in any order."""
    content_type, raw = questions.retrieve_request(keys)
    release = prepare(questions.retrieve_call(raw, content_type), built.peer, built.proxy)
    chunks: list[bytes] = []

    async def write(chunk: bytes) -> None:
        chunks.append(chunk)

    await send(release, write)
    package = mtom.read_package(b"".join(chunks), release.answer.content_type, mtom.ANSWER)
    parts = {cid: repr(part.headers).encode() + part.body for cid, part in package.parts.items()}
    return {"": package.root, **parts}


def difference(one: bytes, other: bytes) -> str:
    """The first place where two answers differ."""
    at = next(
        (place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(map(len, (one, other))),
    )
    around = slice(max(0, at - 60), at + 100)
    return f"at byte {at}: {one[around]!r} against {other[around]!r}"
