"""ITI-57: new versions, status and associations, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from ihe.names import SIGNED_AT, WITHDRAWN, Action, AssociationType, EntryScheme, Status
from policy.facts import DocumentKey
from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.database.rows import microseconds
from registry.database.tables import (
    ASSOCIATION_NUMBER,
    association,
    document,
    folder,
    object_dir,
    submission_set,
    uid_claim,
    uuid_text,
)
from registry.queries.stored_queries import FindDocuments
from tests.ihe import submissions as written
from tests.ihe.submissions import Node
from tests.policy.casebook import NOW, block
from tests.registry.desks import FixedClock
from tests.registry.revisions import (
    APPROVED,
    BOTH,
    DEPRECATED,
    OTHER_REPOSITORY,
    OUS,
    REPOSITORY,
    UNN,
    Registry,
    a_folder,
    entry,
    follows,
    joins,
    new_set,
    put,
    status,
    submits,
    uuid,
)

APND, MEMBER, RPLC, XFRM = (
    AssociationType.APND,
    AssociationType.HAS_MEMBER,
    AssociationType.RPLC,
    AssociationType.XFRM,
)
ONE, TWO, FOLDER = "2.999.70.1", "2.999.70.2", "2.999.71.1"
TABLES = (document, submission_set, folder, association, object_dir, uid_claim)


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database)


def version(lid: str, unique_id: str = ONE, of: str = "Doc1", **slots: str) -> Node:
    return entry(of, unique_id, lid, **slots)


def links(registry: Registry) -> set[tuple[str, str, str, str]]:
    """Every association: type, ends and status."""
    names = {number: kind.name for kind, number in ASSOCIATION_NUMBER.items()}
    with registry.database.snapshot() as connection:
        rows = connection.execute(sa.select(association)).all()
    return {
        (names[row.type], uuid_text(row.source), uuid_text(row.target), "Deprecated" if row.status else "Approved")
        for row in rows
    }


def latest(registry: Registry, unique_id: str = ONE) -> str:
    rows = {uuid: row for uuid, row in registry.entries().items() if row.unique_id == unique_id}
    return max(rows, key=lambda uuid: rows[uuid].version)


# New versions --------------------------------------------------------------------------------------------------------


def test_a_new_version_follows_and_the_old_one_stays_as_it_was(registry: Registry) -> None:
    first = registry.document(10, ONE)
    before = registry.entries()[first]
    new = version(first)
    new.find(f"{{{written.RIM}}}Name/{{{written.RIM}}}LocalizedString").set("value", "Rettet")  # type: ignore[union-attr]
    assert registry.update(new, new_set(), follows("Doc1")) == []
    assert registry.states() == [(ONE, 1, "DEPRECATED"), (ONE, 2, "APPROVED")]
    rows = registry.entries()
    assert rows[first].body == before.body
    assert rows[latest(registry)].lid == before.lid == rows[first].lid
    store = registry.store
    shown = store.find_documents(FindDocuments(written.PATIENT, frozenset(Status)), {written.PATIENT}, leaf=True)
    bodies = {each.facts.version: store.render(each, "") for each in shown}
    assert b"Epikrise" in bodies[1]
    assert b"Rettet" in bodies[2]
    assert b'versionName="2"' in bodies[2]
    assert f'lid="{first}"'.encode() in bodies[2]


def test_versions_follow_one_another_under_one_unique_id(registry: Registry) -> None:
    first = registry.document(10, ONE)
    for previous in ("1", "2", "3"):
        assert registry.update(version(first), new_set(), follows("Doc1", previous)) == []
    assert registry.states() == [(ONE, number, "APPROVED" if number == 4 else "DEPRECATED") for number in (1, 2, 3, 4)]
    families = registry.store.lookup([DocumentKey(REPOSITORY, ONE)])[DocumentKey(REPOSITORY, ONE)]
    assert sorted(each.version for each in families) == [1, 2, 3, 4]
    # Each of them knows of the others when it is found alone.
    query = FindDocuments(written.PATIENT, frozenset({Status.DEPRECATED}))
    found = registry.store.find_documents(query, {written.PATIENT}, leaf=False)
    assert [len(each.family) for each in found] == [4, 4, 4]


def test_a_correction_makes_a_document_neither_its_own_nor_younger(registry: Registry) -> None:
    first = registry.document(10, ONE, legalAuthenticator="1^Hansen^Kari")
    other = replace(UNN, may_update=(REPOSITORY,))
    registry.changes["clock"] = FixedClock(NOW + timedelta(days=30))
    assert (
        registry.update(version(first, legalAuthenticator="1^Hansen^Kari"), new_set(), follows("Doc1"), sender=other)
        == []
    )
    old, row = registry.entries()[first], registry.entries()[latest(registry)]
    for name in ("registered_by", "registered_at", "signed_at", "source_id"):
        assert getattr(row, name) == getattr(old, name), name
    assert old.signed_at == microseconds(NOW)


@pytest.mark.parametrize(("value", "expected"), [("true", 1), ("false", 0)])
def test_a_source_withdraws_a_document_with_a_slot_of_a_new_version(
    registry: Registry, value: str, expected: int
) -> None:
    first = registry.document(10, ONE)
    assert registry.update(put(version(first), WITHDRAWN, value), new_set(), follows("Doc1")) == []
    assert [registry.entries()[each].withdrawn for each in (first, latest(registry))] == [0, expected]


def test_the_time_of_signing_and_the_availability_follow_the_new_version(registry: Registry) -> None:
    first = registry.document(10, ONE)
    new = put(version(first), SIGNED_AT, "20210101")
    put(new, "documentAvailability", "urn:ihe:iti:2010:DocumentAvailability:Offline")
    assert registry.update(new, new_set(), follows("Doc1")) == []
    row = registry.entries()[latest(registry)]
    assert row.signed_at == microseconds(datetime.fromisoformat("2021-01-01T00:00:00+00:00"))
    store = registry.store
    found = store.find_documents(
        FindDocuments(written.PATIENT, frozenset({Status.APPROVED})), {written.PATIENT}, leaf=True
    )
    assert b"Offline" in store.render(found[0], "")


def test_a_document_is_corrected_to_another_patient(registry: Registry) -> None:
    first = registry.document(10, ONE)
    other = written.OTHER_PATIENT
    assert registry.update(version(first, patient=other), new_set(other), follows("Doc1")) == []
    store = registry.store
    for patient, expected in ((written.PATIENT, (1, "DEPRECATED")), (other, (2, "APPROVED"))):
        (found,) = store.find_documents(FindDocuments(patient, frozenset(Status)), {patient}, leaf=False)
        assert (found.facts.version, found.facts.status.name) == expected
        assert len(found.family) == 2
    assert {registry.trail.last.patient_id, *registry.trail.last.patients} == {written.PATIENT, other}


def test_all_versions_of_a_document_that_moved_are_judged_where_it_is(registry: Registry) -> None:
    registry.sender = replace(OUS, may_update=BOTH)
    first = registry.document(10, ONE)
    assert registry.update(version(first, repositoryUniqueId=OTHER_REPOSITORY), new_set(), follows("Doc1")) == []
    keys = [DocumentKey(REPOSITORY, ONE), DocumentKey(OTHER_REPOSITORY, ONE)]
    assert [len(registry.store.lookup(keys)[key]) for key in keys] == [0, 2]


def test_a_new_hash_is_the_one_that_the_document_is_registered_again_by(registry: Registry) -> None:
    first = registry.document(10, ONE)
    assert registry.update(version(first, hash="0" * 40), new_set(), follows("Doc1")) == []
    again = [new_set(of=uuid(51)), written.member(uuid(52), uuid(51), uuid(50), "Original")]
    for value, expected in (("1" * 40, ["XDSNonIdenticalHash"]), ("0" * 40, [])):
        root = written.request(entry(uuid(50), ONE, hash=value), *again)
        assert registry.codes(Action.REGISTER, root) == expected


def test_a_folder_takes_its_content_along_unless_it_is_told_not_to(registry: Registry) -> None:
    registry.register(
        entry(uuid(10), ONE),
        a_folder(uuid(20), FOLDER),
        new_set(),
        written.member("m1", "Set1", uuid(10), "Original"),
        written.member("m2", "Set1", uuid(20)),
        written.member("m3", uuid(20), uuid(10)),
        written.member("m4", "Set1", "m3"),
    )
    assert registry.update(a_folder("F", FOLDER, uuid(20)), new_set(), follows("F", status="")) == []
    rows = registry.folders()
    assert sorted((row.version, row.status) for row in rows.values()) == [(1, 1), (2, 0)]
    second = next(each for each, row in rows.items() if row.version == 2)
    assert ("HAS_MEMBER", second, uuid(10), "Approved") in links(registry)
    assert registry.update(a_folder("F", FOLDER, uuid(20)), new_set(), follows("F", "2", "no", "")) == []
    third = next(each for each, row in registry.folders().items() if row.version == 3)
    assert [each for each in links(registry) if each[1] == third] == []


def test_an_entry_takes_along_its_folders_and_relationships(registry: Registry) -> None:
    first = registry.document(10, ONE)
    registry.register(
        entry(uuid(30), TWO),
        a_folder(uuid(20), FOLDER),
        new_set(),
        written.member("m1", "Set1", uuid(30), "Original"),
        written.member("m2", "Set1", uuid(20)),
        written.member("m3", uuid(20), first),
        written.member("m4", "Set1", "m3"),
        joins("as", APND, uuid(30), first),
    )
    assert registry.update(version(first), new_set(), follows("Doc1")) == []
    second = latest(registry)
    for kind, source in (("APND", uuid(30)), ("HAS_MEMBER", uuid(20))):
        assert {(kind, source, each, "Approved") for each in (first, second)} <= links(registry)
    # Both ends in one message: the new ones are joined, and nothing is joined twice.
    both = (version(first), version(uuid(30), TWO, "Doc2"), new_set(), follows("Doc1", "2"), follows("Doc2"))
    assert registry.update(*both) == []
    assert ("APND", latest(registry, TWO), latest(registry), "Approved") in links(registry)
    # Its addendum was one of the first version, too, and that link is approved as well.
    assert sum(each[0] == "APND" for each in links(registry)) == 4


def test_a_patient_is_not_corrected_while_the_old_one_hangs_on_it(registry: Registry) -> None:
    first = registry.document(10, ONE)
    registry.register(
        entry(uuid(30), TWO),
        new_set(),
        written.member("m1", "Set1", uuid(30), "Original"),
        joins("as", APND, uuid(30), first),
    )
    other = written.OTHER_PATIENT
    moved = (version(first, patient=other), new_set(other))
    assert registry.update(*moved, follows("Doc1")) == ["XDSPatientIDReconciliationError"]
    assert registry.update(*moved, follows("Doc1", propagation="no")) == []


# Status and associations ---------------------------------------------------------------------------------------------


def test_status_changes_back_and_forth(registry: Registry) -> None:
    first = registry.document(10, ONE)
    assert registry.update(new_set(), status(first)) == []
    assert registry.states() == [(ONE, 1, "DEPRECATED")]
    assert registry.update(new_set(), status(first, DEPRECATED, APPROVED)) == []
    assert registry.states() == [(ONE, 1, "APPROVED")]


def test_a_status_is_set_on_the_version_that_comes_with_it(registry: Registry) -> None:
    first = registry.document(10, ONE)
    assert registry.update(version(first), new_set(), follows("Doc1"), status("Doc1")) == []
    assert registry.states() == [(ONE, 1, "DEPRECATED"), (ONE, 2, "DEPRECATED")]


def test_registered_entries_are_joined_and_a_block_of_one_covers_the_other(registry: Registry) -> None:
    first, second = registry.document(10, ONE), registry.document(20, TWO)
    book = BlockBook(registry.database)
    shut = replace(block("document", documents=[ONE]), patient_id=written.PATIENT, documents=frozenset({ONE}))
    book.set_block(shut, "operator", NOW)
    assert registry.update(new_set(), submits("as"), joins("as", APND, second, first)) == []
    assert ("APND", second, first, "Approved") in links(registry)
    assert book.list(written.PATIENT)[0].documents == {ONE, TWO}


def test_a_submitted_association_may_be_deprecated_and_approved_again(registry: Registry) -> None:
    first, second = registry.document(10, ONE), registry.document(20, TWO)
    joined = joins(uuid(40), APND, second, first)
    assert registry.update(new_set(), submits(uuid(40)), joined, status(uuid(40))) == []
    assert ("APND", second, first, "Deprecated") in links(registry)
    assert registry.update(new_set(), status(uuid(40), DEPRECATED, APPROVED)) == []
    assert ("APND", second, first, "Approved") in links(registry)


def test_a_submitted_replacement_deprecates_what_it_replaces(registry: Registry) -> None:
    first, second = registry.document(10, ONE), registry.document(20, TWO)
    assert registry.update(new_set(), submits("as"), joins("as", RPLC, second, first)) == []
    assert registry.states() == [(ONE, 1, "DEPRECATED"), (TWO, 1, "APPROVED")]


def test_an_association_that_is_deprecated_deprecates_nothing(registry: Registry) -> None:
    first, second = registry.document(10, ONE), registry.document(20, TWO)
    assert registry.update(new_set(), submits(uuid(40)), joins(uuid(40), XFRM, second, first), status(uuid(40))) == []
    registry.register(
        entry("Doc3", "2.999.70.3"),
        new_set(),
        written.member("m", "Set1", "Doc3", "Original"),
        joins("r", RPLC, "Doc3", first),
    )
    assert (TWO, 1, "APPROVED") in registry.states()


# What a running decision stands on ------------------------------------------------------------------------------------


def _nothing(made: Node) -> Node:
    return made


def _withdraw(made: Node) -> Node:
    return put(made, WITHDRAWN, "true")


def _hide(made: Node) -> Node:
    made.append(written.code(EntryScheme.CONFIDENTIALITY_CODE, "NORS", "Doc1", "2.16.578.1.12.4.1.1.9603"))
    return made


def _retitle(made: Node) -> Node:
    return put(made, "languageCode", "nn-NO")


@pytest.mark.parametrize(("change", "again"), [(_nothing, 0), (_retitle, 0), (_withdraw, 1), (_hide, 1)])
def test_decisions_under_way_are_made_again_when_an_update_takes_something_away(
    registry: Registry, change: Callable[[Node], Node], again: int
) -> None:
    first = registry.document(10, ONE)
    book = BlockBook(registry.database)
    before = book.sequence()
    assert registry.update(change(version(first)), new_set(), follows("Doc1")) == []
    assert book.sequence() == before + again


def test_decisions_under_way_are_made_again_for_another_patient_and_for_a_status(registry: Registry) -> None:
    first = registry.document(10, ONE)
    book = BlockBook(registry.database)
    before = book.sequence()
    other = written.OTHER_PATIENT
    assert registry.update(version(first, patient=other), new_set(other), follows("Doc1")) == []
    assert book.sequence() == before + 1
    assert registry.update(new_set(other), status(latest(registry))) == []
    assert book.sequence() == before + 2
    assert registry.update(new_set(other), status(latest(registry), DEPRECATED, APPROVED)) == []
    assert book.sequence() == before + 2
