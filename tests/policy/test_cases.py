"""Every case of tests/policy/cases: decision tables in the domain's words, on the pilot's own files."""

from __future__ import annotations

from typing import Any

import pytest

from policy.decide import decide, decide_document, outlook, refusal
from policy.facts import Channel, Decision, DocumentKey, EntryFacts, Reason
from policy.shield import Family, Shown, shield
from policy.subject import admit
from tests.policy.casebook import Case, cases, cx
from tests.policy.worlds import later

EVERY = cases()
SCENARIOS = {2, 4, 5, 7, 9, 10, 12, 16, 20, 21, 23, 25, *range(32, 46), 48, 50, 51, 52, 57, 59, 62, 69} - {34}


def families(case: Case) -> dict[DocumentKey, Family]:
    by_key: dict[DocumentKey, list[EntryFacts]] = {}
    entries = case.entries
    for entry in entries.values():
        by_key.setdefault(entry.key, []).append(entry)
    replaced = {
        entries[name].key: tuple(tuple(by_key[entries[later].key]) for later in words.get("replaced_by", ()))
        for name, words in case.words.get("entry", {}).items()
    }
    return {key: Family(tuple(found), tuple(found), replaced[key]) for key, found in by_key.items()}


def request_refusal(case: Case) -> Reason | None:
    subject = case.subject
    if subject.channel is not Channel.MACHINE and (reason := admit(subject, case.policy)) is not None:
        return reason
    return refusal(case.situation, case.asks_for)


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_it_is_decided_as_the_case_says(case: Case) -> None:
    want = case.words["want"]
    assert request_refusal(case) == want.get("refused")
    if "refused" in want:
        return
    situation = case.situation
    found = families(case)
    shown = shield(situation, list(found.values()))
    assert sorted(shown.visible) == sorted(want["visible"])
    # The document is fetched by the same rules as it is listed.
    for key, family in found.items():
        decision = decide_document(situation, key, family.entries, later(family))
        assert decision.permit is any(entry.entry_uuid in shown.visible for entry in family.entries)
    closed = outlook(situation, cx(case.patient)).closed
    if case.subject.channel is not Channel.MACHINE:
        assert closed is None or not shown.visible
    if "closed" in want:
        assert closed is not None
        assert closed.reason == want["closed"]
    reasons_are(case, shown, found, want)


def reasons_are(case: Case, shown: Shown, found: dict[DocumentKey, Family], want: dict[str, Any]) -> None:
    situation = case.situation
    decisions: dict[str, Decision] = {}
    for family in found.values():
        for entry in family.wanted:
            decisions[entry.entry_uuid] = decide(situation, family.entries, entry, family.replaced_by)
    for judgement in shown.judgements:
        assert judgement.decision == decisions[judgement.entry.entry_uuid]
    assert {name: decisions[name].reason for name in want.get("reason", {})} == want.get("reason", {})
    for name, codes in want.get("also", {}).items():
        assert [code.value for code in decisions[name].also] == codes
    for name, code in want.get("retrieve", {}).items():
        key = case.entries[name].key if name in case.entries else DocumentKey("2.999.578.1.1", "2.999.404")
        family = found.get(key, Family((), ()))
        assert decide_document(situation, key, family.entries, later(family)).reason == code
    if "agreement" in want:
        assert {decisions[name].agreement for name in want["visible"]} == {want["agreement"]}
    assert {name for name, each in decisions.items() if each.alert} == set(want.get("alert", ()))
    assert {name for name, each in decisions.items() if each.notify_patient} == set(want.get("notify", ()))
    assert list(shown.notes) == want.get("notes", [])


@pytest.mark.parametrize("number", sorted(SCENARIOS))
def test_every_scenario_that_is_a_decision_has_a_case(number: int) -> None:
    assert [case for case in EVERY if case.words.get("scenario") == number]
