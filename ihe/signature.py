"""Says whether an assertion is exactly what a trusted key signed, and hands back nothing but that.

Order: the whole message's structure, then an isolated copy, then cryptography on the copy; later code reads that alone.
KeyInfo never chooses a key. Sources: XML Signature 1.1, Exclusive XML Canonicalization 1.0, SAML 2.0 core section 5.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from lxml import etree

from ihe import xml
from ihe.errors import Mangled
from ihe.names import DS, EXC_C14N, RIM, SAML, WSSE

MAX_ASSERTION = 64 * 1024
"""Bytes of one assertion. National tokens have 8 KiB; the cost of canonicalising grows with this."""
MAX_ATTRIBUTES = 500
"""saml:Attribute elements. National tokens have some twenty."""
MAX_PREFIXES = 16
"""Names in one InclusiveNamespaces PrefixList. Real senders list one to three."""
MIN_RSA_BITS, MIN_EC_BITS = 2048, 256

ALONE = xml.Budget(bytes=MAX_ASSERTION, nodes=5000, depth=32, attributes=64, declarations=64)
"""For one assertion by itself, with the namespaces in its scope."""

ENVELOPED = DS + "enveloped-signature"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_ENC = "http://www.w3.org/2001/04/xmlenc#"
METHODS = frozenset({_MORE + "rsa-sha256", _MORE + "rsa-sha384", _MORE + "rsa-sha512", _MORE + "ecdsa-sha256"})
"""Accepted signature methods: nothing on SHA-1, nothing symmetric."""
DIGESTS = frozenset({_ENC + "sha256", _MORE + "sha384", _ENC + "sha512"})

_ASSERTION = f"{{{SAML}}}Assertion"
_SECURITY = f"{{{WSSE}}}Security"
_SIGNATURE = f"{{{DS}}}Signature"
_INCLUSIVE = f"{{{EXC_C14N}}}InclusiveNamespaces"

# rim:*/@id names registry objects and is judged by the rules of ITI-42; nothing resolves a signature's reference by it.
_IDS = etree.XPath(
    "descendant-or-self::*/@*"
    "[local-name()='ID' or local-name()='Id' or local-name()='id' or local-name()='AssertionID']"
    "[not(parent::rim:* and name()='id')]",
    namespaces={"rim": RIM},
    smart_strings=False,
)
_RIM_IDS = etree.XPath("boolean(descendant-or-self::rim:*[@id=$id])", namespaces={"rim": RIM}, smart_strings=False)


class VerifyKey:
    """A pinned key of one issuer, loaded once: loading it per request would cost more than the verification."""

    __slots__ = ("_key", "certificate", "not_after")

    def __init__(self, certificate_pem: bytes) -> None:
        """Raises Mangled for anything but a certificate with an RSA key of 2048 bits or an EC key of 256, or longer."""
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            public = certificate.public_key()
        except ValueError:
            raise Mangled("not a certificate in PEM") from None
        if not isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            raise Mangled("neither an RSA nor an EC key")
        if public.key_size < (MIN_RSA_BITS if isinstance(public, rsa.RSAPublicKey) else MIN_EC_BITS):
            raise Mangled("the key is too short")
        pem = certificate.public_bytes(Encoding.PEM)
        self._key = xmlsec.Key.from_memory(pem, xmlsec.constants.KeyDataFormatCertPem, None)
        self.certificate: str = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
        """SHA-256 of the certificate's DER, lower-case hex."""
        self.not_after: datetime = certificate.not_valid_after_utc
        """For operators. A pinned key is trusted until it is taken out of the configuration."""

    def verifies(self, signature: xml.Element, assertion: xml.Element) -> bool:
        """True if `signature` over `assertion`, its parent, was made with this key."""
        context = xmlsec.SignatureContext()
        context.key = self._key
        try:
            context.register_id(assertion, "ID")
            context.verify(signature)
        except xmlsec.Error:
            return False
        return True


def sole(assertion: xml.Element, message: Iterable[xml.Element] = ()) -> None:
    """Raises Mangled unless `assertion` and its signature are the only ones of the whole message, and every id its own.

    `message`: elements of every tree the message was split into (the body is one of its own); the assertion's own
    tree is always looked at. Whoever finds two assertions cannot know which one another reader would take.
    """
    roots: list[xml.Element] = []
    for element in (assertion, *message):
        top = _top(element)
        if not any(top is known for known in roots):
            roots.append(top)
    named: dict[str, list[xml.Element]] = {_ASSERTION: [], _SIGNATURE: [], _SECURITY: []}
    for root in roots:
        for found in root.iter(*named):
            named[found.tag].append(found)
    if named[_ASSERTION] != [assertion]:
        raise Mangled("not exactly one assertion in the message")
    if [signature.getparent() for signature in named[_SIGNATURE]] != [assertion]:
        raise Mangled("not exactly one signature in the message, directly in the assertion")
    parent = assertion.getparent()
    if parent is not None and named[_SECURITY] != [parent]:
        raise Mangled("the assertion is not directly in the one security header")
    ids = [found for root in roots for found in _found(_IDS(root))]
    if len(set(ids)) != len(ids):
        raise Mangled("an id occurs twice in the message")
    if any(_RIM_IDS(root, id=assertion.get("ID", "")) for root in roots):
        raise Mangled("the assertion's id occurs twice in the message")


def check(assertion: xml.Element, keys: Sequence[VerifyKey], message: Iterable[xml.Element] = ()) -> xml.Element:
    """The signed assertion, alone in a tree of its own: the only element that anything may be read from afterwards.

    Promise: structure and algorithms are judged before any cryptography, on the very tree that is then verified; no
    reference is resolved but the assertion's own ID; only `keys` count, in their order.
    Raises: Mangled, whose text is for the audit trail and must not reach the caller.
    """
    sole(assertion, message)
    alone = isolate(assertion)
    signature = _structure(alone)
    key_info = signature.find(f"{{{DS}}}KeyInfo")
    if key_info is not None:
        # Outside SignedInfo and cut by the enveloped transform, so not signed: gone before anything could follow it.
        signature.remove(key_info)
    if not any(key.verifies(signature, alone) for key in keys):
        raise Mangled("the signature was made with none of the issuer's keys, or the content was changed")
    return alone


def isolate(assertion: xml.Element) -> xml.Element:
    """`assertion` with the namespaces in its scope, serialised and read again. Raises Mangled if it is too large.

    Serialising first also heals a trap: elements that xmlsec made are not found in the tree it made them in.
    """
    alone = xml.read(xml.write(assertion), ALONE)
    if sum(1 for _ in alone.iter(f"{{{SAML}}}Attribute")) > MAX_ATTRIBUTES:
        raise Mangled("the assertion has too many attributes")
    return alone


def sign(assertion: xml.Element, private_key_pem: bytes, certificate_pem: bytes) -> xml.Element:
    """`assertion` with an enveloped signature behind its Issuer, as a tree of its own.

    RSA keys sign with RSA-SHA256, EC keys with ECDSA-SHA256. Raises Mangled if there is no ID or already a signature.
    """
    signed = isolate(assertion)
    identifier = signed.get("ID", "")
    if not identifier or signed.find(_SIGNATURE) is not None or len(signed) == 0:
        raise Mangled("an assertion to be signed has an ID, an Issuer and no signature")
    elliptic = isinstance(load_pem_private_key(private_key_pem, password=None), ec.EllipticCurvePrivateKey)
    signature = _template(identifier, _MORE + ("ecdsa-sha256" if elliptic else "rsa-sha256"))
    signed.insert(1, signature)
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_memory(private_key_pem, xmlsec.constants.KeyDataFormatPem, None)
    context.key.load_cert_from_memory(certificate_pem, xmlsec.constants.KeyDataFormatPem)
    context.register_id(signed, "ID")
    context.sign(signature)
    return xml.read(xml.write(signed), ALONE)


def _top(element: xml.Element) -> xml.Element:
    # Neither getroottree nor a path from the root will do: both lead an element that was cut out of its tree back to
    # the root of the document it came from, and leave out the element itself.
    while (parent := element.getparent()) is not None:
        element = parent
    return element


def _template(identifier: str, method: str) -> xml.Element:
    signature = etree.Element(_SIGNATURE, nsmap={"ds": DS})
    info = _add(signature, "SignedInfo")
    _add(info, "CanonicalizationMethod", Algorithm=EXC_C14N)
    _add(info, "SignatureMethod", Algorithm=method)
    reference = _add(info, "Reference", URI=f"#{identifier}")
    transforms = _add(reference, "Transforms")
    _add(transforms, "Transform", Algorithm=ENVELOPED)
    _add(transforms, "Transform", Algorithm=EXC_C14N)
    _add(reference, "DigestMethod", Algorithm=_ENC + "sha256")
    _add(reference, "DigestValue")
    _add(signature, "SignatureValue")
    _add(_add(_add(signature, "KeyInfo"), "X509Data"), "X509Certificate")
    return signature


def _add(parent: xml.Element, name: str, **attributes: str) -> xml.Element:
    return etree.SubElement(parent, f"{{{DS}}}{name}", attributes)


def _structure(assertion: xml.Element) -> xml.Element:
    """The signature of `assertion`, after every part of it was found to be what we accept and nothing else."""
    identifier = assertion.get("ID", "")
    if not identifier:
        raise Mangled("the assertion has no ID")
    signature = _children(assertion, "Signature", among=True)[0]
    parts = [child.tag for child in signature]
    names = [f"{{{DS}}}{name}" for name in ("SignedInfo", "SignatureValue", "KeyInfo")]
    if parts not in (names, names[:2]):
        raise Mangled("a signature is SignedInfo, SignatureValue and perhaps KeyInfo")
    if len(signature[1]) or not xml.text(signature[1]):
        raise Mangled("the signature has no value")
    method_c14n, method, reference = _children(signature[0], "CanonicalizationMethod", "SignatureMethod", "Reference")
    _exclusive(method_c14n)
    if method.get("Algorithm") not in METHODS or len(method):
        raise Mangled("the signature method is not accepted")
    if reference.get("URI") != f"#{identifier}" or set(reference.attrib) - {"URI", "Id", "Type"}:
        raise Mangled("the reference does not point to the assertion around it")
    transforms, digest, value = _children(reference, "Transforms", "DigestMethod", "DigestValue")
    if digest.get("Algorithm") not in DIGESTS or len(digest):
        raise Mangled("the digest method is not accepted")
    if len(value) or not xml.text(value):
        raise Mangled("the reference has no digest")
    enveloped, exclusive = _children(transforms, "Transform", "Transform")
    if enveloped.get("Algorithm") != ENVELOPED or len(enveloped):
        raise Mangled("the first transform is not the enveloped signature")
    _exclusive(exclusive)
    return signature


def _exclusive(method: xml.Element) -> None:
    """Refuses anything but exclusive canonicalisation without comments, perhaps with a bounded list of prefixes."""
    if method.get("Algorithm") != EXC_C14N or set(method.attrib) != {"Algorithm"}:
        raise Mangled("canonicalisation is not exclusive without comments")
    if len(method) == 0:
        return
    inclusive = method[0]
    if len(method) > 1 or inclusive.tag != _INCLUSIVE or len(inclusive) or set(inclusive.attrib) != {"PrefixList"}:
        raise Mangled("canonicalisation has parameters that are not accepted")
    prefixes = inclusive.get("PrefixList", "").split()
    if len(prefixes) > MAX_PREFIXES or sum(map(len, prefixes)) > MAX_PREFIXES * 32:
        raise Mangled("canonicalisation lists too many prefixes")


def _children(parent: xml.Element, *names: str, among: bool = False) -> list[xml.Element]:
    """The children of `parent`, which are exactly these in this order; with `among`, those of them with these names."""
    wanted = [f"{{{DS}}}{name}" for name in names]
    found = [child for child in parent if not among or child.tag in wanted]
    if [child.tag for child in found] != wanted:
        raise Mangled("a part of the signature is missing, repeated or unknown")
    return found


def _found(result: object) -> list[str]:
    return [str(value) for value in result] if isinstance(result, list) else []
