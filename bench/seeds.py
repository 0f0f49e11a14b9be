"""Messages to begin with: our own in every form, and those of others where they lie beside this project."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lxml import etree

from bench.place import FEED, OUS, REGISTRY, REPOSITORY, SIMPLE, retrieve
from ihe import mtom
from ihe.names import (
    LCM,
    MULTI_PATIENT,
    ON_DEMAND_ENTRY,
    QUERY,
    RIM,
    SOAP12,
    STABLE_ENTRY,
    XDS,
    Action,
    QueryId,
    Status,
)
from simulators.consumer import adhoc_query, envelope
from simulators.papers import KIND_SYSTEM, paper
from simulators.people import PEOPLE
from simulators.register import Told, prpa
from simulators.source import submission

SHARED = Path(os.environ.get("INNSYN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
SAMPLES = SHARED / "conformance" / "samples"
"""Messages of other implementations; no part of this project."""
PATIENT = PEOPLE[0]
DOCUMENT = "2.999.9.993467049.1"
CONTENT = b"A document.\r\n--uuid\r\n" * 3
"""What it holds: something that looks like a boundary."""
DE = "$XDSDocumentEntry"
NOBODY = "urn:uuid:00000000-0000-4000-8000-000000000001"
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
        for action, body in (*_queries(), *_other_queries()):
            message = envelope(action, body, with_token)
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
    return found + [Seed(REGISTRY, SIMPLE, envelope(action, body, None)) for action, body in _changes()] + _feeds()


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


def _queries() -> Iterator[tuple[Action, bytes]]:
    approved = f"('{Status.APPROVED}','{Status.DEPRECATED}')"
    patient = (f"{DE}PatientId", f"'{PATIENT.patient_id}'")
    yield Action.QUERY, adhoc_query(QueryId.FIND_DOCUMENTS, [patient, (f"{DE}Status", approved)])
    every = [
        (f"{DE}ClassCode", f"('A00-1^^{KIND_SYSTEM}')"),
        (f"{DE}TypeCode", f"('A03-2^^{KIND_SYSTEM}','B03-2^^{KIND_SYSTEM}')"),
        (f"{DE}CreationTimeFrom", "2019"),
        (f"{DE}ServiceStopTimeTo", "20401231235959"),
        (f"{DE}ConfidentialityCode", "('N^^2.16.840.1.113883.5.25')"),
        (f"{DE}EventCodeList", "('e1^^2.999.1')"),
        (f"{DE}AuthorPerson", "('%Tind_tad%')"),
    ]
    yield Action.QUERY, adhoc_query(QueryId.FIND_DOCUMENTS, [patient, (f"{DE}Status", approved), *every], "ObjectRef")
    yield Action.QUERY, adhoc_query(QueryId.GET_DOCUMENTS, [(f"{DE}UniqueId", f"('{DOCUMENT}','2.999.2')")])
    yield Action.QUERY, adhoc_query(QueryId.GET_DOCUMENTS, [(f"{DE}EntryUUID", f"('{NOBODY}')")])


def _other_queries() -> Iterator[tuple[Action, bytes]]:
    """Every other stored query, asked with what it needs and a little more."""
    both = f"('{Status.APPROVED}','{Status.DEPRECATED}')"
    level = ("$MetadataLevel", "2")
    slots: dict[QueryId, list[tuple[str, str]]] = {
        QueryId.FIND_SUBMISSION_SETS: [
            ("$XDSSubmissionSetPatientId", f"'{PATIENT.patient_id}'"),
            ("$XDSSubmissionSetStatus", both),
            ("$XDSSubmissionSetSubmissionTimeFrom", "2019"),
        ],
        QueryId.FIND_FOLDERS: [
            ("$XDSFolderPatientId", f"'{PATIENT.patient_id}'"),
            ("$XDSFolderStatus", both),
            ("$XDSFolderCodeList", "('f^^2.999.1')"),
        ],
        QueryId.GET_ALL: [
            ("$patientId", f"'{PATIENT.patient_id}'"),
            (f"{DE}Status", both),
            ("$XDSSubmissionSetStatus", both),
            ("$XDSFolderStatus", both),
        ],
        QueryId.GET_FOLDERS: [("$XDSFolderUniqueId", "('2.999.3')")],
        QueryId.GET_ASSOCIATIONS: [("$uuid", f"('{NOBODY}')"), ("$XDSAssociationStatus", both)],
        QueryId.GET_DOCUMENTS_AND_ASSOCIATIONS: [(f"{DE}UniqueId", f"('{DOCUMENT}')"), level],
        QueryId.GET_SUBMISSION_SETS: [("$uuid", f"('{NOBODY}')")],
        QueryId.GET_SUBMISSION_SET_AND_CONTENTS: [("$XDSSubmissionSetUniqueId", "'2.999.4'")],
        QueryId.GET_FOLDER_AND_CONTENTS: [("$XDSFolderEntryUUID", f"'{NOBODY}'"), level],
        QueryId.GET_FOLDERS_FOR_DOCUMENT: [(f"{DE}UniqueId", f"'{DOCUMENT}'")],
        QueryId.GET_RELATED_DOCUMENTS: [
            (f"{DE}UniqueId", f"'{DOCUMENT}'"),
            ("$AssociationTypes", "('urn:ihe:iti:2007:AssociationType:RPLC')"),
        ],
        QueryId.FIND_DOCUMENTS_BY_REFERENCE_ID: [
            (f"{DE}PatientId", f"'{PATIENT.patient_id}'"),
            (f"{DE}Status", both),
            (f"{DE}ReferenceIdList", "('2.999.5^^^&2.999&ISO^urn:ihe:iti:xds:2013:uniqueId')"),
        ],
        QueryId.FIND_DOCUMENTS_EXCLUDE: [
            (f"{DE}PatientId", f"'{PATIENT.patient_id}'"),
            (f"{DE}Status", both),
            (f"{DE}ClassCodeExclude", f"('A00-1^^{KIND_SYSTEM}')"),
        ],
    }
    for query, asked in slots.items():
        yield Action.QUERY, adhoc_query(query, asked)
    for query in MULTI_PATIENT:
        asked = [("$XDSFolderStatus" if "FOLDERS" in query.name else f"{DE}Status", both)]
        asked.append(
            ("$XDSFolderPatientId" if "FOLDERS" in query.name else f"{DE}PatientId", f"('{PATIENT.patient_id}')")
        )
        if "REFERENCE" in query.name:
            asked.append((f"{DE}ReferenceIdList", "('2.999.5^^^&2.999&ISO^urn:ihe:iti:xds:2013:uniqueId')"))
        yield Action.MULTI_PATIENT_QUERY, adhoc_query(query, asked)


def _changes() -> Iterator[tuple[Action, bytes]]:
    """Updates, removals and on-demand entries of what the seeds register."""
    first = paper(PATIENT, OUS, "B03-2", 5002)
    again = submission([first], submitted=first.created + timedelta(days=1)).body.decode()
    previous = '<rim:Slot name="PreviousVersion"><rim:ValueList><rim:Value>1</rim:Value></rim:ValueList></rim:Slot>'
    version = again.replace(first.entry_uuid, "Version2").replace(
        ' id="Version2"', f' id="Version2" lid="{first.entry_uuid}"'
    )
    original = "<rim:Value>Original</rim:Value></rim:ValueList></rim:Slot>"
    version = version.replace(original, original + previous)
    yield Action.UPDATE, version.encode()
    yield Action.RESTRICTED_UPDATE, version.encode()
    on_demand = submission([paper(PATIENT, OUS, "A03-2", 5003)]).body.decode().replace(STABLE_ENTRY, ON_DEMAND_ENTRY)
    for slot in ("creationTime", "hash", "size"):
        on_demand = re.sub(f'<rim:Slot name="{slot}">.*?</rim:Slot>', "", on_demand)
    yield Action.REGISTER_ON_DEMAND, on_demand.encode()
    listed = "".join(f'<rim:ObjectRef id="{each}"/>' for each in (first.entry_uuid, NOBODY))
    yield (
        Action.REMOVE,
        (
            f'<lcm:RemoveObjectsRequest xmlns:lcm="{LCM}" xmlns:rim="{RIM}"><rim:ObjectRefList>{listed}'
            "</rim:ObjectRefList></lcm:RemoveObjectsRequest>"
        ).encode(),
    )


def _feeds() -> list[Seed]:
    told = (Told(PEOPLE[1].patient_id), Told(PEOPLE[1].patient_id, PEOPLE[2].patient_id))
    messages = [prpa(each, datetime(2021, 1, 1, tzinfo=UTC), "m-1") for each in told]
    return [Seed(FEED, SIMPLE, envelope(action, body, None)) for action, body in messages]


def _packed(path: str, message: bytes) -> Seed:
    writer = mtom.new_writer("a" * 32)
    return Seed(path, writer.content_type, writer.root(message) + writer.end())
