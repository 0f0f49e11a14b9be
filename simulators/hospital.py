"""A hospital to test against: serves documents over ITI-43, and misbehaves when its script says so.

Speaks HTTP/1.1 itself, since no server library can be made to break its own framing. Sources: ITI TF-2 3.43, 3.19.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import struct
import tomllib
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ihe import retrieval, saml, soap, xml
from ihe.errors import Mangled, SoapFault, XdsFailure
from ihe.names import Action
from ihe.retrieval import DocumentRequest
from simulators.hospital_variants import Document, Mark, Message, Piece, Script, Variant, compose

__all__ = ["Document", "Hospital", "Received", "Script", "Variant", "read_folder", "run", "server_tls"]

MAX_REQUEST = 2 * 1024 * 1024
DRIP_BYTES = 10
"""Bytes per second of a hospital that drips."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as the hospital saw it."""

    message_id: str
    asked: tuple[DocumentRequest, ...]
    assertion: bytes | None
    packaging: soap.Packaging
    certificate: bytes
    """The caller's client certificate (DER), or empty."""


class Hospital:
    """A running repository on one port; `script` may be changed at any time and holds for requests from then on."""

    def __init__(
        self,
        documents: Mapping[tuple[str, str], Document],
        script: Script | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`documents` by (repositoryUniqueId, uniqueId)."""
        self.documents = documents
        self.script = script or Script()
        self.received: deque[Received] = deque(maxlen=1000)
        self.connections = 0
        """Connections open now."""
        self.bytes_sent = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Hospital:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listens. Port 0 takes a free one; `url` tells which."""
        self._server = await asyncio.start_server(self._connected, host, port, ssl=self._tls)

    @property
    def url(self) -> str:
        """Where this hospital answers ITI-43."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{'https' if self._tls else 'http'}://{host}:{port}/repository"

    async def close(self) -> None:
        """Stops at once, with every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                continue
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            # Ends here, since the stream protocol reports a cancelled connection as an error.
            pass
        finally:
            self._running.discard(task)
            self.connections -= 1
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer. False when the connection is to be closed."""
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        raw = await _body(reader, headers)
        script = self.script
        if Variant.DROP in script.variants:
            return False
        if Variant.GARBAGE in script.variants:
            writer.write(secrets.token_bytes(64 * 1024))
            await writer.drain()
            return False
        message = self._answer(raw, headers.get("content-type", ""), writer, script)
        if script.delay:
            await asyncio.sleep(script.delay)
        return await _Speaker(self, reader, writer, script).say(message)

    def _answer(self, raw: bytes, content_type: str, writer: asyncio.StreamWriter, script: Script) -> Message:
        try:
            call = soap.read_call(raw, content_type, frozenset({Action.RETRIEVE}))
            asked = retrieval.read(call.body)
        except SoapFault as fault:
            reply = soap.write_fault(fault, soap.packaging_of(content_type) or soap.Packaging.SIMPLE)
            return Message(reply.status, reply.content_type, ([reply.body],))
        except XdsFailure as failure:
            pieces = retrieval.write_response(retrieval.status_of(0, 1), failure.errors, ())
            reply = soap.write_reply(call, pieces)
            return Message(reply.status, reply.content_type, ([reply.body],))
        tls = writer.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        self.received.append(Received(call.message_id, asked, _assertion(call), call.packaging, certificate or b""))
        return compose(call.message_id, asked, self.documents, script, secrets.token_hex(8))


def _assertion(call: soap.Call) -> bytes | None:
    try:
        found = saml.find(call.security)
    except Mangled:
        return None
    return None if found is None else xml.write(found)


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(min(MAX_REQUEST, int(headers.get("content-length", "0"))))
    chunks = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(min(MAX_REQUEST, size)))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(chunks)


class _Cut(Exception):
    """The script ends the answer here."""


class _Speaker:
    """Writes one answer in the framing and at the pace of the script."""

    def __init__(
        self, hospital: Hospital, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, script: Script
    ) -> None:
        self._hospital = hospital
        self._reader = reader
        self._writer = writer
        self._script = script
        self._chunked = Variant.LENGTH not in script.variants
        self._due = asyncio.get_running_loop().time()

    async def say(self, message: Message) -> bool:
        """True if the connection may be used again."""
        variants = self._script.variants
        if Variant.STALL_HEAD in variants:
            await self._stall()
        head = [f"HTTP/1.1 {message.status} Answer", f"Content-Type: {message.content_type}"]
        if message.status == 302:
            head.append("Location: http://127.0.0.1:9/elsewhere")
        if Variant.GZIP in variants:
            head.append("Content-Encoding: gzip")
        head.append("Transfer-Encoding: chunked" if self._chunked else f"Content-Length: {message.size}")
        await self._write("\r\n".join([*head, "", ""]).encode())
        pieces = message.pieces()
        try:
            for piece in _zipped(pieces) if Variant.GZIP in variants else pieces:
                if isinstance(piece, Mark):
                    await self._at(piece)
                else:
                    await self._content(piece)
        except _Cut:
            return False
        if self._chunked:
            await self._write(b"0\r\n\r\n")
        return True

    async def _at(self, mark: Mark) -> None:
        variants = self._script.variants
        stalls = {
            Mark.IN_ROOT: Variant.STALL_ROOT,
            Mark.AFTER_ROOT: Variant.STALL_AFTER_ROOT,
            Mark.IN_DOCUMENT: Variant.STALL_MIDDLE,
        }
        if stalls[mark] in variants:
            await self._stall()
        if mark is not Mark.IN_DOCUMENT:
            return
        if Variant.CUT_LAST_CHUNK in variants:
            await self._write(b"0\r\n\r\n")
            raise _Cut
        if Variant.CUT_FIN in variants:
            # What was written must be read before the end is seen, else some of it may be lost on the way.
            await asyncio.sleep(0.05)
            self._writer.close()
            with suppress(ConnectionError):
                await self._writer.wait_closed()
            raise _Cut
        if Variant.CUT_RESET in variants:
            await asyncio.sleep(0.05)
            connection = self._writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
            raise _Cut

    async def _stall(self) -> None:
        """Says nothing until the other side has gone."""
        while not (self._writer.is_closing() or self._reader.at_eof()):
            await asyncio.sleep(0.02)
        raise ConnectionResetError

    async def _content(self, piece: bytes) -> None:
        variants, rate = self._script.variants, self._script.rate
        if Variant.DRIP in variants:
            rate = DRIP_BYTES
        if Variant.SLICES_OF_1 in variants or Variant.SLICES_OF_7 in variants:
            size = 1 if Variant.SLICES_OF_1 in variants else 7
            for start in range(0, len(piece), size):
                await self._chunk(piece[start : start + size])
        elif rate is not None:
            clock, size = asyncio.get_running_loop().time, max(1, rate // 20)
            for start in range(0, len(piece), size):
                await self._chunk(piece[start : start + size])
                # By the schedule, not by the piece: what a busy machine adds to one pause is taken off the next.
                self._due = max(self._due, clock() - 1) + min(size, len(piece) - start) / rate
                await asyncio.sleep(max(0, self._due - clock()))
        else:
            await self._chunk(piece)

    async def _chunk(self, piece: bytes) -> None:
        if not piece:
            return
        self._hospital.bytes_sent += len(piece)
        await self._write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    async def _write(self, raw: bytes) -> None:
        self._writer.write(raw)
        seconds = self._script.write_timeout if Variant.WRITE_TIMEOUT in self._script.variants else None
        async with asyncio.timeout(seconds):
            await self._writer.drain()


def _zipped(pieces: Iterator[Piece]) -> Iterator[Piece]:
    packer = zlib.compressobj(wbits=31)
    for piece in pieces:
        yield piece if isinstance(piece, Mark) else packer.compress(piece)
    yield packer.flush()


def read_folder(folder: Path) -> dict[tuple[str, str], Document]:
    """The documents listed in `documents.toml`, each by repository_unique_id, unique_id, mime_type and file.

    Raises: ValueError naming the first entry that cannot be used; OSError.
    """
    listed = tomllib.loads((folder / "documents.toml").read_text(encoding="utf-8")).get("document", [])
    found: dict[tuple[str, str], Document] = {}
    for number, entry in enumerate(listed, 1):
        try:
            path = folder / entry["file"]
            key = (str(entry["repository_unique_id"]), str(entry["unique_id"]))
            found[key] = Document(str(entry["mime_type"]), path)
        except (KeyError, TypeError) as missing:
            raise ValueError(f"document {number} of documents.toml lacks {missing}") from None
        if not path.is_file():
            raise ValueError(f"document {number} of documents.toml: {entry['file']} is not a file")
    return found


def server_tls(certificate: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """TLS for a hospital that lets in only callers with a certificate of `client_ca` (ITI TF-2 3.19)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def run(hospital: Hospital, host: str, port: int) -> None:
    """Serves until cancelled."""
    await hospital.start(host, port)
    try:
        await asyncio.Event().wait()
    finally:
        await hospital.close()
