"""The words of a decision: who asks, about what, why it was answered so, and the ports through which facts arrive.

Pure values; no XML, no I/O. Sources: the pilot's sharing agreements (docs/policy-guide.md) and ITI TF-3 4.2.3.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ihe.errors import SoapFault
from ihe.metadata import Coded
from ihe.names import Status
from ihe.soap import Call

if TYPE_CHECKING:
    from policy.agreements import Policy
    from policy.blocks import Block


class Channel(StrEnum):
    """How a caller came: known from the token's issuer, or a machine identity of the listener."""

    CLINICIAN = "clinician"
    CITIZEN = "citizen"
    MACHINE = "machine"


class Purpose(StrEnum):
    """Purpose of use (HL7 v3 ActReason subset used nationally)."""

    TREAT = "TREAT"
    ETREAT = "ETREAT"
    COC = "COC"
    BTG = "BTG"


class Basis(StrEnum):
    """Access basis read from the token's ACP; opens only blocks that say so."""

    CONSENT = "consent"
    EMERGENCY = "emergency"


class Reason(StrEnum):
    """Every reason code of the decision table, in its order. Codes of rows B-E never reach a caller."""

    TOKEN_MISSING = "TOKEN_MISSING"
    TOKEN_MALFORMED = "TOKEN_MALFORMED"
    TOKEN_INVALID = "TOKEN_INVALID"
    ATTEST_EXPIRED = "ATTEST_EXPIRED"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    TOKEN_REPLAY = "TOKEN_REPLAY"
    CHANNEL_NOT_ALLOWED = "CHANNEL_NOT_ALLOWED"
    LOA_LOW = "LOA_LOW"
    SUBJECT_MISMATCH = "SUBJECT_MISMATCH"
    ROLE_NOT_ALLOWED = "ROLE_NOT_ALLOWED"
    ORG_MISMATCH = "ORG_MISMATCH"
    PURPOSE_MISSING = "PURPOSE_MISSING"
    PURPOSE_NOT_ALLOWED = "PURPOSE_NOT_ALLOWED"
    TOKEN_SCOPE = "TOKEN_SCOPE"
    NEED_NOT_STATED = "NEED_NOT_STATED"
    PATIENT_MISSING = "PATIENT_MISSING"
    PATIENT_INVALID = "PATIENT_INVALID"
    BLOCKS_UNAVAILABLE = "BLOCKS_UNAVAILABLE"
    PATIENT_MISMATCH = "PATIENT_MISMATCH"
    NO_AGREEMENT = "NO_AGREEMENT"
    UNKNOWN_DOC = "UNKNOWN_DOC"
    PATIENT_MISMATCH_DOC = "PATIENT_MISMATCH_DOC"
    NO_AGREEMENT_SOURCE = "NO_AGREEMENT_SOURCE"
    SCOPE_NOT_YET = "SCOPE_NOT_YET"
    SCOPE_EXPIRED = "SCOPE_EXPIRED"
    REGION_NOT_ALLOWED = "REGION_NOT_ALLOWED"
    DEPT_NOT_LISTED = "DEPT_NOT_LISTED"
    PERSON_NOT_ENROLLED = "PERSON_NOT_ENROLLED"
    ROLE_NOT_IN_SCOPE = "ROLE_NOT_IN_SCOPE"
    PURPOSE_NOT_IN_SCOPE = "PURPOSE_NOT_IN_SCOPE"
    BLOCK_VISIT_HISTORY = "BLOCK_VISIT_HISTORY"
    BLOCK_RESERVATION = "BLOCK_RESERVATION"
    BLOCK_SHARING = "BLOCK_SHARING"
    BLOCK_PERSON = "BLOCK_PERSON"
    BLOCK_ORG = "BLOCK_ORG"
    BLOCK_SOURCE_TOTAL = "BLOCK_SOURCE_TOTAL"
    BLOCK_OPENABLE = "BLOCK_OPENABLE"
    KIND_NOT_SHARED = "KIND_NOT_SHARED"
    NOT_SIGNED = "NOT_SIGNED"
    WITHDRAWN = "WITHDRAWN"
    DEPRECATED = "DEPRECATED"
    BLOCK_DOC = "BLOCK_DOC"
    TOO_OLD = "TOO_OLD"
    NOT_LISTED = "NOT_LISTED"
    OK = "OK"
    OK_BTG = "OK_BTG"
    OK_CONSENT = "OK_CONSENT"
    SOURCE_UNAVAILABLE = "SOURCE_UNAVAILABLE"


class DocumentKey(NamedTuple):
    """What a consumer asks a document by (TF-2 3.43.4.1.2); both parts exactly as sent or stored."""

    repository_unique_id: str
    unique_id: str


class EntryFacts(NamedTuple):
    """What decisions need of one DocumentEntry; typed columns of the store, no XML. Times are aware, UTC.

    A tuple, since a query makes one for every row it reads: a frozen dataclass of 18 fields takes six times as long.
    """

    entry_uuid: str
    lid: str
    version: int
    status: Status
    unique_id: str
    repository_unique_id: str
    patient_id: str
    """CX as stored, already resolved to the surviving identity."""
    mime_type: str
    hash: str
    size: int | None
    class_code: Coded
    type_code: Coded
    confidentiality_codes: tuple[Coded, ...]
    creation_time: str
    registered_at: datetime
    registered_by: str
    """Name of the machine identity that registered it."""
    signed_at: datetime | None
    """Slot urn:innsyn:signedAt, or the registration time of an entry with a legalAuthenticator, or None: unsigned."""
    withdrawn: bool

    @property
    def key(self) -> DocumentKey:
        """(repositoryUniqueId, uniqueId): entries that share it are one family."""
        return DocumentKey(self.repository_unique_id, self.unique_id)


@dataclass(frozen=True, slots=True)
class Peer:
    """The connection a request came on, as the node's own edge saw it."""

    listener: str
    address: str
    certificate: str
    """SHA-256 of the client certificate's DER in lower-case hex, or empty."""
    correlation: str
    """The exchange's id: in the answer's header, the audit record and the operator's trace."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks, after the token (or the machine identity) was verified. Empty text means: not stated."""

    channel: Channel
    name: str
    issuer: str = ""
    assertion_id: str = ""
    name_id: str = ""
    """The person's F or D number (NameID)."""
    hpr: str = ""
    role: str = ""
    """Code of list 9060, e.g. LE."""
    legal_entity: str = ""
    legal_entity_name: str = ""
    place_of_care: str = ""
    place_of_care_name: str = ""
    department: str = ""
    client_legal_entity: str = ""
    """The organisation the client system is registered to (A8), where the token tells."""
    client_place_of_care: str = ""
    purpose: str = ""
    basis: Basis | None = None
    patient_id: str = ""
    """resource-id as canonical CX."""
    patient_ids: int = 0
    """How many different resource-ids the token carried; anything but one is A10."""
    security_level: str = ""
    scopes: frozenset[str] = frozenset()
    decision_ref: str = ""
    user_selected: bool = False
    token_profile: str = ""
    """"2.1" or "2020", from the issuer's configuration."""
    provider_identifiers: tuple[tuple[str, str], ...] = ()
    """(root, extension) pairs of provider-identifier."""
    machine: str = ""
    """Name of the machine identity (channel machine only)."""
    may_register: tuple[str, ...] = ()
    """repositoryUniqueIds this machine identity may register for."""
    may_update: tuple[str, ...] = ()
    """repositoryUniqueIds whose metadata it may update (ITI-57, ITI-92)."""
    may_remove: tuple[str, ...] = ()
    """repositoryUniqueIds whose metadata it may remove (ITI-62)."""
    may_feed: bool = False
    """Whether it may tell which patients there are (ITI-8, ITI-44)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about one object or one request, with everything the audit trail needs to explain it."""

    permit: bool
    reason: Reason
    also: tuple[Reason, ...] = ()
    """Later failing rows, logged beside the primary reason."""
    source: str = ""
    agreement: str = ""
    block: str = ""
    notify_patient: bool = False
    alert: bool = False
    """Operators are told: somebody asked across patients."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request refused on its token or connection (rows A1-A9): the fault to send and the reason to record."""

    reason: Reason
    fault: SoapFault
    subject: Subject | None = None
    """Set only when the signature held, so that the trail never names an unproven person."""
    note: str = ""
    """What exactly was wrong, for the trail alone: the caller gets one text for every reason."""


class BlocksUnavailable(Exception):
    """Blocks or identity links cannot be read: fail closed (row A10b)."""


class CallerUnknown(Exception):
    """Who calls cannot be told now: fail closed. `str()` says why, for the trail."""


class RulesUnknown(Exception):
    """No policy is in force: fail closed; no rules would look like no restrictions."""


class Identify(Protocol):
    """Rows A1-A9 for one request."""

    def __call__(self, call: Call, peer: Peer, now: datetime) -> Subject | Refusal:
        """The caller, or why not; nothing a caller can send raises. Raises RulesUnknown, CallerUnknown."""


class Rules(Protocol):
    """The policy in force."""

    def __call__(self) -> Policy:
        """The whole policy, swapped at a generation. Raises RulesUnknown."""


class Blocks(Protocol):
    """The patients' blocks, read at the moment of decision."""

    def of(self, patient_ids: Iterable[str]) -> Mapping[str, tuple[Block, ...]]:
        """Blocks (in force or not) of each patient's whole identity set. Raises BlocksUnavailable."""

    def sequence(self) -> int:
        """Number of the last change to any block. Raises BlocksUnavailable."""


class Clock(Protocol):
    """Time as decisions see it; simulated only on a loopback node."""

    def now(self) -> datetime:
        """Aware, UTC."""

    def wall(self) -> datetime:
        """The real time, equal to now() unless simulated. Aware, UTC."""

    @property
    def simulated(self) -> bool:
        """True on a node whose decisions do not follow the real clock."""
