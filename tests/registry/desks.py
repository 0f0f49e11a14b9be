"""A desk for one transaction: the real store and blocks, a fixed clock, a caller of choice, a trail in a list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from audit.event import Event, RecordLost
from ihe import xml
from ihe.names import QUERY, RIM, Action, QueryId, Status
from ihe.soap import Call, Packaging, Reply
from policy.agreements import Policy
from policy.facts import Peer, Refusal, Subject
from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.desk import Desk
from registry.store import Store
from tests.policy.casebook import NOW, SYSTEM, pilot, pilot_texts, policy_of
from tests.registry.submissions import code

OUS = "2.999.578.1.1"
UNN = "2.999.578.3.1"
HOME = "urn:oid:2.999.578"
PEER = Peer("test", "127.0.0.1", "", "exchange-1")
LONG_AGO = NOW - timedelta(days=200)
SUMMARY = {"class_code": code("A00-1", SYSTEM), "type_code": code("A03-2", SYSTEM)}
DE = "$XDSDocumentEntry"


@dataclass(frozen=True)
class FixedClock:
    """Always the same time."""

    at: datetime = NOW
    simulated: bool = False

    def now(self) -> datetime:
        return self.at

    def wall(self) -> datetime:
        return self.at


@dataclass
class Trail:
    """Keeps every event; can be told to lose them."""

    events: list[Event] = field(default_factory=list)
    lost: bool = False

    def record(self, event: Event) -> None:
        if self.lost:
            raise RecordLost
        self.events.append(event)

    @property
    def last(self) -> Event:
        return self.events[-1]

    @property
    def reasons(self) -> list[str]:
        """What was decided last, object by object."""
        return [each.decision.reason.value for each in self.last.objects]


def desk_for(
    caller: Subject | Refusal, database: Database, trail: Trail, policy: Policy | None = None, **changes: object
) -> Desk:
    rules = policy or pilot()
    plain = Desk(
        clock=FixedClock(),
        identify=lambda call, peer, now: caller,
        rules=lambda: rules,
        blocks=BlockBook(database),
        store=Store(database),
        audit=trail,
        home=HOME,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def query_call(slots: Sequence[tuple[str, str]], query_id: str, returns: str = "LeafClass", home: str = "") -> Call:
    """An ITI-18 request; slot values are written as they are sent."""
    told = "".join(
        f'<r:Slot name="{name}"><r:ValueList><r:Value>{xml.escape_text(value)}</r:Value></r:ValueList></r:Slot>'
        for name, value in slots
    )
    where = f' home="{home}"' if home else ""
    raw = (
        f'<q:AdhocQueryRequest xmlns:q="{QUERY}" xmlns:r="{RIM}"><q:ResponseOption returnType="{returns}"'
        f' returnComposedObjects="true"/><r:AdhocQuery id="{query_id}"{where}>{told}</r:AdhocQuery>'
        "</q:AdhocQueryRequest>"
    )
    return Call(Action.QUERY, xml.read(raw.encode()), None, "urn:uuid:message", Packaging.SIMPLE)


def find_documents(patient_id: str, *more: tuple[str, str], returns: str = "LeafClass", home: str = "") -> Call:
    slots = [(f"{DE}PatientId", f"'{patient_id}'"), (f"{DE}Status", f"('{Status.APPROVED.value}')"), *more]
    return query_call(slots, QueryId.FIND_DOCUMENTS, returns, home)


def get_documents(*ids: str, by: str = "EntryUUID", returns: str = "LeafClass") -> Call:
    listed = ",".join(f"'{each}'" for each in ids)
    return query_call([(f"{DE}{by}", f"({listed})")], QueryId.GET_DOCUMENTS, returns)


def status_of(reply: Reply) -> str:
    return str(re.findall(r'status="[^"]*ResponseStatusType:(\w+)"', reply.body.decode())[0])


def errors_of(reply: Reply) -> list[tuple[str, str]]:
    """(errorCode, codeContext) of every RegistryError."""
    found = re.findall(r"<rs:RegistryError ([^>]*)/>", reply.body.decode())
    return [
        (re.findall(r'errorCode="([^"]*)"', each)[0], re.findall(r'codeContext="([^"]*)"', each)[0]) for each in found
    ]


def ids_of(reply: Reply) -> list[str]:
    """entryUUIDs of the objects in an answer."""
    return re.findall(r'<(?:ExtrinsicObject|ObjectRef)[^>]* id="([^"]*)"', reply.body.decode())


def machine_policy(signing: str = "any") -> Policy:
    """The pilot's, and one more agreement: every machine may see what it registered itself (agreement `own`)."""
    agreements = f"""
[agreement.verify]
channel = "machine"
sources = "own"
machines = "any"
kinds = "any"
valid_from = 2020-01-01T00:00:00+01:00
valid_to = "open"
availability = ["Approved", "Deprecated"]
signing = "{signing}"
max_age = "none"
precision = "day"
"""
    texts = pilot_texts()
    return policy_of(frozenset({**texts, "agreements.toml": texts["agreements.toml"] + agreements}.items()))
