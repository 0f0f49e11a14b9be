"""registry.recovery: after a crash the trail is completed from the registry, before anything else is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audit.event import Kind
from audit.spool import Spool
from registry import recovery
from registry.engine import Database
from registry.store import Store
from tests.audit.trail import event
from tests.registry.desks import FixedClock
from tests.registry.submissions import NOW, REPOSITORY, entry, submission


def test_an_intent_gets_the_outcome_that_the_registry_knows(database: Database, tmp_path: Path) -> None:
    sent = submission(entry())
    Store(database).register(sent, "ous", NOW, [REPOSITORY])
    spool = Spool(tmp_path, "worker-1", reserve=0)
    for correlation, unique_id in (("a" * 32, sent.submission_set.unique_id), ("b" * 32, "2.999.42.0")):
        intent = replace(event(Kind.REGISTERING), correlation=correlation, submission_set_unique_id=unique_id)
        spool.record(intent)
    spool.close()
    again = Spool(tmp_path, "worker-1", reserve=0)
    assert [each.correlation[0] for each in again.unsettled] == ["a", "b"]
    recovery.settle(again.unsettled, database, again, FixedClock())
    again.close()
    lines = "".join(path.read_text() for path in sorted(tmp_path.glob("*.jsonl")))
    assert recovery.COMMITTED in lines
    assert recovery.NOT_COMMITTED in lines
    settled = Spool(tmp_path, "worker-1", reserve=0)
    assert settled.unsettled == ()
    settled.close()
