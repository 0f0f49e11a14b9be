"""Tokens that lie, one builder per way of lying. What `edit` and `resign` make is signed: only a rule refuses it."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Sequence

import xmlsec
from lxml import etree

from ihe import xml
from ihe.names import DS, SAML
from tests.tools import tokens
from tests.tools.tokens import forge

D = f"{{{DS}}}"
S = f"{{{SAML}}}"
Token = Callable[[], bytes]


def swap(old: bytes, new: bytes) -> Token:
    """The good token with a piece of it replaced, without being signed again."""

    def token() -> bytes:
        good = tokens.good(token_id="_a1")
        assert old in good
        return good.replace(old, new, 1)

    return token


def edit(change: Callable[[xml.Element], object]) -> Token:
    """A token that the issuer really signed after this change: only a rule can refuse it, not the signature."""
    return lambda: forge(change)


def at(element: xml.Element, *path: str) -> xml.Element:
    for name in path:
        found = element.find(S + name)
        assert found is not None
        element = found
    return element


def attribute(name: str, *values: str) -> Callable[[xml.Element], None]:
    def add(assertion: xml.Element) -> None:
        inside = "".join(f"<AttributeValue>{value}</AttributeValue>" for value in values)
        at(assertion, "AttributeStatement").append(
            etree.fromstring(f'<Attribute xmlns="{SAML}" Name="{name}">{inside}</Attribute>')
        )

    return add


def resign(**algorithms: object) -> Token:
    return lambda: tokens.sign_as(tokens.unsigned(tokens.good()), tokens.private_key(), **algorithms)  # type: ignore[arg-type]


def resigned(identifier: str, padding: int = 0, attributes: int = 0, uris: Sequence[str] = ()) -> bytes:
    """A token with this id, padded or stuffed with attributes, signed over what these URIs name."""
    assertion = tokens.unsigned(tokens.good(token_id=identifier))
    statement = at(assertion, "AttributeStatement")
    statement.text = " " * padding
    for _ in range(attributes):
        etree.SubElement(statement, S + "Attribute", Name="x")
    return tokens.sign_as(assertion, tokens.private_key(), uris=uris)


def hmac_with_our_certificate() -> bytes:
    secret = xmlsec.Key.from_binary_data(xmlsec.constants.KeyDataHmac, tokens.key().certificate)
    method = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"
    return tokens.sign_as(tokens.unsigned(tokens.good()), secret, method=method)


def own_key(key_info: str = "") -> bytes:
    """Signed by the attacker, whose own certificate the token carries, or whose KeyInfo says this."""
    attacker = tokens.key("attacker")
    token = forge(lambda _: None, attacker)
    if not key_info:
        return token
    assertion = etree.fromstring(token)
    found = assertion.find(f"{D}Signature/{D}KeyInfo")
    assert found is not None
    parent = found.getparent()
    assert parent is not None
    parent.replace(found, etree.fromstring(f'<KeyInfo xmlns="{DS}">{key_info}</KeyInfo>'))
    return etree.tostring(assertion)


def key_value() -> bytes:
    numbers = "<KeyValue><RSAKeyValue><Modulus>{}</Modulus><Exponent>AQAB</Exponent></RSAKeyValue></KeyValue>"
    return own_key(numbers.format(base64.b64encode(b"\xff" * 256).decode()))


def without(*path: str) -> Token:
    def token() -> bytes:
        assertion = etree.fromstring(tokens.good())
        found = assertion.find("/".join(D + name for name in path))
        assert found is not None
        parent = found.getparent()
        assert parent is not None
        parent.remove(found)
        return etree.tostring(assertion)

    return token


def two_signatures() -> bytes:
    assertion = etree.fromstring(tokens.good())
    signature = assertion.find(f"{D}Signature")
    assert signature is not None
    assertion.insert(1, copy.deepcopy(signature))
    return etree.tostring(assertion)


def vouched(method: str) -> Token:
    return edit(
        lambda a: at(a, "Subject", "SubjectConfirmation").set("Method", f"urn:oasis:names:tc:SAML:2.0:cm:{method}")
    )


def audiences(*restrictions: str) -> Token:
    def change(assertion: xml.Element) -> None:
        conditions = at(assertion, "Conditions")
        conditions.remove(at(conditions, "AudienceRestriction"))
        for audience in restrictions:
            conditions.append(
                etree.fromstring(
                    f'<AudienceRestriction xmlns="{SAML}"><Audience>{audience}</Audience></AudienceRestriction>'
                )
            )

    return edit(change)


def condition(**times: str) -> Token:
    def change(assertion: xml.Element) -> None:
        for name, time in times.items():
            at(assertion, "Conditions").set(name, time)

    return edit(change)


def drop(*path: str) -> Token:
    def change(assertion: xml.Element) -> None:
        at(assertion, *path[:-1]).remove(at(assertion, *path))

    return edit(change)


def renamed(issuer: str) -> Token:
    return edit(lambda assertion: setattr(at(assertion, "Issuer"), "text", issuer))


def element(name: str, *path: str, position: int = 0) -> Token:
    return edit(lambda assertion: at(assertion, *path).insert(position, etree.Element(S + name)))
