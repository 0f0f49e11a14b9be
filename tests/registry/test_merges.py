"""Two identifiers become one person and two again: pointers, blocks and history, on both databases."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.errors import XdsFailure
from ihe.names import Status
from registry.blocks import BlockBook, BlockRefused
from registry.database.engine import Database
from registry.people import merges
from registry.people.book import PatientBook
from registry.people.identities import Admission
from registry.people.merges import Change, MergeRefused, Obstacle
from registry.queries.stored_queries import FindDocuments
from registry.store import Store
from tests.registry.persons import LATER, a_block, held, in_force
from tests.registry.submissions import NOW, entry, relation, submission

A, B, C, D = (f"{name}^^^&2.999.4&ISO" for name in "ABCD")


@pytest.fixture
def patients(database: Database) -> PatientBook:
    return PatientBook(database)


@pytest.fixture
def blocks(database: Database) -> BlockBook:
    return BlockBook(database)


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


def test_who_left_before_does_not_come_back_when_those_they_left_leave_too(patients: PatientBook) -> None:
    patients.add((A, B, C, D))
    for survivor, subsumed in ((B, A), (C, B), (D, C)):
        patients.merge(survivor, subsumed, "feed", NOW)
    assert [patients.separate(each, "clerk", LATER).moved for each in (A, B, C)] == [(A,), (B,), (C,)]
    assert [patients.of(each).identities for each in (A, B, C, D)] == [{A}, {B}, {C}, {D}]


def test_a_block_of_two_does_not_come_to_a_third_they_were_merged_into_later(
    patients: PatientBook, blocks: BlockBook
) -> None:
    patients.add((A, B, C))
    patients.merge(A, B, "feed", NOW)
    blocks.set_block(a_block("of both", B), "clerk", NOW)
    patients.merge(C, A, "feed", NOW)
    assert patients.separate(B, "clerk", NOW).copied == ("of both",)
    assert [held(blocks, each) for each in (A, B, C)] == [{"of both"}] * 3
    assert patients.separate(A, "clerk", NOW).copied == ()
    assert [held(blocks, each) for each in (A, B, C)] == [{"of both"}, {"of both"}, set()]


def test_the_same_two_merged_and_separated_again_have_each_block_once(patients: PatientBook, blocks: BlockBook) -> None:
    patients.add((A, B))
    blocks.set_block(a_block("of a", A), "clerk", NOW)
    for turn in range(3):
        patients.merge(B, A, "feed", NOW)
        if not turn:
            blocks.set_block(a_block("of both", A), "clerk", NOW)
        patients.separate(A, "clerk", NOW)
    names = [[each.block_id.partition("+")[0] for each in blocks.list(mine)] for mine in (A, B)]
    assert [sorted(each) for each in names] == [["of a", "of both"], ["of both"]]


def test_what_one_half_lifted_does_not_come_back_from_the_other(patients: PatientBook, blocks: BlockBook) -> None:
    patients.add((A, B))
    patients.merge(B, A, "feed", NOW)
    blocks.set_block(a_block("b1", A), "clerk", NOW)
    patients.separate(A, "clerk", NOW)
    blocks.lift(A, "b1", "clerk", NOW)
    patients.merge(B, A, "feed", NOW)
    assert in_force(blocks, A) == {"b1"}
    assert patients.separate(A, "clerk", NOW).copied == ()
    assert (in_force(blocks, A), in_force(blocks, B)) == (set(), {"b1"})


def test_a_block_lifted_in_its_first_instant_is_not_brought_to_the_other_half(
    patients: PatientBook, blocks: BlockBook
) -> None:
    patients.add((A, B))
    patients.merge(B, A, "feed", NOW)
    blocks.set_block(a_block("slip", A), "clerk", NOW)
    blocks.lift(A, "slip", "clerk", NOW)
    done = patients.separate(A, "clerk", NOW)
    assert (done.copied, done.lifted) == ((), ("slip",))


def test_a_change_that_breaks_off_at_any_statement_leaves_nothing_of_itself(
    database: Database, patients: PatientBook, blocks: BlockBook
) -> None:
    patients.add((A, B, C))
    for each in (A, B):
        blocks.set_block(a_block("same", each), "clerk", NOW)
    patients.merge(B, A, "feed", NOW)
    blocks.set_block(a_block("of both", A), "clerk", NOW)
    for change in (lambda: patients.merge(C, B, "feed", NOW), lambda: patients.separate(A, "clerk", NOW)):
        before = everything(patients, blocks)
        for statement in itertools.count(1):
            if not broken_off(database, change, statement):
                break
            assert everything(patients, blocks) == before, statement
        assert statement > 8
        assert everything(patients, blocks) != before


class Cut(Exception):
    """Stands for whatever ends a transaction before it is committed."""


def broken_off(database: Database, change: Callable[[], object], statement: int) -> bool:
    """Whether the change has a statement with this number, and so did not come to its end."""
    left = itertools.count(1)

    def cut(*_: object) -> None:
        if next(left) == statement:
            raise Cut

    sa.event.listen(database.engine, "before_cursor_execute", cut)
    try:
        change()
    except Cut:
        return True
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", cut)
    return False


def everything(patients: PatientBook, blocks: BlockBook) -> list[object]:
    people = (A, B, C)
    return [blocks.sequence(), *(patients.of(each) for each in people), *(blocks.list(each) for each in people)]


def test_a_block_set_during_a_merge_takes_the_place_of_no_other_of_its_id(
    patients: PatientBook, blocks: BlockBook, database: Database
) -> None:
    """When it was looked for no block had that id; the merge that is under way brings one."""
    patients.add((A, B))
    blocks.set_block(a_block("same", B), "clerk", NOW)
    begun = threading.Event()

    def merging(connection: Connection) -> None:
        merges.merge(connection, B, A, "feed", NOW)
        begun.set()
        time.sleep(0.2)

    with ThreadPoolExecutor(1) as other:
        merged = other.submit(database.write, merging)
        assert begun.wait(5)
        with pytest.raises(BlockRefused):
            blocks.set_block(a_block("same", A), "clerk", NOW)
        merged.result(20)
    assert blocks.list(A) == (a_block("same", B),)


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
