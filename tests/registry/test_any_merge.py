"""Any sequence of merges, separations and blocks, against a model that says what a registry promises of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.people.book import PatientBook
from registry.people.merges import MergeRefused
from registry.store import Store
from tests.registry.persons import LATER, a_block, in_force
from tests.registry.submissions import NOW


@pytest.fixture
def patients(database: Database) -> PatientBook:
    return PatientBook(database)


@pytest.fixture
def blocks(database: Database) -> BlockBook:
    return BlockBook(database)


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
        """A block holds for whoever has an identifier of those that were one person when it was set.

        Unless it was lifted: then it holds no more for any of those who were one person at that moment.
        """
        person = self.person(patient_id, among)
        return {name for name, people in self.set_on.items() if people & person}

    def lift(self, patient_id: str, among: tuple[str, ...]) -> None:
        person = self.person(patient_id, among)
        self.set_on = {name: people - person for name, people in self.set_on.items()}


_RUNS = itertools.count(1)
_PEOPLE = st.integers(0, 4)
_KINDS = st.sampled_from(("add", "merge", "merge", "merge", "merge", "separate", "separate", "block", "block", "lift"))
_STEPS = st.lists(st.tuples(_KINDS, _PEOPLE, _PEOPLE), min_size=5, max_size=25)
_OF_TWO_AMONG_THREE = [("merge", 0, 1), ("block", 1, 0), ("merge", 2, 0), ("separate", 1, 0), ("separate", 0, 0)]
_FROM_BELOW = [("add", 3, 0), *(("merge", each + 1, each) for each in range(3))]
_FROM_BELOW += [("separate", each, 0) for each in range(3)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
@example(steps=_OF_TWO_AMONG_THREE)
@example(steps=_FROM_BELOW)
def test_any_sequence_of_changes_ends_as_the_model_says(
    patients: PatientBook, blocks: BlockBook, store: Store, steps: list[tuple[str, int, int]]
) -> None:
    run, model = next(_RUNS), Model()
    among = tuple(f"{run}-{each}^^^&2.999.4&ISO" for each in range(5))
    assert patients.add(among[:3]) == among[:3]
    model.known |= set(among[:3])
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
        assert in_force(blocks, each) == model.blocks_of(each, among)
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
        case "lift":
            for each in blocks.list(one):
                if each.in_force(LATER):
                    blocks.lift(one, each.block_id, "clerk", NOW)
            model.lift(one, among)
