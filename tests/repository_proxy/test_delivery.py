"""Between the decision and the last byte: blocks set meanwhile, hospitals that wait, callers that do not read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from audit.event import Ending, Kind
from ihe import soap
from ihe.names import Action
from ihe.retrieval import DocumentRequest
from policy.blocks import Block, BlockKind, Setter
from policy.facts import Peer
from repository_proxy.delivery import Delivery
from repository_proxy.retrieve import DRAINING, Aborted, CallerGone, CallerTooSlow, Release, prepare, send
from simulators.hospital import Script, Variant
from tests.repository_proxy.ports import NOW, PATIENT, Clock, make_policy
from tests.repository_proxy.stage import LIMITS, QUICK, Stage, play, request

SMALL = {"1.1": b"first", "1.2": b"second", "1.3": b"third"}
BIG = bytes(range(256)) * 8192
"""2 MiB: more than is read ahead."""


def block(*unique_ids: str) -> Block:
    return Block("b1", BlockKind.DOCUMENT, PATIENT, Setter.PATIENT, NOW, documents=frozenset(unique_ids))


def prepared(stage: Stage, *asked: tuple[str, str], packaging: soap.Packaging = soap.Packaging.MTOM) -> Release:
    content_type, raw = request([DocumentRequest("", *one) for one in asked], packaging)
    call = soap.read_call(raw, content_type, frozenset(Action))
    return prepare(call, Peer("test", "127.0.0.1", "", "c" * 32), stage.desk)


class Caller:
    """Keeps what it is sent; may do something at a certain write."""

    def __init__(self, at: int = -1, do: Callable[[], Awaitable[None]] | None = None) -> None:
        self.raw = b""
        self.writes = 0
        self._at, self._do = at, do

    async def write(self, chunk: bytes) -> None:
        self.writes += 1
        if self.writes == self._at and self._do is not None:
            await self._do()
        self.raw += chunk


def test_a_block_set_after_the_decision_is_in_force_for_a_release_that_has_not_started() -> None:
    async def scene() -> tuple[Stage, bytes]:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", SMALL)
            await stage.open()
            release = prepared(stage, ("2.999.1", "1.1"), ("2.999.1", "1.2"))
            stage.book.add(block("1.1"))
            caller = Caller()
            await send(release, caller.write)
            return stage, caller.raw

    stage, raw = play(scene())
    assert SMALL["1.1"] not in raw
    assert SMALL["1.2"] in raw
    assert b"PartialSuccess" in raw
    assert b"document 1.1 is not available from repository 2.999.1" in raw
    assert [event.kind for event in stage.trail.events] == [Kind.RELEASING, Kind.RELEASING, Kind.RELEASED]
    assert stage.trail.endings == [Ending.REFUSED_BY_POLICY, Ending.COMPLETE]


def test_a_block_acknowledged_while_the_request_was_being_decided_holds() -> None:
    async def scene() -> bytes:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", SMALL)
            await stage.open()
            later = NOW + timedelta(milliseconds=5)
            clock = iter([NOW])

            class Moving(Clock):
                def now(self) -> datetime:
                    return next(clock, later)

            stage.book.add(replace(block("1.1"), valid_from=NOW + timedelta(milliseconds=3)))
            stage.desk = replace(stage.desk, clock=Moving())
            caller = Caller()
            await send(prepared(stage, ("2.999.1", "1.1"), ("2.999.1", "1.2")), caller.write)
            return caller.raw

    raw = play(scene())
    assert SMALL["1.1"] not in raw
    assert SMALL["1.2"] in raw


def test_a_block_lifted_after_the_decision_adds_nothing_to_it() -> None:
    async def scene() -> bytes:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", SMALL)
            await stage.open()
            stage.book.add(block("1.1"))
            release = prepared(stage, ("2.999.1", "1.1"), ("2.999.1", "1.2"))
            stage.book.blocks.clear()
            stage.book.number += 1
            caller = Caller()
            await send(release, caller.write)
            return caller.raw

    raw = play(scene())
    assert SMALL["1.1"] not in raw
    assert SMALL["1.2"] in raw


def test_a_journal_that_never_stands_still_ends_in_an_answer_without_documents() -> None:
    async def scene() -> tuple[Stage, bytes]:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", SMALL)
            await stage.open()
            release = prepared(stage, ("2.999.1", "1.1"))
            counter = iter(range(10, 1000))

            class Restless:
                of = staticmethod(stage.book.of)

                @staticmethod
                def sequence() -> int:
                    return next(counter)

            desk = replace(stage.desk, blocks=Restless())
            caller = Caller()
            await send(replace(release, desk=desk), caller.write)
            return stage, caller.raw

    stage, raw = play(scene())
    assert b"ResponseStatusType:Failure" in raw
    assert SMALL["1.1"] not in raw
    assert [event.kind for event in stage.trail.events].count(Kind.RELEASING) == 4
    assert stage.trail.endings == [Ending.INTERNAL]


@pytest.mark.parametrize("what", ["blocks unreadable", "record lost"])
def test_what_cannot_be_confirmed_is_not_delivered(what: str) -> None:
    async def scene() -> tuple[Stage, bytes]:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", SMALL)
            await stage.open()
            release = prepared(stage, ("2.999.1", "1.1"))
            stage.book.number += 1
            if what == "record lost":
                stage.trail.losing.add(Kind.RELEASING)
            else:
                stage.book.readable = False
            caller = Caller()
            await send(release, caller.write)
            return stage, caller.raw

    stage, raw = play(scene())
    assert SMALL["1.1"] not in raw
    assert b"XDSRepositoryError" in raw
    assert stage.trail.endings == [Ending.INTERNAL]


@pytest.mark.parametrize("how", ["a block", "a policy"])
def test_a_running_stream_is_cut_when_it_may_no_longer_be_delivered(how: str) -> None:
    async def scene() -> Stage:
        async with Stage() as stage:
            script = Script(rate=1 << 20)
            await stage.hospital("ous", "2.999.1", {"1": BIG, "2": b"next"}, script)
            await stage.open()
            release = prepared(stage, ("2.999.1", "1"), ("2.999.1", "2"))

            async def change() -> None:
                if how == "a block":
                    stage.book.add(block("1"))
                else:
                    stage.policy = make_policy([], "test 2")

            caller = Caller(3, change)
            with pytest.raises(Aborted):
                await send(release, caller.write)
            assert BIG not in caller.raw
            return stage

    stage = play(scene())
    expected = Ending.NOT_SENT if how == "a block" else Ending.BLOCKED
    assert stage.trail.endings == [Ending.BLOCKED, expected]


def test_a_block_of_something_else_does_not_disturb_a_running_stream() -> None:
    async def scene() -> tuple[Stage, bytes]:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", {"1": BIG}, Script(rate=4 << 20))
            await stage.open()
            release = prepared(stage, ("2.999.1", "1"))

            async def change() -> None:
                stage.book.add(block("other"))

            caller = Caller(2, change)
            await send(release, caller.write)
            return stage, caller.raw

    stage, raw = play(scene())
    assert BIG in raw
    assert stage.trail.endings == [Ending.COMPLETE]


def test_blocks_that_stay_unreadable_cut_a_running_stream_after_a_while() -> None:
    async def scene() -> Stage:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", {"1": BIG}, Script(rate=1 << 20))
            await stage.open()
            release = prepared(stage, ("2.999.1", "1"))

            async def change() -> None:
                stage.book.readable = False

            with pytest.raises(Aborted):
                await send(release, Caller(2, change).write)
            return stage

    assert play(scene()).trail.endings == [Ending.INTERNAL]


@pytest.mark.parametrize(("variant", "kept"), [(Variant.WRITE_TIMEOUT, True), (Variant.LENGTH, True)])
def test_a_hospital_that_waits_behind_another_is_read_from_so_that_it_does_not_give_up(
    variant: Variant, kept: bool
) -> None:
    async def scene() -> bytes:
        limits = replace(LIMITS, sip_every=0.1, parked=64 << 20)
        async with Stage(limits=limits) as stage:
            large = BIG * 8
            await stage.hospital("slow", "2.999.1", {"1": BIG}, Script(rate=1 << 19))
            await stage.hospital("waits", "2.999.2", {"2": large}, Script.of(variant, write_timeout=1.5))
            await stage.open()
            caller = Caller()
            await send(prepared(stage, ("2.999.1", "1"), ("2.999.2", "2")), caller.write)
            return caller.raw

    raw = play(scene())
    assert (BIG * 8 in raw) is kept


def test_what_waiting_hospitals_may_hold_is_bounded_for_the_whole_retrieve() -> None:
    async def scene() -> tuple[int, bytes]:
        limits = replace(LIMITS, sip=64 * 1024, sip_every=0.02, parked=256 * 1024)
        async with Stage(limits=limits) as stage:
            # The smallest goes first, and slowly: the others wait, with less and less to hold.
            await stage.hospital("slow", "2.999.1", {"1": BIG[: 1 << 20]}, Script(rate=1 << 20))
            for number in (2, 3):
                await stage.hospital(f"h{number}", f"2.999.{number}", {str(number): BIG * 4})
            await stage.open()
            release = prepared(stage, ("2.999.1", "1"), ("2.999.2", "2"), ("2.999.3", "3"))
            caller = Caller()
            delivery = Delivery(release.plan, release.answer, stage.upstreams, None, limits, caller.write)
            await delivery.gather()
            delivery.commit()
            streaming = asyncio.create_task(delivery.stream())
            most = 0
            while len(caller.raw) < len(BIG) // 2:
                await asyncio.sleep(0.01)
                most = max(most, sum(leg.held for leg in delivery._legs))
            await streaming
            return most, caller.raw

    most, raw = play(scene())
    assert raw.count(BIG * 4) == 2
    # Beside that budget each hospital has what came with its root part, and the last sip what was at hand.
    assert 256 * 1024 <= most < 1536 * 1024


def test_a_caller_that_stops_reading_is_given_up_and_the_hospital_let_go() -> None:
    async def scene() -> Stage:
        async with Stage(limits=replace(LIMITS, caller=0.2)) as stage:
            await stage.hospital("ous", "2.999.1", {"1": BIG, "2": b"next"})
            await stage.open()

            async def stuck() -> None:
                await asyncio.sleep(30)

            with pytest.raises(CallerTooSlow):
                await send(prepared(stage, ("2.999.1", "1"), ("2.999.1", "2")), Caller(3, stuck).write)
            await asyncio.sleep(0.1)
            assert stage.hospitals["ous"].connections == 0
            return stage

    stage = play(scene())
    assert stage.trail.endings == [Ending.CALLER_TOO_SLOW] * 2
    assert 0 < stage.trail.outcome().objects[0].bytes_sent < len(BIG)


@pytest.mark.parametrize(("message", "ending"), [(None, Ending.CALLER_GONE), (DRAINING, Ending.DRAINING)])
@pytest.mark.parametrize("script", [Script.of(Variant.STALL_HEAD), Script.of(Variant.STALL_MIDDLE)])
def test_a_release_may_be_cancelled_at_any_point_and_is_recorded(
    script: Script, message: str | None, ending: Ending
) -> None:
    async def scene() -> Stage:
        async with Stage(deadlines=replace(QUICK, root=5.0, idle=5.0)) as stage:
            await stage.hospital("ous", "2.999.1", {"1": BIG}, script)
            await stage.open()
            sending = asyncio.create_task(send(prepared(stage, ("2.999.1", "1")), Caller().write))
            await asyncio.sleep(0.3)
            sending.cancel(message)
            with pytest.raises(asyncio.CancelledError):
                await sending
            await asyncio.sleep(0.1)
            assert stage.hospitals["ous"].connections == 0
            return stage

    assert play(scene()).trail.endings == [ending]


@pytest.mark.parametrize("size", [100, 100_000])
def test_what_was_not_written_is_not_counted_as_delivered(size: int) -> None:
    async def scene() -> Stage:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", {"1": BIG[:size]})
            await stage.open()

            async def leave() -> None:
                raise CallerGone

            with pytest.raises(CallerGone):
                await send(prepared(stage, ("2.999.1", "1")), Caller(1, leave).write)
            return stage

    stage = play(scene())
    assert stage.trail.endings == [Ending.CALLER_GONE]
    assert stage.trail.outcome().objects[0].bytes_sent == 0


def test_a_document_that_was_wrong_once_gets_an_error_the_second_time_instead_of_another_cut() -> None:
    async def scene() -> Stage:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", {"1": BIG, "2": b"good"}, Script.of(Variant.FLIPPED_BYTE))
            await stage.open()
            asked = (("2.999.1", "1"), ("2.999.1", "2"))
            with pytest.raises(Aborted):
                await send(prepared(stage, *asked), Caller().write)
            assert stage.trail.endings == [Ending.UP_HASH, Ending.NOT_SENT]
            stage.hospitals["ous"].script = Script()
            caller = Caller()
            await send(prepared(stage, *asked), caller.write)
            assert b"good" in caller.raw
            return stage

    assert play(scene()).trail.endings == [Ending.UP_HASH, Ending.COMPLETE]


def test_simple_packaging_stays_valid_when_hospitals_answer_out_of_order_and_large() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", {"1": BIG, "2": b"ab"}, Script.of(Variant.REVERSED_PARTS))
            await stage.hospital("ahus", "2.999.2", {"3": b"abc"})
            await stage.open()
            got = await stage.retrieve(
                ("2.999.1", "1"), ("2.999.2", "3"), ("2.999.1", "2"), packaging=soap.Packaging.SIMPLE
            )
            assert got.documents == {"1": BIG, "2": b"ab", "3": b"abc"}

    play(scene())
