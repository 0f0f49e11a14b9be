"""Accounts for submissions that a crash left without an outcome in the trail: the registry knows what became of them.

The intent is recorded before the commit and the outcome after it (registry/register.py). A worker that dies in between
leaves the intent alone; the next start of that worker completes the trail before it takes another submission.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import sqlalchemy as sa

from audit.event import Event, Kind, Recorder
from policy.facts import Clock
from registry.engine import Database
from registry.tables import ObjectKind, uid_claim, uid_hash

COMMITTED = "found in the registry after a crash"
NOT_COMMITTED = "not in the registry after a crash; the sender got no answer"

_HELD = sa.select(sa.literal(1)).where(
    uid_claim.c.uid_hash == sa.bindparam("uid"), uid_claim.c.kind == int(ObjectKind.SUBMISSION_SET)
)


def settle(unsettled: Iterable[Event], database: Database, audit: Recorder, clock: Clock) -> None:
    """Records an outcome for each of these intents. Raises StoreTrouble, RecordLost."""
    for intent in unsettled:
        with database.reading() as connection:
            held = connection.execute(_HELD, {"uid": uid_hash(intent.submission_set_unique_id)}).first() is not None
        kind, note = (Kind.REGISTERED, COMMITTED) if held else (Kind.FAILED, NOT_COMMITTED)
        dated = replace(intent, at=clock.now(), wall=clock.wall(), simulated=clock.simulated)
        audit.record(replace(dated, kind=kind, note=note, objects=()))
