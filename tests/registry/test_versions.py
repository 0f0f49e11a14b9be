"""Versions of documents and folders (ITI-57) in queries: which are meant by an id, and whose blocks they are under."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ihe.metadata import DocumentEntry
from ihe.names import QueryId
from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.database.tables import uuid_bytes
from registry.desk import Desk
from registry.query import answer_query
from registry.store import Store
from tests.policy.casebook import NOW, block
from tests.registry.desks import (
    PEER,
    errors_of,
    find_documents,
    get_documents,
    status_of,
)
from tests.registry.related import BOTH, P1, P2, again, entry, find_folders, folder, get, objects_of, put


def found(call: object, desk: Desk) -> set[str]:
    reply = answer_query(call, PEER, desk)  # type: ignore[arg-type]
    assert status_of(reply) == "Success", errors_of(reply)
    return set(objects_of(reply))


Revise = Callable[[DocumentEntry, DocumentEntry], None]


@pytest.fixture
def revised(database: Database) -> Revise:
    """Makes one entry the newer version of another, as ITI-57 does."""

    def make(old: DocumentEntry, new: DocumentEntry) -> None:
        with database.engine.begin() as connection:
            run = connection.exec_driver_sql
            mark = "?" if database.sqlite else "%s"
            run(f"UPDATE document SET lid = {mark}, version = 2 WHERE entry_uuid = {mark}", (raw(old), raw(new)))
            run(f"UPDATE document SET status = 1 WHERE entry_uuid = {mark}", (raw(old),))

    return make


def raw(each: DocumentEntry) -> bytes:
    found = uuid_bytes(each.entry_uuid)
    assert found is not None
    return found


def test_a_unique_id_means_the_newest_version_and_a_logical_id_all(store: Store, ous: Desk, revised: Revise) -> None:
    old = entry()
    new = again(old)
    put(store, old)
    put(store, new)
    revised(old, new)
    assert found(get_documents(old.unique_id, by="UniqueId"), ous) == {new.entry_uuid}
    level = ("$MetadataLevel", "2")
    both = {old.entry_uuid, new.entry_uuid}
    assert found(get(QueryId.GET_DOCUMENTS, "DocumentEntryUniqueId", old.unique_id, more=[level]), ous) == both
    assert found(get_documents(old.entry_uuid, by="LogicalID"), ous) == both
    assert found(get_documents(new.entry_uuid, by="LogicalID"), ous) == set()
    assert found(get_documents(old.entry_uuid), ous) == {old.entry_uuid}
    for more in ([], [level]):
        call = get(QueryId.GET_DOCUMENTS_AND_ASSOCIATIONS, "DocumentEntryUniqueId", old.unique_id, more=more)
        assert found(call, ous) & both == ({new.entry_uuid} if not more else both)


def test_a_document_corrected_to_a_patient_shows_to_those_who_ask_about_this_one(
    store: Store, anne: Desk, ous: Desk, revised: Revise, database: Database
) -> None:
    """What was another patient's by mistake: blocks of the former patient are known, and only block records count."""
    wrong = entry(P2)
    right = again(wrong, patient_id=P1)
    put(store, wrong, patient=P2)
    put(store, right)
    revised(wrong, right)
    assert found(find_documents(P1), anne) == {right.entry_uuid}
    assert found(get_documents(right.entry_uuid), anne) == {right.entry_uuid}
    assert found(get_documents(wrong.entry_uuid), anne) == set()
    assert found(get_documents(wrong.unique_id, by="UniqueId"), anne) == {right.entry_uuid}
    leaf = answer_query(get_documents(wrong.entry_uuid, by="LogicalID"), PEER, ous)
    assert [each for each, _ in errors_of(leaf)] == ["XDSResultNotSinglePatient"]
    book = BlockBook(database)
    book.set_block(block("reservation", "b1", patient="P2"), "clerk", NOW)
    assert found(find_documents(P1), anne) == {right.entry_uuid}
    book.set_block(block("document", "b2", patient="P2", documents=[wrong.unique_id]), "clerk", NOW)
    assert found(find_documents(P1), anne) == set()
    assert found(get_documents(right.entry_uuid), anne) == set()


def test_a_former_patients_blocks_are_read_only_where_they_decide(
    store: Store, anne: Desk, revised: Revise, statements: Callable[[], list[str]]
) -> None:
    wrong = entry(P2)
    right = again(wrong, patient_id=P1)
    put(store, wrong, patient=P2)
    put(store, right)
    revised(wrong, right)
    shared = entry(P2)
    put(store, shared, patient=P2)
    put(store, again(shared, patient_id=P1))

    def ran(unique_id: str) -> list[str]:
        call = get_documents(unique_id, by="UniqueId")
        answer_query(call, PEER, anne)
        statements()
        answer_query(call, PEER, anne)
        # Lists of two keys are longer than lists of one, and nothing else differs.
        return [each.partition("WHERE")[0] for each in statements()]

    # A corrected document, one that is two patients', and one that nobody has cost the same questions.
    assert ran(wrong.unique_id) == ran(shared.unique_id) == ran("2.999.404")


def test_an_older_version_of_a_folder_shows_only_with_its_newer_one(
    store: Store, anne: Desk, database: Database
) -> None:
    seen, older, newer = entry(), folder(), folder()
    put(store, seen, folders=[older], into=[(older.entry_uuid, seen.entry_uuid)])
    put(store, folders=[newer], by="somebody gone")
    mark = "?" if database.sqlite else "%s"
    lid, uuid = uuid_bytes(older.entry_uuid), uuid_bytes(newer.entry_uuid)
    assert found(find_folders(P1), anne) == {older.entry_uuid}
    with database.engine.begin() as connection:
        run = connection.exec_driver_sql
        run(f"UPDATE folder SET lid = {mark}, version = 2 WHERE entry_uuid = {mark}", (lid, uuid))
        run(f"UPDATE folder SET status = 1 WHERE entry_uuid = {mark}", (lid,))
    assert found(find_folders(P1, statuses=BOTH), anne) == set()
    assert found(get(QueryId.GET_FOLDERS, "FolderEntryUUID", older.entry_uuid), anne) == set()


def test_a_folders_unique_id_means_its_newest_version(store: Store, ous: Desk, database: Database) -> None:
    older, newer = folder(), folder()
    put(store, folders=[older])
    put(store, folders=[newer])
    mark = "?" if database.sqlite else "%s"
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE folder SET lid = {mark}, version = 2, unique_id = {mark} WHERE entry_uuid = {mark}",
            (uuid_bytes(older.entry_uuid), older.unique_id, uuid_bytes(newer.entry_uuid)),
        )
    by_name = (QueryId.GET_FOLDERS, "FolderUniqueId", older.unique_id)
    assert found(get(*by_name), ous) == {newer.entry_uuid}
    both = {older.entry_uuid, newer.entry_uuid}
    assert found(get(*by_name, more=[("$MetadataLevel", "2")]), ous) == both
    assert found(get(QueryId.GET_FOLDERS, "FolderLogicalID", older.entry_uuid), ous) == both
    assert found(get(QueryId.GET_FOLDER_AND_CONTENTS, "FolderUniqueId", older.unique_id), ous) == {newer.entry_uuid}
    reply = answer_query(get(QueryId.GET_FOLDERS, "FolderEntryUUID", newer.entry_uuid), PEER, ous)
    assert f'lid="{older.entry_uuid}"'.encode() in reply.body
    assert b'versionName="2"' in reply.body
