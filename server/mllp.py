"""ITI-8 on the wire: HL7 v2 messages in MLLP frames over TCP or TLS, with an end to every connection that only waits.

One message at a time per connection: the next one is not read before the last one is answered. A connection that sends
anything but whole frames of an acceptable size is closed without an answer, for nobody knows where the next message
would begin. Sources: HL7 2.3.1 appendix C.4 (Minimal Lower Layer Protocol); ITI TF-2 C.2.1, 3.19.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import structlog

from policy.facts import Peer
from server.gate import new_correlation
from server.log import wordless

log = structlog.get_logger()

START, END, RETURN = 0x0B, 0x1C, 0x0D
_BETWEEN = b"\r\n"
"""What some senders put after a frame. It is nobody's message."""
_CHUNK = 16 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of one feed in one worker; sizes in bytes, times in seconds."""

    max_message: int = 64 * 1024
    max_connections: int = 32
    idle_seconds: float = 900.0
    """Between two messages: senders keep their connection."""
    message_seconds: float = 30.0
    """From the first byte of a frame to its last."""
    write_seconds: float = 30.0
    handshake_seconds: float = 10.0


class Broken(Exception):
    """What was sent is no frame, or too large a one. `str()` says which, with nothing of it."""


class Frames:
    """Takes the bytes of one connection apart. Does no I/O."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = bytearray()

    @property
    def begun(self) -> bool:
        """A frame has begun whose end is yet to come."""
        return bool(self._held)

    def feed(self, data: bytes) -> None:
        """Takes what arrived; next() then gives what is whole of it."""
        self._held += data

    def next(self) -> bytes | None:
        """The content of the next whole frame, or None. Raises Broken."""
        while self._held and self._held[0] in _BETWEEN:
            del self._held[0]
        if not self._held:
            return None
        if self._held[0] != START:
            raise Broken("no start of a frame")
        end = self._held.find(END)
        if (end if end >= 0 else len(self._held)) > self._most + 1:
            raise Broken("too large a frame")
        if self._held.find(START, 1, end if end >= 0 else len(self._held)) > 0:
            raise Broken("a frame within a frame")
        if end < 0 or end + 1 == len(self._held):
            return None
        if self._held[end + 1] != RETURN:
            raise Broken("no end of a frame")
        content = bytes(self._held[1:end])
        del self._held[: end + 2]
        return content


Take = Callable[[bytes, Peer], bytes]
"""The acknowledgement of one message. Runs on a thread of the pool."""


@dataclass(eq=False, slots=True)
class _Line:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    frames: Frames
    address: str
    certificate: str
    deciding: bool = False
    """A message is being followed and will be answered."""
    last: bool = False
    """The server stops: no further message after this one."""
    task: asyncio.Task[None] | None = field(default=None)


class MllpServer:
    """One feed of one worker. `start` and `drain` run on its event loop, as do those of server.transport.HttpServer."""

    def __init__(
        self, name: str, take: Take, limits: Limits, pool: Executor, context: ssl.SSLContext | None = None
    ) -> None:
        """`name` stands in the audit trail and the log; without `context` there is no TLS."""
        self._name, self._take, self._limits, self._pool = name, take, limits, pool
        self._context = context
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None
        self._listening: socket.socket | None = None

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._lines)

    async def start(self, listening: socket.socket) -> None:
        """Accepts connections on a bound socket."""
        self._listening = listening
        self._server = await asyncio.start_server(
            self._accept,
            sock=listening,
            limit=_CHUNK,
            ssl=self._context,
            ssl_handshake_timeout=None if self._context is None else self._limits.handshake_seconds,
        )

    async def drain(self, impatient: asyncio.Event, seconds: float) -> None:
        """Accepts nobody from now on and returns when every message that is being followed has been answered.

        Whoever is still not answered after `seconds`, or when `impatient` is set, is cut off; the trail knows how the
        message ended, and the sender repeats it.
        """
        loop = asyncio.get_running_loop()
        if self._server is not None and self._listening is not None:
            self._server.close()
            # Another holder of the socket would keep senders waiting in a queue that nobody serves any more.
            self._listening.close()
        for line in tuple(self._lines):
            line.last = True
            if not line.deciding:
                line.writer.transport.abort()
        until = loop.time() + seconds
        while self._lines and not impatient.is_set() and loop.time() < until:
            await asyncio.sleep(0.02)
        for line in tuple(self._lines):
            line.writer.transport.abort()
            if line.task is not None:
                line.task.cancel()

    # One connection ---------------------------------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._lines) >= self._limits.max_connections:
            log.warning("overload", listener=self._name, count=len(self._lines))
            return writer.transport.abort()
        tls = writer.get_extra_info("ssl_object")
        certificate = "" if tls is None else hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest()
        peer = writer.get_extra_info("peername") or ("",)
        line = _Line(reader, writer, Frames(self._limits.max_message), str(peer[0]), certificate)
        self._lines.add(line)
        line.task = asyncio.get_running_loop().create_task(self._serve(line))
        return None

    async def _serve(self, line: _Line) -> None:
        try:
            while not line.last and (message := await self._message(line)) is not None:
                line.deciding = True
                answer = await self._answer(message, line)
                if answer is None:
                    return
                line.writer.write(bytes([START]) + answer + bytes([END, RETURN]))
                async with asyncio.timeout(self._limits.write_seconds):
                    await line.writer.drain()
                line.deciding = False
        except Broken as broken:
            log.warning("feed connection closed", listener=self._name, address=line.address, reason=str(broken))
        except TimeoutError:
            log.info("feed connection closed", listener=self._name, address=line.address, reason="too slow")
        except OSError:
            pass  # the sender is gone, and repeats what was not answered
        finally:
            self._lines.discard(line)
            # Nothing waits for a goodbye: what was answered has been handed over, or will never be taken.
            if line.writer.transport.get_write_buffer_size():
                line.writer.transport.abort()
            else:
                line.writer.close()

    async def _message(self, line: _Line) -> bytes | None:
        """The next message, or None when the sender has ended. Raises Broken, TimeoutError."""
        loop = asyncio.get_running_loop()
        until: float | None = None
        while (message := line.frames.next()) is None:
            if not line.frames.begun:
                until = loop.time() + self._limits.idle_seconds
            elif until is None or until > loop.time() + self._limits.message_seconds:
                until = loop.time() + self._limits.message_seconds
            async with asyncio.timeout_at(until):
                data = await line.reader.read(_CHUNK)
            if not data:
                if line.frames.begun:
                    raise Broken("half a frame")
                return None
            line.frames.feed(data)
        return message

    async def _answer(self, message: bytes, line: _Line) -> bytes | None:
        """The acknowledgement, or None where this node has a defect: then nothing is said that might not be true."""
        peer = Peer(self._name, line.address, line.certificate, new_correlation())
        answered = asyncio.get_running_loop().run_in_executor(self._pool, self._take, message, peer)
        await asyncio.wait({answered})
        if (defect := answered.exception()) is None:
            return answered.result()
        error, where = wordless(defect)
        log.error("defect", correlation=peer.correlation, listener=self._name, error=error, where=where)
        return None
