"""One request and its answer on the wire: deadlines both ways, and an end that is never mistaken for another.

An exchange ends complete, with a bare status, or cut (trust by ITI TF-2 3.43: a truncated package must never look
whole). Which of them, is decided here for every way in which what happens in between can end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import structlog

from ihe.soap import Reply
from repository_proxy import retrieve
from repository_proxy.retrieve import Aborted, CallerGone, CallerTooSlow, Release
from server.log import wordless

log = structlog.get_logger()

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

KIB = 1024
MIB = 1024 * KIB
PIECE = 256 * KIB
"""Bytes per send: larger ones cost memory under slow readers, smaller ones cost CPU (measured)."""
SMALL = 64 * KIB
"""Requests up to this size are still taken when memory for larger ones has run out."""
CLOSE = (b"connection", b"close")


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of one listener in one worker; sizes in bytes, times in seconds."""

    max_request: int = 2 * MIB
    max_exchanges: int = 64
    """Requests that are being decided or wait for it. Slow readers and writers are not among them."""
    flooded_exchanges: int = 8
    """The same while more is asked than can be answered: who is admitted then need not wait long."""
    max_connections: int = 512
    max_held: int = 256 * MIB
    """Requests and answers in memory, of all connections together."""
    header_seconds: float = 10.0
    """From the connection (or the first byte of a further request) to the end of the headers."""
    body_seconds: float = 30.0
    write_seconds: float = 30.0
    """How long a reader may take nothing, and the time over which the floor is averaged."""
    floor: int = 8 * KIB
    """Bytes per second that a reader must take while we wait for it."""
    idle_seconds: int = 15
    handshake_seconds: float = 10.0
    linger_seconds: float = 1.0
    """How long a refused request is still read (and forgotten), so that the refusal reaches a caller who is sending."""


class Connection(Protocol):
    """What the transport tells of the connection that a request came on (server/transport.py)."""

    @property
    def certificate(self) -> str:
        """SHA-256 of the client certificate's DER in lower-case hex, or empty."""

    @property
    def crowded(self) -> bool:
        """There are more connections than there may be, this one among them."""

    @property
    def lost(self) -> bool:
        """Nothing reaches the caller any more."""

    @property
    def congested(self) -> bool:
        """The next write will have to wait for the caller."""

    def gone(self) -> asyncio.Future[str]:
        """Done when nothing reaches the caller any more; the result is why the node itself ended it, or empty."""

    def cut(self) -> None:
        """Drops the connection with whatever is still buffered."""


class Refused(Exception):
    """A request that gets a bare status and nothing else. Its connection is closed unless `keep`."""

    def __init__(self, status: int, *headers: Header, keep: bool = False) -> None:
        super().__init__(status)
        self.status, self.headers = status, headers if keep else (*headers, CLOSE)


OVERLOAD = (b"retry-after", b"1")


class Held:
    """Bytes of requests and answers that this worker holds for one listener."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.bytes = 0

    @property
    def full(self) -> bool:
        """Nothing more may be taken."""
        return self.bytes >= self._most


class Exchange:
    """`async with Exchange(...)`: whatever leaves the block, the caller gets one of the three ends."""

    def __init__(
        self, correlation: str, scope: Scope, receive: Receive, send: Send, limits: Limits, held: Held | None = None
    ) -> None:
        self.correlation = correlation
        self.scope = scope
        self.connection: Connection = scope["state"]["connection"]
        self._receive = receive
        self._send = send
        self._limits = limits
        self._held = held or Held(limits.max_held)
        self._mine = 0
        self._started = False
        self._read = False
        self._waited, self._moved = 0.0, 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            match problem:
                case None:
                    return False
                case Refused():
                    # A flood is told of once a second (server/gate.py).
                    say = log.debug if problem.status == 503 else log.info
                    say("refused", correlation=self.correlation, status=problem.status)
                    await self._bare(problem.status, problem.headers)
                case CallerGone():
                    too_slow = isinstance(problem, CallerTooSlow)
                    log.info("caller gone", correlation=self.correlation, too_slow=too_slow)
                    self.connection.cut()
                case Aborted():
                    log.warning("answer cut", correlation=self.correlation)
                    self.connection.cut()
                case asyncio.CancelledError():
                    self.connection.cut()
                    return False
                case Exception():
                    error, where = wordless(problem)
                    log.error("defect", correlation=self.correlation, error=error, where=where)
                    await self._bare(500, (CLOSE,))
                case _:
                    return False
            return True
        finally:
            self.hold(-self._mine)

    def hold(self, count: int) -> None:
        """Counts bytes that this exchange keeps in memory until it ends."""
        self._mine += count
        self._held.bytes += count

    async def read(self) -> bytes:
        """The whole request body. Raises Refused: 408 after the deadline, 413 above the limit, 503 without memory."""
        chunks: list[bytes] = []
        total = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while not self._read:
                    chunk = await self._next()
                    total += len(chunk)
                    self.hold(len(chunk))
                    if total > self._limits.max_request:
                        raise Refused(413)
                    if total > SMALL and self._held.full:
                        raise Refused(503, OVERLOAD)
                    chunks.append(chunk)
        except TimeoutError:
            raise Refused(408) from None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def reply(self, reply: Reply, head: bool = False) -> None:
        """A whole answer with its length, in pieces the transport can take."""
        body = b"" if head else reply.body
        self.hold(len(body))
        headers = [(b"content-type", reply.content_type.encode()), (b"content-length", b"%d" % len(reply.body))]
        if reply.content_type.startswith("multipart/"):
            headers.append((b"mime-version", b"1.0"))
        await self._start(reply.status, headers)
        if len(body) <= PIECE:
            return await self._write(body, more=False)
        whole = memoryview(body)
        for start in range(0, len(whole), PIECE):
            await self._write(bytes(whole[start : start + PIECE]), more=True)
        # The last piece has left this process before the answer counts as complete.
        await self._write(b"", more=False)

    async def stream(self, release: Release) -> None:
        """Drives ITI-43's second half. Anything but its proper end leaves the answer without its last chunk.

        Raises: CallerGone, Aborted; the outcome is recorded in all cases, since `retrieve.send` always begins.
        """
        await self._start(200, list(release.headers))
        gone = self.connection.gone()
        delivery = asyncio.create_task(retrieve.send(release, self._push))
        ends: list[asyncio.Future[Any]] = [delivery, gone]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _stopped(delivery, retrieve.DRAINING)
            raise
        if not delivery.done():
            why = gone.result()
            await _stopped(delivery, why)
            raise Aborted(why) if why else CallerGone
        delivery.result()
        await self._write(b"", more=False)

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        self._read = not message.get("more_body")
        chunk: bytes = message.get("body", b"")
        return chunk

    async def _bare(self, status: int, headers: tuple[Header, ...]) -> None:
        """A status with an empty body; a cut where an answer has begun already."""
        if self._started:
            return self.connection.cut()
        try:
            await self._start(status, [(b"content-length", b"0"), *headers])
            if CLOSE in headers and status != 408:
                await self._forget_rest()
            await self._write(b"", more=False)
        except CallerGone:
            self.connection.cut()

    async def _forget_rest(self) -> None:
        """Reads what the caller still sends. To close before would reset the connection and take the answer along."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger_seconds):
                while not self._read:
                    await self._next()

    async def _push(self, chunk: bytes) -> None:
        await self._write(chunk, more=True)

    async def _start(self, status: int, headers: list[Header]) -> None:
        self._started = True
        always = [(b"x-correlation-id", self.correlation.encode()), (b"cache-control", b"no-store")]
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *always]})

    async def _write(self, chunk: bytes, more: bool) -> None:
        """Hands one piece to the transport, or raises: what it drops silently after a disconnect is not a send."""
        message = {"type": "http.response.body", "body": chunk, "more_body": more}
        if self.connection.congested:
            await self._write_when_taken(message, len(chunk))
        else:
            await self._send(message)
        if self.connection.lost:
            raise CallerGone

    async def _write_when_taken(self, message: MutableMapping[str, Any], size: int) -> None:
        limits, clock = self._limits, asyncio.get_running_loop().time
        begun = clock()
        try:
            async with asyncio.timeout(max(limits.write_seconds, size / limits.floor)):
                await self._send(message)
        except TimeoutError:
            raise CallerTooSlow from None
        self._waited += clock() - begun
        self._moved += size
        if self._waited >= limits.write_seconds:
            if self._moved < limits.floor * self._waited:
                raise CallerTooSlow
            self._waited, self._moved = 0.0, 0


async def _stopped(delivery: asyncio.Task[None], why: str) -> None:
    """Cancels a delivery and waits until it has recorded how it ended."""
    delivery.cancel(why or None)
    await asyncio.wait({delivery})
