"""Who is the same person: every patient identifier (CX) of one identity set, and which patients are known at all.

A merge moves a pointer and never a document (merges.py): each document stays under the identifier it was
registered for, and is shown under the surviving one (ITI TF-2 3.8, 3.44; TF-1 34).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.errors import XdsFailure
from ihe.names import Code
from registry.database.statements import Prepared, insert_new
from registry.database.tables import patient, patient_alias, patient_key
from registry.rules.table import KNOWN_PATIENT, Violation

_IDENTITIES = Prepared(
    sa.select(patient.c.patient_id, patient.c.survivor, patient_alias.c.alias)
    .select_from(patient.outerjoin(patient_alias, patient_alias.c.patient_key == patient.c.patient_key))
    .where(patient.c.patient_key == sa.bindparam("key"))
)


@dataclass(frozen=True, slots=True)
class Admission:
    """For which patients something may be registered (`[patients] known`); the default is for any."""

    by_registration: bool = True
    """Whether the first registration for a patient makes that patient known; else only a feed does."""
    listed: frozenset[str] | None = None
    """The CX of a file, which then alone says who is known."""

    def admits(self, patient_id: str, known: bool) -> bool:
        """Whether a registration is taken for this CX, of which the database holds something, or nothing."""
        return known or self.by_registration if self.listed is None else patient_id in self.listed


ANYBODY = Admission()


def identity_set(connection: Connection, patient_id: str) -> frozenset[str]:
    """Every CX that is the same person as this one, at least itself; an unknown one is a set of its own."""
    rows = _identities(connection, patient_id)
    if not rows or rows[0][0] != patient_id:
        return frozenset({patient_id})
    survivor = rows[0][1]
    if survivor != patient_id:
        rows = _identities(connection, survivor)
    return _set_of(patient_id, rows)


def _identities(connection: Connection, patient_id: str) -> Sequence[tuple[str, str, str | None]]:
    """(identifier, its survivor, alias of it) for each alias, or once with None."""
    return _IDENTITIES.rows(connection, {"key": patient_key(patient_id)})


def _set_of(patient_id: str, rows: Sequence[tuple[str, str, str | None]]) -> frozenset[str]:
    return frozenset({patient_id, rows[0][1], *(alias for _, _, alias in rows if alias is not None)})


def is_known(connection: Connection, patient_id: str) -> bool:
    """Whether anything was ever registered, or fed, for exactly this CX."""
    known = sa.select(patient.c.patient_id).where(patient.c.patient_key == patient_key(patient_id))
    return connection.execute(known).scalar() == patient_id


def survivor_of(connection: Connection, patient_id: str) -> str | None:
    """The CX that this one lives on under, its own while it was never merged, or None for one that is not known."""
    found = sa.select(patient.c.patient_id, patient.c.survivor).where(patient.c.patient_key == patient_key(patient_id))
    row = connection.execute(found).first()
    return row.survivor if row is not None and row.patient_id == patient_id else None


def superseded(connection: Connection, patient_id: str) -> bool:
    """Whether this CX lives on under another of the same assigning authority: an identifier that is used no more.

    Under one of another authority both remain in use: a D-number stays its holder's number beside the one that came
    after it, and is asked by until every system has learned of the other.
    """
    survivor = survivor_of(connection, patient_id)
    return survivor not in (None, patient_id) and _authority(survivor) == _authority(patient_id)


def _authority(patient_id: str | None) -> str:
    return (patient_id or "").partition("^^^")[2]


def make_known(connection: Connection, patient_id: str) -> bool:
    """Makes a patient known, as a feed does; False for one that was known already, merged or not: nothing changes.

    Raises XdsFailure for an identifier whose key belongs to another CX, which nobody meets but on purpose.
    """
    row = {"patient_key": patient_key(patient_id), "patient_id": patient_id, "survivor": patient_id}
    row["survivor_key"] = row["patient_key"]
    if connection.execute(insert_new(connection, patient).returning(patient.c.patient_id), row).first() is not None:
        return True
    if survivor_of(connection, patient_id) is None:
        raise XdsFailure.of(Code.REGISTRY_ERROR, f"{patient_id} cannot be registered")
    return False


def admit(connection: Connection, patient_id: str, admission: Admission = ANYBODY) -> frozenset[str]:
    """The identity set of a patient something is being registered for; by default a patient nobody knew becomes known.

    Raises: XdsFailure, XDSUnknownPatientId for a patient that is not to become known so, or for an identifier that
    lives on under another (ITI TF-2 3.42.4.1.3.3), XDSRegistryError for one whose key belongs to another CX.
    """
    rows = _identities(connection, patient_id)
    if not admission.admits(patient_id, known=bool(rows)):
        raise _unknown(patient_id, "a patient that this registry was told of")
    if not rows:
        if make_known(connection, patient_id):
            return frozenset({patient_id})
        rows = _identities(connection, patient_id)  # another transaction committed it in between
    if rows[0][0] != patient_id:
        raise XdsFailure.of(Code.REGISTRY_ERROR, f"{patient_id} cannot be registered")
    if rows[0][1] != patient_id:
        raise _unknown(patient_id, "an identifier that was not merged into another")
    return _set_of(patient_id, rows)


def _unknown(patient_id: str, expected: str) -> XdsFailure:
    return XdsFailure((Violation(KNOWN_PATIENT, "SubmissionSet", expected, patient_id).error,))
