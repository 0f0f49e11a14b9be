"""Scenario 59 and what follows: whoever had a D-number is one patient under both numbers, blocks and all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulators.papers import Paper
from simulators.people import Person, synthetic_number
from simulators.personae import ANNE
from tests.journeys.pilot import SUCCESS, USUAL, Pilot, ids


@pytest.fixture
def before(patient: Person) -> Person:
    """The same person, with the D-number of the time before."""
    return replace(patient, number=synthetic_number(patient.born, 0, d_number=True))


@pytest.fixture
def papers(pilot: Pilot, patient: Person, before: Person) -> tuple[Paper, Paper]:
    """A document under each number, the older first."""
    (old,) = pilot.shared(before, "ous")
    (new,) = pilot.shared(patient, "ous")
    pilot.at(USUAL)
    return old, new


def link(pilot: Pilot, patient: Person, before: Person) -> None:
    pilot.innsyn("patient", "link", patient.number, before.number, "--by", "patient services")


def test_59_documents_of_both_numbers_are_one_patients(
    pilot: Pilot, patient: Person, before: Person, papers: tuple[Paper, Paper]
) -> None:
    """Before the link each number has its own; after it both have both, shown under the number that remains."""
    old, new = papers
    pilot.sees(ANNE, before, [old])
    pilot.sees(ANNE, patient, [new])
    link(pilot, patient, before)
    for who in (patient, before):
        listed = pilot.sees(ANNE, who, [old, new])
        # The number a document came with stays where its source wrote it: sourcePatientId and sourcePatientInfo.
        shown = {number for number in (patient.number, before.number) if f'value="{number}^'.encode() in listed.raw}
        assert shown == {patient.number}


def test_59_a_block_holds_by_either_number(
    pilot: Pilot, patient: Person, before: Person, papers: tuple[Paper, Paper]
) -> None:
    """Set under the D-number before there was another, the block covers the person by both and over both documents."""
    pilot.innsyn("block", "set", before.number, "--kind", "visit_history")
    pilot.sees(ANNE, patient, papers[1:])
    link(pilot, patient, before)
    for who in (patient, before):
        pilot.sees_nothing(ANNE, who, papers, "BLOCK_VISIT_HISTORY")


def test_59_a_block_set_by_the_new_number_covers_the_old(
    pilot: Pilot, patient: Person, before: Person, papers: tuple[Paper, Paper]
) -> None:
    link(pilot, patient, before)
    pilot.innsyn("block", "set", patient.number, "--kind", "reservation")
    for who in (patient, before):
        pilot.sees_nothing(ANNE, who, papers, "BLOCK_RESERVATION")


def test_a_token_of_one_number_may_ask_by_the_other(
    pilot: Pilot, patient: Person, before: Person, papers: tuple[Paper, Paper]
) -> None:
    """Until the link the other number is another patient to the token; from then on it is the same person."""
    token = pilot.token(ANNE, before.number)
    assert pilot.consumer().find(patient.patient_id, token).status != SUCCESS
    link(pilot, patient, before)
    asked = pilot.consumer().find(patient.patient_id, pilot.token(ANNE, before.number))
    assert ids(asked) == {each.unique_id for each in papers}
    opened = pilot.open(ANNE, before.number, papers)
    assert [each.content for each in opened.documents] == [each.content for each in papers]


def test_nothing_more_is_registered_under_the_old_number(
    pilot: Pilot, patient: Person, before: Person, papers: tuple[Paper, Paper]
) -> None:
    link(pilot, patient, before)
    late = pilot.paper(before, "ous")
    outcome = pilot.publish([late], tell_signing=True)
    assert [each.code for each in outcome.errors] == ["XDSUnknownPatientId"]


def test_a_link_that_was_wrong_is_taken_back_and_blocks_stay_on_both(
    pilot: Pilot, patient: Person, before: Person, papers: tuple[Paper, Paper]
) -> None:
    """Two persons again, each with their own document; what was blocked while they were one is blocked for both."""
    old, new = papers
    link(pilot, patient, before)
    pilot.innsyn("patient", "separate", before.number, "--by", "patient services")
    pilot.sees(ANNE, before, [old])
    pilot.sees(ANNE, patient, [new])
    link(pilot, patient, before)
    pilot.innsyn("block", "set", before.number, "--kind", "visit_history")
    pilot.innsyn("patient", "separate", before.number, "--by", "patient services")
    pilot.sees_nothing(ANNE, before, [old], "BLOCK_VISIT_HISTORY")
    pilot.sees_nothing(ANNE, patient, [new], "BLOCK_VISIT_HISTORY")


def test_the_trail_knows_who_made_two_numbers_one(pilot: Pilot, patient: Person, before: Person) -> None:
    pilot.shared(patient)
    pilot.shared(before)
    link(pilot, patient, before)
    lines = [line for path in pilot.trail.glob("cli.*.jsonl") for line in path.read_text().splitlines()]
    (told,) = [line for line in lines if '"merged"' in line and before.number in line]
    assert patient.number in told
    assert "merged by patient services" in told
