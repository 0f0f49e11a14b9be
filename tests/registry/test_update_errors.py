"""ITI-57 and ITI-92: each way in which an update can be wrong, by a message that is wrong in this way alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ihe.names import ON_DEMAND_ENTRY, RIM, SIGNED_AT, WITHDRAWN, Action, AssociationType
from registry.database.engine import Database
from registry.database.tables import association, document, folder, object_dir, submission_set, uid_claim
from registry.rules.update import RESTRICTED, UPDATE_RULES
from tests.ihe import submissions as written
from tests.ihe.submissions import OTHER_PATIENT, Node
from tests.registry.desks import HOME, errors_of, status_of
from tests.registry.revisions import (
    APPROVED,
    BOTH,
    DEPRECATED,
    OTHER_REPOSITORY,
    OUS,
    Registry,
    a_folder,
    entry,
    follows,
    joins,
    new_set,
    put,
    status,
    submits,
    uuid,
)

APND, MEMBER, SNAPSHOT = AssociationType.APND, AssociationType.HAS_MEMBER, AssociationType.IS_SNAPSHOT_OF
ONE, TWO, THREE, FOLDER = "2.999.70.1", "2.999.70.2", "2.999.70.3", "2.999.71.1"
FIRST, SECOND, GONE, HELD, JOINED = uuid(10), uuid(30), uuid(50), uuid(20), uuid(24)
SET_OF_FIRST, MEMBER_OF_FIRST = uuid(11), uuid(12)
OPERATION, UPDATE, VERSION = "XDSMetadataUpdateOperationError", "XDSMetadataUpdateError", "XDSMetadataVersionError"
METADATA = "XDSRegistryMetadataError"
TABLES = (document, submission_set, folder, association, object_dir, uid_claim)

Objects = Callable[[], list[Node]]


@pytest.fixture
def registry(database: Database) -> Registry:
    """Two entries and one that is deprecated, a folder that holds the first, an addendum of the second to the first."""
    made = Registry(database)
    made.document(10, ONE)
    made.register(
        entry(SECOND, TWO),
        a_folder(HELD, FOLDER),
        new_set(),
        written.member("m1", "Set1", SECOND, "Original"),
        written.member(uuid(22), "Set1", HELD),
        written.member(uuid(23), HELD, FIRST),
        written.member("m4", "Set1", uuid(23)),
        joins(JOINED, APND, SECOND, FIRST),
    )
    made.document(50, THREE)
    assert made.update(new_set(), status(GONE)) == []
    return made


def version(**changes: str) -> Node:
    values = {"of": "Doc1", "unique_id": ONE, "lid": FIRST, **changes}
    return entry(**values)


def broken(made: Node, name: str, value: str) -> Node:
    """The same with another value of an attribute."""
    made.set(name, value)
    return made


def without(made: Node, name: str) -> Node:
    return put(made, name)


def with_slot(made: Node, name: str, value: str) -> Node:
    made.append(written.slot(name, value))
    return made


WRONG: list[tuple[str, str, Objects]] = [
    ("update-something", OPERATION, lambda: [new_set()]),
    ("update-logical-id", UPDATE, lambda: [version(lid=""), new_set(), follows("Doc1")]),
    ("update-logical-id", UPDATE, lambda: [version(lid="Doc0"), new_set(), follows("Doc1")]),
    ("update-logical-id", UPDATE, lambda: [version(of=FIRST), new_set(), follows(FIRST)]),
    ("update-logical-id", UPDATE, lambda: [a_folder("F", FOLDER), new_set(), follows("F", status="")]),
    ("update-membership", UPDATE, lambda: [version(), new_set()]),
    ("update-membership", UPDATE, lambda: [version(), new_set(), follows("Doc1"), follows("Doc1")]),
    ("update-previous-version", UPDATE, lambda: [version(), new_set(), follows("Doc1", "")]),
    ("update-previous-version", UPDATE, lambda: [version(), new_set(), follows("Doc1", "first")]),
    ("update-previous-version", UPDATE, lambda: [version(), new_set(), follows("Doc1", "0")]),
    ("update-version-slots", OPERATION, lambda: [version(), new_set(), follows("Doc1", propagation="maybe")]),
    ("update-version-slots", OPERATION, lambda: [version(), new_set(), follows("Doc1", status="")]),
    (
        "update-once",
        OPERATION,
        lambda: [version(), version(of="Doc2"), new_set(), follows("Doc1"), follows("Doc2")],
    ),
    ("update-once", OPERATION, lambda: [new_set(), status(FIRST), status(FIRST, DEPRECATED, APPROVED)]),
    ("update-status-slots", OPERATION, lambda: [new_set(), status(FIRST, original="")]),
    ("update-status-slots", OPERATION, lambda: [new_set(), status(FIRST, new="")]),
    ("update-status-slots", OPERATION, lambda: [new_set(), status(FIRST, APPROVED, APPROVED)]),
    ("update-status-slots", OPERATION, lambda: [new_set(), status(FIRST, new="urn:gone")]),
    ("update-status-slots", OPERATION, lambda: [new_set(), status(FIRST, source=SET_OF_FIRST)]),
    ("update-status-slots", OPERATION, lambda: [new_set(), with_slot(status(FIRST), "PreviousVersion", "1")]),
    ("update-submit-association", UPDATE, lambda: [new_set(), submits("as")]),
    ("update-submit-association", UPDATE, lambda: [new_set(), submits(JOINED)]),
    (
        "update-submit-association",
        UPDATE,
        lambda: [new_set(), submits("as", FIRST), joins("as", APND, FIRST, SECOND)],
    ),
    ("update-association-ends", UPDATE, lambda: [new_set(), submits("as"), joins("as", APND, FIRST, "Set1")]),
    ("update-association-ends", UPDATE, lambda: [new_set(), submits("as"), joins("as", APND, FIRST, uuid(99))]),
    ("update-association-ends", UPDATE, lambda: [new_set(), submits("as"), joins("as", APND, FIRST, GONE)]),
    ("update-association-ends", UPDATE, lambda: [new_set(), submits("as"), joins("as", APND, FIRST, HELD)]),
    ("update-association-ends", UPDATE, lambda: [new_set(), submits("as"), joins("as", APND, FIRST, SET_OF_FIRST)]),
    ("update-association-ends", UPDATE, lambda: [new_set(), submits("as"), joins("as", MEMBER, FIRST, SECOND)]),
    ("update-association-ends", UPDATE, lambda: [new_set(), submits("as"), joins("as", SNAPSHOT, FIRST, SECOND)]),
    ("update-association-ends", UPDATE, lambda: [new_set(), submits("as"), joins("as", APND, FIRST, FIRST)]),
    ("update-new-association", UPDATE, lambda: [new_set(), submits("as"), joins("as", APND, SECOND, FIRST)]),
    ("update-no-other-association", OPERATION, lambda: [new_set(), joins("as", APND, FIRST, SECOND)]),
    (
        "update-no-other-association",
        OPERATION,
        lambda: [new_set(), written.member("m", "Set1", FIRST, "Reference")],
    ),
    (
        "update-not-propagated-and-submitted",
        OPERATION,
        lambda: [version(), new_set(), follows("Doc1"), submits("as"), joins("as", APND, "Doc1", SECOND)],
    ),
    ("update-withdrawn", METADATA, lambda: [put(version(), WITHDRAWN, "perhaps"), new_set(), follows("Doc1")]),
    ("required-attribute", METADATA, lambda: [without(version(), "languageCode"), new_set(), follows("Doc1")]),
    ("association-type", METADATA, lambda: [new_set(), submits("as"), broken_type()]),
    ("unused-uuid", METADATA, lambda: [version(of=SECOND), new_set(), follows(SECOND)]),
    ("one-patient", "XDSPatientIdDoesNotMatch", lambda: [version(), new_set(OTHER_PATIENT), follows("Doc1")]),
    (
        "unused-unique-id",
        "XDSDuplicateUniqueIdInRegistry",
        lambda: [version(), written.submission_set(unique_id=FOLDER), follows("Doc1")],
    ),
    ("update-known-object", VERSION, lambda: [version(lid=uuid(99)), new_set(), follows("Doc1")]),
    ("update-known-object", VERSION, lambda: [version(lid=HELD), new_set(), follows("Doc1")]),
    ("update-latest-version", VERSION, lambda: [version(), new_set(), follows("Doc1", "2")]),
    ("update-approved-version", UPDATE, lambda: [version(unique_id=THREE, lid=GONE), new_set(), follows("Doc1")]),
    ("update-same-unique-id", UPDATE, lambda: [version(unique_id="2.999.70.9"), new_set(), follows("Doc1")]),
    ("update-same-unique-id", UPDATE, lambda: [a_folder("F", "2.999.71.9", HELD), new_set(), follows("F", status="")]),
    (
        "update-own-repository",
        UPDATE,
        lambda: [version(repositoryUniqueId=OTHER_REPOSITORY), new_set(), follows("Doc1")],
    ),
    ("update-known-target", UPDATE, lambda: [new_set(), status(uuid(99))]),
    ("update-known-target", UPDATE, lambda: [new_set(), status(SET_OF_FIRST)]),
    ("update-known-target", UPDATE, lambda: [new_set(), status(MEMBER_OF_FIRST)]),
    ("update-current-status", UPDATE, lambda: [new_set(), status(FIRST, DEPRECATED, APPROVED)]),
    ("update-current-status", UPDATE, lambda: [new_set(), status(HELD, DEPRECATED, APPROVED)]),
    ("update-current-status", UPDATE, lambda: [new_set(), status(JOINED, DEPRECATED, APPROVED)]),
    (
        "update-current-status",
        UPDATE,
        lambda: [version(), new_set(), follows("Doc1"), status("Doc1", DEPRECATED, APPROVED)],
    ),
    ("update-latest-target", UPDATE, lambda: [version(), new_set(), follows("Doc1"), status(FIRST)]),
    ("update-one-patient", "XDSPatientIDReconciliationError", lambda: [new_set(OTHER_PATIENT), status(FIRST)]),
    (
        "update-one-patient",
        "XDSPatientIDReconciliationError",
        lambda: [new_set(OTHER_PATIENT), submits("as"), joins("as", APND, FIRST, SECOND)],
    ),
    (
        "update-one-patient",
        "XDSPatientIDReconciliationError",
        lambda: [version(patient=OTHER_PATIENT), new_set(OTHER_PATIENT), follows("Doc1")],
    ),
]


def broken_type() -> Node:
    return broken(joins("as", APND, FIRST, SECOND), "associationType", "urn:ihe:iti:2007:AssociationType:APND_TXFM")


def refused(registry: Registry, action: Action, objects: list[Node]) -> set[tuple[str, str]]:
    """The rule and code of each error; nothing may be left of the message."""
    before = registry.count(*TABLES), registry.states()
    reply = registry.send(action, written.request(*objects))
    assert status_of(reply) == "Failure"
    assert (registry.count(*TABLES), registry.states()) == before
    return {(context.split()[0], code) for code, context in errors_of(reply)}


def untold(registry: Registry, action: Action, wrong: list[tuple[str, str, Objects]]) -> list[str]:
    """The messages whose mistake was not told. None of them changes the registry, so that all are tried on one."""
    found = [
        (number, rule, code, refused(registry, action, objects())) for number, (rule, code, objects) in enumerate(wrong)
    ]
    return [f"{number}: {rule} {code}, but {told}" for number, rule, code, told in found if (rule, code) not in told]


def test_each_mistake_is_told_by_its_rule_and_code(registry: Registry) -> None:
    assert untold(registry, Action.UPDATE, WRONG) == []


def test_the_type_of_an_entry_stays(registry: Registry) -> None:
    made = version(objectType="")
    for name in ("creationTime", "hash", "size", "objectType"):
        put(made, name)
    made.set("objectType", ON_DEMAND_ENTRY)
    assert ("update-same-type", UPDATE) in refused(registry, Action.UPDATE, [made, new_set(), follows("Doc1")])


def test_the_status_of_an_older_version_stays(registry: Registry) -> None:
    assert registry.update(version(), new_set(), follows("Doc1")) == []
    objects = [new_set(), status(FIRST, DEPRECATED, APPROVED)]
    assert refused(registry, Action.UPDATE, objects) == {("update-latest-target", UPDATE)}


def test_two_entries_of_one_document_in_one_repository_keep_one_hash(registry: Registry) -> None:
    registry.document(70, ONE)
    objects = [version(hash="0" * 40), new_set(), follows("Doc1")]
    assert refused(registry, Action.UPDATE, objects) == {("update-same-document", UPDATE)}
    # Of what another repository has under this uniqueId, a source is told nothing.
    registry.sender = replace(OUS, may_update=BOTH)
    assert registry.update(version(repositoryUniqueId=OTHER_REPOSITORY), new_set(), follows("Doc1")) == []


def test_all_mistakes_that_the_message_tells_are_told_at_once(registry: Registry) -> None:
    objects = [without(version(lid=""), "languageCode"), new_set(), follows("Doc1", ""), status(FIRST, new="")]
    objects += [submits("as"), joins("as", APND, FIRST, "Nowhere")]
    found = refused(registry, Action.UPDATE, objects)
    assert {rule for rule, _ in found} == {
        "update-logical-id",
        "required-attribute",
        "update-previous-version",
        "update-status-slots",
        "update-association-ends",
    }


def test_an_update_of_nothing_but_text_is_told_by_the_schema(registry: Registry) -> None:
    made = version()
    made.find(f"{{{RIM}}}Slot").attrib.pop("name")  # type: ignore[union-attr]
    reply = registry.send(Action.UPDATE, written.request(made, new_set(), follows("Doc1")))
    assert {code for code, _ in errors_of(reply)} == {METADATA}


@pytest.mark.parametrize(
    "operation",
    [lambda: status(FIRST), lambda: submits("as")],
    ids=["UpdateAvailabilityStatus", "SubmitAssociation"],
)
def test_operations_of_an_update_do_not_come_with_a_registration(
    registry: Registry, operation: Callable[[], Node]
) -> None:
    objects = [new_set(), entry("Doc9", "2.999.70.9"), written.member("m", "Set1", "Doc9", "Original"), operation()]
    assert ("no-metadata-update", METADATA) in refused(registry, Action.REGISTER, objects)


# ITI-92 ---------------------------------------------------------------------------------------------------------------

UNMODIFIABLE, ANNOTATION = "UnmodifiableMetadataError", "XDSMetadataAnnotationError"
RESTRICTED_WRONG: list[tuple[str, str, Objects]] = [
    ("update-something", OPERATION, lambda: [new_set()]),
    ("restricted-logical-id", "XDSInvalidRequestException", lambda: [version(lid=""), new_set(), follows("Doc1")]),
    ("restricted-logical-id", "XDSInvalidRequestException", lambda: [version(of=FIRST), new_set(), follows(FIRST)]),
    ("restricted-membership", ANNOTATION, lambda: [version(), new_set()]),
    ("restricted-previous-version", ANNOTATION, lambda: [version(), new_set(), follows("Doc1", "")]),
    ("restricted-version-slots", ANNOTATION, lambda: [version(), new_set(), follows("Doc1", propagation="no")]),
    ("restricted-entries-only", "XDSObjectTypeError", lambda: [a_folder("F", FOLDER, HELD), new_set(), follows("F")]),
    ("restricted-no-status", UNMODIFIABLE, lambda: [version(), new_set(), follows("Doc1"), status(SECOND)]),
    (
        "restricted-no-association",
        UPDATE,
        lambda: [version(), new_set(), follows("Doc1"), submits("as"), joins("as", APND, FIRST, SECOND)],
    ),
    ("restricted-home", "XDSUnknownCommunity", lambda: [version(), elsewhere(), follows("Doc1")]),
    ("update-known-object", VERSION, lambda: [version(lid=uuid(99)), new_set(), follows("Doc1")]),
    ("update-latest-version", VERSION, lambda: [version(), new_set(), follows("Doc1", "7")]),
    (
        "restricted-same-patient",
        "XDSPatientIDReconciliationError",
        lambda: [version(patient=OTHER_PATIENT), new_set(OTHER_PATIENT), follows("Doc1")],
    ),
    (
        "restricted-same-unique-id",
        "XDSMetadataIdentifierError",
        lambda: [version(unique_id="2.999.70.9"), new_set(), follows("Doc1")],
    ),
    (
        "restricted-attribute",
        UNMODIFIABLE,
        lambda: [version(repositoryUniqueId=OTHER_REPOSITORY), new_set(), follows("Doc1")],
    ),
    (
        "restricted-attribute",
        UNMODIFIABLE,
        lambda: [version(sourcePatientId=OTHER_PATIENT), new_set(), follows("Doc1")],
    ),
    ("restricted-attribute", UNMODIFIABLE, lambda: [offline(), new_set(), follows("Doc1")]),
    (
        "restricted-attribute",
        UNMODIFIABLE,
        lambda: [broken(version(), "status", DEPRECATED), new_set(), follows("Doc1")],
    ),
    ("restricted-locally", "LocalPolicyRestrictionError", lambda: [version(size="1"), new_set(), follows("Doc1")]),
    (
        "restricted-locally",
        "LocalPolicyRestrictionError",
        lambda: [put(version(), SIGNED_AT, "2020"), new_set(), follows("Doc1")],
    ),
    (
        "restricted-locally",
        "LocalPolicyRestrictionError",
        lambda: [put(version(), WITHDRAWN, "true"), new_set(), follows("Doc1")],
    ),
    ("required-attribute", METADATA, lambda: [without(version(), "languageCode"), new_set(), follows("Doc1")]),
]


def elsewhere() -> Node:
    return broken(new_set(), "home", "urn:oid:2.999.404")


def offline() -> Node:
    return put(version(), "documentAvailability", "urn:ihe:iti:2010:DocumentAvailability:Offline")


def test_a_restricted_update_tells_each_mistake_by_its_own_code(registry: Registry) -> None:
    assert untold(registry, Action.RESTRICTED_UPDATE, RESTRICTED_WRONG) == []


def test_the_type_of_an_entry_is_unmodifiable(registry: Registry) -> None:
    made = version()
    for name in ("creationTime", "hash", "size"):
        put(made, name)
    made.set("objectType", ON_DEMAND_ENTRY)
    found = refused(registry, Action.RESTRICTED_UPDATE, [made, new_set(), follows("Doc1")])
    assert ("restricted-attribute", UNMODIFIABLE) in found


def test_a_restricted_update_corrects_codes_of_entries_whatever_their_status(registry: Registry) -> None:
    home = broken(new_set(), "home", HOME)
    assert registry.update(version(languageCode="nn-NO"), home, follows("Doc1"), restricted=True) == []
    assert (ONE, 2, "APPROVED") in registry.states()
    deprecated = version(unique_id=THREE, lid=GONE, languageCode="nn-NO")
    assert registry.update(deprecated, new_set(), follows("Doc1"), restricted=True) == []
    assert (THREE, 2, "DEPRECATED") in registry.states()
    assert registry.trail.last.transaction == "ITI-92"


def test_every_rule_of_updates_has_a_message_that_breaks_it() -> None:
    tried = {rule for rule, _, _ in (*WRONG, *RESTRICTED_WRONG)} | {"update-same-type", "update-same-document"}
    assert UPDATE_RULES.keys() - tried == set()
    assert {rule.id for rule in RESTRICTED.values()} <= UPDATE_RULES.keys()
