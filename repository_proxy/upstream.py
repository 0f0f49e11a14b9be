"""The only way out to hospitals: zeep wrote the envelope, aiohttp carries it, nothing is followed, cached or trusted.

zeep never sees an answer: read by it, a document grows sevenfold in memory and loses line ends at its edges (measured;
docs/decisions). Sources: ITI TF-2 3.43.4.1, appendix V.3 and V.8; ITI TF-2 3.19 (node authentication); 3.40 (XUA).
"""

from __future__ import annotations

import secrets
import socket
import ssl
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import aiohttp

from audit.event import Ending
from ihe import mtom
from repository_proxy.envelopes import Envelopes, Template
from repository_proxy.failures import UpstreamFailed
from repository_proxy.guard import Guard, Lapses
from repository_proxy.plan import Fetch
from repository_proxy.relay import Inflater
from repository_proxy.repositories import Hospital, Routes

RECEIVE_BUFFER = 256 * 1024
"""Bytes the kernel may hold per connection. Left to itself it takes up to 33 MB, which no memory figure shows."""
READ_BUFFER = 64 * 1024
KEPT_ALIVE = 30.0
"""Seconds an idle connection is kept: a TLS handshake costs more than a small document."""


def open_upstreams(routes: Routes, envelopes: Envelopes | None = None) -> dict[str, Upstream]:
    """One Upstream per hospital by name; connections are made when they are needed, on the loop that needs them.

    Raises: OSError (ssl.SSLError among them) if a certificate, key or CA file cannot be used.
    """
    shared = envelopes or Envelopes()
    return {hospital.name: Upstream(hospital, shared) for hospital in routes}


class Upstream:
    """One hospital as this worker reaches it: its guard, its trust, its connections."""

    def __init__(self, hospital: Hospital, envelopes: Envelopes) -> None:
        self.hospital = hospital
        self.lapses = Lapses()
        self.guard = Guard(hospital.limit, hospital.queue, hospital.deadlines.admit)
        self._requests = Template(envelopes, hospital.url)
        self._tls = _trust(hospital)
        self._session: aiohttp.ClientSession | None = None

    def request(self, fetches: Sequence[Fetch], assertion: bytes | None) -> tuple[str, bytes]:
        """The media type and bytes of one request: MTOM with the root part alone, as the answer will be (TF-2 V.8.1).

        `assertion` goes along byte for byte. A new MessageID every time.
        """
        envelope = self._requests.write(uuid.uuid4().urn, [fetch.asked.key for fetch in fetches], assertion)
        writer = mtom.new_writer(secrets.token_hex(16))
        return writer.content_type, writer.root(envelope) + writer.end()

    async def post(self, content_type: str, body: bytes) -> Response:
        """Sends one request and returns when the headers of its answer are in. Raises UpstreamFailed."""
        session = self._session
        if session is None:
            session = self._session = self._connect()
        headers = {"Content-Type": content_type, "Accept-Encoding": "identity", "MIME-Version": "1.0"}
        try:
            # One name in the request, and none of what the answer might point to.
            response = await session.post(self.hospital.url, data=body, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError) as wrong:
            raise _unanswered(wrong, self._tls is not None) from wrong
        return Response(response)

    def _connect(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=self._tls if self._tls is not None else True,
            keepalive_timeout=KEPT_ALIVE,
            ttl_dns_cache=60,
            socket_factory=_socket,
        )
        seconds = self.hospital.deadlines.connect
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=seconds, sock_connect=seconds),
            headers={"User-Agent": "innsyn"},
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BUFFER,
        )

    async def close(self) -> None:
        """Closes the kept connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class Response:
    """An answer whose headers are in and whose body is still to be read."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "")
        self._pieces: Iterator[bytes] = iter(())
        self._inflater: Inflater | None = None
        match response.headers.get("Content-Encoding", "").strip().lower():
            case "" | "identity":
                pass
            case "gzip" | "x-gzip":
                self._inflater = Inflater()
            case _:
                self.close()
                raise UpstreamFailed(Ending.UP_BAD_HEADERS, "content encoding that was not asked for")

    async def read(self) -> bytes:
        """The next bytes of the body, or none at its proper end. Raises UpstreamFailed if the framing is cut short."""
        while True:
            if piece := next(self._pieces, b""):
                return piece
            try:
                chunk = await self._response.content.readany()
            except (aiohttp.ClientError, OSError) as wrong:
                raise _broken(wrong) from wrong
            if self._inflater is None:
                return chunk
            if not chunk:
                self._inflater.close()
                return b""
            self._pieces = self._inflater.feed(chunk)

    def close(self) -> None:
        """Drops the connection unless the whole answer was read; then it is kept for the next request."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


def _socket(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return made


def _trust(hospital: Hospital) -> ssl.SSLContext | None:
    """TLS that believes the hospital's CA and no other, and shows this node's certificate for it."""
    if hospital.ca is None:
        return None
    context = ssl.create_default_context(cafile=str(hospital.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if hospital.certificate is not None:
        context.load_cert_chain(hospital.certificate, hospital.key)
    return context


def _causes(wrong: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = wrong
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _unanswered(wrong: BaseException, secure: bool) -> UpstreamFailed:
    """What went wrong before any header came. Only an untouched connection may be tried again, and no timed out one."""
    name = type(wrong).__name__
    if any(isinstance(cause, ssl.SSLError | ssl.CertificateError) for cause in _causes(wrong)):
        return UpstreamFailed(Ending.UP_TLS, name)
    if isinstance(wrong, aiohttp.ConnectionTimeoutError):
        return UpstreamFailed(Ending.UP_CONNECT, name)
    reset = any(isinstance(cause, ConnectionResetError) for cause in _causes(wrong))
    if isinstance(wrong, aiohttp.ClientConnectorError):
        # Connected and then reset: with TLS that was the handshake.
        return UpstreamFailed(Ending.UP_TLS if secure and reset else Ending.UP_CONNECT, name, untouched=True)
    if isinstance(wrong, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | OSError):
        # In TLS 1.3 a client certificate is refused after the handshake, and the reason often dies with the connection.
        note = "closed before any answer: is our certificate accepted there?" if secure else "closed before any answer"
        return UpstreamFailed(Ending.UP_NO_HEADERS, note, untouched=True)
    return UpstreamFailed(Ending.UP_BAD_HEADERS, name)


def _broken(wrong: BaseException) -> UpstreamFailed:
    """What went wrong inside a body: a reset, or an end that came too early."""
    for cause in _causes(wrong):
        if isinstance(cause, ssl.SSLError):
            return UpstreamFailed(Ending.UP_TLS, type(cause).__name__)
        # aiohttp tells a reset inside a body by the text of its own exception only.
        if isinstance(cause, ConnectionError) or "ConnectionResetError" in str(cause):
            return UpstreamFailed(Ending.UP_RESET, type(cause).__name__)
    return UpstreamFailed(Ending.UP_SHORT, type(wrong).__name__)
