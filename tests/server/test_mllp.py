"""server.mllp: HL7 v2 messages over real connections, plain and TLS, from senders of every kind."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from policy.facts import Peer
from server.mllp import Broken, Frames, Limits, MllpServer
from server.pool import Pool
from server.transport import tls_context
from tests.nodes import free_socket, loop_thread, on


def framed(content: bytes) -> bytes:
    return b"\x0b" + content + b"\x1c\r"


@dataclass
class Listening:
    """A server around a transaction of the test's own."""

    server: MllpServer
    address: tuple[str, int]
    loop: asyncio.AbstractEventLoop
    peers: list[Peer] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    impatient: asyncio.Event = field(default_factory=asyncio.Event)
    hold: threading.Event = field(default_factory=threading.Event)
    holding: threading.Event = field(default_factory=threading.Event)

    def take(self, message: bytes, peer: Peer) -> bytes:
        self.messages.append(message)
        self.peers.append(peer)
        if message.startswith(b"hold"):
            self.holding.set()
            assert self.hold.wait(20)
        if message == b"defect 15837510047":
            raise ValueError("15837510047")
        return b"ack " + message

    def call(self) -> socket.socket:
        made = socket.create_connection(self.address, 5)
        made.settimeout(5)
        return made

    def drain(self, seconds: float) -> None:
        on(self.loop, self.server.drain(self.impatient, seconds))


@contextmanager
def listening(limits: Limits | None = None, context: ssl.SSLContext | None = None) -> Iterator[Listening]:
    pool = Pool(2)
    with loop_thread() as loop:
        here: list[Listening] = []

        def take(message: bytes, peer: Peer) -> bytes:
            return here[0].take(message, peer)

        async def start() -> Listening:
            server = MllpServer("feed.test", take, limits or Limits(), pool, context)
            bound = free_socket()
            await server.start(bound)
            return Listening(server, bound.getsockname(), loop)

        here.append(on(loop, start()))
        try:
            yield here[0]
        finally:
            here[0].hold.set()
            here[0].drain(1.0)
            pool.shutdown()


def answer(connection: socket.socket) -> bytes:
    """One whole frame, or what came before the other end closed."""
    received = b""
    while not received.endswith(b"\x1c\r"):
        piece = connection.recv(4096)
        if not piece:
            return received
        received += piece
    return received


def gone(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_messages_on_one_connection_are_answered_in_turn() -> None:
    with listening() as feed, feed.call() as sender:
        for content in (b"one", b"two"):
            sender.sendall(framed(content))
            assert answer(sender) == framed(b"ack " + content)
        sender.sendall(framed(b"three") + b"\r\n" + framed(b"four"))
        received = b""
        while received.count(b"\x1c\r") < 2:
            received += sender.recv(4096)
        assert received == framed(b"ack three") + framed(b"ack four")
        assert {each.listener for each in feed.peers} == {"feed.test"}
        assert len({each.correlation for each in feed.peers}) == 4


def test_a_message_may_arrive_in_pieces() -> None:
    with listening() as feed, feed.call() as sender:
        for byte in framed(b"slowly"):
            sender.sendall(bytes([byte]))
        assert answer(sender) == framed(b"ack slowly")


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"MSH|^~\\&|\r\x1c\r",
        b"\x0bone\x1cx",
        b"\x0bone\x0btwo\x1c\r",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x0b" + b"x" * 2000,
        b"\x0b" + b"x" * 2000 + b"\x1c\r",
    ],
)
def test_what_is_no_frame_closes_the_connection_and_nothing_else(raw: bytes) -> None:
    with listening(Limits(max_message=1024)) as feed, feed.call() as other, feed.call() as sender:
        sender.sendall(raw)
        assert gone(sender)
        assert feed.messages == []
        other.sendall(framed(b"x" * 1024))
        assert answer(other) == framed(b"ack " + b"x" * 1024)


def test_half_a_message_is_never_followed() -> None:
    with listening() as feed:
        with feed.call() as sender:
            sender.sendall(b"\x0bhalf")
            sender.shutdown(socket.SHUT_WR)
            assert gone(sender)
        assert feed.messages == []


def test_a_connection_that_only_waits_is_ended() -> None:
    with listening(Limits(idle_seconds=0.2, message_seconds=0.2)) as feed:
        with feed.call() as idle, feed.call() as slow:
            slow.sendall(b"\x0b")
            begun = time.monotonic()
            assert gone(idle)
            assert gone(slow)
            assert time.monotonic() - begun < 3


def test_a_message_sent_drop_by_drop_is_ended_too() -> None:
    with listening(Limits(message_seconds=0.5)) as feed, feed.call() as sender:
        begun = time.monotonic()
        sender.sendall(b"\x0b")
        with pytest.raises(ConnectionError):
            dripping(sender, until=begun + 5)
        assert time.monotonic() - begun < 3


def dripping(sender: socket.socket, until: float) -> None:
    while time.monotonic() < until:
        sender.sendall(b"x")
        time.sleep(0.05)


def test_there_are_never_more_connections_than_allowed() -> None:
    with listening(Limits(max_connections=2)) as feed, feed.call() as first, feed.call() as second:
        for each in (first, second):
            each.sendall(framed(b"in"))
            assert answer(each) == framed(b"ack in")
        with feed.call() as third:
            assert gone(third)
        second.close()
        until = time.monotonic() + 5
        while feed.server.connections > 1 and time.monotonic() < until:
            time.sleep(0.01)
        with feed.call() as third:
            third.sendall(framed(b"room"))
            assert answer(third) == framed(b"ack room")


def test_a_defect_ends_its_connection_without_a_word_of_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    with listening() as feed, feed.call() as sender, feed.call() as other:
        sender.sendall(framed(b"defect 15837510047"))
        assert gone(sender)
        other.sendall(framed(b"well"))
        assert answer(other) == framed(b"ack well")
    told = capsys.readouterr()
    assert "15837510047" not in told.out + told.err
    assert "Traceback" not in told.out + told.err


def test_what_is_being_followed_is_answered_before_the_end() -> None:
    with listening() as feed, feed.call() as idle, feed.call() as sender:
        sender.sendall(framed(b"hold"))
        assert feed.holding.wait(5)
        draining = threading.Thread(target=feed.drain, args=(10.0,))
        draining.start()
        assert gone(idle)
        feed.hold.set()
        assert answer(sender) == framed(b"ack hold")
        assert gone(sender)
        draining.join(10)
        with pytest.raises(OSError, match=r".*"):
            feed.call()


def test_what_takes_too_long_at_the_end_is_cut() -> None:
    with listening() as feed, feed.call() as sender:
        sender.sendall(framed(b"hold"))
        assert feed.holding.wait(5)
        begun = time.monotonic()
        feed.drain(0.3)
        assert gone(sender)
        assert time.monotonic() - begun < 3


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    folder = tmp_path_factory.mktemp("tls")
    made = trustme.CA()
    made.cert_pem.write_to_path(str(folder / "ca.pem"))
    server = made.issue_cert("127.0.0.1")
    server.private_key_pem.write_to_path(str(folder / "server.key"))
    for blob in server.cert_chain_pems:
        blob.write_to_path(str(folder / "server.pem"), append=True)
    return made, folder


def client(authority: tuple[trustme.CA, Path], issuer: trustme.CA | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority[1] / "ca.pem"))
    if issuer is not None:
        issuer.issue_cert("source.example").configure_cert(context)
    return context


def test_over_tls_the_senders_certificate_is_known(authority: tuple[trustme.CA, Path]) -> None:
    folder = authority[1]
    context = tls_context(folder / "server.pem", folder / "server.key", folder / "ca.pem")
    with listening(context=context) as feed:
        with client(authority, authority[0]).wrap_socket(feed.call(), server_hostname="127.0.0.1") as sender:
            sender.sendall(framed(b"secret"))
            assert answer(sender) == framed(b"ack secret")
        assert len(feed.peers[0].certificate) == 64
        for stranger in (None, trustme.CA()):
            with pytest.raises(OSError, match=r".*"):
                speak(client(authority, stranger), feed)
        with feed.call() as plain:
            plain.sendall(framed(b"plain"))
            assert b"ack" not in answer(plain)
        assert feed.messages == [b"secret"]


def speak(context: ssl.SSLContext, feed: Listening) -> None:
    with context.wrap_socket(feed.call(), server_hostname="127.0.0.1") as sender:
        sender.sendall(framed(b"hello"))
        if not sender.recv(1):
            raise ConnectionError


@given(st.lists(st.binary(max_size=40).filter(lambda each: not {0x0B, 0x1C} & set(each)), max_size=5), st.data())
def test_frames_are_the_same_however_they_are_cut(contents: list[bytes], data: st.DataObject) -> None:
    raw = b"".join(map(framed, contents))
    frames, found = Frames(64), []
    while raw:
        size = data.draw(st.integers(1, len(raw)))
        frames.feed(raw[:size])
        raw = raw[size:]
        while (content := frames.next()) is not None:
            found.append(content)
    assert found == contents
    assert not frames.begun


@given(st.lists(st.binary(max_size=30), max_size=6))
def test_no_bytes_break_the_reader(pieces: list[bytes]) -> None:
    frames = Frames(16)
    try:
        for piece in pieces:
            frames.feed(piece)
            while (content := frames.next()) is not None:
                assert len(content) <= 16
    except Broken:
        pass
