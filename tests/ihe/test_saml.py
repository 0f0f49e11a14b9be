"""What a verified assertion says, in every shape seen in the field, and for whom and when it holds."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree

from ihe import saml, signature, xml
from ihe.errors import Mangled
from ihe.names import DS, HL7, SAML, SOAP12, WSSE, WSU, XSI
from ihe.saml import AttributeValue
from tests.tools import tokens
from tests.tools.tokens import NOW

AUDIENCES = frozenset({"nhn:dokumentdeling-saml"})
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def assertion(**changes: object) -> saml.Assertion:
    return replace(saml.read(xml.read(tokens.good(token_id="_a1"))), **changes)  # type: ignore[arg-type]


def with_value(inside: str, name: str = "urn:test", attributes: str = "") -> xml.Element:
    token = tokens.unsigned(tokens.good())
    statement = token.find(f"{{{SAML}}}AttributeStatement")
    assert statement is not None
    statement.append(
        etree.fromstring(
            f'<saml:Attribute xmlns:saml="{SAML}" xmlns:xsi="{XSI}" Name="{name}">'
            f"<saml:AttributeValue{attributes}>{inside}</saml:AttributeValue></saml:Attribute>"
        )
    )
    return xml.read(xml.write(token))


def edited(edit: Callable[[xml.Element], object]) -> xml.Element:
    token = tokens.unsigned(tokens.good())
    edit(token)
    return xml.read(xml.write(token))


def at(element: xml.Element, *path: str) -> xml.Element:
    for name in path:
        found = element.find(f"{{{SAML}}}{name}")
        assert found is not None
        element = found
    return element


def test_an_assertion_becomes_values() -> None:
    read = assertion()
    assert read.id == "_a1"
    assert read.issuer == tokens.ISSUER
    assert read.name_id == tokens.ANNE.number
    assert (read.not_before, read.not_on_or_after) == (NOW, NOW + 60 * MINUTE)
    assert read.audiences == (("nhn:dokumentdeling-saml",),)
    assert read.confirmation_method == saml.BEARER
    assert read.authn_context == "urn:oasis:names:tc:SAML:2.0:ac:classes:X509"
    assert read.attributes["urn:oasis:names:tc:xspa:1.0:subject:subject-id"] == (AttributeValue("Anne Eksempel"),)


ROLE = AttributeValue(code="LE", code_system="2.16.578.1.12.4.1.1.9060", display="Lege", element="Role")
CE = 'code="LE" codeSystem="urn:oid:2.16.578.1.12.4.1.1.9060" displayName="Lege"'
UNIT = AttributeValue(root="2.16.578.1.12.4.1.4.101", extension="958935420", element="id")
II = 'root="2.16.578.1.12.4.1.4.101" extension="958935420" assigningAuthorityName="https://www.brreg.no/"'


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("Anne", AttributeValue("Anne")),
        ("\n   Anne Eksempel\n  ", AttributeValue("Anne Eksempel")),
        ("<![CDATA[Anne]]>", AttributeValue("Anne")),
        (f'<Role xmlns="{HL7}" xsi:type="CE" {CE}/>', ROLE),
        (f'\n <h:Role xmlns:h="{HL7}" xsi:type="h:CE" {CE}/>\n', ROLE),
        (f'&lt;Role xmlns="{HL7}" xsi:type="CE" {CE}/&gt;'.replace('"', "&quot;"), ROLE),
        (f'&lt;Role xmlns="{HL7}" type="CE" {CE}/&gt;', ROLE),
        (f'&lt;Role xmlns:xsi="{HL7}" xsi:type="CE" {CE}/&gt;', ROLE),
        (f'&lt;id xmlns="{HL7}" xsi:type="II" {II}/&gt;', UNIT),
        (f'<id xmlns="{HL7}" {II}/>', UNIT),
        ("1^^^&amp;2.3&amp;ISO", AttributeValue("1^^^&2.3&ISO")),
        ("1^^^&amp;amp;2.3&amp;amp;ISO", AttributeValue("1^^^&2.3&ISO")),
        ("a &lt; b", AttributeValue("a < b")),
        (
            '&lt;decision-ref&gt;&lt;id value="7" /&gt;&lt;user-selected value="True" /&gt;&lt;/decision-ref&gt;',
            AttributeValue(element="decision-ref", inner=(("id", "7"), ("user-selected", "True"))),
        ),
    ],
)
def test_every_shape_of_a_value_seen_in_the_field_is_read(inside: str, expected: AttributeValue) -> None:
    assert saml.read(with_value(inside)).attributes["urn:test"] == (expected,)


@pytest.mark.parametrize(
    ("inside", "attributes"), [("", ""), ("  \n", ""), ("", ' xsi:nil="true"'), ("x", ' xsi:nil="1"')]
)
def test_an_empty_or_nil_value_is_no_value(inside: str, attributes: str) -> None:
    assert saml.read(with_value(inside, attributes=attributes)).attributes["urn:test"] == ()


@pytest.mark.parametrize(
    "inside",
    [
        "chief<b/>nurse",
        "<a/><b/>",
        f'<Role xmlns="{HL7}"><deep><deeper/></deep></Role>',
        '<Role code="LE" x:code="XX" xmlns:x="urn:x"/>',
        "<Role>text</Role>",
        "&lt;Role code=&quot;LE&quot;&gt;",
        "&lt;!DOCTYPE a&gt;&lt;a/&gt;",
        "&lt;?php ?&gt;",
        "&lt;a/&gt;&lt;/value&gt;&lt;value&gt;&lt;b/&gt;",
        "Anne\u202eenna",
        "Anne\u2066x",
        "Anne\x85x",
    ],
)
def test_a_value_that_two_readers_could_take_differently_is_refused(inside: str) -> None:
    with pytest.raises(Mangled):
        saml.read(with_value(inside))


def test_values_under_one_name_are_collected_without_repetition() -> None:
    token = with_value("a", "urn:oasis:names:tc:xspa:1.0:subject:subject-id")
    values = saml.read(token).attributes["urn:oasis:names:tc:xspa:1.0:subject:subject-id"]
    assert [value.text for value in values] == ["Anne Eksempel", "a"]


@pytest.mark.parametrize(
    ("what", "edit"),
    [
        ("version", lambda a: a.set("Version", "1.1")),
        ("no issue instant", lambda a: a.attrib.pop("IssueInstant")),
        ("local time", lambda a: a.set("IssueInstant", "2021-02-15T09:00:00")),
        ("offset", lambda a: a.set("IssueInstant", "2021-02-15T10:00:00+01:00")),
        ("week date", lambda a: a.set("IssueInstant", "2021-W07-1T09:00:00Z")),
        ("no such day", lambda a: a.set("IssueInstant", "2021-02-30T09:00:00Z")),
        ("two issuers", lambda a: a.insert(1, etree.fromstring(f'<Issuer xmlns="{SAML}">x</Issuer>'))),
        ("advice", lambda a: etree.SubElement(a, f"{{{SAML}}}Advice")),
        (
            "encrypted attribute",
            lambda a: etree.SubElement(at(a, "AttributeStatement"), f"{{{SAML}}}EncryptedAttribute"),
        ),
        ("encrypted name", lambda a: at(a, "Subject").insert(0, etree.Element(f"{{{SAML}}}EncryptedID"))),
        ("no name", lambda a: at(a, "Subject").remove(at(a, "Subject", "NameID"))),
        ("empty name", lambda a: setattr(at(a, "Subject", "NameID"), "text", " ")),
        ("markup in the name", lambda a: etree.SubElement(at(a, "Subject", "NameID"), "b")),
        ("no confirmation", lambda a: at(a, "Subject").remove(at(a, "Subject", "SubjectConfirmation"))),
        ("no conditions", lambda a: a.remove(at(a, "Conditions"))),
        ("no end", lambda a: at(a, "Conditions").attrib.pop("NotOnOrAfter")),
        ("no beginning", lambda a: at(a, "Conditions").attrib.pop("NotBefore")),
        ("unknown condition", lambda a: etree.SubElement(at(a, "Conditions"), f"{{{SAML}}}Condition")),
        ("no authentication", lambda a: a.remove(at(a, "AuthnStatement"))),
        ("no context", lambda a: at(a, "AuthnStatement").remove(at(a, "AuthnStatement", "AuthnContext"))),
        ("two authentications", lambda a: etree.SubElement(a, f"{{{SAML}}}AuthnStatement")),
        ("nameless attribute", lambda a: at(a, "AttributeStatement", "Attribute").attrib.pop("Name")),
    ],
)
def test_an_assertion_that_leaves_something_open_is_refused(what: str, edit: Callable[[xml.Element], object]) -> None:
    with pytest.raises(Mangled):
        saml.read(edited(edit))


def test_one_time_use_is_known_and_changes_nothing() -> None:
    token = edited(lambda a: etree.SubElement(at(a, "Conditions"), f"{{{SAML}}}OneTimeUse"))
    assert saml.read(token).audiences == (("nhn:dokumentdeling-saml",),)


def test_dotnet_writes_seven_decimals() -> None:
    token = edited(lambda a: a.set("IssueInstant", "2021-02-15T09:00:00.1234567Z"))
    assert saml.read(token).issue_instant == datetime(2021, 2, 15, 9, 0, 0, 123456, UTC)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (NOW - 60 * SECOND, False),
        (NOW - 61 * SECOND, True),
        (NOW + 60 * MINUTE + 59 * SECOND, False),
        (NOW + 61 * MINUTE, True),
    ],
)
def test_an_assertion_holds_from_its_beginning_until_its_end_give_or_take_a_minute(
    now: datetime, expected: bool
) -> None:
    assert saml.out_of_time(assertion(), now) is expected


@pytest.mark.parametrize("name", ["confirmed_until", "session_until"])
def test_the_earliest_end_counts(name: str) -> None:
    assert saml.out_of_time(assertion(**{name: NOW + MINUTE}), NOW + 2 * MINUTE)


@pytest.mark.parametrize(
    ("changes", "certificate", "fits"),
    [
        ({}, "", True),
        ({"audiences": ()}, "", False),
        ({"audiences": (("nhn:dokumentdeling",),)}, "", False),
        ({"audiences": (("nhn:dokumentdeling-saml ",),)}, "", False),
        ({"audiences": (("NHN:dokumentdeling-saml",),)}, "", False),
        ({"audiences": (("x", "nhn:dokumentdeling-saml"),)}, "", True),
        ({"audiences": (("nhn:dokumentdeling-saml",), ("x",))}, "", False),
        ({"audiences": (("nhn:dokumentdeling-saml",), ())}, "", False),
        ({"not_on_or_after": NOW + timedelta(hours=24)}, "", True),
        ({"not_on_or_after": NOW + timedelta(hours=24, seconds=1)}, "", False),
        ({"not_on_or_after": NOW}, "", False),
        ({"issue_instant": NOW + 61 * SECOND}, "", False),
        ({"authn_instant": NOW + 61 * SECOND}, "", False),
        ({"confirmation_method": "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"}, "", False),
        ({"confirmation_method": saml.HOLDER_OF_KEY, "holder_certificate": "aa"}, "aa", True),
        ({"confirmation_method": saml.HOLDER_OF_KEY, "holder_certificate": "aa"}, "bb", False),
        ({"confirmation_method": saml.HOLDER_OF_KEY, "holder_certificate": ""}, "", False),
    ],
)
def test_an_assertion_for_others_does_not_fit(changes: dict[str, object], certificate: str, fits: bool) -> None:
    assert (saml.unfit(assertion(**changes), AUDIENCES, certificate, NOW) == "") is fits


def test_the_holder_of_the_key_is_known_by_the_whole_certificate() -> None:
    der = b"any bytes stand for a certificate here"

    def hold(token: xml.Element) -> None:
        confirmation = at(token, "Subject", "SubjectConfirmation")
        confirmation.set("Method", saml.HOLDER_OF_KEY)
        lines = base64.encodebytes(der).decode()
        confirmation.append(
            etree.fromstring(
                f'<SubjectConfirmationData xmlns="{SAML}"><d:KeyInfo xmlns:d="{DS}"><d:X509Data><d:X509Certificate>'
                f"{lines}</d:X509Certificate></d:X509Data></d:KeyInfo></SubjectConfirmationData>"
            )
        )

    assert saml.read(edited(hold)).holder_certificate == hashlib.sha256(der).hexdigest()


def header(*children: str) -> xml.Element:
    return xml.read(f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:u="{WSU}">{"".join(children)}</wsse:Security>'.encode())


def test_no_header_and_an_empty_header_are_no_token() -> None:
    stamp = "<u:Timestamp><u:Created>2021-02-15T09:00:00Z</u:Created></u:Timestamp>"
    assert saml.find(None) is None
    assert saml.find(header()) is None
    assert saml.find(header(stamp)) is None


@pytest.mark.parametrize(
    "token",
    [
        f'<wsse:UsernameToken xmlns:wsse="{WSSE}"/>',
        f'<wsse:BinarySecurityToken xmlns:wsse="{WSSE}"/>',
        f'<EncryptedAssertion xmlns="{SAML}"/>',
        '<Assertion xmlns="urn:oasis:names:tc:SAML:1.0:assertion"/>',
        f'<Signature xmlns="{DS}"/>',
        "<x/>",
    ],
)
def test_another_token_is_never_taken_for_none(token: str) -> None:
    with pytest.raises(Mangled):
        saml.find(header(token))


@pytest.mark.parametrize(
    ("created", "expires", "stale"),
    [
        (NOW, NOW + 5 * MINUTE, False),
        (NOW - 5 * MINUTE, NOW - 59 * SECOND, False),
        (NOW - 5 * MINUTE, NOW - 60 * SECOND, True),
        (NOW + 2 * MINUTE, None, True),
        (NOW - 6 * MINUTE + SECOND, None, False),
        (NOW - 6 * MINUTE, None, True),
        (None, NOW, False),
        (datetime(9999, 12, 31, tzinfo=UTC), None, True),
    ],
)
def test_a_message_is_fresh_or_stale(created: datetime | None, expires: datetime | None, stale: bool) -> None:
    times = "".join(
        f"<u:{name}>{time.strftime('%Y-%m-%dT%H:%M:%SZ')}</u:{name}>"
        for name, time in (("Created", created), ("Expires", expires))
        if time
    )
    assert saml.stale_message(header(f"<u:Timestamp>{times}</u:Timestamp>"), NOW) is stale


@pytest.mark.parametrize("inside", ["<u:Timestamp/>", "<u:Timestamp/><u:Timestamp/>", "<u:Timestamp>x</u:Timestamp>"])
def test_a_timestamp_that_tells_no_time_is_refused(inside: str) -> None:
    with pytest.raises(Mangled):
        saml.stale_message(header(inside), NOW)


def test_the_digest_covers_the_signature_and_the_namespaces_in_scope() -> None:
    token = tokens.good()
    digests = {
        saml.digest(xml.read(token)),
        saml.digest(xml.read(token.replace(b"<ds:SignatureValue>", b"<ds:SignatureValue> "))),
        saml.digest(xml.read(b'<a xmlns:x="urn:x">' + token + b"</a>")[0]),
    }
    assert len(digests) == 3
    assert saml.digest(xml.read(b"<a>" + token + b"tail</a>")[0]) == saml.digest(xml.read(token))


@pytest.mark.parametrize("header_first", [True, False])
def test_an_attached_assertion_still_verifies_when_it_arrives(header_first: bool) -> None:
    token = tokens.sign_as(tokens.unsigned(tokens.good()), tokens.private_key(), prefixes="xs saml")
    body = '<s:Body xmlns:xs="urn:other"/></s:Envelope>'
    envelope = xml.read(
        f'<s:Envelope xmlns:s="{SOAP12}" xmlns:saml="{SAML}">{"<s:Header/>" if header_first else ""}{body}'.encode()
    )
    saml.attach(envelope, token)
    arrived = xml.read(xml.write(envelope))
    security = arrived[0].find(f"{{{WSSE}}}Security")
    assert security is not None
    assert security.get(f"{{{SOAP12}}}mustUnderstand") == "1"
    found = saml.find(security)
    assert found is not None
    signature.check(found, [signature.VerifyKey(tokens.key().certificate)])


def test_only_a_soap_envelope_takes_an_assertion() -> None:
    with pytest.raises(Mangled):
        saml.attach(xml.read(b"<a/>"), tokens.good())
