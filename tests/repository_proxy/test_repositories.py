"""The routing table: who is known, and what a configuration may not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from repository_proxy.repositories import Hospital, Routes, is_loopback


def hospital(**changed: Any) -> Hospital:
    settings: dict[str, Any] = {
        "name": "ous",
        "repository_unique_ids": ("2.999.1",),
        "url": "http://127.0.0.1:1/x",
        "assertion": "none",
        **changed,
    }
    return Hospital(**settings)


def test_a_repository_is_found_as_it_is_written_and_with_the_urn_prefix_some_callers_add() -> None:
    routes = Routes([hospital()])
    exact, prefixed = routes.find("2.999.1"), routes.find("urn:oid:2.999.1")
    assert exact is not None
    assert exact is prefixed
    assert exact.repository_unique_id == "2.999.1"


@pytest.mark.parametrize("other", ["", "2.999.10", "2.999.1 ", "http://127.0.0.1:1/x", "URN:OID:2.999.1", "ous"])
def test_nothing_else_leads_anywhere(other: str) -> None:
    assert Routes([hospital()]).find(other) is None


def test_a_switched_off_hospital_stays_in_the_table() -> None:
    assert Routes([hospital(switched_off=True)]).find("2.999.1") is not None


def test_two_hospitals_cannot_claim_one_repository_or_one_name() -> None:
    with pytest.raises(ValueError, match=r"2\.999\.1 is configured twice"):
        Routes([hospital(), hospital(name="ahus")])
    with pytest.raises(ValueError, match="ous is configured twice"):
        Routes([hospital(), hospital(repository_unique_ids=("2.999.2",))])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"url": "http://hospital.example/x"}, "loopback"),
        ({"url": "https://hospital.example/x"}, "ca is missing"),
        ({"url": "ftp://hospital.example/x"}, "url must be"),
        ({"url": "https://a:b@hospital.example/x", "ca": Path("ca")}, "user"),
        ({"assertion": "forward"}, "audience"),
        ({"audience": "urn:a"}, "audience"),
        ({"certificate": Path("c")}, "come together"),
        ({"repository_unique_ids": ()}, "empty"),
        ({"repository_unique_ids": ("",)}, "empty"),
        ({"limit": 0}, "limit"),
    ],
)
def test_a_hospital_that_could_not_be_trusted_cannot_be_configured(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        hospital(**changed)


def test_loopback_is_known_without_looking_names_up() -> None:
    assert [is_loopback(host) for host in ("localhost", "127.9.9.9", "::1", "localhost.example", "10.0.0.1")] == [
        True,
        True,
        True,
        False,
        False,
    ]
