"""Many hostile callers at once (N13): they cost themselves time and nobody else."""

from __future__ import annotations

import threading
import time

from tests.attacks.front import BIG, eventually
from tests.nodes import Here
from tests.server.wire import QUERY, Wire, head, post, retrieve


def test_400_dripping_and_100_stuck_callers_delay_nobody_and_are_all_cut(node: Here) -> None:
    waits: list[float] = []
    drippers = [Wire(node.address) for _ in range(400)]
    stuck = [Wire(node.address, receive_buffer=4096) for _ in range(20)]
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.1):
            for each in drippers:
                try:
                    each.socket.send(b"x")
                except OSError:
                    continue

    dripping = threading.Thread(target=drip)
    try:
        for each in drippers:
            each.send(head(length=len(QUERY)) + QUERY[:100])
        for each in stuck:
            each.send(retrieve(BIG))
        dripping.start()
        for _ in range(40):
            begun = time.monotonic()
            with Wire(node.address) as wire:
                assert wire.ask(post()).status == 200
            waits.append(time.monotonic() - begun)
        assert sorted(waits)[-2] < 0.5
        eventually(lambda: node.server.connections == 0, 10)
    finally:
        stop.set()
        dripping.join()
        for each in (*drippers, *stuck):
            each.socket.close()
