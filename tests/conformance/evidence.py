"""What the kit's passing sections have shown, read from the messages the runner logged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from ihe.names import IS_FOLDER, LCM, QUERY, RIM, RS, XDS, ResponseStatus
from tests.conformance.missing import SHOWS_NOTHING
from tests.conformance.runs import Run

Tests = dict[str, dict[str, None]]
"""For each thing seen, the tests it was seen in, in order."""
_NOT_OURS = "ProvideAndRegisterTransaction"
"""Goes to the runner's own hospital; what that one registers is in no log."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Which tests have shown what; test ids in the order they ran."""

    queries: Tests = field(default_factory=lambda: defaultdict(dict))
    """By stored query id."""
    parameters: Tests = field(default_factory=lambda: defaultdict(dict))
    """By query id, a blank and the parameter."""
    returns: Tests = field(default_factory=lambda: defaultdict(dict))
    """By returnType."""
    associations: Tests = field(default_factory=lambda: defaultdict(dict))
    """By the type of an association that was accepted."""
    folders: dict[str, None] = field(default_factory=dict)
    """Tests that had a folder accepted."""
    errors: Tests = field(default_factory=lambda: defaultdict(dict))
    """By error code."""
    retrieves: Tests = field(default_factory=lambda: defaultdict(dict))
    """By status of the answer."""


def collect(done: Run, logs: Path) -> Evidence:
    """Reads the logs of every section that passed and shows something."""
    seen = Evidence()
    for section in done.sections(setup=True):
        if not section.passed or section.full_name in SHOWS_NOTHING:
            continue
        for found in logs.glob(f"*/{section.test}/{section.name}/log.xml"):
            for exchange in _exchanges(found):
                _read(exchange, section.test, seen)
    return seen


def _exchanges(log: Path) -> Iterator[ElementTree.Element]:
    for step in ElementTree.parse(log).iterfind("TestStep"):
        yield from (each for each in step if each.tag.endswith("Transaction") and each.tag != _NOT_OURS)


def _read(exchange: ElementTree.Element, test: str, seen: Evidence) -> None:
    for error in exchange.iterfind(f"Result//{{{RS}}}RegistryError"):
        seen.errors[error.get("errorCode", "")][test] = None
    answer = exchange.find("Result/*")
    status = "" if answer is None else answer.get("status", "")
    for asked in exchange.iterfind(f"InputMetadata/{{{QUERY}}}AdhocQueryRequest"):
        _read_query(asked, test, seen)
    if status == ResponseStatus.SUCCESS:
        for sent in exchange.iterfind(f"InputMetadata/{{{LCM}}}SubmitObjectsRequest/{{{RIM}}}RegistryObjectList/*"):
            _read_object(sent, test, seen)
    for response in exchange.iterfind(f"Result/{{{XDS}}}RetrieveDocumentSetResponse/{{{RS}}}RegistryResponse"):
        seen.retrieves[response.get("status", "")][test] = None


def _read_query(asked: ElementTree.Element, test: str, seen: Evidence) -> None:
    query = asked.find(f"{{{RIM}}}AdhocQuery")
    option = asked.find(f"{{{QUERY}}}ResponseOption")
    assert query is not None
    assert option is not None
    query_id = query.get("id", "").strip().lower()
    seen.queries[query_id][test] = None
    seen.returns[option.get("returnType", "")][test] = None
    names = [slot.get("name", "") for slot in query.iterfind(f"{{{RIM}}}Slot")]
    if query.get("home"):
        names.append("home")
    for name in names:
        seen.parameters[f"{query_id} {name}"][test] = None


def _read_object(sent: ElementTree.Element, test: str, seen: Evidence) -> None:
    if (linked := sent.get("associationType")) is not None:
        seen.associations[linked][test] = None
    if any(label.get("classificationNode") == IS_FOLDER for label in sent.iter(f"{{{RIM}}}Classification")):
        seen.folders[test] = None
