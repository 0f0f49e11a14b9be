"""A node under strace: every write, sync and answer of all its processes, in the order in which the kernel did them."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from bench.machine import on_load_core, tree
from bench.n1_kills import WRITERS, Node
from bench.place import REGISTRY, SIMPLE
from bench.processes import environment, wait
from bench.writers import Attempt, Writer
from ihe.names import Action
from simulators.consumer import envelope, find_documents

WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg")
SYNCS = ("fsync", "fdatasync", "sync_file_range", "msync")
NAMES = (
    "ftruncate",
    "truncate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "open",
    "openat",
    "fallocate",
)
WAYS_AROUND = ("sync_file_range", "msync", "fallocate", "pwritev", "pwritev2", "renameat2", "truncate")
"""Calls whose effect the replay does not know; nothing here makes them on a file of the node."""
_LINE = re.compile(rb"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$", re.DOTALL)
_DONE = re.compile(rb"\)\s+= (-?\d+|\?)(?:<[^\n]*>)?[^\n=]*$")
_FILE = re.compile(rb"^(?:AT_FDCWD(?:<[^>]*>)?|\d+<([^>]*)>)")
_TEXTS = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True)
class Step:
    """One call of the kernel that succeeded. Steps stand in the order of their ends."""

    begun: int
    """Place in the log of its beginning, and of its end."""
    ended: int
    name: str
    where: str
    """The file or socket it is about."""
    data: bytes
    """What was written (as much as the kernel took), or the file's name where the call takes one."""
    number: int = 0
    """Where it was written, or the length it was cut to."""
    creates: bool = False


def is_here() -> bool:
    """Whether strace can be used."""
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-f", "-o", "/dev/null", sys.executable, "-c", ""], capture_output=True)
    return tried.returncode == 0


@dataclass(frozen=True)
class Scene:
    """What happened."""

    before: Path
    """The node's state folder as it was when the trace began."""
    after: Path
    """The same at the end."""
    steps: list[Step]
    attempts: list[Attempt]
    queries: int


@contextmanager
def scene(acknowledged: int, seed: int) -> Iterator[Scene]:
    """Four sources that register and one that asks, until so many submissions are acknowledged; then the node stops."""
    with TemporaryDirectory(prefix="innsyn-bench-") as name:
        folder = Path(name)
        node = Node(folder / "node")
        state, before, trace = node.folder / "state", folder / "before", folder / "trace"
        shutil.copytree(state, before)
        with _running(node, trace):
            writers = [Writer(node.url, number, random.Random(seed + number)) for number in range(WRITERS)]
            queries = _until(node, writers, acknowledged)
        yield Scene(before, state, list(steps(trace)), [each for one in writers for each in one.attempts], queries)


@contextmanager
def _running(node: Node, trace: Path) -> Iterator[None]:
    log = node.folder / "node.log"
    traced = ",".join((*WRITES, *SYNCS, *NAMES))
    command = ["strace", "-f", "-qq", "-y", "-xx", "-s", "4194304", "-e", "signal=none", "-e", f"trace={traced}"]
    command += ["-o", str(trace), sys.executable, "-m", "server.cli", "serve", "--config", str(node.config)]
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, preexec_fn=on_load_core, start_new_session=True, env=environment()
        )
    try:
        wait(process, node.port, "/health/ready", log)
        yield
    finally:
        # The node, not strace, which ends when everything that it follows has ended.
        for pid in tree(process.pid)[1:2]:
            subprocess.run(["kill", str(pid)], check=False)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(node: Node, writers: list[Writer], acknowledged: int) -> int:
    stopping, asked = threading.Event(), [0]
    threads = [threading.Thread(target=each.run, args=(stopping,)) for each in writers]
    threads.append(threading.Thread(target=_ask, args=(node.url, writers, stopping, asked)))
    for thread in threads:
        thread.start()
    # A node that refuses everything would be asked for ever; the scene then shows that too little came of it.
    deadline = time.monotonic() + 30 + acknowledged / 4
    while sum(each.acknowledged for one in writers for each in one.attempts) < acknowledged:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    stopping.set()
    for thread in threads:
        thread.join(60)
    return asked[0]


def _ask(url: str, writers: list[Writer], stopping: threading.Event, asked: list[int]) -> None:
    where = urlsplit(url)
    while not stopping.wait(0.05):
        patient = writers[asked[0] % len(writers)].patient
        connection = HTTPConnection(where.hostname or "", where.port, timeout=30)
        body = envelope(Action.QUERY, find_documents(patient.patient_id), None)
        connection.request("POST", REGISTRY, body, {"Content-Type": SIMPLE})
        asked[0] += b"ResponseStatusType:Success" in connection.getresponse().read()
        connection.close()


def steps(trace: Path) -> Iterator[Step]:
    """The calls that succeeded, in the order of their ends."""
    open_calls: dict[bytes, tuple[int, bytes, bytes]] = {}
    with trace.open("rb") as lines:
        for number, line in enumerate(lines):
            match = _LINE.match(line.rstrip(b"\n"))
            if match is None:
                continue
            pid, resumed, name, rest = match.groups()
            if name is not None and rest.endswith(b"<unfinished ...>"):
                open_calls[pid] = (number, name, rest.removesuffix(b"<unfinished ...>"))
                continue
            begun = number
            if resumed is not None:
                if pid not in open_calls:
                    continue
                begun, name, start = open_calls.pop(pid)
                rest = start + rest
            if (step := _step(begun, number, name.decode(), rest)) is not None:
                yield step


def _step(begun: int, ended: int, name: str, rest: bytes) -> Step | None:
    done = _DONE.search(rest)
    if done is None or done[1] == b"?" or done[1].startswith(b"-"):
        return None
    result, given = int(done[1]), rest[: done.start()]
    file = _FILE.match(given)
    where = "" if file is None or file[1] is None else _plain(file[1]).decode(errors="replace")
    data = b"".join(_plain(each) for each in _TEXTS.findall(given))
    made = Step(begun, ended, name, where, data)
    if name in WRITES:
        last = given.rpartition(b", ")[2]
        return replace(made, data=data[:result], number=int(last) if name == "pwrite64" else -1)
    if name == "ftruncate":
        return replace(made, number=int(given.rpartition(b", ")[2]))
    if name in ("open", "openat"):
        text = data.decode(errors="replace")
        return replace(made, where=text, creates=b"O_CREAT" in given, number=int(b"O_TRUNC" in given))
    return made


def _plain(text: bytes) -> bytes:
    """What strace wrote in hexadecimal, or as it is."""
    return bytes.fromhex(text.replace(b"\\x", b"").decode()) if text.startswith(b"\\x") else text
