"""Submissions made by chance that say everything a source may say, built with the standard library's XML alone."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from xml.etree import ElementTree

Node = ElementTree.Element
RIM = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
LCM = "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
XML = "http://www.w3.org/XML/1998/namespace"
OBJECT = "urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:"
STABLE = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
SET_NODE, FOLDER_NODE = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd", "urn:uuid:d9d542f3-6cc4-48b6-8870-ea235fbc94c2"
ENTRY_AUTHOR = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
ENTRY_CODES = {
    "class": "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a",
    "format": "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d",
    "facility": "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1",
    "practice": "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead",
    "type": "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983",
}
CONFIDENTIALITY, EVENT = (
    "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f",
    "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4",
)
SET_AUTHOR, SET_CONTENT = (
    "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d",
    "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500",
)
FOLDER_CODE = "urn:uuid:1ba97051-7806-41a8-a48b-8fce7af683c5"
IDS = {
    "ExtrinsicObject": (
        ("urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427", "XDSDocumentEntry.patientId"),
        ("urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab", "XDSDocumentEntry.uniqueId"),
    ),
    "set": (
        ("urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446", "XDSSubmissionSet.patientId"),
        ("urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8", "XDSSubmissionSet.uniqueId"),
        ("urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832", "XDSSubmissionSet.sourceId"),
    ),
    "folder": (
        ("urn:uuid:f64ffdf0-4b97-4e06-b79f-a52b38ec2f8a", "XDSFolder.patientId"),
        ("urn:uuid:75df8f67-9973-4fbe-a900-df66cefecc5a", "XDSFolder.uniqueId"),
    ),
}
MEMBER, APPEND = (
    "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember",
    "urn:ihe:iti:2007:AssociationType:APND",
)
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789 -_.:;/()+*#æøåÆØÅäöéñßЖλ中文字😀&<>\"'%|€\u00a0\u2028"


class Maker:
    """Makes submissions; the same seed makes the same ones."""

    def __init__(self, seed: int, patient_ids: Sequence[str], repository: str) -> None:
        self._dice = random.Random(seed)
        self._patients = patient_ids
        self._repository = repository
        self._number = 0

    def submission(self) -> tuple[str, str, Node]:
        """The patient's id, the uniqueId of the SubmissionSet, and the lcm:SubmitObjectsRequest."""
        dice, patient = self._dice, self._dice.choice(self._patients)
        unique_id = self._oid()
        entries = [f"Document{number:02}" for number in range(dice.choice((1, 1, 2, 3)))]
        folders = ["Folder01"] if dice.random() < 0.3 else []
        objects = [self._entry(each, patient) for each in entries]
        objects += [self._folder(each, patient) for each in folders]
        objects.append(self._set(patient, unique_id))
        objects += [self._association(MEMBER, "Set01", each, "Original") for each in entries]
        for folder in folders:
            inside = self._association(MEMBER, folder, entries[0], "")
            objects += [self._association(MEMBER, "Set01", folder, ""), inside]
            objects.append(self._association(MEMBER, "Set01", inside.get("id", ""), ""))
        dice.shuffle(objects)
        request = ElementTree.Element(f"{{{LCM}}}SubmitObjectsRequest")
        request.append(_rim("RegistryObjectList", {}, *objects))
        return patient, unique_id, request

    # Parts ------------------------------------------------------------------------------------------------------------

    def _id(self) -> str:
        self._number += 1
        return f"part{self._number}" if self._dice.random() < 0.5 else f"urn:uuid:{self._uuid()}"

    def _uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self._dice.getrandbits(128), version=4)

    def _oid(self) -> str:
        return f"2.999.{self._dice.randrange(1, 10**9)}.{self._dice.randrange(10**12)}"

    def _text(self, most: int = 40, least: int = 1) -> str:
        made = "".join(self._dice.choice(_LETTERS) for _ in range(self._dice.randint(least, most)))
        return made.strip(" \u00a0\u2028") or "x"

    def _word(self) -> str:
        return "".join(self._dice.choice("ABCDEFGHabcdefgh0123456789-.") for _ in range(self._dice.randint(1, 16)))

    def _hl7(self) -> str:
        """Text that may stand in a component of an HL7 value."""
        return "".join(each for each in self._text(20) if each not in "^&|~\\<>") or "x"

    def _person(self) -> str:
        return f"{self._word()}^{self._hl7()}^{self._hl7()}^^^^^^&{self._oid()}&ISO"

    def _institution(self) -> str:
        return self._hl7() if self._dice.random() < 0.3 else f"{self._hl7()}^^^^^&{self._oid()}&ISO^^^^{self._word()}"

    def _moment(self) -> str:
        dice = self._dice
        day = f"{dice.randint(1950, 2024)}{dice.randint(1, 12):02}{dice.randint(1, 28):02}"
        return day + f"{dice.randint(0, 23):02}{dice.randint(0, 59):02}{dice.randint(0, 59):02}"

    def _time(self) -> str:
        return self._moment()[: self._dice.choice((4, 6, 8, 10, 12, 14, 14))]

    def _spoken(self, tag: str) -> Node:
        """A Name or Description, in one or several languages."""
        found = _rim(tag, {})
        for language in self._dice.sample(("nb-NO", "nn-NO", "se", "en-us", "de"), self._dice.choice((1, 1, 2, 3))):
            found.append(_rim("LocalizedString", {f"{{{XML}}}lang": language, "value": self._text()}))
        return found

    def _author(self, scheme: str, of: str) -> Node:
        slots = [_slot("authorPerson", self._person())]
        for name, made in (("authorInstitution", self._institution), ("authorRole", self._text),
                           ("authorSpecialty", self._text)):  # fmt: skip
            if self._dice.random() < 0.7:
                slots.append(_slot(name, *(made() for _ in range(self._dice.choice((1, 1, 2))))))
        if self._dice.random() < 0.3:
            slots.append(_slot("authorTelecommunication", f"^^Internet^{self._word()}@example.org"))
        self._dice.shuffle(slots)
        return self._classification(scheme, of, "", slots, False)

    def _code(self, scheme: str, of: str) -> Node:
        coding = self._oid() if self._dice.random() < 0.7 else self._word()
        return self._classification(scheme, of, self._word(), [_slot("codingScheme", coding)], True)

    def _classification(self, scheme: str, of: str, code: str, slots: list[Node], named: bool) -> Node:
        return _rim(
            "Classification",
            {"id": self._id(), "objectType": f"{OBJECT}Classification", "classificationScheme": scheme,
             "classifiedObject": of, "nodeRepresentation": code},
            *slots,
            *([_rim("Name", {}, _rim("LocalizedString", {"value": self._text()}))] if named else []),
        )  # fmt: skip

    def _label(self, node: str, of: str) -> Node:
        about = {"id": self._id(), "objectType": f"{OBJECT}Classification", "classifiedObject": of}
        return _rim("Classification", {**about, "classificationNode": node})

    def _identifiers(self, kind: str, of: str, patient: str, unique_id: str) -> list[Node]:
        values = (patient, unique_id, self._oid())
        return [
            _rim(
                "ExternalIdentifier",
                {"id": self._id(), "objectType": f"{OBJECT}ExternalIdentifier", "registryObject": of,
                 "identificationScheme": scheme, "value": value},
                _rim("Name", {}, _rim("LocalizedString", {"value": name})),
            )
            for (scheme, name), value in zip(IDS[kind], values, strict=False)
        ]  # fmt: skip

    # Objects ----------------------------------------------------------------------------------------------------------

    def _entry(self, of: str, patient: str) -> Node:
        dice = self._dice
        slots = [
            _slot("creationTime", self._time()),
            _slot("languageCode", dice.choice(("nb-NO", "nn-NO", "se-NO", "en"))),
            _slot("hash", f"{dice.getrandbits(160):040x}"),
            _slot("size", str(dice.randrange(10**9))),
            _slot("repositoryUniqueId", self._repository),
            _slot("sourcePatientId", f"{self._word()}^^^&{self._oid()}&ISO"),
            _slot("sourcePatientInfo", f"PID-5|{self._hl7()}^{self._hl7()}^^^", "PID-7|19560503", "PID-8|F"),
        ]
        # A service does not end before it begins; of equal precision, times are in the order of their texts.
        precision = dice.choice((4, 6, 8, 10, 12, 14))
        begin, end = sorted(self._moment()[:precision] for _ in range(2))
        for name, made in (("serviceStartTime", lambda: begin), ("serviceStopTime", lambda: end),
                           ("legalAuthenticator", self._person), ("urn:oid:2.999.5.77", self._text)):  # fmt: skip
            if dice.random() < 0.6:
                slots.append(_slot(name, made()))
        if dice.random() < 0.3:
            made_up = (f"{self._word()}^^^&{self._oid()}&ISO^urn:ihe:iti:xds:2013:accession" for _ in range(2))
            slots.append(_slot("urn:ihe:iti:xds:2013:referenceIdList", *made_up))
        classified = [self._code(scheme, of) for scheme in ENTRY_CODES.values()]
        classified += [self._code(CONFIDENTIALITY, of) for _ in range(dice.choice((1, 1, 2)))]
        classified += [self._code(EVENT, of) for _ in range(dice.choice((0, 0, 1, 3)))]
        classified += [self._author(ENTRY_AUTHOR, of) for _ in range(dice.choice((1, 1, 2, 3)))]
        spoken = [self._spoken(tag) for tag in ("Name", "Description") if dice.random() < 0.7]
        identifiers = self._identifiers("ExtrinsicObject", of, patient, self._oid())
        mime = dice.choice(("application/pdf", "text/xml", "text/plain", "image/png", "application/dicom"))
        attributes = {"id": of, "mimeType": mime, "objectType": STABLE}
        return self._object("ExtrinsicObject", attributes, slots, spoken, classified, identifiers)

    def _set(self, patient: str, unique_id: str) -> Node:
        classified = [self._label(SET_NODE, "Set01"), self._code(SET_CONTENT, "Set01")]
        classified += [self._author(SET_AUTHOR, "Set01") for _ in range(self._dice.choice((1, 1, 2)))]
        spoken = [self._spoken(tag) for tag in ("Name", "Description") if self._dice.random() < 0.5]
        identifiers = self._identifiers("set", "Set01", patient, unique_id)
        attributes = {"id": "Set01", "objectType": f"{OBJECT}RegistryPackage"}
        slots = [_slot("submissionTime", "20210215101112")]
        return self._object("RegistryPackage", attributes, slots, spoken, classified, identifiers)

    def _folder(self, of: str, patient: str) -> Node:
        classified = [self._label(FOLDER_NODE, of), *(self._code(FOLDER_CODE, of) for _ in range(2))]
        identifiers = self._identifiers("folder", of, patient, self._oid())
        attributes = {"id": of, "objectType": f"{OBJECT}RegistryPackage"}
        return self._object("RegistryPackage", attributes, [], [self._spoken("Name")], classified, identifiers)

    def _object(
        self, tag: str, attributes: dict[str, str], slots: list[Node], spoken: list[Node], *rest: list[Node]
    ) -> Node:
        """Children in the order of the schema, chance within each kind."""
        for several in (slots, *rest):
            self._dice.shuffle(several)
        return _rim(tag, attributes, *slots, *spoken, *(each for several in rest for each in several))

    def _association(self, kind: str, source: str, target: str, status: str) -> Node:
        attributes = {"id": f"Association{self._id()}".replace(":", "-"), "associationType": kind}
        attributes |= {"objectType": f"{OBJECT}Association", "sourceObject": source, "targetObject": target}
        return _rim("Association", attributes, *([_slot("SubmissionSetStatus", status)] if status else []))


def _rim(tag: str, attributes: dict[str, str], *children: Node) -> Node:
    node = ElementTree.Element(f"{{{RIM}}}{tag}", attributes)
    node.extend(children)
    return node


def _slot(name: str, *values: str) -> Node:
    listed = _rim("ValueList", {})
    for value in values:
        listed.append(made := _rim("Value", {}))
        made.text = value
    return _rim("Slot", {"name": name}, listed)
