"""What is hidden answers like what does not exist: every way to ask, against every reason to hide, on a whole node.

Each question is put twice, about a hidden document and about an id that nobody has ever used; the two answers are one
but for the id itself: status, headers, length, order, every byte.
"""

from __future__ import annotations

import resource
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ihe.names import QueryId, Status
from server.serve import command
from server.settings import load
from simulators.consumer import Answered
from simulators.papers import Paper
from simulators.people import Person
from simulators.personae import ANNE
from tests.journeys.conftest import leaks
from tests.journeys.pilot import FAILURE, SUCCESS, USUAL, WRITTEN, Pilot, ids, invented, plain

DE = "$XDSDocumentEntry"
UNN = "2.999.578.3.1"
HOME = "urn:oid:2.16.578.1.12.4.1.7.1.1"
DEBUG = {"[listener.xds]": '[log]\nlevel = "debug"\n\n[audit]\nreserve_mib = 1\n\n[listener.xds]'}


@dataclass(frozen=True)
class World:
    """A patient with three documents that Anne may see and one for every reason why she may not."""

    pilot: Pilot
    patient: Person
    other: Person
    shown: tuple[Paper, ...]
    hidden: dict[str, Paper]
    token: bytes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("oracles")
    (folder / "temporary").mkdir()
    with Pilot(folder, DEBUG) as pilot:
        patient, other = pilot.patient(), pilot.patient()
        shown = pilot.shared(patient, "ous", "A03-2", "B03-2")
        hidden = {
            "another patient's": pilot.shared(other)[0],
            "of a kind that is not shared": pilot.shared(patient, "ous", "C01-2")[0],
            "of a source without agreement": pilot.shared(patient, "unn")[0],
            "marked NORS": pilot.shared(patient, access_codes=("NORS",))[0],
            "blocked": pilot.shared(patient, "ous", "A05-2")[0],
            "unsigned": pilot.paper(patient, "ous", signed=False),
            "replaced": pilot.paper(patient, "ous", "A04-2"),
        }
        pilot.at(WRITTEN)
        pilot.register([hidden["unsigned"]])
        pilot.register([hidden["replaced"]])
        new = pilot.paper(patient, "ous", "A04-2")
        pilot.register([new], replaces={new.unique_id: hidden["replaced"].entry_uuid})
        pilot.at(USUAL)
        pilot.innsyn("block", "set", patient.number, "--kind", "document", "--document", hidden["blocked"].unique_id)
        yield World(pilot, patient, other, (*shown, new), hidden, pilot.token(ANNE, patient.number))


def lists(shown: tuple[Paper, ...], unique_id: str, entry_uuid: str) -> Iterator[list[tuple[str, str]]]:
    """GetDocuments for one id in every spelling, alone and among others."""
    digits = entry_uuid.removeprefix("urn:uuid:")
    strangers = ",".join(f"'urn:uuid:{uuid.UUID(int=number)}'" for number in range(1, 100))
    for value in (
        f"('{unique_id}')",
        unique_id,
        f"('urn:oid:{unique_id}')",
        f"(' {unique_id}')",
        f"('{unique_id[:-1]}%')",
        f"('{unique_id}','{unique_id}')",
        f"('{shown[0].unique_id}','{unique_id}','{shown[1].unique_id}')",
    ):
        yield [(f"{DE}UniqueId", value)]
    for value in (
        f"('{entry_uuid}')",
        f"('{entry_uuid.upper()}')",
        f"('urn:uuid:{digits.upper()}')",
        f"('{digits}')",
        f"('urn:uuid:{{{digits}}}')",
        f"('{shown[0].entry_uuid}','{entry_uuid}')",
        f"('{entry_uuid}',{strangers})",
    ):
        yield [(f"{DE}EntryUUID", value)]
    more = [(f"{DE}Status", f"('{Status.DEPRECATED}')"), (f"{DE}PatientId", "'1^^^&1.2&ISO'")]
    yield [(f"{DE}UniqueId", f"('{unique_id}')"), *more]


def retrieves(shown: tuple[Paper, ...], repository: str, unique_id: str) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """ITI-43 for one id: other spellings, other repositories, homes and packagings, among others."""
    first, second = ((each.source.repository_unique_id, each.unique_id) for each in shown[:2])
    asked = (repository, unique_id)
    yield [asked], {}
    yield [asked], {"packaged": False}
    yield [(f"urn:oid:{repository}", unique_id)], {}
    yield [(repository, f"urn:oid:{unique_id}")], {}
    yield [(UNN, unique_id)], {}
    yield [("2.999.1", unique_id)], {}
    yield [asked, (f"urn:oid:{repository}", unique_id)], {}
    yield [first, asked, second], {}
    yield [first, asked, second], {"packaged": False}
    yield [asked], {"home": HOME}
    yield [asked], {"home": "urn:oid:1.2.3"}


def same(one: Answered, other: Answered, sent: tuple[str, ...], invented_ids: tuple[str, ...]) -> bool:
    return plain(one, *sent) == plain(other, *invented_ids)


REASONS = (
    "another patient's",
    "of a kind that is not shared",
    "of a source without agreement",
    "marked NORS",
    "blocked",
    "unsigned",
    "replaced",
)


@pytest.mark.parametrize("why", REASONS)
def test_no_question_tells_a_hidden_document_from_an_id_that_was_never_used(world: World, why: str) -> None:
    hidden, consumer = world.hidden[why], world.pilot.consumer()
    nobody, stranger = invented(hidden.unique_id), f"urn:uuid:{uuid.uuid4()}"
    digits = [each.removeprefix("urn:uuid:") for each in (hidden.entry_uuid, stranger)]
    sent, made = ((each, hexes, hexes.upper()) for each, hexes in zip((hidden.unique_id, nobody), digits, strict=True))
    pairs = zip(
        lists(world.shown, hidden.unique_id, hidden.entry_uuid), lists(world.shown, nobody, stranger), strict=True
    )
    for about_hidden, about_nobody in pairs:
        for returns in ("LeafClass", "ObjectRef"):
            one, other = (
                consumer.query(QueryId.GET_DOCUMENTS, slots, world.token, returns)
                for slots in (about_hidden, about_nobody)
            )
            assert same(one, other, sent, made), about_hidden
    repository = hidden.source.repository_unique_id
    asked = zip(
        retrieves(world.shown, repository, hidden.unique_id), retrieves(world.shown, repository, nobody), strict=True
    )
    for (documents, how), (strangers, _) in asked:
        one, other = (consumer.open(each, world.token, **how) for each in (documents, strangers))
        assert same(one, other, sent[:1], made[:1]), documents


FILTERS: list[tuple[list[tuple[str, str]], tuple[str, ...]]] = [
    ([(f"{DE}AuthorPerson", "('%')")], (Status.APPROVED,)),
    ([], (Status.DEPRECATED,)),
    ([], tuple(Status)),
    ([(f"{DE}ConfidentialityCode", "('NORS^^2.16.578.1.12.4.1.1.9603')")], tuple(Status)),
    ([(f"{DE}TypeCode", "('C01-2^^2.16.578.1.12.4.1.1.9602')")], tuple(Status)),
    ([(f"{DE}UniqueId", "('%')"), (f"{DE}Title", "('%')")], tuple(Status)),
]


@pytest.mark.parametrize(("more", "statuses"), FILTERS)
def test_no_filter_lists_what_is_hidden(world: World, more: list[tuple[str, str]], statuses: tuple[str, ...]) -> None:
    listed = world.pilot.find(ANNE, world.patient.number, more=more, statuses=statuses)
    assert (listed.status, listed.errors) == (SUCCESS, ())
    assert ids(listed) <= {each.unique_id for each in world.shown}


def test_a_token_for_one_patient_opens_no_other_in_any_spelling(world: World) -> None:
    mine, others, consumer = world.patient.patient_id, world.other.patient_id, world.pilot.consumer()
    for asked, expected in (
        (others, "PATIENT_MISMATCH"),
        (others.replace("4.1&", "4.2&"), "PATIENT_INVALID"),
        (mine.replace("4.1&", "4.2&"), "PATIENT_INVALID"),
        ("%^^^&2.16.578.1.12.4.1.4.1&ISO", "PATIENT_INVALID"),
        (f"{mine}','{others}", None),
        (f"{mine}~{others}", None),
        (others.replace("^^^", "^x^^"), None),
        (others.lower(), None),
        (others.partition("^")[0], None),
    ):
        answer = consumer.find(asked, world.token)
        assert (answer.status, answer.entries) == (FAILURE, ())
        assert len(answer.errors) == 1
        if expected:
            assert answer.errors == (("XDSRegistryError", expected, ""),)


def workers(pilot: Pilot) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = command(load(pilot.config), {"do": "status"})["workers"]
    return found


def test_nothing_leaves_while_the_trail_cannot_be_written_and_the_node_recovers_by_itself(world: World) -> None:
    pilot, patient = world.pilot, world.patient
    pilot.at(USUAL)
    limits = {each["pid"]: resource.prlimit(each["pid"], resource.RLIMIT_FSIZE) for each in workers(pilot)}
    try:
        for pid, (_, hard) in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        for answer in (pilot.find(ANNE, patient.number), pilot.open(ANNE, patient.number, world.shown)):
            assert (answer.http_status, answer.entries, answer.documents) == (500, (), ())
            assert answer.fault
        assert pilot.publish([pilot.paper(patient, "ous")]).fault
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    # Each worker has a trail of its own and tries again by itself; which of them answers is chance.
    until, whole = time.monotonic() + 20, 0
    while whole < 20:
        whole = 0 if pilot.find(ANNE, patient.number).fault else whole + 1
        assert time.monotonic() < until
    assert ids(pilot.find(ANNE, patient.number)) == {each.unique_id for each in world.shown}
    assert "are whole, unaltered and in order" in pilot.innsyn("audit", "verify")


def test_the_log_at_debug_knows_no_patient_no_person_and_no_token(world: World) -> None:
    assert world.pilot.consumer().find(world.other.patient_id, world.token).errors
    log = world.pilot.log.read_bytes()
    assert b"somebody asked across patients" in log
    secret = {world.patient.number, world.other.number, ANNE.number, ANNE.hpr, ANNE.name, "SignatureValue", "saml"}
    assert [each for each in secret if each.encode() in log] == []
    assert leaks(world.pilot) == []


def test_everything_the_node_keeps_is_closed_to_others(world: World) -> None:
    state = Path(world.pilot.folder / "state")
    sensitive = [each for each in state.rglob("*") if each.is_file() or each.is_socket()]
    assert {each.name for each in sensitive} >= {"innsyn.db", "control.sock"}
    opened = [each.name for each in sensitive if each.stat().st_mode & 0o077 and each.name != "clock.json"]
    assert opened == []
