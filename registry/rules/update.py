"""What an update of metadata (ITI-57, ITI-92) is judged by, beside the rules of a submission.

The part that the message alone can tell is judged here; rules of the registry's content are named here and run by
registry.changes.revision inside its transaction. Where the texts of IHE leave a code open, it is the one that the NIST
toolkit expects. Sources: IHE ITI supplements XDS Metadata Update 3.57 and RMU 3.92.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ihe import values
from ihe.names import WITHDRAWN, AssociationType, Code, Status
from ihe.submittal import Kind, Submittal, SubmittedObject
from ihe.updates import (
    FALSE,
    NEW_STATUS,
    NO,
    ORIGINAL_STATUS,
    PREVIOUS_VERSION,
    PROPAGATION,
    TRUE,
    YES,
    Operations,
    SentVersion,
)
from registry.rules.table import ASSOCIATION_TYPE, Rule, Violation

_UPDATE = Code.METADATA_UPDATE
_OPERATION = Code.METADATA_UPDATE_OPERATION
_VERSION = Code.METADATA_VERSION

MOST_VERSIONS = 32_767
"""Highest number of a version: what its column holds."""

# Of the message ------------------------------------------------------------------------------------------------------
SOMETHING_ASKED = Rule(
    "update-something", _OPERATION, "MU 3.57.4.1.2", "An update holds at least one operation on metadata", firm=True
)
LOGICAL_ID = Rule(
    "update-logical-id",
    _UPDATE,
    "MU 3.57.4.1.3.3.1",
    "An entry or folder of an update is a new version: lid is the UUID of what it updates, and id another one",
    firm=True,
)
VERSION_MEMBERSHIP = Rule(
    "update-membership",
    _UPDATE,
    "MU 3.57.4.1.3.3.1",
    "The SubmissionSet has each new version as member, once",
    firm=True,
)
PREVIOUS = Rule(
    "update-previous-version",
    _UPDATE,
    "MU 3.57.4.1.3.3.1",
    "The membership of a new version names the number of the latest one in PreviousVersion",
    firm=True,
)
VERSION_SLOTS = Rule(
    "update-version-slots",
    _OPERATION,
    "MU 3.57.4.1.2",
    "The membership of a new entry is Original; AssociationPropagation is yes or no",
    firm=True,
)
ONE_UPDATE = Rule(
    "update-once",
    _OPERATION,
    "MU 3.57.4.1.3",
    "An object is updated, and its status changed, once a message",
    firm=True,
)
STATUS_SLOTS = Rule(
    "update-status-slots",
    _OPERATION,
    "MU 3.57.4.1.3.3.3",
    "UpdateAvailabilityStatus starts at the SubmissionSet and says OriginalStatus and NewStatus, two different ones of "
    "Approved and Deprecated, and nothing else",
    firm=True,
)
SUBMITTED = Rule(
    "update-submit-association",
    _UPDATE,
    "MU 3.57.4.1.3.3.4",
    "SubmitAssociation leads from the SubmissionSet to one association of the message",
    firm=True,
)
SUBMITTED_ENDS = Rule(
    "update-association-ends",
    _UPDATE,
    "MU 3.57.4.1.3.3.4",
    "A submitted association joins two approved objects of the registry: a folder and its entry, or two entries",
    firm=True,
)
NO_OTHER = Rule(
    "update-no-other-association",
    _OPERATION,
    "MU 3.57.4.1.2",
    "Every association of an update belongs to one of its operations",
    firm=True,
)
NOT_BOTH = Rule(
    "update-not-propagated-and-submitted",
    _OPERATION,
    "MU 3.57.4.1.3.3.4",
    "Associations of a new version are propagated or submitted, not both",
    firm=True,
)
WITHDRAWAL = Rule(
    "update-withdrawn", Code.REGISTRY_METADATA_ERROR, "innsyn", f"{WITHDRAWN} is true or false", firm=True
)

# Of the registry -----------------------------------------------------------------------------------------------------
KNOWN_OBJECT = Rule(
    "update-known-object", _VERSION, "MU 3.57.4.1.3.3.1", "What a new version updates is registered", firm=True
)
LATEST = Rule(
    "update-latest-version", _VERSION, "MU 3.57.4.1.3.3.1", "PreviousVersion is the latest there is", firm=True
)
APPROVED_VERSION = Rule(
    "update-approved-version", _UPDATE, "MU 3.57.4.1.3.3.1", "The version that is updated is approved", firm=True
)
SAME_UNIQUE_ID = Rule(
    "update-same-unique-id", _UPDATE, "MU 3.57.4.1.3.3.1", "A new version has the uniqueId of the others", firm=True
)
SAME_TYPE = Rule(
    "update-same-type", _UPDATE, "MU 3.57.4.1.3.3.1", "A new version has the objectType of the others", firm=True
)
OWN_NEW_REPOSITORY = Rule(
    "update-own-repository",
    _UPDATE,
    "innsyn",
    "A new version lies in a repository whose metadata the sender may update, as the one before does",
    firm=True,
)
SAME_DOCUMENT = Rule(
    "update-same-document",
    _UPDATE,
    "TF-2 3.42.4.1",
    "Entries of one uniqueId in one repository have the same hash and size",
    firm=True,
)
KNOWN_TARGET = Rule(
    "update-known-target",
    _UPDATE,
    "MU 3.57.4.1.3.3.3",
    "The status of registered entries, folders, folder memberships and relationships can be changed",
    firm=True,
)
CURRENT_STATUS = Rule(
    "update-current-status", _UPDATE, "MU 3.57.4.1.3.3.3", "OriginalStatus is the status there is", firm=True
)
LATEST_TARGET = Rule(
    "update-latest-target", _UPDATE, "MU 3.57.4.1.3.3.3", "Only the latest version changes its status", firm=True
)
NEW_ASSOCIATION = Rule(
    "update-new-association",
    _UPDATE,
    "MU 3.57.4.1.3.3.4",
    "No approved association of this type joins the two objects already",
    firm=True,
)
ONE_PERSON = Rule(
    "update-one-patient",
    Code.PATIENT_ID_RECONCILIATION,
    "MU 3.57.4.1.3.3",
    "The SubmissionSet, what it updates and what that is associated with are of one patient",
    firm=True,
)

# Of a restricted update ----------------------------------------------------------------------------------------------
RESTRICTED_KIND = Rule(
    "restricted-entries-only", Code.OBJECT_TYPE, "RMU 3.92.4.1.2", "A restricted update holds entries only", firm=True
)
RESTRICTED_STATUS = Rule(
    "restricted-no-status",
    Code.UNMODIFIABLE_METADATA,
    "RMU 3.92.4.1.2",
    "A restricted update changes no availabilityStatus",
    firm=True,
)
RESTRICTED_ASSOCIATION = Rule(
    "restricted-no-association", _UPDATE, "RMU 3.92.4.1.2", "A restricted update submits no associations", firm=True
)
RESTRICTED_PATIENT = Rule(
    "restricted-same-patient",
    Code.PATIENT_ID_RECONCILIATION,
    "RMU 3.92.4.1.3",
    "A restricted update leaves the patient as it is",
    firm=True,
)
RESTRICTED_ATTRIBUTE = Rule(
    "restricted-attribute",
    Code.UNMODIFIABLE_METADATA,
    "RMU 3.92.4.1.3",
    "A restricted update leaves objectType, sourcePatientId, repositoryUniqueId, documentAvailability and status alone",
    firm=True,
)
RESTRICTED_LOCALLY = Rule(
    "restricted-locally",
    Code.LOCAL_POLICY_RESTRICTION,
    "RMU 3.92.4.1.3",
    "Here, hash, size, time of signing and withdrawal are the source's alone to change",
    firm=True,
)
KNOWN_HOME = Rule(
    "restricted-home",
    Code.UNKNOWN_COMMUNITY,
    "RMU 3.92.4.1.2",
    "The homeCommunityId of the SubmissionSet, if any, is this community's",
    firm=True,
)


def _restricted(rule: Rule, code: Code) -> Rule:
    return replace(rule, id=rule.id.replace("update-", "restricted-", 1), code=code)


RESTRICTED = {
    LOGICAL_ID: _restricted(LOGICAL_ID, Code.INVALID_REQUEST),
    VERSION_MEMBERSHIP: _restricted(VERSION_MEMBERSHIP, Code.METADATA_ANNOTATION),
    PREVIOUS: _restricted(PREVIOUS, Code.METADATA_ANNOTATION),
    VERSION_SLOTS: _restricted(VERSION_SLOTS, Code.METADATA_ANNOTATION),
    SAME_UNIQUE_ID: _restricted(SAME_UNIQUE_ID, Code.METADATA_IDENTIFIER),
    SAME_TYPE: RESTRICTED_ATTRIBUTE,
    SAME_DOCUMENT: RESTRICTED_LOCALLY,
}
"""What stands for a rule of ITI-57 in ITI-92, whose codes tell more."""
UPDATE_RULES = {
    rule.id: rule
    for rule in (
        *(SOMETHING_ASKED, LOGICAL_ID, VERSION_MEMBERSHIP, PREVIOUS, VERSION_SLOTS, ONE_UPDATE, STATUS_SLOTS),
        *(SUBMITTED, SUBMITTED_ENDS, NO_OTHER, NOT_BOTH, WITHDRAWAL, KNOWN_OBJECT, LATEST, APPROVED_VERSION),
        *(SAME_UNIQUE_ID, SAME_TYPE, OWN_NEW_REPOSITORY, SAME_DOCUMENT, KNOWN_TARGET, CURRENT_STATUS, LATEST_TARGET),
        *(NEW_ASSOCIATION, ONE_PERSON, RESTRICTED_KIND, RESTRICTED_STATUS, RESTRICTED_ASSOCIATION),
        *(RESTRICTED_PATIENT, RESTRICTED_ATTRIBUTE, RESTRICTED_LOCALLY, KNOWN_HOME, *RESTRICTED.values()),
    )
}
"""Every rule of updates by its id."""


def update_operations(submittal: Submittal, asked: Operations, restricted: bool, home: str) -> Iterator[Violation]:
    """Everything that is wrong with what the message asks for, as far as the message alone can tell."""
    found = _restrictions(submittal, asked, home) if restricted else _full(submittal, asked)
    for each in (*_versions(asked, restricted), *found):
        yield replace(each, rule=RESTRICTED.get(each.rule, each.rule)) if restricted else each


def _versions(asked: Operations, restricted: bool) -> Iterator[Violation]:
    updated = Counter(each.found.lid for each in asked.versions)
    for each in asked.versions:
        found = each.found
        path = f"{found.path}/@lid"
        if not found.lid:
            yield Violation(LOGICAL_ID, path, "the lid of what is updated", "nothing")
        elif not values.is_uuid(found.lid):
            yield Violation(LOGICAL_ID, path, "a UUID", found.lid)
        elif found.lid == found.id:
            yield Violation(LOGICAL_ID, path, "an id that is not the lid", found.lid)
        elif updated[found.lid] > 1:
            yield Violation(ONE_UPDATE, path, "one new version of an object", f"another one of {found.lid}")
        yield from _membership(each, restricted)
        if (slot := found.slot(WITHDRAWN)) is not None and slot.values not in ((TRUE,), (FALSE,)):
            yield Violation(WITHDRAWAL, slot.path, "true or false", ", ".join(slot.values) or "nothing")
    for association in asked.others:
        expected = "a membership of a new version, or an association that SubmitAssociation points to"
        yield Violation(NO_OTHER, association.path, expected, f"{association.type} to {association.target}")


def _membership(each: SentVersion, restricted: bool) -> Iterator[Violation]:
    if len(each.memberships) != 1:
        said = f"{len(each.memberships) or 'none'} to {each.found.id}"
        yield Violation(VERSION_MEMBERSHIP, each.found.path, "HasMember from the SubmissionSet", said)
    for membership in each.memberships:
        previous = membership.slot(PREVIOUS_VERSION)
        if previous is None or len(previous.values) != 1 or not _is_version(previous.values[0]):
            path = membership.path if previous is None else previous.path
            said = "nothing" if previous is None else ", ".join(previous.values)
            yield Violation(PREVIOUS, path, f"{PREVIOUS_VERSION}, the number of a version", said)
        propagation = membership.slot(PROPAGATION)
        allowed = ((YES,),) if restricted else ((YES,), (NO,))
        if propagation is not None and propagation.values not in allowed:
            expected = f"{PROPAGATION} {' or '.join(value for (value,) in allowed)}"
            yield Violation(VERSION_SLOTS, propagation.path, expected, ", ".join(propagation.values))
        if each.found.kind is Kind.ENTRY and membership.value("SubmissionSetStatus") != "Original":
            said = membership.value("SubmissionSetStatus") or "nothing"
            yield Violation(VERSION_SLOTS, membership.path, "SubmissionSetStatus Original", said)


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < MOST_VERSIONS


def _full(submittal: Submittal, asked: Operations) -> Iterator[Violation]:
    sets = {found.id for found in submittal.of(Kind.SET)}
    if not (asked.versions or asked.statuses or asked.submitted or asked.others):
        yield Violation(SOMETHING_ASKED, "RegistryObjectList", "an operation", "a SubmissionSet alone")
    changed = Counter(each.target for each in asked.statuses)
    new = {each.found.id for each in asked.versions} | {each.found.id for each in asked.submitted if each.found}
    for status in asked.statuses:
        yield from _status(status, sets)
        if status.target in new and status.value(ORIGINAL_STATUS) == Status.DEPRECATED:
            expected = "Approved, which is what a new object is"
            yield Violation(CURRENT_STATUS, status.path, expected, Status.DEPRECATED)
        if changed[status.target] > 1:
            yield Violation(
                ONE_UPDATE, status.path, "one change of an object's status", f"another one of {status.target}"
            )
    pointed = Counter(each.found.path for each in asked.submitted if each.found is not None)
    versions, known = {each.found.id: each for each in asked.versions}, submittal.by_id()
    for each in asked.submitted:
        path = f"{each.operation.path}/@targetObject"
        if each.operation.source not in sets:
            expected = "SubmitAssociation from the SubmissionSet"
            yield Violation(SUBMITTED, f"{each.operation.path}/@sourceObject", expected, each.operation.source)
        if each.found is None or pointed[each.found.path] > 1:
            said = each.operation.target
            yield Violation(SUBMITTED, path, "one association of this message", said)
        else:
            yield from _joined(each.found, versions, known)


def _status(status: SubmittedObject, sets: set[str]) -> Iterator[Violation]:
    if status.source not in sets:
        path = f"{status.path}/@sourceObject"
        yield Violation(STATUS_SLOTS, path, "UpdateAvailabilityStatus from the SubmissionSet", status.source)
    for slot in status.slots:
        if slot.name not in (ORIGINAL_STATUS, NEW_STATUS):
            yield Violation(STATUS_SLOTS, slot.path, f"{ORIGINAL_STATUS} and {NEW_STATUS}", slot.name)
    said: list[str] = []
    for name in (ORIGINAL_STATUS, NEW_STATUS):
        given = status.slot(name)
        if given is None or len(given.values) != 1 or given.values[0] not in set(Status):
            path = status.path if given is None else given.path
            found = "nothing" if given is None else ", ".join(given.values) or "nothing"
            yield Violation(STATUS_SLOTS, path, f"{name}, one of {' and '.join(Status)}", found)
        else:
            said.append(given.values[0])
    if len(said) == 2 and said[0] == said[1]:
        yield Violation(STATUS_SLOTS, status.path, "a NewStatus that is not the OriginalStatus", said[0])


def _joined(
    found: SubmittedObject, new: Mapping[str, SentVersion], known: Mapping[str, SubmittedObject]
) -> Iterator[Violation]:
    """An association that is submitted by itself: its type, and its ends as far as they can be seen."""
    if found.type not in set(AssociationType):
        expected = "HasMember, RPLC, XFRM, APND, XFRM_RPLC, signs or IsSnapshotOf, as a URN"
        yield Violation(ASSOCIATION_TYPE, f"{found.path}/@associationType", expected, found.type)
        return
    for name, end in (("sourceObject", found.source), ("targetObject", found.target)):
        if end in new:
            if any(each.value(PROPAGATION) != NO for each in new[end].memberships):
                expected = f"{PROPAGATION} no on the new version it joins"
                yield Violation(NOT_BOTH, found.path, expected, "yes, which is also what its absence means")
        elif end in known or not values.is_uuid(end):
            yield Violation(SUBMITTED_ENDS, f"{found.path}/@{name}", "the UUID of a registered object", end)
    if found.source == found.target:
        yield Violation(SUBMITTED_ENDS, found.path, "two objects", found.source)


def _restrictions(submittal: Submittal, asked: Operations, home: str) -> Iterator[Violation]:
    for folder in submittal.of(Kind.FOLDER):
        yield Violation(RESTRICTED_KIND, folder.path, "DocumentEntries", "a Folder")
    for status in asked.statuses:
        yield Violation(RESTRICTED_STATUS, status.path, "new versions of entries", status.type)
    for each in asked.submitted:
        yield Violation(RESTRICTED_ASSOCIATION, each.operation.path, "new versions of entries", each.operation.type)
    if not (asked.versions or asked.statuses or asked.submitted or asked.others):
        yield Violation(SOMETHING_ASKED, "RegistryObjectList", "a new version", "a SubmissionSet alone")
    for found in submittal.of(Kind.SET):
        if found.home and found.home != home:
            yield Violation(KNOWN_HOME, f"{found.path}/@home", "the homeCommunityId of this community", found.home)
