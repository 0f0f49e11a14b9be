"""Sets, folders and associations: what is hidden takes along what speaks of it, and the trail knows all of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from audit.event import Kind
from ihe import xml
from ihe.names import QueryId
from ihe.soap import Call
from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.database.rows import stamp
from registry.desk import Desk
from registry.store import Store
from tests.policy.casebook import NOW, block
from tests.registry.desks import (
    LONG_AGO,
    UNN,
    Trail,
    get_documents,
)
from tests.registry.related import (
    AND_ASSOCIATIONS,
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
    Put,
    ask,
    entry,
    find_folders,
    find_sets,
    folder,
    found,
    get,
    get_all,
    put,
    related,
    unsigned,
    with_returns,
)
from tests.registry.submissions import new_uuid, relation


def test_what_is_hidden_takes_along_what_speaks_of_it(store: Store, anne: Desk, trail: Trail) -> None:
    """A02, A03: the entry, its memberships, and a set or folder of which nothing else is left."""
    hidden, seen, mixed, alone = unsigned(), entry(), folder(), folder()
    sent = put(
        store,
        hidden,
        seen,
        folders=[mixed, alone],
        into=[
            (mixed.entry_uuid, seen.entry_uuid),
            (mixed.entry_uuid, hidden.entry_uuid),
            (alone.entry_uuid, hidden.entry_uuid),
        ],
    )
    lonely = put(store, unsigned())
    joined = sent.link(mixed.entry_uuid, seen.entry_uuid).entry_uuid
    visible = {sent.uuid, seen.entry_uuid, mixed.entry_uuid, joined}
    visible |= {sent.link(sent.uuid, each).entry_uuid for each in (seen.entry_uuid, mixed.entry_uuid, joined)}
    assert found(get_all(P1), anne) == visible
    assert found(get_all(P1, returns="ObjectRef"), anne) == visible
    assert found(find_sets(P1), anne) == {sent.uuid}
    assert found(find_folders(P1), anne) == {mixed.entry_uuid}
    assert found(get(SET_AND, "SubmissionSetEntryUUID", sent.uuid), anne) == visible
    assert found(get(FOLDER_AND, "FolderEntryUUID", mixed.entry_uuid), anne) == {
        mixed.entry_uuid,
        seen.entry_uuid,
        joined,
    }
    assert found(get(SET_AND, "SubmissionSetEntryUUID", lonely.uuid), anne) == set()
    assert "NOT_SIGNED" in trail.reasons


@pytest.mark.parametrize("returns", ["LeafClass", "ObjectRef"])
def test_a_hidden_id_is_answered_like_an_unknown_one_in_every_query(
    store: Store, anne: Desk, trail: Trail, returns: str
) -> None:
    hidden, own = unsigned(), folder()
    mine = put(store, hidden, folders=[own], into=[(own.entry_uuid, hidden.entry_uuid)])
    their, theirs = entry(P2), folder(P2)
    other = put(store, their, folders=[theirs], into=[(theirs.entry_uuid, their.entry_uuid)], patient=P2)
    for sent, alarm in ((mine, False), (other, True)):
        for call, unknown in zip(ids_of_all(sent), ids_of_all(None), strict=True):
            answer, nothing = (ask(with_returns(each, returns), anne) for each in (call, unknown))
            assert answer.body == nothing.body, xml.write(call.body)
            assert trail.events[-1].kind is Kind.QUERIED
            told = trail.events[-2]
            assert all(not each.decision.permit for each in told.objects)
            assert told.objects
            if alarm:
                assert {each.decision.reason.value for each in told.objects} <= {"PATIENT_MISMATCH_DOC", "UNKNOWN_DOC"}


def ids_of_all(sent: Put | None) -> list[Call]:
    """Every query by id, for the objects of a submission or for ids that nobody has."""
    if sent is None:
        document, own, uuid, joined = (new_uuid() for _ in range(4))
        names = ("2.999.1", "2.999.2", "2.999.3")
    else:
        document, own, uuid = sent.sent.entries[0].entry_uuid, sent.sent.folders[0].entry_uuid, sent.uuid
        joined = sent.link(own, document).entry_uuid
        names = sent.sent.entries[0].unique_id, sent.sent.folders[0].unique_id, sent.sent.submission_set.unique_id
    return [
        get_documents(document),
        get_documents(names[0], by="UniqueId"),
        get_documents(document, by="LogicalID"),
        get(QueryId.GET_FOLDERS, "FolderEntryUUID", own),
        get(QueryId.GET_FOLDERS, "FolderUniqueId", names[1]),
        get(QueryId.GET_FOLDERS, "FolderLogicalID", own),
        *(get(ASSOCIATIONS, "$uuid", each) for each in (document, own, uuid, joined)),
        get(AND_ASSOCIATIONS, "DocumentEntryEntryUUID", document),
        get(AND_ASSOCIATIONS, "DocumentEntryUniqueId", names[0]),
        *(get(SETS, "$uuid", each) for each in (document, own)),
        get(SET_AND, "SubmissionSetEntryUUID", uuid),
        get(SET_AND, "SubmissionSetUniqueId", names[2]),
        get(FOLDER_AND, "FolderEntryUUID", own),
        get(FOLDER_AND, "FolderUniqueId", names[1]),
        get(OF_DOCUMENT, "DocumentEntryEntryUUID", document),
        get(OF_DOCUMENT, "DocumentEntryUniqueId", names[0]),
        related(document, MEMBER, RPLC),
    ]


def test_a_folders_time_is_that_of_what_shows_in_it(store: Store, anne: Desk) -> None:
    seen, own = entry(), folder()
    put(store, seen, folders=[own], into=[(own.entry_uuid, seen.entry_uuid)])
    later = LONG_AGO + timedelta(days=3)
    hidden = unsigned()
    put(store, hidden, into=[(own.entry_uuid, hidden.entry_uuid)], at=later)
    raw = ask(find_folders(P1), anne).body.decode()
    assert f"<Value>{FILED}</Value>" in raw
    assert f"{later:%Y%m%d}" not in raw
    # A filter on it tells no more than the time itself.
    since = (f"{FD}LastUpdateTimeFrom", f"{later:%Y%m%d}")
    until = (f"{FD}LastUpdateTimeTo", f"{later:%Y%m%d}")
    assert found(find_folders(P1, since), anne) == set()
    assert found(find_folders(P1, until), anne) == {own.entry_uuid}
    shown = entry()
    put(store, shown, into=[(own.entry_uuid, shown.entry_uuid)], at=later)
    assert found(find_folders(P1, since), anne) == {own.entry_uuid}
    assert f"<Value>{stamp(later)}</Value>" in ask(find_folders(P1), anne).body.decode()


def test_a_folder_or_set_that_never_had_anything_is_judged_by_whose_it_is(
    store: Store, anne: Desk, database: Database, trail: Trail
) -> None:
    mine, theirs = folder(), folder()
    ours = put(store, folders=[mine])
    put(store, folders=[theirs], by="unn", repositories=[UNN])
    nobodys = folder()
    put(store, folders=[nobodys], by="somebody gone")
    assert found(find_folders(P1), anne) == {mine.entry_uuid}
    assert found(find_sets(P1), anne) == {ours.uuid}
    BlockBook(database).set_block(block("source_total", source="ous"), "clerk", NOW)
    assert found(find_folders(P1), anne) == set()
    assert "BLOCK_SOURCE_TOTAL" in trail.reasons


def test_a_set_that_only_files_a_hidden_document_is_hidden(store: Store, anne: Desk) -> None:
    hidden, seen, own = unsigned(), entry(), folder()
    put(store, hidden, seen, folders=[own], into=[(own.entry_uuid, seen.entry_uuid)])
    filing = put(store, into=[(own.entry_uuid, hidden.entry_uuid)])
    assert filing.uuid not in found(find_sets(P1), anne)
    assert found(get(ASSOCIATIONS, "$uuid", filing.uuid), anne) == set()


def test_a_replaced_document_leaves_no_trace_on_what_replaced_it(store: Store, anne: Desk, ous: Desk) -> None:
    old, new, own = entry(), entry(), folder()
    first = put(store, old, folders=[own], into=[(own.entry_uuid, old.entry_uuid)])
    rplc = relation(RPLC, new.entry_uuid, old.entry_uuid)
    put(store, new, relations=[rplc])
    links = found(get(ASSOCIATIONS, "$uuid", new.entry_uuid), anne)
    assert rplc.entry_uuid not in links
    assert len(links) == 2  # of its set, and of the folder that it followed the old one into
    assert found(related(new.entry_uuid, RPLC), anne) == set()
    assert found(related(new.entry_uuid, RPLC), ous) == {new.entry_uuid, old.entry_uuid, rplc.entry_uuid}
    assert first.uuid in found(find_sets(P1), anne)  # its folder shows, with the new document in it
    everything = found(get_all(P1, statuses=BOTH), ous)
    assert {old.entry_uuid, rplc.entry_uuid} <= everything


def test_the_trail_names_what_was_shown_and_what_was_not(store: Store, anne: Desk, trail: Trail) -> None:
    hidden, seen, own = unsigned(), entry(), folder()
    sent = put(store, hidden, seen, folders=[own], into=[(own.entry_uuid, hidden.entry_uuid)])
    ask(get(SET_AND, "SubmissionSetEntryUUID", sent.uuid), anne)
    told = {each.entry_uuid: (each.decision.permit, each.decision.reason.value) for each in trail.last.objects}
    assert told == {
        sent.uuid: (True, "OK"),
        seen.entry_uuid: (True, "OK"),
        hidden.entry_uuid: (False, "NOT_SIGNED"),
        own.entry_uuid: (False, "NOT_SIGNED"),
    }
    assert trail.last.note == "associations: 1 shown, 4 withheld"
    assert len(trail.events) == 1
    ask(find_folders(P1), anne)
    # What only helped to judge is not told: nothing of it was asked for.
    assert [each.entry_uuid for each in trail.last.objects] == [own.entry_uuid]


def test_ids_of_nobody_run_the_statements_of_hidden_ones(
    store: Store, anne: Desk, statements: Callable[[], list[str]]
) -> None:
    theirs, other = entry(P2), folder(P2)
    sent = put(store, theirs, folders=[other], into=[(other.entry_uuid, theirs.entry_uuid)], patient=P2)

    def ran(call: Call) -> list[str]:
        ask(call, anne)
        statements()
        ask(call, anne)
        return statements()

    for query in (QueryId.GET_FOLDERS, FOLDER_AND):
        assert ran(get(query, "FolderEntryUUID", other.entry_uuid)) == ran(get(query, "FolderEntryUUID", new_uuid()))
        assert ran(get(query, "FolderUniqueId", other.unique_id)) == ran(get(query, "FolderUniqueId", "2.999.404"))
    assert ran(get(SET_AND, "SubmissionSetEntryUUID", sent.uuid)) == ran(
        get(SET_AND, "SubmissionSetEntryUUID", new_uuid())
    )
    for query in (ASSOCIATIONS, SETS):
        for known in (theirs.entry_uuid, other.entry_uuid, sent.uuid):
            assert ran(get(query, "$uuid", known)) == ran(get(query, "$uuid", new_uuid()))
    assert ran(get(AND_ASSOCIATIONS, "DocumentEntryUniqueId", theirs.unique_id)) == ran(
        get(AND_ASSOCIATIONS, "DocumentEntryUniqueId", "2.999.404")
    )


def test_the_trail_names_every_patient_a_machine_was_told_of(store: Store, ous: Desk, trail: Trail) -> None:
    """Associations alone are nobody's in the answer; that two documents belong together is somebody's all the same."""
    mine, theirs = entry(), entry(P2)
    put(store, mine)
    put(store, theirs, patient=P2)
    assert found(get(ASSOCIATIONS, "$uuid", mine.entry_uuid, theirs.entry_uuid), ous)
    assert {trail.last.patient_id, *trail.last.patients} == {P1, P2}
    assert {each.entry_uuid for each in trail.last.objects if each.decision.permit} >= {
        mine.entry_uuid,
        theirs.entry_uuid,
    }
    assert found(get(ASSOCIATIONS, "$uuid", new_uuid()), ous) == set()
    assert {trail.last.patient_id, *trail.last.patients} == {""}
