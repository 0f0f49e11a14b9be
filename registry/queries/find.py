"""FindDocuments as SQL: one statement per shape (which filters, how many groups), built once, all values bound.

FindDocumentsByReferenceId, FindDocumentsExclude and ITI-51 add filters, or patients. Statements are bounded in number
and size: alternatives are one bind value, patterns are filled up to powers of two, and the oldest shape is forgotten
above SHAPES. Sources: ITI TF-2 3.18.4.1.2.3.7.1, 3.18.4.1.2.3.7.14, 3.18.4.1.2.3.5, 3.51.4.1.2.3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from ihe.metadata import Coded
from registry.database.rows import FACTS, LEAF, WITH_PATIENT
from registry.database.statements import (
    LIKE_ESCAPE,
    MOST_ACROSS,
    Prepared,
    alternatives,
    any_of,
    escape_like,
    like_any_of,
    padded,
)
from registry.database.tables import OBJECT_TYPE_NUMBER, SEPARATOR, STATUS_NUMBER, document
from registry.database.vocabulary import Vocabulary
from registry.queries.parameters import Period
from registry.queries.stored_queries import EVERYBODY, Everybody, Excluded, FindDocuments

SHAPES = 512
"""Statements kept: a few dozen shapes occur in practice."""

_CODES = {
    "class_codes": document.c.class_code,
    "type_codes": document.c.type_code,
    "practice_codes": document.c.practice_code,
    "facility_codes": document.c.facility_code,
    "format_codes": document.c.format_code,
}
_TIMES = {
    "creation_time": document.c.creation_time,
    "service_start": document.c.service_start,
    "service_stop": document.c.service_stop,
}
_LISTS = {"event_codes": document.c.event_codes, "confidentiality_codes": document.c.confidentiality_codes}
_REFERENCES = "reference_ids"
_OUT = "out_"
"""Begins the binds of what FindDocumentsExclude leaves out."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a statement's text depends on."""

    keys: int
    statuses: int
    types: int
    """These three: one value, which is compared, or several (2), which are a list; keys 0 is everybody."""
    leaf: bool
    codes: tuple[str, ...]
    begins: tuple[str, ...]
    ends: tuple[str, ...]
    lists: tuple[tuple[str, int], ...]
    """How many groups each of these has: their alternatives are bound whole, or one query could fill the memory."""
    authors: int
    references: int
    """Groups, as in `lists`."""
    excluded: tuple[tuple[str, ...], tuple[tuple[str, int], ...]] | None
    """As `codes` and `lists`, of what is left out."""


def size_of(keys: Sequence[int] | Everybody) -> int:
    """Shape.keys of these: 0 for everybody, who must be meant. Raises ValueError for no key at all."""
    if keys is EVERYBODY:
        return 0
    if not keys:
        raise ValueError("a question about nobody is asked of a patient that cannot exist, never of everybody")
    return min(len(keys), 2)


class FindStatements:
    """Gives a query its statement and its values."""

    def __init__(self, vocabulary: Vocabulary, on_sqlite: bool) -> None:
        self._vocabulary = vocabulary
        self._on_sqlite = on_sqlite
        self._built = lru_cache(SHAPES)(self._build)

    def of(self, query: FindDocuments, keys: Sequence[int] | Everybody, leaf: bool) -> tuple[Prepared, dict[str, Any]]:
        """The statement for this shape of question, and the values for its binds. ValueError for no key at all."""
        values: dict[str, Any] = {
            "keys": None if keys is EVERYBODY else self._bound(keys),
            "statuses": self._bound([STATUS_NUMBER[status] for status in query.statuses]),
            "types": self._bound([OBJECT_TYPE_NUMBER[each] for each in query.object_types]),
        }
        codes = self._codes(query, values)
        begins, ends = [], []
        for name in _TIMES:
            period: Period = getattr(query, name)
            if period.begin is not None:
                begins.append(name)
                values[f"{name}_begin"] = period.begin
            if period.end is not None:
                ends.append(name)
                values[f"{name}_end"] = period.end
        lists = self._lists(query, values)
        patterns = padded(query.author_persons, query.author_persons[0]) if query.author_persons else []
        for number, pattern in enumerate(patterns):
            text = escape_like(pattern, keep_wildcards=True)
            values[f"author_{number}"] = f"%{SEPARATOR}{text}{SEPARATOR}%"
        shape = Shape(
            size_of(keys),
            min(len(query.statuses), 2),
            min(len(query.object_types), 2),
            leaf,
            codes,
            tuple(begins),
            tuple(ends),
            lists,
            len(patterns),
            self._references(query, values),
            None if query.excluded is None else self._excluded(query.excluded, values),
        )
        return self._built(shape), values

    def _codes(self, query: FindDocuments | Excluded, values: dict[str, Any], where: str = "") -> tuple[str, ...]:
        """Binds the single codes that are given; returns their names."""
        codes = tuple(name for name in _CODES if getattr(query, name))
        for name in codes:
            numbers = self._vocabulary.numbers_of(getattr(query, name))
            values[where + name] = alternatives(numbers, self._on_sqlite)
        return codes

    def _lists(
        self, query: FindDocuments | Excluded, values: dict[str, Any], where: str = ""
    ) -> tuple[tuple[str, int], ...]:
        return tuple((name, self._groups(where + name, getattr(query, name), values)) for name in _LISTS)

    def _excluded(
        self, excluded: Excluded, values: dict[str, Any]
    ) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
        return self._codes(excluded, values, _OUT), self._lists(excluded, values, _OUT)

    def _references(self, query: FindDocuments, values: dict[str, Any]) -> int:
        for group, ids in enumerate(query.reference_ids):
            patterns = [f"%{SEPARATOR}{escape_like(each)}{SEPARATOR}%" for each in ids]
            values[f"{_REFERENCES}_{group}"] = alternatives(patterns, self._on_sqlite)
        return len(query.reference_ids)

    def _bound(self, values: Sequence[int]) -> Any:
        return values[0] if len(values) == 1 else alternatives(sorted(values), self._on_sqlite)

    def _one_of(self, column: sa.ColumnElement[int], name: str, size: int) -> sa.ColumnElement[bool]:
        return column == sa.bindparam(name) if size == 1 else any_of(column, name, self._on_sqlite)

    def _groups(self, name: str, groups: tuple[tuple[Coded, ...], ...], values: dict[str, Any]) -> int:
        """Binds each group of alternatives (all groups must match); returns how many there are."""
        for group, codes in enumerate(groups):
            patterns = [f"%,{number},%" for number in self._vocabulary.numbers_of(codes)]
            values[f"{name}_{group}"] = alternatives(patterns, self._on_sqlite)
        return len(groups)

    def _build(self, shape: Shape) -> Prepared:
        bind = sa.bindparam
        where = [
            self._one_of(document.c.status, "statuses", shape.statuses),
            self._one_of(document.c.object_type, "types", shape.types),
        ]
        # The decoy lies below all keys of patients.
        everybody = document.c.patient_key >= 0
        where.insert(0, self._one_of(document.c.patient_key, "keys", shape.keys) if shape.keys else everybody)
        where += [any_of(_CODES[name], name, self._on_sqlite) for name in shape.codes]
        # An entry without the time is kept (ITI TF-2 3.18.4.1.2.3.7.1); on-demand entries have no creationTime.
        where += [sa.or_(_TIMES[name].is_(None), _TIMES[name] >= bind(f"{name}_begin")) for name in shape.begins]
        where += [sa.or_(_TIMES[name].is_(None), _TIMES[name] < bind(f"{name}_end")) for name in shape.ends]
        for name, groups in shape.lists:
            where += self._in_lists(name, groups)
        for group in range(shape.references):
            where.append(like_any_of(document.c.reference_ids, f"{_REFERENCES}_{group}", self._on_sqlite))
        if shape.excluded is not None:
            codes, lists = shape.excluded
            where += [sa.not_(any_of(_CODES[name], _OUT + name, self._on_sqlite)) for name in codes]
            where += [sa.not_(sa.and_(*self._in_lists(name, groups, _OUT))) for name, groups in lists if groups]
        if shape.authors:
            # Only a first sieve: a wildcard may span two authors, so the reader matches each value itself.
            sieve = [document.c.authors.like(bind(f"author_{n}"), escape=LIKE_ESCAPE) for n in range(shape.authors)]
            where.append(sa.or_(*sieve))
        statement = sa.select(*(LEAF if shape.leaf else FACTS)).select_from(WITH_PATIENT).where(*where)
        return Prepared(statement if shape.keys else statement.limit(MOST_ACROSS + 1))

    def _in_lists(self, name: str, groups: int, where: str = "") -> list[sa.ColumnElement[bool]]:
        return [like_any_of(_LISTS[name], f"{where}{name}_{group}", self._on_sqlite) for group in range(groups)]
