"""Why bytes cannot be read as a message, in words for whoever wrote them: each reason of the readers, its cure.

Sources: XML 1.0, RFC 2045, 2046 and 2387, W3C XOP 1.0, ITI TF-2 appendix V.8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ihe import mtom, xml
from ihe.errors import Mangled, clip
from ihe.places import Place, Places, Text
from registry.explain.found import Fix, How, Problem
from registry.explain.reading import Message
from registry.rules.strictness import Level

_MIME, _XML, _XOP = "RFC 2046, TF-2 V.8", "XML 1.0, TF-2 V.3", "W3C XOP 1.0, TF-2 V.8"
_LARGE = "A node refuses what is larger than any honest request before it reads it"


@dataclass(frozen=True, slots=True)
class Reason:
    """What a reader's reason means."""

    id: str
    section: str
    explanation: str
    expected: str = ""


def _xml(id: str, explanation: str, expected: str = "") -> Reason:
    return Reason(f"xml-{id}", _XML, explanation, expected)


def _mime(id: str, explanation: str, expected: str = "") -> Reason:
    return Reason(f"mime-{id}", _MIME, explanation, expected)


REASONS: dict[str, Reason] = {
    "not well-formed XML": _xml("well-formed", "The XML breaks off here, and nothing after it is read"),
    "not UTF-8": _xml(
        "utf-8", "Bytes that are no UTF-8: most often Latin-1 text in a message declared as UTF-8", "UTF-8"
    ),
    "declared encoding is not accepted": _xml(
        "encoding", "Messages are UTF-8, or UTF-16 with a byte order mark", "UTF-8"
    ),
    "not an XML 1.0 declaration": _xml("declaration", "The XML declaration is not readable", '<?xml version="1.0"?>'),
    "a document type declaration is not accepted": _xml(
        "doctype", "SOAP forbids document types: they make readers fetch and expand what a sender likes", "no DOCTYPE"
    ),
    "a processing instruction is not accepted": _xml(
        "instruction", "SOAP forbids processing instructions, such as a stylesheet", "none"
    ),
    "message too large": Reason("message-size", "TF-2 V.8", _LARGE, "at most 2 MiB of XML"),
    "too deeply nested": _xml("depth", _LARGE, "at most 64 levels"),
    "too many elements": _xml("elements", _LARGE, "at most 50 000 elements"),
    "too many attributes on one element": _xml("attributes", _LARGE, "at most 256"),
    "too many namespace declarations on one element": _xml("declarations", _LARGE, "at most 64"),
    "media type is not served": Reason(
        "media-type",
        "TF-2 V.8",
        "A node answers HTTP 415 to other media types; text/xml is SOAP 1.1",
        "application/soap+xml, or multipart/related for MTOM",
    ),
    "not multipart/related": _mime("media-type", "A package is multipart/related", "multipart/related"),
    "control character in a media type": _mime("content-type", "The Content-Type line holds control characters"),
    "media type parameters cannot be read": _mime(
        "content-type", "The parameters of the Content-Type line do not parse: an open quote, a missing semicolon"
    ),
    "a media type parameter occurs twice": _mime("content-type", "A parameter of the Content-Type line stands twice"),
    "boundary missing or not allowed": _mime(
        "boundary", "Without its boundary a package has no parts", 'boundary="..."'
    ),
    "package type is not XOP": _mime(
        "type", "The parameter type of the Content-Type line names what the root part is", 'type="application/xop+xml"'
    ),
    "multipart message cannot be read": _mime(
        "lines", "Lines of a package end with CR LF, and each part has its header lines, an empty line and its content"
    ),
    "package cut short": _mime("end", "The last boundary, with two hyphens behind it, is missing", "--boundary--"),
    "too much before the first part": _mime("preamble", "The first boundary comes late or never; does it differ?"),
    "too much after the last part": _mime("epilogue", "Something long follows the last boundary"),
    "control character in a part header": _mime("part-header", "A header line of a part holds control characters"),
    "part headers too large": _mime("part-header", "The header lines of a part are longer than 8 KiB together"),
    "a part header occurs twice": _mime("part-header", "A header line of a part stands twice"),
    "Content-ID cannot be read": _mime("content-id", "A Content-ID is <id@host> of plain characters", "<id@host>"),
    "a Content-ID occurs twice": _mime(
        "content-id", "Two parts have the same Content-ID, so a reference has no meaning"
    ),
    "transfer encoding of a part is not known": _mime(
        "transfer-encoding", "Parts are binary, 8bit, 7bit, base64 or quoted-printable", "binary"
    ),
    "not base64": _mime("base64", "A part says it is base64 and is not"),
    "base64 goes on after its padding": _mime("base64", "A part's base64 goes on after its padding"),
    "base64 stops in the middle of a unit": _mime("base64", "A part's base64 is cut short"),
    "not quoted-printable": _mime("quoted-printable", "A part says it is quoted-printable and is not"),
    "quoted-printable stops in the middle of a unit": _mime("quoted-printable", "A part is cut short"),
    "root part is not XOP": _mime(
        "root", "The root part is the envelope; its Content-Type says so", "application/xop+xml"
    ),
    "root part is not the first part": _mime("root", "The root part, which start names, leads", "the root part first"),
    "root part too large": _mime("root", _LARGE, "at most 2 MiB of XML"),
    "no root part": _mime("root", "No part has the Content-ID that start names", "start of the Content-Type line"),
    "a package within a package is not accepted": _mime("root", "Parts are no packages themselves"),
    "xop:Include is not alone in its element": Reason(
        "xop-alone", _XOP, "Content moved to a part leaves one xop:Include in its place and nothing beside it"
    ),
    "xop:Include refers to no part of the package": Reason(
        "xop-part",
        _XOP,
        "The href of an xop:Include is cid: and the Content-ID of a part, without its angle brackets",
        "a part with this Content-ID",
    ),
    "too many references to parts": Reason("xop-many", _XOP, _LARGE, "at most 256"),
}
"""Every reason for which bytes are refused, by the start of its words."""
_UNKNOWN = Reason("unreadable", _XML, "The message cannot be read")


def unread(reason: str, message: Message, places: Places | None) -> Problem:
    """A reader's reason as a problem, with the place where that can be found."""
    known = next((each for start, each in REASONS.items() if reason.startswith(start)), _UNKNOWN)
    place, found, expected, fix = _details(known.id, message, places)
    return Problem(
        rule=known.id,
        level=Level.REJECT,
        section=known.section,
        explanation=known.explanation,
        expected=expected or known.expected,
        found=found or reason,
        line=None if place is None else place.line,
        column=None if place is None else place.column,
        code="SOAP fault Sender" if known.id != "media-type" else "HTTP 415",
        fix=fix,
    )


def start_of(message: Message) -> Place:
    """Where in the file the XML of a message begins."""
    before = message.before.decode("utf-8", "replace")
    return Place(before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1)


_Details = tuple[Place | None, str, str, Fix | None]


def _details(id: str, message: Message, places: Places | None) -> _Details:
    """Place, what was found, what was expected, and a correction, as far as they can be told."""
    match id:
        case "xml-well-formed":
            return _break(message)
        case "xml-utf-8":
            return _first_wrong_byte(message)
        case "xml-encoding" | "xml-declaration":
            declared = re.match(rb"<\?xml[^>]{0,100}", message.envelope)
            said = "" if declared is None else declared[0].decode("ascii", "replace") + ">"
            return start_of(message), said, "", Fix(How.REPLACE, '<?xml version="1.0" encoding="UTF-8"?>')
        case "xml-doctype":
            return _at(message, b"<!DOCTYPE")
        case "xml-instruction":
            return _at(message, b"<?", 2)
        case "media-type":
            return Place(1, 1), message.content_type.partition(";")[0], "", _TYPE
        case "message-size":
            return None, f"{len(message.body):,} bytes".replace(",", " "), "", None
        case "mime-end" | "mime-preamble":
            return _boundary(message)
        case "xop-alone" | "xop-part" if places is not None:
            return _include(message, places)
    return None, "", "", None


def _at(message: Message, mark: bytes, start: int = 0) -> _Details:
    at = message.envelope.find(mark, start)
    if at < 0:
        return None, "", "", None
    place = _text(message).place(len(message.envelope[:at].decode("utf-8", "replace")))
    return place, clip(message.envelope[at : at + 60].decode("utf-8", "replace")), "", Fix(How.REMOVE)


def _include(message: Message, places: Places) -> _Details:
    include = next((each for each in places.root.iter("{*}Include")), None)
    if include is None:
        return None, "", "", None
    try:
        parts = list(mtom.read_package(message.body, message.content_type).parts)
    except Mangled:
        parts = []
    expected = f"one of the parts {', '.join(clip(each) for each in parts[:5])}" if parts else ""
    return places.of(include), clip(include.get("href", "no href"), 256), expected, None


def _boundary(message: Message) -> _Details:
    """The boundary the Content-Type line names beside the one that the body begins with."""
    try:
        named = mtom.parameters(message.content_type)[1].get("boundary", "")
    except Mangled:
        named = ""
    first = re.search(rb"(?:^|\n)--([^\r\n]{1,70})", message.body[:8192])
    used = "" if first is None else first[1].decode("latin-1").rstrip()
    if used and used != named:
        return None, f"--{clip(used)}", f"--{clip(named)}, as the Content-Type line says", None
    return None, "", "", Fix(How.ADD, f"--{clip(named)}--, as the last line")


_TYPE = Fix(How.REPLACE, "Content-Type: application/soap+xml; charset=UTF-8")


def _text(message: Message) -> Text:
    start = start_of(message)
    return Text(message.envelope.decode("utf-8", "replace"), start.line, start.column)


def _break(message: Message) -> tuple[Place | None, str, str, Fix | None]:
    """What the parser says, the line it says it of, and a cure for the one mistake that everybody makes once."""
    try:
        xml.read(message.envelope)
    except xml.NotWellFormed as wrong:
        text = _text(message)
        start = start_of(message)
        line = start.line + wrong.line - 1
        column = wrong.column + (start.column - 1 if wrong.line == 1 else 0)
        written = text.line(line)
        said = re.sub(r", line [0-9]+, column [0-9]+$|, use XML_PARSE_HUGE option.*", "", wrong.said)
        found = f"{clip(said, 200)}: {_around(written, column)}"
        mended = re.sub(r"&(?!#?\w+;)", "&amp;", written)
        if mended != written and len(mended) <= 500:
            return Place(line, column), found, "& written as &amp;", Fix(How.REPLACE, mended.strip())
        if "start of the document" in said:
            return Place(line, column), found, "the declaration first", Fix(How.REMOVE, "what stands before <?xml")
        return Place(line, column), found, "", None
    except Mangled:
        pass
    return None, "", "", None


def _around(line: str, column: int) -> str:
    begin = max(0, column - 60)
    return clip(line[begin : column + 40].strip(), 120)


def _first_wrong_byte(message: Message) -> tuple[Place | None, str, str, Fix | None]:
    try:
        message.envelope.decode("utf-8")
    except UnicodeDecodeError as wrong:
        before = message.envelope[: wrong.start].decode("utf-8")
        char = message.envelope[wrong.start : wrong.start + 1].decode("latin-1")
        start = start_of(message)
        place = Text(before + char, start.line, start.column).place(len(before))
        found = f"the byte 0x{message.envelope[wrong.start]:02X}, which is {char} in Latin-1"
        return place, found, "", Fix(How.REPLACE, f"{char} in UTF-8, or declare and send the whole message as UTF-8")
    return None, "", "", None
