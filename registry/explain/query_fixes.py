"""Corrections for stored queries: values in their quotes, parameters in their place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ihe import queries, values, xml
from ihe.errors import Mangled
from ihe.names import RIM, Status
from registry.explain.found import Fix, How
from registry.explain.values import mended
from registry.explain.writing import Writer, attribute
from registry.queries import parameters
from registry.queries.parameters import Parameter, Syntax

_NUMBERS = (parameters.time, parameters.level)
"""Syntaxes whose values stand without quotes, or with them (CP-ITI-1260)."""
_SLOT, _VALUE = f"{{{RIM}}}Slot", f"{{{RIM}}}Value"


def quoted(text: str) -> str:
    """A text as a query writes it."""
    return "'" + text.replace("'", "''") + "'"


def rewritten(text: str) -> str | None:
    """The text of a Value as it can be read, where what was meant is plain; None where it is not."""
    for candidate in _candidates(text.strip()):
        try:
            queries.parse_value(candidate)
        except Mangled:
            continue
        return candidate
    return None


def _candidates(text: str) -> Iterator[str]:
    for mark in ('"', "\u2018\u2019", "\u00b4", "`", "\u201c\u201d"):
        if any(each in text for each in mark):
            yield re.sub(f"[{mark}]", "'", text)
    inside = text.removeprefix("(").removesuffix(")")
    listed = text.startswith("(") or text.endswith(")")
    if "'" not in inside and '"' not in inside and inside.strip():
        pieces = [each.strip() for each in inside.split(",")]
        if listed or len(pieces) > 1:
            yield "(" + ",".join(quoted(each) for each in pieces if each) + ")"
        yield quoted(inside.strip())
    if "'" in inside:
        # Quotes around some or a quote too few: each piece between commas is taken for one value.
        pieces = [each.strip().strip("'") for each in inside.split(",")]
        if not any("'" in each for each in pieces) and all(pieces):
            whole = ",".join(quoted(each) for each in pieces)
            yield f"({whole})" if listed or len(pieces) > 1 else whole
        if not listed and "," not in inside:
            yield quoted(inside.strip().strip("'"))


def strictly(parameter: Parameter, text: str) -> str | None:
    """The text of a Value as the framework has it, where the registry takes it otherwise; None where it is right."""
    try:
        found = queries.parse_value(text)
    except Mangled:
        return None
    if not found or (len(found) > 1 and not parameter.many):
        return None
    plain = text.strip()
    listed = plain.startswith("(")
    quotes = parameter.syntax in _NUMBERS or "'" in plain
    if listed is parameter.many and quotes:
        return None
    whole = ",".join(each if parameter.syntax in _NUMBERS else quoted(each) for each in found)
    return f"({whole})" if parameter.many else whole


def typed(parameter: Parameter, value: xml.Element, found: str) -> Fix | None:
    """The Value with what was `found` in the parameter's type."""
    said = xml.text(value)
    better = _typed(parameter, found)
    if better is None or found not in said or value.tag != _VALUE:
        return None
    return Fix(How.REPLACE, Writer(value).value(said.replace(found, better, 1)))


def _typed(parameter: Parameter, found: str) -> str | None:
    if parameter.syntax is parameters.code:
        code, _, scheme = found.partition("^")
        scheme = scheme.strip("^&").removesuffix("&ISO")
        return f"{code.strip() or '[code]'}^^{scheme or '[its coding scheme]'}"
    if parameter.syntax is parameters.patient:
        return mended(values.cx, found)
    if parameter.syntax is parameters.time:
        return mended(values.dtm, found)
    return None


def misspelt(name: str, query: xml.Element | None) -> xml.Element | None:
    """The slot that is meant to be this parameter and is written without its `$`, or in other letters."""
    if query is None:
        return None
    wanted = name.lstrip("$").lower()
    slots = query.iterfind(_SLOT)
    return next((each for each in slots if each.get("name", "").strip().lstrip("$").lower() == wanted), None)


def missing(
    names: Sequence[str],
    known: Sequence[Parameter],
    query: xml.Element | None,
    spelt: xml.Element | None,
    slots: Sequence[xml.Element],
) -> Fix | None:
    """The missing parameter: its right name, its right status, or a skeleton to fill in."""
    if query is None or not names:
        return None
    if spelt is not None and spelt.get("name") != names[0]:
        return Fix(How.SET, attribute("name", names[0]))
    if slots and known and known[0].syntax is parameters.status:
        for value in slots[0].iter(_VALUE):
            better = re.sub(
                r"urn:[\w:.-]*?:(?=Approved|Deprecated)", Status.APPROVED.rpartition(":")[0] + ":", _text(value)
            )
            better = re.sub(r"'(Approved|Deprecated)'", rf"'{Status.APPROVED.rpartition(':')[0]}:\1'", better)
            if better != _text(value):
                return Fix(How.REPLACE, Writer(value).value(better))
    how = How.REPLACE if slots else How.ADD
    return Fix(how, Writer(query).slot(names[0], _skeleton(known[0] if known else None)))


def _text(value: xml.Element) -> str:
    return xml.text(value)


def _skeleton(parameter: Parameter | None) -> str:
    if parameter is None:
        return "'[value]'"
    skeletons: dict[Syntax, str] = {
        parameters.patient: "'[id]^^^&[OID]&ISO'",
        parameters.status: quoted(Status.APPROVED.value),
        parameters.code: "'[code]^^[its coding scheme]'",
        parameters.time: "[YYYYMMDDhhmmss in UTC]",
    }
    one = skeletons.get(parameter.syntax, "'[value]'")
    return f"({one})" if parameter.many else one


def without_repetition(parameter: Parameter, slots: Sequence[xml.Element]) -> Fix | None:
    """One slot for all values of a parameter that may stand once, where it takes several."""
    if not parameter.many or len(slots) < 2:
        return None
    found: list[str] = []
    for slot in slots:
        for value in slot.iter(_VALUE):
            try:
                found += queries.parse_value(xml.text(value))
            except Mangled:
                return None
    listed = ",".join(quoted(each) for each in dict.fromkeys(found))
    return Fix(How.REPLACE, Writer(slots[0]).slot(parameter.name, f"({listed})"))
