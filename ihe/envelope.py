"""The rules of a SOAP 1.2 envelope and of its addressing headers, applied once to one parse.

Sources: SOAP 1.2 part 1 (2.6, 5.1-5.4), WS-Addressing 1.0 SOAP binding, WSS 1.0 section 5, ITI TF-2 appendix V.3.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from lxml import etree

from ihe import mtom, xml
from ihe.errors import FaultCode, Mangled, SoapFault, Subcode
from ihe.names import DS, SOAP12, WSA, WSA_ANONYMOUS, WSA_NONE, WSSE, XOP

ENVELOPE, HEADER, BODY, FAULT = (f"{{{SOAP12}}}{name}" for name in ("Envelope", "Header", "Body", "Fault"))
MUST_UNDERSTAND, ROLE = f"{{{SOAP12}}}mustUnderstand", f"{{{SOAP12}}}role"
ACTION, MESSAGE_ID, RELATES_TO = (f"{{{WSA}}}{name}" for name in ("Action", "MessageID", "RelatesTo"))
REPLY_TO, FAULT_TO, ADDRESS = (f"{{{WSA}}}{name}" for name in ("ReplyTo", "FaultTo", "Address"))
SECURITY = f"{{{WSSE}}}Security"
SIGNATURE = f"{{{DS}}}Signature"
INCLUDE = f"{{{XOP}}}Include"

AT_MOST_ONCE = frozenset({ACTION, MESSAGE_ID, REPLY_TO, FAULT_TO, SECURITY, f"{{{WSA}}}To", f"{{{WSA}}}From"})
UNDERSTOOD = AT_MOST_ONCE | {RELATES_TO}
OUR_ROLES = frozenset({"", f"{SOAP12}/role/next", f"{SOAP12}/role/ultimateReceiver"})
"""SOAP 1.2 part 1, table 2: what we act in, as the last node of the path. `none` and every other role is not ours."""
LONGEST_ID = 1024
"""Longest wsa:MessageID answered: it is copied into the reply, the audit record and the trace."""
SECURITY_REFUSED = "The security header was not accepted"
"""The one text of every refusal of a security header; the reason is for the trail alone."""

_ENCODED = etree.XPath(
    "boolean(//@soap12:encodingStyle | //@encoding:*)",
    namespaces={"soap12": SOAP12, "encoding": "http://www.w3.org/2003/05/soap-encoding"},
)


@dataclass(frozen=True, slots=True)
class Addressing:
    """What the header says to us."""

    action: str
    message_id: str
    security: xml.Element | None


def sender(reason: str, subcode: Subcode | None = None, problem: str = "") -> SoapFault:
    """A fault of the message, so of its sender."""
    return SoapFault(FaultCode.SENDER, reason, subcode, problem)


def open_envelope(root: xml.Element) -> tuple[xml.Element | None, xml.Element]:
    """The header, if there is one, and the body's one child, cut out so that it has no parent. Raises SoapFault.

    Everything else an envelope could hold is refused rather than skipped: a second header or body, a second child and
    text between elements are where two readers see two messages.
    """
    if root.tag != ENVELOPE:
        if root.tag.rpartition("}")[2] == "Envelope":
            raise SoapFault(FaultCode.VERSION_MISMATCH, "The message is not a SOAP 1.2 envelope")
        raise sender("The message is not a SOAP envelope")
    children = list(root)
    tags = [child.tag for child in children]
    if tags not in ([HEADER, BODY], [BODY]):
        raise sender("A SOAP envelope has at most one Header, then one Body, and nothing else")
    body = children[-1]
    if len(body) != 1:
        raise sender("The SOAP body must have exactly one child element")
    if _has_text(root) or _has_text(body):
        raise sender("Text is not allowed between the elements of a SOAP envelope")
    if _ENCODED(root):
        raise sender("SOAP encoding is not accepted")
    inner = body[0]
    if inner.tag == FAULT:
        raise sender("A fault is not a request")
    body.remove(inner)
    return (children[0] if len(children) == 2 else None), inner


def read_header(header: xml.Element | None) -> Addressing:
    """What the header blocks targeted at us say; `relates_to` of a fault is set where the MessageID was readable.

    Raises: SoapFault, MustUnderstand before any rule of addressing (SOAP 1.2 part 1, 2.6).
    """
    if header is None:
        raise _without_action()
    blocks: dict[str, xml.Element] = {}
    seen: set[str] = set()
    repeated: list[str] = []
    not_understood = ""
    broken = _has_text(header)
    for block in header:
        tag = block.tag
        if tag in seen:
            repeated.append(tag)
        elif tag in AT_MOST_ONCE:
            seen.add(tag)
        must = block.get(MUST_UNDERSTAND)
        targeted = (block.get(ROLE) or "").strip(xml.WHITESPACE) in OUR_ROLES
        if must is not None:
            must = must.strip(xml.WHITESPACE)
            broken = broken or must not in ("0", "1", "false", "true")
            if must in ("1", "true") and targeted and tag not in UNDERSTOOD and not not_understood:
                not_understood = tag
        broken = broken or not tag.startswith("{")
        if targeted and tag in AT_MOST_ONCE:
            blocks.setdefault(tag, block)
    relates_to = "" if MESSAGE_ID in repeated else _readable(blocks.get(MESSAGE_ID))
    try:
        if broken:
            raise sender("The SOAP header cannot be read")
        if not_understood:
            raise SoapFault(FaultCode.MUST_UNDERSTAND, "A mandatory header is not understood", None, not_understood)
        return _judge(blocks, repeated)
    except SoapFault as fault:
        fault.relates_to = relates_to
        raise


def _judge(blocks: dict[str, xml.Element], repeated: list[str]) -> Addressing:
    if SECURITY in repeated:
        raise sender(SECURITY_REFUSED, Subcode.FAILED_CHECK)
    if repeated:
        raise sender("An addressing header occurs more than once", Subcode.INVALID_CARDINALITY, repeated[0])
    message_id = blocks.get(MESSAGE_ID)
    if message_id is not None and xml.text(message_id) and not _readable(message_id):
        raise sender("The MessageID cannot be used", Subcode.INVALID_HEADER, MESSAGE_ID)
    action = blocks.get(ACTION)
    if action is None:
        raise _without_action()
    if len(action):
        raise sender("The Action cannot be read", Subcode.INVALID_HEADER, ACTION)
    for tag in (REPLY_TO, FAULT_TO):
        _only_anonymous(tag, blocks.get(tag))
    security = blocks.get(SECURITY)
    # XUA asks for no signature over the message. One that nobody verifies would still look like protection.
    if security is not None and security.find(SIGNATURE) is not None:
        raise sender(SECURITY_REFUSED, Subcode.FAILED_CHECK)
    return Addressing(xml.text(action), _readable(message_id), security)


def _without_action() -> SoapFault:
    return sender(
        "A required header representing a Message Addressing Property is absent", Subcode.HEADER_REQUIRED, ACTION
    )


def _readable(message_id: xml.Element | None) -> str:
    """The MessageID as sent, or empty if it is absent or must not be repeated anywhere."""
    if message_id is None or len(message_id):
        return ""
    plain = xml.text(message_id)
    return plain if len(plain) <= LONGEST_ID and plain.isprintable() else ""


def _only_anonymous(tag: str, reference: xml.Element | None) -> None:
    """No address of a caller's choosing is ever contacted: answers go back where the request came from."""
    if reference is None:
        return
    addresses = reference.findall(ADDRESS)
    if len(addresses) != 1:
        raise sender("An endpoint reference needs one address", Subcode.INVALID_HEADER, tag)
    if xml.text(addresses[0]) not in (WSA_ANONYMOUS, WSA_NONE):
        raise sender("Only the anonymous address is supported", Subcode.ONLY_ANONYMOUS, tag)


def _has_text(parent: xml.Element) -> bool:
    return bool((parent.text or "").strip(xml.WHITESPACE)) or any(
        (child.tail or "").strip(xml.WHITESPACE) for child in parent
    )


def inline(root: xml.Element, package: mtom.Package, limits: mtom.Limits = mtom.REQUEST) -> None:
    """Puts the bytes of each xop:Include in its place as base64, as if the message had never been optimised.

    Also inside wsse:Security, where some stacks move certificates and signature values out: the signature was made
    over the inlined form (XOP 1.0 section 3). Raises: Mangled.
    """
    includes = list(root.iter(INCLUDE))
    if len(includes) > limits.parts:
        raise Mangled("too many references to parts")
    room = xml.REQUEST.bytes
    for include in includes:
        parent = include.getparent()
        if parent is None or len(parent) != 1 or len(include) or _has_text(parent) or xml.text(include):
            raise Mangled("xop:Include is not alone in its element")
        content_id = mtom.match(include.get("href") or "", package.parts)
        if content_id is None:
            raise Mangled("xop:Include refers to no part of the package")
        content = package.parts[content_id].body
        # One part may be referred to many times, so what counts is what the message grows to.
        room -= len(content)
        if room < 0:
            raise Mangled("message too large")
        parent.remove(include)
        parent.text = binascii.b2a_base64(content, newline=False).decode("ascii")
