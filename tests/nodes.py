"""Starts real nodes for tests: the shipped command line, real sockets on loopback, bounded in time.

`loopback_node` and `serving` start the whole group of processes; `node_here` starts one worker's node in this process,
with limits of the test's own and everything in it within reach.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import uvloop

from policy.reading import read
from registry.database.engine import open_database
from registry.migrations import migrate
from registry.store import Store
from server.check import policy_texts
from server.config import Config
from server.exchange import Limits
from server.settings import load
from server.transport import HttpServer
from server.wiring import Node
from simulators.hospital import Hospital
from simulators.hospital_variants import Document
from tests.registry.submissions import entry, submission

ROOT = Path(__file__).resolve().parent.parent
CONFORMANCE = ROOT / "docs" / "examples" / "conformance"
STUB = "1.1.4567332.1.9001"
"""The repository of CONFORMANCE's hospital `stub`, at 127.0.0.1:8181."""
T = TypeVar("T")

START_SECONDS = 30.0
STOP_SECONDS = 40.0


def free_port() -> int:
    """A port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def innsyn(*words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Runs one command of the shipped command line."""
    command = [sys.executable, "-m", "server.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=_environment())


@contextmanager
def loopback_node(example: Path, folder: Path, replaced: Mapping[str, str] | None = None) -> Iterator[str]:
    """A node with an example's configuration on a free port; yields its base URL."""
    shutil.copytree(example, folder, dirs_exist_ok=True)
    url = f"127.0.0.1:{free_port()}"
    config = folder / "innsyn.toml"
    text = config.read_text().replace("127.0.0.1:8080", url)
    for old, new in (replaced or {}).items():
        text = text.replace(old, new)
    config.write_text(text)
    migrated = innsyn("migrate", "--config", str(config))
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr
    with serving(config, f"http://{url}", folder / "node.log"):
        yield f"http://{url}"


@contextmanager
def serving(config: Path, url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A node process that answers its readiness page; stopped by SIGTERM on the way out."""
    with log.open("ab") as sink:
        command = [sys.executable, "-m", "server.cli", "serve", "--config", str(config)]
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env=_environment())
    try:
        wait_ready(process, url, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Returns when the node is ready; raises with the end of its log when it is not in time."""
    deadline = time.monotonic() + START_SECONDS
    host = urlsplit(url).netloc
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection(host, timeout=2)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise AssertionError("the node did not become ready:\n" + log.read_text()[-4000:])


@contextmanager
def loop_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """A running event loop on a thread of its own, of the kind that workers have."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STOP_SECONDS)
        loop.close()


def on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], seconds: float = 30.0) -> T:
    """The result of a coroutine that runs on that loop."""
    return asyncio.run_coroutine_threadsafe(work, loop).result(seconds)


def free_socket() -> socket.socket:
    """A socket bound to a free port on loopback."""
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    return made


@dataclass
class Here:
    """A node in this process, on the loop of another thread."""

    node: Node
    server: HttpServer
    address: tuple[str, int]
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def drain(self, seconds: float) -> None:
        """Turns the node's readiness red and ends its server."""
        self.loop.call_soon_threadsafe(self.node.upkeep.stopping)
        on(self.loop, self.server.drain(asyncio.Event(), seconds))


def configured(folder: Path, replaced: Mapping[str, str] | None = None, example: Path = CONFORMANCE) -> Config:
    """An example's configuration in a folder of its own, with an empty registry."""
    shutil.copytree(example, folder, dirs_exist_ok=True)
    path = folder / "innsyn.toml"
    text = path.read_text()
    for old, new in (replaced or {}).items():
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    config = load(path)
    for made in (config.node.state, config.audit_folder):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = open_database(config.database_url, create=True)
    migrate(database)
    database.close()
    return config


def registered(config: Config, documents: Mapping[str, bytes], repository: str = STUB) -> None:
    """Registers documents by uniqueId as the machine `toolkit`, straight into the registry's database."""
    database = open_database(config.database_url)
    try:
        entries = [
            entry(
                unique_id=unique_id,
                repository_unique_id=repository,
                hash=hashlib.sha1(content).hexdigest(),
                size=len(content),
            )
            for unique_id, content in documents.items()
        ]
        Store(database).register(submission(*entries), "toolkit", datetime.now(UTC), [repository])
    finally:
        database.close()


@contextmanager
def node_here(config: Config, limits: Limits | None = None) -> Iterator[Here]:
    """A node with one listener, the first of the configuration, on a free port."""

    async def start() -> Here:
        policy = read(policy_texts(config.node.policy), config.node.open_agreements, 1)
        node = Node(config, 1, policy)
        await node.start()
        server = node.server(next(iter(config.listener)), limits)
        listening = free_socket()
        await server.start(listening)
        return Here(node, server, listening.getsockname(), asyncio.get_running_loop())

    with loop_thread() as loop:
        here = on(loop, start())
        try:
            yield here
        finally:
            here.drain(0.0)
            on(loop, here.node.close())


@contextmanager
def hospital_here(documents: Mapping[str, bytes], repository: str = STUB) -> Iterator[Hospital]:
    """A simulated hospital on a thread of its own; its `script` may be changed at any time."""
    kept = {(repository, unique_id): Document("application/pdf", raw) for unique_id, raw in documents.items()}
    hospital = Hospital(kept)
    with loop_thread() as loop:
        on(loop, hospital.start())
        try:
            yield hospital
        finally:
            on(loop, hospital.close())


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
