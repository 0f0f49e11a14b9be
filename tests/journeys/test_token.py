"""Who may ask at all: purpose, role, login and what the token says. Numbers: those of the acceptance list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from ihe import signature, xml
from ihe.names import DS, SAML, Action
from ihe.soap import SECURITY_REFUSED
from simulators.consumer import Answered, envelope, find_documents
from simulators.papers import Paper
from simulators.people import Person
from simulators.personae import ANNE, CARL
from simulators.sts import KeyPair, Need
from tests.journeys.pilot import FAILURE, USUAL, Pilot
from tests.tools import xsw

_ID = 'xmlns="urn:hl7-org:v3" xsi:type="II" displayable="false"'


def refused(pilot: Pilot, person: Person, papers: tuple[Paper, ...], token: bytes, reason: str, subcode: str) -> None:
    """Query and retrieve end in the same fault and give nothing; the trail names the reason."""
    consumer = pilot.consumer()
    asked = consumer.find(person.patient_id, token)
    opened = consumer.open([(each.source.repository_unique_id, each.unique_id) for each in papers], token)
    faulted(pilot, asked, reason, subcode)
    faulted(pilot, opened, reason, subcode)


def faulted(pilot: Pilot, answer: Answered, reason: str, subcode: str) -> None:
    """A Sender fault with this subcode. Rows of the token's truth tell no reason, those of its content their code."""
    assert answer.http_status == 500
    assert answer.fault
    assert f">{subcode}<".encode() in answer.raw
    assert answer.fault == (SECURITY_REFUSED if subcode == "wsse:FailedCheck" else reason)
    assert (answer.entries, answer.documents) == ((), ())
    assert f"  {reason}: " in pilot.explained(answer)


def resigned(token: bytes, change: Callable[[xml.Element], object], pair: KeyPair) -> bytes:
    """What the token service would have issued had it believed something else."""
    assertion = xml.read(token)
    found = assertion.find(f"{{{DS}}}Signature")
    assert found is not None
    assertion.remove(found)
    change(assertion)
    return xml.write(signature.sign(assertion, pair.private_key, pair.certificate))


def provider(assertion: xml.Element, root: str, extension: str) -> None:
    """Puts another provider-identifier into the token."""
    said = f'<id {_ID} xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" extension="{extension}" root="{root}"/>'
    for attribute in assertion.iter(f"{{{SAML}}}Attribute"):
        if attribute.get("Name", "").endswith(":provider-identifier"):
            attribute[0].text = said
            return
    raise AssertionError("the token names no provider-identifier")


def test_20_a_citizen_gets_nothing_on_this_route(pilot: Pilot, patient: Person) -> None:
    """The patient's own token, from the citizens' token service, is refused by its channel."""
    papers = pilot.shared(patient)
    pilot.at(USUAL)
    token = pilot.citizens.citizen("Prøve Innbygger", patient.number, pilot.now())
    refused(pilot, patient, papers, token, "CHANNEL_NOT_ALLOWED", "wsse:FailedAuthentication")


def test_21_a_token_is_for_one_patient(pilot: Pilot, patient: Person) -> None:
    """Anne's token is for one patient; a query about another fails and alarms the operators."""
    other = pilot.patient()
    papers = pilot.shared(other)
    pilot.at(USUAL)
    token = pilot.token(ANNE, patient.number)
    asked = pilot.consumer().find(other.patient_id, token)
    assert (asked.status, asked.entries) == (FAILURE, ())
    assert [(code, context) for code, context, _ in asked.errors] == [("XDSRegistryError", "PATIENT_MISMATCH")]
    assert pilot.view(patient, asked)["refused"] == "PATIENT_MISMATCH"
    assert any(each.decision.alert for event in pilot.events(asked) for each in event.objects)
    log = pilot.log.read_text()
    assert f'"correlation": "{asked.headers["x-correlation-id"]}", "event": "somebody asked across patients"' in log
    # The other's document is to this token what an id is that does not exist; and its owner's trail tells nothing.
    opened = pilot.consumer().open([(papers[0].source.repository_unique_id, papers[0].unique_id)], token)
    assert [code for code, _, _ in opened.errors] == ["XDSDocumentUniqueIdError"]
    assert pilot.why(patient, opened, papers[0]) == "PATIENT_MISMATCH_DOC"
    assert any(each.decision.alert for event in pilot.events(opened) for each in event.objects)


def test_23_a_token_speaks_for_the_organisation_its_system_belongs_to(pilot: Pilot, patient: Person) -> None:
    """Carl's token from Ahus is refused when it was ordered by a system that is registered to Lovisenberg."""
    papers = pilot.shared(patient)
    pilot.at(USUAL)
    service = replace(pilot.clinicians, client_legal_entity="965985166")
    token = service.clinician(CARL, patient.number, pilot.now())
    refused(pilot, patient, papers, token, "ORG_MISMATCH", "wsse:FailedAuthentication")
    own = replace(pilot.clinicians, client_legal_entity="983971636").clinician(CARL, patient.number, pilot.now())
    assert len(pilot.consumer().find(patient.patient_id, own).entries) == 1


def test_25_a_weak_login_is_not_enough(pilot: Pilot, patient: Person) -> None:
    """A login of level 3 is refused."""
    papers = pilot.shared(patient)
    pilot.at(USUAL)
    token = pilot.token(ANNE, patient.number, level="3")
    refused(pilot, patient, papers, token, "LOA_LOW", "wsse:FailedAuthentication")


def unsigned(token: bytes) -> bytes:
    assertion = xml.read(token)
    found = assertion.find(f"{{{DS}}}Signature")
    assert found is not None
    assertion.remove(found)
    return xml.write(assertion)


def altered(token: bytes) -> bytes:
    assert b"T0000101" in token
    return token.replace(b"T0000101", b"T0000102")


@pytest.mark.parametrize("forge", [unsigned, altered], ids=lambda each: each.__name__)
def test_27_a_token_without_a_signature_that_holds_is_no_token(
    pilot: Pilot, patient: Person, forge: Callable[[bytes], bytes]
) -> None:
    """A token that nobody signed, or that was changed after it was signed, is refused without a word on why."""
    papers = pilot.shared(patient)
    pilot.at(USUAL)
    token = forge(pilot.token(ANNE, patient.number))
    refused(pilot, patient, papers, token, "TOKEN_INVALID", "wsse:FailedCheck")


@pytest.mark.parametrize("wrap", [each for each in xsw.VARIANTS if each in xsw.FOOLING], ids=lambda each: each.__name__)
def test_27_a_signature_over_another_assertion_carries_nobody_in(
    pilot: Pilot, patient: Person, wrap: Callable[[bytes], bytes]
) -> None:
    """Anne's signed assertion, packed so that a careless reader would believe another one, is refused likewise."""
    pilot.shared(patient)
    pilot.at(USUAL)
    answer = pilot.consumer().post("/xds/registry", wrap(pilot.token(ANNE, patient.number)))
    assert (answer.http_status, answer.fault, answer.entries) == (500, SECURITY_REFUSED, ())
    assert b">wsse:FailedCheck<" in answer.raw


@pytest.mark.parametrize(
    ("root", "extension"), [("2.16.578.1.12.4.1.4.1", "15837510047"), ("2.16.578.1.12.4.1.4.4", "T0000102")]
)
def test_29_a_token_names_its_person_one_way(pilot: Pilot, patient: Person, root: str, extension: str) -> None:
    """A provider-identifier with another national number than NameID, or another HPR number than npi, is refused."""
    papers = pilot.shared(patient)
    pilot.at(USUAL)
    change = partial(provider, root=root, extension=extension)
    token = resigned(pilot.token(ANNE, patient.number), change, pilot.clinicians.key)
    refused(pilot, patient, papers, token, "SUBJECT_MISMATCH", "wsse:FailedAuthentication")
    same = partial(provider, root="2.16.578.1.12.4.1.4.4", extension=ANNE.hpr)
    good = resigned(pilot.token(ANNE, patient.number), same, pilot.clinicians.key)
    assert len(pilot.consumer().find(patient.patient_id, good).entries) == 1


def test_66_an_ended_session_opens_nothing_and_a_fresh_token_all(pilot: Pilot, patient: Person) -> None:
    """An hour later neither list nor ids work with the old token; with a fresh one they do, as nothing was kept."""
    papers = pilot.shared(patient)
    pilot.at(USUAL)
    token = pilot.token(ANNE, patient.number)
    consumer, asked = pilot.consumer(), [(papers[0].source.repository_unique_id, papers[0].unique_id)]
    assert len(consumer.find(patient.patient_id, token).entries) == 1
    assert len(consumer.open(asked, token).documents) == 1
    attested = Need(attested=pilot.now() + timedelta(minutes=59))
    newly_attested = pilot.token(ANNE, patient.number, attested)
    later = pilot.now() + timedelta(minutes=62)
    pilot.at(later.isoformat())
    for answer in (consumer.find(patient.patient_id, token), consumer.open(asked, token)):
        assert (answer.http_status, answer.fault, answer.documents) == (500, "attestation_has_expired", ())
        assert b">wsse:MessageExpired<" in answer.raw
        assert "  ATTEST_EXPIRED: " in pilot.explained(answer)
    # A newer attestation does not prolong a session whose token has ended.
    ended = consumer.find(patient.patient_id, newly_attested)
    assert (ended.http_status, ended.fault) == (500, "The security token is not valid at this time")
    assert "  TOKEN_EXPIRED: " in pilot.explained(ended)
    pilot.sees(ANNE, patient, papers)


def test_a_query_without_a_token_is_refused(pilot: Pilot, patient: Person) -> None:
    """A reader's system that sends no token is told that one is needed, and nothing else."""
    pilot.shared(patient)
    pilot.at(USUAL)
    message = envelope(Action.QUERY, find_documents(patient.patient_id), None)
    answer = pilot.consumer().post("/xds/registry", message)
    assert (answer.http_status, answer.fault, answer.entries) == (500, "A security token is needed", ())
    assert b">wsse:SecurityTokenUnavailable<" in answer.raw
    assert "  TOKEN_MISSING: " in pilot.explained(answer)
