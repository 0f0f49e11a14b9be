"""What each sample changes in the submission that all of them begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ihe.names import (
    ASSOCIATION_DOCUMENTATION,
    LIMITED_METADATA,
    ON_DEMAND_ENTRY,
    STABLE_ENTRY,
    Action,
    AssociationType,
    EntryScheme,
    SetScheme,
)
from registry.rules.samples.edits import (
    Edit,
    attribute,
    copied,
    gone,
    inside,
    more,
    related,
    renamed,
    slot,
    without_name,
    without_slot,
)

PATIENT = "15837510047^^^&2.16.578.1.12.4.1.4.1&ISO"
OTHER_PATIENT = "02911160008^^^&2.16.578.1.12.4.1.4.1&ISO"
REPOSITORY = "2.999.10.20.1"
DOC, TRANSFORM, REPLACEMENT, DEMAND, ABSENT = (f"urn:uuid:aaaaaaaa-0000-4000-8000-{number:012}" for number in range(5))
"""entryUUIDs of what was registered before, and one of nothing."""
RPLC, APND, XFRM = AssociationType.RPLC, AssociationType.APND, AssociationType.XFRM
SNAPSHOT, MEMBER = AssociationType.IS_SNAPSHOT_OF, AssociationType.HAS_MEMBER

Edits = tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """One sample: what breaks the rule, what keeps it, what comes first."""

    broken: Edits
    kept: Edits = ()
    first: tuple[tuple[Action, Edits], ...] = ()
    action: Action = Action.REGISTER
    merged: str = ""
    codes: str = ""
    extra_metadata: Literal["keep", "warn"] = "keep"


ON_DEMAND: Edits = (
    attribute("Doc1", "objectType", ON_DEMAND_ENTRY),
    *(without_slot("Doc1", name) for name in ("creationTime", "hash", "size")),
)
"""What makes the submission one of an on-demand entry."""


def _patient(patient_id: str) -> Edits:
    return tuple(attribute(f"{of}-patientId", "value", patient_id) for of in ("Doc1", "Set1", "Folder1"))


def _earlier(entry_uuid: str, *more_of_it: Edit, number: int = 9) -> Edits:
    """Another submission, with an entryUUID of its sender's for the entry."""
    ids = {"Doc1": "7", "Set1": "8", "Folder1": "9"}
    others = (attribute(f"{of}-uniqueId", "value", f"2.999.40.{arc}.{number}") for of, arc in ids.items())
    return (*others, *more_of_it, renamed("Doc1", entry_uuid))


def _label(of: str, node: str, name: str) -> str:
    return f'<Classification id="{name}" classifiedObject="{of}" classificationNode="{node}"/>'


def _code(of: str, scheme: str, code: str, name: str) -> str:
    return (
        f'<Classification id="{name}" classifiedObject="{of}" classificationScheme="{scheme}" '
        f'nodeRepresentation="{code}"><Slot name="codingScheme"><ValueList><Value>2.999.30.1</Value></ValueList></Slot>'
        '<Name><LocalizedString value="Kode"/></Name></Classification>'
    )


def _association(kind: str) -> str:
    return f'<Association id="As9" associationType="{kind}" sourceObject="Set1" targetObject="Folder1-Doc1"/>'


_REGISTERED = (Action.REGISTER, _earlier(DOC))
_SECOND: Edits = (
    copied("Doc1", "Doc2"),
    attribute("Doc2-uniqueId", "value", "2.999.40.7.2"),
    related("Set1-Doc2", MEMBER, "Set1", "Doc2"),
    slot("Set1-Doc2", "SubmissionSetStatus", "Original"),
)
_LONG = "x" * 257
_SAME_DOCUMENT = attribute("Doc1-uniqueId", "value", "2.999.40.7.9")
_IHE = "urn:ihe:iti:2010:AssociationType:"
_NESTED = inside("Doc1-author", _label("Doc1-author", "urn:x-ours:label", "Nested"))

SAMPLES: dict[str, Told] = {
    # Structure
    "known-content": Told((_NESTED,)),
    "known-objects": Told((more(_label("Doc1", "urn:x-ours:label", "Beside")),)),
    "one-submission-set": Told(
        (copied("Set1", "Set2"), attribute("Set2-uniqueId", "value", "2.999.40.8.2")),
    ),
    "unique-object-ids": Told((attribute("Doc1-typeCode", "id", "Doc1-classCode"),)),
    "unique-slot-names": Told(
        (inside("Doc1", '<Slot name="size"><ValueList><Value>1</Value></ValueList></Slot>'),), ()
    ),
    "value-length": Told((slot("Doc1", "urn:oid:2.999.77", _LONG),), (slot("Doc1", "urn:oid:2.999.77", _LONG[:-1]),)),
    "parent-reference": Told((attribute("Doc1-typeCode", "classifiedObject", "Set1"),)),
    # Attributes
    "needed-attribute": Told((gone("Doc1-uniqueId"),)),
    "required-attribute": Told((without_slot("Doc1", "languageCode"),)),
    "single-attribute": Told((slot("Doc1", "languageCode", "nb-NO", "nn-NO"),)),
    "needed-type": Told((slot("Doc1", "hash", "2fd4e1c6"),)),
    "data-type": Told(
        (slot("Doc1", "creationTime", "2020-01-14T08:30"),), (slot("Doc1", "creationTime", "202001140830"),)
    ),
    "complete-code": Told((attribute("Doc1-typeCode", "nodeRepresentation", ""),)),
    "display-name": Told((without_name("Doc1-typeCode"),)),
    "allowed-codes": Told(
        (attribute("Doc1-typeCode", "nodeRepresentation", "Z99-2"),),
        codes='[typeCode]\n"2.16.578.1.12.4.1.1.9602" = ["A03-2"]\n',
    ),
    "complete-author": Told((attribute("Doc1-author", "nodeRepresentation", "Kari"),)),
    "known-scheme": Told(
        (inside("Doc1", _code("Doc1", SetScheme.CONTENT_TYPE_CODE, "X", "Code9")),),
        (inside("Doc1", _code("Doc1", EntryScheme.EVENT_CODE, "X", "Code9")),),
    ),
    "extra-slot-name": Told((slot("Doc1", "colour", "red"),), (slot("Doc1", "urn:oid:2.999.77", "red"),)),
    "stable-entry": Told((attribute("Doc1", "objectType", ON_DEMAND_ENTRY),)),
    "on-demand-entry": Told((attribute("Doc1", "objectType", STABLE_ENTRY),), action=Action.REGISTER_ON_DEMAND),
    "on-demand-content": Told((slot("Doc1", "size", "51342"),), action=Action.REGISTER_ON_DEMAND),
    "limited-metadata": Told((inside("Doc1", _label("Doc1", min(LIMITED_METADATA), "Limited")),)),
    "title-length": Told(
        (without_name("Folder1"), inside("Folder1", f'<Name><LocalizedString value="{_LONG}"/></Name>')),
        (without_name("Folder1"), inside("Folder1", f'<Name><LocalizedString value="{_LONG[:-1]}"/></Name>')),
    ),
    "folder-title": Told((without_name("Folder1"),)),
    "service-times": Told((slot("Doc1", "serviceStopTime", "202001140759"),)),
    "unique-ids-in-message": Told((attribute("Folder1-uniqueId", "value", "2.999.40.8.1"),)),
    "one-patient": Told((attribute("Folder1-patientId", "value", OTHER_PATIENT),), _patient(OTHER_PATIENT)),
    # Relations
    "association-type": Told((more(_association("HasMember")),)),
    "no-metadata-update": Told((more(_association(_IHE + "SubmitAssociation")),)),
    "association-ends": Told((related("As9", APND, "Doc1", "Doc9"),)),
    "association-to-itself": Told((related("As9", APND, "Doc1", "Doc1"),)),
    "association-kinds": Told((related("As9", MEMBER, "Doc1", ABSENT),)),
    "association-parts": Told((inside("Set1-Doc1", _code("Set1-Doc1", ASSOCIATION_DOCUMENTATION, "X", "Code9")),)),
    "entry-membership": Told((gone("Set1-Doc1"),)),
    "folder-membership": Told((gone("Set1-Folder1"),)),
    "folder-content-membership": Told((gone("Set1-Folder1-Doc1"),)),
    "submission-set-status": Told((without_slot("Set1-Doc1", "SubmissionSetStatus"),)),
    "relationship-source": Told(
        (related("As9", RPLC, ABSENT, DOC),), (related("As9", RPLC, "Doc1", DOC),), (_REGISTERED,)
    ),
    "relationship-target": Told(
        (*_SECOND, related("As9", RPLC, "Doc2", "Doc1")), (*_SECOND, related("As9", APND, "Doc2", "Doc1"))
    ),
    "no-cycle": Told(
        (*_SECOND, related("As8", XFRM, "Doc2", "Doc1"), related("As9", XFRM, "Doc1", "Doc2")),
        (*_SECOND, related("As8", XFRM, "Doc2", "Doc1")),
    ),
    "extra-metadata": Told((slot("Doc1", "urn:oid:2.999.77", "red"),), extra_metadata="warn"),
    # What only the registry knows
    "known-patient": Told((), _patient(OTHER_PATIENT), merged=OTHER_PATIENT),
    "unused-unique-id": Told((attribute("Set1-uniqueId", "value", "2.999.40.8.9"),), (), (_REGISTERED,)),
    "on-demand-unique-id": Told((_SAME_DOCUMENT,), (), (_REGISTERED,), Action.REGISTER_ON_DEMAND),
    "same-hash": Told((_SAME_DOCUMENT, slot("Doc1", "hash", "0" * 40)), (_SAME_DOCUMENT,), (_REGISTERED,)),
    "same-size": Told((_SAME_DOCUMENT, slot("Doc1", "size", "1")), (_SAME_DOCUMENT,), (_REGISTERED,)),
    "unused-uuid": Told((renamed("Doc1", DOC),), (renamed("Doc1", TRANSFORM),), (_REGISTERED,)),
    "known-ends": Told((related("As9", RPLC, "Doc1", ABSENT),), (related("As9", RPLC, "Doc1", DOC),), (_REGISTERED,)),
    "approved-target": Told(
        (related("As9", RPLC, "Doc1", DOC),),
        (related("As9", RPLC, "Doc1", REPLACEMENT),),
        (_REGISTERED, (Action.REGISTER, _earlier(REPLACEMENT, related("As9", RPLC, "Doc1", DOC), number=8))),
    ),
    "appended-transform": Told(
        (related("As9", APND, "Doc1", TRANSFORM),),
        (related("As9", APND, "Doc1", DOC),),
        (_REGISTERED, (Action.REGISTER, _earlier(TRANSFORM, related("As9", XFRM, "Doc1", DOC), number=8))),
    ),
    "related-patient": Told(
        (related("As9", RPLC, "Doc1", DOC),),
        (*_patient(OTHER_PATIENT), related("As9", RPLC, "Doc1", DOC)),
        ((Action.REGISTER, _earlier(DOC, *_patient(OTHER_PATIENT))),),
    ),
    "snapshot-ends": Told(
        (related("As9", SNAPSHOT, "Doc1", DOC),),
        (related("As9", SNAPSHOT, "Doc1", DEMAND),),
        (_REGISTERED, (Action.REGISTER_ON_DEMAND, _earlier(DEMAND, number=8))),
    ),
    "own-repository": Told((slot("Doc1", "repositoryUniqueId", "2.999.10.20.2"),)),
}
