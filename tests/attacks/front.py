"""What the attacks over HTTP share: short deadlines, documents behind the node, and a look into its trail."""

from __future__ import annotations

import time

from audit.event import Event, Kind
from audit.search import exchange
from server.exchange import Limits
from tests.nodes import Here

SHORT = Limits(
    header_seconds=0.6, body_seconds=0.8, write_seconds=0.8, idle_seconds=1, linger_seconds=0.3, floor=128 * 1024
)
BIG = "2.999.40.7.1"
DOCUMENTS = {BIG: bytes(range(256)) * 40_000, "2.999.40.7.2": b"small"}


def trail(node: Here, correlation: str, *kinds: Kind) -> list[Event]:
    """The events of one exchange, once all of these kinds are there."""
    until = time.monotonic() + 5
    while True:
        events = list(exchange(node.node.config.audit_folder, correlation))
        if {each.kind for each in events} >= set(kinds):
            return events
        assert time.monotonic() < until, [each.kind for each in events]
        time.sleep(0.02)


def eventually(true: object, within: float = 5.0) -> None:
    assert callable(true)
    until = time.monotonic() + within
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)
