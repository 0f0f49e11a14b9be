"""ITI-43 bodies: which documents are asked for, and which came, each id as it was written.

Sources: ITI TF-2 3.43.4 and 3.43.5, TF-3 4.2.4, schema XDS.b_DocumentRepository.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ihe import xml
from ihe.envelope import INCLUDE
from ihe.errors import Mangled, XdsError
from ihe.names import RS, XDS, XOP, Code, ResponseStatus, Severity

_REQUEST = f"{{{XDS}}}DocumentRequest"
_RESPONSE_SET = f"{{{XDS}}}RetrieveDocumentSetResponse"
_RESPONSE = f"{{{XDS}}}DocumentResponse"
_HOME, _REPOSITORY, _DOCUMENT = (f"{{{XDS}}}{n}" for n in ("HomeCommunityId", "RepositoryUniqueId", "DocumentUniqueId"))
_NEW_REPOSITORY, _NEW_DOCUMENT = f"{{{XDS}}}NewRepositoryUniqueId", f"{{{XDS}}}NewDocumentUniqueId"
_MIME_TYPE, _CONTENT = f"{{{XDS}}}mimeType", f"{{{XDS}}}Document"
_REGISTRY_RESPONSE, _REGISTRY_ERROR = f"{{{RS}}}RegistryResponse", f"{{{RS}}}RegistryError"


class DocumentRequest(NamedTuple):
    """One document asked for; `home` is empty where the request had none."""

    home: str
    repository_unique_id: str
    document_unique_id: str


@dataclass(frozen=True, slots=True)
class DocumentResponse:
    """One document delivered: ids and home as its request had them. `cid` is empty when the content travels inline."""

    home: str
    repository_unique_id: str
    document_unique_id: str
    mime_type: str
    cid: str = ""
    new_repository_unique_id: str = ""
    new_document_unique_id: str = ""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """One RegistryError of a hospital, as it stands there: its code may be none of ours. Never shown to a caller."""

    code: str
    context: str
    severity: str
    location: str

    @property
    def is_error(self) -> bool:
        """False for a warning, which comes beside a delivered document (TF-3 4.2.4.1)."""
        return self.severity != Severity.WARNING


@dataclass(frozen=True, slots=True)
class DocumentAnswer:
    """One DocumentResponse of a hospital. `href` refers to a part, `inline` is decoded content; both None: absent."""

    home: str
    repository: str
    document: str
    new_repository: str
    new_document: str
    mime_type: str
    href: str | None
    inline: bytes | None


@dataclass(frozen=True, slots=True)
class RetrieveAnswer:
    """What a hospital says it delivers. The documents count, whatever `status` claims."""

    status: str
    errors: tuple[ErrorAnswer, ...]
    documents: tuple[DocumentAnswer, ...]


def read(body: xml.Element) -> tuple[DocumentRequest, ...]:
    """The documents asked for, in order, each (home, repository, document) once.

    Raises: XdsFailure with one XDSRepositoryError per schema finding, at least one document being part of the schema.
    """
    xml.demand("xds", body, Code.REPOSITORY_ERROR)
    asked = (
        DocumentRequest(*(xml.text(request.find(tag)) for tag in (_HOME, _REPOSITORY, _DOCUMENT)))
        for request in body.iterchildren(_REQUEST)
    )
    return tuple(dict.fromkeys(asked))


def status_of(delivered: int, failed: int) -> ResponseStatus:
    """The status that these counts of documents have (TF-2 3.43.5): nothing delivered is never Success."""
    if not delivered:
        return ResponseStatus.FAILURE
    return ResponseStatus.PARTIAL if failed else ResponseStatus.SUCCESS


def write_response(
    status: ResponseStatus, errors: Sequence[XdsError], documents: Iterable[DocumentResponse]
) -> list[bytes]:
    """The body of an answer whose documents follow as parts: each `cid` must be written by the same Writer."""
    pieces = [_opening(status, errors)]
    for document in documents:
        include = f'<xop:Include href="cid:{xml.escape_attribute(document.cid)}"/>'
        pieces.append(f"{_described(document)}{include}</xds:Document></xds:DocumentResponse>".encode())
    pieces.append(_CLOSING)
    return pieces


def write_inline_response(
    status: ResponseStatus, errors: Sequence[XdsError], documents: Iterable[tuple[DocumentResponse, bytes]]
) -> list[bytes]:
    """The body of an answer in simple packaging: every document's bytes inside it, as base64 without line breaks."""
    pieces = [_opening(status, errors)]
    for document, content in documents:
        pieces.append(_described(document).encode())
        pieces.append(binascii.b2a_base64(content, newline=False))
        pieces.append(b"</xds:Document></xds:DocumentResponse>")
    pieces.append(_CLOSING)
    return pieces


_CLOSING = b"</xds:RetrieveDocumentSetResponse>"


def _opening(status: ResponseStatus, errors: Sequence[XdsError]) -> bytes:
    head = f'<xds:RetrieveDocumentSetResponse xmlns:xds="{XDS}" xmlns:rs="{RS}" xmlns:xop="{XOP}">'
    if not errors:
        return f'{head}<rs:RegistryResponse status="{status.value}"/>'.encode()
    failed = any(error.severity is Severity.ERROR for error in errors)
    highest = (Severity.ERROR if failed else Severity.WARNING).value
    listed = "".join(
        f'<rs:RegistryError errorCode="{error.code.value}" codeContext="{xml.escape_attribute(error.context)}" '
        f'severity="{error.severity.value}" location="{xml.escape_attribute(error.location)}"/>'
        for error in errors
    )
    return (
        f'{head}<rs:RegistryResponse status="{status.value}"><rs:RegistryErrorList highestSeverity="{highest}">'
        f"{listed}</rs:RegistryErrorList></rs:RegistryResponse>"
    ).encode()


def _described(document: DocumentResponse) -> str:
    """One DocumentResponse in the order of the schema, up to and including the start tag of its content."""
    named = (
        ("HomeCommunityId", document.home),
        ("RepositoryUniqueId", document.repository_unique_id),
        ("DocumentUniqueId", document.document_unique_id),
        ("NewRepositoryUniqueId", document.new_repository_unique_id),
        ("NewDocumentUniqueId", document.new_document_unique_id),
        ("mimeType", document.mime_type),
    )
    written = "".join(f"<xds:{name}>{xml.escape_text(value)}</xds:{name}>" for name, value in named if value)
    return f"<xds:DocumentResponse>{written}<xds:Document>"


def read_response(body: xml.Element) -> RetrieveAnswer:
    """A hospital's answer, its elements in any order. A bare RegistryResponse is an answer without documents.

    Raises: Mangled for any other element, for inline content that is not base64, and for content given twice.
    """
    if body.tag not in (_RESPONSE_SET, _REGISTRY_RESPONSE):
        raise Mangled("not an answer to a retrieve")
    response = body if body.tag == _REGISTRY_RESPONSE else body.find(_REGISTRY_RESPONSE)
    if response is None:
        raise Mangled("an answer without a RegistryResponse")
    errors = tuple(
        ErrorAnswer(*((error.get(name) or "").strip() for name in ("errorCode", "codeContext", "severity", "location")))
        for error in response.iter(_REGISTRY_ERROR)
    )
    documents = tuple(_document(response) for response in body.iterchildren(_RESPONSE))
    return RetrieveAnswer((response.get("status") or "").strip(), errors, documents)


def _document(response: xml.Element) -> DocumentAnswer:
    first: dict[str, xml.Element] = {}
    for child in response:
        if first.setdefault(child.tag, child) is not child and child.tag == _CONTENT:
            raise Mangled("a document with two contents")
    tags = (_HOME, _REPOSITORY, _DOCUMENT, _NEW_REPOSITORY, _NEW_DOCUMENT, _MIME_TYPE)
    home, repository, document, new_repository, new_document, mime_type = (xml.text(first.get(tag)) for tag in tags)
    href, inline = _content(first[_CONTENT]) if _CONTENT in first else (None, None)
    return DocumentAnswer(home, repository, document, new_repository, new_document, mime_type, href, inline)


def _content(content: xml.Element) -> tuple[str | None, bytes | None]:
    """The reference or the bytes of one Document element; an empty element is a document of no bytes."""
    if len(content) == 0:
        # Whitespace is dropped first: the strict mode, which alone refuses foreign characters, refuses it too.
        packed = "".join((content.text or "").split())
        try:
            return None, binascii.a2b_base64(packed, strict_mode=True)
        except (binascii.Error, ValueError):
            raise Mangled("inline content is not base64") from None
    if len(content) > 1 or content[0].tag != INCLUDE or xml.text(content):
        raise Mangled("content is neither base64 nor one xop:Include")
    return content[0].get("href") or "", None
