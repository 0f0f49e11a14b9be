"""What only grows, and what the operator lets go of when its time is over: audit files and tombstones.

Nothing goes unless `[retention]` says after how many days. Worker 1 looks every hour; `innsyn retention` does it at
once, or tells what it would do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import structlog

from audit import retention as files
from audit.event import Recorder, RecordLost
from audit.retention import Cut
from audit.segment import Broken
from policy.facts import Clock
from registry.changes import tombstones
from registry.database.engine import Database
from server.config import Config

log = structlog.get_logger()

LOOK_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Due:
    """What is over its time."""

    cuts: tuple[Cut, ...]
    tombstones: int


def configured(config: Config) -> bool:
    """Whether anything is ever let go of."""
    return (config.retention.audit_days, config.retention.tombstone_days) != ("forever", "forever")


def due(config: Config, database: Database, clock: Clock) -> Due:
    """What `clear` would remove now. Raises: Broken for altered audit files; StoreTrouble; OSError."""
    kept = config.retention
    cuts: tuple[Cut, ...] = ()
    if kept.audit_days != "forever":
        # Audit files are named after the real day, also where time is simulated.
        cuts = files.due(config.audit_folder, clock.wall() - timedelta(days=kept.audit_days))
    number = 0
    if kept.tombstone_days != "forever":
        number = tombstones.count(database, clock.now() - timedelta(days=kept.tombstone_days))
    return Due(cuts, number)


def clear(config: Config, database: Database, audit: Recorder, clock: Clock) -> tuple[int, int]:
    """Removes what is over its time; returns how many audit files and how many tombstones that was.

    Raises: Broken, with no file removed; StoreTrouble; RecordLost; OSError, also while files are being copied.
    """
    kept = config.retention
    removed = forgotten = 0
    if kept.tombstone_days != "forever":
        forgotten = tombstones.forget(database, clock.now() - timedelta(days=kept.tombstone_days))
    if cuts := due(config, database, clock).cuts:
        removed = files.remove(config.audit_folder, cuts, audit, clock)
    return removed, forgotten


def chore(config: Config, database: Database, audit: Recorder, clock: Clock) -> None:
    """`clear` for a node that serves: what stands against it is told to the operator. Raises: StoreTrouble."""
    try:
        removed, forgotten = clear(config, database, audit, clock)
        for what, count in (("audit files", removed), ("tombstones", forgotten)):
            if count:
                log.info("removed when its time was over", what=what, count=count)
    except (Broken, RecordLost, OSError) as trouble:
        log.error("put off", what="retention", error=str(trouble))
