"""The HTTP edge: what may come in, and to whom it goes. No meaning passes through here.

Every POST gets exactly one of: a bare status (framing, size, type, time, load), a whole SOAP answer, or a stream that
either ends complete or is cut (server/exchange.py). What a proxy or a caller writes into headers about itself is not
looked at: who calls is known from the connection alone.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import structlog

from ihe.soap import Reply, packaging_of
from policy.facts import Peer
from server.exchange import MIB, OVERLOAD, Exchange, Held, Limits, Receive, Refused, Scope, Send
from server.soap import Answer, SoapServer

__all__ = ["MIB", "Gate", "Limits", "Page", "Pages"]

log = structlog.get_logger()

LONG_WAIT = 0.02
"""Seconds in the queue: some ten requests' work."""
FLOOD_SECONDS = 0.2
CALM_SECONDS = 1.0
MAX_HEADERS = 64
MAX_HEADER_BYTES = 16 * 1024
MAX_TARGET = 4 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """Something served on GET: WSDL, schemas, health."""

    status: int
    content_type: str
    body: bytes


Pages = Callable[[str, bytes], Page | None]
"""(path, query string) -> what a GET answers, or None for 404."""


def new_correlation() -> str:
    """The id of one exchange: in its answer's header, in the audit trail and in the log."""
    return secrets.token_hex(16)


class Patience:
    """Tells a burst, which may queue, from a flood, in which a queue makes all wait and serves no more.

    A flood is when everybody has waited too long for some time. It is over when nobody was refused for a while.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._long_since: float | None = None
        self._refused = 0
        self._refused_at = self._told_at = float("-inf")
        self.flooded = False

    @property
    def most(self) -> int:
        """Requests that may be decided or wait for it just now."""
        if self.flooded and self._clock() - self._refused_at > CALM_SECONDS:
            self.flooded, self._long_since = False, None
        return self._limits.flooded_exchanges if self.flooded else self._limits.max_exchanges

    def waited(self, seconds: float) -> None:
        """Told by every request when its turn has come, from any thread."""
        now = self._clock()
        if seconds < LONG_WAIT:
            self._long_since = None
        elif self._long_since is None:
            self._long_since = now
        elif now - self._long_since > FLOOD_SECONDS:
            self.flooded, self._refused_at = True, now

    def refused(self) -> None:
        """Counts, and tells the operator once a second."""
        self._refused, self._refused_at = self._refused + 1, self._clock()
        if self._refused_at - self._told_at > 1:
            log.warning("overload", count=self._refused)
            self._refused, self._told_at = 0, self._refused_at


class Gate:
    """One listener's ASGI application."""

    def __init__(
        self,
        listener: str,
        endpoints: Mapping[str, SoapServer],
        pages: Pages,
        pool: Executor,
        limits: Limits,
        correlation: Callable[[], str] = new_correlation,
    ) -> None:
        self.limits = limits
        self.deciding = 0
        """Requests in the pool or waiting for it."""
        self._listener = listener
        self._endpoints = endpoints
        self._pages = pages
        self._pool = pool
        self._correlation = correlation
        self._held = Held(limits.max_held)
        self._patience = Patience(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry. Never raises but when it is cancelled."""
        async with Exchange(self._correlation(), scope, receive, send, self.limits, self._held) as exchange:
            await self._serve(exchange)

    async def _serve(self, exchange: Exchange) -> None:
        headers = _framing(exchange.scope)
        path, method = exchange.scope["path"], exchange.scope["method"]
        endpoint = self._endpoints.get(path)
        if method in ("GET", "HEAD"):
            return await self._page(exchange, path, known=endpoint is not None)
        if endpoint is None:
            raise Refused(404)
        if method != "POST":
            raise Refused(405, (b"allow", b"GET, HEAD, POST"))
        content_type = _message(exchange.scope, headers, self.limits.max_request)
        if exchange.connection.crowded:
            self._patience.refused()
            raise Refused(503, OVERLOAD)
        # A caller that waits for 100 Continue may or may not send the body after a refusal: nobody knows what follows.
        keep = b"expect" not in headers
        self._admit(keep)
        raw = await exchange.read()
        self._admit(keep)
        answer = await self._decided(endpoint, raw, content_type, self._peer(exchange))
        if isinstance(answer, Reply):
            await exchange.reply(answer)
        else:
            await exchange.stream(answer)

    def _admit(self, keep: bool) -> None:
        # Only what is being decided counts: a caller that reads or writes slowly takes no turn from others.
        if self.deciding >= self._patience.most or self._held.full:
            self._patience.refused()
            raise Refused(503, OVERLOAD, keep=keep)

    async def _decided(self, endpoint: SoapServer, raw: bytes, content_type: str, peer: Peer) -> Answer:
        self.deciding += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, self._answer, time.monotonic(), endpoint, raw, content_type, peer
            )
        finally:
            self.deciding -= 1

    def _answer(self, since: float, endpoint: SoapServer, raw: bytes, content_type: str, peer: Peer) -> Answer:
        self._patience.waited(time.monotonic() - since)
        return endpoint.answer(raw, content_type, peer)

    async def _page(self, exchange: Exchange, path: str, known: bool) -> None:
        page = self._pages(path, exchange.scope["query_string"])
        if page is None:
            raise Refused(405, (b"allow", b"POST")) if known else Refused(404)
        await exchange.reply(Reply(page.status, page.content_type, page.body), head=exchange.scope["method"] == "HEAD")

    def _peer(self, exchange: Exchange) -> Peer:
        client = exchange.scope.get("client") or ("", 0)
        return Peer(self._listener, str(client[0]), exchange.connection.certificate, exchange.correlation)


def _framing(scope: Scope) -> dict[bytes, list[bytes]]:
    """Headers by lower-case name. Raises Refused for what another reader of the same bytes could read differently."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    named: dict[bytes, list[bytes]] = {}
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
        named.setdefault(name, []).append(value)
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise Refused(431)
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET:
        raise Refused(431)
    hosts = len(named.get(b"host", ()))
    if hosts > 1 or (hosts == 0 and scope["http_version"] != "1.0"):
        raise Refused(400)
    lengths = named.get(b"content-length", [])
    codings = named.get(b"transfer-encoding", [])
    if len(lengths) > 1 or not all(value.isdigit() for value in lengths):
        raise Refused(400)
    if codings and (lengths or scope["http_version"] == "1.0" or [each.lower() for each in codings] != [b"chunked"]):
        raise Refused(400)
    return named


def _message(scope: Scope, headers: Mapping[bytes, list[bytes]], max_request: int) -> str:
    """The media type of an acceptable message; raises Refused before a byte of the body is read."""
    if scope["http_version"] != "1.1":
        # An answer without chunks ends when the connection does: a cut document would look whole.
        raise Refused(505)
    lengths = headers.get(b"content-length", [])
    if not lengths and b"transfer-encoding" not in headers:
        raise Refused(411)
    if lengths and int(lengths[0]) > max_request:
        raise Refused(413)
    if any(value.strip().lower() != b"identity" for value in headers.get(b"content-encoding", ())):
        raise Refused(415)
    types = headers.get(b"content-type", [])
    content_type = types[0].decode("latin-1") if len(types) == 1 else ""
    if packaging_of(content_type) is None:
        raise Refused(415)
    return content_type
