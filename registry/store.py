"""The face of the registry's memory: what can be registered, found and looked up.

Unknown is never empty: whatever the database refuses comes out as StoreTrouble (or, for identities, BlocksUnavailable),
never as an answer with nothing in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ihe import ebrim
from ihe.metadata import Head, Submission
from ihe.names import Code
from policy.facts import BlocksUnavailable, DocumentKey, EntryFacts
from registry import patients
from registry.bodies import Bodies, BodyLost
from registry.claims import Resent
from registry.engine import Database, StoreTrouble
from registry.reading import Found, Hits, Known, Reader
from registry.stored_queries import FindDocuments, GetDocuments
from registry.tables import IMPOSSIBLE_KEY, patient_key
from registry.vocabulary import Vocabulary
from registry.writing import Registration

__all__ = ["Found", "Hits", "Receipt", "Store"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of a registration that was accepted."""

    resent: bool
    """Nothing was written: the same source had already registered exactly this submission."""


class Store:
    """One registry database, seen by the transactions of one process. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        """The database must have passed migrations.check. Raises StoreTrouble."""
        self._database = database
        self._vocabulary = Vocabulary(database)
        with database.reading() as connection:
            self._bodies = Bodies.read(connection)
        self._reader = Reader(self._vocabulary, database.sqlite)

    # ITI-42 ----------------------------------------------------------------------------------------------------------

    def register(self, submission: Submission, by: str, now: datetime, repositories: Collection[str] = ()) -> Receipt:
        """Registers everything of the submission, durably, or nothing (ITI TF-2 3.42.4.1.3.3).

        `by` is the machine identity's name and `repositories` what it may register for: an association may only point
        to what that source registered or what lies in its repositories; anything else answers like an unknown id.
        Raises: XdsFailure with every problem the database knows of; StoreTrouble.
        """
        registration = Registration(submission, by, now, frozenset(repositories), self._vocabulary, self._bodies)
        try:
            numbers = self._database.write(registration.run)
        except Resent:
            return Receipt(resent=True)
        self._vocabulary.remember(numbers)
        return Receipt(resent=False)

    # ITI-18 ----------------------------------------------------------------------------------------------------------

    def find_documents(
        self, query: FindDocuments, identities: Collection[str], leaf: bool, replacements: bool = False
    ) -> tuple[Found, ...]:
        """Entries of the asked patient that match. `identities` is the patient's identity set; with an empty one the
        same statement runs for a patient that cannot exist and finds nothing. Bodies are fetched only with `leaf`,
        what replaced deprecated entries only with `replacements`.

        Raises: StoreTrouble.
        """
        keys = {patient_key(each): each for each in identities} or {IMPOSSIBLE_KEY: ""}
        if replacements:
            with self._database.snapshot() as connection:
                found = self._reader.find(connection, query, keys, leaf)
                return self._reader.with_replacements(connection, found)
        with self._database.reading() as connection:
            return tuple(self._reader.find(connection, query, keys, leaf))

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

    def render(self, found: Found, home: str) -> bytes:
        """The entry's XML for a rim:RegistryObjectList with default namespace rim: its body as registered, its head as
        it is now (status, version, home, surviving patient). Raises StoreTrouble for a body that cannot be read."""
        facts = found.facts
        try:
            body = self._bodies.inflate(found.codec, found.stored)
        except BodyLost as lost:
            raise StoreTrouble(Code.REGISTRY_ERROR, str(lost)) from lost
        head = Head(facts.entry_uuid, facts.lid, facts.version, facts.status, home, facts.patient_id)
        return ebrim.write_entry(head, body)

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

    def known_patient(self, patient_id: str) -> frozenset[str]:
        """identity_set() under the name the proxy's Lookup gives it."""
        return self.identity_set(patient_id)

    def is_known(self, patient_id: str) -> bool:
        """Whether this exact CX was ever registered or fed (XDSUnknownPatientId). Raises StoreTrouble."""
        with self._database.reading() as connection:
            return patients.is_known(connection, patient_id)

    def merge(self, survivor: str, subsumed: str) -> None:
        """Makes two identifiers one person, shown as `survivor`; documents stay where they are.

        Raises: patients.MergeRefused; StoreTrouble.
        """
        self._database.write(lambda connection: patients.merge(connection, survivor, subsumed))
