"""What a worker does beside answering: it looks whether it still can, and keeps what it stands on small."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from registry.database.engine import StoreTrouble

log = structlog.get_logger()

LOOK_SECONDS = 1.0
BLIND_SECONDS = 5.0
"""A look that has not come back for so long is an answer too."""
JUMP = timedelta(seconds=2)
BLIND = "the registry's database or the audit folder does not answer"
STOPPING = "the node is stopping"


@dataclass(frozen=True, slots=True)
class Chore:
    """Something done every `seconds` on a thread of its own. It may raise StoreTrouble, and is then done next time."""

    name: str
    seconds: float
    work: Callable[[], object]


class Upkeep:
    """Started and stopped on the worker's loop."""

    def __init__(self, look: Callable[[], str], wall: Callable[[], datetime], chores: Iterable[Chore]) -> None:
        """`look` is empty while the node can answer, else one sentence; it may wait for a disk or a database."""
        self._look = look
        self._wall = wall
        self._chores = tuple(chores)
        self._sentence = BLIND
        self._looked = float("-inf")
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Looks once, then goes on by itself."""
        await self._look_once()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._looking()),
            *(loop.create_task(self._doing(each)) for each in self._chores),
        ]

    def trouble(self) -> str:
        """Why the node cannot answer, or empty. Costs nothing: whoever asks for the health page waits for no disk."""
        if self._stopping:
            return STOPPING
        if asyncio.get_running_loop().time() - self._looked > BLIND_SECONDS:
            return BLIND
        return self._sentence

    def stopping(self) -> None:
        """From now on the node is not ready."""
        self._stopping = True

    def close(self) -> None:
        """Ends all of it."""
        for task in self._tasks:
            task.cancel()

    async def _looking(self) -> None:
        loop = asyncio.get_running_loop()
        wall, steady = self._wall(), loop.time()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look_once()
            jump = self._wall() - wall - timedelta(seconds=loop.time() - steady)
            if abs(jump) > JUMP:
                log.warning("the machine's clock was set", seconds=jump.total_seconds())
                wall, steady = self._wall(), loop.time()

    async def _look_once(self) -> None:
        sentence = await asyncio.to_thread(self._look)
        if sentence != self._sentence:
            log.log(30 if sentence else 20, "not ready" if sentence else "can answer", trouble=sentence)
        self._sentence, self._looked = sentence, asyncio.get_running_loop().time()

    async def _doing(self, chore: Chore) -> None:
        while True:
            await asyncio.sleep(chore.seconds)
            try:
                await asyncio.to_thread(chore.work)
            except StoreTrouble as trouble:
                log.warning("put off", what=chore.name, error=str(trouble))
