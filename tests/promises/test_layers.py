"""The table of where CPU goes names functions of the product: each of them must still be there."""

from __future__ import annotations

import pytest

from bench.layers import LAYERS, found

NAMES = [name for _, names in LAYERS for name in names]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_timed_exists(name: str) -> None:
    owner, _, last = name.rpartition(".")
    assert callable(getattr(found(owner), last))
