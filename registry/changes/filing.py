"""What a submission becomes in the database: a row for each of its objects, bodies deflated, words as numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection

from ihe.metadata import Association, Author, Coded, DocumentEntry, Folder, Submission
from ihe.names import Status
from ihe.values import earliest, is_dtm
from registry.database.bodies import Bodies
from registry.database.rows import AnyRow, microseconds, stamp
from registry.database.statements import Insertion
from registry.database.tables import (
    ASSOCIATION_NUMBER,
    OBJECT_TYPE_NUMBER,
    SEPARATOR,
    STATUS_NUMBER,
    association,
    document,
    folder,
    patient_key,
    submission_set,
    uuid_bytes,
)
from registry.database.vocabulary import Numbers

_SET, _DOCUMENT, _FOLDER, _ASSOCIATION = map(Insertion, (submission_set, document, folder, association))
APPROVED, DEPRECATED = STATUS_NUMBER[Status.APPROVED], STATUS_NUMBER[Status.DEPRECATED]


class Standing(NamedTuple):
    """Where a new version stands among those of its logical object."""

    lid: bytes
    version: int
    status: int
    before: AnyRow
    """The version it follows. Whose document it is and since when is told by that one, not by who corrects it."""


@dataclass(frozen=True, slots=True)
class Filing:
    """The objects of one submission on their way into rows, under the patient of its SubmissionSet."""

    submission: Submission
    by: str
    now: datetime
    bodies: Bodies
    shared: Collection[str] = frozenset()
    """uniqueIds of entries that are not the only ones to carry them."""
    standings: Mapping[str, Standing] = field(default_factory=lambda: MappingProxyType({}))
    """By entryUUID; what is absent is the first version of itself, and approved."""

    def codes(self) -> Iterator[Coded]:
        """Every code of the submission."""
        yield self.submission.submission_set.content_type_code
        for entry in self.submission.entries:
            yield from (entry.class_code, entry.type_code, entry.format_code)
            yield from (entry.practice_setting_code, entry.facility_type_code)
            yield from entry.confidentiality_codes
            yield from entry.event_codes
        for each in self.submission.folders:
            yield from each.codes

    def labels(self) -> Iterator[str]:
        """Every label of the submission, the sender's name among them."""
        yield self.by
        yield self.submission.submission_set.source_id
        for entry in self.submission.entries:
            yield from (entry.repository_unique_id, entry.mime_type)

    def insert(self, connection: Connection, numbers: Numbers) -> None:
        """Writes every object of the submission."""
        sent = self.submission
        _SET.insert(connection, [self._set_row(numbers)])
        if sent.entries:
            _DOCUMENT.insert(connection, [self.entry_row(entry, numbers) for entry in sent.entries])
        if sent.folders:
            _FOLDER.insert(connection, [self._folder_row(each, numbers) for each in sent.folders])
        self.insert_associations(connection, sent.associations)

    def _common(self, each: Any) -> dict[str, Any]:
        codec, body = self.bodies.deflate(each.body)
        return {
            "patient_key": patient_key(self.submission.submission_set.patient_id),
            "entry_uuid": uuid_bytes(each.entry_uuid),
            "unique_id": each.unique_id,
            "codec": codec,
            "body": body,
        }

    def _set_row(self, numbers: Numbers) -> dict[str, Any]:
        sent = self.submission.submission_set
        return {
            **self._common(sent),
            "source_id": numbers.labels[sent.source_id],
            "registered_by": numbers.labels[self.by],
            "registered_at": microseconds(self.now),
            "submission_time": _time(sent.submission_time),
            "content_type": numbers.codes[sent.content_type_code],
            "authors": _persons(sent.authors),
            "digest": self.submission.digest,
        }

    def entry_row(self, entry: DocumentEntry, numbers: Numbers) -> dict[str, Any]:
        return {
            **self._common(entry),
            "lid": uuid_bytes(entry.entry_uuid),
            "version": 1,
            "status": APPROVED,
            "object_type": OBJECT_TYPE_NUMBER[entry.object_type],
            "repository": numbers.labels[entry.repository_unique_id],
            "mime_type": numbers.labels[entry.mime_type],
            "source_id": numbers.labels[self.submission.submission_set.source_id],
            "registered_by": numbers.labels[self.by],
            "hash": entry.hash.lower(),
            "size": entry.size,
            "creation_time": _time(entry.creation_time),
            "service_start": _time(entry.service_start_time),
            "service_stop": _time(entry.service_stop_time),
            "class_code": numbers.codes[entry.class_code],
            "type_code": numbers.codes[entry.type_code],
            "format_code": numbers.codes[entry.format_code],
            "practice_code": numbers.codes[entry.practice_setting_code],
            "facility_code": numbers.codes[entry.facility_type_code],
            "confidentiality_codes": numbers.inline(entry.confidentiality_codes),
            "event_codes": numbers.inline(entry.event_codes),
            "authors": _persons(entry.authors),
            "reference_ids": _inline(entry.reference_ids) or None,
            "signed_at": _signed_at(entry, self.now),
            "withdrawn": int(entry.withdrawn),
            "shared": int(entry.unique_id in self.shared),
            "submission_uuid": uuid_bytes(self.submission.submission_set.entry_uuid),
            "registered_at": microseconds(self.now),
            **self._inherited(entry),
        }

    def _inherited(self, entry: DocumentEntry) -> dict[str, Any]:
        """What a new version has of the one before: a correction neither makes a document its own nor younger."""
        standing = self.standings.get(entry.entry_uuid)
        if standing is None:
            return {}
        old = standing.before
        found = {"lid": standing.lid, "version": standing.version, "status": standing.status, "shared": 1}
        found |= {"source_id": old.source_id, "registered_by": old.registered_by, "registered_at": old.registered_at}
        if not entry.signed_at and entry.legal_authenticator and old.signed_at is not None:
            found["signed_at"] = old.signed_at
        return found

    def _folder_row(self, each: Folder, numbers: Numbers) -> dict[str, Any]:
        standing = self.standings.get(each.entry_uuid)
        own: tuple[bytes | None, int, int, int] = (None, 1, APPROVED, numbers.labels[self.by])
        if standing is not None:
            own = (standing.lid, standing.version, standing.status, standing.before.registered_by)
        lid, version, status, registered_by = own
        return {
            **self._common(each),
            "lid": lid,
            "version": version,
            "status": status,
            "registered_by": registered_by,
            "last_update": stamp(self.now),
            "codes": numbers.inline(each.codes),
            "submission_uuid": uuid_bytes(self.submission.submission_set.entry_uuid),
        }

    def insert_associations(
        self, connection: Connection, associations: Sequence[Association], deprecated: Collection[str] = frozenset()
    ) -> None:
        """Writes associations that came with the submission, or because of it; all but the `deprecated` approved."""
        if not associations:
            return
        rows = []
        for each in associations:
            codec, body = self.bodies.deflate(each.body) if each.body else (None, None)
            rows.append(
                {
                    "patient_key": patient_key(self.submission.submission_set.patient_id),
                    "entry_uuid": uuid_bytes(each.entry_uuid),
                    "type": ASSOCIATION_NUMBER[each.type],
                    "source": uuid_bytes(each.source),
                    "target": uuid_bytes(each.target),
                    "original": None if each.original is None else int(each.original),
                    "submission_uuid": uuid_bytes(self.submission.submission_set.entry_uuid),
                    "codec": codec,
                    "body": body,
                    "status": DEPRECATED if each.entry_uuid in deprecated else APPROVED,
                }
            )
        _ASSOCIATION.insert(connection, rows)


def _time(dtm: str) -> int | None:
    """A DTM as yyyymmddhhmmss, padded with the lowest legal value; None where it is absent."""
    return int(earliest(dtm)) if is_dtm(dtm) else None


def _signed_at(entry: DocumentEntry, now: datetime) -> int | None:
    """When it was signed: the slot; without one the registration, given a legalAuthenticator; else never."""
    if entry.signed_at:
        if not is_dtm(entry.signed_at):
            return None
        return microseconds(datetime.strptime(earliest(entry.signed_at), "%Y%m%d%H%M%S").replace(tzinfo=UTC))
    return microseconds(now) if entry.legal_authenticator else None


def _persons(authors: Sequence[Author]) -> str:
    return _inline(tuple(author.person for author in authors if author.person))


def _inline(values: Sequence[str]) -> str:
    return f"{SEPARATOR}{SEPARATOR.join(values)}{SEPARATOR}" if values else ""
