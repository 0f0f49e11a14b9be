"""The shape of the policy files: which keys there are, what each may hold, and what to write instead.

Strict pydantic models of TOML that tomllib has read; nothing here looks at another table or file (policy.checks does).
Keys that state what the node does in any case take exactly one value: whoever reads the files can rely on them, and
whoever wants something else is told at load.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints

from ihe.names import Status

OSLO = ZoneInfo("Europe/Oslo")
ANY = "any"
OWN = "own"
STATUSES = {"Approved": Status.APPROVED, "Deprecated": Status.DEPRECATED}


def instant(value: object) -> datetime:
    """A time with the offset that Europe/Oslo has at that instant, or a date: 00:00 there. UTC."""
    if isinstance(value, date) and not 1900 <= value.year < 9000:
        raise ValueError("write a year that somebody may live to see")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("write the offset after the time, as in 2020-11-10T00:00:00+01:00")
        if value.utcoffset() != value.astimezone(OSLO).utcoffset():
            there = value.astimezone(OSLO).isoformat()
            raise ValueError(f"Europe/Oslo has another offset at that instant; write {there} if that is what is meant")
        return value.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), OSLO).astimezone(UTC)
    raise ValueError("write a date or a time without quotes, as in 2020-11-10 or 2020-11-10T00:00:00+01:00")


def end(value: object) -> datetime | None:
    """Like `instant`, or "open" for a period without an end."""
    if value == "open":
        return None
    if isinstance(value, str):
        raise ValueError('write a date, a time with offset, or "open"')
    return instant(value)


def local_day(value: object) -> datetime:
    """A date: 00:00 in Europe/Oslo. UTC."""
    if isinstance(value, datetime) or not isinstance(value, date):
        raise ValueError("write a date without a time, as in 2020-11-10; it begins at 00:00 in Europe/Oslo")
    return instant(value)


def _listed(value: object, words: tuple[str, ...]) -> tuple[str, ...] | str:
    if isinstance(value, str) and value in words:
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        if len(set(value)) < len(value):
            raise ValueError("name each only once")
        if found := [word for word in words if word in value]:
            raise ValueError(f'"{found[0]}" stands alone, without a list')
        return tuple(value)
    raise ValueError("write a list of ids" + "".join(f' or "{word}"' for word in words))


def names(value: object) -> tuple[str, ...]:
    """A list of texts without repetition."""
    found = _listed(value, ())
    assert isinstance(found, tuple)
    return found


def names_or_any(value: object) -> tuple[str, ...] | str:
    """A list of ids, or "any" written out."""
    return _listed(value, (ANY,))


def sources_of_machine(value: object) -> tuple[str, ...] | str:
    """A list of ids, "any", or "own": what the machine registered itself."""
    return _listed(value, (ANY, OWN))


def ages(value: object) -> dict[str, int | None] | None:
    """ "none", or a table: kind -> days, or "none" for a kind without limit."""
    if value == "none":
        return None
    if isinstance(value, dict) and value:
        for days in value.values():
            if days != "none" and not (isinstance(days, int) and not isinstance(days, bool) and 1 <= days <= 73000):
                raise ValueError('write whole days per kind, or "none" for a kind without limit')
        return {str(kind): None if days == "none" else days for kind, days in value.items()}
    raise ValueError('write "none", or a table of kinds with their days, as in { radiology_reports = 1826 }')


def oid(value: object) -> str:
    """An OID without prefix."""
    if isinstance(value, str) and re.fullmatch(r"[0-2](\.(0|[1-9][0-9]*))+", value):
        return value
    raise ValueError("write an OID, digits and dots without urn:oid:")


def oids(value: object) -> tuple[str, ...]:
    """A list of OIDs."""
    return tuple(oid(each) for each in names(value))


def some_oids(value: object) -> tuple[str, ...]:
    """A list of at least one OID, where none would look like "nobody" and mean "anybody"."""
    found = oids(value)
    if not found:
        raise ValueError("name at least one")
    return found


Id = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Hpr = Annotated[str, StringConstraints(pattern=r"^T?[0-9]{1,9}$")]
Instant = Annotated[datetime, PlainValidator(instant)]
End = Annotated[datetime | None, PlainValidator(end)]
LocalDay = Annotated[datetime, PlainValidator(local_day)]
Names = Annotated[tuple[str, ...], PlainValidator(names)]
NamesOrAny = Annotated[tuple[str, ...] | str, PlainValidator(names_or_any)]
SourcesOfMachine = Annotated[tuple[str, ...] | str, PlainValidator(sources_of_machine)]
Ages = Annotated[dict[str, int | None] | None, PlainValidator(ages)]
Oid = Annotated[str, PlainValidator(oid)]
Oids = Annotated[tuple[str, ...], PlainValidator(oids)]
SomeOids = Annotated[tuple[str, ...], PlainValidator(some_oids)]
NumberStatus = Literal["confirmed", "synthetic", "check"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PolicyTable(_Table):
    """[policy]: which policy this is."""

    id: Id
    version: Annotated[int, Field(ge=1)]
    timezone: Literal["Europe/Oslo"]
    description: Text


class HiddenAnswer(_Table):
    """What a caller gets for what it may not see: the answer for what does not exist."""

    query: Literal["success_empty"]
    retrieve: Literal["XDSDocumentUniqueIdError"]


class DefaultsTable(_Table):
    """[defaults]: node-wide lists, and what holds whatever an agreement says."""

    effect: Literal["hide"]
    answer_for_hidden: HiddenAnswer
    recheck_on_retrieve: Literal[True]
    require_listed_before_retrieve: Literal[False]
    store_documents: Literal[False]
    store_metadata_after_session: Literal[False]
    consent_required: Literal[False]
    block_service_down: Literal["fail_closed"]
    security_level: Annotated[int, Field(ge=3, le=4)]
    channels: Annotated[list[Literal["clinician"]], Field(min_length=1)]
    scope_token: Text
    purposes: Annotated[list[Literal["TREAT", "ETREAT", "COC", "BTG"]], Field(min_length=1)]
    roles: Annotated[list[Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]], Field(min_length=1)]
    token_skew_seconds: Annotated[int, Field(ge=0, le=300)]
    attest_age_minutes: Annotated[int, Field(ge=1, le=60)]


class IdentifiersTable(_Table):
    """[identifiers]: the registers whose numbers are meant."""

    patient: SomeOids
    practitioner: Oid
    organisation: Oid
    department: Oid
    national_home_community: Oid


class PersonNumbersTable(_Table):
    """[person_numbers]: which patient numbers are well-formed here."""

    rule_2032: bool
    synthetic_months: list[Literal[40, 65, 80]]


class FromCode(_Table):
    """Codes of an entry that are themselves such a block."""

    system: Oid
    codes: Annotated[list[Text], Field(min_length=1)]


class BlockKindTable(_Table):
    """[block_kinds.K]: what opens a block of this kind that says nothing itself, and on whose word it stands."""

    override: list[Literal["consent", "emergency"]]
    reveal: Literal["hide"]
    set_by: Literal["patient", "source"]
    from_code: FromCode | None = None


class SessionTable(_Table):
    """[session]: nothing outlives it."""

    cache_documents: Literal["never"]
    block_cache_ttl_seconds: Literal[0]


class AuditTable(_Table):
    """[audit]: every decision is recorded; a caller never learns why something is hidden."""

    log_every_decision: Literal[True]
    log_reason_to_caller: Literal["never_for_hidden"]


class PolicyFile(_Table):
    """policy.toml."""

    policy: PolicyTable
    defaults: DefaultsTable
    identifiers: IdentifiersTable
    person_numbers: PersonNumbersTable
    block_kinds: dict[str, BlockKindTable]
    session: SessionTable
    audit: AuditTable


class RegionTable(_Table):
    """[region.R]"""

    name: Text
    organisation_number: str
    number_status: NumberStatus = "confirmed"


class SourceTable(_Table):
    """[source.S]"""

    name: Text
    region: str
    organisation_number: str
    legal_entity: str
    number_status: NumberStatus = "confirmed"
    repository_unique_ids: Oids
    home_community: Oid
    signing: Literal["legal_authenticator", "submission_implies_signed"]
    available_from: LocalDay


class ConsumerTable(_Table):
    """[consumer.C]"""

    name: Text
    region: str
    legal_entity: str = ""
    places_of_care: Names
    number_status: NumberStatus = "confirmed"
    enrolment: Literal["listed", "pairs", "role"]
    departments: Names | None = None
    note: str = ""


class MemberTable(_Table):
    """[[panel.P.member]]"""

    name: Text
    region: str
    legal_entity: str
    place_of_care: str
    number_status: NumberStatus = "confirmed"
    hpr: list[Hpr]


class PanelTable(_Table):
    """[panel.P]"""

    name: Text
    require_role: Literal["LE"]
    require_person_listed: Literal[True]
    member: Annotated[list[MemberTable], Field(min_length=1)]


class OrganisationsFile(_Table):
    """organisations.toml."""

    region: dict[Id, RegionTable] = {}
    source: dict[Id, SourceTable] = {}
    source_group: dict[Id, Names] = {}
    consumer: dict[Id, ConsumerTable] = {}
    panel: dict[Id, PanelTable] = {}


class KindTable(_Table):
    """[kind.K]; `class` is the one key whose name Python keeps for itself."""

    system: Oid
    class_code: Text = Field(alias="class")
    types: Annotated[list[Text], Field(min_length=1)]


class KindsFile(_Table):
    """kinds.toml."""

    kind: dict[Id, KindTable] = {}
    kind_set: dict[Id, Names] = {}


class _Gates(_Table):
    valid_from: Instant
    valid_to: End
    kinds: NamesOrAny
    availability: Annotated[list[Literal["Approved", "Deprecated"]], Field(min_length=1)]
    signing: Literal["signed", "any"]
    max_age: Ages
    precision: Literal["day", "month"]
    note: str = ""


class ClinicianAgreement(_Gates):
    """[agreement.A] with channel = "clinician"."""

    channel: Literal["clinician"]
    sources: NamesOrAny
    consumers: NamesOrAny
    panels: Names
    roles: Names
    purposes: Names
    region_rule: Literal["any", "same_region"]
    departments: Names | None = None


class MachineAgreement(_Gates):
    """[agreement.A] with channel = "machine"."""

    channel: Literal["machine"]
    sources: SourcesOfMachine
    machines: NamesOrAny
    multi_patient: bool = False


AnyAgreement = Annotated[ClinicianAgreement | MachineAgreement, Field(discriminator="channel")]


class GrowthTable(_Table):
    """[[growth]]: the next source of a region joins an agreement."""

    region: str
    append_to: str


class AgreementsFile(_Table):
    """agreements.toml."""

    agreement: dict[Id, AnyAgreement] = {}
    growth: list[GrowthTable] = []


class EnrolledPerson(_Table):
    """[[person]] of an enrolment file."""

    hpr: Hpr
    place_of_care: str
    legal_entity: str = ""
    number_status: NumberStatus = "confirmed"
    valid_from: Instant
    valid_to: End


class EnrolmentFile(_Table):
    """enrolled/CONSUMER.toml."""

    person: list[EnrolledPerson] = []


class Authorised(_Table):
    """[[person]] of the authorisation feed."""

    hpr: Hpr
    roles: Names


class AuthorisationsFile(_Table):
    """authorisations.toml: who holds which authorisation now, where a feed is connected."""

    person: list[Authorised] = []
