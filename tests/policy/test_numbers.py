"""Which numbers of persons and organisations are well-formed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.numbers import (
    D_NUMBER,
    F_NUMBER,
    FH_NUMBER,
    NATIONAL,
    NumberKind,
    NumberRules,
    PatientId,
    PersonNumber,
    is_patient,
    organisation_fault,
    patient_id,
    person_number,
)

TEST_PERSONS = frozenset({80})
BOTH_RULES = NumberRules(synthetic_months=TEST_PERSONS)
OLD_RULE = NumberRules(rule_2032=False, synthetic_months=TEST_PERSONS)
PRODUCTION = NumberRules()


@pytest.mark.parametrize(
    ("number", "old", "both"),
    [
        ("15837510047", True, True),
        ("15837510055", False, True),
        ("15837510063", False, True),
        ("15837510071", False, True),
        ("15837512333", False, False),
        ("02911160008", True, True),
        ("20871451029", True, True),
        ("30924830065", True, True),
        ("41826520068", True, True),
        ("01826520074", True, True),
    ],
)
def test_the_rule_of_2032_takes_more_numbers_and_never_fewer(number: str, old: bool, both: bool) -> None:
    assert (person_number(number, OLD_RULE) is not None) is old
    assert (person_number(number, BOTH_RULES) is not None) is both
    assert person_number(number, PRODUCTION) is None


@pytest.mark.parametrize("remainder", range(5))
def test_the_first_control_sum_may_leave_up_to_three_from_2032_on(remainder: int) -> None:
    """K1 by its published weights, and the remainder that the digit standing there leaves; K2 is as it was."""
    number = ("15837510047", "15837510055", "15837510063", "15837510071", "15837512333")[remainder]
    weights = (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)
    assert sum(int(digit) * weight for digit, weight in zip(number, weights, strict=False)) % 11 == remainder
    assert (person_number(number, BOTH_RULES) is not None) is (remainder <= 3)
    assert (person_number(number, OLD_RULE) is not None) is (remainder == 0)


@pytest.mark.parametrize(
    "number",
    ["13116900216", "12119000465", "08077000292", "06828399789", "17855599120", "27888498775", "02835998374"],
)
def test_public_test_persons_of_the_register_are_taken_on_a_test_node(number: str) -> None:
    assert person_number(number, BOTH_RULES) is not None


def test_the_published_example_that_fails_its_control_digits_fails_here() -> None:
    assert person_number("05076600324", NumberRules(synthetic_months=frozenset({40, 65, 80}))) is None


@pytest.mark.parametrize(("number", "kind"), [("81234560077", NumberKind.FH), ("12457030078", None)])
def test_a_number_without_a_birth_date_is_held_to_its_control_digits(number: str, kind: NumberKind | None) -> None:
    found = person_number(number, BOTH_RULES)
    assert (None if found is None else found.kind) is kind
    assert person_number(number[:-1] + str((int(number[-1]) + 1) % 10), BOTH_RULES) is None


def test_kinds_are_told_apart() -> None:
    assert person_number("01826520074", BOTH_RULES) == PersonNumber(NumberKind.F, synthetic=True)
    assert person_number("41826520068", BOTH_RULES) == PersonNumber(NumberKind.D, synthetic=True)
    assert person_number("81234560077", PRODUCTION) == PersonNumber(NumberKind.FH, synthetic=False)
    assert person_number("90011220044", PRODUCTION) == PersonNumber(NumberKind.FH, synthetic=False)


def test_a_local_emergency_number_is_taken_only_as_the_test_number_it_may_also_be() -> None:
    assert person_number("12457030078", BOTH_RULES) is None
    assert person_number("12457030078", NumberRules(synthetic_months=frozenset({40}))) is not None


@pytest.mark.parametrize("number", ["08777634659"])
def test_month_plus_65_is_a_choice_of_its_own(number: str) -> None:
    assert person_number(number, NumberRules(synthetic_months=frozenset({65}))) is not None
    assert person_number(number, BOTH_RULES) is None


@given(st.text(max_size=14) | st.from_regex(r"[0-9٠-٩]{11}", fullmatch=True))
def test_no_text_is_ever_more_than_refused(text: str) -> None:
    found = person_number(text, BOTH_RULES)
    assert found is None or (len(text) == 11 and text.isascii() and text.isdecimal())


@given(st.integers(0, 10**11 - 1), st.integers(0, 10), st.integers(1, 9))
def test_one_wrong_digit_is_noticed_under_the_old_rule(number: int, place: int, shift: int) -> None:
    text = f"{number:011d}"
    wrong = text[:place] + str((int(text[place]) + shift) % 10) + text[place + 1 :]
    assert not (person_number(text, OLD_RULE) and person_number(wrong, OLD_RULE))


@pytest.mark.parametrize(
    ("day_and_month", "taken"), [("3102", False), ("2902", True), ("3104", False), ("0013", False), ("0000", False)]
)
def test_a_day_that_no_year_has_is_no_birthday(day_and_month: str, taken: bool) -> None:
    numbers = (f"{day_and_month}50{rest:05d}" for rest in range(3000))
    assert any(person_number(number, PRODUCTION) for number in numbers) is taken


def test_a_cx_is_read_with_and_without_urn() -> None:
    wanted = PatientId("15837510047", F_NUMBER)
    assert patient_id(f"15837510047^^^&{F_NUMBER}&ISO") == wanted
    assert patient_id(f"15837510047^^^&urn:oid:{F_NUMBER}&ISO") == wanted
    assert wanted.cx == f"15837510047^^^&{F_NUMBER}&ISO"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "15837510047",
        f"^^^&{F_NUMBER}&ISO",
        f"1^^^x&{F_NUMBER}&ISO",
        f"1^^^&{F_NUMBER}&ISO ",
        f"1^^^&{F_NUMBER}&DNS",
        "1^^^&01.2&ISO",
        f" 1^^^&{F_NUMBER}&ISO",
    ],
)
def test_what_is_no_cx_is_no_patient(text: str) -> None:
    assert patient_id(text) is None
    assert not is_patient(text, (), BOTH_RULES)


def test_a_number_stands_under_its_own_authority() -> None:
    assert is_patient(f"15837510047^^^&{F_NUMBER}&ISO", NATIONAL, BOTH_RULES)
    assert is_patient(f"41826520068^^^&{D_NUMBER}&ISO", NATIONAL, BOTH_RULES)
    assert is_patient(f"81234560077^^^&{FH_NUMBER}&ISO", NATIONAL, BOTH_RULES)
    assert not is_patient(f"41826520068^^^&{F_NUMBER}&ISO", NATIONAL, BOTH_RULES)
    assert not is_patient(f"81234560077^^^&{FH_NUMBER}&ISO", {F_NUMBER}, BOTH_RULES)


def test_where_any_authority_is_taken_national_numbers_keep_their_rules() -> None:
    assert is_patient("A-17^^^&2.999.7&ISO", (), PRODUCTION)
    assert not is_patient("A-17^^^&2.999.7&ISO", NATIONAL, PRODUCTION)
    assert not is_patient(f"15837510047^^^&{F_NUMBER}&ISO", (), PRODUCTION)


@pytest.mark.parametrize("number", ["993467049", "874716782", "984630492", "999537634"])
def test_real_organisation_numbers_pass(number: str) -> None:
    assert organisation_fault(number, synthetic=False) == ""


@pytest.mark.parametrize("number", ["993467048", "99346704", "993 467 049", "٩٩٣٤٦٧٠٤٩", "", "123456785"])
def test_other_texts_do_not(number: str) -> None:
    assert organisation_fault(number, synthetic=True)


def test_a_made_up_organisation_says_so() -> None:
    assert organisation_fault("311000012", synthetic=False)
    assert organisation_fault("311000012", synthetic=True) == ""
