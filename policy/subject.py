"""Who a verified assertion speaks of, in the national attribute profile, and whether such a caller may ask at all.

The only place that knows the profile's names and codes; rows A4-A9 of the decision table are `admit`.
Sources: national SAML specification (2020 and 2.1), trust framework attest rules ATT-n, ITI TF-2 3.40.4.1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from ihe.errors import Mangled, clip
from ihe.saml import Assertion, AttributeValue
from policy.facts import Basis, Channel, Reason, Subject
from policy.numbers import D_NUMBER, F_NUMBER, NumberKind, NumberRules, patient_id, person_number

_Meaning = TypeVar("_Meaning")

_XSPA = "urn:oasis:names:tc:xspa:1.0:subject:"
_XSPA2 = "urn:oasis:names:tc:xspa:2.0:subject:"
_XACML1 = "urn:oasis:names:tc:xacml:1.0:"
_XACML2 = "urn:oasis:names:tc:xacml:2.0:"
_EHELSE = "urn:no:ehelse:saml:1.0:subject:"
_TRUST = "urn:nhn:trust-framework:1.0:ext:"

# Each line lists the names under which one thing has been seen; they are compared without regard to case.
NAME = (_XSPA + "subject-id", _XACML1 + "subject:subject-id")
ROLE = (_XACML2 + "subject:role", _XSPA + "role")
HPR = (_XSPA2 + "npi", _XSPA + "npi")
PROVIDER_IDENTIFIER = ("urn:ihe:iti:xua:2017:subject:provider-identifier",)
LEGAL_ENTITY = (_XSPA + "organization-id",)
LEGAL_ENTITY_NAME = (_XSPA + "organization",)
PLACE_OF_CARE = (_XSPA + "child-organization",)
PLACE_OF_CARE_NAME = (_TRUST + "subject:child-organization-name",)
DEPARTMENT = (_XSPA + "facility-id", _TRUST + "subject:facility-id")
PURPOSE = (_XSPA + "purposeofuse", _XACML2 + "action:purpose")
PATIENT = (_XACML2 + "resource:resource-id", _XACML1 + "resource:resource-id")
ACCESS_BASIS = ("urn:ihe:iti:xua:2012:acp",)
DECISION_REF = (_TRUST + "care-relationship:decision-ref",)
SECURITY_LEVEL = {Channel.CLINICIAN: (_EHELSE + "SecurityLevel",), Channel.CITIZEN: ("SecurityLevel",)}
SCOPE = {Channel.CLINICIAN: (_EHELSE + "Scope",), Channel.CITIZEN: ("Scope",)}

# No public text gives SAML names for these three, which the trust framework has in its OAuth form; ours, same family.
ATTESTED_AT = (_TRUST + "attestation:toa",)
CLIENT_LEGAL_ENTITY = (_TRUST + "client:orgnr-parent",)
CLIENT_PLACE_OF_CARE = (_TRUST + "client:orgnr-child",)

_OID = "2.16.578.1.12.4.1."
HPR_NUMBER = _OID + "4.4"
ORGANISATION_NUMBER, RESH = _OID + "4.101", _OID + "4.102"
ROLE_SYSTEM = _OID + "1.9060"
PURPOSE_SYSTEMS = frozenset({"2.16.840.1.113883.1.11.20448", "2.16.840.1.113883.5.8", "1.0.14265.1"})
"""HL7 PurposeOfUse and ActReason (letters), ISO 14265 (digits): their codes cannot be taken for one another."""
BASES = {f"urn:oid:{_OID}7.2.1.5": Basis.CONSENT, f"urn:oid:{_OID}7.2.1.7": Basis.EMERGENCY}
"""Access policies that open blocks which say so; every other one opens nothing."""

NEEDS_HPR = frozenset({"LE", "SP"})
TOKEN_PROFILES = ("2.1", "2020")


@dataclass(frozen=True, slots=True)
class IssuerProfile:
    """What the operator says of a token service: nothing of it is guessed from what a token has or lacks."""

    entity_id: str
    channel: Channel
    token_profile: str
    """"2.1" (trust framework: time of attestation, decision_ref) or "2020" (neither)."""
    audiences: frozenset[str]
    holder_of_key: bool = False
    """Refuses bearer assertions."""

    def __post_init__(self) -> None:
        if self.token_profile not in TOKEN_PROFILES or not self.audiences or not self.entity_id:
            raise ValueError(
                f"issuer {clip(self.entity_id)}: entity id, a known token profile and audiences are needed"
            )
        if self.channel is Channel.MACHINE:
            # A machine is known by its connection: a token that made one would pass the rows on patients.
            raise ValueError(f"issuer {clip(self.entity_id)}: a token service speaks of people")


class Defaults(Protocol):
    """The node-wide lists of the policy in force."""

    @property
    def security_level(self) -> str:
        """Lowest assurance level accepted, one digit."""

    @property
    def channels(self) -> frozenset[Channel]:
        """Channels that may come with a token."""

    @property
    def roles(self) -> frozenset[str]:
        """Codes of list 9060."""

    @property
    def purposes(self) -> frozenset[str]:
        """Purposes of use."""

    @property
    def scope_token(self) -> str:
        """The scope a token must carry."""

    @property
    def token_skew(self) -> timedelta:
        """How far the issuer's clock may be off (row A3)."""

    @property
    def attest_age(self) -> timedelta:
        """How old an attest may be (ATT-58). No skew: it dies with the work on the patient, not with a clock."""


class AdmissionRules(Protocol):
    """The part of the policy in force that rows A3-A9 read."""

    @property
    def defaults(self) -> Defaults:
        """The node-wide lists."""

    @property
    def numbers(self) -> NumberRules:
        """Which person numbers are well-formed."""

    @property
    def places(self) -> Mapping[str, str]:
        """Organisation number of each place we list -> that of its legal entity."""

    @property
    def authorisations(self) -> Mapping[str, Collection[str]] | None:
        """HPR number -> roles authorised now, or None where no feed is connected."""


def subject_of(assertion: Assertion, issuer: IssuerProfile) -> Subject:
    """The person behind a verified assertion, in our words. Raises Mangled where two values contradict each other."""
    said = _Said(assertion)
    patients = said.all(PATIENT, _patient)
    decision = said.one(DECISION_REF, lambda value: value)
    inner = {} if decision is None else {name.replace("_", "-"): content for name, content in decision.inner}
    providers = tuple((value.root, value.extension) for value in said.values(PROVIDER_IDENTIFIER))
    return Subject(
        channel=issuer.channel,
        name=said.text(NAME),
        issuer=assertion.issuer,
        assertion_id=assertion.id,
        name_id=assertion.name_id,
        hpr=_hpr(said.one(HPR, _number) or "", providers, assertion.name_id),
        role=said.one(ROLE, lambda value: _coded(value, frozenset({ROLE_SYSTEM}))) or "",
        legal_entity=said.one(LEGAL_ENTITY, lambda value: _registered(value, ORGANISATION_NUMBER)) or "",
        legal_entity_name=said.text(LEGAL_ENTITY_NAME),
        place_of_care=said.one(PLACE_OF_CARE, lambda value: _registered(value, ORGANISATION_NUMBER)) or "",
        place_of_care_name=said.text(PLACE_OF_CARE_NAME),
        department=said.one(DEPARTMENT, lambda value: _registered(value, RESH)) or "",
        client_legal_entity=said.one(CLIENT_LEGAL_ENTITY, lambda value: _registered(value, ORGANISATION_NUMBER)) or "",
        client_place_of_care=said.one(CLIENT_PLACE_OF_CARE, lambda value: _registered(value, ORGANISATION_NUMBER))
        or "",
        purpose=said.one(PURPOSE, lambda value: _coded(value, PURPOSE_SYSTEMS)) or "",
        basis=BASES.get(said.text(ACCESS_BASIS)),
        patient_id=patients[0] if len(patients) == 1 else "",
        patient_ids=len(patients),
        security_level=said.text(SECURITY_LEVEL[issuer.channel]),
        scopes=frozenset(said.text(SCOPE[issuer.channel]).replace(",", " ").split()),
        decision_ref="" if decision is None else inner.get("id", decision.text),
        user_selected=inner.get("user-selected", "").lower() == "true",
        token_profile=issuer.token_profile,
        provider_identifiers=providers,
    )


def attested_at(assertion: Assertion, issuer: IssuerProfile) -> datetime | None:
    """When the need was attested, or None in a profile without attests. Raises Mangled for an unreadable time.

    Where the token does not tell, its time of issue stands in: no attest of it can be younger than that.
    """
    if issuer.token_profile != "2.1":
        return None
    seconds = _Said(assertion).text(ATTESTED_AT)
    if not seconds:
        return assertion.issue_instant
    if not (seconds.isascii() and seconds.isdecimal() and len(seconds) <= 10):
        raise Mangled("the time of attestation is not a number of seconds")
    return datetime.fromtimestamp(int(seconds), UTC)


def admit(subject: Subject, rules: AdmissionRules) -> Reason | None:
    """The first of rows A4-A9 that refuses this subject, or None."""
    defaults = rules.defaults
    if subject.channel not in defaults.channels:
        return Reason.CHANNEL_NOT_ALLOWED
    if not _reaches(subject.security_level, defaults.security_level):
        return Reason.LOA_LOW
    if not _one_person(subject, rules.numbers):
        return Reason.SUBJECT_MISMATCH
    if subject.role not in defaults.roles or not _authorised(subject, rules.authorisations):
        return Reason.ROLE_NOT_ALLOWED
    if not _one_organisation(subject, rules.places):
        return Reason.ORG_MISMATCH
    if not subject.purpose:
        return Reason.PURPOSE_MISSING
    if subject.purpose not in defaults.purposes:
        return Reason.PURPOSE_NOT_ALLOWED
    if defaults.scope_token not in subject.scopes:
        return Reason.TOKEN_SCOPE
    if subject.token_profile == "2.1" and not (subject.decision_ref or subject.user_selected):
        return Reason.NEED_NOT_STATED
    return None


class _Said:
    """An assertion's attributes by what they mean: every alias counts, and they may not contradict each other."""

    def __init__(self, assertion: Assertion) -> None:
        self._values: dict[str, list[AttributeValue]] = {}
        for name, values in assertion.attributes.items():
            self._values.setdefault(name.lower(), []).extend(values)

    def values(self, names: Sequence[str]) -> list[AttributeValue]:
        return list(dict.fromkeys(value for name in names for value in self._values.get(name.lower(), ())))

    def all(self, names: Sequence[str], meaning: Callable[[AttributeValue], _Meaning]) -> list[_Meaning]:
        return list(dict.fromkeys(meaning(value) for value in self.values(names)))

    def one(self, names: Sequence[str], meaning: Callable[[AttributeValue], _Meaning]) -> _Meaning | None:
        found = self.all(names, meaning)
        if len(found) > 1:
            raise Mangled(f"two different values of {names[0]}")
        return found[0] if found else None

    def text(self, names: Sequence[str]) -> str:
        return self.one(names, _text) or ""


def _text(value: AttributeValue) -> str:
    if value.element:
        raise Mangled("markup where the profile has text")
    return value.text


def _number(value: AttributeValue) -> str:
    return value.extension or value.code or value.text


def _coded(value: AttributeValue, systems: frozenset[str]) -> str:
    """The code, if it is of one of these systems; else something that no list of codes holds."""
    if value.code and value.code_system in systems:
        return value.code
    return clip(f"{value.code or value.text}@{value.code_system}")


def _registered(value: AttributeValue, register: str) -> str:
    """The number in this register; a number of another register becomes something that no list of ours holds."""
    if value.element:
        return value.extension if value.root == register else clip(f"{value.extension}@{value.root}")
    return value.text.removeprefix(f"urn:oid:{register}.")


def _patient(value: AttributeValue) -> str:
    """`id^^^&oid&ISO` without `urn:oid:`; what is not such an identifier stays as sent and will match nobody."""
    sent = f"{value.extension}^^^&{value.root}&ISO" if value.element else value.text
    known = patient_id(sent)
    return known.cx if known else sent


def _hpr(npi: str, providers: Sequence[tuple[str, str]], name_id: str) -> str:
    """The HPR number: the npi, unless that only repeats the user's own number; without an npi the provider's."""
    if npi:
        return "" if npi == name_id else npi
    return next((extension for root, extension in providers if root == HPR_NUMBER), "")


def _reaches(level: str, wanted: str) -> bool:
    return len(level) == 1 and level.isascii() and level.isdecimal() and level >= wanted


def _one_person(subject: Subject, numbers: NumberRules) -> bool:
    """A6: ATT-10 and ATT-11, and every provider identifier of a register we know names the same person."""
    own = person_number(subject.name_id, numbers)
    if own is None or own.kind not in (NumberKind.F, NumberKind.D):
        return False
    if subject.role in NEEDS_HPR and not subject.hpr:
        return False
    same = {F_NUMBER: subject.name_id, D_NUMBER: subject.name_id, HPR_NUMBER: subject.hpr}
    return all(same.get(root, extension) == extension for root, extension in subject.provider_identifiers)


def _authorised(subject: Subject, current: Mapping[str, Collection[str]] | None) -> bool:
    """A7, ATT-32: true without a feed; a feed that does not know the number says that it is not authorised."""
    return current is None or not subject.hpr or subject.role in current.get(subject.hpr, ())


def _one_organisation(subject: Subject, places: Mapping[str, str]) -> bool:
    """A8: the client's organisation and the place's legal entity are those that the token names, where known."""
    return (
        subject.client_legal_entity in ("", subject.legal_entity)
        and subject.client_place_of_care in ("", subject.place_of_care)
        and places.get(subject.place_of_care, subject.legal_entity) == subject.legal_entity
    )
