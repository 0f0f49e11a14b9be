"""What a submission is judged by, as a table: the id an operator configures, the code a sender gets, the reason why.

Rules of the message are functions in rules_structure, rules_attributes, rules_values and rules_relations; rules of the
registry's content are named here and run by the store inside its transaction, so that both raise the same kind.
Source: ITI TF-3 4.2.1-4.2.3, TF-2 3.42.4.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ihe.errors import XdsError, clip
from ihe.names import Code, Severity

MOST_SHOWN = 256
"""Characters shown of what was expected and of what was found: the longest identifier there is."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One demand on a submission. `explanation` is for the sender's engineer, `section` for whoever doubts it."""

    id: str
    code: Code
    section: str
    explanation: str
    firm: bool = False
    """Whether it rejects whatever an operator would like: what breaks it could not be stored, found or protected."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One place where a submission breaks a rule. `found` comes from the caller's own message, never from elsewhere."""

    rule: Rule
    path: str
    expected: str
    found: str

    @property
    def error(self) -> XdsError:
        """The RegistryError the sender gets: rule, place, what was expected and what was found (ruling 11)."""
        expected, found = clip(self.expected, MOST_SHOWN), clip(self.found, MOST_SHOWN)
        context = f"{self.rule.id} ({self.rule.section}) at {self.path}: expected {expected}; found {found}"
        return XdsError(self.rule.code, context, self.path, rule=self.rule.id)

    @property
    def warning(self) -> XdsError:
        """The same as a warning beside a Success, for a rule that this sender is only warned of."""
        return replace(self.error, severity=Severity.WARNING)


_METADATA = Code.REGISTRY_METADATA_ERROR
_REFERENCE = Code.UNRESOLVED_REFERENCE
_PATIENT = Code.PATIENT_ID_DOES_NOT_MATCH

# Structure: when one of these is broken, the others cannot be judged -------------------------------------------------
KNOWN_CONTENT = Rule(
    "known-content",
    _METADATA,
    "TF-3 4.2.1",
    "Elements, attributes and text outside ebRIM are not stored, so refused",
    firm=True,
)
KNOWN_OBJECTS = Rule(
    "known-objects",
    _METADATA,
    "TF-3 4.2.1.1",
    "A submission holds DocumentEntries, Associations, and RegistryPackages labelled as SubmissionSet or as Folder",
    firm=True,
)
ONE_SUBMISSION_SET = Rule(
    "one-submission-set", _METADATA, "TF-3 4.2.1.2", "A submission has exactly one SubmissionSet", firm=True
)
UNIQUE_OBJECT_IDS = Rule(
    "unique-object-ids",
    _METADATA,
    "TF-3 4.2.3.1",
    "No two objects or parts of a submission have the same id",
    firm=True,
)
UNIQUE_SLOT_NAMES = Rule(
    "unique-slot-names", _METADATA, "ebRIM 3.0 2.8", "No two slots of one object or part have the same name", firm=True
)
VALUE_LENGTH = Rule(
    "value-length",
    _METADATA,
    "ebRIM 3.0 LongName",
    "Values of slots, codes and identifiers have at most 256 characters",
)
PARENT_REFERENCE = Rule(
    "parent-reference",
    _METADATA,
    "TF-3 4.2.3.1",
    "classifiedObject and registryObject are the id of the object they stand in",
)

# Attributes ----------------------------------------------------------------------------------------------------------
NEEDED_ATTRIBUTE = Rule(
    "needed-attribute",
    _METADATA,
    "TF-3 table 4.3.1.1-3",
    "Identifiers, repository, hash, size and confidentiality are present: without them nothing is found or protected",
    firm=True,
)
REQUIRED_ATTRIBUTE = Rule(
    "required-attribute",
    _METADATA,
    "TF-3 table 4.3.1.1-3",
    "All other attributes marked R for this transaction are present",
)
SINGLE_ATTRIBUTE = Rule(
    "single-attribute", _METADATA, "TF-3 4.2.3.2-4.2.3.4", "Attributes of one value have one value", firm=True
)
NEEDED_TYPE = Rule(
    "needed-type",
    _METADATA,
    "TF-3 table 4.2.3.1.7-2",
    "Identifiers, repository, media type, hash, size and time of signing are written as their data type demands",
    firm=True,
)
DATA_TYPE = Rule(
    "data-type", _METADATA, "TF-3 table 4.2.3.1.7-2", "All other values are written as their data type demands"
)
COMPLETE_CODE = Rule(
    "complete-code",
    _METADATA,
    "TF-3 4.2.3.1",
    "A code has nodeRepresentation and exactly one codingScheme, without white space around them",
    firm=True,
)
DISPLAY_NAME = Rule("display-name", _METADATA, "TF-3 4.2.3.1", "A code has a display name, whatever it says")
ALLOWED_CODES = Rule(
    "allowed-codes", _METADATA, "TF-3 4.2.3.1", "Codes and media types are among those this domain has agreed on"
)
COMPLETE_AUTHOR = Rule(
    "complete-author",
    _METADATA,
    "TF-3 4.2.3.1.4",
    "An author has a person, an institution or a telecommunication, and an empty nodeRepresentation",
)
KNOWN_SCHEME = Rule(
    "known-scheme", _METADATA, "TF-3 4.3.1.2", "Classifications and identifiers are of schemes of their object"
)
EXTRA_SLOT_NAME = Rule(
    "extra-slot-name",
    _METADATA,
    "TF-3 4.2.3.1.6",
    "Slots beyond the framework have a URN for a name, not of urn:ihe: or urn:innsyn:",
)
STABLE_ENTRY = Rule(
    "stable-entry",
    _METADATA,
    "TF-3 4.2.3.2",
    "On-demand entries are registered with ITI-61, all others are stable",
    firm=True,
)
ON_DEMAND_ENTRY = Rule(
    "on-demand-entry",
    _METADATA,
    "TF-2 3.61.4.1.2",
    "ITI-61 registers on-demand entries, at least one, and no others",
    firm=True,
)
ON_DEMAND_CONTENT = Rule(
    "on-demand-content",
    _METADATA,
    "TF-3 table 4.3.1.1-3",
    "An on-demand entry has no creationTime, hash or size: there is no document yet",
    firm=True,
)
LIMITED_METADATA = Rule("limited-metadata", _METADATA, "TF-3 4.2.3.2", "Limited metadata is not for a registry")
TITLE_LENGTH = Rule(
    "title-length", _METADATA, "TF-3 4.2.3.2", "A title has at most 128 characters on an entry, 256 on packages"
)
FOLDER_TITLE = Rule("folder-title", _METADATA, "TF-3 4.2.3.4", "A folder has a title")
SERVICE_TIMES = Rule("service-times", _METADATA, "TF-3 4.2.3.2", "A service does not stop before it starts")
UNIQUE_IDS_IN_MESSAGE = Rule(
    "unique-ids-in-message",
    Code.DUPLICATE_UNIQUE_ID_IN_MESSAGE,
    "TF-2 3.42.4.1",
    "No two objects of a submission have the same uniqueId",
    firm=True,
)
ONE_PATIENT = Rule(
    "one-patient", _PATIENT, "TF-2 3.42.4.1", "SubmissionSet, entries and folders name the same patient", firm=True
)

# Relations -----------------------------------------------------------------------------------------------------------
ASSOCIATION_TYPE = Rule(
    "association-type", _METADATA, "TF-3 table 4.2.2-1", "Associations are of the types of a submission", firm=True
)
NO_METADATA_UPDATE = Rule(
    "no-metadata-update",
    _METADATA,
    "TF-2 3.57",
    "SubmitAssociation and UpdateAvailabilityStatus belong to ITI-57",
    firm=True,
)
ASSOCIATION_ENDS = Rule(
    "association-ends", _REFERENCE, "TF-2 3.42.4.1", "Both ends of an association can be found", firm=True
)
ASSOCIATION_TO_ITSELF = Rule(
    "association-to-itself",
    _METADATA,
    "TF-3 4.2.2",
    "An association links two objects, neither of them itself",
    firm=True,
)
ASSOCIATION_KINDS = Rule(
    "association-kinds",
    _METADATA,
    "TF-3 4.2.2",
    "The ends of an association are of the kinds its type links",
    firm=True,
)
ASSOCIATION_PARTS = Rule(
    "association-parts",
    _METADATA,
    "TF-3 4.2.2",
    "Associations have no identifiers; documentation only on a relationship of documents",
)
ENTRY_MEMBERSHIP = Rule(
    "entry-membership", _METADATA, "TF-3 4.2.2.1", "Every entry is an Original member of the SubmissionSet", firm=True
)
FOLDER_MEMBERSHIP = Rule(
    "folder-membership", _METADATA, "TF-3 4.2.2.1", "Every folder is a member of the SubmissionSet"
)
FOLDER_CONTENT_MEMBERSHIP = Rule(
    "folder-content-membership",
    _METADATA,
    "TF-3 4.2.2.1",
    "The SubmissionSet has as member every membership in a folder that comes with it",
)
SUBMISSION_SET_STATUS = Rule(
    "submission-set-status",
    _METADATA,
    "TF-3 4.2.2.1",
    "SubmissionSetStatus is Original for entries of this submission and Reference for registered ones",
)
RELATIONSHIP_SOURCE = Rule(
    "relationship-source", _REFERENCE, "TF-3 4.2.2.2", "A relationship starts at an entry of this submission", firm=True
)
RELATIONSHIP_TARGET = Rule(
    "relationship-target", _REFERENCE, "TF-3 4.2.2.2", "What is replaced or copied is registered already", firm=True
)
NO_CYCLE = Rule("no-cycle", _METADATA, "TF-3 4.2.2.2", "Relationships of documents do not run in a circle", firm=True)

EXTRA_METADATA = Rule(
    "extra-metadata",
    Code.EXTRA_METADATA_NOT_SAVED,
    "TF-3 4.2.3.1.6",
    "Slots beyond the framework are not stored where validation.extra_metadata says so; a warning, never an error",
    firm=True,
)

# Content of the registry: run by the store, after all of the above ---------------------------------------------------
KNOWN_PATIENT = Rule(
    "known-patient",
    Code.UNKNOWN_PATIENT_ID,
    "TF-2 3.42.4.1",
    "The patient is known and not merged into another",
    firm=True,
)
UNUSED_UNIQUE_ID = Rule(
    "unused-unique-id",
    Code.DUPLICATE_UNIQUE_ID_IN_REGISTRY,
    "TF-2 3.42.4.1",
    "The uniqueId of a SubmissionSet or folder is used by nothing else",
    firm=True,
)
ON_DEMAND_UNIQUE_ID = Rule(
    "on-demand-unique-id",
    _METADATA,
    "TF-2 3.61.4.1.3",
    "The uniqueId of an on-demand entry is that of no stable one, nor the reverse",
    firm=True,
)
SAME_HASH = Rule(
    "same-hash", Code.NON_IDENTICAL_HASH, "TF-2 3.42.4.1", "A document registered again has the same hash", firm=True
)
SAME_SIZE = Rule(
    "same-size", Code.NON_IDENTICAL_SIZE, "TF-2 3.42.4.1", "A document registered again has the same size", firm=True
)
UNUSED_UUID = Rule(
    "unused-uuid", _METADATA, "TF-3 4.2.3.1", "UUIDs given by the sender are not registered yet", firm=True
)
KNOWN_ENDS = Rule(
    "known-ends",
    _REFERENCE,
    "TF-2 3.42.4.1",
    "Objects outside the submission that it refers to are registered",
    firm=True,
)
APPROVED_TARGET = Rule(
    "approved-target",
    Code.REGISTRY_DEPRECATED_DOCUMENT,
    "TF-3 4.2.2.2",
    "What a new document relates to, or a folder takes in, is not deprecated",
    firm=True,
)
APPENDED_TRANSFORM = Rule(
    "appended-transform", _METADATA, "TF-3 4.2.2.2", "An addendum is not to what was made by transformation (XFRM)"
)
RELATED_PATIENT = Rule(
    "related-patient",
    _PATIENT,
    "TF-3 4.2.2",
    "Related documents, and a folder and its content, are of one patient",
    firm=True,
)
SNAPSHOT_ENDS = Rule(
    "snapshot-ends", _METADATA, "TF-3 4.2.2.2", "A snapshot is a stable entry, of an on-demand entry", firm=True
)
OWN_REPOSITORY = Rule(
    "own-repository", _METADATA, "TF-2 3.42.4.1", "A source registers documents of its own repositories only", firm=True
)

STRUCTURE = (
    KNOWN_CONTENT,
    KNOWN_OBJECTS,
    ONE_SUBMISSION_SET,
    UNIQUE_OBJECT_IDS,
    UNIQUE_SLOT_NAMES,
    VALUE_LENGTH,
    PARENT_REFERENCE,
)
CONTENT = (
    NEEDED_ATTRIBUTE,
    REQUIRED_ATTRIBUTE,
    SINGLE_ATTRIBUTE,
    NEEDED_TYPE,
    DATA_TYPE,
    COMPLETE_CODE,
    DISPLAY_NAME,
    ALLOWED_CODES,
    COMPLETE_AUTHOR,
    KNOWN_SCHEME,
    EXTRA_SLOT_NAME,
    STABLE_ENTRY,
    ON_DEMAND_ENTRY,
    ON_DEMAND_CONTENT,
    LIMITED_METADATA,
    TITLE_LENGTH,
    FOLDER_TITLE,
    SERVICE_TIMES,
    UNIQUE_IDS_IN_MESSAGE,
    ONE_PATIENT,
    ASSOCIATION_TYPE,
    NO_METADATA_UPDATE,
    ASSOCIATION_ENDS,
    ASSOCIATION_TO_ITSELF,
    ASSOCIATION_KINDS,
    ASSOCIATION_PARTS,
    ENTRY_MEMBERSHIP,
    FOLDER_MEMBERSHIP,
    FOLDER_CONTENT_MEMBERSHIP,
    SUBMISSION_SET_STATUS,
    RELATIONSHIP_SOURCE,
    RELATIONSHIP_TARGET,
    NO_CYCLE,
    EXTRA_METADATA,
)
REGISTRY = (
    KNOWN_PATIENT,
    UNUSED_UNIQUE_ID,
    ON_DEMAND_UNIQUE_ID,
    SAME_HASH,
    SAME_SIZE,
    UNUSED_UUID,
    KNOWN_ENDS,
    APPROVED_TARGET,
    APPENDED_TRANSFORM,
    RELATED_PATIENT,
    SNAPSHOT_ENDS,
    OWN_REPOSITORY,
)
RULES = {rule.id: rule for rule in (*STRUCTURE, *CONTENT, *REGISTRY)}
"""Every rule by its id, in the order they are judged."""
assert len(RULES) == len(STRUCTURE) + len(CONTENT) + len(REGISTRY)
