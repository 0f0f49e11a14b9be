"""Many releases share one look at the journal, and a failed look is not repeated for each of them."""

from __future__ import annotations

import asyncio

import pytest

from policy.facts import BlocksUnavailable
from repository_proxy.watch import Watch, basis
from tests.repository_proxy.ports import Book, make_policy
from tests.repository_proxy.stage import play

POLICY = make_policy(["2.999.1"])


class Counting(Book):
    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def sequence(self) -> int:
        self.looks += 1
        return super().sequence()


def test_one_look_serves_everybody_for_a_second() -> None:
    async def scene() -> int:
        watch, book = Watch(), Counting()
        await asyncio.gather(*(watch.latest(lambda: POLICY, book, 1.0) for _ in range(50)))
        return book.looks

    assert play(scene()) == 1


def test_a_failed_look_serves_everybody_too_and_is_tried_again_later() -> None:
    async def scene() -> int:
        watch, book = Watch(), Counting()
        book.readable = False
        for _ in range(3):
            with pytest.raises(BlocksUnavailable):
                await watch.latest(lambda: POLICY, book, 0.05)
        book.readable = True
        await asyncio.sleep(0.06)
        await watch.latest(lambda: POLICY, book, 0.05)
        return book.looks

    assert play(scene()) == 2


def test_a_change_of_policy_or_blocks_is_another_basis() -> None:
    book = Book()
    before = basis(lambda: POLICY, book)
    assert before.same(basis(lambda: POLICY, book))
    assert not before.same(basis(lambda: make_policy(["2.999.1"]), book))
    book.number += 1
    assert not before.same(basis(lambda: POLICY, book))
