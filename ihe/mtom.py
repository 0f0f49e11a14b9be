"""MTOM packages read chunk by chunk, as events, and written in the one form every known stack accepts. No I/O.

Sources: RFC 2045, 2046 and 2387, W3C XOP 1.0, ITI TF-2 appendix V.8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import multipart  # type: ignore[import-untyped]  # the library has no annotations

from ihe.errors import Mangled
from ihe.mime import Decoder, bare, cid_of, decoder, match, parameters

__all__ = [
    "ANSWER",
    "REQUEST",
    "Content",
    "Decoder",
    "Event",
    "Limits",
    "Package",
    "PackageEnds",
    "Part",
    "PartBegins",
    "PartEnds",
    "Reader",
    "Writer",
    "bare",
    "cid_of",
    "decoder",
    "match",
    "new_writer",
    "parameters",
    "read_package",
]

MULTIPART = "multipart/related"
XOP = "application/xop+xml"
SOAP = "application/soap+xml"
ROOT_TYPES = frozenset({XOP, SOAP, "text/xml"})
"""What senders call the root part: MTOM by the book, and two names that SOAP with Attachments left behind."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large the parts of a package that are not documents may be."""

    parts: int = 256
    headers: int = 32
    """Header lines of one part."""
    header_bytes: int = 8192
    """All header lines of one part together."""
    margin: int = 4096
    """Bytes before the first boundary, and bytes after the last."""
    root: int = 2 * 1024 * 1024
    """Bytes of the root part."""
    root_first: bool = False
    """The root part leads: what a reader needs that passes documents on while they arrive."""
    lenient: bool = False
    """Folded or non-ASCII part headers and freely chosen Content-IDs are read, as mail libraries write them."""


REQUEST = Limits()
ANSWER = Limits(root=1024 * 1024, root_first=True, lenient=True)


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part starts. `headers` have lower-case names and describe what follows: transfer encoding is undone already."""

    headers: Mapping[str, str]
    content_id: str
    """Content-ID without brackets, or empty."""
    root: bool


@dataclass(frozen=True, slots=True)
class Content:
    """Decoded bytes of the part that began last; never empty."""

    chunk: bytes


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part is complete: its boundary was seen."""


@dataclass(frozen=True, slots=True)
class PackageEnds:
    """The closing boundary was seen. Without this event the package is cut short."""


Event = PartBegins | Content | PartEnds | PackageEnds
PART_ENDS, PACKAGE_ENDS = PartEnds(), PackageEnds()

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_CONTENT_ID = re.compile(r"[!#$%&'*+./0-9:;=?@A-Z^_`a-z{|}~,-]{1,250}")
_CONTROL_BYTE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ONCE = frozenset({"content-id", "content-type", "content-transfer-encoding"})


class _Parser(multipart.PushMultipartParser):  # type: ignore[misc]  # the same
    """The library's parser for multipart/related: no Content-Disposition is asked for, and its end can be seen."""

    def __init__(self, boundary: str, limits: Limits) -> None:
        super().__init__(
            boundary,
            # Two more than allowed: whether the library counts the line break depends on how chunks were cut.
            max_header_size=limits.header_bytes + 2,
            max_header_count=limits.headers,
            max_segment_count=limits.parts,
            header_charset="latin-1" if limits.lenient else "ascii",
            strict=not limits.lenient,
        )
        self._header_bytes = limits.header_bytes

    def _on_segment_headerline(self, line: bytes) -> None:
        # The library splits lines at CRLF only, so a bare CR or LF stays inside one, if its chunk is long enough.
        if _CONTROL_BYTE.search(line) is not None:
            raise Mangled("control character in a part header")
        super()._on_segment_headerline(line)

    def _create_segment(self, headerlist: list[tuple[str, str]]) -> Any:
        size = 0
        for name, value in headerlist:
            size += len(name) + len(value) + 4
        if size > self._header_bytes:
            raise Mangled("part headers too large")
        # Only Content-Disposition and Content-Type would be looked at, and this reader looks at them itself.
        segment = multipart.MultipartSegment([])
        segment.headerlist = headerlist
        return segment

    @property
    def complete(self) -> bool:
        return self._state is multipart._COMPLETE

    @property
    def taken(self) -> int:
        """Bytes up to and including the closing boundary, once complete."""
        taken: int = self._parsed
        return taken


class Reader:
    """Turns the chunks of one multipart/related message into events, holding back no more than a boundary's length.

    Promise: however the bytes are cut into chunks, the same content comes out, or the same refusal. PackageEnds comes
    once, when the closing boundary was read; `close` raises if it never came.
    Raises: Mangled, from the constructor, `feed` and `close`.
    """

    def __init__(self, content_type: str, limits: Limits) -> None:
        media, given = parameters(content_type)
        if media != MULTIPART:
            raise Mangled("not multipart/related")
        boundary = given.get("boundary", "")
        if _BOUNDARY.fullmatch(boundary) is None:
            raise Mangled("boundary missing or not allowed")
        if given.get("type", XOP).lower() not in ROOT_TYPES:
            raise Mangled("package type is not XOP")
        self._limits = limits
        self._start = bare(given.get("start", ""))
        self._opening = b"\r\n--" + boundary.encode("ascii")
        self._parser = _Parser(boundary, limits)
        self._before: bytes | None = b"\r\n"
        self._fed = 0
        self._decoder: Decoder = decoder("")
        self._ids: set[str] = set()
        self._parts = 0
        self._root_left: int | None = None
        self._root_seen = False
        self._ended = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes; an empty chunk means nothing."""
        if self._before is not None:
            chunk = self._opened(self._before + chunk)
        events: list[Event] = []
        # The parser takes an empty chunk for the end of input.
        if not chunk:
            return events
        self._fed += len(chunk)
        if not self._ended:
            try:
                for found in self._parser.parse(chunk):
                    self._take(found, events)
            except multipart.MultipartError:
                raise Mangled("multipart message cannot be read") from None
            if self._parser.complete:
                events.append(self._end())
        if self._ended and self._fed - self._parser.taken > self._limits.margin:
            raise Mangled("too much after the last part")
        return events

    def close(self) -> None:
        """Says that no more bytes come. Raises Mangled unless the closing boundary was among them."""
        if not self._ended:
            raise Mangled("package cut short")

    def _opened(self, held: bytes) -> bytes:
        """The bytes from the first boundary on, or none yet.

        The library looks for the first boundary too, but whether it accepts one depends on how chunks were cut.
        """
        found = held.find(self._opening)
        if (found if found >= 0 else len(held) - len(self._opening)) > self._limits.margin:
            raise Mangled("too much before the first part")
        if found < 0:
            self._before = held
            return b""
        self._before = None
        return held[found + 2 :]

    def _take(self, found: Any, events: list[Event]) -> None:
        if found is None:
            self._root_left = None
            if rest := self._decoder.end():
                events.append(Content(rest))
            events.append(PART_ENDS)
        elif isinstance(found, multipart.MultipartSegment):
            events.append(self._begin(found.headerlist))
        elif chunk := self._decoder.feed(bytes(found)):
            if self._root_left is not None:
                self._root_left -= len(chunk)
                if self._root_left < 0:
                    raise Mangled("root part too large")
            events.append(Content(chunk))

    def _begin(self, lines: list[tuple[str, str]]) -> PartBegins:
        headers: dict[str, str] = {}
        for name, value in lines:
            name = name.lower()
            if name in headers and name in _ONCE:
                raise Mangled("a part header occurs twice")
            headers.setdefault(name, value.strip(" \t"))
        content_id = bare(headers.get("content-id", ""))
        if content_id:
            if not self._limits.lenient and _CONTENT_ID.fullmatch(content_id) is None:
                raise Mangled("Content-ID cannot be read")
            # Folded like this, two ids meet that differ only for some readers: one document under two names.
            folded = content_id if self._limits.lenient else unquote(content_id).lower()
            if folded in self._ids:
                raise Mangled("a Content-ID occurs twice")
            self._ids.add(folded)
        self._decoder = decoder(headers.pop("content-transfer-encoding", ""))
        root = self._is_root(content_id, headers)
        self._parts += 1
        if root:
            self._root_seen = True
            self._root_left = self._limits.root
        return PartBegins(headers, content_id, root)

    def _is_root(self, content_id: str, headers: Mapping[str, str]) -> bool:
        media = headers.get("content-type", XOP).partition(";")[0].strip(" \t").lower()
        if self._root_seen:
            root = False
        elif self._start and (content_id or not self._limits.root_first):
            root = content_id == self._start
        else:
            root = self._parts == 0
        if root and media not in ROOT_TYPES:
            raise Mangled("root part is not XOP")
        if not root and self._limits.root_first and not self._root_seen:
            raise Mangled("root part is not the first part")
        if media.startswith("multipart/"):
            raise Mangled("a package within a package is not accepted")
        return root

    def _end(self) -> Event:
        if not self._root_seen:
            raise Mangled("no root part")
        self._ended = True
        return PACKAGE_ENDS


@dataclass(frozen=True, slots=True)
class Part:
    """One part that is not the root, whole."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Package:
    """A package read whole: the root part, and those others that can be referred to, by Content-ID without brackets."""

    root: bytes
    parts: Mapping[str, Part]
    root_id: str
    """Content-ID of the root part, or empty."""


def read_package(raw: bytes, content_type: str, limits: Limits = REQUEST) -> Package:
    """A small message at once. The root may stand anywhere; parts without Content-ID are dropped. Raises Mangled."""
    reader = Reader(content_type, limits)
    events = reader.feed(raw)
    reader.close()
    root, root_id, parts = b"", "", {}
    begun: PartBegins | None = None
    pieces: list[bytes] = []
    for event in events:
        match event:
            case PartBegins():
                begun, pieces = event, []
            case Content(chunk):
                pieces.append(chunk)
            case PartEnds() if begun is not None:
                if begun.root:
                    root, root_id = b"".join(pieces), begun.content_id
                elif begun.content_id:
                    parts[begun.content_id] = Part(begun.headers, b"".join(pieces))
    return Package(root, parts, root_id)


_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*;[ !-~]*)?")
_OWN_ID = re.compile(r"[A-Za-z0-9.-]+@[A-Za-z0-9.-]+")


class Writer:
    """Writes a package piece by piece, root first, as WCF, CXF, Axis2, Metro and the NIST client all read it.

    The pieces in order: `root` once, then `part` and that part's bytes for each document, then `end`.
    """

    def __init__(self, boundary: str, root_cid: str) -> None:
        if _BOUNDARY.fullmatch(boundary) is None or _OWN_ID.fullmatch(root_cid) is None:
            raise ValueError("boundary or Content-ID that some readers would not understand")
        self._boundary = boundary.encode("ascii")
        self._root_cid = root_cid

    @property
    def content_type(self) -> str:
        """The HTTP media type. `start-info` equals the root part's `type`, since WCF compares them byte for byte."""
        return (
            f'{MULTIPART}; type="{XOP}"; boundary="{self._boundary.decode("ascii")}"; '
            f'start="<{self._root_cid}>"; start-info="{SOAP}"'
        )

    def root(self, envelope: bytes) -> bytes:
        """The root part, complete but for the line break that belongs to the next boundary."""
        head = (
            f'\r\nContent-Type: {XOP}; charset=UTF-8; type="{SOAP}"\r\n'
            f"Content-Transfer-Encoding: binary\r\nContent-ID: <{self._root_cid}>\r\n\r\n"
        )
        return b"".join((b"--", self._boundary, head.encode("ascii"), envelope))

    def part(self, cid: str, mime_type: str) -> bytes:
        """What precedes a part's bytes. A media type that is none is replaced, so that no header can be smuggled in."""
        if _OWN_ID.fullmatch(cid) is None:
            raise ValueError("Content-ID that some readers would not understand")
        media = mime_type if _MEDIA_TYPE.fullmatch(mime_type) is not None else "application/octet-stream"
        head = f"\r\nContent-Type: {media}\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <{cid}>\r\n\r\n"
        return b"".join((b"\r\n--", self._boundary, head.encode("ascii")))

    def end(self) -> bytes:
        """The closing boundary: written only when every byte before it was right."""
        return b"".join((b"\r\n--", self._boundary, b"--\r\n"))


def new_writer(unique: str) -> Writer:
    """A writer named by `unique`: the caller's random hex, so that no document can hold its boundary."""
    return Writer(f"uuid-{unique}", f"root.{unique}@innsyn")
