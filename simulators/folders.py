"""Folders in a hospital's submissions: new ones with what lies in them, and documents put into folders that exist.

Sources: ITI TF-2 3.42.4.1.2, TF-3 4.2.2.1, 4.2.3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ihe import xml
from ihe.names import FOLDER_CODE, IS_FOLDER, OBJECT_TYPE, AssociationType, IdScheme
from simulators.people import Person
from simulators.source import Submission

_SET = "SubmissionSet01"
_END = b"</rim:RegistryObjectList>"


@dataclass(frozen=True, slots=True)
class Drawer:
    """A folder to be made, under a UUID of the sender's choice."""

    entry_uuid: str
    unique_id: str
    title: str = "Forløp"
    code: str = "forlop"
    system: str = "2.999.578.40"


def with_folders(
    sent: Submission, person: Person, new: Sequence[Drawer] = (), into: Sequence[tuple[str, str]] = ()
) -> Submission:
    """The submission with these folders of its patient, and these (folder, document) memberships, by entryUUID."""
    objects = [_folder(each, person) for each in new]
    objects += [_member(f"Drawer{number}", _SET, each.entry_uuid) for number, each in enumerate(new, 1)]
    for number, (folder, document) in enumerate(into, 1):
        objects += [_member(f"Inside{number}", folder, document), _member(f"Filed{number}", _SET, f"Inside{number}")]
    head, end, tail = sent.body.partition(_END)
    return replace(sent, body=head + "".join(objects).encode() + end + tail)


def _member(name: str, source: str, target: str) -> str:
    return (
        f'<rim:Association id="{name}" objectType="{OBJECT_TYPE}Association" '
        f'associationType="{AssociationType.HAS_MEMBER}" sourceObject="{source}" targetObject="{target}"/>'
    )


def _folder(drawer: Drawer, person: Person) -> str:
    own = drawer.entry_uuid
    part = f"Part-{own.rpartition('-')[2]}"
    return (
        f'<rim:RegistryPackage id="{own}" objectType="{OBJECT_TYPE}RegistryPackage">{_name(drawer.title)}'
        f'<rim:Classification id="{part}-1" objectType="{OBJECT_TYPE}Classification" classifiedObject="{own}" '
        f'classificationScheme="{FOLDER_CODE}" nodeRepresentation="{drawer.code}"><rim:Slot name="codingScheme">'
        f"<rim:ValueList><rim:Value>{drawer.system}</rim:Value></rim:ValueList></rim:Slot>{_name(drawer.code)}"
        f'</rim:Classification><rim:Classification id="{part}-2" objectType="{OBJECT_TYPE}Classification" '
        f'classifiedObject="{own}" classificationNode="{IS_FOLDER}"/>'
        f"{_identifier(f'{part}-3', own, IdScheme.FOLDER_PATIENT_ID, person.patient_id, 'XDSFolder.patientId')}"
        f"{_identifier(f'{part}-4', own, IdScheme.FOLDER_UNIQUE_ID, drawer.unique_id, 'XDSFolder.uniqueId')}"
        "</rim:RegistryPackage>"
    )


def _name(text: str) -> str:
    return f'<rim:Name><rim:LocalizedString value="{xml.escape_attribute(text)}"/></rim:Name>'


def _identifier(part: str, owner: str, scheme: str, value: str, name: str) -> str:
    return (
        f'<rim:ExternalIdentifier id="{part}" objectType="{OBJECT_TYPE}ExternalIdentifier" registryObject="{owner}" '
        f'identificationScheme="{scheme}" value="{xml.escape_attribute(value)}">{_name(name)}</rim:ExternalIdentifier>'
    )
