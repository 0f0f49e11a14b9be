"""registry.explain.explanation: updates, removals, retrieves and queries over many patients, by the rules of each."""

from __future__ import annotations

import pytest

from ihe.names import Action, QueryId
from registry.explain.explanation import Outcome
from registry.explain.rules import described_rules
from registry.explain.updates import OF_CONTENT
from registry.rules.update import UPDATE_RULES
from tests.registry.messages import (
    DEPRECATE,
    DOCUMENT,
    FIND,
    PERSON,
    REMOVE,
    RETRIEVE,
    SUBMISSION,
    Mistake,
    line_of,
    refusing,
    told,
)

ON_DEMAND = SUBMISSION.replace("7edca82f-054d-47f2-a032-9b2a5b5186c1", "34268e47-fdf5-41a6-ba33-82133c465248")
for name in ("creationTime", "hash", "size"):
    line = next(each for each in ON_DEMAND.splitlines() if f'name="{name}"' in each)
    ON_DEMAND = ON_DEMAND.replace(f"{line}\n", "")
NEW_VERSION = SUBMISSION.replace('id="Doc1" mimeType', f'id="Doc1" lid="{DOCUMENT}" mimeType')
MANY = FIND.replace(QueryId.FIND_DOCUMENTS.value, QueryId.FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS.value)
MANY = MANY.replace(f"'{PERSON}", f"('{PERSON}").replace("ISO'<", "ISO')<")

RIGHT = {
    "ITI-57": (
        DEPRECATE,
        "ITI-57 with 1 association: a node would accept it, if what it updates is registered as it says.",
        "new status",
    ),
    "ITI-62": (
        REMOVE,
        "ITI-62 with 1 object to remove: a node would accept it, if it is registered and nothing that stays needs it.",
        "ObjectRef",
    ),
    "ITI-43": (RETRIEVE, "ITI-43 with 1 document: a node would accept it.", "Document 1"),
    "ITI-51": (MANY, "ITI-51 with FindDocumentsForMultiplePatients: a node would accept it.", "Query"),
    "ITI-61": (
        ON_DEMAND,
        "ITI-61 with 1 entry, 1 folder, 4 associations: a node would accept it.",
        "DocumentEntry Doc1",
    ),
}


@pytest.mark.parametrize("transaction", RIGHT)
def test_each_transaction_is_recognised_judged_and_understood(transaction: str) -> None:
    message, sentence, row = RIGHT[transaction]
    found = told(message)
    assert (found.transaction, found.sentence, found.problems) == (transaction, sentence, ())
    assert row in dict(found.understood)
    assert found.unchecked


LISTED = f'    <rim:ObjectRef id="{DOCUMENT}"/>\n'
REPOSITORY = "<xds:RepositoryUniqueId>2.999.10.20.1</xds:RepositoryUniqueId>"
DOCUMENT_ID = "<xds:DocumentUniqueId>2.999.40.7.1</xds:DocumentUniqueId>"
WRONG = [
    (DEPRECATE, Mistake("OriginalStatus", "Status", "update-status-slots", at="<Association")),
    (REMOVE, Mistake(LISTED, "", "remove-by-id", "[the entryUUID", at="ObjectRefList")),
    (REMOVE, Mistake("xmlns:rim", 'deletionScope="urn:x" xmlns:rim', "remove-by-id", "leave it out")),
    (RETRIEVE, Mistake(REPOSITORY, "", "schema", at="DocumentUniqueId")),
    (RETRIEVE, Mistake(DOCUMENT_ID, "<xds:UniqueId>1</xds:UniqueId>", "schema")),
    (MANY, Mistake(f"'{PERSON}", f"'{PERSON}^", "query-type", "'(patient 1)^^^&amp;2.16")),
]


@pytest.mark.parametrize(("message", "mistake"), WRONG, ids=lambda each: str(getattr(each, "new", ""))[:30])
def test_a_mistake_is_on_its_line(message: str, mistake: Mistake) -> None:
    wrong = mistake.of(message)
    found = refusing(told(wrong))
    assert found
    assert found[0].line == line_of(wrong, mistake.at or mistake.new)
    assert found[0].rule == mistake.rule
    assert mistake.fix in str(found[0].fix or "")


def test_a_new_version_is_told_what_it_lacks() -> None:
    found = told(NEW_VERSION, action=Action.UPDATE)
    rules = {each.rule for each in refusing(found)}
    assert "update-previous-version" in rules
    assert rules <= described_rules().keys()
    restricted = told(NEW_VERSION, action=Action.RESTRICTED_UPDATE)
    assert "restricted-entries-only" in {each.rule for each in refusing(restricted)}
    assert restricted.transaction == "ITI-92"


def test_a_patient_feed_is_recognised_and_not_judged() -> None:
    found = told('<PRPA_IN201301UV02 xmlns="urn:hl7-org:v3"/>')
    assert (found.outcome, found.transaction) == (Outcome.UNREADABLE, "ITI-44")
    assert "feeds patients" in found.sentence


def test_rules_that_take_the_registrys_content_are_rules() -> None:
    assert set(OF_CONTENT) <= UPDATE_RULES.keys()


def test_a_filter_that_nothing_reads_is_warned_of() -> None:
    found = told(FIND.replace('"$XDSDocumentEntryClassCode"', '"XDSDocumentEntryClassCode"'))
    assert found.outcome is Outcome.ACCEPTED
    (problem,) = found.problems
    assert (problem.rule, problem.level) == ("query-ignored-parameter", "note")
    assert 'name="$XDSDocumentEntryClassCode"' in str(problem.fix)


STATUS = "('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')"


@pytest.mark.parametrize(
    ("old", "new", "strict"),
    [
        (STATUS, STATUS.strip("()"), f"<rim:Value>{STATUS}</rim:Value>"),
        (STATUS, STATUS.strip("()'"), f"<rim:Value>{STATUS}</rim:Value>"),
        (f"'{PERSON}", f"('{PERSON}", "<rim:Value>'(patient 1)^^^&amp;2.16.578.1.12.4.1.4.1&amp;ISO'</rim:Value>"),
    ],
)
def test_a_value_that_only_this_registry_understands_is_noted_with_what_all_do(old: str, new: str, strict: str) -> None:
    message = FIND.replace(old, new)
    found = told(message.replace("ISO'<", "ISO')<") if new.startswith("('") else message)
    assert found.outcome is Outcome.ACCEPTED
    (problem,) = found.problems
    assert (problem.rule, problem.level) == ("query-strict-value", "note")
    assert strict in str(problem.fix)


def test_a_hash_in_capitals_is_noted() -> None:
    small = "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"
    found = told(SUBMISSION.replace(small, small.upper()))
    assert found.outcome is Outcome.ACCEPTED
    (problem,) = found.problems
    assert (problem.rule, problem.level, problem.line) == ("hash-case", "note", line_of(SUBMISSION, 'name="hash"'))
    assert "<Value>2fd4e1c67a2d28fced849ee1bb76e7391b93eb12</Value>" in str(problem.fix)
