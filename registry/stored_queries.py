"""Stored queries as types: what may be asked, how often and in which syntax, in one table; everything else is an error.

A missing filter is never a wildcard: a required parameter that is absent, or empty, or holds nothing known is refused.
Sources: ITI TF-2 3.18.4.1.2.3 (parameters, codings, AND and OR), TF-3 4.2.4.1 (error codes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ihe.errors import XdsError, XdsFailure, clip
from ihe.metadata import Coded
from ihe.names import STABLE_ENTRY, Code, QueryId, Status
from ihe.queries import MOST_ERRORS, AdhocQuery
from ihe.values import cx, earliest, is_dtm
from registry.tables import OBJECT_TYPE_NUMBER, SEPARATOR


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open time range in numbers yyyymmddhhmmss; None where it has no end, or no beginning."""

    begin: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class FindDocuments:
    """FindDocuments, read and checked. An empty tuple: not given. Groups are ANDed, the codes of a group ORed."""

    patient_id: str
    statuses: frozenset[Status]
    class_codes: tuple[Coded, ...] = ()
    type_codes: tuple[Coded, ...] = ()
    practice_codes: tuple[Coded, ...] = ()
    facility_codes: tuple[Coded, ...] = ()
    format_codes: tuple[Coded, ...] = ()
    creation_time: Period = Period()
    service_start: Period = Period()
    service_stop: Period = Period()
    event_codes: tuple[tuple[Coded, ...], ...] = ()
    confidentiality_codes: tuple[tuple[Coded, ...], ...] = ()
    author_persons: tuple[str, ...] = ()
    object_types: frozenset[str] = frozenset({STABLE_ENTRY})

    def matches_author(self, authors: str) -> bool:
        """Whether any authorPerson of an entry (inline, between SEPARATORs) matches any of the patterns."""
        persons = authors.split(SEPARATOR)[1:-1]
        return any(like(person, pattern) for person in persons for pattern in self.author_persons)


@dataclass(frozen=True, slots=True)
class GetDocuments:
    """GetDocuments: exactly one of the two is not empty. Ids as sent; one that is no id finds nothing."""

    entry_uuids: tuple[str, ...] = ()
    unique_ids: tuple[str, ...] = ()


StoredQuery = FindDocuments | GetDocuments


def like(value: str, pattern: str) -> bool:
    """SQL LIKE over the whole value: `%` any run, `_` one character, case sensitive, no escape (TF-2 3.18.4.1.2.3.5).

    Each text between two `%` is searched once and never again: a pattern made to match slowly costs what others do.
    """
    first, *rest = pattern.split("%")
    if not rest:
        return len(value) == len(first) and _stands(value, first, 0)
    if not _stands(value, first, 0):
        return False
    here = len(first)
    for text in rest[:-1]:
        if (found := _found(value, text, here)) < 0:
            return False
        here = found + len(text)
    return len(value) - len(rest[-1]) >= here and _stands(value, rest[-1], len(value) - len(rest[-1]))


def _found(value: str, text: str, here: int) -> int:
    """The first place from `here` on where `text` stands, or -1."""
    if "_" not in text:
        return value.find(text, here)
    places = range(here, len(value) - len(text) + 1)
    return next((place for place in places if _stands(value, text, place)), -1)


def _stands(value: str, text: str, place: int) -> bool:
    if place + len(text) > len(value):
        return False
    for piece in text.split("_"):
        if not value.startswith(piece, place):
            return False
        place += len(piece) + 1
    return True


class _Malformed(ValueError):
    """A value that is not in its parameter's syntax; `str()` says what was expected."""


def _patient(value: str) -> str:
    if (expected := cx(value)) is not None:
        raise _Malformed(expected)
    return value


def _status(value: str) -> Status | None:
    """None for an unknown status: those are dropped, and a parameter of which nothing is left counts as missing."""
    return Status(value) if value in set(Status) else None


def _code(value: str) -> Coded:
    parts = value.split("^")
    if len(parts) != 3 or parts[1] or not parts[0] or not parts[2]:
        raise _Malformed("code^^scheme, both given")
    return Coded(parts[0], parts[2])


def _time(value: str) -> int:
    if not is_dtm(value):
        raise _Malformed("a time YYYY[MM[DD[hh[mm[ss]]]]] in UTC")
    return int(earliest(value))


def _entry_type(value: str) -> str:
    if value not in OBJECT_TYPE_NUMBER:
        raise _Malformed("the objectType of a stable or an on-demand entry")
    return value


def _text(value: str) -> str:
    return value


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a stored query: where its values go, in which syntax, how many there may be."""

    name: str
    field: str
    syntax: Callable[[str], Any]
    required: bool = False
    many: bool = True
    groups: bool = False
    """May be repeated: the repetitions are ANDed."""


_ENTRY = "$XDSDocumentEntry"
PARAMETERS: dict[QueryId, tuple[Parameter, ...]] = {
    QueryId.FIND_DOCUMENTS: (
        Parameter(f"{_ENTRY}PatientId", "patient_id", _patient, required=True, many=False),
        Parameter(f"{_ENTRY}Status", "statuses", _status, required=True),
        Parameter(f"{_ENTRY}ClassCode", "class_codes", _code),
        Parameter(f"{_ENTRY}TypeCode", "type_codes", _code),
        Parameter(f"{_ENTRY}PracticeSettingCode", "practice_codes", _code),
        Parameter(f"{_ENTRY}CreationTimeFrom", "creation_time.begin", _time, many=False),
        Parameter(f"{_ENTRY}CreationTimeTo", "creation_time.end", _time, many=False),
        Parameter(f"{_ENTRY}ServiceStartTimeFrom", "service_start.begin", _time, many=False),
        Parameter(f"{_ENTRY}ServiceStartTimeTo", "service_start.end", _time, many=False),
        Parameter(f"{_ENTRY}ServiceStopTimeFrom", "service_stop.begin", _time, many=False),
        Parameter(f"{_ENTRY}ServiceStopTimeTo", "service_stop.end", _time, many=False),
        Parameter(f"{_ENTRY}HealthcareFacilityTypeCode", "facility_codes", _code),
        Parameter(f"{_ENTRY}EventCodeList", "event_codes", _code, groups=True),
        Parameter(f"{_ENTRY}ConfidentialityCode", "confidentiality_codes", _code, groups=True),
        Parameter(f"{_ENTRY}AuthorPerson", "author_persons", _text),
        Parameter(f"{_ENTRY}FormatCode", "format_codes", _code),
        Parameter(f"{_ENTRY}Type", "object_types", _entry_type),
    ),
    QueryId.GET_DOCUMENTS: (
        Parameter(f"{_ENTRY}EntryUUID", "entry_uuids", _text),
        Parameter(f"{_ENTRY}UniqueId", "unique_ids", _text),
    ),
}
assert set(PARAMETERS) == set(QueryId)


def understand(asked: AdhocQuery, home: str) -> StoredQuery:
    """The typed query. `home` is this community's homeCommunityId; empty takes any that a caller sends.

    Raises: XdsFailure with every misuse at once (TF-2 3.18.4.1.2.3, 3.18.4.1.3): unknown query, unknown community,
    missing parameter, too many values, a value in the wrong syntax.
    """
    if asked.id not in set(QueryId):
        raise XdsFailure.of(Code.UNKNOWN_STORED_QUERY, f"stored query {clip(asked.id)} is not offered")
    if home and asked.home not in ("", home):
        raise XdsFailure.of(Code.UNKNOWN_COMMUNITY, f"{clip(asked.home)} is not this community")
    query_id = QueryId(asked.id)
    read: dict[str, Any] = {}
    errors: list[XdsError] = []
    for parameter in PARAMETERS[query_id]:
        try:
            groups = _groups(parameter, asked)
        except XdsFailure as failure:
            errors += failure.errors
        else:
            if groups:
                read[parameter.field] = groups if parameter.groups else groups[0] if parameter.many else groups[0][0]
    if query_id is QueryId.GET_DOCUMENTS and not errors:
        errors += _one_of(read)
    if errors:
        raise XdsFailure(tuple(errors[:MOST_ERRORS]))
    return _find_documents(read) if query_id is QueryId.FIND_DOCUMENTS else GetDocuments(**read)


def _groups(parameter: Parameter, asked: AdhocQuery) -> tuple[tuple[Any, ...], ...]:
    """The values of one parameter in its type, at most as many as it may have; () where it was not given."""
    groups = asked.groups(parameter.name)
    if len(groups) > 1 and not parameter.groups:
        raise XdsFailure.of(Code.STORED_QUERY_PARAM_NUMBER, f"{parameter.name} may be given once")
    if any(len(values) > 1 for values in groups) and not parameter.many:
        raise XdsFailure.of(Code.STORED_QUERY_PARAM_NUMBER, f"{parameter.name} takes one value")
    errors: list[XdsError] = []
    read = tuple(tuple(dict.fromkeys(_values(parameter, values, errors))) for values in groups)
    if errors:
        raise XdsFailure(tuple(errors))
    if parameter.required and not any(read):
        raise XdsFailure.of(Code.STORED_QUERY_MISSING_PARAM, f"{parameter.name} is required")
    return read


def _values(parameter: Parameter, values: tuple[str, ...], errors: list[XdsError]) -> Iterator[Any]:
    for value in values:
        try:
            read = parameter.syntax(value)
        except _Malformed as expected:
            errors.append(XdsError(Code.REGISTRY_ERROR, f"{parameter.name} is {clip(value)}: expected {expected}"))
        else:
            if read is not None:
                yield read


def _one_of(read: dict[str, Any]) -> Iterator[XdsError]:
    """GetDocuments takes ids of one kind, and takes them: without any it would ask for everything."""
    names = " or ".join(parameter.name for parameter in PARAMETERS[QueryId.GET_DOCUMENTS])
    if not read:
        yield XdsError(Code.STORED_QUERY_MISSING_PARAM, f"{names} is required")
    if len(read) > 1:
        yield XdsError(Code.STORED_QUERY_PARAM_NUMBER, f"{names}, not both")


def _find_documents(read: dict[str, Any]) -> FindDocuments:
    fields = {field: value for field, value in read.items() if "." not in field}
    for name in ("creation_time", "service_start", "service_stop"):
        fields[name] = Period(read.get(f"{name}.begin"), read.get(f"{name}.end"))
    fields["statuses"] = frozenset(fields["statuses"])
    if "object_types" in fields:
        fields["object_types"] = frozenset(fields["object_types"])
    return FindDocuments(**fields)
