"""How hospitals answer ITI-43, well and badly: every form and fault that was seen or feared, by name.

Written by hand where a proper writer would refuse. Sources: ITI TF-2 3.43, W3C XOP 1.0, RFC 2046; what is broken here
is broken on purpose.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ihe import retrieval, soap
from ihe.errors import FaultCode, SoapFault, XdsError
from ihe.names import Action, Code
from ihe.retrieval import DocumentRequest, DocumentResponse

PIECE = 256 * 1024


class Variant(StrEnum):
    """One deviation from a plain, correct, chunked MTOM answer. Several may be combined where that makes sense."""

    LENGTH = "length"
    GZIP = "gzip"
    PLAIN = "plain"
    INLINE = "inline"
    UPPER_CASE = "upper-case"
    SPACED_BOUNDARY = "spaced-boundary"
    ENCODED_CID = "encoded-cid"
    REVERSED_PARTS = "reversed-parts"
    EXTRA_PART = "extra-part"
    EXTRA_DOCUMENT = "extra-document"
    MISSING_PART = "missing-part"
    BASE64_PARTS = "base64-parts"
    PREAMBLE = "preamble"
    EPILOGUE = "epilogue"
    BARE_LF = "bare-lf"
    UNCLOSED = "unclosed"
    ROOT_LAST = "root-last"
    WRONG_BOUNDARY = "wrong-boundary"
    WRONG_DOCUMENT = "wrong-document"
    SHORT_DOCUMENT = "short-document"
    LONG_DOCUMENT = "long-document"
    FLIPPED_BYTE = "flipped-byte"
    HUGE_ROOT = "huge-root"
    DOCTYPE = "doctype"
    SMUGGLED_HEADER = "smuggled-header"
    NO_DOCUMENTS = "no-documents"
    FAULT_500 = "fault-500"
    FAULT_200 = "fault-200"
    HTML_503 = "html-503"
    HTML_200 = "html-200"
    REDIRECT = "redirect"
    GARBAGE = "garbage"
    DROP = "drop"
    STALL_HEAD = "stall-head"
    STALL_ROOT = "stall-root"
    STALL_AFTER_ROOT = "stall-after-root"
    STALL_MIDDLE = "stall-middle"
    CUT_FIN = "cut-fin"
    CUT_RESET = "cut-reset"
    CUT_LAST_CHUNK = "cut-last-chunk"
    DRIP = "drip"
    SLICES_OF_1 = "slices-of-1"
    SLICES_OF_7 = "slices-of-7"
    WRITE_TIMEOUT = "write-timeout"


class Mark(StrEnum):
    """Points in an answer at which a script may stall or cut it."""

    IN_ROOT = "in-root"
    AFTER_ROOT = "after-root"
    IN_DOCUMENT = "in-document"


@dataclass(frozen=True, slots=True)
class Script:
    """How a hospital behaves. Without variants it behaves."""

    variants: frozenset[Variant] = frozenset()
    document: int = 0
    """Which document of the answer, from 0, is short, flipped, stalled or cut."""
    after: int | None = None
    """After how many of its bytes; the middle if not given."""
    rate: int | None = None
    """Bytes per second over the whole answer."""
    write_timeout: float = 4.0
    """Seconds this hospital waits for a reader that does not read (WRITE_TIMEOUT)."""
    delay: float = 0.0
    """Seconds before the answer begins."""

    @classmethod
    def of(cls, *variants: Variant, **more: int | float | None) -> Script:
        """A script from its variants: `Script.of(Variant.GZIP, document=1)`."""
        return cls(frozenset(variants), **more)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Document:
    """What a hospital keeps under one id: bytes in memory, or a file that is read anew each time."""

    mime_type: str
    content: bytes | Path = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def pieces(self) -> Iterator[bytes]:
        """The content, piece by piece."""
        if isinstance(self.content, bytes):
            yield from (self.content[start : start + PIECE] for start in range(0, len(self.content), PIECE))
        else:
            with self.content.open("rb") as file:
                while piece := file.read(PIECE):
                    yield piece


Piece = bytes | Mark


@dataclass(frozen=True, slots=True)
class Message:
    """One answer before transport: status, media type, and pieces that can be made again."""

    status: int
    content_type: str
    parts: Sequence[Sequence[Piece] | _Content]

    def pieces(self) -> Iterator[Piece]:
        """The body from the start."""
        for part in self.parts:
            yield from part

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(len(piece) for piece in self.pieces() if isinstance(piece, bytes))


@dataclass(frozen=True, slots=True)
class _Content:
    """A document's bytes with whatever is wrong with them, and the mark somewhere inside."""

    document: Document
    script: Script
    chosen: bool
    base64: bool = False

    def __iter__(self) -> Iterator[Piece]:
        if not self.base64:
            yield from self._raw()
            return
        held = b""
        for piece in self._raw():
            if isinstance(piece, Mark):
                yield piece
                continue
            held += piece
            cut = len(held) - len(held) % 57
            yield binascii.b2a_base64(held[:cut], newline=False)
            held = held[cut:]
        yield binascii.b2a_base64(held, newline=False)

    def _raw(self) -> Iterator[Piece]:
        if not self.chosen:
            yield from self.document.pieces()
            return
        size, variants = self.document.size, self.script.variants
        mark = size // 2 if self.script.after is None else self.script.after
        end = size - 1 if Variant.SHORT_DOCUMENT in variants else size
        at = 0
        for piece in self.document.pieces():
            whole = bytearray(piece[: max(0, end - at)])
            if Variant.FLIPPED_BYTE in variants and at <= end // 2 < at + len(whole):
                whole[end // 2 - at] ^= 1
            if at <= mark < at + len(piece):
                yield bytes(whole[: mark - at])
                yield Mark.IN_DOCUMENT
                yield bytes(whole[mark - at :])
            else:
                yield bytes(whole)
            at += len(piece)
        if Variant.LONG_DOCUMENT in variants:
            yield b"!"


def compose(
    message_id: str,
    asked: Sequence[DocumentRequest],
    documents: Mapping[tuple[str, str], Document],
    script: Script,
    unique: str,
) -> Message:
    """The answer to one request as the script wants it. `unique` is hex for boundary and Content-IDs."""
    variants = script.variants
    if Variant.FAULT_500 in variants or Variant.FAULT_200 in variants:
        fault = SoapFault(FaultCode.RECEIVER, "the hospital's own words", relates_to=message_id)
        reply = soap.write_fault(fault, soap.Packaging.SIMPLE)
        return Message(500 if Variant.FAULT_500 in variants else 200, reply.content_type, ([reply.body],))
    if Variant.HTML_503 in variants or Variant.HTML_200 in variants:
        page = b"<html><body>the hospital's own words</body></html>"
        return Message(503 if Variant.HTML_503 in variants else 200, "text/html", ([page],))
    if Variant.REDIRECT in variants:
        return Message(302, "text/html", ([b""],))
    found = [
        (one, documents[one[1:]]) for one in asked if one[1:] in documents and Variant.NO_DOCUMENTS not in variants
    ]
    errors = [
        XdsError(Code.DOCUMENT_UNIQUE_ID, "the hospital's own words", one.document_unique_id)
        for one in asked
        if one[1:] not in documents
    ]
    if Variant.PLAIN in variants:
        return Message(200, soap.SIMPLE_TYPE, _envelope(message_id, found, errors, script, None, len(asked)))
    return _package(_envelope(message_id, found, errors, script, unique, len(asked)), found, script, unique)


def _envelope(
    message_id: str,
    found: Sequence[tuple[DocumentRequest, Document]],
    errors: Sequence[XdsError],
    script: Script,
    unique: str | None,
    asked: int,
) -> list[Sequence[Piece] | _Content]:
    """The SOAP envelope; documents inline if `unique` is None or the script says so."""
    variants = script.variants
    inline = unique is None or Variant.INLINE in variants
    listed = []
    for number, (request, document) in enumerate(found):
        cid = f"{number}.{unique}@hospital"
        if Variant.ENCODED_CID in variants:
            cid = f"{number}.{unique}%40hospital%3Aa"
        unique_id = request.document_unique_id
        if Variant.WRONG_DOCUMENT in variants and number == script.document:
            unique_id += ".9"
        listed.append(DocumentResponse(request.home, request.repository_unique_id, unique_id, document.mime_type, cid))
    if Variant.EXTRA_DOCUMENT in variants:
        listed.append(DocumentResponse("", "2.999.66", "2.999.66.6", "text/plain", f"extra.{unique}@hospital"))
    status = retrieval.status_of(len(found), asked - len(found))
    if not inline:
        body = retrieval.write_response(status, errors, listed)
        whole = soap.envelope(Action.RETRIEVE.reply, message_id, body)
        return [_spoilt(whole, variants)]
    hollow = retrieval.write_inline_response(status, errors, [(each, b"") for each in listed[: len(found)]])
    head = soap.envelope(Action.RETRIEVE.reply, message_id, hollow[:1]).removesuffix(soap.SUFFIX)
    parts: list[Sequence[Piece] | _Content] = [_spoilt(head, variants)]
    for number, (_, document) in enumerate(found):
        parts.append([hollow[1 + 3 * number]])
        parts.append(_Content(document, script, number == script.document, base64=True))
        parts.append([hollow[3 + 3 * number]])
    parts.append([hollow[-1], soap.SUFFIX])
    return parts


def _spoilt(whole: bytes, variants: frozenset[Variant]) -> list[Piece]:
    if Variant.DOCTYPE in variants:
        whole = b'<!DOCTYPE e [<!ENTITY x "y">]>' + whole
    if Variant.HUGE_ROOT in variants:
        cut = whole.index(b"<soap12:Header>") + len(b"<soap12:Header>")
        whole = whole[:cut] + b" " * (8 * 1024 * 1024) + whole[cut:]
    return [whole[: len(whole) // 2], Mark.IN_ROOT, whole[len(whole) // 2 :]]


def _package(
    root: Sequence[Sequence[Piece] | _Content],
    found: Sequence[tuple[DocumentRequest, Document]],
    script: Script,
    unique: str,
) -> Message:
    variants = script.variants
    boundary = f"MIME Boundary {unique}" if Variant.SPACED_BOUNDARY in variants else f"MIMEBoundary_{unique}"
    line = "\n" if Variant.BARE_LF in variants else "\r\n"
    root_part: list[Sequence[Piece] | _Content] = [
        [
            _head(
                boundary,
                line,
                'application/xop+xml; charset=UTF-8; type="application/soap+xml"',
                f"root.{unique}@hospital",
            )
        ],
        *root,
        [Mark.AFTER_ROOT],
    ]
    parts: list[list[Sequence[Piece] | _Content]] = []
    encoding = "base64" if Variant.BASE64_PARTS in variants else "binary"
    for number, (_, document) in enumerate(found if Variant.INLINE not in variants else ()):
        if Variant.MISSING_PART in variants and number == script.document:
            continue
        cid = f"{number}.{unique}@hospital" + (":a" if Variant.ENCODED_CID in variants else "")
        media = document.mime_type
        if Variant.SMUGGLED_HEADER in variants:
            media += "\rX-Smuggled: yes"
        content = _Content(document, script, number == script.document, encoding == "base64")
        parts.append([[_head(boundary, line, media, cid, encoding)], content])
    if Variant.REVERSED_PARTS in variants:
        parts.reverse()
    if Variant.EXTRA_PART in variants or Variant.EXTRA_DOCUMENT in variants:
        parts.insert(0, [[_head(boundary, line, "text/plain", f"extra.{unique}@hospital"), b"nobody asked for this"]])
    ordered = [*parts, root_part] if Variant.ROOT_LAST in variants else [root_part, *parts]
    flat: list[Sequence[Piece] | _Content] = [each for part in ordered for each in part]
    if Variant.PREAMBLE in variants:
        flat.insert(0, [b"This is a multi-part message."])
    if Variant.UNCLOSED not in variants:
        flat.append([f"{line}--{boundary}--{line}".encode()])
    if Variant.EPILOGUE in variants:
        flat.append([b"and this comes after it"])
    named = "other" if Variant.WRONG_BOUNDARY in variants else boundary
    media = "multipart/related"
    if Variant.UPPER_CASE in variants:
        return Message(200, f'Multipart/RELATED; BOUNDARY="{named}"; Type="Application/XOP+xml"; Start-Info="x"', flat)
    return Message(
        200,
        f'{media}; boundary="{named}"; type="application/xop+xml"; start="<root.{unique}@hospital>"; '
        'start-info="application/soap+xml"',
        flat,
    )


def _head(boundary: str, line: str, media: str, cid: str, encoding: str = "binary") -> bytes:
    lines = (
        f"--{boundary}",
        f"Content-Type: {media}",
        f"Content-Transfer-Encoding: {encoding}",
        f"Content-ID: <{cid}>",
    )
    return (line + line.join(lines) + line + line).encode()
