"""One ITI-42 submission into the database: claims, directory, references, rows; all of it or nothing.

The order is the same for every writer (patient, words, claims by hash, directory by id, referenced rows by key), so
that two writers can wait for each other but never deadlock. What is taken is found by writing, not by asking first:
between a question and a write another writer fits. Sources: ITI TF-2 3.42.4.1.3, TF-3 4.2.2, 4.2.4.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.engine import Connection

from ihe.errors import XdsFailure
from ihe.metadata import Submission
from registry.blocks import extend
from registry.changes.claims import Claims
from registry.changes.filing import Filing
from registry.changes.references import References
from registry.database.bodies import Bodies
from registry.database.rows import stamp
from registry.database.tables import ObjectKind, patient_key, uuid_bytes
from registry.database.vocabulary import Numbers, Vocabulary
from registry.people import identities as patients
from registry.people.identities import ANYBODY, Admission
from registry.rules.findings import count
from registry.rules.strictness import Verdict
from registry.rules.table import NEEDED_TYPE, ONE_PATIENT, UNIQUE_OBJECT_IDS, Violation


@dataclass(slots=True)
class Registration:
    """A submission on its way in. `run` may be run again: everything it finds out starts afresh."""

    submission: Submission
    by: str
    now: datetime
    repositories: frozenset[str]
    vocabulary: Vocabulary
    bodies: Bodies
    judged: Verdict = field(default_factory=Verdict)
    """What the message alone has told already."""
    claims: Claims = field(init=False)
    verdict: Verdict = field(init=False)
    """That, and what the registry knows."""
    admission: Admission = ANYBODY

    def run(self, connection: Connection) -> Numbers:
        """The whole transaction. Returns the words it used; raises Resent or XdsFailure with all that is wrong."""
        self.claims = Claims(self.submission, self.by, self.vocabulary)
        filing = Filing(self.submission, self.by, self.now, self.bodies, self.claims.shared)
        identities = self._patient(connection)
        ids = self._ids()
        numbers = self.vocabulary.intern(connection, filing.codes(), filing.labels())
        self.verdict = self.judged.so_far()
        self.verdict.add(self.claims.claim(connection))
        self.verdict.add(self.claims.enter(connection, ids))
        keys = frozenset(patient_key(each) for each in identities)
        references = References(self.submission, self.by, self.repositories, self.vocabulary, keys)
        self.verdict.add(references.check(connection))
        if self.verdict.rejects:
            raise self.verdict.failure
        filing.insert(connection, numbers)
        carried = references.take_effect(connection, stamp(self.now))
        if carried:
            new = {each.entry_uuid: ObjectKind.ASSOCIATION for each in carried}
            self.verdict.add(self.claims.enter(connection, new))
            filing.insert_associations(connection, carried)
        if references.relates:
            extend(connection, identities, self.now, self.by)
        count(connection, self.verdict, self.now)
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
        return patients.admit(connection, patient_id, self.admission)

    def _ids(self) -> dict[str, ObjectKind]:
        """Every entryUUID of the submission. Raises XdsFailure for one that is no UUID in the only legal spelling."""
        sent = self.submission
        ids = {sent.submission_set.entry_uuid: ObjectKind.SUBMISSION_SET}
        ids |= {each.entry_uuid: ObjectKind.DOCUMENT for each in sent.entries}
        ids |= {each.entry_uuid: ObjectKind.FOLDER for each in sent.folders}
        ids |= {each.entry_uuid: ObjectKind.ASSOCIATION for each in sent.associations}
        wrong = [
            Violation(NEEDED_TYPE, kind.title, "urn:uuid: and a UUID in lower case", each).error
            for each, kind in ids.items()
            if uuid_bytes(each) is None
        ]
        if len(ids) != 1 + len(sent.entries) + len(sent.folders) + len(sent.associations):
            wrong.append(Violation(UNIQUE_OBJECT_IDS, "RegistryObjectList", "one id per object", "one id twice").error)
        if wrong:
            raise XdsFailure(tuple(wrong))
        return ids
