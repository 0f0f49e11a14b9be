"""An independent SOAP stack, given nothing but the node's address, a certificate and a token, queries and retrieves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import zeep
from lxml import etree

from ihe.names import RIM, RS, WSSE, Action, QueryId
from simulators.people import Person
from simulators.personae import ANNE
from tests.journeys.pilot import SUCCESS, USUAL, Pilot

NAMES = {"rim": RIM, "rs": RS}
Toolkit = Callable[[str, bytes], Any]


class Assertion:
    """What zeep calls for each message: puts the token into the security header."""

    def __init__(self, token: bytes) -> None:
        self.token = token

    def apply(self, envelope: etree._Element, headers: dict[str, str]) -> tuple[etree._Element, dict[str, str]]:
        header = envelope.find("{*}Header")
        assert header is not None
        security = etree.SubElement(header, f"{{{WSSE}}}Security", nsmap={"wsse": WSSE})
        security.append(etree.fromstring(self.token))
        return envelope, headers

    def verify(self, envelope: etree._Element) -> etree._Element:
        return envelope


@pytest.fixture(scope="session")
def described(town: Pilot) -> Iterator[dict[str, tuple[Any, Any]]]:
    """Each service as zeep reads it from the running node, schemas and all, over mutual TLS."""
    folder = town.folder / "certificates"
    with requests.Session() as session:
        # Else the machine's own settings decide whom it trusts.
        session.trust_env = False
        session.cert = (str(folder / "caller.pem"), str(folder / "caller.key"))
        session.verify = str(folder / "ca.pem")
        transport = zeep.Transport(session=session)
        yield {
            name: (zeep.Client(f"{town.url}/xds/{name}?wsdl", transport=transport), transport)
            for name in ("registry", "repository")
        }


@pytest.fixture
def toolkit(described: dict[str, tuple[Any, Any]]) -> Toolkit:
    """A client of one service with a reader's token."""

    def client(name: str, token: bytes) -> Any:
        made, _ = described[name]
        made.wsse = Assertion(token)
        return made

    return client


def test_zeep_lists_a_patients_documents(pilot: Pilot, patient: Person, toolkit: Toolkit) -> None:
    """FindDocuments from the served description; the answer is read as XML, since zeep knows no substitution groups."""
    papers = pilot.shared(patient, "ous", "A03-2", "B03-2")
    pilot.at(USUAL)
    client = toolkit("registry", pilot.token(ANNE, patient.number))
    slots = {
        "$XDSDocumentEntryPatientId": f"'{patient.patient_id}'",
        "$XDSDocumentEntryStatus": "('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')",
    }
    with client.settings(raw_response=True):
        answer = client.service["DocumentRegistry_RegistryStoredQuery"](
            ResponseOption={"returnType": "LeafClass", "returnComposedObjects": True},
            AdhocQuery={
                "id": QueryId.FIND_DOCUMENTS.value,
                "Slot": [{"name": name, "ValueList": {"Value": [value]}} for name, value in slots.items()],
            },
        )
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/soap+xml")
    envelope = etree.fromstring(answer.content)
    assert envelope.findtext("{*}Header/{*}Action") == Action.QUERY.reply
    body = envelope.find("{*}Body")
    assert body is not None
    assert body[0].get("status") == SUCCESS
    values = {each.get("value") for each in body.iterfind(".//rim:ExternalIdentifier", NAMES)}
    assert {each.unique_id for each in papers} <= values
    assert len(body.findall(".//rim:ExtrinsicObject", NAMES)) == len(papers)


def test_zeep_opens_documents_and_reads_them_itself(pilot: Pilot, patient: Person, toolkit: Toolkit) -> None:
    """zeep sends simple SOAP, so the documents come inside the envelope, and zeep decodes them to the right bytes."""
    papers = pilot.shared(patient, "ous", "A03-2", "B03-2")
    pilot.at(USUAL)
    client = toolkit("repository", pilot.token(ANNE, patient.number))
    answer = client.service["DocumentRepository_RetrieveDocumentSet"](
        DocumentRequest=[
            {"RepositoryUniqueId": each.source.repository_unique_id, "DocumentUniqueId": each.unique_id}
            for each in papers
        ]
    )
    assert answer.RegistryResponse.status == SUCCESS
    assert answer.RegistryResponse.RegistryErrorList is None
    found = {each.DocumentUniqueId: each for each in answer.DocumentResponse}
    assert {key: each.Document for key, each in found.items()} == {each.unique_id: each.content for each in papers}
    assert {each.mimeType for each in found.values()} == {"application/pdf"}
    assert {each.RepositoryUniqueId for each in found.values()} == {"2.999.578.1.1"}


def test_zeep_reads_errors_and_faults_as_such(pilot: Pilot, patient: Person, toolkit: Toolkit) -> None:
    """An unknown id is an answer with an error list to zeep, and a token of yesterday is a fault."""
    pilot.shared(patient)
    pilot.at(USUAL)
    token = pilot.token(ANNE, patient.number)
    asked = [{"RepositoryUniqueId": "2.999.578.1.1", "DocumentUniqueId": "2.999.1.2.3"}]
    service = toolkit("repository", token).service
    answer = service["DocumentRepository_RetrieveDocumentSet"](DocumentRequest=asked)
    (error,) = answer.RegistryResponse.RegistryErrorList.RegistryError
    assert error.errorCode == "XDSDocumentUniqueIdError"
    assert answer.DocumentResponse == []
    pilot.at("2021-02-16T10:00:00+01:00")
    with pytest.raises(zeep.exceptions.Fault, match="attestation_has_expired") as fault:
        service["DocumentRepository_RetrieveDocumentSet"](DocumentRequest=asked)
    assert [each.localname for each in fault.value.subcodes] == ["MessageExpired"]
