"""ITI-42 from submission to answer: everything is registered or nothing, and the sender is told all that is wrong."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from audit.event import Event, Kind, RecordLost
from ihe.errors import FaultCode, SoapFault, Subcode
from ihe.names import Action, AssociationType, Status
from ihe.soap import Call, Packaging
from policy.facts import Channel, Reason, Refusal, RulesUnknown, Subject
from registry.engine import Database
from registry.register import register
from registry.store import Store
from registry.stored_queries import FindDocuments
from tests.ihe import submissions as written
from tests.policy.casebook import person
from tests.registry.desks import PEER, Trail, desk_for, errors_of, status_of

REPOSITORY = "2.999.10.20.1"
SOURCE = Subject(Channel.MACHINE, "ous", machine="ous", may_register=(REPOSITORY,))


def call(root: Any) -> Call:
    return Call(Action.REGISTER, written.body(root), None, "urn:uuid:message", Packaging.SIMPLE)


def count(store: Store) -> int:
    query = FindDocuments(written.PATIENT, frozenset(Status))
    return len(store.find_documents(query, {written.PATIENT}, leaf=True))


@pytest.fixture
def trail() -> Trail:
    return Trail()


def test_a_registered_document_is_found_and_its_intent_came_first(
    store: Store, database: Database, trail: Trail
) -> None:
    desk = desk_for(SOURCE, database, trail)
    reply = register(call(written.one_document()), PEER, desk)
    assert (reply.status, status_of(reply), errors_of(reply)) == (200, "Success", [])
    assert count(store) == 1
    assert [event.kind for event in trail.events] == [Kind.REGISTERING, Kind.REGISTERED]
    assert trail.events[0].patient_id == written.PATIENT
    assert trail.events[0].submission_set_unique_id == trail.events[1].submission_set_unique_id == "2.999.40.8.1"
    assert [each.unique_id for each in trail.events[0].objects] == ["2.999.40.7.1"]
    query = FindDocuments(written.PATIENT, frozenset(Status))
    found = store.find_documents(query, {written.PATIENT}, leaf=True)[0]
    assert found.facts.entry_uuid.encode() in store.render(found, "")


def test_a_submission_sent_again_is_a_success_recorded_as_such(store: Store, database: Database, trail: Trail) -> None:
    desk = desk_for(SOURCE, database, trail)
    for _ in range(2):
        assert status_of(register(call(written.one_document()), PEER, desk)) == "Success"
    assert count(store) == 1
    assert trail.last.kind is Kind.RESENT


def test_a_folder_comes_with_its_content(store: Store, database: Database, trail: Trail) -> None:
    assert status_of(register(call(written.with_folder()), PEER, desk_for(SOURCE, database, trail))) == "Success"


def test_everything_the_message_tells_is_told_at_once(store: Store, database: Database, trail: Trail) -> None:
    entry = written.entry()
    for part in list(entry):
        if part.get("name") in ("creationTime", "languageCode"):
            entry.remove(part)
    root = written.request(entry, written.submission_set(), written.member("as1", "Set1", "Doc1", "Original"))
    reply = register(call(root), PEER, desk_for(SOURCE, database, trail))
    assert (status_of(reply), count(store)) == ("Failure", 0)
    assert [code for code, _ in errors_of(reply)] == ["XDSRegistryMetadataError"] * 2
    assert [context.split()[0] for _, context in errors_of(reply)] == ["required-attribute"] * 2
    assert [event.kind for event in trail.events] == [Kind.FAILED]


def test_a_source_registers_for_its_own_repositories_only(store: Store, database: Database, trail: Trail) -> None:
    for repositories in ((), ("2.999.10.20.2",)):
        other = Subject(Channel.MACHINE, "unn", machine="unn", may_register=repositories)
        reply = register(call(written.one_document()), PEER, desk_for(other, database, trail))
        assert [code for code, _ in errors_of(reply)] == ["XDSRegistryMetadataError"]
        assert "own-repository" in errors_of(reply)[0][1]
        assert count(store) == 0


def test_what_only_the_registry_knows_fails_the_whole_submission(
    store: Store, database: Database, trail: Trail
) -> None:
    root = written.request(
        written.entry(),
        written.submission_set(),
        written.member("as1", "Set1", "Doc1", "Original"),
        written.association("as2", AssociationType.RPLC, "Doc1", "urn:uuid:4f0a1c5e-6b7d-4c8e-9f00-1a2b3c4d5e6f"),
    )
    reply = register(call(root), PEER, desk_for(SOURCE, database, trail))
    assert ([code for code, _ in errors_of(reply)], count(store)) == (["UnresolvedReferenceException"], 0)
    assert [event.kind for event in trail.events] == [Kind.REGISTERING, Kind.FAILED]


def test_people_do_not_register(store: Store, database: Database, trail: Trail) -> None:
    with pytest.raises(SoapFault) as fault:
        register(call(written.one_document()), PEER, desk_for(person("Anne"), database, trail))
    assert (fault.value.subcode, fault.value.reason) == (Subcode.FAILED_AUTHENTICATION, "CHANNEL_NOT_ALLOWED")
    assert (trail.last.kind, trail.last.reason, count(store)) == (Kind.REFUSED, "CHANNEL_NOT_ALLOWED", 0)


def test_a_refused_sender_gets_its_fault(database: Database, trail: Trail) -> None:
    told = SoapFault(FaultCode.SENDER, "no", Subcode.TOKEN_UNAVAILABLE)
    with pytest.raises(SoapFault) as fault:
        register(call(written.one_document()), PEER, desk_for(Refusal(Reason.TOKEN_MISSING, told), database, trail))
    assert fault.value is told
    assert trail.last.reason == "TOKEN_MISSING"


class Forgetful(Trail):
    """Loses every event of one kind."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind

    def record(self, event: Event) -> None:
        if event.kind is self.kind:
            raise RecordLost
        super().record(event)


def test_without_a_recorded_intent_nothing_is_registered(store: Store, database: Database) -> None:
    with pytest.raises(SoapFault) as fault:
        register(call(written.one_document()), PEER, desk_for(SOURCE, database, Forgetful(Kind.REGISTERING)))
    assert (fault.value.code, count(store)) == (FaultCode.RECEIVER, 0)


def test_a_lost_outcome_does_not_make_a_committed_submission_a_failure(store: Store, database: Database) -> None:
    reply = register(call(written.one_document()), PEER, desk_for(SOURCE, database, Forgetful(Kind.REGISTERED)))
    assert (status_of(reply), count(store)) == ("Success", 1)


def test_without_rules_nobody_registers(store: Store, database: Database, trail: Trail) -> None:
    def identify(*_: object) -> Subject:
        raise RulesUnknown

    with pytest.raises(SoapFault) as fault:
        register(call(written.one_document()), PEER, desk_for(SOURCE, database, trail, identify=identify))
    assert (fault.value.code, trail.last.reason, count(store)) == (FaultCode.RECEIVER, "RULES_UNKNOWN", 0)


def test_a_busy_database_is_told_as_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trail: Trail) -> None:
    import registry.engine as engine
    from registry.migrations import migrate

    pragmas = ["busy_timeout=100" if "busy" in pragma else pragma for pragma in engine.PRAGMAS]
    monkeypatch.setattr(engine, "PRAGMAS", pragmas)
    database = engine.open_database(f"sqlite:///{tmp_path}/registry.db", create=True)
    migrate(database)
    other = sqlite3.connect(tmp_path / "registry.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    reply = register(call(written.one_document()), PEER, desk_for(SOURCE, database, trail))
    assert [code for code, _ in errors_of(reply)] == ["XDSRegistryBusy"]
    other.close()
    database.close()
