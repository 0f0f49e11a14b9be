"""The rows that look at one thing each."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from ihe.metadata import Coded
from policy.facts import Basis, Reason
from policy.rows import CONFIDENTIALITY_9603, RANK, code_9603, opening, unknown_codes, within
from tests.policy.casebook import GUIDE, entry, person, pilot

NOW = datetime(2021, 2, 15, 9, tzinfo=UTC)


def test_the_guide_names_every_reason_in_the_order_of_the_table() -> None:
    table = GUIDE.split("## The decision")[1]
    told = [reason for reason in Reason if RANK[reason] >= RANK[Reason.PATIENT_MISSING]]
    told = [reason for reason in told if reason not in (Reason.NOT_LISTED, Reason.SOURCE_UNAVAILABLE)]
    places = [re.search(rf"\b{reason.value}\b", table) for reason in told]
    starts = [place.start() for place in places if place is not None]
    assert len(starts) == len(told)
    assert starts == sorted(starts)


def test_the_reasons_stand_in_the_order_of_the_table() -> None:
    order = [
        Reason.PATIENT_MISSING,
        Reason.PATIENT_MISMATCH,
        Reason.NO_AGREEMENT,
        Reason.UNKNOWN_DOC,
        Reason.PATIENT_MISMATCH_DOC,
        Reason.NO_AGREEMENT_SOURCE,
        Reason.PURPOSE_NOT_IN_SCOPE,
        Reason.BLOCK_VISIT_HISTORY,
        Reason.BLOCK_OPENABLE,
        Reason.KIND_NOT_SHARED,
        Reason.TOO_OLD,
        Reason.NOT_LISTED,
        Reason.OK,
    ]
    assert sorted(order, key=RANK.__getitem__) == order


@pytest.mark.parametrize(
    ("created", "young"),
    [
        ("20210214090001", True),
        ("20210214090000", False),
        ("2021021410", True),
        ("20210215", True),
        ("202102", False),
        ("2021", False),
        ("20220101", True),
        ("", False),
        ("yesterday", False),
        ("20210231", False),
        ("2021021", False),
        ("202102150", False),
        ("٢٠٢١٠٢١٥", False),
        ("202102150900001", False),
    ],
)
def test_a_day_old_ends_to_the_second_and_doubt_counts_as_age(created: str, young: bool) -> None:
    assert within(created, timedelta(days=1), NOW) is young


@pytest.mark.parametrize(
    ("purpose", "basis", "opens"),
    [
        ("TREAT", None, None),
        ("ETREAT", None, None),
        ("TREAT", Basis.EMERGENCY, None),
        ("COC", Basis.EMERGENCY, None),
        ("ETREAT", Basis.EMERGENCY, Basis.EMERGENCY),
        ("BTG", Basis.EMERGENCY, Basis.EMERGENCY),
        ("TREAT", Basis.CONSENT, Basis.CONSENT),
        ("BTG", Basis.CONSENT, Basis.CONSENT),
    ],
)
def test_an_emergency_is_a_basis_and_a_purpose(purpose: str, basis: Basis | None, opens: Basis | None) -> None:
    assert opening(person("Anne", purpose=purpose, basis=basis)) is opens


@pytest.mark.parametrize("scheme", [CONFIDENTIALITY_9603, f"urn:oid:{CONFIDENTIALITY_9603}"])
def test_a_code_of_list_9603_is_read_in_its_present_spelling(scheme: str) -> None:
    assert code_9603(Coded("NORN-ANG", scheme)) == "NORN_ANG"
    assert code_9603(Coded("NORN_ANG", scheme)) == "NORN_ANG"


def test_a_code_of_another_list_is_none_of_ours() -> None:
    assert code_9603(Coded("NORS", "2.16.840.1.113883.5.25")) is None


def test_only_codes_that_claim_to_be_of_the_list_are_unknown() -> None:
    assert unknown_codes(entry("e", pilot(), codes=["N", "NORN-DUP", "NORX", "NORX"]).confidentiality_codes) == (
        "NORX",
    )
