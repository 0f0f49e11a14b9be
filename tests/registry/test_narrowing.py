"""Leaving parameters out, or empty, never leads to another patient: a missing filter is no wildcard."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ihe.names import MULTI_PATIENT, QueryId
from ihe.soap import Call
from registry.database.engine import Database
from registry.desk import Desk
from registry.queries.catalogue import CATALOGUE
from registry.query import answer_query
from registry.store import Store
from tests.policy.casebook import machine
from tests.registry.desks import OUS, PEER, Trail, desk_for, errors_of, machine_policy, query_call, status_of
from tests.registry.related import P1, P2, Put, entry, folder, objects_of, put
from tests.registry.submissions import CX
from tests.registry.test_catalogue import VALUES

SINGLE = [each for each in QueryId if each not in MULTI_PATIENT]
BOUNDED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
EMPTY = ["", "()", "''", "  ", "( )"]


@pytest.fixture
def ous(database: Database) -> Desk:
    """A machine that may see what it registered, whoever's it is: nothing but the query keeps patients apart."""
    return desk_for(machine("ous"), database, Trail(), policy=machine_policy(), registers={"ous": (OUS,)})


@pytest.fixture
def filed(store: Store) -> dict[str, Put]:
    """For each of two patients a set with a document in a folder."""
    sets = {}
    for patient in (P1, P2):
        each, own = entry(patient), folder(patient)
        sets[patient] = put(store, each, folders=[own], into=[(own.entry_uuid, each.entry_uuid)], patient=patient)
    return sets


def slots_of(query_id: QueryId, filed: Put) -> dict[str, str]:
    """A question about one patient's objects with every required parameter, ids of all kinds among them."""
    document, own = filed.sent.entries[0], filed.sent.folders[0]
    told = {
        "EntryUUID": {"$XDSDocumentEntry": document, "$XDSFolder": own, "$XDSSubmissionSet": filed.sent.submission_set},
        "UniqueId": {"$XDSDocumentEntry": document, "$XDSFolder": own, "$XDSSubmissionSet": filed.sent.submission_set},
    }
    slots: dict[str, str] = {}
    for each in CATALOGUE[query_id].parameters:
        prefix, by = next(((each.name.removesuffix(end), end) for end in told if each.name.endswith(end)), ("", ""))
        if by:
            named = told[by][prefix]
            slots[each.name] = f"'{named.entry_uuid if by == 'EntryUUID' else named.unique_id}'"
        elif each.name == "$uuid":
            slots[each.name] = f"('{document.entry_uuid}')"
        elif each.required:
            slots[each.name] = "(" + ",".join(f"'{value}'" for value in VALUES[each.name]) + ")"
    if len(CATALOGUE[query_id].exactly_one) > 1:
        slots.pop(next(name for name in slots if name.endswith("UniqueId")))
    return {name: value.replace(CX, P1) for name, value in slots.items()}


def call_of(query_id: QueryId, slots: dict[str, str], returns: str) -> Call:
    return query_call(list(slots.items()), query_id, returns)


def test_no_question_about_one_patient_finds_anything_of_another_whatever_it_leaves_out(
    store: Store, ous: Desk, filed: dict[str, Put]
) -> None:
    mine, theirs = filed[P1].everything, filed[P2].everything
    found_some: set[QueryId] = set()

    @BOUNDED
    @given(st.sampled_from(SINGLE), st.data(), st.sampled_from(["LeafClass", "ObjectRef"]))
    def check(query_id: QueryId, data: st.DataObject, returns: str) -> None:
        whole = slots_of(query_id, filed[P1])
        left = dict(whole)
        for name in data.draw(st.lists(st.sampled_from(sorted(whole)), unique=True)):
            how = data.draw(st.sampled_from(["absent", *EMPTY]))
            if how == "absent":
                del left[name]
            else:
                left[name] = how
        reply = answer_query(call_of(query_id, left, returns), PEER, ous)
        found = set(objects_of(reply))
        assert not found & theirs
        assert found <= mine
        if left != whole:
            # Everything here is required: less of it is an error, or (an id that is empty text) finds nothing.
            assert not found
        if found:
            found_some.add(query_id)

    check()
    for query_id in SINGLE:
        reply = answer_query(call_of(query_id, slots_of(query_id, filed[P1]), "LeafClass"), PEER, ous)
        assert status_of(reply) == "Success", errors_of(reply)
    assert len(found_some) > 8


@pytest.mark.parametrize("query_id", SINGLE)
def test_without_any_parameter_nothing_is_found(
    store: Store, ous: Desk, filed: dict[str, Put], query_id: QueryId
) -> None:
    reply = answer_query(query_call([], query_id), PEER, ous)
    assert (status_of(reply), objects_of(reply)) == ("Failure", {})
    assert {code for code, _ in errors_of(reply)} == {"XDSStoredQueryMissingParam"}
