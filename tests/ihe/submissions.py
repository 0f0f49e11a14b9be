"""Submissions to test with, built with an XML library that the product does not use. Nobody in them exists."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from xml.etree import ElementTree

from ihe import ebrim, xml
from ihe.metadata import Head, Submission
from ihe.names import (
    FOLDER_CODE,
    IS_FOLDER,
    IS_SUBMISSION_SET,
    LCM,
    RIM,
    STABLE_ENTRY,
    AssociationType,
    EntryScheme,
    IdScheme,
    ResponseStatus,
    SetScheme,
    Status,
)
from ihe.queries import write_response

Node = ElementTree.Element
PATIENT = "15837510047^^^&2.16.578.1.12.4.1.4.1&ISO"
OTHER_PATIENT = "02911160008^^^&2.16.578.1.12.4.1.4.1&ISO"
HOME = "urn:oid:2.999.1"
ABSENT_UUID = "urn:uuid:aaaaaaaa-0000-4000-8000-000000000001"
SHA1 = "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"


def rim(tag: str, attributes: dict[str, str] | None = None, *children: Node) -> Node:
    node = ElementTree.Element(f"{{{RIM}}}{tag}", {key: str(value) for key, value in (attributes or {}).items()})
    node.extend(children)
    return node


def slot(name: str, *values: str) -> Node:
    value_list = rim("ValueList")
    for value in values:
        rim_value = rim("Value")
        rim_value.text = value
        value_list.append(rim_value)
    return rim("Slot", {"name": name}, value_list)


def name(text: str, tag: str = "Name") -> Node:
    return rim(tag, {}, rim("LocalizedString", {"value": text}))


_numbers = itertools.count(1)


def part_id() -> str:
    return f"part{next(_numbers)}"


def code(scheme: str, value: str, of: str, coding_scheme: str = "2.999.30.1", display: str = "Vist navn") -> Node:
    attributes = {
        "id": part_id(),
        "classifiedObject": of,
        "classificationScheme": scheme,
        "nodeRepresentation": value,
    }
    return rim("Classification", attributes, slot("codingScheme", coding_scheme), name(display))


def author(scheme: str, of: str, *slots: Node) -> Node:
    attributes = {"id": part_id(), "classifiedObject": of, "classificationScheme": scheme, "nodeRepresentation": ""}
    return rim("Classification", attributes, *slots)


def label(node: str, of: str) -> Node:
    return rim("Classification", {"id": part_id(), "classifiedObject": of, "classificationNode": node})


def identifier(scheme: str, value: str, of: str, what: str) -> Node:
    attributes = {"id": part_id(), "registryObject": of, "identificationScheme": scheme, "value": value}
    return rim("ExternalIdentifier", attributes, name(what))


def entry(of: str = "Doc1", unique_id: str = "2.999.40.7.1", patient: str = PATIENT) -> Node:
    return rim(
        "ExtrinsicObject",
        {"id": of, "mimeType": "application/pdf", "objectType": STABLE_ENTRY},
        slot("creationTime", "20200114083000"),
        slot("languageCode", "nb-NO"),
        slot("hash", SHA1),
        slot("size", "51342"),
        slot("repositoryUniqueId", "2.999.10.20.1"),
        slot("sourcePatientId", patient),
        slot("sourcePatientInfo", "PID-5|Testesen^Ola", "PID-8|M"),
        slot("serviceStartTime", "202001140800"),
        slot("serviceStopTime", "20200114"),
        slot("urn:oid:2.999.77", "eget", "innhold & <mer>"),
        name("Epikrise"),
        author(
            EntryScheme.AUTHOR,
            of,
            slot("authorPerson", "02911160008^Legesen^Kari^^^^^^&2.16.578.1.12.4.1.4.1&ISO"),
            slot("authorInstitution", "Testsykehuset^^^^^&2.16.578.1.12.4.1.4.101&ISO^^^^974633574"),
            slot("authorTelecommunication", "^^Internet^post@example.org"),
        ),
        code(EntryScheme.CLASS_CODE, "A00-1", of),
        code(EntryScheme.CONFIDENTIALITY_CODE, "N", of, "2.16.840.1.113883.5.25"),
        code(EntryScheme.FORMAT_CODE, "urn:ihe:iti:xds:2017:mimeTypeSufficient", of),
        code(EntryScheme.FACILITY_TYPE_CODE, "86.101", of),
        code(EntryScheme.PRACTICE_SETTING_CODE, "4", of),
        code(EntryScheme.TYPE_CODE, "A03-2", of),
        identifier(IdScheme.ENTRY_PATIENT_ID, patient, of, "XDSDocumentEntry.patientId"),
        identifier(IdScheme.ENTRY_UNIQUE_ID, unique_id, of, "XDSDocumentEntry.uniqueId"),
    )


def submission_set(of: str = "Set1", unique_id: str = "2.999.40.8.1", patient: str = PATIENT) -> Node:
    return rim(
        "RegistryPackage",
        {"id": of},
        slot("submissionTime", "20200114083005"),
        author(SetScheme.AUTHOR, of, slot("authorInstitution", "Testsykehuset")),
        code(SetScheme.CONTENT_TYPE_CODE, "225728007", of, "2.16.840.1.113883.6.96"),
        label(IS_SUBMISSION_SET, of),
        identifier(IdScheme.SET_PATIENT_ID, patient, of, "XDSSubmissionSet.patientId"),
        identifier(IdScheme.SET_SOURCE_ID, "2.999.50.1", of, "XDSSubmissionSet.sourceId"),
        identifier(IdScheme.SET_UNIQUE_ID, unique_id, of, "XDSSubmissionSet.uniqueId"),
    )


def folder(of: str = "Folder1", unique_id: str = "2.999.40.9.1", patient: str = PATIENT) -> Node:
    return rim(
        "RegistryPackage",
        {"id": of},
        name("Mappe"),
        code(FOLDER_CODE, "X1", of),
        label(IS_FOLDER, of),
        identifier(IdScheme.FOLDER_PATIENT_ID, patient, of, "XDSFolder.patientId"),
        identifier(IdScheme.FOLDER_UNIQUE_ID, unique_id, of, "XDSFolder.uniqueId"),
    )


def association(of: str, kind: AssociationType, source: str, target: str, status: str = "") -> Node:
    attributes = {"id": of, "associationType": kind.value, "sourceObject": source, "targetObject": target}
    return rim("Association", attributes, *([slot("SubmissionSetStatus", status)] if status else []))


def member(of: str, source: str, target: str, status: str = "") -> Node:
    return association(of, AssociationType.HAS_MEMBER, source, target, status)


def request(*objects: Node) -> Node:
    root = ElementTree.Element(f"{{{LCM}}}SubmitObjectsRequest")
    objects_list = rim("RegistryObjectList", {}, *objects)
    root.append(objects_list)
    return root


def one_document() -> Node:
    """A SubmissionSet with one entry, as most submissions are."""
    return request(entry(), submission_set(), member("As1", "Set1", "Doc1", "Original"))


def with_folder() -> Node:
    """The same with a folder that holds the entry."""
    return request(
        entry(),
        submission_set(),
        folder(),
        member("As1", "Set1", "Doc1", "Original"),
        member("As2", "Set1", "Folder1"),
        member("As3", "Folder1", "Doc1"),
        member("As4", "Set1", "As3"),
    )


def body(root: Node) -> xml.Element:
    """As the product reads it."""
    return xml.read(ElementTree.tostring(root, encoding="utf-8"))


def submittal(root: Node) -> ebrim.Submittal:
    return ebrim.read_submission(ebrim.repair(body(root)))


def uuids(first: int = 1) -> Callable[[], str]:
    numbers = itertools.count(first)
    return lambda: f"urn:uuid:bbbbbbbb-0000-4000-8000-{next(numbers):012x}"


def submission(root: Node) -> Submission:
    return ebrim.metadata(submittal(root), uuids())


def head(entry_uuid: str, patient: str = PATIENT, home: str = HOME, version: int = 1) -> Head:
    return Head(entry_uuid, entry_uuid, version, Status.APPROVED, home, patient)


def answer(objects: Iterable[bytes]) -> bytes:
    return b"".join(write_response(ResponseStatus.SUCCESS, (), objects))


def written(sent: Submission) -> list[bytes]:
    """Every object of a submission as an answer would show it."""
    folders = [ebrim.write_folder(head(f.entry_uuid), f.body, "20200115000000") for f in sent.folders]
    return [
        ebrim.write_set(head(sent.submission_set.entry_uuid), sent.submission_set.body),
        *(ebrim.write_entry(head(found.entry_uuid), found.body) for found in sent.entries),
        *folders,
        *(ebrim.write_association(head(found.entry_uuid), found) for found in sent.associations),
    ]


def objects_in(raw: bytes) -> list[Node]:
    """The objects of an answer as an independent reader sees them."""
    found = ElementTree.fromstring(raw).find(f"{{{RIM}}}RegistryObjectList")
    assert found is not None
    return list(found)
