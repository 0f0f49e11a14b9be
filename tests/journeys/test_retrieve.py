"""Opening documents when not everything goes well, and in every packaging. Numbers: those of the acceptance list."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator

import pytest

from audit import search
from audit.event import Ending, Kind
from ihe import mtom
from ihe.names import Action
from simulators.consumer import envelope
from simulators.hospital import Script
from simulators.people import Person
from simulators.personae import ANNE, DAG
from tests.journeys.pilot import FAILURE, PARTIAL, SUCCESS, UNKNOWN_DOCUMENT, USUAL, Pilot, ids, invented, plain

LARGE = 3 * 1024 * 1024


def test_57_one_hidden_and_one_unknown_id_spoil_nothing(pilot: Pilot, patient: Person) -> None:
    """Of three ids one is delivered; the hidden and the unknown one get errors that differ in the ids alone."""
    shown, hidden = pilot.shared(patient, "ous", "A03-2", "E01-2")
    pilot.at(USUAL)
    repository, nobody = shown.source.repository_unique_id, invented(shown.unique_id)
    keys = [(repository, each) for each in (hidden.unique_id, shown.unique_id, nobody)]
    answer = pilot.consumer().open(keys, pilot.token(ANNE, patient.number))
    assert (answer.http_status, answer.status) == (200, PARTIAL)
    assert [each.content for each in answer.documents] == [shown.content]
    sentence = f"document {{}} is not available from repository {repository}"
    assert sorted(answer.errors) == sorted(
        (UNKNOWN_DOCUMENT, sentence.format(each), each) for each in (hidden.unique_id, nobody)
    )
    # Hidden or unknown at either place: nothing but the ids changes.
    turned = pilot.consumer().open([keys[2], keys[1], keys[0]], pilot.token(ANNE, patient.number))
    swapped = plain(turned, hidden.unique_id, nobody)
    assert plain(answer, hidden.unique_id, nobody)[2] == swapped[2]


def test_a_closed_hospital_fails_its_own_documents_only(pilot: Pilot, patient: Person) -> None:
    """One hospital does not answer: its document gets an error, the other's is delivered, and the list is untouched."""
    closed = pilot.shared(patient, "helg")
    running = pilot.shared(patient, "nlsh")
    pilot.at(USUAL)
    pilot.close_hospital("helg")
    try:
        assert ids(pilot.find(DAG, patient.number)) == {each.unique_id for each in (*closed, *running)}
        partly = pilot.open(DAG, patient.number, [*closed, *running])
        alone = pilot.open(DAG, patient.number, closed)
    finally:
        pilot.reopen_hospital("helg")
    assert partly.status == PARTIAL
    assert [each.content for each in partly.documents] == [running[0].content]
    assert alone.status == FAILURE
    for answer in (partly, alone):
        assert [(code, location) for code, _, location in answer.errors] == [
            ("XDSRepositoryError", closed[0].unique_id)
        ]


@pytest.fixture
def slow(pilot: Pilot) -> Iterator[None]:
    """OUS sends one MiB a second."""
    pilot.hospitals["ous"].script = Script(rate=1024 * 1024)
    yield
    pilot.hospitals["ous"].script = Script()


@pytest.mark.usefixtures("slow")
def test_65_a_caller_who_leaves_gets_no_more_and_the_trail_says_how_far_it_went(pilot: Pilot, patient: Person) -> None:
    """The connection is dropped in the middle of a document: the hospital is not read on, the event says partial."""
    (paper,) = pilot.shared(patient, least_bytes=LARGE)
    pilot.at(USUAL)
    hospital = pilot.hospitals["ous"]
    before = hospital.bytes_sent
    correlation = leave_in_the_middle(pilot, pilot.token(ANNE, patient.number), paper.unique_id)
    deadline = time.monotonic() + 10
    while [each.kind for each in search.exchange(pilot.trail, correlation)] != [Kind.RELEASING, Kind.RELEASED]:
        assert time.monotonic() < deadline, "no outcome was recorded"
        time.sleep(0.05)
    (opened,) = pilot.view_of(patient, correlation)["opened"]
    assert opened["ending"] == Ending.CALLER_GONE.value
    assert 0 < opened["bytes_sent"] < paper.size
    assert hospital.bytes_sent - before < paper.size
    # Whoever asks again gets the whole document: nothing half was kept.
    pilot.hospitals["ous"].script = Script()
    pilot.sees(ANNE, patient, [paper])


def leave_in_the_middle(pilot: Pilot, token: bytes, unique_id: str) -> str:
    """Asks for a document, reads some of it, and hangs up; the exchange's correlation id."""
    host, port = pilot.url.removeprefix("https://").split(":")
    body = (
        '<RetrieveDocumentSetRequest xmlns="urn:ihe:iti:xds-b:2007"><DocumentRequest>'
        "<RepositoryUniqueId>2.999.578.1.1</RepositoryUniqueId>"
        f"<DocumentUniqueId>{unique_id}</DocumentUniqueId></DocumentRequest></RetrieveDocumentSetRequest>"
    )
    writer = mtom.new_writer("0" * 32)
    message = writer.root(envelope(Action.RETRIEVE, body.encode(), token)) + writer.end()
    head = (
        f"POST /xds/repository HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {writer.content_type}\r\n"
        f"Content-Length: {len(message)}\r\n\r\n"
    )
    with (
        socket.create_connection((host, int(port)), timeout=20) as plain_socket,
        pilot.tls("caller").wrap_socket(plain_socket, server_hostname=host) as caller,
    ):
        caller.sendall(head.encode() + message)
        read = b""
        while len(read) < 300_000:
            chunk = caller.recv(65536)
            assert chunk, read[:200]
            read += chunk
    found = re.search(rb"(?i)x-correlation-id: ([0-9a-f]+)", read)
    assert found is not None
    return found[1].decode()


@pytest.mark.parametrize("packaged", [True, False], ids=["mtom", "simple"])
def test_a_retrieve_is_answered_in_the_packaging_it_came_in(pilot: Pilot, patient: Person, packaged: bool) -> None:
    """The same two documents arrive in parts of a package, or as base64 inside plain SOAP."""
    papers = pilot.shared(patient, "ous", "A03-2", "B03-2")
    pilot.at(USUAL)
    keys = [(each.source.repository_unique_id, each.unique_id) for each in papers]
    answer = pilot.consumer().open(keys, pilot.token(ANNE, patient.number), packaged=packaged)
    expected = "multipart/related" if packaged else "application/soap+xml"
    assert answer.headers["content-type"].startswith(expected)
    assert answer.status == SUCCESS
    # In simple SOAP documents stand in the order in which they arrived.
    assert {each.unique_id: each.content for each in answer.documents} == {
        each.unique_id: each.content for each in papers
    }
    assert {each.mime_type for each in answer.documents} == {"application/pdf"}


def test_a_packaged_query_is_answered_in_a_package(pilot: Pilot, patient: Person) -> None:
    """A stored query in MTOM packaging gets its list in MTOM packaging, entry by entry the same as in simple SOAP."""
    papers = pilot.shared(patient)
    pilot.at(USUAL)
    slots = [
        ("$XDSDocumentEntryPatientId", f"'{patient.patient_id}'"),
        ("$XDSDocumentEntryStatus", "('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')"),
    ]
    find_documents = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
    token = pilot.token(ANNE, patient.number)
    packaged = pilot.consumer().query(find_documents, slots, token, packaged=True)
    simple = pilot.consumer().query(find_documents, slots, token)
    assert packaged.headers["content-type"].startswith("multipart/related")
    assert simple.headers["content-type"].startswith("application/soap+xml")
    assert packaged.entries == simple.entries
    assert ids(packaged) == {each.unique_id for each in papers}
