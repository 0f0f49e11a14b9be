"""What the store promises of registering: atomic, claimed, never twice, and telling a source nothing about others."""

from __future__ import annotations

import dataclasses
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from ihe.errors import XdsFailure
from ihe.metadata import DocumentEntry
from ihe.names import AssociationType, Code, Status
from policy.facts import DocumentKey, EntryFacts
from registry.database.engine import Database
from registry.database.rows import AnyRow
from registry.database.tables import (
    association,
    document,
    folder,
    object_dir,
    patient_key,
    submission_set,
    uid_claim,
    uuid_bytes,
)
from registry.queries.stored_queries import FindDocuments, GetDocuments
from registry.store import Store
from tests.registry.submissions import CX, HASH, NOW, OTHER_CX, REPOSITORY, entry, relation, submission
from tests.registry.submissions import folder as a_folder

BOTH = frozenset(Status)
TABLES = (document, submission_set, folder, association, object_dir, uid_claim)
RPLC, APND, XFRM, MEMBER = (
    AssociationType.RPLC,
    AssociationType.APND,
    AssociationType.XFRM,
    AssociationType.HAS_MEMBER,
)


def found(store: Store, patient_id: str = CX, **filters: Any) -> dict[str, EntryFacts]:
    query = FindDocuments(patient_id, filters.pop("statuses", BOTH), **filters)
    return {
        each.facts.entry_uuid: each.facts for each in store.find_documents(query, store.identity_set(patient_id), True)
    }


def rows(database: Database) -> list[int]:
    with database.snapshot() as connection:
        return [connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in TABLES]


def codes_of(refused: pytest.ExceptionInfo[XdsFailure]) -> list[Code]:
    return [error.code for error in refused.value.errors]


def replace(store: Store, old: DocumentEntry, by: str = "ous", **changes: Any) -> DocumentEntry:
    new = entry(**changes)
    store.register(submission(new, relations=(relation(RPLC, new.entry_uuid, old.entry_uuid),)), by, NOW)
    return new


def test_what_was_registered_is_found_with_everything_that_decides_about_it(store: Store) -> None:
    sent = entry(legal_authenticator="1^Hansen^Kari", hash=HASH.upper())
    assert not store.register(submission(sent), "ous", NOW).resent
    assert found(store)[sent.entry_uuid] == EntryFacts(
        entry_uuid=sent.entry_uuid,
        lid=sent.entry_uuid,
        version=1,
        status=Status.APPROVED,
        unique_id=sent.unique_id,
        repository_unique_id=REPOSITORY,
        patient_id=CX,
        mime_type="application/pdf",
        hash=HASH,
        size=51342,
        class_code=sent.class_code,
        type_code=sent.type_code,
        confidentiality_codes=sent.confidentiality_codes,
        creation_time="20210114083000",
        registered_at=NOW,
        registered_by="ous",
        signed_at=NOW,
        withdrawn=False,
    )


@pytest.mark.parametrize(
    ("signed_at", "authenticator", "expected"),
    [("20210101", "x", "2021-01-01 00:00:00+00:00"), ("", "x", str(NOW)), ("", "", "None"), ("20210231", "x", "None")],
)
def test_an_entry_counts_as_signed_by_its_slot_else_by_its_authenticator(
    store: Store, signed_at: str, authenticator: str, expected: str
) -> None:
    sent = entry(signed_at=signed_at, legal_authenticator=authenticator)
    store.register(submission(sent), "ous", NOW)
    assert str(found(store)[sent.entry_uuid].signed_at) == expected


def test_the_same_submission_sent_again_writes_nothing(store: Store, database: Database) -> None:
    old = entry()
    store.register(submission(old), "ous", NOW)
    new = entry()
    sent = submission(new, relations=(relation(RPLC, new.entry_uuid, old.entry_uuid),))
    store.register(sent, "ous", NOW)
    before = rows(database)
    again = dataclasses.replace(
        sent, submission_set=dataclasses.replace(sent.submission_set, entry_uuid=old.entry_uuid)
    )
    assert store.register(again, "ous", NOW).resent
    assert rows(database) == before


def test_a_submission_set_id_of_another_source_or_content_is_refused(store: Store, database: Database) -> None:
    sent = submission(entry())
    store.register(sent, "ous", NOW)
    before = rows(database)
    fresh = submission(entry(), unique_id=sent.submission_set.unique_id)
    with pytest.raises(XdsFailure) as other_content:
        store.register(fresh, "ous", NOW)
    with pytest.raises(XdsFailure) as other_source:
        store.register(dataclasses.replace(fresh, digest=sent.digest), "unn", NOW)
    assert codes_of(other_content) == codes_of(other_source) == [Code.DUPLICATE_UNIQUE_ID_IN_REGISTRY]
    assert rows(database) == before


def test_a_unique_id_used_again_needs_the_same_bytes(store: Store, database: Database) -> None:
    first = entry()
    store.register(submission(first), "ous", NOW)
    before = rows(database)
    for changes, code in (({"hash": "0" * 40}, Code.NON_IDENTICAL_HASH), ({"size": 1}, Code.NON_IDENTICAL_SIZE)):
        with pytest.raises(XdsFailure) as refused:
            store.register(submission(entry(unique_id=first.unique_id, **changes)), "ous", NOW)
        assert codes_of(refused) == [code]
        assert first.unique_id in refused.value.errors[0].context
    assert rows(database) == before
    second = entry(unique_id=first.unique_id)
    store.register(submission(second), "ous", NOW)
    assert set(found(store)) == {first.entry_uuid, second.entry_uuid}


def test_a_folder_or_set_takes_no_unique_id_that_anything_uses(store: Store) -> None:
    first = entry()
    store.register(submission(first), "ous", NOW)
    with pytest.raises(XdsFailure) as refused:
        store.register(submission(folders=(a_folder(unique_id=first.unique_id),)), "ous", NOW)
    assert codes_of(refused) == [Code.DUPLICATE_UNIQUE_ID_IN_REGISTRY]


def test_every_problem_of_the_database_is_told_at_once(store: Store, database: Database) -> None:
    first = entry()
    store.register(submission(first), "ous", NOW)
    before = rows(database)
    wrong = entry(entry_uuid=first.entry_uuid, unique_id=first.unique_id, hash="0" * 40)
    with pytest.raises(XdsFailure) as refused:
        store.register(submission(wrong, folders=(a_folder(unique_id=first.unique_id),)), "ous", NOW)
    assert set(codes_of(refused)) == {
        Code.DUPLICATE_UNIQUE_ID_IN_MESSAGE,
        Code.DUPLICATE_UNIQUE_ID_IN_REGISTRY,
        Code.REGISTRY_METADATA_ERROR,
    }
    assert rows(database) == before


def test_replacing_deprecates_the_old_entry_and_all_that_hangs_on_it(store: Store) -> None:
    old, addendum, copy, of_addendum = entry(), entry(), entry(), entry()
    store.register(submission(old), "ous", NOW)
    for child, kind, parent in ((addendum, APND, old), (copy, XFRM, old), (of_addendum, XFRM, addendum)):
        store.register(submission(child, relations=(relation(kind, child.entry_uuid, parent.entry_uuid),)), "ous", NOW)
    new = replace(store, old)
    assert set(found(store, statuses=frozenset({Status.APPROVED}))) == {new.entry_uuid}
    assert len(found(store)) == 5


def test_a_deprecated_entry_is_replaced_only_once(store: Store, database: Database) -> None:
    old = entry()
    store.register(submission(old), "ous", NOW)
    replace(store, old)
    before = rows(database)
    with pytest.raises(XdsFailure) as refused:
        replace(store, old)
    assert codes_of(refused) == [Code.REGISTRY_DEPRECATED_DOCUMENT]
    assert rows(database) == before


def test_one_submission_replaces_an_entry_once(store: Store, database: Database) -> None:
    old, one, two = entry(), entry(), entry()
    store.register(submission(old), "ous", NOW)
    before = rows(database)
    twice = tuple(relation(RPLC, each.entry_uuid, old.entry_uuid) for each in (one, two))
    with pytest.raises(XdsFailure) as refused:
        store.register(submission(one, two, relations=twice), "ous", NOW)
    assert codes_of(refused) == [Code.REGISTRY_DEPRECATED_DOCUMENT]
    assert rows(database) == before


def test_of_six_replacements_at_once_exactly_one_wins(store: Store) -> None:
    old = entry()
    store.register(submission(old), "ous", NOW)
    outcomes: list[object] = []
    start = threading.Barrier(6)

    def race() -> None:
        start.wait()
        try:
            replace(store, old)
            outcomes.append("won")
        except XdsFailure as failure:
            outcomes.extend(error.code for error in failure.errors)

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == sorted(["won", *[Code.REGISTRY_DEPRECATED_DOCUMENT.value] * 5])
    assert len(found(store, statuses=frozenset({Status.APPROVED}))) == 1


@pytest.mark.parametrize("kind", [RPLC, APND, MEMBER])
def test_a_source_cannot_tell_anothers_entry_from_an_unknown_one(store: Store, kind: AssociationType) -> None:
    theirs = entry(repository_unique_id="2.999.10.2")
    store.register(submission(theirs), "unn", NOW)

    def answer(target: str) -> list[tuple[Code, str]]:
        new = entry()
        sent = submission(new)
        source = sent.submission_set.entry_uuid if kind is MEMBER else new.entry_uuid
        sent = dataclasses.replace(sent, associations=(*sent.associations, relation(kind, source, target, False)))
        with pytest.raises(XdsFailure) as refused:
            store.register(sent, "ous", NOW, [REPOSITORY])
        return [(error.code, error.context.replace(target, "ID")) for error in refused.value.errors]

    unknown = entry().entry_uuid
    assert answer(theirs.entry_uuid) == answer(unknown)
    assert answer(unknown)[0][0] is Code.UNRESOLVED_REFERENCE


def test_a_source_may_refer_to_what_lies_in_its_repositories(store: Store) -> None:
    old, new = entry(), entry()
    store.register(submission(old), "ous-earlier", NOW)
    sent = submission(new, relations=(relation(RPLC, new.entry_uuid, old.entry_uuid),))
    store.register(sent, "ous", NOW, [REPOSITORY])
    assert found(store)[old.entry_uuid].status is Status.DEPRECATED


def test_related_documents_are_of_one_patient(store: Store) -> None:
    old = entry(patient_id=OTHER_CX)
    store.register(submission(old, patient_id=OTHER_CX), "ous", NOW)
    with pytest.raises(XdsFailure) as refused:
        replace(store, old)
    assert codes_of(refused) == [Code.PATIENT_ID_DOES_NOT_MATCH]
    assert OTHER_CX not in str([error.context for error in refused.value.errors])


def test_a_submission_may_hold_another_patients_entry_by_reference(store: Store) -> None:
    theirs, mine = entry(patient_id=OTHER_CX), entry()
    store.register(submission(theirs, patient_id=OTHER_CX), "ous", NOW)
    sent = submission(mine)
    by_reference = relation(MEMBER, sent.submission_set.entry_uuid, theirs.entry_uuid, False)
    store.register(dataclasses.replace(sent, associations=(*sent.associations, by_reference)), "ous", NOW)
    assert set(found(store)) == {mine.entry_uuid}


def test_a_replacement_follows_into_the_folders_of_what_it_replaces(store: Store, database: Database) -> None:
    old, holder = entry(), a_folder()
    into = relation(MEMBER, holder.entry_uuid, old.entry_uuid)
    store.register(submission(old, folders=(holder,), relations=(into,)), "ous", NOW)
    later = NOW.replace(hour=11)
    new = entry()
    store.register(submission(new, relations=(relation(RPLC, new.entry_uuid, old.entry_uuid),)), "ous", later)
    with database.snapshot() as connection:
        held = connection.execute(
            sa.select(association.c.target).where(association.c.source == uuid_bytes(holder.entry_uuid))
        ).scalars()
        assert set(held) == {uuid_bytes(old.entry_uuid), uuid_bytes(new.entry_uuid)}
        carried = sa.select(association.c.entry_uuid).where(
            association.c.source == uuid_bytes(holder.entry_uuid), association.c.target == uuid_bytes(new.entry_uuid)
        )
        linked = sa.select(association.c.target).where(association.c.target.in_(carried))
        assert connection.execute(linked).scalar() is not None
        assert connection.execute(sa.select(folder.c.last_update)).scalar() == 20210215110000


def test_a_failed_submission_does_not_touch_a_folder(store: Store, database: Database) -> None:
    old, holder = entry(), a_folder()
    store.register(
        submission(old, folders=(holder,), relations=(relation(MEMBER, holder.entry_uuid, old.entry_uuid),)), "ous", NOW
    )
    new = entry()
    relations = (
        relation(MEMBER, holder.entry_uuid, new.entry_uuid),
        relation(APND, new.entry_uuid, entry().entry_uuid),
    )
    with pytest.raises(XdsFailure):
        store.register(submission(new, relations=relations), "ous", NOW.replace(hour=12))
    with database.snapshot() as connection:
        assert connection.execute(sa.select(folder.c.last_update)).scalar() == 20210215090000


def test_documents_of_merged_identifiers_are_one_patients(store: Store) -> None:
    mine, theirs = entry(), entry(patient_id=OTHER_CX)
    store.register(submission(mine), "ous", NOW)
    store.register(submission(theirs, patient_id=OTHER_CX), "ous", NOW)
    store.merge(CX, OTHER_CX, "clerk", NOW)
    assert store.identity_set(CX) == store.identity_set(OTHER_CX) == {CX, OTHER_CX}
    assert {each.patient_id for each in found(store, OTHER_CX).values()} == {CX}
    assert set(found(store)) == {mine.entry_uuid, theirs.entry_uuid}
    replace(store, theirs)
    with pytest.raises(XdsFailure) as refused:
        store.register(submission(entry(patient_id=OTHER_CX), patient_id=OTHER_CX), "ous", NOW)
    assert codes_of(refused) == [Code.UNKNOWN_PATIENT_ID]


def test_the_family_of_a_document_reaches_across_patients(store: Store) -> None:
    mine = entry()
    theirs = entry(unique_id=mine.unique_id, patient_id=OTHER_CX)
    elsewhere = entry(unique_id=mine.unique_id, repository_unique_id="2.999.10.2")
    for sent in (mine, theirs, elsewhere):
        store.register(submission(sent, patient_id=sent.patient_id), "ous", NOW)
    key = DocumentKey(REPOSITORY, mine.unique_id)
    family = {mine.entry_uuid, theirs.entry_uuid}
    assert {each.entry_uuid for each in store.lookup([key])[key]} == family
    query = FindDocuments(CX, BOTH)
    listed = {each.facts.entry_uuid: each for each in store.find_documents(query, {CX}, leaf=False)}
    assert set(listed) == {mine.entry_uuid, elsewhere.entry_uuid}
    assert {each.entry_uuid for each in listed[mine.entry_uuid].family} == family
    assert [each.entry_uuid for each in listed[elsewhere.entry_uuid].family] == [elsewhere.entry_uuid]
    by_uuid = store.get_documents(GetDocuments(entry_uuids=(theirs.entry_uuid,)), leaf=True).found
    assert [each.facts.entry_uuid for each in by_uuid] == [theirs.entry_uuid]
    assert {each.entry_uuid for each in by_uuid[0].family} == family
    by_uid = store.get_documents(GetDocuments(unique_ids=(mine.unique_id,)), leaf=True).found
    assert len(by_uid) == 3


@pytest.mark.parametrize("by", ["entry_uuids", "unique_ids"])
def test_an_unknown_id_costs_as_many_rows_as_a_known_one(
    store: Store, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    sent = [entry() for _ in range(3)]
    store.register(submission(*sent), "ous", NOW)
    read: list[AnyRow] = []
    plain = store._reader._columns.facts

    def facts(row: AnyRow, key: DocumentKey | None = None) -> EntryFacts:
        read.append(row)
        return plain(row, key)

    monkeypatch.setattr(store._reader, "_columns", SimpleNamespace(facts=facts))
    known = [each.entry_uuid if by == "entry_uuids" else each.unique_id for each in sent]
    unknown = [entry().entry_uuid if by == "entry_uuids" else entry().unique_id for _ in range(3)]
    costs = set()
    for asked in (known, unknown, known[:1] + unknown[:2]):
        read.clear()
        hits = store.get_documents(GetDocuments(**{by: tuple(asked)}), leaf=False)
        costs.add(len(read))
        assert len(hits.found) == len(set(known) & set(asked)) == 3 - len(hits.decoys)
    read.clear()
    store.lookup([DocumentKey(REPOSITORY, each) for each in ("x", "y", "z")])
    assert costs == {3} == {len(read)}


def test_the_patients_key_alone_finds_nothing(store: Store, database: Database) -> None:
    """Two CX can be made to have one key: whoever asks for one of them must not get the other's documents."""
    store.register(submission(entry()), "ous", NOW)
    with database.snapshot() as connection:
        query = FindDocuments(CX, BOTH)
        assert store._reader.find(connection, query, {patient_key(CX): "somebody else"}, True) == []
        assert len(store._reader.find(connection, query, {patient_key(CX): CX}, True)) == 1
