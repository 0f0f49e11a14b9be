"""Who shares with whom, from when: by source, place, person, region and date. Numbers: those of the acceptance list."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from simulators.consumer import Answered
from simulators.people import Person
from simulators.personae import ANNE, CARL, DAG, EVA, FINN, GURO
from simulators.sts import Clinician
from tests.journeys.pilot import FAILURE, SUCCESS, USUAL, Pilot, shares

DRAMMEN = replace(
    GURO,
    hpr="T0000203",
    legal_entity="894166762",
    legal_entity_name="Vestre Viken",
    place_of_care="974631326",
    place_of_care_name="Drammen sykehus",
)
"""A doctor at a panel's hospital in the source's own region who is not on the panel."""
NURSING_HOME = replace(
    DAG,
    hpr="T0000204",
    role="SP",
    legal_entity="972418013",
    legal_entity_name="Bodø kommune",
    place_of_care="311000101",
    place_of_care_name="Sykehjemmet",
)
"""A nurse of the municipality whose emergency clinic takes part."""


def denied(pilot: Pilot, who: Clinician, person: Person, answer: Answered) -> None:
    """The whole request is refused, with the code and nothing else, and the trail holds the same."""
    assert (answer.http_status, answer.status, answer.entries, answer.documents) == (200, FAILURE, (), ())
    assert [context for _, context, _ in answer.errors] == ["NO_AGREEMENT"]
    assert pilot.view(person, answer)["refused"] == "NO_AGREEMENT"


def moments_before(pilot: Pilot, begin: str, who: Clinician, person: Person) -> Answered:
    """A query in the last second before a moment; asked again if this machine was too slow to come in time."""
    first = datetime.fromisoformat(begin)
    before = first - timedelta(seconds=1)
    for _ in range(5):
        token = pilot.token(who, person.number, at=before)
        pilot.at(before.isoformat())
        answer = pilot.consumer().find(person.patient_id, token)
        if pilot.events(answer)[0].at < first:
            return answer
    raise AssertionError("five queries took more than a second each")


def begins(pilot: Pilot, who: Clinician, person: Person, begin: str) -> None:
    """Until `begin` the list is empty for want of an agreement in force; from that very second all is visible."""
    papers = pilot.shared(person, "ous", "A03-2", "B03-2")
    early = moments_before(pilot, begin, who, person)
    assert (early.status, early.entries) == (SUCCESS, ())
    assert {each["decision"]["reason"] for each in pilot.view(person, early)["withheld"]} == {"SCOPE_NOT_YET"}
    pilot.at(begin)
    pilot.sees(who, person, papers)


def test_02_a_reader_in_the_region_sees_documents_from_the_first_second_of_the_trial(
    pilot: Pilot, patient: Person
) -> None:
    """One second before the first day Anne's list is empty; when the day begins she sees and opens everything."""
    begins(pilot, ANNE, patient, "2020-11-10T00:00:00+01:00")


def test_04_a_hospital_that_shares_does_not_read_what_others_share(pilot: Pilot, patient: Person) -> None:
    """Finn at OUS treats the patient and asks for documents of Helse Nord: refused, since OUS only shares."""
    papers = pilot.shared(patient, "unn")
    pilot.at(USUAL)
    denied(pilot, FINN, patient, pilot.find(FINN, patient.number))
    denied(pilot, FINN, patient, pilot.open(FINN, patient.number, papers))


def test_05_a_hospitals_own_documents_are_read_in_its_own_system(pilot: Pilot, patient: Person) -> None:
    """Finn asks for OUS's own documents this way and is refused: he has them in his own record system."""
    papers = pilot.shared(patient, "ous")
    pilot.at(USUAL)
    denied(pilot, FINN, patient, pilot.find(FINN, patient.number))
    denied(pilot, FINN, patient, pilot.open(FINN, patient.number, papers))


def test_07_a_panel_doctor_sees_documents_from_the_panels_first_day(pilot: Pilot, patient: Person) -> None:
    """Eva on the national panel sees nothing in the last second of 2020, and OUS's documents in the first of 2021."""
    begins(pilot, EVA, patient, "2021-01-01T00:00:00+01:00")


def test_09_a_panel_reads_the_one_hospital_that_shares_with_it(pilot: Pilot, patient: Person) -> None:
    """Eva's list holds what OUS has, and of Nordlandssykehuset nothing: no agreement names the two."""
    north = pilot.shared(patient, "nlsh")
    south = pilot.shared(patient, "ous")
    pilot.at(USUAL)
    pilot.absent(EVA, patient, north[0], "NO_AGREEMENT_SOURCE", shown=south)


def test_10_to_be_in_the_same_region_is_not_enough(pilot: Pilot, patient: Person) -> None:
    """At a panel's hospital the panel's doctors alone may read; at another place of that trust nobody."""
    papers = pilot.shared(patient)
    pilot.at(USUAL)
    pilot.sees_nothing(DRAMMEN, patient, papers, "PERSON_NOT_ENROLLED")
    elsewhere = replace(DRAMMEN, place_of_care="974705788")
    denied(pilot, elsewhere, patient, pilot.find(elsewhere, patient.number))


def test_12_leaving_the_place_ends_the_access(pilot: Pilot, patient: Person) -> None:
    """Carl is still on the list of Ahus; with a token from Stavanger he is refused."""
    papers = pilot.shared(patient)
    pilot.at(USUAL)
    moved = replace(CARL, legal_entity="983974678", place_of_care="974703300")
    denied(pilot, moved, patient, pilot.find(moved, patient.number))
    denied(pilot, moved, patient, pilot.open(moved, patient.number, papers))
    pilot.sees(CARL, patient, papers)


def test_16_a_municipality_takes_part_by_place_and_not_as_a_whole(pilot: Pilot, patient: Person) -> None:
    """The nursing home of the municipality whose emergency clinic takes part is refused."""
    papers = pilot.shared(patient, "nlsh")
    pilot.at(USUAL)
    denied(pilot, NURSING_HOME, patient, pilot.find(NURSING_HOME, patient.number))
    denied(pilot, NURSING_HOME, patient, pilot.open(NURSING_HOME, patient.number, papers))


def test_69_another_part_of_the_country_needs_an_agreement_and_no_program(pilot: Pilot, patient: Person) -> None:
    """Dag in Bodø sees nothing of his patient's stay in Oslo; one more agreement in a file, and he sees it."""
    papers = pilot.shared(patient)
    pilot.at(USUAL)
    pilot.absent(DAG, patient, papers[0], "NO_AGREEMENT_SOURCE")
    with pilot.policy("agreements.toml", ("", shares("oslo-bodo", "ous", "morkved"))):
        pilot.sees(DAG, patient, papers)
    pilot.absent(DAG, patient, papers[0], "NO_AGREEMENT_SOURCE")
