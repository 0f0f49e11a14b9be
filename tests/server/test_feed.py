"""A running node takes both patient feeds: from an independent toolkit by the served description, and over MLLP."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
import zeep
from typer.testing import CliRunner

from policy.reading import read
from registry.database.engine import open_database
from registry.people.book import PatientBook, Person
from registry.people.identities import Admission
from server.check import policy_texts
from server.cli import app
from server.settings import load
from server.wiring import Node
from tests.conformance.runs import FED, MLLP
from tests.ihe.feeds import a40, adt
from tests.nodes import CONFORMANCE, configured, free_port, free_socket, loop_thread, loopback_node, on

KIT = "1.3.6.1.4.1.21367.2005.13.20.1000"


@dataclass
class Fed:
    """A node that knows only whom it is fed."""

    url: str
    mllp: tuple[str, int]
    folder: Path

    def of(self, number: str) -> Person:
        database = open_database(load(self.folder / "innsyn.toml").database_url)
        try:
            return PatientBook(database).of(cx(number))
        finally:
            database.close()


def cx(number: str) -> str:
    return f"{number}^^^&{KIT}&ISO"


def exchanged(connection: socket.socket, message: bytes) -> list[str]:
    """MSA-1 and MSA-2 of the acknowledgement."""
    connection.sendall(b"\x0b" + message + b"\x1c\r")
    received = b""
    while not received.endswith(b"\x1c\r"):
        piece = connection.recv(4096)
        assert piece, received
        received += piece
    return received.decode().split("\r")[1].split("|")[1:3]


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fed]:
    folder = tmp_path_factory.mktemp("fed")
    port = free_port()
    two = {'name = "conformance"': 'name = "conformance"\nworkers = 2'}
    with loopback_node(CONFORMANCE, folder, {MLLP: f"127.0.0.1:{port}", **FED, **two}) as url:
        yield Fed(url, ("127.0.0.1", port), folder)


def test_messages_over_mllp_change_who_is_known_and_who_is_one(fed: Fed) -> None:
    with socket.create_connection(fed.mllp, 5) as sender:
        assert exchanged(sender, adt("A04", cx("m1"))) == ["AA", "m-1"]
        assert exchanged(sender, adt("A01", cx("m2"))) == ["AA", "m-1"]
        assert exchanged(sender, a40(cx("m2"), cx("m1"))) == ["AA", "m-1"]
        assert exchanged(sender, a40(cx("m2"), cx("m1"))) == ["AE", "m-1"]
        assert exchanged(sender, adt("A03", cx("m3"))) == ["AR", "m-1"]
    assert fed.of("m1").survivor == cx("m2")
    assert not fed.of("m3").known


def device(oid: str) -> dict[str, Any]:
    return {"typeCode": "SND", "device": {"id": [{"root": oid}], "classCode": "DEV", "determinerCode": "INSTANCE"}}


def message(name: str, number: str, subsumed: str = "") -> dict[str, Any]:
    """A message as zeep takes it."""
    event: dict[str, Any] = {
        "id": [{"nullFlavor": "NA"}],
        "statusCode": {"code": "active"},
        "subject1": {"patient": {"id": [{"root": KIT, "extension": number}], "statusCode": {"code": "active"}}},
        "custodian": "",
    }
    if subsumed:
        role = {"id": [{"root": KIT, "extension": subsumed}]}
        prior = {"statusCode": {"code": "obsolete"}, "subject1": {"priorRegisteredRole": role}}
        event["replacementOf"] = [{"priorRegistration": prior}]
    return {
        "ITSVersion": "XML_1.0",
        "id": {"root": "2.999.50.1", "extension": f"m-{number}"},
        "creationTime": {"value": "20260302090000"},
        "interactionId": {"root": "2.16.840.1.113883.1.6", "extension": name},
        "processingCode": {"code": "P"},
        "processingModeCode": {"code": "T"},
        "acceptAckCode": {"code": "AL"},
        "receiver": [device("2.999.60.1")],
        "sender": device("2.999.60.2"),
        "controlActProcess": {"subject": {"registrationEvent": event}},
    }


def test_an_independent_toolkit_feeds_by_the_served_description(fed: Fed) -> None:
    with requests.Session() as session:
        session.trust_env = False
        client = zeep.Client(f"{fed.url}/pix/feed?wsdl", transport=zeep.Transport(session=session))
        for number in ("z1", "z2"):
            for name in ("PRPA_IN201301UV02", "PRPA_IN201302UV02"):
                answer = client.service[f"DocumentRegistry_{name}"](**message(name, number))
                assert answer.acknowledgement.typeCode.code == "CA"
                assert answer.acknowledgement.targetMessage.id.extension == f"m-{number}"
        name = "PRPA_IN201304UV02"
        for expected in ("CA", "CE"):
            answer = client.service[f"DocumentRegistry_{name}"](**message(name, "z2", "z1"))
            assert answer.acknowledgement.typeCode.code == expected
        (detail,) = answer.acknowledgement.acknowledgementDetail
        assert detail.text == "the subsumed identifier already lives on under another"
        assert detail.location == [
            "/PRPA_IN201304UV02/controlActProcess/subject/registrationEvent/replacementOf/priorRegistration"
            "/subject1/priorRegisteredRole/id"
        ]
    assert fed.of("z1").survivor == cx("z2")


def test_nothing_of_a_hostile_message_reaches_the_log(fed: Fed) -> None:
    secret = "KANARI15837510047"
    for raw in (
        b"\x0b" + adt("A04", f"{secret}\\.sp99999999999\\") + b"\x1c\r",
        b"\x0b" + adt("A40", secret) + b"\x1c\r",
        b"\x0bMSH|^~\\&|" + secret.encode() * 1000 + b"\x1c\r",
        secret.encode(),
        b"\x0b" + secret.encode() * 10_000,
    ):
        with socket.create_connection(fed.mllp, 5) as sender:
            with suppress(OSError):  # the node may hang up before all of it is sent
                sender.sendall(raw)
                sender.shutdown(socket.SHUT_WR)
                while sender.recv(4096):
                    pass
    log = (fed.folder / "node.log").read_text()
    assert "feed connection closed" in log
    for word in ("KANARI", "15837510047", "Traceback", "defect"):
        assert word not in log


@pytest.mark.parametrize("way", ["iti44", "iti8"])
def test_the_simulated_register_feeds_it_as_any_other(fed: Fed, way: str) -> None:
    target = f"{fed.url}/pix/feed" if way == "iti44" else f"{fed.mllp[0]}:{fed.mllp[1]}"
    one, other = (cx(f"{way}-{number}") for number in (1, 2))
    for words in ((one,), (other,), (other, "--subsumed", one)):
        done = CliRunner().invoke(app, ["simulate", "feed", target, *words])
        assert (done.exit_code, done.stdout[:6]) == (0, "taken:"), done.output
    again = CliRunner().invoke(app, ["simulate", "feed", target, other, "--subsumed", one])
    assert again.exit_code == 1
    assert ("already lives on" if way == "iti44" else "205^Duplicate key identifier") in again.stderr
    assert fed.of(f"{way}-1").survivor == other


def test_over_tls_only_the_configured_sender_is_listened_to(tmp_path: Path) -> None:
    ca = trustme.CA()
    folder = tmp_path / "tls"
    folder.mkdir()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificates = {name: ca.issue_cert(name) for name in ("127.0.0.1", "register.example", "other.example")}
    for name, each in certificates.items():
        each.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        each.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
        (folder / f"{name}.key").chmod(0o600)
    sender_of = '[identity.register]\nmay_feed = true\ncertificates = ["{}"]\n\n[identity.toolkit]'
    tls = (
        'identity = "register"\ncertificate = "{0}/127.0.0.1.pem"\nkey = "{0}/127.0.0.1.key"\nclient_ca = "{0}/ca.pem"'
    )
    changes = {
        **FED,
        'identity = "toolkit"\n\n[hospital.stub]': f"{tls.format(folder)}\n\n[hospital.stub]",
        "[identity.toolkit]": sender_of.format(folder / "register.example.pem"),
    }
    config = configured(tmp_path / "node", changes)

    async def start() -> tuple[Node, Any, tuple[str, int]]:
        node = Node(config, 1, read(policy_texts(config.node.policy), config.node.open_agreements, 1))
        await node.start()
        server, bound = node.feed_server("kit"), free_socket()
        await server.start(bound)
        return node, server, bound.getsockname()

    with loop_thread() as loop:
        node, server, address = on(loop, start())
        try:
            assert node.store.admission == Admission(by_registration=False)
            told = {}
            for name in ("other.example", "register.example"):
                context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
                certificates[name].configure_cert(context)
                with context.wrap_socket(socket.create_connection(address, 5), server_hostname="127.0.0.1") as sender:
                    told[name] = exchanged(sender, adt("A04", cx("t1")))[0]
                known = PatientBook(node.database).of(cx("t1")).known
                assert known is (name == "register.example")
            assert told == {"other.example": "AR", "register.example": "AA"}
        finally:
            on(loop, server.drain(asyncio.Event(), 1.0))
            on(loop, node.close())
