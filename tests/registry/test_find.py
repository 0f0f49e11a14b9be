"""FindDocuments in SQL against its definition in plain Python, and the edges that the standard words."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ihe.metadata import Author, Coded, DocumentEntry
from ihe.names import STABLE_ENTRY, Status
from ihe.values import earliest
from registry.database.engine import Database
from registry.queries.parameters import Period
from registry.queries.stored_queries import EVERYBODY, FindDocuments, like
from registry.store import Store
from tests.registry.submissions import CX, NOW, OTHER_CX, code, entry, submission

APPROVED = frozenset({Status.APPROVED})
CODES = [code(f"c{number}") for number in range(4)]
TIMES = ["2020", "202011", "20201110", "20201110120000", "20201231235959", "2021"]
PEOPLE = ["1^Hansen^Kari", "2^Berg^Øystein", "3^50%^Ola_", "4^bac\\k^Per"]
PATTERNS = ["%Hansen%", "1^Hansen^Kari", "%øystein", "%Øystein", "3^50%", "%\\%", "_^Berg%", "%Kari%Berg%", "%", "____"]


def uuids(store: Store, query: FindDocuments) -> set[str]:
    return {each.facts.entry_uuid for each in store.find_documents(query, {query.patient_id}, leaf=False)}


def matches(each: DocumentEntry, query: FindDocuments) -> bool:
    """The definition: every given filter holds."""
    singles = (
        (query.class_codes, each.class_code),
        (query.type_codes, each.type_code),
        (query.practice_codes, each.practice_setting_code),
        (query.facility_codes, each.facility_type_code),
        (query.format_codes, each.format_code),
    )
    times = (
        (query.creation_time, each.creation_time),
        (query.service_start, each.service_start_time),
        (query.service_stop, each.service_stop_time),
    )
    lists = ((query.event_codes, each.event_codes), (query.confidentiality_codes, each.confidentiality_codes))
    people = [author.person for author in each.authors]
    return (
        all(not wanted or had in wanted for wanted, had in singles)
        and all(inside(period, time) for period, time in times)
        and all(not set(group).isdisjoint(had) for groups, had in lists for group in groups)
        and (not query.author_persons or any(like(one, each) for one in people for each in query.author_persons))
    )


def inside(period: Period, time: str) -> bool:
    if not time:
        return True
    at = int(earliest(time))
    return (period.begin is None or period.begin <= at) and (period.end is None or at < period.end)


def some(dice: random.Random, values: list[Any], most: int = 3) -> tuple[Any, ...]:
    return tuple(dice.sample(values, dice.randint(0, min(most, len(values)))))


def test_sql_finds_exactly_what_the_definition_says(store: Store) -> None:
    dice = random.Random(18)
    entries = [
        entry(
            class_code=dice.choice(CODES),
            type_code=dice.choice(CODES),
            practice_setting_code=dice.choice(CODES),
            facility_type_code=dice.choice(CODES),
            format_code=dice.choice(CODES),
            event_codes=some(dice, CODES),
            confidentiality_codes=some(dice, CODES) or (CODES[0],),
            creation_time=dice.choice(TIMES),
            service_start_time=dice.choice(["", *TIMES]),
            service_stop_time=dice.choice(["", *TIMES]),
            authors=tuple(Author(person=each) for each in some(dice, ["", *PEOPLE])),
        )
        for _ in range(60)
    ]
    store.register(submission(*entries), "ous", NOW)
    found_something = 0
    for _ in range(80):
        query = any_query(dice)
        expected = {each.entry_uuid for each in entries if matches(each, query)}
        assert uuids(store, query) == expected, query
        found_something += 0 < len(expected) < len(entries)
    assert found_something > 20


def any_query(dice: random.Random) -> FindDocuments:
    def codes() -> tuple[Coded, ...]:
        return some(dice, [*CODES, code("nobody has it")]) if dice.random() < 0.25 else ()

    def period() -> Period:
        ends = [int(earliest(dice.choice(TIMES))) if dice.random() < 0.3 else None for _ in range(2)]
        return Period(*ends)

    def groups() -> tuple[tuple[Coded, ...], ...]:
        return tuple(group for _ in range(dice.choice([0, 0, 0, 1, 2])) if (group := some(dice, CODES)))

    return FindDocuments(
        CX,
        APPROVED,
        class_codes=codes(),
        type_codes=codes(),
        practice_codes=codes(),
        facility_codes=codes(),
        format_codes=codes(),
        creation_time=period(),
        service_start=period(),
        service_stop=period(),
        event_codes=groups(),
        confidentiality_codes=groups(),
        author_persons=some(dice, PATTERNS) if dice.random() < 0.3 else (),
    )


def test_the_end_of_a_period_is_outside_and_its_beginning_inside(store: Store) -> None:
    sent = entry(creation_time="20201110")
    store.register(submission(sent), "ous", NOW)
    day = 20201110000000

    def found(begin: int | None, end: int | None) -> bool:
        return bool(uuids(store, FindDocuments(CX, APPROVED, creation_time=Period(begin, end))))

    assert found(day, day + 1)
    assert not found(None, day)
    assert not found(day + 1, None)
    assert not found(day + 1, day)


def test_a_code_is_matched_with_its_scheme_and_by_case(store: Store) -> None:
    sent = entry(class_code=code("A00-1", "2.999.1"), event_codes=(code("12"),))
    store.register(submission(sent, entry(class_code=code("x", "2.999.1"))), "ous", NOW)
    assert uuids(store, FindDocuments(CX, APPROVED, class_codes=(code("A00-1", "2.999.1"),))) == {sent.entry_uuid}
    assert not uuids(store, FindDocuments(CX, APPROVED, class_codes=(code("A00-1", "2.999.2"),)))
    assert not uuids(store, FindDocuments(CX, APPROVED, class_codes=(code("a00-1", "2.999.1"),)))
    assert not uuids(store, FindDocuments(CX, APPROVED, event_codes=((code("1"),),)))


def test_a_wildcard_cannot_reach_over_two_authors(store: Store) -> None:
    sent = entry(authors=(Author(person="1^Hansen^Kari"), Author(person="2^Berg^Ola")))
    store.register(submission(sent), "ous", NOW)
    assert not uuids(store, FindDocuments(CX, APPROVED, author_persons=("%Hansen%Berg%",)))
    assert uuids(store, FindDocuments(CX, APPROVED, author_persons=("%Hansen%Kari", "nobody")))


def test_only_the_patients_own_entries_of_the_asked_status_and_type_are_found(store: Store) -> None:
    mine, theirs = entry(), entry(patient_id=OTHER_CX)
    store.register(submission(mine), "ous", NOW)
    store.register(submission(theirs, patient_id=OTHER_CX), "ous", NOW)
    assert uuids(store, FindDocuments(CX, APPROVED)) == {mine.entry_uuid}
    assert not uuids(store, FindDocuments(CX, frozenset({Status.DEPRECATED})))
    on_demand = frozenset({"urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"})
    assert not uuids(store, FindDocuments(CX, APPROVED, object_types=on_demand))
    assert uuids(store, FindDocuments(CX, APPROVED, object_types=on_demand | {STABLE_ENTRY}))


def test_a_hidden_patient_costs_the_same_statement_and_finds_nothing(store: Store) -> None:
    store.register(submission(entry()), "ous", NOW)
    assert store.find_documents(FindDocuments(CX, APPROVED), frozenset(), leaf=True) == ()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_statements_stay_few_however_many_alternatives_there_are(store: Store, size: int) -> None:
    store.register(submission(entry(event_codes=(code("7"),))), "ous", NOW)
    for length in range(1, size + 1):
        groups = (tuple(code(str(number)) for number in range(length)),)
        found = uuids(store, FindDocuments(CX, APPROVED, event_codes=groups))
        assert bool(found) == (length > 7)
    info = store._reader._statements._built.cache_info()
    assert info.currsize <= 5


def test_a_question_that_names_nobody_is_never_taken_for_one_about_everybody(store: Store, database: Database) -> None:
    store.register(submission(entry()), "ous", NOW)
    query = FindDocuments(CX, APPROVED)
    assert store.find_documents(query, frozenset(), leaf=False) == ()
    assert len(store.find_documents(query, EVERYBODY, leaf=False)) == 1
    with pytest.raises(ValueError, match="never of everybody"), database.reading() as connection:
        store._reader.find(connection, query, {}, False)
