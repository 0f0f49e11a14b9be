"""Stored queries as types: what was asked, read and checked. How they are read: registry.queries.understanding.

An empty tuple or set: not given. Groups are ANDed, the values of a group ORed. Ids are as sent; one that is no id finds
nothing. Sources: ITI TF-2 3.18.4.1.2.3.7, 3.51.4.1.2.3; supplement XDS Metadata Update for versions and statuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from ihe.metadata import Coded
from ihe.names import STABLE_ENTRY, Status
from registry.database.tables import SEPARATOR
from registry.queries.parameters import ALWAYS, Period

Codes = tuple[Coded, ...]
Groups = tuple[Codes, ...]
STABLE = frozenset({STABLE_ENTRY})


class Everybody(Enum):
    """Said aloud where a question is not about named patients: leaving the patients out must never mean everybody."""

    EVERYBODY = "everybody"


EVERYBODY: Final = Everybody.EVERYBODY


APPROVED = frozenset({Status.APPROVED})


@dataclass(frozen=True, slots=True)
class Excluded:
    """What FindDocumentsExclude leaves out: an entry that any of these matches."""

    class_codes: Codes = ()
    type_codes: Codes = ()
    practice_codes: Codes = ()
    facility_codes: Codes = ()
    format_codes: Codes = ()
    event_codes: Groups = ()
    confidentiality_codes: Groups = ()
    author_persons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FindDocuments:
    """FindDocuments, FindDocumentsByReferenceId and FindDocumentsExclude."""

    patient_id: str
    """Empty as a part of AcrossPatients."""
    statuses: frozenset[Status]
    class_codes: Codes = ()
    type_codes: Codes = ()
    practice_codes: Codes = ()
    facility_codes: Codes = ()
    format_codes: Codes = ()
    creation_time: Period = ALWAYS
    service_start: Period = ALWAYS
    service_stop: Period = ALWAYS
    event_codes: Groups = ()
    confidentiality_codes: Groups = ()
    author_persons: tuple[str, ...] = ()
    object_types: frozenset[str] = STABLE
    reference_ids: tuple[tuple[str, ...], ...] = ()
    availabilities: frozenset[str] = frozenset()
    excluded: Excluded | None = None

    @property
    def sifts_authors(self) -> bool:
        """Whether matches_author() has anything to say."""
        return bool(self.author_persons) or (self.excluded is not None and bool(self.excluded.author_persons))

    def matches_author(self, authors: str) -> bool:
        """Whether any authorPerson of an entry (inline, between SEPARATORs) matches any of the patterns, and none of
        those that are excluded."""
        unwanted = () if self.excluded is None else self.excluded.author_persons
        return (not self.author_persons or by_any(authors, self.author_persons)) and not by_any(authors, unwanted)


@dataclass(frozen=True, slots=True)
class FindSubmissionSets:
    """FindSubmissionSets."""

    patient_id: str
    statuses: frozenset[Status]
    source_ids: tuple[str, ...] = ()
    submission_time: Period = ALWAYS
    author_persons: tuple[str, ...] = ()
    """At most one pattern."""
    content_types: Codes = ()


@dataclass(frozen=True, slots=True)
class FindFolders:
    """FindFolders. `last_update` is compared with the time that is shown, so after what is hidden is out."""

    patient_id: str
    statuses: frozenset[Status]
    last_update: Period = ALWAYS
    codes: Groups = ()


@dataclass(frozen=True, slots=True)
class AcrossPatients:
    """A query of ITI-51: the patients it names, maybe none, and what is wanted of them (without a patient_id)."""

    patient_ids: tuple[str, ...]
    wanted: FindDocuments | FindFolders


@dataclass(frozen=True, slots=True)
class Contents:
    """Which documents of a patient, a set or a folder are wanted."""

    format_codes: Codes = ()
    confidentiality_codes: Groups = ()
    object_types: frozenset[str] = STABLE
    availabilities: frozenset[str] = frozenset()


ANY_CONTENTS = Contents()


@dataclass(frozen=True, slots=True)
class GetAll:
    """GetAll."""

    patient_id: str
    entry_statuses: frozenset[Status]
    set_statuses: frozenset[Status]
    folder_statuses: frozenset[Status]
    contents: Contents = ANY_CONTENTS
    association_statuses: frozenset[Status] = APPROVED


@dataclass(frozen=True, slots=True)
class GetDocuments:
    """GetDocuments: exactly one of the first three is not empty."""

    entry_uuids: tuple[str, ...] = ()
    unique_ids: tuple[str, ...] = ()
    logical_ids: tuple[str, ...] = ()
    level: int = 1
    """1: of what has versions, a uniqueId means the newest. 2: it means all."""


@dataclass(frozen=True, slots=True)
class GetFolders:
    """GetFolders: as GetDocuments."""

    entry_uuids: tuple[str, ...] = ()
    unique_ids: tuple[str, ...] = ()
    logical_ids: tuple[str, ...] = ()
    level: int = 1


@dataclass(frozen=True, slots=True)
class GetAssociations:
    """GetAssociations: with one of these objects at either end."""

    uuids: tuple[str, ...]
    association_statuses: frozenset[Status] = APPROVED


@dataclass(frozen=True, slots=True)
class GetDocumentsAndAssociations:
    """GetDocumentsAndAssociations: exactly one of the first two is not empty."""

    entry_uuids: tuple[str, ...] = ()
    unique_ids: tuple[str, ...] = ()
    level: int = 1
    association_statuses: frozenset[Status] = APPROVED


@dataclass(frozen=True, slots=True)
class GetSubmissionSets:
    """GetSubmissionSets: that have one of these documents or folders as member."""

    uuids: tuple[str, ...]
    association_statuses: frozenset[Status] = APPROVED


@dataclass(frozen=True, slots=True)
class GetSubmissionSetAndContents:
    """GetSubmissionSetAndContents: one id of one kind."""

    entry_uuids: tuple[str, ...] = ()
    unique_ids: tuple[str, ...] = ()
    contents: Contents = ANY_CONTENTS
    association_statuses: frozenset[Status] = APPROVED


@dataclass(frozen=True, slots=True)
class GetFolderAndContents:
    """GetFolderAndContents: one id of one kind."""

    entry_uuids: tuple[str, ...] = ()
    unique_ids: tuple[str, ...] = ()
    contents: Contents = ANY_CONTENTS
    level: int = 1
    association_statuses: frozenset[Status] = APPROVED


@dataclass(frozen=True, slots=True)
class GetFoldersForDocument:
    """GetFoldersForDocument: one id of one kind."""

    entry_uuids: tuple[str, ...] = ()
    unique_ids: tuple[str, ...] = ()
    level: int = 1


@dataclass(frozen=True, slots=True)
class GetRelatedDocuments:
    """GetRelatedDocuments: one id of one kind, and the types of association that relate."""

    types: frozenset[str]
    entry_uuids: tuple[str, ...] = ()
    unique_ids: tuple[str, ...] = ()
    object_types: frozenset[str] = STABLE
    level: int = 1
    association_statuses: frozenset[Status] = APPROVED


OfOnePatient = FindDocuments | FindSubmissionSets | FindFolders | GetAll
"""Queries that name their patient."""
ByDocument = GetDocuments | GetDocumentsAndAssociations | GetFoldersForDocument | GetRelatedDocuments
"""Queries that name documents by entryUUID or uniqueId."""
ByFolder = GetFolders | GetFolderAndContents
ByObject = GetAssociations | GetSubmissionSets
"""Queries that name objects of several kinds by UUID."""
ById = ByDocument | ByFolder | ByObject | GetSubmissionSetAndContents
StoredQuery = OfOnePatient | AcrossPatients | ById


def asked_ids(query: ById) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """UUIDs (also logical ids) and uniqueIds that a query names."""
    if isinstance(query, ByObject):
        return query.uuids, ()
    logical = query.logical_ids if isinstance(query, GetDocuments | GetFolders) else ()
    return (*query.entry_uuids, *logical), query.unique_ids


def by_any(authors: str, patterns: tuple[str, ...]) -> bool:
    """Whether any authorPerson (inline, between SEPARATORs) matches any of the patterns."""
    persons = authors.split(SEPARATOR)[1:-1]
    return any(like(person, pattern) for person in persons for pattern in patterns)


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
