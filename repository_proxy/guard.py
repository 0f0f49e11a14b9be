"""Keeps one sick or slow hospital from harming the others: a breaker, a bounded queue, and exactly one second try.

Libraries were measured and let every waiting caller through to a hospital that has just come back, or serialise healthy
calls (docs/decisions). State is per worker process.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from audit.event import Ending
from policy.facts import DocumentKey
from repository_proxy.failures import UpstreamFailed

T = TypeVar("T")

FAILURES = 5
WINDOW = 30.0
"""Seconds: this many failures within this time open the breaker."""
OPEN = 10.0
"""Seconds an open breaker refuses before it lets one probe through. Fixed, so that recovery takes at most 15 s."""


class Breaker:
    """Stops asking a hospital that fails, then lets exactly one caller find out whether it is back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._open_until: float | None = None
        self._probing = False

    @property
    def closed(self) -> bool:
        """True while everybody is let through."""
        return self._open_until is None

    def enter(self) -> bool:
        """Lets the caller through, and says whether it is the probe. Raises UpstreamFailed while open."""
        if self._open_until is None:
            return False
        if self._probing or self._clock() < self._open_until:
            raise UpstreamFailed(Ending.UP_CONNECT, "breaker is open", counts=False)
        self._probing = True
        return True

    def succeeded(self, probe: bool) -> None:
        """The hospital answered. Late successes of exchanges from before it opened say nothing."""
        if self._open_until is None or probe:
            self._failures.clear()
            self._open_until = None
            self._probing = False

    def failed(self, probe: bool) -> None:
        """The hospital did not answer, or broke off."""
        now = self._clock()
        if probe:
            self._open_until = now + OPEN
            self._probing = False
            return
        self._failures.append(now)
        if self._open_until is None and len(self._failures) == FAILURES and now - self._failures[0] <= WINDOW:
            self._open_until = now + OPEN

    def withdrew(self, probe: bool) -> None:
        """Neither success nor failure, for instance a caller that left: the next one may probe."""
        if probe:
            self._probing = False


class Ticket:
    """A place at a hospital, held for a whole exchange; says how it went once, and is given back once."""

    def __init__(self, guard: Guard, probe: bool) -> None:
        self._guard = guard
        self._probe = probe
        self._told = False
        self._held = True

    def succeeded(self) -> None:
        """The root part came in time."""
        self._tell(self._guard.breaker.succeeded)

    def failed(self) -> None:
        """The hospital failed; after a success this is a late failure, and counts as one."""
        if self._told:
            self._guard.breaker.failed(False)
        else:
            self._tell(self._guard.breaker.failed)

    def give_back(self) -> None:
        """Frees the place; may be called again."""
        if self._held:
            self._held = False
            self._tell(self._guard.breaker.withdrew)
            self._guard.places.release()

    def _tell(self, verdict: Callable[[bool], None]) -> None:
        if not self._told:
            self._told = True
            verdict(self._probe)


class Guard:
    """Breaker and bulkhead of one hospital."""

    def __init__(self, limit: int, queue: int, admit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.breaker = Breaker(clock)
        self.places = asyncio.Semaphore(limit)
        self._waiting = 0
        self._queue = queue
        self._admit = admit

    async def enter(self) -> Ticket:
        """A place, at once or after a short wait. Raises UpstreamFailed: overload, or an open breaker."""
        if self.places.locked():
            if self._waiting >= self._queue:
                raise UpstreamFailed(Ending.OVERLOAD, "all places and the queue are taken", counts=False)
            self._waiting += 1
            try:
                async with asyncio.timeout(self._admit):
                    await self.places.acquire()
            except TimeoutError:
                raise UpstreamFailed(Ending.OVERLOAD, "no place became free", counts=False) from None
            finally:
                self._waiting -= 1
        else:
            await self.places.acquire()
        try:
            return Ticket(self, self.breaker.enter())
        except UpstreamFailed:
            self.places.release()
            raise


REMEMBERED = 60.0
"""Seconds for which a document that was not the registered one is not asked for again."""
MOST_LAPSES = 1000


class Lapses:
    """Documents that turned out wrong after our root part had left, so that a second try gets an error, not a cut."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[DocumentKey, tuple[Ending, float]] = {}

    def remember(self, key: DocumentKey, ending: Ending) -> None:
        """Only what is wrong with the document itself: a connection that broke may hold the next time."""
        if ending in (Ending.UP_HASH, Ending.UP_LONG, Ending.UP_SHORT):
            if len(self._known) >= MOST_LAPSES:
                self._known.clear()
            self._known[key] = (ending, self._clock() + REMEMBERED)

    def recall(self, key: DocumentKey) -> Ending | None:
        """How the document ended a moment ago, if it was wrong."""
        if (lapse := self._known.get(key)) is None:
            return None
        if self._clock() < lapse[1]:
            return lapse[0]
        del self._known[key]
        return None


async def once_more(attempt: Callable[[], Awaitable[T]]) -> T:
    """Asks, and once more only if nothing at all was received: a kept connection that the hospital had just closed."""
    try:
        return await attempt()
    except UpstreamFailed as failure:
        if not failure.untouched:
            raise
    return await attempt()
