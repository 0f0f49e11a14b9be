"""Matches a hospital's answer with what was asked of it, checks every byte, and lets nothing else through. No I/O.

Sources: ITI TF-2 3.43.4.2, 3.43.5 (matching), TF-3 4.2.3.2.9 and 4.2.3.2.23 (hash and size are of the bytes retrieved),
W3C XOP 1.0 section 3.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from audit.event import Ending
from ihe import mtom, retrieval, soap
from ihe.errors import Mangled, XdsError
from ihe.names import Action, Code
from policy.facts import DocumentKey
from repository_proxy.failures import UpstreamFailed
from repository_proxy.inline import Envelope, InlineReader
from repository_proxy.plan import Fetch

KiB = 1024
MiB = 1024 * KiB

ROOT_LIMIT = 1 * MiB
"""Largest root part of an answer: 500 documents take 300 KiB; small documents inlined as base64 fit as well."""
PACKAGE = replace(mtom.ANSWER, root=ROOT_LIMIT, parts=1024)
UNSIZED_LIMIT = 4 * 1024 * MiB
"""Ceiling for a document registered without a size."""
SKIP_LIMIT = 16 * MiB
"""Bytes of parts nobody asked for that are read and dropped before the hospital is given up."""
INFLATED_PIECE = 256 * KiB
PLAIN_TYPES = frozenset({"application/soap+xml", "text/xml", "application/xml"})


@dataclass(frozen=True, slots=True)
class RootRead:
    """The root part was understood: what will come, and what will not."""

    promised: tuple[Fetch, ...]
    missing: tuple[tuple[Fetch, XdsError], ...]
    unasked: int
    """Documents the hospital added; they are dropped, and the trail says so."""
    mistyped: int
    """Documents it calls by another media type than the registered one, which the caller is told all the same."""


@dataclass(frozen=True, slots=True)
class DocumentBegins:
    """The bytes that follow belong to this document."""

    fetch: Fetch


@dataclass(frozen=True, slots=True)
class DocumentEnds:
    """The document's bytes are all here; only with COMPLETE are they the registered ones."""

    fetch: Fetch
    ending: Ending


Step = RootRead | DocumentBegins | bytes | DocumentEnds


class _Check:
    """Size and SHA-1 of one document, against what was registered. An entry without them is not held to anything."""

    def __init__(self, fetch: Fetch) -> None:
        self.fetch = fetch
        self._size = fetch.entry.size
        self._hash = fetch.entry.hash.lower()
        self._sha1 = hashlib.sha1(usedforsecurity=False) if self._hash else None
        self._count = 0

    def exceeds(self, chunk: bytes) -> bool:
        """Takes a chunk; true if the document is now longer than registered."""
        self._count += len(chunk)
        if self._count > (UNSIZED_LIMIT if self._size is None else self._size):
            return True
        if self._sha1 is not None:
            self._sha1.update(chunk)
        return False

    def verdict(self) -> Ending:
        if self._size is not None and self._count < self._size:
            return Ending.UP_SHORT
        if self._sha1 is not None and self._sha1.hexdigest() != self._hash:
            return Ending.UP_HASH
        return Ending.COMPLETE


class Inflater:
    """Undoes a gzip Content-Encoding in bounded pieces, so that a small bomb never becomes a large chunk."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The plain bytes of `chunk`. Raises UpstreamFailed."""
        if self._stream.eof and chunk:
            raise UpstreamFailed(Ending.UP_BAD_HEADERS, "bytes after the end of gzip")
        try:
            while chunk:
                if piece := self._stream.decompress(chunk, INFLATED_PIECE):
                    yield piece
                chunk = self._stream.unconsumed_tail
        except zlib.error:
            raise UpstreamFailed(Ending.UP_BAD_HEADERS, "not gzip") from None
        if self._stream.unused_data:
            raise UpstreamFailed(Ending.UP_BAD_HEADERS, "bytes after the end of gzip")

    def close(self) -> None:
        """Says that no more bytes come. Raises UpstreamFailed if the end is missing."""
        if not self._stream.eof:
            raise UpstreamFailed(Ending.UP_SHORT, "gzip cut short")


class Relay:
    """Turns one hospital's answer into steps: the root once, then each promised document, begun, filled and ended.

    `feed` takes chunks however they were cut; `close` says the HTTP body ended where it should. Promise: bytes appear
    only between DocumentBegins and DocumentEnds, never more than were registered, never of a document not asked for.
    Raises: UpstreamFailed from every method.
    """

    def __init__(self, fetches: Sequence[Fetch], content_type: str) -> None:
        self._fetches = fetches
        self._reader: mtom.Reader | None = None
        self._inline: InlineReader | None = None
        self._gathered: list[bytes] = []
        self._size = 0
        self._in_root = False
        self._root_known = False
        self._coming: dict[str, Fetch] = {}
        self._check: _Check | None = None
        self._skipped = 0
        try:
            media = content_type.partition(";")[0].strip(" \t").lower()
            if media == mtom.MULTIPART:
                self._reader = mtom.Reader(content_type, PACKAGE)
            elif media not in PLAIN_TYPES:
                raise UpstreamFailed(Ending.UP_BAD_HEADERS, "the answer is neither SOAP nor MTOM")
            elif len(fetches) == 1 and fetches[0].hospital.one_document_per_request:
                self._inline = InlineReader(ROOT_LIMIT)
        except Mangled as wrong:
            raise UpstreamFailed(Ending.UP_BAD_HEADERS, str(wrong)) from None

    def feed(self, chunk: bytes) -> Iterator[Step]:
        """The steps that `chunk` makes possible."""
        try:
            if self._reader is not None:
                for event in self._reader.feed(chunk):
                    yield from self._event(event)
            elif self._inline is not None:
                for found in self._inline.feed(chunk):
                    yield from self._inlined(found)
            else:
                self._keep(chunk)
        except Mangled as wrong:
            raise UpstreamFailed(self._ending(), str(wrong)) from None

    def close(self) -> Iterator[Step]:
        """The steps that only the end of the answer makes certain."""
        try:
            if self._reader is not None:
                self._reader.close()
            elif self._inline is not None:
                if (whole := self._inline.close()) is not None:
                    yield from self._inlined(whole)
                yield from self._end()
            else:
                yield from self._root(b"".join(self._gathered))
        except Mangled as wrong:
            raise UpstreamFailed(self._ending(), str(wrong)) from None
        if self._coming:
            raise UpstreamFailed(Ending.UP_SHORT, "a promised part never came")

    def _ending(self) -> Ending:
        return Ending.UP_SHORT if self._root_known else Ending.UP_BAD_ROOT

    def _event(self, event: mtom.Event) -> Iterator[Step]:
        match event:
            case mtom.Content(chunk):
                if self._in_root:
                    self._keep(chunk)
                else:
                    yield from self._content(chunk)
            case mtom.PartBegins(content_id=content_id, root=root):
                self._in_root = root
                if not root and (fetch := self._coming.pop(unquote(content_id), None)) is not None:
                    yield from self._begin(fetch)
            case mtom.PartEnds():
                if self._in_root:
                    self._in_root = False
                    yield from self._root(b"".join(self._gathered))
                else:
                    yield from self._end()
            case mtom.PackageEnds():
                if self._coming:
                    raise UpstreamFailed(Ending.UP_SHORT, "a promised part never came")

    def _inlined(self, found: bytes | Envelope) -> Iterator[Step]:
        if isinstance(found, bytes):
            yield from self._content(found)
        else:
            for step in self._root(found.raw):
                yield step
                if isinstance(step, RootRead):
                    for fetch in step.promised:
                        yield from self._begin(fetch)

    def _keep(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > ROOT_LIMIT:
            raise UpstreamFailed(Ending.UP_BAD_ROOT, "root part or plain answer too large")
        self._gathered.append(chunk)

    def _root(self, raw: bytes) -> Iterator[Step]:
        self._gathered.clear()
        answer = soap.read_answer(raw)
        if answer.fault is not None:
            raise UpstreamFailed(Ending.UP_REFUSED, "SOAP fault", counts=False)
        if answer.body is None or answer.action not in ("", Action.RETRIEVE.reply):
            raise UpstreamFailed(Ending.UP_BAD_ROOT, "not the answer to a retrieve")
        matched = _Matched(self._fetches, retrieval.read_response(answer.body))
        self._root_known = True
        self._coming = dict(matched.coming)
        yield RootRead(tuple(matched.promised), tuple(matched.missing), matched.unasked, matched.mistyped)
        if not isinstance(self._inline, InlineReader):
            for fetch, content in matched.inline:
                yield from self._begin(fetch)
                if content:
                    yield from self._content(content)
                yield from self._end()

    def _begin(self, fetch: Fetch) -> Iterator[Step]:
        self._check = _Check(fetch)
        yield DocumentBegins(fetch)

    def _content(self, chunk: bytes) -> Iterator[Step]:
        check = self._check
        if check is None:
            self._skipped += len(chunk)
            if self._skipped > SKIP_LIMIT:
                raise UpstreamFailed(Ending.UP_LONG, "too many bytes that nobody asked for")
        elif check.exceeds(chunk):
            self._check = None
            yield DocumentEnds(check.fetch, Ending.UP_LONG)
        else:
            yield chunk

    def _end(self) -> Iterator[Step]:
        if self._check is not None:
            check, self._check = self._check, None
            yield DocumentEnds(check.fetch, check.verdict())


class _Matched:
    """What an answer says about each asked document. Ids are compared as sent; the hospital's words are not kept."""

    def __init__(self, fetches: Sequence[Fetch], answer: retrieval.RetrieveAnswer) -> None:
        self.promised: list[Fetch] = []
        self.missing: list[tuple[Fetch, XdsError]] = []
        self.inline: list[tuple[Fetch, bytes]] = []
        self.coming: dict[str, Fetch] = {}
        self.unasked = 0
        self.mistyped = 0
        waiting = {fetch.asked.key: fetch for fetch in fetches}
        for document in answer.documents:
            fetch = waiting.get(DocumentKey(document.repository, document.document))
            if fetch is None:
                self.unasked += 1
                continue
            if document.inline is not None:
                self.inline.append((fetch, document.inline))
            else:
                content_id = unquote(mtom.cid_of(document.href or "") or "")
                if not content_id or content_id in self.coming:
                    continue
                self.coming[content_id] = fetch
            del waiting[fetch.asked.key]
            self.promised.append(fetch)
            self.mistyped += document.mime_type.lower() not in ("", fetch.entry.mime_type.lower())
        named = {error.location: error.code for error in answer.errors if error.is_error}
        for fetch in waiting.values():
            code = named.get(fetch.asked.key.unique_id, named.get(""))
            gone = code in (None, Code.DOCUMENT_UNIQUE_ID.value)
            self.missing.append((fetch, fetch.asked.hidden if gone else fetch.asked.failed(Ending.UP_REFUSED)))
