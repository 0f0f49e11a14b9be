"""SOAP 1.2 messages in and out: any bytes become a `Call` or a `SoapFault`, and what is written was never parsed twice.

Sources: SOAP 1.2 parts 1 and 2, WS-Addressing 1.0, ITI TF-2 appendix V.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from lxml import etree

from ihe import mtom, xml
from ihe.envelope import (
    ACTION,
    ADDRESS,
    BODY,
    HEADER,
    MESSAGE_ID,
    MUST_UNDERSTAND,
    RELATES_TO,
    REPLY_TO,
    SECURITY_REFUSED,
    inline,
    open_envelope,
    read_header,
    sender,
)
from ihe.errors import FaultCode, Mangled, SoapFault, Subcode, clip
from ihe.names import SOAP11, SOAP12, SOAP_FAULT, WSA, WSA_ANONYMOUS, WSA_FAULT, WSSE, XML, Action

__all__ = [
    "SECURITY_REFUSED",
    "SUFFIX",
    "Answer",
    "Call",
    "Packaging",
    "Reply",
    "complete_headers",
    "envelope",
    "packaging_of",
    "read_answer",
    "read_call",
    "write_fault",
    "write_reply",
]

SIMPLE_TYPE = f"{mtom.SOAP}; charset=UTF-8"
SUFFIX = b"</soap12:Body></soap12:Envelope>"
"""What every envelope written here ends with, for answers whose body is still growing when the first bytes leave."""


class Packaging(StrEnum):
    """How a message travels: XML alone, or as the root of multipart/related (MTOM). An answer takes its request's."""

    SIMPLE = "simple"
    MTOM = "mtom"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and safe: whatever the bytes were, no second reading can see something else in them."""

    action: Action
    body: xml.Element
    """The one child of the SOAP body, cut out: it has no parent, though `getroottree` still leads to the envelope."""
    security: xml.Element | None
    """wsse:Security within its envelope, or None. Unverified: only its place in the message was checked."""
    message_id: str
    """wsa:MessageID as sent, or empty."""
    packaging: Packaging


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished answer for the HTTP edge."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a hospital answered: a body or a fault, never both."""

    body: xml.Element | None
    """The first child of the SOAP body, without parent; None for a fault or an empty body."""
    fault: str | None
    """The fault's reason, clipped, for operators; never for a caller."""
    action: str
    relates_to: str


def packaging_of(content_type: str) -> Packaging | None:
    """The packaging a media type announces, or None for one that is not served (HTTP 415)."""
    media = content_type.partition(";")[0].strip(" \t").lower()
    return Packaging.SIMPLE if media == mtom.SOAP else Packaging.MTOM if media == mtom.MULTIPART else None


def read_call(raw: bytes, content_type: str, served: frozenset[Action]) -> Call:
    """The one request in `raw`, or the fault to send back.

    Promise: body and security come from the same parse; xop:Include is inlined everywhere; wsa:Action is one of
    `served` and the body is the element that belongs to it. The HTTP action, `wsa:To` and charset are not looked at.
    Raises: SoapFault and nothing else for any bytes and any media type; `relates_to` is set where it was readable.
    Source: ITI TF-2 appendix V.3 and V.8; WS-Addressing 1.0 SOAP binding, section 6.
    """
    try:
        root = _root(raw, content_type)
    except Mangled as wrong:
        raise sender(f"The message cannot be read: {wrong}") from None
    header, body = open_envelope(root)
    said = read_header(header)
    try:
        action = Action(said.action)
    except ValueError:
        action = None
    if action is None or action not in served:
        fault = sender("The [action] cannot be processed at the receiver", Subcode.ACTION_NOT_SUPPORTED, said.action)
    elif body.tag != action.body:
        fault = sender("The body does not belong to the [action]", Subcode.ACTION_MISMATCH, ACTION)
    else:
        return Call(action, body, said.security, said.message_id, packaging_of(content_type) or Packaging.SIMPLE)
    fault.relates_to = said.message_id
    raise fault


def _root(raw: bytes, content_type: str) -> xml.Element:
    match packaging_of(content_type):
        case Packaging.SIMPLE:
            return xml.read(raw)
        case Packaging.MTOM:
            package = mtom.read_package(raw, content_type)
            # Some stacks leave an empty line between a part's headers and its declaration.
            root = xml.read(package.root.lstrip(b" \t\r\n"))
            inline(root, package)
            return root
        case None:
            raise Mangled("media type is not served")


@lru_cache(maxsize=16)
def _prefix(action: str) -> bytes:
    return (
        f'<soap12:Envelope xmlns:soap12="{SOAP12}" xmlns:wsa="{WSA}"><soap12:Header>'
        f'<wsa:Action soap12:mustUnderstand="1">{xml.escape_text(action)}</wsa:Action>'
    ).encode()


def envelope(action: str, relates_to: str, pieces: Iterable[bytes], headers: bytes = b"") -> bytes:
    """A whole envelope around `pieces`, the body's XML as bytes that are neither parsed nor copied but once.

    mustUnderstand stands on Action alone, where every known receiver wants it and none chokes on it.
    """
    related = f"<wsa:RelatesTo>{xml.escape_text(relates_to)}</wsa:RelatesTo>".encode() if relates_to else b""
    return b"".join((_prefix(action), related, headers, b"</soap12:Header><soap12:Body>", *pieces, SUFFIX))


def write_reply(call: Call, pieces: Iterable[bytes]) -> Reply:
    """The answer to `call` in the packaging it came in (TF-2 V.8.1). `pieces` are the body's XML."""
    return _packed(200, call.packaging, envelope(call.action.reply, call.message_id, pieces))


def _packed(status: int, packaging: Packaging, written: bytes) -> Reply:
    if packaging is Packaging.SIMPLE:
        return Reply(status, SIMPLE_TYPE, written)
    # A digest of the root cannot stand in the root, so this boundary is safe without being random.
    writer = mtom.new_writer(hashlib.sha256(written).hexdigest()[:32])
    return Reply(status, writer.content_type, writer.root(written) + writer.end())


_WITHIN_INVALID_HEADER = frozenset({Subcode.ACTION_MISMATCH, Subcode.INVALID_CARDINALITY, Subcode.ONLY_ANONYMOUS})
"""Subcodes that WS-Addressing nests below InvalidAddressingHeader (SOAP binding 6.4.1)."""
_LONGEST_ECHO = 256
"""Longest name repeated in a fault. A longer one is no name of anything, and the fault is complete without it."""


def write_fault(fault: SoapFault, packaging: Packaging) -> Reply:
    """The fault as an answer: HTTP 500 whatever its code, since older toolkits read faults nowhere else."""
    about_addressing = fault.subcode is not None and fault.subcode.value.startswith("wsa:")
    subcode = ""
    if fault.subcode is not None:
        subcode = f"<soap12:Subcode><soap12:Value>{fault.subcode.value}</soap12:Value></soap12:Subcode>"
        if fault.subcode in _WITHIN_INVALID_HEADER:
            outer = Subcode.INVALID_HEADER.value
            subcode = f"<soap12:Subcode><soap12:Value>{outer}</soap12:Value>{subcode}</soap12:Subcode>"
    written = (
        f'<soap12:Fault xmlns:wsse="{WSSE}"><soap12:Code><soap12:Value>soap12:{fault.code.value}</soap12:Value>'
        f'{subcode}</soap12:Code><soap12:Reason><soap12:Text xml:lang="en">{xml.escape_text(fault.reason)}'
        f"</soap12:Text></soap12:Reason>{_detail(fault)}</soap12:Fault>"
    ).encode()
    action = WSA_FAULT if about_addressing else SOAP_FAULT
    whole = envelope(action, fault.relates_to, (written,), _fault_headers(fault).encode())
    return _packed(500, packaging, whole)


def _detail(fault: SoapFault) -> str:
    if not fault.problem or len(fault.problem) > _LONGEST_ECHO or fault.code is FaultCode.MUST_UNDERSTAND:
        return ""
    if fault.subcode is Subcode.ACTION_NOT_SUPPORTED:
        problem = f"<wsa:ProblemAction><wsa:Action>{xml.escape_text(fault.problem)}</wsa:Action></wsa:ProblemAction>"
    else:
        declared, name = _qname(fault.problem)
        problem = f"<wsa:ProblemHeaderQName{declared}>{name}</wsa:ProblemHeaderQName>"
    return f"<soap12:Detail>{problem}</soap12:Detail>"


def _fault_headers(fault: SoapFault) -> str:
    if fault.code is FaultCode.VERSION_MISMATCH:
        return '<soap12:Upgrade><soap12:SupportedEnvelope qname="soap12:Envelope"/></soap12:Upgrade>'
    if fault.code is FaultCode.MUST_UNDERSTAND and 0 < len(fault.problem) <= _LONGEST_ECHO:
        declared, name = _qname(fault.problem)
        return f'<soap12:NotUnderstood qname="{name}"{declared}/>'
    return ""


def _qname(tag: str) -> tuple[str, str]:
    """`{namespace}local` as a declaration to stand on the element that holds it, and a prefixed name."""
    namespace, _, local = tag[1:].rpartition("}")
    for prefix, known in (("wsa", WSA), ("xml", XML)):
        if namespace == known:
            return "", f"{prefix}:{xml.escape_attribute(local)}"
    return f' xmlns:n="{xml.escape_attribute(namespace)}"', f"n:{xml.escape_attribute(local)}"


def read_answer(raw: bytes, budget: xml.Budget = xml.ANSWER) -> Answer:
    """A hospital's envelope, read as tolerantly as its safety allows: a fault is known by its element, not by status.

    `raw` is the XML alone (the root part of a package). Raises: Mangled if it is no envelope with one body.
    """
    root = xml.read(raw.lstrip(b" \t\r\n"), budget)
    namespace, _, local = root.tag[1:].rpartition("}")
    if local != "Envelope" or namespace not in (SOAP12, SOAP11):
        raise Mangled("not a SOAP envelope")
    bodies = root.findall(BODY.replace(SOAP12, namespace))
    if len(bodies) != 1 or len(bodies[0]) > 1:
        raise Mangled("not one SOAP body with one child")
    header = root.find(HEADER.replace(SOAP12, namespace))
    action = xml.text(None if header is None else header.find(ACTION))
    relates_to = xml.text(None if header is None else header.find(RELATES_TO))
    if len(bodies[0]) == 0:
        return Answer(None, None, action, relates_to)
    inner = bodies[0][0]
    if inner.tag in (f"{{{SOAP12}}}Fault", f"{{{SOAP11}}}Fault"):
        reason = inner.find(f"{{{SOAP12}}}Reason/{{{SOAP12}}}Text")
        spoken = xml.text(inner.find("faultstring") if reason is None else reason)
        return Answer(None, clip(spoken, 200) or "a fault without a reason", action, relates_to)
    bodies[0].remove(inner)
    return Answer(inner, None, action, relates_to)


def complete_headers(envelope: xml.Element, *, reply_to: bool = True) -> None:
    """Makes an outgoing envelope what IHE asks of a requester: anonymous ReplyTo, mustUnderstand on Action alone.

    Raises: ValueError if the envelope has no header with an Action. Source: ITI TF-2 V.3.2, IHE-WSA101 and IHE-WSA102.
    """
    header = envelope.find(HEADER)
    action = None if header is None else header.find(ACTION)
    if header is None or action is None:
        raise ValueError("an outgoing envelope needs a wsa:Action")
    for block in header:
        if block.tag.startswith(f"{{{WSA}}}"):
            etree.strip_attributes(block, MUST_UNDERSTAND)
    action.set(MUST_UNDERSTAND, "1")
    if reply_to and header.find(REPLY_TO) is None:
        reference = etree.Element(REPLY_TO, nsmap={"wsa": WSA})
        etree.SubElement(reference, ADDRESS).text = WSA_ANONYMOUS
        message_id = header.find(MESSAGE_ID)
        (action if message_id is None else message_id).addnext(reference)
