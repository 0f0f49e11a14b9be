"""The only place that knows what time it is: the real clock, and a simulated one for nodes that live on one machine.

Simulated time runs: from the moment it is set it passes as fast as real time, in every worker alike, because all of
them read one small file in the state folder. It starts at the configured time, survives a restart, and starts over
when the configured time is changed. Source: ITI TF-1 7 (Consistent Time) for the real clock.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from policy.facts import Clock
from server.config import Config

FILE = "clock.json"
EARLIEST = datetime(2024, 1, 1, tzinfo=UTC)
"""Before this version existed: a machine that believes it is earlier has lost its time, and would believe any token."""


class ClockUnreadable(Exception):
    """The simulated time cannot be told; `str()` says why. There is no falling back to the real time."""


def open_clock(config: Config) -> Clock:
    """The clock this configuration asks for; a simulated one is started if it is not running yet. Raises OSError."""
    if config.simulated is None:
        return RealClock()
    return SimulatedClock.start(config.node.state, config.simulated)


class RealClock:
    """Time as the machine knows it."""

    simulated = False

    def now(self) -> datetime:
        """Aware, UTC."""
        return datetime.now(UTC)

    def wall(self) -> datetime:
        """The same as now()."""
        return datetime.now(UTC)


class SimulatedClock:
    """Time that was set, plus the real time that has passed since."""

    simulated = True

    def __init__(self, state: Path) -> None:
        """Follows the clock of this state folder; `start` must have been called once, by any process."""
        self._path = state / FILE
        self._mark: tuple[int, int] | None = None
        self._offset = timedelta()

    @classmethod
    def start(cls, state: Path, configured: datetime) -> SimulatedClock:
        """The clock of this node, set to the configured time unless it runs since that was configured."""
        clock = cls(state)
        try:
            running = json.loads(clock._path.read_bytes()).get("configured") == configured.astimezone(UTC).isoformat()
        except (OSError, ValueError, AttributeError):
            running = False
        if not running:
            clock._write(configured, configured)
        return clock

    def set(self, time: datetime) -> None:
        """Every process of the node decides by `time` from now on. Raises ValueError without a zone, OSError."""
        try:
            configured = datetime.fromisoformat(json.loads(self._path.read_bytes())["configured"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ClockUnreadable(f"no simulated clock runs at {self._path}") from None
        self._write(time, configured)

    def now(self) -> datetime:
        """Aware, UTC. Raises ClockUnreadable."""
        try:
            found = os.stat(self._path)
            # Set by replacing the file, so a new inode or a new time of change tells; a stat costs 1 microsecond.
            if (mark := (found.st_ino, found.st_mtime_ns)) != self._mark:
                self._read()
                self._mark = mark
        except (OSError, ValueError, KeyError, TypeError):
            raise ClockUnreadable(f"the simulated time in {self._path} cannot be read") from None
        return datetime.now(UTC) + self._offset

    def wall(self) -> datetime:
        """The real time. Aware, UTC."""
        return datetime.now(UTC)

    def _read(self) -> None:
        found = json.loads(self._path.read_bytes())
        set_to, set_at = (datetime.fromisoformat(found[key]) for key in ("set_to", "set_at"))
        self._offset = set_to.astimezone(UTC) - set_at.astimezone(UTC)

    def _write(self, time: datetime, configured: datetime) -> None:
        if time.tzinfo is None:
            raise ValueError("a simulated time needs an offset, for example 2021-02-15T10:00:00+01:00")
        named = {
            "configured": configured.astimezone(UTC).isoformat(),
            "set_to": time.astimezone(UTC).isoformat(),
            "set_at": datetime.now(UTC).isoformat(),
        }
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self._path.with_name(f"{FILE}.{os.getpid()}")
        beside.write_text(json.dumps(named))
        os.replace(beside, self._path)
