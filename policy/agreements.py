"""The agreements in force as one frozen value, with the look-ups that make a decision cheap.

Pure. Built whole by policy.reading and swapped whole; nothing here changes after it is made. A caller's rights are
precomputed as seats: one agreement seen from one place of care (or one machine). Rows of the decision table that read
an agreement are tested along one seat, never across two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ihe.metadata import Coded
from ihe.names import Status
from policy.blocks import BlockKind, Setter
from policy.facts import Basis, Channel
from policy.numbers import NumberRules

_EVER = datetime.min.replace(tzinfo=UTC)


class RegionRule(StrEnum):
    """Whether the reader's region must be the source's."""

    ANY = "any"
    SAME_REGION = "same_region"


class SigningRule(StrEnum):
    """What a source's entries show of signing."""

    LEGAL_AUTHENTICATOR = "legal_authenticator"
    SUBMISSION_IMPLIES_SIGNED = "submission_implies_signed"


class SigningGate(StrEnum):
    """Whether an agreement waits for the signature."""

    SIGNED = "signed"
    ANY = "any"


class Enrolment(StrEnum):
    """How a consumer's readers are known: by name at its places, by name and place, or by their role alone."""

    LISTED = "listed"
    PAIRS = "pairs"
    ROLE = "role"


@dataclass(frozen=True, slots=True)
class Region:
    """A health region. Sharing a region gives nobody anything by itself."""

    region_id: str
    name: str
    organisation_number: str


@dataclass(frozen=True, slots=True)
class Source:
    """An organisation that releases documents and is their controller."""

    source_id: str
    name: str
    region: str
    organisation_number: str
    legal_entity: str
    repository_unique_ids: tuple[str, ...]
    home_community: str
    signing: SigningRule
    available_from: datetime


@dataclass(frozen=True, slots=True)
class Enrolled:
    """One person at one place, for a half-open period."""

    hpr: str
    place_of_care: str
    legal_entity: str
    valid_from: datetime
    valid_to: datetime | None

    def at(self, now: datetime) -> bool:
        """Whether the enrolment holds at `now`."""
        return self.valid_from <= now and (self.valid_to is None or now < self.valid_to)


@dataclass(frozen=True, slots=True)
class Consumer:
    """Places of care whose personnel read."""

    consumer_id: str
    name: str
    region: str
    legal_entity: str
    """Empty where the enrolment pairs person and place."""
    places_of_care: tuple[str, ...]
    enrolment: Enrolment
    enrolled: tuple[Enrolled, ...]
    departments: frozenset[str] | None
    """None: every department."""


@dataclass(frozen=True, slots=True)
class PanelMember:
    """One site of a panel and the persons who sit for it."""

    name: str
    region: str
    legal_entity: str
    place_of_care: str
    hprs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Panel:
    """Named persons across organisations: person and place must both match."""

    panel_id: str
    name: str
    require_role: str
    members: tuple[PanelMember, ...]


class Codes(NamedTuple):
    """classCode and typeCode of a document: the type decides, the class must fit it."""

    class_code: Coded
    type_code: Coded


@dataclass(frozen=True, slots=True)
class Kind:
    """A document kind under the name that agreements use."""

    kind_id: str
    codes: frozenset[Codes]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Source(s) x reader(s) x kinds x purposes x roles x period; times are aware, the period is half-open."""

    agreement_id: str
    channel: Channel
    sources: frozenset[str]
    own: bool
    """Channel machine: what the asking machine itself registered, instead of `sources`."""
    consumers: frozenset[str]
    panels: frozenset[str]
    machines: frozenset[str] | None
    """Channel machine: names of machine identities; None for any. Empty in channel clinician."""
    kinds: frozenset[Codes] | None
    """None: any kind, written out as such."""
    roles: frozenset[str]
    purposes: frozenset[str]
    region_rule: RegionRule
    departments: frozenset[str] | None
    valid_from: datetime
    valid_to: datetime | None
    availability: frozenset[Status]
    signing: SigningGate
    max_age: Mapping[Codes, timedelta] | None
    """Greatest age per kind; None for no limit at all, a kind that is not in it has none."""
    precision: str = "day"
    multi_patient: bool = False
    """Channel machine: holds for queries across patients (ITI-51) too, to which no other agreement gives anything."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One agreement as one place of care, or one machine, sits at it: all that rows C2-C7 and E1-E6 read."""

    agreement: Agreement
    region: str = ""
    departments: frozenset[str] | None = None
    role: str = ""
    """A role that the panel asks for besides the agreement's own; empty for none."""
    persons: Mapping[str, tuple[Enrolled, ...]] | None = None
    """HPR number -> enrolments at this place; None where the role alone admits."""


@dataclass(frozen=True, slots=True)
class BlockRule:
    """What the policy says of one kind of block where the block itself says nothing."""

    kind: BlockKind
    override: frozenset[Basis]
    set_by: Setter
    codes: frozenset[Coded] = frozenset()
    """confidentialityCodes that are such a block (kind document only), as policy.rows.folded gives them."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A standing promise: the next source of this region is appended to this agreement, by hand and by version."""

    region: str
    agreement: str


@dataclass(frozen=True, slots=True)
class Defaults:
    """The node-wide lists that rows A3-A9 read, and what no agreement can change."""

    security_level: str
    channels: frozenset[Channel]
    roles: frozenset[str]
    purposes: frozenset[str]
    scope_token: str
    token_skew: timedelta
    attest_age: timedelta
    require_listed: bool = False


@dataclass(frozen=True, slots=True)
class Identifiers:
    """OIDs of the registers whose numbers the policy uses."""

    patient: frozenset[str]
    practitioner: str
    organisation: str
    department: str
    national_home_community: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to correct or to know in a policy file: where it stands and what to do about it."""

    file: str
    path: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.file}: {self.path + ': ' if self.path else ''}{self.sentence}"


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that decides, whole and immutable. `version` is id, version and a digest of the files' text."""

    version: str
    description: str
    defaults: Defaults
    identifiers: Identifiers
    numbers: NumberRules
    regions: Mapping[str, Region]
    sources: Mapping[str, Source]
    consumers: Mapping[str, Consumer]
    panels: Mapping[str, Panel]
    kinds: Mapping[str, Kind]
    agreements: Mapping[str, Agreement]
    block_rules: Mapping[BlockKind, BlockRule]
    growth: tuple[Growth, ...] = ()
    authorisations: Mapping[str, frozenset[str]] | None = None
    """HPR number -> roles authorised now; None where no feed is connected."""
    generation: int = 0
    """Under which number the node put it in force; 0 outside a node."""
    warnings: tuple[Finding, ...] = ()
    places: Mapping[str, str] = field(init=False, repr=False, compare=False)
    """Organisation number of every place we list -> that of its legal entity (row A8)."""
    places_served: frozenset[str] = field(init=False, repr=False, compare=False)
    """Places of care with a seat at an agreement that names a source, whatever its period (row A12)."""
    blocking_codes: frozenset[Coded] = field(init=False, repr=False, compare=False)
    """confidentialityCodes that are a document block by themselves (NORS)."""
    _owners: Mapping[str, Source] = field(init=False, repr=False, compare=False)
    _seats: Mapping[tuple[str, str], tuple[Seat, ...]] = field(init=False, repr=False, compare=False)
    _machine_seats: Mapping[str, tuple[Seat, ...]] = field(init=False, repr=False, compare=False)
    _own_seats: tuple[Seat, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        seats: dict[tuple[str, str], list[Seat]] = defaultdict(list)
        machines: dict[str, list[Seat]] = defaultdict(list)
        own: list[Seat] = []
        for agreement in self.agreements.values():
            if agreement.channel is Channel.MACHINE:
                seat = Seat(agreement)
                if agreement.own:
                    own.append(seat)
                for source in agreement.sources:
                    machines[source].append(seat)
                continue
            for place, seat in self._seats_of(agreement):
                for source in agreement.sources:
                    seats[source, place].append(seat)
        derived = {
            "places": dict(self._places()),
            "places_served": frozenset(place for _, place in seats),
            "blocking_codes": frozenset(code for rule in self.block_rules.values() for code in rule.codes),
            "_owners": {repo: source for source in self.sources.values() for repo in source.repository_unique_ids},
            "_seats": {key: tuple(found) for key, found in seats.items()},
            "_machine_seats": {source: tuple(found) for source, found in machines.items()},
            "_own_seats": tuple(own),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def source_of(self, repository_unique_id: str) -> Source | None:
        """The source that owns this repository, or None for one that no source has."""
        return self._owners.get(repository_unique_id)

    def seats_at(self, source_id: str, place_of_care: str) -> tuple[Seat, ...]:
        """Seats of this place of care at agreements with this source, whatever their period."""
        return self._seats.get((source_id, place_of_care), ())

    def machine_seats(self, source_id: str, machine: str) -> tuple[Seat, ...]:
        """Seats of this machine identity at agreements of channel machine with this source."""
        return tuple(seat for seat in self._machine_seats.get(source_id, ()) if _names(seat.agreement, machine))

    def own_seats(self, machine: str) -> tuple[Seat, ...]:
        """Seats through which this machine identity may read what it registered itself."""
        return tuple(seat for seat in self._own_seats if _names(seat.agreement, machine))

    def serves_machine(self, machine: str, across: bool = False) -> bool:
        """Whether any agreement of channel machine names this identity (for queries `across` patients: one that holds
        for those); without one it cannot ask at all."""
        return any(
            each.channel is Channel.MACHINE and _names(each, machine) and (each.multi_patient or not across)
            for each in self.agreements.values()
        )

    @property
    def shares_deprecated(self) -> bool:
        """Whether any agreement shows replaced versions."""
        return any(Status.DEPRECATED in each.availability for each in self.agreements.values())

    @property
    def edition(self) -> str:
        """Version and generation, as audit records name the policy decided on."""
        return f"{self.version} generation {self.generation}"

    @property
    def machines_only(self) -> bool:
        """Whether every agreement is of channel machine: only then may a node tell that a patient is unknown."""
        agreements = self.agreements.values()
        return bool(agreements) and all(each.channel is Channel.MACHINE for each in agreements)

    def _seats_of(self, agreement: Agreement) -> Iterator[tuple[str, Seat]]:
        for consumer_id in agreement.consumers:
            consumer = self.consumers[consumer_id]
            departments = _both(consumer.departments, agreement.departments)
            for place in _places_of(consumer):
                yield place, Seat(agreement, consumer.region, departments, "", _persons_at(consumer, place))
        for panel_id in agreement.panels:
            panel = self.panels[panel_id]
            for member in panel.members:
                always = Enrolled("", member.place_of_care, member.legal_entity, _EVER, None)
                persons = {hpr: (always,) for hpr in member.hprs}
                seat = Seat(agreement, member.region, agreement.departments, panel.require_role, persons)
                yield member.place_of_care, seat

    def _places(self) -> Iterator[tuple[str, str]]:
        for consumer in self.consumers.values():
            yield from ((place, consumer.legal_entity) for place in consumer.places_of_care)
            yield from ((person.place_of_care, person.legal_entity) for person in consumer.enrolled)
        for panel in self.panels.values():
            yield from ((member.place_of_care, member.legal_entity) for member in panel.members)


def _names(agreement: Agreement, machine: str) -> bool:
    return bool(machine) and (agreement.machines is None or machine in agreement.machines)


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _places_of(consumer: Consumer) -> frozenset[str]:
    if consumer.enrolment is Enrolment.PAIRS:
        return frozenset(person.place_of_care for person in consumer.enrolled)
    return frozenset(consumer.places_of_care)


def _persons_at(consumer: Consumer, place: str) -> Mapping[str, tuple[Enrolled, ...]] | None:
    if consumer.enrolment is Enrolment.ROLE:
        return None
    persons: dict[str, tuple[Enrolled, ...]] = {}
    for person in consumer.enrolled:
        if person.place_of_care == place:
            persons[person.hpr] = (*persons.get(person.hpr, ()), person)
    return persons
