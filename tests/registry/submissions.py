"""Submissions made by hand, in typed values, for tests of the store."""

from __future__ import annotations

import hashlib
import itertools
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from ihe.metadata import Association, Author, Coded, DocumentEntry, Folder, Submission, SubmissionSet
from ihe.names import STABLE_ENTRY, AssociationType

NOW = datetime(2021, 2, 15, 9, 0, 0, 123456, tzinfo=UTC)
CX = "15837510047^^^&2.16.578.1.12.4.1.4.1&ISO"
OTHER_CX = "02911160008^^^&2.16.578.1.12.4.1.4.1&ISO"
REPOSITORY = "2.999.10.1"
HASH = "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"
_numbers = itertools.count(1)


def code(value: str, scheme: str = "2.999.30.1") -> Coded:
    return Coded(value, scheme)


def new_uuid() -> str:
    return f"urn:uuid:{uuid4()}"


def uuid_of(text: str) -> str:
    return f"urn:uuid:{UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])}"


def entry(**changes: Any) -> DocumentEntry:
    values: dict[str, Any] = {
        "entry_uuid": new_uuid(),
        "unique_id": f"2.999.40.{next(_numbers)}",
        "repository_unique_id": REPOSITORY,
        "patient_id": CX,
        "object_type": STABLE_ENTRY,
        "mime_type": "application/pdf",
        "hash": HASH,
        "size": 51342,
        "creation_time": "20210114083000",
        "service_start_time": "202101140800",
        "service_stop_time": "",
        "class_code": code("A00-1"),
        "type_code": code("A03-2"),
        "format_code": code("urn:ihe:iti:xds:2017:mimeTypeSufficient"),
        "practice_setting_code": code("0000"),
        "facility_type_code": code("hospital"),
        "confidentiality_codes": (code("NORN_FFL"),),
        "event_codes": (code("e1"), code("e2")),
        "authors": (Author(person="1^Hansen^Kari"), Author(person="2^Berg^Øystein")),
        "legal_authenticator": "1^Hansen^Kari",
        "reference_ids": (),
        "signed_at": "",
        "body": b'<Slot name="languageCode"><ValueList><Value>nb-NO</Value></ValueList></Slot>',
    }
    return DocumentEntry(**{**values, **changes})


def folder(**changes: Any) -> Folder:
    values: dict[str, Any] = {
        "entry_uuid": new_uuid(),
        "unique_id": f"2.999.41.{next(_numbers)}",
        "patient_id": CX,
        "codes": (code("f1"),),
        "body": b"<Name/>",
    }
    return Folder(**{**values, **changes})


def relation(kind: AssociationType, source: str, target: str, original: bool | None = None) -> Association:
    return Association(new_uuid(), kind, source, target, original, b"")


def submission(
    *entries: DocumentEntry,
    folders: tuple[Folder, ...] = (),
    relations: tuple[Association, ...] = (),
    patient_id: str = CX,
    **changes: Any,
) -> Submission:
    """A whole submission: memberships of its entries and folders are added."""
    number = next(_numbers)
    values: dict[str, Any] = {
        "entry_uuid": new_uuid(),
        "unique_id": f"2.999.42.{number}",
        "source_id": "2.999.10",
        "patient_id": patient_id,
        "submission_time": "20210114083005",
        "content_type_code": code("epicrisis"),
        "authors": (),
        "body": b"<Name/>",
    }
    sent = SubmissionSet(**{**values, **changes})
    member = AssociationType.HAS_MEMBER
    members = [relation(member, sent.entry_uuid, each.entry_uuid, True) for each in entries]
    members += [relation(member, sent.entry_uuid, each.entry_uuid) for each in folders]
    digest = hashlib.sha256(f"{sent.unique_id} {[each.unique_id for each in entries]}".encode()).digest()
    return Submission(sent, tuple(entries), folders, (*members, *relations), digest)
