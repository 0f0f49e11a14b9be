"""Agreements that could never share anything, or would share more than anybody meant."""

from __future__ import annotations

import pytest

from policy.reading import read
from tests.policy.casebook import pilot_texts
from tests.policy.test_reading import edited, mistakes

AGREEMENTS = "agreements.toml"
OPEN = """
[agreement.open]
channel = "machine"
machines = "any"
sources = "any"
kinds = "any"
valid_from = 2020-01-01
valid_to = "open"
availability = ["Approved", "Deprecated"]
signing = "any"
max_age = "none"
precision = "day"
"""


def with_agreement(text: str) -> dict[str, str]:
    texts = pilot_texts()
    return texts | {AGREEMENTS: texts[AGREEMENTS] + text}


@pytest.mark.parametrize(
    ("old", "new", "place", "word"),
    [
        ('valid_to = "open"', "valid_to = 2020-11-10", "ous-regional.valid_to", "after valid_from"),
        ('valid_to = "open"', "valid_to = 2020-11-09", "ous-regional.valid_to", "only from a later day"),
        ('kinds = ["pilot"]', "kinds = []", "ous-regional.kinds", "name at least one"),
        ('roles = ["LE", "SP"]', "roles = []", "ous-regional.roles", "name at least one"),
        ('purposes = ["TREAT", "ETREAT"]', "purposes = []", "ous-regional.purposes", "name at least one"),
        ("panels = []", "panels = []\ndepartments = []", "ous-regional.departments", "name at least one"),
        ('["barneonkologer"]', "[]", "ous-national-panel.consumers", "a panel under panels"),
        ('["LE", "SP"]', '["LE", "PS"]', "ous-regional.roles", "lets nobody in as PS"),
        ('["TREAT", "ETREAT"]', '["TREAT", "COC"]', "ous-regional.purposes", "lets COC not in"),
        ('roles = ["LE"]', 'roles = ["SP"]', "ous-national-panel.roles", "is for role LE"),
        ('"morkved"]', '"morkved", "ahus"]', "nord-regional.consumers", "ahus is of region sor-ost, source unn"),
        ('region_rule = "any"', 'region_rule = "same_region"', "", ""),
        ('"gp_other"', '"ous_hospitals"', "ous-regional.consumers", "is the only source itself"),
        ('max_age = "none"', "max_age = { class_a_summaries = 9 }", "ous-regional.max_age", "kind outpatient_notes"),
        ('max_age = "none"', 'max_age = { class_a_summaries = 9, outpatient_notes = "none", radiology_reports = 1 }',
         "ous-regional.max_age", "radiology_reports is no kind"),
    ],
)  # fmt: skip
def test_an_impossible_agreement_is_refused(old: str, new: str, place: str, word: str) -> None:
    texts = edited(AGREEMENTS, old, new)
    if not place:
        read(texts)
        return
    found = mistakes(texts)
    assert any(f"{AGREEMENTS}: agreement.{place}: " in each and word in each for each in found), found


def test_growth_must_fit_the_region_rule_of_its_agreement() -> None:
    found = mistakes(edited(AGREEMENTS, 'append_to = "ous-regional-successor"', 'append_to = "nord-regional"'))
    assert any("source of growth[1] of sor-ost" in each for each in found)


def test_a_limit_on_age_needs_kinds() -> None:
    found = mistakes(
        with_agreement(OPEN.replace('"none"', "{ outpatient_notes = 9 }").replace('"any"\nso', '["x"]\nso'))
    )
    assert any("agreement.open.max_age: name the kinds" in each for each in found)


def test_departments_of_agreement_and_consumer_meet() -> None:
    texts = edited(AGREEMENTS, "panels = []", 'panels = []\ndepartments = ["705592"]')
    place = 'places_of_care = ["974706490"]'
    texts["organisations.toml"] = texts["organisations.toml"].replace(place, f'{place}\ndepartments = ["109765"]')
    assert any("ahus lists other departments" in each for each in mistakes(texts))


def test_everything_for_everybody_needs_a_second_word() -> None:
    found = mistakes(with_agreement(OPEN))
    assert found == [
        f"{AGREEMENTS}: agreement.open: shares everything with everybody; narrow it, "
        "or confirm this agreement by name when loading"
    ]
    assert mistakes(with_agreement(OPEN), ("another",)) == found
    assert read(with_agreement(OPEN), ("open",)).agreements["open"].kinds is None


@pytest.mark.parametrize("key", ["machines", "sources", "kinds"])
def test_any_two_of_them_may_be_open(key: str) -> None:
    names = {"machines": "lab", "sources": "ous", "kinds": "pilot"}
    read(with_agreement(OPEN.replace(f'{key} = "any"', f'{key} = ["{names[key]}"]')))


def test_an_own_agreement_is_never_open() -> None:
    read(with_agreement(OPEN.replace('sources = "any"', 'sources = "own"')))
