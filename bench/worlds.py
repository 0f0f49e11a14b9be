"""Small registries made by chance, always the same for the same seed: who asks, what is registered, what is blocked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from bench.place import PILOT
from ihe.names import Status
from policy.agreements import Agreement, Policy, RegionRule, SigningGate
from policy.blocks import Block, BlockKind, Setter
from policy.facts import Basis, Channel, Subject
from policy.reading import read
from simulators.folders import Drawer
from simulators.papers import KINDS, Paper, paper
from simulators.papers import PILOT as SHARED_KINDS
from simulators.people import PEOPLE, SOURCES, Person
from simulators.personae import READERS
from simulators.sts import SCOPE

NOW = datetime(2021, 2, 15, 9, tzinfo=UTC)
REGISTERED = datetime(2020, 6, 1, tzinfo=UTC)
ASKED, OTHER = PEOPLE[0], PEOPLE[1]
CHANGED = next(each for each in PEOPLE if each.former_number)
"""Came with a D-number and got another: one person under two identifiers."""
MACHINES = ("ous", "unn", "gateway")


@dataclass(frozen=True)
class Step:
    """One submission: papers of one person from one hospital, sent by a machine."""

    papers: tuple[Paper, ...]
    entry_uuids: tuple[str, ...]
    """Under which each is registered: the same paper may come twice."""
    replaces: tuple[str, ...]
    """entryUUID that each replaces, or empty."""
    by: str
    at: datetime
    drawers: tuple[Drawer, ...] = ()
    """Folders that come with it."""
    into: tuple[tuple[str, str], ...] = ()
    """Memberships that come with it: (folder, entry), by entryUUID."""


@dataclass(frozen=True)
class World:
    """Everything an answer can depend on."""

    seed: int
    subject: Subject
    policy: Policy
    steps: tuple[Step, ...]
    merged: bool
    """Whether the two identifiers of CHANGED are known to be one person."""
    blocks: tuple[Block, ...]

    @property
    def people(self) -> tuple[Person, ...]:
        """Whoever has documents here."""
        return tuple(dict.fromkeys(step.papers[0].person for step in self.steps))

    def only(self, visible: frozenset[str]) -> World:
        """The world in which nothing was ever registered or blocked but these entries; what they replaced is gone."""
        steps = []
        for step in self.steps:
            kept = [place for place, each in enumerate(step.entry_uuids) if each in visible]
            if kept:
                old = [step.replaces[place] if step.replaces[place] in visible else "" for place in kept]
                papers = tuple(step.papers[place] for place in kept)
                uuids = tuple(step.entry_uuids[place] for place in kept)
                steps.append(replace(step, papers=papers, entry_uuids=uuids, replaces=tuple(old)))
        return replace(self, steps=tuple(steps), blocks=())


@cache
def pilot() -> Policy:
    """The policy of the pilot."""
    return read({str(path.relative_to(PILOT)): path.read_text() for path in sorted(PILOT.rglob("*.toml"))})


def world(seed: int) -> World:
    """The world of this seed."""
    dice = random.Random(seed)
    patient = dice.choice([ASKED, ASKED, CHANGED, CHANGED.before()])
    steps = _steps(dice, patient)
    return World(
        seed=seed,
        subject=_subject(dice, patient),
        policy=_policy(dice),
        steps=steps,
        merged=dice.random() < 0.8,
        blocks=tuple(_blocks(dice, patient, steps)),
    )


# What is registered --------------------------------------------------------------------------------------------------


def _steps(dice: random.Random, patient: Person) -> tuple[Step, ...]:
    steps: list[Step] = []
    for number in range(dice.randint(2, 7)):
        at = REGISTERED + timedelta(days=number)
        earlier = [(step, place) for step in steps for place in range(len(step.papers))]
        chance = dice.random()
        if earlier and chance < 0.25:
            steps.append(_again(dice, *dice.choice(earlier), at, number))
        else:
            steps.append(_first(dice, patient, steps, at, number, replacing=bool(earlier) and chance < 0.55))
    return tuple(steps)


def _first(
    dice: random.Random, patient: Person, steps: Sequence[Step], at: datetime, number: int, replacing: bool
) -> Step:
    old = ""
    person, source = _whose(dice, patient), dice.choice(SOURCES[:3])
    if replacing:
        step = dice.choice(steps)
        old, person, source = step.entry_uuids[0], step.papers[0].person, step.papers[0].source
    count = dice.choice([1, 1, 2])
    kinds = list(SHARED_KINDS) * 3 + list(KINDS)
    papers = tuple(
        paper(
            person,
            source,
            dice.choice(kinds),
            10 * number + each,
            mime_type=dice.choice(["application/pdf", "text/plain"]),
            signed=dice.random() < 0.8,
            created=dice.choice([REGISTERED, REGISTERED, datetime(2009, 3, 1, tzinfo=UTC)]),
            access_codes=dice.choice([("N",)] * 5 + [("NORS",)]),
        )
        for each in range(count)
    )
    return Step(
        papers=papers,
        entry_uuids=tuple(each.entry_uuid for each in papers),
        replaces=(old, *[""] * (count - 1)),
        by=source.key if dice.random() < 0.7 else "gateway",
        at=at,
    )


def _again(dice: random.Random, step: Step, place: int, at: datetime, number: int) -> Step:
    """A paper that is registered already comes once more: now signed, marked, or sent by another."""
    known = step.papers[place]
    other = replace(known, signed=dice.random() < 0.5, access_codes=dice.choice([("N",), ("NORS",)]))
    uuid = f"urn:uuid:{dice.getrandbits(96):024x}"
    spelt = f"{uuid[:17]}-{uuid[17:21]}-4{uuid[21:24]}-8{uuid[24:27]}-{uuid[27:]}{number:06x}"
    return Step((other,), (spelt,), ("",), dice.choice([step.by, "gateway"]), at)


def _whose(dice: random.Random, patient: Person) -> Person:
    family = [CHANGED, CHANGED.before()] if patient.patient_id in _changed() else [ASKED]
    return dice.choice([*family * 4, OTHER])


def _changed() -> frozenset[str]:
    return frozenset({CHANGED.patient_id, CHANGED.before().patient_id})


# Who asks, and under which rules --------------------------------------------------------------------------------------


def _subject(dice: random.Random, patient: Person) -> Subject:
    if dice.random() < 0.25:
        machine = dice.choice(MACHINES)
        return Subject(Channel.MACHINE, machine, machine=machine, may_register=("2.999.578.1.1",))
    who = dice.choice([*READERS[:5] * 2, *READERS[5:]])
    return Subject(
        channel=Channel.CLINICIAN,
        name=who.name,
        issuer="https://sts.bench.example",
        name_id=who.number,
        hpr=who.hpr,
        role=who.role,
        legal_entity=who.legal_entity,
        place_of_care=who.place_of_care,
        purpose=dice.choice(["TREAT", "ETREAT"]),
        basis=dice.choice([None, None, Basis.CONSENT, Basis.EMERGENCY]),
        patient_id=patient.patient_id,
        patient_ids=1,
        security_level="4",
        scopes=frozenset({SCOPE}),
        user_selected=True,
        token_profile="2.1",
    )


def _policy(dice: random.Random) -> Policy:
    plain = pilot()
    agreements = {name: _loosened(dice, each) for name, each in plain.agreements.items()}
    model = plain.agreements["ous-regional"]
    for name in ("own", "archive"):
        if dice.random() < 0.7:
            agreements[name] = replace(
                model,
                agreement_id=name,
                channel=Channel.MACHINE,
                sources=frozenset() if name == "own" else frozenset(dice.sample(["ous", "finn", "unn"], 3)),
                own=name == "own",
                consumers=frozenset(),
                machines=dice.choice([None, frozenset(MACHINES[:2])]),
                kinds=dice.choice([None, None, model.kinds]),
                roles=frozenset(),
                purposes=frozenset(),
                availability=dice.choice([frozenset(Status), frozenset({Status.APPROVED})]),
                signing=dice.choice(list(SigningGate)),
            )
    return replace(plain, agreements=agreements)


def _loosened(dice: random.Random, agreement: Agreement) -> Agreement:
    every = frozenset(("ous", "finn", "unn"))
    sources = agreement.sources | every if agreement.sources and dice.random() < 0.7 else agreement.sources
    return replace(
        agreement,
        sources=sources,
        kinds=dice.choice([agreement.kinds, None]),
        region_rule=dice.choice([agreement.region_rule, RegionRule.ANY, RegionRule.ANY]),
        availability=dice.choice([agreement.availability, frozenset(Status)]),
        signing=dice.choice([SigningGate.SIGNED, SigningGate.ANY]),
        max_age=None
        if agreement.kinds is None or dice.random() < 0.7
        else {each: timedelta(days=dice.choice([365, 5000])) for each in sorted(agreement.kinds)},
    )


def _blocks(dice: random.Random, patient: Person, steps: Sequence[Step]) -> list[Block]:
    people = [patient.patient_id, patient.patient_id, OTHER.patient_id]
    documents = [each.unique_id for step in steps for each in step.papers]
    found = []
    for number in range(dice.choice([0, 0, 1, 2])):
        kind = dice.choice([*BlockKind, BlockKind.DOCUMENT, BlockKind.DOCUMENT, BlockKind.SOURCE_TOTAL])
        unit = kind in (BlockKind.ORGANISATION, BlockKind.DEPARTMENT)
        sourced = kind is BlockKind.SOURCE_TOTAL or (unit and dice.random() < 0.5)
        part = kind is BlockKind.DOCUMENT or (kind is BlockKind.OPENABLE and dice.random() < 0.5)
        found.append(
            Block(
                block_id=f"b{number}",
                kind=kind,
                patient_id=dice.choice(people),
                set_by=Setter.PATIENT,
                valid_from=dice.choice([REGISTERED, REGISTERED, NOW + timedelta(days=1)]),
                person=dice.choice(READERS).hpr if kind is BlockKind.NAMED_PERSON else "",
                organisation=dice.choice(READERS).place_of_care if unit else "",
                department="4205" if kind is BlockKind.DEPARTMENT else "",
                source=dice.choice(["ous", "unn"]) if sourced else "",
                documents=frozenset(dice.sample(documents, 1)) if part else frozenset(),
            )
        )
    return found
