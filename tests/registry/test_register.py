"""ITI-42 from submission to answer: everything is registered or nothing, and the sender is told all that is wrong."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.engine import Connection

from audit.event import Event, Kind, RecordLost
from ihe.errors import FaultCode, SoapFault, Subcode
from ihe.names import ON_DEMAND_ENTRY, Action, AssociationType, Status
from ihe.soap import Call, Packaging
from policy.facts import Channel, Reason, Refusal, RulesUnknown, Subject
from registry.database.engine import Database, open_database
from registry.migrations import migrate
from registry.queries.stored_queries import FindDocuments
from registry.register import register
from registry.rules.strictness import Strictness
from registry.store import Store
from tests.ihe import submissions as written
from tests.policy.casebook import person
from tests.registry.desks import PEER, Trail, desk_for, errors_of, status_of

REPOSITORY = "2.999.10.20.1"
SOURCE = Subject(Channel.MACHINE, "ous", machine="ous", may_register=(REPOSITORY,))


def call(root: Any, action: Action = Action.REGISTER) -> Call:
    return Call(action, written.body(root), None, "urn:uuid:message", Packaging.SIMPLE)


def on_demand(unique_id: str = "2.999.40.7.1", set_id: str = "2.999.40.8.1", *more: Any) -> Call:
    entry = written.entry(unique_id=unique_id)
    entry.set("objectType", ON_DEMAND_ENTRY)
    for slot in [each for each in entry if each.get("name") in ("creationTime", "hash", "size")]:
        entry.remove(slot)
    member = written.member("As1", "Set1", "Doc1", "Original")
    root = written.request(entry, written.submission_set(unique_id=set_id), member, *more)
    return call(root, Action.REGISTER_ON_DEMAND)


def count(store: Store) -> int:
    query = FindDocuments(written.PATIENT, frozenset(Status))
    return len(store.find_documents(query, {written.PATIENT}, leaf=True))


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


def test_an_on_demand_entry_is_found_with_neither_hash_nor_size(store: Store, database: Database, trail: Trail) -> None:
    reply = register(on_demand(), PEER, desk_for(SOURCE, database, trail))
    assert (status_of(reply), errors_of(reply)) == ("Success", [])
    assert Action.REGISTER_ON_DEMAND.reply.encode() in reply.body
    assert [event.transaction for event in trail.events] == ["ITI-61", "ITI-61"]
    assert count(store) == 0
    query = FindDocuments(written.PATIENT, frozenset(Status), object_types=frozenset({ON_DEMAND_ENTRY}))
    (found,) = store.find_documents(query, {written.PATIENT}, leaf=True)
    assert (found.facts.hash, found.facts.size) == ("", None)
    shown = store.render(found, "")
    assert ON_DEMAND_ENTRY.encode() in shown
    assert b'name="hash"' not in shown


def test_on_demand_entries_may_share_a_uniqueid_but_not_with_stable_ones(
    store: Store, database: Database, trail: Trail
) -> None:
    desk = desk_for(SOURCE, database, trail)
    for set_id in ("2.999.40.8.1", "2.999.40.8.2"):
        assert errors_of(register(on_demand(set_id=set_id), PEER, desk)) == []
    stable = written.request(
        written.entry(),
        written.submission_set(unique_id="2.999.40.8.3"),
        written.member("a", "Set1", "Doc1", "Original"),
    )
    (error,) = errors_of(register(call(stable), PEER, desk))
    assert (error[0], error[1].split()[0]) == ("XDSRegistryMetadataError", "on-demand-unique-id")


def test_an_on_demand_entry_replaces_a_stable_one(store: Store, database: Database, trail: Trail) -> None:
    desk = desk_for(SOURCE, database, trail)
    old = "urn:uuid:4f0a1c5e-6b7d-4c8e-9f00-1a2b3c4d5e6f"
    stable = written.request(written.entry(old), written.submission_set(), written.member("a", "Set1", old, "Original"))
    assert errors_of(register(call(stable), PEER, desk)) == []
    replacing = written.association("as2", AssociationType.RPLC, "Doc1", old)
    assert errors_of(register(on_demand("2.999.40.7.2", "2.999.40.8.2", replacing), PEER, desk)) == []
    query = FindDocuments(written.PATIENT, frozenset({Status.DEPRECATED}))
    assert [each.facts.entry_uuid for each in store.find_documents(query, {written.PATIENT}, leaf=False)] == [old]


def test_an_on_demand_registration_without_entries_is_refused(store: Store, database: Database, trail: Trail) -> None:
    reply = register(
        call(written.request(written.submission_set()), Action.REGISTER_ON_DEMAND),
        PEER,
        desk_for(SOURCE, database, trail),
    )
    assert [context.split()[0] for _, context in errors_of(reply)] == ["on-demand-entry"]


def test_extra_metadata_is_shown_again_or_not_stored(store: Store, database: Database, trail: Trail) -> None:
    def shown() -> bytes:
        query = FindDocuments(written.PATIENT, frozenset(Status))
        return store.render(store.find_documents(query, {written.PATIENT}, leaf=True)[-1], "")

    desk = desk_for(SOURCE, database, trail)
    assert errors_of(register(call(written.one_document()), PEER, desk)) == []
    assert b"urn:oid:2.999.77" in shown()
    other = written.request(
        written.entry(unique_id="2.999.40.7.2"),
        written.submission_set(unique_id="2.999.40.8.2"),
        written.member("As1", "Set1", "Doc1", "Original"),
    )
    dropping = desk_for(SOURCE, database, trail, strictness=Strictness(extra_metadata="warn"))
    reply = register(call(other), PEER, dropping)
    assert (status_of(reply), [code for code, _ in errors_of(reply)]) == ("Success", ["XDSExtraMetadataNotSaved"])
    query = FindDocuments(written.PATIENT, frozenset(Status))
    entries = [store.render(each, "") for each in store.find_documents(query, {written.PATIENT}, leaf=True)]
    (without,) = [each for each in entries if b"2.999.40.7.2" in each]
    assert b"urn:oid:2.999.77" not in without
    assert b"sourcePatientInfo" in without


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
    import registry.database.engine as engine

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


def test_a_full_disk_is_told_as_such_and_nothing_is_half_registered(tmp_path: Path, trail: Trail) -> None:
    database = open_database(f"sqlite:///{tmp_path}/registry.db", create=True)
    migrate(database)

    def fill(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    desk = desk_for(SOURCE, database, trail)
    database.write(fill)
    large = written.one_document()
    large[0][0].extend(written.slot(f"urn:oid:2.999.77.{n}", uuid4().hex * 8) for n in range(100))
    reply = register(call(large), PEER, desk)
    assert [code for code, _ in errors_of(reply)] == ["XDSRegistryOutOfResources"]
    assert count(Store(database)) == 0
    database.close()
