"""An open-loop generator: requests leave by a fixed schedule, and latency counts from the moment that was intended."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import uvloop

from bench.machine import LOAD_CORE

T = TypeVar("T")
SECONDS = 60.0
"""Longest wait for one answer."""


@dataclass
class Outcome:
    """What came back."""

    latencies: list[float] = field(default_factory=list)
    """Seconds from the intended moment to the last byte."""
    intended: list[float] = field(default_factory=list)
    """Monotonic time at which each of them should have left."""
    first: list[float] = field(default_factory=list)
    """Monotonic time of each answer's first byte."""
    sizes: list[int] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)


def post(url: str, path: str, content_type: str, body: bytes) -> bytes:
    """One request as bytes on the wire; the connection is kept."""
    host = urlsplit(url).netloc
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One kept connection that asks one thing at a time."""

    KEPT = 512 * 1024
    """Bytes of an answer that are kept: its beginning; what follows is counted."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.size = 0
        self._answer: asyncio.Future[bytes] | None = None
        self._got = bytearray()
        self._tail = b""
        self._left: int | None = None
        self._chunked = False
        self.first = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    async def ask(self, request: bytes) -> bytes:
        """The answer, head and body, up to KEPT bytes of it; `size` tells how many there were."""
        assert self.transport is not None
        self._got, self._left, self._chunked, self.first = bytearray(), None, False, 0.0
        self.size, self._tail = 0, b""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        async with asyncio.timeout(SECONDS):
            return await self._answer

    def data_received(self, data: bytes) -> None:
        if not self._got:
            self.first = time.monotonic()
        if self.size < self.KEPT:
            self._got += data
        self.size += len(data)
        self._tail = (self._tail + data[-8:])[-8:]
        if self._left is None and not self._chunked:
            self._head()
        if self._chunked:
            # A document that holds this by chance would have to end a packet with it.
            if self._tail.endswith(b"\r\n0\r\n\r\n"):
                self._done()
        elif self._left is not None and self.size >= self._left:
            self._done()

    def _head(self) -> None:
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        for line in bytes(self._got[:end]).lower().split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name == b"content-length":
                self._left = end + 4 + int(value)
            elif name == b"transfer-encoding":
                self._chunked = True

    def _done(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(bytes(self._got))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the connection was closed"))


def offer(
    url: str, requests: Sequence[bytes], rate: float, count: int, good: Callable[[bytes], bool], connections: int = 8
) -> Outcome:
    """`count` requests, taken in turn, `rate` of them per second; an answer that is not `good` is kept as bad."""
    return run_on_load_core(_offer(url, requests, rate, count, good, connections))


def run_on_load_core(scene: Coroutine[Any, Any, T]) -> T:
    """Runs a scene of load; this process keeps to the load core meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(scene)
    finally:
        os.sched_setaffinity(0, before)


async def connect(url: str) -> Connection:
    """A new connection."""
    where = urlsplit(url)
    _, made = await asyncio.get_running_loop().create_connection(Connection, where.hostname, where.port)
    return made


async def _offer(
    url: str, requests: Sequence[bytes], rate: float, count: int, good: Callable[[bytes], bool], connections: int
) -> Outcome:
    outcome = Outcome()
    due: deque[tuple[float, bytes]] = deque()
    wake = asyncio.Semaphore(0)

    async def work() -> None:
        connection = await connect(url)
        while True:
            await wake.acquire()
            if not due:
                break
            intended, request = due.popleft()
            try:
                answer = await connection.ask(request)
            except (OSError, TimeoutError) as wrong:
                outcome.bad.append(type(wrong).__name__)
                connection = await connect(url)
                continue
            outcome.latencies.append(time.monotonic() - intended)
            outcome.intended.append(intended)
            outcome.first.append(connection.first)
            outcome.sizes.append(connection.size)
            if not good(answer):
                outcome.bad.append(answer[:300].decode("latin-1"))
        if connection.transport is not None:
            connection.transport.close()

    workers = [asyncio.create_task(work()) for _ in range(connections)]
    start = time.monotonic() + 0.05
    for number in range(count):
        intended = start + number / rate
        if (wait := intended - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        due.append((intended, requests[number % len(requests)]))
        wake.release()
    while due:
        await asyncio.sleep(0.01)
    for _ in workers:
        wake.release()
    await asyncio.gather(*workers)
    return outcome
