"""ITI-51: who may ask across patients, what such a question finds, and that the trail names everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from audit.event import Kind
from ihe.names import Action, QueryId, Status
from ihe.soap import Call
from policy.agreements import Policy
from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.desk import Desk
from registry.queries import find, find_containers, reading
from registry.queries.understanding import Across
from registry.query import answer_query
from registry.store import Store
from tests.policy.casebook import NOW, SYSTEM, block, cx, machine, person, pilot_texts, policy_of
from tests.registry.desks import DE, PEER, Trail, desk_for, errors_of, query_call, status_of
from tests.registry.related import FD, P1, P2, entry, folder, listed, objects_of, put
from tests.registry.submissions import code

DOCUMENTS = QueryId.FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS
BY_REFERENCE = QueryId.FIND_DOCUMENTS_BY_REFERENCE_ID_FOR_MULTIPLE_PATIENTS
FOLDERS = QueryId.FIND_FOLDERS_FOR_MULTIPLE_PATIENTS
APPROVED = f"('{Status.APPROVED}')"
SUMMARIES = (f"{DE}ClassCode", f"('A00-1^^{SYSTEM}')")


def agreement(across: bool, sources: str = '["ous"]') -> Policy:
    """The pilot, and what the machine lab may read of these sources."""
    texts = pilot_texts()
    lines = f"""
[agreement.lab]
channel = "machine"
sources = {sources}
machines = ["lab"]
kinds = "any"
valid_from = 2020-01-01T00:00:00+01:00
valid_to = "open"
availability = ["Approved"]
signing = "any"
max_age = "none"
precision = "day"
multi_patient = {str(across).lower()}
"""
    return policy_of(frozenset({**texts, "agreements.toml": texts["agreements.toml"] + lines}.items()))


@pytest.fixture
def lab(store: Store, database: Database, trail: Trail) -> Desk:
    return desk_for(machine("lab"), database, trail, policy=agreement(True), across=Across.ANY)


def across(query_id: QueryId, *more: tuple[str, str], patients: Sequence[str] = (), returns: str = "LeafClass") -> Call:
    prefix = FD if query_id is FOLDERS else DE
    named = [(f"{prefix}PatientId", listed(*patients))] if patients else []
    slots = [*named, (f"{prefix}Status", APPROVED), *more]
    return replace(query_call(slots, query_id, returns), action=Action.MULTI_PATIENT_QUERY)


def found(call: Call, desk: Desk) -> set[str]:
    reply = answer_query(call, PEER, desk)
    assert status_of(reply) == "Success", errors_of(reply)
    return set(objects_of(reply))


def test_documents_of_several_patients_come_in_one_answer_and_one_record(store: Store, lab: Desk, trail: Trail) -> None:
    mine, theirs, others = entry(), entry(P2), entry(cx("P4"))
    for patient, each in ((P1, mine), (P2, theirs), (cx("P4"), others)):
        put(store, each, patient=patient)
    assert found(across(DOCUMENTS, patients=[P1, P2]), lab) == {mine.entry_uuid, theirs.entry_uuid}
    event = trail.last
    assert (event.kind, event.transaction) == (Kind.QUERIED, "ITI-51")
    assert {event.patient_id, *event.patients} == {P1, P2}
    assert found(across(DOCUMENTS, SUMMARIES), lab) == {each.entry_uuid for each in (mine, theirs, others)}
    assert {trail.last.patient_id, *trail.last.patients} == {P1, P2, cx("P4")}
    assert found(across(DOCUMENTS, (SUMMARIES[0], "('x^^y')")), lab) == set()
    # Nobody's documents, but a question about somebody: on record all the same.
    assert found(across(DOCUMENTS, (SUMMARIES[0], "('x^^y')"), patients=[P2]), lab) == set()
    assert trail.last.patient_id == P2


def test_folders_are_found_by_patient_and_code(store: Store, lab: Desk) -> None:
    mine, theirs = folder(codes=(code("asthma"),)), folder(P2, codes=(code("asthma"), code("other")))
    hers, his = entry(), entry(P2)
    put(store, hers, folders=[mine], into=[(mine.entry_uuid, hers.entry_uuid)])
    put(store, his, folders=[theirs], into=[(theirs.entry_uuid, his.entry_uuid)], patient=P2)
    both = {mine.entry_uuid, theirs.entry_uuid}
    asthma, other = ((f"{FD}CodeList", f"('{each}^^2.999.30.1')") for each in ("asthma", "other"))
    assert found(across(FOLDERS, patients=[P1, P2]), lab) == both
    assert found(across(FOLDERS, asthma), lab) == both
    assert found(across(FOLDERS, asthma, other), lab) == {theirs.entry_uuid}
    assert found(across(FOLDERS, asthma, patients=[P1], returns="ObjectRef"), lab) == {mine.entry_uuid}


def test_documents_are_found_by_the_reference_they_share(store: Store, lab: Desk) -> None:
    order = "2020_100%^^^&2.999.7&ISO^urn:ihe:iti:xds:2013:order"
    mine = entry(reference_ids=(order, "other"))
    near = entry(P2, reference_ids=(order.replace("_", "x"), order.replace("%", "0")))
    put(store, mine)
    put(store, near, patient=P2)
    wanted = (f"{DE}ReferenceIdList", listed(order))
    assert found(across(BY_REFERENCE, wanted), lab) == {mine.entry_uuid}
    assert found(across(BY_REFERENCE, wanted, patients=[P2]), lab) == set()


def test_blocks_of_each_patient_hold(store: Store, lab: Desk, database: Database, trail: Trail) -> None:
    mine, theirs = entry(), entry(P2)
    put(store, mine)
    put(store, theirs, patient=P2)
    BlockBook(database).set_block(block("visit_history", patient="P2"), "clerk", NOW)
    for call in (across(DOCUMENTS, patients=[P1, P2]), across(DOCUMENTS, SUMMARIES)):
        assert found(call, lab) == {mine.entry_uuid}
        assert "BLOCK_VISIT_HISTORY" in trail.reasons
    assert found(across(DOCUMENTS, patients=[P2]), lab) == set()


def test_documents_of_one_person_are_found_by_any_number(store: Store, lab: Desk) -> None:
    p3, p4 = cx("P3"), cx("P4")
    old, new = entry(p3), entry(p4)
    put(store, old, patient=p3)
    put(store, new, patient=p4)
    store.merge(p4, p3, "clerk", NOW)
    for asked in (p3, p4):
        assert found(across(DOCUMENTS, patients=[asked]), lab) == {old.entry_uuid, new.entry_uuid}


@pytest.mark.parametrize(
    "policy",
    [agreement(False), agreement(True, sources='["unn"]')],
    ids=["an agreement that does not hold for it", "an agreement with another source"],
)
def test_only_an_agreement_that_says_so_opens_anything_across_patients(
    store: Store, database: Database, trail: Trail, policy: Policy
) -> None:
    mine = entry()
    put(store, mine)
    desk = desk_for(machine("lab"), database, trail, policy=policy, across=Across.ANY)
    reply = answer_query(across(DOCUMENTS, patients=[P1]), PEER, desk)
    assert objects_of(reply) == {}
    assert (status_of(reply) == "Failure") is not policy.serves_machine("lab", across=True)
    if status_of(reply) == "Failure":
        assert errors_of(reply) == [("XDSRegistryError", "NO_AGREEMENT")]


def test_two_agreements_do_not_add_up(store: Store, database: Database, trail: Trail) -> None:
    """One holds for this source, another for questions across patients."""
    texts = pilot_texts()
    plain = """
[agreement.{name}]
channel = "machine"
sources = ["{source}"]
machines = ["lab"]
kinds = "any"
valid_from = 2020-01-01T00:00:00+01:00
valid_to = "open"
availability = ["Approved"]
signing = "any"
max_age = "none"
precision = "day"
{more}
"""
    lines = plain.format(name="lab-ous", source="ous", more="")
    lines += plain.format(name="lab-unn", source="unn", more="multi_patient = true")
    policy = policy_of(frozenset({**texts, "agreements.toml": texts["agreements.toml"] + lines}.items()))
    put(store, entry())
    desk = desk_for(machine("lab"), database, trail, policy=policy, across=Across.ANY)
    assert found(across(DOCUMENTS, patients=[P1]), desk) == set()


@pytest.mark.parametrize(
    ("patients", "reason"), [([P1], "NO_AGREEMENT"), ([P1, P2], "PATIENT_MISMATCH"), ([], "NO_AGREEMENT")]
)
def test_a_token_is_for_one_patient_and_never_asks_across(
    store: Store, database: Database, trail: Trail, patients: list[str], reason: str
) -> None:
    put(store, entry())
    desk = desk_for(person("Anne", "P1"), database, trail, policy=agreement(True), across=Across.ANY)
    reply = answer_query(across(DOCUMENTS, SUMMARIES, patients=patients), PEER, desk)
    assert (errors_of(reply), objects_of(reply)) == ([("XDSRegistryError", reason)], {})
    assert [each.decision.alert for each in trail.last.objects] == [reason == "PATIENT_MISMATCH"]


@pytest.mark.parametrize(
    ("setting", "more", "expected"),
    [
        (Across.OFF, {"patients": [P1]}, "XDSUnknownStoredQuery"),
        (Across.PATIENTS, {}, "XDSStoredQueryMissingParam"),
        (Across.PATIENTS, {"patients": [P1]}, ""),
        (Across.ANY, {}, ""),
    ],
)
def test_a_node_says_how_far_questions_across_patients_may_go(
    store: Store, lab: Desk, setting: Across, more: dict[str, Any], expected: str
) -> None:
    put(store, entry())
    reply = answer_query(across(DOCUMENTS, SUMMARIES, **more), PEER, replace(lab, across=setting))
    assert [each for each, _ in errors_of(reply)] == ([expected] if expected else [])
    assert len(objects_of(reply)) == (not expected)


def test_limits_hold_and_one_patients_are_no_demand(store: Store, lab: Desk, trail: Trail) -> None:
    for patient in (P1, P2):
        put(store, entry(patient), patient=patient)
    reply = answer_query(across(DOCUMENTS, patients=[P1, P2]), PEER, replace(lab, max_results=1))
    assert [each for each, _ in errors_of(reply)] == ["XDSTooManyResults"]
    assert {trail.last.patient_id, *trail.last.patients} == {P1, P2}
    assert len(found(across(DOCUMENTS, patients=[P1, P2], returns="ObjectRef"), replace(lab, max_results=1))) == 2


def test_queries_of_the_two_transactions_are_not_mixed(store: Store, lab: Desk) -> None:
    single = query_call([(f"{DE}PatientId", f"'{P1}'"), (f"{DE}Status", APPROVED)], QueryId.FIND_DOCUMENTS)
    for call in (
        replace(single, action=Action.MULTI_PATIENT_QUERY),
        replace(across(DOCUMENTS, patients=[P1]), action=Action.QUERY),
    ):
        reply = answer_query(call, PEER, lab)
        assert [each for each, _ in errors_of(reply)] == ["XDSUnknownStoredQuery"]


def test_a_question_about_everybody_reads_so_much_and_no_more(
    store: Store, database: Database, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (find, find_containers, reading):
        monkeypatch.setattr(module, "MOST_ACROSS", 1)
    for patient in (P1, P2):
        own = folder(patient)
        put(store, entry(patient), folders=[own], patient=patient)
    lab = desk_for(machine("lab"), database, trail, policy=agreement(True), across=Across.ANY)
    codes = (f"{FD}CodeList", "('f1^^2.999.30.1')")
    for call in (across(DOCUMENTS, SUMMARIES, returns="ObjectRef"), across(FOLDERS, codes, returns="ObjectRef")):
        reply = answer_query(call, PEER, lab)
        assert [each for each, _ in errors_of(reply)] == ["XDSTooManyResults"]
    assert len(found(across(DOCUMENTS, SUMMARIES, patients=[P1, P2]), lab)) == 2
