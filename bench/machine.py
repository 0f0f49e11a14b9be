"""What a measurement stands on: CPU time and memory of processes, who runs on which core, how busy the machine is."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
import signal
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]


def on_server_core() -> None:
    """For the start of a process that is measured."""
    os.sched_setaffinity(0, {SERVER_CORE})
    _end_with_parent()


def on_cores(cores: Sequence[int]) -> None:
    """For the start of a process that has these cores to itself."""
    os.sched_setaffinity(0, cores)
    _end_with_parent()


def on_load_core() -> None:
    """For processes that ask, and hospitals that answer."""
    os.sched_setaffinity(0, {LOAD_CORE})
    _end_with_parent()


def _end_with_parent() -> None:
    # PR_SET_PDEATHSIG: nothing started here outlives the run, however the run ends.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def tree(pid: int) -> list[int]:
    """This process and everything below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            found += tree(int(child))
    return found


def cpu(pid: int) -> float:
    """Seconds of CPU, user and system, that this process and those below it have used, to the nanosecond."""
    total = 0.0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            # The clock of another process (CPUCLOCK_SCHED): threads that have ended count, as in no file of /proc.
            total += time.clock_gettime((~each << 3) | 2)
    return total


def resident(pid: int, anonymous: bool = False) -> int:
    """Bytes resident in this process and those below it; `anonymous` leaves mapped files out."""
    return sum(_resident(each, "RssAnon" if anonymous else "VmRSS") for each in tree(pid))


def _resident(pid: int, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)


class Peak:
    """`with Peak(pid) as peak`: the most memory that a process tree held meanwhile, looked at every 20 ms."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self.base = resident(pid)
        self.most = self.base
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def grown(self) -> int:
        """Bytes above what it held at the beginning."""
        return self.most - self.base

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.most = max(self.most, resident(self._pid))


def spent(pid: int, work: Callable[[], object]) -> float:
    """Seconds of CPU that a process tree uses while `work` runs."""
    before = cpu(pid)
    work()
    return cpu(pid) - before


def load() -> str:
    """Load of the machine over the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def line() -> str:
    """The machine, as results are published with it."""
    model = next(
        (
            each.partition(":")[2].strip()
            for each in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in each
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return (
        f"{when} UTC, {len(CORES)} cores {model}, {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {' '.join(f'{each:.1f}' for each in os.getloadavg())}"
    )


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and most."""
    return statistics.median(values), min(values), max(values)


def quantile(values: Sequence[float], part: float) -> float:
    """The value that this part of all values does not exceed; infinite where there are none."""
    if not values:
        return math.inf
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(part * (len(ordered) - 1)))]
