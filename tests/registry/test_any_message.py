"""Whatever a caller sends as a body, there is one answer to it, and never an exception but a SOAP fault."""

from __future__ import annotations

import random
from xml.etree import ElementTree

import pytest

from ihe import xml
from ihe.errors import Mangled, SoapFault
from ihe.names import Action
from ihe.soap import Call, Packaging, Reply
from policy.facts import Channel, Subject
from registry.database.engine import Database
from registry.desk import Desk
from registry.query import answer_query
from registry.register import register
from tests.ihe import submissions as written
from tests.policy.casebook import cx, person
from tests.registry.desks import PEER, Trail, desk_for, find_documents, get_documents, status_of
from tests.registry.submissions import new_uuid

TEXTS = ["", "'", "''''", "('a','b'", "()", "%" * 300, "\u202e", "9" * 40, "urn:uuid:" + "0" * 36, "a" * 5000, "'x')"]
TEXTS += [
    "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved",
    "20210230",
    "-1",
    "1^^^&1&ISO",
    "\ufffd",
    "code^^scheme",
]


def spoil(root: ElementTree.Element, dice: random.Random) -> None:
    """One to four random changes: texts, attributes, elements gone, doubled or moved."""
    for _ in range(dice.randint(1, 4)):
        elements = list(root.iter())
        victim, other = dice.choice(elements), dice.choice(elements)
        match dice.randint(0, 5):
            case 0:
                victim.text = dice.choice(TEXTS)
            case 1 if victim.attrib:
                victim.set(dice.choice(list(victim.attrib)), dice.choice(TEXTS))
            case 2 if victim.attrib:
                del victim.attrib[dice.choice(list(victim.attrib))]
            case 3 if len(victim):
                victim.remove(dice.choice(list(victim)))
            case 4 if len(victim):
                victim.append(dice.choice(list(victim)))
            case _:
                if victim not in list(other.iter()) and other is not root:
                    victim.append(other)
                    if any(each is victim for each in other.iter()):
                        victim.remove(other)


def answered(call: Call, desk: Desk) -> Reply | None:
    try:
        return (register if call.action is Action.REGISTER else answer_query)(call, PEER, desk)
    except SoapFault:
        return None


@pytest.mark.parametrize("seed", range(4))
def test_every_body_gets_one_answer(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    source = Subject(Channel.MACHINE, "ous", machine="ous", may_register=("2.999.10.20.1",))
    desks = {
        Action.REGISTER: desk_for(source, database, Trail()),
        Action.QUERY: desk_for(person("Anne"), database, Trail()),
    }
    seeds = [
        (Action.REGISTER, ElementTree.tostring(written.with_folder())),
        (Action.QUERY, xml.write(find_documents(cx("P1"), ("$XDSDocumentEntryClassCode", "('a^^b')")).body)),
        (Action.QUERY, xml.write(get_documents(new_uuid(), "2.999.1").body)),
    ]
    outcomes = set()
    for _ in range(60):
        action, raw = dice.choice(seeds)
        root = ElementTree.fromstring(raw)
        spoil(root, dice)
        try:
            body = xml.read(ElementTree.tostring(root, encoding="utf-8"))
        except Mangled:
            continue
        if (reply := answered(Call(action, body, None, "m", Packaging.SIMPLE), desks[action])) is not None:
            assert reply.status == 200
            outcomes.add(status_of(reply))
            assert xml.schema("query" if action is Action.QUERY else "rs").findings(xml.read(reply.body)[-1][0]) == ()
    assert "Failure" in outcomes
