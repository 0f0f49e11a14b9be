"""A node that is stopped and started again: quickly, and with everything it knew."""

from __future__ import annotations

import time
from http.client import HTTPSConnection

from simulators.people import Person
from simulators.personae import ANNE
from tests.journeys.pilot import USUAL, Pilot
from tests.journeys.test_blocks import set_block

PROMPT = 8.0
"""Seconds within which a node stops that has nothing to do; far less than an exchange is waited for."""


def restart(pilot: Pilot) -> float:
    """Stops the node and starts it again; how long it took to stop, in seconds."""
    begin = time.monotonic()
    try:
        assert pilot.stop_node() == 0
        return time.monotonic() - begin
    finally:
        pilot.start_node()


def test_a_restarted_node_knows_what_it_knew(pilot: Pilot, patient: Person) -> None:
    """Documents, blocks, time and trail outlive the node's processes; no reader's session has to begin anew."""
    blocked = pilot.patient()
    hidden = pilot.shared(blocked)
    papers = pilot.shared(patient, "ous", "A03-2", "B03-2")
    pilot.at(USUAL)
    block = set_block(pilot, blocked, "visit_history")
    token = pilot.token(ANNE, patient.number)
    before = pilot.consumer().find(patient.patient_id, token)
    assert restart(pilot) < PROMPT
    assert pilot.consumer().find(patient.patient_id, token).entries == before.entries
    pilot.sees(ANNE, patient, papers)
    pilot.sees_nothing(ANNE, blocked, hidden, "BLOCK_VISIT_HISTORY")
    assert block in pilot.innsyn("block", "list", blocked.number)
    assert "are whole, unaltered and in order" in pilot.innsyn("audit", "verify")


def test_an_idle_connection_does_not_hold_up_a_stop(pilot: Pilot) -> None:
    """A reader's system keeps a connection in its pool and does not listen on it: the node stops all the same."""
    host, port = pilot.url.removeprefix("https://").split(":")
    pooled = HTTPSConnection(host, int(port), timeout=5, context=pilot.tls("caller"))
    try:
        pooled.request("GET", "/health/live")
        assert pooled.getresponse().read() == b"live\n"
        assert restart(pilot) < PROMPT
    finally:
        pooled.close()
