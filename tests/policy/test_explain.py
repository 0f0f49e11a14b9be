"""Why a decision came out as it did, for whoever is asked."""

from __future__ import annotations

import pytest

from policy.decide import decide, refusal
from policy.explain import Verdict, describe, explain
from policy.reading import read
from tests.policy.casebook import Case, block, cases, entry, machine, person, pilot, situation
from tests.policy.test_possible import OPEN, with_agreement

EVERY = [case for case in cases() if case.entries]


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_the_explanation_never_differs_from_the_decision(case: Case) -> None:
    at = case.situation
    for each in case.entries.values():
        family = [other for other in case.entries.values() if other.key == each.key]
        lines = explain(at, each, family)
        decision = decide(at, family, each)
        failed = [line.reason for line in lines if line.verdict is Verdict.FAILED]
        if refused := refusal(at, None):
            assert failed[-1] == refused
        elif decision.permit:
            assert not failed
            assert lines[-1].reason == decision.reason
        else:
            assert {*failed} <= {reason.value for reason in (decision.reason, *decision.also)}
            assert decision.reason in failed
            assert failed[-1] == decision.reason


def test_a_row_says_what_it_looked_at() -> None:
    anne = situation(person("Anne"), pilot(), [block("source_total", "b-9", source="ous")])
    lines = {line.row: line for line in explain(anne, entry("e", pilot()))}
    assert lines["D5"].verdict is Verdict.FAILED
    assert lines["D5"].seen == "blocks b-9"
    assert lines["C2"].seen == (
        "now 2021-02-15 10:00:00; source from 2020-11-10 00:00:00; ous-regional 2020-11-10 00:00:00 to open"
    )
    assert str(lines["D5"]).startswith("D5   FAILED BLOCK_SOURCE_TOTAL")


def test_an_opened_block_is_told_as_opened() -> None:
    anne = situation(person("Anne", purpose="ETREAT", basis="emergency"), pilot())
    lines = {line.row: line for line in explain(anne, entry("e", pilot(), codes=["NORS"]))}
    assert lines["E5"].verdict is Verdict.OPENED
    assert (lines["F1"].reason, lines["F1"].seen) == ("OK_BTG", "the patient is told")


def test_rows_that_a_machine_is_not_asked_are_not_tested() -> None:
    policy = read(with_agreement(OPEN), ("open",))
    lines = explain(situation(machine("lab"), policy), entry("e", policy))
    untested = {line.row for line in lines if line.verdict is Verdict.NOT_TESTED}
    assert untested == {"A10", "B2", "C5", "C6", "C7", "D3"}


def test_without_an_agreement_there_is_nothing_to_test_along() -> None:
    lines = {line.row: line for line in explain(situation(person("Dag"), pilot()), entry("e", pilot()))}
    assert lines["C1"].verdict is Verdict.FAILED
    assert lines["C1"].seen == "source ous, agreements none"
    assert lines["E1"].verdict is Verdict.NOT_TESTED
    assert lines["E3"].verdict is Verdict.PASSED


def test_the_policy_describes_itself_and_its_growth() -> None:
    lines = describe(pilot())
    assert lines[0] == f"{pilot().version}: Journal documents via kjernejournal, trial 2020-21"
    assert (
        "agreement nord-regional: finn, helg, nlsh, unn -> bodo_legevakt, bodo_solvsuper, morkved; "
        "class_a_summaries, outpatient_notes; from 2020-12-01 00:00:00 with no end"
    ) in lines
    assert "the next source of Helse Nord is to be appended to agreement nord-regional" in lines
    assert any(line.startswith("look into agreements.toml: agreement.nord-regional.precision") for line in lines)


def test_open_agreements_are_described_as_such() -> None:
    lines = describe(read(with_agreement(OPEN.replace('sources = "any"', 'sources = "own"'))))
    assert any("agreement open: what it registered itself -> any machine; any kind" in line for line in lines)


def test_an_agreement_that_holds_across_patients_is_described_as_such() -> None:
    for more, told in (("multi_patient = true\n", True), ("", False)):
        lines = describe(read(with_agreement(OPEN + more), ("open",)))
        assert (
            any(line.startswith("agreement open") and line.endswith("; also across patients") for line in lines) is told
        )
