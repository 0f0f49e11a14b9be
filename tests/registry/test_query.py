"""ITI-18 from request to answer: every place where it can be refused, and that what is hidden is not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from audit.event import Kind
from ihe import xml
from ihe.errors import FaultCode, SoapFault, Subcode
from ihe.metadata import DocumentEntry
from ihe.names import Action, AssociationType, Status
from policy.blocks import Block
from policy.facts import BlocksUnavailable, CallerUnknown, Channel, Reason, Refusal, RulesUnknown, Subject
from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.database.tables import patient_key
from registry.query import answer_query
from registry.store import Store
from tests.ihe import submissions as written
from tests.policy.casebook import NOW, PILOT, block, cx, machine, person, policy_of
from tests.registry.desks import (
    DE,
    HOME,
    LONG_AGO,
    OUS,
    PEER,
    SUMMARY,
    Trail,
    desk_for,
    errors_of,
    find_documents,
    get_documents,
    ids_of,
    machine_policy,
    query_call,
    status_of,
)
from tests.registry.submissions import entry, new_uuid, relation, submission

P1, P2 = cx("P1"), cx("P2")
BODY = written.submission(written.one_document()).entries[0].body


@pytest.fixture
def book(database: Database) -> BlockBook:
    return BlockBook(database)


def register(store: Store, patient_id: str = P1, **changes: Any) -> DocumentEntry:
    words = {"repository_unique_id": OUS, "patient_id": patient_id, "body": BODY, **SUMMARY, **changes}
    sent = entry(**words)
    store.register(submission(sent, patient_id=patient_id), "ous", LONG_AGO)
    return sent


def anne(patient: str = "P1", **changes: Any) -> Subject:
    return person("Anne", patient, **changes)


def test_what_a_caller_may_see_is_listed_as_it_was_registered(store: Store, database: Database, trail: Trail) -> None:
    sent = register(store)
    desk = desk_for(anne(), database, trail)
    reply = answer_query(find_documents(P1), PEER, desk)
    assert (reply.status, status_of(reply), ids_of(reply)) == (200, "Success", [sent.entry_uuid])
    root = xml.read(reply.body)
    body = root[1][0]
    assert xml.schema("query").findings(body) == ()
    assert f'home="{HOME}"'.encode() in reply.body
    assert xml.escape_attribute(P1).encode() in reply.body
    event = trail.last
    assert (event.transaction, event.kind, event.patient_id) == (Action.QUERY.transaction, Kind.QUERIED, P1)
    assert [(each.entry_uuid, each.decision.reason) for each in event.objects] == [(sent.entry_uuid, Reason.OK)]
    assert "AdhocQueryRequest" in event.query
    assert (event.policy, event.subject) == (desk.rules().edition, anne())


def test_object_refs_are_of_the_same_entries(store: Store, database: Database, trail: Trail) -> None:
    sent = [register(store) for _ in range(3)]
    desk = desk_for(anne(), database, trail)
    reply = answer_query(find_documents(P1, returns="ObjectRef"), PEER, desk)
    assert set(ids_of(reply)) == {each.entry_uuid for each in sent}
    assert b"<ObjectRef" in reply.body
    assert b"ExtrinsicObject" not in reply.body


def test_a_refused_caller_gets_a_fault_and_leaves_a_record(database: Database, trail: Trail) -> None:
    fault = SoapFault(FaultCode.SENDER, "LOA_LOW", Subcode.FAILED_AUTHENTICATION)
    desk = desk_for(Refusal(Reason.LOA_LOW, fault, anne()), database, trail)
    with pytest.raises(SoapFault) as refused:
        answer_query(find_documents(P1), PEER, desk)
    assert refused.value is fault
    assert (trail.last.kind, trail.last.reason) == (Kind.REFUSED, "LOA_LOW")


def test_a_misused_query_fails_with_every_error_and_leaves_a_record(database: Database, trail: Trail) -> None:
    desk = desk_for(anne(), database, trail)
    reply = answer_query(query_call([], "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"), PEER, desk)
    assert status_of(reply) == "Failure"
    assert [code for code, _ in errors_of(reply)] == ["XDSStoredQueryMissingParam"] * 2
    assert (trail.last.kind, trail.last.errors) == (Kind.FAILED, ("XDSStoredQueryMissingParam",) * 2)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (query_call([(f"{DE}PatientId", "'x")], "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"), "XDSRegistryError"),
        (query_call([], "urn:uuid:00000000-0000-0000-0000-000000000000"), "XDSUnknownStoredQuery"),
        (find_documents(P1, home="urn:oid:2.999.1"), "XDSUnknownCommunity"),
        (find_documents(P1, returns="RegistryObject"), "XDSRegistryError"),
    ],
)
def test_what_cannot_be_understood_is_never_an_empty_answer(
    database: Database, trail: Trail, call: Any, expected: str
) -> None:
    reply = answer_query(call, PEER, desk_for(anne(), database, trail))
    assert (status_of(reply), {code for code, _ in errors_of(reply)}) == ("Failure", {expected})


@pytest.mark.parametrize(
    ("subject", "asked", "reason"),
    [
        (anne("P2"), P1, "PATIENT_MISMATCH"),
        (anne(patient_ids=0), P1, "PATIENT_MISSING"),
        (anne(), cx("P1-miskeyed"), "PATIENT_INVALID"),
        (anne(place_of_care="974588951"), P1, "NO_AGREEMENT"),
    ],
)
def test_the_callers_own_mistake_is_told_by_its_reason(
    store: Store, database: Database, trail: Trail, subject: Subject, asked: str, reason: str
) -> None:
    register(store)
    reply = answer_query(find_documents(asked), PEER, desk_for(subject, database, trail))
    assert (status_of(reply), errors_of(reply), ids_of(reply)) == ("Failure", [("XDSRegistryError", reason)], [])
    assert trail.last.reason == reason
    assert [each.decision.alert for each in trail.last.objects] == [reason == "PATIENT_MISMATCH"]


def test_a_blocked_patient_looks_like_one_without_documents(
    store: Store, database: Database, trail: Trail, book: BlockBook
) -> None:
    sent = register(store)
    empty = answer_query(find_documents(P2), PEER, desk_for(anne("P2"), database, trail))
    book.set_block(block("visit_history"), "clerk", NOW)
    desk = desk_for(anne(), database, trail)
    for call in (find_documents(P1), get_documents(sent.entry_uuid), get_documents(sent.unique_id, by="UniqueId")):
        reply = answer_query(call, PEER, desk)
        assert reply.body == empty.body
        assert trail.reasons[0] == "BLOCK_VISIT_HISTORY"
        assert trail.last.objects[0].decision.block == "b1"
    book.lift(P1, "b1", "clerk", NOW)
    assert ids_of(answer_query(find_documents(P1), PEER, desk)) == [sent.entry_uuid]


def test_a_hidden_id_gets_the_answer_of_an_unknown_one(store: Store, database: Database, trail: Trail) -> None:
    hidden = register(store, type_code=SUMMARY["type_code"]._replace(value="B99-9"))
    theirs = register(store, P2)
    desk = desk_for(anne(), database, trail)
    unknown = answer_query(get_documents(new_uuid()), PEER, desk)
    assert trail.reasons == ["UNKNOWN_DOC"]
    for sent, reason in ((hidden, "KIND_NOT_SHARED"), (theirs, "PATIENT_MISMATCH_DOC")):
        for call in (get_documents(sent.entry_uuid), get_documents(sent.unique_id, by="UniqueId")):
            assert answer_query(call, PEER, desk).body == unknown.body
            assert trail.reasons == [reason]


def test_one_denied_entry_of_a_document_hides_the_others(
    store: Store, database: Database, trail: Trail, book: BlockBook
) -> None:
    mine = register(store)
    register(store, P2, unique_id=mine.unique_id)
    desk = desk_for(anne(), database, trail)
    for call in (find_documents(P1), get_documents(mine.entry_uuid)):
        assert ids_of(answer_query(call, PEER, desk)) == []
        assert trail.reasons == ["PATIENT_MISMATCH_DOC"]


def test_a_document_block_covers_what_replaces_the_document_later(
    store: Store, database: Database, trail: Trail, book: BlockBook
) -> None:
    first = register(store)
    book.set_block(block("document", documents=[first.unique_id]), "clerk", NOW)
    words = {"repository_unique_id": OUS, "body": BODY, "patient_id": P1, **SUMMARY}
    second = entry(**words)
    rplc = relation(AssociationType.RPLC, second.entry_uuid, first.entry_uuid)
    store.register(submission(second, relations=(rplc,)), "ous", LONG_AGO)
    desk = desk_for(anne(), database, trail)
    assert ids_of(answer_query(find_documents(P1), PEER, desk)) == []
    assert trail.reasons == ["BLOCK_DOC"]


def test_limits_count_what_the_caller_may_see(store: Store, database: Database, trail: Trail) -> None:
    seen = [register(store) for _ in range(2)]
    for _ in range(3):
        register(store, legal_authenticator="")
    desk = desk_for(anne(), database, trail, max_results=2)
    assert set(ids_of(answer_query(find_documents(P1), PEER, desk))) == {each.entry_uuid for each in seen}
    tight = replace(desk, max_results=1)
    reply = answer_query(find_documents(P1), PEER, tight)
    assert ([code for code, _ in errors_of(reply)], ids_of(reply)) == (["XDSTooManyResults"], [])
    assert trail.last.kind is Kind.FAILED
    assert len(ids_of(answer_query(find_documents(P1, returns="ObjectRef"), PEER, tight))) == 2


def test_documents_of_one_person_are_found_under_either_number(store: Store, database: Database, trail: Trail) -> None:
    p3, p4 = cx("P3"), cx("P4")
    old, new = register(store, p3), register(store, p4)
    store.merge(p4, p3, "clerk", NOW)
    for token, asked in (("P3", p3), ("P4", p4), ("P3", p4), ("P4", p3)):
        reply = answer_query(find_documents(asked), PEER, desk_for(anne(token), database, trail))
        assert set(ids_of(reply)) == {old.entry_uuid, new.entry_uuid}
        assert xml.escape_attribute(p3).encode() not in reply.body


def test_blocks_that_cannot_be_read_close_everything(store: Store, database: Database, trail: Trail) -> None:
    sent = register(store)

    class Broken(BlockBook):
        def sequence(self) -> int:
            raise BlocksUnavailable

    desk = desk_for(anne(), database, trail, blocks=Broken(database))
    replies = [
        answer_query(call, PEER, desk)
        for call in (find_documents(P1), get_documents(sent.entry_uuid), get_documents(new_uuid()))
    ]
    assert {reply.body for reply in replies} == {replies[0].body}
    assert errors_of(replies[0]) == [("XDSRegistryError", "BLOCKS_UNAVAILABLE")]


class Moving(BlockBook):
    """Somebody sets a block whenever nobody looks."""

    def __init__(self, database: Database, blocks: list[Block]) -> None:
        super().__init__(database)
        self.blocks = blocks
        self.looked = 0

    def sequence(self) -> int:
        self.looked += 1
        if self.looked % 2 == 0 and self.blocks:
            self.set_block(self.blocks.pop(), "clerk", NOW)
        return super().sequence()


def test_a_block_set_while_the_answer_is_made_counts(store: Store, database: Database, trail: Trail) -> None:
    register(store)
    desk = desk_for(anne(), database, trail, blocks=Moving(database, [block("reservation")]))
    assert ids_of(answer_query(find_documents(P1), PEER, desk)) == []
    assert [event.kind for event in trail.events] == [Kind.QUERIED, Kind.QUERIED]
    assert trail.reasons == ["BLOCK_RESERVATION"]


def test_rules_that_keep_changing_end_in_a_fault(store: Store, database: Database, trail: Trail) -> None:
    register(store)
    many = [block("organisation", f"b{number}", organisation="1") for number in range(5)]
    desk = desk_for(anne(), database, trail, blocks=Moving(database, many))
    with pytest.raises(SoapFault) as fault:
        answer_query(find_documents(P1), PEER, desk)
    assert (fault.value.code, len(trail.events)) == (FaultCode.RECEIVER, 3)


def no_policy() -> Any:
    raise RulesUnknown


def no_database(*_: object) -> Any:
    raise CallerUnknown("XDSRegistryBusy")


@pytest.mark.parametrize(
    "broken",
    [
        {"rules": no_policy},
        {"audit": Trail(lost=True)},
        {"rules": no_policy, "audit": Trail(lost=True)},
        {"identify": no_database},
        {"identify": no_database, "audit": Trail(lost=True)},
    ],
)
def test_without_rules_or_a_trail_nobody_is_answered(
    store: Store, database: Database, trail: Trail, broken: dict[str, Any]
) -> None:
    register(store)
    with pytest.raises(SoapFault) as fault:
        answer_query(find_documents(P1), PEER, desk_for(anne(), database, trail, **broken))
    assert (fault.value.code, fault.value.relates_to) == (FaultCode.RECEIVER, "urn:uuid:message")


def test_a_machine_sees_what_it_registered_and_a_replaced_entry_with_its_replacement(
    store: Store, database: Database, trail: Trail
) -> None:
    old = register(store)
    other = register(store, P2)
    words = {"repository_unique_id": OUS, "body": BODY, "patient_id": P1, **SUMMARY}
    new = entry(**words)
    rplc = relation(AssociationType.RPLC, new.entry_uuid, old.entry_uuid)
    store.register(submission(new, relations=(rplc,)), "ous", LONG_AGO)
    desk = desk_for(machine("ous"), database, trail, policy=machine_policy())
    both = query_call(
        [(f"{DE}PatientId", f"'{P1}'"), (f"{DE}Status", f"('{Status.APPROVED}','{Status.DEPRECATED}')")],
        "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d",
    )
    assert set(ids_of(answer_query(both, PEER, desk))) == {old.entry_uuid, new.entry_uuid}
    assert ids_of(answer_query(get_documents(old.entry_uuid), PEER, desk)) == [old.entry_uuid]
    reply = answer_query(get_documents(new.entry_uuid, other.entry_uuid), PEER, desk)
    assert [code for code, _ in errors_of(reply)] == ["XDSResultNotSinglePatient"]
    assert ids_of(reply) == []
    # References may be of several patients (ITI TF-2 3.18.4.1.2.5).
    reply = answer_query(get_documents(new.entry_uuid, other.entry_uuid, returns="ObjectRef"), PEER, desk)
    assert set(ids_of(reply)) == {new.entry_uuid, other.entry_uuid}


def test_a_replaced_entry_is_hidden_with_its_replacement(store: Store, database: Database, trail: Trail) -> None:
    old = register(store)
    words = {"repository_unique_id": OUS, "body": BODY, "patient_id": P1, "legal_authenticator": "", **SUMMARY}
    unsigned = entry(**words)
    rplc = relation(AssociationType.RPLC, unsigned.entry_uuid, old.entry_uuid)
    store.register(submission(unsigned, relations=(rplc,)), "ous", LONG_AGO)
    for signing, seen in (("any", [old.entry_uuid]), ("signed", [])):
        desk = desk_for(machine("ous"), database, trail, policy=machine_policy(signing))
        assert ids_of(answer_query(get_documents(old.entry_uuid), PEER, desk)) == seen


def test_an_unknown_patient_is_an_error_only_where_a_node_says_so(
    store: Store, database: Database, trail: Trail
) -> None:
    register(store)
    folder = PILOT.parent.parent / "conformance/policy"
    machines_only = policy_of(frozenset((path.name, path.read_text()) for path in folder.glob("*.toml")))
    toolkit = Subject(Channel.MACHINE, "toolkit", machine="toolkit", may_register=(OUS,))
    desk = desk_for(toolkit, database, trail, policy=machines_only, unknown_patient_is_error=True)
    known, unknown = (answer_query(find_documents(each), PEER, desk) for each in (P1, P2))
    assert (status_of(known), status_of(unknown)) == ("Success", "Failure")
    assert errors_of(unknown)[0][0] == "XDSUnknownPatientId"
    for other in (
        {"unknown_patient_is_error": False},
        {"rules": machine_policy, "identify": lambda *_: machine("ous")},
    ):
        reply = answer_query(find_documents(P2), PEER, replace(desk, **other))
        assert status_of(reply) == "Success"


def test_the_same_statements_run_whether_an_id_is_known_or_hidden_or_not(
    store: Store,
    database: Database,
    trail: Trail,
    book: BlockBook,
    statements: Callable[[], list[str]],
    bodies_read_for: list[object],
) -> None:
    visible, theirs = register(store), register(store, P2)
    desk = desk_for(anne(), database, trail)
    answer_query(find_documents(P1), PEER, desk)
    ran = set()
    for sent in (visible.entry_uuid, theirs.entry_uuid, new_uuid()):
        statements()
        answer_query(get_documents(sent), PEER, desk)
        ran.add(tuple(statements()))
    assert len(ran) == 1
    book.set_block(block("reservation"), "clerk", NOW)
    bodies_read_for.clear()
    blocked = set()
    for patient, who in ((P1, "P1"), (P2, "P2")):
        statements()
        answer_query(find_documents(patient), PEER, desk_for(anne(who), database, trail))
        blocked.add(tuple(statements()))
    assert len(blocked) == 1
    assert patient_key(P2) in bodies_read_for
    assert patient_key(P1) not in bodies_read_for
