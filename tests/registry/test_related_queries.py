"""Sets, folders and associations: each query finds what the standard says, of one person and in whole objects."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ihe import xml
from ihe.metadata import Author
from ihe.names import ON_DEMAND_ENTRY, STABLE_ENTRY, AssociationType, QueryId, Status
from ihe.soap import Call
from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.desk import Desk
from registry.store import Store
from tests.policy.casebook import NOW, block, cx, person
from tests.registry.desks import (
    DE,
    LONG_AGO,
    OUS,
    UNN,
    Trail,
    desk_for,
    errors_of,
    find_documents,
    get_documents,
    query_call,
    status_of,
)
from tests.registry.related import (
    AND_ASSOCIATIONS,
    APND,
    ASSOCIATIONS,
    BOTH,
    FD,
    FILED,
    FOLDER_AND,
    MEMBER,
    OF_DOCUMENT,
    P1,
    P2,
    RPLC,
    SET_AND,
    SETS,
    SS,
    Put,
    ask,
    body_of,
    entry,
    find_folders,
    find_sets,
    folder,
    found,
    get,
    get_all,
    objects_of,
    put,
    related,
    unsigned,
    with_returns,
)
from tests.registry.submissions import code, new_uuid, relation, submission


@pytest.fixture
def filed(store: Store) -> Put:
    """A set of two documents, one of which lies in its folder."""
    inside, beside, own = entry(), entry(), folder()
    return put(store, inside, beside, folders=[own], into=[(own.entry_uuid, inside.entry_uuid)])


def parts(filed: Put) -> tuple[str, str, str, str]:
    """entryUUIDs of the document in the folder, the other, the folder and the membership."""
    (inside, beside), (own,) = filed.sent.entries, filed.sent.folders
    return (
        inside.entry_uuid,
        beside.entry_uuid,
        own.entry_uuid,
        filed.link(own.entry_uuid, inside.entry_uuid).entry_uuid,
    )


def every_call(filed: Put, returns: str = "LeafClass") -> list[tuple[Call, set[str]]]:
    """Each query about `filed`, and what the standard says it finds."""
    inside, beside, own, joined = parts(filed)
    sent, link = filed.sent, filed.link
    whole, uuid = filed.everything, filed.uuid
    of_inside = {link(uuid, inside).entry_uuid, joined}
    entries = f"{DE}EntryUUID"[4:]
    folders = f"{FD}EntryUUID"[4:]
    return [
        (find_documents(P1, returns=returns), {inside, beside}),
        (find_sets(P1, returns=returns), {uuid}),
        (find_folders(P1, returns=returns), {own}),
        (get_all(P1, returns=returns), whole),
        (get_documents(inside, beside, returns=returns), {inside, beside}),
        (get(QueryId.GET_FOLDERS, folders, own, returns=returns), {own}),
        (get(QueryId.GET_FOLDERS, "FolderUniqueId", sent.folders[0].unique_id, returns=returns), {own}),
        (get(ASSOCIATIONS, "$uuid", inside, returns=returns), of_inside),
        (get(ASSOCIATIONS, "$uuid", joined, returns=returns), {link(uuid, joined).entry_uuid}),
        (get(AND_ASSOCIATIONS, entries, inside, returns=returns), {inside, *of_inside}),
        (get(SETS, "$uuid", inside, returns=returns), {uuid, link(uuid, inside).entry_uuid}),
        (get(SETS, "$uuid", own, returns=returns), {uuid, link(uuid, own).entry_uuid}),
        (get(SET_AND, "SubmissionSetEntryUUID", uuid, returns=returns), whole),
        (get(SET_AND, "SubmissionSetUniqueId", sent.submission_set.unique_id, returns=returns), whole),
        (get(FOLDER_AND, folders, own, returns=returns), {own, inside, joined}),
        (get(FOLDER_AND, "FolderUniqueId", sent.folders[0].unique_id, returns=returns), {own, inside, joined}),
        (get(OF_DOCUMENT, entries, inside, returns=returns), {own}),
        (get(OF_DOCUMENT, "DocumentEntryUniqueId", sent.entries[0].unique_id, returns=returns), {own}),
        (get(OF_DOCUMENT, entries, beside, returns=returns), set()),
        (related(inside, RPLC, APND, returns=returns), set()),
    ]


def test_every_query_finds_what_the_standard_says(filed: Put, anne: Desk) -> None:
    for call, expected in every_call(filed):
        reply = ask(call, anne)
        assert (status_of(reply), set(objects_of(reply))) == ("Success", expected), xml.write(call.body)
        assert xml.schema("query").findings(body_of(reply)) == ()


def test_references_are_of_the_same_objects(filed: Put, anne: Desk) -> None:
    for call, expected in every_call(filed, "ObjectRef"):
        tags = objects_of(ask(call, anne))
        assert (set(tags), set(tags.values()) <= {"ObjectRef"}) == (expected, True), xml.write(call.body)


def test_objects_are_written_as_what_they_are(filed: Put, anne: Desk) -> None:
    inside, _, own, joined = parts(filed)
    raw = ask(get_all(P1), anne).body.decode()
    assert f'<RegistryPackage home="{anne.home}"' in raw or f' home="{anne.home}"' in raw
    assert f'lid="{own}"' in raw
    assert f'sourceObject="{own}"' in raw
    assert f'targetObject="{inside}"' in raw
    assert f'id="{joined}" lid="{joined}"' in raw
    assert f"<Value>{FILED}</Value>" in raw
    assert raw.count("SubmissionSetStatus") == 3  # the memberships of documents, and that of the membership in a folder


def test_related_documents_come_with_both_ends_and_what_ties_them(store: Store, anne: Desk, ous: Desk) -> None:
    first, addendum = entry(), entry()
    put(store, first)
    tie = relation(APND, addendum.entry_uuid, first.entry_uuid)
    put(store, addendum, relations=[tie])
    expected = {first.entry_uuid, addendum.entry_uuid, tie.entry_uuid}
    for start in (first, addendum):
        assert found(related(start.entry_uuid, APND), anne) == expected
        assert found(related(start.entry_uuid, RPLC), anne) == set()
    # Types that nobody knows relate nothing.
    call = get(
        QueryId.GET_RELATED_DOCUMENTS,
        "DocumentEntryEntryUUID",
        first.entry_uuid,
        more=[("$AssociationTypes", "('urn:nobody:knows')")],
    )
    assert found(call, anne) == set()


def test_on_demand_entries_are_related_only_where_they_are_asked_for(store: Store, ous: Desk) -> None:
    live, snapshot = entry(object_type=ON_DEMAND_ENTRY), entry()
    put(store, live)
    tie = relation(AssociationType.IS_SNAPSHOT_OF, snapshot.entry_uuid, live.entry_uuid)
    put(store, snapshot, relations=[tie])
    both = (f"{DE}Type", f"('{STABLE_ENTRY}','{ON_DEMAND_ENTRY}')")
    expected = {live.entry_uuid, snapshot.entry_uuid, tie.entry_uuid}
    assert found(related(snapshot.entry_uuid, AssociationType.IS_SNAPSHOT_OF), ous) == set()
    assert found(related(snapshot.entry_uuid, AssociationType.IS_SNAPSHOT_OF, more=[both]), ous) == expected


def test_what_a_set_only_refers_to_does_not_come_with_it(filed: Put, store: Store, anne: Desk) -> None:
    """A membership in a folder comes with the set if folder and document do (ITI TF-2 3.18.4.1.2.3.7.11)."""
    _, beside, own, _ = parts(filed)
    later = put(store, into=[(own, beside)])
    assert found(get(SET_AND, "SubmissionSetEntryUUID", later.uuid), anne) == {later.uuid}
    joined = later.link(own, beside).entry_uuid
    assert joined in found(get(FOLDER_AND, "FolderEntryUUID", own), anne)
    assert found(get(ASSOCIATIONS, "$uuid", later.uuid), anne) == {later.link(later.uuid, joined).entry_uuid}


def test_only_documents_of_the_asked_kind_come_with_a_set(store: Store, anne: Desk) -> None:
    plain, marked, other = entry(), entry(confidentiality_codes=(code("X"),)), entry(format_code=code("other"))
    sent = put(store, plain, marked, other)
    uuid = sent.uuid

    def contents(*more: tuple[str, str]) -> set[str]:
        objects = found(get(SET_AND, "SubmissionSetEntryUUID", uuid, more=more), anne)
        members = {sent.link(uuid, each.entry_uuid).entry_uuid: each.entry_uuid for each in (plain, marked, other)}
        documents = objects & set(members.values())
        assert objects == {uuid, *documents, *(link for link, each in members.items() if each in documents)}
        return documents

    assert contents() == {plain.entry_uuid, marked.entry_uuid, other.entry_uuid}
    assert contents((f"{DE}FormatCode", "('other^^2.999.30.1')")) == {other.entry_uuid}
    assert contents((f"{DE}ConfidentialityCode", "('X^^2.999.30.1')")) == {marked.entry_uuid}
    both = (f"{DE}ConfidentialityCode", "('X^^2.999.30.1')"), (f"{DE}ConfidentialityCode", "('NORN_FFL^^2.999.30.1')")
    assert contents(*both) == set()
    assert contents((f"{DE}Type", f"('{ON_DEMAND_ENTRY}')")) == set()
    offline = (f"{DE}DocumentAvailability", "('urn:ihe:iti:2010:DocumentAvailability:Offline')")
    assert contents(offline) == set()


def test_objects_of_one_person_are_found_and_shown_under_the_surviving_number(
    store: Store, database: Database, trail: Trail
) -> None:
    p3, p4 = cx("P3"), cx("P4")
    old, own = entry(p3), folder(p3)
    before = put(store, old, folders=[own], into=[(own.entry_uuid, old.entry_uuid)], patient=p3)
    store.merge(p4, p3, "clerk", NOW)
    new = entry(p4)
    rplc = relation(APND, new.entry_uuid, old.entry_uuid)
    after = put(store, new, relations=[rplc], into=[(own.entry_uuid, new.entry_uuid)], patient=p4)
    whole = before.everything | after.everything
    for who in ("P3", "P4"):
        desk = desk_for(person("Anne", who), database, trail)
        for patient in (p3, p4):
            assert found(get_all(patient), desk) == whole
            assert found(find_sets(patient), desk) == {before.uuid, after.uuid}
            assert found(find_folders(patient), desk) == {own.entry_uuid}
        assert found(related(old.entry_uuid, APND), desk) == {old.entry_uuid, new.entry_uuid, rplc.entry_uuid}
        reply = ask(get(FOLDER_AND, "FolderEntryUUID", own.entry_uuid), desk)
        assert len(objects_of(reply)) == 5
        assert xml.escape_attribute(p3).encode() not in reply.body
        assert xml.escape_attribute(p4).encode() in reply.body
    BlockBook(database).set_block(block("reservation", patient="P3"), "clerk", NOW)
    desk = desk_for(person("Anne", "P4"), database, trail)
    assert found(get_all(p4), desk) == set()
    assert found(get(FOLDER_AND, "FolderEntryUUID", own.entry_uuid), desk) == set()


def test_objects_of_two_patients_never_come_in_one_answer_by_id(store: Store, ous: Desk) -> None:
    mine, theirs, own, other = entry(), entry(P2), folder(), folder(P2)
    put(store, mine, folders=[own], into=[(own.entry_uuid, mine.entry_uuid)])
    put(store, theirs, folders=[other], into=[(other.entry_uuid, theirs.entry_uuid)], patient=P2)
    calls = [
        get_documents(mine.entry_uuid, theirs.entry_uuid),
        get(QueryId.GET_FOLDERS, "FolderEntryUUID", own.entry_uuid, other.entry_uuid),
        get(AND_ASSOCIATIONS, "DocumentEntryEntryUUID", mine.entry_uuid, theirs.entry_uuid),
        get(SETS, "$uuid", mine.entry_uuid, theirs.entry_uuid),
    ]
    for call in calls:
        reply = ask(call, ous)
        assert ([each for each, _ in errors_of(reply)], objects_of(reply)) == (["XDSResultNotSinglePatient"], {})
        assert objects_of(ask(with_returns(call, "ObjectRef"), ous))
    # Associations alone are nobody's.
    assert found(get(ASSOCIATIONS, "$uuid", mine.entry_uuid, theirs.entry_uuid), ous)


def test_a_set_that_refers_to_anothers_document_is_not_one_patients(store: Store, ous: Desk, anne: Desk) -> None:
    theirs, mine = entry(P2), entry()
    put(store, theirs, patient=P2)
    set_uuid = new_uuid()
    link = relation(MEMBER, set_uuid, theirs.entry_uuid, original=False)
    sent = submission(mine, relations=(link,), entry_uuid=set_uuid)
    store.register(replace(sent, submission_set=replace(sent.submission_set, body=b"<Name/>")), "ous", LONG_AGO, (OUS,))
    call = get(SET_AND, "SubmissionSetEntryUUID", set_uuid, returns="ObjectRef")
    assert theirs.entry_uuid in found(call, ous)
    assert theirs.entry_uuid not in found(call, anne)
    assert set_uuid in found(call, anne)
    leaf = ask(get(SET_AND, "SubmissionSetEntryUUID", set_uuid), ous)
    assert [each for each, _ in errors_of(leaf)] == ["XDSResultNotSinglePatient"]


def test_a_source_verifies_everything_it_registered_and_nothing_of_others(store: Store, ous: Desk) -> None:
    """B12: also the set and folder of a draft, and a folder that has nothing in it yet."""
    draft, own, empty = unsigned(), folder(), folder()
    mine = put(store, draft, folders=[own, empty], into=[(own.entry_uuid, draft.entry_uuid)])
    theirs = put(
        store,
        entry(repository_unique_id=UNN),
        folders=[folder()],
        by="unn",
        repositories=[UNN],
    )
    assert found(get_all(P1), ous) == mine.everything
    assert found(get(SET_AND, "SubmissionSetUniqueId", mine.sent.submission_set.unique_id), ous) == mine.everything
    assert found(get(SET_AND, "SubmissionSetUniqueId", theirs.sent.submission_set.unique_id), ous) == set()
    assert found(find_folders(P1), ous) == {own.entry_uuid, empty.entry_uuid}


def test_a_limit_counts_objects_after_the_shield(filed: Put, anne: Desk, store: Store) -> None:
    put(store, unsigned(), unsigned())
    size = len(filed.everything)
    assert found(get_all(P1), replace(anne, max_results=size)) == filed.everything
    reply = ask(get_all(P1), replace(anne, max_results=size - 1))
    assert [each for each, _ in errors_of(reply)] == ["XDSTooManyResults"]
    assert len(found(get_all(P1, returns="ObjectRef"), replace(anne, max_results=size - 1))) == size


def test_a_deprecated_association_comes_only_when_asked_for(store: Store, anne: Desk, database: Database) -> None:
    sent = put(store, entry())
    uuid = sent.sent.entries[0].entry_uuid
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE association SET status = 1, version = 2")
    both = ("$XDSAssociationStatus", BOTH[1])
    assert found(get(ASSOCIATIONS, "$uuid", uuid), anne) == set()
    reply = ask(get(ASSOCIATIONS, "$uuid", uuid, more=[both]), anne)
    assert len(objects_of(reply)) == 1
    assert Status.DEPRECATED.encode() in reply.body
    assert b'versionName="2"' in reply.body
    assert sent.uuid in found(find_sets(P1), anne)


def test_a_set_is_found_by_its_author_source_time_and_type(store: Store, anne: Desk) -> None:
    sent = put(
        store,
        entry(),
        authors=(Author(person="1^Hansen^Kari"), Author(person="2^Berg^Ola")),
        source_id="2.999.77",
        submission_time="20210101120000",
        content_type_code=code("letter"),
    )
    put(store, entry())
    assert sent.uuid in found(find_sets(P1), anne)
    hits: list[tuple[str, str]] = [
        (f"{SS}AuthorPerson", "'%Hansen%'"),
        (f"{SS}SourceId", "('2.999.77','2.999.78')"),
        (f"{SS}ContentType", "('letter^^2.999.30.1')"),
        (f"{SS}SubmissionTimeTo", "20210101120001"),
        (f"{SS}SubmissionTimeTo", "20210102"),
    ]
    for hit in hits:
        assert found(find_sets(P1, hit), anne) == {sent.uuid}, hit
    misses: list[tuple[str, str]] = [
        (f"{SS}AuthorPerson", "'%Hansen%Berg%'"),
        (f"{SS}SourceId", "('2.999.7')"),
        (f"{SS}ContentType", "('Letter^^2.999.30.1')"),
        (f"{SS}SubmissionTimeTo", "20210101120000"),
        (f"{SS}SubmissionTimeFrom", "2022"),
    ]
    for miss in misses:
        assert found(find_sets(P1, miss), anne) == set(), miss
    slots = [(f"{SS}PatientId", f"'{P1}'"), (f"{SS}Status", f"('{Status.DEPRECATED}')")]
    assert found(query_call(slots, QueryId.FIND_SUBMISSION_SETS), anne) == set()
