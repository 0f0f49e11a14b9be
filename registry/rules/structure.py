"""Rules of structure: what must hold before anything else of a submission can be judged (TF-3 4.2.1)."""

from __future__ import annotations

from collections.abc import Iterator

from ihe.names import IS_FOLDER, IS_SUBMISSION_SET
from ihe.submittal import Kind, Slot, Submittal, SubmittedObject
from registry.rules import table as rules
from registry.rules.table import Violation

LIST = "/SubmitObjectsRequest/RegistryObjectList"


def structure(submittal: Submittal, value_limit: int) -> Iterator[Violation]:
    """Everything that is wrong with the shape of the message."""
    for foreign in submittal.foreign:
        yield Violation(rules.KNOWN_CONTENT, foreign.path, "only what ebRIM has there", foreign.what)
    yield from _known_objects(submittal)
    yield from _one_submission_set(submittal)
    yield from _unique_object_ids(submittal)
    for found in submittal.objects:
        yield from _unique_slot_names(found)
        yield from _value_length(found, value_limit)
        yield from _parent_reference(found)


def _known_objects(submittal: Submittal) -> Iterator[Violation]:
    for found in submittal.of(Kind.OTHER):
        if found.tag == "RegistryPackage":
            both = {IS_SUBMISSION_SET, IS_FOLDER} <= {label.node for label in found.classifications}
            label = "both" if both else "neither"
            yield Violation(rules.KNOWN_OBJECTS, found.path, "a label as SubmissionSet or as Folder", label)
        elif found.tag == "Classification":
            target = found.element.get("classifiedObject", "")
            expected = "a label of a RegistryPackage of this submission"
            yield Violation(rules.KNOWN_OBJECTS, found.path, expected, f"a Classification of {target}")
        else:
            expected = "ExtrinsicObject, RegistryPackage or Association"
            yield Violation(rules.KNOWN_OBJECTS, found.path, expected, found.tag)


def _one_submission_set(submittal: Submittal) -> Iterator[Violation]:
    sets = submittal.of(Kind.SET)
    if not sets:
        yield Violation(rules.ONE_SUBMISSION_SET, LIST, "one SubmissionSet", "none")
    for extra in sets[1:]:
        yield Violation(rules.ONE_SUBMISSION_SET, extra.path, "one SubmissionSet", f"another one, {extra.id}")


def _unique_object_ids(submittal: Submittal) -> Iterator[Violation]:
    seen: dict[str, str] = {}
    for found in submittal.objects:
        for name, path in named(found):
            first = seen.setdefault(name, path)
            if name and first != path:
                yield Violation(rules.UNIQUE_OBJECT_IDS, path, f"an id other than that of {first}", name)


def named(found: SubmittedObject) -> list[tuple[str, str]]:
    """Id and path of an object and of each of its parts."""
    parts = (*found.classifications, *found.identifiers)
    return [(found.id, found.path), *[(part.id, part.path) for part in parts]]


def slot_lists(found: SubmittedObject) -> Iterator[tuple[Slot, ...]]:
    """The slots of an object and of each of its parts."""
    yield found.slots
    for part in (*found.classifications, *found.identifiers):
        yield part.slots


def _unique_slot_names(found: SubmittedObject) -> Iterator[Violation]:
    for slots in slot_lists(found):
        seen: set[str] = set()
        for slot in slots:
            if slot.name in seen:
                yield Violation(
                    rules.UNIQUE_SLOT_NAMES, slot.path, "one slot of this name", f"another slot {slot.name}"
                )
            seen.add(slot.name)


def _value_length(found: SubmittedObject, limit: int) -> Iterator[Violation]:
    long = [
        (f"{slot.path}/ValueList/Value[{number}]", value)
        for slots in slot_lists(found)
        for slot in slots
        for number, value in enumerate(slot.values, 1)
        if len(value) > limit
    ]
    long += [
        (f"{each.path}/@nodeRepresentation", each.code)
        for each in found.classifications
        if each.code is not None and len(each.code) > limit
    ]
    long += [(f"{each.path}/@value", each.value) for each in found.identifiers if len(each.value) > limit]
    for path, value in long:
        yield Violation(rules.VALUE_LENGTH, path, f"at most {limit} characters", f"{len(value)} characters")


def _parent_reference(found: SubmittedObject) -> Iterator[Violation]:
    for code in found.classifications:
        if code.classified != found.id:
            yield Violation(rules.PARENT_REFERENCE, f"{code.path}/@classifiedObject", found.id, code.classified)
    for identifier in found.identifiers:
        if identifier.identified != found.id:
            yield Violation(
                rules.PARENT_REFERENCE, f"{identifier.path}/@registryObject", found.id, identifier.identified
            )
