"""The eight signature wrapping variants, moved to a wsse:Security header, and a verifier that falls for most of them.

Every variant takes a good token and gives a whole message in which a chief's assertion rides on the good signature.
Source: Somorovsky et al., On Breaking SAML: Be Whoever You Want to Be (2012).
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import xmlsec
from lxml import etree

from ihe import xml
from ihe.names import DS, SAML, WSSE
from tests.tools import tokens

ASSERTION, SIGNATURE = f"{{{SAML}}}Assertion", f"{{{DS}}}Signature"
NAME_ID = f"{{{SAML}}}Subject/{{{SAML}}}NameID"
EXTENSIONS = "{urn:x-wrapper}Extensions"


def _parts(token: bytes, identifier: str = "_evil") -> tuple[xml.Element, xml.Element, xml.Element]:
    """The original without its signature, its signature, and the evil one without a signature."""
    original = etree.fromstring(token)
    signature = original.find(SIGNATURE)
    assert signature is not None
    original.remove(signature)
    evil = copy.deepcopy(original)
    evil.set("ID", identifier)
    name = evil.find(NAME_ID)
    assert name is not None
    name.text = tokens.CHIEF
    return original, signature, evil


def _raw(*elements: xml.Element) -> bytes:
    return b"".join(etree.tostring(element) for element in elements)


def _wrapped(*elements: xml.Element) -> bytes:
    return b'<w:Wrapper xmlns:w="urn:x-wrapper">' + _raw(*elements) + b"</w:Wrapper>"


def xsw1_second_security_header(token: bytes) -> bytes:
    _, _, evil = _parts(token)
    return tokens.message(tokens.security(_raw(evil)), tokens.security(token))


def xsw2_original_in_a_wrapper_header(token: bytes) -> bytes:
    original, signature, evil = _parts(token)
    return tokens.message(_wrapped(original, signature), tokens.security(_raw(evil)))


def xsw2_signed_original_in_a_wrapper_header(token: bytes) -> bytes:
    _, _, evil = _parts(token)
    return tokens.message(_wrapped(etree.fromstring(token)), tokens.security(_raw(evil)))


def xsw3_evil_sibling_before(token: bytes) -> bytes:
    _, _, evil = _parts(token)
    return tokens.message(tokens.security(_raw(evil), token))


def xsw3_evil_sibling_after(token: bytes) -> bytes:
    _, _, evil = _parts(token)
    return tokens.message(tokens.security(token, _raw(evil)))


def xsw4_original_inside_evil(token: bytes) -> bytes:
    _, _, evil = _parts(token)
    evil.append(etree.fromstring(token))
    return tokens.message(tokens.security(_raw(evil)))


def xsw5_signature_inside_evil_original_later(token: bytes) -> bytes:
    original, signature, evil = _parts(token)
    evil.insert(1, signature)
    return tokens.message(tokens.security(_raw(evil, original)))


def xsw6_original_under_the_signature(token: bytes) -> bytes:
    original, signature, evil = _parts(token)
    signature.append(original)
    evil.insert(1, signature)
    return tokens.message(tokens.security(_raw(evil)))


def xsw7_evil_in_extensions_same_id(token: bytes) -> bytes:
    return _in_extensions(token, etree.fromstring(token).get("ID", ""))


def xsw7_evil_in_extensions_new_id(token: bytes) -> bytes:
    return _in_extensions(token, "_evil")


def _in_extensions(token: bytes, identifier: str) -> bytes:
    _, _, evil = _parts(token, identifier)
    extensions = etree.Element(EXTENSIONS)
    extensions.append(evil)
    return tokens.message(tokens.security(_raw(extensions), token))


def xsw8_original_in_an_object(token: bytes) -> bytes:
    original, signature, evil = _parts(token)
    etree.SubElement(signature, f"{{{DS}}}Object").append(original)
    evil.insert(1, signature)
    return tokens.message(tokens.security(_raw(evil)))


def evil_in_the_body(token: bytes) -> bytes:
    _, _, evil = _parts(token)
    body = etree.fromstring(tokens.QUERY_BODY)
    body.insert(0, evil)
    return tokens.message(tokens.security(token), body=etree.tostring(body))


VARIANTS: tuple[Callable[[bytes], bytes], ...] = (
    xsw1_second_security_header,
    xsw2_original_in_a_wrapper_header,
    xsw2_signed_original_in_a_wrapper_header,
    xsw3_evil_sibling_before,
    xsw3_evil_sibling_after,
    xsw4_original_inside_evil,
    xsw5_signature_inside_evil_original_later,
    xsw6_original_under_the_signature,
    xsw7_evil_in_extensions_same_id,
    xsw7_evil_in_extensions_new_id,
    xsw8_original_in_an_object,
    evil_in_the_body,
)
FOOLING = frozenset(
    {
        xsw1_second_security_header,
        xsw2_original_in_a_wrapper_header,
        xsw2_signed_original_in_a_wrapper_header,
        xsw3_evil_sibling_before,
        xsw4_original_inside_evil,
        xsw5_signature_inside_evil_original_later,
        xsw7_evil_in_extensions_new_id,
    }
)
"""Those that a naive verifier takes for the chief's own: proof that the variants are attacks and not noise."""


def verify_any(root: xml.Element, signing_key: xmlsec.Key) -> None:
    """Verifies the first signature found, whatever it covers. Raises xmlsec.Error if it does not hold."""
    xmlsec.tree.add_ids(root, ["ID"])
    context = xmlsec.SignatureContext()
    context.key = signing_key
    signature = next(root.iter(SIGNATURE))
    context.verify(signature)


def naive(raw: bytes, signing_key: xmlsec.Key) -> str:
    """Whom a verifier takes for the caller that finds a signature, verifies it, and reads the first name sent."""
    root = etree.fromstring(raw)
    verify_any(root, signing_key)
    security = root.find(f".//{{{WSSE}}}Security")
    assert security is not None
    name = security.find(f".//{{{SAML}}}NameID")
    assert name is not None
    return name.text or ""
