"""Much of one thing, registered or sent on purpose: the work grows with it, and never with its square."""

# The fixtures of the registry's tests are used here by the names they have there.
# ruff: noqa: F811

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ihe import hl7v2
from ihe.names import Action, AssociationType, Status
from policy.decide import decide
from policy.shield import Container as Kept
from policy.shield import shield_all
from registry.database.engine import Database
from registry.database.tables import ObjectKind
from registry.queries import replacements
from registry.queries.containers import Container, Link
from registry.queries.gathered import Gathered, choose
from registry.queries.parameters import Period
from registry.queries.stored_queries import FindFolders
from server.load_files import files
from tests.ihe import submissions as written
from tests.ihe.feeds import adt
from tests.policy.casebook import entry, person, pilot, pilot_texts, policy_of, situation
from tests.registry import revisions
from tests.registry.conftest import database, database_url  # noqa: F401
from tests.registry.desks import errors_of, status_of
from tests.registry.related import P1
from tests.registry.revisions import Registry, new_set, uuid

MANY = 4_000


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def filed(number: int, lid: str = "", version: int = 1) -> Container:
    of = f"f{number}"
    words = ("2.999.1", P1, "ous", 20210101, lid or of, version, Status.APPROVED, "s", 0, b"")
    return Container(ObjectKind.FOLDER, of, *words)


def test_a_patient_with_thousands_of_folders_waits_for_each_once() -> None:
    found = Gathered(containers={f"f{number}": filed(number) for number in range(MANY)}, stamps={"s": 20210101})
    member = AssociationType.HAS_MEMBER
    for number in range(MANY):
        of = f"l{number}"
        found.links[of] = Link(of, of, 1, Status.APPROVED, member, f"f{number}", "d", None, "s", None, None)
    found.roots = list(found.containers)
    query = FindFolders(P1, frozenset({Status.APPROVED}), Period(begin=20200101))

    def everything() -> None:
        assert len(choose(query, found, lambda _: True).containers) == MANY
        assert all(found.later(each) == [] and found.members_of(uuid) for uuid, each in found.containers.items())

    assert seconds(everything) < 1


def test_a_folder_of_many_versions_is_seen_through_in_one_go() -> None:
    number = 1_000
    asks = situation(person("Anne"), pilot())
    repositories = frozenset(pilot().sources["ous"].repository_unique_ids)
    names = [f"v{each:04}" for each in range(number)]
    line = [Kept(of, P1, "ous", repositories, (), tuple(names[at + 1 :])) for at, of in enumerate(names)]
    took = seconds(lambda: shield_all(asks, (), line, ()))
    assert shield_all(asks, (), line, ()).visible == set(names)
    hidden = [*line[:-1], replace(line[-1], repositories=frozenset({"2.999.404"}))]
    assert shield_all(asks, (), hidden, ()).visible == set()
    assert took < 2


def test_a_document_replaced_every_day_for_years_does_not_stop_its_patients_list() -> None:
    number = 1_000
    rules = pilot_texts()
    only = 'availability = ["Approved"]'
    rules["agreements.toml"] = rules["agreements.toml"].replace(only, 'availability = ["Approved", "Deprecated"]')
    policy = policy_of(frozenset(rules.items()))
    line = [entry(f"e{each:04}", policy, status="Deprecated") for each in range(number)]
    families = [(each,) for each in line]
    asks = situation(person("Anne"), policy)
    later = {bytes([at >> 8, at & 255]): {bytes([at + 1 >> 8, at + 1 & 255])} for at in range(number - 1)}

    def whole() -> None:
        for at, each in enumerate(line):
            assert len(replacements._after(bytes([at >> 8, at & 255]), later)) == number - 1 - at
            assert decide(asks, families[at], each, tuple(families[at + 1 :])).permit

    assert seconds(whole) < 3


@pytest.mark.parametrize("separator", ["~", "^", "&", "|", "\r", "~^&", "\\"])
def test_a_feed_message_of_nothing_but_separators_is_answered(separator: str) -> None:
    raw = adt("A04", "1" + separator * (16_000 // len(separator)))

    def read() -> None:
        with suppress(hl7v2.Unacceptable):
            hl7v2.read(raw, "utf-8")

    assert seconds(read) < 2


def test_messages_full_of_operations_on_nothing_get_short_answers(database: Database) -> None:
    registry = Registry(database)
    numbers = range(0, 1_600, 2)
    joins = [
        made
        for n in numbers
        for made in (
            revisions.joins(f"j{n}", AssociationType.APND, uuid(100_000 + n), uuid(100_001 + n)),
            revisions.submits(f"j{n}"),
        )
    ]
    statuses = [revisions.status(uuid(100_000 + n)) for n in numbers]
    asked = (
        (Action.UPDATE, written.request(new_set(), *joins)),
        (Action.UPDATE, written.request(new_set(), *statuses)),
        (Action.REMOVE, revisions.removal(*(uuid(n) for n in range(3_000)))),
    )
    for action, root in asked:
        begun = time.perf_counter()
        reply = registry.send(action, root)
        assert time.perf_counter() - begun < 5
        assert status_of(reply) == "Failure"
        assert len(errors_of(reply)) == 100


def test_a_pipe_among_the_files_of_a_load_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.xml")
    (tmp_path / "b.xml").write_bytes(b"<a/>")
    found: list[bytes] = []
    loading = threading.Thread(target=lambda: found.extend(each.raw for each in files([tmp_path])), daemon=True)
    loading.start()
    loading.join(5)
    assert found == [b"<a/>"]
