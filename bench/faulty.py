"""Failures put into running processes by strace: the n-th call of a kind on named files fails, or kills."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ATTACH_SECONDS = 10.0


@dataclass(frozen=True)
class Fault:
    """What fails: the `number`-th `call` of each thread on one of the files of `where`."""

    where: str
    """log (SQLite's), trail, head (of the trail), socket (of the caller), command (any file of the block command)."""
    call: str
    effect: str
    """The error, or KILL."""
    number: int

    def __str__(self) -> str:
        return f"{self.where}: {self.call} {self.number} -> {self.effect}"

    @property
    def words(self) -> list[str]:
        """As strace takes it."""
        effect = "signal=KILL" if self.effect == "KILL" else f"error={self.effect}"
        return ["-e", f"trace={self.call}", "-e", f"inject={self.call}:{effect}:when={self.number}"]


@contextmanager
def inside(pid: int, fault: Fault, paths: Sequence[str], trace: Path) -> Iterator[None]:
    """The fault is in this process and its threads. What it did is in `trace` (see struck)."""
    command = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(trace), "-p", str(pid), *fault.words]
    for path in paths:
        command += ["-P", path]
    tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + ATTACH_SECONDS
        while not _followed(pid) and tracer.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        yield
    finally:
        tracer.terminate()
        tracer.wait()


def struck(trace: Path) -> bool:
    """Whether a call was made to fail, or killed its process."""
    text = trace.read_text(errors="replace") if trace.exists() else ""
    return "(INJECTED)" in text or "+++ killed by SIGKILL" in text


def _followed(pid: int) -> bool:
    """Whether every thread of the process has a tracer."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return all("\nTracerPid:\t0\n" not in (each / "status").read_text() for each in tasks)
    except OSError:
        return False


def socket_of(pid: int, port: int, local: int) -> str:
    """What /proc calls the node's end of a connection: `port` is the node's, `local` the caller's."""
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        if parts[1].endswith(f":{port:04X}") and parts[2].endswith(f":{local:04X}"):
            return f"socket:[{parts[9]}]"
    raise LookupError("no such connection")
