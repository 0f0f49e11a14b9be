"""What a submission points to in the registry: of the right kind, approved, and nothing else of it is told."""

from __future__ import annotations

import pytest

from ihe import xml
from ihe.names import Action, AssociationType
from ihe.soap import Call, Packaging
from policy.facts import Channel, Subject
from registry.database.engine import Database
from registry.desk import Desk
from registry.register import register
from registry.rules.samples import REPOSITORY, sample
from registry.rules.samples.edits import Edit, attribute, related, renamed
from tests.registry.desks import PEER, Trail, desk_for, errors_of

SENDER = Subject(Channel.MACHINE, "ous", machine="ous", may_register=(REPOSITORY,))
OLD, NEW, FOLDER = (f"urn:uuid:cccccccc-0000-4000-8000-{number:012}" for number in range(3))
MEMBER, RPLC, APND = AssociationType.HAS_MEMBER, AssociationType.RPLC, AssociationType.APND


def sent(desk: Desk, number: int, *edits: Edit) -> list[tuple[str, str]]:
    """Code and rule of every error of one more submission."""
    message = xml.read(sample("one-submission-set").passing.body)
    for of, arc in (("Doc1", 7), ("Set1", 8), ("Folder1", 9)):
        attribute(f"{of}-uniqueId", "value", f"2.999.40.{arc}.{number}")(message)
    for edit in edits:
        edit(message)
    reply = register(Call(Action.REGISTER, message, None, "m", Packaging.SIMPLE), PEER, desk)
    return [(code, context.split()[0]) for code, context in errors_of(reply)]


@pytest.fixture
def desk(database: Database) -> Desk:
    """A registry with a replaced entry, what replaced it, and a folder."""
    made = desk_for(SENDER, database, Trail())
    assert sent(made, 1, renamed("Doc1", OLD), renamed("Folder1", FOLDER)) == []
    assert sent(made, 2, renamed("Doc1", NEW), related("As9", RPLC, NEW, OLD)) == []
    return made


def member(source: str, target: str) -> tuple[Edit, Edit]:
    return related("As8", MEMBER, source, target), related("As9", MEMBER, "Set1", "As8")


def test_nothing_is_appended_to_what_was_replaced(desk: Desk) -> None:
    refused = [("XDSRegistryDeprecatedDocumentError", "approved-target")]
    assert sent(desk, 3, related("As9", APND, "Doc1", OLD)) == refused
    assert sent(desk, 4, related("As9", APND, "Doc1", NEW)) == []


def test_a_folder_takes_in_no_entry_that_was_replaced(desk: Desk) -> None:
    assert sent(desk, 3, *member(FOLDER, OLD)) == [("XDSRegistryDeprecatedDocumentError", "approved-target")]
    assert sent(desk, 4, *member(FOLDER, "Doc1")) == []


def test_an_entry_relates_to_entries_and_only_folders_hold_them(desk: Desk) -> None:
    unresolved = [("UnresolvedReferenceException", "known-ends")]
    assert sent(desk, 3, related("As9", RPLC, "Doc1", FOLDER)) == unresolved
    assert sent(desk, 4, *member(NEW, "Doc1")) == unresolved
