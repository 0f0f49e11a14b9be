"""The edge alone, on a real socket: the shipped gate and server around transactions of a test's own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from ihe import xml
from ihe.names import Action
from ihe.soap import Call, Reply, write_reply
from policy.facts import Peer
from server.exchange import Limits
from server.gate import Gate, Page, Pages
from server.pages import REGISTRY, REPOSITORY
from server.pool import Pool
from server.soap import SoapServer, Transaction
from server.transport import HttpServer
from tests.nodes import free_socket, loop_thread, on

DATE = datetime(2026, 3, 2, 9, tzinfo=UTC)
DATED = "Mon, 02 Mar 2026 09:00:00 GMT"


def echo(call: Call, peer: Peer) -> Reply:
    """Answers with its own question."""
    return write_reply(call, [xml.write(call.body)])


def one_page(path: str, query: bytes) -> Page | None:
    return Page(200, "text/plain", b"here\n") if path == "/page" else None


@dataclass
class Edge:
    address: tuple[str, int]
    gate: Gate
    server: HttpServer
    loop: asyncio.AbstractEventLoop
    impatient: asyncio.Event

    def drain(self, seconds: float) -> None:
        on(self.loop, self.server.drain(self.impatient, seconds))


@contextmanager
def edge(
    transactions: Mapping[Action, Transaction] | None = None,
    limits: Limits | None = None,
    pages: Pages = one_page,
    context: ssl.SSLContext | None = None,
    threads: int = 2,
    send_buffer: int | None = None,
) -> Iterator[Edge]:
    """ITI-18 and ITI-42 on the registry's path, ITI-43 on the repository's; what is not given echoes.

    `send_buffer` is what the kernel takes of an answer that nobody reads; without it, megabytes.
    """
    chosen = {Action.QUERY: echo, Action.REGISTER: echo, Action.RETRIEVE: echo, **(transactions or {})}
    repository = {Action.RETRIEVE: chosen.pop(Action.RETRIEVE)}
    endpoints = {REGISTRY: SoapServer(chosen), REPOSITORY: SoapServer(repository)}
    pool = Pool(threads)

    async def start() -> Edge:
        gate = Gate("front", endpoints, pages, pool, limits or Limits())
        server = HttpServer(gate, context, lambda: DATE)
        listening = free_socket()
        if send_buffer is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        await server.start(listening)
        return Edge(listening.getsockname(), gate, server, asyncio.get_running_loop(), asyncio.Event())

    with loop_thread() as loop:
        started = on(loop, start())
        try:
            yield started
        finally:
            started.drain(0.0)
            pool.shutdown()
