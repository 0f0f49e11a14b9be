"""server.serve and server.worker: one parent, its workers, and what signals and commands do to them."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from audit.event import Ending, Kind
from audit.search import exchange
from server import serve, transport, worker
from server.config import Config
from server.serve import StartFailed, command, control_path
from simulators.hospital import Hospital, Script
from simulators.hospital_variants import Variant
from tests.attacks.front import eventually
from tests.nodes import configured, free_port, hospital_here, innsyn, registered, serving
from tests.server.wire import Wire, head, post, retrieve

BIG = "2.999.40.7.1"
DOCUMENTS = {BIG: bytes(range(256)) * 8_000}


@dataclass
class Group:
    """A running node of two workers."""

    config: Config
    file: Path
    address: tuple[str, int]
    process: subprocess.Popen[bytes]
    log: Path

    def status(self) -> dict[str, Any]:
        return command(self.config, {"do": "status"})

    def pids(self) -> list[int]:
        return [each["pid"] for each in self.status()["workers"]]

    def generations(self) -> set[int]:
        return {each.get("generation", 0) for each in self.status()["workers"]}

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in found if line["event"] == event]


def prepared(folder: Path, hospital: str, port: int) -> Config:
    return configured(
        folder,
        {
            "http://127.0.0.1:8181/repository": hospital,
            "127.0.0.1:8080": f"127.0.0.1:{port}",
            'name = "conformance"': 'name = "conformance"\nworkers = 2',
        },
    )


@pytest.fixture(scope="module")
def hospital() -> Iterator[Hospital]:
    with hospital_here(DOCUMENTS) as started:
        yield started


@contextmanager
def running(folder: Path, hospital: Hospital) -> Iterator[Group]:
    hospital.script = Script()
    port = free_port()
    config = prepared(folder, hospital.url, port)
    registered(config, DOCUMENTS)
    file, log = folder / "innsyn.toml", folder / "node.log"
    with serving(file, f"http://127.0.0.1:{port}", log) as process:
        started = Group(config, file, ("127.0.0.1", port), process, log)
        # One worker that is ready answers the health page; a node is ready when all are.
        eventually(lambda: bool(started.lines("ready")), 20)
        yield started


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory, hospital: Hospital) -> Iterator[Group]:
    """One that survives its tests, which come in any order."""
    with running(tmp_path_factory.mktemp("group"), hospital) as started:
        yield started


def begun(wire: Wire) -> str:
    """Sends a retrieve and returns the id of its answer once that has begun."""
    wire.send(retrieve(BIG))
    taken = b""
    while b"\r\n\r\n" not in taken:
        taken += wire.socket.recv(512)
    return taken.partition(b"x-correlation-id: ")[2][:32].decode()


def ending(group: Group, correlation: str) -> Ending | None:
    events = [each for each in exchange(group.config.audit_folder, correlation) if each.kind is Kind.RELEASED]
    return events[-1].objects[0].ending if events else None


def test_two_workers_serve_and_say_so_to_their_owner_alone(group: Group) -> None:
    assert group.process.poll() is None
    status = group.status()
    assert (status["pid"], status["stale"]) == (group.process.pid, [])
    assert [(each["number"], each["trouble"]) for each in status["workers"]] == [(1, ""), (2, "")]
    assert len({group.process.pid, *group.pids()}) == 3
    assert stat.S_IMODE(control_path(group.config).stat().st_mode) == 0o600
    if len(cores := os.sched_getaffinity(0)) > 1:
        assert [len(os.sched_getaffinity(pid)) for pid in group.pids()] == [1, 1]
        assert len(cores) == len(os.sched_getaffinity(group.process.pid))
    told = innsyn("status", "--config", str(group.file))
    assert (told.returncode, told.stdout.count("ready"), "conformance/1" in told.stdout) == (0, 2, True)
    for words, answer in ((b"{}", "the node knows"), (b"no json", "the node knows"), (b"[1]", "the node knows")):
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(control_path(group.config)))
            channel.sendall(words + b"\n")
            assert answer in channel.makefile().readline()
    second = innsyn("serve", "--config", str(group.file))
    assert second.returncode == 2
    assert second.stderr.strip() == f"a node is running on {control_path(group.config)} already"
    with Wire(group.address) as wire:
        assert wire.ask(post()).status == 200


def test_a_good_policy_is_in_force_everywhere_and_a_bad_one_nowhere(group: Group) -> None:
    file, was = group.config.node.policy / "agreements.toml", group.status()["generation"]
    good, before = file.read_text(), group.status()["version"]
    wrong = good.replace('"any"', '"everything"', 1).replace('"open"', '"soon"')
    file.write_text(wrong + "\nodd = 1\n")
    told = innsyn("policy", "reload", "--config", str(group.file))
    assert told.returncode == 1
    mistakes = told.stderr.splitlines()
    assert mistakes[0] == "the policy in force stays:"
    for planted in ("kinds", "valid_to", "odd"):
        assert any(planted in each for each in mistakes[1:]), (planted, mistakes)
    status = group.status()
    assert (status["version"], status["generation"], group.generations()) == (before, was, {was})
    assert "\n".join(status["stale"]) == "\n".join(mistakes[1:])
    shown = innsyn("status", "--config", str(group.file))
    assert (shown.returncode, "not in force" in shown.stdout) == (1, True)
    file.unlink()
    assert "agreements.toml" in command(group.config, {"do": "reload"})["error"]
    # What fits no configuration of this node is as bad: it could not be started with it again.
    file.write_text(good.replace('machines = ["toolkit"]', 'machines = ["stranger"]'))
    assert "stranger" in command(group.config, {"do": "reload"})["error"]
    assert group.generations() == {was}
    with Wire(group.address) as wire:
        assert b":Success" in wire.ask(post()).body
    file.write_text(good + "\n# written anew\n")
    told = innsyn("policy", "reload", "--config", str(group.file))
    assert (told.returncode, f"generation {was + 1}" in told.stdout) == (0, True)
    assert (group.generations(), group.status()["stale"]) == ({was + 1}, [])
    assert group.status()["version"] != before
    file.write_text(good)
    group.process.send_signal(signal.SIGHUP)
    eventually(lambda: group.generations() == {was + 2})
    assert group.status()["version"] == before
    assert {line["path"] for line in group.lines("policy not reloaded")} == {"policy"}


def test_a_worker_that_is_killed_is_replaced_with_the_policy_in_force_and_nothing_is_unaccounted_for(
    group: Group, hospital: Hospital
) -> None:
    generation = command(group.config, {"do": "reload"})["generation"]
    hospital.script = Script.of(Variant.STALL_MIDDLE)
    with Wire(group.address) as wire:
        correlation = begun(wire)
        old = group.pids()
        died = time.monotonic()
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        assert not wire.answer_whole()
        eventually(lambda: not set(group.pids()) & set(old) and group.generations() == {generation}, 15)
        print(f"two workers replaced after {time.monotonic() - died:.2f} s")
    hospital.script = Script()
    assert {(line["number"], line["exit"]) for line in group.lines("worker died")} == {(1, -9), (2, -9)}
    (unknown,) = [each for each in exchange(group.config.audit_folder, correlation) if each.kind is Kind.RELEASED]
    assert "treat as released" in unknown.note
    with Wire(group.address) as wire:
        assert wire.ask(post()).status == 200


def test_sigterm_lets_a_slow_answer_end_and_the_node_ends_with_0(tmp_path: Path, hospital: Hospital) -> None:
    with running(tmp_path, hospital) as group:
        hospital.script = Script(rate=len(DOCUMENTS[BIG]) // 2)
        with Wire(group.address) as wire, Wire(group.address) as asking:
            correlation = begun(wire)
            probe = head("GET", "/health/ready", content_type=None)
            asking.send(probe[:30])
            time.sleep(0.1)
            group.process.terminate()
            stopped = time.monotonic()
            eventually(lambda: refused(group.address))
            asking.send(probe[30:])
            assert (asking.answer("GET").status, asking.closed()) == (503, True)
            assert "the node is stopping" in {each.get("trouble") for each in group.status()["workers"]}
            assert wire.answer_whole()
        assert group.process.wait(25) == 0
        assert time.monotonic() - stopped < 25
        assert ending(group, correlation) is Ending.COMPLETE
        assert not control_path(group.config).exists()
        assert group.lines("stopped")


def test_workers_whose_parent_was_killed_end_and_a_second_signal_cuts_what_still_runs(
    tmp_path: Path, hospital: Hospital
) -> None:
    with running(tmp_path, hospital) as group:
        workers = group.pids()
        hospital.script = Script.of(Variant.STALL_MIDDLE)
        with Wire(group.address) as orphaned:
            correlation = begun(orphaned)
            group.process.kill()
            group.process.wait()
            # Its predecessor's workers hold their names in the trail until they have recorded what they cut.
            with serving(group.file, f"http://127.0.0.1:{group.address[1]}", tmp_path / "again.log") as again:
                eventually(lambda: not any(alive(pid) for pid in workers), 10)
                assert ending(group, correlation) is Ending.DRAINING
                with Wire(group.address) as wire:
                    correlation = begun(wire)
                    again.send_signal(signal.SIGINT)
                    eventually(lambda: refused(group.address))
                    time.sleep(0.2)
                    assert again.poll() is None
                    again.terminate()
                    assert again.wait(5) == 0
                    assert not wire.answer_whole()
                assert ending(group, correlation) is Ending.DRAINING


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended may wait for somebody to ask how."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def refused(address: tuple[str, int]) -> bool:
    try:
        Wire(address, seconds=1).socket.close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_port_that_is_taken_is_told_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        prepared(tmp_path, "http://127.0.0.1:9/x", port)
        told = innsyn("serve", "--config", str(tmp_path / "innsyn.toml"))
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1] == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    assert "Traceback" not in told.stderr
    assert not (tmp_path / "state" / "control.sock").exists()


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    config = prepared(tmp_path, "http://127.0.0.1:9/x", free_port())
    (config.audit_folder / "worker-2.lock").mkdir()
    told = innsyn("serve", "--config", str(tmp_path / "innsyn.toml"))
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1].startswith("worker 2 did not start: ")
    assert "gone" not in told.stderr


def test_a_command_without_a_node_is_told_so(tmp_path: Path) -> None:
    config = prepared(tmp_path, "http://127.0.0.1:9/x", free_port())
    with pytest.raises(StartFailed, match="no node is running"):
        command(config, {"do": "status"})
    told = innsyn("status", "--config", str(tmp_path / "innsyn.toml"))
    assert (told.returncode, "no node is running" in told.stderr) == (1, True)


def test_the_drain_and_its_records_fit_into_25_seconds() -> None:
    assert worker.DRAIN_SECONDS + transport.LAST_SECONDS < serve.STOP_SECONDS <= 25
    assert worker.ORPHAN_SECONDS < 5
