"""A hospital that registers documents: complete Norwegian ITI-42 submissions, and the posting of them over mutual TLS.

Written from the profile and not from our reader of it: an integrator sees here what a registry wants to be sent.
Sources: ITI TF-2 3.42; TF-3 4.2.3; the Norwegian profile of XDS metadata (HIS 1169).
"""

from __future__ import annotations

import hashlib
import ssl
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from ihe import soap, xml
from ihe.errors import Mangled, clip
from ihe.names import (
    IS_SUBMISSION_SET,
    LCM,
    OBJECT_TYPE,
    RIM,
    RS,
    SIGNED_AT,
    SOAP12,
    STABLE_ENTRY,
    WSA,
    WSA_ANONYMOUS,
    Action,
    AssociationType,
    EntryScheme,
    IdScheme,
    SetScheme,
)
from simulators.papers import ACCESS_SYSTEM, FORMAT_SYSTEM, KIND_SYSTEM, Paper
from simulators.people import Person, escape_hl7, number_of

CONFIDENTIALITY_SYSTEM = "2.16.840.1.113883.5.25"
FACILITY_SYSTEM = "2.16.578.1.12.4.1.1.1303"
PRACTICE_SYSTEM = "2.16.578.1.12.4.1.1.8653"
LANGUAGE = "nb-NO"
LONGEST_ANSWER = 2 * 1024 * 1024
"""Bytes of a RegistryResponse read; a longer one is no answer to a registration."""

_ACCESS_NAMES = {"N": "Normal", "NORS": "Sperret"}


@dataclass(frozen=True, slots=True)
class Submission:
    """A SubmissionSet ready to be sent: sending it again sends the same bytes."""

    unique_id: str
    papers: tuple[Paper, ...]
    body: bytes
    """The lcm:SubmitObjectsRequest."""


@dataclass(frozen=True, slots=True)
class RegistrationError:
    """One rs:RegistryError of the answer."""

    code: str
    context: str
    severity: str
    location: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the registry said. `status` is empty and `fault` says why when there was no RegistryResponse."""

    http_status: int
    status: str
    errors: tuple[RegistrationError, ...]
    fault: str = ""


def submission(
    papers: Sequence[Paper],
    *,
    replaces: Mapping[str, str] | None = None,
    home: str = "",
    tell_signing: bool = False,
    submitted: datetime | None = None,
) -> Submission:
    """One submission of papers about one patient from one hospital; always the same bytes for the same papers.

    `replaces` maps the uniqueId of a paper to the entryUUID it replaces (RPLC). `home` is the homeCommunityId as
    `urn:oid:...`; empty leaves it to the registry. `tell_signing` adds slot urn:innsyn:signedAt to what is signed.
    `submitted` is an aware time, by default ten minutes after the youngest paper. `ValueError` for none or a mixture.
    """
    if len({(each.person, each.source) for each in papers}) != 1:
        raise ValueError("a submission is about one patient and comes from one source")
    first = papers[0]
    submitted = submitted or max(each.created for each in papers) + timedelta(minutes=10)
    unique_id = f"{first.source.unique_ids}.{number_of('set', submitted, *(each.unique_id for each in papers))}"
    objects = [_entry(each, home, tell_signing) for each in papers]
    objects.append(_set(first, unique_id, submitted, home))
    objects += [_member(number, each) for number, each in enumerate(papers, 1)]
    known = {each.unique_id: each for each in papers}
    for number, (new, old) in enumerate((replaces or {}).items(), 1):
        if new not in known:
            raise ValueError("only a paper of the submission can replace another")
        objects.append(_association(f"Replacement{number}", AssociationType.RPLC, known[new].entry_uuid, old, ""))
    body = (
        f'<lcm:SubmitObjectsRequest xmlns:lcm="{LCM}" xmlns:rim="{RIM}"><rim:RegistryObjectList>'
        f"{''.join(objects)}</rim:RegistryObjectList></lcm:SubmitObjectsRequest>"
    ).encode()
    return Submission(unique_id, tuple(papers), body)


def submissions(papers: Iterable[Paper], *, home: str = "", tell_signing: bool = False) -> Iterator[Submission]:
    """Each paper in a submission of its own, in the order given, as hospitals send them: one when it is written."""
    for each in papers:
        yield submission([each], home=home, tell_signing=tell_signing)


def dtm(when: datetime) -> str:
    """A time as XDS writes it: UTC, to the second, without zone."""
    return f"{when.astimezone(UTC):%Y%m%d%H%M%S}"


def patient_info(person: Person) -> tuple[str, ...]:
    """The values of slot sourcePatientInfo: identifier, name, birth and sex as HL7 PID fields (TF-3 4.2.3.2.23)."""
    return (
        f"PID-3|{person.patient_id}",
        f"PID-5|{escape_hl7(person.family)}^{escape_hl7(person.given)}^^^",
        f"PID-7|{person.born:%Y%m%d}",
        f"PID-8|{person.sex}",
    )


def _slot(name: str, *values: str) -> str:
    listed = "".join(f"<rim:Value>{xml.escape_text(value)}</rim:Value>" for value in values)
    return f'<rim:Slot name="{xml.escape_attribute(name)}"><rim:ValueList>{listed}</rim:ValueList></rim:Slot>'


def _name(text: str) -> str:
    value = xml.escape_attribute(text)
    return f'<rim:Name><rim:LocalizedString xml:lang="{LANGUAGE}" charset="UTF-8" value="{value}"/></rim:Name>'


class _Parts:
    """The classifications and identifiers of one object, numbered so that no id occurs twice in a message."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.written: list[str] = []
        self.prefix = hashlib.sha256(owner.encode()).hexdigest()[:8]

    def _id(self) -> str:
        return f"Part{self.prefix}-{len(self.written) + 1}"

    def code(self, scheme: str, code: str, system: str, name: str) -> None:
        """A coded attribute (TF-3 4.2.3.1.2)."""
        self._classification(scheme, code, _slot("codingScheme", system) + _name(name))

    def author(self, scheme: str, paper: Paper) -> None:
        """Who wrote it, with hospital and department in this order."""
        slots = (
            _slot("authorPerson", paper.author.xcn),
            _slot("authorInstitution", *paper.author_institutions),
            _slot("authorRole", paper.author.role),
            _slot("authorSpecialty", paper.department.specialty),
        )
        self._classification(scheme, "", "".join(slots))

    def _classification(self, scheme: str, code: str, inner: str) -> None:
        self.written.append(
            f'<rim:Classification id="{self._id()}" objectType="{OBJECT_TYPE}Classification" '
            f'classificationScheme="{scheme}" classifiedObject="{self.owner}" '
            f'nodeRepresentation="{xml.escape_attribute(code)}">{inner}</rim:Classification>'
        )

    def label(self, node: str) -> None:
        """What the object is."""
        self.written.append(
            f'<rim:Classification id="{self._id()}" objectType="{OBJECT_TYPE}Classification" '
            f'classifiedObject="{self.owner}" classificationNode="{node}"/>'
        )

    def identifier(self, scheme: str, value: str, name: str) -> None:
        """An identifier by which the object is known."""
        self.written.append(
            f'<rim:ExternalIdentifier id="{self._id()}" objectType="{OBJECT_TYPE}ExternalIdentifier" '
            f'registryObject="{self.owner}" identificationScheme="{scheme}" '
            f'value="{xml.escape_attribute(value)}">{_name(name)}</rim:ExternalIdentifier>'
        )


def _home(home: str) -> str:
    return f' home="{xml.escape_attribute(home)}"' if home else ""


def _entry(paper: Paper, home: str, tell_signing: bool) -> str:
    parts = _Parts(paper.entry_uuid)
    parts.author(EntryScheme.AUTHOR, paper)
    parts.code(EntryScheme.CLASS_CODE, paper.kind.class_code, KIND_SYSTEM, paper.kind.class_name)
    for access in paper.access_codes:
        parts.code(EntryScheme.CONFIDENTIALITY_CODE, access, ACCESS_SYSTEM, _ACCESS_NAMES.get(access, access))
    parts.code(EntryScheme.CONFIDENTIALITY_CODE, "N", CONFIDENTIALITY_SYSTEM, "normal")
    parts.code(EntryScheme.FORMAT_CODE, paper.format_code, FORMAT_SYSTEM, paper.format_code)
    parts.code(EntryScheme.FACILITY_TYPE_CODE, "86.101", FACILITY_SYSTEM, "Alminnelige somatiske sykehus")
    parts.code(EntryScheme.PRACTICE_SETTING_CODE, "4", PRACTICE_SYSTEM, "Somatikk")
    parts.code(EntryScheme.TYPE_CODE, paper.kind.code, KIND_SYSTEM, paper.kind.name)
    parts.identifier(IdScheme.ENTRY_PATIENT_ID, paper.person.patient_id, "XDSDocumentEntry.patientId")
    parts.identifier(IdScheme.ENTRY_UNIQUE_ID, paper.unique_id, "XDSDocumentEntry.uniqueId")
    slots = [
        _slot("creationTime", dtm(paper.created)),
        _slot("hash", paper.hash),
        _slot("languageCode", LANGUAGE),
        _slot("repositoryUniqueId", paper.source.repository_unique_id),
        _slot("serviceStartTime", dtm(paper.service_start)),
        _slot("serviceStopTime", dtm(paper.service_stop)),
        _slot("size", str(paper.size)),
        _slot("sourcePatientId", paper.person.patient_id),
        _slot("sourcePatientInfo", *patient_info(paper.person)),
    ]
    if paper.legal_authenticator:
        slots.append(_slot("legalAuthenticator", paper.legal_authenticator))
        if tell_signing:
            slots.append(_slot(SIGNED_AT, dtm(paper.signed_at)))
    return (
        f'<rim:ExtrinsicObject id="{paper.entry_uuid}"{_home(home)} mimeType="{paper.mime_type}" '
        f'objectType="{STABLE_ENTRY}">{"".join(slots)}{_name(paper.title)}{"".join(parts.written)}'
        "</rim:ExtrinsicObject>"
    )


def _set(paper: Paper, unique_id: str, submitted: datetime, home: str) -> str:
    parts = _Parts("SubmissionSet01")
    parts.author(SetScheme.AUTHOR, paper)
    parts.label(IS_SUBMISSION_SET)
    parts.code(SetScheme.CONTENT_TYPE_CODE, paper.kind.class_code, KIND_SYSTEM, paper.kind.class_name)
    parts.identifier(IdScheme.SET_PATIENT_ID, paper.person.patient_id, "XDSSubmissionSet.patientId")
    parts.identifier(IdScheme.SET_SOURCE_ID, paper.source.source_id, "XDSSubmissionSet.sourceId")
    parts.identifier(IdScheme.SET_UNIQUE_ID, unique_id, "XDSSubmissionSet.uniqueId")
    return (
        f'<rim:RegistryPackage id="SubmissionSet01"{_home(home)} objectType="{OBJECT_TYPE}RegistryPackage">'
        f"{_slot('submissionTime', dtm(submitted))}{''.join(parts.written)}</rim:RegistryPackage>"
    )


def _member(number: int, paper: Paper) -> str:
    original = _slot("SubmissionSetStatus", "Original")
    return _association(f"Member{number}", AssociationType.HAS_MEMBER, "SubmissionSet01", paper.entry_uuid, original)


def _association(name: str, kind: str, source: str, target: str, inner: str) -> str:
    return (
        f'<rim:Association id="{name}" objectType="{OBJECT_TYPE}Association" associationType="{kind}" '
        f'sourceObject="{source}" targetObject="{xml.escape_attribute(target)}">{inner}</rim:Association>'
    )


def envelope(body: bytes, to: str, message_id: str) -> bytes:
    """The SOAP 1.2 message around a submission, addressed as TF-2 appendix V.3 asks; simple SOAP, no attachment."""
    return b"".join(
        (
            b'<?xml version="1.0" encoding="UTF-8"?>',
            f'<soap12:Envelope xmlns:soap12="{SOAP12}" xmlns:wsa="{WSA}"><soap12:Header>'.encode(),
            f'<wsa:Action soap12:mustUnderstand="1">{Action.REGISTER}</wsa:Action>'.encode(),
            f"<wsa:MessageID>{xml.escape_text(message_id)}</wsa:MessageID>".encode(),
            f"<wsa:ReplyTo><wsa:Address>{WSA_ANONYMOUS}</wsa:Address></wsa:ReplyTo>".encode(),
            f"<wsa:To>{xml.escape_text(to)}</wsa:To></soap12:Header><soap12:Body>".encode(),
            body,
            b"</soap12:Body></soap12:Envelope>",
        )
    )


def tls(trust: Path, certificate: Path, private_key: Path) -> ssl.SSLContext:
    """What one hospital connects with: its own certificate, and the only issuers it trusts. All are PEM files."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=trust)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, private_key)
    return context


def submit(
    url: str, sent: Submission, context: ssl.SSLContext | None, *, message_id: str = "", timeout: float = 30.0
) -> Outcome:
    """Posts one submission and reads the answer. `timeout` is in seconds for each wait on the network.

    `context` comes from `tls`; None is for plain http on the same machine only (`ValueError` otherwise). An answer that
    cannot be read is an Outcome with `fault`; where no answer came, `OSError` is raised.
    """
    where = urlsplit(url)
    host = where.hostname or ""
    connection: HTTPConnection
    if where.scheme == "https" and context is not None:
        connection = HTTPSConnection(host, where.port, timeout=timeout, context=context)
    elif where.scheme == "http" and context is None and host in ("127.0.0.1", "::1", "localhost"):
        connection = HTTPConnection(host, where.port, timeout=timeout)
    else:
        raise ValueError("a source speaks https with its certificate, or http on the same machine")
    message = envelope(sent.body, url, message_id or f"urn:uuid:{uuid.uuid4()}")
    headers = {
        "Content-Type": f'application/soap+xml; charset=UTF-8; action="{Action.REGISTER}"',
        "Content-Length": str(len(message)),
    }
    try:
        connection.request("POST", (where.path or "/") + (f"?{where.query}" if where.query else ""), message, headers)
        answer = connection.getresponse()
        return read_answer(answer.status, answer.read(LONGEST_ANSWER + 1))
    except HTTPException as broken:
        raise ConnectionError(f"the answer broke off: {type(broken).__name__}") from broken
    finally:
        connection.close()


def read_answer(http_status: int, raw: bytes) -> Outcome:
    """What a registry's answer says, whatever it is."""
    if len(raw) > LONGEST_ANSWER:
        return Outcome(http_status, "", (), "the answer is too long")
    try:
        answer = soap.read_answer(raw)
    except Mangled as wrong:
        return Outcome(http_status, "", (), f"no SOAP answer: {wrong}")
    if answer.fault is not None or answer.body is None or answer.body.tag != f"{{{RS}}}RegistryResponse":
        return Outcome(http_status, "", (), answer.fault or "the answer is no RegistryResponse")
    errors = tuple(
        RegistrationError(
            each.get("errorCode", ""), clip(each.get("codeContext", ""), 500), each.get("severity", ""),
            clip(each.get("location", ""), 500),
        )
        for each in answer.body.iter(f"{{{RS}}}RegistryError")
    )  # fmt: skip
    return Outcome(http_status, answer.body.get("status", ""), errors)
