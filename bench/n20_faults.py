"""N20: the journey register, query, retrieve, block, query, retrieve survives the failure of any single call.

A node and its block command run as they ship; strace lets the n-th write, commit or sync of each thread fail, on the
log of the database, on the audit trail and its head, and on the caller's socket, or kills the process there. After each
fault the node is killed for good measure, starts again, and is asked what it knows. It must then hold that
nothing is torn and nothing acknowledged is lost, that nothing was shown or released without a record, that a block that
was acknowledged is in force, and that the node works.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from audit import segment
from bench.faulty import Fault, inside, socket_of, struck
from bench.machine import tree
from bench.n2_order import MISSING
from bench.place import OUS, REGISTRY, REPOSITORY, SIMPLE, Place, people
from bench.processes import companion, environment
from bench.progress import bar
from bench.registry_file import examined
from bench.report import Report
from bench.traced import is_here
from bench.upstream import BLOCK, Kept, digest
from bench.writers import SUCCESS, Attempt
from simulators.papers import Paper, paper
from simulators.people import Person
from simulators.source import envelope, submission

SIZE = 3000
MOST_JOURNEYS = 400
CONTENT = BLOCK[:64]
"""How every document begins."""
_CORRELATION = re.compile(r"[0-9a-f]{32}")


@dataclass
class Told:
    """One answer, or none."""

    success: bool = False
    correlation: str = ""
    body: bytes = b""


@dataclass
class Journey:
    """What one journey was told, under which fault."""

    fault: Fault | None
    patient: Person
    attempt: Attempt
    told: dict[str, Told] = field(default_factory=dict)
    blocked: bool = False
    hit: bool = False

    def documents(self, step: str) -> list[str]:
        """The uniqueIds in an answer."""
        body = self.told[step].body
        return [each for each in self.attempt.unique_ids if f'value="{each}"'.encode() in body]


def faults(full: bool) -> list[Fault]:
    """What is made to fail; the sample of a smoke run meets every kind of call and place."""
    deep = {"log": (1, 2, 5, 9, 14, 20, 28), "trail": (1, 2, 3, 4), "head": (1, 2, 3), "socket": (1, 2, 3, 4)}
    kinds = [
        ("log", "pwrite64", "EIO"), ("log", "pwrite64", "ENOSPC"), ("log", "fdatasync", "EIO"),
        ("log", "pwrite64", "KILL"), ("log", "fdatasync", "KILL"), ("trail", "write", "ENOSPC"),
        ("trail", "fdatasync", "EIO"), ("trail", "write", "KILL"), ("trail", "fdatasync", "KILL"),
        ("head", "pwrite64", "EIO"), ("socket", "write", "EPIPE"), ("socket", "write", "ECONNRESET"),
    ]  # fmt: skip
    command = [("fdatasync", "EIO"), ("fdatasync", "KILL"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC")]
    found = [
        Fault(where, call, effect, number)
        for where, call, effect in kinds
        for number in (deep[where] if full else deep[where][:1])
    ]
    found += [
        Fault("command", *each, number) for each in command for number in ((1, 2, 3, 4, 6, 9) if full else (1, 3))
    ]
    return found


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    if not is_here():
        report.say(f"N20 left out: {MISSING}")
        return
    broken: list[str] = []
    with _stage(full) as stage:
        chosen = faults(full)
        for fault in bar(chosen, len(chosen), "faults"):
            stage.journey(fault)
        broken += stage.broken
        journeys = stage.journeys
        verified = stage.innsyn("audit", "verify")
    hit = [each for each in journeys if each.fault is not None and each.hit]
    where = {place: sum(each.fault.where == place for each in hit if each.fault) for place in _PLACES}
    acknowledged = sum(each.attempt.acknowledged for each in hit)
    raw = (
        f"{len(chosen)} faults, {len(hit)} met a call ({', '.join(f'{place} {n}' for place, n in where.items())}); "
        f"{acknowledged} registrations and {sum(each.blocked for each in hit)} blocks were acknowledged under them"
    )
    report.holds("N20", "no single failure of a write, commit, send or sync breaks a promise", not broken, raw)
    for each in broken[:8]:
        report.say(f"    {each}")
    told = verified.stdout.decode(errors="replace").strip().replace("\n", "; ")
    report.holds("N20", "the audit trail verifies after all of them", verified.returncode == 0, told[-200:])


_PLACES = ("log", "trail", "head", "socket", "command")


class _Stage:
    """The node, the hospital behind it, and what was told so far."""

    def __init__(self, place: Place, papers: Sequence[Paper], parent: int, deep: bool) -> None:
        self.place, self.parent = place, parent
        self._deep = deep
        """Sets the block on every journey, also where the fault is not in that command."""
        self.journeys: list[Journey] = []
        self.broken: list[str] = []
        self._papers = iter(papers)
        self._patients = iter(people(MOST_JOURNEYS))
        self._trace = place.folder / "fault"

    def innsyn(self, *words: str, fault: Fault | None = None) -> subprocess.CompletedProcess[bytes]:
        """One command, under a fault or not."""
        before = [] if fault is None else ["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(self._trace), *fault.words]
        command = [*before, sys.executable, "-m", "server.cli", *words, "--config", str(self.place.config)]
        return subprocess.run(command, capture_output=True, env=environment(), timeout=60)

    def journey(self, fault: Fault) -> None:
        """One journey under one fault, the end of its worker, and what must hold afterwards."""
        self._trace.unlink(missing_ok=True)
        one = self._new(fault)
        if fault.where == "command":
            self._first_half(one, None)
            self._block(one, fault)
            self._second_half(one)
        else:
            worker = self._worker()
            connection = HTTPConnection("127.0.0.1", self.place.port, timeout=30)
            connection.connect()
            with inside(worker, fault, self._paths(fault, worker, connection), self._trace):
                self._first_half(one, connection)
                if self._deep:
                    self._block(one, None)
                self._second_half(one)
        one.hit = struck(self._trace)
        self._restart()
        self.journeys.append(one)
        self._check(one)
        after = self._new(None)
        self._first_half(after, None)
        if not after.attempt.acknowledged or len(after.documents("query")) != 2:
            self.broken.append(f"{fault}: the node does not work afterwards")
        self.journeys.append(after)

    # The journey ------------------------------------------------------------------------------------------------------

    def _new(self, fault: Fault | None) -> Journey:
        patient = next(self._patients)
        papers = [next(self._papers) for _ in range(2)]
        sent = submission(papers)
        body = sent.body
        for each in papers:
            body = body.replace(each.hash.encode(), digest(SIZE).encode())
            body = body.replace(f">{each.size}<".encode(), f">{SIZE}<".encode())
        message_id = f"urn:uuid:00000000-0000-4000-8000-{len(self.journeys):012d}"
        ids = tuple(each.unique_id for each in papers)
        return Journey(fault, patient, Attempt(sent.unique_id, ids, "", body, message_id))

    def _first_half(self, one: Journey, connection: HTTPConnection | None) -> None:
        message = envelope(one.attempt.body, self.place.url + REGISTRY, one.attempt.message_id)
        told = self._ask(REGISTRY, SIMPLE, message, connection)
        one.attempt.acknowledged = told.success
        one.told["register"] = told
        one.told["query"] = self._ask(REGISTRY, SIMPLE, self.place.query(one.patient), connection)
        keys = [(OUS.repository_unique_id, one.attempt.unique_ids[0])]
        one.told["retrieve"] = self._ask(REPOSITORY, *self.place.retrieve(one.patient, keys), connection)

    def _block(self, one: Journey, fault: Fault | None) -> None:
        words = ("block", "set", one.patient.number, "--kind", "reservation", "--by", "bench")
        one.blocked = self.innsyn(*words, fault=fault).returncode == 0

    def _second_half(self, one: Journey, name: str = "") -> None:
        one.told[f"query{name}2"] = self._ask(REGISTRY, SIMPLE, self.place.query(one.patient), None)
        keys = [(OUS.repository_unique_id, one.attempt.unique_ids[0])]
        one.told[f"retrieve{name}2"] = self._ask(REPOSITORY, *self.place.retrieve(one.patient, keys), None)

    def _ask(self, path: str, content_type: str, message: bytes, connection: HTTPConnection | None) -> Told:
        connection = connection or HTTPConnection("127.0.0.1", self.place.port, timeout=30)
        told = Told()
        with suppress(OSError, HTTPException):
            connection.request("POST", path, message, {"Content-Type": content_type})
            answer = connection.getresponse()
            told.correlation = answer.headers.get("x-correlation-id", "")
            told.body = answer.read()
            told.success = SUCCESS in told.body
            return told
        connection.close()
        return told

    def _worker(self) -> int:
        """The process that serves; multiprocessing has another beside it."""
        for pid in tree(self.parent)[1:]:
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        raise LookupError("the node has no worker")

    # What must hold ---------------------------------------------------------------------------------------------------

    def _restart(self) -> None:
        for worker in tree(self.parent)[1:]:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.05)
        for _ in range(200):
            with suppress(OSError, HTTPException):
                connection = HTTPConnection("127.0.0.1", self.place.port, timeout=5)
                connection.request("GET", "/health/ready")
                if connection.getresponse().status == 200:
                    return
            time.sleep(0.03)
        self.broken.append("the node is not ready again within 6 s")

    def _check(self, one: Journey) -> None:
        def say(text: str) -> None:
            self.broken.append(f"{one.fault}: {text}")

        verdict = examined(self.place.database, [one.attempt])
        for each in (*verdict.lost, *(each for each in verdict.torn if "belong to no" not in each)):
            say(f"lost or torn: {each}")
        if verdict.integrity != "ok":
            say(f"integrity: {verdict.integrity[:100]}")
        self._second_half(one, "after")
        for name, told in one.told.items():
            shown = one.documents(name) if "query" in name else []
            released = "retrieve" in name and CONTENT in told.body
            if told.success and "query" in name and len(shown) not in (0, 2):
                say(f"{name} shows half a submission")
            if one.blocked and name.endswith("2") and (shown or released):
                say(f"{name} shows what is blocked")
            if told.success and name == "query" and one.attempt.acknowledged and len(shown) != 2:
                say("an acknowledged submission is not found")
            kind = "releasing" if "retrieve" in name else "queried" if "query" in name else "registered"
            if (told.success or released) and not self._recorded(told.correlation, kind):
                say(f"{name} was answered and is not on record")

    def _recorded(self, correlation: str, kind: str) -> bool:
        wanted = (f'"kind":"{kind}"'.encode(), correlation.encode())
        if not _CORRELATION.fullmatch(correlation):
            return False
        folder = self.place.database.parent / "audit"
        return any(
            all(each in line for each in wanted)
            for several in segment.segments(folder).values()
            for part in several
            for line in part.path.read_bytes().splitlines()
        )

    def _paths(self, fault: Fault, worker: int, connection: HTTPConnection) -> list[str]:
        state = self.place.database.parent
        match fault.where:
            case "log":
                return [str(state / "innsyn.db-wal")]
            case "trail":
                return [str(each) for each in (state / "audit").glob("worker-1.*.jsonl")]
            case "head":
                return [str(state / "audit" / "worker-1.head")]
            case _:
                return [socket_of(worker, self.place.port, connection.sock.getsockname()[1])]


@contextmanager
def _stage(deep: bool) -> Iterator[_Stage]:
    patients = people(MOST_JOURNEYS)
    papers = [paper(who, OUS, "A03-2", number) for who in patients for number in (1, 2)]
    documents = {each.unique_id: asdict(Kept(OUS.repository_unique_id, SIZE)) for each in papers}
    with TemporaryDirectory(prefix="innsyn-bench-") as name:
        folder = Path(name)
        with companion("upstream", folder, {"documents": documents}, measured=False) as (_, hospital):
            place = Place(folder, hospitals={"ous": hospital}, machine=True)
            with place.node() as parent:
                yield _Stage(place, papers, parent, deep)
