"""Which stored queries there are and which parameters each takes: one table per query.

Sources: ITI TF-2 3.18.4.1.2.3.7.1-14, 3.51.4.1.2.3; CP-ITI-1323 (Exclude); supplement XDS Metadata Update
($MetadataLevel, logical ids, statuses of associations, documentAvailability).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ihe.names import MULTI_PATIENT, QueryId
from registry.queries.parameters import (
    Parameter,
    Period,
    availability,
    code,
    entry_type,
    level,
    patient,
    status,
    text,
    time,
)
from registry.queries.stored_queries import (
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
)

PARTS: Mapping[str, type[Contents | Excluded | Period]] = {"contents": Contents, "excluded": Excluded}
"""Parts of queries and their types; any other part is a Period."""


@dataclass(frozen=True, slots=True)
class Described:
    """One stored query."""

    type: type[Any]
    parameters: tuple[Parameter, ...]
    exactly_one: tuple[str, ...] = ()
    """Fields of which one is given and no two are: the ids by which something is asked for."""
    at_least_one: tuple[str, ...] = ()
    """Fields of which one is given."""

    def names(self, fields: Iterable[str]) -> list[str]:
        """The parameters of these fields."""
        return [each.name for each in self.parameters if each.field in fields]


_ENTRY = "$XDSDocumentEntry"
_SET = "$XDSSubmissionSet"
_FOLDER = "$XDSFolder"
_LEVEL = Parameter("$MetadataLevel", "level", level, many=False)
_IGNORED_LEVEL = Parameter("$MetadataLevel", "", level, many=False)
"""For queries that it changes nothing about: read, so that a value that is none is told."""
_LINKED = Parameter("$XDSAssociationStatus", "association_statuses", status, unordered=True)
_IDS = ("entry_uuids", "unique_ids")
_ALL_IDS = (*_IDS, "logical_ids")


def _period(name: str, field: str) -> tuple[Parameter, Parameter]:
    return (
        Parameter(f"{name}From", f"{field}.begin", time, many=False),
        Parameter(f"{name}To", f"{field}.end", time, many=False),
    )


def _patient(name: str) -> Parameter:
    return Parameter(name, "patient_id", patient, required=True, many=False)


def _status(name: str, field: str = "statuses") -> Parameter:
    return Parameter(name, field, status, required=True, unordered=True)


_ENTRY_CODES = (
    Parameter(f"{_ENTRY}ClassCode", "class_codes", code),
    Parameter(f"{_ENTRY}TypeCode", "type_codes", code),
    Parameter(f"{_ENTRY}PracticeSettingCode", "practice_codes", code),
    Parameter(f"{_ENTRY}HealthcareFacilityTypeCode", "facility_codes", code),
    Parameter(f"{_ENTRY}EventCodeList", "event_codes", code, groups=True),
    Parameter(f"{_ENTRY}ConfidentialityCode", "confidentiality_codes", code, groups=True),
    Parameter(f"{_ENTRY}AuthorPerson", "author_persons", text),
    Parameter(f"{_ENTRY}FormatCode", "format_codes", code),
)
_ENTRY_FILTERS = (
    *_ENTRY_CODES,
    *_period(f"{_ENTRY}CreationTime", "creation_time"),
    *_period(f"{_ENTRY}ServiceStartTime", "service_start"),
    *_period(f"{_ENTRY}ServiceStopTime", "service_stop"),
    Parameter(f"{_ENTRY}Type", "object_types", entry_type, unordered=True),
    Parameter(f"{_ENTRY}DocumentAvailability", "availabilities", availability, unordered=True),
    _IGNORED_LEVEL,
)
_EXCLUDED = tuple(
    Parameter(f"{each.name}Exclude", f"excluded.{each.field}", each.syntax, groups=each.groups) for each in _ENTRY_CODES
)
_REFERENCES = Parameter(f"{_ENTRY}ReferenceIdList", "reference_ids", text, required=True, groups=True)
_FIND = (_patient(f"{_ENTRY}PatientId"), _status(f"{_ENTRY}Status"), *_ENTRY_FILTERS)
_CONTENTS = (
    Parameter(f"{_ENTRY}FormatCode", "contents.format_codes", code),
    Parameter(f"{_ENTRY}ConfidentialityCode", "contents.confidentiality_codes", code, groups=True),
    Parameter(f"{_ENTRY}Type", "contents.object_types", entry_type, unordered=True),
    Parameter(f"{_ENTRY}DocumentAvailability", "contents.availabilities", availability, unordered=True),
)
_FOLDER_FILTERS = (
    _status(f"{_FOLDER}Status"),
    *_period(f"{_FOLDER}LastUpdateTime", "last_update"),
    Parameter(f"{_FOLDER}CodeList", "codes", code, groups=True),
    _IGNORED_LEVEL,
)
_FOLDER_PATIENTS = Parameter(f"{_FOLDER}PatientId", "patient_ids", patient)
_ENTRY_PATIENTS = Parameter(f"{_ENTRY}PatientId", "patient_ids", patient)


def _by_id(prefix: str, many: bool = True) -> tuple[Parameter, Parameter]:
    return (
        Parameter(f"{prefix}EntryUUID", "entry_uuids", text, many=many, listed=True),
        Parameter(f"{prefix}UniqueId", "unique_ids", text, many=many, listed=True),
    )


_UUIDS = Parameter("$uuid", "uuids", text, required=True)

CATALOGUE: Mapping[QueryId, Described] = {
    QueryId.FIND_DOCUMENTS: Described(FindDocuments, _FIND),
    QueryId.FIND_SUBMISSION_SETS: Described(
        FindSubmissionSets,
        (
            _patient(f"{_SET}PatientId"),
            _status(f"{_SET}Status"),
            Parameter(f"{_SET}SourceId", "source_ids", text),
            *_period(f"{_SET}SubmissionTime", "submission_time"),
            Parameter(f"{_SET}AuthorPerson", "author_persons", text, many=False, listed=True),
            Parameter(f"{_SET}ContentType", "content_types", code),
            _IGNORED_LEVEL,
        ),
    ),
    QueryId.FIND_FOLDERS: Described(FindFolders, (_patient(f"{_FOLDER}PatientId"), *_FOLDER_FILTERS)),
    QueryId.GET_ALL: Described(
        GetAll,
        (
            _patient("$patientId"),
            _status(f"{_ENTRY}Status", "entry_statuses"),
            _status(f"{_SET}Status", "set_statuses"),
            _status(f"{_FOLDER}Status", "folder_statuses"),
            *_CONTENTS,
            _LINKED,
            _IGNORED_LEVEL,
        ),
    ),
    QueryId.GET_DOCUMENTS: Described(
        GetDocuments,
        (*_by_id(_ENTRY), Parameter(f"{_ENTRY}LogicalID", "logical_ids", text), _LEVEL),
        exactly_one=_ALL_IDS,
    ),
    QueryId.GET_FOLDERS: Described(
        GetFolders,
        (*_by_id(_FOLDER), Parameter(f"{_FOLDER}LogicalID", "logical_ids", text), _LEVEL),
        exactly_one=_ALL_IDS,
    ),
    QueryId.GET_ASSOCIATIONS: Described(GetAssociations, (_UUIDS, _LINKED, _IGNORED_LEVEL)),
    QueryId.GET_DOCUMENTS_AND_ASSOCIATIONS: Described(
        GetDocumentsAndAssociations, (*_by_id(_ENTRY), _LINKED, _LEVEL), exactly_one=_IDS
    ),
    QueryId.GET_SUBMISSION_SETS: Described(GetSubmissionSets, (_UUIDS, _LINKED, _IGNORED_LEVEL)),
    QueryId.GET_SUBMISSION_SET_AND_CONTENTS: Described(
        GetSubmissionSetAndContents,
        (*_by_id(_SET, many=False), *_CONTENTS, _LINKED, _IGNORED_LEVEL),
        exactly_one=_IDS,
    ),
    QueryId.GET_FOLDER_AND_CONTENTS: Described(
        GetFolderAndContents, (*_by_id(_FOLDER, many=False), *_CONTENTS, _LINKED, _LEVEL), exactly_one=_IDS
    ),
    QueryId.GET_FOLDERS_FOR_DOCUMENT: Described(
        GetFoldersForDocument, (*_by_id(_ENTRY, many=False), _LEVEL), exactly_one=_IDS
    ),
    QueryId.GET_RELATED_DOCUMENTS: Described(
        GetRelatedDocuments,
        (
            *_by_id(_ENTRY, many=False),
            Parameter("$AssociationTypes", "types", text, required=True, unordered=True),
            Parameter(f"{_ENTRY}Type", "object_types", entry_type, unordered=True),
            _LINKED,
            _LEVEL,
        ),
        exactly_one=_IDS,
    ),
    QueryId.FIND_DOCUMENTS_BY_REFERENCE_ID: Described(FindDocuments, (*_FIND, _REFERENCES)),
    QueryId.FIND_DOCUMENTS_EXCLUDE: Described(FindDocuments, (*_FIND, *_EXCLUDED)),
    QueryId.FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS: Described(
        FindDocuments,
        (_ENTRY_PATIENTS, _status(f"{_ENTRY}Status"), *_ENTRY_FILTERS),
        at_least_one=("patient_ids", "class_codes", "event_codes", "facility_codes"),
    ),
    QueryId.FIND_FOLDERS_FOR_MULTIPLE_PATIENTS: Described(
        FindFolders, (_FOLDER_PATIENTS, *_FOLDER_FILTERS), at_least_one=("patient_ids", "codes")
    ),
    QueryId.FIND_DOCUMENTS_BY_REFERENCE_ID_FOR_MULTIPLE_PATIENTS: Described(
        FindDocuments, (_ENTRY_PATIENTS, _status(f"{_ENTRY}Status"), *_ENTRY_FILTERS, _REFERENCES)
    ),
}
assert set(CATALOGUE) == set(QueryId)
assert all(CATALOGUE[each].type in (FindDocuments, FindFolders) for each in MULTI_PATIENT), "what AcrossPatients holds"
