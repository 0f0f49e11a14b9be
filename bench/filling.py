"""Fills a registry as ITI-42 would: whole submissions of realistic entries through the store, without the wire."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.place import OUS
from bench.progress import bar
from ihe import ebrim, xml
from ihe.metadata import DocumentEntry, Submission
from registry.database.engine import open_database
from registry.store import Store
from simulators.papers import paper
from simulators.people import PEOPLE, Person
from simulators.source import submission

_numbers = itertools.count(1)


class Pattern:
    """One real submission, read once as ITI-42 reads it, of which others are made by changing what differs."""

    def __init__(self) -> None:
        self._person = PEOPLE[0]
        sent = submission([paper(self._person, OUS, "A03-2", 1)])
        body = ebrim.repair(xml.read(sent.body))
        self._sent = ebrim.metadata(ebrim.read_submission(body), lambda: f"urn:uuid:{uuid.uuid4()}")

    def entry(self, patient: Person, unique_id: str = "", content_hash: str = "", size: int = 0) -> DocumentEntry:
        """An entry of this patient under ids of its own, approved and signed."""
        old = self._sent.entries[0]
        unique_id = unique_id or f"{OUS.unique_ids}.77.{next(_numbers)}"
        body = old.body.replace(old.unique_id.encode(), unique_id.encode())
        body = body.replace(self._person.number.encode(), patient.number.encode())
        if content_hash:
            body = body.replace(old.hash.encode(), content_hash.encode())
            body = body.replace(f"<Value>{old.size}</Value>".encode(), f"<Value>{size}</Value>".encode())
        return replace(
            old,
            entry_uuid=f"urn:uuid:{uuid.UUID(bytes=hashlib.sha256(unique_id.encode()).digest()[:16])}",
            unique_id=unique_id,
            patient_id=patient.patient_id,
            hash=content_hash or old.hash,
            size=size if content_hash else old.size,
            body=body,
        )

    def submission(self, patient: Person, entries: Sequence[DocumentEntry]) -> Submission:
        """A SubmissionSet with these entries as members."""
        old, number = self._sent.submission_set, next(_numbers)
        sent = replace(
            old,
            entry_uuid=f"urn:uuid:{uuid.uuid4()}",
            unique_id=f"{OUS.unique_ids}.78.{number}",
            patient_id=patient.patient_id,
        )
        member = self._sent.associations[0]
        members = tuple(
            replace(member, entry_uuid=f"urn:uuid:{uuid.uuid4()}", source=sent.entry_uuid, target=each.entry_uuid)
            for each in entries
        )
        return Submission(sent, tuple(entries), (), members, hashlib.sha256(sent.unique_id.encode()).digest())


@contextmanager
def opened(database: Path) -> Iterator[Store]:
    """The store of a migrated database in this process, folded into its file at the end."""
    kept = open_database(f"sqlite:///{database}")
    try:
        yield Store(kept)
        kept.checkpoint()
    finally:
        kept.close()


def fill(database: Path, patients: Sequence[Person], each: int) -> None:
    """`each` documents per patient, one submission each."""
    pattern, now = Pattern(), datetime.now(UTC)
    with opened(database) as store:
        for patient in bar(patients, len(patients), "registering"):
            entries = [pattern.entry(patient) for _ in range(each)]
            store.register(pattern.submission(patient, entries), "ous", now)


def keep(database: Path, patient: Person, documents: Mapping[str, tuple[str, int]]) -> None:
    """Registers documents by uniqueId, each of this SHA-1 and size."""
    pattern = Pattern()
    entries = [pattern.entry(patient, unique_id, *content) for unique_id, content in documents.items()]
    with opened(database) as store:
        store.register(pattern.submission(patient, entries), "ous", datetime.now(UTC))
