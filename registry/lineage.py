"""Which documents are versions of one another: what a block of one must cover, and what took an entry's place.

Read from the associations of one person's identities, whoever registered them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.names import AssociationType
from registry.database.rows import AnyRow
from registry.database.tables import ASSOCIATION_NUMBER, association, document

REPLACING = (ASSOCIATION_NUMBER[AssociationType.RPLC], ASSOCIATION_NUMBER[AssociationType.XFRM_RPLC])
_MEMBER = ASSOCIATION_NUMBER[AssociationType.HAS_MEMBER]
_SAME_CONTENT = (
    *REPLACING,
    ASSOCIATION_NUMBER[AssociationType.XFRM],
    ASSOCIATION_NUMBER[AssociationType.IS_SNAPSHOT_OF],
)
"""Types whose two ends tell the same. An addendum or a signature goes with its document, not the reverse."""


def versions(connection: Connection, keys: Collection[int], entries: Collection[bytes]) -> Sequence[AnyRow]:
    """(entry_uuid, lid, unique_id) of every version of these entries, themselves included."""
    lids = sa.select(document.c.lid).where(document.c.patient_key.in_(keys), document.c.entry_uuid.in_(entries))
    known = set(connection.execute(lids).scalars())
    found = sa.select(document.c.entry_uuid, document.c.lid, document.c.unique_id)
    return connection.execute(found.where(document.c.patient_key.in_(keys), document.c.lid.in_(known))).all()


def relatives(connection: Connection, keys: Collection[int], unique_ids: Iterable[str]) -> frozenset[str]:
    """These uniqueIds and those of every version, transform, addendum and signature of what they name.

    Ids of which nothing is registered (yet) stay in. Bounded by the documents of one person.
    """
    known = frozenset(unique_ids)
    rows = connection.execute(
        sa.select(document.c.entry_uuid, document.c.unique_id).where(
            document.c.patient_key.in_(keys), document.c.unique_id.in_(known)
        )
    )
    seen: set[bytes] = set()
    front = {row.entry_uuid for row in rows}
    while front:
        # What one version is tied to concerns them all: they are one document.
        front |= {row.entry_uuid for row in versions(connection, keys, front)}
        seen |= front
        down = sa.select(association.c.source).where(
            association.c.patient_key.in_(keys),
            association.c.target.in_(front),
            association.c.type != _MEMBER,
        )
        up = sa.select(association.c.target).where(
            association.c.patient_key.in_(keys),
            association.c.source.in_(front),
            association.c.type.in_(_SAME_CONTENT),
        )
        front = {raw for statement in (down, up) for raw in connection.execute(statement).scalars()} - seen
    found = sa.select(document.c.unique_id).where(document.c.patient_key.in_(keys), document.c.entry_uuid.in_(seen))
    return known | set(connection.execute(found).scalars())
