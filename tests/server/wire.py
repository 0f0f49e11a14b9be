"""A caller that says exactly the bytes it is told to, and sees exactly what comes back."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ihe import soap
from ihe.names import Status
from ihe.retrieval import DocumentRequest
from tests.ihe import messages
from tests.nodes import STUB
from tests.repository_proxy import stage

REGISTRY = "/xds/registry"
REPOSITORY = "/xds/repository"
TYPE = messages.SIMPLE
_STATUS = (
    '<rim:Slot name="$XDSDocumentEntryStatus"><rim:ValueList>'
    f"<rim:Value>('{Status.APPROVED}')</rim:Value></rim:ValueList></rim:Slot>"
)
QUERY = messages.envelope(body=messages.QUERY_BODY.replace("</rim:AdhocQuery>", f"{_STATUS}</rim:AdhocQuery>"))
"""FindDocuments for one patient."""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool
    """Length or last chunk were as promised."""

    @property
    def bare(self) -> bool:
        """Nothing but a status and an id."""
        return not self.body and self.whole and len(self.headers["x-correlation-id"]) == 32


def head(
    method: str = "POST",
    target: str = REGISTRY,
    *lines: str,
    length: int | None = None,
    content_type: str | None = TYPE,
    host: str | None = "node.example",
    version: str = "HTTP/1.1",
) -> bytes:
    """The head of a request; `lines` are further header lines as they are."""
    written = [f"{method} {target} {version}"]
    if host is not None:
        written.append(f"Host: {host}")
    if content_type is not None:
        written.append(f"Content-Type: {content_type}")
    if length is not None:
        written.append(f"Content-Length: {length}")
    return "\r\n".join([*written, *lines, "", ""]).encode("latin-1")


def post(body: bytes = QUERY, target: str = REGISTRY, *lines: str, content_type: str = TYPE) -> bytes:
    """A whole request."""
    return head("POST", target, *lines, length=len(body), content_type=content_type) + body


def retrieve(*unique_ids: str, packaging: soap.Packaging = soap.Packaging.MTOM) -> bytes:
    """A whole ITI-43 request for documents of the stub repository."""
    media, body = stage.request([DocumentRequest("", STUB, each) for each in unique_ids], packaging)
    return post(body, REPOSITORY, content_type=media)


class Wire:
    """One connection. Every wait is bounded."""

    def __init__(
        self,
        address: tuple[str, int],
        tls: ssl.SSLContext | None = None,
        *,
        seconds: float = 10.0,
        receive_buffer: int | None = None,
    ) -> None:
        made = socket.socket()
        if receive_buffer is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.settimeout(seconds)
        try:
            made.connect(address)
        except OSError:
            made.close()
            raise
        # A handshake that fails closes the socket.
        self.socket = made if tls is None else tls.wrap_socket(made, server_hostname="localhost")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, raw: bytes) -> None:
        self.socket.sendall(raw)

    def ask(self, raw: bytes, method: str = "POST") -> Answer:
        self.send(raw)
        return self.answer(method)

    def answer(self, method: str = "POST") -> Answer:
        """The next answer. Raises ConnectionError where the other side hangs up instead."""
        response = http.client.HTTPResponse(self.socket, method=method)
        try:
            response.begin()
        except (http.client.BadStatusLine, http.client.RemoteDisconnected) as wrong:
            raise ConnectionResetError("no answer") from wrong
        pieces, whole = list[bytes](), True
        try:
            while piece := response.read1(1 << 20):
                pieces.append(piece)
            whole = response.length in (None, 0)
        except (http.client.IncompleteRead, ConnectionError, ssl.SSLError) as cut:
            pieces.append(getattr(cut, "partial", b""))
            whole = False
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, b"".join(pieces), whole)

    def answer_whole(self) -> bool:
        """Whether a chunked answer whose head was read already ends as it should."""
        last = b""
        try:
            while piece := self.socket.recv(1 << 20):
                last = (last + piece)[-7:]
                if last == b"\r\n0\r\n\r\n":
                    return True
        except OSError:
            pass
        return False

    def closed(self, within: float = 5.0) -> bool:
        """Whether the other side ends the connection; what it still says is read and dropped."""
        self.socket.settimeout(within)
        try:
            while self.socket.recv(65536):
                continue
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def drip(self, pieces: Iterable[bytes], every: float) -> float:
        """Sends piece by piece until the other side says something or hangs up; seconds until then."""
        begun = time.monotonic()
        for piece in pieces:
            if select.select([self.socket], [], [], every)[0]:
                break
            try:
                self.socket.sendall(piece)
            except OSError:
                break
        return time.monotonic() - begun
