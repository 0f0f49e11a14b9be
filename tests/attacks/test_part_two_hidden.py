"""What updates, removals and merges leave behind: nothing of it shows what is hidden, and no block ends with it."""

# The fixtures of the registry's tests are used here by the names they have there.
# ruff: noqa: F811

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta

import pytest

from ihe.metadata import DocumentEntry
from ihe.names import Action, AssociationType, QueryId
from ihe.soap import Call
from policy.blocks import Block, BlockKind, Setter
from policy.facts import Channel, Subject
from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.desk import Desk
from registry.people.book import PatientBook
from registry.rules.strictness import Level, Strictness, level_fault
from registry.rules.table import RULES
from registry.store import Store
from tests.ihe import submissions as written
from tests.policy.casebook import NOW
from tests.registry import revisions
from tests.registry.conftest import database, database_url, store  # noqa: F401
from tests.registry.desks import LONG_AGO, OUS, Trail, desk_for, errors_of
from tests.registry.related import (
    BOTH,
    P1,
    P2,
    again,
    ask,
    entry,
    find_folders,
    find_sets,
    folder,
    found,
    get,
    get_all,
    put,
    unsigned,
)
from tests.registry.revisions import OTHER_REPOSITORY, UNN, Registry, follows, new_set, uuid
from tests.registry.submissions import relation
from tests.registry.test_query import anne

RPLC = AssociationType.RPLC
FOLDER_NAME = "2.999.41.77"


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database)


def reader(database: Database, trail: Trail | None = None) -> Desk:
    return desk_for(anne(), database, trail or Trail(), registers={"ous": (OUS,)})


def about(of: str) -> Iterable[Call]:
    """Every question that a folder could turn up in, its versions among them."""
    yield find_folders(P1, statuses=BOTH)
    yield find_sets(P1)
    yield get_all(P1, statuses=BOTH, returns="ObjectRef")
    yield get_all(P1, statuses=BOTH)
    for query_id in (QueryId.GET_FOLDERS, QueryId.GET_FOLDER_AND_CONTENTS):
        yield get(query_id, "FolderEntryUUID", of)
        yield get(query_id, "FolderUniqueId", FOLDER_NAME)
        yield get(query_id, "FolderUniqueId", FOLDER_NAME, more=[("$MetadataLevel", "2")])
    yield get(QueryId.GET_FOLDERS, "FolderLogicalID", of)
    yield get(QueryId.GET_ASSOCIATIONS, "$uuid", of)
    yield get(QueryId.GET_SUBMISSION_SETS, "$uuid", of)


def test_a_folder_corrected_to_another_patient_is_gone_for_those_who_ask_about_the_first(
    registry: Registry, database: Database
) -> None:
    of, new = uuid(1), uuid(11)
    filed = written.member(uuid(2), uuid(5), of)
    registry.register(revisions.a_folder(of, FOLDER_NAME, patient=P1), new_set(P1, uuid(5)), filed)
    assert of in found(find_folders(P1), reader(database))
    moved = revisions.a_folder(new, FOLDER_NAME, lid=of, patient=P2)
    before = BlockBook(database).sequence()
    assert registry.update(moved, new_set(P2), follows(new, propagation="no")) == []
    assert BlockBook(database).sequence() > before
    trail = Trail()
    for each in (*about(of), *about(new)):
        assert found(each, reader(database, trail)) == set()
    # Who asks about the patient of the wrong folder has asked across nobody's border, and is not reported.
    whole = [each for event in trail.events for each in event.objects if each.entry_uuid != new]
    assert not any(each.decision.alert for each in whole)


def test_what_was_removed_from_a_folder_is_not_told_by_the_folders_time(store: Store, database: Database) -> None:
    shown, own = entry(), folder()
    put(store, shown, folders=[own], into=[(own.entry_uuid, shown.entry_uuid)])
    later = LONG_AGO + timedelta(days=7)
    hidden = unsigned()
    added = put(store, hidden, into=[(own.entry_uuid, hidden.entry_uuid)], at=later)

    def time() -> list[str]:
        answer = ask(find_folders(P1), reader(database)).body.decode()
        return re.findall(r'name="lastUpdateTime"><ValueList><Value>(\d+)<', answer)

    before = time()
    assert len(before) == 1
    assert f"{later:%Y%m%d}" not in before[0]
    store.remove(sorted(added.everything), "ous", later, [OUS])
    assert time() == before


def documents_of(database: Database, patient: str) -> frozenset[str]:
    (held,) = BlockBook(database).list(patient)
    return held.documents


def block_on(database: Database, each: DocumentEntry, patient: str = P1) -> None:
    blocked = Block("b", BlockKind.DOCUMENT, patient, Setter.SOURCE, NOW, documents=frozenset({each.unique_id}))
    BlockBook(database).set_block(blocked, "clerk", NOW)


@pytest.mark.parametrize("remains", [P1, P2])
def test_a_block_covers_the_versions_that_a_merge_brings_together(
    store: Store, database: Database, remains: str
) -> None:
    first = entry(P1)
    copy = again(first, patient_id=P2)
    newer = entry(P2)
    put(store, first)
    put(store, copy, patient=P2)
    put(store, newer, patient=P2, relations=[relation(RPLC, newer.entry_uuid, copy.entry_uuid)])
    block_on(database, first)
    other = P2 if remains == P1 else P1
    PatientBook(database).merge(remains, other, "clerk", NOW)
    assert documents_of(database, remains) == {first.unique_id, newer.unique_id}
    assert found(get_all(P1, statuses=BOTH), reader(database)) & {first.entry_uuid, newer.entry_uuid} == set()
    PatientBook(database).separate(other, "clerk", NOW)
    for patient in (P1, P2):
        assert documents_of(database, patient) >= {first.unique_id, newer.unique_id}


def test_a_block_set_before_its_document_came_by_a_merge_covers_what_replaced_it(
    store: Store, database: Database
) -> None:
    old, new = entry(P2), entry(P2)
    put(store, old, patient=P2)
    put(store, new, patient=P2, relations=[relation(RPLC, new.entry_uuid, old.entry_uuid)])
    put(store, entry(P1))
    block_on(database, old)
    assert documents_of(database, P1) == {old.unique_id}
    PatientBook(database).merge(P1, P2, "clerk", NOW)
    assert documents_of(database, P1) == {old.unique_id, new.unique_id}


def test_an_update_does_not_tell_whether_another_hospital_has_the_document(registry: Registry) -> None:
    both, alone = registry.document(1, "2.999.1.5"), registry.document(11, "2.999.1.6")
    registry.document(21, "2.999.1.5", sender=UNN, repositoryUniqueId=OTHER_REPOSITORY)

    def answer(lid: str, unique_id: str, of: str, sha1: str) -> list[tuple[str, str]]:
        made = revisions.entry(of, unique_id, lid=lid, hash=sha1, repositoryUniqueId=OTHER_REPOSITORY)
        reply = registry.send(Action.UPDATE, written.request(made, new_set(), follows(of)))
        return [(code, text.replace(unique_id, "it")) for code, text in errors_of(reply)]

    for number, sha1 in enumerate((written.SHA1, "0" * 40)):
        told = answer(both, "2.999.1.5", uuid(100 + number), sha1)
        assert told == answer(alone, "2.999.1.6", uuid(200 + number), sha1)
        assert [code for code, _ in told] == ["XDSMetadataUpdateError"]


STRANGER = Subject(
    Channel.MACHINE,
    "stranger",
    machine="stranger",
    may_register=("2.999.10.20.9",),
    may_update=("2.999.10.20.9",),
    may_remove=("2.999.10.20.9",),
)


def test_a_stranger_learns_nothing_from_what_was_removed_moved_or_merged(
    registry: Registry, database: Database
) -> None:
    """Each object in turn as the target of every operation: not a letter differs from the answers for an unknown id."""
    there = registry.document(1, "2.999.1.5", patient=P1)
    gone = registry.document(11, "2.999.1.6", patient=P1)
    assert registry.remove(gone, uuid(12), uuid(13)) == []
    moved = registry.document(21, "2.999.1.7", patient=P1)
    new = revisions.entry(uuid(31), "2.999.1.7", lid=moved, patient=P2)
    assert registry.update(new, new_set(P2), follows(uuid(31), propagation="no")) == []
    free = uuid(999)

    def answers(each: str) -> list[list[tuple[str, str]]]:
        made = revisions.entry(uuid(40), "2.999.1.5", lid=each, repositoryUniqueId="2.999.10.20.9")
        joined = revisions.joins("j", RPLC, each, each)
        asked = [
            (Action.UPDATE, written.request(made, new_set(), follows(uuid(40)))),
            (Action.RESTRICTED_UPDATE, written.request(made, new_set(), follows(uuid(40)))),
            (Action.UPDATE, written.request(new_set(), revisions.status(each))),
            (Action.UPDATE, written.request(new_set(), joined, revisions.submits("j"))),
            (Action.REMOVE, revisions.removal(each)),
        ]
        replies = (registry.send(action, root, STRANGER) for action, root in asked)
        told = [[(code, text.replace(each, "it")) for code, text in errors_of(reply)] for reply in replies]
        assert all(told)
        return told

    unknown = answers(free)
    for each in (there, gone, moved, uuid(31), uuid(2), uuid(3)):
        assert answers(each) == unknown


@pytest.mark.parametrize("name", ["urn:innsyn:withdrawn", "urn:innsyn:signedat", "URN:INNSYN:signedAt"])
def test_no_level_of_strictness_lets_a_word_of_ours_be_stored_and_ignored(registry: Registry, name: str) -> None:
    lowered = {each.id: Level.OFF for each in RULES.values() if level_fault(each.id, Level.OFF) is None}
    registry.changes["strictness"] = Strictness(lowered)
    made = revisions.entry(uuid(1), "2.999.1.5", **{name: "20300101"})
    told = registry.codes(
        Action.REGISTER,
        written.request(made, new_set(of=uuid(2)), written.member(uuid(3), uuid(2), uuid(1), "Original")),
    )
    assert told == ["XDSRegistryMetadataError"]
