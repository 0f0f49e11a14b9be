"""registry.recovery: after a crash the trail is completed from the registry, before anything else is taken."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from audit.event import Kind
from audit.spool import Spool
from ihe.names import Action
from registry import recovery
from registry.database.engine import Database
from registry.people.book import PatientBook
from registry.store import Store
from tests.audit.trail import event
from tests.ihe import submissions as written
from tests.registry.desks import FixedClock, Trail
from tests.registry.revisions import Registry, follows, new_set, uuid
from tests.registry.revisions import entry as entry_of
from tests.registry.submissions import CX, NOW, OTHER_CX, REPOSITORY, entry, submission


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


def test_what_a_feed_told_is_accounted_for_too(database: Database, tmp_path: Path) -> None:
    patients, early = PatientBook(database), NOW - timedelta(hours=1)
    patients.add((CX, OTHER_CX))
    patients.merge(CX, OTHER_CX, "register", NOW)
    spool = Spool(tmp_path, "worker-1", reserve=0)
    intents = [
        (Kind.FEEDING, CX, (), early),
        (Kind.FEEDING, CX, ("nobody",), early),
        (Kind.MERGING, CX, (OTHER_CX,), early),
        (Kind.MERGING, OTHER_CX, (CX,), early),
        (Kind.MERGING, CX, (OTHER_CX,), NOW + timedelta(hours=1)),
    ]
    for number, (kind, patient_id, others, at) in enumerate(intents):
        told = replace(event(kind), correlation=str(number) * 32, patient_id=patient_id, patients=others, at=at)
        spool.record(told)
    spool.close()
    again = Spool(tmp_path, "worker-1", reserve=0)
    trail = Trail()
    recovery.settle(again.unsettled, database, trail, FixedClock())
    again.close()
    assert [(each.correlation[0], each.kind) for each in trail.events] == [
        ("0", Kind.FED),
        ("1", Kind.FAILED),
        ("2", Kind.MERGED),
        ("3", Kind.FAILED),
        ("4", Kind.FAILED),
    ]


def test_what_became_of_an_update_or_a_removal_is_found_in_the_registry(database: Database, tmp_path: Path) -> None:
    registry = Registry(database)
    registry.document(10, "2.999.70.1")
    update = written.request(entry_of("Doc1", "2.999.70.1", uuid(10)), new_set(), follows("Doc1"))
    assert registry.codes(Action.UPDATE, update) == []
    updating = registry.trail.events[-2]
    registry.document(20, "2.999.70.2")
    assert registry.remove(uuid(20), uuid(21), uuid(22)) == []
    removing = registry.trail.events[-2]
    intents = [
        updating,
        replace(updating, submission_set_unique_id="2.999.42.0"),
        removing,
        replace(removing, at=removing.at + timedelta(seconds=1)),
        replace(removing, objects=()),
    ]
    spool = Spool(tmp_path, "worker-1", reserve=0)
    for number, intent in enumerate(intents):
        spool.record(replace(intent, correlation=str(number) * 32))
    spool.close()
    again = Spool(tmp_path, "worker-1", reserve=0)
    trail = Trail()
    recovery.settle(again.unsettled, database, trail, FixedClock())
    again.close()
    assert [(each.correlation[0], each.kind) for each in trail.events] == [
        ("0", Kind.UPDATED),
        ("1", Kind.FAILED),
        ("2", Kind.REMOVED),
        ("3", Kind.FAILED),
        ("4", Kind.FAILED),
    ]


def test_a_submission_that_was_removed_since_was_registered_all_the_same(database: Database) -> None:
    registry = Registry(database)
    registry.document(10, "2.999.70.1")
    registering = registry.trail.events[-2]
    assert registry.remove(uuid(10), uuid(11), uuid(12)) == []
    trail = Trail()
    recovery.settle([registering], database, trail, FixedClock())
    assert [each.kind for each in trail.events] == [Kind.REGISTERED]
