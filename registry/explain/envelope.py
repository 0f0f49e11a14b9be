"""What is wrong with a message before its body is looked at: packaging, XML, envelope, addressing.

The reader of the node judges, one fault at a time as it always does; each fault that has a correction is corrected in a
copy, which is read again, until the reader is content or has nothing new to say. Sources: SOAP 1.2 part 1,
WS-Addressing 1.0 SOAP binding, ITI TF-2 appendix V.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from ihe import soap, xml
from ihe.envelope import ACTION, ADDRESS, BODY, ENVELOPE, HEADER, MUST_UNDERSTAND, SECURITY_REFUSED
from ihe.errors import FaultCode, Mangled, SoapFault
from ihe.names import SOAP11, SOAP12, WSA, WSA_ANONYMOUS, Action
from ihe.places import Places, local, path_of
from registry.explain.found import Fix, How, Problem
from registry.explain.reading import Message
from registry.explain.recognition import BODIES
from registry.explain.unread import unread
from registry.explain.writing import name_of, prefixed, shown
from registry.rules.strictness import Level

_MOST_FAULTS = 10
MENDED_TYPE = soap.SIMPLE_TYPE


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a fault is about: an id, the standard, why it is one, and what was expected."""

    id: str
    section: str
    explanation: str
    expected: str


_SOAP, _ADDRESSING = "SOAP 1.2 part 1", "WS-Addressing 1.0 SOAP binding"
FAULTS: dict[str, _Meaning] = {
    "The message is not a SOAP 1.2 envelope": _Meaning(
        "envelope-version", f"{_SOAP}, 5.4.7", "Document sharing uses SOAP 1.2; SOAP 1.1 has another namespace", SOAP12
    ),
    "The message is not a SOAP envelope": _Meaning(
        "envelope", f"{_SOAP}, 5.1", "A request is a SOAP envelope with one body", "an Envelope"
    ),
    "A SOAP envelope has at most one Header, then one Body, and nothing else": _Meaning(
        "envelope-parts", f"{_SOAP}, 5.1", "Anything else is where two readers see two messages", "Header, then Body"
    ),
    "The SOAP body must have exactly one child element": _Meaning(
        "envelope-body", "TF-2 V.3", "Each transaction has one body element", "one element in the Body"
    ),
    "Text is not allowed between the elements of a SOAP envelope": _Meaning(
        "envelope-text", f"{_SOAP}, 5.1-5.3", "Text there belongs to nothing", "white space only"
    ),
    "SOAP encoding is not accepted": _Meaning(
        "envelope-encoding", "TF-2 V.3", "Messages are literal XML of the schemas", "no encodingStyle"
    ),
    "A fault is not a request": _Meaning("envelope-fault", f"{_SOAP}, 5.4", "A fault is an answer", "a request"),
    "The SOAP header cannot be read": _Meaning(
        "header-block",
        f"{_SOAP}, 5.2",
        "Header blocks are elements in a namespace, with nothing but white space between them, and mustUnderstand is "
        "0, 1, true or false",
        "header blocks in a namespace",
    ),
    "A mandatory header is not understood": _Meaning(
        "header-must-understand",
        f"{_SOAP}, 5.2.3",
        "A header marked mustUnderstand that a receiver does not know ends the exchange",
        "headers of addressing and security only, or no mustUnderstand",
    ),
    SECURITY_REFUSED: _Meaning(
        "header-security",
        "ITI TF-2 3.40, WSS 1.0 section 5",
        "One wsse:Security, and no signature over the message in it: the assertion carries its own",
        "one wsse:Security with one assertion",
    ),
    "An addressing header occurs more than once": _Meaning(
        "header-cardinality", f"{_ADDRESSING}, 6.4.1", "Each addressing header stands once", "one of it"
    ),
    "The MessageID cannot be used": _Meaning(
        "header-message-id",
        f"{_ADDRESSING}, 6.4.1",
        "The answer repeats the MessageID, so it is text of at most 1024 printable characters",
        "an id such as urn:uuid: and a UUID",
    ),
    "The Action cannot be read": _Meaning("header-action-text", f"{_ADDRESSING}, 6.4.1", "An Action is a URI", "a URI"),
    "A required header representing a Message Addressing Property is absent": _Meaning(
        "header-action", "TF-2 V.3.2, IHE-WSA101", "The Action says which transaction is meant", "wsa:Action"
    ),
    "An endpoint reference needs one address": _Meaning(
        "header-address", f"{_ADDRESSING}, 6.4.1", "ReplyTo and FaultTo hold one Address", "one wsa:Address"
    ),
    "Only the anonymous address is supported": _Meaning(
        "header-reply-to",
        f"{_ADDRESSING}, 6.4.1",
        "Answers go back on the same connection; no address of a caller's choosing is contacted",
        WSA_ANONYMOUS,
    ),
    "The [action] cannot be processed at the receiver": _Meaning(
        "header-action-known",
        f"{_ADDRESSING}, 6.4.2",
        "The Action is none of the transactions of a registry and repository",
        "the Action of a transaction",
    ),
    "The body does not belong to the [action]": _Meaning(
        "header-action-body", "TF-2 V.3.2", "Each Action has its body element", "the body element of the Action"
    ),
}
"""Every reason a reader of envelopes gives, and what it means."""
_UNREAD = "The message cannot be read: "


@dataclass(frozen=True, slots=True)
class Opened:
    """An envelope as far as it could be opened."""

    problems: tuple[Problem, ...]
    body: xml.Element | None
    """The element of the transaction, in the tree of the places."""
    action: str
    """The Action it carries, or empty."""


def open_message(message: Message, places: Places, meant: Callable[[xml.Element], Action | None]) -> Opened:
    """Everything that is wrong around the body. `meant` tells which transaction a body belongs to."""
    body = _body_of(places.root)
    header = places.root.find(HEADER) if body is not None else None
    said = xml.text(None if header is None else header.find(ACTION))
    action = meant(body) if body is not None else None
    problems: list[Problem] = []
    raw, content_type = message.body, message.content_type
    if soap.packaging_of(content_type) is None:
        problems.append(unread("media type is not served", message, places))
        raw, content_type = message.envelope, MENDED_TYPE
    seen: set[tuple[str, str]] = set()
    while len(problems) < _MOST_FAULTS:
        try:
            soap.read_call(raw, content_type, frozenset(Action))
        except SoapFault as fault:
            if (fault.reason, fault.problem) in seen:
                break
            seen.add((fault.reason, fault.problem))
            tree = xml.read(raw if content_type == MENDED_TYPE else message.envelope)
            problem, mended = _explained(fault, tree, places, message, action)
            problems.append(problem)
            if mended is None:
                break
            raw, content_type = xml.write(mended), MENDED_TYPE
        else:
            break
    return Opened(tuple(problems), body, said)


def _body_of(root: xml.Element) -> xml.Element | None:
    """The one child of the SOAP body, also of an older envelope."""
    for namespace in (SOAP12, SOAP11):
        bodies = root.findall(BODY.replace(SOAP12, namespace))
        if len(bodies) == 1 and len(bodies[0]) >= 1:
            return next((each for each in bodies[0] if each.tag in BODIES), bodies[0][0])
    return None


def _explained(
    fault: SoapFault, tree: xml.Element, places: Places, message: Message, action: Action | None
) -> tuple[Problem, xml.Element | None]:
    """One fault as a problem, and the message as it would be without it, or None."""
    if fault.reason.startswith(_UNREAD):
        return unread(fault.reason.removeprefix(_UNREAD), message, places), None
    meaning = FAULTS[fault.reason]
    culprit = _culprit(fault, places.root)
    place = places.of(culprit)
    fix, mended = _mended(fault, tree, action)
    expected = meaning.expected
    if action is not None and meaning.id.startswith("header-action"):
        expected = f"{action.value}, the Action of {action.transaction}"
    return (
        Problem(
            rule=meaning.id,
            level=Level.REJECT,
            section=meaning.section,
            explanation=meaning.explanation,
            path=path_of(culprit, places.root),
            expected=expected,
            found=_found(fault, culprit),
            line=None if place is None else place.line,
            column=None if place is None else place.column,
            code=f"SOAP fault {fault.code.value}" + (f" {fault.subcode.value}" if fault.subcode else ""),
            fix=fix,
        ),
        mended,
    )


def _culprit(fault: SoapFault, root: xml.Element) -> xml.Element:
    """The element to look at: the header the fault names, else the nearest thing there is."""
    header = root.find(HEADER)
    body = root.find(BODY)
    within = header if header is not None else root
    match FAULTS[fault.reason].id:
        case "header-action-known" | "header-action-body":
            found = within.find(ACTION)
        case "header-must-understand" | "header-cardinality":
            named = within.findall(fault.problem) if fault.problem.startswith("{") else []
            found = named[-1] if named else None
        case "header-security":
            found = next((each for each in within if local(each) == "Security"), None)
        case "envelope-body" | "envelope-fault":
            return body if body is not None else root
        case "envelope" | "envelope-version" | "envelope-parts" | "envelope-encoding" | "envelope-text":
            return root
        case _:
            found = within.find(fault.problem) if fault.problem.startswith("{") else None
    return found if found is not None else within


def _found(fault: SoapFault, culprit: xml.Element) -> str:
    match FAULTS[fault.reason].id:
        case "header-action":
            return "none"
        case "header-action-known" | "header-action-body":
            return xml.text(culprit) or "nothing"
        case "header-reply-to":
            return xml.text(culprit.find(ADDRESS)) or "nothing"
        case "header-address" | "header-message-id" | "header-action-text":
            return "elements or too much text" if len(culprit) else f"{len(xml.text(culprit))} characters"
        case "header-must-understand" | "header-cardinality":
            return (
                f"another {local(culprit)}" if fault.code is FaultCode.SENDER else f"{local(culprit)}, mustUnderstand"
            )
        case "envelope-version":
            return str(culprit.tag)[1:].partition("}")[0] or "no namespace"
        case "envelope-body":
            return ", ".join(local(child) for child in culprit) or "nothing"
        case _:
            return ", ".join(local(child) for child in culprit) or local(culprit)


def _mended(fault: SoapFault, tree: xml.Element, action: Action | None) -> tuple[Fix | None, xml.Element | None]:
    """A correction, and the envelope with it. The fragment speaks in the prefixes of the message."""
    copy = deepcopy(tree)
    header = copy.find(HEADER)
    rule = FAULTS[fault.reason].id
    if rule == "envelope-version" and str(tree.tag) == ENVELOPE.replace(SOAP12, SOAP11):
        fix = Fix(How.SET, f'xmlns:{tree.prefix or "soap"}="{SOAP12}"')
        try:
            return fix, xml.read(xml.write(tree).replace(SOAP11.encode(), SOAP12.encode()))
        except Mangled:
            return fix, None
    if rule == "header-action" and action is not None:
        return _with_action(copy, header, action)
    if header is None:
        return None, None
    if rule in ("header-action-known", "header-action-body") and action is not None:
        said = header.find(ACTION)
        if said is not None:
            said.text = action.value
            return Fix(How.REPLACE, shown(said)), copy
    if rule in ("header-reply-to", "header-address"):
        reference = header.find(fault.problem)
        if reference is not None:
            name = prefixed(reference, WSA, "Address")
            header.remove(reference)
            written = f"<{name_of(reference)}><{name}>{WSA_ANONYMOUS}</{name}></{name_of(reference)}>"
            return Fix(How.REPLACE, written), copy
    if rule == "header-cardinality":
        extra = header.findall(fault.problem)
        for each in extra[1:]:
            header.remove(each)
        return Fix(How.REMOVE), copy
    if rule == "header-must-understand":
        for each in header.findall(fault.problem):
            each.set(MUST_UNDERSTAND, "0")
        return Fix(How.SET, f'{prefixed(copy, SOAP12, "mustUnderstand")}="0"'), copy
    return None, None


def _with_action(
    copy: xml.Element, header: xml.Element | None, action: Action
) -> tuple[Fix | None, xml.Element | None]:
    must = f'{prefixed(copy, SOAP12, "mustUnderstand")}="1"'
    name = prefixed(copy if header is None else header, WSA, "Action")
    declared = "" if name != "wsa:Action" or WSA in copy.nsmap.values() else f' xmlns:wsa="{WSA}"'
    fragment = f"<{name}{declared} {must}>{action.value}</{name}>"
    made = xml.read(f'<a:Action xmlns:a="{WSA}">{action.value}</a:Action>'.encode())
    if header is None:
        top = prefixed(copy, SOAP12, "Header")
        copy.insert(0, xml.read(f'<h:Header xmlns:h="{SOAP12}"/>'.encode()))
        copy[0].append(made)
        return Fix(How.ADD, f"<{top}>{fragment}</{top}>"), copy
    header.append(made)
    return Fix(How.ADD, fragment), copy
