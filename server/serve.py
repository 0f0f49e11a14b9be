"""A running node: one parent that serves nothing and workers that serve everything.

The parent binds the sockets, reads the policy and gives it out under a generation, restarts workers that die, and
listens on the control socket (unix, 0600) of the state folder. Workers answer callers (server/worker.py).
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog

from server.config import Config
from server.policies import PolicyTexts, read_policy

log = structlog.get_logger()

START_SECONDS = 30.0
ANSWER_SECONDS = 10.0
"""For a worker to confirm a policy. One that does not is replaced: no two policies are in force for longer."""
RESTART_SECONDS = 1.0
"""A worker that dies at once must not make the parent spin."""
STOP_SECONDS = 25.0
"""For a worker to drain and record what it cut (server/worker.py, server/transport.py); then it is killed."""
BACKLOG = 2048


class StartFailed(Exception):
    """The node did not start, or is not there; `str()` is the sentence for the operator."""


def run(config: Config) -> None:
    """Serves until SIGTERM or SIGINT. The configuration has passed server.check.examine.

    Raises StartFailed with one sentence, or a line for each mistake that a policy got since it was examined.
    """
    asyncio.run(_Parent(config).run())


def control_path(config: Config) -> Path:
    """Where the running node takes commands."""
    return config.node.state / "control.sock"


def command(config: Config, words: dict[str, Any]) -> dict[str, Any]:
    """Sends one command to the running node and returns its answer. Raises StartFailed if none is running."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(START_SECONDS)
        try:
            channel.connect(str(control_path(config)))
        except OSError:
            raise StartFailed(f"no node is running on {control_path(config)}") from None
        channel.sendall(json.dumps(words).encode() + b"\n")
        answer: dict[str, Any] = json.loads(channel.makefile().readline() or '{"error": "the node closed the channel"}')
        return answer


def _hatch(
    config: Config, number: int, sockets: Mapping[str, socket.socket], policy: PolicyTexts, pipe: Connection
) -> None:
    # Imported in the worker alone: the parent needs nothing of what answers callers, and starts sooner without it.
    from server.worker import main

    main(config, number, sockets, policy, pipe)


class _Member:
    """One worker process and the pipe to it."""

    def __init__(self, config: Config, number: int, sockets: dict[str, socket.socket], policy: PolicyTexts) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self.number = number
        self.pipe: Connection = ours
        self.process = context.Process(
            target=_hatch, args=(config, number, sockets, policy, theirs), name=f"innsyn-{number}"
        )
        self.process.start()
        theirs.close()
        self.ready = False
        self._turn = asyncio.Lock()
        """A pipe carries one question at a time."""

    async def ask(self, words: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Sends a command down the pipe and waits for the answer; a worker that is gone answers with an error."""
        async with self._turn:
            try:
                # A pipe may take no more from us, too: the parent must still hear signals then.
                return await asyncio.wait_for(asyncio.to_thread(self._exchange, words, seconds), seconds + 1)
            except TimeoutError:
                return {"error": f"worker {self.number} is silent"}
            except (OSError, EOFError):
                return {"error": f"worker {self.number} is gone"}

    def _exchange(self, words: dict[str, Any], seconds: float) -> dict[str, Any]:
        self.pipe.send(words)
        if not self.pipe.poll(seconds):
            raise TimeoutError
        answer: dict[str, Any] = self.pipe.recv()
        return answer

    async def ended(self) -> None:
        """Returns when the process has ended."""
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.process.sentinel, end.set)
        try:
            await end.wait()
        finally:
            loop.remove_reader(self.process.sentinel)
        # Its pipes close a moment before there is an exit status to fetch.
        await asyncio.to_thread(self.process.join, 1.0)


class _Parent:
    def __init__(self, config: Config) -> None:
        self.config = config
        policy, mistakes = read_policy(config, 1)
        if policy is None:
            raise StartFailed("\n".join(map(str, mistakes)))
        self.policy = policy
        self.sockets: dict[str, socket.socket] = {}
        self.members: dict[int, _Member] = {}
        self.keeping: list[asyncio.Task[None]] = []
        self.reloading: set[asyncio.Task[Any]] = set()
        self.stopping = asyncio.Event()
        self.turn = asyncio.Lock()
        """One reload at a time."""
        self.stale: tuple[str, ...] = ()
        """Why the files of the policy folder are not in force, if they are not."""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        control = await self._listen()
        try:
            # No name of a listener has a dot in it.
            addresses = {name: listener.bind for name, listener in self.config.listener.items()}
            addresses |= {f"feed.{name}": feed.bind for name, feed in self.config.feed.items()}
            self.sockets = {name: bind(address) for name, address in addresses.items()}
            await self._start_all()
            if not self.stopping.is_set():
                log.info("ready", listeners=addresses)
            await self.stopping.wait()
        finally:
            if not self.stopping.is_set():
                self._stop()
            await self._end()
            control.close()
            control_path(self.config).unlink(missing_ok=True)

    # Workers ----------------------------------------------------------------------------------------------------------

    async def _start_all(self) -> None:
        """Starts every worker at the same time. Raises StartFailed with the first reason."""
        numbers = range(1, self.config.node.workers + 1)
        errors = await asyncio.gather(*(self._start(number) for number in numbers))
        if any(errors) and not self.stopping.is_set():
            raise StartFailed(next(filter(None, errors)))
        self.keeping = [asyncio.create_task(self._keep(number)) for number in numbers]

    async def _start(self, number: int) -> str:
        """Starts one worker and returns when it serves: empty, or why it does not."""
        try:
            member = self.members[number] = _Member(self.config, number, self.sockets, self.policy)
        except OSError as problem:
            return f"worker {number} did not start: {problem.strerror}"
        answer = await member.ask({"do": "ready"}, START_SECONDS)
        if "error" not in answer:
            member.ready = True
            return ""
        member.process.kill()
        return f"worker {number} did not start: {answer['error']}"

    async def _keep(self, number: int) -> None:
        """Replaces a worker whenever it dies. The others go on; so does the node if the new one dies as well."""
        while True:
            await self.members[number].ended()
            if self.stopping.is_set():
                return
            log.error("worker died", number=number, exit=self.members[number].process.exitcode)
            error = await self._start(number)
            if error:
                log.error("worker not restarted", number=number, error=error)
                await asyncio.sleep(RESTART_SECONDS)
            else:
                log.info("worker restarted", number=number)

    def _stop(self) -> None:
        """Nobody is accepted any more; what runs may end. A second signal makes the workers cut what still runs."""
        self.stopping.set()
        for listening in self.sockets.values():
            listening.close()
        for member in self.members.values():
            if member.process.is_alive():
                member.process.terminate()

    async def _end(self) -> None:
        for task in self.keeping:
            task.cancel()
        ends = [asyncio.create_task(member.ended()) for member in self.members.values() if member.process.is_alive()]
        if ends:
            await asyncio.wait(ends, timeout=STOP_SECONDS)
        for member in self.members.values():
            if member.process.is_alive():
                log.error("worker killed", number=member.number)
                member.process.kill()
        log.info("stopped")

    # Policy -----------------------------------------------------------------------------------------------------------

    def _reload_soon(self) -> None:
        task = asyncio.get_running_loop().create_task(self.reload())
        self.reloading.add(task)
        task.add_done_callback(self.reloading.discard)

    async def reload(self) -> dict[str, Any]:
        """Reads the policy folder and puts it in force in every worker under the next generation; all or nothing."""
        async with self.turn:
            policy, mistakes = await asyncio.to_thread(read_policy, self.config, self.policy.generation + 1)
            self.stale = tuple(map(str, mistakes))
            for each in mistakes:
                log.error("policy not reloaded", path=each.path, sentence=each.sentence)
            if policy is None:
                return {"error": "the policy in force stays:\n" + "\n".join(self.stale)}
            # From here on a worker that starts gets it too.
            self.policy = policy
            await asyncio.gather(*(self._give(member) for member in self.members.values()))
            log.info("policy reloaded", version=policy.version, generation=policy.generation)
            return {"version": policy.version, "generation": policy.generation}

    async def _give(self, member: _Member) -> None:
        answer = await member.ask({"do": "policy", "policy": self.policy}, ANSWER_SECONDS)
        if "error" in answer:
            # It would decide by the old policy. Its successor starts with the new one.
            log.error("worker replaced", number=member.number, error=answer["error"])
            member.process.kill()

    # Commands ---------------------------------------------------------------------------------------------------------

    async def _listen(self) -> asyncio.Server:
        path = control_path(self.config)
        if _answers(path):
            raise StartFailed(f"a node is running on {path} already")
        path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(self._control, path=str(path))
        except OSError as problem:
            raise StartFailed(f"cannot listen on {path}: {problem.strerror or problem}") from None
        finally:
            os.umask(mask)

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await self._obey(await reader.readline())
            writer.write(json.dumps(answer).encode() + b"\n")
            with suppress(ConnectionError):
                await writer.drain()
        finally:
            writer.close()

    async def _obey(self, line: bytes) -> dict[str, Any]:
        try:
            words = json.loads(line)
        except ValueError:
            words = None
        match words:
            case {"do": "reload"}:
                return await self.reload()
            case {"do": "status"}:
                return await self._status()
            case _:
                return {"error": "the node knows: reload, status"}

    async def _status(self) -> dict[str, Any]:
        members = tuple(self.members.values())
        answers = await asyncio.gather(*(_state(member) for member in members))
        return {
            "pid": os.getpid(),
            "version": self.policy.version,
            "generation": self.policy.generation,
            "stale": self.stale,
            "workers": [
                {"number": member.number, "pid": member.process.pid, **answer}
                for member, answer in zip(members, answers, strict=True)
            ],
        }


async def _state(member: _Member) -> dict[str, Any]:
    return await member.ask({"do": "status"}, ANSWER_SECONDS) if member.ready else {"trouble": "is starting"}


def bind(address: str) -> socket.socket:
    """A socket that listens on ADDRESS:PORT. Raises StartFailed with one sentence."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host.strip("[]"), int(port)))
        listening.listen(BACKLOG)
    except OSError as taken:
        listening.close()
        raise StartFailed(f"cannot listen on {address}: {taken.strerror}") from None
    return listening


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        try:
            channel.connect(str(path))
        except OSError:
            return False
    return True
