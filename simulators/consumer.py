"""A clinician's system: asks the registry for a patient's documents and opens them, over mutual TLS with a token.

Written from the standard and not from our server: an integrator sees here what a consumer sends and what comes back.
Sources: ITI TF-2 3.18, 3.40 (XUA), 3.43.
"""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from ihe import mtom, retrieval, soap, xml
from ihe.errors import Mangled
from ihe.names import (
    QUERY,
    RIM,
    RS,
    SOAP12,
    WSA,
    WSA_ANONYMOUS,
    WSSE,
    XDS,
    Action,
    EntryScheme,
    IdScheme,
    QueryId,
    Status,
)

LARGEST_ANSWER = 256 * 1024 * 1024
"""Bytes of an answer kept in memory here; a system for daily work writes large documents to its own store."""
_IN_RIM = f"{{{RIM}}}"


@dataclass(frozen=True, slots=True)
class Listed:
    """One DocumentEntry of an answer, as much of it as a list shows."""

    entry_uuid: str
    unique_id: str
    repository_unique_id: str
    home: str
    title: str
    class_code: str
    type_code: str
    status: str
    mime_type: str
    hash: str
    size: int
    creation_time: str
    institution: str


@dataclass(frozen=True, slots=True)
class Opened:
    """One document as it arrived."""

    repository_unique_id: str
    unique_id: str
    mime_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back: either a fault, or a status with errors and what was asked for. `raw` is the whole HTTP body."""

    http_status: int
    headers: Mapping[str, str]
    raw: bytes
    fault: str = ""
    status: str = ""
    errors: tuple[tuple[str, str, str], ...] = ()
    """(errorCode, codeContext, location) of each RegistryError."""
    entries: tuple[Listed, ...] = ()
    references: tuple[str, ...] = ()
    """entryUUIDs of an ObjectRef answer."""
    documents: tuple[Opened, ...] = ()


class Consumer:
    """One system with one client certificate. Every call opens its own connection."""

    def __init__(self, base_url: str, context: ssl.SSLContext, timeout: float = 30.0) -> None:
        """`base_url`: https://host:port; `timeout` in seconds for each wait on the network."""
        self._where = urlsplit(base_url)
        self._context = context
        self._timeout = timeout

    def find(
        self,
        patient_id: str,
        token: bytes | None,
        *,
        statuses: Iterable[str] = (Status.APPROVED,),
        more: Sequence[tuple[str, str]] = (),
        returns: str = "LeafClass",
    ) -> Answered:
        """FindDocuments. `patient_id` is a CX; `more` holds further (parameter, value as in the standard) pairs."""
        message = envelope(Action.QUERY, find_documents(patient_id, statuses, more, returns), token)
        return self.post("/xds/registry", message)

    def get(self, unique_ids: Sequence[str], token: bytes | None, returns: str = "LeafClass") -> Answered:
        """GetDocuments by uniqueId."""
        ids = "(" + ",".join(f"'{each}'" for each in unique_ids) + ")"
        return self.query(QueryId.GET_DOCUMENTS, [("$XDSDocumentEntryUniqueId", ids)], token, returns)

    def query(
        self,
        query_id: str,
        slots: Iterable[tuple[str, str]],
        token: bytes | None,
        returns: str = "LeafClass",
        *,
        packaged: bool = False,
    ) -> Answered:
        """Any stored query, in simple SOAP; `packaged` sends it as an MTOM package."""
        return self._ask(
            "/xds/registry", envelope(Action.QUERY, adhoc_query(query_id, slots, returns), token), packaged
        )

    def open(
        self, documents: Iterable[tuple[str, str]], token: bytes | None, home: str = "", *, packaged: bool = True
    ) -> Answered:
        """ITI-43 for (repositoryUniqueId, uniqueId) pairs, as the MTOM package of the standard or in simple SOAP."""
        community = f"<HomeCommunityId>{xml.escape_text(home)}</HomeCommunityId>" if home else ""
        requests = "".join(
            f"<DocumentRequest>{community}<RepositoryUniqueId>{xml.escape_text(repository)}</RepositoryUniqueId>"
            f"<DocumentUniqueId>{xml.escape_text(document)}</DocumentUniqueId></DocumentRequest>"
            for repository, document in documents
        )
        body = f'<RetrieveDocumentSetRequest xmlns="{XDS}">{requests}</RetrieveDocumentSetRequest>'
        return self._ask("/xds/repository", envelope(Action.RETRIEVE, body.encode(), token), packaged)

    def post(self, path: str, message: bytes, content_type: str = "application/soap+xml; charset=UTF-8") -> Answered:
        """Sends one message as it is. Raises ConnectionError when the answer is cut short: it must not be used."""
        connection = HTTPSConnection(
            self._where.hostname or "", self._where.port, timeout=self._timeout, context=self._context
        )
        try:
            connection.request("POST", path, message, {"Content-Type": content_type})
            answer = connection.getresponse()
            raw = answer.read(LARGEST_ANSWER)
            headers = {name.lower(): value for name, value in answer.getheaders()}
        except HTTPException as broken:
            raise ConnectionError(f"the answer broke off: {type(broken).__name__}") from broken
        finally:
            connection.close()
        return _read(answer.status, headers, raw)

    def _ask(self, path: str, message: bytes, packaged: bool) -> Answered:
        if not packaged:
            return self.post(path, message)
        writer = mtom.new_writer(uuid.uuid4().hex)
        return self.post(path, writer.root(message) + writer.end(), writer.content_type)


def find_documents(
    patient_id: str,
    statuses: Iterable[str] = (Status.APPROVED,),
    more: Iterable[tuple[str, str]] = (),
    returns: str = "LeafClass",
) -> bytes:
    """The query:AdhocQueryRequest of FindDocuments (TF-2 3.18.4.1.2.3.7.1)."""
    slots = [
        ("$XDSDocumentEntryPatientId", f"'{patient_id}'"),
        ("$XDSDocumentEntryStatus", "(" + ",".join(f"'{status}'" for status in statuses) + ")"),
        *more,
    ]
    return adhoc_query(QueryId.FIND_DOCUMENTS, slots, returns)


def adhoc_query(query_id: str, slots: Iterable[tuple[str, str]], returns: str = "LeafClass") -> bytes:
    """The query:AdhocQueryRequest of any stored query; values are written as the standard codes them."""
    parameters = "".join(
        f'<rim:Slot name="{xml.escape_attribute(name)}"><rim:ValueList><rim:Value>{xml.escape_text(value)}'
        "</rim:Value></rim:ValueList></rim:Slot>"
        for name, value in slots
    )
    return (
        f'<query:AdhocQueryRequest xmlns:query="{QUERY}" xmlns:rim="{RIM}">'
        f'<query:ResponseOption returnType="{returns}" returnComposedObjects="true"/>'
        f'<rim:AdhocQuery id="{query_id}">{parameters}</rim:AdhocQuery></query:AdhocQueryRequest>'
    ).encode()


def envelope(action: str, body: bytes, token: bytes | None) -> bytes:
    """The SOAP 1.2 message around a body, with the token in its security header byte for byte."""
    security = (
        b'<wsse:Security xmlns:wsse="%b" soap12:mustUnderstand="true">%b</wsse:Security>' % (WSSE.encode(), token)
        if token is not None
        else b""
    )
    return b"".join(
        (
            f'<soap12:Envelope xmlns:soap12="{SOAP12}" xmlns:wsa="{WSA}"><soap12:Header>'.encode(),
            f'<wsa:Action soap12:mustUnderstand="1">{action}</wsa:Action>'.encode(),
            f"<wsa:MessageID>urn:uuid:{uuid.uuid4()}</wsa:MessageID>".encode(),
            f"<wsa:ReplyTo><wsa:Address>{WSA_ANONYMOUS}</wsa:Address></wsa:ReplyTo>".encode(),
            security,
            b"</soap12:Header><soap12:Body>",
            body,
            b"</soap12:Body></soap12:Envelope>",
        )
    )


def _read(http_status: int, headers: Mapping[str, str], raw: bytes) -> Answered:
    content_type = headers.get("content-type", "")
    parts: Mapping[str, mtom.Part] = {}
    envelope_bytes = raw
    if content_type.startswith("multipart/"):
        try:
            package = mtom.read_package(raw, content_type, mtom.ANSWER)
        except Mangled as cut:
            raise ConnectionError(f"the answer is no whole package: {cut}") from cut
        envelope_bytes, parts = package.root, package.parts
    elif not content_type.startswith("application/soap+xml"):
        return Answered(http_status, headers, raw)
    answer = soap.read_answer(envelope_bytes, xml.ANSWER)
    if answer.fault is not None or answer.body is None:
        return Answered(http_status, headers, raw, fault=answer.fault or "an empty answer")
    body = answer.body
    if body.tag == f"{{{XDS}}}RetrieveDocumentSetResponse":
        return _retrieved(http_status, headers, raw, body, parts)
    errors = tuple(
        (each.get("errorCode", ""), each.get("codeContext", ""), each.get("location", ""))
        for each in body.iter(f"{{{RS}}}RegistryError")
    )
    return Answered(
        http_status,
        headers,
        raw,
        status=body.get("status", ""),
        errors=errors,
        entries=tuple(_listed(each) for each in body.iter(f"{_IN_RIM}ExtrinsicObject")),
        references=tuple(each.get("id", "") for each in body.iter(f"{_IN_RIM}ObjectRef")),
    )


def _retrieved(
    http_status: int, headers: Mapping[str, str], raw: bytes, body: xml.Element, parts: Mapping[str, mtom.Part]
) -> Answered:
    answer = retrieval.read_response(body)
    documents = []
    for each in answer.documents:
        content = each.inline
        if content is None:
            cid = mtom.match(each.href or "", parts)
            if cid is None:
                raise ConnectionError("the answer names a part that it does not have")
            content = parts[cid].body
        documents.append(Opened(each.repository, each.document, each.mime_type, content))
    errors = tuple((each.code, each.context, each.location) for each in answer.errors)
    return Answered(http_status, headers, raw, status=answer.status, errors=errors, documents=tuple(documents))


def _listed(entry: xml.Element) -> Listed:
    slots = {
        slot.get("name", ""): [xml.text(value) for value in slot.iter(f"{_IN_RIM}Value")]
        for slot in entry.findall(f"{_IN_RIM}Slot")
    }
    codes = {
        each.get("classificationScheme", ""): each.get("nodeRepresentation", "")
        for each in entry.findall(f"{_IN_RIM}Classification")
    }
    ids = {
        each.get("identificationScheme", ""): each.get("value", "")
        for each in entry.findall(f"{_IN_RIM}ExternalIdentifier")
    }
    title = entry.find(f"{_IN_RIM}Name/{_IN_RIM}LocalizedString")
    return Listed(
        entry_uuid=entry.get("id", ""),
        unique_id=ids.get(IdScheme.ENTRY_UNIQUE_ID, ""),
        repository_unique_id=slots.get("repositoryUniqueId", [""])[0],
        home=entry.get("home", ""),
        title=title.get("value", "") if title is not None else "",
        class_code=codes.get(EntryScheme.CLASS_CODE, ""),
        type_code=codes.get(EntryScheme.TYPE_CODE, ""),
        status=entry.get("status", ""),
        mime_type=entry.get("mimeType", ""),
        hash=slots.get("hash", [""])[0],
        size=int(slots.get("size", ["0"])[0]),
        creation_time=slots.get("creationTime", [""])[0],
        institution=_institution(entry),
    )


def _institution(entry: xml.Element) -> str:
    for each in entry.findall(f"{_IN_RIM}Classification"):
        if each.get("classificationScheme") == EntryScheme.AUTHOR:
            for slot in each.findall(f"{_IN_RIM}Slot"):
                if slot.get("name") == "authorInstitution":
                    return xml.text(slot.find(f"{_IN_RIM}ValueList/{_IN_RIM}Value")).partition("^")[0]
    return ""
