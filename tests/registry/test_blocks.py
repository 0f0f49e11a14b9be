"""Blocks: in force for every decision that starts after they are set, numbered, kept, and never half read."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.names import AssociationType
from policy.blocks import Block, BlockKind, Setter
from policy.facts import Basis, BlocksUnavailable
from registry.blocks import BlockBook, BlockChange, BlockRefused, from_terms, to_terms
from registry.database.engine import Database
from registry.database.tables import block as block_table
from registry.store import Store
from tests.policy.casebook import NOW, block, cx
from tests.registry.submissions import entry, relation, submission

P1, P2, P3, P4 = cx("P1"), cx("P2"), cx("P3"), cx("P4")


@pytest.fixture
def book(database: Database) -> BlockBook:
    return BlockBook(database)


def test_a_block_is_there_as_soon_as_it_is_set_and_moves_the_number(book: BlockBook) -> None:
    before = book.sequence()
    number = book.set_block(block("reservation"), "clerk", NOW)
    assert number == book.sequence() == before + 1
    assert book.of([P1, P2]) == {P1: (block("reservation"),), P2: ()}
    assert book.set_block(block("reservation"), "clerk", NOW) == number
    with pytest.raises(BlockRefused):
        book.set_block(block("visit_history"), "clerk", NOW)


def test_the_number_can_be_had_at_a_glance_on_sqlite_and_never_by_waiting(book: BlockBook, database: Database) -> None:
    book.set_block(block("reservation"), "clerk", NOW)
    if not database.sqlite:
        assert book.glance() is None
        return
    assert book.glance() == book.sequence()
    with database.engine.execution_options(innsyn_begin="BEGIN IMMEDIATE").connect() as writing:
        # Somebody who writes does not keep anybody from reading.
        writing.execute(sa.select(1))
        assert book.glance() == book.sequence()
        number = book.sequence()
    book.set_block(block("visit_history", name="b2"), "clerk", NOW)
    assert book.glance() == number + 1
    database.close()
    assert book.glance() is None


def test_every_term_of_a_block_is_kept() -> None:
    whole = Block(
        block_id="b",
        kind=BlockKind.DEPARTMENT,
        patient_id=P1,
        set_by=Setter.SOURCE,
        valid_from=NOW,
        valid_to=NOW + timedelta(days=1),
        organisation="974707152",
        department="4201115",
        source="ous",
        overridable_by=frozenset({Basis.EMERGENCY, Basis.CONSENT}),
    )
    for each in (whole, block("document", documents=["2.999.1", "2.999.2"]), block("openable", opened_by=[])):
        assert from_terms(to_terms(each)) == each


def test_a_lifted_block_has_ended_and_its_history_stays(book: BlockBook) -> None:
    book.set_block(block("reservation"), "clerk", NOW)
    book.lift(P1, "b1", "another clerk", NOW + timedelta(hours=1))
    (lifted,) = book.list(P1)
    assert lifted.in_force(NOW)
    assert not lifted.in_force(NOW + timedelta(hours=1))
    changes = [(change.change, change.by, change.at) for change in book.history("b1")]
    assert changes == [
        (BlockChange.SET, "clerk", NOW),
        (BlockChange.LIFTED, "another clerk", NOW + timedelta(hours=1)),
    ]
    for patient, block_id in ((P1, "b1"), (P1, "b2"), (P2, "b1")):
        with pytest.raises(BlockRefused):
            book.lift(patient, block_id, "clerk", NOW + timedelta(hours=2))


def test_a_block_follows_the_person(book: BlockBook, store: Store) -> None:
    book.set_block(block("reservation", patient="P3"), "clerk", NOW)
    number = book.sequence()
    assert book.of([P4]) == {P4: ()}
    store.merge(P4, P3, "clerk", NOW)
    assert book.sequence() > number
    assert [each.block_id for each in book.of([P4])[P4]] == ["b1"]
    assert book.of([P3])[P3] == book.of([P4])[P4]
    book.set_block(block("visit_history", "b2", patient="P3"), "clerk", NOW)
    assert {each.block_id for each in book.of([P4])[P4]} == {"b1", "b2"}
    book.lift(P4, "b1", "clerk", NOW)
    assert not book.list(P3)[0].in_force(NOW)


def documents_of(book: BlockBook) -> frozenset[str]:
    return book.list(P1)[0].documents


def test_a_document_block_covers_every_version_past_and_to_come(book: BlockBook, store: Store) -> None:
    first, addendum, signature = entry(), entry(), entry()
    store.register(submission(first), "ous", NOW)
    for child, kind in ((addendum, AssociationType.APND), (signature, AssociationType.SIGNS)):
        tied = relation(kind, child.entry_uuid, first.entry_uuid)
        store.register(submission(child, relations=(tied,)), "ous", NOW)
    unrelated = entry()
    store.register(submission(unrelated), "ous", NOW)
    book.set_block(block("document", documents=[first.unique_id]), "clerk", NOW)
    assert documents_of(book) == {first.unique_id, addendum.unique_id, signature.unique_id}
    number = book.sequence()
    second = entry()
    tied = relation(AssociationType.RPLC, second.entry_uuid, first.entry_uuid)
    store.register(submission(second, relations=(tied,)), "ous", NOW)
    assert second.unique_id in documents_of(book)
    assert unrelated.unique_id not in documents_of(book)
    assert book.sequence() > number
    assert book.history("b1")[-1].change is BlockChange.EXTENDED


def test_a_blocked_addendum_does_not_block_its_document(book: BlockBook, store: Store) -> None:
    first, addendum = entry(), entry()
    store.register(submission(first), "ous", NOW)
    tied = relation(AssociationType.APND, addendum.entry_uuid, first.entry_uuid)
    store.register(submission(addendum, relations=(tied,)), "ous", NOW)
    book.set_block(block("document", documents=[addendum.unique_id]), "clerk", NOW)
    assert documents_of(book) == {addendum.unique_id}


def test_one_block_that_cannot_be_read_is_not_left_out(book: BlockBook, database: Database) -> None:
    book.set_block(block("reservation"), "clerk", NOW)
    for terms in ('{"kind": "future"}', "not JSON"):
        broken = block_table.update().values(terms=terms)
        database.write(partial(Connection.execute, statement=broken))
        with pytest.raises(BlocksUnavailable):
            book.of([P1])


def test_an_unreadable_database_is_not_a_patient_without_blocks(book: BlockBook, database: Database) -> None:
    database.write(lambda connection: connection.exec_driver_sql("ALTER TABLE block RENAME TO gone"))
    with pytest.raises(BlocksUnavailable):
        book.of([P1])
    database.write(lambda connection: connection.exec_driver_sql("ALTER TABLE gone RENAME TO block"))
