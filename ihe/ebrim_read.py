"""Reads a submission without judging it: tolerant where senders differ and the meaning is clear, and losing nothing.

Tolerated: any order of children, parts without ids, labels beside their package. What has no place in the model is
listed as foreign, for the rules to refuse. Sources: OASIS ebRIM 3.0, ITI TF-3 4.2.1 and 4.2.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import NamedTuple

from ihe import spelling, xml
from ihe.errors import XdsFailure
from ihe.names import IS_FOLDER, IS_SUBMISSION_SET, LCM, RS, Code
from ihe.spelling import HINTS, IN_RIM, LANG
from ihe.submittal import (
    Classification,
    ExternalIdentifier,
    Foreign,
    Inside,
    Kind,
    LocalizedString,
    Part,
    Slot,
    Submittal,
    SubmittedObject,
)

SUBMIT = f"{{{LCM}}}SubmitObjectsRequest"
OBJECT_LIST = f"{IN_RIM}RegistryObjectList"
REQUEST_SLOTS = f"{{{RS}}}RequestSlotList"
_VALUE_LIST, _VALUE, _LOCALIZED = (IN_RIM + name for name in ("ValueList", "Value", "LocalizedString"))

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


_SAID = {name: _ATTRIBUTES.get(name, frozenset()) | HINTS for name in _CHILDREN}
"""What the attributes of an element may be, by full names."""
_NAMED = tuple(IN_RIM + name for name in ("Classification", "ExternalIdentifier", "Association"))
"""What has an id by the schema, and often none as it is sent."""
_ORDERED = tuple(IN_RIM + name for name, children in _CHILDREN.items() if len(children) > 1)
"""Elements whose children have an order at all."""
_LOCAL = {IN_RIM + name: name for name in _CHILDREN}


def read_submission(body: xml.Element) -> Submittal:
    """Everything the sender said, without judging it.

    Raises: XdsFailure (XDSRegistryMetadataError) only where there is no object list to read.
    """
    lists = body.findall(OBJECT_LIST)
    if body.tag != SUBMIT or not lists:
        raise XdsFailure.of(Code.REGISTRY_METADATA_ERROR, "SubmitObjectsRequest without RegistryObjectList")
    reading = _Reading()
    placed = list(_numbered(lists[0], "/SubmitObjectsRequest/RegistryObjectList"))
    packages = {found.get("id", "") for found, _ in placed if found.tag == f"{IN_RIM}RegistryPackage"} - {""}
    beside: dict[str, list[Inside]] = {}
    rest: list[tuple[xml.Element, str]] = []
    for element, path in placed:
        if element.tag == f"{IN_RIM}Classification":
            inside = reading.part("Classification", element, path)
            label = inside.part
            if isinstance(label, Classification) and _is_label(label) and label.classified in packages:
                beside.setdefault(label.classified, []).append(inside)
                continue
        if element.tag == f"{IN_RIM}ObjectRef":
            reading.strange = True
        else:
            rest.append((element, path))
    objects = tuple(reading.object(element, path, beside) for element, path in rest)
    # Almost never is there anything foreign, and finding its paths takes as long as reading all the rest.
    plain = not reading.strange and [child.tag for child in body if child.tag != REQUEST_SLOTS] == [OBJECT_LIST]
    return Submittal(objects, () if plain and not xml.has_loose_text(lists[0]) else tuple(_foreign(body)), body)


def _is_label(found: Classification) -> bool:
    return bool(found.node and not found.scheme)


def _numbered(parent: xml.Element, path: str) -> Iterator[tuple[xml.Element, str]]:
    """The child elements with their paths: the n-th of a name among those of that name, as XPath counts."""
    seen: dict[str, int] = {}
    for child in parent:
        name = _LOCAL.get(child.tag) or local(child)
        number = seen[name] = seen.get(name, 0) + 1
        yield child, f"{path}/{name}[{number}]"


def local(element: xml.Element) -> str:
    """The name of an element without its namespace."""
    tag = str(element.tag)
    return tag[tag.rfind("}") + 1 :]


class _Content(NamedTuple):
    """What stands inside an object or a part of one."""

    slots: tuple[Slot, ...]
    title: tuple[LocalizedString, ...]
    description: tuple[LocalizedString, ...]
    version: str
    inside: tuple[Inside, ...]


class _Reading:
    """Reads objects, touching each element once: the way from the tree into Python costs more than what is done there.

    What has no place is passed over, and noted.
    """

    def __init__(self) -> None:
        self.strange = False
        """Whether an element or attribute was met that may be foreign."""

    def object(self, element: xml.Element, path: str, beside: Mapping[str, list[Inside]]) -> SubmittedObject:
        """An object of the list with everything in it, and the labels that stand beside it."""
        name = local(element)
        said = self._said(element, name)
        content = self._content(element, path, name)
        parts = [each.part for each in content.inside]
        classifications = [part for part in parts if isinstance(part, Classification)]
        nodes = {found.node for found in classifications}
        labels = beside.get(said.get("id", ""), []) if element.tag == f"{IN_RIM}RegistryPackage" else []
        new = tuple(
            label for label in labels if isinstance(label.part, Classification) and label.part.node not in nodes
        )
        classifications += [label.part for label in new if isinstance(label.part, Classification)]
        return SubmittedObject(
            kind=_kind(element, {found.node for found in classifications}),
            tag=name,
            id=said.get("id", ""),
            path=path,
            home=said.get("home", ""),
            lid=said.get("lid", ""),
            status=said.get("status", ""),
            object_type=said.get("objectType", ""),
            mime_type=said.get("mimeType", ""),
            version=content.version,
            slots=content.slots,
            title=content.title,
            description=content.description,
            classifications=tuple(classifications),
            identifiers=tuple(part for part in parts if isinstance(part, ExternalIdentifier)),
            type=said.get("associationType", ""),
            source=said.get("sourceObject", ""),
            target=said.get("targetObject", ""),
            inside=content.inside,
            beside=new,
            element=element,
        )

    def part(self, name: str, element: xml.Element, path: str) -> Inside:
        """A Classification or an ExternalIdentifier."""
        said = self._said(element, name)
        content = self._content(element, path, name)
        own, object_type = said.get("id", ""), said.get("objectType", "")
        part: Part
        if name == "Classification":
            part = Classification(
                own,
                path,
                object_type,
                content.slots,
                content.title,
                element,
                said.get("classificationScheme", ""),
                said.get("classificationNode", ""),
                said.get("classifiedObject", ""),
                said.get("nodeRepresentation"),
            )
        else:
            part = ExternalIdentifier(
                own,
                path,
                object_type,
                content.slots,
                content.title,
                element,
                said.get("identificationScheme", ""),
                said.get("value", ""),
                said.get("registryObject", ""),
            )
        return Inside(name, element, "", part, spelling.escaped(said), content.inside)

    def _said(self, element: xml.Element, name: str) -> dict[str, str]:
        said = spelling.said(element)
        if not _SAID.get(name, HINTS).issuperset(said):
            self.strange = True
        return said

    def _content(self, parent: xml.Element, path: str, name: str) -> _Content:
        allowed = _CHILDREN.get(name, frozenset())
        slots: list[Slot] = []
        strings: dict[str, tuple[LocalizedString, ...]] = {"Name": (), "Description": ()}
        versions: list[str] = []
        inside: list[Inside] = []
        for element, at in _numbered(parent, path):
            found = _LOCAL.get(element.tag, "")
            if found not in allowed:
                self.strange = True
            if found == "Slot":
                slot, text = self._slot(element, at)
                slots.append(slot)
            elif found in strings:
                said, text = self._strings(element, found)
                strings[found] += said
            elif found in ("Classification", "ExternalIdentifier"):
                inside.append(self.part(found, element, at))
                continue
            elif found in ("VersionInfo", "ContentVersionInfo"):
                text = self._version(element, found, versions)
            else:
                continue
            inside.append(Inside(found, element, text))
        version = versions[0] if versions else ""
        return _Content(tuple(slots), strings["Name"], strings["Description"], version, tuple(inside))

    def _slot(self, element: xml.Element, path: str) -> tuple[Slot, str]:
        said = self._said(element, "Slot")
        values: tuple[str, ...] = ()
        text = ""
        for child in element:
            if child.tag == _VALUE_LIST:
                listed = [self._value(each) for each in child if each.tag == _VALUE]
                if len(listed) != len(child) or child.keys():
                    self.strange = True
                values += tuple(listed)
                text += spelling.values(listed)
            else:
                self.strange = True
        slot = Slot(said.get("name", ""), values, said.get("slotType", ""), path)
        return slot, spelling.tagged("Slot", spelling.spelled(spelling.escaped(said)), text)

    def _value(self, element: xml.Element) -> str:
        if len(element) or element.keys():
            self.strange = True
            return verbatim(element)
        return element.text or ""

    def _strings(self, element: xml.Element, name: str) -> tuple[tuple[LocalizedString, ...], str]:
        if element.keys():
            self.strange = True
        strings, texts = [], []
        for child in element:
            if child.tag != _LOCALIZED or len(child):
                self.strange = True
            if child.tag == _LOCALIZED:
                said = self._said(child, "LocalizedString")
                strings.append(LocalizedString(said.get("value", ""), said.get(LANG, ""), said.get("charset", "")))
                texts.append(spelling.localized(said))
        return tuple(strings), spelling.tagged(name, "", "".join(texts))

    def _version(self, element: xml.Element, name: str, versions: list[str]) -> str:
        said = self._said(element, name)
        if len(element):
            self.strange = True
        if name == "VersionInfo":
            versions.append(said.get("versionName", ""))
        return spelling.tagged(name, spelling.spelled(spelling.escaped(said)), "")


def _kind(element: xml.Element, labels: set[str]) -> Kind:
    name = local(element) if str(element.tag).startswith(IN_RIM) else ""
    if name == "ExtrinsicObject":
        return Kind.ENTRY
    if name == "Association":
        return Kind.ASSOCIATION
    if name == "RegistryPackage" and (IS_SUBMISSION_SET in labels) != (IS_FOLDER in labels):
        return Kind.SET if IS_SUBMISSION_SET in labels else Kind.FOLDER
    return Kind.OTHER


def verbatim(element: xml.Element) -> str:
    """The text of a value with all its white space: identifiers are opaque."""
    return "".join(str(piece) for piece in element.itertext()) if len(element) else element.text or ""


def _foreign(body: xml.Element) -> Iterator[Foreign]:
    """What reading would lose. Objects of unknown kind are named by the rules; their inside is not looked at."""
    for child, path in _numbered(body, "/SubmitObjectsRequest"):
        if child.tag == OBJECT_LIST:
            yield from _foreign_inside(child, path)
        elif child.tag != REQUEST_SLOTS:
            yield Foreign(path, f"element {child.tag}")


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
    unnamed = [element for element in objects.iter(*_NAMED) if element.get("id") is None]
    if unnamed:
        taken = {element.get("id") for element in objects.iter("*")}
        names = (name for number in range(1, 1 << 30) if (name := f"unnamed-{number}") not in taken)
        for element in unnamed:
            element.set("id", next(names))
    # Listed first: an iteration over a tree does not survive its being rearranged.
    for element in list(objects.iter(*_ORDERED)):
        ranks = [_rank(child) for child in element]
        if ranks != sorted(ranks):
            element[:] = sorted(element, key=_rank)
    return copy


def _rank(element: xml.Element) -> int:
    return RANK.get(_LOCAL.get(element.tag) or local(element), len(ORDER))
