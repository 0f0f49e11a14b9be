"""One hospital's part of a retrieve: admitted, asked, its root read, small documents read ahead, then streamed.

States: ADMIT, CONNECT, HEAD, ROOT, SETTLE, PARKED, STREAM, DONE. A failure before our root part left is an error for
the documents that are not yet here whole; afterwards it ends the whole answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

import structlog

from audit.event import Ending
from ihe.errors import XdsError
from repository_proxy.desk import Limits
from repository_proxy.failures import UpstreamFailed
from repository_proxy.guard import Ticket, once_more
from repository_proxy.plan import Errand, Fetch
from repository_proxy.relay import DocumentEnds, Relay, RootRead, Step
from repository_proxy.upstream import Response, Upstream

log = structlog.get_logger()


class Leg:
    """What one hospital was asked and how far it has come."""

    def __init__(self, errand: Errand, upstream: Upstream, assertion: bytes | None, limits: Limits) -> None:
        self.errand = errand
        self.upstream = upstream
        self.root: RootRead | None = None
        self.failure: UpstreamFailed | None = None
        self.complete = False
        self.ahead: deque[Step] = deque()
        self.held = 0
        """Bytes of documents in `ahead`."""
        self._assertion = assertion
        self._limits = limits
        self._ticket: Ticket | None = None
        self._response: Response | None = None
        self._relay: Relay | None = None
        self._floor = _Floor(errand.hospital.deadlines.floor, errand.hospital.deadlines.floor_window)

    async def gather(self, until: float) -> None:
        """Everything before our root part leaves, `until` this time of the loop at most.

        Never raises UpstreamFailed: it becomes `failure`.
        """
        deadlines, clock = self.errand.hospital.deadlines, asyncio.get_running_loop().time
        try:
            self._ticket = await self.upstream.guard.enter()
            try:
                async with asyncio.timeout_at(min(until, clock() + deadlines.root)) as limit:
                    await self._ask()
                    while self.root is None:
                        await self.pull()
                    limit.reschedule(min(until, clock() + deadlines.settle))
                    await self._settle()
            except TimeoutError:
                if self.root is None:
                    waited = Ending.UP_NO_HEADERS if self._response is None else Ending.UP_STALLED
                    raise UpstreamFailed(waited, "no root part in time") from None
        except UpstreamFailed as failure:
            self.fail(failure)

    async def _ask(self) -> None:
        content_type, body = self.upstream.request([*self.errand.fetches], self._assertion)
        response = self._response = await once_more(lambda: self.upstream.post(content_type, body))
        if response.status != 200 and not self._may_hold_fault(response):
            # 5xx is a sick hospital. The rest (redirects, 400 for a client certificate) is somebody's configuration.
            raise UpstreamFailed(Ending.UP_BAD_HEADERS, f"HTTP {response.status}", counts=response.status >= 500)
        self._relay = Relay(self.errand.fetches, response.content_type)

    @staticmethod
    def _may_hold_fault(response: Response) -> bool:
        media = response.content_type.partition(";")[0].strip().lower()
        return response.status in (400, 500) and media in ("application/soap+xml", "text/xml", "multipart/related")

    async def _settle(self) -> None:
        """Reads ahead while that can still turn a bad document into an error instead of a broken answer."""
        expected = sum(fetch.entry.size or 0 for fetch in self.root.promised) if self.root else 0
        if expected <= self._limits.read_ahead:
            while not self.complete and self.held <= self._limits.read_ahead:
                await self.pull()

    async def pull(self) -> None:
        """One chunk from the hospital into `ahead`, or its proper end. Raises UpstreamFailed."""
        assert self._response is not None
        assert self._relay is not None
        clock = asyncio.get_running_loop().time
        asked = clock()
        chunk = await self._response.read()
        self._floor.read(len(chunk), clock() - asked)
        self._take(self._relay.feed(chunk) if chunk else self._relay.close())
        if not chunk:
            if self.root is None:
                raise UpstreamFailed(Ending.UP_BAD_ROOT, "no root part")
            self.complete = True
            self.release()

    def _take(self, steps: Iterator[Step]) -> None:
        for step in steps:
            if isinstance(step, RootRead):
                if self._response is not None and self._response.status != 200:
                    raise UpstreamFailed(Ending.UP_BAD_HEADERS, f"HTTP {self._response.status}")
                self.root = step
                if self._ticket is not None:
                    self._ticket.succeeded()
                if step.unasked:
                    log.warning(
                        "hospital sent unasked documents", hospital=self.errand.hospital.name, count=step.unasked
                    )
                continue
            if isinstance(step, bytes):
                self.held += len(step)
            self.ahead.append(step)

    async def trickle(self, budget: Budget) -> None:
        """Keeps a hospital that waits its turn from giving up on us, as long as memory allows. Its failure is kept."""
        try:
            while not self.complete:
                await asyncio.sleep(self._limits.sip_every)
                wanted = self.held + self._limits.sip
                while not self.complete and self.held < wanted and budget.left > 0:
                    before = self.held
                    async with asyncio.timeout(self.errand.hospital.deadlines.idle):
                        await self.pull()
                    budget.left -= self.held - before
        except UpstreamFailed as failure:
            self.fail(failure)
        except TimeoutError:
            self.fail(UpstreamFailed(Ending.UP_STALLED, "nothing came while waiting its turn"))

    def documents(self) -> tuple[list[Fetch], list[tuple[Fetch, Ending, XdsError]]]:
        """At the moment our root part is written: what will be delivered, and what will not, with its error.

        Of a hospital that has failed, only documents that are here whole and match a registered hash are delivered.
        """
        ended = {step.fetch.place: step.ending for step in self.ahead if isinstance(step, DocumentEnds)}
        promised = {fetch.place for fetch in self.root.promised} if self.root else set()
        told = {fetch.place: error for fetch, error in self.root.missing} if self.root else {}
        delivered: list[Fetch] = []
        failed: list[tuple[Fetch, Ending, XdsError]] = []
        for fetch in self.errand.fetches:
            ending = ended.get(fetch.place)
            if fetch.place in told:
                failed.append((fetch, Ending.UP_REFUSED, told[fetch.place]))
            elif ending is not None and ending is not Ending.COMPLETE:
                failed.append((fetch, ending, fetch.asked.failed(ending)))
            elif self.failure is not None and not (ending is Ending.COMPLETE and fetch.entry.hash):
                failed.append((fetch, self.failure.ending, fetch.asked.failed(self.failure.ending)))
            elif fetch.place in promised:
                delivered.append(fetch)
            else:
                failed.append((fetch, Ending.UP_REFUSED, fetch.asked.hidden))
        if self.failure is not None:
            self.failure, self.complete = None, True
        return delivered, failed

    def fail(self, failure: UpstreamFailed) -> None:
        """The hospital did not deliver: told to its breaker once, to the operator once, and its connection dropped."""
        if self.failure is None:
            self.failure = failure
            tell = log.warning if failure.counts else log.info
            tell("hospital failed", hospital=self.errand.hospital.name, ending=failure.ending.value, what=failure.note)
            if self._ticket is not None:
                # Whoever answers, if only with a refusal, is not sick.
                (self._ticket.failed if failure.counts else self._ticket.succeeded)()
        self.release()

    def release(self) -> None:
        """Gives the connection and the place at the hospital back; a connection not read to its end is dropped."""
        response, self._response = self._response, None
        if response is not None:
            response.close()
        if self._ticket is not None:
            self._ticket.give_back()
            self._ticket = None


class Budget:
    """Bytes that all waiting hospitals of one retrieve may still hold together."""

    def __init__(self, left: int) -> None:
        self.left = left


class _Floor:
    """Cuts a hospital that drips: bytes per second, over windows of time spent waiting for it."""

    def __init__(self, rate: int, window: float) -> None:
        self._rate = rate
        self._window = window
        self._waited = 0.0
        self._bytes = 0

    def read(self, count: int, seconds: float) -> None:
        """Takes note of one read. Raises UpstreamFailed."""
        self._waited += seconds
        self._bytes += count
        if self._waited >= self._window:
            if self._bytes < self._rate * self._waited and count:
                raise UpstreamFailed(Ending.UP_STALLED, "below the floor rate")
            self._waited, self._bytes = 0.0, 0
