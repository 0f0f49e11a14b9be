"""Who is the same person: every patient identifier (CX) of one identity set, and how two become one.

A merge moves a pointer and never a document: each document stays under the identifier it was registered for, and is
shown under the surviving one (ITI TF-2 3.8, 3.44; TF-1 34).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.errors import XdsFailure
from ihe.names import Code
from registry.engine import Undone
from registry.rules_table import KNOWN_PATIENT, Violation
from registry.statements import Prepared, insert_new
from registry.tables import block, block_journal, patient, patient_alias, patient_key

_IDENTITIES = Prepared(
    sa.select(patient.c.patient_id, patient.c.survivor, patient_alias.c.alias)
    .select_from(patient.outerjoin(patient_alias, patient_alias.c.patient_key == patient.c.patient_key))
    .where(patient.c.patient_key == sa.bindparam("key"))
)


class MergeRefused(Undone):
    """Two identifiers that cannot become one: they already are, or one of them lives on under another."""


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


def admit(connection: Connection, patient_id: str) -> frozenset[str]:
    """The identity set of a patient something is being registered for; a patient nobody knew becomes known.

    Raises: XdsFailure, XDSUnknownPatientId for an identifier that lives on under another (ITI TF-2 3.42.4.1.3.3), or
    XDSRegistryError for one whose key belongs to another CX, which nobody meets but on purpose.
    """
    rows = _identities(connection, patient_id)
    if not rows:
        row = {"patient_key": patient_key(patient_id), "patient_id": patient_id, "survivor": patient_id}
        row["survivor_key"] = row["patient_key"]
        if connection.execute(insert_new(connection, patient).returning(patient.c.patient_id), row).first() is not None:
            return frozenset({patient_id})
        rows = _identities(connection, patient_id)  # another transaction committed it in between
    if rows[0][0] != patient_id:
        raise XdsFailure.of(Code.REGISTRY_ERROR, f"{patient_id} cannot be registered")
    if rows[0][1] != patient_id:
        expected = "an identifier that was not merged into another"
        raise XdsFailure((Violation(KNOWN_PATIENT, "SubmissionSet", expected, patient_id).error,))
    return _set_of(patient_id, rows)


def merge(connection: Connection, survivor: str, subsumed: str) -> None:
    """From now on both are one person, shown as `survivor`. Raises MergeRefused.

    Counts as a change to blocks: a block set on either now covers both, so running decisions must be made again.
    """
    if survivor == subsumed:
        raise MergeRefused("an identifier cannot be merged into itself")
    # First of all: a block that is being set meanwhile is set before this begins, or on the person it has made.
    connection.execute(block_journal.update().values(sequence=block_journal.c.sequence + 1))
    for each in sorted((survivor, subsumed)):
        try:
            admit(connection, each)
        except XdsFailure as failure:
            raise MergeRefused("one of the identifiers lives on under another, or cannot be registered") from failure
    rows = {row.patient_id: row for row in connection.execute(_locked((survivor, subsumed)))}
    if any(rows[each].survivor != each for each in (survivor, subsumed)):
        raise MergeRefused("one of the identifiers already lives on under another")
    aliases = connection.execute(
        sa.select(patient_alias.c.alias).where(patient_alias.c.patient_key == patient_key(subsumed))
    )
    moved = [subsumed, *aliases.scalars()]
    connection.execute(patient_alias.delete().where(patient_alias.c.patient_key == patient_key(subsumed)))
    rows_moved = [{"patient_key": patient_key(survivor), "alias": alias} for alias in moved]
    connection.execute(patient_alias.insert(), rows_moved)
    keys = [patient_key(alias) for alias in moved]
    moved_to = {"survivor": survivor, "survivor_key": patient_key(survivor)}
    connection.execute(patient.update().where(patient.c.patient_key.in_(keys)).values(moved_to))
    connection.execute(
        block.update().where(block.c.person_key == patient_key(subsumed)).values(person_key=patient_key(survivor))
    )


def _locked(patient_ids: Iterable[str]) -> sa.Select[str, str]:
    keys = sorted(patient_key(each) for each in patient_ids)
    found = sa.select(patient.c.patient_id, patient.c.survivor).where(patient.c.patient_key.in_(keys))
    return found.order_by(patient.c.patient_key).with_for_update()
