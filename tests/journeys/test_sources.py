"""What a hospital meets that registers documents: all or nothing, everything wrong at once, nothing of others."""

from __future__ import annotations

import re
from dataclasses import replace

from audit.event import Kind
from ihe.names import Code
from simulators.people import Person
from simulators.personae import ANNE
from simulators.source import Outcome, Submission, submission, submit
from tests.journeys.pilot import FAILURE, SUCCESS, USUAL, Pilot, ids


def send(pilot: Pilot, sent: Submission, certificate: str = "ous") -> Outcome:
    return submit(f"{pilot.url}/xds/registry", sent, pilot.tls(certificate))


def edited(sent: Submission, *edits: tuple[str, str]) -> Submission:
    """The submission with each pattern replaced where it first stands."""
    body = sent.body.decode()
    for pattern, instead in edits:
        body, found = re.subn(pattern, instead, body, count=1)
        assert found, pattern
    return replace(sent, body=body.encode())


def test_a_source_registers_for_its_own_repository_only(pilot: Pilot, patient: Person) -> None:
    """UNN's documents under OUS's certificate are refused and leave nothing; under UNN's own they are taken."""
    papers = [pilot.paper(patient, "unn")]
    sent = submission(papers, tell_signing=True)
    refused = send(pilot, sent, "ous")
    assert (refused.http_status, refused.status) == (200, FAILURE)
    assert [each.code for each in refused.errors] == [Code.REGISTRY_METADATA_ERROR]
    assert refused.errors[0].context.startswith("own-repository ")
    assert send(pilot, sent, "unn").status == SUCCESS


def test_a_readers_system_registers_nothing(pilot: Pilot, patient: Person) -> None:
    """A client certificate that is no source's gets a fault."""
    outcome = send(pilot, submission([pilot.paper(patient, "ous")]), "caller")
    assert (outcome.http_status, outcome.status, outcome.fault) == (500, "", "A security token is needed")


def test_sending_again_is_harmless(pilot: Pilot, patient: Person) -> None:
    """The very same submission again is a success that writes nothing; another one under its id is refused."""
    paper = pilot.paper(patient, "ous")
    pilot.hold([paper])
    sent = submission([paper], tell_signing=True)
    assert send(pilot, sent).status == SUCCESS
    first = pilot.sees(ANNE, patient, [paper])
    assert send(pilot, sent).status == SUCCESS
    again = pilot.sees(ANNE, patient, [paper])
    assert again.entries == first.entries
    twice = [Kind.REGISTERING, Kind.REGISTERED, Kind.REGISTERING, Kind.RESENT]
    assert pilot.registrations(sent.unique_id) == twice
    other = send(pilot, edited(sent, ('value="Kanari', 'value="En annen Kanari')))
    assert other.status == FAILURE
    assert Code.DUPLICATE_UNIQUE_ID_IN_REGISTRY in [each.code for each in other.errors]
    assert pilot.sees(ANNE, patient, [paper]).entries == first.entries


def test_a_replacement_deprecates_and_hides_what_it_replaces(pilot: Pilot, patient: Person) -> None:
    """Version after version, the newest alone shows; a version that was replaced already cannot be replaced again."""
    papers = [pilot.paper(patient, "ous") for _ in range(3)]
    pilot.register(papers[:1])
    pilot.register(papers[1:2], replaces={papers[1].unique_id: papers[0].entry_uuid})
    pilot.sees(ANNE, patient, papers[1:2])
    late = send(pilot, submission(papers[2:], tell_signing=True, replaces={papers[2].unique_id: papers[0].entry_uuid}))
    assert late.status == FAILURE
    assert [each.code for each in late.errors] == [Code.REGISTRY_DEPRECATED_DOCUMENT]
    pilot.sees(ANNE, patient, papers[1:2])
    pilot.register(papers[2:], replaces={papers[2].unique_id: papers[1].entry_uuid})
    pilot.sees(ANNE, patient, papers[2:])
    for each in papers[:2]:
        pilot.cannot_open(ANNE, patient, each, "DEPRECATED")


def test_a_source_learns_nothing_of_anothers_documents(pilot: Pilot, patient: Person) -> None:
    """Replacing another hospital's document gets the answer that replacing an unknown one gets."""
    (theirs,) = pilot.shared(patient, "unn")
    pilot.at(USUAL)
    mine = pilot.paper(patient, "ous")
    nobodys = f"{theirs.entry_uuid[:-12]}000000000000"
    real, invented = (
        send(pilot, submission([mine], tell_signing=True, replaces={mine.unique_id: target}))
        for target in (theirs.entry_uuid, nobodys)
    )
    assert real.status == FAILURE
    assert [each.code for each in real.errors] == [Code.UNRESOLVED_REFERENCE]
    shown = [(each.code, each.severity, each.location, each.context) for each in real.errors]
    assert shown == [
        (each.code, each.severity, each.location, each.context.replace(nobodys, theirs.entry_uuid))
        for each in invented.errors
    ]


def test_everything_wrong_with_a_submission_is_told_at_once(pilot: Pilot, patient: Person) -> None:
    """Five mistakes in one message get five errors, each with its rule and place, and nothing is registered."""
    paper = pilot.paper(patient, "ous")
    sent = submission([paper], tell_signing=True)
    broken = edited(
        sent,
        (r'<rim:Slot name="creationTime">.*?</rim:Slot>', ""),
        (r'(<rim:Slot name="size">.*?<rim:Value>)\d+', r"\1many"),
        (r'(<rim:Slot name="hash">.*?<rim:Value>)\w+', r"\1nothex"),
        (r'(<rim:Slot name="languageCode">.*?<rim:Value>)nb-NO(</rim:Value>)', r"\1nb-NO\2<rim:Value>nn-NO\2"),
        (r"<rim:ValueList><rim:Value>2\.16\.578\.1\.12\.4\.1\.1\.9602</rim:Value></rim:ValueList>", "<rim:ValueList/>"),
    )
    outcome = send(pilot, broken)
    assert (outcome.http_status, outcome.status) == (200, FAILURE)
    rules = sorted(each.context.split(" ")[0] for each in outcome.errors)
    assert rules == ["complete-code", "needed-type", "needed-type", "required-attribute", "single-attribute"]
    assert {each.code for each in outcome.errors} == {Code.REGISTRY_METADATA_ERROR}
    assert all(each.severity.endswith(":Error") for each in outcome.errors)
    assert ids(pilot.find(ANNE, patient.number)) == set()
    # Put right, the same submission is taken: nothing of the broken one stands in its way.
    pilot.hold([paper])
    assert send(pilot, sent).status == SUCCESS
    pilot.sees(ANNE, patient, [paper])
