"""Reading policy files: every mistake at once, each with its place and what to do about it."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy.agreements import Finding
from policy.reading import PolicyRefused, digest, read
from tests.policy.casebook import GUIDE, pilot_texts


def mistakes(texts: dict[str, str], confirmed: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(PolicyRefused) as refused:
        read(texts, confirmed)
    return [str(finding) for finding in refused.value.findings]


def edited(file: str, old: str, new: str) -> dict[str, str]:
    texts = pilot_texts()
    assert old in texts[file]
    return texts | {file: texts[file].replace(old, new, 1)}


def test_the_pilot_loads_and_names_itself() -> None:
    texts = pilot_texts()
    policy = read(texts, generation=7)
    assert policy.version == f"no-pilot-2020/1#{digest(texts)}"
    assert policy.edition == f"{policy.version} generation 7"


def test_the_agreement_of_the_guide_loads_as_it_stands_there() -> None:
    example = GUIDE.split("```toml\n")[1].split("```")[0]
    texts = pilot_texts()
    start = texts["agreements.toml"].index("[agreement.nord-regional]")
    stop = texts["agreements.toml"].index("[agreement.ous-national-panel]")
    texts["agreements.toml"] = texts["agreements.toml"][:start] + example + texts["agreements.toml"][stop:]
    assert read(texts).agreements["nord-regional"].consumers == {"morkved"}
    texts["agreements.toml"] = texts["agreements.toml"].replace("# departments", "departments")
    assert read(texts).agreements["nord-regional"].departments == frozenset({"705592"})


def test_any_changed_letter_is_another_version() -> None:
    texts = pilot_texts()
    changed = texts | {"kinds.toml": texts["kinds.toml"] + "\n"}
    assert read(texts).version != read(changed).version
    moved = {"a": "bc", "d": ""}
    assert digest(moved) != digest({"ab": "c", "d": ""})
    assert digest(moved) == digest(dict(reversed(moved.items())))


def test_what_may_be_meant_is_a_warning() -> None:
    found = [(warning.file, warning.path) for warning in read(pilot_texts()).warnings]
    assert ("agreements.toml", "agreement.nord-regional.precision") in found
    assert ("agreements.toml", "agreement.ous-national-panel.precision") in found
    assert ("agreements.toml", "agreement.ous-regional-successor.sources") in found
    assert ("enrolled/gp_karrestad.toml", "") in found
    assert ("organisations.toml", "consumer.morkved.places_of_care") in found


@pytest.mark.parametrize("file", ["policy.toml", "organisations.toml", "kinds.toml", "agreements.toml"])
def test_a_missing_file_is_one_mistake_and_not_a_hundred(file: str) -> None:
    texts = pilot_texts()
    del texts[file]
    assert mistakes(texts) == [f"{file}: this file is missing; write it"]


def test_a_file_that_is_not_toml_is_one_mistake() -> None:
    found = mistakes(pilot_texts() | {"organisations.toml": "[region.nord\n"})
    assert len(found) == 1
    assert found[0].startswith("organisations.toml: is not TOML: ")
    assert "line 1" in found[0]


@pytest.mark.parametrize(
    ("file", "old", "new", "path", "sentence"),
    [
        ("agreements.toml", 'valid_to = "open"\n', "", "agreement.ous-regional.valid_to", "write this key"),
        ("agreements.toml", 'signing = "signed"\n', "", "agreement.ous-regional.signing", "write this key"),
        ("agreements.toml", 'availability = ["Approved"]\n', "", "agreement.ous-regional.availability", "write this"),
        ("agreements.toml", "signing =", "signning = 1\nsigning =", "agreement.ous-regional.signning", "write signing"),
        ("agreements.toml", 'channel = "clinician"', 'channel = "citizen"', "agreement.ous-regional", 'channel = "'),
        ("agreements.toml", '["Approved"]', '["Aproved"]', "agreement.ous-regional.availability[1]", "'Approved'"),
        ("agreements.toml", 'valid_to = "open"', 'valid_to = "never"', "agreement.ous-regional.valid_to", '"open"'),
        ("agreements.toml", "+01:00", "", "agreement.ous-regional.valid_from", "write the offset"),
        ("agreements.toml", "+01:00", "+02:00", "agreement.ous-regional.valid_from", "2020-11-09T23:00:00+01:00"),
        ("agreements.toml", "2020-11-10T00:00:00+01:00", "0001-01-01", "agreement.ous-regional.valid_from", "a year"),
        ("agreements.toml", 'max_age = "none"', "max_age = 0", "agreement.ous-regional.max_age", '"none", or a table'),
        ("agreements.toml", 'kinds = ["pilot"]', 'kinds = ["any"]', "agreement.ous-regional.kinds", "stands alone"),
        ("agreements.toml", 'sources = ["ous"]', 'sources = "own"', "agreement.ous-regional.sources", '"any"'),
        ("agreements.toml", '["LE", "SP"]', '["LE", "LE"]', "agreement.ous-regional.roles", "only once"),
        ("agreements.toml", "agreement.ous-regional]", "agreement.OUS]", "agreement.OUS", "lower-case letters"),
        ("organisations.toml", 'require_role = "LE"', 'require_role = "SP"', "panel.barneonkologer.require_", "'LE'"),
        ("organisations.toml", 'place_of_care = "974631326"\n', "", "panel.barneonkologer.member[1].place_of", ""),
        ("organisations.toml", "2020-11-10", "2020-11-10T00:00:00+01:00", "source.ous.available_from", "without a"),
        ("organisations.toml", '"2.999.578.1"', '"urn:oid:2.999"', "source.ous.home_community", "an OID"),
        ("policy.toml", "security_level = 4", 'security_level = "4"', "defaults.security_level", "without quotes"),
        ("policy.toml", 'channels = ["clinician"]', 'channels = ["citizen"]', "defaults.channels[1]", "'clinician'"),
        ("policy.toml", "store_documents = false", "store_documents = true", "defaults.store_documents", "False"),
        ("policy.toml", "require_listed_before_retrieve = false", "require_listed_before_retrieve = true",
         "defaults.require_listed_before_retrieve", "False"),
        ("policy.toml", "block_cache_ttl_seconds = 0", "block_cache_ttl_seconds = 5", "session.block_cache_ttl", "0"),
        ("policy.toml", 'reveal = "hide"', 'reveal = "mask"', "block_kinds.visit_history.reveal", "'hide'"),
        ("policy.toml", "synthetic_months = [80]", "synthetic_months = [81]", "person_numbers.synthetic_mon", "40, 65"),
        ("enrolled/ahus.toml", 'hpr = "T0000103"', "hpr = 9144900", "person[1].hpr", "in quotes"),
        ("kinds.toml", 'class = "A00-1"\n', "", "kind.class_a_summaries.class", "write this key"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_what_to_do(
    file: str, old: str, new: str, path: str, sentence: str
) -> None:
    found = mistakes(edited(file, old, new))
    assert len(found) == 1, found
    assert found[0].startswith(f"{file}: {path}"), found
    assert sentence in found[0]


def test_every_mistake_of_every_file_is_told_at_once() -> None:
    texts = pilot_texts()
    texts["agreements.toml"] = texts["agreements.toml"].replace('signing = "signed"\n', "")
    texts["organisations.toml"] = texts["organisations.toml"].replace('"974707532"', '"974707531"')
    texts["organisations.toml"] = (
        texts["organisations.toml"].replace("983967", "98396x").replace("974707152", "97470715")
    )
    texts["kinds.toml"] = texts["kinds.toml"].replace('"B03-2"', '"B03"')
    texts["enrolled/nobody.toml"] = ""
    texts["notes.toml"] = ""
    found = mistakes(texts)
    assert len([each for each in found if each.startswith("agreements.toml")]) == 4
    assert {each.split(":")[0] for each in found} == {
        "agreements.toml",
        "organisations.toml",
        "kinds.toml",
        "enrolled/nobody.toml",
        "notes.toml",
    }


def test_a_table_that_cannot_be_read_is_still_known_by_its_id() -> None:
    # Agreements that name source ous, and the persons enrolled, are not blamed for it.
    found = mistakes(edited("organisations.toml", 'signing = "legal_authenticator"', 'signing = "whatever"'))
    assert len(found) == 1
    assert found[0].startswith("organisations.toml: source.ous.signing: write 'legal_authenticator'")


def test_entries_of_a_list_that_cannot_be_read_leave_the_others_in_their_place() -> None:
    person = '[[person]]\nhpr = {}\nplace_of_care = "{}"\nvalid_from = 2020-11-01\nvalid_to = "open"\n'
    numbers = [9 if index in (1, 9, 10) else f'"T{index}"' for index in range(12)]
    places = ["974706490"] * 11 + ["974207532"]
    texts = pilot_texts()
    texts["enrolled/ahus.toml"] = "".join(person.format(*pair) for pair in zip(numbers, places, strict=True))
    found = mistakes(texts)
    assert [each.split(": ")[1] for each in found if "quotes" in each] == [
        "person[10].hpr",
        "person[11].hpr",
        "person[2].hpr",
    ]
    assert [each for each in found if "974207532 is no place of care of consumer ahus" in each]
    assert len(found) == 4


@pytest.mark.parametrize("text", ["agreement = 3", "growth = 3", "[agreement]\nx = 3", "growth = [3]", "x = 1"])
def test_what_is_no_table_is_told(text: str) -> None:
    assert mistakes(pilot_texts() | {"agreements.toml": text})


def test_the_order_of_files_tables_and_keys_changes_no_mistake() -> None:
    texts = edited("agreements.toml", 'signing = "signed"\n', "") | {"z.toml": "", "y.toml": ""}
    names = list(texts)
    random.Random(4).shuffle(names)
    assert mistakes(texts) == mistakes({name: texts[name] for name in names})


def test_an_authorisation_feed_is_read_where_there_is_one() -> None:
    assert read(pilot_texts()).authorisations is None
    feed = '[[person]]\nhpr = "T0000101"\nroles = ["LE"]\n[[person]]\nhpr = "T0000101"\nroles = ["TL"]\n'
    assert read(pilot_texts() | {"authorisations.toml": feed}).authorisations == {"T0000101": frozenset({"LE", "TL"})}
    assert read(pilot_texts() | {"authorisations.toml": ""}).authorisations == {}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(pilot_texts())), st.data())
def test_files_cut_or_scrambled_are_read_or_refused_and_nothing_else(file: str, cut: st.DataObject) -> None:
    texts = pilot_texts()
    lines = texts[file].splitlines(keepends=True)
    start = cut.draw(st.integers(0, len(lines) - 1))
    stop = cut.draw(st.integers(start, len(lines)))
    texts[file] = "".join(lines[:start] + cut.draw(st.permutations(lines[start : min(stop, start + 6)])) + lines[stop:])
    found: tuple[Finding, ...] = (Finding(file, "", "nothing to correct"),)
    try:
        read(texts)
    except PolicyRefused as refused:
        found = refused.findings
    assert found
    assert all(finding.sentence for finding in found)
