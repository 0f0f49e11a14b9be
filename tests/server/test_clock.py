"""server.clock: decisions see one time, in every process, real unless a node says otherwise."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.clock import FILE, ClockUnreadable, RealClock, SimulatedClock

THEN = datetime(2021, 2, 15, 9, 0, tzinfo=UTC)
SOON = timedelta(seconds=5)


def test_the_real_clock_is_the_machine() -> None:
    clock = RealClock()
    assert abs(clock.now() - datetime.now(UTC)) < SOON
    assert abs(clock.now() - clock.wall()) < SOON
    assert not clock.simulated


def test_simulated_time_passes_as_fast_as_real_time(tmp_path: Path) -> None:
    clock = SimulatedClock.start(tmp_path, THEN)
    first, began = clock.now(), time.monotonic()
    assert THEN <= first < THEN + SOON
    time.sleep(0.05)
    assert abs((clock.now() - first).total_seconds() - (time.monotonic() - began)) < 0.02
    assert abs(clock.wall() - datetime.now(UTC)) < SOON
    assert clock.simulated


def test_setting_the_clock_reaches_every_process_at_its_next_look(tmp_path: Path) -> None:
    worker = SimulatedClock.start(tmp_path, THEN)
    worker.now()
    later = THEN + timedelta(days=400)
    SimulatedClock(tmp_path).set(later)
    assert later <= worker.now() < later + SOON


def test_a_restart_keeps_the_time_and_a_new_configuration_starts_it_over(tmp_path: Path) -> None:
    SimulatedClock.start(tmp_path, THEN).set(THEN + timedelta(days=9))
    assert SimulatedClock.start(tmp_path, THEN).now() >= THEN + timedelta(days=9)
    other = THEN - timedelta(days=100)
    assert other <= SimulatedClock.start(tmp_path, other).now() < other + SOON


def test_an_unreadable_simulated_time_is_never_the_real_one(tmp_path: Path) -> None:
    clock = SimulatedClock.start(tmp_path, THEN)
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(ClockUnreadable):
        clock.now()
    (tmp_path / FILE).unlink()
    with pytest.raises(ClockUnreadable):
        clock.now()
    with pytest.raises(ClockUnreadable):
        SimulatedClock(tmp_path).set(THEN)


def test_a_time_without_offset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="offset"):
        SimulatedClock.start(tmp_path, THEN).set(datetime(2021, 1, 1))
