"""Levels per rule and sender: the narrowest given holds, and nobody can lower what keeps the registry whole."""

from __future__ import annotations

import pytest

from registry.rules.strictness import MOST_VIOLATIONS, STRICT, Level, Strictness, Verdict, level_fault
from registry.rules.table import EXTRA_METADATA, RULES, Violation

TITLE, TIMES = RULES["title-length"], RULES["service-times"]


def test_every_rule_rejects_unless_it_is_lowered() -> None:
    assert {STRICT.level(rule, "ous") for rule in RULES.values() if rule is not EXTRA_METADATA} == {Level.REJECT}


def test_the_narrowest_level_holds() -> None:
    levels = Strictness(
        {"title-length": Level.WARN, "service-times": Level.OFF},
        {"ous": {"title-length": Level.LOG}, "unn": {"service-times": Level.REJECT}},
    )
    assert [levels.level(TITLE, sender) for sender in ("ous", "unn", "finn")] == [Level.LOG, Level.WARN, Level.WARN]
    assert [levels.level(TIMES, sender) for sender in ("ous", "unn")] == [Level.OFF, Level.REJECT]


@pytest.mark.parametrize("rule", [rule.id for rule in RULES.values() if rule.firm])
def test_a_firm_rule_cannot_be_lowered(rule: str) -> None:
    for level in (Level.OFF, Level.LOG, Level.WARN):
        assert level_fault(rule, level) is not None
        with pytest.raises(ValueError, match=rule):
            Strictness({rule: level})
        with pytest.raises(ValueError, match=rule):
            Strictness({}, {"ous": {rule: level}})
    assert level_fault(rule, Level.REJECT) is None or rule == EXTRA_METADATA.id


@pytest.mark.parametrize("rule", [rule.id for rule in RULES.values() if not rule.firm])
def test_any_other_rule_can_have_any_level(rule: str) -> None:
    assert [level_fault(rule, level) for level in Level] == [None] * 4
    assert level_fault(rule, "fatal") == "must be off, log, warn or reject, not fatal"


def test_what_keeps_the_registry_whole_is_firm() -> None:
    """Structure, ids, patients, references and what blocks are found by; a new rule has to be decided on here."""
    assert {rule.id for rule in RULES.values() if not rule.firm} == {
        "value-length",
        "parent-reference",
        "required-attribute",
        "data-type",
        "display-name",
        "allowed-codes",
        "complete-author",
        "known-scheme",
        "extra-slot-name",
        "limited-metadata",
        "title-length",
        "folder-title",
        "service-times",
        "association-parts",
        "folder-membership",
        "folder-content-membership",
        "submission-set-status",
        "appended-transform",
    }


def test_extra_metadata_is_dropped_with_a_warning_or_not_looked_at() -> None:
    assert STRICT.level(EXTRA_METADATA, "ous") is Level.OFF
    assert Strictness(extra_metadata="warn").level(EXTRA_METADATA, "ous") is Level.WARN


def test_a_verdict_tells_what_rejects_before_what_it_warns_of_and_no_more_than_it_may() -> None:
    verdict = Verdict(Strictness({"title-length": Level.WARN}), "ous")
    verdict.add(Violation(TITLE, f"/{number}", "a", "b") for number in range(500))
    assert not verdict.rejects
    assert len(verdict.told) == MOST_VIOLATIONS
    verdict.add(Violation(TIMES, f"/{number}", "a", "b") for number in range(500))
    errors = verdict.failure.errors
    assert [error.rule for error in errors] == ["service-times"] * MOST_VIOLATIONS + ["title-length"] * MOST_VIOLATIONS
    assert verdict.broken == {"title-length": False, "service-times": True}
