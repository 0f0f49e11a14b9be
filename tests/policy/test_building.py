"""The policy that the files make, and its look-ups."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ihe.metadata import Coded
from ihe.names import Status
from policy.agreements import Codes, RegionRule, Seat, SigningGate
from policy.blocks import BlockKind
from policy.facts import Basis, Channel
from policy.reading import PolicyRefused, read
from tests.policy.casebook import SYSTEM, day, pilot, pilot_texts
from tests.policy.test_possible import OPEN, with_agreement
from tests.policy.test_reading import edited


def seat(place: str, source: str = "ous") -> Seat:
    (found,) = pilot().seats_at(source, place)
    return found


def test_the_pilots_defaults_are_what_the_token_rows_read() -> None:
    defaults = pilot().defaults
    assert defaults.security_level == "4"
    assert defaults.channels == {Channel.CLINICIAN}
    assert defaults.roles == {"LE", "SP"}
    assert defaults.purposes == {"TREAT", "ETREAT"}
    assert defaults.scope_token == "journaldokumenter_helsepersonell"
    assert (defaults.token_skew, defaults.attest_age) == (timedelta(seconds=60), timedelta(minutes=60))
    assert not defaults.require_listed


def test_every_place_is_known_with_its_legal_entity() -> None:
    places = pilot().places
    assert places["984630492"] == places["311000012"] == "958935420"
    assert places["974557746"] == "983974724"
    assert places["311000071"] == "311000071"


def test_a_place_is_served_only_by_an_agreement_with_a_source() -> None:
    policy = pilot()
    assert "984630492" in policy.places_served
    assert "874716782" in policy.places
    assert "874716782" not in policy.places_served
    grown = read(edited("agreements.toml", "sources = []", 'sources = ["nlsh"]'))
    assert "874716782" in grown.places_served


def test_a_repository_leads_to_its_source() -> None:
    source = pilot().source_of("2.999.578.3.1")
    assert source is not None
    assert (source.source_id, source.region, source.available_from) == ("unn", "nord", day("2020-12-01"))
    assert pilot().source_of("2.999.578.3") is None


def test_a_group_of_sources_is_spelled_out() -> None:
    assert pilot().agreements["nord-regional"].sources == {"finn", "unn", "nlsh", "helg"}


def test_an_agreement_is_what_its_table_says() -> None:
    agreement = pilot().agreements["ous-national-panel"]
    assert agreement.valid_from == datetime(2020, 12, 31, 23, tzinfo=UTC)
    assert agreement.valid_to is None
    assert agreement.availability == {Status.APPROVED}
    assert agreement.signing is SigningGate.SIGNED
    assert agreement.max_age is None
    assert agreement.region_rule is RegionRule.ANY
    assert agreement.roles == {"LE"}
    assert agreement.precision == "month"
    assert agreement.kinds is not None
    assert Codes(Coded("A00-1", SYSTEM), Coded("A13-2", SYSTEM)) in agreement.kinds
    assert Codes(Coded("A00-1", SYSTEM), Coded("A12-2", SYSTEM)) not in agreement.kinds


def test_a_seat_holds_who_may_sit() -> None:
    listed, panel = seat("984630492"), seat("974557746")
    assert listed.persons is not None
    assert list(listed.persons) == ["T0000101"]
    assert (listed.region, listed.role, listed.departments) == ("sor-ost", "", None)
    assert panel.persons is not None
    assert list(panel.persons) == ["T0000002"]
    assert (panel.region, panel.role) == ("vest", "LE")


def test_where_the_role_admits_a_seat_holds_nobody_by_name() -> None:
    texts = edited("organisations.toml", 'places_of_care = ["974706490"]\nenrolment = "listed"',
                   'places_of_care = ["974706490"]\nenrolment = "role"')  # fmt: skip
    del texts["enrolled/ahus.toml"]
    (found,) = read(texts).seats_at("ous", "974706490")
    assert found.persons is None


def test_departments_of_agreement_and_consumer_are_both_asked_for() -> None:
    texts = edited("agreements.toml", "panels = []", 'panels = []\ndepartments = ["1", "2"]')
    place = 'places_of_care = ["974706490"]'
    texts["organisations.toml"] = texts["organisations.toml"].replace(place, f'{place}\ndepartments = ["2", "3"]')
    policy = read(texts)
    assert policy.seats_at("ous", "974706490")[0].departments == frozenset({"2"})
    assert policy.seats_at("ous", "984630492")[0].departments == frozenset({"1", "2"})


def test_any_consumer_is_every_declared_one() -> None:
    texts = pilot_texts()
    start = texts["agreements.toml"].index("consumers = [")
    stop = texts["agreements.toml"].index("]", start) + 1
    texts["agreements.toml"] = texts["agreements.toml"][:start] + 'consumers = "any"' + texts["agreements.toml"][stop:]
    assert read(texts).agreements["ous-regional"].consumers == set(pilot().consumers)


def test_age_limits_are_kept_per_kind_and_the_stricter_holds() -> None:
    limits = 'max_age = { class_a_summaries = 10, outpatient_notes = "none" }'
    policy = read(edited("agreements.toml", 'max_age = "none"', limits))
    found = policy.agreements["ous-regional"].max_age
    assert found is not None
    assert found[Codes(Coded("A00-1", SYSTEM), Coded("A03-2", SYSTEM))] == timedelta(days=10)
    assert Codes(Coded("B00-1", SYSTEM), Coded("B03-2", SYSTEM)) not in found


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_codes_in_two_kinds_take_the_stricter_limit_in_any_order(order: tuple[str, str]) -> None:
    days = {"first": 10, "second": 20}
    texts = edited("agreements.toml", 'kinds = ["pilot"]', f"kinds = {list(order)}".replace("'", '"'))
    limits = ", ".join(f"{kind} = {days[kind]}" for kind in order)
    texts["agreements.toml"] = texts["agreements.toml"].replace('"none"', f"{{ {limits} }}", 1)
    for kind in order:
        texts["kinds.toml"] = texts["kinds.toml"].replace(
            "[kind_set]",
            f'[kind.{kind}]\nsystem = "{SYSTEM}"\nclass = "B00-1"\ntypes = ["B03-2"]\n[kind_set]',
        )
    found = read(texts).agreements["ous-regional"].max_age
    assert found is not None
    assert set(found.values()) == {timedelta(days=10)}


def test_blocks_open_as_the_policy_says() -> None:
    rules = pilot().block_rules
    assert rules[BlockKind.OPENABLE].override == {Basis.CONSENT, Basis.EMERGENCY}
    assert rules[BlockKind.DOCUMENT].override == {Basis.EMERGENCY}
    assert Coded("NORS", "2.16.578.1.12.4.1.1.9603") in pilot().blocking_codes
    assert Coded("NORS", "urn:oid:2.16.578.1.12.4.1.1.9603") in pilot().blocking_codes


def test_a_code_with_an_underscore_blocks_in_its_hyphen_spelling_too() -> None:
    codes = read(edited("policy.toml", '["NORS"]', '["NORS", "NORN_ANG"]')).blocking_codes
    assert Coded("NORN-ANG", "2.16.578.1.12.4.1.1.9603") in codes


def test_machines_are_known_by_name() -> None:
    policy = read(with_agreement(OPEN.replace('"any"\nso', '["lab"]\nso')))
    assert policy.serves_machine("lab")
    assert not policy.serves_machine("ous")
    assert not policy.serves_machine("")
    assert len(policy.machine_seats("ous", "lab")) == 1
    assert not policy.machine_seats("ous", "ous")
    assert not policy.own_seats("lab")
    assert not policy.machines_only


def test_any_machine_is_still_one_with_a_name() -> None:
    policy = read(with_agreement(OPEN), ("open",))
    assert policy.serves_machine("whoever")
    assert not policy.serves_machine("")


def test_only_a_node_for_machines_may_tell_that_a_patient_is_unknown() -> None:
    texts = pilot_texts() | {"agreements.toml": OPEN}
    assert read(texts, ("open",)).machines_only


@pytest.mark.parametrize(
    ("line", "holds"), [("", False), ("multi_patient = false", False), ("multi_patient = true", True)]
)
def test_an_agreement_holds_across_patients_only_where_it_says_so(line: str, holds: bool) -> None:
    policy = read(with_agreement(OPEN + line), ("open",))
    assert policy.agreements["open"].multi_patient is holds
    assert policy.serves_machine("lab")
    assert policy.serves_machine("lab", across=True) is holds


@pytest.mark.parametrize("line", ['multi_patient = "true"', "multi_patient = 1", "multi_patient = [true]"])
def test_across_patients_is_yes_or_no_and_nothing_like_it(line: str) -> None:
    with pytest.raises(PolicyRefused) as refused:
        read(with_agreement(OPEN + line), ("open",))
    assert [each.path for each in refused.value.findings] == ["agreement.open.multi_patient"]


def test_no_agreement_with_people_holds_across_patients() -> None:
    texts = pilot_texts()
    edited = texts["agreements.toml"].replace('channel = "clinician"', 'channel = "clinician"\nmulti_patient = true', 1)
    with pytest.raises(PolicyRefused) as refused:
        read({**texts, "agreements.toml": edited})
    assert [each.path.rpartition(".")[2] for each in refused.value.findings] == ["multi_patient"]
