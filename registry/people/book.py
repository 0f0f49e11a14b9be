"""The register of patients as feeds and operators see it: who is known, who lives on under whom, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from registry.database.engine import Database
from registry.people import merges
from registry.people.identities import identity_set, is_known, make_known, survivor_of
from registry.people.merges import Line, Separation


@dataclass(frozen=True, slots=True)
class Person:
    """Everything the registry knows of who one person is."""

    asked: str
    known: bool
    """Whether exactly the asked identifier was ever registered or fed."""
    survivor: str
    """The identifier that documents are shown under."""
    identities: frozenset[str]
    merges: tuple[Line, ...]
    """The merges in force that made it, oldest first."""
    history: tuple[Line, ...]
    """Every merge and separation, oldest first."""


class PatientBook:
    """The patients of one registry database. Safe from any thread; every method raises StoreTrouble."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, patient_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Makes patients known, durably; returns those who were not before.

        Raises XdsFailure for an identifier that cannot be kept beside another one, and then adds none.
        """
        return self._database.write(
            lambda connection: tuple(each for each in sorted(patient_ids) if make_known(connection, each))
        )

    def merge(self, survivor: str, subsumed: str, by: str, now: datetime, ahead: bool = False) -> Line:
        """Makes two identifiers one person. When it returns, no decision that starts later takes them for two.

        Unknown identifiers are refused, or become known with `ahead`. Raises: MergeRefused, and nothing is changed.
        """
        return self._database.write(
            lambda connection: merges.merge(connection, survivor, subsumed, by, now, ahead=ahead)
        )

    def separate(self, subsumed: str, by: str, now: datetime) -> Separation:
        """Takes a merge back, with what moved along with it. Raises: MergeRefused, and nothing is changed."""
        return self._database.write(lambda connection: merges.separate(connection, subsumed, by, now))

    def of(self, patient_id: str) -> Person:
        """The person behind an identifier, as of one moment; one nobody knows is a person with that identifier."""
        with self._database.snapshot() as connection:
            identities = identity_set(connection, patient_id)
            lines = merges.history(connection, identities)
            return Person(
                patient_id,
                is_known(connection, patient_id),
                survivor_of(connection, patient_id) or patient_id,
                identities,
                merges.merges_in_force(lines),
                lines,
            )
