"""Rules of relations: what links to what, as far as the message alone can tell (TF-3 4.2.2).

An end that is a UUID and not in the submission is the registry's to find; the store judges it with KNOWN_ENDS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ihe import values
from ihe.names import ON_DEMAND_ENTRY, AssociationType
from ihe.submittal import Kind, Submittal, SubmittedObject
from registry.rules import table as rules
from registry.rules.table import Violation

METADATA_UPDATES = frozenset(
    {
        "urn:ihe:iti:2010:AssociationType:SubmitAssociation",
        "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus",
    }
)
TARGET_IS_REGISTERED = frozenset({AssociationType.RPLC, AssociationType.XFRM_RPLC, AssociationType.IS_SNAPSHOT_OF})
"""Relationships whose target cannot be in the same submission: nothing is replaced the moment it appears."""
_TYPES = frozenset(AssociationType)
_STATUS = "SubmissionSetStatus"

Known = Mapping[str, SubmittedObject]


def relations(submittal: Submittal) -> Iterator[Violation]:
    """Everything that is wrong with how the objects of a submission are linked."""
    known = submittal.by_id()
    typed = [found for found in submittal.of(Kind.ASSOCIATION) if found.type in _TYPES]
    for association in submittal.of(Kind.ASSOCIATION):
        if association.type in METADATA_UPDATES:
            expected = "an association of a submission; updates come with ITI-57"
            yield Violation(
                rules.NO_METADATA_UPDATE, f"{association.path}/@associationType", expected, association.type
            )
        elif association.type not in _TYPES:
            expected = "HasMember, RPLC, XFRM, APND, XFRM_RPLC, signs or IsSnapshotOf, as a URN"
            yield Violation(rules.ASSOCIATION_TYPE, f"{association.path}/@associationType", expected, association.type)
    for association in typed:
        yield from _ends(association, known)
        yield from _parts(association)
        if association.type == AssociationType.HAS_MEMBER:
            yield from _membership(association, known)
        else:
            yield from _relationship(association, known)
    yield from _addenda(typed)
    yield from _members(submittal, known, typed)
    yield from _circles(typed)


def _ends(association: SubmittedObject, known: Known) -> Iterator[Violation]:
    for name, end in (("sourceObject", association.source), ("targetObject", association.target)):
        path = f"{association.path}/@{name}"
        if end in known:
            continue
        if values.is_symbolic(end):
            yield Violation(rules.ASSOCIATION_ENDS, path, "the id of an object of this submission or a UUID", end)
        elif expected := values.uuid(end):
            yield Violation(rules.NEEDED_TYPE, path, expected, end)
    if association.source == association.target or association.id in (association.source, association.target):
        said = association.id if association.id in (association.source, association.target) else association.source
        yield Violation(rules.ASSOCIATION_TO_ITSELF, association.path, "two objects and neither the association", said)


def _parts(association: SubmittedObject) -> Iterator[Violation]:
    for identifier in association.identifiers:
        yield Violation(rules.ASSOCIATION_PARTS, identifier.path, "no ExternalIdentifier", identifier.scheme)
    if association.type == AssociationType.HAS_MEMBER:
        for documentation in association.classifications:
            expected = "no Classification on HasMember"
            yield Violation(rules.ASSOCIATION_PARTS, documentation.path, expected, documentation.scheme)


def _kind(end: str, known: Known) -> Kind | None:
    """What stands at an end; None for what is outside the submission, or nowhere."""
    found = known.get(end)
    return None if found is None else found.kind


def _membership(association: SubmittedObject, known: Known) -> Iterator[Violation]:
    source, target = _kind(association.source, known), _kind(association.target, known)
    if source not in (Kind.SET, Kind.FOLDER, None):
        path = f"{association.path}/@sourceObject"
        yield Violation(
            rules.ASSOCIATION_KINDS, path, "a SubmissionSet or Folder", f"{source.value} {association.source}"
        )
    target_path = f"{association.path}/@targetObject"
    if target is Kind.SET or (target is not None and target is not Kind.ENTRY and source is not Kind.SET):
        expected = "a DocumentEntry" if source is not Kind.SET else "a DocumentEntry, Folder or membership in a Folder"
        yield Violation(rules.ASSOCIATION_KINDS, target_path, expected, f"{target.value} {association.target}")
    elif target is Kind.ASSOCIATION and not _is_folder_content(known[association.target], known):
        expected = "the membership of a DocumentEntry in a Folder"
        yield Violation(rules.ASSOCIATION_KINDS, target_path, expected, f"another association {association.target}")
    yield from _status(association, source, target)


def _status(association: SubmittedObject, source: Kind | None, target: Kind | None) -> Iterator[Violation]:
    slot = association.slot(_STATUS)
    said = ", ".join(slot.values) if slot is not None else "nothing"
    path = slot.path if slot is not None else association.path
    expected: tuple[str, ...] = ("Original", "Reference")
    if source is Kind.SET and target is Kind.ENTRY:
        expected = ("Original",)
    elif source is Kind.SET and target is None and values.is_uuid(association.target):
        expected = ("Reference",)
    elif slot is None:
        return
    if slot is None or len(slot.values) != 1 or slot.values[0] not in expected:
        yield Violation(rules.SUBMISSION_SET_STATUS, path, f"{_STATUS} {' or '.join(expected)}", said)


def _relationship(association: SubmittedObject, known: Known) -> Iterator[Violation]:
    source, target = _kind(association.source, known), _kind(association.target, known)
    if source is not Kind.ENTRY and (source is not None or not values.is_symbolic(association.source)):
        said = f"{source.value} {association.source}" if source else association.source
        path = f"{association.path}/@sourceObject"
        yield Violation(rules.RELATIONSHIP_SOURCE, path, "a DocumentEntry of this submission", said)
    path = f"{association.path}/@targetObject"
    if target not in (Kind.ENTRY, None):
        yield Violation(rules.ASSOCIATION_KINDS, path, "a DocumentEntry", f"{target.value} {association.target}")
    elif target is Kind.ENTRY and association.type in TARGET_IS_REGISTERED:
        yield Violation(
            rules.RELATIONSHIP_TARGET, path, "a registered DocumentEntry", f"{association.target}, sent with it"
        )
    if association.type == AssociationType.IS_SNAPSHOT_OF and source is Kind.ENTRY:
        snapshot = known[association.source]
        if snapshot.object_type == ON_DEMAND_ENTRY:
            said = f"{association.source}, an on-demand entry"
            yield Violation(rules.SNAPSHOT_ENDS, f"{association.path}/@sourceObject", "a stable DocumentEntry", said)
    if association.slot(_STATUS) is not None:
        yield from _status(association, source, target)


def _addenda(typed: list[SubmittedObject]) -> Iterator[Violation]:
    """Addenda to what the same submission makes by transformation; the store knows the others."""
    transforms = {found.source for found in typed if found.type == AssociationType.XFRM}
    for association in typed:
        if association.type == AssociationType.APND and association.target in transforms:
            path = f"{association.path}/@targetObject"
            yield Violation(
                rules.APPENDED_TRANSFORM, path, "a DocumentEntry that is no transformation", association.target
            )


def _is_folder_content(association: SubmittedObject, known: Known) -> bool:
    """A HasMember that does not start at the SubmissionSet starts at a folder, sent with it or registered before."""
    source = _kind(association.source, known)
    outside = source is None and values.is_uuid(association.source)
    return association.type == AssociationType.HAS_MEMBER and (source is Kind.FOLDER or outside)


def _members(submittal: Submittal, known: Known, typed: list[SubmittedObject]) -> Iterator[Violation]:
    members = {
        association.target
        for association in typed
        if association.type == AssociationType.HAS_MEMBER and _kind(association.source, known) is Kind.SET
    }
    expected = "HasMember from the SubmissionSet"
    for entry in submittal.of(Kind.ENTRY):
        if entry.id not in members:
            yield Violation(rules.ENTRY_MEMBERSHIP, entry.path, f"{expected}, Original", f"none to {entry.id}")
    for folder in submittal.of(Kind.FOLDER):
        if folder.id not in members:
            yield Violation(rules.FOLDER_MEMBERSHIP, folder.path, expected, f"none to {folder.id}")
    for association in typed:
        if _is_folder_content(association, known) and (not association.id or association.id not in members):
            said = f"none to {association.id}" if association.id else "none, and the association has no id"
            yield Violation(rules.FOLDER_CONTENT_MEMBERSHIP, association.path, expected, said)


def _circles(typed: list[SubmittedObject]) -> Iterator[Violation]:
    """Follows relationships from entry to entry; one violation per association that closes a circle."""
    onward: dict[str, list[SubmittedObject]] = {}
    for association in typed:
        if association.type != AssociationType.HAS_MEMBER and association.source != association.target:
            onward.setdefault(association.source, []).append(association)
    done: set[str] = set()
    for start in onward:
        if start in done:
            continue
        trail = [(start, iter(onward[start]))]
        on_trail = {start}
        while trail:
            entry, rest = trail[-1]
            step = next(rest, None)
            if step is None:
                trail.pop()
                on_trail.discard(entry)
                done.add(entry)
            elif step.target in on_trail:
                yield Violation(rules.NO_CYCLE, step.path, "relationships without a circle", f"back to {step.target}")
            elif step.target not in done and step.target in onward:
                trail.append((step.target, iter(onward[step.target])))
                on_trail.add(step.target)
