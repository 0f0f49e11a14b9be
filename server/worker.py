"""One worker process: every listener on one event loop, and a small pool for the synchronous transactions."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import structlog
import uvloop

from audit.event import RecordLost
from policy.reading import PolicyRefused
from registry.database.engine import DatabaseMissing, StoreTrouble
from server.clock import ClockUnreadable
from server.config import Config
from server.log import configure
from server.mllp import MllpServer
from server.policies import PolicyTexts
from server.transport import HttpServer
from server.wiring import Node

log = structlog.get_logger()

DRAIN_SECONDS = 20.0
"""For exchanges that run when the node is told to stop. With what their records take, all is over within 25 s."""
ORPHAN_SECONDS = 2.0
"""The same where the parent is gone: its successor waits for our name in the audit trail."""


TROUBLES = (DatabaseMissing, StoreTrouble, RecordLost, ClockUnreadable, PolicyRefused, OSError)
"""What can keep a worker from starting, told to the parent."""


def main(
    config: Config, number: int, sockets: Mapping[str, socket.socket], policy: PolicyTexts, pipe: Connection
) -> None:
    """Serves until SIGTERM, then drains. Runs in a process of its own, started by server/serve.py."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    configure(config)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Connections of callers must not take the last file from the trail and the database.
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    cores = sorted(os.sched_getaffinity(0))
    if config.node.workers > 1:
        os.sched_setaffinity(0, {cores[(number - 1) % len(cores)]})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            worker = Worker(Node(config, number, policy.load(), policy.patients), sockets, pipe)
        except TROUBLES as wrong:
            pipe.send({"error": str(wrong)})
            sys.exit(1)
        # One run for all of it: uvloop loses a signal that comes between two.
        sys.exit(runner.run(worker.run()))


class Worker:
    """A node's servers and the pipe to the parent."""

    def __init__(self, node: Node, sockets: Mapping[str, socket.socket], pipe: Connection) -> None:
        self.node = node
        self._pipe = pipe
        self._sockets = sockets
        self._servers: dict[str, HttpServer | MllpServer] = {}
        self._stopping = asyncio.Event()
        self._impatient = asyncio.Event()
        self._patience = DRAIN_SECONDS
        self._asked: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Starts every listener. Raises OSError where a certificate or a socket cannot be used."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        await self.node.start()
        self._servers = {name: self._server(name) for name in self._sockets}
        for name, server in self._servers.items():
            await server.start(self._sockets[name])

    def _server(self, name: str) -> HttpServer | MllpServer:
        kind, _, feed = name.partition(".")
        return self.node.feed_server(feed) if kind == "feed" and feed else self.node.server(name)

    async def run(self) -> int:
        """Opens, answers the parent, and drains on SIGTERM or when the parent is gone. Returns the exit status."""
        try:
            await self.open()
        except TROUBLES as wrong:
            self._pipe.send({"error": str(wrong)})
            return 1
        # What is here by now stays: a full collection would walk all of it, and everybody would wait.
        gc.collect()
        gc.freeze()
        # The loop waits this long for each turn while transactions compute (default 5 ms): streams feel it.
        sys.setswitchinterval(0.001)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pipe.fileno(), self._hear)
        await self._stopping.wait()
        self.node.upkeep.stopping()
        drained = [server.drain(self._impatient, self._patience) for server in self._servers.values()]
        await asyncio.gather(*drained)
        loop.remove_reader(self._pipe.fileno())
        await self.node.close()
        return 0

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._impatient.set()
        self._stopping.set()

    def _hear(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            words: dict[str, Any] = self._pipe.recv()
        except (EOFError, OSError):
            loop.remove_reader(self._pipe.fileno())
            self._patience = ORPHAN_SECONDS
            self._stopping.set()
            return
        task = loop.create_task(self._answer(words))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _answer(self, words: dict[str, Any]) -> None:
        answer: dict[str, Any] = {}
        match words["do"]:
            case "policy":
                # Thousands of enrolled persons take seconds to read; streams go on meanwhile.
                texts: PolicyTexts = words["policy"]
                self.node.swap(await asyncio.to_thread(texts.load), texts.patients)
            case "status":
                answer = self._status()
        # A parent that is gone needs no answer; that it is gone is heard by itself.
        with suppress(OSError):
            self._pipe.send(answer)

    def _status(self) -> dict[str, Any]:
        return {
            "trouble": self.node.upkeep.trouble(),
            "generation": self.node.rules().generation,
            "connections": sum(server.connections for server in self._servers.values()),
        }
