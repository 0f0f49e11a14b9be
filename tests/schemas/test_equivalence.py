"""Our schemas and the official ones give every message the same verdict, but for the one facet named here."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from tests.schemas.grammar import Grammar, mutate

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = Path(os.environ.get("INNSYN_SHARED", ROOT.parent / "shared")) / "conformance"
OFFICIAL = REFERENCE / "schemas" / "nist-v3"
OURS = ROOT / "schemas"

pytestmark = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason=f"the official schemas are not there to compare with ({OFFICIAL}); set INNSYN_SHARED"
)

EBXML = "urn:oasis:names:tc:ebxml-regrep:xsd:"
SPACES = (f"{EBXML}rim:3.0", f"{EBXML}rs:3.0", f"{EBXML}lcm:3.0", f"{EBXML}query:3.0", "urn:ihe:iti:xds-b:2007")
SOAP = ("{http://www.w3.org/2003/05/soap-envelope}", "{http://schemas.xmlsoap.org/soap/envelope/}")

EXCEPTION = f"{{{EBXML}rim:3.0}}Value"
"""The one element, and maxLength 256 the one facet, in which we accept more: its length is the rule value-length."""
LONGEST = 256


@cache
def compiled(path: Path) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(path, etree.XMLParser(no_network=True)))


def ours() -> etree.XMLSchema:
    return compiled(OURS / "ihe" / "XDS.b_DocumentRepository.xsd")


def official() -> etree.XMLSchema:
    return compiled(OFFICIAL / "XDS.b_DocumentRepository.xsd")


def within_the_exception(message: etree._Element) -> etree._Element:
    """The message as the official schemas may see it: every rim:Value cut to the length they allow."""
    if any(len(value.text or "") > LONGEST for value in message.iter(EXCEPTION)):
        message = copy.deepcopy(message)
        for value in message.iter(EXCEPTION):
            value.text = (value.text or "")[:LONGEST]
    return message


def verdict(schema: etree.XMLSchema, message: etree._Element) -> tuple[bool, frozenset[tuple[str, str]]]:
    """Whether a message is valid, and which kind of error stands where."""
    message = etree.fromstring(etree.tostring(message))
    valid = schema.validate(message)
    log: Any = schema.error_log
    return valid, frozenset((error.type_name, error.path) for error in log.filter_from_errors())


def assert_same(message: etree._Element) -> bool:
    expected = verdict(official(), within_the_exception(message))
    assert verdict(ours(), message) == expected, etree.tostring(message)[:2000]
    return expected[0]


def read(path: Path) -> Iterator[etree._Element]:
    """The messages of a file in the namespaces compared: as its root, or in the body of its envelope."""
    raw = path.read_bytes()
    if path.suffix == ".txt":
        start, end = raw.find(b"<soap"), raw.rfind(b"Envelope>") + len(b"Envelope>")
        start = raw.rfind(b"<", 0, raw.find(b"Envelope")) if start < 0 else raw.find(b"<", start)
        raw = raw[start:end]
    parser = etree.XMLParser(no_network=True, resolve_entities=False, remove_comments=False)
    try:
        root = etree.fromstring(raw, parser)
    except etree.XMLSyntaxError:
        return
    bodies = [root, *(child for space in SOAP for body in root.iter(f"{space}Body") for child in body)]
    for body in bodies:
        if isinstance(body.tag, str) and etree.QName(body).namespace in SPACES:
            yield etree.fromstring(etree.tostring(body, with_tail=False))


@cache
def samples() -> tuple[etree._Element, ...]:
    folder = REFERENCE / "samples"
    listed = [folder / row["file"] for row in json.loads((folder / "index.json").read_text())]
    return tuple(message for path in listed for message in read(path))


@cache
def kit() -> tuple[etree._Element, ...]:
    folder = REFERENCE / "nist" / "testkit" / "tests"
    return tuple(message for path in sorted(folder.rglob("*.xml")) for message in read(path))


def test_every_sample_gets_the_same_verdict() -> None:
    verdicts = [assert_same(message) for message in samples()]
    assert verdicts.count(True) >= 60
    assert verdicts.count(False) >= 5


def test_every_message_of_the_test_kit_gets_the_same_verdict() -> None:
    verdicts = [assert_same(message) for message in kit()]
    assert verdicts.count(True) >= 200


def test_every_mutation_of_a_message_gets_the_same_verdict() -> None:
    dice = random.Random(42)
    bases = (*samples(), *kit())
    rich = [message for message in bases if 60 < len(list(message.iter())) < 600]
    verdicts = [assert_same(mutate(dice.choice(choice), dice)) for choice in (bases, rich) for _ in range(3000)]
    assert verdicts.count(True) >= 1000
    assert verdicts.count(False) >= 3000


def each_part_twice(message: etree._Element) -> Iterator[etree._Element]:
    """The message with each kind of its children doubled, one kind at a time: what may be repeated, and what not."""
    for tag in {child.tag: child for child in message}:
        twice = copy.deepcopy(message)
        first = next(child for child in twice if child.tag == tag)
        first.addnext(copy.deepcopy(first))
        yield twice


@pytest.mark.parametrize("folder", [OFFICIAL, OURS], ids=["official", "ours"])
def test_whatever_either_schema_can_say_the_other_understands(folder: Path) -> None:
    dice = random.Random(7)
    grammar = Grammar(folder)
    names = grammar.elements(*SPACES)
    assert len(names) == 90
    verdicts = []
    for name in names:
        for _ in range(24):
            message = grammar.instance(name, dice)
            verdicts.append(assert_same(message))
            verdicts.extend(assert_same(mutate(message, dice)) for _ in range(2))
            verdicts.extend(assert_same(twice) for twice in each_part_twice(message))
    assert verdicts.count(True) >= len(names) * 24
    assert verdicts.count(False) >= len(names) * 24


def test_the_same_elements_can_open_a_message() -> None:
    assert Grammar(OURS).elements(*SPACES) == Grammar(OFFICIAL).elements(*SPACES)


@pytest.mark.parametrize("name", ["rim", "rs", "lcm", "query"])
def test_each_schema_judges_its_own_messages_without_the_others(name: str) -> None:
    mine = f"{EBXML}{name}:3.0"
    alone, theirs = compiled(OURS / "ebrs" / f"{name}.xsd"), compiled(OFFICIAL / f"{name}.xsd")
    grammar, dice = Grammar(OFFICIAL), random.Random(3)
    made = [grammar.instance(element, dice) for element in grammar.elements(mine) for _ in range(5)]
    for message in [*made, *(mutate(message, dice) for message in made)]:
        assert alone.validate(message) == theirs.validate(within_the_exception(message))


@pytest.mark.parametrize(("length", "expected"), [(LONGEST, True), (LONGEST + 1, False)])
def test_the_length_of_a_value_is_the_one_exception(length: int, expected: bool) -> None:
    message = etree.Element(EXCEPTION)
    message.text = "x" * length
    assert ours().validate(message)
    assert official().validate(message) is expected
