"""Builds worlds on real databases through ITI-42, and the desks at which they are asked."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

from audit.event import Event
from bench.worlds import CHANGED, NOW, Step, World
from ihe import xml
from ihe.names import Action, ResponseStatus
from ihe.soap import Call, Packaging
from policy.facts import Channel, Peer, Subject
from registry.blocks import BlockBook
from registry.database.engine import Database, open_database
from registry.desk import Desk as RegistryDesk
from registry.migrations import migrate
from registry.queries.understanding import Across
from registry.register import register
from registry.store import Store
from repository_proxy.desk import Desk as ProxyDesk
from repository_proxy.repositories import Hospital, Routes
from repository_proxy.upstream import Upstream, open_upstreams
from simulators.folders import with_folders
from simulators.hospital import Document
from simulators.hospital import Hospital as Simulated
from simulators.people import SOURCES
from simulators.source import submission

HOME = "urn:oid:2.999.578"
PEER = Peer("bench", "127.0.0.1", "", "0" * 32)
REGISTERS = {each.key: (each.repository_unique_id,) for each in SOURCES} | {
    "gateway": tuple(each.repository_unique_id for each in SOURCES)
}
"""What each machine of a world registers for."""


@dataclass(frozen=True)
class Clock:
    """Stands still."""

    at: datetime = NOW
    simulated: bool = False

    def now(self) -> datetime:
        return self.at

    def wall(self) -> datetime:
        return self.at


class Unread:
    """A trail that nobody reads."""

    def record(self, event: Event) -> None:
        return


@dataclass
class Hospitals:
    """One simulated repository behind every hospital's name; lives on one event loop."""

    simulated: Simulated
    routes: Routes
    upstreams: dict[str, Upstream]
    documents: dict[tuple[str, str], Document]

    @classmethod
    async def open(cls) -> Hospitals:
        documents: dict[tuple[str, str], Document] = {}
        simulated = Simulated(documents)
        await simulated.start()
        routes = Routes(Hospital(each.key, (each.repository_unique_id,), simulated.url, "none") for each in SOURCES)
        return cls(simulated, routes, open_upstreams(routes), documents)

    async def close(self) -> None:
        for each in self.upstreams.values():
            await each.close()
        await self.simulated.close()

    def hold(self, world: World) -> None:
        """The papers of this world are there to be fetched, whoever may see them."""
        self.documents.clear()
        for step in world.steps:
            for each in step.papers:
                key = (each.source.repository_unique_id, each.unique_id)
                self.documents[key] = Document(each.mime_type, each.content)


@dataclass(frozen=True)
class Built:
    """A world on its database, ready to be asked."""

    world: World
    registry: RegistryDesk
    proxy: ProxyDesk
    peer: Peer = PEER
    path: Path = Path()


class Workshop:
    """Makes databases in a folder, each a copy of one that was migrated once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._blank = folder / "blank.db"
        self._numbers = itertools.count(1)
        database = open_database(f"sqlite:///{self._blank}", create=True)
        migrate(database)
        database.checkpoint()
        database.close()

    @contextmanager
    def reduced(self, built: Built, visible: frozenset[str]) -> Iterator[Built]:
        """A copy of a world's database in which nothing is but the objects with these entryUUIDs, and no block.

        A folder's last update is that of what is left in it.
        """
        path = self._folder / f"{next(self._numbers)}.db"
        original = sqlite3.connect(built.path)
        copy = sqlite3.connect(path)
        original.backup(copy)
        original.close()
        kept = ",".join(f"x'{UUID(each[9:]).hex}'" for each in visible) or "x''"
        of = "SELECT max(registered_at) FROM submission_set WHERE entry_uuid"
        joined = "SELECT a.submission_uuid FROM association a WHERE a.source = folder.entry_uuid AND a.type = 0"
        joined += f" AND a.entry_uuid IN ({kept})"
        latest = f"max(coalesce(({of} IN ({joined})), 0), coalesce(({of} = folder.submission_uuid), 0)) / 1000000"
        copy.execute(
            f"UPDATE folder SET last_update = CAST(strftime('%Y%m%d%H%M%S', {latest}, 'unixepoch') AS INTEGER)"
        )
        for table in ("document", "submission_set", "folder", "association", "object_dir", "uid_claim"):
            copy.execute(f"DELETE FROM {table} WHERE entry_uuid NOT IN ({kept}) AND entry_uuid != zeroblob(16)")
        copy.execute("DELETE FROM block")
        copy.commit()
        copy.close()
        database = open_database(f"sqlite:///{path}")
        try:
            desk = replace(built.registry, store=Store(database), blocks=BlockBook(database))
            yield replace(built, registry=desk, path=path)
        finally:
            database.close()
            for each in self._folder.glob(f"{path.name}*"):
                each.unlink()

    @contextmanager
    def built(self, world: World, hospitals: Hospitals) -> Iterator[Built]:
        """The world registered, merged and blocked; submissions that the registry refuses are left out of it."""
        path = self._folder / f"{next(self._numbers)}.db"
        shutil.copyfile(self._blank, path)
        database = open_database(f"sqlite:///{path}")
        try:
            store = Store(database)
            steps = tuple(step for step in world.steps if _registered(step, store, database))
            if world.merged:
                store.merge(CHANGED.patient_id, CHANGED.before().patient_id, "bench", NOW)
            for block in world.blocks:
                BlockBook(database).set_block(block, "bench", NOW)
            yield replace(_desks(replace(world, steps=steps), store, database, hospitals), path=path)
        finally:
            database.close()
            for each in self._folder.glob(f"{path.name}*"):
                each.unlink()


def _desks(world: World, store: Store, database: Database, hospitals: Hospitals) -> Built:
    registry = RegistryDesk(
        clock=Clock(),
        identify=lambda call, peer, now: world.subject,
        rules=lambda: world.policy,
        blocks=BlockBook(database),
        store=store,
        audit=Unread(),
        home=HOME,
        across=Across.ANY,
        registers=REGISTERS,
    )
    proxy = ProxyDesk(
        clock=Clock(),
        identify=lambda call, peer, now: world.subject,
        rules=lambda: world.policy,
        blocks=BlockBook(database),
        lookup=store,
        audit=Unread(),
        routes=hospitals.routes,
        upstreams=hospitals.upstreams,
        home=HOME,
        unique=lambda: "0" * 32,
    )
    return Built(world, registry, proxy)


def _registered(step: Step, store: Store, database: Database) -> bool:
    """Sends a step as its machine would; whether the registry took it."""
    source = step.papers[0].source
    replaces = {each.unique_id: old for each, old in zip(step.papers, step.replaces, strict=True) if old}
    sent = submission(step.papers, replaces=replaces, submitted=step.at)
    body = sent.body
    for each, uuid in zip(step.papers, step.entry_uuids, strict=True):
        body = body.replace(each.entry_uuid.encode(), uuid.encode())
    body = with_folders(replace(sent, body=body), step.papers[0].person, step.drawers, step.into).body
    sender = Subject(Channel.MACHINE, step.by, machine=step.by, may_register=(source.repository_unique_id,))
    desk = RegistryDesk(
        clock=Clock(step.at),
        identify=lambda call, peer, now: sender,
        rules=lambda: None,  # type: ignore[arg-type, return-value]  # ITI-42 reads no rules
        blocks=BlockBook(database),
        store=store,
        audit=Unread(),
        home=HOME,
    )
    call = Call(
        Action.REGISTER, xml.read(body), None, "urn:uuid:00000000-0000-4000-8000-000000000001", Packaging.SIMPLE
    )
    return ResponseStatus.SUCCESS.value.encode() in register(call, PEER, desk).body
