"""ITI-51 over HTTP: a node that takes questions across patients answers them, under an action of their own."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from audit import search
from ihe import soap, xml
from ihe.names import Action, QueryId, ResponseStatus, Status
from simulators.consumer import adhoc_query, envelope
from simulators.papers import KIND_SYSTEM, KINDS, paper
from simulators.people import PEOPLE, SOURCES
from simulators.source import submission
from tests.nodes import loopback_node

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "conformance"
REPOSITORY = "1.1.4567332.1.9001"
FIRST, SECOND = PEOPLE[:2]
DE, KIND = "$XDSDocumentEntry", "A03-2"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A loopback node whose one agreement holds across patients, with a document of each of two patients."""
    folder = tmp_path_factory.mktemp("across")
    shutil.copytree(EXAMPLE, folder / "example")
    agreements = folder / "example" / "policy" / "agreements.toml"
    agreements.write_text(agreements.read_text() + "multi_patient = true\n")
    taken = {'[validation]\ncodes = "codes.toml"': '[query]\nmulti_patient = "any"'}
    with loopback_node(folder / "example", folder / "node", taken) as url:
        for number, person in enumerate((FIRST, SECOND)):
            body = submission([paper(person, SOURCES[0], KIND, number)]).body
            body = body.replace(SOURCES[0].repository_unique_id.encode(), REPOSITORY.encode())
            assert post(url, Action.REGISTER, body)[1].get("status") == ResponseStatus.SUCCESS
        yield url, folder / "node" / "state" / "audit"


def post(url: str, action: Action, body: bytes) -> tuple[soap.Answer, xml.Element, str]:
    """The answer, its body and the id of the exchange."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        headers = {"Content-Type": "application/soap+xml; charset=UTF-8"}
        connection.request("POST", "/xds/registry", envelope(action, body, None), headers)
        told = connection.getresponse()
        answer = soap.read_answer(told.read())
        assert answer.body is not None, answer.fault
        return answer, answer.body, told.headers["X-Correlation-Id"]
    finally:
        connection.close()


def test_one_question_finds_documents_of_several_patients(node: tuple[str, Path]) -> None:
    url, trail = node
    classes = (f"{DE}ClassCode", f"('{KINDS[KIND].class_code}^^{KIND_SYSTEM}')")
    people = (f"{DE}PatientId", f"('{FIRST.patient_id}','{SECOND.patient_id}')")
    approved = (f"{DE}Status", f"('{Status.APPROVED}')")
    for slots, expected in (
        ([people, approved], 2),
        ([classes, approved], 2),
        ([(people[0], f"'{FIRST.patient_id}'"), approved], 1),
    ):
        question = adhoc_query(QueryId.FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS, slots)
        answer, body, correlation = post(url, Action.MULTI_PATIENT_QUERY, question)
        assert answer.action == "urn:ihe:iti:2009:MultiPatientStoredQueryResponse"
        assert body.get("status") == ResponseStatus.SUCCESS
        assert sum(each.tag.endswith("ExtrinsicObject") for each in body.iter()) == expected
        (event,) = search.exchange(trail, correlation)
        assert (event.transaction, len({event.patient_id, *event.patients})) == ("ITI-51", expected)


def test_a_question_of_one_transaction_is_unknown_to_the_other(node: tuple[str, Path]) -> None:
    url, _ = node
    slots = [(f"{DE}PatientId", f"('{FIRST.patient_id}')"), (f"{DE}Status", f"('{Status.APPROVED}')")]
    for action, query_id in (
        (Action.QUERY, QueryId.FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS),
        (Action.MULTI_PATIENT_QUERY, QueryId.FIND_DOCUMENTS),
    ):
        _, body, _ = post(url, action, adhoc_query(query_id, slots))
        assert body.get("status") == ResponseStatus.FAILURE
        assert [each.get("errorCode") for each in body.iter() if each.tag.endswith("RegistryError")] == [
            "XDSUnknownStoredQuery"
        ]
