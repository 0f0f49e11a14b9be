"""Judges stored queries, ITI-18 and ITI-51, as the registry does, and says what they ask for.

The registry reads the values first and the parameters after that; so that both kinds of mistakes are told at once, what
is wrong in the first reading is mended or left out of a copy before the second.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial

from ihe import queries, xml
from ihe.errors import Mangled, XdsError, XdsFailure, clip
from ihe.names import QUERY, RIM, Action, Code, QueryId
from ihe.places import Places, path_of
from ihe.queries import AdhocQuery
from registry.explain.found import MOST_PROBLEMS, NOTE, Fix, Given, How, Judgement, Problem
from registry.explain.query_fixes import missing, misspelt, rewritten, strictly, typed, without_repetition
from registry.explain.submissions import SCHEMA, schema_problems
from registry.explain.writing import Writer, attribute
from registry.queries.catalogue import CATALOGUE
from registry.queries.parameters import Parameter
from registry.queries.understanding import Across, understand
from registry.rules.strictness import Level
from registry.rules.table import Rule

_PARAMETERS, _CODINGS = "TF-2 3.18.4.1.2.3.7", "TF-2 3.18.4.1.2.3.5"
VALUE = Rule(
    "query-value",
    Code.REGISTRY_ERROR,
    _CODINGS,
    "A value is a number, a text in single quotes, or a list of them in parentheses; a quote inside a text is doubled",
)
TYPE = Rule("query-type", Code.REGISTRY_ERROR, _CODINGS, "A value is written as its parameter demands")
RETURN_TYPE = Rule("query-return-type", Code.REGISTRY_ERROR, "TF-2 3.18.4.1.2.6", "returnType says how much to return")
MISSING = Rule(
    "query-missing-parameter",
    Code.STORED_QUERY_MISSING_PARAM,
    _PARAMETERS,
    "A required parameter is there and holds something known: a missing filter is never taken for a wildcard",
)
NUMBER = Rule(
    "query-parameter-number",
    Code.STORED_QUERY_PARAM_NUMBER,
    _PARAMETERS,
    "A parameter of one value has one; only event codes, confidentiality, reference ids and folder codes are repeated, "
    "and only one of the ids that name the same thing is given",
)
KNOWN = Rule(
    "query-known", Code.UNKNOWN_STORED_QUERY, "TF-2 3.18.4.1.2.4", "The id is that of a stored query of the transaction"
)
COMMUNITY = Rule("query-home", Code.UNKNOWN_COMMUNITY, "TF-2 3.18.4.1.2.3.8", "home names this community")
IGNORED = Rule(
    "query-ignored-parameter",
    Code.REGISTRY_ERROR,
    _PARAMETERS,
    "The registry ignores what is no parameter of the query, so this filters nothing",
)
LIMIT = Rule("query-limit", Code.REGISTRY_ERROR, "TF-2 3.18.4.1.2.5", "A query is of a size that somebody needs")
STRICT_VALUE = Rule(
    "query-strict-value",
    Code.REGISTRY_ERROR,
    _CODINGS,
    "The registry takes it as it is meant; others refuse what is not written strictly",
)
NOTES = (IGNORED, STRICT_VALUE)
"""What the registry takes without a word."""
RULES = (SCHEMA, VALUE, TYPE, RETURN_TYPE, MISSING, NUMBER, KNOWN, COMMUNITY, LIMIT, *NOTES)
_BY_CODE = {rule.code: rule for rule in (MISSING, NUMBER, KNOWN, COMMUNITY)}
_NAME = re.compile(r"\$\w+")
_SLOT, _VALUE = f"{{{RIM}}}Slot", f"{{{RIM}}}Value"
_MOST_LISTED = 10


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query as sent, and where it stands."""

    body: xml.Element
    places: Places
    query: xml.Element | None
    """AdhocQuery."""

    def slots(self, name: str) -> list[xml.Element]:
        """The slots of this name."""
        return [] if self.query is None else [each for each in self.query.iterfind(_SLOT) if each.get("name") == name]

    def problem(self, rule: Rule, element: xml.Element | None, expected: str, found: str, fix: Fix | None) -> Problem:
        """A problem at an element; at the query where that is not there."""
        at = element if element is not None else self.query if self.query is not None else self.body
        place = self.places.of(at)
        return Problem(
            rule=rule.id,
            level=NOTE if rule in NOTES else Level.REJECT,
            section=rule.section,
            explanation=rule.explanation,
            path=path_of(at, self.body),
            expected=expected,
            found=found,
            line=None if place is None else place.line,
            column=None if place is None else place.column,
            code="" if rule in NOTES else rule.code.value,
            fix=fix,
        )


@dataclass(slots=True)
class _Problems:
    """The first problems, each made only where there is room for it, and how many more there are."""

    shown: list[Problem] = field(default_factory=list)
    more: int = 0

    def take(self, making: Iterable[Callable[[], Problem]]) -> None:
        """Takes in what `making` makes."""
        for make in making:
            if len(self.shown) < MOST_PROBLEMS:
                self.shown.append(make())
            else:
                self.more += 1


def judge(body: xml.Element, places: Places, action: Action, given: Given) -> Judgement:
    """Everything the registry says of an AdhocQueryRequest before it looks for anything."""
    asked = _Asked(body, places, body.find(f"{{{RIM}}}AdhocQuery"))
    if findings := queries.findings(body):
        return Judgement(schema_problems(findings, body, body, places, replace(SCHEMA, code=VALUE.code)), "")
    problems = _Problems()
    read, spoilt = _read(asked, problems)
    across = action is Action.MULTI_PATIENT_QUERY
    unsure = across and given.across is None
    notes = ("a node answers ITI-51 where [query] multi_patient allows it",) if unsure else ()
    if read is None:
        return Judgement(tuple(problems.shown), "", (), problems.more, _UNCHECKED, notes)
    try:
        understand(read, given.home, (given.across or Across.ANY) if across else None)
    except XdsFailure as failure:
        told = (each for each in failure.errors if not set(_NAME.findall(each.context)) & spoilt)
        problems.take(partial(_misuse, error, asked, read) for error in told)
    problems.take(_ignored(asked, read))
    problems.take(_loose(asked, read))
    rows = tuple(_understood(read))
    return Judgement(tuple(problems.shown), _name(read.id), rows, problems.more, _UNCHECKED, notes)


_UNCHECKED = (
    ("XDSUnknownPatientId", "Whether the patient is known, where a node tells"),
    ("XDSTooManyResults", "Whether there is more than a node returns at once"),
    ("XDSResultNotSinglePatient", "Whether ids that are asked for belong to one patient"),
)


def _read(asked: _Asked, problems: _Problems) -> tuple[AdhocQuery | None, set[str]]:
    """The query, if need be without what cannot be read in it, and the names of what was left out."""
    try:
        return queries.read(asked.body), set()
    except XdsFailure as failure:
        # A name that stands in several slots is told once, with all of them.
        told = {error.context.partition(": ")[0]: error.context for error in failure.errors}
    for name, context in told.items():
        problems.take(_unread(name, context, asked))
    copy = deepcopy(asked.body)
    spoilt: set[str] = set()
    option = copy.find(f"{{{QUERY}}}ResponseOption")
    if option is not None and option.get("returnType") not in set(queries.Returns):
        option.set("returnType", queries.Returns.LEAF.value)
    for slot in list(copy.iter(_SLOT)):
        if not _mended(slot):
            spoilt.add(slot.get("name", ""))
            above = slot.getparent()
            if above is not None:
                above.remove(slot)
    try:
        return queries.read(copy), spoilt
    except XdsFailure:
        return None, spoilt


def _mended(slot: xml.Element) -> bool:
    """Whether every value of the slot can be read, after mending what can be mended."""
    for value in slot.iter(_VALUE):
        said = xml.text(value)
        if _fault(said):
            better = rewritten(said)
            if better is None:
                return False
            value.text = better
    return True


def _fault(text: str) -> str:
    """What is wrong with the text of a Value, or empty."""
    try:
        queries.parse_value(text)
    except Mangled as wrong:
        return str(wrong)
    return ""


def _unread(name: str, context: str, asked: _Asked) -> Iterator[Callable[[], Problem]]:
    """An error of the first reading, at every value it is about."""
    if name.startswith("returnType"):
        option = asked.body.find(f"{{{QUERY}}}ResponseOption")
        said = "nothing" if option is None else option.get("returnType") or "nothing"
        fix = Fix(How.SET, attribute("returnType", "LeafClass"))
        yield partial(asked.problem, RETURN_TYPE, option, "LeafClass or ObjectRef", clip(said), fix)
        return
    slots = asked.slots(name)
    faults = [(value, fault) for slot in slots for value in slot.iter(_VALUE) if (fault := _fault(xml.text(value)))]
    yield from (partial(_unreadable, asked, value, fault) for value, fault in faults)
    if not faults:
        reason = context.partition(": ")[2] or context
        yield partial(asked.problem, LIMIT, slots[0] if slots else None, "no more than that", reason, None)


def _unreadable(asked: _Asked, value: xml.Element, fault: str) -> Problem:
    said = xml.text(value)
    return asked.problem(VALUE, value, fault, clip(said, 256), _rewritten(value, said))


def _rewritten(value: xml.Element, said: str) -> Fix | None:
    better = rewritten(said)
    return None if better is None else Fix(How.REPLACE, Writer(value).value(better))


def _misuse(error: XdsError, asked: _Asked, read: AdhocQuery) -> Problem:
    """An error of the second reading, at the parameter it names."""
    names = _NAME.findall(error.context)
    slots = [slot for name in names for slot in asked.slots(name)]
    rule = _BY_CODE.get(error.code, TYPE)
    if rule is KNOWN:
        said = "" if asked.query is None else asked.query.get("id", "")
        return asked.problem(KNOWN, asked.query, "the id of a stored query", clip(said), _known(read.id))
    if rule is COMMUNITY:
        return asked.problem(COMMUNITY, asked.query, "this community's homeCommunityId, or none", clip(read.home), None)
    parameters = [each for each in _parameters(read) if each.name in names]
    if rule is MISSING:
        spelt = next((near for each in names if (near := misspelt(each, asked.query)) is not None), None)
        at = spelt if spelt is not None else slots[0] if slots else None
        fix = missing(names, parameters, asked.query, spelt, slots)
        return asked.problem(MISSING, at, " or ".join(names), "nothing that counts" if slots else "nothing", fix)
    if rule is NUMBER:
        said = f"{len(slots)} slots" if len(slots) > 1 else "several values"
        fix = without_repetition(parameters[0], slots) if len(names) == 1 and parameters else None
        return asked.problem(NUMBER, slots[-1] if slots else None, error.context, said, fix)
    said, _, expected = error.context.partition(": expected ")
    found = said.partition(" is ")[2]
    value = _holding(slots, found)
    fix = typed(parameters[0], value, found) if parameters and value is not None else None
    return asked.problem(TYPE, value, expected or error.context, found, fix)


def _holding(slots: Sequence[xml.Element], found: str) -> xml.Element | None:
    """The Value that holds what was found; the first slot where none does."""
    for slot in slots:
        for value in slot.iter(_VALUE):
            try:
                if found in map(clip, queries.parse_value(rewritten(xml.text(value)) or xml.text(value))):
                    return value
            except Mangled:
                continue
    return slots[0] if slots else None


def _known(query_id: str) -> Fix | None:
    """The stored query whose id was nearly written."""
    said = query_id.rpartition(":")[2].strip("{} ")
    known = {each.value.rpartition(":")[2]: each.value for each in QueryId}
    near = difflib.get_close_matches(said, list(known), n=1, cutoff=0.9)
    return Fix(How.SET, attribute("id", known[near[0]])) if near else None


def _parameters(read: AdhocQuery) -> tuple[Parameter, ...]:
    return CATALOGUE[QueryId(read.id)].parameters if read.id in set(QueryId) else ()


def _ignored(asked: _Asked, read: AdhocQuery) -> Iterator[Callable[[], Problem]]:
    """Slots that the registry passes over, because they are no parameters of the query."""
    known = [each.name for each in _parameters(read)]
    if known and asked.query is not None:
        for slot in asked.query.iterfind(_SLOT):
            if slot.get("name", "") not in known:
                yield partial(_passed_over, asked, slot, known, _name(read.id))


def _passed_over(asked: _Asked, slot: xml.Element, known: list[str], query: str) -> Problem:
    name = slot.get("name", "")
    lower = {each.lower().lstrip("$"): each for each in known}
    near = difflib.get_close_matches(name.strip().lower().lstrip("$"), list(lower), n=1, cutoff=0.85)
    fix = Fix(How.SET, attribute("name", lower[near[0]])) if near else None
    return asked.problem(IGNORED, slot, f"a parameter of {query}", clip(name) or "no name", fix)


def _loose(asked: _Asked, read: AdhocQuery) -> Iterator[Callable[[], Problem]]:
    """Values that are taken although their quotes or parentheses are not where they belong."""
    for parameter in _parameters(read):
        for slot in asked.slots(parameter.name):
            for value in slot.iter(_VALUE):
                said = xml.text(value)
                if (strict := strictly(parameter, said)) is not None:
                    fix = Fix(How.REPLACE, Writer(value).value(strict))
                    wanted = "a list in parentheses" if parameter.many else "one value without parentheses"
                    yield partial(asked.problem, STRICT_VALUE, value, wanted, clip(said, 256), fix)


def _name(query_id: str) -> str:
    """`FindDocuments`."""
    if query_id not in set(QueryId):
        return "an unknown query"
    return "".join(word.capitalize() for word in QueryId(query_id).name.split("_"))


def _understood(read: AdhocQuery) -> Iterator[tuple[str, str]]:
    known = {each.name for each in _parameters(read)}
    yield "Query", f"{_name(read.id)}, returning {read.returns.value}"
    if read.home:
        yield "home", clip(read.home)
    for slot in read.slots:
        if slot.name in known or not known:
            yield clip(slot.name), " AND ".join(_group(group) for group in slot.groups)


def _group(group: tuple[str, ...]) -> str:
    listed = " OR ".join(clip(each, 120) for each in group[:_MOST_LISTED])
    more = f" OR {len(group) - _MOST_LISTED} more" if len(group) > _MOST_LISTED else ""
    return f"({listed}{more})" if len(group) > 1 else listed
