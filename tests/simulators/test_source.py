"""What the simulated hospital sends is what a real one would: valid to the letter, about nobody, always the same."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from lxml import etree

from ihe import names, soap, values, xml
from simulators import papers, people, source
from simulators.papers import history, paper
from simulators.people import PEOPLE, SOURCES

RIM = f"{{{names.RIM}}}"
OUS = people.source("ous")
INGUNN = PEOPLE[0]
SUCCESS = f"""<s:Envelope xmlns:s="{names.SOAP12}"><s:Body><rs:RegistryResponse xmlns:rs="{names.RS}"
    status="{names.ResponseStatus.SUCCESS}"/></s:Body></s:Envelope>"""
FAILURE = f"""<s:Envelope xmlns:s="{names.SOAP12}"><s:Body><rs:RegistryResponse xmlns:rs="{names.RS}"
    status="{names.ResponseStatus.FAILURE}"><rs:RegistryErrorList>
    <rs:RegistryError errorCode="XDSRegistryMetadataError" codeContext="size is missing" location="/a/b"
      severity="{names.Severity.ERROR}"/><rs:RegistryError errorCode="XDSRegistryError" codeContext="and more"/>
    </rs:RegistryErrorList></rs:RegistryResponse></s:Body></s:Envelope>"""
FAULT = f"""<s:Envelope xmlns:s="{names.SOAP12}"><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code>
    <s:Reason><s:Text xml:lang="en">who are you</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>"""


def read(body: bytes) -> etree._Element:
    return xml.read(body)


def slots(owner: etree._Element) -> dict[str, list[str]]:
    return {
        slot.get("name", ""): [value.text or "" for value in slot.iter(f"{RIM}Value")]
        for slot in owner.findall(f"{RIM}Slot")
    }


def codes(owner: etree._Element, scheme: str) -> list[tuple[str, str]]:
    return [
        (each.get("nodeRepresentation", ""), slots(each)["codingScheme"][0])
        for each in owner.findall(f"{RIM}Classification")
        if each.get("classificationScheme") == scheme
    ]


@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: person.given)
def test_every_submission_is_valid_against_the_schema(person: people.Person) -> None:
    for sent in source.submissions(history(person, 20, 3), home="urn:oid:2.999.1", tell_signing=True):
        assert xml.schema("lcm").findings(read(sent.body)) == ()


def test_a_submission_says_all_that_the_norwegian_profile_asks() -> None:
    made = paper(INGUNN, OUS, "A13-2", 7)
    root = read(source.submission([made], home="urn:oid:2.999.1", tell_signing=True).body)
    entry = root.find(f".//{RIM}ExtrinsicObject")
    assert entry is not None
    assert entry.get("home") == "urn:oid:2.999.1"
    assert entry.get("objectType") == names.STABLE_ENTRY
    said = slots(entry)
    assert said["hash"] == [hashlib.sha1(made.content).hexdigest()]
    assert said["size"] == [str(len(made.content))]
    assert said["repositoryUniqueId"] == ["2.999.578.1.1"]
    assert said["languageCode"] == ["nb-NO"]
    assert said["legalAuthenticator"] == [made.author.xcn]
    assert said[names.SIGNED_AT] == [source.dtm(made.signed_at)]
    assert [value.split("|")[0] for value in said["sourcePatientInfo"]] == ["PID-3", "PID-5", "PID-7", "PID-8"]
    assert codes(entry, names.EntryScheme.CLASS_CODE) == [("A00-1", "2.16.578.1.12.4.1.1.9602")]
    assert codes(entry, names.EntryScheme.TYPE_CODE) == [("A13-2", "2.16.578.1.12.4.1.1.9602")]
    assert codes(entry, names.EntryScheme.CONFIDENTIALITY_CODE) == [
        ("N", "2.16.578.1.12.4.1.1.9603"),
        ("N", "2.16.840.1.113883.5.25"),
    ]
    assert codes(entry, names.EntryScheme.FACILITY_TYPE_CODE)[0][1] == "2.16.578.1.12.4.1.1.1303"
    assert codes(entry, names.EntryScheme.PRACTICE_SETTING_CODE)[0][1] == "2.16.578.1.12.4.1.1.8653"
    author = next(each for each in entry if each.get("classificationScheme") == names.EntryScheme.AUTHOR)
    assert slots(author)["authorInstitution"] == [OUS.xon, made.department.xon]
    assert all(values.xon(value) is None for value in slots(author)["authorInstitution"])
    assert values.xcn(slots(author)["authorPerson"][0]) is None
    assert all(values.patient_field(value) is None for value in said["sourcePatientInfo"])


def test_what_nobody_signed_has_no_signature_and_no_time_of_it() -> None:
    root = read(source.submission([paper(INGUNN, OUS, "A03-2", 1, signed=False)], tell_signing=True).body)
    entry = root.find(f".//{RIM}ExtrinsicObject")
    assert entry is not None
    assert not {"legalAuthenticator", names.SIGNED_AT} & set(slots(entry))
    assert entry.get("home") is None


def test_no_id_occurs_twice_and_every_reference_leads_somewhere() -> None:
    made = [paper(INGUNN, OUS, "A03-2", number) for number in range(4)]
    root = read(source.submission(made).body)
    ids = [each.get("id") for each in root.iter(f"{RIM}*") if each.get("id")]
    assert len(set(ids)) == len(ids)
    for attribute in ("classifiedObject", "registryObject", "sourceObject", "targetObject"):
        assert {each.get(attribute) for each in root.iter(f"{RIM}*") if each.get(attribute)} <= set(ids)


def test_a_new_version_names_the_one_it_replaces() -> None:
    old, new = paper(INGUNN, OUS, "A03-2", 1), paper(INGUNN, OUS, "A03-2", 2)
    sent = source.submission([new], replaces={new.unique_id: old.entry_uuid})
    root = read(sent.body)
    assert xml.schema("lcm").findings(root) == ()
    found = [
        each for each in root.iter(f"{RIM}Association") if each.get("associationType") == names.AssociationType.RPLC
    ]
    assert [(each.get("sourceObject"), each.get("targetObject")) for each in found] == [
        (new.entry_uuid, old.entry_uuid)
    ]
    with pytest.raises(ValueError, match="of the submission"):
        source.submission([new], replaces={old.unique_id: new.entry_uuid})


def test_a_submission_sent_again_is_the_same_and_another_is_not() -> None:
    made = paper(INGUNN, OUS, "A03-2", 1)
    assert source.submission([made]) == source.submission([made])
    later = source.submission([made], submitted=made.created + timedelta(days=1))
    assert later.unique_id != source.submission([made]).unique_id


@pytest.mark.parametrize(
    "mixture",
    [[], [paper(INGUNN, OUS, "A03-2", 1), paper(PEOPLE[1], OUS, "A03-2", 1)],
     [paper(INGUNN, OUS, "A03-2", 1), paper(INGUNN, SOURCES[1], "A03-2", 1)]],
    ids=["nothing", "two patients", "two hospitals"],
)  # fmt: skip
def test_a_submission_is_about_one_patient_from_one_hospital(mixture: list[papers.Paper]) -> None:
    with pytest.raises(ValueError, match="one patient"):
        source.submission(mixture)


def test_times_are_told_in_utc() -> None:
    assert source.dtm(datetime.fromisoformat("2020-11-10T00:30:00+01:00")) == "20201109233000"
    made = paper(INGUNN, OUS, "A03-2", 1, created=datetime(2020, 11, 10, tzinfo=UTC))
    assert made.service_start <= made.service_stop <= made.created


@dataclass
class Registry:
    """A server that keeps what it was sent and says what it was told to say."""

    url: str = ""
    received: list[tuple[str, bytes, dict[str, Any]]] = field(default_factory=list)


@contextmanager
def registry(answer: bytes, status: int = 200, context: ssl.SSLContext | None = None) -> Iterator[Registry]:
    kept = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            peer = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
            kept.received.append((self.headers["Content-Type"], body, dict(peer or {})))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    kept.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}/registry"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_a_submission_travels_over_mutual_tls_and_the_answer_is_read(tmp_path: Path) -> None:
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(serving)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    hospital = authority.issue_cert(common_name="ous")
    trust, certificate, key = tmp_path / "ca.pem", tmp_path / "ous.pem", tmp_path / "ous.key"
    authority.cert_pem.write_to_path(trust)
    hospital.cert_chain_pems[0].write_to_path(certificate)
    hospital.private_key_pem.write_to_path(key)
    sent = source.submission([paper(INGUNN, OUS, "A03-2", 1)])
    with registry(SUCCESS.encode(), context=serving) as kept:
        outcome = source.submit(kept.url, sent, source.tls(trust, certificate, key), message_id="urn:uuid:1")
        stranger = ssl.create_default_context(cafile=trust)
        with pytest.raises(OSError, match=r"(?i)certificate|closed|reset|eof|broke"):
            source.submit(kept.url, sent, stranger)
    assert outcome == source.Outcome(200, names.ResponseStatus.SUCCESS, ())
    [(content_type, message, peer)] = kept.received
    assert ((("commonName", "ous"),)) in peer["subject"]
    call = soap.read_call(message, content_type, frozenset(names.Action))
    assert call.action is names.Action.REGISTER
    assert call.message_id == "urn:uuid:1"
    assert call.body.tag == names.Action.REGISTER.body


@pytest.mark.parametrize(
    ("answer", "status", "expected"),
    [
        (
            FAILURE,
            200,
            lambda said: (
                said.status == names.ResponseStatus.FAILURE
                and [each.code for each in said.errors] == ["XDSRegistryMetadataError", "XDSRegistryError"]
                and said.errors[0].context == "size is missing"
                and said.errors[0].location == "/a/b"
            ),
        ),
        (FAULT, 500, lambda said: not said.status and said.fault == "who are you"),
        ("<html/>", 502, lambda said: not said.status and said.fault.startswith("no SOAP answer")),
        ("", 503, lambda said: not said.status and said.fault),
        (FAULT.replace("Fault", "Other"), 200, lambda said: said.fault == "the answer is no RegistryResponse"),
    ],
    ids=["failure", "fault", "html", "nothing", "something else"],
)
def test_any_answer_is_understood(answer: str, status: int, expected: Callable[[source.Outcome], bool]) -> None:
    sent = source.submission([paper(INGUNN, OUS, "A03-2", 1)])
    with registry(answer.encode(), status) as kept:
        outcome = source.submit(kept.url, sent, None)
    assert outcome.http_status == status
    assert expected(outcome), outcome


def test_a_source_never_speaks_in_the_open() -> None:
    sent = source.submission([paper(INGUNN, OUS, "A03-2", 1)])
    for url in ("http://registry.example.no/", "ftp://127.0.0.1/", "https://127.0.0.1/"):
        with pytest.raises(ValueError, match="certificate"):
            source.submit(url, sent, None)


def test_what_an_address_holds_cannot_break_the_message() -> None:
    message = source.envelope(b"<x/>", "https://a.example.no/?a=1&b=<2>", "urn:x:<&>")
    root = read(message)
    assert root.findtext(f".//{{{names.WSA}}}To") == "https://a.example.no/?a=1&b=<2>"
    assert root.findtext(f".//{{{names.WSA}}}MessageID") == "urn:x:<&>"
