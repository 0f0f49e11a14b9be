"""The composition root: builds everything one worker stands on, and nothing else does.

Read it to see which implementation fills which port of which desk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from audit.spool import Spool
from ihe.hl7v2 import CHARSETS
from ihe.names import Action
from ihe.signature import VerifyKey
from policy.agreements import Policy
from policy.facts import BlocksUnavailable, Peer
from policy.subject import IssuerProfile
from registry import migrations, recovery
from registry.bindings import Bindings
from registry.blocks import BlockBook
from registry.database.engine import open_database
from registry.desk import Desk as RegistryDesk
from registry.feed import Domain, FeedDesk, feed, take_message
from registry.people.book import PatientBook
from registry.people.identities import Admission
from registry.queries.understanding import Across
from registry.query import answer_query
from registry.register import register
from registry.remove import remove
from registry.store import Store
from registry.update import update
from repository_proxy.desk import Desk as ProxyDesk
from repository_proxy.desk import Limits as RetrieveLimits
from repository_proxy.repositories import Deadlines, Hospital, Routes
from repository_proxy.retrieve import prepare
from repository_proxy.upstream import Upstream, open_upstreams
from server import certificates, config, retention
from server.clock import ClockUnreadable, open_clock
from server.config import MIB, Config
from server.gate import Gate, Limits
from server.identity import Gatekeeper, IssuerTrust, MachineIdentity
from server.mllp import Limits as FeedLimits
from server.mllp import MllpServer
from server.pages import FEED, REGISTRY, REPOSITORY, pages
from server.pool import Pool
from server.soap import SoapServer
from server.strictness import strictness_of
from server.transport import HttpServer, tls_context
from server.upkeep import Chore, Upkeep

POOL_THREADS = 4
"""Synchronous transactions at a time per worker: more threads on one interpreter wait for each other (measured)."""


class RulesInForce:
    """The policy in force in this worker; swapped whole."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __call__(self) -> Policy:
        """See policy.facts.Rules."""
        return self._policy

    def swap(self, policy: Policy) -> None:
        """Decisions that begin from now on follow `policy`; running ones notice that it is another object."""
        self._policy = policy


class Node:
    """Everything one worker has. Built before it listens; `start` and `close` run on its event loop."""

    def __init__(
        self, settings: Config, number: int, policy: Policy, patients: frozenset[str] | None = None, trail: str = ""
    ) -> None:
        """`patients` is the list of `[patients] known`, if there is one; `trail` the name in the audit trail of what is
        no worker.

        Raises DatabaseMissing, StoreTrouble, RecordLost, CodesRefused, OSError: each with a sentence.
        """
        with ExitStack() as opened:
            self._build(settings, number, policy, patients, trail, opened)
            opened.pop_all()  # all of it stands; from now on close() lets it go

    def _build(
        self,
        settings: Config,
        number: int,
        policy: Policy,
        patients: frozenset[str] | None,
        trail: str,
        opened: ExitStack,
    ) -> None:
        """The parts in the order in which they need each other; `opened` closes them if a later one cannot be had."""
        self.config = settings
        self.rules = RulesInForce(policy)
        self.database = open_database(settings.database_url)
        opened.callback(self.database.close)
        migrations.check(self.database)
        self.clock = open_clock(settings)
        self.audit = Spool(
            settings.audit_folder,
            trail or f"worker-{number}",
            clock=self.clock,
            reserve=settings.audit.reserve_mib * MIB,
        )
        opened.callback(self.audit.close)
        recovery.settle(self.audit.unsettled, self.database, self.audit, self.clock)
        self.bindings = Bindings(self.database)
        self.identify = Gatekeeper(
            {issuer.entity_id: _trust(issuer) for issuer in settings.issuer.values()},
            [machine(name, identity) for name, identity in settings.identity.items()],
            {name: each.machine_identity for name, each in settings.listener.items() if each.machine_identity},
            self.rules,
            self.bindings,
        )
        self.blocks = BlockBook(self.database)
        self.store = Store(self.database)
        self.store.admission = self._admission(patients)
        self.strictness = strictness_of(settings.validation)
        self.routes = Routes(_hospital(name, hospital) for name, hospital in settings.hospital.items())
        self.upkeep = Upkeep(self._look, self.clock.wall, self._chores() if number == 1 else ())
        self._pool = Pool(POOL_THREADS)
        self._upstreams: Mapping[str, Upstream] = {}
        self._soap: dict[str, SoapServer] = {}

    async def start(self) -> None:
        """Opens what belongs to the event loop."""
        self._upstreams = open_upstreams(self.routes)
        self._soap = self._endpoints()
        await self.upkeep.start()

    def gate(self, listener: str, limits: Limits | None = None) -> Gate:
        """The application behind one listener, with limits of one's own where those of the configuration do not fit."""
        settings = self.config.listener[listener]
        configured = Limits(
            max_request=settings.max_request,
            max_exchanges=settings.max_exchanges,
            max_connections=settings.max_connections,
            write_seconds=self.config.retrieve.caller_stall_seconds,
        )
        return Gate(listener, self._soap, pages(settings.url, self.upkeep.trouble), self._pool, limits or configured)

    def server(self, listener: str, limits: Limits | None = None) -> HttpServer:
        """The HTTP server of one listener; TLS unless it speaks plain HTTP on loopback."""
        settings = self.config.listener[listener]
        context = None
        if settings.certificate is not None and settings.key is not None and settings.client_ca is not None:
            context = tls_context(settings.certificate, settings.key, settings.client_ca)
        return HttpServer(self.gate(listener, limits), context, self.clock.wall)

    def feed_server(self, name: str) -> MllpServer:
        """The MLLP server of one feed; TLS unless it is on loopback without."""
        settings = self.config.feed[name]
        sender = machine(settings.identity, self.config.identity[settings.identity])
        subject, charset, desk = sender.subject(), CHARSETS[settings.charset], self._feed_desk()

        def take(raw: bytes, peer: Peer) -> bytes:
            known = not settings.tls or peer.certificate in sender.certificates
            return take_message(raw, charset, subject if known else None, peer, desk)

        context = None
        if settings.certificate is not None and settings.key is not None and settings.client_ca is not None:
            context = tls_context(settings.certificate, settings.key, settings.client_ca)
        limits = FeedLimits(settings.max_message, settings.max_connections, settings.idle_seconds)
        return MllpServer(f"feed.{name}", take, limits, self._pool, context)

    def swap(self, policy: Policy, patients: frozenset[str] | None = None) -> None:
        """Puts a policy, and the list of known patients that was read with it, in force in this worker."""
        self.store.admission = self._admission(patients)
        self.rules.swap(policy)
        # After the swap: what is being verified by the old rules just now is not kept either.
        self.identify.flush()

    async def close(self) -> None:
        """Lets everything go, the audit trail last."""
        self.upkeep.close()
        for upstream in self._upstreams.values():
            await upstream.close()
        await asyncio.to_thread(self._pool.shutdown)
        self.database.close()
        self.audit.close()

    def _admission(self, listed: frozenset[str] | None) -> Admission:
        section = self.config.patients
        # A list that was not handed over lets nobody in.
        return Admission(section.known == "any", listed if section.file is None else listed or frozenset())

    def _feed_desk(self) -> FeedDesk:
        section = self.config.patients
        domain = Domain(frozenset(section.authorities), section.namespaces)
        return FeedDesk(self.clock, self.identify, self.rules, self.audit, PatientBook(self.database), domain)

    def _look(self) -> str:
        try:
            self.blocks.sequence()
            self.clock.now()
        except BlocksUnavailable:
            return "the registry's database does not answer"
        except ClockUnreadable as unreadable:
            return str(unreadable)
        return self.audit.trouble()

    def _chores(self) -> Iterator[Chore]:
        yield Chore("bindings", 600.0, lambda: self.bindings.forget(self.clock.now()))
        if self.database.sqlite:
            yield Chore("checkpoint", 60.0, self.database.checkpoint)
        if retention.configured(self.config):
            work = partial(retention.chore, self.config, self.database, self.audit, self.clock)
            yield Chore("retention", retention.LOOK_SECONDS, work)

    def registry_desk(self) -> RegistryDesk:
        """The ports of everything that reads or writes metadata."""
        return RegistryDesk(
            clock=self.clock,
            identify=self.identify,
            rules=self.rules,
            blocks=self.blocks,
            store=self.store,
            audit=self.audit,
            home=self.config.node.home_community_id,
            unknown_patient_is_error=self.config.query.unknown_patient_is_error,
            max_results=self.config.query.max_results,
            across=self.config.query.multi_patient,
            registers={name: each.may_register for name, each in self.config.identity.items()},
            strictness=self.strictness,
        )

    def _endpoints(self) -> dict[str, SoapServer]:
        registry = self.registry_desk()
        proxy = ProxyDesk(
            clock=self.clock,
            identify=self.identify,
            rules=self.rules,
            blocks=self.blocks,
            glance=self.blocks.glance,
            lookup=self.store,
            audit=self.audit,
            routes=self.routes,
            upstreams=self._upstreams,
            home=self.config.node.home_community_id,
            limits=RetrieveLimits(
                gather=self.config.retrieve.overall_root_seconds,
                caller=self.config.retrieve.caller_stall_seconds,
                read_ahead=self.config.retrieve.read_ahead_kib * 1024,
            ),
        )
        queries = [Action.QUERY]
        if registry.across is not Across.OFF:
            queries.append(Action.MULTI_PATIENT_QUERY)
        return {
            REGISTRY: SoapServer(
                {
                    **dict.fromkeys(queries, partial(answer_query, desk=registry)),
                    Action.REGISTER: partial(register, desk=registry),
                    Action.REGISTER_ON_DEMAND: partial(register, desk=registry),
                    Action.UPDATE: partial(update, desk=registry),
                    Action.RESTRICTED_UPDATE: partial(update, desk=registry),
                    Action.REMOVE: partial(remove, desk=registry),
                }
            ),
            FEED: SoapServer(
                dict.fromkeys(
                    (Action.FEED_ADD, Action.FEED_REVISE, Action.FEED_MERGE), partial(feed, desk=self._feed_desk())
                )
            ),
            REPOSITORY: SoapServer({Action.RETRIEVE: partial(prepare, desk=proxy)}),
        }


def _trust(issuer: config.Issuer) -> IssuerTrust:
    profile = IssuerProfile(
        entity_id=issuer.entity_id,
        channel=issuer.channel,
        token_profile=issuer.profile,
        audiences=frozenset(issuer.audiences),
    )
    return IssuerTrust(profile, tuple(VerifyKey(path.read_bytes()) for path in issuer.certificates))


def machine(name: str, identity: config.Identity) -> MachineIdentity:
    """The machine of this section. Raises CertificateTrouble."""
    return MachineIdentity(
        name,
        certificates.fingerprints(identity.certificates),
        may_register=identity.may_register,
        may_update=identity.may_update,
        may_remove=identity.may_remove,
        may_feed=identity.may_feed,
        organisation=identity.organisation,
    )


def _hospital(name: str, hospital: config.Hospital) -> Hospital:
    return Hospital(
        name=name,
        repository_unique_ids=hospital.repository_unique_ids,
        url=hospital.url,
        assertion=hospital.assertion,
        audience=hospital.audience,
        ca=hospital.ca,
        certificate=hospital.certificate,
        key=hospital.key,
        one_document_per_request=hospital.one_document_per_request,
        limit=hospital.max_parallel,
        switched_off=hospital.switched_off,
        deadlines=Deadlines(connect=hospital.connect_seconds, root=hospital.head_seconds, idle=hospital.idle_seconds),
    )
