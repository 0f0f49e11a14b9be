"""Whatever a sender sends as an update or a removal, there is one answer to it, and never an exception but a fault."""

from __future__ import annotations

import random
from xml.etree import ElementTree

import pytest

from ihe import xml
from ihe.errors import Mangled, SoapFault
from ihe.names import Action, AssociationType
from ihe.soap import Call, Packaging
from registry.database.engine import Database
from registry.remove import remove
from registry.update import update
from tests.ihe import submissions as written
from tests.ihe.submissions import Node
from tests.registry.desks import PEER, desk_for, status_of
from tests.registry.revisions import (
    Registry,
    a_folder,
    entry,
    follows,
    joins,
    new_set,
    removal,
    status,
    submits,
    uuid,
)
from tests.registry.test_any_message import spoil

ONE, TWO, FOLDER = "2.999.70.1", "2.999.70.2", "2.999.71.1"


def prepared(database: Database) -> Registry:
    registry = Registry(database)
    registry.document(10, ONE)
    registry.document(30, TWO)
    registry.register(
        a_folder(uuid(20), FOLDER),
        new_set(of=uuid(21)),
        written.member(uuid(22), uuid(21), uuid(20)),
        written.member(uuid(23), uuid(20), uuid(10)),
        written.member(uuid(24), uuid(21), uuid(23)),
    )
    return registry


def messages() -> list[tuple[Action, Node]]:
    """One that asks for everything at once, one that is restricted, one that removes."""
    everything = written.request(
        entry("Doc1", ONE, uuid(10)),
        a_folder("F", FOLDER, uuid(20)),
        new_set(),
        follows("Doc1"),
        follows("F", status=""),
        status(uuid(30)),
        submits("as"),
        joins("as", AssociationType.APND, uuid(30), uuid(10)),
    )
    restricted = written.request(entry("Doc1", TWO, uuid(30)), new_set(), follows("Doc1"))
    gone = removal(*(uuid(number) for number in (20, 21, 22, 23, 24)))
    return [(Action.UPDATE, everything), (Action.RESTRICTED_UPDATE, restricted), (Action.REMOVE, gone)]


@pytest.mark.parametrize("seed", range(3))
def test_every_body_gets_one_answer(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    registry = prepared(database)
    desk = desk_for(registry.sender, database, registry.trail)
    seeds = messages()
    outcomes = set()
    for _ in range(40):
        action, message = dice.choice(seeds)
        root = ElementTree.fromstring(ElementTree.tostring(message))
        spoil(root, dice)
        try:
            body = xml.read(ElementTree.tostring(root, encoding="utf-8"))
        except Mangled:
            continue
        transaction = remove if action is Action.REMOVE else update
        try:
            reply = transaction(Call(action, body, None, "m", Packaging.SIMPLE), PEER, desk)
        except SoapFault:
            continue
        assert reply.status == 200
        outcomes.add(status_of(reply))
        assert xml.schema("rs").findings(xml.read(reply.body)[-1][0]) == ()
    assert "Failure" in outcomes
