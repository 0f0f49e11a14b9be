"""What MIME says in a line: media type parameters, Content-IDs and who means which, transfer encodings. No I/O.

Sources: RFC 2045 sections 5 and 6, RFC 2392, W3C XOP 1.0 section 4.1.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from typing import Protocol
from urllib.parse import unquote

from ihe.errors import Mangled

_PARAMETER = re.compile(
    r"[ \t]*;[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*"
    r"(?:\"((?:[^\"\\]|\\.)*)\"(?:[ \t]+\Z)?|([^;\"]*)))?"
)
"""A semicolon, and behind it nothing, or a name with a quoted or a bare value. White space alone may end the line."""
_ESCAPED = re.compile(r"\\(.)")
_FOLD = re.compile(r"\r\n[ \t]+")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


def parameters(content_type: str) -> tuple[str, dict[str, str]]:
    """The media type in lower case and its parameters by lower-case name, unquoted (RFC 2045 section 5.1).

    Raises: Mangled for what two readers could take differently: a parameter twice, an open quote, a control character.
    """
    line = _FOLD.sub(" ", content_type) if "\r" in content_type else content_type
    if _CONTROL.search(line) is not None:
        raise Mangled("control character in a media type")
    media, semicolon, _ = line.partition(";")
    found: dict[str, str] = {}
    position = len(media) if semicolon else len(line)
    while position < len(line):
        match = _PARAMETER.match(line, position)
        if match is None:
            raise Mangled("media type parameters cannot be read")
        position = match.end()
        name, quoted, plain = match.groups()
        if name is None:
            continue
        name = name.lower()
        if name in found:
            raise Mangled("a media type parameter occurs twice")
        if quoted is None:
            found[name] = plain.strip(" \t")
        else:
            found[name] = _ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted
    return media.strip(" \t").lower(), found


def bare(content_id: str) -> str:
    """A Content-ID or `start` without its one pair of angle brackets and the white space around."""
    stripped = content_id.strip(" \t\r\n")
    return stripped[1:-1] if stripped.startswith("<") and stripped.endswith(">") else stripped


def cid_of(href: str) -> str | None:
    """What follows `cid:` in an xop:Include href, still percent-encoded; None for any other scheme."""
    stripped = href.strip(" \t\r\n")
    return stripped[4:] if stripped[:4].lower() == "cid:" else None


def match(href: str, content_ids: Iterable[str]) -> str | None:
    """The one of `content_ids` that `href` means, or None.

    Tried in this order, since stacks disagree on who encodes: as written, percent-decoded, both percent-decoded.
    """
    asked = cid_of(href)
    if not asked:
        return None
    known = list(content_ids)
    decoded = unquote(asked)
    if asked in known:
        return asked
    if decoded in known:
        return decoded
    return next((content_id for content_id in known if unquote(content_id) == decoded), None)


class Decoder(Protocol):
    """Undoes one Content-Transfer-Encoding while the bytes arrive."""

    def feed(self, chunk: bytes) -> bytes:
        """What of the content is certain after `chunk`; may be empty. Raises Mangled."""

    def end(self) -> bytes:
        """The rest. Raises Mangled if the part stopped in the middle of a unit."""


class _Identity:
    def feed(self, chunk: bytes) -> bytes:
        return chunk

    def end(self) -> bytes:
        return b""


class _Base64:
    def __init__(self) -> None:
        self._held = b""
        self._padded = False

    def feed(self, chunk: bytes) -> bytes:
        line = self._held + chunk.translate(None, b" \t\r\n")
        whole = len(line) & ~3
        self._held = line[whole:]
        if not whole:
            return b""
        if self._padded:
            raise Mangled("base64 goes on after its padding")
        self._padded = line[whole - 1 : whole] == b"="
        try:
            return binascii.a2b_base64(line[:whole], strict_mode=True)
        except binascii.Error:
            raise Mangled("not base64") from None

    def end(self) -> bytes:
        if self._held:
            raise Mangled("base64 stops in the middle of a unit")
        return b""


class _QuotedPrintable:
    _WRONG = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n)")

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        line = self._held + chunk
        # A unit is three bytes at most, so an equal sign among the last two may still be waiting for its rest.
        last = line.rfind(b"=", max(0, len(line) - 2))
        whole = last if last >= 0 else len(line)
        self._held = line[whole:]
        if self._WRONG.search(line, 0, whole) is not None:
            raise Mangled("not quoted-printable")
        return binascii.a2b_qp(line[:whole])

    def end(self) -> bytes:
        if self._held not in (b"", b"=\n"):
            raise Mangled("quoted-printable stops in the middle of a unit")
        return b""


_PLAIN = _Identity()


def decoder(transfer_encoding: str) -> Decoder:
    """A decoder for a Content-Transfer-Encoding; empty means binary (RFC 2045 section 6). Raises Mangled."""
    match transfer_encoding.strip(" \t").lower():
        case "" | "binary" | "8bit" | "7bit":
            return _PLAIN
        case "base64":
            return _Base64()
        case "quoted-printable":
            return _QuotedPrintable()
        case _:
            raise Mangled("transfer encoding of a part is not known")
