from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihe import ebrim, xml
from ihe.errors import XdsFailure
from ihe.names import (
    ASSOCIATION_DOCUMENTATION,
    FOLDER_CODE,
    IS_FOLDER,
    IS_SUBMISSION_SET,
    LIMITED_METADATA,
    ON_DEMAND_ENTRY,
    REFERENCE_ID_LIST,
    RIM,
    SIGNED_AT,
    XSI,
    AssociationType,
    Code,
    EntryScheme,
    IdScheme,
    SetScheme,
)
from registry.rules import judge as rules
from registry.rules import table
from tests.ihe import submissions as s
from tests.ihe.submissions import Node

R = f"{{{RIM}}}"
Change = Callable[[Node], object]


def all_of(root: Node, tag: str) -> list[Node]:
    return list(root.iter(R + tag))


def objects(root: Node) -> Node:
    return root[0]


def named(root: Node, of: str) -> Node:
    return next(node for node in root.iter() if node.get("id") == of)


def slot_of(root: Node, of: str, name: str) -> Node:
    return next(node for node in named(root, of) if node.get("name") == name)


def scheme_of(root: Node, of: str, scheme: str) -> Node:
    attributes = ("classificationScheme", "identificationScheme", "classificationNode")
    return next(node for node in named(root, of) if scheme in [node.get(attribute) for attribute in attributes])


def put(of: str, name: str, *values: str) -> Change:
    def change(root: Node) -> None:
        node = named(root, of)
        for old in [child for child in node if child.get("name") == name]:
            node.remove(old)
        node.insert(0, s.slot(name, *values))

    return change


def without(of: str, name: str) -> Change:
    return lambda root: named(root, of).remove(slot_of(root, of, name))


def without_scheme(of: str, scheme: str) -> Change:
    return lambda root: named(root, of).remove(scheme_of(root, of, scheme))


def attribute(of: str, name: str, value: str) -> Change:
    return lambda root: named(root, of).set(name, value)


def part(of: str, scheme: str, name: str, value: str) -> Change:
    return lambda root: scheme_of(root, of, scheme).set(name, value)


def more(*nodes: Node) -> Change:
    return lambda root: objects(root).extend(nodes)


def inside(of: str, *nodes: Node) -> Change:
    return lambda root: named(root, of).extend(nodes)


def dropped(of: str) -> Change:
    return lambda root: objects(root).remove(named(root, of))


def broken(root: Node, value_limit: int = rules.VALUE_LIMIT) -> set[str]:
    return {violation.rule.id for violation in rules.check(ebrim.read_submission(s.body(root)), value_limit)}


AUTHOR = EntryScheme.AUTHOR
OPTIONAL_OR_NEEDED = {EntryScheme.AUTHOR, EntryScheme.EVENT_CODE, EntryScheme.CONFIDENTIALITY_CODE}
REQUIRED_CODES = sorted(set(EntryScheme) - OPTIONAL_OR_NEEDED)
SECOND_ENTRY = (s.entry("Doc2", "2.999.2"), s.member("As7", "Set1", "Doc2", "Original"))
WITH_SLOTS = (EntryScheme.TYPE_CODE, IdScheme.ENTRY_UNIQUE_ID)
RPLC, APND, XFRM = AssociationType.RPLC, AssociationType.APND, AssociationType.XFRM
CASES: list[tuple[str, Change]] = [
    ("known-content", inside("Doc1", s.rim("Address"))),
    ("known-content", attribute("Doc1", f"{{{XSI}}}type", "x")),
    ("known-content", attribute("Doc1", "colour", "red")),
    ("known-content", lambda root: setattr(named(root, "Doc1"), "text", "loose")),
    ("known-content", inside("Set1", s.rim("RegistryObjectList"))),
    ("known-content", lambda root: scheme_of(root, "Doc1", AUTHOR).append(s.label("x", "y"))),
    ("known-objects", more(s.rim("Organization", {"id": "o"}))),
    ("known-objects", without_scheme("Folder1", IS_FOLDER)),
    ("known-objects", inside("Folder1", s.label(IS_SUBMISSION_SET, "Folder1"))),
    ("known-objects", more(s.label(IS_FOLDER, "Doc1"))),
    ("one-submission-set", dropped("Set1")),
    ("one-submission-set", more(s.submission_set("Set2", "2.999.3"))),
    ("unique-object-ids", attribute("Folder1", "id", "Doc1")),
    ("unique-object-ids", part("Doc1", EntryScheme.TYPE_CODE, "id", "Set1")),
    ("unique-slot-names", inside("Doc1", s.slot("size", "1"))),
    ("unique-slot-names", lambda root: scheme_of(root, "Doc1", AUTHOR).append(s.slot("authorPerson", "a"))),
    ("value-length", put("Doc1", "urn:oid:2.999.77", "x" * 257)),
    ("value-length", part("Doc1", EntryScheme.TYPE_CODE, "nodeRepresentation", "x" * 257)),
    ("value-length", part("Doc1", IdScheme.ENTRY_UNIQUE_ID, "value", "x" * 257)),
    ("parent-reference", part("Doc1", EntryScheme.TYPE_CODE, "classifiedObject", "Set1")),
    ("parent-reference", part("Doc1", IdScheme.ENTRY_UNIQUE_ID, "registryObject", "Set1")),
    *(("required-attribute", without("Doc1", name)) for name in ("creationTime", "languageCode", "sourcePatientId")),
    *(("needed-attribute", without("Doc1", name)) for name in ("hash", "size", "repositoryUniqueId")),
    ("needed-attribute", without_scheme("Doc1", EntryScheme.CONFIDENTIALITY_CODE)),
    *(("required-attribute", without_scheme("Doc1", scheme)) for scheme in REQUIRED_CODES),
    *(("needed-attribute", without_scheme("Doc1", scheme)) for scheme in IdScheme if scheme.name.startswith("ENTRY")),
    *(("needed-attribute", without_scheme("Set1", scheme)) for scheme in IdScheme if scheme.name.startswith("SET")),
    *(("needed-attribute", without_scheme("Folder1", x)) for x in IdScheme if x.name.startswith("FOLDER")),
    ("required-attribute", without("Set1", "submissionTime")),
    ("required-attribute", without_scheme("Set1", SetScheme.CONTENT_TYPE_CODE)),
    ("required-attribute", without_scheme("Folder1", FOLDER_CODE)),
    ("needed-attribute", put("Doc1", "hash")),
    ("needed-attribute", put("Doc1", "hash", "")),
    ("single-attribute", put("Doc1", "languageCode", "nb", "nn")),
    ("single-attribute", put("Doc1", "URI", "http://a", "http://b")),
    ("single-attribute", inside("Doc1", s.code(EntryScheme.TYPE_CODE, "x", "Doc1"))),
    ("single-attribute", inside("Doc1", s.identifier(IdScheme.ENTRY_UNIQUE_ID, "2.999.5", "Doc1", "x"))),
    ("single-attribute", inside("Doc1", s.author(AUTHOR, "Doc1", s.slot("authorPerson", "a^b", "c^d")))),
    ("data-type", put("Doc1", "creationTime", "20200114T083000")),
    ("data-type", put("Doc1", "creationTime", "20260230")),
    ("data-type", put("Doc1", "serviceStartTime", "")),
    ("needed-type", put("Doc1", "hash", "abc")),
    ("needed-type", put("Doc1", "size", "-1")),
    ("data-type", put("Doc1", "languageCode", "nb_NO")),
    ("needed-type", put("Doc1", "repositoryUniqueId", "urn:oid:2.999.1")),
    ("data-type", put("Doc1", "sourcePatientId", "15837510047")),
    ("data-type", put("Doc1", "sourcePatientInfo", "PID-5|a", "navn")),
    ("data-type", put("Doc1", "legalAuthenticator", "^^Kari")),
    ("data-type", put("Doc1", "documentAvailability", "Online")),
    ("data-type", put("Doc1", REFERENCE_ID_LIST, "1^^^&2.999&ISO")),
    ("needed-type", put("Doc1", SIGNED_AT, "i går")),
    ("needed-type", put("Doc1", SIGNED_AT)),
    ("data-type", put("Doc1", "URI", "1|" + "x" * 200, "2|" + "x" * 200)),
    ("needed-type", attribute("Doc1", "mimeType", "pdf")),
    ("data-type", attribute("Doc1", "home", "2.999")),
    ("needed-type", part("Doc1", EntryScheme.TYPE_CODE, "id", "urn:uuid:1")),
    ("needed-type", part("Doc1", IdScheme.ENTRY_UNIQUE_ID, "value", "blåbær")),
    ("needed-type", part("Set1", IdScheme.SET_UNIQUE_ID, "value", "Set1")),
    ("needed-type", part("Set1", IdScheme.SET_SOURCE_ID, "value", "1.02")),
    ("needed-type", part("Folder1", IdScheme.FOLDER_UNIQUE_ID, "value", "")),
    ("data-type", put("Set1", "intendedRecipient", "||")),
    ("data-type", inside("Doc1", s.author(AUTHOR, "Doc1", s.slot("authorInstitution", "^^x")))),
    ("complete-code", part("Doc1", EntryScheme.TYPE_CODE, "nodeRepresentation", "")),
    ("complete-code", inside("Doc1", s.code(EntryScheme.EVENT_CODE, "x", "Doc1", coding_scheme=""))),
    ("complete-code", part("Doc1", EntryScheme.CONFIDENTIALITY_CODE, "nodeRepresentation", "NORS ")),
    ("display-name", inside("Doc1", s.code(EntryScheme.EVENT_CODE, "x", "Doc1", display=""))),
    ("complete-author", part("Doc1", AUTHOR, "nodeRepresentation", "Kari")),
    ("complete-author", inside("Doc1", s.author(AUTHOR, "Doc1", s.slot("authorRole", "lege")))),
    ("known-scheme", inside("Doc1", s.code(SetScheme.CONTENT_TYPE_CODE, "x", "Doc1"))),
    ("known-scheme", inside("Doc1", s.label(IS_FOLDER, "Doc1"))),
    ("known-scheme", inside("Doc1", s.rim("Classification", {"id": "c", "classifiedObject": "Doc1"}))),
    ("known-scheme", inside("Set1", s.identifier(IdScheme.ENTRY_UNIQUE_ID, "2.999.4", "Set1", "x"))),
    ("extra-slot-name", inside("Doc1", s.slot("colour", "red"))),
    ("extra-slot-name", inside("Doc1", s.slot("urn:ihe:iti:2030:news", "x"))),
    ("extra-slot-name", lambda root: scheme_of(root, "Doc1", AUTHOR).append(s.slot("authorAge", "5"))),
    *(("extra-slot-name", lambda root, x=x: scheme_of(root, "Doc1", x).append(s.slot("a", "5"))) for x in WITH_SLOTS),
    ("extra-slot-name", inside("As1", s.slot("PreviousVersion", "1"))),
    ("stable-entry", attribute("Doc1", "objectType", ON_DEMAND_ENTRY)),
    ("limited-metadata", inside("Doc1", s.label(min(LIMITED_METADATA), "Doc1"))),
    ("title-length", lambda root: all_of(named(root, "Doc1"), "LocalizedString")[0].set("value", "x" * 129)),
    ("folder-title", lambda root: named(root, "Folder1").remove(named(root, "Folder1")[0])),
    ("service-times", put("Doc1", "serviceStopTime", "202001140759")),
    ("unique-ids-in-message", part("Folder1", IdScheme.FOLDER_UNIQUE_ID, "value", "2.999.40.8.1")),
    ("one-patient", part("Folder1", IdScheme.FOLDER_PATIENT_ID, "value", s.OTHER_PATIENT)),
    ("association-type", attribute("As1", "associationType", "HasMember")),
    ("no-metadata-update", attribute("As4", "associationType", "urn:ihe:iti:2010:AssociationType:SubmitAssociation")),
    ("association-ends", attribute("As1", "targetObject", "Doc9")),
    ("association-ends", more(s.association("As9", APND, "Doc9", s.ABSENT_UUID))),
    ("association-to-itself", more(s.association("As9", APND, "Doc1", "Doc1"))),
    ("association-to-itself", more(s.association("As9", APND, "Doc1", "As9"))),
    ("association-kinds", more(s.member("As9", "Doc1", s.ABSENT_UUID))),
    ("association-kinds", more(s.member("As9", "Folder1", "Set1"))),
    ("association-kinds", more(s.member("As9", "Set1", "As1"))),
    ("association-kinds", more(s.association("As9", APND, "Doc1", "Folder1"))),
    ("association-parts", inside("As1", s.identifier(IdScheme.ENTRY_UNIQUE_ID, "2.999.4", "As1", "x"))),
    ("association-parts", inside("As1", s.code(ASSOCIATION_DOCUMENTATION, "x", "As1"))),
    ("entry-membership", dropped("As1")),
    ("folder-membership", dropped("As2")),
    ("folder-content-membership", dropped("As4")),
    ("submission-set-status", without("As1", "SubmissionSetStatus")),
    ("submission-set-status", put("As1", "SubmissionSetStatus", "Reference")),
    ("submission-set-status", put("As3", "SubmissionSetStatus", "Maybe")),
    ("submission-set-status", more(s.member("As9", "Set1", s.ABSENT_UUID, "Original"))),
    ("relationship-source", more(s.association("As9", RPLC, s.ABSENT_UUID, s.ABSENT_UUID[:-1] + "2"))),
    ("relationship-source", more(s.association("As9", RPLC, "Folder1", s.ABSENT_UUID))),
    ("relationship-target", more(*SECOND_ENTRY, s.association("As9", RPLC, "Doc2", "Doc1"))),
    (
        "no-cycle",
        more(
            *SECOND_ENTRY,
            s.association("As8", XFRM, "Doc2", "Doc1"),
            s.association("As9", XFRM, "Doc1", "Doc2"),
        ),
    ),
    (
        "appended-transform",
        more(
            *SECOND_ENTRY,
            s.entry("Doc3", "2.999.3"),
            s.member("As6", "Set1", "Doc3", "Original"),
            s.association("As8", XFRM, "Doc2", "Doc1"),
            s.association("As9", APND, "Doc3", "Doc2"),
        ),
    ),
]
COMPANIONS = {
    "association-to-itself": {"association-kinds"},
    "association-ends": {"entry-membership"},
    "association-kinds": {"folder-content-membership"},
    "association-type": {"entry-membership"},
    "no-metadata-update": {"folder-content-membership"},
}
"""What cannot be broken alone."""


@pytest.mark.parametrize(("rule", "change"), CASES, ids=[f"{rule}-{n}" for n, (rule, _) in enumerate(CASES)])
def test_a_broken_rule_is_named_and_nothing_else_is(rule: str, change: Change) -> None:
    root = s.with_folder()
    change(root)
    found = broken(root)
    assert rule in found
    if table.RULES[rule] not in table.STRUCTURE:
        assert found - {rule} <= COMPANIONS.get(rule, set())


def test_every_rule_of_the_message_is_tested() -> None:
    judged = {rule.id for rule in (*table.STRUCTURE, *table.CONTENT)} | {"appended-transform"}
    elsewhere = {"allowed-codes", "on-demand-entry", "on-demand-content", "extra-metadata"}
    assert {rule for rule, _ in CASES} == judged - elsewhere


LEGAL: list[Change] = [
    lambda root: None,
    put("Doc1", "URI"),
    put("Doc1", "URI", "1|http://", "2|a"),
    put("Doc1", SIGNED_AT, "20200114083000"),
    put("Doc1", REFERENCE_ID_LIST, "1^^^&2.999&ISO^urn:ihe:iti:xds:2013:order", "2^^^^x"),
    put("Doc1", "serviceStopTime", "2020"),
    put("Set1", "intendedRecipient", "Sykehus|^Lege", "||^^Internet^a@example.org"),
    put("As2", "SubmissionSetStatus", "Original"),
    attribute("Doc1", f"{{{XSI}}}schemaLocation", "a b"),
    attribute("Doc1", "status", "urn:anything"),
    lambda root: named(root, "Doc1").attrib.pop("mimeType"),
    lambda root: scheme_of(root, "Doc1", AUTHOR).attrib.pop("nodeRepresentation"),
    inside("Doc1", s.code(EntryScheme.CONFIDENTIALITY_CODE, "R", "Doc1"), s.code(EntryScheme.EVENT_CODE, "a", "Doc1")),
    inside("Folder1", s.slot("urn:x-mine:note", "")),
    more(s.rim("ObjectRef", {"id": s.ABSENT_UUID})),
    more(s.association("As9", RPLC, "Doc1", s.ABSENT_UUID)),
    more(s.member("As9", "Set1", s.ABSENT_UUID, "Reference")),
    more(s.member("As8", s.ABSENT_UUID, "Doc1"), s.member("As9", "Set1", "As8")),
    more(s.association("As9", RPLC, "Doc1", s.ABSENT_UUID), s.association("As10", APND, "Doc1", s.ABSENT_UUID)),
]


@pytest.mark.parametrize("change", LEGAL)
def test_what_the_framework_allows_passes(change: Change) -> None:
    root = s.with_folder()
    change(root)
    assert rules.check(ebrim.read_submission(s.body(root))) == ()


def test_a_longer_value_passes_where_the_node_is_configured_so() -> None:
    root = s.one_document()
    put("Doc1", "urn:oid:2.999.77", "x" * 300)(root)
    assert broken(root) == {"value-length"}
    assert broken(root, value_limit=300) == set()


def test_a_broken_structure_stops_the_rest() -> None:
    root = s.one_document()
    without("Doc1", "hash")(root)
    attribute("Doc1", "colour", "red")(root)
    assert broken(root) == {"known-content"}


def test_all_problems_are_told_at_once_each_with_rule_place_expected_and_found() -> None:
    root = s.one_document()
    without("Doc1", "hash")(root)
    put("Doc1", "creationTime", "i går")(root)
    part("Doc1", IdScheme.ENTRY_PATIENT_ID, "value", s.OTHER_PATIENT)(root)
    violations = rules.check(ebrim.read_submission(s.body(root)))
    failure = rules.failure(violations)
    assert isinstance(failure, XdsFailure)
    assert [error.code for error in failure.errors] == [
        Code.REGISTRY_METADATA_ERROR,
        Code.REGISTRY_METADATA_ERROR,
        Code.PATIENT_ID_DOES_NOT_MATCH,
    ]
    wrong = failure.errors[1]
    place = "/SubmitObjectsRequest/RegistryObjectList/ExtrinsicObject[1]/Slot[1]/ValueList/Value[1]"
    assert wrong.location == place
    for said in ("data-type", place, "YYYY", "i går"):
        assert said in wrong.context
    assert s.PATIENT in failure.errors[2].context
    assert s.OTHER_PATIENT in failure.errors[2].context


def test_who_differs_from_the_submission_set_is_told_and_not_the_set() -> None:
    root = s.one_document()
    part("Doc1", IdScheme.ENTRY_PATIENT_ID, "value", s.OTHER_PATIENT)(root)
    (violation,) = rules.check(ebrim.read_submission(s.body(root)))
    assert "ExtrinsicObject[1]" in violation.path
    assert (violation.expected, violation.found) == (s.PATIENT, s.OTHER_PATIENT)


@pytest.mark.parametrize(("change", "said"), [(CASES[7][1], "neither"), (CASES[8][1], "both")])
def test_a_package_that_is_nothing_or_two_things_is_told_which(change: Change, said: str) -> None:
    root = s.with_folder()
    change(root)
    assert [v.found for v in rules.check(ebrim.read_submission(s.body(root)))] == [said]


def test_only_what_is_foreign_is_called_so() -> None:
    root = s.one_document()
    attribute("Doc1", f"{{{XSI}}}schemaLocation", "a b")(root)
    attribute("Doc1", "colour", "red")(root)
    (violation,) = rules.check(ebrim.read_submission(s.body(root)))
    assert violation.found == "attribute colour"


def test_a_path_leads_to_the_place() -> None:
    root = s.with_folder()
    part("Folder1", IdScheme.FOLDER_UNIQUE_ID, "value", "x")(root)
    body = s.body(root)
    (violation,) = rules.check(ebrim.read_submission(body))
    steps = re.sub(r"/(\w)", rf"/{{{RIM}}}\1", violation.path.split("RegistryObjectList/")[1].rsplit("/@", 1)[0])
    found = body[0].find(f"{{{RIM}}}{steps}")
    assert found is not None
    assert found.get("value") == "x"


def test_nothing_of_the_sender_comes_back_longer_than_it_may() -> None:
    root = s.one_document()
    attribute("Doc1", "mimeType", "x\x7f" * 10_000)(root)
    (violation,) = rules.check(ebrim.read_submission(s.body(root)))
    assert len(violation.error.context) < 600
    assert "\x7f" not in violation.error.context


def test_the_answer_stays_bounded_whatever_the_number_of_mistakes() -> None:
    root = s.one_document()
    more(*(s.rim("Organization", {"id": f"o{n}"}) for n in range(5000)))(root)
    assert len(rules.check(ebrim.read_submission(s.body(root)))) == rules.MOST_VIOLATIONS


def test_ten_thousand_associations_are_judged_without_recursion() -> None:
    entries = [s.entry(f"Doc{n}", f"2.999.1.{n}") for n in range(1, 60)]
    chain = [s.association(f"X{n}", XFRM, f"Doc{n}", f"Doc{n + 1}") for n in range(1, 59)]
    members = [s.member(f"M{n}", "Set1", f"Doc{n}", "Original") for n in range(1, 60)]
    many = [s.association(f"Y{n}", APND, "Doc1", "Doc59") for n in range(10_000)]
    root = s.request(s.submission_set(), *entries, *chain, *members, *many)
    assert rules.check(ebrim.read_submission(xml.read(ElementTree.tostring(root), xml.ANSWER))) == ()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(CASES), min_size=2, max_size=4, unique_by=lambda case: id(case)))
def test_whatever_is_combined_is_refused_or_can_be_stored_and_never_stumbled_over(
    cases: list[tuple[str, Change]],
) -> None:
    root = s.with_folder()
    for _, change in cases:
        try:
            change(root)
        except (StopIteration, ValueError):
            continue  # an earlier change took away what this one changes
    submittal = s.submittal(root)
    if rules.check(submittal):
        return
    # One change may put right what another broke: then there is nothing to refuse, and all of it can be answered with.
    answer = s.answer(s.written(ebrim.metadata(submittal, s.uuids())))
    assert xml.schema("query").findings(xml.read(answer)) == ()
    assert len(s.objects_in(answer)) == len(submittal.objects)
