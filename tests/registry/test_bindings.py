"""An assertion belongs to the certificate it first came with, whoever asks first."""

from __future__ import annotations

import threading
from datetime import timedelta

from registry.bindings import Bindings
from registry.database.engine import Database
from tests.policy.casebook import NOW

UNTIL = NOW + timedelta(hours=1)


def test_an_assertion_serves_its_first_certificate_only(database: Database) -> None:
    bindings = Bindings(database)
    assert bindings.bind("a1", "cert-1", UNTIL)
    assert bindings.bind("a1", "cert-1", UNTIL)
    assert not bindings.bind("a1", "cert-2", UNTIL)
    assert not Bindings(database).bind("a1", "", UNTIL)
    assert bindings.bind("a2", "cert-2", UNTIL)


def test_of_many_at_once_one_certificate_wins(database: Database) -> None:
    bindings, won = Bindings(database), []
    start = threading.Barrier(6)

    def bind(certificate: str) -> None:
        start.wait()
        if bindings.bind("a1", certificate, UNTIL):
            won.append(certificate)

    threads = [threading.Thread(target=bind, args=(f"cert-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_an_expired_binding_is_forgotten(database: Database) -> None:
    bindings = Bindings(database)
    bindings.bind("a1", "cert-1", UNTIL)
    assert bindings.forget(UNTIL) == 0
    assert bindings.forget(UNTIL + timedelta(seconds=1)) == 1
    assert bindings.bind("a1", "cert-2", UNTIL)
