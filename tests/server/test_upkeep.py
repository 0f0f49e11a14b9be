"""server.upkeep and its wiring: a node knows when it cannot answer, says so without waiting, and stays small."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ihe.names import Code
from registry.database.engine import StoreTrouble
from server import upkeep
from server.upkeep import BLIND, STOPPING, Chore, Upkeep
from tests.attacks.front import eventually
from tests.nodes import Here, configured, node_here
from tests.server.wire import Wire, head

WALL = datetime(2026, 3, 2, 9, tzinfo=UTC)


def living(
    look: Callable[[], str], *chores: Chore, seconds: float = 0.2, wall: Callable[[], datetime] | None = None
) -> str:
    """What an Upkeep says after some time."""

    async def live() -> str:
        keeping = Upkeep(look, wall or (lambda: datetime.now(UTC)), chores)
        await keeping.start()
        await asyncio.sleep(0.2)
        said = keeping.trouble()
        keeping.stopping()
        assert keeping.trouble() == STOPPING
        keeping.close()
        return said

    return asyncio.run(live())


def test_trouble_is_what_the_last_look_saw_and_is_logged_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.01)
    seen = iter(["", "the disk is full", "the disk is full", "the disk is full"])
    with capture_logs() as lines:
        assert living(lambda: next(seen, "")) == ""
    assert [(line["event"], line["trouble"]) for line in lines] == [
        ("can answer", ""),
        ("not ready", "the disk is full"),
        ("can answer", ""),
    ]


def test_a_look_that_does_not_come_back_is_trouble_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(upkeep, "BLIND_SECONDS", 0.1)
    looked, go = [0], threading.Event()

    def look() -> str:
        looked[0] += 1
        if looked[0] > 1:
            go.wait(0.5)
        return ""

    assert living(look) == BLIND


def test_a_chore_that_fails_is_told_of_and_done_again() -> None:
    done = [0]

    def work() -> None:
        done[0] += 1
        if done[0] == 1:
            raise StoreTrouble(Code.REGISTRY_BUSY, "database is locked")

    with capture_logs() as lines:
        living(lambda: "", Chore("checkpoint", 0.02, work))
    assert done[0] > 1
    assert [line["what"] for line in lines if line["event"] == "put off"] == ["checkpoint"]


def test_a_clock_that_was_set_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.01)
    told = [0]

    def wall() -> datetime:
        told[0] += 1
        return WALL + timedelta(hours=1 if told[0] > 1 else 0)

    with capture_logs() as lines:
        living(lambda: "", wall=wall)
    (line,) = [line for line in lines if "clock" in line["event"]]
    assert 3595 < line["seconds"] < 3601


def ready(here: Here) -> tuple[int, bytes]:
    with Wire(here.address) as wire:
        answer = wire.ask(head("GET", "/health/ready", content_type=None), "GET")
        return answer.status, answer.body


def test_a_node_whose_registry_is_gone_is_not_ready_and_says_why(tmp_path: Path) -> None:
    config = configured(tmp_path)
    with node_here(config) as here:
        assert ready(here) == (200, b"ready\n")
        with closing(sqlite3.connect(config.node.state / "innsyn.db")) as beside:
            beside.execute("ALTER TABLE block_journal RENAME TO away")
            eventually(lambda: ready(here) == (503, b"the registry's database does not answer\n"))
            beside.execute("ALTER TABLE away RENAME TO block_journal")
            eventually(lambda: ready(here)[0] == 200)


def test_a_reloaded_policy_flushes_what_was_verified_under_the_old_one(tmp_path: Path) -> None:
    with node_here(configured(tmp_path)) as here:
        before = here.node.identify._kept.generation
        here.node.swap(here.node.rules())
        assert here.node.identify._kept.generation == before + 1


def test_the_first_worker_does_the_chores_for_all(tmp_path: Path) -> None:
    with node_here(configured(tmp_path)) as here:
        assert [chore.name for chore in here.node._chores()] == ["bindings", "checkpoint"]
        for chore in here.node._chores():
            chore.work()
        assert len(here.node.upkeep._chores) == 2
