"""Everything that is known to fool verifiers of SAML in SOAP, each with the one answer it gets.

A message goes the whole way: read as a call, then judged by the gatekeeper. SECURITY is a Sender fault wsse:FailedCheck
with one constant text; EXPIRED is wsse:MessageExpired, which only a token with a valid signature can earn.
Row G17 (patient of the token and of the query) is judged where queries are, not here.
"""

from __future__ import annotations

import base64
import hashlib
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import xmlsec
from lxml import etree

from ihe import xml
from ihe.errors import FaultCode, SoapFault, Subcode
from ihe.names import DS, EXC_C14N, SAML, WSU
from ihe.soap import SECURITY_REFUSED
from policy.facts import Reason, Refusal, Subject
from tests.tools import tokens, xsw
from tests.tools.forgeries import (
    D,
    Token,
    at,
    attribute,
    audiences,
    condition,
    drop,
    edit,
    element,
    hmac_with_our_certificate,
    key_value,
    own_key,
    renamed,
    resign,
    resigned,
    swap,
    two_signatures,
    vouched,
    without,
)
from tests.tools.tokens import NOW, OTHER_CERTIFICATE, forge

MINUTE = timedelta(minutes=1)


def ask(raw: bytes, certificate: str = tokens.CERTIFICATE, **changes: object) -> Subject | SoapFault:
    """What the caller of this message gets to see, or who it was taken for."""
    try:
        call = tokens.call(raw)
    except SoapFault as fault:
        return fault
    answer = tokens.gatekeeper(tokens.trust(**changes))(call, tokens.peer(certificate), NOW)
    return answer.fault if isinstance(answer, Refusal) else answer


def security_answer(answer: Subject | SoapFault) -> bool:
    return isinstance(answer, SoapFault) and (answer.code, answer.subcode, answer.reason, answer.problem) == (
        FaultCode.SENDER,
        Subcode.FAILED_CHECK,
        SECURITY_REFUSED,
        "",
    )


def public_key() -> xmlsec.Key:
    return xmlsec.Key.from_memory(tokens.key().certificate, xmlsec.constants.KeyDataFormatCertPem, None)


def sent(token: bytes) -> bytes:
    return tokens.message(tokens.security(token))


# Signature wrapping --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", xsw.VARIANTS, ids=lambda variant: variant.__name__)
def test_a_wrapped_signature_fools_nobody(variant: Callable[[bytes], bytes]) -> None:
    raw = variant(tokens.good())
    assert security_answer(ask(raw))
    if variant in xsw.FOOLING:
        assert xsw.naive(raw, public_key()) == tokens.CHIEF, "this is no attack"


def test_the_token_without_a_wrapping_is_accepted() -> None:
    answer = ask(sent(tokens.good()))
    assert isinstance(answer, Subject)
    assert answer.name_id == tokens.ANNE.number


# G01 -----------------------------------------------------------------------------------------------------------------
def test_g01_a_comment_cuts_no_name_short() -> None:
    number = tokens.ANNE.number.encode()
    cut = tokens.good().replace(b"NameID>" + number, b"NameID>" + number[:6] + b"<!-- -->" + number[6:])
    assert b"<!--" in cut
    answer = ask(sent(cut))
    assert isinstance(answer, Subject)
    assert answer.name_id == tokens.ANNE.number


# G02-G16: refused with one text --------------------------------------------------------------------------------------
C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
XMLDSIG = "http://www.w3.org/2000/09/xmldsig#"
ENVELOPED = tokens.ENVELOPED
XSLT = b'<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"/>'
XPATH = b'<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><ds:XPath>1</ds:XPath></ds:Transform>'
NOTHING_MORE = b"</ds:Transforms>"
METHOD = tokens.RSA_SHA256.encode()

# Really signed by the issuer, or refused before a key is looked for: a rule refuses these, not the signature.
SIGNED: list[tuple[str, Token]] = [
    ("G02 with comments", resign(transforms=(ENVELOPED, EXC_C14N + "WithComments"))),
    ("G02 with comments, method", resign(c14n=EXC_C14N + "WithComments")),
    ("G02 inclusive", resign(transforms=(ENVELOPED, C14N))),
    ("G02 inclusive, method", resign(c14n=C14N)),
    ("G03 rsa-sha1", resign(method=XMLDSIG + "rsa-sha1")),
    ("G03 sha1 digest", resign(digest=XMLDSIG + "sha1")),
    ("G05 two references", lambda: resigned("_a1", uris=("#_a1", "#_a1"))),
    ("G07 empty", resign(uris=("",))),
    ("G08 only enveloped", resign(transforms=(ENVELOPED,))),
    ("G08 twenty", resign(transforms=(ENVELOPED, *[EXC_C14N] * 20))),
    ("G11 encrypted name", element("EncryptedID", "Subject", position=2)),
    ("G11 encrypted attribute", element("EncryptedAttribute", "AttributeStatement")),
    ("G11 advice", element("Advice", position=4)),
    ("G12 no end", edit(lambda a: at(a, "Conditions").attrib.pop("NotOnOrAfter"))),
    ("G12 longer than a day", condition(NotOnOrAfter="2021-02-16T09:00:01Z")),
    ("G12 ends before it begins", condition(NotOnOrAfter="2021-02-15T08:59:59Z")),
    ("G12 issued in the future", edit(lambda a: a.set("IssueInstant", "2021-02-15T09:01:01Z"))),
    ("G12 no such time", condition(NotOnOrAfter="2021-02-15T25:00:00Z")),
    ("G12 end of all time", condition(NotOnOrAfter="9999-12-31T23:59:59Z")),
    ("G12 before all time", condition(NotBefore="0001-01-01T00:00:00Z")),
    ("G13 none", audiences()),
    ("G13 other", audiences("https://other.example/")),
    ("G13 ours as prefix", audiences("nhn:dokumentdeling-saml-test")),
    ("G13 a prefix of ours", audiences("nhn:dokumentdeling")),
    ("G13 both must match", audiences("nhn:dokumentdeling-saml", "https://other.example/")),
    ("G13 unknown condition", element("Condition", "Conditions")),
    ("G14 none", drop("Subject", "SubjectConfirmation")),
    ("G14 sender-vouches", vouched("sender-vouches")),
    ("G14 holder of no key", vouched("holder-of-key")),
    ("G15 unknown", renamed("https://elsewhere.example")),
    ("G15 trailing space", renamed(tokens.ISSUER + " ")),
    ("G15 other case", renamed(tokens.ISSUER.upper())),
    ("G15 second issuer", edit(lambda a: a.insert(2, etree.fromstring(f'<Issuer xmlns="{SAML}">x</Issuer>')))),
    ("G16 twice", edit(attribute("urn:no:ehelse:saml:1.0:subject:SecurityLevel", "3"))),
    ("G16 markup", edit(attribute("urn:x", "a<b/>c"))),
    ("G16 markup for text", edit(attribute("urn:ihe:iti:xua:2012:acp", "<b/>"))),
    ("G16 reordered", edit(attribute("urn:x", "Anne\u202e"))),
    ("G19 too large", lambda: resigned("_a1", padding=65536)),
    ("G19 too many attributes", lambda: resigned("_a1", attributes=501)),
]
SPOILT: list[tuple[str, Token]] = [
    ("G03 md5", swap(METHOD, XMLDSIG.encode() + b"rsa-md5")),
    ("G03 dsa", swap(METHOD, XMLDSIG.encode() + b"dsa-sha1")),
    ("G04 hmac", hmac_with_our_certificate),
    ("G05 none", swap(METHOD, b"none")),
    ("G05 no value", without("Signature", "SignatureValue")),
    ("G05 no reference", without("Signature", "SignedInfo", "Reference")),
    ("G05 no digest", without("Signature", "SignedInfo", "Reference", "DigestValue")),
    ("G06 own certificate", own_key),
    ("G06 own key value", key_value),
    *((f"G07 {uri}", swap(b'URI="#_a1"', f'URI="{uri}"'.encode()))
      for uri in ("http://127.0.0.1/", "file:///etc/passwd", "#xpointer(/)", "#xpointer(id('_a1'))", "_a1", "#_a2")),
    ("G08 xslt", swap(NOTHING_MORE, XSLT + NOTHING_MORE)),
    ("G08 xpath", swap(NOTHING_MORE, XPATH + NOTHING_MORE)),
    ("G08 base64", swap(ENVELOPED.encode(), XMLDSIG.encode() + b"base64")),
    ("G09 two signatures", two_signatures),
    ("G10 unsigned", without("Signature")),
    ("G10 another key", lambda: forge(lambda _: None, tokens.key("other"))),
    ("G10 tampered", swap(tokens.ANNE.number.encode(), tokens.CHIEF.encode())),
    ("G11 encrypted assertion", lambda: f'<EncryptedAssertion xmlns="{SAML}"/>'.encode()),
]  # fmt: skip


@pytest.mark.parametrize("token", [row[1] for row in SIGNED], ids=[row[0] for row in SIGNED])
def test_an_honest_signature_excuses_nothing(token: Token) -> None:
    signed = token()
    xsw.verify_any(etree.fromstring(signed), public_key())
    assert security_answer(ask(sent(signed)))


@pytest.mark.parametrize("token", [row[1] for row in SPOILT], ids=[row[0] for row in SPOILT])
def test_a_signature_that_proves_nothing_is_refused(token: Token) -> None:
    assert security_answer(ask(sent(token())))


def test_g08_twenty_thousand_transforms_are_counted_and_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(*_: object) -> bool:
        raise AssertionError("cryptography was reached")

    monkeypatch.setattr("ihe.signature.VerifyKey.verifies", reached)
    many = f'<ds:Transform Algorithm="{EXC_C14N}"/>'.encode()
    for count in (600, 20_000):
        assert security_answer(ask(sent(swap(NOTHING_MORE, many * count + NOTHING_MORE)())))


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """A port that nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        yield listening


@pytest.mark.parametrize(
    "key_info",
    [
        '<RetrievalMethod URI="http://127.0.0.1:{port}/key"/>',
        '<X509Data><X509Certificate/></X509Data><RetrievalMethod URI="http://127.0.0.1:{port}/"/>',
        '<RetrievalMethod URI="file:///etc/passwd"/>',
    ],
)
def test_g06_key_info_is_never_followed(trap: socket.socket, key_info: str) -> None:
    assert security_answer(ask(sent(own_key(key_info.format(port=trap.getsockname()[1])))))
    with pytest.raises(TimeoutError):
        trap.accept()


def test_g06_key_info_is_never_consulted() -> None:
    foreign = etree.fromstring(own_key()).find(f"{D}Signature/{D}KeyInfo")
    assertion = etree.fromstring(tokens.good())
    own = assertion.find(f"{D}Signature/{D}KeyInfo")
    assert own is not None
    assert foreign is not None
    own.clear()
    own.extend(list(foreign))
    assert isinstance(ask(sent(etree.tostring(assertion))), Subject)


@pytest.mark.parametrize("name", ["wsu:Id", "ID", "Id", "id", "AssertionID"])
def test_g09_the_bodys_id_is_not_the_assertions(name: str) -> None:
    raw = tokens.message(
        tokens.security(tokens.good(token_id="_a1")), body_attributes=f' xmlns:wsu="{WSU}" {name}="_a1"'
    )
    assert security_answer(ask(raw))


def test_g09_a_signature_beside_the_assertion_is_refused() -> None:
    signature = etree.fromstring(tokens.good()).find(f"{D}Signature")
    assert signature is not None
    for children in ([tokens.good(), etree.tostring(signature)], [etree.tostring(signature), tokens.good()]):
        assert security_answer(ask(tokens.message(tokens.security(*children))))
    inside = tokens.QUERY_BODY.replace(b"</query:AdhocQueryRequest>", etree.tostring(signature))
    raw = tokens.message(tokens.security(tokens.good()), body=inside + b"</query:AdhocQueryRequest>")
    assert security_answer(ask(raw))


@pytest.mark.parametrize(
    ("token", "in_time"),
    [
        (condition(NotBefore="2021-02-15T08:00:00Z", NotOnOrAfter="2021-02-15T08:59:01Z"), True),
        (condition(NotBefore="2021-02-15T08:00:00Z", NotOnOrAfter="2021-02-15T08:59:00Z"), False),
        (condition(NotBefore="2021-02-15T09:01:00Z"), True),
        (condition(NotBefore="2021-02-15T09:01:01Z"), False),
        (edit(lambda a: at(a, "AuthnStatement").set("SessionNotOnOrAfter", "2021-02-15T08:59:00Z")), False),
    ],
    ids=["in the last second", "expired", "in the first second", "not yet", "session over"],
)
def test_g12_only_a_proven_token_hears_that_it_is_out_of_time(token: Token, in_time: bool) -> None:
    raw = sent(token())
    answer = ask(raw)
    if in_time:
        assert isinstance(answer, Subject)
    else:
        assert isinstance(answer, SoapFault)
        assert (answer.code, answer.subcode) == (FaultCode.SENDER, Subcode.MESSAGE_EXPIRED)
    assert security_answer(ask(raw.replace(tokens.ANNE.number.encode(), tokens.CHIEF.encode())))


def test_g14_holder_of_key() -> None:
    der = base64.b64encode(b"a certificate").decode()

    def held(assertion: xml.Element) -> None:
        confirmation = at(assertion, "Subject", "SubjectConfirmation")
        confirmation.set("Method", "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key")
        confirmation.append(
            etree.fromstring(
                f'<SubjectConfirmationData xmlns="{SAML}"><d:KeyInfo xmlns:d="{DS}"><d:X509Data><d:X509Certificate>'
                f"{der}</d:X509Certificate></d:X509Data></d:KeyInfo></SubjectConfirmationData>"
            )
        )

    raw = sent(forge(held))
    digest = hashlib.sha256(b"a certificate").hexdigest()
    assert isinstance(ask(raw, digest, holder_of_key=True), Subject)
    assert security_answer(ask(raw, OTHER_CERTIFICATE))
    assert security_answer(ask(raw, ""))
    assert security_answer(ask(sent(tokens.good()), holder_of_key=True))


def test_g15_an_issuers_key_signs_for_no_other_issuer() -> None:
    other = tokens.trust(tokens.key("other"), entity_id="https://other.example")
    gatekeeper = tokens.gatekeeper({**tokens.trust(), **other})
    stolen = tokens.asking(forge(lambda _: None, tokens.key("other")))
    answer = gatekeeper(stolen, tokens.peer(), NOW)
    assert isinstance(answer, Refusal)
    assert answer.reason is Reason.TOKEN_INVALID


@pytest.mark.parametrize("hostile", [b"&#0;", b"\x00", b"&#x1F;"])
def test_g16_nul_is_no_character(hostile: bytes) -> None:
    fault = ask(sent(swap(b"Anne Eksempel", b"Anne" + hostile)()))
    assert isinstance(fault, SoapFault)
    assert (fault.code, fault.subcode) == (FaultCode.SENDER, None)


def test_g18_a_token_serves_many_calls_of_one_client_and_none_of_another() -> None:
    gatekeeper, raw = tokens.gatekeeper(), sent(tokens.good())
    for _ in range(50):
        assert isinstance(gatekeeper(tokens.call(raw), tokens.peer(), NOW), Subject)
    stolen = gatekeeper(tokens.call(raw), tokens.peer(OTHER_CERTIFICATE), NOW)
    assert isinstance(stolen, Refusal)
    assert stolen.reason is Reason.TOKEN_REPLAY
    assert security_answer(stolen.fault)


def test_g20_a_doctype_is_the_messages_fault() -> None:
    fault = ask(b'<!DOCTYPE Envelope [<!ATTLIST Envelope xmlns CDATA "urn:x">]>' + sent(tokens.good()))
    assert isinstance(fault, SoapFault)
    assert (fault.code, fault.subcode) == (FaultCode.SENDER, None)


def test_g21_two_keys_hold_until_one_is_removed() -> None:
    old, new = tokens.key(), tokens.key("new")
    gatekeeper = tokens.gatekeeper(tokens.trust(old, new))
    by_old, by_new = (tokens.asking(forge(lambda _: None, pair)) for pair in (old, new))
    for call in (by_old, by_new):
        assert isinstance(gatekeeper(call, tokens.peer(), NOW), Subject)
    gatekeeper.trust(tokens.trust(new))
    assert isinstance(gatekeeper(by_old, tokens.peer(), NOW), Refusal)
    assert isinstance(gatekeeper(by_new, tokens.peer(), NOW), Subject)


def test_g22_a_role_outside_the_list_is_denied() -> None:
    fault = ask(sent(tokens.good(who=replace(tokens.ANNE, role="KING"))))
    assert isinstance(fault, SoapFault)
    assert (fault.subcode, fault.reason) == (Subcode.FAILED_AUTHENTICATION, "ROLE_NOT_ALLOWED")


def test_s13_a_stale_timestamp_is_refused() -> None:
    stamp = f'<u:Timestamp xmlns:u="{WSU}"><u:Expires>2021-02-15T08:58:00Z</u:Expires></u:Timestamp>'.encode()
    assert security_answer(ask(tokens.message(tokens.security(tokens.good(), stamp))))


def test_no_damage_to_a_message_makes_somebody_else_of_its_sender() -> None:
    chance = random.Random(20210215)
    gatekeeper, whole = tokens.gatekeeper(), sent(tokens.good())
    pieces = (b"<!-- -->", b"<a/>", b"&amp;", b" ", b" ID='_a'", b"]]>", b"\xc2\xad", b"\xff", b"<?x?>")
    admitted = 0
    for _ in range(600):
        at = chance.randrange(len(whole))
        damaged = whole[:at] + chance.choice((b"", *pieces)) + whole[at + chance.choice((0, 0, 1, 1, 20)) :]
        try:
            answer = gatekeeper(tokens.call(damaged), tokens.peer(), NOW)
        except SoapFault:
            continue
        if isinstance(answer, Subject):
            admitted += 1
            assert (answer.name_id, answer.patient_id[:11]) == (tokens.ANNE.number, tokens.P1)
    assert admitted, "nothing got through: the damage is too coarse to prove anything"
