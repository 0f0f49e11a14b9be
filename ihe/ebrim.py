"""ebRIM and document sharing metadata, both ways: a submission becomes typed values, stored bodies become answers.

Reading is `read_submission` (with `repair` before the schema is asked); rules judge it; `metadata` then allocates ids
and types it. Writing fills the holes of a stored body. Sources: ITI TF-3 4.2.1, 4.2.3; TF-2 3.42.4.1.3, 3.18.4.1.2.7.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ihe import canonical, xml
from ihe.ebrim_read import read_submission, repair
from ihe.errors import Mangled, XdsFailure
from ihe.metadata import Association, Author, Coded, DocumentEntry, Folder, Head, Submission, SubmissionSet
from ihe.names import (
    FOLDER_CODE,
    OBJECT_TYPE,
    REFERENCE_ID_LIST,
    SIGNED_AT,
    AssociationType,
    Code,
    EntryScheme,
    IdScheme,
    SetScheme,
)
from ihe.submittal import Classification, Kind, Submittal, SubmittedObject
from ihe.values import is_symbolic, nfc

__all__ = [
    "Submittal",
    "SubmittedObject",
    "metadata",
    "object_ref",
    "read_submission",
    "repair",
    "write_association",
    "write_entry",
    "write_folder",
    "write_set",
]

STATUS_SLOT = "SubmissionSetStatus"


def metadata(submittal: Submittal, new_uuid: Callable[[], str]) -> Submission:
    """The submission as typed values, every id a UUID, every body ready to store.

    Values that queries compare are NFC, bodies are verbatim; a code that is absent is one without text or scheme.

    `new_uuid` answers `urn:uuid:` and a fresh UUID in lower case. Equal symbolic ids get the same one; ids that are
    UUIDs already are kept (TF-2 3.42.4.1.3.1). Expects what the registry's rules have passed.
    Raises: XdsFailure (XDSRegistryMetadataError) where what they demand is missing.
    """
    names: dict[str, str] = {}

    def given(name: str) -> str:
        if not is_symbolic(name):
            return name
        return names[name] if name in names else names.setdefault(name, new_uuid())

    def own(submitted: SubmittedObject) -> str:
        return given(submitted.id) if submitted.id else new_uuid()

    sets = submittal.of(Kind.SET)
    if len(sets) != 1:
        raise _incomplete(f"{len(sets)} SubmissionSets")
    try:
        return Submission(
            submission_set=_set(sets[0], own(sets[0]), given),
            entries=tuple(_entry(found, own(found), given) for found in submittal.of(Kind.ENTRY)),
            folders=tuple(_folder(found, own(found), given) for found in submittal.of(Kind.FOLDER)),
            associations=tuple(_association(found, own(found), given) for found in submittal.of(Kind.ASSOCIATION)),
            digest=canonical.digest(submittal),
        )
    except Mangled as wrong:
        raise _incomplete(str(wrong)) from wrong


def _incomplete(what: str) -> XdsFailure:
    return XdsFailure.of(Code.REGISTRY_METADATA_ERROR, what)


def _entry(found: SubmittedObject, entry_uuid: str, given: Callable[[str], str]) -> DocumentEntry:
    reference_ids = found.slot(REFERENCE_ID_LIST)
    size = found.value("size")
    return DocumentEntry(
        entry_uuid=entry_uuid,
        unique_id=_identified(found, IdScheme.ENTRY_UNIQUE_ID),
        repository_unique_id=found.value("repositoryUniqueId"),
        patient_id=_identified(found, IdScheme.ENTRY_PATIENT_ID),
        object_type=found.object_type,
        mime_type=found.mime_type or "application/octet-stream",
        hash=found.value("hash").lower(),
        size=int(size) if size.isascii() and size.isdigit() else None,
        creation_time=found.value("creationTime"),
        service_start_time=found.value("serviceStartTime"),
        service_stop_time=found.value("serviceStopTime"),
        class_code=_code(found, EntryScheme.CLASS_CODE),
        type_code=_code(found, EntryScheme.TYPE_CODE),
        format_code=_code(found, EntryScheme.FORMAT_CODE),
        practice_setting_code=_code(found, EntryScheme.PRACTICE_SETTING_CODE),
        facility_type_code=_code(found, EntryScheme.FACILITY_TYPE_CODE),
        confidentiality_codes=_codes(found, EntryScheme.CONFIDENTIALITY_CODE),
        event_codes=_codes(found, EntryScheme.EVENT_CODE),
        authors=_authors(found, EntryScheme.AUTHOR),
        legal_authenticator=found.value("legalAuthenticator"),
        reference_ids=() if reference_ids is None else tuple(nfc(each) for each in reference_ids.values),
        signed_at=found.value(SIGNED_AT),
        body=canonical.body_of(found, given),
    )


def _set(found: SubmittedObject, entry_uuid: str, given: Callable[[str], str]) -> SubmissionSet:
    return SubmissionSet(
        entry_uuid=entry_uuid,
        unique_id=_identified(found, IdScheme.SET_UNIQUE_ID),
        source_id=_identified(found, IdScheme.SET_SOURCE_ID),
        patient_id=_identified(found, IdScheme.SET_PATIENT_ID),
        submission_time=found.value("submissionTime"),
        content_type_code=_code(found, SetScheme.CONTENT_TYPE_CODE),
        authors=_authors(found, SetScheme.AUTHOR),
        body=canonical.body_of(found, given),
    )


def _folder(found: SubmittedObject, entry_uuid: str, given: Callable[[str], str]) -> Folder:
    return Folder(
        entry_uuid=entry_uuid,
        unique_id=_identified(found, IdScheme.FOLDER_UNIQUE_ID),
        patient_id=_identified(found, IdScheme.FOLDER_PATIENT_ID),
        codes=_codes(found, FOLDER_CODE),
        body=canonical.body_of(found, given),
    )


def _association(found: SubmittedObject, entry_uuid: str, given: Callable[[str], str]) -> Association:
    try:
        kind = AssociationType(found.type)
    except ValueError:
        raise _incomplete("an association of unknown type") from None
    status = found.value(STATUS_SLOT)
    return Association(
        entry_uuid=entry_uuid,
        type=kind,
        source=given(found.source),
        target=given(found.target),
        original={"Original": True, "Reference": False}.get(status),
        body=canonical.association_body_of(found, given),
    )


def _identified(found: SubmittedObject, scheme: str) -> str:
    identifiers = found.identified_by(scheme)
    if not identifiers or not identifiers[0].value:
        raise _incomplete(f"{found.kind.value} without identifier {scheme}")
    return identifiers[0].value


def _codes(found: SubmittedObject, scheme: str) -> tuple[Coded, ...]:
    return tuple(_coded(classification) for classification in found.classified_by(scheme))


_NO_CODE = Coded("", "")


def _code(found: SubmittedObject, scheme: str) -> Coded:
    return next(iter(_codes(found, scheme)), _NO_CODE)


def _coded(classification: Classification) -> Coded:
    schemes = classification.values("codingScheme")
    return Coded(nfc(classification.code or ""), nfc(schemes[0]) if schemes else "")


def _authors(found: SubmittedObject, scheme: str) -> tuple[Author, ...]:
    return tuple(
        Author(
            person=nfc(next(iter(author.values("authorPerson")), "")),
            institutions=author.values("authorInstitution"),
            roles=author.values("authorRole"),
            specialties=author.values("authorSpecialty"),
            telecoms=author.values("authorTelecommunication"),
        )
        for author in found.classified_by(scheme)
    )


_SELF = canonical.SELF.encode()
_PART = canonical.PART.encode()
_HEAD = canonical.HEAD.encode()
_VERSION = canonical.VERSION.encode()
_PATIENT = canonical.PATIENT.encode()
_UPDATED = canonical.UPDATED.encode()


@lru_cache(maxsize=64)
def _escaped(plain: str) -> bytes:
    """The inside of an attribute that is the same in every object of an answer: its patient, the community."""
    return xml.escape_attribute(plain).encode()


def write_entry(head: Head, entry_body: bytes) -> bytes:
    """A stored DocumentEntry as an answer shows it: schema-valid, its holes filled, in a few microseconds.

    The bytes carry no prefix: they belong under an element that declares ebRIM as the default namespace.
    """
    home = b' home="%b"' % _escaped(head.home) if head.home else b""
    entry_uuid = head.entry_uuid.encode()
    attributes = b' id="%b" lid="%b" status="%b"%b' % (entry_uuid, head.lid.encode(), head.status.encode(), home)
    return (
        entry_body.replace(_HEAD, attributes)
        .replace(_VERSION, b"%d" % head.version)
        .replace(_PATIENT, _escaped(head.patient_id))
        .replace(_PART, canonical.part_prefix(head.entry_uuid).encode())
        .replace(_SELF, entry_uuid)
    )


def write_set(head: Head, set_body: bytes) -> bytes:
    """A stored SubmissionSet as an answer shows it; see write_entry."""
    return write_entry(head, set_body)


def write_folder(head: Head, folder_body: bytes, last_update_time: str) -> bytes:
    """A stored Folder as an answer shows it; `last_update_time` is a DTM in seconds, UTC. See write_entry."""
    return write_entry(head, folder_body.replace(_UPDATED, last_update_time.encode()))


def write_association(head: Head, association: Association) -> bytes:
    """An association as an answer shows it, submitted or made by the registry; see write_entry.

    Of `head`, the patient and the home community are not shown: associations have neither (TF-3 4.2.2).
    """
    start = (
        f'<Association associationType="{association.type.value}" id="{head.entry_uuid}" lid="{head.lid}"'
        f' objectType="{OBJECT_TYPE}Association" sourceObject="{xml.escape_attribute(association.source)}"'
        f' status="{head.status.value}" targetObject="{xml.escape_attribute(association.target)}">'
    )
    if association.body:
        inside = write_entry(head, association.body)
    else:
        status = {True: "Original", False: "Reference", None: ""}[association.original]
        slot = f'<Slot name="{STATUS_SLOT}"><ValueList><Value>{status}</Value></ValueList></Slot>' if status else ""
        inside = f'{slot}<VersionInfo versionName="{head.version}"/>'.encode()
    return start.encode() + inside + b"</Association>"


def object_ref(entry_uuid: str, home: str) -> bytes:
    """What an answer of returnType ObjectRef shows of an object (TF-2 3.18.4.1.2.6)."""
    where = f' home="{xml.escape_attribute(home)}"' if home else ""
    return f'<ObjectRef{where} id="{entry_uuid}"/>'.encode()
