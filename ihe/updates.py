"""What an update of metadata asks for: new versions, changes of status, associations of registered objects.

`operations` sorts a submission as it was sent and judges nothing; `plain` is the part of it that is an ordinary
submission, to be held to the same rules; `typed` makes values of what those rules have passed.
Sources: IHE ITI supplements XDS Metadata Update (ITI-57) and RMU (ITI-92).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from ihe import ebrim, xml
from ihe.canonical import association_body_of, digest
from ihe.ebrim_read import verbatim
from ihe.metadata import Association, Submission
from ihe.names import RIM, SUBMIT_ASSOCIATION, UPDATE_AVAILABILITY_STATUS, WITHDRAWN, AssociationType, Status
from ihe.spelling import IN_RIM
from ihe.submittal import Kind, Submittal, SubmittedObject
from ihe.values import is_symbolic

PREVIOUS_VERSION = "PreviousVersion"
PROPAGATION = "AssociationPropagation"
ORIGINAL_STATUS = "OriginalStatus"
NEW_STATUS = "NewStatus"
YES, NO = "yes", "no"
"""Values of AssociationPropagation; absent counts as yes."""
TRUE, FALSE = "true", "false"
"""Values of urn:innsyn:withdrawn; absent counts as false."""
SLOTS = frozenset({PREVIOUS_VERSION, PROPAGATION, ORIGINAL_STATUS, NEW_STATUS, WITHDRAWN})
"""Names of slots that have a meaning in an update only."""
_OF_VERSIONS = frozenset({PREVIOUS_VERSION, PROPAGATION})


@dataclass(frozen=True, slots=True)
class SentVersion:
    """An entry or folder of the message, and its memberships in the SubmissionSet."""

    found: SubmittedObject
    memberships: tuple[SubmittedObject, ...]


@dataclass(frozen=True, slots=True)
class SentAssociation:
    """A SubmitAssociation and the association it points to; None where the message has no such."""

    operation: SubmittedObject
    found: SubmittedObject | None


@dataclass(frozen=True, slots=True)
class Operations:
    """The objects of a message by what they ask for."""

    versions: tuple[SentVersion, ...]
    statuses: tuple[SubmittedObject, ...]
    submitted: tuple[SentAssociation, ...]
    others: tuple[SubmittedObject, ...]
    """Associations that belong to no operation."""


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What a new version says of the one it follows."""

    entry_uuid: str
    lid: str
    previous: int
    propagate: bool
    status: str
    """As sent, or empty; only a restricted update looks at it."""


@dataclass(frozen=True, slots=True)
class StatusChange:
    """One change of availabilityStatus; the target may be an object of the same message."""

    target: str
    original: Status
    new: Status


@dataclass(frozen=True, slots=True)
class Update:
    """A whole update with every id allocated.

    `submission` holds the set, the new versions and their memberships in it; its digest is that of all that was sent.
    """

    submission: Submission
    versions: Mapping[str, NewVersion]
    """By the entryUUID of the new version."""
    statuses: tuple[StatusChange, ...]
    submitted: tuple[Association, ...]
    """Associations of objects that are registered, or registered by this."""
    home: str
    """homeCommunityId that the SubmissionSet names, or empty."""


def operations(submittal: Submittal) -> Operations:
    """The objects of the message by what they ask for, whatever is wrong with them."""
    known = submittal.by_id()
    sets = {found.id for found in submittal.of(Kind.SET)}
    statuses, submitted, rest = [], [], []
    for association in submittal.of(Kind.ASSOCIATION):
        if association.type == UPDATE_AVAILABILITY_STATUS:
            statuses.append(association)
        elif association.type == SUBMIT_ASSOCIATION:
            target = known.get(association.target)
            is_own = target is not None and target.kind is Kind.ASSOCIATION and target is not association
            submitted.append(SentAssociation(association, target if is_own else None))
        else:
            rest.append(association)
    joined = {each.found.path for each in submitted if each.found is not None}
    versions, members = [], set()
    for found in (*submittal.of(Kind.ENTRY), *submittal.of(Kind.FOLDER)):
        memberships = tuple(
            each
            for each in rest
            if each.type == AssociationType.HAS_MEMBER and each.source in sets and each.target == found.id
        )
        members |= {each.path for each in memberships}
        versions.append(SentVersion(found, memberships))
    others = tuple(each for each in rest if each.path not in joined | members)
    return Operations(tuple(versions), tuple(statuses), tuple(submitted), others)


def plain(submittal: Submittal, asked: Operations) -> Submittal:
    """The set, the new versions and their memberships, without the slots that only an update has."""
    keep = {found.path for found in submittal.of(Kind.SET)} | {found.path for found in submittal.of(Kind.OTHER)}
    keep |= {each.found.path for each in asked.versions}
    members = {membership.path for each in asked.versions for membership in each.memberships}
    objects = tuple(
        _without(found, _OF_VERSIONS if found.path in members else frozenset({WITHDRAWN}))
        for found in submittal.objects
        if found.path in keep | members
    )
    return replace(submittal, objects=objects)


def _without(found: SubmittedObject, names: frozenset[str]) -> SubmittedObject:
    if found.kind not in (Kind.ENTRY, Kind.ASSOCIATION):
        return found
    return replace(found, slots=tuple(slot for slot in found.slots if slot.name not in names))


def typed(submittal: Submittal, asked: Operations, new_uuid: Callable[[], str]) -> Update:
    """The update as typed values; see ihe.ebrim.metadata, whose ids and bodies these are.

    Raises: XdsFailure where what the rules demand is missing.
    """
    ordinary = plain(submittal, asked)
    sent = ebrim.metadata(ordinary, new_uuid)
    names = {found.id: uuid for found, uuid in _ids(ordinary, sent) if found.id}

    def given(name: str) -> str:
        if name not in names and not is_symbolic(name):
            return name
        return names[name] if name in names else names.setdefault(name, new_uuid())

    by_uuid = {given(each.found.id): each for each in asked.versions}
    members = {given(each.id): each for version in asked.versions for each in version.memberships}
    # Read from the message as it was: the slots of an update stay on the membership they were sent with.
    kept = [replace(each, body=association_body_of(members[each.entry_uuid], given)) for each in sent.associations]
    hubs = [_hub(each.operation, given, sent.submission_set.entry_uuid) for each in asked.submitted]
    entries = tuple(
        replace(each, withdrawn=by_uuid[each.entry_uuid].found.value(WITHDRAWN) == TRUE) for each in sent.entries
    )
    return Update(
        submission=replace(sent, entries=entries, associations=(*kept, *hubs), digest=digest(submittal)),
        versions={uuid: _version(uuid, each) for uuid, each in by_uuid.items()},
        statuses=tuple(_status(each, given) for each in asked.statuses),
        submitted=tuple(_association(each.found, given) for each in asked.submitted if each.found is not None),
        home=submittal.of(Kind.SET)[0].home,
    )


def _ids(submittal: Submittal, sent: Submission) -> Iterator[tuple[SubmittedObject, str]]:
    """Each object with the UUID it was given; both sides stand in the order sent."""
    yield submittal.of(Kind.SET)[0], sent.submission_set.entry_uuid
    uuids = {
        Kind.ENTRY: [each.entry_uuid for each in sent.entries],
        Kind.FOLDER: [each.entry_uuid for each in sent.folders],
        Kind.ASSOCIATION: [each.entry_uuid for each in sent.associations],
    }
    for kind, allocated in uuids.items():
        yield from zip(submittal.of(kind), allocated, strict=True)


def _version(entry_uuid: str, sent: SentVersion) -> NewVersion:
    membership = sent.memberships[0]
    return NewVersion(
        entry_uuid=entry_uuid,
        lid=sent.found.lid,
        previous=int(membership.value(PREVIOUS_VERSION)),
        propagate=membership.value(PROPAGATION) != NO,
        status=sent.found.status,
    )


def _status(sent: SubmittedObject, given: Callable[[str], str]) -> StatusChange:
    original, new = sent.value(ORIGINAL_STATUS), sent.value(NEW_STATUS)
    return StatusChange(given(sent.target), Status(original), Status(new))


def _association(sent: SubmittedObject, given: Callable[[str], str]) -> Association:
    body = association_body_of(sent, given)
    kind = AssociationType(sent.type)
    return Association(given(sent.id), kind, given(sent.source), given(sent.target), None, body)


def _hub(operation: SubmittedObject, given: Callable[[str], str], set_uuid: str) -> Association:
    """What is kept of a SubmitAssociation: the set has the association as member, as it has those of a submission."""
    own = given(operation.id)
    return Association(own, AssociationType.HAS_MEMBER, set_uuid, given(operation.target), None, b"")


def slot_values(entry: bytes, name: str) -> tuple[str, ...]:
    """The values of a slot in a written entry (ihe.ebrim.write_entry); none where it has no such slot."""
    read = xml.read(b'<RegistryObjectList xmlns="%s">%s</RegistryObjectList>' % (RIM.encode(), entry))
    path = f"{IN_RIM}ExtrinsicObject/{IN_RIM}Slot"
    return tuple(
        verbatim(value)
        for slot in read.iterfind(path)
        if slot.get("name") == name
        for value in slot.iter(f"{IN_RIM}Value")
    )
