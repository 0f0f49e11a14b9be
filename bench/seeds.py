"""Messages to begin with: our own in every form, and those of others where they lie beside this project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from bench.place import OUS, REGISTRY, REPOSITORY, SIMPLE, retrieve
from ihe import mtom
from ihe.names import LCM, QUERY, SOAP12, XDS, Action, QueryId, Status
from simulators.consumer import adhoc_query, envelope
from simulators.papers import KIND_SYSTEM, paper
from simulators.people import PEOPLE
from simulators.source import submission

SHARED = Path(os.environ.get("INNSYN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SAMPLES = SHARED / "conformance" / "samples"
"""Messages of other implementations; no part of this project."""
PATIENT = PEOPLE[0]
DOCUMENT = "2.999.9.993467049.1"
CONTENT = b"A document.\r\n--uuid\r\n" * 3
"""What it holds: something that looks like a boundary."""
DE = "$XDSDocumentEntry"
_ACTIONS = {
    f"{{{QUERY}}}AdhocQueryRequest": Action.QUERY,
    f"{{{LCM}}}SubmitObjectsRequest": Action.REGISTER,
    f"{{{XDS}}}RetrieveDocumentSetRequest": Action.RETRIEVE,
}


@dataclass(frozen=True)
class Seed:
    """One message as it would arrive."""

    path: str
    content_type: str
    raw: bytes


def own(token: bytes) -> list[Seed]:
    """Every transaction in both packagings, with and without a token."""
    found = []
    for with_token in (None, token):
        for body in _queries():
            message = envelope(Action.QUERY, body, with_token)
            found += [Seed(REGISTRY, SIMPLE, message), _packed(REGISTRY, message)]
        keys = [(OUS.repository_unique_id, DOCUMENT), ("2.999.404", "2.999.1")]
        content_type, raw = retrieve(keys, with_token)
        found.append(Seed(REPOSITORY, content_type, raw))
        found.append(Seed(REPOSITORY, SIMPLE, mtom.read_package(raw, content_type).root))
    papers = [paper(PATIENT, OUS, kind, number) for number, kind in enumerate(("A03-2", "B03-2"), 5001)]
    replaces = {papers[1].unique_id: papers[0].entry_uuid}
    bodies = [submission(papers[:1]).body, submission(papers[1:], replaces=replaces).body, submission(papers).body]
    for body in bodies:
        message = envelope(Action.REGISTER, body, None)
        found += [Seed(REGISTRY, SIMPLE, message), _packed(REGISTRY, message)]
    return found


def others() -> list[Seed]:
    """Requests found in the samples: whole envelopes as they are, and their bodies in an envelope of ours."""
    found = []
    for path in sorted(SAMPLES.rglob("*.xml")) if SAMPLES.is_dir() else []:
        raw = path.read_bytes()
        try:
            root = etree.fromstring(raw, etree.XMLParser(resolve_entities=False, no_network=True))
        except etree.XMLSyntaxError:
            continue
        for tag, action in _ACTIONS.items():
            for body in root.iter(tag):
                where = REPOSITORY if action is Action.RETRIEVE else REGISTRY
                found.append(Seed(where, SIMPLE, envelope(action, etree.tostring(body, with_tail=False), None)))
        if root.tag == f"{{{SOAP12}}}Envelope" and len(found) % 4 == 0:
            found.append(Seed(REGISTRY, SIMPLE, raw))
    return found


def answers() -> list[tuple[str, bytes]]:
    """What hospitals send: media type and package."""
    found = []
    for count in (1, 2, 3):
        writer = mtom.new_writer(f"{count:032x}")
        ids = [f"d{number}@x" for number in range(count)]
        described = "".join(
            f"<DocumentResponse><RepositoryUniqueId>{OUS.repository_unique_id}</RepositoryUniqueId><DocumentUniqueId>"
            f"{DOCUMENT}{number or ''}</DocumentUniqueId><mimeType>text/plain</mimeType><Document><xop:Include "
            f'xmlns:xop="http://www.w3.org/2004/08/xop/include" href="cid:{cid}"/></Document></DocumentResponse>'
            for number, cid in enumerate(ids)
        )
        body = (
            f'<RetrieveDocumentSetResponse xmlns="{XDS}"><rs:RegistryResponse '
            'xmlns:rs="urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0" status="urn:oasis:names:tc:ebxml-regrep:'
            f'ResponseStatusType:Success"/>{described}</RetrieveDocumentSetResponse>'
        ).encode()
        parts = b"".join(writer.part(cid, "text/plain") + CONTENT for cid in ids)
        root = envelope(Action.RETRIEVE.reply, body, None)
        found.append((writer.content_type, writer.root(root) + parts + writer.end()))
    return found


def _queries() -> Iterator[bytes]:
    approved = f"('{Status.APPROVED}','{Status.DEPRECATED}')"
    patient = (f"{DE}PatientId", f"'{PATIENT.patient_id}'")
    yield adhoc_query(QueryId.FIND_DOCUMENTS, [patient, (f"{DE}Status", approved)])
    every = [
        (f"{DE}ClassCode", f"('A00-1^^{KIND_SYSTEM}')"),
        (f"{DE}TypeCode", f"('A03-2^^{KIND_SYSTEM}','B03-2^^{KIND_SYSTEM}')"),
        (f"{DE}CreationTimeFrom", "2019"),
        (f"{DE}ServiceStopTimeTo", "20401231235959"),
        (f"{DE}ConfidentialityCode", "('N^^2.16.840.1.113883.5.25')"),
        (f"{DE}EventCodeList", "('e1^^2.999.1')"),
        (f"{DE}AuthorPerson", "('%Tind_tad%')"),
    ]
    yield adhoc_query(QueryId.FIND_DOCUMENTS, [patient, (f"{DE}Status", approved), *every], "ObjectRef")
    yield adhoc_query(QueryId.GET_DOCUMENTS, [(f"{DE}UniqueId", f"('{DOCUMENT}','2.999.2')")])
    yield adhoc_query(QueryId.GET_DOCUMENTS, [(f"{DE}EntryUUID", "('urn:uuid:00000000-0000-4000-8000-000000000001')")])


def _packed(path: str, message: bytes) -> Seed:
    writer = mtom.new_writer("a" * 32)
    return Seed(path, writer.content_type, writer.root(message) + writer.end())
