"""Document sharing metadata as values (TF-3 4.2.3): frozen, typed, no XML. What rules, store and policy read.

Times are DTM as submitted (`YYYY[MM[DD[hh[mm[ss]]]]]`, UTC). Identifiers are opaque and kept as submitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ihe.names import AssociationType, Status


class Coded(NamedTuple):
    """A code and its coding scheme, compared verbatim (TF-3 4.2.3.1.2). The display name is no part of its identity."""

    value: str
    scheme: str


@dataclass(frozen=True, slots=True)
class Author:
    """One author (TF-3 4.2.3.1.4): HL7 strings as submitted."""

    person: str = ""
    institutions: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    specialties: tuple[str, ...] = ()
    telecoms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """TF-3 4.2.3.2. `body` is the canonical XML with holes (see ihe.ebrim); everything else is read from it once."""

    entry_uuid: str
    unique_id: str
    repository_unique_id: str
    patient_id: str
    object_type: str
    mime_type: str
    hash: str
    size: int | None
    creation_time: str
    service_start_time: str
    service_stop_time: str
    class_code: Coded
    type_code: Coded
    format_code: Coded
    practice_setting_code: Coded
    facility_type_code: Coded
    confidentiality_codes: tuple[Coded, ...]
    event_codes: tuple[Coded, ...]
    authors: tuple[Author, ...]
    legal_authenticator: str
    reference_ids: tuple[str, ...]
    signed_at: str
    """Slot urn:innsyn:signedAt, or empty."""
    body: bytes
    withdrawn: bool = False
    """Slot urn:innsyn:withdrawn; only a new version (ITI-57) has it."""


@dataclass(frozen=True, slots=True)
class SubmissionSet:
    """TF-3 4.2.3.3."""

    entry_uuid: str
    unique_id: str
    source_id: str
    patient_id: str
    submission_time: str
    content_type_code: Coded
    authors: tuple[Author, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Folder:
    """TF-3 4.2.3.4."""

    entry_uuid: str
    unique_id: str
    patient_id: str
    codes: tuple[Coded, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Association:
    """TF-3 4.2.2. `body` is empty when the association carries nothing beyond type, ends and SubmissionSetStatus."""

    entry_uuid: str
    type: AssociationType
    source: str
    target: str
    original: bool | None
    """SubmissionSetStatus Original (True), Reference (False) or absent (None)."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Submission:
    """One ITI-42 submission with every id allocated; `digest` is the SHA-256 of its canonical content as sent."""

    submission_set: SubmissionSet
    entries: tuple[DocumentEntry, ...]
    folders: tuple[Folder, ...]
    associations: tuple[Association, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """What the registry says of an object and the source does not: filled into the holes of a body when it is read."""

    entry_uuid: str
    lid: str
    version: int
    status: Status
    home: str
    patient_id: str
