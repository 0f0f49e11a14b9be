"""What readers see of versions and removals: through the shield, for people, with blocks and Deprecated ones shared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ihe.names import WITHDRAWN, AssociationType, EntryScheme
from policy.decide import Situation, decide_document
from policy.facts import Channel, DocumentKey, Reason, Subject
from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.query import answer_query
from tests.ihe import submissions as written
from tests.ihe.submissions import Node
from tests.policy.casebook import NOW, SYSTEM, block, cx, person, pilot
from tests.registry.desks import LONG_AGO, OUS, PEER, FixedClock, desk_for, find_documents, get_documents, ids_of
from tests.registry.revisions import APPROVED, DEPRECATED, Registry, entry, follows, joins, new_set, put, status, uuid

P1, P2 = cx("P1"), cx("P2")
ONE, TWO = "2.999.70.1", "2.999.70.2"
SOURCE = Subject(Channel.MACHINE, "ous", machine="ous", may_register=(OUS,), may_update=(OUS,), may_remove=(OUS,))
RIM = written.RIM


def summary(of: str, unique_id: str, patient: str, lid: str = "") -> Node:
    """An entry that the pilot's agreements share."""
    made = entry(of, unique_id, lid, patient, repositoryUniqueId=OUS, legalAuthenticator="1^Hansen^Kari")
    for scheme, value in ((EntryScheme.CLASS_CODE, "A00-1"), (EntryScheme.TYPE_CODE, "A03-2")):
        for found in made.findall(f"{{{RIM}}}Classification"):
            if found.get("classificationScheme") == scheme:
                made.remove(found)
        made.append(written.code(scheme, value, of, SYSTEM))
    return made


@pytest.fixture
def registry(database: Database) -> Registry:
    made = Registry(database, SOURCE)
    made.changes["clock"] = FixedClock(LONG_AGO)
    return made


def registered(registry: Registry, of: str, unique_id: str, patient: str, *more: Node) -> str:
    its_set = new_set(patient)
    registry.register(summary(of, unique_id, patient), its_set, written.member("m", "Set1", of, "Original"), *more)
    return of


def seen(registry: Registry, patient: str, name: str = "P1", *, deprecated: bool = False) -> list[str]:
    """What Anne finds of this patient, and can then fetch by id, too."""
    desk = desk_for(person("Anne", name), registry.database, registry.trail)
    found = ids_of(answer_query(find_documents(patient), PEER, desk))
    for each in found:
        assert ids_of(answer_query(get_documents(each), PEER, desk)) == [each]
    return found


def fetched(registry: Registry, unique_id: str, name: str = "P1") -> Reason:
    """What the repository's side decides about the document."""
    store, patient = registry.store, cx(name)
    key = DocumentKey(OUS, unique_id)
    known = store([key])
    people = store.identity_set(patient)
    blocks = BlockBook(registry.database).of({patient, *(each.patient_id for each in known.families[key])})
    situation = Situation(person("Anne", name), pilot(), blocks, people, NOW)
    return decide_document(situation, key, known.families[key]).reason


def test_a_document_is_shown_to_whom_it_was_corrected_and_to_nobody_else(registry: Registry) -> None:
    first = registered(registry, uuid(10), ONE, P2)
    assert seen(registry, P2, "P2") == [first]
    new = uuid(20)
    assert registry.update(summary(new, ONE, P1, first), new_set(P1), follows(new)) == []
    assert (seen(registry, P1), seen(registry, P2, "P2")) == ([new], [])
    assert (fetched(registry, ONE), fetched(registry, ONE, "P2")) == (Reason.OK, Reason.PATIENT_MISMATCH_DOC)


def test_a_block_record_covers_every_version_whoever_they_are_about(registry: Registry) -> None:
    first = registered(registry, uuid(10), ONE, P2)
    book = BlockBook(registry.database)
    shut = replace(block("document", documents=[ONE]), patient_id=P2, documents=frozenset({ONE}), valid_from=LONG_AGO)
    book.set_block(shut, "operator", LONG_AGO)
    new = uuid(20)
    assert registry.update(summary(new, ONE, P1, first), new_set(P1), follows(new)) == []
    assert seen(registry, P1) == []
    assert fetched(registry, ONE) is Reason.BLOCK_DOC


def test_a_withdrawn_document_is_gone_for_readers(registry: Registry) -> None:
    first = registered(registry, uuid(10), ONE, P1)
    assert seen(registry, P1) == [first]
    new = put(summary(uuid(20), ONE, P1, first), WITHDRAWN, "true")
    assert registry.update(new, new_set(P1), follows(uuid(20))) == []
    assert seen(registry, P1) == []
    assert fetched(registry, ONE) is Reason.WITHDRAWN


def test_a_removed_document_is_unknown(registry: Registry) -> None:
    its_set, member = uuid(11), uuid(12)
    made = summary(uuid(10), ONE, P1)
    registry.register(made, new_set(P1, its_set), written.member(member, its_set, uuid(10), "Original"))
    assert fetched(registry, ONE) is Reason.OK
    assert registry.remove(uuid(10), its_set, member) == []
    assert (seen(registry, P1), fetched(registry, ONE)) == ([], Reason.UNKNOWN_DOC)


def test_a_deprecated_document_is_gone_and_comes_back_approved(registry: Registry) -> None:
    first = registered(registry, uuid(10), ONE, P1)
    assert registry.update(new_set(P1), status(first)) == []
    assert (seen(registry, P1), fetched(registry, ONE)) == ([], Reason.DEPRECATED)
    assert registry.update(new_set(P1), status(first, DEPRECATED, APPROVED)) == []
    assert (seen(registry, P1), fetched(registry, ONE)) == ([first], Reason.OK)


def test_what_replaced_one_version_replaced_them_all(registry: Registry) -> None:
    """Where Deprecated entries are shared, a superseded one shows only if what came after the latest does."""
    first = registered(registry, uuid(10), ONE, P1)
    assert registry.update(summary(uuid(20), ONE, P1, first), new_set(P1), follows(uuid(20))) == []
    registered(registry, uuid(30), TWO, P1, joins("r", AssociationType.RPLC, uuid(30), uuid(20)))
    key = DocumentKey(OUS, ONE)
    later = registry.store([key], replacements=True).replaced_by
    told = {uuid_: [each.unique_id for family in families for each in family] for uuid_, families in later.items()}
    assert told == {first: [TWO], uuid(20): [TWO]}


def test_a_block_reaches_what_is_tied_to_another_version(registry: Registry) -> None:
    first = registered(registry, uuid(10), ONE, P1)
    book = BlockBook(registry.database)
    shut = replace(block("document", documents=[ONE]), patient_id=P1, documents=frozenset({ONE}), valid_from=LONG_AGO)
    book.set_block(shut, "operator", LONG_AGO)
    assert registry.update(summary(uuid(20), ONE, P1, first), new_set(P1), follows(uuid(20), propagation="no")) == []
    registered(registry, uuid(30), TWO, P1, joins("a", AssociationType.APND, uuid(30), uuid(20)))
    assert registry.update(summary(uuid(31), TWO, P1, uuid(30)), new_set(P1), follows(uuid(31), propagation="no")) == []
    registered(registry, uuid(40), "2.999.70.3", P1, joins("a", AssociationType.APND, uuid(40), uuid(31)))
    assert book.list(P1)[0].documents == {ONE, TWO, "2.999.70.3"}
    # And one that is set when all of this is there already.
    book.set_block(replace(shut, block_id="late"), "operator", LONG_AGO)
    assert {each.block_id: each.documents for each in book.list(P1)}["late"] == {ONE, TWO, "2.999.70.3"}


def test_a_source_verifies_what_it_updated(registry: Registry) -> None:
    """Ruling B12: under an agreement `own`, every version that its documents have (Deprecated ones where shared)."""
    first = registered(registry, uuid(10), ONE, P1)
    administrator = replace(SOURCE, name="admin", machine="admin")
    assert (
        registry.update(summary(uuid(20), ONE, P1, first), new_set(P1), follows(uuid(20)), sender=administrator) == []
    )
    rows = registry.entries()
    assert {registry.store._vocabulary.label(row.registered_by) for row in rows.values()} == {"ous"}
