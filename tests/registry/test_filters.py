"""SQL finds exactly what plain Python finds: FindDocuments, FindSubmissionSets and FindFolders over generated rows."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ihe.metadata import Author, Coded, DocumentEntry, Folder
from ihe.names import ON_DEMAND_ENTRY, STABLE_ENTRY, Status
from ihe.values import earliest
from registry.queries.parameters import ALWAYS, Period
from registry.queries.stored_queries import EVERYBODY, Excluded, FindDocuments, FindFolders, FindSubmissionSets, like
from registry.store import Store
from tests.registry.submissions import CX, NOW, OTHER_CX, code, entry, folder, new_uuid, submission

CODES = [code(f"c{number}") for number in range(4)]
NOBODYS = code("nobody has it")
TIMES = ["2020", "202011", "20201110", "20201110120000", "20201231235959", "2021"]
PEOPLE = ["1^Hansen^Kari", "2^Berg^Øystein", "3^50%^Ola_", "4^bac\\k^Per"]
PATTERNS = ["%Hansen%", "1^Hansen^Kari", "%øystein", "%Øystein", "3^50%", "%\\%", "_^Berg%", "%Kari%Berg%", "%", "____"]
REFERENCES = ["a^^^&1.2&ISO", "a_^^^&1.2&ISO", "%^^^&1.2&ISO", "a\\^^^&1.2&ISO"]
SOURCES = ["2.999.1", "2.999.2", "2.999.3"]
TYPES = [STABLE_ENTRY, ON_DEMAND_ENTRY]
BOUNDED = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

codes = st.lists(st.sampled_from([*CODES, NOBODYS]), min_size=1, max_size=3).map(tuple)
groups = st.lists(codes, min_size=1, max_size=2).map(tuple)
times = st.one_of(st.none(), st.sampled_from([int(earliest(each)) for each in TIMES]))
periods = st.builds(Period, times, times)
patterns = st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3).map(tuple)
references = st.lists(st.lists(st.sampled_from([*REFERENCES, "b"]), min_size=1, max_size=2).map(tuple), min_size=1)
subsets = st.sampled_from([frozenset({Status.APPROVED}), frozenset({Status.DEPRECATED}), frozenset(Status)])
_SINGLE = ("class_codes", "type_codes", "practice_codes", "facility_codes", "format_codes")
_EXCLUDABLE: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(_SINGLE, codes),
    "event_codes": groups,
    "confidentiality_codes": groups,
    "author_persons": patterns,
}
_FILTERS: dict[str, st.SearchStrategy[Any]] = {
    **_EXCLUDABLE,
    **dict.fromkeys(("creation_time", "service_start", "service_stop"), periods),
    "reference_ids": references.map(lambda each: tuple(each[:2])),
}


@st.composite
def some_of(draw: st.DrawFn, filters: dict[str, st.SearchStrategy[Any]], most: int) -> dict[str, Any]:
    """Few filters at a time: with many of them nothing is ever found."""
    names = draw(st.lists(st.sampled_from(sorted(filters)), unique=True, max_size=most))
    return {name: draw(filters[name]) for name in names}


@st.composite
def documents(draw: st.DrawFn) -> FindDocuments:
    filters = draw(some_of(_FILTERS, 2))
    if draw(st.booleans()):
        filters["excluded"] = Excluded(**draw(some_of(_EXCLUDABLE, 2)))
    types = draw(st.sampled_from([frozenset({STABLE_ENTRY}), frozenset(TYPES)]))
    return FindDocuments(CX, draw(subsets), object_types=types, **filters)


sets = st.builds(
    FindSubmissionSets,
    st.just(CX),
    subsets,
    st.one_of(st.just(()), st.lists(st.sampled_from([*SOURCES, "2.999.4"]), min_size=1, max_size=2).map(tuple)),
    periods,
    st.one_of(st.just(()), st.sampled_from(PATTERNS).map(lambda each: (each,))),
    st.one_of(st.just(()), codes),
)
folders = st.builds(FindFolders, st.just(CX), subsets, st.just(ALWAYS), st.one_of(st.just(()), groups))


def inside(period: Period, time: str) -> bool:
    """An object without the time is kept (documents); sets have one."""
    at = int(earliest(time)) if time else None
    if at is None:
        return True
    return (period.begin is None or period.begin <= at) and (period.end is None or at < period.end)


def among(wanted: tuple[Coded, ...], had: Coded) -> bool:
    return not wanted or had in wanted


def overlaps(asked: Iterable[Iterable[Any]], had: Iterable[Any]) -> bool:
    return all(not set(group).isdisjoint(had) for group in asked)


def written_by(authors: Iterable[Author], asked: tuple[str, ...]) -> bool:
    return any(like(author.person, each) for author in authors if author.person for each in asked)


def wanted(each: DocumentEntry, query: FindDocuments) -> bool:
    """The definition: every filter that is given holds, and nothing that is excluded does."""
    out = query.excluded
    hit = out is not None and (
        any(
            bool(codes) and had in codes
            for codes, had in (
                (out.class_codes, each.class_code),
                (out.type_codes, each.type_code),
                (out.practice_codes, each.practice_setting_code),
                (out.facility_codes, each.facility_type_code),
                (out.format_codes, each.format_code),
            )
        )
        or (bool(out.event_codes) and overlaps(out.event_codes, each.event_codes))
        or (bool(out.confidentiality_codes) and overlaps(out.confidentiality_codes, each.confidentiality_codes))
        or written_by(each.authors, out.author_persons)
    )
    return (
        not hit
        and Status.APPROVED in query.statuses
        and each.object_type in query.object_types
        and among(query.class_codes, each.class_code)
        and among(query.type_codes, each.type_code)
        and among(query.practice_codes, each.practice_setting_code)
        and among(query.facility_codes, each.facility_type_code)
        and among(query.format_codes, each.format_code)
        and inside(query.creation_time, each.creation_time)
        and inside(query.service_start, each.service_start_time)
        and inside(query.service_stop, each.service_stop_time)
        and overlaps(query.event_codes, each.event_codes)
        and overlaps(query.confidentiality_codes, each.confidentiality_codes)
        and overlaps(query.reference_ids, each.reference_ids)
        and (not query.author_persons or written_by(each.authors, query.author_persons))
    )


def some(dice: random.Random, values: list[Any], most: int = 3) -> tuple[Any, ...]:
    return tuple(dice.sample(values, dice.randint(0, min(most, len(values)))))


def authors(dice: random.Random) -> tuple[Author, ...]:
    return tuple(Author(person=each) for each in some(dice, ["", *PEOPLE]))


def any_entry(dice: random.Random, patient: str = CX) -> DocumentEntry:
    return entry(
        patient_id=patient,
        object_type=dice.choice([STABLE_ENTRY, STABLE_ENTRY, ON_DEMAND_ENTRY]),
        class_code=dice.choice(CODES),
        type_code=dice.choice(CODES),
        practice_setting_code=dice.choice(CODES),
        facility_type_code=dice.choice(CODES),
        format_code=dice.choice(CODES),
        event_codes=some(dice, CODES),
        confidentiality_codes=some(dice, CODES) or (CODES[0],),
        creation_time=dice.choice(["", *TIMES]),
        service_start_time=dice.choice(["", *TIMES]),
        service_stop_time=dice.choice(["", *TIMES]),
        authors=authors(dice),
        reference_ids=some(dice, REFERENCES),
    )


@pytest.fixture
def dice() -> random.Random:
    return random.Random(51)


def test_find_documents_in_sql_is_find_documents_in_python(store: Store, dice: random.Random) -> None:
    mine = [any_entry(dice) for _ in range(50)]
    theirs = [any_entry(dice, OTHER_CX) for _ in range(10)]
    store.register(submission(*mine), "ous", NOW)
    store.register(submission(*theirs, patient_id=OTHER_CX), "ous", NOW)
    found_some: list[int] = []

    @BOUNDED
    @given(documents())
    def check(query: FindDocuments) -> None:
        found = {each.facts.entry_uuid for each in store.find_documents(query, {CX}, leaf=False)}
        assert found == {each.entry_uuid for each in mine if wanted(each, query)}
        found_some.append(0 < len(found) < len(mine))
        both = {each.facts.entry_uuid for each in store.find_documents(query, {CX, OTHER_CX}, leaf=False)}
        assert both == {each.entry_uuid for each in (*mine, *theirs) if wanted(each, query)}
        everybodys = {each.facts.entry_uuid for each in store.find_documents(query, EVERYBODY, leaf=False)}
        assert everybodys == both

    check()
    assert sum(found_some) > 20


def test_find_submission_sets_in_sql_is_find_submission_sets_in_python(store: Store, dice: random.Random) -> None:
    sent = []
    for patient in (CX,) * 30 + (OTHER_CX,) * 5:
        words = {
            "source_id": dice.choice(SOURCES),
            "submission_time": dice.choice(TIMES),
            "authors": authors(dice),
            "content_type_code": dice.choice(CODES),
        }
        each = submission(patient_id=patient, **words)
        store.register(each, "ous", NOW)
        sent.append(each.submission_set)
    found_some: list[int] = []

    @BOUNDED
    @given(sets)
    def check(query: FindSubmissionSets) -> None:
        found = set(store.gather(query, {CX}, leaf=False).roots)
        assert found == {
            each.entry_uuid
            for each in sent
            if each.patient_id == CX
            and Status.APPROVED in query.statuses
            and (not query.source_ids or each.source_id in query.source_ids)
            and inside(query.submission_time, each.submission_time)
            and among(query.content_types, each.content_type_code)
            and (not query.author_persons or written_by(each.authors, query.author_persons))
        }
        found_some.append(0 < len(found) < 30)

    check()
    assert sum(found_some) > 5


def test_find_folders_in_sql_is_find_folders_in_python(store: Store, dice: random.Random) -> None:
    made: list[Folder] = []
    for patient in (CX,) * 25 + (OTHER_CX,) * 5:
        each = folder(patient_id=patient, codes=some(dice, CODES) or (CODES[0],), entry_uuid=new_uuid())
        store.register(submission(folders=(each,), patient_id=patient), "ous", NOW)
        made.append(each)
    found_some: list[int] = []

    @BOUNDED
    @given(folders)
    def check(query: FindFolders) -> None:
        matching = [each for each in made if Status.APPROVED in query.statuses and overlaps(query.codes, each.codes)]
        found = set(store.gather(query, {CX}, leaf=False).roots)
        assert found == {each.entry_uuid for each in matching if each.patient_id == CX}
        assert set(store.gather(query, EVERYBODY, leaf=False).roots) == {each.entry_uuid for each in matching}
        found_some.append(0 < len(found) < 25)

    check()
    assert sum(found_some) > 5
