"""Every stored query with every parameter: what each takes, how often, and that leaving one out never asks for more."""

from __future__ import annotations

import pytest

from ihe.errors import XdsFailure
from ihe.metadata import Coded
from ihe.names import MULTI_PATIENT, ON_DEMAND_ENTRY, STABLE_ENTRY, AssociationType, Code, QueryId, Status
from ihe.queries import AdhocQuery, QuerySlot, Returns, parse_value
from registry.queries.catalogue import CATALOGUE
from registry.queries.parameters import Parameter, Period
from registry.queries.stored_queries import (
    AcrossPatients,
    Contents,
    Excluded,
    FindDocuments,
    FindFolders,
    FindSubmissionSets,
    GetAll,
    GetAssociations,
    GetDocuments,
    GetDocumentsAndAssociations,
    GetFolderAndContents,
    GetFolders,
    GetFoldersForDocument,
    GetRelatedDocuments,
    GetSubmissionSetAndContents,
    GetSubmissionSets,
    StoredQuery,
)
from registry.queries.understanding import Across, understand
from tests.registry.submissions import CX

UUID = "urn:uuid:00000000-0000-4000-8000-000000000001"
ONLINE = "urn:ihe:iti:2010:DocumentAvailability:Online"
CODES = ("a^^s", "b^^s")
BOTH = (Status.APPROVED.value, Status.DEPRECATED.value)
VALUES: dict[str, tuple[str, ...]] = {
    "$XDSDocumentEntryPatientId": (CX,),
    "$XDSDocumentEntryStatus": BOTH,
    "$XDSDocumentEntryClassCode": CODES,
    "$XDSDocumentEntryTypeCode": CODES,
    "$XDSDocumentEntryPracticeSettingCode": CODES,
    "$XDSDocumentEntryHealthcareFacilityTypeCode": CODES,
    "$XDSDocumentEntryEventCodeList": CODES,
    "$XDSDocumentEntryConfidentialityCode": CODES,
    "$XDSDocumentEntryAuthorPerson": ("%Hansen%",),
    "$XDSDocumentEntryFormatCode": CODES,
    "$XDSDocumentEntryClassCodeExclude": CODES,
    "$XDSDocumentEntryTypeCodeExclude": CODES,
    "$XDSDocumentEntryPracticeSettingCodeExclude": CODES,
    "$XDSDocumentEntryHealthcareFacilityTypeCodeExclude": CODES,
    "$XDSDocumentEntryEventCodeListExclude": CODES,
    "$XDSDocumentEntryConfidentialityCodeExclude": CODES,
    "$XDSDocumentEntryAuthorPersonExclude": ("%Hansen%",),
    "$XDSDocumentEntryFormatCodeExclude": CODES,
    "$XDSDocumentEntryCreationTimeFrom": ("2020",),
    "$XDSDocumentEntryCreationTimeTo": ("202102",),
    "$XDSDocumentEntryServiceStartTimeFrom": ("2020",),
    "$XDSDocumentEntryServiceStartTimeTo": ("2021",),
    "$XDSDocumentEntryServiceStopTimeFrom": ("2020",),
    "$XDSDocumentEntryServiceStopTimeTo": ("2021",),
    "$XDSDocumentEntryType": (STABLE_ENTRY, ON_DEMAND_ENTRY),
    "$XDSDocumentEntryDocumentAvailability": (ONLINE,),
    "$XDSDocumentEntryReferenceIdList": ("1^^^&1.2&ISO^urn:ihe:iti:xds:2013:order",),
    "$XDSDocumentEntryEntryUUID": (UUID,),
    "$XDSDocumentEntryUniqueId": ("2.999.1",),
    "$XDSDocumentEntryLogicalID": (UUID,),
    "$XDSSubmissionSetPatientId": (CX,),
    "$XDSSubmissionSetStatus": BOTH,
    "$XDSSubmissionSetSourceId": ("2.999.2",),
    "$XDSSubmissionSetSubmissionTimeFrom": ("2020",),
    "$XDSSubmissionSetSubmissionTimeTo": ("2021",),
    "$XDSSubmissionSetAuthorPerson": ("%Hansen%",),
    "$XDSSubmissionSetContentType": CODES,
    "$XDSSubmissionSetEntryUUID": (UUID,),
    "$XDSSubmissionSetUniqueId": ("2.999.1",),
    "$XDSFolderPatientId": (CX,),
    "$XDSFolderStatus": BOTH,
    "$XDSFolderLastUpdateTimeFrom": ("2020",),
    "$XDSFolderLastUpdateTimeTo": ("2021",),
    "$XDSFolderCodeList": CODES,
    "$XDSFolderEntryUUID": (UUID,),
    "$XDSFolderUniqueId": ("2.999.1",),
    "$XDSFolderLogicalID": (UUID,),
    "$patientId": (CX,),
    "$uuid": (UUID,),
    "$AssociationTypes": (AssociationType.RPLC.value,),
    "$XDSAssociationStatus": BOTH,
    "$MetadataLevel": ("2",),
}
"""A value, or several, of every parameter there is."""
Slots = dict[str, tuple[tuple[str, ...], ...]]
_CODED = (Coded("a", "s"), Coded("b", "s"))
_YEAR = Period(20200101000000, 20210101000000)
_STATUSES = frozenset(Status)
_CONTENTS = Contents(_CODED, (_CODED,), frozenset({STABLE_ENTRY, ON_DEMAND_ENTRY}), frozenset({ONLINE}))


def ask(query_id: QueryId, slots: Slots, across: Across = Across.ANY) -> StoredQuery:
    told = tuple(QuerySlot(name, groups) for name, groups in slots.items())
    return understand(AdhocQuery(query_id, Returns.LEAF, "", told), "", across if query_id in MULTI_PATIENT else None)


def codes(query_id: QueryId, slots: Slots, across: Across = Across.ANY) -> list[Code]:
    with pytest.raises(XdsFailure) as refused:
        ask(query_id, slots, across)
    return [error.code for error in refused.value.errors]


def whole(query_id: QueryId) -> Slots:
    """The query with every parameter, as far as they go together."""
    described = CATALOGUE[query_id]
    left_out = described.exactly_one[1:]
    excluded = {each.field.partition(".")[2] for each in described.parameters if each.name.endswith("Exclude")}
    return {
        each.name: (VALUES[each.name],)
        for each in described.parameters
        if each.field not in left_out and each.field not in excluded
    }


def described(query_id: QueryId, name: str) -> Parameter:
    (found,) = [each for each in CATALOGUE[query_id].parameters if each.name == name]
    return found


EVERY = [(query, each.name) for query, described in CATALOGUE.items() for each in described.parameters]


def test_what_is_tested_here_is_all_there_is() -> None:
    assert {name for _, name in EVERY} == set(VALUES)


FIND = FindDocuments(
    CX,
    _STATUSES,
    *(_CODED,) * 5,
    Period(20200101000000, 20210201000000),
    _YEAR,
    _YEAR,
    (_CODED,),
    (_CODED,),
    ("%Hansen%",),
    frozenset({STABLE_ENTRY, ON_DEMAND_ENTRY}),
    availabilities=frozenset({ONLINE}),
)
EXPECTED: dict[QueryId, StoredQuery] = {
    QueryId.FIND_DOCUMENTS: FIND,
    QueryId.FIND_SUBMISSION_SETS: FindSubmissionSets(CX, _STATUSES, ("2.999.2",), _YEAR, ("%Hansen%",), _CODED),
    QueryId.FIND_FOLDERS: FindFolders(CX, _STATUSES, _YEAR, (_CODED,)),
    QueryId.GET_ALL: GetAll(CX, _STATUSES, _STATUSES, _STATUSES, _CONTENTS, _STATUSES),
    QueryId.GET_DOCUMENTS: GetDocuments((UUID,), level=2),
    QueryId.GET_FOLDERS: GetFolders((UUID,), level=2),
    QueryId.GET_ASSOCIATIONS: GetAssociations((UUID,), _STATUSES),
    QueryId.GET_DOCUMENTS_AND_ASSOCIATIONS: GetDocumentsAndAssociations((UUID,), (), 2, _STATUSES),
    QueryId.GET_SUBMISSION_SETS: GetSubmissionSets((UUID,), _STATUSES),
    QueryId.GET_SUBMISSION_SET_AND_CONTENTS: GetSubmissionSetAndContents((UUID,), (), _CONTENTS, _STATUSES),
    QueryId.GET_FOLDER_AND_CONTENTS: GetFolderAndContents((UUID,), (), _CONTENTS, 2, _STATUSES),
    QueryId.GET_FOLDERS_FOR_DOCUMENT: GetFoldersForDocument((UUID,), (), 2),
    QueryId.GET_RELATED_DOCUMENTS: GetRelatedDocuments(
        frozenset({AssociationType.RPLC.value}), (UUID,), (), frozenset({STABLE_ENTRY, ON_DEMAND_ENTRY}), 2, _STATUSES
    ),
}


@pytest.mark.parametrize("query_id", EXPECTED)
def test_a_query_with_every_parameter_becomes_a_type(query_id: QueryId) -> None:
    assert ask(query_id, whole(query_id)) == EXPECTED[query_id]


def test_queries_that_are_find_documents_with_more_become_it() -> None:
    references = whole(QueryId.FIND_DOCUMENTS_BY_REFERENCE_ID)
    found = ask(QueryId.FIND_DOCUMENTS_BY_REFERENCE_ID, references)
    assert isinstance(found, FindDocuments)
    assert found.reference_ids == (VALUES["$XDSDocumentEntryReferenceIdList"],)
    without = ask(QueryId.FIND_DOCUMENTS_EXCLUDE, whole(QueryId.FIND_DOCUMENTS_EXCLUDE))
    assert isinstance(without, FindDocuments)
    assert without.excluded == Excluded(*(_CODED,) * 5, (_CODED,), (_CODED,), ("%Hansen%",))
    for query_id in MULTI_PATIENT:
        across = ask(query_id, whole(query_id))
        assert isinstance(across, AcrossPatients)
        assert (across.patient_ids, across.wanted.patient_id) == ((CX,), "")


@pytest.mark.parametrize(("query_id", "name"), EVERY)
def test_a_parameter_may_have_several_values_or_be_repeated_only_where_the_standard_says_so(
    query_id: QueryId, name: str
) -> None:
    parameter, slots, value = described(query_id, name), whole(query_id), VALUES[name][0]
    if name not in slots:
        # Another id is in its place, or what it asks for is excluded.
        others = {f"{name}Exclude", *CATALOGUE[query_id].names(CATALOGUE[query_id].exactly_one)}
        slots = {each: groups for each, groups in slots.items() if each not in others}
    number = [Code.STORED_QUERY_PARAM_NUMBER]
    # Equal values are several values all the same.
    if parameter.many:
        assert ask(query_id, {**slots, name: ((value, value),)})
    else:
        assert codes(query_id, {**slots, name: ((value, value),)}) == number
    if parameter.groups:
        assert ask(query_id, {**slots, name: ((value,), (value,))})
    else:
        assert codes(query_id, {**slots, name: ((value,), (value,))}) == number


@pytest.mark.parametrize(("query_id", "name"), [each for each in EVERY if described(*each).required])
def test_leaving_out_what_is_required_or_giving_it_nothing_is_refused(query_id: QueryId, name: str) -> None:
    slots = whole(query_id)
    del slots[name]
    assert codes(query_id, slots) == [Code.STORED_QUERY_MISSING_PARAM]
    if described(query_id, name).syntax.__name__ == "status":
        unknown = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Approved"
        assert codes(query_id, {**slots, name: ((unknown,),)}) == [Code.STORED_QUERY_MISSING_PARAM]


@pytest.mark.parametrize("query_id", [each for each in CATALOGUE if CATALOGUE[each].exactly_one])
def test_a_query_by_id_takes_ids_of_exactly_one_kind(query_id: QueryId) -> None:
    names = CATALOGUE[query_id].names(CATALOGUE[query_id].exactly_one)
    rest = {name: groups for name, groups in whole(query_id).items() if name not in names}
    assert codes(query_id, rest) == [Code.STORED_QUERY_MISSING_PARAM]
    for name in names:
        assert ask(query_id, {**rest, name: (VALUES[name],)})
    assert codes(query_id, {**rest, **{name: (VALUES[name],) for name in names}}) == [Code.STORED_QUERY_PARAM_NUMBER]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("$MetadataLevel", "3"),
        ("$MetadataLevel", "one"),
        ("$XDSDocumentEntryDocumentAvailability", "Online"),
        ("$XDSFolderCodeList", "a"),
        ("$XDSSubmissionSetSubmissionTimeTo", "yesterday"),
        ("$XDSFolderPatientId", "15837510047"),
    ],
)
def test_a_value_in_the_wrong_syntax_is_told_by_the_name_of_its_parameter(name: str, wrong: str) -> None:
    for query_id in [query for query, each in EVERY if each == name]:
        with pytest.raises(XdsFailure) as refused:
            ask(query_id, {**whole(query_id), name: ((wrong,),)})
        assert [(each.code, name in each.context) for each in refused.value.errors] == [(Code.REGISTRY_ERROR, True)]


def test_a_filter_of_which_nothing_is_left_is_missing_and_no_wildcard() -> None:
    slots = {**whole(QueryId.GET_ASSOCIATIONS), "$XDSAssociationStatus": (("urn:nobody:knows",),)}
    assert codes(QueryId.GET_ASSOCIATIONS, slots) == [Code.STORED_QUERY_MISSING_PARAM]


def test_what_is_excluded_is_not_also_asked_for() -> None:
    slots = whole(QueryId.FIND_DOCUMENTS_EXCLUDE)
    slots["$XDSDocumentEntryClassCode"] = (CODES,)
    assert codes(QueryId.FIND_DOCUMENTS_EXCLUDE, slots) == [Code.STORED_QUERY_PARAM_NUMBER]
    del slots["$XDSDocumentEntryClassCodeExclude"]
    assert ask(QueryId.FIND_DOCUMENTS_EXCLUDE, slots)


def test_neither_transaction_answers_the_queries_of_the_other() -> None:
    for query_id in QueryId:
        told = tuple(QuerySlot(name, groups) for name, groups in whole(query_id).items())
        asked = AdhocQuery(query_id, Returns.LEAF, "", told)
        for across in (None, Across.PATIENTS, Across.ANY, Across.OFF):
            if (query_id in MULTI_PATIENT) is (across is not None) and across is not Across.OFF:
                assert understand(asked, "", across)
            else:
                with pytest.raises(XdsFailure) as refused:
                    understand(asked, "", across)
                assert [each.code for each in refused.value.errors] == [Code.UNKNOWN_STORED_QUERY]


def test_a_query_across_patients_says_whom_or_what_it_is_about() -> None:
    documents, folders = QueryId.FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS, QueryId.FIND_FOLDERS_FOR_MULTIPLE_PATIENTS
    of_documents: Slots = {"$XDSDocumentEntryStatus": (BOTH,)}
    of_folders: Slots = {"$XDSFolderStatus": (BOTH,)}
    missing = [Code.STORED_QUERY_MISSING_PARAM]
    for across in (Across.ANY, Across.PATIENTS):
        assert codes(documents, of_documents, across) == missing
        assert codes(documents, {**of_documents, "$XDSDocumentEntryTypeCode": (CODES,)}, across) == missing
        assert codes(folders, of_folders, across) == missing
        assert ask(documents, {**of_documents, "$XDSDocumentEntryPatientId": ((CX,),)}, across)
        assert ask(folders, {**of_folders, "$XDSFolderPatientId": ((CX,),)}, across)
    for name in ("ClassCode", "EventCodeList", "HealthcareFacilityTypeCode"):
        slots: Slots = {**of_documents, f"$XDSDocumentEntry{name}": (CODES,)}
        assert ask(documents, slots)
        assert codes(documents, slots, Across.PATIENTS) == missing
    slots = {**of_folders, "$XDSFolderCodeList": (CODES,)}
    assert ask(folders, slots)
    assert codes(folders, slots, Across.PATIENTS) == missing


def test_values_of_every_parameter_can_be_written_as_the_standard_codes_them() -> None:
    for name, values in VALUES.items():
        assert parse_value("(" + ",".join(f"'{each}'" for each in values) + ")") == values, name
