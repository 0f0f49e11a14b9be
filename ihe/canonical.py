"""One spelling of ebRIM, whatever the sender's: what is stored, what is compared, and what is filled in on reading.

A body has no prefix and no xmlns, sorted attributes, children in the order of the schema, no white space between
elements. What the registry says of an object and its source does not stand in it as holes: control characters that XML
cannot carry, so no submitted text can look like one. Filling them is a few `bytes.replace`, never a parse.
Source: OASIS ebRIM 3.0; ITI TF-3 4.2.3.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from ihe import xml
from ihe.ebrim_read import HINTS, IN_RIM, LANG, OBJECT_LIST, RANK, local, verbatim
from ihe.errors import Mangled
from ihe.names import OBJECT_TYPE, IdScheme
from ihe.submittal import Kind, SubmittedObject
from ihe.values import is_uuid

SELF = "\x01"
"""The entryUUID of the object."""
PART = "\x02"
"""The first 32 characters of the id of a part; its last four digits follow."""
HEAD = "\x03"
"""The attributes id, lid, status and home."""
VERSION = "\x04"
"""versionName."""
PATIENT = "\x05"
"""The patient id, as the value of an attribute."""
UPDATED = "\x06"
"""A folder's lastUpdateTime."""

PATIENT_SCHEMES = frozenset({IdScheme.ENTRY_PATIENT_ID, IdScheme.SET_PATIENT_ID, IdScheme.FOLDER_PATIENT_ID})
_REFERENCES = frozenset({"classifiedObject", "registryObject"})
_IDS = frozenset({"id", "lid", "sourceObject", "targetObject"}) | _REFERENCES
_GENERATED = frozenset({"id", "lid", "home", "status"})
_DEFAULTS = {"mimeType": "application/octet-stream"}
_MOST_PARTS = 0xFFFF
_PLAIN_MEMBERSHIPS: tuple[list[tuple[str, tuple[str, ...], str]], ...] = (
    [],
    [("SubmissionSetStatus", ("Original",), "")],
    [("SubmissionSetStatus", ("Reference",), "")],
)
"""What the registry can write again by itself, so that it need not be stored."""


def body_of(submitted: SubmittedObject, given: Callable[[str], str]) -> bytes:
    """The stored form of a DocumentEntry, SubmissionSet or Folder: its whole element with holes.

    `given` answers the UUID allocated to any id of the submission.
    Raises: Mangled for content that has no place (the rules have refused it before).
    """
    writer = _Body(submitted, given)
    attributes = {
        name: value for name, value in _attributes(submitted.element, "ExtrinsicObject") if name not in _GENERATED
    }
    if submitted.kind is Kind.ENTRY:
        attributes = _DEFAULTS | attributes
    else:
        attributes["objectType"] = OBJECT_TYPE + submitted.tag
    inside = writer.children()
    return f"<{submitted.tag}{HEAD}{_spelled(attributes)}>{inside}</{submitted.tag}>".encode()


def association_body_of(submitted: SubmittedObject, given: Callable[[str], str]) -> bytes:
    """The stored form of an association: what stands inside it, or nothing where it says only SubmissionSetStatus."""
    said = [(slot.name, slot.values, slot.slot_type) for slot in submitted.slots]
    if said in _PLAIN_MEMBERSHIPS and not any(
        local(child) not in ("Slot", "VersionInfo") for child in submitted.element
    ):
        return b""
    return _Body(submitted, given).children().encode()


class _Body:
    """Writes what stands inside one object."""

    def __init__(self, submitted: SubmittedObject, given: Callable[[str], str]) -> None:
        self._submitted = submitted
        self._given = given
        self._parts = 0

    def children(self) -> str:
        submitted = self._submitted
        inside = sorted(submitted.element, key=lambda child: RANK.get(local(child), len(RANK)))
        beside = [
            label.element for label in submitted.classifications if label.element.getparent() is not submitted.element
        ]
        written: list[tuple[int, str]] = [(RANK["VersionInfo"], f'<VersionInfo versionName="{VERSION}"/>')]
        if submitted.kind is Kind.FOLDER:
            written.append((RANK["Slot"], _slot("lastUpdateTime", {}, (UPDATED,))))
        for child in [*inside, *beside]:
            name = local(child)
            if name != "VersionInfo" and not (name == "Slot" and self._is_generated(child)):
                written.append((RANK[name], self._child(name, child)))
        # Stable: among those of one name the sender's order stands, and labels from beside come last.
        return "".join(text for _, text in sorted(written, key=lambda ranked: ranked[0]))

    def _is_generated(self, slot: xml.Element) -> bool:
        return self._submitted.kind is Kind.FOLDER and slot.get("name") == "lastUpdateTime"

    def _child(self, name: str, child: xml.Element) -> str:
        if name == "Slot":
            return self._slot(child)
        if name in ("Classification", "ExternalIdentifier"):
            return self._part(name, child)
        return plain(child)

    def _slot(self, slot: xml.Element) -> str:
        values = tuple(verbatim(value) for value in slot.iter(f"{IN_RIM}Value"))
        if self._submitted.kind is not Kind.ENTRY:
            return plain(slot)
        match slot.get("name"):
            case "URI":
                return _slot("URI", dict(_attributes(slot, "Slot")), tuple(map(xml.escape_text, joined(values))))
            case "hash":
                # The one attribute that is compared without regard to case; readers compare it as text all the same.
                return _slot("hash", dict(_attributes(slot, "Slot")), tuple(xml.escape_text(v.lower()) for v in values))
        return plain(slot)

    def _part(self, name: str, part: xml.Element) -> str:
        attributes = dict(_attributes(part, name))
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise Mangled("too many parts in one object")
        if not is_uuid(attributes.get("id", "")):
            attributes["id"] = f"{PART}{self._parts:04x}"
        for reference in _REFERENCES & attributes.keys():
            value = part.get(reference, "")
            is_own = value == self._submitted.id
            attributes[reference] = SELF if is_own else xml.escape_attribute(self._given(value))
        attributes["objectType"] = OBJECT_TYPE + name
        if attributes.get("identificationScheme") in PATIENT_SCHEMES:
            attributes["value"] = PATIENT
        inside = sorted(part, key=lambda child: RANK.get(local(child), len(RANK)))
        return _element(name, attributes, "".join(plain(child) for child in inside))


def plain(element: xml.Element) -> str:
    """An element of ebRIM and all below it in the one spelling, without holes. Raises: Mangled for foreign content."""
    return _plain(element, None)


def _plain(element: xml.Element, renamed: Callable[[str, str], str] | None) -> str:
    tag = str(element.tag)
    if not tag.startswith(IN_RIM):
        raise Mangled("an element that is not of ebRIM")
    name = tag[len(IN_RIM) :]
    if name == "Value":
        inside = xml.escape_text(verbatim(element))
    else:
        inside = "".join([_plain(child, renamed) for child in element])
    if not element.attrib:
        return f"<{name}>{inside}</{name}>" if inside else f"<{name}/>"
    attributes = dict(_attributes(element, name))
    if renamed is not None:
        attributes = {key: renamed(key, value) for key, value in attributes.items()}
    return _element(name, attributes, inside)


def _attributes(element: xml.Element, name: str) -> list[tuple[str, str]]:
    """The attributes as (name, escaped value). The character set of a string is that of the message, always."""
    found = []
    for attribute, value in element.items():
        key = str(attribute)
        if key[0] != "{":
            found.append((key, xml.escape_attribute(str(value))))
        elif key == LANG:
            found.append(("xml:lang", xml.escape_attribute(str(value))))
        elif key not in HINTS:
            raise Mangled("an attribute that is not of ebRIM")
    if name == "LocalizedString":
        return [pair for pair in found if pair[0] != "charset"] + [("charset", "UTF-8")]
    return found


def _spelled(attributes: dict[str, str]) -> str:
    return "".join([f' {name}="{attributes[name]}"' for name in sorted(attributes)])


def _element(name: str, attributes: dict[str, str], inside: str) -> str:
    start = f"<{name}{_spelled(attributes)}"
    return f"{start}>{inside}</{name}>" if inside else f"{start}/>"


def _slot(name: str, attributes: dict[str, str], values: tuple[str, ...]) -> str:
    """A slot of values that are escaped already."""
    written = "".join(_element("Value", {}, value) for value in values)
    return _element("Slot", attributes | {"name": name}, _element("ValueList", {}, written))


def joined(values: tuple[str, ...]) -> tuple[str, ...]:
    """A URI that old senders cut into numbered pieces (`1|http:`, `2|//...`), whole; any other values as they are."""
    pieces = [value.partition("|") for value in values]
    if not pieces or not all(number.isascii() and number.isdigit() and bar for number, bar, _ in pieces):
        return values
    return ("".join(rest for _, _, rest in sorted(pieces, key=lambda piece: int(piece[0]))),)


def digest(body: xml.Element) -> bytes:
    """SHA-256 of what a submission says, so that sending it again can be told from sending another (ruling C5).

    Spelling does not count, nor do symbolic ids, which mean nothing outside the message: each counts as its place of
    first appearance. UUIDs, values and the order of objects count.
    """
    places: dict[str, str] = {}

    def renamed(name: str, value: str) -> str:
        if name not in _IDS or value.startswith("urn:uuid:"):
            return value
        return places.setdefault(value, f"{SELF}{len(places)}")

    total = hashlib.sha256()
    for objects in body.iterchildren(OBJECT_LIST):
        for element in objects:
            total.update(_plain(element, renamed).encode())
    return total.digest()


def part_prefix(entry_uuid: str) -> str:
    """What the ids of an object's parts begin with: as random as its own id, but the same at every reading.

    Taken from a hash and not from the digits of the id itself, because sources number their UUIDs in sequence and the
    parts of one object would then bear the ids of the next.
    """
    hex32 = hashlib.sha256(entry_uuid.encode()).hexdigest()
    return f"urn:uuid:{hex32[:8]}-{hex32[8:12]}-4{hex32[12:15]}-a{hex32[15:18]}-{hex32[18:26]}"
