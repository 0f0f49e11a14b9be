"""Nothing of a document outlives its exchange: strings planted in every field are looked for wherever they may stay."""

from __future__ import annotations

import base64

from audit.event import Kind
from simulators.hospital import Script, Variant
from simulators.people import Person
from simulators.personae import ANNE, GURO
from tests.journeys.conftest import leaks
from tests.journeys.pilot import PARTIAL, SUCCESS, USUAL, Canary, Pilot


def test_neither_log_nor_trail_nor_disk_keeps_what_it_must_not(pilot: Pilot, patient: Person) -> None:
    """After lists, releases, refusals, failures: no title, name or document byte in log, trail or temporary files."""
    papers = pilot.shared(patient, "ous", "A03-2", "B03-2")
    pilot.at(USUAL)
    pilot.sees(ANNE, patient, papers)
    assert pilot.find(GURO, patient.number).entries == ()
    assert pilot.consumer().find(patient.patient_id, b"<token/>").fault
    pilot.hospitals["ous"].script = Script.of(Variant.FLIPPED_BYTE)
    try:
        spoilt = pilot.open(ANNE, patient.number, papers)
    finally:
        pilot.hospitals["ous"].script = Script()
    assert spoilt.status == PARTIAL
    assert [code for code, _, _ in spoilt.errors] == ["XDSRepositoryError"]
    assert leaks(pilot) == []


def test_the_search_for_leaks_finds_one(pilot: Pilot, patient: Person) -> None:
    """Authors do stand in the registry, where they belong: the search that found none elsewhere finds them there."""
    papers = pilot.shared(patient)
    pilot.at(USUAL)
    pilot.sees(ANNE, patient, papers)
    database = b"".join(each.read_bytes() for each in (pilot.folder / "state").glob("*.db*"))
    stored = {canary.where for canary in pilot.canaries[-3:] if canary.found_in(database)}
    assert "author" in stored
    assert "content" not in stored
    # What does stand in the trail and in the log is found when it is looked for, also as base64.
    for text, where in ((ANNE.hpr, "jsonl"), ("somebody asked across patients", "node.log")):
        pilot.canaries.append(Canary("planted", text.encode()))
        pilot.consumer().find(pilot.patient().patient_id, pilot.token(ANNE, patient.number))
        try:
            assert any(where in line and line.endswith(": planted") for line in leaks(pilot))
        finally:
            pilot.canaries = [each for each in pilot.canaries if each.where != "planted"]
    assert Canary("", b"Kanarifugl").found_in(base64.b64encode(b"en Kanarifugl synger"))


def test_the_trail_of_all_journeys_is_whole(pilot: Pilot, patient: Person) -> None:
    """Every acknowledged line stands in the trail, unaltered and in order; so does the last exchange."""
    answer = pilot.find(ANNE, patient.number)
    assert answer.status == SUCCESS
    assert [each.kind for each in pilot.events(answer)] == [Kind.QUERIED]
    assert "are whole, unaltered and in order" in pilot.innsyn("audit", "verify")
