"""registry.explain: whatever is done to a message it explains it, and it says of it what the node would say."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ihe import xml
from ihe.errors import Mangled
from ihe.names import RIM, Action
from ihe.soap import Call, Packaging, Reply
from policy.facts import Channel, Subject
from registry.database.engine import Database, open_database
from registry.explain.explanation import Outcome
from registry.explain.found import MOST_PROBLEMS
from registry.migrations import migrate
from registry.query import answer_query
from registry.register import register
from registry.rules.strictness import STRICT, Level, Strictness
from registry.rules.table import RULES
from tests.ihe.messages import fault_of
from tests.policy.casebook import machine
from tests.registry.conftest import _empty
from tests.registry.desks import PEER, Trail, desk_for, errors_of, machine_policy, status_of
from tests.registry.messages import ASK, FIND, PERSON, REGISTER, SUBMISSION, refusing, told
from tests.registry.test_any_message import spoil

PIECES = ["'", "(", ")", ",", "a^^b", "''", '"', " ", "1", "x", "%", "\u2019", "=", "&"]
SEEDS = st.integers(0, 2**32)
BOUNDED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Database]:
    """A registry on SQLite that holds nothing."""
    database = open_database(f"sqlite:///{tmp_path}/registry.db", create=True)
    migrate(database)
    yield database
    database.close()


def spoilt(message: str, dice: random.Random) -> bytes:
    root = ElementTree.fromstring(message)
    spoil(root, dice)
    return ElementTree.tostring(root, encoding="utf-8")


def mended_or_spoilt(message: str, dice: random.Random) -> bytes:
    """A change to one text or attribute, small enough that many of them are harmless."""
    root = ElementTree.fromstring(message)
    element = dice.choice([each for each in root.iter() if each.attrib or (each.text or "").strip()])
    texts = [
        "2020",
        "20200114",
        "a",
        "urn:oid:2.999.1",
        "1^^^&2.999&ISO",
        "",
        "Original",
        "x" * 300,
        "'a^^b'",
        "('a^^b')",
    ]
    if element.attrib and dice.random() < 0.6:
        element.set(dice.choice(list(element.attrib)), dice.choice(texts))
    else:
        element.text = dice.choice(texts)
    return ElementTree.tostring(root, encoding="utf-8")


def lowered(dice: random.Random) -> Strictness:
    """Some rules at some level for everybody, some for this sender; often none."""
    free = [rule.id for rule in RULES.values() if not rule.firm]
    some = [{each: dice.choice(list(Level)) for each in dice.sample(free, dice.choice([0, 0, 3]))} for _ in range(2)]
    return Strictness(some[0], {"ous": some[1]})


def answer(call: Call, database: Database, strictness: Strictness = STRICT) -> Reply:
    if call.action is Action.REGISTER:
        repositories = {
            value for slot in call.body.iter(f"{{{RIM}}}Slot") for value in slot.itertext() if value.strip()
        }
        sender = Subject(Channel.MACHINE, "ous", machine="ous", may_register=tuple(repositories))
        return register(call, PEER, desk_for(sender, database, Trail(), strictness=strictness))
    desk = desk_for(machine("ous"), database, Trail(), policy=machine_policy(), home="")
    return answer_query(call, PEER, desk)


@pytest.mark.parametrize(("action", "message"), [(Action.REGISTER, SUBMISSION), (Action.QUERY, FIND)])
@BOUNDED
@given(seed=SEEDS)
def test_it_says_accepted_exactly_when_an_empty_registry_says_success(
    empty: Database, action: Action, message: str, seed: int
) -> None:
    dice = random.Random(seed)
    raw = dice.choice((spoilt, mended_or_spoilt, mended_or_spoilt))(message, dice)
    try:
        body = xml.read(raw)
    except Mangled:
        return
    if body.tag != action.body:
        return
    strictness = lowered(dice)
    found = told(raw, action=action, strictness=strictness, sender="ous")
    if any("must be registered already" in note for note in found.notes):
        return  # what an empty registry cannot have
    said = answer(Call(action, body, None, "m", Packaging.SIMPLE), empty, strictness)
    assert (found.outcome is Outcome.ACCEPTED) == (status_of(said) == "Success"), (found.problems, raw)
    if action is Action.REGISTER and strictness == STRICT:
        assert sorted(each.code for each in refusing(found)) == sorted(code for code, _ in errors_of(said))
    _empty(empty)


@BOUNDED
@given(seed=SEEDS, enveloped=st.booleans(), query=st.booleans(), cut=st.integers(0, 3))
def test_it_never_stumbles_over_a_message(seed: int, enveloped: bool, query: bool, cut: int) -> None:
    dice = random.Random(seed)
    message = (ASK if query else REGISTER) if enveloped else (FIND if query else SUBMISSION)
    raw = bytearray(spoilt(message, dice))
    for _ in range(cut):
        at = dice.randrange(len(raw))
        raw[at : at + dice.randint(0, 5)] = dice.choice([b"", b"<", b"&", b'"', b"\xff", b"</a>", b"--", b"'"])
    action = dice.choice([None, *Action])
    found = told(bytes(raw), action=action)
    assert len(found.problems) <= MOST_PROBLEMS
    assert "Traceback" not in found.sentence
    assert PERSON not in json.dumps(asdict(found), ensure_ascii=False)
    assert (found.outcome is Outcome.REFUSED) == bool(found.outcome is not Outcome.UNREADABLE and refusing(found))


@BOUNDED
@given(seed=SEEDS, query=st.booleans())
def test_it_accepts_no_envelope_that_the_node_answers_with_a_fault(seed: int, query: bool) -> None:
    dice = random.Random(seed)
    head, _, rest = (ASK if query else REGISTER).partition("<soap12:Body>")
    root = ElementTree.fromstring(f"{head}<soap12:Body>{rest}")
    header = root[0]
    match dice.randint(0, 4):
        case 0:
            header.remove(dice.choice(list(header)))
        case 1:
            header.append(dice.choice(list(header)))
        case 2:
            dice.choice(list(header.iter())).text = dice.choice(["", "urn:x", Action.RETRIEVE.value, "a" * 2000])
        case 3:
            root.append(header) if dice.random() < 0.5 else root.insert(0, ElementTree.Element("x"))
        case _:
            spoil(root, dice)
    raw = ElementTree.tostring(root, encoding="utf-8")
    found = told(raw)
    fault = fault_of(raw)
    around = [each for each in found.problems if each.code.startswith("SOAP fault")]
    assert (fault is not None) == bool(around or found.outcome is Outcome.UNREADABLE), (fault, found.problems)


@BOUNDED
@given(raw=st.binary(max_size=200))
def test_it_has_a_sentence_for_any_bytes(raw: bytes) -> None:
    found = told(raw)
    assert found.outcome is not Outcome.ACCEPTED
    assert found.sentence.endswith(".")


@BOUNDED
@given(
    words=st.lists(
        st.sampled_from(["'", "(", ")", ",", "a^^b", "''", '"', " ", "1", "x", "%", "\u2019", "=", "&"]), max_size=9
    )
)
def test_any_value_of_a_query_is_judged_as_the_registry_judges_it(empty: Database, words: list[str]) -> None:
    message = FIND.replace("('A00-1^^2.16.578.1.12.4.1.1.9602')", xml.escape_text("".join(words)))
    found = told(message, action=Action.QUERY)
    said = status_of(answer(Call(Action.QUERY, xml.read(message.encode()), None, "m", Packaging.SIMPLE), empty))
    assert (found.outcome is Outcome.ACCEPTED) == (said == "Success"), found.problems


@BOUNDED
@given(number=st.from_regex(r"Zz[A-Za-z0-9-]{3,20}", fullmatch=True), show=st.booleans(), query=st.booleans())
def test_no_patient_is_in_the_answer_whatever_the_number_looks_like(number: str, show: bool, query: bool) -> None:
    message = (FIND if query else SUBMISSION).replace(PERSON, number)
    wrong = message.replace("&amp;ISO", "&amp;iso").replace("<Value>51342<", f"<Value>{number}<")
    for each in (message, wrong):
        assert (number in str(told(each, show_patients=show))) is show


@BOUNDED
@given(around=st.sampled_from(["{}", "2.999.{}.1", "id{}x", "{}^^^&1.2&ISO", "PID-3|{}", "<{}>", "a{}f"]))
def test_a_national_number_is_masked_wherever_it_stands(around: str) -> None:
    message = SUBMISSION.replace("<Value>51342<", f"<Value>{xml.escape_text(around.format(PERSON))}<")
    assert PERSON not in str(told(message))
    assert PERSON not in str(told(message.replace("</RegistryObjectList>", "")))
