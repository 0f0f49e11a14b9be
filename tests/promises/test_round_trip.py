"""Promise N22 in small: submissions made by chance come back in every attribute, and the reader notices if not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.generated import Maker
from bench.n1_kills import Node
from bench.n22_round_trip import Tally, _compare, compared
from bench.place import people
from bench.processes import stop
from bench.writers import KIT


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node of the conformance example."""
    served = Node(tmp_path)
    served.start()
    yield served
    assert served.process is not None
    stop(served.process)


def test_what_was_registered_comes_back_in_every_attribute(node: Node) -> None:
    tally = compared(node.port, 20)
    assert tally.wrong == []
    assert tally.submissions == 20
    assert tally.values > 500


def test_a_value_that_changed_on_the_way_is_noticed() -> None:
    _, unique_id, request = Maker(3, [people(1)[0].patient_id], KIT).submission()
    sent = ElementTree.tostring(request, encoding="unicode")
    changed = ElementTree.fromstring(sent.replace('"application/', '"application/x-').replace("PID-8|F", "PID-8|M"))
    tally = Tally()
    _compare(unique_id, ElementTree.fromstring(sent), changed, tally)
    assert any("PID-8|M" in each for each in tally.wrong)
