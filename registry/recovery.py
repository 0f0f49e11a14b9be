"""Accounts for submissions that a crash left without an outcome in the trail: the registry knows what became of them.

The intent is recorded before the commit and the outcome after it (registry/register.py). A worker that dies in between
leaves the intent alone; the next start of that worker completes the trail before it takes another submission.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from audit.event import Event, Kind, Recorder
from policy.facts import Clock
from registry.database.engine import Database
from registry.database.rows import microseconds
from registry.database.tables import REMOVED, ObjectKind, object_dir, uid_claim, uid_hash, uuid_bytes
from registry.people.identities import is_known
from registry.people.merges import Change, history

COMMITTED = "found in the registry after a crash"
NOT_COMMITTED = "not in the registry after a crash; the sender got no answer"

_SUBMITTED = sa.select(sa.literal(1)).where(
    uid_claim.c.uid_hash == sa.bindparam("uid"),
    # It may have been removed since, by a worker that did not crash.
    uid_claim.c.kind.in_((int(ObjectKind.SUBMISSION_SET), REMOVED + ObjectKind.SUBMISSION_SET)),
)
_TOMB = sa.select(object_dir.c.removed_at).where(object_dir.c.entry_uuid == sa.bindparam("uuid"))


def _submitted(connection: Connection, intent: Event) -> bool:
    return connection.execute(_SUBMITTED, {"uid": uid_hash(intent.submission_set_unique_id)}).first() is not None


def _removed(connection: Connection, intent: Event) -> bool:
    """Whether this very removal left tombstones: all of it was removed at its own instant, or nothing of it."""
    uuid = uuid_bytes(intent.objects[0].entry_uuid) if intent.objects else None
    if uuid is None:
        return False
    return connection.execute(_TOMB, {"uuid": uuid}).scalar() == microseconds(intent.at)


def _known(connection: Connection, intent: Event) -> bool:
    return all(is_known(connection, each) for each in (intent.patient_id, *intent.patients))


def _merged(connection: Connection, intent: Event) -> bool:
    """Whether this very merge is in the history, or one that was made of the same two since."""
    lines = history(connection, intent.patients)
    merges = [line for line in lines if line.change is Change.MERGED and line.at >= intent.at]
    return any((line.survivor, line.subsumed) == (intent.patient_id, intent.patients[0]) for line in merges)


_HELD: Mapping[Kind, Callable[[Connection, Event], bool]] = {
    Kind.REGISTERING: _submitted,
    Kind.UPDATING: _submitted,
    Kind.REMOVING: _removed,
    Kind.FEEDING: _known,
    Kind.MERGING: _merged,
}
_DONE = {
    Kind.REGISTERING: Kind.REGISTERED,
    Kind.UPDATING: Kind.UPDATED,
    Kind.REMOVING: Kind.REMOVED,
    Kind.FEEDING: Kind.FED,
    Kind.MERGING: Kind.MERGED,
}


def settle(unsettled: Iterable[Event], database: Database, audit: Recorder, clock: Clock) -> None:
    """Records an outcome for each of these intents. Raises StoreTrouble, RecordLost."""
    for intent in unsettled:
        with database.reading() as connection:
            held = _HELD[intent.kind](connection, intent)
        kind, note = (_DONE[intent.kind], COMMITTED) if held else (Kind.FAILED, NOT_COMMITTED)
        dated = replace(intent, at=clock.now(), wall=clock.wall(), simulated=clock.simulated)
        audit.record(replace(dated, kind=kind, note=note, objects=()))


def lost(events: Iterable[Event], database: Database) -> tuple[Event, ...]:
    """The intents among these events that came to be done, as their outcomes among them say, and that this database
    does not hold: it is older than they are. Raises StoreTrouble."""
    intents: dict[str, Event] = {}
    done: set[str] = set()
    for each in events:
        if each.kind in _DONE:
            intents[each.correlation] = each
        elif (intent := intents.get(each.correlation)) is not None and each.kind is _DONE[intent.kind]:
            done.add(each.correlation)
    with database.reading() as connection:
        return tuple(each for name, each in intents.items() if name in done and not _HELD[each.kind](connection, each))


CHANGES = frozenset(_DONE) | frozenset(_DONE.values())
"""Every kind of event that tells of a change to the registry's content."""
