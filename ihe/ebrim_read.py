"""Reads a submission without judging it: tolerant where senders differ and the meaning is clear, and losing nothing.

Tolerated: any order of children, parts without ids, labels beside their package. What has no place in the model is
listed as foreign, for the rules to refuse. Sources: OASIS ebRIM 3.0, ITI TF-3 4.2.1 and 4.2.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

from ihe import xml
from ihe.errors import XdsFailure
from ihe.names import IS_FOLDER, IS_SUBMISSION_SET, LCM, RIM, RS, XML, XSI, Code
from ihe.submittal import (
    Classification,
    ExternalIdentifier,
    Foreign,
    Kind,
    LocalizedString,
    Slot,
    Submittal,
    SubmittedObject,
)

IN_RIM = f"{{{RIM}}}"
SUBMIT = f"{{{LCM}}}SubmitObjectsRequest"
OBJECT_LIST = f"{IN_RIM}RegistryObjectList"
REQUEST_SLOTS = f"{{{RS}}}RequestSlotList"
LANG = f"{{{XML}}}lang"
HINTS = frozenset({f"{{{XSI}}}schemaLocation", f"{{{XSI}}}noNamespaceSchemaLocation"})
"""Attributes that tell a validator where to look and say nothing about the content."""

ORDER = (
    "Slot",
    "Name",
    "Description",
    "VersionInfo",
    "Classification",
    "ExternalIdentifier",
    "ContentVersionInfo",
)
"""Children of a registry object in the order of the schema."""
RANK = {name: rank for rank, name in enumerate(ORDER)}

_PARTS = frozenset(ORDER[:-1])
_OBJECT = frozenset({"id", "home", "lid", "objectType", "status"})
_CHILDREN: dict[str, frozenset[str]] = {
    "ExtrinsicObject": frozenset(ORDER),
    "RegistryPackage": _PARTS,
    "Association": _PARTS,
    # A classification of a classification is possible in ebRIM and means nothing in document sharing.
    "Classification": frozenset(ORDER[:4]),
    "ExternalIdentifier": frozenset(ORDER[:4]),
    "ObjectRef": frozenset({"Slot"}),
    "Slot": frozenset({"ValueList"}),
    "ValueList": frozenset({"Value"}),
    "Value": frozenset(),
    "Name": frozenset({"LocalizedString"}),
    "Description": frozenset({"LocalizedString"}),
    "LocalizedString": frozenset(),
    "VersionInfo": frozenset(),
    "ContentVersionInfo": frozenset(),
}
_ATTRIBUTES: dict[str, frozenset[str]] = {
    "ExtrinsicObject": _OBJECT | {"mimeType", "isOpaque"},
    "RegistryPackage": _OBJECT,
    "Association": _OBJECT | {"associationType", "sourceObject", "targetObject"},
    "Classification": _OBJECT
    | {"classificationScheme", "classifiedObject", "classificationNode", "nodeRepresentation"},
    "ExternalIdentifier": _OBJECT | {"registryObject", "identificationScheme", "value"},
    "ObjectRef": frozenset({"id", "home", "createReplica"}),
    "Slot": frozenset({"name", "slotType"}),
    "LocalizedString": frozenset({LANG, "charset", "value"}),
    "VersionInfo": frozenset({"versionName", "comment"}),
    "ContentVersionInfo": frozenset({"versionName", "comment"}),
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an element may stand and what it may say there, by full names."""

    parents: frozenset[str]
    attributes: frozenset[str]
    text: bool


def _places() -> dict[str, _Place]:
    objects = ("ExtrinsicObject", "RegistryPackage", "Association", "Classification", "ObjectRef")
    return {
        IN_RIM + name: _Place(
            parents=frozenset(IN_RIM + parent for parent, children in _CHILDREN.items() if name in children)
            | ({OBJECT_LIST} if name in objects else frozenset()),
            attributes=_ATTRIBUTES.get(name, frozenset()) | HINTS,
            text=name == "Value",
        )
        for name in _CHILDREN
    }


_PLACES = _places()


def read_submission(body: xml.Element) -> Submittal:
    """Everything the sender said, without judging it.

    Raises: XdsFailure (XDSRegistryMetadataError) only where there is no object list to read.
    """
    list_element = body.find(OBJECT_LIST)
    if body.tag != SUBMIT or list_element is None:
        raise XdsFailure.of(Code.REGISTRY_METADATA_ERROR, "SubmitObjectsRequest without RegistryObjectList")
    top = "/SubmitObjectsRequest/RegistryObjectList"
    placed = list(_numbered(list_element, top))
    packages = {found.get("id", "") for found, _ in placed if found.tag == f"{IN_RIM}RegistryPackage"} - {""}
    beside: dict[str, list[Classification]] = {}
    rest: list[tuple[xml.Element, str]] = []
    for element, path in placed:
        if element.tag == f"{IN_RIM}Classification":
            label = _classification(element, path)
            if label.node and not label.scheme and label.classified in packages:
                beside.setdefault(label.classified, []).append(label)
                continue
        if element.tag != f"{IN_RIM}ObjectRef":
            rest.append((element, path))
    objects = tuple(_object(element, path, beside) for element, path in rest)
    return Submittal(objects, tuple(_foreign(body)), body)


def _numbered(parent: xml.Element, path: str) -> Iterator[tuple[xml.Element, str]]:
    """The child elements with their paths: the n-th of a name among those of that name, as XPath counts."""
    seen: dict[str, int] = {}
    for child in parent:
        name = local(child)
        number = seen[name] = seen.get(name, 0) + 1
        yield child, f"{path}/{name}[{number}]"


def local(element: xml.Element) -> str:
    """The name of an element without its namespace."""
    tag = str(element.tag)
    return tag[tag.rfind("}") + 1 :]


def _object(element: xml.Element, path: str, beside: dict[str, list[Classification]]) -> SubmittedObject:
    parts = list(_numbered(element, path))
    classifications = [_classification(part, at) for part, at in parts if part.tag == f"{IN_RIM}Classification"]
    inside = {found.node for found in classifications}
    labels = beside.get(element.get("id", ""), []) if element.tag == f"{IN_RIM}RegistryPackage" else []
    classifications += [label for label in labels if label.node not in inside]
    version = element.find(f"{IN_RIM}VersionInfo")
    return SubmittedObject(
        kind=_kind(element, {found.node for found in classifications}),
        tag=local(element),
        id=element.get("id", ""),
        path=path,
        home=element.get("home", ""),
        lid=element.get("lid", ""),
        status=element.get("status", ""),
        object_type=element.get("objectType", ""),
        mime_type=element.get("mimeType", ""),
        version="" if version is None else version.get("versionName", ""),
        slots=_slots(parts),
        title=_strings(element, "Name"),
        description=_strings(element, "Description"),
        classifications=tuple(classifications),
        identifiers=tuple(_identifier(part, at) for part, at in parts if part.tag == f"{IN_RIM}ExternalIdentifier"),
        type=element.get("associationType", ""),
        source=element.get("sourceObject", ""),
        target=element.get("targetObject", ""),
        element=element,
    )


def _kind(element: xml.Element, labels: set[str]) -> Kind:
    name = local(element) if str(element.tag).startswith(IN_RIM) else ""
    if name == "ExtrinsicObject":
        return Kind.ENTRY
    if name == "Association":
        return Kind.ASSOCIATION
    if name == "RegistryPackage" and (IS_SUBMISSION_SET in labels) != (IS_FOLDER in labels):
        return Kind.SET if IS_SUBMISSION_SET in labels else Kind.FOLDER
    return Kind.OTHER


def _slots(parts: list[tuple[xml.Element, str]]) -> tuple[Slot, ...]:
    return tuple(
        Slot(
            name=part.get("name", ""),
            values=tuple(verbatim(value) for value in part.iterfind(f"{IN_RIM}ValueList/{IN_RIM}Value")),
            slot_type=part.get("slotType", ""),
            path=path,
        )
        for part, path in parts
        if part.tag == f"{IN_RIM}Slot"
    )


def verbatim(element: xml.Element) -> str:
    """The text of a value with all its white space: identifiers are opaque."""
    return "".join(str(piece) for piece in element.itertext()) if len(element) else element.text or ""


def _strings(element: xml.Element, name: str) -> tuple[LocalizedString, ...]:
    return tuple(
        LocalizedString(found.get("value", ""), found.get(LANG, ""), found.get("charset", ""))
        for found in element.iterfind(f"{IN_RIM}{name}/{IN_RIM}LocalizedString")
    )


def _classification(element: xml.Element, path: str) -> Classification:
    return Classification(
        id=element.get("id", ""),
        path=path,
        object_type=element.get("objectType", ""),
        slots=_slots(list(_numbered(element, path))),
        names=_strings(element, "Name"),
        element=element,
        scheme=element.get("classificationScheme", ""),
        node=element.get("classificationNode", ""),
        classified=element.get("classifiedObject", ""),
        code=element.get("nodeRepresentation"),
    )


def _identifier(element: xml.Element, path: str) -> ExternalIdentifier:
    return ExternalIdentifier(
        id=element.get("id", ""),
        path=path,
        object_type=element.get("objectType", ""),
        slots=_slots(list(_numbered(element, path))),
        names=_strings(element, "Name"),
        element=element,
        scheme=element.get("identificationScheme", ""),
        value=element.get("value", ""),
        identified=element.get("registryObject", ""),
    )


def _foreign(body: xml.Element) -> Iterator[Foreign]:
    """What reading would lose. Objects of unknown kind are named by the rules; their inside is not looked at."""
    for child, path in _numbered(body, "/SubmitObjectsRequest"):
        if child.tag == OBJECT_LIST:
            # Almost never is there anything, and looking without paths takes a quarter of the time.
            if not all(map(_is_at_home, child.iterdescendants())) or _loose_text(child):
                yield from _foreign_inside(child, path)
        elif child.tag != REQUEST_SLOTS:
            yield Foreign(path, f"element {child.tag}")


def _is_at_home(element: xml.Element) -> bool:
    """The element may stand where it stands, says nothing unknown and has no text unless it is a value."""
    known = _PLACES.get(str(element.tag))
    if known is None:
        return False
    parent, attributes = element.getparent(), element.keys()
    above = "" if parent is None else str(parent.tag)
    return (
        above in known.parents and known.attributes.issuperset(attributes) and (known.text or not _loose_text(element))
    )


def _foreign_inside(objects: xml.Element, path: str) -> Iterator[Foreign]:
    if _loose_text(objects):
        yield Foreign(path, "text between elements")
    for element, at in _numbered(objects, path):
        if local(element) in _CHILDREN and str(element.tag).startswith(IN_RIM):
            yield from _foreign_below(element, at)


def _foreign_below(element: xml.Element, path: str) -> Iterator[Foreign]:
    name = local(element)
    known = _ATTRIBUTES.get(name, frozenset())
    for attribute in element.attrib:
        if attribute not in known and attribute not in HINTS:
            yield Foreign(path, f"attribute {attribute!s}")
    if name != "Value" and _loose_text(element):
        yield Foreign(path, "text between elements")
    allowed = _CHILDREN[name]
    for child, at in _numbered(element, path):
        if local(child) in allowed and str(child.tag).startswith(IN_RIM):
            yield from _foreign_below(child, at)
        else:
            yield Foreign(at, f"element {child.tag}")


def _loose_text(element: xml.Element) -> bool:
    text = element.text
    if text is not None and text.strip(xml.WHITESPACE):
        return True
    return any((tail := child.tail) is not None and tail.strip(xml.WHITESPACE) for child in element)


def repair(body: xml.Element) -> xml.Element:
    """A copy in which the deviations TF-3 samples themselves show are put right, so that the schema finds the others.

    Children come into the order of the schema (paths stay the same, because XPath counts by name), and
    Classification, ExternalIdentifier and Association without id get a symbolic one, the same for the same message.
    """
    copy = deepcopy(body)
    objects = copy.find(OBJECT_LIST)
    if objects is None:
        return copy
    taken = {element.get("id") for element in objects.iter("*")}
    unnamed = (name for number in range(1, 1 << 30) if (name := f"unnamed-{number}") not in taken)
    for element in objects.iter(f"{IN_RIM}Classification", f"{IN_RIM}ExternalIdentifier", f"{IN_RIM}Association"):
        if element.get("id") is None:
            element.set("id", next(unnamed))
    # Listed first: an iteration over a tree does not survive its being rearranged.
    for element in list(objects.iter(*(f"{IN_RIM}{name}" for name in _ATTRIBUTES))):
        ranks = [_rank(child) for child in element]
        if ranks != sorted(ranks):
            element[:] = sorted(element, key=_rank)
    return copy


def _rank(element: xml.Element) -> int:
    return RANK.get(local(element), len(ORDER))
