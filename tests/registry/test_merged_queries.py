"""What queries find of a person with several numbers: by the one that remains, by one linked, by one merged away."""

from __future__ import annotations

import pytest

from audit.event import Kind
from policy.agreements import Policy
from policy.facts import Subject
from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.query import answer_query
from registry.store import Store
from tests.policy.casebook import NOW, block, cx, machine, person
from tests.registry.desks import (
    LONG_AGO,
    OUS,
    PEER,
    SUMMARY,
    Trail,
    desk_for,
    find_documents,
    ids_of,
    machine_policy,
    status_of,
)
from tests.registry.submissions import entry, submission

F, D, OLD = cx("P4"), cx("P3"), cx("P1")
PATIENTS = {F: "P4", D: "P3", OLD: "P1"}
"""The casebook's names."""


@pytest.fixture
def shared(store: Store) -> dict[str, str]:
    """An entry for each of three numbers, by number."""
    entries = {}
    for number in (F, D, OLD):
        sent = entry(patient_id=number, repository_unique_id=OUS, **SUMMARY)
        store.register(submission(sent, patient_id=number), "ous", LONG_AGO, (OUS,))
        entries[number] = sent.entry_uuid
    return entries


def anne(number: str) -> Subject:
    return person("Anne", PATIENTS[number])


def found(database: Database, trail: Trail, caller: Subject, asked: str, policy: Policy | None = None) -> set[str]:
    desk = desk_for(caller, database, trail, policy)
    reply = answer_query(find_documents(asked, returns="ObjectRef"), PEER, desk)
    assert status_of(reply) == "Success"
    return set(ids_of(reply))


def test_a_linked_number_finds_what_the_one_that_remains_finds(
    store: Store, database: Database, trail: Trail, shared: dict[str, str]
) -> None:
    store.merge(F, D, "clerk", NOW)
    for token in (F, D):
        for asked in (F, D):
            assert found(database, trail, anne(token), asked) == {shared[F], shared[D]}


def test_a_number_merged_into_one_of_its_register_finds_nothing(
    store: Store, database: Database, trail: Trail, shared: dict[str, str]
) -> None:
    store.merge(F, OLD, "clerk", NOW)
    assert found(database, trail, anne(F), F) == {shared[F], shared[OLD]}
    assert found(database, trail, anne(OLD), F) == {shared[F], shared[OLD]}
    assert found(database, trail, anne(OLD), OLD) == set()
    assert found(database, trail, anne(F), OLD) == set()
    assert trail.last.kind is Kind.QUERIED
    assert found(database, trail, machine("ous"), OLD, machine_policy()) == set()
    assert found(database, trail, machine("ous"), F, machine_policy()) == {shared[F], shared[OLD]}


def test_a_block_holds_whatever_number_it_was_set_under_and_whatever_is_asked_by(
    store: Store, database: Database, trail: Trail, shared: dict[str, str]
) -> None:
    BlockBook(database).set_block(block("visit_history", patient="P3"), "clerk", NOW)
    assert found(database, trail, anne(F), F) == {shared[F]}
    store.merge(F, D, "clerk", NOW)
    for token in (F, D):
        for asked in (F, D):
            assert found(database, trail, anne(token), asked) == set()
            assert trail.reasons == ["BLOCK_VISIT_HISTORY"]
