"""Looking up for a retrieve: what is known, what replaced it, and what stands in for what is not known."""

from __future__ import annotations

from collections.abc import Callable

from ihe.metadata import DocumentEntry
from ihe.names import AssociationType
from policy.facts import DocumentKey
from registry.store import Store
from tests.registry.submissions import NOW, REPOSITORY, entry, relation, submission


def replace(store: Store, old: DocumentEntry) -> DocumentEntry:
    new = entry()
    rplc = relation(AssociationType.RPLC, new.entry_uuid, old.entry_uuid)
    store.register(submission(new, relations=(rplc,)), "ous", NOW)
    return new


def test_in_place_of_an_unknown_document_an_entry_of_nobody_is_looked_up(store: Store) -> None:
    sent = entry()
    store.register(submission(sent), "ous", NOW)
    known, unknown = (DocumentKey(REPOSITORY, each) for each in (sent.unique_id, "2.999.40.404"))
    elsewhere = DocumentKey("2.999.404", sent.unique_id)
    looked_up = store([known, unknown, elsewhere])
    assert [each.entry_uuid for each in looked_up.families[known]] == [sent.entry_uuid]
    assert looked_up.families[unknown] == looked_up.families[elsewhere] == ()
    # Under the key that was asked, so that everything about it is worked out as for a document that exists.
    assert {key: each.key for key, each in looked_up.decoys.items()} == {unknown: unknown, elsewhere: elsewhere}
    assert looked_up.decoys[unknown].patient_id == ""


def test_what_replaced_a_document_is_looked_up_with_it_nearest_first(store: Store) -> None:
    first = entry()
    store.register(submission(first), "ous", NOW)
    second = replace(store, first)
    third = replace(store, second)
    keys = [DocumentKey(REPOSITORY, each.unique_id) for each in (first, second, third)]
    later = store(keys, replacements=True).replaced_by
    told = [[family[0].entry_uuid for family in later.get(each.entry_uuid, ())] for each in (first, second, third)]
    assert told == [[second.entry_uuid, third.entry_uuid], [third.entry_uuid], []]
    assert store(keys).replaced_by == {}


def test_looking_up_runs_the_same_statements_whatever_is_known(
    store: Store, statements: Callable[[], list[str]]
) -> None:
    replaced, plain = entry(), entry()
    store.register(submission(replaced, plain), "ous", NOW)
    new = replace(store, replaced)
    keys = [DocumentKey(REPOSITORY, each) for each in (plain.unique_id, new.unique_id, "2.999.40.404")]
    for replacements in (False, True):
        ran = set()
        for key in keys:
            store([key], replacements)
            statements()
            store([key], replacements)
            ran.add(tuple(statements()))
        assert len(ran) == 1
        assert ran != {()}
