"""Reads a verified SAML 2.0 assertion into plain values, and finds, recognises and attaches one in WS-Security.

Nothing here proves anything: `ihe.signature.check` does, and `read` takes what it returned. Time is an argument.
Sources: SAML 2.0 core, WS-Security SAML token profile 1.1, ITI TF-2 3.40 (XUA).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from lxml import etree

from ihe import xml
from ihe.errors import Mangled
from ihe.names import DS, SAML, SOAP12, WSSE, WSU, XSI

SKEW = timedelta(seconds=60)
"""How far the clocks of issuer and node may lie apart. National senders use up to five minutes; the policy says one."""
MAX_VALIDITY = timedelta(hours=24)
"""Longest NotBefore to NotOnOrAfter. XUA leaves the ceiling to the domain; national tokens live 20 or 60 minutes."""
MESSAGE_LIFE = timedelta(minutes=5)
"""Life of a wsu:Timestamp that names no end."""

BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
HOLDER_OF_KEY = "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"

_VALUE = xml.Budget(bytes=16 * 1024, nodes=64, depth=8, attributes=32, declarations=16)
"""For one element written as text inside an AttributeValue."""
_OPEN, _CLOSE = f'<value xmlns:xsi="{XSI}">', "</value>"
_BIDI = frozenset({"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"})
_UNKNOWN_CONDITIONS_KEPT = frozenset({f"{{{SAML}}}OneTimeUse", f"{{{SAML}}}ProxyRestriction"})
_TOKENS = ("{*}Assertion", "{*}EncryptedAssertion", "{*}BinarySecurityToken", "{*}UsernameToken")
"""In any namespace. For `iter`, which compares names in C: XPath took a thousand times as long for a large message."""
_PARTS = ("Issuer", "Subject", "Conditions", "AuthnStatement", "AttributeStatement")


@dataclass(frozen=True, slots=True)
class AttributeValue:
    """One value, in whichever of the shapes seen in the field it came: text, or one element as child or as text.

    OIDs stand without `urn:oid:`. An element's value has empty `text`, so that markup never passes for text.
    """

    text: str = ""
    code: str = ""
    code_system: str = ""
    display: str = ""
    root: str = ""
    extension: str = ""
    element: str = ""
    """Local name of the one element the value holds, or empty for text."""
    inner: tuple[tuple[str, str], ...] = ()
    """Children of that element: local name, and its `value` or else its text."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """What an issuer said of somebody, as values. Times are aware, UTC."""

    id: str
    issuer: str
    issue_instant: datetime
    name_id: str
    name_format: str
    sp_provided_id: str
    not_before: datetime
    not_on_or_after: datetime
    audiences: tuple[tuple[str, ...], ...]
    """One tuple per AudienceRestriction: all must match, each by any of its members."""
    confirmation_method: str
    confirmed_until: datetime | None
    holder_certificate: str
    """SHA-256 of the DER of the holder-of-key certificate in lower-case hex, or empty."""
    authn_instant: datetime
    session_until: datetime | None
    authn_context: str
    attributes: Mapping[str, tuple[AttributeValue, ...]]
    """By attribute name as sent; values without repetition, empty and nil ones left out."""


def find(security: xml.Element | None) -> xml.Element | None:
    """The assertion a caller sent, unverified, or None if the caller sent no token at all.

    Raises: Mangled for a security header with anything but an assertion and a timestamp in it: a token of another
    type, an encrypted one or a signature that nobody verifies must not count as no token.
    """
    if security is None:
        return None
    if security.tag != f"{{{WSSE}}}Security":
        raise Mangled("not a security header")
    found = None
    for child in security:
        if child.tag == f"{{{SAML}}}Assertion":
            # A second one is refused by signature.sole, which looks at the whole message.
            found = child if found is None else found
        elif child.tag != f"{{{WSU}}}Timestamp":
            raise Mangled("the security header holds a token that is not accepted")
    return found


def astray(body: xml.Element) -> bool:
    """True if a token stands anywhere in the message of this body, as its reader cut it out (ihe.soap.Call.body).

    For messages in whose security header `find` found none: a token for another role, beside the header or within the
    body was sent by somebody who counts on its being looked at.
    """
    return any(next(top.iter(*_TOKENS), None) is not None for top in (body, body.getroottree().getroot()))


def stale_message(security: xml.Element, now: datetime, skew: timedelta = SKEW) -> bool:
    """True if the header's wsu:Timestamp says that the message is too old or from the future; False if it has none.

    Raises: Mangled for two timestamps or an unreadable one. Source: WS-Security 1.0, section 10.
    """
    stamps = security.findall(f"{{{WSU}}}Timestamp")
    if not stamps:
        return False
    if len(stamps) > 1:
        raise Mangled("two timestamps")
    created, expires = _only(stamps[0], "Created"), _only(stamps[0], "Expires")
    begin = None if created is None else _instant(xml.text(created))
    end = None if expires is None else _instant(xml.text(expires))
    if begin is not None and now + skew < begin:
        return True
    if end is not None:
        return now - skew >= end
    if begin is None:
        raise Mangled("a timestamp without time")
    return now - skew - MESSAGE_LIFE >= begin


def issuer(assertion: xml.Element) -> str:
    """The issuer that `assertion` names, to the character: what keys are chosen by. Raises Mangled unless it is one."""
    named = assertion.findall(f"{{{SAML}}}Issuer")
    if len(named) != 1 or len(named[0]) or not named[0].text:
        raise Mangled("not exactly one issuer")
    return named[0].text


def audiences(assertion: xml.Element) -> tuple[tuple[str, ...], ...]:
    """Whom `assertion` names as its audiences: Assertion.audiences alone. Raises Mangled.

    For forwarding a verified assertion, which takes no more than this of it.
    """
    return _audiences(_one(assertion, "Conditions"))


def digest(assertion: xml.Element) -> bytes:
    """SHA-256 over the assertion, its signature and the namespaces in scope: equal only for what verifies equally."""
    return hashlib.sha256(xml.write(assertion)).digest()


def read(isolated: xml.Element) -> Assertion:
    """Every value of a verified assertion. Raises Mangled for what is missing, repeated, encrypted or unknown."""
    if isolated.tag != f"{{{SAML}}}Assertion" or isolated.get("Version") != "2.0":
        raise Mangled("not a SAML 2.0 assertion")
    for child in isolated:
        # Advice, encrypted statements and authorisation decisions: whoever sent them counts on their being understood.
        if child.tag not in {f"{{{SAML}}}{part}" for part in _PARTS} and child.tag != f"{{{DS}}}Signature":
            raise Mangled("the assertion has a part that is not accepted")
    subject, conditions = _one(isolated, "Subject"), _one(isolated, "Conditions")
    name_id, confirmation = _one(subject, "NameID"), _one(subject, "SubjectConfirmation")
    if len(subject) != 2 or len(name_id):
        raise Mangled("the subject is not one name and one confirmation")
    confirmed = confirmation.find(f"{{{SAML}}}SubjectConfirmationData")
    authn = _one(isolated, "AuthnStatement")
    name = _plain(name_id)
    if not name:
        raise Mangled("the subject has no name")
    return Assertion(
        id=_stated(isolated, "ID"),
        issuer=issuer(isolated),
        issue_instant=_instant(_stated(isolated, "IssueInstant")),
        name_id=name,
        name_format=name_id.get("Format", ""),
        sp_provided_id=_decent(name_id.get("SPProvidedID", "")),
        not_before=_instant(_stated(conditions, "NotBefore")),
        not_on_or_after=_instant(_stated(conditions, "NotOnOrAfter")),
        audiences=_audiences(conditions),
        confirmation_method=_stated(confirmation, "Method"),
        confirmed_until=None if confirmed is None else _instant_or_none(confirmed.get("NotOnOrAfter")),
        holder_certificate="" if confirmed is None else _certificate(confirmed),
        authn_instant=_instant(_stated(authn, "AuthnInstant")),
        session_until=_instant_or_none(authn.get("SessionNotOnOrAfter")),
        authn_context=_authn_context(authn),
        attributes=_attributes(isolated),
    )


def unfit(
    assertion: Assertion, audiences: Collection[str], certificate: str, now: datetime, skew: timedelta = SKEW
) -> str:
    """Why this assertion is not for us, for the audit trail; empty if it is. Says nothing about its having expired.

    `certificate`: SHA-256 of the caller's TLS certificate in hex, or empty. Audiences are compared to the character;
    every restriction must name one of ours (SAML core 2.5.1.4).
    """
    if not assertion.audiences or not all(set(either) & set(audiences) for either in assertion.audiences):
        return "issued for another audience"
    if not timedelta() < assertion.not_on_or_after - assertion.not_before <= MAX_VALIDITY:
        return "valid for longer than a day, or not at all"
    if max(assertion.issue_instant, assertion.authn_instant) > now + skew:
        return "issued, or its subject authenticated, in the future"
    if assertion.confirmation_method == HOLDER_OF_KEY:
        if not certificate or assertion.holder_certificate != certificate:
            return "held by another key than the connection's"
    elif assertion.confirmation_method != BEARER:
        return "its confirmation method is not accepted"
    return ""


def out_of_time(assertion: Assertion, now: datetime, skew: timedelta = SKEW) -> bool:
    """True before NotBefore, and from the first of NotOnOrAfter, the confirmation's and the session's end on."""
    ends = [assertion.not_on_or_after, assertion.confirmed_until, assertion.session_until]
    return now + skew < assertion.not_before or now - skew >= min(end for end in ends if end is not None)


def attach(envelope: xml.Element, assertion_xml: bytes) -> None:
    """Puts this very assertion into the envelope's security header, which is made if there is none.

    For calls to hospitals: the signature stays valid, since namespaces that it covers are declared in the assertion.
    Raises: Mangled if `assertion_xml` cannot be read or `envelope` is not SOAP 1.2.
    """
    assertion = xml.read(assertion_xml)
    if envelope.tag != f"{{{SOAP12}}}Envelope":
        raise Mangled("not a SOAP 1.2 envelope")
    header = envelope.find(f"{{{SOAP12}}}Header")
    if header is None:
        header = etree.Element(f"{{{SOAP12}}}Header")
        envelope.insert(0, header)
    security = header.find(f"{{{WSSE}}}Security")
    if security is None:
        security = etree.SubElement(header, f"{{{WSSE}}}Security", nsmap={"wsse": WSSE})
        security.set(f"{{{SOAP12}}}mustUnderstand", "1")
    security.append(assertion)


def _one(parent: xml.Element, name: str) -> xml.Element:
    found = parent.findall(f"{{{SAML}}}{name}")
    if len(found) != 1:
        raise Mangled(f"not exactly one {name}")
    return found[0]


def _only(stamp: xml.Element, name: str) -> xml.Element | None:
    found = stamp.findall(f"{{{WSU}}}{name}")
    if len(found) > 1:
        raise Mangled(f"two times {name}")
    return found[0] if found else None


def _stated(element: xml.Element, name: str) -> str:
    stated = element.get(name, "")
    if not stated:
        raise Mangled(f"{name} is missing")
    return stated


def _instant(written: str) -> datetime:
    """xs:dateTime in UTC, which SAML demands (core 1.3.3), with any number of decimals."""
    if len(written) < 20 or written[4:11:3] != "--T" or not written.endswith(("Z", "+00:00")) or not written.isascii():
        raise Mangled("a time is not written in UTC")
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        raise Mangled("a time is not written in UTC") from None


def _instant_or_none(written: str | None) -> datetime | None:
    return None if written is None else _instant(written)


def _plain(element: xml.Element) -> str:
    if len(element):
        raise Mangled("markup where text is expected")
    return _decent(xml.text(element))


def _decent(text: str) -> str:
    """`text`, if nothing in it hides or reorders what a human is shown of it."""
    if not text.isascii() or not text.isprintable():
        for character in text:
            if unicodedata.bidirectional(character) in _BIDI or (
                unicodedata.category(character) == "Cc" and character not in xml.WHITESPACE
            ):
                raise Mangled("a value has control characters")
    return text


def _audiences(conditions: xml.Element) -> tuple[tuple[str, ...], ...]:
    restrictions: list[tuple[str, ...]] = []
    for condition in conditions:
        if condition.tag == f"{{{SAML}}}AudienceRestriction":
            # Not stripped: an audience is compared to the character.
            restrictions.append(tuple(audience.text or "" for audience in condition if not len(audience)))
            if any(audience.tag != f"{{{SAML}}}Audience" for audience in condition):
                raise Mangled("an audience restriction is not understood")
        elif condition.tag not in _UNKNOWN_CONDITIONS_KEPT:
            raise Mangled("a condition is not understood")
    return tuple(restrictions)


def _certificate(confirmed: xml.Element) -> str:
    found = confirmed.findall(f"{{{DS}}}KeyInfo/{{{DS}}}X509Data/{{{DS}}}X509Certificate")
    if not found:
        return ""
    if len(found) > 1:
        raise Mangled("two holders of the key")
    try:
        der = base64.b64decode("".join(xml.text(found[0]).split()), validate=True)
    except (binascii.Error, ValueError):
        raise Mangled("the holder's certificate is not base64") from None
    return hashlib.sha256(der).hexdigest()


def _authn_context(authn: xml.Element) -> str:
    context = _one(authn, "AuthnContext")
    for name in ("AuthnContextClassRef", "AuthnContextDeclRef"):
        found = context.findall(f"{{{SAML}}}{name}")
        if len(found) > 1:
            raise Mangled("two authentication contexts")
        if found and _plain(found[0]):
            return _plain(found[0])
    raise Mangled("no authentication context")


def _attributes(assertion: xml.Element) -> Mapping[str, tuple[AttributeValue, ...]]:
    collected: dict[str, dict[AttributeValue, None]] = {}
    for statement in assertion.findall(f"{{{SAML}}}AttributeStatement"):
        for attribute in statement:
            if attribute.tag != f"{{{SAML}}}Attribute":
                raise Mangled("an attribute statement has something else than attributes")
            values = collected.setdefault(_decent(_stated(attribute, "Name")), {})
            for value in attribute:
                if value.tag != f"{{{SAML}}}AttributeValue":
                    raise Mangled("an attribute has something else than values")
                if value.get(f"{{{XSI}}}nil") not in ("true", "1") and (read_value := _value(value)) is not None:
                    values[read_value] = None
    return MappingProxyType({name: tuple(values) for name, values in collected.items()})


def _value(value: xml.Element) -> AttributeValue | None:
    if len(value) == 0:
        text = _decent(xml.text(value))
        if not text.startswith("<") or not text.endswith(">"):
            # Some issuers escape the ampersands of a patient identifier twice.
            return AttributeValue(text=text.replace("&amp;", "&")) if text else None
        # Some issuers write an element as escaped text, with the prefix of xsi:type undeclared.
        value = xml.read((_OPEN + text + _CLOSE).encode(), _VALUE)
    if len(value) != 1 or (value.text or "").strip() or (value[0].tail or "").strip():
        raise Mangled("a value is neither text nor one element")
    return _element(value[0])


def _element(element: xml.Element) -> AttributeValue:
    said: dict[str, str] = {}
    for name, content in element.attrib.items():
        if said.setdefault(_local(name), _decent(str(content))) != content:
            raise Mangled("a value says the same thing twice")
    inner = []
    for child in element:
        if len(child) or (child.tail or "").strip():
            raise Mangled("markup inside a value")
        inner.append((_local(child.tag), _decent(child.get("value") or xml.text(child))))
    if (element.text or "").strip():
        raise Mangled("text inside a value's element")
    return AttributeValue(
        code=said.get("code", ""),
        code_system=said.get("codeSystem", "").removeprefix("urn:oid:"),
        display=said.get("displayName", ""),
        root=said.get("root", "").removeprefix("urn:oid:"),
        extension=said.get("extension", ""),
        element=_local(element.tag),
        inner=tuple(inner),
    )


def _local(name: object) -> str:
    return str(name).rpartition("}")[2]
