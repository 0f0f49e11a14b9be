"""A hospital as fast as this machine allows, answering ITI-43 from packages that stand ready.

A document is one block repeated, so that its SHA-1 is known without keeping it. `GET /began` tells when the first byte
of the last answer left, on the monotonic clock that all processes of a machine share. Started by bench.documents as
`python -m bench.upstream FILE`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvloop

from bench.processes import settings_of
from ihe import mtom, retrieval, soap
from ihe.names import Action, ResponseStatus

BLOCK = bytes(range(256)) * 4096
"""1 MiB."""
TICK = 0.1
"""Seconds between two writes of a slow answer."""
_ID = re.compile(rb"DocumentUniqueId>([0-9.]+)<")
_LENGTH = re.compile(rb"content-length:[ ]*([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Kept:
    """A document by size; `rate` in bytes per second, 0 for as fast as can be; `flipped` breaks its last byte."""

    repository: str
    size: int
    rate: int = 0
    flipped: bool = False


def digest(size: int) -> str:
    """SHA-1 of a document of this size."""
    sha1 = hashlib.sha1(usedforsecurity=False)
    for _ in range(size // len(BLOCK)):
        sha1.update(BLOCK)
    sha1.update(BLOCK[: size % len(BLOCK)])
    return sha1.hexdigest()


class Hospital(asyncio.Protocol):
    """One connection."""

    began = 0.0

    def __init__(self, documents: dict[str, Kept]) -> None:
        self._documents = documents
        self._got = bytearray()
        self._transport: Any = None
        self._going = asyncio.Event()
        self._going.set()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._going.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._going.clear()

    def resume_writing(self) -> None:
        self._going.set()

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._got[:end])
        length = _LENGTH.search(head)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(self._got) < whole:
            return
        body = bytes(self._got[end + 4 : whole])
        del self._got[:whole]
        if head.startswith(b"GET /began"):
            told = repr(Hospital.began).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))
            return
        found = _ID.search(body)
        assert found is not None, "not a retrieve"
        self._task = asyncio.get_running_loop().create_task(self._answer(found[1].decode()))

    async def _answer(self, unique_id: str) -> None:
        kept = self._documents[unique_id]
        head, tail = _package(unique_id, kept)
        Hospital.began = time.monotonic()
        self._transport.write(head)
        if kept.rate:
            await self._slowly(kept)
        else:
            await self._fast(kept)
        self._transport.write(tail)

    async def _fast(self, kept: Kept) -> None:
        left, block = kept.size, memoryview(BLOCK)
        while left > len(block):
            await self._going.wait()
            self._transport.write(block)
            left -= len(block)
        await self._going.wait()
        last = bytearray(block[:left])
        if kept.flipped:
            last[-1] ^= 1
        self._transport.write(bytes(last))

    async def _slowly(self, kept: Kept) -> None:
        clock, step = asyncio.get_running_loop().time, int(kept.rate * TICK)
        start, sent = clock(), 0
        while sent < kept.size:
            piece = min(step, kept.size - sent)
            self._transport.write(_slice(sent, piece))
            sent += piece
            await asyncio.sleep(max(0.0, start + sent / kept.rate - clock()))


def _slice(start: int, count: int) -> bytes:
    at = start % len(BLOCK)
    return BLOCK[at : at + count] if at + count <= len(BLOCK) else BLOCK[at:] + BLOCK[: at + count - len(BLOCK)]


def _package(unique_id: str, kept: Kept) -> tuple[bytes, bytes]:
    writer = mtom.new_writer("5" * 32)
    cid = "document@bench"
    response = retrieval.DocumentResponse("", kept.repository, unique_id, "application/pdf", cid)
    pieces = retrieval.write_response(ResponseStatus.SUCCESS, (), [response])
    before = writer.root(soap.envelope(Action.RETRIEVE.reply, "", pieces)) + writer.part(cid, "application/pdf")
    after = writer.end()
    size = len(before) + kept.size + len(after)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {writer.content_type}\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + before, after


async def _serve(port: int, documents: dict[str, Kept]) -> None:
    made: Callable[[], Hospital] = lambda: Hospital(documents)  # noqa: E731
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    settings = settings_of(sys.argv)
    documents = {unique_id: Kept(**kept) for unique_id, kept in settings["documents"].items()}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings["port"], documents))


if __name__ == "__main__":
    main()
