"""A token service for tests, demos and integrators: issues signed national assertions for made-up people.

Written from the national profile, not from our reader of it. Its key is trusted only where a configuration names it.
Sources: national SAML specification (2020 and 2.1), ITI TF-2 3.40 (XUA), SAML 2.0 core.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ihe import signature, xml
from ihe.errors import clip
from ihe.names import HL7, SAML

AUDIENCE = "nhn:dokumentdeling-saml"
CITIZEN_AUDIENCE = "https://xds.simulated.example/"
SCOPE = "journaldokumenter_helsepersonell"
MAX_ORDER = 16 * 1024
"""Bytes of one order over HTTP."""

_OID = "2.16.578.1.12.4.1."
_COMMUNITY = "urn:oid:" + _OID + "7.1.1"
_XSPA = "urn:oasis:names:tc:xspa:1.0:subject:"
_XACML = "urn:oasis:names:tc:xacml:2.0:"
_EHELSE = "urn:no:ehelse:saml:1.0:subject:"
_TRUST = "urn:nhn:trust-framework:1.0:ext:"
_PROVIDER = "urn:ihe:iti:xua:2017:subject:provider-identifier"
_ACP = "urn:ihe:iti:xua:2012:acp"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_X509 = "urn:oasis:names:tc:SAML:2.0:ac:classes:X509"
_CITIZEN_SCOPES = "innsynregisterbruk,innsynregisterinnhold,innsynpasientjournal,prover"
_NHN = "994598759"


class KeyPair(NamedTuple):
    """A private key and its self-signed certificate, both PEM."""

    private_key: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Clinician:
    """Somebody with a role at a place of care. Use made-up people only."""

    name: str
    number: str
    """F or D number."""
    hpr: str = ""
    role: str = "LE"
    """Code of list 9060."""
    legal_entity: str = ""
    legal_entity_name: str = ""
    place_of_care: str = ""
    place_of_care_name: str = ""
    department: str = ""
    """RESH number."""


@dataclass(frozen=True, slots=True)
class Need:
    """Why a clinician asks about a patient."""

    purpose: str = "TREAT"
    acp: str = ""
    """Last number of the access policy's OID: 5 is explicit consent, 7 an emergency. Empty for none."""
    decision_ref: str = "e7a1d9f0-0000-4000-8000-000000000001"
    user_selected: bool = False
    attested: datetime | None = None
    """Time of attestation; None for the time of issue."""


@dataclass(frozen=True, slots=True)
class TokenService:
    """Issues assertions under one name with one key. Tokens are UTF-8 XML, ready for `ihe.saml.attach`."""

    issuer: str
    key: KeyPair
    audience: str = AUDIENCE
    profile: str = "2.1"
    """"2.1" with the attributes of the trust framework, "2020" without."""
    life: timedelta = timedelta(minutes=60)
    client_legal_entity: str = ""
    """The organisation the calling system is registered to; empty leaves it out."""
    client_place_of_care: str = ""

    def clinician(
        self,
        who: Clinician,
        patient: str,
        at: datetime,
        need: Need = Need(),
        level: str = "4",
        token_id: str = "",
    ) -> bytes:
        """A clinician's token for one patient. `patient`: an F or D number, or a whole CX; `at`: time of issue."""
        said = [
            *self._about(who),
            (_XSPA + "purposeOfUse", _ce("PurposeOfUse", need.purpose, "2.16.840.1.113883.1.11.20448")),
            (_XACML + "action:purpose", _ce("Purpose", need.purpose, "2.16.840.1.113883.1.11.20448")),
            (_XACML + "resource:resource-id", patient_cx(patient)),
            (_EHELSE + "SecurityLevel", level),
            (_EHELSE + "Scope", SCOPE),
            (_EHELSE + "homeCommunityId", _COMMUNITY),
            (_EHELSE + "client_id", "00000000-0000-4000-8000-000000000000"),
            (_ACP, f"urn:oid:{_OID}7.2.1.{need.acp}" if need.acp else ""),
        ]
        if self.profile == "2.1":
            said += [(_TRUST + "subject:child-organization-name", who.place_of_care_name), *self._attest(need, at)]
        return self._issue(who.number, said, at, self.audience, token_id)

    def panel_member(self, who: Clinician, patient: str, at: datetime, need: Need = Need()) -> bytes:
        """The token of a doctor on a national panel: a clinician's, since nothing in a token says panel."""
        if who.role != "LE":
            raise ValueError("members of a panel are doctors")
        return self.clinician(who, patient, at, need)

    def citizen(
        self, name: str, number: str, at: datetime, represents: str = "", level: str = "4", token_id: str = ""
    ) -> bytes:
        """A citizen's token, for the own journal or that of `represents` (a child's number, say)."""
        said = [
            (_XSPA + "subject-id", name),
            (_XSPA + "organization", "Norsk Helsenett"),
            (_XSPA + "organization-id", _NHN),
            ("urn:ihe:iti:xca:2010:homeCommunityId", _COMMUNITY),
            ("urn:oasis:names:tc:xspa:2.0:subject:npi", number),
            (_PROVIDER, _ii(number, _OID + "4.1")),
            (_XSPA + "purposeofuse", _ce("PurposeOfUse", "13", "1.0.14265.1")),
            (_XACML + "resource:resource-id", patient_cx(represents or number)),
            ("SecurityLevel", level),
            ("Scope", _CITIZEN_SCOPES),
            (_ACP, f"urn:oid:{_OID}7.2.1.{1 if represents else 0}"),
        ]
        audience = CITIZEN_AUDIENCE if self.audience == AUDIENCE else self.audience
        return self._issue(number, said, at, audience, token_id, min(self.life, timedelta(minutes=20)))

    def _about(self, who: Clinician) -> Iterable[tuple[str, str]]:
        role = _ce("Role", who.role, "urn:oid:" + _OID + "1.9060")
        yield _XSPA + "subject-id", who.name
        yield _XSPA + "role", role
        yield _XACML + "subject:role", role
        yield "urn:oasis:names:tc:xspa:2.0:subject:npi", who.hpr
        yield _PROVIDER, _ii(who.hpr, _OID + "4.4") if who.hpr else _ii(who.number, _authority(who.number))
        yield _XSPA + "organization", who.legal_entity_name
        yield _XSPA + "organization-id", _ii(who.legal_entity, "urn:oid:" + _OID + "4.101")
        yield _XSPA + "child-organization", _ii(who.place_of_care, "urn:oid:" + _OID + "4.101")
        yield _XSPA + "facility-id", _ii(who.department, "urn:oid:" + _OID + "4.102")

    def _attest(self, need: Need, at: datetime) -> list[tuple[str, str]]:
        decision = (
            f'<decision-ref><id value="{xml.escape_attribute(need.decision_ref)}" />'
            f'<user-selected value="{need.user_selected}" /></decision-ref>'
        )
        return [
            (_TRUST + "care-relationship:decision-ref", decision if need.decision_ref or need.user_selected else ""),
            (_TRUST + "attestation:toa", str(int((need.attested or at).timestamp()))),
            (_TRUST + "client:orgnr-parent", self.client_legal_entity),
            (_TRUST + "client:orgnr-child", self.client_place_of_care),
        ]

    def _issue(
        self,
        name_id: str,
        said: Iterable[tuple[str, str]],
        at: datetime,
        audience: str,
        token_id: str,
        life: timedelta | None = None,
    ) -> bytes:
        begin, end = _instant(at), _instant(at + (life or self.life))
        identifier = xml.escape_attribute(token_id or f"_{uuid.uuid4()}")
        statement = "".join(
            f'<saml:Attribute Name="{name}"><saml:AttributeValue>{xml.escape_text(value)}</saml:AttributeValue>'
            "</saml:Attribute>"
            for name, value in said
            if value
        )
        unsigned = (
            f'<saml:Assertion xmlns:saml="{SAML}" ID="{identifier}" IssueInstant="{begin}" Version="2.0">'
            f"<saml:Issuer>{xml.escape_text(self.issuer)}</saml:Issuer>"
            f"<saml:Subject><saml:NameID>{xml.escape_text(name_id)}</saml:NameID>"
            f'<saml:SubjectConfirmation Method="{_BEARER}"/></saml:Subject>'
            f'<saml:Conditions NotBefore="{begin}" NotOnOrAfter="{end}"><saml:AudienceRestriction>'
            f"<saml:Audience>{xml.escape_text(audience)}</saml:Audience></saml:AudienceRestriction></saml:Conditions>"
            f"<saml:AttributeStatement>{statement}</saml:AttributeStatement>"
            f'<saml:AuthnStatement AuthnInstant="{begin}" SessionNotOnOrAfter="{end}"><saml:AuthnContext>'
            f"<saml:AuthnContextClassRef>{_X509}</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"
            "</saml:Assertion>"
        )
        signed = signature.sign(xml.read(unsigned.encode()), self.key.private_key, self.key.certificate)
        return xml.write(signed)


def new_key(name: str, at: datetime, life: timedelta = timedelta(days=825)) -> KeyPair:
    """A new RSA-2048 key with a self-signed certificate, valid from an hour before `at`."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(hours=1))
        .not_valid_after(at + life)
        .sign(private, hashes.SHA256())
    )
    return KeyPair(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        certificate.public_bytes(Encoding.PEM),
    )


def patient_cx(patient: str) -> str:
    """`patient` as CX: a bare number gets the authority that hands such numbers out, a whole CX stays."""
    return patient if "^" in patient else f"{patient}^^^&{_authority(patient)}&ISO"


def serve(service: TokenService, bind: tuple[str, int], now: Callable[[], datetime]) -> ThreadingHTTPServer:
    """An HTTP server, bound but not yet serving, that answers POST with a token; call its `serve_forever`.

    The order is JSON: {"who": {Clinician's fields}, "patient": number, "purpose": "TREAT"} or
    {"citizen": {"name": ..., "number": ...}, "represents": number}; optional are `at` (ISO 8601 with offset) and
    `acp`, `decision_ref` and `user_selected`. Anybody who reaches the port gets any token: bind to loopback.
    """

    class Counter(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > MAX_ORDER:
                self.send_error(413 if length.isdecimal() else 411)
                return
            try:
                token = fill(service, json.loads(self.rfile.read(int(length))), now())
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as wrong:
                self._answer(400, "text/plain; charset=UTF-8", clip(str(wrong), 200).encode())
                return
            self._answer(200, "application/samlassertion+xml", token)

        def log_message(self, format: str, *args: object) -> None:
            return

        def _answer(self, status: int, content_type: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return ThreadingHTTPServer(bind, Counter)


def fill(service: TokenService, order: dict[str, object], now: datetime) -> bytes:
    """The token that a JSON order asks for. Raises ValueError, TypeError or KeyError for an order without sense."""
    at = datetime.fromisoformat(str(order["at"])) if "at" in order else now
    if at.tzinfo is None:
        raise ValueError("`at` needs an offset from UTC")
    citizen = order.get("citizen")
    if isinstance(citizen, dict):
        return service.citizen(str(citizen["name"]), str(citizen["number"]), at, str(order.get("represents", "")))
    who = order["who"]
    if not isinstance(who, dict):
        raise ValueError("`who` is an object")
    usual = Need()
    need = Need(
        purpose=str(order.get("purpose", usual.purpose)),
        acp=str(order.get("acp", usual.acp)),
        decision_ref=str(order.get("decision_ref", usual.decision_ref)),
        user_selected=order.get("user_selected") is True,
    )
    person = Clinician(**{str(name): str(value) for name, value in who.items()})
    return service.clinician(person, str(order["patient"]), at, need)


def _authority(number: str) -> str:
    return _OID + ("4.3" if number[:1] in "89" else "4.2" if number[:1] in "4567" else "4.1")


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ce(name: str, code: str, system: str) -> str:
    return (
        f'<{name} xmlns="{HL7}" xsi:type="CE" code="{xml.escape_attribute(code)}" codeSystem="{system}" '
        f'displayName="{xml.escape_attribute(code)}"/>'
        if code
        else ""
    )


def _ii(extension: str, root: str) -> str:
    return (
        f'<id xmlns="{HL7}" xsi:type="II" extension="{xml.escape_attribute(extension)}" root="{root}" '
        'displayable="false"/>'
        if extension
        else ""
    )
