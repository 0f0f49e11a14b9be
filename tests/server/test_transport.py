"""server.transport: who is at the other end of the TLS handshake, and what is used of uvicorn's protocol class."""

from __future__ import annotations

import hashlib
import inspect
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from ihe.names import Action
from ihe.soap import Call, Reply
from policy.facts import Peer
from server.exchange import MIB, Limits
from server.transport import tls_context
from tests.attacks.front import eventually
from tests.ihe import messages
from tests.server.edge import Edge, echo, edge
from tests.server.wire import QUERY, Wire, head, post

SHORT = Limits(header_seconds=0.5, handshake_seconds=0.5, write_seconds=0.5, idle_seconds=1, floor=MIB)


@dataclass
class Seen:
    """The edge with TLS, the peers its transactions saw, and the callers' side of the trust."""

    edge: Edge
    peers: list[Peer]
    ca: trustme.CA
    fingerprint: str
    client: Callable[..., ssl.SSLContext]
    context: ssl.SSLContext


def written(folder: Path, name: str, *blobs: trustme.Blob) -> Path:
    path = folder / name
    path.write_bytes(b"".join(blob.bytes() for blob in blobs))
    return path


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder, ca = tmp_path_factory.mktemp("tls"), trustme.CA()
    served, mine = ca.issue_cert("localhost"), ca.issue_cert("system.example")
    peers: list[Peer] = []

    def remember(call: Call, peer: Peer) -> Reply:
        peers.append(peer)
        return Reply(200, "text/plain", b"x" * 24 * MIB) if call.action is Action.REGISTER else echo(call, peer)

    def client(shown: trustme.LeafCert | None = mine, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca.configure_trust(context)
        if shown is not None:
            shown.configure_cert(context)
        if version is not None:
            context.set_ciphers("DEFAULT@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
        return context

    context = tls_context(
        written(folder, "node.pem", *served.cert_chain_pems),
        written(folder, "node.key", served.private_key_pem),
        written(folder, "ca.pem", ca.cert_pem),
    )
    der = ssl.PEM_cert_to_DER_cert(mine.cert_chain_pems[0].bytes().decode())
    with edge(dict.fromkeys((Action.QUERY, Action.REGISTER), remember), SHORT, context=context) as one:
        yield Seen(one, peers, ca, hashlib.sha256(der).hexdigest(), client, context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_client_certificate_reaches_the_transaction_as_sha256(seen: Seen, version: ssl.TLSVersion) -> None:
    seen.peers.clear()
    with Wire(seen.edge.address, seen.client(version=version)) as wire:
        assert [wire.ask(post()).status for _ in range(2)] == [200, 200]
    assert [(peer.certificate, peer.address, peer.listener) for peer in seen.peers] == [
        (seen.fingerprint, "127.0.0.1", "front")
    ] * 2
    assert seen.peers[0].correlation != seen.peers[1].correlation


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("who", ["nobody", "a stranger", "a stranger who claims the name"])
def test_a_missing_or_foreign_certificate_ends_in_the_handshake(seen: Seen, who: str, version: ssl.TLSVersion) -> None:
    stranger = {
        "nobody": None,
        "a stranger": trustme.CA().issue_cert("other.example"),
        "a stranger who claims the name": trustme.CA(organization_name="trustme").issue_cert("system.example"),
    }[who]
    seen.peers.clear()
    context = seen.client(stranger, version)
    if version is ssl.TLSVersion.TLSv1_2:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Wire(seen.edge.address, context)
    else:
        # Here a client learns of the refusal when it reads, by the alert or by the end that follows it.
        with Wire(seen.edge.address, context) as wire, pytest.raises((ssl.SSLError, ConnectionError)):
            wire.ask(post())
    assert not seen.peers


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_older_than_1_2_is_refused(seen: Seen, version: ssl.TLSVersion) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Wire(seen.edge.address, seen.client(version=version))


def test_the_handshake_itself_demands_a_certificate(seen: Seen) -> None:
    # Seen from outside, a connection that comes without one ends in any case: there is nobody to name.
    assert seen.context.verify_mode is ssl.CERT_REQUIRED
    assert seen.context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_tls_1_3_session_is_never_resumed_and_a_1_2_one_brings_the_same_certificate(seen: Seen) -> None:
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        context = seen.client(version=version)
        with Wire(seen.edge.address, context) as wire:
            assert wire.ask(post()).status == 200
            assert isinstance(wire.socket, ssl.SSLSocket)
            session = wire.socket.session
        seen.peers.clear()
        made = socket.create_connection(seen.edge.address)
        with context.wrap_socket(made, server_hostname="localhost", session=session) as again:
            again.sendall(post())
            assert again.recv(15) == b"HTTP/1.1 200 OK"
            assert again.session_reused is (version is ssl.TLSVersion.TLSv1_2)
        assert [peer.certificate for peer in seen.peers] == [seen.fingerprint]


def test_plain_http_to_a_tls_listener_gets_nothing(seen: Seen) -> None:
    with Wire(seen.edge.address) as wire:
        wire.send(post())
        assert wire.closed()


def test_a_handshake_that_does_not_end_is_ended(seen: Seen) -> None:
    with Wire(seen.edge.address) as wire:
        begun = time.monotonic()
        assert wire.closed()
        assert 0.3 < time.monotonic() - begun < 2


def test_deadlines_hold_inside_tls_too(seen: Seen) -> None:
    with Wire(seen.edge.address, seen.client()) as wire:
        wire.send(head(length=len(QUERY))[:30])
        answer = wire.answer()
        assert (answer.status, answer.bare, wire.closed()) == (408, True, True)
    with Wire(seen.edge.address, seen.client()) as wire:
        assert wire.ask(b"\0\0\r\n\r\n").status == 400
        assert wire.closed()


def test_a_reader_that_stops_inside_tls_loses_its_connection(seen: Seen) -> None:
    with Wire(seen.edge.address, seen.client(), receive_buffer=4096) as wire:
        wire.send(post(messages.of(Action.REGISTER)))
        eventually(lambda: seen.edge.server.connections == 1)
        eventually(lambda: seen.edge.server.connections == 0)


def test_what_is_used_of_uvicorns_protocol_class_is_there() -> None:
    """A new version that renames any of it fails here first, and not on a caller's connection."""
    made = inspect.getsource(HttpToolsProtocol.__init__)
    for attribute in (
        *("parser", "app_state", "limit_concurrency", "server_state", "connections", "tasks", "transport", "flow"),
        *("cycle", "headers", "timeout_keep_alive_task", "timeout_keep_alive"),
    ):
        assert f"self.{attribute}" in made, attribute
    for callback in (
        *("connection_made", "connection_lost", "data_received", "send_400_response", "shutdown"),
        *("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_message_complete"),
        "on_response_complete",
    ):
        assert callable(getattr(HttpToolsProtocol, callback)), callback
    parameters = list(inspect.signature(HttpToolsProtocol.__init__).parameters)
    assert parameters == ["self", "config", "server_state", "app_state", "_loop"]
    cycle = inspect.getsource(RequestResponseCycle.__init__)
    for attribute in (
        *("disconnected", "keep_alive", "more_body", "message_event", "response_started", "response_complete"),
    ):
        assert f"self.{attribute}" in cycle, attribute
    assert {"connections", "tasks", "default_headers"} <= vars(ServerState()).keys()
    # Its own answers, which this node never gives: a page for what is no request, one for an exception, one for load.
    assert "send_400_response" in inspect.getsource(HttpToolsProtocol.data_received)
    assert "self.limit_concurrency is not None" in inspect.getsource(HttpToolsProtocol.on_headers_complete)
