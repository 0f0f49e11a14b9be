"""Carries one planned retrieve out: gathers, commits, streams, and knows at any moment how each document stands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from audit.event import Ending
from ihe.errors import XdsError
from policy.facts import DocumentKey
from repository_proxy.answer import Answer, PlainAnswer
from repository_proxy.desk import Limits
from repository_proxy.failures import CallerTooSlow, UpstreamFailed
from repository_proxy.leg import Budget, Leg
from repository_proxy.plan import Fetch, Plan, Refused
from repository_proxy.relay import DocumentBegins, DocumentEnds, RootRead, Step
from repository_proxy.upstream import Upstream

Write = Callable[[bytes], Awaitable[None]]
DRAINING = "draining"
"""Message of the cancellation by which a node that stops ends its releases."""
PIECE = 64 * 1024
"""Bytes gathered before they are written: small documents and the root part leave in one piece."""


class Tally:
    """How each document ended and how many of its bytes were handed to the caller's connection."""

    def __init__(self) -> None:
        self.endings: dict[int, Ending] = {}
        self.sent: dict[int, int] = {}
        self.notes: list[str] = []

    def end(self, place: int, ending: Ending) -> None:
        """The first ending of a document stands."""
        self.endings.setdefault(place, ending)


class Pen:
    """Writes to the caller in pieces of a decent size; what was not written yet is not counted as sent."""

    def __init__(self, write: Write, tally: Tally) -> None:
        self._write = write
        self._tally = tally
        self._pieces: list[bytes] = []
        self._size = 0
        self._owed: list[tuple[int, int | None]] = []
        self.writing = False

    def add(self, piece: bytes, place: int = -1, count: int = 0) -> None:
        """Takes a piece; `count` bytes of it are the document's at `place`."""
        if piece:
            self._pieces.append(piece)
            self._size += len(piece)
        if count:
            self._owed.append((place, count))

    def complete(self, place: int) -> None:
        """Once everything so far is written, this document is complete."""
        self._owed.append((place, None))

    @property
    def full(self) -> bool:
        """True when it is time to write."""
        return self._size >= PIECE

    async def flush(self) -> None:
        """Writes everything; waits for the caller as long as the caller's side lets it."""
        pieces, self._pieces, self._size = self._pieces, [], 0
        if pieces:
            self.writing = True
            await self._write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            self.writing = False
        for place, count in self._owed:
            if count is None:
                self._tally.end(place, Ending.COMPLETE)
            else:
                self._tally.sent[place] = self._tally.sent.get(place, 0) + count
        self._owed.clear()


class Delivery:
    """One retrieve under way. The order is gather, commit, stream; `conclude` comes last, whatever happened."""

    def __init__(
        self,
        plan: Plan,
        answer: Answer,
        upstreams: Mapping[str, Upstream],
        assertion: bytes | None,
        limits: Limits,
        write: Write,
    ) -> None:
        self.plan = plan.without(lambda fetch: upstreams[fetch.hospital.name].lapses.recall(fetch.asked.key))
        self.tally = Tally()
        self.told: tuple[XdsError, ...] = ()
        """The errors in our root part."""
        self._answer = answer
        self._limits = limits
        self._pen = Pen(write, self.tally)
        self._legs = [
            Leg(
                errand,
                upstreams[errand.hospital.name],
                assertion if errand.hospital.assertion == "forward" else None,
                limits,
            )
            for errand in self.plan.errands()
        ]
        self._due: dict[int, Fetch] = {}
        self._current: Fetch | None = None
        self._waiting_for: Leg | None = None

    @property
    def due(self) -> Mapping[int, Fetch]:
        """Documents that our root part promised and that are not yet complete."""
        return self._due

    async def gather(self) -> None:
        """Asks every hospital at the same time and returns when each has given its root part or was given up."""
        until = asyncio.get_running_loop().time() + self._limits.gather
        if len(self._legs) == 1:
            await self._legs[0].gather(until)
        elif self._legs:
            async with asyncio.TaskGroup() as group:
                for leg in self._legs:
                    group.create_task(leg.gather(until))

    def narrow(self, plan: Plan) -> None:
        """Takes a plan that permits less; what it refuses is not delivered, though a hospital has sent it."""
        self.plan = plan

    def refuse_all(self, ending: Ending) -> None:
        """Delivers nothing: the request could not be decided again."""
        self.plan = self.plan.without(lambda fetch: ending)

    def commit(self, errors: tuple[XdsError, ...] = ()) -> None:
        """Freezes the outcome and composes our root part. From here on a failure can only cut the answer."""
        told: dict[int, XdsError] = {}
        for step in self.plan.steps:
            if isinstance(step, Refused):
                told[step.asked.place] = step.error
                self.tally.end(step.asked.place, step.ending)
        delivered: set[int] = set()
        for leg in self._legs:
            here, failed = leg.documents()
            delivered.update(fetch.place for fetch in here)
            for fetch, ending, error in failed:
                if fetch.place not in told:
                    told[fetch.place] = error
                    self.tally.end(fetch.place, ending)
            if leg.root is not None and leg.root.unasked:
                self.tally.notes.append(f"{leg.errand.hospital.name} sent {leg.root.unasked} unasked")
            if leg.root is not None and leg.root.mistyped:
                self.tally.notes.append(f"{leg.errand.hospital.name} sent {leg.root.mistyped} under another mimeType")
        self._due = {fetch.place: fetch for fetch in self.plan.fetches if fetch.place in delivered}
        self.told = (*errors, *(told[place] for place in sorted(told)))
        self._pen.add(self._answer.root(self.told, list(self._due.values()), len(self.told)))

    async def stream(self) -> None:
        """Sends the root part and every promised document, hospital by hospital.

        Raises: UpstreamFailed after which the answer must be cut; CallerTooSlow; whatever the caller's side raises.
        """
        order = self._order()
        budget = Budget(self._limits.parked)
        waiting = {id(leg): asyncio.create_task(leg.trickle(budget)) for leg in order[1:] if not leg.complete}
        limit = asyncio.timeout(None)
        try:
            async with limit:
                for leg in order:
                    if (sipping := waiting.pop(id(leg), None)) is not None:
                        sipping.cancel()
                        await asyncio.wait({sipping})
                    await self._deliver(leg, limit)
                self._pen.add(self._answer.end())
                await self._flush(limit)
        except TimeoutError:
            if limit.expired() and self._waiting_for is not None:
                raise self._late(self._waiting_for, UpstreamFailed(Ending.UP_STALLED, "idle")) from None
            raise CallerTooSlow from None
        finally:
            for sipping in waiting.values():
                sipping.cancel()

    def _order(self) -> list[Leg]:
        legs = [leg for leg in self._legs if any(fetch.place in self._due for fetch in leg.errand.fetches)]
        for leg in self._legs:
            if leg not in legs:
                leg.release()
        if isinstance(self._answer, PlainAnswer):
            return legs
        # Complete ones first, then the smallest: connections are given back as early as can be.
        return sorted(legs, key=lambda leg: (not leg.complete, sum(f.entry.size or 0 for f in leg.errand.fetches)))

    async def _deliver(self, leg: Leg, limit: asyncio.Timeout) -> None:
        clock = asyncio.get_running_loop().time
        idle = leg.errand.hospital.deadlines.idle
        while True:
            while leg.ahead:
                self._step(leg, leg.ahead.popleft())
                if self._pen.full:
                    await self._flush(limit)
            leg.held = 0
            if leg.failure is not None:
                raise self._late(leg, leg.failure)
            if leg.complete:
                break
            await self._flush(limit)
            self._waiting_for = leg
            limit.reschedule(clock() + idle)
            try:
                await leg.pull()
            except UpstreamFailed as failure:
                raise self._late(leg, failure) from failure
            self._waiting_for = None
        if any(fetch.place in self._due for fetch in leg.errand.fetches):
            raise self._late(leg, UpstreamFailed(Ending.UP_SHORT, "a promised document never came"))

    def _step(self, leg: Leg, step: Step) -> None:
        match step:
            case DocumentBegins(fetch):
                self._current = self._due.get(fetch.place)
                if self._current is not None:
                    self._pen.add(self._answer.begin(fetch))
            case bytes() if self._current is not None:
                self._pen.add(self._answer.content(step), self._current.place, len(step))
            case DocumentEnds(fetch, ending) if self._current is not None:
                if ending is not Ending.COMPLETE:
                    raise self._late(leg, UpstreamFailed(ending, "found while it was being sent"))
                self._pen.add(self._answer.finish(fetch))
                self._pen.complete(fetch.place)
                del self._due[fetch.place]
                self._current = None
            case _:
                assert not isinstance(step, RootRead)

    async def _flush(self, limit: asyncio.Timeout) -> None:
        limit.reschedule(asyncio.get_running_loop().time() + self._limits.caller)
        await self._pen.flush()

    def _late(self, leg: Leg, failure: UpstreamFailed) -> UpstreamFailed:
        """A failure nobody can be told of any more: the document on its way gets its ending, the rest was not sent."""
        leg.fail(failure)
        culprit = self._current or next((f for f in leg.errand.fetches if f.place in self._due), None)
        if culprit is not None:
            self.tally.end(culprit.place, failure.ending)
            leg.upstream.lapses.remember(culprit.asked.key, failure.ending)
        for place in self._due:
            self.tally.end(place, Ending.NOT_SENT)
        return failure

    def withdraw(self, keys: set[DocumentKey], ending: Ending) -> bool:
        """Whether documents that may no longer be delivered are still on their way; if so, the answer must be cut."""
        hit = [place for place, fetch in self._due.items() if fetch.asked.key in keys]
        for place in hit:
            self.tally.end(place, ending)
        if hit:
            for place in self._due:
                self.tally.end(place, Ending.NOT_SENT)
        return bool(hit)

    def conclude(self, wrong: BaseException | None) -> None:
        """Gives every connection back and every document its ending, from what ended the delivery (None: nothing)."""
        for leg in self._legs:
            leg.release()
        if wrong is None:
            rest = Ending.NOT_SENT
        elif isinstance(wrong, CallerTooSlow | TimeoutError):
            rest = Ending.CALLER_TOO_SLOW
        elif isinstance(wrong, asyncio.CancelledError):
            rest = Ending.DRAINING if DRAINING in wrong.args else Ending.CALLER_GONE
        else:
            rest = Ending.CALLER_GONE if self._pen.writing else Ending.INTERNAL
        for step in self.plan.steps:
            self.tally.end(step.asked.place, rest if isinstance(step, Fetch) else step.ending)
