"""Every misuse of a stored query gets its own answer, and none of them finds everything."""

from __future__ import annotations

import pytest

from ihe.errors import XdsFailure
from ihe.metadata import Coded
from ihe.names import ON_DEMAND_ENTRY, STABLE_ENTRY, Code, QueryId, Status
from ihe.queries import AdhocQuery, QuerySlot, Returns
from registry.queries.catalogue import CATALOGUE
from registry.queries.parameters import Period
from registry.queries.stored_queries import FindDocuments, GetDocuments, StoredQuery, like
from registry.queries.understanding import understand
from tests.registry.submissions import CX

HOME = "urn:oid:2.999.1"
DE = "$XDSDocumentEntry"
PLAIN: dict[str, tuple[tuple[str, ...], ...]] = {f"{DE}PatientId": ((CX,),), f"{DE}Status": ((Status.APPROVED,),)}
Slots = dict[str, tuple[tuple[str, ...], ...]]


def ask(slots: Slots, query_id: str = QueryId.FIND_DOCUMENTS, home: str = "") -> StoredQuery:
    told = tuple(QuerySlot(name, groups) for name, groups in slots.items())
    return understand(AdhocQuery(query_id, Returns.LEAF, home, told), HOME)


def codes(slots: Slots, query_id: str = QueryId.FIND_DOCUMENTS, home: str = "") -> list[Code]:
    with pytest.raises(XdsFailure) as refused:
        ask(slots, query_id, home)
    return [error.code for error in refused.value.errors]


def test_a_query_with_every_parameter_becomes_a_type() -> None:
    slots = {
        **PLAIN,
        f"{DE}ClassCode": (("a^^s", "b^^s"),),
        f"{DE}CreationTimeFrom": (("2020",),),
        f"{DE}CreationTimeTo": (("20210101",),),
        f"{DE}ServiceStopTimeTo": (("2021",),),
        f"{DE}EventCodeList": (("e^^s", "f^^s"), ("g^^s",)),
        f"{DE}AuthorPerson": (("%Ford%",),),
        f"{DE}Type": ((STABLE_ENTRY, ON_DEMAND_ENTRY),),
        "$Unknown": (("x",),),
    }
    assert ask(slots, home=HOME) == FindDocuments(
        CX,
        frozenset({Status.APPROVED}),
        class_codes=(Coded("a", "s"), Coded("b", "s")),
        creation_time=Period(20200101000000, 20210101000000),
        service_stop=Period(None, 20210101000000),
        event_codes=((Coded("e", "s"), Coded("f", "s")), (Coded("g", "s"),)),
        author_persons=("%Ford%",),
        object_types=frozenset({STABLE_ENTRY, ON_DEMAND_ENTRY}),
    )


def test_get_documents_takes_one_kind_of_id() -> None:
    assert ask({f"{DE}EntryUUID": (("u", "v", "u"),)}, QueryId.GET_DOCUMENTS) == GetDocuments(entry_uuids=("u", "v"))
    assert ask({f"{DE}UniqueId": (("1",),)}, QueryId.GET_DOCUMENTS) == GetDocuments(unique_ids=("1",))


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ({f"{DE}PatientId": ()}, Code.STORED_QUERY_MISSING_PARAM),
        ({f"{DE}Status": ()}, Code.STORED_QUERY_MISSING_PARAM),
        ({f"{DE}Status": (("urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Approved",),)}, "missing"),
        ({f"{DE}PatientId": ((CX, CX),)}, Code.STORED_QUERY_PARAM_NUMBER),
        ({f"{DE}PatientId": ((CX,), (CX,))}, Code.STORED_QUERY_PARAM_NUMBER),
        ({f"{DE}ClassCode": (("a^^s",), ("b^^s",))}, Code.STORED_QUERY_PARAM_NUMBER),
        ({f"{DE}CreationTimeFrom": (("2020", "2021"),)}, Code.STORED_QUERY_PARAM_NUMBER),
        ({f"{DE}ClassCode": (("a",),)}, Code.REGISTRY_ERROR),
        ({f"{DE}ClassCode": (("a^^",),)}, Code.REGISTRY_ERROR),
        ({f"{DE}ClassCode": (("a^x^s",),)}, Code.REGISTRY_ERROR),
        ({f"{DE}ClassCode": (("a^^s^t",),)}, Code.REGISTRY_ERROR),
        ({f"{DE}CreationTimeTo": (("20210230",),)}, Code.REGISTRY_ERROR),
        ({f"{DE}CreationTimeTo": (("202101011200+0100",),)}, Code.REGISTRY_ERROR),
        ({f"{DE}PatientId": (("15837510047",),)}, Code.REGISTRY_ERROR),
        ({f"{DE}Type": (("urn:uuid:00000000-0000-0000-0000-000000000000",),)}, Code.REGISTRY_ERROR),
    ],
)
def test_a_misused_parameter_is_refused_by_the_standards_code(slots: Slots, expected: Code | str) -> None:
    code = Code.STORED_QUERY_MISSING_PARAM if expected == "missing" else expected
    given = {name: groups for name, groups in {**PLAIN, **slots}.items() if groups}
    assert codes(given) == [code]


def test_without_ids_or_with_both_kinds_get_documents_is_refused() -> None:
    both: Slots = {f"{DE}EntryUUID": (("u",),), f"{DE}UniqueId": (("1",),)}
    assert codes({}, QueryId.GET_DOCUMENTS) == [Code.STORED_QUERY_MISSING_PARAM]
    assert codes(both, QueryId.GET_DOCUMENTS) == [Code.STORED_QUERY_PARAM_NUMBER]


def test_an_unknown_query_or_community_is_refused_as_such() -> None:
    assert codes(PLAIN, "urn:uuid:f2072993-9478-41df-a603-8f016706efe8") == [Code.UNKNOWN_STORED_QUERY]
    assert codes(PLAIN, home="urn:oid:2.999.2") == [Code.UNKNOWN_COMMUNITY]
    told = tuple(QuerySlot(name, groups) for name, groups in PLAIN.items())
    assert understand(AdhocQuery(QueryId.FIND_DOCUMENTS, Returns.LEAF, "urn:oid:2.999.2", told), home="")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    slots: Slots = {f"{DE}ClassCode": (("a", "b"),), f"{DE}CreationTimeFrom": (("x",),)}
    assert codes(slots) == [
        Code.STORED_QUERY_MISSING_PARAM,
        Code.STORED_QUERY_MISSING_PARAM,
        Code.REGISTRY_ERROR,
        Code.REGISTRY_ERROR,
        Code.REGISTRY_ERROR,
    ]


def test_leaving_out_any_required_parameter_never_widens_a_query() -> None:
    for parameter in CATALOGUE[QueryId.FIND_DOCUMENTS].parameters:
        if parameter.required:
            rest = {name: groups for name, groups in PLAIN.items() if name != parameter.name}
            assert codes(rest) == [Code.STORED_QUERY_MISSING_PARAM]


@pytest.mark.parametrize(
    ("value", "pattern", "expected"),
    [
        ("Ford", "%", True),
        ("", "%", True),
        ("", "_", False),
        ("Ford", "F_rd", True),
        ("Ford", "f%", False),
        ("aXbXc", "a%b%c", True),
        ("aXbX", "a%b%c", False),
        ("abcabc", "%abc", True),
        ("50%", "50%", True),
        ("a.c", "a.c", True),
        ("abc", "a.c", False),
        ("a" * 5000, "%a%a%a%ab", False),
    ],
)
def test_like_matches_the_whole_value(value: str, pattern: str, expected: bool) -> None:
    assert like(value, pattern) is expected
