"""Two identifiers become one person and two again: pointers, blocks and history, on both databases."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ihe.errors import XdsFailure
from ihe.names import Status
from policy.blocks import Block, BlockKind, Setter
from registry.blocks import BlockBook
from registry.engine import Database
from registry.merges import Change, MergeRefused, Obstacle
from registry.patients import Admission
from registry.people import PatientBook
from registry.store import Store
from registry.stored_queries import FindDocuments
from tests.registry.submissions import NOW, entry, relation, submission

A, B, C, D = (f"{name}^^^&2.999.4&ISO" for name in "ABCD")
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def patients(database: Database) -> PatientBook:
    return PatientBook(database)


@pytest.fixture
def blocks(database: Database) -> BlockBook:
    return BlockBook(database)


def a_block(block_id: str, patient_id: str, *documents: str) -> Block:
    kind = BlockKind.DOCUMENT if documents else BlockKind.RESERVATION
    setter = Setter.SOURCE if documents else Setter.PATIENT
    return Block(block_id, kind, patient_id, setter, NOW, documents=frozenset(documents))


def held(blocks: BlockBook, patient_id: str) -> set[str]:
    """The blocks of a person by the ids they were set with."""
    return {each.block_id.partition("+")[0] for each in blocks.list(patient_id)}


def test_everything_of_a_merge_is_on_record(patients: PatientBook, blocks: BlockBook) -> None:
    patients.add((A, B, C))
    blocks.set_block(a_block("b1", A), "clerk", NOW)
    patients.merge(B, A, "feed", NOW)
    line = patients.merge(C, B, "clerk", LATER)
    assert (line.at, line.by, line.change, line.survivor, line.subsumed) == (LATER, "clerk", Change.MERGED, C, B)
    assert (line.moved, line.blocks) == ((B, A), ("b1",))
    person = patients.of(A)
    assert (person.known, person.survivor, person.identities) == (True, C, {A, B, C})
    assert person.history == person.merges
    assert person.history[-1] == line
    assert [each.subsumed for each in person.history] == [A, B]


@pytest.mark.parametrize(
    ("survivor", "subsumed", "why"),
    [
        (A, A, Obstacle.SAME),
        (A, D, Obstacle.SUBSUMED_UNKNOWN),
        (D, A, Obstacle.SURVIVOR_UNKNOWN),
        (C, B, Obstacle.ALREADY_SUBSUMED),
        (B, C, Obstacle.SURVIVOR_SUBSUMED),
        (A, B, Obstacle.ALREADY_SUBSUMED),
    ],
)
def test_a_merge_that_cannot_be_leaves_everything_as_it_is(
    patients: PatientBook, blocks: BlockBook, survivor: str, subsumed: str, why: Obstacle
) -> None:
    patients.add((A, B, C))
    patients.merge(A, B, "feed", NOW)
    before = [patients.of(each) for each in (A, B, C, D)]
    number = blocks.sequence()
    with pytest.raises(MergeRefused) as refused:
        patients.merge(survivor, subsumed, "feed", LATER)
    assert refused.value.obstacle is why
    assert [patients.of(each) for each in (A, B, C, D)] == before
    assert blocks.sequence() == number


def test_an_operator_may_merge_what_nothing_is_registered_for_yet(patients: PatientBook, blocks: BlockBook) -> None:
    blocks.set_block(a_block("b1", A), "clerk", NOW)
    patients.merge(B, A, "clerk", NOW, ahead=True)
    assert held(blocks, B) == {"b1"}


def test_of_two_merges_at_the_same_time_one_sees_the_other(patients: PatientBook) -> None:
    """Each number into the other: one is carried out, the other is refused, and nobody lives on under nobody."""
    patients.add((A, B))
    start = threading.Barrier(2)

    def merging(survivor: str, subsumed: str) -> bool:
        start.wait(5)
        try:
            patients.merge(survivor, subsumed, "feed", NOW)
        except MergeRefused:
            return False
        return True

    with ThreadPoolExecutor(2) as both:
        outcomes = [each.result(20) for each in (both.submit(merging, A, B), both.submit(merging, B, A))]
    assert sorted(outcomes) == [False, True]
    survivors = {patients.of(each).survivor for each in (A, B)}
    assert survivors == ({A} if outcomes[0] else {B})


def test_a_separation_is_the_end_of_one_merge_and_of_no_other(patients: PatientBook) -> None:
    patients.add((A, B, C, D))
    patients.merge(B, A, "feed", NOW)
    patients.merge(C, B, "feed", NOW)
    patients.merge(C, D, "feed", NOW)
    done = patients.separate(B, "clerk", LATER)
    assert (done.survivor, done.moved) == (C, (B, A))
    assert patients.of(A).identities == {A, B}
    assert patients.of(C).identities == {C, D}
    assert [(each.survivor, each.subsumed) for each in patients.of(A).merges] == [(B, A)]
    patients.separate(A, "clerk", LATER)
    assert patients.of(A).identities == {A}
    with pytest.raises(MergeRefused):
        patients.separate(A, "clerk", LATER)
    with pytest.raises(MergeRefused):
        patients.separate("nobody", "clerk", LATER)
    last = patients.of(A).history[-1]
    assert (last.change, last.survivor, last.subsumed, last.moved) == (Change.SEPARATED, B, A, (A,))


def test_what_left_before_does_not_come_back_with_a_later_separation(patients: PatientBook) -> None:
    patients.add((A, B, C))
    patients.merge(B, A, "feed", NOW)
    patients.merge(C, B, "feed", NOW)
    patients.separate(A, "clerk", LATER)
    assert patients.separate(B, "clerk", LATER).moved == (B,)
    assert [patients.of(each).survivor for each in (A, B, C)] == [A, B, C]


def test_running_decisions_are_made_again_after_each_change(patients: PatientBook, blocks: BlockBook) -> None:
    patients.add((A, B))
    numbers = [blocks.sequence()]
    patients.merge(B, A, "feed", NOW)
    numbers.append(blocks.sequence())
    patients.separate(A, "clerk", NOW)
    numbers.append(blocks.sequence())
    assert numbers[0] < numbers[1] < numbers[2]


def test_what_was_blocked_while_two_were_one_stays_blocked_on_both(patients: PatientBook, blocks: BlockBook) -> None:
    patients.add((A, B))
    blocks.set_block(a_block("before-a", A), "clerk", NOW)
    blocks.set_block(a_block("before-b", B), "clerk", NOW)
    patients.merge(B, A, "feed", NOW)
    blocks.set_block(a_block("since-a", A), "clerk", NOW)
    blocks.set_block(a_block("since-b", B), "clerk", NOW)
    blocks.set_block(a_block("ended", B), "clerk", NOW)
    blocks.lift(A, "ended", "clerk", NOW)
    done = patients.separate(A, "clerk", LATER)
    assert held(blocks, A) == {"before-a", "since-a", "since-b"}
    assert held(blocks, B) == {"before-b", "since-a", "since-b", "ended"}
    assert (done.returned, done.copied, done.lifted) == (("before-a", "since-a"), ("since-a", "since-b"), ("ended",))
    for mine in (A, B):
        for each in blocks.list(mine):
            if each.in_force(LATER):
                blocks.lift(mine, each.block_id, "clerk", LATER)
    assert not [each for mine in (A, B) for each in blocks.list(mine) if each.in_force(LATER + timedelta(hours=1))]


def test_a_block_that_came_to_cover_the_other_halfs_documents_stays_on_both(
    store: Store, patients: PatientBook, blocks: BlockBook
) -> None:
    from ihe.names import AssociationType

    old = entry(patient_id=A)
    store.register(submission(old, patient_id=A), "ous", NOW)
    blocks.set_block(a_block("b1", A, old.unique_id), "clerk", NOW)
    patients.merge(B, A, "clerk", NOW, ahead=True)
    new = entry(patient_id=B)
    replaces = relation(AssociationType.RPLC, new.entry_uuid, old.entry_uuid)
    store.register(submission(new, relations=(replaces,), patient_id=B), "ous", NOW)
    patients.separate(A, "clerk", LATER)
    assert [new.unique_id in each.documents for each in blocks.list(B)] == [True]


def test_two_blocks_of_one_id_are_both_kept(patients: PatientBook, blocks: BlockBook) -> None:
    patients.add((A, B))
    for each in (A, B):
        blocks.set_block(a_block("same", each), "clerk", NOW)
    patients.merge(B, A, "feed", NOW)
    assert {each.patient_id for each in blocks.list(B)} == {A, B}


def test_only_those_told_of_are_known(store: Store, patients: PatientBook) -> None:
    store.admission = Admission(by_registration=False)
    assert registers(store, A) is False
    assert patients.add((A, B)) == (A, B)
    assert patients.add((A,)) == ()
    assert registers(store, A) is True
    patients.merge(B, A, "feed", NOW)
    assert patients.add((A,)) == ()
    assert registers(store, A) is False
    assert registers(store, B) is True
    patients.separate(A, "clerk", NOW)
    assert registers(store, A) is True


def test_only_those_of_the_list_are_known(store: Store, patients: PatientBook) -> None:
    assert registers(store, B) is True
    store.admission = Admission(listed=frozenset({A}))
    assert registers(store, B) is False
    assert (store.is_known(A), store.is_known(B)) == (True, False)
    assert registers(store, A) is True


def registers(store: Store, patient_id: str) -> bool:
    try:
        store.register(submission(entry(patient_id=patient_id), patient_id=patient_id), "ous", NOW)
    except XdsFailure as failure:
        told = [each.code.value for each in failure.errors]
    else:
        return True
    assert told == ["XDSUnknownPatientId"]
    return False


# Any sequence of changes against a model -----------------------------------------------------------------------------


@dataclass
class Model:
    """What a registry promises, as simply as it can be said: who is merged into whom, and whom a block was set on."""

    known: set[str] = field(default_factory=set)
    into: dict[str, str] = field(default_factory=dict)
    set_on: dict[str, frozenset[str]] = field(default_factory=dict)

    def root(self, patient_id: str) -> str:
        while patient_id in self.into:
            patient_id = self.into[patient_id]
        return patient_id

    def person(self, patient_id: str, among: tuple[str, ...]) -> frozenset[str]:
        return frozenset(each for each in among if self.root(each) == self.root(patient_id)) | {patient_id}

    def merge(self, survivor: str, subsumed: str) -> bool:
        fits = survivor != subsumed and {survivor, subsumed} <= self.known
        if not fits or survivor in self.into or subsumed in self.into:
            return False
        self.into[subsumed] = survivor
        return True

    def blocks_of(self, patient_id: str, among: tuple[str, ...]) -> set[str]:
        """A block holds for whoever has an identifier of those that were one person when it was set."""
        person = self.person(patient_id, among)
        return {name for name, people in self.set_on.items() if people & person}


_RUNS = itertools.count(1)
_PEOPLE = st.integers(0, 4)
_STEPS = st.lists(
    st.tuples(st.sampled_from(("add", "merge", "merge", "merge", "separate", "separate", "block")), _PEOPLE, _PEOPLE),
    min_size=5,
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_any_sequence_of_changes_ends_as_the_model_says(
    patients: PatientBook, blocks: BlockBook, store: Store, steps: list[tuple[str, int, int]]
) -> None:
    run, model = next(_RUNS), Model()
    among = tuple(f"{run}-{each}^^^&2.999.4&ISO" for each in range(5))
    for first, names in (("add", among[:3]),):
        assert patients.add(names) == tuple(sorted(names)), first
        model.known |= set(names)
    names = (f"b{run}-{number}" for number in itertools.count())
    for what, one, other in steps:
        _step(what, among[one], among[other], among, (model, patients, blocks), names)
    for each in among:
        person = patients.of(each)
        assert person.identities == model.person(each, among)
        assert person.survivor == model.root(each)
        assert {(line.subsumed, line.survivor) for line in person.merges} == {
            (low, high) for low, high in model.into.items() if low in person.identities
        }
        assert held(blocks, each) == model.blocks_of(each, among)
        assert store.identity_set(each) == person.identities


def _step(
    what: str,
    one: str,
    other: str,
    among: tuple[str, ...],
    books: tuple[Model, PatientBook, BlockBook],
    names: Iterator[str],
) -> None:
    model, patients, blocks = books
    match what:
        case "add":
            assert bool(patients.add((one,))) is (one not in model.known)
            model.known.add(one)
        case "merge":
            try:
                patients.merge(one, other, "feed", NOW)
                merged = True
            except MergeRefused:
                merged = False
            assert merged is model.merge(one, other)
        case "separate":
            try:
                patients.separate(one, "clerk", NOW)
                separated = True
            except MergeRefused:
                separated = False
            assert separated is (model.into.pop(one, None) is not None)
        case "block":
            name = next(names)
            blocks.set_block(a_block(name, one), "clerk", NOW)
            model.set_on[name] = model.person(one, among)


def test_documents_go_back_with_the_number_they_were_registered_for(store: Store, patients: PatientBook) -> None:
    mine, theirs, since = entry(patient_id=A), entry(patient_id=B), entry(patient_id=B)
    for each in (mine, theirs):
        store.register(submission(each, patient_id=each.patient_id), "ous", NOW)
    patients.merge(B, A, "feed", NOW)
    store.register(submission(since, patient_id=B), "ous", NOW)
    shown = {each.facts.entry_uuid: each.facts.patient_id for each in listed(store, B)}
    assert shown == dict.fromkeys((mine.entry_uuid, theirs.entry_uuid, since.entry_uuid), B)
    patients.separate(A, "clerk", NOW)
    assert {each.facts.entry_uuid: each.facts.patient_id for each in listed(store, A)} == {mine.entry_uuid: A}
    assert {each.facts.entry_uuid for each in listed(store, B)} == {theirs.entry_uuid, since.entry_uuid}


def listed(store: Store, patient_id: str) -> list:  # type: ignore[type-arg]
    query = FindDocuments(patient_id, frozenset(Status))
    return list(store.find_documents(query, store.identity_set(patient_id), False))
