"""ITI-62: what may go, what goes with it, and what stays of it; nothing shows what was removed, ever again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from audit.event import Kind, RecordLost
from ihe.errors import FaultCode, SoapFault, Subcode
from ihe.names import Action, AssociationType, Code
from policy.facts import Channel, DocumentKey, Subject
from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.database.rows import microseconds
from registry.database.tables import (
    REMOVED,
    association,
    document,
    folder,
    object_dir,
    submission_set,
    uid_claim,
    uid_hash,
    uuid_bytes,
    uuid_text,
)
from registry.query import answer_query
from registry.remove import MOST_REMOVED
from registry.rules.removal import REMOVAL_RULES
from tests.ihe import submissions as written
from tests.policy.casebook import NOW, block, person
from tests.registry.desks import PEER, Trail, desk_for, errors_of, get_documents, ids_of, status_of
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
    removal,
    status,
    uuid,
)

ONE, TWO, FOLDER = "2.999.70.1", "2.999.70.2", "2.999.71.1"
TABLES = (document, submission_set, folder, association)
REFERENCES, UNREFERENCED, UNRESOLVED = (
    "ReferencesExistException",
    "XDSUnreferencedObjectException",
    "UnresolvedReferenceException",
)
DOC, SET, MEMBER = uuid(10), uuid(11), uuid(12)
HELD, HELD_MEMBER, CONTENT, CONTENT_MEMBER = uuid(20), uuid(21), uuid(22), uuid(23)


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database)


def with_folder(registry: Registry) -> tuple[str, ...]:
    """An entry in a folder, registered by one set; every id of it."""
    registry.register(
        entry(DOC, ONE),
        a_folder(HELD, FOLDER),
        new_set(of=SET),
        written.member(MEMBER, SET, DOC, "Original"),
        written.member(HELD_MEMBER, SET, HELD),
        written.member(CONTENT, HELD, DOC),
        written.member(CONTENT_MEMBER, SET, CONTENT),
    )
    return DOC, SET, MEMBER, HELD, HELD_MEMBER, CONTENT, CONTENT_MEMBER


def told(registry: Registry, *ids: str) -> list[tuple[str, str]]:
    """Rule and code of each error; nothing is removed then."""
    before = registry.count(*TABLES, object_dir, uid_claim)
    reply = registry.send(Action.REMOVE, removal(*ids))
    assert registry.count(*TABLES, object_dir, uid_claim) == before
    return [(context.split()[0], code) for code, context in errors_of(reply)]


def test_a_whole_submission_goes_in_any_order_and_nothing_is_left_of_it(registry: Registry) -> None:
    ids = with_folder(registry)
    assert registry.remove(*sorted(ids, reverse=True)) == []
    assert (registry.entries(), registry.count(submission_set, folder, association)) == ({}, [0, 0, 0])
    with registry.database.snapshot() as connection:
        tombs = connection.execute(sa.select(object_dir).where(object_dir.c.removed_at.is_not(None))).all()
    assert {row.entry_uuid for row in tombs} == {uuid_bytes(each) for each in ids}
    assert {row.removed_at for row in tombs} == {microseconds(NOW)}


def test_what_stands_against_a_removal_is_told_by_rule_and_code(registry: Registry) -> None:
    with_folder(registry)
    second = registry.document(30, TWO)
    assert registry.update(entry("Doc2", TWO, second), new_set(), follows("Doc2")) == []
    newest = max(registry.entries(), key=lambda each: registry.entries()[each].version)
    with registry.database.snapshot() as connection:
        row = connection.execute(sa.select(association).where(association.c.target == uuid_bytes(newest))).one()
        its_set, its_member = uuid_text(row.source), uuid_text(row.entry_uuid)
    wrong = {
        ("remove-known-object", UNRESOLVED): [(uuid(99),), (DOC, uuid(99)), ("Doc1",), ("urn:uuid:AAAA",)],
        ("remove-unreferenced", REFERENCES): [(SET,), (DOC,), (DOC, MEMBER, SET), (CONTENT,), (HELD, HELD_MEMBER)],
        ("remove-older-versions", REFERENCES): [(newest, its_member, its_set)],
        ("remove-keeps-membership", UNREFERENCED): [
            (MEMBER,),
            (HELD_MEMBER,),
            (CONTENT_MEMBER,),
            (DOC, HELD, MEMBER, HELD_MEMBER, CONTENT, CONTENT_MEMBER),
        ],
    }
    for expected, requests in wrong.items():
        for ids in requests:
            assert expected in told(registry, *ids), (expected, ids)
    assert {rule for rule, _ in wrong} == REMOVAL_RULES.keys()
    assert registry.remove(CONTENT, CONTENT_MEMBER) == []
    assert registry.remove(HELD, HELD_MEMBER) == []


def test_a_relationship_goes_alone_and_what_it_deprecated_stays_so(registry: Registry) -> None:
    first = registry.document(10, ONE)
    member = written.member(uuid(32), uuid(31), uuid(30), "Original")
    new = new_set(of=uuid(31))
    registry.register(entry(uuid(30), TWO), new, member, joins(uuid(40), AssociationType.RPLC, uuid(30), first))
    assert told(registry, uuid(30), uuid(31), uuid(32)) == [("remove-unreferenced", REFERENCES)]
    assert registry.remove(uuid(40)) == []
    assert registry.states() == [(ONE, 1, "DEPRECATED"), (TWO, 1, "APPROVED")]


def test_a_set_that_only_changed_a_status_goes_alone(registry: Registry) -> None:
    first = registry.document(10, ONE)
    assert registry.update(new_set(of=uuid(60)), status(first, source=uuid(60))) == []
    assert registry.remove(uuid(60)) == []


def test_an_older_version_goes_and_the_line_goes_on(registry: Registry) -> None:
    """A document that was filed for the wrong patient: corrected, then removed from where it should never have been."""
    first = registry.document(10, ONE)
    other = written.OTHER_PATIENT
    assert registry.update(entry("Doc1", ONE, first, other), new_set(other), follows("Doc1")) == []
    assert registry.remove(first, uuid(11), uuid(12)) == []
    assert registry.states() == [(ONE, 2, "APPROVED")]
    (family,) = registry.store.lookup([DocumentKey(REPOSITORY, ONE)]).values()
    assert [(each.version, each.patient_id) for each in family] == [(2, other)]
    assert registry.update(entry("Doc1", ONE, first, other), new_set(other), follows("Doc1", "2")) == []
    assert registry.states() == [(ONE, 2, "DEPRECATED"), (ONE, 3, "APPROVED")]


def test_a_folder_goes_version_by_version(registry: Registry) -> None:
    with_folder(registry)
    second = (a_folder(uuid(51), FOLDER, HELD), new_set(of=uuid(50)))
    member = follows(uuid(51), status="", of=uuid(52), source=uuid(50))
    assert registry.update(*second, member) == []
    assert told(registry, HELD, HELD_MEMBER) == [("remove-unreferenced", REFERENCES)]
    assert registry.remove(HELD, HELD_MEMBER, CONTENT, CONTENT_MEMBER) == []
    assert registry.update(a_folder("F", FOLDER, HELD), new_set(), follows("F", "2", status="")) == []


# What stays of it ----------------------------------------------------------------------------------------------------


def test_ids_are_never_given_again(registry: Registry) -> None:
    ids = with_folder(registry)
    assert registry.remove(*ids) == []
    with registry.database.snapshot() as connection:
        kinds = connection.execute(sa.select(uid_claim.c.kind)).scalars().all()
    assert all(kind >= REMOVED for kind in kinds)
    again = written.request(entry("Doc1", TWO), new_set(of=SET), written.member("m", SET, "Doc1", "Original"))
    assert registry.codes(Action.REGISTER, again) == ["XDSRegistryMetadataError"]
    folders = written.request(a_folder("F", FOLDER), new_set(), written.member("m", "Set1", "F"))
    assert registry.codes(Action.REGISTER, folders) == ["XDSDuplicateUniqueIdInRegistry"]


def test_a_submission_of_which_something_was_removed_is_no_success_when_sent_again(registry: Registry) -> None:
    objects = (
        *(entry("Doc1", ONE), entry("Doc2", TWO), new_set(of=SET)),
        *(written.member(MEMBER, SET, "Doc1", "Original"), written.member(HELD_MEMBER, SET, "Doc2", "Original")),
    )
    assert registry.codes(Action.REGISTER, written.request(*objects)) == []
    assert registry.codes(Action.REGISTER, written.request(*objects)) == []
    (gone,) = (uuid_of for uuid_of, row in registry.entries().items() if row.unique_id == TWO)
    assert registry.remove(gone, HELD_MEMBER) == []
    assert "XDSDuplicateUniqueIdInRegistry" in registry.codes(Action.REGISTER, written.request(*objects))
    assert registry.states() == [(ONE, 1, "APPROVED")]


def test_the_very_same_document_may_come_back_and_no_other(registry: Registry) -> None:
    registry.document(10, ONE)
    assert registry.remove(DOC, SET, MEMBER) == []
    for slots, expected in (
        ({"hash": "0" * 40}, ["XDSNonIdenticalHash"]),
        ({"size": "1"}, ["XDSNonIdenticalSize"]),
        ({}, []),
    ):
        root = written.request(entry("Doc1", ONE, **slots), new_set(), written.member("m", "Set1", "Doc1", "Original"))
        assert registry.codes(Action.REGISTER, root) == expected
    assert registry.states() == [(ONE, 1, "APPROVED")]
    with registry.database.snapshot() as connection:
        claim = connection.execute(sa.select(uid_claim).where(uid_claim.c.uid_hash == uid_hash(ONE))).one()
    assert (claim.kind, claim.holder) == (0, b"")


def test_a_claim_passes_to_who_is_left(registry: Registry) -> None:
    registry.document(10, ONE)
    second = registry.document(30, ONE)
    assert registry.remove(DOC, SET, MEMBER) == []
    with registry.database.snapshot() as connection:
        claim = connection.execute(sa.select(uid_claim).where(uid_claim.c.uid_hash == uid_hash(ONE))).one()
    assert (claim.entry_uuid, claim.holder) == (uuid_bytes(second), b"")
    (family,) = registry.store.lookup([DocumentKey(REPOSITORY, ONE)]).values()
    assert [each.entry_uuid for each in family] == [second]
    assert registry.remove(second, uuid(31), uuid(32)) == []


def test_what_was_removed_is_unknown_to_retrieve_and_query(registry: Registry) -> None:
    registry.document(10, ONE)
    registry.document(30, TWO)
    assert registry.remove(DOC, SET, MEMBER) == []
    store = registry.store
    keys = [DocumentKey(REPOSITORY, ONE), DocumentKey(REPOSITORY, "2.999.404")]
    known = store(keys)
    assert [known.families[key] for key in keys] == [(), ()]
    # Judged in place of what is not there, alike for what never was and for what is no more.
    assert [known.decoys[key].patient_id for key in keys] == ["", ""]
    assert known.families == {key: () for key in keys}
    desk = desk_for(person("Anne"), registry.database, registry.trail)
    for call in (get_documents(DOC), get_documents(ONE, by="UniqueId")):
        reply = answer_query(call, PEER, desk)
        assert (status_of(reply), ids_of(reply)) == ("Success", [])


def test_a_blocked_document_that_comes_back_is_blocked(registry: Registry) -> None:
    registry.document(10, ONE)
    book = BlockBook(registry.database)
    shut = replace(block("document", documents=[ONE]), patient_id=written.PATIENT, documents=frozenset({ONE}))
    book.set_block(shut, "operator", NOW)
    assert registry.remove(DOC, SET, MEMBER) == []
    registry.document(30, ONE)
    assert [each.documents for each in book.list(written.PATIENT)] == [{ONE}]
    second = written.request(
        entry("Doc2", TWO),
        new_set(),
        written.member("m", "Set1", "Doc2", "Original"),
        joins("as", AssociationType.XFRM, "Doc2", uuid(30)),
    )
    assert registry.codes(Action.REGISTER, second) == []
    assert [each.documents for each in book.list(written.PATIENT)] == [{ONE, TWO}]


def test_decisions_under_way_are_made_again_when_a_document_is_removed(registry: Registry) -> None:
    with_folder(registry)
    book = BlockBook(registry.database)
    before = book.sequence()
    assert registry.remove(CONTENT, CONTENT_MEMBER) == []
    assert book.sequence() == before
    assert registry.remove(DOC, MEMBER, HELD, HELD_MEMBER, SET) == []
    assert book.sequence() == before + 1


# The exchange ---------------------------------------------------------------------------------------------------------


def test_the_intent_names_every_object_and_its_patient(registry: Registry) -> None:
    registry.document(10, ONE)
    del registry.trail.events[:]
    assert registry.remove(DOC, SET, MEMBER) == []
    intent, outcome = registry.trail.events
    assert (intent.kind, outcome.kind, intent.transaction) == (Kind.REMOVING, Kind.REMOVED, "ITI-62")
    assert intent.patient_id == outcome.patient_id == written.PATIENT
    assert [each.entry_uuid for each in intent.objects] == [DOC, SET, MEMBER]
    assert (intent.objects[0].repository_unique_id, intent.objects[0].unique_id) == (REPOSITORY, ONE)


class Forgetful(Trail):
    """Loses every event of one kind."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind

    def record(self, event: object) -> None:
        if event.kind is self.kind:  # type: ignore[attr-defined]
            raise RecordLost
        super().record(event)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "left"), [(Kind.REMOVING, 1), (Kind.REMOVED, 0)])
def test_nothing_is_removed_without_a_record_and_nothing_removed_is_called_a_failure(
    registry: Registry, kind: Kind, left: int
) -> None:
    registry.document(10, ONE)
    registry.trail = Forgetful(kind)
    if left:
        with pytest.raises(SoapFault) as fault:
            registry.remove(DOC, SET, MEMBER)
        assert fault.value.code is FaultCode.RECEIVER
    else:
        assert registry.remove(DOC, SET, MEMBER) == []
    assert len(registry.entries()) == left


@pytest.mark.parametrize("sender", [person("Anne"), Subject(Channel.MACHINE, "ous", machine="ous", may_update=BOTH)])
def test_who_may_remove_nothing_is_refused_with_a_fault(registry: Registry, sender: Subject) -> None:
    registry.document(10, ONE)
    with pytest.raises(SoapFault) as fault:
        registry.send(Action.REMOVE, removal(DOC, SET, MEMBER), sender)
    assert (fault.value.subcode, fault.value.reason) == (Subcode.FAILED_AUTHENTICATION, "CHANNEL_NOT_ALLOWED")
    assert (registry.trail.last.kind, len(registry.entries())) == (Kind.REFUSED, 1)


def test_what_a_sender_may_not_touch_answers_like_what_is_not_there(registry: Registry) -> None:
    registry.document(10, ONE, sender=UNN, repositoryUniqueId=OTHER_REPOSITORY)
    answers = []
    for ids in ((DOC, SET, MEMBER), (uuid(91), uuid(92), uuid(93))):
        found = errors_of(registry.send(Action.REMOVE, removal(*ids)))
        answers.append([(code, text.replace(each, "X")) for (code, text), each in zip(found, ids, strict=True)])
    assert answers[0] == answers[1]
    assert {code for code, _ in answers[0]} == {UNRESOLVED}
    assert len(registry.entries()) == 1


def test_a_message_that_names_no_objects_by_their_id_is_told_so(registry: Registry) -> None:
    empty = removal()
    queried = removal(DOC)
    queried.insert(0, written.rim("AdhocQuery", {"id": "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"}))
    scoped = removal(DOC)
    scoped.set("deletionScope", "urn:oasis:names:tc:ebxml-regrep:DeletionScopeType:DeleteRepositoryItemOnly")
    metadata = removal(DOC)
    metadata.append(entry("Doc1", ONE))
    for root in (empty, queried, scoped, metadata):
        assert set(registry.codes(Action.REMOVE, root)) == {Code.REGISTRY_ERROR.value}
    many = removal(*(uuid(number) for number in range(MOST_REMOVED + 1)))
    assert registry.codes(Action.REMOVE, many) == [Code.REGISTRY_ERROR.value]
    explicit = removal(uuid(99))
    explicit.set("deletionScope", "urn:oasis:names:tc:ebxml-regrep:DeletionScopeType:DeleteAll")
    assert registry.codes(Action.REMOVE, explicit) == [UNRESOLVED]
