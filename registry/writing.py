"""One ITI-42 submission into the database: claims, directory, references, rows; all of it or nothing.

The order is the same for every writer (patient, words, claims by hash, directory by id, referenced rows by key), so
that two writers can wait for each other but never deadlock. What is taken is found by writing, not by asking first:
between a question and a write another writer fits. Sources: ITI TF-2 3.42.4.1.3, TF-3 4.2.2, 4.2.4.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.engine import Connection

from ihe.errors import XdsFailure
from ihe.metadata import Association, Author, Coded, DocumentEntry, Folder, Submission
from ihe.names import Status
from ihe.values import earliest, is_dtm
from registry import patients
from registry.blocks import extend
from registry.bodies import Bodies
from registry.claims import Claims
from registry.references import References
from registry.rows import microseconds
from registry.rules import MOST_VIOLATIONS
from registry.rules_table import DATA_TYPE, ONE_PATIENT, UNIQUE_OBJECT_IDS, Violation
from registry.tables import (
    ASSOCIATION_NUMBER,
    OBJECT_TYPE_NUMBER,
    SEPARATOR,
    STATUS_NUMBER,
    ObjectKind,
    association,
    document,
    folder,
    patient_key,
    submission_set,
    uuid_bytes,
)
from registry.vocabulary import Numbers, Vocabulary

APPROVED = STATUS_NUMBER[Status.APPROVED]


@dataclass(slots=True)
class Registration:
    """A submission on its way in. `run` may be run again: everything it finds out starts afresh."""

    submission: Submission
    by: str
    now: datetime
    repositories: frozenset[str]
    vocabulary: Vocabulary
    bodies: Bodies
    claims: Claims = field(init=False)

    def run(self, connection: Connection) -> Numbers:
        """The whole transaction. Returns the words it used; raises Resent or XdsFailure with all that is wrong."""
        self.claims = Claims(self.submission, self.by, self.vocabulary)
        identities = self._patient(connection)
        ids = self._ids()
        numbers = self.vocabulary.intern(connection, self._codes(), self._labels())
        errors = list(self.claims.claim(connection))
        errors += self.claims.enter(connection, ids)
        keys = frozenset(patient_key(each) for each in identities)
        references = References(self.submission, self.by, self.repositories, self.vocabulary, keys)
        errors += references.check(connection)
        if errors:
            raise XdsFailure(tuple(errors[:MOST_VIOLATIONS]))
        self._insert(connection, numbers)
        carried = references.take_effect(connection, _stamp(self.now))
        if carried:
            new = {each.entry_uuid: ObjectKind.ASSOCIATION for each in carried}
            errors += self.claims.enter(connection, new)
            self._insert_associations(connection, carried)
        if references.relates:
            extend(connection, identities, self.now, self.by)
        return numbers

    # What the submission claims ---------------------------------------------------------------------------------------

    def _patient(self, connection: Connection) -> frozenset[str]:
        """Makes the patient known, or finds it; returns its identity set."""
        patient_id = self.submission.submission_set.patient_id
        others = {each.patient_id for each in self.submission.entries}
        others |= {each.patient_id for each in self.submission.folders}
        if others - {patient_id}:
            raise XdsFailure(
                tuple(
                    Violation(ONE_PATIENT, "SubmissionSet", f"one patient, {patient_id}", other).error
                    for other in sorted(others - {patient_id})
                )
            )
        return patients.admit(connection, patient_id)

    def _ids(self) -> dict[str, ObjectKind]:
        """Every entryUUID of the submission. Raises XdsFailure for one that is no UUID in the only legal spelling."""
        sent = self.submission
        ids = {sent.submission_set.entry_uuid: ObjectKind.SUBMISSION_SET}
        ids |= {each.entry_uuid: ObjectKind.DOCUMENT for each in sent.entries}
        ids |= {each.entry_uuid: ObjectKind.FOLDER for each in sent.folders}
        ids |= {each.entry_uuid: ObjectKind.ASSOCIATION for each in sent.associations}
        wrong = [
            Violation(DATA_TYPE, kind.title, "urn:uuid: and a UUID in lower case", each).error
            for each, kind in ids.items()
            if uuid_bytes(each) is None
        ]
        if len(ids) != 1 + len(sent.entries) + len(sent.folders) + len(sent.associations):
            wrong.append(Violation(UNIQUE_OBJECT_IDS, "RegistryObjectList", "one id per object", "one id twice").error)
        if wrong:
            raise XdsFailure(tuple(wrong))
        return ids

    def _codes(self) -> Iterator[Coded]:
        yield self.submission.submission_set.content_type_code
        for entry in self.submission.entries:
            yield from (entry.class_code, entry.type_code, entry.format_code)
            yield from (entry.practice_setting_code, entry.facility_type_code)
            yield from entry.confidentiality_codes
            yield from entry.event_codes
        for each in self.submission.folders:
            yield from each.codes

    def _labels(self) -> Iterator[str]:
        yield self.by
        yield self.submission.submission_set.source_id
        for entry in self.submission.entries:
            yield from (entry.repository_unique_id, entry.mime_type)

    # What becomes rows ------------------------------------------------------------------------------------------------

    def _insert(self, connection: Connection, numbers: Numbers) -> None:
        sent = self.submission
        connection.execute(submission_set.insert(), self._set_row(numbers))
        if sent.entries:
            connection.execute(document.insert(), [self._entry_row(entry, numbers) for entry in sent.entries])
        if sent.folders:
            connection.execute(folder.insert(), [self._folder_row(each, numbers) for each in sent.folders])
        self._insert_associations(connection, sent.associations)

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

    def _entry_row(self, entry: DocumentEntry, numbers: Numbers) -> dict[str, Any]:
        raw = uuid_bytes(entry.entry_uuid)
        return {
            **self._common(entry),
            "lid": raw,
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
            "withdrawn": 0,
            "shared": int(entry.unique_id in self.claims.shared),
            "submission_uuid": uuid_bytes(self.submission.submission_set.entry_uuid),
            "registered_at": microseconds(self.now),
        }

    def _folder_row(self, each: Folder, numbers: Numbers) -> dict[str, Any]:
        return {
            **self._common(each),
            "status": APPROVED,
            "registered_by": numbers.labels[self.by],
            "last_update": _stamp(self.now),
            "codes": numbers.inline(each.codes),
            "submission_uuid": uuid_bytes(self.submission.submission_set.entry_uuid),
        }

    def _insert_associations(self, connection: Connection, associations: Sequence[Association]) -> None:
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
                }
            )
        connection.execute(association.insert(), rows)


def _time(dtm: str) -> int | None:
    """A DTM as yyyymmddhhmmss, padded with the lowest legal value; None where it is absent."""
    return int(earliest(dtm)) if is_dtm(dtm) else None


def _stamp(now: datetime) -> int:
    return int(now.astimezone(UTC).strftime("%Y%m%d%H%M%S"))


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
