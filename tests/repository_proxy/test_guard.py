"""One sick hospital harms nobody else, and is asked again by exactly one caller."""

from __future__ import annotations

import asyncio

import pytest

from audit.event import Ending
from policy.facts import DocumentKey
from repository_proxy.failures import UpstreamFailed
from repository_proxy.guard import FAILURES, OPEN, REMEMBERED, WINDOW, Breaker, Guard, Lapses, once_more
from tests.repository_proxy.stage import play


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(time: Time) -> Breaker:
    breaker = Breaker(time)
    for _ in range(FAILURES):
        assert breaker.enter() is False
        breaker.failed(False)
    return breaker


def test_five_failures_within_the_window_open_the_breaker() -> None:
    time = Time()
    breaker = opened(time)
    assert not breaker.closed
    with pytest.raises(UpstreamFailed) as refused:
        breaker.enter()
    assert not refused.value.counts


def test_failures_spread_over_more_than_the_window_do_not() -> None:
    time = Time()
    breaker = Breaker(time)
    for _ in range(3 * FAILURES):
        breaker.failed(False)
        time.now += WINDOW / (FAILURES - 2)
    assert breaker.closed


def test_after_the_open_time_exactly_one_probe_goes_through() -> None:
    time = Time()
    breaker = opened(time)
    time.now += OPEN
    assert breaker.enter() is True
    for _ in range(20):
        with pytest.raises(UpstreamFailed):
            breaker.enter()


def test_a_good_probe_closes_it_and_a_bad_one_keeps_it_open_as_long_again() -> None:
    time = Time()
    breaker = opened(time)
    time.now += OPEN
    breaker.failed(breaker.enter())
    time.now += OPEN - 0.1
    with pytest.raises(UpstreamFailed):
        breaker.enter()
    time.now += 0.1
    breaker.succeeded(breaker.enter())
    assert breaker.closed


def test_a_probe_whose_caller_left_gives_its_ticket_back() -> None:
    time = Time()
    breaker = opened(time)
    time.now += OPEN
    breaker.withdrew(breaker.enter())
    assert breaker.enter() is True


def test_a_late_success_of_an_older_exchange_does_not_close_it() -> None:
    breaker = opened(Time())
    breaker.succeeded(False)
    assert not breaker.closed


def test_the_bulkhead_lets_in_as_many_as_it_has_places_and_a_bounded_queue() -> None:
    async def scene() -> list[str]:
        guard = Guard(limit=2, queue=1, admit=0.05)

        async def visit() -> str:
            try:
                ticket = await guard.enter()
            except UpstreamFailed as refused:
                return refused.ending.value
            await asyncio.sleep(0.2)
            ticket.succeeded()
            ticket.give_back()
            return "in"

        first = await asyncio.gather(*(visit() for _ in range(5)))
        return [*first, await visit()]

    assert sorted(play(scene())) == ["in", "in", "in", "overload", "overload", "overload"]


def test_a_place_given_back_twice_is_one_place() -> None:
    async def scene() -> bool:
        guard = Guard(limit=1, queue=0, admit=0.01)
        ticket = await guard.enter()
        ticket.give_back()
        ticket.give_back()
        await guard.enter()
        return guard.places.locked()

    assert play(scene())


def test_an_open_breaker_does_not_eat_places() -> None:
    async def scene() -> bool:
        guard = Guard(limit=1, queue=0, admit=0.01)
        guard.breaker = opened(Time())
        for _ in range(3):
            with pytest.raises(UpstreamFailed):
                await guard.enter()
        return guard.places.locked()

    assert not play(scene())


def test_a_failure_after_a_success_still_counts() -> None:
    async def scene() -> bool:
        guard = Guard(limit=9, queue=0, admit=0.01)
        for _ in range(FAILURES):
            ticket = await guard.enter()
            # Each root part came, so the failures before it would be forgotten if the late one did not follow.
            ticket.failed()
            ticket.give_back()
        return guard.breaker.closed

    assert not play(scene())


@pytest.mark.parametrize(("untouched", "attempts"), [(True, 2), (False, 1)])
def test_it_is_tried_once_more_only_if_nothing_was_received(untouched: bool, attempts: int) -> None:
    made = 0

    async def attempt() -> None:
        nonlocal made
        made += 1
        raise UpstreamFailed(Ending.UP_NO_HEADERS, untouched=untouched)

    async def scene() -> None:
        with pytest.raises(UpstreamFailed):
            await once_more(attempt)

    play(scene())
    assert made == attempts


def test_a_document_that_was_wrong_is_remembered_for_a_minute_and_a_broken_connection_is_not() -> None:
    time = Time()
    lapses = Lapses(time)
    wrong, cut = DocumentKey("2.999.1", "1"), DocumentKey("2.999.1", "2")
    lapses.remember(wrong, Ending.UP_HASH)
    lapses.remember(cut, Ending.UP_RESET)
    assert (lapses.recall(wrong), lapses.recall(cut)) == (Ending.UP_HASH, None)
    time.now += REMEMBERED
    assert lapses.recall(wrong) is None
