"""What the files must say together; each rule once, on the pilot with one thing changed."""

from __future__ import annotations

import pytest

from policy.reading import read
from tests.policy.casebook import pilot_texts
from tests.policy.test_reading import edited, mistakes

ORGANISATIONS = "organisations.toml"


@pytest.mark.parametrize(
    ("file", "old", "new", "path"),
    [
        (ORGANISATIONS, 'region = "vest"', 'region = "west"', "panel.barneonkologer.member[2].region"),
        (ORGANISATIONS, '["finn", "unn", "nlsh", "helg"]', '["finn", "uun"]', "source_group.helse_nord"),
        ("kinds.toml", '["class_a_summaries", "outpatient_notes"]', '["class_a"]', "kind_set.pilot"),
        ("agreements.toml", 'sources = ["ous"]', 'sources = ["oos"]', "agreement.ous-regional.sources"),
        ("agreements.toml", '"kad_aker"', '"kad"', "agreement.ous-regional.consumers"),
        ("agreements.toml", '["barneonkologer"]', '["onkologer"]', "agreement.ous-national-panel.panels"),
        ("agreements.toml", 'kinds = ["pilot"]', 'kinds = ["pilots"]', "agreement.ous-regional.kinds"),
        ("agreements.toml", 'append_to = "ous-regional-successor"', 'append_to = "ous"', "growth[1].append_to"),
        ("agreements.toml", 'region = "nord"', 'region = "north"', "growth[2].region"),
    ],
)
def test_every_id_resolves(file: str, old: str, new: str, path: str) -> None:
    found = mistakes(edited(file, old, new))
    assert f"{file}: {path}: " in found[0]
    assert "is not declared" in found[0]


def test_a_source_or_consumer_of_an_unknown_region_is_told() -> None:
    texts = pilot_texts()
    texts[ORGANISATIONS] = texts[ORGANISATIONS].replace('region = "nord"', 'region = "north"')
    found = mistakes(texts)
    assert any("source.unn.region: north is not declared" in each for each in found)
    assert any("consumer.morkved.region: north is not declared" in each for each in found)


def test_an_enrolment_file_belongs_to_a_consumer() -> None:
    found = mistakes(pilot_texts() | {"enrolled/oslo.toml": ""})
    assert found == ["enrolled/oslo.toml: declare consumer oslo, or name the file after a declared one"]


def test_a_group_and_a_set_have_names_of_their_own() -> None:
    assert "source_group.ous" in mistakes(edited(ORGANISATIONS, "helse_nord = [", 'ous = ["unn"]\nhelse_nord = ['))[0]
    assert (
        "kind_set.radiology_reports"
        in mistakes(edited("kinds.toml", "pilot = [", 'radiology_reports = ["outpatient_notes"]\npilot = ['))[0]
    )


def test_a_repository_has_one_owner() -> None:
    found = mistakes(edited(ORGANISATIONS, '["2.999.578.3.1"]', '["2.999.578.3.1", "2.999.578.1.1"]'))
    assert "2.999.578.1.1 belongs to source ous" in found[0]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ('organisation_number = "991324968"', 'organisation_number = "991324969"', "region.sor-ost"),
        ('legal_entity = "983974899"\nrepository', 'legal_entity = "983974898"\nrepository', "source.unn.legal_entity"),
        ('["984630492"]', '["984630493"]', "consumer.oslo_legevakt.places_of_care"),
        ('place_of_care = "974557746"', 'place_of_care = "974557745"', "panel.barneonkologer.member[2].place_of_care"),
    ],
)
def test_organisation_numbers_hold_their_control_digit(old: str, new: str, path: str) -> None:
    found = mistakes(edited(ORGANISATIONS, old, new))
    assert any(f"{ORGANISATIONS}: {path}" in each and "mod 11" in each for each in found)


def test_a_made_up_number_is_flagged_or_refused() -> None:
    found = mistakes(edited(ORGANISATIONS, 'number_status = "synthetic"\n', ""))
    assert found == [
        f"{ORGANISATIONS}: consumer.kad_aker.places_of_care: '311000012' begins with neither 8 nor 9; "
        "correct it, or write number_status if it is not a real number"
    ]
    read(edited(ORGANISATIONS, '["999537634"]', '["999537633"]') | {"enrolled/morkved.toml": ""})


def test_a_consumer_has_a_place_of_care() -> None:
    found = mistakes(edited(ORGANISATIONS, '["974116804"]', "[]"))
    assert "consumer.diakonhjemmet.places_of_care: name at least one place of care" in found[0]


def test_a_consumer_has_a_legal_entity() -> None:
    found = mistakes(edited(ORGANISATIONS, 'legal_entity = "982791952"\n', ""))
    assert "consumer.diakonhjemmet.legal_entity" in found[0]


def test_where_person_and_place_are_paired_the_places_stand_with_the_persons() -> None:
    assert (
        "leave them out here"
        in mistakes(edited(ORGANISATIONS, "places_of_care = []", 'places_of_care = ["974116804"]'))[0]
    )
    found = mistakes(edited("enrolled/gp_other.toml", 'legal_entity = "311000071"\n', ""))
    assert "person[1].legal_entity: write the legal entity" in found[0]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ('"974706490"', '"974207532"', "person[1].place_of_care"),
        ('valid_to = "open"', "valid_to = 2020-11-01", "person[1].valid_to"),
        ('hpr = "T0000103"', 'hpr = "T0000103"\nlegal_entity = "982791952"', "person[1].legal_entity"),
    ],
)
def test_an_enrolment_fits_its_consumer(old: str, new: str, path: str) -> None:
    assert path in mistakes(edited("enrolled/ahus.toml", old, new))[0]


def test_nobody_is_enrolled_where_the_role_admits() -> None:
    texts = edited(ORGANISATIONS, 'places_of_care = ["974706490"]\nenrolment = "listed"',
                   'places_of_care = ["974706490"]\nenrolment = "role"')  # fmt: skip
    assert "enrolled/ahus.toml: person: remove the file" in mistakes(texts)[0]
    del texts["enrolled/ahus.toml"]
    read(texts)


def test_a_place_belongs_to_one_legal_entity_wherever_it_is_named() -> None:
    found = mistakes(
        edited(ORGANISATIONS, 'legal_entity = "894166762"\nplace_of', 'legal_entity = "883974832"\nplace_of')
    )
    assert "place 974631326 belongs to 894166762 elsewhere" in found[0]


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('["B03-2"]', '["A03-2"]', "no type of class B00-1"),
        ('["B03-2"]', '["B03-1"]', "no type of class"),
        ('class = "B00-1"', 'class = "B03-2"', "is no class"),
    ],
)
def test_types_belong_to_their_class(old: str, new: str, word: str) -> None:
    assert any(word in each for each in mistakes(edited("kinds.toml", old, new)))


@pytest.mark.parametrize("kind", ["visit_history", "reservation", "journal_sharing", "named_person", "source_total"])
def test_no_policy_opens_what_a_patient_made_absolute(kind: str) -> None:
    found = mistakes(edited("policy.toml", f"[block_kinds.{kind}]\noverride = []",
                            f'[block_kinds.{kind}]\noverride = ["emergency"]'))  # fmt: skip
    assert f"policy.toml: block_kinds.{kind}.override: write []" in found[0]


def test_all_kinds_of_block_are_written_out_and_no_others() -> None:
    found = mistakes(edited("policy.toml", "[block_kinds.reservation]", "[block_kinds.objection]"))
    assert "block_kinds.objection: there is no such kind" in found[0]
    assert "block_kinds.reservation: write this table" in found[1]


def test_only_documents_are_blocked_by_a_code() -> None:
    found = mistakes(edited("policy.toml", "from_code = {", "# from_code = {"))
    assert "block_kinds.document.from_code" in found[0]


@pytest.mark.parametrize(("old", "new"), [(".1.1.9603", ".1.1.9604"), ('["NORS"]', '["NORN_ANG"]')])
def test_a_policy_that_does_not_know_the_national_code_of_blocked_documents_says_so(old: str, new: str) -> None:
    told = [str(each) for each in read(edited("policy.toml", old, new)).warnings if "from_code" in each.path]
    assert len(told) == 1
    assert "documents marked with it are shown" in told[0]


def test_no_authority_for_patients_is_not_any_authority() -> None:
    one = 'patient = ["2.16.578.1.12.4.1.4.1", "2.16.578.1.12.4.1.4.2"]'
    assert mistakes(edited("policy.toml", one, "patient = []")) == [
        "policy.toml: identifiers.patient: name at least one"
    ]
