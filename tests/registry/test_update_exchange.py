"""ITI-57 as an exchange: what is recorded, what is refused, and that no answer tells of what others have."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from audit.event import Event, Kind, RecordLost
from ihe.errors import FaultCode, SoapFault, Subcode
from ihe.names import Action, AssociationType
from policy.facts import Channel, Subject
from registry.database.engine import Database
from tests.ihe import submissions as written
from tests.ihe.submissions import Node
from tests.policy.casebook import person
from tests.registry.desks import Trail, errors_of, status_of
from tests.registry.revisions import (
    BOTH,
    OTHER_REPOSITORY,
    REPOSITORY,
    UNN,
    Registry,
    a_folder,
    entry,
    follows,
    joins,
    new_set,
    status,
    submits,
    uuid,
)

APND = AssociationType.APND
ONE, TWO, FOLDER = "2.999.70.1", "2.999.70.2", "2.999.71.1"


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database)


def version(lid: str, unique_id: str = ONE, of: str = "Doc1", **slots: str) -> Node:
    return entry(of, unique_id, lid, **slots)


def test_an_update_sent_again_is_a_success_recorded_as_such(registry: Registry) -> None:
    first = registry.document(10, ONE)
    root = written.request(version(first), new_set(), follows("Doc1"))
    for expected in (Kind.UPDATED, Kind.RESENT):
        assert registry.codes(Action.UPDATE, root) == []
        assert registry.trail.last.kind is expected
    assert len(registry.entries()) == 2


def test_the_intent_comes_first_and_names_what_is_changed(registry: Registry) -> None:
    first = registry.document(10, ONE)
    del registry.trail.events[:]
    assert registry.update(version(first), new_set(), follows("Doc1")) == []
    intent, outcome = registry.trail.events
    assert (intent.kind, outcome.kind) == (Kind.UPDATING, Kind.UPDATED)
    assert intent.transaction == "ITI-57"
    assert [(each.repository_unique_id, each.unique_id) for each in intent.objects] == [(REPOSITORY, ONE)] * 2
    assert first in [each.entry_uuid for each in intent.objects]
    assert intent.submission_set_unique_id == outcome.submission_set_unique_id != ""


class Forgetful(Trail):
    """Loses every event of one kind."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind

    def record(self, event: Event) -> None:
        if event.kind is self.kind:
            raise RecordLost
        super().record(event)


def test_without_a_recorded_intent_nothing_is_updated(registry: Registry) -> None:
    first = registry.document(10, ONE)
    registry.trail = Forgetful(Kind.UPDATING)
    with pytest.raises(SoapFault) as fault:
        registry.update(version(first), new_set(), follows("Doc1"))
    assert (fault.value.code, len(registry.entries())) == (FaultCode.RECEIVER, 1)


def test_a_lost_outcome_does_not_make_a_committed_update_a_failure(registry: Registry) -> None:
    first = registry.document(10, ONE)
    registry.trail = Forgetful(Kind.UPDATED)
    assert registry.update(version(first), new_set(), follows("Doc1")) == []
    assert len(registry.entries()) == 2


@pytest.mark.parametrize("action", [Action.UPDATE, Action.RESTRICTED_UPDATE])
@pytest.mark.parametrize("sender", [person("Anne"), Subject(Channel.MACHINE, "ous", machine="ous", may_register=BOTH)])
def test_who_may_update_nothing_is_refused_with_a_fault(registry: Registry, sender: Subject, action: Action) -> None:
    first = registry.document(10, ONE)
    root = written.request(version(first), new_set(), follows("Doc1"))
    with pytest.raises(SoapFault) as fault:
        registry.send(action, root, sender)
    assert (fault.value.subcode, fault.value.reason) == (Subcode.FAILED_AUTHENTICATION, "CHANNEL_NOT_ALLOWED")
    assert (registry.trail.last.kind, len(registry.entries())) == (Kind.REFUSED, 1)


def test_what_a_sender_may_not_touch_answers_like_what_is_not_there(registry: Registry) -> None:
    """Byte for byte but for the id itself: no answer tells that another source has something."""
    theirs = registry.document(10, ONE, sender=UNN, repositoryUniqueId=OTHER_REPOSITORY)
    registry.register(a_folder(uuid(20), FOLDER), new_set(), written.member(uuid(21), "Set1", uuid(20)), sender=UNN)
    own, absent = registry.document(30, TWO), uuid(99)
    asked: Mapping[str, Callable[[str], list[Node]]] = {
        "version": lambda lid: [version(lid), follows("Doc1")],
        "folder": lambda lid: [a_folder("F", FOLDER, lid), follows("F", status="")],
        "status": lambda target: [status(target)],
        "joined": lambda end: [submits("as"), joins("as", APND, own, end)],
    }
    for name, objects in asked.items():
        for hidden in (theirs, uuid(20), uuid(21)):
            told = []
            for target in (hidden, absent):
                reply = registry.send(Action.UPDATE, written.request(new_set(), *objects(target)))
                assert status_of(reply) == "Failure"
                told.append([(code, text.replace(target, "X")) for code, text in errors_of(reply)])
            assert told[0] == told[1], (name, hidden)
    assert registry.states() == [(ONE, 1, "APPROVED"), (TWO, 1, "APPROVED")]


def test_an_administrator_reaches_what_holds_nothing_but_its_own_documents(registry: Registry) -> None:
    mine = registry.document(10, ONE)
    registry.register(
        entry(uuid(30), TWO, repositoryUniqueId=OTHER_REPOSITORY),
        a_folder(uuid(20), FOLDER),
        a_folder(uuid(25), "2.999.71.2"),
        new_set(),
        written.member("m1", "Set1", uuid(30), "Original"),
        written.member("m2", "Set1", uuid(20)),
        written.member("m3", "Set1", uuid(25)),
        written.member("m4", uuid(20), mine),
        written.member("m5", "Set1", "m4"),
        written.member("m6", uuid(25), uuid(30)),
        written.member("m7", "Set1", "m6"),
    )
    administrator = Subject(Channel.MACHINE, "admin", machine="admin", may_update=(REPOSITORY,))
    assert registry.update(new_set(), status(uuid(20)), sender=administrator) == []
    assert registry.update(new_set(), status(uuid(25)), sender=administrator) == ["XDSMetadataUpdateError"]
    assert registry.update(new_set(), status(uuid(30)), sender=administrator) == ["XDSMetadataUpdateError"]
