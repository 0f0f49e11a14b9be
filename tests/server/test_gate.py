"""server.gate and server.exchange: every request ends in one of three ways, whatever happens in between.

What hostile bytes get is in tests/attacks/test_http_attacks.py.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from audit.event import Ending, Kind
from ihe.errors import FaultCode, SoapFault
from ihe.names import Action
from ihe.soap import Call, Reply
from policy.facts import Peer
from repository_proxy import retrieve as proxy
from repository_proxy.failures import CallerTooSlow
from server.exchange import KIB, MIB, Exchange, Limits
from server.gate import Page
from simulators.hospital import Hospital, Script
from simulators.hospital_variants import Variant
from tests.attacks.front import eventually, trail
from tests.nodes import Here, configured, hospital_here, node_here, registered
from tests.server.edge import DATED, edge
from tests.server.wire import QUERY, REGISTRY, REPOSITORY, Wire, head, post, retrieve

LARGE = "2.999.40.7.1"
DOCUMENTS = {LARGE: bytes(range(256)) * 40_000}
SECRET = "15837510047"


def large(size: int) -> Reply:
    return Reply(200, "application/soap+xml", b"x" * size)


def broken(call: Call, peer: Peer) -> Reply:
    raise ValueError(f"no such patient: {SECRET}")


# Ends ----------------------------------------------------------------------------------------------------------------


def test_every_answer_bears_one_id_and_the_date_and_may_not_be_stored() -> None:
    def faulty(call: Call, peer: Peer) -> Reply:
        raise SoapFault(FaultCode.SENDER, "no")

    seen: set[str] = set()
    with edge({Action.REGISTER: faulty}) as one:
        for raw in (
            post(),
            post(b"<x/>"),
            post(b"<x/>", "/nowhere"),
            post(content_type="text/plain"),
            b"\0\0\r\n\r\n",
            head("GET", "/page", content_type=None),
            head("HEAD", "/page", content_type=None),
            head("GET", "/nowhere", content_type=None),
            head("POST", REGISTRY, "Transfer-Encoding: x"),
            head("POST", REGISTRY, *["A: b"] * 99),
        ):
            with Wire(one.address) as wire:
                wire.send(raw)
                told = wire.socket.recv(65536).decode("latin-1").lower()
                assert told.count("x-correlation-id:") == 1, told
                seen.add(told.partition("x-correlation-id: ")[2][:32])
                assert DATED.lower() in told
                assert "server:" not in told
    assert len(seen) == 10


def test_a_defect_in_a_page_is_a_bare_500_and_the_log_holds_no_word_of_it() -> None:
    def page(path: str, query: bytes) -> Page | None:
        raise RuntimeError(f"secret {SECRET}")

    with edge(pages=page) as one, capture_logs() as lines:
        for method in ("GET", "HEAD"):
            with Wire(one.address) as wire:
                answer = wire.ask(head(method, "/page", content_type=None), method)
                assert (answer.status, answer.bare) == (500, True)
                assert lines[-1]["event"] == "defect"
                assert lines[-1]["correlation"] == answer.headers["x-correlation-id"]
        assert SECRET not in str(lines)
        assert len(lines) == 2


def test_a_defect_in_a_transaction_is_a_receiver_fault_with_the_id_and_nothing_else() -> None:
    with edge({Action.QUERY: broken}) as one, capture_logs() as lines, Wire(one.address) as wire:
        answer = wire.ask(post())
        assert answer.status == 500
        assert b"soap12:Receiver" in answer.body
        assert answer.headers["x-correlation-id"].encode() in answer.body
        for hidden in (SECRET.encode(), b"ValueError", b"Traceback"):
            assert hidden not in answer.body
        assert [line["event"] for line in lines] == ["defect"]
        assert SECRET not in str(lines)
        assert wire.ask(post()).status == 500


def test_a_whole_answer_larger_than_a_piece_arrives_whole() -> None:
    size = 5 * MIB + 17
    with edge({Action.QUERY: lambda call, peer: large(size)}) as one, Wire(one.address) as wire:
        answer = wire.ask(post())
        assert (answer.whole, len(answer.body), answer.headers["content-length"]) == (True, size, str(size))
        assert wire.ask(head("GET", "/page", content_type=None), "GET").body == b"here\n"


@pytest.mark.parametrize("size", [MIB // 4, 16 * MIB])
def test_a_reader_that_takes_no_part_of_a_whole_answer_loses_the_connection(size: int) -> None:
    # The smaller one is handed over at once: then nobody waits for it any more, and still it must not stay for ever.
    limits = Limits(write_seconds=0.5, floor=MIB, idle_seconds=1)
    with edge({Action.QUERY: lambda call, peer: large(size)}, limits, send_buffer=4 * KIB) as one:
        with Wire(one.address, receive_buffer=2 * KIB) as wire:
            wire.send(post())
            eventually(lambda: one.server.connections == 1)
            eventually(lambda: one.server.connections == 0)
            assert one.gate._held.bytes == 0


class Congested:
    """A connection whose every piece waits for the reader."""

    certificate, crowded, lost, congested = "", False, False, True

    def gone(self) -> asyncio.Future[str]:
        return asyncio.get_running_loop().create_future()

    def cut(self) -> None:
        """Nothing is there to be cut."""


def test_a_reader_that_takes_every_piece_just_in_time_is_still_too_slow() -> None:
    taken: list[float] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        await asyncio.sleep(0.04)
        taken.append(time.monotonic())

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("nobody reads here")

    async def answer(floor: int) -> None:
        taken.clear()
        scope = {"state": {"connection": Congested()}}
        exchange = Exchange("c" * 32, scope, receive, send, Limits(write_seconds=0.1, floor=floor))
        await exchange.reply(large(3 * MIB))

    asyncio.run(answer(2 * MIB))
    assert len(taken) == 1 + 12 + 1
    with pytest.raises(CallerTooSlow):
        asyncio.run(answer(64 * MIB))
    assert len(taken) == 1 + 3


def test_a_refusal_reaches_a_caller_who_is_still_sending() -> None:
    with edge(limits=Limits(linger_seconds=0.5)) as one, Wire(one.address) as wire:
        wire.send(head(length=64 * MIB) + b"x" * 64 * KIB)
        for _ in range(10):
            wire.send(b"x" * 64 * KIB)
            time.sleep(0.01)
        assert wire.answer().status == 413
        assert wire.closed(2)


def test_the_head_of_a_page_has_its_length_and_no_body() -> None:
    with edge() as one, Wire(one.address) as wire:
        answer = wire.ask(head("HEAD", "/page", content_type=None), "HEAD")
        assert (answer.status, answer.headers["content-length"], answer.body) == (200, "5", b"")
        assert wire.ask(post()).status == 200


# Streams -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hospital() -> Iterator[Hospital]:
    with hospital_here(DOCUMENTS) as started:
        yield started


@pytest.fixture
def node(tmp_path: Path, hospital: Hospital) -> Iterator[Here]:
    config = configured(tmp_path, {"http://127.0.0.1:8181/repository": hospital.url})
    registered(config, DOCUMENTS)
    with node_here(config) as started:
        yield started
    hospital.script = Script()


def begun(wire: Wire) -> str:
    """Sends a retrieve and returns the id of its answer once that has begun."""
    wire.send(retrieve(LARGE))
    taken = b""
    while b"\r\n\r\n" not in taken:
        taken += wire.socket.recv(512)
    return taken.partition(b"x-correlation-id: ")[2][:32].decode()


def test_a_document_streams_whole_and_its_connection_is_used_again(node: Here) -> None:
    with Wire(node.address) as wire:
        for _ in range(2):
            answer = wire.ask(retrieve(LARGE))
            assert (answer.status, answer.whole, answer.headers["mime-version"]) == (200, True, "1.0")
            assert DOCUMENTS[LARGE] in answer.body
            outcome = trail(node, answer.headers["x-correlation-id"], Kind.RELEASED)[-1]
            assert outcome.objects[0].ending is Ending.COMPLETE


def test_a_defect_while_streaming_cuts_the_answer(node: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    async def defect(release: proxy.Release, write: object) -> None:
        assert callable(write)
        await write(b"--boundary\r\n\r\nhalf")
        raise KeyError(SECRET)

    monkeypatch.setattr(proxy, "send", defect)
    with capture_logs() as lines, Wire(node.address) as wire:
        answer = wire.ask(retrieve(LARGE))
        assert (answer.status, answer.whole, wire.closed()) == (200, False, True)
    assert [line["event"] for line in lines] == ["defect"]
    assert SECRET not in str(lines)


def test_a_caller_who_leaves_before_the_decision_is_recorded_as_gone(node: Here, hospital: Hospital) -> None:
    hospital.script = Script.of(Variant.STALL_HEAD)
    turn, prepare = threading.Event(), node.node._soap[REPOSITORY].transactions[Action.RETRIEVE]
    seen: list[str] = []

    def slow(call: Call, peer: Peer) -> object:
        seen.append(peer.correlation)
        release = prepare(call, peer)
        assert turn.wait(5)
        return release

    node.node._soap[REPOSITORY].transactions = {Action.RETRIEVE: slow}  # type: ignore[dict-item]
    with Wire(node.address) as wire:
        wire.send(retrieve(LARGE))
        eventually(lambda: bool(seen))
    time.sleep(0.1)
    turn.set()
    outcome = trail(node, seen[0], Kind.RELEASED)[-1]
    assert outcome.objects[0].ending is Ending.CALLER_GONE


def test_what_still_streams_when_patience_ends_is_cut_and_recorded_as_draining(node: Here, hospital: Hospital) -> None:
    hospital.script = Script.of(Variant.STALL_MIDDLE)
    with Wire(node.address) as streaming, Wire(node.address) as asked:
        correlation = begun(streaming)
        asked.send(head(length=len(QUERY)) + QUERY[:99])
        eventually(lambda: hospital.bytes_sent > 0)
        began = time.monotonic()
        node.drain(0.5)
        assert 0.4 < time.monotonic() - began < 2
        assert not streaming.answer_whole()
        assert asked.closed()
    outcome = trail(node, correlation, Kind.RELEASED)[-1]
    assert outcome.objects[0].ending is Ending.DRAINING


def test_a_drain_lets_what_has_begun_end_and_turns_readiness_red(node: Here, hospital: Hospital) -> None:
    hospital.script = Script(rate=len(DOCUMENTS[LARGE]))
    with Wire(node.address) as streaming, Wire(node.address) as asking, Wire(node.address) as idle:
        correlation = begun(streaming)
        probe = head("GET", "/health/ready", content_type=None)
        asking.send(probe[:20])
        time.sleep(0.1)
        drained = threading.Thread(target=node.drain, args=(10.0,))
        drained.start()
        assert idle.closed()
        with pytest.raises(ConnectionError):
            Wire(node.address)
        asking.send(probe[20:])
        ready = asking.answer("GET")
        assert (ready.status, ready.body) == (503, b"the node is stopping\n")
        assert (ready.headers["connection"], asking.closed()) == ("close", True)
        assert streaming.answer_whole()
        drained.join(10)
        assert not drained.is_alive()
    assert trail(node, correlation, Kind.RELEASED)[-1].objects[0].ending is Ending.COMPLETE
