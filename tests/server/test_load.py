"""server.gate under load: a burst queues, a flood is refused at once, and slow callers take no turn from others."""

from __future__ import annotations

import threading
import time

from structlog.testing import capture_logs

from ihe.names import Action
from ihe.soap import Call, Reply, write_reply
from policy.facts import Peer
from server.exchange import KIB, MIB, Limits
from server.gate import Patience
from tests.attacks.front import eventually
from tests.ihe import messages
from tests.server.edge import edge
from tests.server.wire import QUERY, REGISTRY, Answer, Wire, head, post


class Patient:
    """A transaction that waits until it is told to go on."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    def __call__(self, call: Call, peer: Peer) -> Reply:
        self.begun.release()
        assert self.go.wait(10)
        return write_reply(call, [b"<done/>"])


def status(answer: Answer) -> tuple[int, bool]:
    return answer.status, answer.bare


def test_above_the_limit_the_answer_is_503_within_milliseconds_and_the_connection_stays_usable() -> None:
    patient = Patient()
    with edge({Action.QUERY: patient}, Limits(max_exchanges=3), threads=2) as one:
        busy = [Wire(one.address) for _ in range(3)]
        for wire in busy:
            wire.send(post())
        assert all(patient.begun.acquire(timeout=5) for _ in range(2))
        eventually(lambda: one.gate.deciding == 3)
        with Wire(one.address) as wire:
            waits = []
            for _ in range(20):
                begun = time.monotonic()
                refused = wire.ask(post())
                waits.append(time.monotonic() - begun)
                assert (status(refused), refused.headers["retry-after"]) == ((503, True), "1")
            assert sorted(waits)[-2] < 0.05
            # The health page is no exchange.
            assert wire.ask(head("GET", "/page", content_type=None), "GET").status == 200
            patient.go.set()
            assert [each.answer().status for each in busy] == [200, 200, 200]
            assert wire.ask(post()).status == 200
        for each in busy:
            each.socket.close()


def test_a_refused_caller_who_waits_for_100_continue_is_told_to_begin_anew() -> None:
    with edge(limits=Limits(max_exchanges=0)) as one, Wire(one.address) as wire:
        refused = wire.ask(head("POST", REGISTRY, "Expect: 100-continue", length=len(QUERY)))
        assert (status(refused), refused.headers["connection"], wire.closed()) == ((503, True), "close", True)


def test_a_burst_may_queue_and_a_flood_may_not() -> None:
    now = [100.0]
    patience = Patience(Limits(), lambda: now[0])
    with capture_logs() as lines:
        for _ in range(30):
            patience.waited(0.1)
            now[0] += 0.005
        patience.waited(0.001)
        assert (patience.flooded, patience.most) == (False, 64)
        for _ in range(50):
            patience.waited(0.1)
            now[0] += 0.005
        assert (patience.flooded, patience.most) == (True, 8)
        for _ in range(300):
            now[0] += 0.01
            patience.refused()
            patience.waited(0.001)
            assert patience.most == 8
        now[0] += 1.5
        assert patience.most == 64
    # An operator reads of it once a second, with the count.
    assert lines[0]["count"] == 1
    assert (len(lines), sum(line["count"] for line in lines) > 190) == (3, True)


def test_while_more_is_asked_than_answered_who_is_admitted_waits_little_and_all_is_well_soon_after() -> None:
    def work(call: Call, peer: Peer) -> Reply:
        time.sleep(0.01)
        return write_reply(call, [b"<done/>"])

    waits: list[float] = []
    refused = threading.Event()
    stop = time.monotonic() + 1.5

    def caller(address: tuple[str, int]) -> None:
        with Wire(address) as wire:
            while time.monotonic() < stop:
                begun = time.monotonic()
                if wire.ask(post()).status == 200:
                    waits.append(time.monotonic() - begun)
                else:
                    refused.set()
                    time.sleep(0.02)

    with edge({Action.QUERY: work}, threads=4) as one:
        callers = [threading.Thread(target=caller, args=(one.address,)) for _ in range(60)]
        for each in callers:
            each.start()
        for each in callers:
            each.join()
        # 60 at 400 a second would wait 150 ms each.
        later = waits[len(waits) // 2 :]
        assert refused.is_set()
        assert sorted(later)[len(later) // 2] < 0.08
        time.sleep(1.1)
        with Wire(one.address) as wire:
            assert wire.ask(post()).status == 200
            assert one.gate._patience.most == 64


def test_slow_bodies_and_slow_readers_take_no_turn_from_others() -> None:
    limits = Limits(max_exchanges=2)
    with edge({Action.REGISTER: lambda call, peer: Reply(200, "text/plain", b"x" * 12 * MIB)}, limits) as one:
        slow = [Wire(one.address, receive_buffer=4 * KIB) for _ in range(10)]
        for number, wire in enumerate(slow):
            if number % 2:
                wire.send(head(length=len(QUERY)) + QUERY[:50])
            else:
                wire.send(post(messages.of(Action.REGISTER)))
        # Whole requests are decided in a moment; what is left then is slow.
        time.sleep(0.3)
        eventually(lambda: one.gate.deciding == 0)
        with Wire(one.address) as wire:
            assert [wire.ask(post()).status for _ in range(5)] == [200] * 5
        for each in slow:
            each.socket.close()


def test_large_requests_are_refused_before_small_ones_when_memory_runs_out() -> None:
    limits = Limits(max_held=256 * KIB)
    with edge(limits=limits) as one:
        holding = [Wire(one.address) for _ in range(2)]
        for wire in holding:
            wire.send(head(length=MIB) + b"x" * 100 * KIB)
        eventually(lambda: one.gate._held.bytes == 200 * KIB)
        with Wire(one.address) as wire:
            assert wire.ask(post()).status == 200
            wire.send(head(length=MIB) + b"x" * 100 * KIB)
            assert status(wire.answer()) == (503, True)
        for wire in holding:
            wire.socket.close()
        eventually(lambda: one.gate._held.bytes == 0)
        with Wire(one.address) as wire:
            assert wire.ask(post(b" " * 200 * KIB + QUERY)).status == 200


def test_too_many_connections_get_503_and_the_health_page() -> None:
    patient = Patient()
    with edge({Action.QUERY: patient}, Limits(max_connections=2)) as one:
        busy = [Wire(one.address) for _ in range(2)]
        for wire in busy:
            wire.send(post())
        eventually(lambda: one.gate.deciding == 2)
        with Wire(one.address) as wire:
            assert status(wire.ask(post())) == (503, True)
            assert wire.closed()
        with Wire(one.address) as wire:
            assert wire.ask(head("GET", "/page", content_type=None), "GET").status == 200
            crowd = [Wire(one.address) for _ in range(6)]
            assert sum(each.closed(0.3) for each in crowd) >= 3
            for each in crowd:
                each.socket.close()
        patient.go.set()
        for wire in busy:
            assert wire.answer().status == 200
            wire.socket.close()
