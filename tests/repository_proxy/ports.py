"""Small real implementations of the ports a retrieve stands on, in memory, and the values tests are made of."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from audit.event import Ending, Event, Kind, RecordLost
from ihe.metadata import Coded
from ihe.names import Status
from policy.agreements import (
    Agreement,
    Defaults,
    Identifiers,
    Policy,
    RegionRule,
    SigningGate,
    SigningRule,
    Source,
)
from policy.blocks import Block
from policy.facts import BlocksUnavailable, Channel, DocumentKey, EntryFacts, Subject
from policy.numbers import NumberRules

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PATIENT = "15837510047^^^&2.16.578.1.12.4.1.4.1&ISO"
CODE = Coded("A01", "2.16.578.1.12.4.1.1.9602")


class Clock:
    """Stands still."""

    simulated = False

    def now(self) -> datetime:
        return NOW

    wall = now


class Trail:
    """Keeps what is recorded; can be told to lose the next event of a kind."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.losing: set[Kind] = set()
        self._changed = threading.Condition()

    def record(self, event: Event) -> None:
        if event.kind in self.losing:
            raise RecordLost("told to")
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def outcome(self) -> Event:
        """The last event, waiting for a release to be concluded."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self.events) and self.events[-1].kind is not Kind.RELEASING, 5)
            return self.events[-1]

    async def concluded(self) -> Event:
        """`outcome`, while the loop goes on."""
        return await asyncio.to_thread(self.outcome)

    @property
    def endings(self) -> list[Ending | None]:
        """How each document of the last event ended."""
        return [each.ending for each in self.outcome().objects]


class Book:
    """Blocks in memory."""

    def __init__(self) -> None:
        self.blocks: dict[str, tuple[Block, ...]] = {}
        self.number = 1
        self.readable = True

    def of(self, patient_ids: Iterable[str]) -> Mapping[str, tuple[Block, ...]]:
        if not self.readable:
            raise BlocksUnavailable
        return {patient: self.blocks.get(patient, ()) for patient in patient_ids}

    def sequence(self) -> int:
        if not self.readable:
            raise BlocksUnavailable
        return self.number

    def add(self, block: Block) -> None:
        """Sets a block: in force for every release that starts from now on."""
        self.blocks[block.patient_id] = (*self.blocks.get(block.patient_id, ()), block)
        self.number += 1


@dataclass(frozen=True)
class Known:
    """What the lookup answers."""

    families: Mapping[DocumentKey, tuple[EntryFacts, ...]]
    replaced_by: Mapping[str, tuple[tuple[EntryFacts, ...], ...]]
    decoys: Mapping[DocumentKey, EntryFacts]


class Entries:
    """The registry's side of the lookup, in memory."""

    def __init__(self, entries: Iterable[EntryFacts] = ()) -> None:
        self.families: dict[DocumentKey, tuple[EntryFacts, ...]] = {}
        self.replaced_by: dict[str, tuple[tuple[EntryFacts, ...], ...]] = {}
        self.asked = 0
        for entry in entries:
            self.families[entry.key] = (*self.families.get(entry.key, ()), entry)

    def __call__(self, asked: Sequence[DocumentKey], replacements: bool) -> Known:
        self.asked += len(asked)
        return Known({key: self.families.get(key, ()) for key in asked}, self.replaced_by if replacements else {}, {})

    def known_patient(self, patient_id: str) -> frozenset[str]:
        return frozenset({patient_id})


def entry(repository: str, unique_id: str, content: bytes, **more: Any) -> EntryFacts:
    """An entry that fits `content`."""
    facts = EntryFacts(
        entry_uuid=f"urn:uuid:{hashlib.md5(unique_id.encode()).hexdigest()}",
        lid=f"urn:uuid:{unique_id}",
        version=1,
        status=Status.APPROVED,
        unique_id=unique_id,
        repository_unique_id=repository,
        patient_id=PATIENT,
        mime_type="application/pdf",
        hash=hashlib.sha1(content).hexdigest(),
        size=len(content),
        class_code=CODE,
        type_code=CODE,
        confidentiality_codes=(),
        creation_time="20260301",
        registered_at=NOW - timedelta(days=1),
        registered_by="ous",
        signed_at=NOW - timedelta(days=1),
        withdrawn=False,
    )
    return facts._replace(**more)


def make_policy(repositories: Collection[str], version: str = "test 1") -> Policy:
    """One machine may read everything of one source."""
    source = Source(
        "ous", "OUS", "hso", "100", "100", tuple(repositories), "", SigningRule.LEGAL_AUTHENTICATOR, NOW - timedelta(9)
    )
    agreement = Agreement(
        agreement_id="all",
        channel=Channel.MACHINE,
        sources=frozenset({"ous"}),
        own=False,
        consumers=frozenset(),
        panels=frozenset(),
        machines=None,
        kinds=None,
        roles=frozenset(),
        purposes=frozenset(),
        region_rule=RegionRule.ANY,
        departments=None,
        valid_from=NOW - timedelta(9),
        valid_to=None,
        availability=frozenset({Status.APPROVED}),
        signing=SigningGate.ANY,
        max_age=None,
    )
    defaults = Defaults("4", frozenset(Channel), frozenset(), frozenset(), "", timedelta(60), timedelta(hours=1))
    return Policy(
        version=version,
        description="",
        defaults=defaults,
        identifiers=Identifiers(frozenset({"2.16.578.1.12.4.1.4.1"}), "", "", "", ""),
        numbers=NumberRules(),
        regions={},
        sources={"ous": source},
        consumers={},
        panels={},
        kinds={},
        agreements={"all": agreement},
        block_rules={},
    )


MACHINE = Subject(Channel.MACHINE, "reader", machine="reader")
