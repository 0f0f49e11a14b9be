"""The transport under the gate: TLS, who is at the other end of it, and an end to every connection that only waits.

uvicorn has settings for none of these. They hang on its protocol class, which is semi-private: its version is pinned,
and tests/server/test_transport.py holds what is used of it. Where uvicorn would write an answer of its own, this does.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httptools
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from repository_proxy.retrieve import DRAINING
from server.exchange import KIB, Limits
from server.gate import MAX_HEADER_BYTES, MAX_TARGET, Gate, new_correlation

BACKLOG = 2048
LAST_SECONDS = 4.0
"""For exchanges that were cut at the end of the drain to record how they ended."""
SETTLED_SECONDS = 1.0
"""A connection younger than this may have its first request on the way and is not idle yet."""
_UPGRADE = re.compile(rb"(?<=\r\n)upgrade(?=:)", re.IGNORECASE)

# Its warnings tell of every malformed request, which is logged here, with the id that the answer bears.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
log = structlog.get_logger()


class NodeProtocol(HttpToolsProtocol):
    """One connection (server.exchange.Connection): uvicorn's reader and writer of HTTP/1.1, with limits."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits,
    ) -> None:
        super().__init__(config, server_state, {**app_state, "connection": self}, _loop)
        self.certificate = ""
        self.lost = False
        self._limits = limits
        self._gone: asyncio.Future[str] | None = None
        self._why = ""
        self._deadline: asyncio.TimerHandle | None = None
        self._since = 0.0
        self._begun = False
        """A request has begun whose headers are not complete."""
        self._bytes = 0
        """Read since the request began."""
        self._deaf = False
        """What is still read is forgotten: it is no request, or follows on one."""
        self._refused = False
        """A refusal was written that no exchange knows of."""
        self._last = False
        """The server stops: no further request after this one."""

    # What the exchange asks -------------------------------------------------------------------------------------------

    @property
    def crowded(self) -> bool:
        """See Connection."""
        return len(self.connections) > self._limits.max_connections

    @property
    def congested(self) -> bool:
        """See Connection."""
        return self.flow.write_paused

    def gone(self) -> asyncio.Future[str]:
        """See Connection. A connection that is not read would hide that its other end has left."""
        if self._gone is None:
            self._gone = self.loop.create_future()
            if self.lost:
                self._gone.set_result(self._why)
            else:
                self.flow.resume_reading()
        return self._gone

    def cut(self) -> None:
        """See Connection. A refusal that is on its way ends by itself."""
        if self._refused:
            return
        if self.cycle is not None:
            self.cycle.disconnected = True
        self.transport.abort()

    # What the server does ---------------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Ends the connection after the request that is under way, if there is one."""
        self._last = True
        if self._answering:
            self.cycle.keep_alive = False
        elif not self._begun:
            self.transport.close()
            # An idle TLS peer may never answer the goodbye, and a stop must not wait for it.
            self._within(self._limits.linger_seconds, self.transport.abort)

    def end(self, why: str) -> None:
        """Ends the connection now. `why` reaches a stream that runs on it."""
        self._why = why
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(why)
        self.transport.abort()

    # asyncio's callbacks ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """Learns who is at the other end of the TLS handshake."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.certificate = hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest()
        self._since = self.loop.time()
        self._within(self._limits.header_seconds, self._headers_late)
        if self.crowded:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, which has no limits of its own for headers, trailers and chunk extensions."""
        self._bytes += len(data)
        if not self._deaf:
            super().data_received(data if self._answering else _without_upgrade(data))
        if self._begun and self._bytes > MAX_HEADER_BYTES + MAX_TARGET:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._bytes > 2 * self._limits.max_request + 256 * KIB:
            self.transport.abort()
        elif self._deadline is None and self.timeout_keep_alive_task is None and not self._answering:
            # Empty lines between requests stop uvicorn's own timer and begin nothing.
            self._within(self._limits.idle_seconds, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the stream that runs on it."""
        self._no_deadline()
        self.lost = True
        super().connection_lost(exc)
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(self._why)

    # The parser's callbacks -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins; one that does not wait for the answer to the last is never looked at.

        uvicorn would queue it, and then no longer notice when the caller of the first one leaves.
        """
        if self._answering:
            raise httptools.HttpParserError("pipelined")
        super().on_message_begin()
        self._bytes = 0
        if not self._begun and (self._deadline is None or self.cycle is not None):
            self._within(self._limits.header_seconds, self._headers_late)
        self._begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes headers and no trailers: those would join the headers while the request is being answered."""
        if not self._begun:
            raise httptools.HttpParserError("trailer")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be judged; its body has a deadline of its own, whether anybody reads it or not."""
        if self.url == b"*":
            self.url = b"/"
        elif not self.url.startswith(b"/") and not self._names_this_host():
            raise httptools.HttpParserError("target")
        if self.parser.should_upgrade():
            raise httptools.HttpParserError("upgrade")
        self._begun = False
        self._within(self._limits.body_seconds + self._limits.linger_seconds + 1, self.transport.abort)
        super().on_headers_complete()
        if self._last:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The whole request is in."""
        self._no_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer has been handed over, which is not to say that anybody takes it."""
        super().on_response_complete()
        self._since = self.loop.time()
        if self._deadline is None and self.transport.get_write_buffer_size():
            self._within(self._limits.write_seconds, self._still_unsent)

    def send_400_response(self, msg: str) -> None:
        """Stands in for uvicorn's own page, which has no correlation id."""
        self._refuse(HTTPStatus.BAD_REQUEST)

    # ------------------------------------------------------------------------------------------------------------------

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _idle(self) -> bool:
        return not self._answering and not self._begun and self.loop.time() - self._since > SETTLED_SECONDS

    def _names_this_host(self) -> bool:
        """An absolute target is a request for this node only if the Host header says the same."""
        target = httptools.parse_url(self.url)
        host = target.host or b""
        named = host if target.port is None else b"%s:%d" % (host, target.port)
        return not target.userinfo and [named.lower()] == [v.lower() for n, v in self.headers if n == b"host"]

    def _refuse(self, status: HTTPStatus) -> None:
        """A bare answer to what is no request, and the end of reading this connection."""
        if self._deaf or self.transport.is_closing():
            return
        self._deaf, self._begun = True, False
        if self._answering and not self.cycle.more_body:
            # It came behind a request that was whole: that one is answered, and nothing else.
            self.cycle.keep_alive = False
            return
        if self._answering and self.cycle.response_started:
            return self.cut()
        if self._answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._refused = True
        correlation = new_correlation()
        log.info("refused", correlation=correlation, status=int(status))
        lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode())]
        lines += [b"%s: %s" % header for header in self.server_state.default_headers]
        lines += [b"content-length: 0", b"connection: close", b"x-correlation-id: " + correlation.encode()]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n")
        # Closed once the caller has had time to read: to close on bytes not yet read would reset the connection.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._within(self._limits.linger_seconds, self.transport.abort)

    def _headers_late(self) -> None:
        if self._begun:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.abort()

    def _still_unsent(self) -> None:
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            log.info("caller gone", too_slow=True)
            self.transport.abort()

    def _make_room(self) -> None:
        """Closes one connection that nobody uses, so that those who only hold some open keep nobody out."""
        for other in self.connections:
            if isinstance(other, NodeProtocol) and other._idle and not other.transport.is_closing():
                return other.transport.close()
        if len(self.connections) > 2 * self._limits.max_connections:
            self.transport.abort()
        return None

    def _within(self, seconds: float, late: Callable[[], None]) -> None:
        self._no_deadline()
        self._deadline = self.loop.call_later(seconds, late)

    def _no_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class HttpServer:
    """One listener of one worker."""

    def __init__(self, gate: Gate, context: ssl.SSLContext | None, wall: Callable[[], datetime]) -> None:
        """`wall` tells the time that answers are dated with."""
        self._limits = gate.limits
        self._context = context
        self._wall = wall
        self._state = ServerState()
        self._config = uvicorn.Config(
            gate,
            interface="asgi3",
            http=NodeProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=self._limits.idle_seconds,
        )
        self._config.load()
        self._server: asyncio.Server | None = None
        self._listening: socket.socket | None = None
        self._dates: asyncio.Task[None] | None = None

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._state.connections)

    async def start(self, listening: socket.socket) -> None:
        """Accepts connections on a bound socket."""
        loop = asyncio.get_running_loop()
        made = partial(NodeProtocol, self._config, self._state, {}, loop, limits=self._limits)
        self._dates = loop.create_task(self._date())
        self._listening = listening
        if self._context is None:
            self._server = await loop.create_server(made, sock=listening, backlog=BACKLOG)
        else:
            self._server = await loop.create_server(
                made,
                sock=listening,
                backlog=BACKLOG,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.handshake_seconds,
                ssl_shutdown_timeout=self._limits.write_seconds,
            )

    async def drain(self, impatient: asyncio.Event, seconds: float) -> None:
        """Accepts nobody from now on and returns when all that had begun has ended and recorded how.

        What is still running after `seconds`, or when `impatient` is set, is cut.
        """
        loop = asyncio.get_running_loop()
        if self._server is not None and self._listening is not None:
            self._server.close()
            # Another holder of the socket would keep callers waiting in a queue that nobody serves any more.
            self._listening.close()
        for connection in self._open():
            connection.shutdown()
        until = loop.time() + seconds
        while (self._state.connections or self._state.tasks) and not impatient.is_set() and loop.time() < until:
            await asyncio.sleep(0.02)
        for connection in self._open():
            connection.end(DRAINING)
        if self._state.tasks:
            log.warning("exchanges cut", count=len(self._state.tasks))
            _, stuck = await asyncio.wait(self._state.tasks, timeout=LAST_SECONDS)
            for task in stuck:
                task.cancel(DRAINING)
        if self._dates is not None:
            self._dates.cancel()

    def _open(self) -> list[NodeProtocol]:
        return [each for each in self._state.connections if isinstance(each, NodeProtocol)]

    async def _date(self) -> None:
        while True:
            date = format_datetime(self._wall().astimezone(UTC), usegmt=True).encode()
            self._state.default_headers = [(b"date", date)]
            await asyncio.sleep(1)


def _without_upgrade(data: bytes) -> bytes:
    """Headers without the offer to speak another protocol, which may be ignored (RFC 9110 7.8); Java clients make it.

    The parser cannot be told to: it would take the body for that other protocol.
    """
    if b"pgrade" not in data:
        return data
    headers, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"not-now", headers) + end + rest


def tls_context(certificate: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer, this node's certificate, and only callers whose certificate this CA signed (ITI TF-2 3.19)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    # A ticket brings the certificate along without asking for its key again. (OpenSSL's memory of TLS 1.2 sessions
    # cannot be switched off from here; it ends with the process.)
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context
