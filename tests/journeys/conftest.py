"""One town for all journeys of a test process: a node with the pilot's policy, mutual TLS, five hospitals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.people import Person
from tests.journeys.pilot import USUAL, Canary, Pilot


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pilot]:
    folder = tmp_path_factory.mktemp("town")
    temporary = folder / "temporary"
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TMPDIR", str(temporary))
        edits = {"[listener.xds]": '[log]\nlevel = "debug"\n\n[audit]\nreserve_mib = 1\n\n[listener.xds]'}
        own = '["2.999.578.1.1"]'
        edits[f"may_register = {own}"] = f"may_register = {own}\nmay_update = {own}"
        running = Pilot(folder, edits)
        with running:
            yield running
    # Also after the node has stopped: what it flushes last must not tell either.
    assert leaks(running) == []


@pytest.fixture
def pilot(town: Pilot) -> Pilot:
    """The town at its usual time, every hospital open and well-behaved."""
    town.at(USUAL)
    return town


@pytest.fixture
def patient(pilot: Pilot) -> Person:
    """Somebody new."""
    return pilot.patient()


def leaks(town: Pilot) -> list[str]:
    """Where a canary stands that must not stand there, each as file and place of origin; the canaries stay unsaid."""
    state = town.folder / "state"
    found = [
        _in(town.log, town.canaries),
        _in(state / "audit", town.canaries),
        _in(state, [each for each in town.canaries if each.where == "content"]),
        _in(town.folder / "temporary", town.canaries),
    ]
    return [line for lines in found for line in lines]


def _in(place: Path, canaries: list[Canary]) -> Iterator[str]:
    files = [place] if place.is_file() else [each for each in place.rglob("*") if each.is_file()]
    for file in files:
        content = file.read_bytes()
        for canary in canaries:
            if canary.found_in(content):
                yield f"{file.name}: {canary.where}"
