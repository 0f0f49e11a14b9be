"""Small made-up worlds for property tests: a policy, a caller, blocks, and families of entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from hypothesis import strategies as st

from ihe.metadata import Coded
from ihe.names import Status
from policy.agreements import (
    Agreement,
    BlockRule,
    Codes,
    Consumer,
    Enrolled,
    Enrolment,
    Panel,
    PanelMember,
    Policy,
    RegionRule,
    SigningGate,
    SigningRule,
    Source,
)
from policy.blocks import Block, BlockKind, Setter
from policy.decide import Situation
from policy.facts import Basis, Channel, DocumentKey, EntryFacts, Subject
from policy.rows import CONFIDENTIALITY_9603
from policy.shield import Family
from tests.policy.casebook import pilot

T = TypeVar("T")
NOW = datetime(2021, 2, 15, 9, tzinfo=UTC)
DAYS = [NOW + timedelta(days=days) for days in (-40, -1, 0, 1)]
PATIENTS = ("p0", "p1")
PLACES = {"place0": "entity0", "place1": "entity0", "place2": "source-entity1"}
PLACES_OF_CALLERS = ["place0", "place0", "place1", "place2"]
REGIONS = ("north", "south")
KINDS = [Codes(Coded("A", "s"), Coded(code, "s")) for code in ("A1", "A2")]
NORS = Coded("NORS", CONFIDENTIALITY_9603)
SOURCES = {
    f"s{index}": Source(
        f"s{index}",
        "",
        REGIONS[index % 2],
        f"source{index}",
        f"source-entity{index}",
        (f"r{index}",),
        "",
        list(SigningRule)[index % 2],
        DAYS[1],
    )
    for index in range(3)
}
PEOPLE = ("h0", "h1")
RULES = {
    kind: BlockRule(kind, frozenset({Basis.EMERGENCY}), Setter.PATIENT, frozenset({NORS}))
    if kind is BlockKind.DOCUMENT
    else BlockRule(kind, frozenset(Basis) if kind is BlockKind.OPENABLE else frozenset(), Setter.PATIENT)
    for kind in BlockKind
}


@dataclass(frozen=True)
class World:
    """Everything a decision can depend on."""

    subject: Subject
    sources: tuple[Source, ...]
    consumers: tuple[Consumer, ...]
    panels: tuple[Panel, ...]
    agreements: tuple[Agreement, ...]
    blocks: tuple[Block, ...]
    families: tuple[Family, ...]

    def policy(self) -> Policy:
        return Policy(
            version="w",
            description="",
            defaults=pilot().defaults,
            identifiers=pilot().identifiers,
            numbers=pilot().numbers,
            regions={},
            sources={each.source_id: each for each in self.sources},
            consumers={each.consumer_id: each for each in self.consumers},
            panels={each.panel_id: each for each in self.panels},
            kinds={},
            agreements={each.agreement_id: each for each in self.agreements},
            block_rules=RULES,
        )

    def situation(self) -> Situation:
        blocks = {patient: tuple(b for b in self.blocks if b.patient_id == patient) for patient in PATIENTS}
        return Situation(self.subject, self.policy(), blocks, frozenset({"p0"}), NOW)

    def entries(self) -> list[EntryFacts]:
        return [entry for family in self.families for entry in family.entries]


def subsets(values: Sequence[T], least: int = 1) -> st.SearchStrategy[frozenset[T]]:
    return st.frozensets(st.sampled_from(values), min_size=least)


def mostly(common: T, *others: T) -> st.SearchStrategy[T]:
    """A world in which everything fails would prove little."""
    return st.sampled_from([common] * (9 * len(others)) + list(others))


@st.composite
def agreements(draw: st.DrawFn, name: str) -> Agreement:
    machine = draw(st.sampled_from([False, False, True]))
    begin = draw(st.sampled_from(DAYS[:3]))
    return Agreement(
        agreement_id=name,
        channel=Channel.MACHINE if machine else Channel.CLINICIAN,
        sources=draw(mostly(frozenset(SOURCES), frozenset({"s0"}), frozenset({"s1", "s2"}))),
        own=machine and draw(st.booleans()),
        consumers=frozenset() if machine else draw(mostly(frozenset({"c0", "c1"}), frozenset())),
        panels=frozenset() if machine else draw(st.sampled_from([frozenset({"n0"}), frozenset()])),
        machines=draw(st.sampled_from([None, frozenset({"m0"})])) if machine else frozenset(),
        kinds=draw(st.sampled_from([None, frozenset(KINDS), frozenset(KINDS[:1])])),
        roles=draw(mostly(frozenset({"LE", "SP"}), frozenset({"SP"}))),
        purposes=draw(mostly(frozenset({"TREAT", "ETREAT"}), frozenset({"ETREAT"}))),
        region_rule=RegionRule.ANY if machine else draw(mostly(RegionRule.ANY, RegionRule.SAME_REGION)),
        departments=None if machine else draw(mostly(None, frozenset({"d0"}))),
        valid_from=begin,
        valid_to=draw(mostly(None, DAYS[3], NOW + timedelta(seconds=1), NOW)) if begin < NOW else None,
        availability=draw(st.sampled_from([frozenset(Status), frozenset({Status.APPROVED})])),
        signing=draw(st.sampled_from(SigningGate)),
        max_age=draw(mostly(None, {KINDS[0]: timedelta(days=20)})),
    )


@st.composite
def blocks(draw: st.DrawFn, name: str) -> Block:
    kind = draw(st.sampled_from(BlockKind))
    opened = draw(st.none() | subsets(list(Basis), 0))
    narrow = kind is BlockKind.SOURCE_TOTAL or draw(st.booleans())
    sourced = {BlockKind.SOURCE_TOTAL, BlockKind.ORGANISATION, BlockKind.DEPARTMENT, BlockKind.OPENABLE}
    unit = kind in (BlockKind.ORGANISATION, BlockKind.DEPARTMENT)
    part = kind is BlockKind.DOCUMENT or (kind is BlockKind.OPENABLE and draw(st.booleans()))
    return Block(
        name,
        kind,
        draw(st.sampled_from(PATIENTS)),
        Setter.PATIENT,
        draw(st.sampled_from(DAYS)),
        None,
        person=draw(st.sampled_from(PEOPLE)) if kind is BlockKind.NAMED_PERSON else "",
        organisation=draw(st.sampled_from(["place0", "place1", "entity0"])) if unit else "",
        department=draw(st.sampled_from(["d0", "d1"])) if kind is BlockKind.DEPARTMENT else "",
        source=draw(st.sampled_from(sorted(SOURCES))) if kind in sourced and narrow else "",
        documents=draw(subsets(("u0", "u1"))) if part else frozenset(),
        overridable_by=opened
        if kind in (BlockKind.ORGANISATION, BlockKind.DEPARTMENT, BlockKind.OPENABLE, BlockKind.DOCUMENT)
        else None,
    )


@st.composite
def families(draw: st.DrawFn, key: DocumentKey) -> tuple[EntryFacts, ...]:
    size = draw(st.sampled_from([1, 1, 2, 3]))
    return tuple(
        EntryFacts(
            entry_uuid=f"{key.repository_unique_id}/{key.unique_id}/{index}",
            lid=draw(st.sampled_from(["l0", f"l{index}"])),
            version=index + 1,
            status=draw(st.sampled_from([Status.APPROVED, Status.APPROVED, Status.DEPRECATED])),
            unique_id=key.unique_id,
            repository_unique_id=key.repository_unique_id,
            patient_id=draw(mostly("p0", "p1")),
            mime_type="",
            hash="",
            size=None,
            class_code=KINDS[0].class_code,
            type_code=draw(st.sampled_from(KINDS)).type_code,
            confidentiality_codes=draw(mostly((), (NORS,))),
            creation_time=draw(st.sampled_from(["20210214", "2020", ""])),
            registered_at=DAYS[1],
            registered_by=draw(st.sampled_from(["m0", "m1"])),
            signed_at=draw(mostly(DAYS[0], None, DAYS[2], DAYS[3])),
            withdrawn=draw(mostly(False, True)),
        )
        for index in range(size)
    )


@st.composite
def subjects(draw: st.DrawFn) -> Subject:
    if draw(st.sampled_from([False, False, False, True])):
        return Subject(Channel.MACHINE, "m", machine="m0", may_register=draw(st.sampled_from([(), ("r0", "r9")])))
    place = draw(st.sampled_from(PLACES_OF_CALLERS))
    return Subject(
        Channel.CLINICIAN,
        "c",
        hpr=draw(mostly("h0", "h1", "")),
        role=draw(mostly("LE", "SP")),
        purpose=draw(st.sampled_from(["TREAT", "ETREAT"])),
        basis=draw(st.sampled_from([None, *Basis])),
        place_of_care=place,
        legal_entity=PLACES[place],
        department=draw(st.sampled_from(["", "d0", "d1"])),
        patient_id="p0",
        patient_ids=1,
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    enrolled = [
        Enrolled(hpr, place, PLACES[place], draw(mostly(DAYS[0], DAYS[3])), None)
        for place in ("place0", "place1", "place2")
        for hpr in draw(mostly(PEOPLE, (), PEOPLE[1:]))
    ]
    consumers = (
        Consumer("c0", "", "north", "entity0", ("place0", "place1"), Enrolment.LISTED, tuple(enrolled), None),
        Consumer("c1", "", "south", "source-entity1", ("place2",), Enrolment.ROLE, (), None),
    )
    member = PanelMember("", "south", "entity0", "place1", frozenset({"h0"}))
    keys = [DocumentKey(f"r{source}", f"u{number}") for source in (0, 1, 0, 2, 9) for number in (0, 1)]
    found = [draw(families(key)) for key in draw(st.lists(st.sampled_from(keys), min_size=1, max_size=4, unique=True))]
    last = found[-1]
    replaced = draw(st.booleans())
    return World(
        subject=draw(subjects()),
        sources=tuple(SOURCES.values()),
        consumers=consumers,
        panels=(Panel("n0", "", "LE", (member,)),),
        agreements=tuple(draw(agreements(f"a{index}")) for index in range(draw(st.integers(1, 3)))),
        blocks=tuple(draw(blocks(f"b{index}")) for index in range(draw(st.sampled_from([0, 0, 1, 2])))),
        families=tuple(
            Family(each, each, (last,) if replaced and each is not last and index == 0 else ())
            for index, each in enumerate(found)
        ),
    )


def shuffled(world: World, order: st.DataObject) -> World:
    """The same world, everything in another order."""

    def mix(values: Sequence[T]) -> tuple[T, ...]:
        return tuple(order.draw(st.permutations(values)))

    return replace(
        world,
        sources=mix(world.sources),
        consumers=tuple(replace(each, enrolled=mix(each.enrolled)) for each in mix(world.consumers)),
        agreements=mix(world.agreements),
        blocks=mix(world.blocks),
        families=tuple(each._replace(entries=mix(each.entries)) for each in world.families),
    )


def later(family: Family) -> dict[str, tuple[tuple[EntryFacts, ...], ...]]:
    """What replaced the family, told of each of its entries: as decide_document takes it."""
    return {entry.entry_uuid: family.replaced_by for entry in family.entries}
