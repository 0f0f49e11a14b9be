"""From checked tables to the frozen policy. Pure; nothing can fail here that policy.checks let through."""

from __future__ import annotations

from datetime import timedelta

from ihe.metadata import Coded
from policy.agreements import (
    Agreement,
    BlockRule,
    Codes,
    Consumer,
    Defaults,
    Enrolled,
    Enrolment,
    Finding,
    Growth,
    Identifiers,
    Kind,
    Panel,
    PanelMember,
    Policy,
    Region,
    RegionRule,
    SigningGate,
    SigningRule,
    Source,
)
from policy.blocks import BlockKind, Setter
from policy.checks import Files
from policy.facts import Basis, Channel
from policy.files import (
    ANY,
    OWN,
    STATUSES,
    BlockKindTable,
    ClinicianAgreement,
    ConsumerTable,
    EnrolmentFile,
    FromCode,
    KindTable,
    MachineAgreement,
    PanelTable,
    PolicyFile,
)
from policy.numbers import NumberRules
from policy.rows import folded


def build(files: Files, digest: str, generation: int, warnings: tuple[Finding, ...]) -> Policy:
    """The policy of these files. They must have passed every check."""
    assert files.policy is not None
    this = files.policy.policy
    organisations = files.organisations
    kinds = {name: _kind(name, table) for name, table in files.kinds.kind.items()}
    return Policy(
        version=f"{this.id}/{this.version}#{digest}",
        description=this.description,
        defaults=_defaults(files.policy),
        identifiers=_identifiers(files.policy),
        numbers=NumberRules(
            files.policy.person_numbers.rule_2032, frozenset(files.policy.person_numbers.synthetic_months)
        ),
        regions={
            name: Region(name, table.name, table.organisation_number) for name, table in organisations.region.items()
        },
        sources={
            name: Source(
                name,
                table.name,
                table.region,
                table.organisation_number,
                table.legal_entity,
                table.repository_unique_ids,
                table.home_community,
                SigningRule(table.signing),
                table.available_from,
            )
            for name, table in organisations.source.items()
        },
        consumers={
            name: _consumer(name, table, files.enrolled.get(name, EnrolmentFile()))
            for name, table in organisations.consumer.items()
        },
        panels={name: _panel(name, table) for name, table in organisations.panel.items()},
        kinds=kinds,
        agreements={name: _agreement(files, kinds, name, table) for name, table in files.agreements.agreement.items()},
        block_rules={
            BlockKind(name): _block_rule(BlockKind(name), table) for name, table in files.policy.block_kinds.items()
        },
        growth=tuple(Growth(table.region, table.append_to) for table in files.agreements.growth),
        authorisations=_authorisations(files),
        generation=generation,
        warnings=warnings,
    )


def spellings(system: str) -> tuple[str, str]:
    """A coding scheme as entries carry it: the bare OID, or as a URN."""
    return system, f"urn:oid:{system}"


def _defaults(file: PolicyFile) -> Defaults:
    table = file.defaults
    return Defaults(
        security_level=str(table.security_level),
        channels=frozenset(Channel(each) for each in table.channels),
        roles=frozenset(table.roles),
        purposes=frozenset(table.purposes),
        scope_token=table.scope_token,
        token_skew=timedelta(seconds=table.token_skew_seconds),
        attest_age=timedelta(minutes=table.attest_age_minutes),
        require_listed=table.require_listed_before_retrieve,
    )


def _identifiers(file: PolicyFile) -> Identifiers:
    table = file.identifiers
    return Identifiers(
        patient=frozenset(table.patient),
        practitioner=table.practitioner,
        organisation=table.organisation,
        department=table.department,
        national_home_community=table.national_home_community,
    )


def _kind(name: str, table: KindTable) -> Kind:
    # Coding schemes are compared verbatim, so each pair is held in both spellings that sources write.
    return Kind(
        name,
        frozenset(
            Codes(Coded(table.class_code, class_scheme), Coded(code, type_scheme))
            for code in table.types
            for class_scheme in spellings(table.system)
            for type_scheme in spellings(table.system)
        ),
    )


def _consumer(name: str, table: ConsumerTable, file: EnrolmentFile) -> Consumer:
    return Consumer(
        consumer_id=name,
        name=table.name,
        region=table.region,
        legal_entity=table.legal_entity,
        places_of_care=table.places_of_care,
        enrolment=Enrolment(table.enrolment),
        enrolled=tuple(
            Enrolled(
                person.hpr,
                person.place_of_care,
                person.legal_entity or table.legal_entity,
                person.valid_from,
                person.valid_to,
            )
            for person in file.person
        ),
        departments=None if table.departments is None else frozenset(table.departments),
    )


def _panel(name: str, table: PanelTable) -> Panel:
    members = tuple(
        PanelMember(member.name, member.region, member.legal_entity, member.place_of_care, frozenset(member.hpr))
        for member in table.member
    )
    return Panel(name, table.name, table.require_role, members)


def _agreement(
    files: Files, kinds: dict[str, Kind], name: str, table: ClinicianAgreement | MachineAgreement
) -> Agreement:
    person = table if isinstance(table, ClinicianAgreement) else None
    machines = table.machines if isinstance(table, MachineAgreement) else ()
    wanted = files.kinds_of(table)
    ages = table.max_age
    return Agreement(
        agreement_id=name,
        channel=Channel(table.channel),
        sources=frozenset(files.sources_of(table)),
        own=table.sources == OWN,
        consumers=frozenset(() if person is None else files.consumers_of(person)),
        panels=frozenset(() if person is None else person.panels),
        machines=None if machines == ANY else frozenset(machines),
        kinds=None if wanted is None else frozenset(codes for kind in wanted for codes in kinds[kind].codes),
        roles=frozenset(() if person is None else person.roles),
        purposes=frozenset(() if person is None else person.purposes),
        region_rule=RegionRule.ANY if person is None else RegionRule(person.region_rule),
        departments=None if person is None or person.departments is None else frozenset(person.departments),
        valid_from=table.valid_from,
        valid_to=table.valid_to,
        availability=frozenset(STATUSES[status] for status in table.availability),
        signing=SigningGate(table.signing),
        max_age=None if ages is None else _ages(ages, kinds),
        precision=table.precision,
        multi_patient=isinstance(table, MachineAgreement) and table.multi_patient,
    )


def _ages(ages: dict[str, int | None], kinds: dict[str, Kind]) -> dict[Codes, timedelta]:
    limits: dict[Codes, timedelta] = {}
    for kind, days in ages.items():
        for codes in kinds[kind].codes if days else ():
            # Codes that stand in two kinds take the stricter limit, whichever is written first.
            limits[codes] = min(timedelta(days=days or 0), limits.get(codes, timedelta.max))
    return limits


def _block_rule(kind: BlockKind, table: BlockKindTable) -> BlockRule:
    codes = frozenset[Coded]() if table.from_code is None else _codes(table.from_code)
    return BlockRule(kind, frozenset(Basis(word) for word in table.override), Setter(table.set_by), codes)


def _codes(table: FromCode) -> frozenset[Coded]:
    # List 9603 once wrote hyphens where it now writes underscores; old entries still carry them.
    values = {value for code in table.codes for value in (code, code.replace("_", "-"))}
    return frozenset(folded(Coded(value, scheme)) for value in values for scheme in spellings(table.system))


def _authorisations(files: Files) -> dict[str, frozenset[str]] | None:
    if files.authorisations is None:
        return None
    found: dict[str, frozenset[str]] = {}
    for person in files.authorisations.person:
        found[person.hpr] = found.get(person.hpr, frozenset()) | frozenset(person.roles)
    return found
