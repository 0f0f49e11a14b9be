"""The columns of a DocumentEntry that questions select, and what they mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from policy.facts import DocumentKey, EntryFacts
from registry.database.tables import STATUS_OF, document, patient, uuid_text
from registry.database.vocabulary import Vocabulary

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FACTS = (
    document.c.entry_uuid,
    document.c.lid,
    document.c.version,
    document.c.status,
    document.c.unique_id,
    document.c.repository,
    document.c.mime_type,
    document.c.hash,
    document.c.size,
    document.c.class_code,
    document.c.type_code,
    document.c.confidentiality_codes,
    document.c.creation_time,
    document.c.registered_at,
    document.c.registered_by,
    document.c.signed_at,
    document.c.withdrawn,
    document.c.shared,
    patient.c.patient_id,
    patient.c.survivor,
    document.c.authors,
)
UNIQUE_ID, SHARED, PATIENT_ID, ENTRY_AUTHORS, BODY = 4, 17, 18, 20, 21
"""Places in a row of LEAF: rows are read by place, for names cost as much again. BODY is where codec and body begin."""
assert (FACTS[UNIQUE_ID], FACTS[SHARED]) == (document.c.unique_id, document.c.shared)
assert (FACTS[PATIENT_ID], FACTS[ENTRY_AUTHORS], len(FACTS)) == (patient.c.patient_id, document.c.authors, BODY)
LEAF = (*FACTS, document.c.codec, document.c.body)
CONTENT = (*LEAF, document.c.object_type, document.c.format_code)
"""What filters on the documents of a set or a folder read besides."""
CONTENT_FACTS = (*FACTS, sa.literal(0), sa.literal(b""), document.c.object_type, document.c.format_code)
"""The same without a body."""
OBJECT_TYPE, FORMAT_CODE = BODY + 2, BODY + 3
WITH_PATIENT = document.join(patient, patient.c.patient_key == document.c.patient_key)


AnyRow = sa.Row[*tuple[Any, ...]]
"""A row of whatever columns its statement names."""


class Columns:
    """Reads rows of FACTS with the words of one database."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def facts(self, row: AnyRow, key: DocumentKey | None = None) -> EntryFacts:
        """The typed columns of a row (FACTS, in that order) as decisions read them; under `key` for a decoy's row."""
        words = self._vocabulary
        entry_uuid = uuid_text(row[0])
        registered_at = instant(row[13])
        signed_at = row[15]
        # By place: twenty named arguments cost half of what reading the row does.
        return EntryFacts(
            entry_uuid,
            entry_uuid if row[1] == row[0] else uuid_text(row[1]),
            row[2],
            STATUS_OF[row[3]],
            row[4] if key is None else key.unique_id,
            words.label(row[5]) if key is None else key.repository_unique_id,
            row[19],
            words.label(row[6]),
            row[7],
            row[8],
            words.code(row[9]),
            words.code(row[10]),
            words.codes(row[11]),
            "" if row[12] is None else str(row[12]).zfill(14),
            registered_at,
            words.label(row[14]),
            None if signed_at is None else registered_at if signed_at == row[13] else instant(signed_at),
            bool(row[16]),
        )


def instant(microseconds: int) -> datetime:
    """The aware time in UTC of a stored number of microseconds since 1970."""
    return EPOCH + timedelta(0, 0, microseconds)


def stamp(now: datetime) -> int:
    """A time as yyyymmddhhmmss, UTC."""
    return int(now.astimezone(UTC).strftime("%Y%m%d%H%M%S"))


def microseconds(at: datetime) -> int:
    """An aware time as it is stored."""
    return (at - EPOCH) // timedelta(microseconds=1)
