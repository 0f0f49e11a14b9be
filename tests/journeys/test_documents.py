"""Which documents show: signed, of a shared kind, current, at any age. Numbers: those of the acceptance list."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from ihe.names import Status
from simulators.papers import KIND_SYSTEM
from simulators.people import Person
from simulators.personae import ANNE, DAG
from tests.journeys.pilot import SUCCESS, USUAL, Pilot, ids, shares

GET_ASSOCIATIONS = "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"


def test_32_a_document_shows_from_the_moment_it_is_signed(pilot: Pilot, patient: Person) -> None:
    """A saved document is not there for Anne; its hospital registers the signed one, and her next query lists it."""
    draft = pilot.paper(patient, "ous", signed=False)
    pilot.register([draft])
    pilot.absent(ANNE, patient, draft, "NOT_SIGNED")
    signed = pilot.paper(patient, "ous", created=draft.created)
    # Registered with a signature and no time of signing: it counts as signed when it is registered.
    pilot.register([signed], tell_signing=False, replaces={signed.unique_id: draft.entry_uuid})
    pilot.sees(ANNE, patient, [signed])


def test_33_the_signed_version_stands_for_the_unsigned_one(pilot: Pilot, patient: Person) -> None:
    """Of a draft and the signed version that replaces it only the latter is listed, whatever status is asked for."""
    draft = pilot.paper(patient, "ous", signed=False)
    signed = pilot.paper(patient, "ous")
    pilot.register([draft])
    pilot.register([signed], replaces={signed.unique_id: draft.entry_uuid})
    pilot.sees(ANNE, patient, [signed])
    both = pilot.find(ANNE, patient.number, statuses=(Status.APPROVED, Status.DEPRECATED))
    assert ids(both) == {signed.unique_id}
    assert pilot.why(patient, both, draft) == "NOT_SIGNED"
    pilot.cannot_open(ANNE, patient, draft, "NOT_SIGNED")


def test_35_both_classes_of_the_trial_show_and_a_filter_takes_one(pilot: Pilot, patient: Person) -> None:
    """An outpatient note is of another class than summaries: a filter on those leaves it out, no filter shows it."""
    note, summary = pilot.shared(patient, "ous", "B03-2", "A03-2")
    pilot.at(USUAL)
    only = [("$XDSDocumentEntryClassCode", f"('A00-1^^{KIND_SYSTEM}')")]
    assert ids(pilot.find(ANNE, patient.number, more=only)) == {summary.unique_id}
    pilot.sees(ANNE, patient, [note, summary])


def test_36_each_source_decides_which_kinds_it_shares(pilot: Pilot, patient: Person) -> None:
    """A radiology report is absent; with the kind switched on for one hospital it shows for that hospital alone."""
    here = pilot.shared(patient, "unn", "E01-2")
    there = pilot.shared(patient, "nlsh", "E01-2")
    pilot.at(USUAL)
    for each in (*here, *there):
        pilot.absent(DAG, patient, each, "KIND_NOT_SHARED")
    more = shares("unn-radiology", "unn", "morkved", "radiology_reports")
    with pilot.policy("agreements.toml", ("", more)):
        pilot.sees(DAG, patient, here)
        pilot.absent(DAG, patient, there[0], "KIND_NOT_SHARED", shown=here)


def test_37_a_replaced_version_leaves_no_trace(pilot: Pilot, patient: Person) -> None:
    """Of two versions the second alone shows; no status, no relationship and no known id leads to the first."""
    (first,) = pilot.shared(patient)
    second = pilot.paper(patient, "ous")
    pilot.register([second], replaces={second.unique_id: first.entry_uuid})
    pilot.at(USUAL)
    pilot.sees(ANNE, patient, [second])
    deprecated = pilot.find(ANNE, patient.number, statuses=[Status.DEPRECATED])
    assert (deprecated.status, deprecated.entries) == (SUCCESS, ())
    assert pilot.why(patient, deprecated, first) == "DEPRECATED"
    token = pilot.token(ANNE, patient.number)
    by_id = pilot.consumer().get([first.unique_id, second.unique_id], token)
    assert ids(by_id) == {second.unique_id}
    related = pilot.consumer().query(GET_ASSOCIATIONS, [("$uuid", f"('{second.entry_uuid}')")], token)
    assert related.status == SUCCESS
    assert b"RPLC" not in related.raw
    assert first.entry_uuid.encode() not in related.raw
    pilot.cannot_open(ANNE, patient, first, "DEPRECATED")


def test_39_what_counts_as_signed_is_the_sources_rule(pilot: Pilot, patient: Person) -> None:
    """A document without legalAuthenticator shows where submitting means signing, and not where a signer is needed."""
    papers = [pilot.paper(patient, "ous", signed=False)]
    pilot.register(papers)
    pilot.absent(ANNE, patient, papers[0], "NOT_SIGNED")
    rule = ('home_community = "2.999.578.1"\nsigning = "legal_authenticator"',
            'home_community = "2.999.578.1"\nsigning = "submission_implies_signed"')  # fmt: skip
    with pilot.policy("organisations.toml", rule):
        pilot.sees(ANNE, patient, papers)
    pilot.absent(ANNE, patient, papers[0], "NOT_SIGNED")


def test_40_old_documents_show(pilot: Pilot, patient: Person) -> None:
    """What was signed in 2009 shows in 2020: summaries have no age limit."""
    written = datetime.fromisoformat("2009-03-02T12:00:00+01:00")
    papers = pilot.shared(patient, "ous", "A03-2", "B03-2", created=written)
    pilot.at("2020-12-01T10:00:00+01:00")
    listed = pilot.sees(ANNE, patient, papers)
    assert {each.creation_time for each in listed.entries} == {"20090302110000"}


@pytest.mark.parametrize("minutes", [7], ids=["clock ahead"])
def test_41_a_signature_of_the_future_counts_when_its_time_has_come(
    pilot: Pilot, patient: Person, minutes: int
) -> None:
    """A hospital whose clock runs ahead says signed in seven minutes: absent until then, visible from then."""
    now = datetime.fromisoformat(USUAL)
    papers = [pilot.paper(patient, "ous", created=now)]
    assert papers[0].signed_at == now + timedelta(minutes=minutes)
    pilot.register(papers)
    pilot.absent(ANNE, patient, papers[0], "NOT_SIGNED")
    pilot.at((papers[0].signed_at - timedelta(seconds=20)).isoformat())
    pilot.absent(ANNE, patient, papers[0], "NOT_SIGNED")
    pilot.at(papers[0].signed_at.isoformat())
    pilot.sees(ANNE, patient, papers)


def test_a_kind_is_the_pair_of_class_and_type(pilot: Pilot, patient: Person) -> None:
    """A document with a shared type under a class it does not belong to is no document of a shared kind."""
    usual = pilot.paper(patient, "ous")
    odd = replace(usual, kind=replace(usual.kind, class_code="B00-1"))
    pilot.register([odd])
    pilot.absent(ANNE, patient, odd, "KIND_NOT_SHARED")
