"""N1: kill -9 at random times under four writers; what was acknowledged is there, and everything is whole or absent."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.machine import on_server_core, tree
from bench.processes import environment, free_port, stop, wait
from bench.registry_file import Verdict, examined
from bench.report import Report
from bench.writers import Writer

CONFORMANCE = Path(__file__).resolve().parent.parent / "docs" / "examples" / "conformance"
WRITERS = 4
SMOKE, FULL = (60, 90.0), (1000, 600.0)
"""Kills, and the seconds after which no further one is made."""
SEED = 20210215


class Node:
    """A node of docs/examples/conformance that can be killed, whole or one worker of it."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(CONFORMANCE, folder, dirs_exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.config = folder / "innsyn.toml"
        text = self.config.read_text().replace("127.0.0.1:8080", self.url.removeprefix("http://"))
        # What is written here comes from the pilot's sources, whose codes are others than the kit's.
        self.config.write_text(text.replace('codes = "codes.toml"\n', ""))
        self.innsyn("migrate")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def innsyn(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """One command of the command line."""
        command = [sys.executable, "-m", "server.cli", *words, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, env=environment(), timeout=120)

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        log = self.folder / "node.log"
        with log.open("ab") as sink:
            command = [sys.executable, "-m", "server.cli", "serve", "--config", str(self.config)]
            self.process = subprocess.Popen(
                command, stdout=sink, stderr=sink, preexec_fn=on_server_core, start_new_session=True, env=environment()
            )
        wait(self.process, self.port, "/health/ready", log)

    def kill(self, whole: bool) -> None:
        """SIGKILL, to every process of it or to its worker, which the parent then starts again."""
        assert self.process is not None
        if whole:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.start()
            return
        for worker in tree(self.process.pid)[1:]:
            os.kill(worker, signal.SIGKILL)
        time.sleep(0.05)
        wait(self.process, self.port, "/health/ready", self.folder / "node.log")


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    kills, seconds = FULL if full else SMOKE
    with TemporaryDirectory(prefix="innsyn-bench-") as name:
        node = Node(Path(name))
        node.start()
        dice, stopping = random.Random(SEED), threading.Event()
        writers = [Writer(node.url, number, random.Random(SEED + number)) for number in range(WRITERS)]
        threads = [threading.Thread(target=writer.run, args=(stopping,)) for writer in writers]
        for thread in threads:
            thread.start()
        try:
            done = _killed(node, dice, kills, seconds)
        finally:
            stopping.set()
            for thread in threads:
                thread.join(60)
            if node.process is not None:
                stop(node.process)
        verdict = examined(node.folder / "state" / "innsyn.db", [each for one in writers for each in one.attempts])
        verified = node.innsyn("audit", "verify")
        log = (node.folder / "node.log").read_text(errors="replace").splitlines()
    _tell(report, verdict, done, writers, verified)
    for each in [line for line in log if '"defect"' in line or "uncaught" in line][:8]:
        report.say(f"    node: {each[:400]}")


def _killed(node: Node, dice: random.Random, kills: int, seconds: float) -> int:
    begun, done = time.monotonic(), 0
    while done < kills and time.monotonic() - begun < seconds:
        time.sleep(dice.uniform(0.05, 0.9))
        node.kill(whole=dice.random() < 0.5)
        done += 1
    time.sleep(0.3)
    return done


def _tell(
    report: Report,
    verdict: Verdict,
    kills: int,
    writers: list[Writer],
    verified: subprocess.CompletedProcess[bytes],
) -> None:
    doubts = sum(writer.doubts for writer in writers)
    raw = (
        f"{kills} kills, {WRITERS} writers, {verdict.acknowledged} acknowledged, {doubts} connections broken, "
        f"{verdict.unacknowledged} present without acknowledgement; seed {SEED}"
    )
    lost, torn = len(verdict.lost), len(verdict.torn)
    report.holds("N1", f"{lost} acknowledged submissions lost", not lost and verdict.acknowledged > 0, raw)
    report.holds("N1", f"{torn} submissions torn", not torn, f"{verdict.present} whole, {verdict.absent} wholly absent")
    report.holds("N1", "integrity_check of the database", verdict.integrity == "ok", verdict.integrity[:200])
    told = (verified.stdout + verified.stderr).decode(errors="replace").strip().replace("\n", "; ")
    report.holds("N1", "the audit trail verifies after all kills", verified.returncode == 0, told[-200:])
    refused = [each.refused for writer in writers for each in writer.attempts if each.refused]
    report.holds("N1", "no valid submission was refused", not refused, f"{len(refused)} were {refused[:1]}")
    for each in [*verdict.lost, *verdict.torn][:5]:
        report.say(f"    {each}")
