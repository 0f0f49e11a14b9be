"""One ITI-57 or ITI-92 update into the database: new versions, changes of status, associations; all of it or nothing.

The order is that of every writer (patient, words, claims by hash, directory by id, rows by kind and key; see
registry.changes.writing), and the last row of all is the blocks' journal: what an update takes away, a decision that
is under way must not stand on. Nothing that is registered is rewritten: a new version is a row with a body of its own.
Source: IHE ITI supplements XDS Metadata Update 3.57.4.1.3.3 and RMU 3.92.4.1.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy.engine import Connection

from ihe.metadata import Submission
from ihe.updates import Update
from registry.blocks import decide_again, extend
from registry.changes.claims import Claims
from registry.changes.filing import DEPRECATED, Filing
from registry.changes.joining import Joining
from registry.changes.propagation import Propagation
from registry.changes.reach import Place, Reach, known_as, read
from registry.changes.references import date_folders
from registry.changes.statuses import Statuses
from registry.changes.versions import Versions
from registry.database.bodies import Bodies
from registry.database.rows import stamp
from registry.database.tables import ObjectKind, patient_key, uuid_bytes
from registry.database.vocabulary import Numbers, Vocabulary
from registry.people import identities as patients
from registry.people.identities import ANYBODY, Admission
from registry.rules.findings import count
from registry.rules.strictness import Verdict
from registry.rules.table import NEEDED_TYPE, UNIQUE_OBJECT_IDS, Violation

_DECIDING = (
    *("status", "mime_type", "class_code", "type_code", "confidentiality_codes", "creation_time"),
    *("signed_at", "withdrawn", "hash", "size", "repository"),
)
"""Columns of an entry that decide who may see it, or what is delivered."""


@dataclass(slots=True)
class Revision:
    """An update on its way in. `run` may be run again: everything it finds out starts afresh."""

    update: Update
    restricted: bool
    by: str
    now: datetime
    repositories: frozenset[str]
    """Those whose metadata the sender may change."""
    vocabulary: Vocabulary
    bodies: Bodies
    judged: Verdict = field(default_factory=Verdict)
    """What the message alone has told already."""
    admission: Admission = ANYBODY
    verdict: Verdict = field(init=False)

    def run(self, connection: Connection) -> Numbers:
        """The whole transaction. Returns the words it used; raises Resent or XdsFailure with all that is wrong."""
        sent = self.update.submission
        self.verdict = verdict = self.judged.so_far()
        people = patients.admit(connection, sent.submission_set.patient_id, self.admission)
        keys = frozenset(patient_key(each) for each in people)
        ids = self._ids(sent)
        filing = Filing(sent, self.by, self.now, self.bodies)
        numbers = self.vocabulary.intern(connection, filing.codes(), filing.labels())
        # New versions bear uniqueIds that are claimed; of this message only the set's own is new.
        verdict.add(Claims(replace(sent, entries=(), folders=()), self.by, self.vocabulary).claim(connection))
        reach = Reach(self.by, self.repositories, self.vocabulary)
        versions = Versions(self.update, self.restricted, reach, self.bodies, keys)
        versions.find(connection)
        verdict.add(Claims(sent, self.by, self.vocabulary).enter(connection, ids))
        held = read(connection, self._named(connection), lock=True)
        reachable = reach.of(connection, held)
        objects = {uuid: each for uuid, each in held.items() if uuid in reachable}
        statuses = Statuses(self.update, objects, keys)
        joining = Joining(self.update, objects, keys)
        propagation = Propagation(versions, self.bodies)
        verdict.add(versions.check())
        verdict.add(statuses.check(connection))
        verdict.add(joining.check(connection))
        verdict.add(propagation.find(connection))
        if verdict.rejects:
            raise verdict.failure
        new = statuses.of_new()
        filing = replace(filing, standings=versions.standings(new))
        carried = propagation.carried
        verdict.add(self._enter(connection, [each.entry_uuid for each in carried]))
        filing.insert(connection, numbers)
        filing.insert_associations(
            connection,
            (*self.update.submitted, *carried),
            {uuid for uuid, status in new.items() if status == DEPRECATED},
        )
        versions.supersede(connection, numbers, DEPRECATED)
        date_folders(connection, propagation.folders | joining.folders, stamp(self.now))
        taken_away = statuses.carry_out(connection) | joining.carry_out(connection)
        if carried or self.update.submitted:
            extend(connection, people, self.now, self.by)
        if taken_away or self._decides_anew(filing, versions, numbers):
            decide_again(connection)
        count(connection, verdict, self.now)
        return numbers

    def _ids(self, sent: Submission) -> dict[str, ObjectKind]:
        """Every entryUUID that the message gives. Raises XdsFailure for one that cannot be, or is given twice."""
        given = [(sent.submission_set.entry_uuid, ObjectKind.SUBMISSION_SET)]
        given += [(each.entry_uuid, ObjectKind.DOCUMENT) for each in sent.entries]
        given += [(each.entry_uuid, ObjectKind.FOLDER) for each in sent.folders]
        given += [(each.entry_uuid, ObjectKind.ASSOCIATION) for each in (*sent.associations, *self.update.submitted)]
        ids = dict(given)
        wrong = Verdict()
        for each, kind in ids.items():
            if uuid_bytes(each) is None:
                wrong.add([Violation(NEEDED_TYPE, kind.title, "urn:uuid: and a UUID in lower case", each)])
        if len(ids) != len(given):
            wrong.add([Violation(UNIQUE_OBJECT_IDS, "RegistryObjectList", "one id per object", "one id twice")])
        if wrong.rejects:
            raise wrong.failure
        return ids

    def _named(self, connection: Connection) -> dict[bytes, Place]:
        """Where the registered objects are that the message names by their entryUUID."""
        named = {each.target for each in self.update.statuses}
        named |= {end for each in self.update.submitted for end in (each.source, each.target)}
        return known_as(connection, named)

    def _enter(self, connection: Connection, uuids: list[str]) -> Iterator[Violation]:
        if uuids:
            claims = Claims(self.update.submission, self.by, self.vocabulary)
            yield from claims.enter(connection, dict.fromkeys(uuids, ObjectKind.ASSOCIATION))

    def _decides_anew(self, filing: Filing, versions: Versions, numbers: Numbers) -> bool:
        """Whether a new version may be seen by others than the one before was."""
        if any(versions.moved(each.entry_uuid) for each in self.update.submission.folders):
            return True
        for entry in self.update.submission.entries:
            old = versions.lines[entry.entry_uuid].latest.row
            row = filing.entry_row(entry, numbers)
            if versions.moved(entry.entry_uuid) or any(row[name] != getattr(old, name) for name in _DECIDING):
                return True
        return False
