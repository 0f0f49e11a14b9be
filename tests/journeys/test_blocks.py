"""What a patient's or a source's block does, and that it leaves no trace. Numbers: those of the acceptance list."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from ihe.names import QueryId, Status
from simulators.consumer import Answered
from simulators.papers import KIND_SYSTEM, Paper
from simulators.people import Person
from simulators.personae import ANNE, DAG, EVA
from simulators.sts import Need
from tests.journeys.pilot import EMERGENCY, SUCCESS, TREATMENT, USUAL, Pilot, ids, plain

BREAK_THE_GLASS = Need(purpose="BTG", acp="7")
PATIENT_ID, STATUS = "$XDSDocumentEntryPatientId", "$XDSDocumentEntryStatus"


def set_block(pilot: Pilot, person: Person, kind: str, *more: str) -> str:
    """Sets a block as an operator does; its id."""
    said = pilot.innsyn("block", "set", person.number, "--kind", kind, "--by", "test", *more)
    return said.split()[1]


def lift(pilot: Pilot, person: Person, block: str) -> None:
    pilot.innsyn("block", "lift", person.number, block, "--by", "test")


@pytest.fixture
def everywhere(pilot: Pilot, patient: Person) -> dict[str, tuple[Paper, ...]]:
    """A patient with documents at three hospitals in two regions."""
    papers = {key: pilot.shared(patient, key, "A03-2", "B03-2") for key in ("ous", "unn", "nlsh")}
    pilot.at(USUAL)
    return papers


def test_42_a_blocked_visit_history_closes_every_source_to_everybody(
    pilot: Pilot, patient: Person, everywhere: dict[str, tuple[Paper, ...]]
) -> None:
    """With the block set every list is empty: for treatment, in an emergency, and where glass may be broken."""
    north, south = (*everywhere["unn"], *everywhere["nlsh"]), everywhere["ous"]
    pilot.sees(DAG, patient, north)
    set_block(pilot, patient, "visit_history")
    for who, papers in ((ANNE, south), (DAG, north[:1]), (EVA, south[:1])):
        pilot.sees_nothing(who, patient, papers, "BLOCK_VISIT_HISTORY", TREATMENT)
        pilot.sees_nothing(who, patient, papers[:1], "BLOCK_VISIT_HISTORY", EMERGENCY)
    purposes = ('purposes = ["TREAT", "ETREAT"]', 'purposes = ["TREAT", "ETREAT", "BTG"]')
    with pilot.policy("policy.toml", purposes), pilot.policy("agreements.toml", purposes):
        pilot.sees_nothing(ANNE, patient, south[:1], "BLOCK_VISIT_HISTORY", BREAK_THE_GLASS)


def test_43_lifting_the_block_is_all_it_takes(pilot: Pilot, patient: Person) -> None:
    """The patient lifts the block, and the next query lists everything."""
    papers = pilot.shared(patient, "ous", "A03-2", "B03-2")
    pilot.at(USUAL)
    block = set_block(pilot, patient, "visit_history")
    assert pilot.find(ANNE, patient.number).entries == ()
    lift(pilot, patient, block)
    pilot.sees(ANNE, patient, papers)


def test_44_a_block_set_after_the_list_holds_at_the_retrieve(pilot: Pilot, patient: Person) -> None:
    """Anne has a document on her list when the patient blocks: opening it gets the answer of an unknown id."""
    (paper,) = pilot.shared(patient)
    pilot.at(USUAL)
    assert ids(pilot.find(ANNE, patient.number)) == {paper.unique_id}
    set_block(pilot, patient, "visit_history")
    pilot.cannot_open(ANNE, patient, paper, "BLOCK_VISIT_HISTORY")


def test_45_only_the_facts_of_the_moment_count(pilot: Pilot, patient: Person) -> None:
    """An empty list under a block binds nothing: once it is lifted, an id the reader knew already can be opened."""
    (paper,) = pilot.shared(patient)
    pilot.at(USUAL)
    block = set_block(pilot, patient, "visit_history")
    assert pilot.find(ANNE, patient.number).entries == ()
    lift(pilot, patient, block)
    opened = pilot.open(ANNE, patient.number, [paper])
    assert [each.content for each in opened.documents] == [paper.content]


def test_52_a_block_inside_one_hospital_keeps_all_of_its_documents_there(
    pilot: Pilot, patient: Person, everywhere: dict[str, tuple[Paper, ...]]
) -> None:
    """UNN keeps the journal from one person, so nothing of UNN leaves it; Nordlandssykehuset's documents are listed."""
    inside, others = everywhere["unn"], everywhere["nlsh"]
    pilot.sees(DAG, patient, [*inside, *others])
    set_block(pilot, patient, "source_total", "--source", "unn")
    for each in inside:
        pilot.absent(DAG, patient, each, "BLOCK_SOURCE_TOTAL", shown=others)
    pilot.sees(DAG, patient, others)


def test_55_a_blocked_patient_answers_like_an_unknown_one(pilot: Pilot, patient: Person) -> None:
    """Query and retrieve for a blocked patient and for one nobody knows: the same bytes, and about the same time."""
    papers = pilot.shared(patient, "ous", *["A03-2"] * 8)
    pilot.at(USUAL)
    set_block(pilot, patient, "visit_history")
    unknown, consumer = pilot.patient(), pilot.consumer()
    keys = [(each.source.repository_unique_id, each.unique_id) for each in papers]
    seconds: dict[str, list[float]] = {patient.number: [], unknown.number: []}
    seen: dict[str, set[tuple[str, str]]] = {patient.number: set(), unknown.number: set()}
    tokens = {each.number: pilot.token(ANNE, each.number) for each in (patient, unknown)}
    for _ in range(15):
        for each in (patient, unknown):
            begin = time.perf_counter()
            listed = consumer.find(each.patient_id, tokens[each.number])
            opened = consumer.open(keys, tokens[each.number])
            seconds[each.number].append(time.perf_counter() - begin)
            seen[each.number].add((repr(plain(listed)), repr(plain(opened))))
    assert seen[patient.number] == seen[unknown.number]
    assert len(seen[patient.number]) == 1
    one, other = (statistics.median(each) for each in seconds.values())
    assert 1 / 6 < one / other < 6


Ask = Callable[[Pilot, Person, Sequence[Paper], bytes], Answered]


def _find(more: Sequence[tuple[str, str]] = (), returns: str = "LeafClass", **said: Sequence[str]) -> Ask:
    def ask(pilot: Pilot, person: Person, papers: Sequence[Paper], token: bytes) -> Answered:
        return pilot.consumer().find(person.patient_id, token, more=more, returns=returns, **said)

    return ask


def _get(parameter: str, value: Callable[[Paper], str], returns: str, query_id: QueryId = QueryId.GET_DOCUMENTS) -> Ask:
    def ask(pilot: Pilot, person: Person, papers: Sequence[Paper], token: bytes) -> Answered:
        slot = (parameter, "(" + ",".join(f"'{value(each)}'" for each in papers) + ")")
        return pilot.consumer().query(query_id, [slot], token, returns)

    return ask


def _of_patient(query_id: QueryId, kinds: Sequence[str], returns: str) -> Ask:
    name = "$patientId" if len(kinds) > 1 else f"$XDS{kinds[0]}PatientId"

    def ask(pilot: Pilot, person: Person, papers: Sequence[Paper], token: bytes) -> Answered:
        slots = [(f"$XDS{kind}Status", f"('{Status.APPROVED}')") for kind in kinds]
        return pilot.consumer().query(query_id, [(name, f"'{person.patient_id}'"), *slots], token, returns)

    return ask


def _open(packaged: bool) -> Ask:
    def ask(pilot: Pilot, person: Person, papers: Sequence[Paper], token: bytes) -> Answered:
        keys = [(each.source.repository_unique_id, each.unique_id) for each in papers]
        return pilot.consumer().open(keys, token, packaged=packaged)

    return ask


def questions() -> Iterator[tuple[str, Ask]]:
    """Every way to ask about a patient's documents that this node offers."""
    filters = {
        "class": ("$XDSDocumentEntryClassCode", f"('A00-1^^{KIND_SYSTEM}','B00-1^^{KIND_SYSTEM}')"),
        "type": ("$XDSDocumentEntryTypeCode", f"('A03-2^^{KIND_SYSTEM}')"),
        "confidentiality": ("$XDSDocumentEntryConfidentialityCode", "('N^^2.16.840.1.113883.5.25')"),
        "author": ("$XDSDocumentEntryAuthorPerson", "('9000%')"),
        "format": (
            "$XDSDocumentEntryFormatCode",
            "('urn:ihe:iti:xds:2017:mimeTypeSufficient^^1.3.6.1.4.1.19376.1.2.3')",
        ),
        "created": ("$XDSDocumentEntryCreationTimeFrom", "'20200101'"),
        "served": ("$XDSDocumentEntryServiceStartTimeTo", "'20300101'"),
    }
    yield "find", _find()
    yield "find references", _find(returns="ObjectRef")
    yield "find any status", _find(statuses=(Status.APPROVED, Status.DEPRECATED))
    yield "find deprecated", _find(statuses=(Status.DEPRECATED,), returns="ObjectRef")
    for name, slot in filters.items():
        yield f"find by {name}", _find([slot])
    yield "find by all", _find(list(filters.values()))
    for returns in ("LeafClass", "ObjectRef"):
        yield f"get by uniqueId {returns}", _get("$XDSDocumentEntryUniqueId", lambda each: each.unique_id, returns)
        yield f"get by entryUUID {returns}", _get("$XDSDocumentEntryEntryUUID", lambda each: each.entry_uuid, returns)
        for query_id in (QueryId.GET_ASSOCIATIONS, QueryId.GET_SUBMISSION_SETS):
            yield f"{query_id.name} {returns}", _get("$uuid", lambda each: each.entry_uuid, returns, query_id)
        together = QueryId.GET_DOCUMENTS_AND_ASSOCIATIONS
        unique_ids = "$XDSDocumentEntryUniqueId"
        yield f"{together.name} {returns}", _get(unique_ids, lambda each: each.unique_id, returns, together)
        yield f"get all {returns}", _of_patient(QueryId.GET_ALL, ("DocumentEntry", "SubmissionSet", "Folder"), returns)
        yield f"find sets {returns}", _of_patient(QueryId.FIND_SUBMISSION_SETS, ("SubmissionSet",), returns)
    yield "retrieve", _open(packaged=True)
    yield "retrieve in simple SOAP", _open(packaged=False)


def test_after_a_block_no_question_tells_the_patient_from_one_without_documents(pilot: Pilot, patient: Person) -> None:
    """Whatever is asked after a block, the answer is to the byte that for somebody who has no documents at all."""
    papers = pilot.shared(patient, "ous", "A03-2", "B03-2", "A03-2")
    pilot.at(USUAL)
    empty = pilot.patient()
    tokens = [pilot.token(ANNE, each.number) for each in (patient, empty)]
    before = {name: plain(ask(pilot, patient, papers, tokens[0])) for name, ask in questions()}
    set_block(pilot, patient, "visit_history")
    for name, ask in questions():
        blocked = plain(ask(pilot, patient, papers, tokens[0]))
        assert blocked == plain(ask(pilot, empty, papers, tokens[1])), name
        if name != "find deprecated":
            assert blocked != before[name], f"{name} found nothing before: it proves nothing"


def test_68_what_is_withheld_is_known_to_the_trail_alone(
    pilot: Pilot, patient: Person, everywhere: dict[str, tuple[Paper, ...]]
) -> None:
    """One event with the true reason per exchange; nothing in the patient's log of views, nothing at the hospital."""
    papers = everywhere["ous"]
    set_block(pilot, patient, "visit_history")
    received = {key: len(each.received) for key, each in pilot.hospitals.items()}
    listed = pilot.find(ANNE, patient.number)
    opened = pilot.open(ANNE, patient.number, papers)
    for answer in (listed, opened):
        (event,) = pilot.events(answer)
        assert {each.decision.reason.value for each in event.objects} == {"BLOCK_VISIT_HISTORY"}
        assert {each.decision.permit for each in event.objects} == {False}
        assert all(each.decision.block for each in event.objects)
        assert "BLOCK_VISIT_HISTORY: the patient blocks the visit history" in pilot.explained(answer)
    assert listed.status == SUCCESS
    assert pilot.views(patient, everything=False) == []
    assert pilot.innsyn("audit", "who", patient.number).strip() == "nobody"
    assert {key: len(each.received) for key, each in pilot.hospitals.items()} == received
