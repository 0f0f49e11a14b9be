"""A block against everything that happens at the same time: once it is acknowledged, no answer leaves without it."""

# The fixtures of the registry's tests are used here by the names they have there.
# ruff: noqa: F811

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from ihe.names import AssociationType
from ihe.soap import Call
from policy.blocks import Block, BlockKind, Setter
from policy.facts import Channel, Subject
from registry.blocks import BlockBook
from registry.changes import writing
from registry.database.engine import Database
from registry.desk import Desk
from registry.query import answer_query
from registry.store import Store
from tests.policy.casebook import NOW, block, pilot_texts, policy_of
from tests.registry.conftest import database, database_url, store  # noqa: F401
from tests.registry.desks import PEER, Trail, desk_for, find_documents, get_documents, ids_of
from tests.registry.submissions import CX, OTHER_CX, entry, relation, submission
from tests.registry.test_query import P1, anne, register

MACHINES = """
[agreement.reader]
channel = "machine"
sources = "any"
machines = ["reader"]
kinds = ["pilot"]
valid_from = 2020-01-01T00:00:00+01:00
valid_to = "open"
availability = ["Approved"]
signing = "signed"
max_age = "none"
precision = "day"
"""
READER = Subject(Channel.MACHINE, "reader", machine="reader")


@dataclass
class Passing:
    """Time that passes a little whenever somebody looks."""

    at: datetime = NOW
    simulated: bool = False

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=5)
        return self.at

    def wall(self) -> datetime:
        return self.now()


class Somebody:
    """Sets one block, valid from the moment it is set, when a request comes to a certain point."""

    def __init__(self, book: BlockBook, clock: Passing, moment: str) -> None:
        self.book, self.clock, self.moment = book, clock, moment
        self.acknowledged = False

    def comes_by(self, moment: str) -> None:
        if moment == self.moment and not self.acknowledged:
            self.book.set_block(block("reservation", **{"from": self.clock.now()}), "clerk", self.clock.now())
            self.acknowledged = True


def watched(who: Subject, database: Database, moment: str, **more: Any) -> tuple[Desk, Somebody]:
    """A desk at which somebody sets a block: while the caller is identified, before or after the blocks are read, or
    while the answer is being recorded."""
    clock = Passing()
    somebody = Somebody(BlockBook(database), clock, moment)

    class Book(BlockBook):
        looked = 0

        def sequence(self) -> int:
            self.looked += 1
            somebody.comes_by(f"look {self.looked}")
            return super().sequence()

        def of(self, patient_ids: Any) -> Any:
            found = super().of(patient_ids)
            somebody.comes_by("blocks read")
            return found

    class Recording(Trail):
        def record(self, event: Any) -> None:
            super().record(event)
            somebody.comes_by("recorded")

    def identify(*_: object) -> Subject:
        somebody.comes_by("identified")
        return who

    desk = desk_for(who, database, Recording(), clock=clock, identify=identify, blocks=Book(database), **more)
    return desk, somebody


MOMENTS = ("identified", "look 1", "blocks read", "recorded", "look 2")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_block_acknowledged_before_the_list_leaves_empties_the_list(
    store: Store,
    database: Database,
    moment: str,
) -> None:
    register(store)
    desk, somebody = watched(anne(), database, moment)
    reply = answer_query(find_documents(P1), PEER, desk)
    assert somebody.acknowledged
    assert ids_of(reply) == []


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("ask", [get_documents, lambda _: find_documents(P1)])
def test_a_machine_gets_no_later_list_than_a_person(
    store: Store,
    database: Database,
    moment: str,
    ask: Callable[[str], Call],
) -> None:
    sent = register(store)
    texts = pilot_texts()
    texts["agreements.toml"] += MACHINES
    desk, somebody = watched(READER, database, moment, policy=policy_of(frozenset(texts.items())))
    reply = answer_query(ask(sent.entry_uuid), PEER, desk)
    assert somebody.acknowledged
    assert ids_of(reply) == []


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_new_version_does_not_slip_past_a_block_that_is_being_set(
    store: Store,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = entry(), entry()
    store.register(submission(old), "ous", NOW)
    replaces = relation(AssociationType.RPLC, new.entry_uuid, old.entry_uuid)
    looked, go_on = threading.Event(), threading.Event()
    extend = writing.extend

    def slowly(*words: Any) -> None:
        extend(*words)
        looked.set()
        go_on.wait(5)

    monkeypatch.setattr(writing, "extend", slowly)
    registering = in_thread(lambda: store.register(submission(new, relations=(replaces,)), "ous", NOW))
    assert looked.wait(10)
    book = BlockBook(database)
    blocked = Block("b", BlockKind.DOCUMENT, CX, Setter.SOURCE, NOW, documents=frozenset({old.unique_id}))
    setting = in_thread(lambda: book.set_block(blocked, "clerk", NOW))
    time.sleep(0.2)
    go_on.set()
    registering.join()
    setting.join()
    (held,) = book.list(CX)
    assert held.documents == {old.unique_id, new.unique_id}


def test_a_block_is_not_lost_between_two_numbers_that_become_one_person(store: Store, database: Database) -> None:
    for number in (CX, OTHER_CX):
        store.register(submission(entry(patient_id=number), patient_id=number), "ous", NOW)
    moved, go_on = threading.Event(), threading.Event()

    @sa.event.listens_for(database.engine, "after_cursor_execute")
    def slowly(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE patient SET") and not moved.is_set():
            moved.set()
            go_on.wait(5)

    merging = in_thread(lambda: store.merge(CX, OTHER_CX, "clerk", NOW))
    assert moved.wait(10)
    book = BlockBook(database)
    blocked = Block("b", BlockKind.RESERVATION, OTHER_CX, Setter.PATIENT, NOW)
    setting = in_thread(lambda: book.set_block(blocked, "clerk", NOW))
    time.sleep(0.2)
    go_on.set()
    merging.join()
    setting.join()
    assert [each.block_id for each in book.list(CX)] == ["b"]
    assert [each.block_id for each in book.list(OTHER_CX)] == ["b"]
