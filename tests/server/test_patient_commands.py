"""innsyn patient: an operator makes two numbers one person and two again, on record, beside a running node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.blocks import BlockBook
from registry.database.engine import Database, open_database
from registry.people.book import PatientBook
from tests.server.place import innsyn, place

F, D, OTHER = "01826520074", "41826520068", "15837510047"
P_F, P_D, P_OTHER = (
    f"{F}^^^&2.16.578.1.12.4.1.4.1&ISO",
    f"{D}^^^&2.16.578.1.12.4.1.4.2&ISO",
    f"{OTHER}^^^&2.16.578.1.12.4.1.4.1&ISO",
)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    path = place(tmp_path)
    assert innsyn(path, "migrate").exit_code == 0
    return path


@pytest.fixture
def database(node: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{node.parent}/state/innsyn.db")
    PatientBook(opened).add((P_F, P_OTHER))
    yield opened
    opened.close()


def trail(node: Path) -> str:
    return "".join(path.read_text() for path in (node.parent / "state" / "audit").glob("cli.*.jsonl"))


def shown(node: Path, number: str) -> dict[str, object]:
    told = innsyn(node, "patient", "show", number, "--json")
    assert told.exit_code == 0, told.output
    found: dict[str, object] = json.loads(told.stdout)
    return found


def test_a_d_number_and_the_number_after_it_become_one_person(node: Path, database: Database) -> None:
    assert innsyn(node, "block", "set", D, "--kind", "visit_history").exit_code == 0
    told = innsyn(node, "patient", "link", F, D, "--by", "Kari", "--reason", "got a national identity number")
    assert told.exit_code == 0, told.output
    assert f"{P_D} live on under {P_F}" in told.stdout
    assert "now cover the whole person" in told.stdout
    assert [each.kind.value for each in BlockBook(database).list(P_F)] == ["visit_history"]
    assert '"merged"' in trail(node)
    assert "merged by Kari: got a national identity number" in trail(node)
    found = shown(node, D)
    assert (found["survivor"], found["identities"], found["known"]) == (P_F, sorted([P_F, P_D]), True)
    assert innsyn(node, "audit", "verify").exit_code == 0


def test_a_link_is_taken_back(node: Path, database: Database) -> None:
    innsyn(node, "patient", "link", F, D, "--ahead")
    innsyn(node, "block", "set", F, "--kind", "reservation")
    told = innsyn(node, "patient", "separate", D, "--by", "Kari")
    assert told.exit_code == 0, told.output
    assert "now hold for both" in told.stdout
    for each in (P_F, P_D):
        assert [block.kind.value for block in BlockBook(database).list(each)] == ["reservation"]
    assert '"separated"' in trail(node)
    shows = innsyn(node, "patient", "show", F).stdout
    assert "separated" in shows
    assert "Kari" in shows
    again = innsyn(node, "patient", "separate", D)
    assert (again.exit_code, "not merged" in again.stderr) == (1, True)


def test_blocks_that_ended_meanwhile_are_told_of(node: Path, database: Database) -> None:
    innsyn(node, "block", "set", D, "--kind", "reservation")
    innsyn(node, "patient", "link", F, D)
    (held,) = BlockBook(database).list(P_F)
    innsyn(node, "block", "lift", F, held.block_id)
    assert f"for the other person: {held.block_id}" in innsyn(node, "patient", "separate", D).stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("merge", OTHER, D), "patient link"),
        (("link", F, OTHER), "patient merge"),
        (("link", D, F), "write it first"),
        (("merge", F, "02911160008"), "nothing is registered"),
        (("merge", F, "15837510048"), "control digits"),
        (("show", "abc"), "neither eleven digits"),
    ],
)
def test_a_slip_is_refused_and_nothing_changes(
    node: Path, database: Database, words: tuple[str, ...], sentence: str
) -> None:
    told = innsyn(node, "patient", *words)
    assert told.exit_code == 2
    assert sentence in told.output + told.stderr
    assert PatientBook(database).of(P_F).history == ()
    assert trail(node) == ""


def test_a_merge_that_cannot_be_is_on_record_as_failed(node: Path, database: Database) -> None:
    assert innsyn(node, "patient", "merge", F, OTHER).exit_code == 0
    told = innsyn(node, "patient", "merge", F, OTHER)
    assert (told.exit_code, "already lives on under another" in told.stderr) == (1, True)
    assert "not merged: " in trail(node)
    assert len(PatientBook(database).of(P_F).history) == 1


def test_a_number_nobody_knows_is_shown_as_such(node: Path) -> None:
    assert "nothing is registered" in innsyn(node, "patient", "show", OTHER).stdout
    assert shown(node, OTHER)["known"] is False
