"""What every command that changes the registry by hand stands on: its database, its clock and a trail of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from server.commands.terminal import stop

if TYPE_CHECKING:
    from audit.event import Event, Kind
    from audit.spool import Spool
    from policy.facts import Clock
    from registry.database.engine import Database
    from server.config import Config


@contextmanager
def opened(settings: Config) -> Iterator[tuple[Database, Clock, Spool]]:
    """The registry's database, checked, with the clock that decides and a trail to record in; closed at the end.

    Ends the program with a sentence where one of them cannot be had, or a record is lost.
    """
    from audit.event import RecordLost
    from audit.spool import Spool
    from registry.database.engine import DatabaseMissing, open_database
    from registry.migrations import check
    from server.clock import ClockUnreadable, open_clock
    from server.config import MIB

    try:
        database = open_database(settings.database_url)
        try:
            check(database)
            clock = open_clock(settings)
            trail = Spool(settings.audit_folder, "cli", clock=clock, reserve=settings.audit.reserve_mib * MIB)
            try:
                yield database, clock, trail
            finally:
                trail.close()
        finally:
            database.close()
    except (DatabaseMissing, RecordLost, ClockUnreadable) as trouble:
        stop(str(trouble))


def by_hand(clock: Clock, kind: Kind, patient_id: str, did: str, by: str, reason: str) -> Event:
    """The event of something an operator did: no exchange, no caller. `did` is what the note says was done."""
    from audit.event import unasked

    note = f"{did} by {by}" + (f": {reason}" if reason else "")
    times = clock.now(), clock.wall(), clock.simulated
    return unasked(*times, kind, note, correlation=secrets.token_hex(16), patient_id=patient_id)
