"""Both endpoints of a node in this process, on a real registry: what a hostile message meets behind the edge."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from audit.spool import Spool
from bench.filling import Pattern
from bench.place import ANNE, FEED, ISSUER, OUS, REGISTRY, REPOSITORY
from bench.registries import HOME, Hospitals
from bench.seeds import CONTENT, DOCUMENT, PATIENT, Seed
from bench.worlds import pilot
from ihe.names import Action, Status
from ihe.retrieval import DocumentRequest
from ihe.signature import VerifyKey
from ihe.soap import Reply
from policy.agreements import Policy, SigningGate
from policy.facts import Channel, Decision, DocumentKey, Peer, Reason
from policy.subject import IssuerProfile
from registry.bindings import Bindings
from registry.blocks import BlockBook
from registry.database.engine import open_database
from registry.desk import Desk as RegistryDesk
from registry.feed import FeedDesk, feed
from registry.migrations import migrate
from registry.people.book import PatientBook
from registry.queries.understanding import Across
from registry.query import answer_query
from registry.register import register
from registry.remove import remove
from registry.store import Store
from registry.update import update
from repository_proxy.desk import Desk as ProxyDesk
from repository_proxy.plan import Fetch, route
from repository_proxy.retrieve import Release, prepare, send
from server.clock import RealClock
from server.identity import Gatekeeper, IssuerTrust, MachineIdentity
from server.pool import Pool
from server.soap import SoapServer
from simulators.hospital import Document
from simulators.sts import AUDIENCE, Need, TokenService, new_key

MACHINE = "c0" * 32
UNIQUE_IDS = (DOCUMENT, f"{DOCUMENT}1", f"{DOCUMENT}2")


class Operations:
    """`answered` is what the edge does with a message: one thread of the pool decides, the loop streams."""

    def __init__(self, folder: Path, loop: asyncio.Runner) -> None:
        self._loop = loop
        self._key = new_key("bench token service", datetime.now(UTC) - timedelta(days=1))
        self._database = open_database(f"sqlite:///{folder / 'registry.db'}", create=True)
        migrate(self._database)
        self._store = Store(self._database)
        self._audit = Spool(folder / "audit", "hostile", clock=RealClock(), reserve=1)
        self._hospitals = loop.run(Hospitals.open())
        self._pool = Pool(1)
        self._furnish()
        self._servers = self._endpoints()

    def token(self) -> bytes:
        """A doctor's valid token."""
        service = TokenService(ISSUER, self._key)
        return service.clinician(ANNE, PATIENT.number, datetime.now(UTC) - timedelta(seconds=1), Need())

    def answered(self, seed: Seed, machine: bool) -> Reply:
        """The whole answer to a message, from a machine or from somebody who needs a token."""
        peer = Peer("bench", "127.0.0.1", MACHINE if machine else "", "c" * 32)
        answer = self._pool.submit(self._servers[seed.path].answer, seed.raw, seed.content_type, peer).result()
        return self._loop.run(_streamed(answer)) if isinstance(answer, Release) else answer

    def fetches(self) -> list[Fetch]:
        """What a hospital was asked for: three documents that are registered."""
        requests = [DocumentRequest("", OUS.repository_unique_id, each) for each in UNIQUE_IDS]
        keys = [DocumentKey(OUS.repository_unique_id, each) for each in UNIQUE_IDS]
        permit = Decision(permit=True, reason=Reason.OK)
        return [
            Fetch(asked, asked.route.hospital, entries[0], permit)
            for asked, entries in zip(
                route(requests, self._hospitals.routes), self._store.lookup(keys).values(), strict=True
            )
            if asked.route is not None
        ]

    def close(self) -> None:
        """Stops everything."""
        self._pool.shutdown()
        self._loop.run(self._hospitals.close())
        self._database.close()
        self._audit.close()

    def _furnish(self) -> None:
        pattern, digest = Pattern(), hashlib.sha1(CONTENT, usedforsecurity=False).hexdigest()
        entries = [pattern.entry(PATIENT, each, digest, len(CONTENT)) for each in UNIQUE_IDS]
        self._store.register(pattern.submission(PATIENT, entries), "ous", datetime.now(UTC))
        for each in UNIQUE_IDS:
            self._hospitals.documents[OUS.repository_unique_id, each] = Document("text/plain", CONTENT)

    def _endpoints(self) -> dict[str, SoapServer]:
        rules, blocks, clock = _policy(), BlockBook(self._database), RealClock()
        profile = IssuerProfile(ISSUER, Channel.CLINICIAN, "2.1", frozenset({AUDIENCE}))
        mine = (OUS.repository_unique_id,)
        identify = Gatekeeper(
            {ISSUER: IssuerTrust(profile, (VerifyKey(self._key.certificate),))},
            [MachineIdentity("kit", frozenset({MACHINE}), mine, may_update=mine, may_remove=mine, may_feed=True)],
            {},
            lambda: rules,
            Bindings(self._database),
        )
        registry = RegistryDesk(
            clock=clock,
            identify=identify,
            rules=lambda: rules,
            blocks=blocks,
            store=self._store,
            audit=self._audit,
            home=HOME,
            across=Across.ANY,
            registers={"kit": mine},
        )
        proxy = ProxyDesk(
            clock=clock,
            identify=identify,
            rules=lambda: rules,
            blocks=blocks,
            lookup=self._store,
            audit=self._audit,
            routes=self._hospitals.routes,
            upstreams=self._hospitals.upstreams,
            home=HOME,
        )
        transactions = {
            Action.QUERY: answer_query,
            Action.MULTI_PATIENT_QUERY: answer_query,
            Action.REGISTER: register,
            Action.REGISTER_ON_DEMAND: register,
            Action.UPDATE: update,
            Action.RESTRICTED_UPDATE: update,
            Action.REMOVE: remove,
        }
        feeds = FeedDesk(clock, identify, lambda: rules, self._audit, PatientBook(self._database))
        fed = (Action.FEED_ADD, Action.FEED_REVISE, Action.FEED_MERGE)
        return {
            REGISTRY: SoapServer({action: partial(done, desk=registry) for action, done in transactions.items()}),
            REPOSITORY: SoapServer({Action.RETRIEVE: partial(prepare, desk=proxy)}),
            FEED: SoapServer({action: partial(feed, desk=feeds) for action in fed}),
        }


def _policy() -> Policy:
    """The pilot's, and one machine that reads everything: a hostile message is to get as far as it can."""
    plain = pilot()
    everything = replace(
        plain.agreements["ous-regional"],
        agreement_id="kit",
        channel=Channel.MACHINE,
        consumers=frozenset(),
        machines=frozenset({"kit"}),
        kinds=None,
        roles=frozenset(),
        purposes=frozenset(),
        availability=frozenset(Status),
        multi_patient=True,
        signing=SigningGate.ANY,
    )
    return replace(plain, agreements={**plain.agreements, "kit": everything})


async def _streamed(release: Release) -> Reply:
    chunks: list[bytes] = []

    async def write(chunk: bytes) -> None:
        chunks.append(chunk)

    await send(release, write)
    return Reply(200, release.answer.content_type, b"".join(chunks))
