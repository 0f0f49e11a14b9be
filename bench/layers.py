"""`python -m bench layers`: where the CPU of one query and of one registration goes, layer by layer.

A node is built in this process, and the functions where one layer calls the next are timed: CPU of the thread, each
layer without the layers it calls. The timers cost about a microsecond per call. What the HTTP edge, the hops between
threads and the event loop cost is what a node of its own spends above the whole of this.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from bench import entries
from bench.load import offer, post
from bench.machine import cpu
from bench.p1_query import EACH
from bench.p3_register import messages
from bench.place import REGISTRY, SIMPLE, Place
from bench.postgres import sqlite_copy
from bench.quiet import quiet
from bench.report import Report
from policy.facts import Peer
from server import settings
from server.policies import read_policy
from server.wiring import Node

STORED = 5_000
PEER = Peer("xds", "127.0.0.1", "", "0" * 32)

LAYERS = (
    ("read SOAP and addressing", ("server.soap.read_call",)),
    ("who calls: token from the cache", ("server.identity.Gatekeeper.__call__",)),
    ("understand the query", ("registry.query.queries.read", "registry.query.understand", "registry.query.xml.write")),
    ("rules, blocks, identities: small statements", (
        "registry.blocks.BlockBook.sequence", "registry.blocks.BlockBook.of", "registry.store.Store.identity_set",
    )),
    ("find: statement and rows", ("registry.store.Store.find_documents",)),
    ("shield: decide on every entry", (
        "registry.query.sift_documents", "registry.query.outlook", "registry.query.refusal",
    )),
    ("render: fill the holes", ("registry.store.Store.render",)),
    ("inflate the bodies", ("registry.database.bodies.Bodies.inflate",)),
    ("audit: the event as a line", ("audit.spool.wire.write",)),
    ("audit: chain, queue, write", ("audit.spool.Spool.record",)),
    ("audit: fdatasync", ("audit.spool.os.fdatasync",)),
    ("write the answer", (
        "registry.query.write_reply", "registry.query.queries.write_response", "registry.register.write_reply",
    )),
    ("repair prefixes", ("registry.register.ebrim.repair",)),
    ("schema of the message", ("ihe.xml.Schema.findings",)),
    ("read the submission", ("registry.register.ebrim.read_submission",)),
    ("rules that the message can tell", ("registry.register.rules.judge",)),
    ("typed metadata and canonical bodies", ("registry.register.ebrim.metadata",)),
    ("store: wait for the writing thread", ("registry.store.Store.register",)),
    ("store: the transaction in the writing thread", ("registry.changes.writing.Registration.run",)),
    ("store: deflate the bodies", ("registry.database.bodies.Bodies.deflate",)),
    ("spyne, and what is left of the transaction", ()),
)  # fmt: skip
REST = LAYERS[-1][0]


@dataclass
class Timers:
    """CPU of every layer, without what it calls in another."""

    spent: dict[str, int] = field(default_factory=dict)
    stacks: dict[int, list[int]] = field(default_factory=dict)

    def around(self, layer: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            stack = self.stacks.setdefault(threading.get_ident(), [])
            stack.append(0)
            begun = time.thread_time_ns()
            try:
                return function(*given, **named)
            finally:
                took = time.thread_time_ns() - begun
                inner = stack.pop()
                self.spent[layer] = self.spent.get(layer, 0) + took - inner
                if stack:
                    stack[-1] += took

        return timed


def run(report: Report, full: bool) -> None:
    """Both tables."""
    quiet()
    for title, machine, count in (
        (f"FindDocuments, {EACH} entries", False, 4000 if full else 800),
        ("ITI-42, 1 document", True, 800 if full else 200),
        ("ITI-42, 100 documents, for each", True, 20 if full else 6),
    ):
        with TemporaryDirectory(prefix="innsyn-bench-") as name:
            place = Place(Path(name), machine=machine)
            with sqlite_copy(STORED, place.database):
                sent = _sent(place, title, count)
                shown = _edge(place, sent, count)
                _table(report, place, title, sent, count, shown)


def _sent(place: Place, title: str, count: int) -> list[bytes]:
    if title.startswith("Find"):
        return [place.query(each) for each in entries.shape(STORED).having(EACH)]
    documents = 100 if "100" in title else 1
    return list(messages(documents, 2 * count + 20))


def _edge(place: Place, sent: list[bytes], count: int) -> float:
    """CPU of a whole node per request."""
    requests = [post(place.url, REGISTRY, SIMPLE, each) for each in sent[: count + 10]]

    def good(answer: bytes) -> bool:
        return b"ResponseStatusType:Success" in answer[:2000]

    with place.node() as pid:
        offer(place.url, requests[:10], 50.0, 10, good)
        before = cpu(pid)
        outcome = offer(place.url, requests[10:] or requests, 150.0 if len(requests) > 20 else 5.0, count, good)
        assert not outcome.bad, outcome.bad[0]
        return (cpu(pid) - before) / count


def _table(report: Report, place: Place, title: str, sent: list[bytes], count: int, outside: float) -> None:
    timers, each = Timers(), 100 if "100" in title else 1
    fresh = sent if title.startswith("Find") else sent[count + 10 :]
    with _node(place) as node, ExitStack() as stack:
        soap = node._soap[REGISTRY]
        for number in range(10):
            soap.answer(fresh[number % len(fresh)], SIMPLE, PEER)
        for layer, names in LAYERS:
            for full_name in names:
                stack.enter_context(_timed(timers, layer, full_name))
        answer = timers.around(REST, soap.answer)
        gc.collect()
        gc.freeze()
        begun = time.process_time()
        for number in range(count):
            answer(fresh[(number + 10) % len(fresh)], SIMPLE, PEER)
        inside = (time.process_time() - begun) / count
    report.say(f"{title}: {outside / each * 1e6:.0f} us of CPU in a node, {inside / each * 1e6:.0f} us here, of which")
    for layer, _ in LAYERS:
        if timers.spent.get(layer, 0) > 1000:
            report.say(f"    {timers.spent[layer] / count / each / 1000:8.1f} us  {layer}")
    report.say(
        f"    {(outside - inside) / each * 1e6:8.1f} us  edge, event loop, hops between threads: node above here"
    )


@contextmanager
def _node(place: Place) -> Iterator[Node]:
    conf = settings.load(place.config)
    texts, _ = read_policy(conf, 1)
    assert texts is not None
    loop = asyncio.new_event_loop()
    node = Node(conf, 1, texts.load())
    loop.run_until_complete(node.start())
    try:
        yield node
    finally:
        loop.run_until_complete(node.close())
        loop.close()


@contextmanager
def _timed(timers: Timers, layer: str, name: str) -> Iterator[None]:
    owner, _, last = name.rpartition(".")
    target = found(owner)
    with patch.object(target, last, timers.around(layer, getattr(target, last))):
        yield


def found(name: str) -> Any:
    """A module, or what stands in one."""
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        try:
            target: Any = importlib.import_module(".".join(parts[:size]))
        except ImportError:
            continue
        for part in parts[size:]:
            target = getattr(target, part)
        return target
    raise LookupError(name)
