"""What links to what: cases that stand beside those of test_rules, made as samples are."""

from __future__ import annotations

from ihe import ebrim, xml
from ihe.names import ON_DEMAND_ENTRY, STABLE_ENTRY, Action, AssociationType
from registry.register import ENTRY_TYPES
from registry.rules import judge as rules
from registry.rules.samples import sample
from registry.rules.samples.edits import Edit, attribute, related, slot
from registry.rules.strictness import Demands
from tests.ihe.submissions import ABSENT_UUID

RPLC, APND, SNAPSHOT = AssociationType.RPLC, AssociationType.APND, AssociationType.IS_SNAPSHOT_OF


def broken(*edits: Edit, action: Action = Action.REGISTER, demands: Demands | None = None) -> set[str]:
    """The rules that an otherwise right submission breaks once it is edited."""
    right = sample("on-demand-content" if action is Action.REGISTER_ON_DEMAND else "one-submission-set").passing
    message = xml.read(right.body)
    for edit in edits:
        edit(message)
    submittal = ebrim.read_submission(ebrim.repair(message))
    return {each.rule.id for each in rules.check(submittal, demands=demands or Demands(ENTRY_TYPES[action]))}


def test_an_end_that_looks_like_a_uuid_is_one() -> None:
    assert broken(related("As9", APND, "Doc1", "urn:uuid:1")) == {"needed-type"}
    assert broken(related("As9", APND, "Doc1", ABSENT_UUID.upper().replace("URN:UUID", "urn:uuid"))) == {"needed-type"}
    assert broken(related("As9", APND, "Doc1", ABSENT_UUID)) == set()


def test_a_status_on_a_relationship_is_a_status_too() -> None:
    edit = related("As9", RPLC, "Doc1", ABSENT_UUID)
    assert broken(edit, slot("As9", "SubmissionSetStatus", "Original")) == set()
    assert broken(edit, slot("As9", "SubmissionSetStatus", "Maybe")) == {"submission-set-status"}


def test_a_snapshot_is_stable() -> None:
    edit = related("As9", SNAPSHOT, "Doc1", ABSENT_UUID)
    assert broken(edit) == set()
    assert broken(edit, action=Action.REGISTER_ON_DEMAND) == {"snapshot-ends"}


def test_a_transaction_that_takes_both_judges_each_entry_as_what_it_is() -> None:
    either = Demands(frozenset({STABLE_ENTRY, ON_DEMAND_ENTRY}))
    assert broken(demands=either) == set()
    assert broken(action=Action.REGISTER_ON_DEMAND, demands=either) == set()
    assert broken(slot("Doc1", "size", "1"), action=Action.REGISTER_ON_DEMAND, demands=either) == {"on-demand-content"}
    assert broken(attribute("Doc1", "objectType", "urn:uuid:x"), demands=either) == {"stable-entry"}
