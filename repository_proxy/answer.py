"""Writes our answer to a retrieve in the packaging of its request, document by document, in bounded memory. No I/O.

Sources: ITI TF-2 3.43.4.2, 3.43.5, appendix V.8; TF-3 4.2.4.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import Protocol

from ihe import mtom, retrieval, soap
from ihe.errors import XdsError
from ihe.names import Action
from ihe.soap import Packaging
from repository_proxy.plan import Fetch


class Answer(Protocol):
    """The pieces of one answer, in the order they are written; together they are the whole body."""

    @property
    def content_type(self) -> str:
        """The HTTP media type, known before anything is."""

    def root(self, errors: Sequence[XdsError], fetches: Sequence[Fetch], failed: int) -> bytes:
        """Everything before the first document: status, errors, and who follows. After this there is no way back."""

    def begin(self, fetch: Fetch) -> bytes:
        """What precedes a document's bytes."""

    def content(self, chunk: bytes) -> bytes:
        """A document's bytes as they travel."""

    def finish(self, fetch: Fetch) -> bytes:
        """What follows a document's bytes."""

    def end(self) -> bytes:
        """What makes the answer whole: written only when every byte before it was right."""


def new_answer(packaging: Packaging, unique: str, relates_to: str) -> Answer:
    """An answer in the packaging of the request (TF-2 V.8.1). `unique` is random hex, `relates_to` its MessageID."""
    if packaging is Packaging.MTOM:
        return MtomAnswer(unique, relates_to)
    return PlainAnswer(relates_to)


def _described(fetch: Fetch, cid: str = "") -> retrieval.DocumentResponse:
    request = fetch.asked.request
    # The registered mimeType, whatever the hospital says of these bytes: it is what the consumer was told to expect.
    return retrieval.DocumentResponse(
        home=request.home,
        repository_unique_id=request.repository_unique_id,
        document_unique_id=request.document_unique_id,
        mime_type=fetch.entry.mime_type or "application/octet-stream",
        cid=cid,
    )


class MtomAnswer:
    """The root part first, DocumentResponses in request order; the parts follow in any."""

    def __init__(self, unique: str, relates_to: str) -> None:
        self._writer = mtom.new_writer(unique)
        self._unique = unique
        self._relates_to = relates_to

    @property
    def content_type(self) -> str:
        """The canonical multipart form."""
        return self._writer.content_type

    def _cid(self, fetch: Fetch) -> str:
        return f"d{fetch.place}.{self._unique}@innsyn"

    def root(self, errors: Sequence[XdsError], fetches: Sequence[Fetch], failed: int) -> bytes:
        """The root part."""
        status = retrieval.status_of(len(fetches), failed)
        pieces = retrieval.write_response(status, errors, [_described(fetch, self._cid(fetch)) for fetch in fetches])
        return self._writer.root(soap.envelope(Action.RETRIEVE.reply, self._relates_to, pieces))

    def begin(self, fetch: Fetch) -> bytes:
        """The boundary and a part's headers."""
        return self._writer.part(self._cid(fetch), fetch.entry.mime_type)

    def content(self, chunk: bytes) -> bytes:
        """The bytes themselves."""
        return chunk

    def finish(self, fetch: Fetch) -> bytes:
        """Nothing: the next boundary ends a part."""
        return b""

    def end(self) -> bytes:
        """The closing boundary."""
        return self._writer.end()


class PlainAnswer:
    """Simple SOAP: each document inside the envelope as base64, written while it arrives, so in order of arrival."""

    content_type = soap.SIMPLE_TYPE

    def __init__(self, relates_to: str) -> None:
        self._relates_to = relates_to
        self._held = b""
        self._after: dict[int, bytes] = {}
        self._before: dict[int, bytes] = {}
        self._closing = b""

    def root(self, errors: Sequence[XdsError], fetches: Sequence[Fetch], failed: int) -> bytes:
        """The envelope up to the first DocumentResponse."""
        status = retrieval.status_of(len(fetches), failed)
        hollow = [(_described(fetch), b"") for fetch in fetches]
        pieces = retrieval.write_inline_response(status, errors, hollow)
        for number, fetch in enumerate(fetches):
            self._before[fetch.place], self._after[fetch.place] = pieces[3 * number + 1], pieces[3 * number + 3]
        self._closing = pieces[-1] + soap.SUFFIX
        return soap.envelope(Action.RETRIEVE.reply, self._relates_to, pieces[:1]).removesuffix(soap.SUFFIX)

    def begin(self, fetch: Fetch) -> bytes:
        """One DocumentResponse up to its content."""
        return self._before[fetch.place]

    def content(self, chunk: bytes) -> bytes:
        """Base64 of all whole units so far."""
        whole = self._held + chunk
        cut = len(whole) - len(whole) % 3
        self._held = whole[cut:]
        return binascii.b2a_base64(whole[:cut], newline=False) if cut else b""

    def finish(self, fetch: Fetch) -> bytes:
        """The last unit and the end of the DocumentResponse."""
        rest, self._held = self._held, b""
        return binascii.b2a_base64(rest, newline=False) + self._after[fetch.place]

    def end(self) -> bytes:
        """The end of the envelope."""
        return self._closing
