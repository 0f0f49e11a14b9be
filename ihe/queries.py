"""Stored queries on the wire: what is asked becomes named groups of values, what was found becomes one answer.

A value is read completely or refused by the name of its parameter, never half. Which parameters a query needs and how
many values each may have is the registry's table. Sources: ITI TF-2 3.18.4.1.2, TF-3 4.2.4; OASIS ebRS 3.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum

from ihe import xml
from ihe.errors import Mangled, XdsError, XdsFailure, clip
from ihe.names import QUERY, RIM, RS, Code, ResponseStatus, Severity

MOST_VALUES = 100
"""Values in one slot. Consumers page long lists of ids themselves; a list this long is already a report, not care."""
MOST_SLOTS = 50
"""Slots with a value in one query; FindDocuments has some twenty parameters, each of which may be repeated."""
MOST_PATTERN = 256
"""Characters of an authorPerson pattern, the longest authorPerson there can be."""
MOST_WILDCARDS = 4
"""`%` and `_` in one pattern: surname and given name, each open on both sides. Cost grows with every one of them."""
MOST_PATTERNS = 10
"""Patterns in one slot: each is tried on every author of a patient's documents, so what they cost is multiplied."""
MOST_ERRORS = 100
"""Told of one query. Whoever makes more mistakes than this has made one of them often; an answer stays small."""
MOST_CONTEXT = 1024
"""Characters of one codeContext: a rule, where, what was expected and what was found, each at most 256."""

PATTERNS = frozenset({"$XDSDocumentEntryAuthorPerson", "$XDSSubmissionSetAuthorPerson"})
"""The only parameters matched as patterns (TF-2 3.18.4.1.2.3.5)."""

_SLOT = f"{{{RIM}}}Slot"
_VALUE = f"{{{RIM}}}ValueList/{{{RIM}}}Value"
_SPACE = " \t\r\n"
_NUMBER = re.compile(r"[0-9]+")
_BARE = re.compile(r"[^'\"(),]+")
_STRING = re.compile(r"'((?:[^']++|'')*+)'")


class Returns(StrEnum):
    """returnType (TF-2 3.18.4.1.2.6)."""

    LEAF = "LeafClass"
    REF = "ObjectRef"


@dataclass(frozen=True, slots=True)
class QuerySlot:
    """One parameter: groups are joined by AND, the values of a group by OR."""

    name: str
    groups: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class AdhocQuery:
    """One stored query. Parameters without a value are not there; unknown ones are, for the registry to ignore."""

    id: str
    """In lower case, without surrounding white space."""
    returns: Returns
    home: str
    slots: tuple[QuerySlot, ...]
    """One per name, in order of first appearance."""

    def groups(self, name: str) -> tuple[tuple[str, ...], ...]:
        """The groups of this parameter; empty when it is absent."""
        return next((slot.groups for slot in self.slots if slot.name == name), ())


def read(body: xml.Element) -> AdhocQuery:
    """The query in an AdhocQueryRequest.

    Raises: XdsFailure (XDSRegistryError) with everything that is wrong: schema findings, returnType, malformed values,
    too many of them. Ignored, as the framework says: paging, federation, returnComposedObjects, names without `$`.
    """
    if broken := findings(body):
        raise XdsFailure(tuple(_refused(f"{found.path}: {found.message}") for found in broken))
    errors: list[XdsError] = []
    option = body.find(f"{{{QUERY}}}ResponseOption")
    asked = body.find(f"{{{RIM}}}AdhocQuery")
    if option is None or asked is None:
        raise XdsFailure((_refused("AdhocQueryRequest without ResponseOption and AdhocQuery"),))
    returns = option.get("returnType")
    if returns is None or returns not in (Returns.LEAF.value, Returns.REF.value):
        said = "is missing" if returns is None else f"{clip(returns)} is not served"
        errors.append(_refused(f"returnType {said}: expected LeafClass or ObjectRef"))
    slots: dict[str, tuple[tuple[str, ...], ...]] = {}
    for name, found in _parameters(asked):
        try:
            values = _values(name, found)
        except Mangled as wrong:
            errors.append(_refused(f"{clip(name)}: {wrong}"))
            if len(errors) == MOST_ERRORS:
                raise XdsFailure(tuple(errors)) from None
            continue
        if values:
            slots[name] = (*slots.get(name, ()), values)
    if sum(len(groups) for groups in slots.values()) > MOST_SLOTS:
        errors.append(_refused(f"more than {MOST_SLOTS} slots"))
    if errors or returns is None:
        raise XdsFailure(tuple(errors))
    return AdhocQuery(
        id=asked.get("id", "").strip(_SPACE).lower(),
        returns=Returns(returns),
        home=asked.get("home", "").strip(_SPACE),
        slots=tuple(QuerySlot(name, groups) for name, groups in slots.items()),
    )


def findings(body: xml.Element) -> tuple[xml.Finding, ...]:
    """How an AdhocQueryRequest breaks its schema, slots without anything in them left out; empty where it does not."""
    return xml.schema("query").findings(_without_empty_slots(body))


def _refused(context: str) -> XdsError:
    return XdsError(Code.REGISTRY_ERROR, context)


def _without_empty_slots(body: xml.Element) -> xml.Element:
    """For the schema, which wants a ValueList in every slot where senders leave it out and mean no value at all."""
    if all(len(slot) for slot in body.iter(_SLOT)):
        return body
    copy = deepcopy(body)
    for slot in list(copy.iter(_SLOT)):
        parent = slot.getparent()
        if len(slot) == 0 and parent is not None:
            parent.remove(slot)
    return copy


def _parameters(asked: xml.Element) -> Iterator[tuple[str, list[str]]]:
    for slot in asked.iterfind(_SLOT):
        name = slot.get("name", "")
        if name.startswith("$"):
            yield name, [xml.text(value) for value in slot.iterfind(_VALUE)]


def _values(name: str, texts: Iterable[str]) -> tuple[str, ...]:
    """The values of one slot, all its Value elements together. Raises: Mangled."""
    values: list[str] = []
    for text in texts:
        values += parse_value(text)
        if len(values) > MOST_VALUES:
            raise Mangled(f"more than {MOST_VALUES} values")
    if name in PATTERNS:
        if len(values) > MOST_PATTERNS:
            raise Mangled(f"more than {MOST_PATTERNS} patterns")
        for value in values:
            if len(value) > MOST_PATTERN or value.count("%") + value.count("_") > MOST_WILDCARDS:
                raise Mangled(f"a pattern may have {MOST_PATTERN} characters and {MOST_WILDCARDS} wildcards")
    return tuple(values)


def parse_value(text: str) -> tuple[str, ...]:
    """The values in the text of one rim:Value (TF-2 3.18.4.1.2.3.5): a list in parentheses, a string or a number.

    A doubled quote stands for one. Tolerated: an unquoted text that can mean only itself. White space outside quotes
    does not count; empty text is no value. Raises: Mangled, saying what was expected.
    """
    text = text.strip(_SPACE)
    if not text:
        return ()
    if not text.startswith("("):
        if text.startswith("'"):
            value, end = _string(text, 0)
            if end != len(text):
                raise Mangled("nothing may follow a quoted value; several values stand in parentheses")
            return (value,)
        if _BARE.fullmatch(text) is None:
            raise Mangled("a text stands in single quotes")
        return (text,)
    return _list(text)


def _list(text: str) -> tuple[str, ...]:
    values: list[str] = []
    at = 1
    while True:
        at = _skip(text, at)
        if text.startswith("'", at):
            value, at = _string(text, at)
        elif number := _NUMBER.match(text, at):
            value, at = number[0], number.end()
        else:
            raise Mangled("a list holds texts in single quotes or numbers, between commas")
        values.append(value)
        if len(values) > MOST_VALUES:
            raise Mangled(f"more than {MOST_VALUES} values")
        at = _skip(text, at)
        if text.startswith(")", at) and at == len(text) - 1:
            return tuple(values)
        if not text.startswith(",", at):
            raise Mangled("a list ends with its parenthesis and has commas between its values")
        at += 1


def _string(text: str, at: int) -> tuple[str, int]:
    found = _STRING.match(text, at)
    if found is None:
        raise Mangled("a quote is not closed")
    return found[1].replace("''", "'"), found.end()


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def write_response(status: ResponseStatus, errors: Sequence[XdsError], objects: Iterable[bytes]) -> list[bytes]:
    """An AdhocQueryResponse in a few large pieces; `objects` are what ihe.ebrim writes, joined and not looked at.

    The object list is there even when it is empty, as the schema wants and some readers of a Failure do not expect but
    all accept; it declares the namespace the objects rely on.
    """
    start = (
        f'<query:AdhocQueryResponse xmlns:query="{QUERY}" xmlns:rs="{RS}" status="{status.value}">'
        f'{_error_list(errors)}<RegistryObjectList xmlns="{RIM}">'
    )
    return [start.encode(), b"".join(objects), b"</RegistryObjectList></query:AdhocQueryResponse>"]


def write_registry_response(status: ResponseStatus, errors: Sequence[XdsError]) -> list[bytes]:
    """The RegistryResponse to a submission (TF-3 4.2.4)."""
    start = f'<rs:RegistryResponse xmlns:rs="{RS}" status="{status.value}">'
    return [f"{start}{_error_list(errors)}</rs:RegistryResponse>".encode()]


def _error_list(errors: Sequence[XdsError]) -> str:
    """Absent when there is nothing to say: some consumers take an empty list for an error."""
    if not errors:
        return ""
    worst = Severity.ERROR if any(error.severity is Severity.ERROR for error in errors) else Severity.WARNING
    entries = "".join(
        f'<rs:RegistryError codeContext="{xml.escape_attribute(clip(error.context, MOST_CONTEXT))}"'
        f' errorCode="{error.code.value}" location="{xml.escape_attribute(clip(error.location, MOST_CONTEXT))}"'
        f' severity="{error.severity.value}"/>'
        for error in errors
    )
    return f'<rs:RegistryErrorList highestSeverity="{worst.value}">{entries}</rs:RegistryErrorList>'
