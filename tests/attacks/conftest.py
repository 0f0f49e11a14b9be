"""The node that the attacks over HTTP are made on, and the hospital behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulators.hospital import Hospital
from tests.attacks.front import DOCUMENTS, SHORT
from tests.nodes import Here, configured, hospital_here, node_here, registered


@pytest.fixture(scope="module")
def hospital() -> Iterator[Hospital]:
    with hospital_here(DOCUMENTS) as started:
        yield started


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, hospital: Hospital) -> Iterator[Here]:
    config = configured(tmp_path_factory.mktemp("node"), {"http://127.0.0.1:8181/repository": hospital.url})
    registered(config, DOCUMENTS)
    with node_here(config, SHORT) as started:
        yield started
