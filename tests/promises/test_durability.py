"""Promises N2 and N3 in small: what the kernel saw of a node, and what a power cut would have left of it."""

from __future__ import annotations

import pytest

from bench import n2_order, n3_power
from bench.powercut import Disk, replayed
from bench.traced import Scene, is_here, scene

pytestmark = pytest.mark.skipif(not is_here(), reason=n2_order.MISSING)


@pytest.fixture(scope="module")
def traced() -> object:
    """A node under strace while sources register."""
    with scene(25, seed=7) as seen:
        yield seen


def test_every_acknowledgement_follows_the_sync_of_its_commit_and_of_its_record(traced: Scene) -> None:
    verdict = n2_order.examined(traced)
    assert verdict.registrations >= 25
    assert verdict.early == []


def test_nothing_is_written_outside_of_the_nodes_folders(traced: Scene) -> None:
    # SQLite would keep pages to undo savepoints by in files below /var/tmp.
    assert n2_order.examined(traced).strayed == []


def test_a_power_cut_takes_nothing_that_was_acknowledged_and_tears_nothing(traced: Scene) -> None:
    tally = n3_power.cut(traced, 8, seed=7)
    assert tally.acknowledged > 0
    assert (tally.lost, tally.torn, tally.corrupt, tally.unrecorded) == ([], [], [], [])


def test_the_simulated_disk_holds_what_the_real_one_holds(traced: Scene) -> None:
    disk = Disk(traced.before, traced.after)
    replayed(disk, traced.steps)
    assert disk.differs(traced.after) == []


@pytest.mark.parametrize("deaf", ["-wal", ".jsonl"])
def test_a_sync_that_does_nothing_is_noticed(traced: Scene, deaf: str) -> None:
    tally = n3_power.cut(traced, 16, 7, lambda path: path.endswith(deaf))
    assert tally.lost if deaf == "-wal" else tally.unrecorded or tally.corrupt
