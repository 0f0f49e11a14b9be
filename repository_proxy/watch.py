"""Lets running releases notice that a block was set or the policy changed, with one look per second for all of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from policy.agreements import Policy
from policy.facts import Blocks, BlocksUnavailable, Rules, RulesUnknown


@dataclass(frozen=True, slots=True)
class Basis:
    """What a decision stood on: the policy itself, and the number of the last change to any block."""

    policy: Policy
    sequence: int

    def same(self, other: Basis) -> bool:
        """True if nothing has changed between the two."""
        return self.policy is other.policy and self.sequence == other.sequence


def basis(rules: Rules, blocks: Blocks) -> Basis:
    """What a decision made now stands on. Raises RulesUnknown, BlocksUnavailable. May wait for the database."""
    return Basis(rules(), blocks.sequence())


@dataclass(slots=True)
class Watch:
    """The latest Basis of one worker, read at most every `every` seconds however many releases ask."""

    _latest: Basis | None = None
    _trouble: BlocksUnavailable | RulesUnknown | None = None
    _read_at: float = -1e9
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def latest(self, rules: Rules, blocks: Blocks, every: float) -> Basis:
        """What a decision would stand on, at most `every` seconds old. Raises RulesUnknown, BlocksUnavailable."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            if loop.time() - self._read_at >= every:
                self._latest = self._trouble = None
                try:
                    self._latest = await asyncio.to_thread(basis, rules, blocks)
                except (BlocksUnavailable, RulesUnknown) as trouble:
                    # Kept like an answer: releases that asked one after the other would wait for ever.
                    self._trouble = trouble
                self._read_at = loop.time()
            if self._latest is None:
                raise self._trouble or BlocksUnavailable
            return self._latest
