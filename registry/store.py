"""The face of the registry's memory: what can be registered, found and looked up.

Unknown is never empty: whatever the database refuses comes out as StoreTrouble (or, for identities, BlocksUnavailable),
never as an answer with nothing in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ihe import ebrim
from ihe.errors import XdsError
from ihe.metadata import Head, Submission
from ihe.names import Code
from ihe.updates import Update
from policy.facts import BlocksUnavailable, DocumentKey, EntryFacts
from registry.changes.claims import Resent
from registry.changes.reach import Reach, Touched, touched
from registry.changes.removal import Removal
from registry.changes.revision import Revision
from registry.changes.writing import Registration
from registry.database.bodies import Bodies, BodyLost
from registry.database.engine import Database, StoreTrouble
from registry.database.tables import IMPOSSIBLE_KEY, ObjectKind, patient_key
from registry.database.vocabulary import Vocabulary
from registry.people import identities as patients
from registry.people import merges
from registry.people.identities import ANYBODY
from registry.queries.containers import Container, Link
from registry.queries.gathered import Gathered
from registry.queries.reading import Found, Hits, Known, Reader
from registry.queries.relations import Related, Relations, Scope
from registry.queries.stored_queries import EVERYBODY, Everybody, FindDocuments, GetDocuments
from registry.rules import findings
from registry.rules.strictness import Verdict

__all__ = ["Found", "Hits", "Receipt", "Store"]

ONLINE, OFFLINE = (f"urn:ihe:iti:2010:DocumentAvailability:{word}" for word in ("Online", "Offline"))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of a registration that was accepted."""

    resent: bool
    """Nothing was written: the same source had already registered exactly this submission."""
    warnings: tuple[XdsError, ...] = ()
    """What the sender is warned of beside its Success."""


class Store:
    """One registry database, seen by the transactions of one process. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        """The database must have passed migrations.check. Raises StoreTrouble."""
        self._database = database
        self._vocabulary = Vocabulary(database)
        with database.reading() as connection:
            self._bodies = Bodies.read(connection)
        self._reader = Reader(self._vocabulary, database.sqlite)
        self._relations = Relations(self._vocabulary, self._reader, database.sqlite, self._availability)
        self.admission = ANYBODY
        """For whom something may be registered; swapped whole when the list of known patients is read again."""

    # ITI-42 ----------------------------------------------------------------------------------------------------------

    def register(
        self,
        submission: Submission,
        by: str,
        now: datetime,
        repositories: Collection[str] = (),
        judged: Verdict | None = None,
    ) -> Receipt:
        """Registers everything of the submission, durably, or nothing (ITI TF-2 3.42.4.1.3.3).

        `by` is the machine identity's name and `repositories` what it may register for: an association may only point
        to what that source registered or what lies in its repositories; anything else answers like an unknown id.
        `judged` is what the message alone has told; what is tolerated of it is counted along with the registration.
        Raises: XdsFailure with every problem the database knows of; StoreTrouble.
        """
        judged = judged or Verdict()
        words, bodies = self._vocabulary, self._bodies
        registration = Registration(submission, by, now, frozenset(repositories), words, bodies, judged)
        registration.admission = self.admission
        try:
            numbers = self._database.write(registration.run)
        except Resent:
            return Receipt(resent=True, warnings=judged.told)
        self._vocabulary.remember(numbers)
        return Receipt(resent=False, warnings=registration.verdict.told)

    # ITI-57, ITI-92, ITI-62 ------------------------------------------------------------------------------------------

    def update(
        self,
        update: Update,
        by: str,
        now: datetime,
        repositories: Collection[str],
        judged: Verdict | None = None,
        restricted: bool = False,
    ) -> Receipt:
        """Carries out everything that the update asks for, durably, or nothing.

        `repositories` are those whose metadata the sender may change: to it, nothing else is registered.
        Raises: XdsFailure with every problem the database knows of; StoreTrouble.
        """
        judged = judged or Verdict()
        words, bodies = self._vocabulary, self._bodies
        revision = Revision(update, restricted, by, now, frozenset(repositories), words, bodies, judged)
        revision.admission = self.admission
        try:
            numbers = self._database.write(revision.run)
        except Resent:
            return Receipt(resent=True, warnings=judged.told)
        self._vocabulary.remember(numbers)
        return Receipt(resent=False, warnings=revision.verdict.told)

    def remove(self, ids: Sequence[str], by: str, now: datetime, repositories: Collection[str]) -> None:
        """Removes all of these objects, durably, or nothing. Raises: as update()."""
        removal = Removal(tuple(ids), by, now, frozenset(repositories), self._vocabulary)
        self._database.write(removal.run)

    def touched(self, ids: Collection[str], by: str, repositories: Collection[str]) -> tuple[Touched, ...]:
        """Those of these objects that the sender may change, with whose they are. Raises StoreTrouble."""
        with self._database.snapshot() as connection:
            return touched(connection, Reach(by, frozenset(repositories), self._vocabulary), ids)

    def count(self, verdict: Verdict, now: datetime) -> None:
        """Counts what a refused message broke (registry.rules.findings). Raises StoreTrouble."""
        self._database.write(lambda connection: findings.count(connection, verdict, now))

    # ITI-18 ----------------------------------------------------------------------------------------------------------

    def find_documents(
        self, query: FindDocuments, identities: Collection[str] | Everybody, leaf: bool, replacements: bool = False
    ) -> tuple[Found, ...]:
        """Entries of the asked patient that match. `identities` is the patient's identity set (or those of several);
        with an empty one the same statement runs for a patient that cannot exist and finds nothing.
        Bodies are fetched only with `leaf`, what replaced deprecated entries only with `replacements`.

        Raises: StoreTrouble.
        """
        keys: dict[int, str] | Everybody = EVERYBODY
        if identities is not EVERYBODY:
            keys = {patient_key(each): each for each in identities} or {IMPOSSIBLE_KEY: ""}
        bodies = leaf or bool(query.availabilities)
        if replacements:
            with self._database.snapshot() as connection:
                found = self._reader.find(connection, query, keys, bodies)
                found = list(self._reader.with_replacements(connection, found))
        else:
            with self._database.reading() as connection:
                found = self._reader.find(connection, query, keys, bodies)
        if query.availabilities:
            found = [each for each in found if self._availability(each.codec, each.stored) in query.availabilities]
        return tuple(found)

    def get_documents(self, query: GetDocuments, leaf: bool, replacements: bool = False) -> Hits:
        """Entries with these ids, whoever's they are; an unknown id finds a decoy and costs what a known one does.

        With `replacements` a deprecated entry costs more than an unknown id: only for nodes that share deprecated ones.
        Raises: StoreTrouble.
        """
        with self._database.snapshot() as connection:
            hits = self._reader.get(connection, query, leaf)
            if replacements:
                return replace(hits, found=self._reader.with_replacements(connection, hits.found))
            return hits

    def gather(
        self, query: Related, identities: Collection[str] | Everybody, leaf: bool, replacements: bool = False
    ) -> Gathered:
        """Everything that decides the answer to `query`, in one state of it. `identities` as in find_documents().

        Raises: StoreTrouble.
        """
        scope = EVERYBODY if identities is EVERYBODY else Scope.of(identities)
        with self._database.snapshot() as connection:
            gathered = self._relations.gather(connection, query, scope, leaf)
            if replacements:
                later = self._reader.with_replacements(connection, gathered.entries.values())
                gathered.entries = {each.facts.entry_uuid: each for each in later}
        return gathered

    def render(self, found: Found, home: str) -> bytes:
        """The entry's XML for a rim:RegistryObjectList with default namespace rim: its body as registered, its head as
        it is now (status, version, home, surviving patient). Raises StoreTrouble for a body that cannot be read."""
        facts = found.facts
        head = Head(facts.entry_uuid, facts.lid, facts.version, facts.status, home, facts.patient_id)
        return ebrim.write_entry(head, self._body(found.codec, found.stored))

    def render_container(self, each: Container, last_update: int, home: str) -> bytes:
        """A SubmissionSet, or a Folder with this lastUpdateTime (yyyymmddhhmmss), as render() does an entry."""
        body = self._body(each.codec, each.stored)
        if each.kind is ObjectKind.FOLDER:
            return ebrim.write_folder(each.head(home), body, str(last_update))
        return ebrim.write_set(each.head(home), body)

    def render_link(self, each: Link, home: str) -> bytes:
        """An association, as render() does an entry."""
        body = b"" if each.codec is None or each.stored is None else self._body(each.codec, each.stored)
        return ebrim.write_association(each.head(home), each.association(body))

    def _body(self, codec: int, stored: bytes) -> bytes:
        try:
            return self._bodies.inflate(codec, stored)
        except BodyLost as lost:
            raise StoreTrouble(Code.REGISTRY_ERROR, str(lost)) from lost

    def _availability(self, codec: int, stored: bytes) -> str:
        """documentAvailability of an entry; one that says nothing is online (supplement XDS Metadata Update)."""
        return OFFLINE if OFFLINE.encode() in self._body(codec, stored) else ONLINE

    # ITI-43 and decisions --------------------------------------------------------------------------------------------

    def __call__(self, asked: Sequence[DocumentKey], replacements: bool = False) -> Known:
        """The store as the proxy's Lookup: everything known of each key, one state of it, by the same statements
        whatever exists. Raises BlocksUnavailable, for a retrieve fails closed alike whatever cannot be read."""
        try:
            with self._database.snapshot() as connection:
                return self._reader.lookup(connection, asked, replacements)
        except StoreTrouble as trouble:
            raise BlocksUnavailable(str(trouble)) from trouble

    def lookup(self, asked: Sequence[DocumentKey]) -> Mapping[DocumentKey, tuple[EntryFacts, ...]]:
        """The whole family of each key, empty for an unknown one; the same statements run whatever exists.

        Raises: StoreTrouble.
        """
        with self._database.snapshot() as connection:
            return self._reader.lookup(connection, asked, replacements=False).families

    def identity_set(self, patient_id: str) -> frozenset[str]:
        """Every CX that is the same person, at least the one given. Raises BlocksUnavailable."""
        try:
            with self._database.reading() as connection:
                return patients.identity_set(connection, patient_id)
        except StoreTrouble as trouble:
            raise BlocksUnavailable(str(trouble)) from trouble

    def superseded(self, patient_id: str) -> bool:
        """Whether this CX was merged into another of the same register, and is used no more. Raises StoreTrouble."""
        with self._database.reading() as connection:
            return patients.superseded(connection, patient_id)

    def known_patient(self, patient_id: str) -> frozenset[str]:
        """identity_set() under the name the proxy's Lookup gives it."""
        return self.identity_set(patient_id)

    def is_known(self, patient_id: str) -> bool:
        """Whether this exact CX is known: registered, fed or listed (XDSUnknownPatientId). Raises StoreTrouble."""
        with self._database.reading() as connection:
            known = patients.is_known(connection, patient_id)
        return known if self.admission.listed is None else patient_id in self.admission.listed

    def merge(self, survivor: str, subsumed: str, by: str, now: datetime) -> None:
        """Makes two identifiers one person, shown as `survivor`, known or not; documents stay where they are.

        Raises: merges.MergeRefused; StoreTrouble. What else there is to merging is registry.people.book's.
        """
        self._database.write(lambda connection: merges.merge(connection, survivor, subsumed, by, now, ahead=True))
