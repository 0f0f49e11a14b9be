"""FindSubmissionSets and FindFolders as SQL: one statement per shape, built once, all values bound.

Sources: ITI TF-2 3.18.4.1.2.3.7.2, 3.18.4.1.2.3.7.3, 3.51.4.1.2.3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from ihe.names import Status
from registry.database.statements import LIKE_ESCAPE, MOST_ACROSS, alternatives, any_of, escape_like, like_any_of
from registry.database.tables import IMPOSSIBLE_KEY, SEPARATOR, STATUS_NUMBER, folder, submission_set
from registry.database.vocabulary import Vocabulary
from registry.queries.containers import FOLDER_COLUMNS, FOLDERS, SET_COLUMNS, SETS
from registry.queries.find import size_of
from registry.queries.stored_queries import EVERYBODY, Everybody, FindFolders, FindSubmissionSets

SHAPES = 128
Statement = tuple[sa.Select[Any], dict[str, Any]]


class _SetShape(NamedTuple):
    keys: int
    sources: bool
    content_types: bool
    begin: bool
    end: bool
    author: bool


class _FolderShape(NamedTuple):
    keys: int
    statuses: int
    begin: bool
    codes: int
    """Groups; their alternatives are bound whole."""


class ContainerStatements:
    """Gives a query its statement and its values. Keys of patients are one, several, or none: everybody's."""

    def __init__(self, vocabulary: Vocabulary, on_sqlite: bool) -> None:
        self._vocabulary = vocabulary
        self._on_sqlite = on_sqlite
        self._set_built = lru_cache(SHAPES)(self._build_set)
        self._folder_built = lru_cache(SHAPES)(self._build_folder)

    def of_sets(self, query: FindSubmissionSets, keys: Sequence[int]) -> Statement:
        """The statement for SET_COLUMNS, a first sieve as far as the author goes."""
        # A submission set has no status of its own: it is Approved as long as it is there (ITI TF-3 4.2.3.3).
        if Status.APPROVED not in query.statuses:
            keys = [IMPOSSIBLE_KEY]
        values: dict[str, Any] = {
            "keys": self._bound(keys),
            "sources": alternatives(self._vocabulary.label_numbers(query.source_ids), self._on_sqlite),
            "content_types": alternatives(self._vocabulary.numbers_of(query.content_types), self._on_sqlite),
            "begin": query.submission_time.begin,
            "end": query.submission_time.end,
        }
        for pattern in query.author_persons:
            values["author"] = f"%{SEPARATOR}{escape_like(pattern, keep_wildcards=True)}{SEPARATOR}%"
        shape = _SetShape(
            size_of(keys),
            bool(query.source_ids),
            bool(query.content_types),
            query.submission_time.begin is not None,
            query.submission_time.end is not None,
            bool(query.author_persons),
        )
        return self._set_built(shape), values

    def of_folders(self, query: FindFolders, keys: Sequence[int] | Everybody) -> Statement:
        """The statement for FOLDER_COLUMNS. lastUpdateTime is only sifted: what is shown may be earlier than the row's,
        never later."""
        values: dict[str, Any] = {
            "keys": None if keys is EVERYBODY else self._bound(keys),
            "statuses": self._bound([STATUS_NUMBER[status] for status in query.statuses]),
            "begin": query.last_update.begin,
        }
        for group, codes in enumerate(query.codes):
            patterns = [f"%,{number},%" for number in self._vocabulary.numbers_of(codes)]
            values[f"codes_{group}"] = alternatives(patterns, self._on_sqlite)
        begins = query.last_update.begin is not None
        shape = _FolderShape(size_of(keys), min(len(query.statuses), 2), begins, len(query.codes))
        return self._folder_built(shape), values

    def _bound(self, values: Sequence[int]) -> Any:
        return values[0] if len(values) == 1 else alternatives(sorted(values), self._on_sqlite)

    def _one_of(self, column: sa.ColumnElement[int], name: str, size: int) -> sa.ColumnElement[bool]:
        return column == sa.bindparam(name) if size == 1 else any_of(column, name, self._on_sqlite)

    def _of_patients(self, column: sa.ColumnElement[int], size: int) -> sa.ColumnElement[bool]:
        return self._one_of(column, "keys", size) if size else column >= 0

    def _build_set(self, shape: _SetShape) -> sa.Select[Any]:
        columns = submission_set.c
        where = [self._of_patients(columns.patient_key, shape.keys)]
        if shape.sources:
            where.append(any_of(columns.source_id, "sources", self._on_sqlite))
        if shape.content_types:
            where.append(any_of(columns.content_type, "content_types", self._on_sqlite))
        if shape.begin:
            where.append(columns.submission_time >= sa.bindparam("begin"))
        if shape.end:
            where.append(columns.submission_time < sa.bindparam("end"))
        if shape.author:
            where.append(columns.authors.like(sa.bindparam("author"), escape=LIKE_ESCAPE))
        return sa.select(*SET_COLUMNS).select_from(SETS).where(*where)

    def _build_folder(self, shape: _FolderShape) -> sa.Select[Any]:
        columns = folder.c
        where = [
            self._of_patients(columns.patient_key, shape.keys),
            self._one_of(columns.status, "statuses", shape.statuses),
        ]
        if shape.begin:
            where.append(columns.last_update >= sa.bindparam("begin"))
        where += [like_any_of(columns.codes, f"codes_{group}", self._on_sqlite) for group in range(shape.codes)]
        statement = sa.select(*FOLDER_COLUMNS).select_from(FOLDERS).where(*where)
        return statement if shape.keys else statement.limit(MOST_ACROSS + 1)
