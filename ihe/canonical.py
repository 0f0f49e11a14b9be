"""One spelling of ebRIM, whatever the sender's: what is stored, what is compared, and what is filled in on reading.

A body has no prefix and no xmlns, sorted attributes, children in the order of the schema, no white space between
elements. What the registry says of an object and its source does not stand in it as holes: control characters that XML
cannot carry, so no submitted text can look like one. Filling them is a few `bytes.replace`, never a parse.
Source: OASIS ebRIM 3.0; ITI TF-3 4.2.3.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

from ihe import spelling, xml
from ihe.ebrim_read import OBJECT_LIST, RANK, verbatim
from ihe.errors import Mangled
from ihe.names import OBJECT_TYPE, IdScheme
from ihe.spelling import HINTS, IN_RIM, LANG, spelled, tagged
from ihe.submittal import Inside, Kind, Submittal, SubmittedObject
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
_LAST_UPDATE = f'<Slot name="lastUpdateTime"><ValueList><Value>{UPDATED}</Value></ValueList></Slot>'
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
    attributes = {
        name: value
        for name, value in spelling.escaped(spelling.said(submitted.element)).items()
        if name not in _GENERATED
    }
    if submitted.kind is Kind.ENTRY:
        attributes = _DEFAULTS | attributes
    else:
        attributes["objectType"] = OBJECT_TYPE + submitted.tag
    inside = _Body(submitted, given).children()
    return f"<{submitted.tag}{HEAD}{spelled(attributes)}>{inside}</{submitted.tag}>".encode()


def association_body_of(submitted: SubmittedObject, given: Callable[[str], str]) -> bytes:
    """The stored form of an association: what stands inside it, or nothing where it says only SubmissionSetStatus."""
    said = [(slot.name, slot.values, slot.slot_type) for slot in submitted.slots]
    if said in _PLAIN_MEMBERSHIPS and all(each.name in ("Slot", "VersionInfo") for each in submitted.inside):
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
        written = [(RANK["VersionInfo"], f'<VersionInfo versionName="{VERSION}"/>')]
        if submitted.kind is Kind.FOLDER:
            written.append((RANK["Slot"], _LAST_UPDATE))
        # Labels from beside come last, among those of one name the sender's order stands.
        for each in (*_in_order(submitted.inside), *submitted.beside):
            if each.part is not None:
                written.append((RANK[each.name], self._part(each)))
            elif each.name != "VersionInfo":
                written.append((RANK[each.name], self._slot(each) if each.name == "Slot" else each.text))
        return "".join([text for _, text in sorted(written, key=itemgetter(0))])

    def _slot(self, each: Inside) -> str:
        """A slot as it was sent, but for one that the registry tells itself and those of _READ_OTHERWISE."""
        name = each.element.get("name", "")
        if self._submitted.kind is Kind.FOLDER and name == "lastUpdateTime":
            return ""
        if self._submitted.kind is not Kind.ENTRY or name not in _READ_OTHERWISE:
            return each.text
        values = _READ_OTHERWISE[name](tuple(verbatim(value) for value in each.element.iter(f"{IN_RIM}Value")))
        attributes = spelled(spelling.escaped(spelling.said(each.element)))
        return tagged("Slot", attributes, spelling.values(values))

    def _part(self, each: Inside) -> str:
        attributes = dict(each.attributes)
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise Mangled("too many parts in one object")
        if not is_uuid(attributes.get("id", "")):
            attributes["id"] = f"{PART}{self._parts:04x}"
        for reference in _REFERENCES:
            if reference in attributes:
                value = each.element.get(reference, "")
                is_own = value == self._submitted.id
                attributes[reference] = SELF if is_own else xml.escape_attribute(self._given(value))
        attributes["objectType"] = OBJECT_TYPE + each.name
        if attributes.get("identificationScheme") in PATIENT_SCHEMES:
            attributes["value"] = PATIENT
        return tagged(each.name, spelled(attributes), "".join([found.text for found in _in_order(each.inside)]))


def _in_order(inside: Sequence[Inside]) -> Sequence[Inside]:
    """In the order of the schema."""
    return sorted(inside, key=lambda each: RANK[each.name])


def joined(values: tuple[str, ...]) -> tuple[str, ...]:
    """A URI that old senders cut into numbered pieces (`1|http:`, `2|//...`), whole; any other values as they are."""
    pieces = [value.partition("|") for value in values]
    if not pieces or not all(number.isascii() and number.isdigit() and bar for number, bar, _ in pieces):
        return values
    return ("".join(rest for _, _, rest in sorted(pieces, key=lambda piece: int(piece[0]))),)


def _in_lower_case(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value.lower() for value in values)


_READ_OTHERWISE: Mapping[str, Callable[[tuple[str, ...]], tuple[str, ...]]] = {"URI": joined, "hash": _in_lower_case}
"""Slots of an entry that are not stored as they were sent: a URI is whole, and the hash in lower case. It is compared
without regard to case, as nothing else is, and readers compare it as text all the same."""


def digest(submittal: Submittal) -> bytes:
    """SHA-256 of what a submission says, so that sending it again can be told from sending another (ruling C5).

    Spelling does not count, nor do symbolic ids, which mean nothing outside the message: each counts as its place of
    first appearance. UUIDs, values and the order of objects count. What is hashed must stay what it is, byte for byte:
    digests of years ago are compared with it.
    Raises: Mangled for foreign content.
    """
    if submittal.foreign:
        raise Mangled("content that is not of ebRIM")
    names = _Symbols()
    known = {found.element: found for found in submittal.objects if found.kind is not Kind.OTHER}
    total = hashlib.sha256()
    for objects in submittal.body.iterchildren(OBJECT_LIST):
        for element in objects:
            found = known.get(element)
            if found is None:
                total.update(_plain(element, names).encode())
                continue
            # Inside out: ids of parts appear before that of the object.
            inside = "".join([_as_sent(each, names) for each in found.inside])
            attributes = names.replaced(spelling.escaped(spelling.said(element)))
            total.update(tagged(found.tag, spelled(attributes), inside).encode())
    return total.digest()


def _as_sent(each: Inside, names: _Symbols) -> str:
    if each.part is None:
        return each.text
    attributes = names.replaced(each.attributes)
    return tagged(each.name, spelled(attributes), "".join([found.text for found in each.inside]))


class _Symbols:
    """Symbolic ids, each as its place of first appearance."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}

    def replaced(self, attributes: Mapping[str, str]) -> dict[str, str]:
        """The attributes with those that are symbolic ids replaced."""
        said = dict(attributes)
        for name in said:
            if name in _IDS and not (value := said[name]).startswith("urn:uuid:"):
                said[name] = self._places.setdefault(value, f"{SELF}{len(self._places)}")
        return said


def _plain(element: xml.Element, names: _Symbols) -> str:
    """Any element of ebRIM and all below it, by the tree alone: for the few that are not read as objects."""
    tag = str(element.tag)
    if not tag.startswith(IN_RIM):
        raise Mangled("an element that is not of ebRIM")
    name = tag[len(IN_RIM) :]
    inside = (
        xml.escape_text(verbatim(element)) if name == "Value" else "".join([_plain(each, names) for each in element])
    )
    said = spelling.said(element)
    if any(key[0] == "{" and key != LANG and key not in HINTS for key in said):
        raise Mangled("an attribute that is not of ebRIM")
    if name == "LocalizedString":
        return spelling.localized(said)
    return tagged(name, spelled(names.replaced(spelling.escaped(said))), inside)


def part_prefix(entry_uuid: str) -> str:
    """What the ids of an object's parts begin with: as random as its own id, but the same at every reading.

    Taken from a hash and not from the digits of the id itself, because sources number their UUIDs in sequence and the
    parts of one object would then bear the ids of the next.
    """
    hex32 = hashlib.sha256(entry_uuid.encode()).hexdigest()
    return f"urn:uuid:{hex32[:8]}-{hex32[8:12]}-4{hex32[12:15]}-a{hex32[15:18]}-{hex32[18:26]}"
