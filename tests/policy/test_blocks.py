"""What a block is, and whom and what it covers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from policy.blocks import ABSOLUTE, Block, BlockKind, Setter, covers, covers_caller
from policy.facts import Basis
from tests.policy.casebook import person

SET = datetime(2021, 1, 1, tzinfo=UTC)
TARGETS: dict[BlockKind, dict[str, Any]] = {
    BlockKind.NAMED_PERSON: {"person": "T0000101"},
    BlockKind.ORGANISATION: {"organisation": "958935420"},
    BlockKind.DEPARTMENT: {"organisation": "984630492", "department": "705592"},
    BlockKind.DOCUMENT: {"documents": frozenset({"2.999.1"})},
    BlockKind.SOURCE_TOTAL: {"source": "unn"},
}


def a_block(kind: BlockKind, **changes: Any) -> Block:
    return Block("b", kind, "p", Setter.PATIENT, SET, **(TARGETS.get(kind, {}) | changes))


@pytest.mark.parametrize("kind", BlockKind)
def test_every_kind_can_be_set(kind: BlockKind) -> None:
    assert a_block(kind).in_force(SET)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_block_without_its_target_is_refused(kind: BlockKind) -> None:
    for target, value in TARGETS[kind].items():
        with pytest.raises(ValueError, match=target):
            a_block(kind, **{target: type(value)()})


@pytest.mark.parametrize("kind", BlockKind)
def test_a_target_that_its_kind_does_not_read_is_refused(kind: BlockKind) -> None:
    # Otherwise it would look narrower than it is.
    if kind is not BlockKind.NAMED_PERSON:
        with pytest.raises(ValueError, match="does not read person"):
            a_block(kind, person="T0000101")


@pytest.mark.parametrize("kind", sorted(ABSOLUTE))
def test_nothing_opens_what_the_patient_made_absolute(kind: BlockKind) -> None:
    with pytest.raises(ValueError, match="nothing opens"):
        a_block(kind, overridable_by=frozenset({Basis.EMERGENCY}))
    assert a_block(kind, overridable_by=frozenset()).overridable_by == frozenset()


def test_periods_are_half_open() -> None:
    block = a_block(BlockKind.VISIT_HISTORY, valid_to=SET + timedelta(days=1))
    second = timedelta(seconds=1)
    held = [block.in_force(at) for at in (SET - second, SET, SET + timedelta(days=1) - second, SET + timedelta(days=1))]
    assert held == [False, True, True, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"valid_to": SET},
        {"valid_to": SET - timedelta(days=1)},
        {"valid_from": SET.replace(tzinfo=None)},
        {"valid_to": datetime(2022, 1, 1)},
        {"block_id": ""},
        {"patient_id": ""},
    ],
)
def test_a_block_that_could_not_mean_what_it_says_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"block|period"):
        replace(a_block(BlockKind.RESERVATION), **changes)


def test_a_person_is_met_under_every_number() -> None:
    block = a_block(BlockKind.NAMED_PERSON, person="41826520068")
    assert not covers_caller(block, person("Anne"), ())
    assert covers_caller(block, person("Anne", name_id="41826520068"), ())
    named_twice = person("Anne", provider_identifiers=(("2.16.578.1.12.4.1.4.1", "41826520068"),))
    assert covers_caller(block, named_twice, ())


def test_a_person_without_any_number_is_nobody_in_particular() -> None:
    assert not covers_caller(a_block(BlockKind.NAMED_PERSON), person("Anne", hpr="", name_id=""), ())


def test_a_unit_is_met_with_all_that_is_below_it() -> None:
    anne = person("Anne")
    units = (anne.place_of_care, anne.legal_entity)
    assert covers_caller(a_block(BlockKind.ORGANISATION), anne, units)
    assert covers_caller(a_block(BlockKind.ORGANISATION, organisation="984630492"), anne, units)
    assert not covers_caller(a_block(BlockKind.ORGANISATION, organisation="311000012"), anne, units)


@pytest.mark.parametrize(("department", "hit"), [("705592", True), ("", True), ("109765", False)])
def test_leaving_the_department_out_opens_nothing(department: str, hit: bool) -> None:
    anne = person("Anne", department=department)
    assert covers_caller(a_block(BlockKind.DEPARTMENT), anne, (anne.place_of_care,)) is hit
    assert not covers_caller(a_block(BlockKind.DEPARTMENT), anne, ("974706490",))


def test_what_a_block_does_not_narrow_it_covers() -> None:
    whole = a_block(BlockKind.OPENABLE)
    at_unn = a_block(BlockKind.OPENABLE, source="unn")
    one = a_block(BlockKind.OPENABLE, documents=frozenset({"2.999.1"}))
    assert covers(whole, "ous", "2.999.1")
    assert (covers(at_unn, "unn", "x"), covers(at_unn, "ous", "x")) == (True, False)
    assert (covers(one, "ous", "2.999.1"), covers(one, "ous", "2.999.2")) == (True, False)
