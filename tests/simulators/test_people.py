"""The people met in tests and demos do not exist, and every number of theirs is as it should be."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators import people
from simulators.people import PEOPLE, SOURCES

OUS = people.source("ous")


def test_every_synthetic_number_is_valid_and_of_nobody() -> None:
    assert len(PEOPLE) >= 12
    numbers = [person.number for person in PEOPLE] + [person.former_number for person in PEOPLE if person.former_number]
    assert len(set(numbers)) == len(numbers)
    assert all(people.is_valid(number) for number in numbers)
    assert all(81 <= int(number[2:4]) <= 92 for number in numbers)
    vectors = {"15837510047", "02911160008", "41826520068", "01826520074", "20871451029", "30924830065"}
    assert vectors <= set(numbers)


def test_the_number_of_a_person_is_of_the_day_that_person_was_born() -> None:
    for person in PEOPLE:
        assert person.number[:2] == f"{person.born:%d}"
        assert int(person.number[2:4]) - people.SYNTHETIC_MONTH == person.born.month
        assert person.number[4:6] == f"{person.born:%y}"


@pytest.mark.parametrize(
    "number", ["15837510048", "15837510055", "15837510063", "15837512333", "05076600324", "1583751004", "１" * 11]
)
def test_a_number_with_a_wrong_check_digit_is_noticed(number: str) -> None:
    assert not people.is_valid(number)


@given(st.dates(date(1900, 1, 1), date(2039, 12, 31)), st.integers(0, 300), st.booleans())
def test_numbers_can_be_made_for_any_day_of_birth(born: date, serial: int, d_number: bool) -> None:
    number = people.synthetic_number(born, serial, d_number=d_number)
    assert people.is_valid(number)
    assert number != people.synthetic_number(born, serial + 1, d_number=d_number)
    assert (number[0] in "4567") is d_number


@pytest.mark.parametrize(("born", "serial"), [(date(1899, 1, 1), 0), (date(2040, 1, 1), 0), (date(1975, 3, 15), 500)])
def test_a_day_without_numbers_gives_none(born: date, serial: int) -> None:
    with pytest.raises(ValueError, match="number"):
        people.synthetic_number(born, serial)


def test_whoever_had_a_d_number_can_be_met_under_it() -> None:
    person = people.person("41826520068")
    assert person.patient_id == f"41826520068^^^&{people.D_NUMBER}&ISO"
    assert people.person("01826520074").before() == person
    with pytest.raises(ValueError, match="one number"):
        person.before()
    with pytest.raises(LookupError):
        people.person("15837510055")


def test_the_five_hospitals_are_told_apart_in_every_identifier() -> None:
    organisations = ["993467049", "983974880", "983974899", "983974910", "983974929"]
    assert [each.organisation for each in SOURCES] == organisations
    assert all(people.is_valid_organisation(number) for number in organisations)
    assert not people.is_valid_organisation("993467048")
    for attribute in ("repository_unique_id", "source_id", "unique_ids", "key", "xon"):
        assert len({getattr(each, attribute) for each in SOURCES}) == len(SOURCES)
    staff = [each.number for hospital in SOURCES for each in hospital.practitioners]
    assert len(set(staff)) == len(staff)
    assert all(number.startswith("9000") for number in staff)
    assert OUS.repository_unique_id == "2.999.578.1.1"
    with pytest.raises(LookupError, match="ous"):
        people.source("ahus")


def test_signs_of_hl7_in_a_name_do_not_make_new_fields() -> None:
    assert people.escape_hl7("A^B&C|D~E\\F") == "A\\S\\B\\T\\C\\F\\D\\R\\E\\E\\F"
