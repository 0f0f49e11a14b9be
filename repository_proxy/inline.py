"""Reads a plain SOAP answer whose one document stands inside it as base64, in bounded memory and without a tree.

A hospital that does not speak MTOM sends the whole document as text of one element. The text is taken out while it
arrives; what remains is a small envelope, which the ordinary reader judges twice: up to the document, closed by us,
before its first byte is used; and whole, at the end.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from ihe import mime, xml
from ihe.errors import Mangled

_NAME = re.compile(rb"[^\s<>/=\"']+")
_TAG = re.compile(rb"<[^<>\"']*(?:(?:\"[^\"<]*\"|'[^'<]*')[^<>\"']*)*>")
_CONTENT = b"Document"


@dataclass(frozen=True, slots=True)
class Envelope:
    """The answer without its document, closed where the document begins (or whole, if there is none)."""

    raw: bytes


class InlineReader:
    """Yields the Envelope once, as soon as the document's element opens, then the document's bytes.

    An answer without a document yields its Envelope from `close`. Raises: Mangled, from `feed` and `close`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._skeleton = bytearray()
        self._pending = b""
        self._open: list[bytes] = []
        self._decoder: mime.Decoder | None = None
        self._found = False
        self._must_close = False
        """The content has ended, so what comes next is the end of its element."""

    def feed(self, chunk: bytes) -> Iterator[Envelope | bytes]:
        """What `chunk` makes certain."""
        rest = self._pending + chunk
        while rest:
            before = (len(rest), self._decoder)
            if self._decoder is not None:
                rest = yield from self._content(self._decoder, rest)
            else:
                rest = yield from self._markup(rest)
            if (len(rest), self._decoder) == before:
                break
        self._pending = rest
        if len(self._skeleton) + len(rest) > self._limit:
            raise Mangled("answer too large beside its document")

    def close(self) -> Envelope | None:
        """Says that no more bytes come; the Envelope if no document was met."""
        whole = bytes(self._skeleton) + self._pending
        if self._decoder is not None or self._open or not whole:
            raise Mangled("answer cut short")
        if not self._found:
            return Envelope(whole)
        xml.read(whole.lstrip(b" \t\r\n"), xml.ANSWER)
        return None

    def _content(self, decoder: mime.Decoder, rest: bytes) -> Generator[bytes, None, bytes]:
        end = rest.find(b"<")
        if decoded := decoder.feed(rest if end < 0 else rest[:end]):
            yield decoded
        if end < 0:
            return b""
        if last := decoder.end():
            yield last
        self._decoder = None
        self._must_close = True
        return rest[end:]

    def _markup(self, rest: bytes) -> Generator[Envelope, None, bytes]:
        start = rest.find(b"<")
        if start != 0:
            text = rest if start < 0 else rest[:start]
            self._skeleton += text
            return rest[len(text) :]
        if rest[:2] == b"<!":
            # Comments, CDATA and DOCTYPE: none has a place in an answer, and each could hide a tag from this reader.
            raise Mangled("markup declaration in an answer")
        if rest[:2] == b"<?":
            end = rest.find(b"?>")
            if end >= 0:
                self._skeleton += rest[: end + 2]
                return rest[end + 2 :]
            return rest
        tag = _TAG.match(rest)
        if tag is None:
            return rest
        yield from self._element(tag[0])
        return rest[tag.end() :]

    def _element(self, tag: bytes) -> Iterator[Envelope]:
        self._skeleton += tag
        closing = tag.startswith(b"</")
        named = _NAME.match(tag, 2 if closing else 1)
        if named is None:
            raise Mangled("a tag without a name")
        name = named[0]
        if self._must_close and not closing:
            raise Mangled("inline content is more than text")
        self._must_close = False
        if closing:
            if not self._open or self._open.pop() != name:
                raise Mangled("tags do not match")
        elif not tag.endswith(b"/>"):
            self._open.append(name)
            if name.rpartition(b":")[2] == _CONTENT:
                if self._found:
                    raise Mangled("a second document in an answer to one request")
                self._found = True
                self._decoder = mime.decoder("base64")
                closers = b"".join(b"</%s>" % open_name for open_name in reversed(self._open))
                yield Envelope(bytes(self._skeleton) + closers)
