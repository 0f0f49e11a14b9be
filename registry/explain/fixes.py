"""A correction for each rule of submissions that has one: a fragment that can be pasted into the message.

Rules find; nothing here judges. Where the sender alone can know a value, square brackets say what belongs there.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from ihe import xml
from ihe.names import IS_FOLDER, IS_SUBMISSION_SET, RIM, AssociationType, IdScheme, SetScheme
from ihe.places import find, local
from ihe.submittal import Kind, Submittal, SubmittedObject
from registry.explain.found import Fix, How
from registry.explain.values import check_of, mended
from registry.explain.writing import MOST_SHOWN, Writer, attribute, shown
from registry.rules import table as rules
from registry.rules.attributes import MODELS
from registry.rules.judge import LIST
from registry.rules.table import Violation


@dataclass(frozen=True, slots=True)
class Spot:
    """What a violation is about."""

    violation: Violation
    element: xml.Element
    """The element its path leads to, as it was sent."""
    name: str
    """The attribute its path ends with, or empty."""
    submittal: Submittal

    @property
    def owner(self) -> SubmittedObject | None:
        """The registry object in which it stands."""
        inside = [each for each in self.submittal.objects if _within(self.violation.path, each.path)]
        return inside[0] if inside else None

    @property
    def write(self) -> Writer:
        """Writes in the prefixes of the message."""
        return Writer(self.element)


def _within(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


def fix_of(violation: Violation, body: xml.Element, submittal: Submittal) -> Fix | None:
    """The correction, or None where only the sender can know what was meant."""
    make = _FIXES.get(violation.rule.id)
    if make is None:
        return None
    element, name = find(body, violation.path)
    fix = make(Spot(violation, element, name, submittal))
    return None if fix is None or len(fix.text) > MOST_SHOWN else fix


def _set(name: str, value: str) -> Fix:
    return Fix(How.SET, attribute(name, value))


def _value(spot: Spot) -> Fix | None:
    """A value in its data type."""
    said = spot.element.get(spot.name, "") if spot.name else xml.text(spot.element)
    if not spot.name and local(spot.element) != "Value":
        return None
    check = check_of(said, spot.violation.expected)
    better = None if check is None else mended(check, said)
    if better is None:
        return None
    return _set(spot.name, better) if spot.name else Fix(How.REPLACE, spot.write.value(better))


def _required(spot: Spot) -> Fix | None:
    """The skeleton of a missing attribute."""
    owner = spot.owner
    if owner is None:
        return None
    model, name = MODELS[owner.kind], spot.violation.expected.partition(",")[0]
    how = How.REPLACE if local(spot.element) == "Slot" else How.ADD
    if (known := model.slots.get(name)) is not None:
        wanted = known.check("") if known.check is not None else None
        return Fix(how, spot.write.slot(name, f"[{wanted or f'the {name}'}]"))
    for scheme, known in model.codes.items():
        if known.name == name:
            return Fix(How.ADD, spot.write.code(owner.id, scheme, name))
    for scheme, known in model.identifiers.items():
        if known.name == name:
            wanted = known.check("") if known.check is not None else None
            return Fix(How.ADD, spot.write.identifier(owner.id, scheme, name, wanted or name, owner.kind.value))
    return None


def _code(spot: Spot) -> Fix | None:
    """A code with what it lacks, or without the white space around it."""
    copy = deepcopy(spot.element)
    writer, expected = spot.write, spot.violation.expected
    if spot.name == "nodeRepresentation":
        return _set(spot.name, "[the code]")
    if "white space" in expected:
        if (code := copy.get("nodeRepresentation")) is not None:
            copy.set("nodeRepresentation", code.strip())
        for value in copy.iter(f"{{{RIM}}}Value"):
            value.text = (value.text or "").strip()
        return Fix(How.REPLACE, shown(copy))
    slots = [each for each in copy if each.get("name") == "codingScheme"]
    if not slots:
        return Fix(How.ADD, writer.slot("codingScheme", f"[the coding scheme of {copy.get('nodeRepresentation', '')}]"))
    first = next((text for each in slots[0].iter(f"{{{RIM}}}Value") if (text := xml.text(each))), "")
    return Fix(How.REPLACE, writer.slot("codingScheme", first or "[its coding scheme]"))


def _display_name(spot: Spot) -> Fix | None:
    return Fix(How.ADD, spot.write.name("[its display name]"))


def _author(spot: Spot) -> Fix | None:
    if spot.name == "nodeRepresentation":
        return _set(spot.name, "")
    return Fix(How.ADD, spot.write.slot("authorInstitution", "[the name of the institution]"))


def _scheme(spot: Spot) -> Fix | None:
    """The scheme of this kind of object that was nearly written."""
    owner = spot.owner
    if owner is None or owner.kind is Kind.OTHER:
        return None
    model, element = MODELS[owner.kind], spot.element
    if local(element) == "ExternalIdentifier":
        return _nearest(element, "identificationScheme", [*model.identifiers])
    if element.get("classificationScheme"):
        return _nearest(element, "classificationScheme", [*model.codes, *([model.author] if model.author else [])])
    return _nearest(element, "classificationNode", [model.label]) if model.label else None


def _nearest(element: xml.Element, name: str, known: list[str]) -> Fix | None:
    said = "".join(element.get(name, "").split()).lower()
    near = difflib.get_close_matches(said, known, n=1, cutoff=0.85)
    return _set(name, near[0]) if near else None


def _extra_slot(spot: Spot) -> Fix | None:
    owner = spot.owner
    said = spot.element.get("name", "")
    known = [*MODELS[owner.kind].slots] if owner is not None and owner.kind is not Kind.OTHER else []
    above = spot.element.getparent()
    if above is not None and local(above) == "Classification":
        known = ["codingScheme", "authorPerson", "authorInstitution", "authorRole", "authorSpecialty"]
    lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(said.strip().lower(), list(lower), n=1, cutoff=0.8)
    return _set("name", lower[near[0]] if near else f"urn:oid:[an OID of yours]:{said.rpartition(':')[2]}")


def _as_expected(name: str) -> Callable[[Spot], Fix | None]:
    def fix(spot: Spot) -> Fix | None:
        said = spot.violation.expected
        return _set(spot.name or name, said) if said.startswith("urn:") and " or " not in said else None

    return fix


def _parent(spot: Spot) -> Fix | None:
    return _set(spot.name, spot.violation.expected)


def _association_type(spot: Spot) -> Fix | None:
    said = spot.element.get("associationType", "").rpartition(":")[2].strip().lower()
    known = {each.value.rpartition(":")[2].lower(): each.value for each in AssociationType}
    near = difflib.get_close_matches(said, list(known), n=1, cutoff=0.8)
    return _set("associationType", known[near[0]]) if near else None


def _end(spot: Spot) -> Fix | None:
    """The object of this submission whose id was nearly written, or a UUID in its spelling."""
    if (better := _value(spot)) is not None:
        return better
    said = spot.element.get(spot.name, "")
    near = difflib.get_close_matches(said, [each.id for each in spot.submittal.objects if each.id], n=1, cutoff=0.75)
    return _set(spot.name, near[0]) if near else None


def _status(spot: Spot) -> Fix | None:
    expected = spot.violation.expected.removeprefix("SubmissionSetStatus ").partition(" ")[0]
    how = How.REPLACE if local(spot.element) == "Slot" else How.ADD
    return Fix(how, spot.write.slot("SubmissionSetStatus", expected))


def _member(spot: Spot) -> Fix | None:
    """The missing membership, from the one SubmissionSet there is."""
    sets, owner = spot.submittal.of(Kind.SET), spot.owner
    if len(sets) != 1 or owner is None:
        return None
    target = owner.id or "[an id that this Association gets]"
    status = "Original" if owner.kind is Kind.ENTRY else ""
    writer = Writer(spot.element)
    return Fix(How.ADD, writer.association(AssociationType.HAS_MEMBER.value, sets[0].id, target, status), LIST)


def _set_skeleton(spot: Spot) -> Fix | None:
    """A SubmissionSet with everything it needs, or the label of a package that lacks it."""
    if spot.violation.found != "none":
        return None
    unlabelled = [each for each in spot.submittal.of(Kind.OTHER) if each.tag == "RegistryPackage"]
    writer = spot.write
    if unlabelled:
        return Fix(How.ADD, writer.label(unlabelled[0].id, IS_SUBMISSION_SET), unlabelled[0].path)
    of = "SubmissionSet01"
    inside = (
        writer.slot("submissionTime", "[a time in UTC]"),
        writer.code(of, SetScheme.CONTENT_TYPE_CODE, "contentTypeCode"),
        writer.label(of, IS_SUBMISSION_SET),
        writer.identifier(of, IdScheme.SET_PATIENT_ID, "patientId", "id^^^&OID&ISO", "SubmissionSet"),
        writer.identifier(of, IdScheme.SET_SOURCE_ID, "sourceId", "an OID", "SubmissionSet"),
        writer.identifier(of, IdScheme.SET_UNIQUE_ID, "uniqueId", "an OID", "SubmissionSet"),
    )
    return Fix(How.ADD, writer.element("RegistryPackage", {"id": of}, *inside))


def _label(spot: Spot) -> Fix | None:
    if local(spot.element) != "RegistryPackage":
        return None
    folder = bool(spot.submittal.of(Kind.SET))
    return Fix(How.ADD, spot.write.label(spot.element.get("id", ""), IS_FOLDER if folder else IS_SUBMISSION_SET))


def _slots_joined(spot: Spot) -> Fix | None:
    """All slots of one name as one."""
    above, name = spot.element.getparent(), spot.element.get("name", "")
    if above is None:
        return None
    alike = [each for each in above if each.tag == spot.element.tag and each.get("name") == name]
    said = [xml.text(value) for each in alike for value in each.iter(f"{{{RIM}}}Value")]
    return Fix(How.REPLACE, spot.write.slot(name, *dict.fromkeys(said)))


def _one_patient(spot: Spot) -> Fix | None:
    return _set("value", spot.violation.expected)


def _title(spot: Spot) -> Fix | None:
    return Fix(How.ADD, spot.write.name("[the title of the folder]"))


def _remove(spot: Spot) -> Fix | None:
    return Fix(How.REMOVE)


def _foreign(spot: Spot) -> Fix | None:
    """What has no place is left out; what only has the wrong namespace gets the right one."""
    _, _, tag = spot.violation.found.partition("element {")
    space = tag.partition("}")[0]
    if space and "ebxml" in space and "rim" in space and space != RIM:
        return Fix(How.SET, f'xmlns{":" + spot.element.prefix if spot.element.prefix else ""}="{RIM}"')
    return Fix(How.REMOVE)


def _small(spot: Spot) -> Fix | None:
    return Fix(How.REPLACE, spot.write.value(xml.text(spot.element).lower()))


_FIXES: dict[str, Callable[[Spot], Fix | None]] = {
    "known-content": _foreign,
    "known-objects": _label,
    "one-submission-set": _set_skeleton,
    "unique-slot-names": _slots_joined,
    "parent-reference": _parent,
    "needed-attribute": _required,
    "required-attribute": _required,
    "needed-type": _value,
    "data-type": _value,
    "complete-code": _code,
    "display-name": _display_name,
    "complete-author": _author,
    "known-scheme": _scheme,
    "extra-slot-name": _extra_slot,
    "stable-entry": _as_expected("objectType"),
    "on-demand-entry": _as_expected("objectType"),
    "on-demand-content": _remove,
    "limited-metadata": _remove,
    "folder-title": _title,
    "one-patient": _one_patient,
    "association-type": _association_type,
    "association-ends": _end,
    "association-parts": _remove,
    "entry-membership": _member,
    "folder-membership": _member,
    "folder-content-membership": _member,
    "submission-set-status": _status,
    "hash-case": _small,
}
assert _FIXES.keys() - {"hash-case"} <= rules.RULES.keys()
