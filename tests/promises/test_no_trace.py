"""Promise N6 in small: worlds made by chance are asked every question, with and without what the caller may not see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from bench import n6_related
from bench.n6_no_trace import compare, workplace


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The measurement silences its process; the tests after it listen to the log."""
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("first", [1, 51, 101])
def test_what_is_hidden_leaves_no_trace_in_any_answer(first: int) -> None:
    tally = compare(range(first, first + 4))
    assert tally.answers > 200
    assert tally.hidden
    assert tally.visible
    assert not tally.differences
    assert not tally.disagreements


@pytest.mark.parametrize("seed", [1111, 1476, 10073])
def test_an_entry_that_was_replaced_takes_no_other_of_its_document_along(seed: int) -> None:
    """Found by chance: a document registered twice, one of whose entries a hidden document replaced."""
    tally = compare(range(seed, seed + 1))
    assert tally.answers
    assert not tally.differences
    assert not tally.disagreements


@pytest.mark.parametrize("seeds", [(1, 2), (5, 14), (40, 55)])
def test_sets_folders_and_associations_leave_no_trace_of_what_is_hidden_either(seeds: tuple[int, ...]) -> None:
    """14: a folder of one hospital that shows through the document which another one filed in it; 55: a folder that
    grew by a hidden document, and does not say when."""
    with workplace() as (workshop, hospitals, _):
        tally = n6_related.compare(seeds, workshop, hospitals)
    assert tally.answers > 300
    assert tally.hidden
    assert tally.visible
    assert not tally.differences
    assert not tally.disagreements
