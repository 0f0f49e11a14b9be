"""From the named values of a request to a typed query: everything that is misused is told, and all of it at once.

A missing filter is never a wildcard: a required parameter that is absent, or empty, or holds nothing known is refused.
Sources: ITI TF-2 3.18.4.1.2.3 (parameters, codings, AND and OR), 3.18.4.1.3, TF-3 4.2.4.1 (error codes).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from ihe.errors import XdsError, XdsFailure, clip
from ihe.names import MULTI_PATIENT, Code, QueryId
from ihe.queries import MOST_ERRORS, AdhocQuery
from registry.queries.catalogue import CATALOGUE, PARTS, Described
from registry.queries.parameters import Malformed, Parameter, Period
from registry.queries.stored_queries import AcrossPatients, StoredQuery

_EXCLUDE = "Exclude"


class Across(StrEnum):
    """What ITI-51 takes here ([query] multi_patient)."""

    OFF = "off"
    PATIENTS = "patients"
    """Queries that name at least one patient."""
    ANY = "any"
    """Also queries whose codes say alone what is wanted of everybody."""


def understand(asked: AdhocQuery, home: str, across: Across | None = None) -> StoredQuery:
    """The typed query. `home` is this community's homeCommunityId; empty takes any that a caller sends. `across` is
    given for a request of ITI-51, whose queries are others.

    Raises: XdsFailure with every misuse at once (TF-2 3.18.4.1.2.3, 3.18.4.1.3): unknown query, unknown community,
    missing parameter, too many values, a value in the wrong syntax.
    """
    query_id = QueryId(asked.id) if asked.id in set(QueryId) else None
    if query_id is None or across is Across.OFF or (query_id in MULTI_PATIENT) is (across is None):
        raise XdsFailure.of(Code.UNKNOWN_STORED_QUERY, f"stored query {clip(asked.id)} is not offered")
    if home and asked.home not in ("", home):
        raise XdsFailure.of(Code.UNKNOWN_COMMUNITY, f"{clip(asked.home)} is not this community")
    described = CATALOGUE[query_id]
    read: dict[str, Any] = {}
    errors: list[XdsError] = []
    for parameter in described.parameters:
        try:
            groups = _groups(parameter, asked)
        except XdsFailure as failure:
            errors += failure.errors
        else:
            if groups:
                read[parameter.field] = parameter.typed(groups)
    # Which ids are there cannot be told while some cannot be read.
    errors += [] if errors else _combined(described, read, across)
    if errors:
        raise XdsFailure(tuple(errors[:MOST_ERRORS]))
    return _typed(described, read, across)


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
    # An optional filter of which nothing is left would show more than was asked for: it is missing, too.
    if (parameter.required or groups) and not any(read):
        raise XdsFailure.of(Code.STORED_QUERY_MISSING_PARAM, f"{parameter.name} is required")
    return read


def _values(parameter: Parameter, values: tuple[str, ...], errors: list[XdsError]) -> Iterator[Any]:
    for value in values:
        try:
            read = parameter.syntax(value)
        except Malformed as expected:
            errors.append(XdsError(Code.REGISTRY_ERROR, f"{parameter.name} is {clip(value)}: expected {expected}"))
        else:
            if read is not None:
                yield read


def _combined(described: Described, read: dict[str, Any], across: Across | None) -> Iterator[XdsError]:
    """Parameters that go together, or do not: without any id a query would ask for everything."""
    given = [field for field in described.exactly_one if field in read]
    names = " or ".join(described.names(described.exactly_one))
    if described.exactly_one and not given:
        yield XdsError(Code.STORED_QUERY_MISSING_PARAM, f"{names} is required")
    if len(given) > 1:
        yield XdsError(Code.STORED_QUERY_PARAM_NUMBER, f"{names}: one of them")
    alone = ("patient_ids",) if across is Across.PATIENTS else described.at_least_one
    if alone and not any(field in read for field in alone):
        yield XdsError(Code.STORED_QUERY_MISSING_PARAM, f"{' or '.join(described.names(alone))} is required")
    twins = {each.name: each.field for each in described.parameters if each.name.endswith(_EXCLUDE)}
    for name, field in twins.items():
        if field in read and field.partition(".")[2] in read:
            yield XdsError(Code.STORED_QUERY_PARAM_NUMBER, f"{name.removesuffix(_EXCLUDE)} or {name}, not both")


def _typed(described: Described, read: dict[str, Any], across: Across | None) -> StoredQuery:
    read.pop("", None)
    fields: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = defaultdict(dict)
    for field, value in read.items():
        part, dot, inside = field.partition(".")
        (parts[part] if dot else fields)[inside or field] = value
    fields |= {part: PARTS.get(part, Period)(**inside) for part, inside in parts.items()}
    if across is None:
        query: StoredQuery = described.type(**fields)
        return query
    people = fields.pop("patient_ids", ())
    return AcrossPatients(people, described.type(patient_id="", **fields))
