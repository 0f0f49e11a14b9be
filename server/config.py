"""The node's configuration: one TOML file, every mistake in it told at once, each with its dotted path.

Relative paths are relative to the file. Nothing here touches what the paths point at; server/check.py does.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationInfo,
)

from ihe.hl7v2 import CHARSETS
from policy.facts import Channel
from policy.numbers import organisation_fault
from registry.queries.understanding import Across
from repository_proxy.repositories import is_loopback

MIB = 1024 * 1024
_OID = r"[0-2](\.(0|[1-9][0-9]*))+"
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}")
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"


def _resolved(path: Path, info: ValidationInfo) -> Path:
    folder: Path | None = (info.context or {}).get("folder")
    return path if folder is None else folder / path


def _bind(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("must be ADDRESS:PORT, for example 127.0.0.1:8080 or [::1]:8080")
    if not (host == "localhost" or re.fullmatch(r"[0-9.]+|\[[0-9A-Fa-f:.]+\]", host)):
        raise ValueError("must name an address, not a host name: which interface is meant must not depend on DNS")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http(s)://HOST[:PORT]/PATH")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must have no user, query or fragment")
    return text


def _certificate(text: str, info: ValidationInfo) -> str:
    if _FINGERPRINT.fullmatch(text):
        return text.replace(":", "").lower()
    return str(_resolved(Path(text), info))


def _database(text: str) -> str:
    if not text.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
        raise ValueError("must be sqlite:///FILE or postgresql://...")
    return text


def _known(text: str, info: ValidationInfo) -> str:
    kind, separator, path = text.partition(":")
    if text in ("any", "feed"):
        return text
    if kind == "file" and path:
        return f"{kind}{separator}{_resolved(Path(path), info)}"
    raise ValueError('must be "any", "feed" or "file:" and a path')


def _charset(text: str) -> str:
    if text not in CHARSETS:
        raise ValueError(f"must be one of {', '.join(CHARSETS)}")
    return text


def _organisation(text: str) -> str:
    if text and (fault := organisation_fault(text, synthetic=True)):
        raise ValueError(fault)
    return text


def _audience(texts: tuple[str, ...]) -> tuple[str, ...]:
    if not all(texts):
        raise ValueError("holds an empty text")
    return texts


def _days(value: object) -> object:
    if value == "forever" or (type(value) is int and 1 <= value <= 36_500):
        return value
    raise ValueError('must be a number of days, at least 1, or "forever"')


Days = Annotated[StrictInt | Literal["forever"], BeforeValidator(_days)]
FilePath = Annotated[Path, AfterValidator(_resolved)]
RepositoryId = Annotated[str, Field(pattern=f"^{_OID}$", max_length=64)]
Certificate = Annotated[str, AfterValidator(_certificate)]
Url = Annotated[str, AfterValidator(_url)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=3600)]


class Section(BaseModel):
    """What all sections share: unknown keys are mistakes, values never change after load."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeSection(Section):
    """[node]: who this node is and where it keeps what it needs."""

    name: str = Field(pattern=f"^{NAME}$", description="Name of the node, shown in the audit trail.")
    home_community_id: str = Field(
        default="", pattern=f"^(urn:oid:{_OID})?$", description="homeCommunityId of every entry; empty leaves it out."
    )
    state: FilePath = Field(description="Folder of everything the node writes.")
    policy: FilePath = Field(description="Folder of the policy files.")
    open_agreements: tuple[str, ...] = Field(
        default=(), description="Agreements allowed to be open to any reader, kind and source together."
    )
    workers: StrictInt = Field(default=1, ge=1, le=128, description="Worker processes; at most one per core is of use.")


class Listener(Section):
    """[listener.NAME]: an address the node answers on."""

    bind: Annotated[str, AfterValidator(_bind)] = Field(description="ADDRESS:PORT to listen on.")
    public_url: Annotated[Url | None, Field(description="Address shown in the WSDL, as callers reach it.")] = None
    certificate: FilePath | None = Field(default=None, description="Server certificate chain (PEM).")
    key: FilePath | None = Field(default=None, description="Its private key (PEM), readable by the owner alone.")
    client_ca: FilePath | None = Field(default=None, description="CA whose client certificates are demanded (PEM).")
    machine_identity: str | None = Field(default=None, description="The [identity] of callers without a token.")
    max_request: StrictInt = Field(default=2 * MIB, ge=4096, le=64 * MIB, description="Largest request in bytes.")
    max_connections: StrictInt = Field(default=512, ge=1, le=65536, description="Open connections per worker.")
    max_exchanges: StrictInt = Field(
        default=64, ge=1, le=4096, description="Requests at a time per worker; more get 503."
    )

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.bind.rpartition(":")[0].strip("[]"))

    @property
    def tls(self) -> bool:
        """Whether callers must speak TLS and show a client certificate."""
        return self.client_ca is not None

    @property
    def url(self) -> str:
        """The address callers are told, without a trailing slash."""
        return (self.public_url or f"{'https' if self.tls else 'http'}://{self.bind}").rstrip("/")


class DatabaseSection(Section):
    """[database]: where the registry keeps its metadata."""

    url: Annotated[str, AfterValidator(_database)] = Field(
        default="sqlite:///innsyn.db", description="SQLAlchemy URL; a relative SQLite file lies in the state folder."
    )


class AuditSection(Section):
    """[audit]: where the trail is kept."""

    folder: FilePath | None = Field(
        default=None, description="Folder of the audit spool; `audit` in the state folder if absent."
    )
    reserve_mib: StrictInt = Field(default=512, ge=1, description="Free MiB below which no new exchange is answered.")
    source_id: str = Field(default="", max_length=128, description="Audit source id; the node's name if empty.")


class RetentionSection(Section):
    """[retention]: how long what only grows is kept."""

    audit_days: Days = Field(default="forever", description='Days of the audit trail that are kept, or `"forever"`.')
    tombstone_days: Days = Field(
        default="forever", description='Days for which an id of something removed is not given again, or `"forever"`.'
    )


class ClockSection(Section):
    """[clock]: simulated time, for demonstrations on one machine."""

    simulated: AwareDatetime | None = Field(default=None, description="Time that decisions start at, with offset.")


class PatientsSection(Section):
    """[patients]: which patients the registry knows, and which numbers are theirs."""

    known: Annotated[str, AfterValidator(_known)] = Field(
        default="any", description="Who is known: any that is registered for, who was fed, or a list (file:PATH)."
    )
    authorities: tuple[RepositoryId, ...] = Field(
        default=(), description="OIDs whose numbers are fed; the policy's [identifiers] patient if empty."
    )
    namespaces: dict[Annotated[str, Field(min_length=1, max_length=227)], RepositoryId] = Field(
        default={}, description="What HL7 v2 senders call an authority, and its OID."
    )

    @property
    def file(self) -> Path | None:
        """The list of those who are known, if there is one."""
        kind, _, path = self.known.partition(":")
        return Path(path) if kind == "file" else None


class Feed(Section):
    """[feed.NAME]: an address where a patient identity source sends HL7 v2 messages (ITI-8 over MLLP)."""

    bind: Annotated[str, AfterValidator(_bind)] = Field(description="ADDRESS:PORT to listen on.")
    identity: str = Field(description="The [identity] that sends here; over TLS it is known by its certificates.")
    certificate: FilePath | None = Field(default=None, description="Server certificate chain (PEM).")
    key: FilePath | None = Field(default=None, description="Its private key (PEM), readable by the owner alone.")
    client_ca: FilePath | None = Field(default=None, description="CA whose client certificates are demanded (PEM).")
    charset: Annotated[str, AfterValidator(_charset)] = Field(
        default="8859/1", description="Character set of messages that name none (MSH-18, HL7 table 0211)."
    )
    max_message: StrictInt = Field(default=65536, ge=1024, le=MIB, description="Largest message in bytes.")
    max_connections: StrictInt = Field(default=32, ge=1, le=4096, description="Open connections per worker.")
    idle_seconds: Seconds = Field(default=900.0, description="Longest time between two messages of a connection.")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.bind.rpartition(":")[0].strip("[]"))

    @property
    def tls(self) -> bool:
        """Whether senders must speak TLS and show a client certificate."""
        return self.client_ca is not None


class Issuer(Section):
    """[issuer.NAME]: a token service whose assertions are believed."""

    entity_id: str = Field(min_length=1, max_length=1024, description="The assertion's Issuer, compared exactly.")
    channel: Literal[Channel.CLINICIAN, Channel.CITIZEN] = Field(description="Whom its assertions speak for.")
    profile: Literal["2.1", "2020"] = Field(description="National token profile; never guessed.")
    audiences: Annotated[tuple[str, ...], AfterValidator(_audience)] = Field(
        min_length=1, description="Audiences an assertion must name one of."
    )
    certificates: tuple[FilePath, ...] = Field(min_length=1, description="Signing certificates (PEM).")
    simulated: StrictBool = Field(default=False, description="Marks the simulated token service.")


class Identity(Section):
    """[identity.NAME]: a machine that may call."""

    certificates: tuple[Certificate, ...] = Field(
        default=(), description="Client certificates: SHA-256 fingerprints or PEM files."
    )
    organisation: Annotated[str, AfterValidator(_organisation)] = Field(
        default="", description="Organisation number of whose machine it is; without one, blocks of any hold for it."
    )
    may_register: tuple[RepositoryId, ...] = Field(default=(), description="repositoryUniqueIds it may register for.")
    may_update: tuple[RepositoryId, ...] = Field(
        default=(), description="repositoryUniqueIds whose metadata it may update (ITI-57, ITI-92)."
    )
    may_remove: tuple[RepositoryId, ...] = Field(
        default=(), description="repositoryUniqueIds whose metadata it may remove (ITI-62)."
    )
    may_feed: StrictBool = Field(
        default=False, description="Whether it may tell which patients there are (ITI-8, ITI-44)."
    )

    @property
    def writes(self) -> bool:
        """Whether it may change anything in the registry."""
        return bool(self.may_register or self.may_update or self.may_remove or self.may_feed)


class Hospital(Section):
    """[hospital.NAME]: a document repository that documents are retrieved from."""

    repository_unique_ids: tuple[RepositoryId, ...] = Field(min_length=1, description="Repositories it answers for.")
    url: Url = Field(description="Its ITI-43 endpoint.")
    ca: FilePath | None = Field(default=None, description="The only CA its server certificate may come from (PEM).")
    certificate: FilePath | None = Field(default=None, description="Our client certificate towards it (PEM).")
    key: FilePath | None = Field(default=None, description="Its private key (PEM).")
    assertion: Literal["forward", "none"] = Field(description="Whether the caller's assertion goes along; no default.")
    audience: str = Field(default="", max_length=1024, description="Audience an assertion must name to be forwarded.")
    one_document_per_request: StrictBool = Field(default=False, description="Ask for each document by itself.")
    switched_off: StrictBool = Field(default=False, description="Known and not asked: its documents get an error.")
    max_parallel: StrictInt = Field(default=16, ge=1, le=4096, description="Exchanges with it at a time, per worker.")
    connect_seconds: Seconds = Field(default=3.0, description="Name, TCP and TLS together.")
    head_seconds: Seconds = Field(default=10.0, description="From the request to the end of the answer's root part.")
    idle_seconds: Seconds = Field(default=20.0, description="Longest gap between two chunks while we read.")

    @property
    def on_loopback(self) -> bool:
        """Whether its documents never leave this machine on the way here."""
        return is_loopback(urlsplit(self.url).hostname or "")


class QuerySection(Section):
    """[query]: how ITI-18 and ITI-51 are answered."""

    max_results: StrictInt = Field(default=5000, ge=1, le=100_000, description="Largest LeafClass answer, in objects.")
    unknown_patient_is_error: StrictBool = Field(default=False, description="XDSUnknownPatientId for unknown patients.")
    multi_patient: Across = Field(
        default=Across.OFF,
        description='ITI-51: `"off"`, `"patients"` (some must be named) or `"any"` (codes alone suffice).',
    )


class RetrieveSection(Section):
    """[retrieve]: how ITI-43 is answered."""

    overall_root_seconds: Seconds = Field(default=12.0, description="When the answer begins at the latest.")
    read_ahead_kib: StrictInt = Field(default=256, ge=16, le=4096, description="KiB read ahead per hospital.")
    caller_stall_seconds: Seconds = Field(default=30.0, description="Longest time a caller may read nothing.")


class ValidationSection(Section):
    """[validation]: how strictly submissions are judged, and what codes are agreed on."""

    rules: dict[str, str] = Field(
        default={}, description="Level by rule id: off, log, warn or reject; every other rule rejects."
    )
    sender: dict[str, dict[str, str]] = Field(
        default={}, description="The same for single senders, over `rules`, by the name of their [identity]."
    )
    codes: FilePath | None = Field(default=None, description="File of the codes and media types agreed on (TOML).")
    extra_metadata: Literal["keep", "warn"] = Field(
        default="keep", description="Slots beyond the framework: kept and shown, or left out with a warning."
    )


class LogSection(Section):
    """[log]: what the operator sees on stderr; never patient data, whatever is set here."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level shown.")
    form: Literal["auto", "json", "console"] = Field(default="auto", description="auto: console on a terminal.")


class Config(Section):
    """A whole configuration, every rule of server/settings.py checked."""

    node: NodeSection
    listener: dict[str, Listener]
    database: DatabaseSection = DatabaseSection()
    audit: AuditSection = AuditSection()
    retention: RetentionSection = RetentionSection()
    clock: ClockSection = ClockSection()
    patients: PatientsSection = PatientsSection()
    issuer: dict[str, Issuer] = {}
    identity: dict[str, Identity] = {}
    hospital: dict[str, Hospital] = {}
    feed: dict[str, Feed] = {}
    query: QuerySection = QuerySection()
    retrieve: RetrieveSection = RetrieveSection()
    validation: ValidationSection = ValidationSection()
    log: LogSection = LogSection()

    @property
    def database_url(self) -> str:
        """The database's URL with an absolute path."""
        kind, separator, path = self.database.url.partition("sqlite:///")
        return f"{kind}{separator}{self.node.state / path}" if separator else self.database.url

    @property
    def audit_folder(self) -> Path:
        """Where the audit spool lies."""
        return self.audit.folder or self.node.state / "audit"

    @property
    def audit_source_id(self) -> str:
        """How this node calls itself in the audit trail."""
        return self.audit.source_id or self.node.name

    @property
    def simulated(self) -> datetime | None:
        """The time decisions start at on a simulated node, None on a real one."""
        return self.clock.simulated
