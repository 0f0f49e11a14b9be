"""What counts as signed, and what comes back: the isolated copy and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from lxml import etree

from ihe import saml, signature, xml
from ihe.errors import Mangled
from ihe.names import DS, EXC_C14N, SAML, WSSE
from simulators import sts
from tests.tools import tokens

KEYS = [signature.VerifyKey(tokens.key().certificate)]


def pair_of(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> sts.KeyPair:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    at = datetime(2021, 1, 1, tzinfo=UTC)
    certificate = x509.CertificateBuilder(name, name, private.public_key(), 7, at, at + timedelta(days=9))
    return sts.KeyPair(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        certificate.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM),
    )


def test_a_signed_assertion_comes_back_alone() -> None:
    sent = tokens.asking(tokens.good()).security
    assertion = saml.find(sent)
    assert assertion is not None
    verified = signature.check(assertion, KEYS)
    assert verified is not assertion
    assert verified.getparent() is None
    assert verified.get("ID") == assertion.get("ID")


def test_every_value_signed_is_found_in_the_copy() -> None:
    # Elements that the signing library makes cannot be found in the tree it makes them in.
    signed = signature.sign(tokens.unsigned(tokens.good()), *tokens.key())
    for name in ("SignedInfo", "SignatureValue", "KeyInfo"):
        assert signed.find(f"{{{DS}}}Signature/{{{DS}}}{name}") is not None


def test_what_is_not_signed_by_anybody_is_gone_from_the_copy() -> None:
    verified = signature.check(xml.read(tokens.good()), KEYS)
    assert not list(verified.iter(f"{{{DS}}}KeyInfo"))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_an_elliptic_key_signs_and_verifies(curve: ec.EllipticCurve) -> None:
    pair = pair_of(ec.generate_private_key(curve))
    token = tokens.forge(lambda assertion: None, pair)
    assert b"ecdsa-sha256" in token
    signature.check(xml.read(token), [signature.VerifyKey(pair.certificate)])


@pytest.mark.parametrize("method", ["rsa-sha256", "rsa-sha384", "rsa-sha512"])
@pytest.mark.parametrize(
    "digest",
    [
        "http://www.w3.org/2001/04/xmlenc#sha256",
        "http://www.w3.org/2001/04/xmldsig-more#sha384",
        "http://www.w3.org/2001/04/xmlenc#sha512",
    ],
)
def test_the_accepted_algorithms_verify(method: str, digest: str) -> None:
    token = tokens.sign_as(
        tokens.unsigned(tokens.good()),
        tokens.private_key(),
        method=f"http://www.w3.org/2001/04/xmldsig-more#{method}",
        digest=digest,
    )
    signature.check(xml.read(token), KEYS)


def test_inclusive_prefixes_verify_even_where_the_envelope_declares_them() -> None:
    # The prefix stands only on the envelope: the isolated copy must keep it, or an honest signature would not verify.
    raw = tokens.message(tokens.security(b"@"), envelope=' xmlns:xs="http://www.w3.org/2001/XMLSchema"')
    root = etree.fromstring(raw)
    place = root.find(f".//{{{WSSE}}}Security")
    assert place is not None
    place.text = None
    place.append(tokens.unsigned(tokens.good()))
    tokens.sign_as(place[0], tokens.private_key(), prefixes="xs saml")
    assertion = saml.find(tokens.call(etree.tostring(root)).security)
    assert assertion is not None
    assert b"xmlns:xs" in xml.write(assertion)
    signature.check(assertion, KEYS)


def test_a_long_list_of_prefixes_is_refused() -> None:
    token = tokens.sign_as(
        tokens.unsigned(tokens.good()), tokens.private_key(), prefixes=" ".join(f"p{n}" for n in range(17))
    )
    with pytest.raises(Mangled, match="too many prefixes"):
        signature.check(xml.read(token), KEYS)


def test_any_of_several_keys_will_do() -> None:
    keys = [signature.VerifyKey(tokens.key("other").certificate), *KEYS]
    signature.check(xml.read(tokens.good()), keys)


def test_without_keys_nothing_verifies() -> None:
    with pytest.raises(Mangled):
        signature.check(xml.read(tokens.good()), [])


def test_a_changed_value_is_refused() -> None:
    changed = tokens.good().replace(tokens.ANNE.number.encode(), tokens.CHIEF.encode())
    with pytest.raises(Mangled, match="content was changed"):
        signature.check(xml.read(changed), KEYS)


def test_the_reason_repeats_nothing_of_the_caller() -> None:
    token = tokens.good().replace(b"xmldsig-more#rsa-sha256", b"secret-and-long" * 1000)
    with pytest.raises(Mangled) as refused:
        signature.check(xml.read(token), KEYS)
    assert "secret" not in str(refused.value)
    assert len(str(refused.value)) < 120


def test_registry_objects_may_share_an_id_but_not_with_the_assertion() -> None:
    twice = b'<rim:ObjectRef xmlns:rim="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0" id="%s"/>'
    for identifier, fine in ((b"urn:uuid:1", True), (b"_a1", False)):
        body = tokens.QUERY_BODY.replace(b"</query:AdhocQueryRequest>", (twice % identifier) * 2)
        body += b"</query:AdhocQueryRequest>"
        call = tokens.call(tokens.message(tokens.security(tokens.good(token_id="_a1")), body=body))
        assertion = saml.find(call.security)
        assert assertion is not None
        if fine:
            signature.sole(assertion, [call.body])
        else:
            with pytest.raises(Mangled, match="twice"):
                signature.sole(assertion, [call.body])


def test_only_what_can_be_signed_is_signed() -> None:
    for spoil in ("ID", "Signature"):
        assertion = tokens.unsigned(tokens.good())
        if spoil == "ID":
            del assertion.attrib["ID"]
        else:
            etree.SubElement(assertion, f"{{{DS}}}Signature")
        with pytest.raises(Mangled):
            signature.sign(assertion, *tokens.key())


def test_weak_and_strange_keys_are_refused_when_they_are_loaded() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    small = ec.generate_private_key(ec.SECP192R1())
    for pem in (pair_of(short).certificate, pair_of(small).certificate, tokens.key().private_key, b"", b"nonsense"):
        with pytest.raises(Mangled):
            signature.VerifyKey(pem)


def test_a_key_tells_which_certificate_it_came_from() -> None:
    certificate = x509.load_pem_x509_certificate(tokens.key().certificate)
    assert KEYS[0].certificate == certificate.fingerprint(hashes.SHA256()).hex()
    assert KEYS[0].not_after == certificate.not_valid_after_utc


def test_the_two_libraries_read_xml_with_the_same_code() -> None:
    # A wheel of one built on another libxml2 than the other's reads one message in two ways, or crashes.
    assert xmlsec.get_libxml_version() == etree.LIBXML_VERSION


def test_a_structure_that_is_not_ours_never_reaches_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(self: signature.VerifyKey, *_: object) -> bool:
        raise AssertionError("cryptography was reached")

    monkeypatch.setattr(signature.VerifyKey, "verifies", reached)
    for old, new in (
        (b'URI="#', b'URI="file:///etc/passwd#'),
        (EXC_C14N.encode() + b'"/><ds:SignatureMethod', EXC_C14N.encode() + b'WithComments"/><ds:SignatureMethod'),
        (b"enveloped-signature", b"base64"),
        (b"xmlenc#sha256", b"xmlenc#ripemd160"),
    ):
        token = tokens.good().replace(old, new)
        with pytest.raises(Mangled):
            signature.check(xml.read(token), KEYS)
    with pytest.raises(AssertionError):
        signature.check(xml.read(tokens.good()), KEYS)


def test_an_assertion_elsewhere_than_in_the_security_header_is_refused() -> None:
    root = etree.fromstring(tokens.message(tokens.good()))
    assertion = root.find(f".//{{{SAML}}}Assertion")
    assert assertion is not None
    with pytest.raises(Mangled, match="security header"):
        signature.check(assertion, KEYS)
