"""Judges what writes to a registry, ITI-42 and ITI-61, as the registry does it, and says what it understood.

Schema, reading, rules and levels are those of the transaction; here they only keep every finding with its place.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from uuid import uuid4

from ihe import ebrim, values, xml
from ihe.errors import XdsFailure, clip
from ihe.names import Action, Code, EntryScheme, IdScheme, SetScheme
from ihe.places import Places, find, local, path_of
from ihe.submittal import Classification, Kind, Submittal, SubmittedObject
from registry.database.tables import URN_UUID
from registry.explain.fixes import fix_of
from registry.explain.found import MOST_PROBLEMS, NOTE, Fix, Given, How, Judgement, Problem
from registry.explain.writing import attribute
from registry.register import ENTRY_TYPES, foreign
from registry.rules import judge as rules
from registry.rules import table as rules_table
from registry.rules.strictness import Demands, Level, Verdict
from registry.rules.table import MOST_SHOWN, Rule, Violation

MOST_LISTED = 20
"""Objects of a kind that are listed by themselves."""
SCHEMA = Rule(
    "schema", Code.REGISTRY_METADATA_ERROR, "ebRS 3.0 schema", "The message is valid by the schema", firm=True
)

HASH_CASE = Rule(
    "hash-case",
    Code.REGISTRY_METADATA_ERROR,
    "TF-3 4.2.3.2.10",
    "A hash is taken in any letters, kept and shown in small ones; some consumers compare it as text",
)


@dataclass(slots=True)
class Everything(Verdict):
    """A verdict that forgets nothing it needs for explaining: also what is only counted, and how much was left out."""

    kept: list[tuple[Violation, Level]] = field(default_factory=list)
    more: int = 0

    def add(self, violations: Iterable[Violation]) -> None:
        """See Verdict. Goes on after the hundredth, to tell how many there are."""
        for each in violations:
            level = self.strictness.level(each.rule, self.sender)
            if level is Level.OFF:
                continue
            self.broken[each.rule.id] = level is Level.REJECT
            if level is Level.REJECT and len(self.rejections) < MOST_PROBLEMS:
                self.rejections.append(each)
            if len(self.kept) < MOST_PROBLEMS:
                self.kept.append((each, level))
            else:
                self.more += 1


def demands_of(action: Action, given: Given) -> Demands:
    """What this transaction asks of a submission at this node."""
    return Demands(ENTRY_TYPES.get(action, Demands().entry_types), given.value_limit, given.strictness.codes)


def judge(body: xml.Element, places: Places, action: Action, given: Given) -> Judgement:
    """Everything the registry's rules say of a SubmitObjectsRequest."""
    repaired = ebrim.repair(body)
    if findings := xml.schema("lcm").findings(repaired):
        return Judgement(schema_problems(findings, repaired, body, places), "")
    try:
        submittal = ebrim.read_submission(repaired)
    except XdsFailure as failure:
        return unlisted(failure, body, places)
    verdict = Everything(given.strictness, given.sender)
    rules.judge(submittal, demands_of(action, given), verdict)
    if not verdict.rejects:
        try:
            verdict.add(_typed(submittal, given.repositories))
        except XdsFailure as failure:
            return unlisted(failure, body, places)
    problems = [problem_of(each, level, body, places, submittal) for each, level in verdict.kept]
    problems += islice(_spellings(submittal, body, places), MOST_PROBLEMS - len(problems))
    return Judgement(
        tuple(problems),
        counted(submittal),
        tuple(_understood(submittal)),
        verdict.more,
        unchecked(submittal, given.repositories is not None),
        tuple(_notes(submittal)),
        ", if what it refers to is registered" if outside(submittal) else "",
    )


def unlisted(failure: XdsFailure, body: xml.Element, places: Places) -> Judgement:
    """A submission without a list of objects, or with one that cannot be stored."""
    place, said = places.of(body), failure.errors[0]
    problem = Problem(
        rule=SCHEMA.id,
        level=Level.REJECT,
        section=SCHEMA.section,
        explanation=SCHEMA.explanation,
        path=path_of(body, body),
        expected="what a registry can read and store",
        found=said.context,
        line=None if place is None else place.line,
        column=None if place is None else place.column,
        code=said.code.value,
    )
    return Judgement((problem,), "")


def _typed(submittal: Submittal, repositories: Collection[str] | None) -> Iterator[Violation]:
    """What the sender may not register, at the slots that say so; once no rule rejects the message.

    Raises: XdsFailure for what cannot be stored at whatever level.
    """
    submission = ebrim.metadata(submittal, lambda: f"{URN_UUID}{uuid4()}")
    if repositories is None:
        return
    slots = {
        f"DocumentEntry {sent.unique_id}": slot.path
        for sent, found in zip(submission.entries, submittal.of(Kind.ENTRY), strict=True)
        if (slot := found.slot("repositoryUniqueId")) is not None
    }
    for violation in foreign(submission, repositories):
        yield replace(violation, path=slots.get(violation.path, violation.path))


def schema_problems(
    findings: Iterable[xml.Finding], judged: xml.Element, body: xml.Element, places: Places, rule: Rule = SCHEMA
) -> tuple[Problem, ...]:
    """Schema findings of `judged`, a copy of `body`, at their places in the message."""
    return tuple(_schema_problem(each, judged, body, places, rule) for each in findings)


def _schema_problem(
    finding: xml.Finding, judged: xml.Element, body: xml.Element, places: Places, rule: Rule
) -> Problem:
    # Names and positions are the same in the message, the order of children may not be.
    path = path_of(find(judged, finding.path)[0], judged)
    place = places.of(find(body, path)[0])
    said, _, wanted = finding.message.partition(" Expected is ")
    return Problem(
        rule=rule.id,
        level=Level.REJECT,
        section=rule.section,
        explanation=rule.explanation,
        path=path,
        expected=wanted.rstrip(".") if wanted else "what the schema has there",
        found=said,
        line=None if place is None else place.line,
        column=None if place is None else place.column,
        code=rule.code.value,
        fix=_namespace(find(body, path)[0], wanted),
    )


def _namespace(element: xml.Element, wanted: str) -> Fix | None:
    """The namespace of the schema, for an element that has the right name in another one."""
    expected = re.search(rf"{{([^{{}}]+)}}{re.escape(local(element))}\b", wanted)
    if expected is None or str(element.tag).startswith(f"{{{expected[1]}}}"):
        return None
    prefix = f":{element.prefix}" if element.prefix else ""
    return Fix(How.SET, attribute(f"xmlns{prefix}", expected[1]))


def problem_of(violation: Violation, level: str, body: xml.Element, places: Places, submittal: Submittal) -> Problem:
    """A broken rule at its place in the message."""
    element, name = find(body, violation.path)
    place = places.of(element, name)
    return Problem(
        rule=violation.rule.id,
        level=level,
        section=violation.rule.section,
        explanation=violation.rule.explanation,
        path=violation.path,
        expected=clip(violation.expected, MOST_SHOWN),
        found=clip(violation.found, MOST_SHOWN),
        line=None if place is None else place.line,
        column=None if place is None else place.column,
        code=violation.rule.code.value,
        fix=fix_of(violation, body, submittal),
    )


def counted(submittal: Submittal) -> str:
    """`3 entries, 1 folder, 5 associations`."""
    words = {Kind.ENTRY: ("entry", "entries"), Kind.FOLDER: ("folder", "folders")}
    words[Kind.ASSOCIATION] = ("association", "associations")
    numbers = {kind: len(submittal.of(kind)) for kind in words}
    told = [f"{number} {words[kind][number != 1]}" for kind, number in numbers.items() if number]
    return ", ".join(told) or "nothing but a SubmissionSet"


def unchecked(submittal: Submittal, sender_known: bool) -> tuple[tuple[str, str], ...]:
    """The rules that only the registry's content can tell, those first that this message depends on."""
    asked = {rules_table.KNOWN_ENDS.id} if outside(submittal) else set()
    order = sorted(rules_table.REGISTRY, key=lambda rule: rule.id not in asked)
    done = {rules_table.OWN_REPOSITORY.id} if sender_known else set()
    return tuple((rule.id, rule.explanation) for rule in order if rule.id not in done)


def outside(submittal: Submittal) -> tuple[str, ...]:
    """UUIDs that the message refers to and does not hold: somebody must have registered them before."""
    known = submittal.by_id()
    ends = (end for each in submittal.of(Kind.ASSOCIATION) for end in (each.source, each.target))
    return tuple(dict.fromkeys(end for end in ends if end not in known and values.is_uuid(end)))


def _notes(submittal: Submittal) -> Iterator[str]:
    if needed := outside(submittal):
        listed = ", ".join(clip(each) for each in needed[:5])
        yield f"refers to {len(needed)} object(s) that must be registered already: {listed}"


def _spellings(submittal: Submittal, body: xml.Element, places: Places) -> Iterator[Problem]:
    """Hashes in capitals, which are taken and shown in small letters: some consumers compare them as text."""
    for found in submittal.of(Kind.ENTRY):
        slot, said = found.slot("hash"), found.value("hash")
        if slot is not None and said != said.lower() and values.sha1(said) is None:
            path = f"{slot.path}/ValueList/Value[1]"
            violation = Violation(HASH_CASE, path, "small letters", said)
            yield replace(problem_of(violation, NOTE, body, places, submittal), code="")


def _understood(submittal: Submittal) -> Iterator[tuple[str, str]]:
    for found in submittal.of(Kind.SET):
        yield f"SubmissionSet {clip(found.id, 60)}", _line(_set_parts(found))
    for kind, parts in ((Kind.ENTRY, _entry_parts), (Kind.FOLDER, _folder_parts)):
        objects = submittal.of(kind)
        for found in objects[:MOST_LISTED]:
            yield f"{kind.value} {clip(found.id, 60)}", _line(parts(found))
        if len(objects) > MOST_LISTED:
            yield kind.value, f"and {len(objects) - MOST_LISTED} more"
    kinds = Counter(found.type.rpartition(":")[2] for found in submittal.of(Kind.ASSOCIATION))
    if kinds:
        yield "Associations", ", ".join(f"{number} x {clip(kind, 40)}" for kind, number in kinds.most_common(10))


def _line(parts: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{label} {clip(text, 80)}" for label, text in parts if text)


def _set_parts(found: SubmittedObject) -> Iterator[tuple[str, str]]:
    yield "patient", _identified(found, IdScheme.SET_PATIENT_ID)
    yield "uniqueId", _identified(found, IdScheme.SET_UNIQUE_ID)
    yield "source", _identified(found, IdScheme.SET_SOURCE_ID)
    yield "sent", found.value("submissionTime")
    yield "contentType", _code(found, SetScheme.CONTENT_TYPE_CODE)


def _entry_parts(found: SubmittedObject) -> Iterator[tuple[str, str]]:
    yield "title", _title(found)
    yield "patient", _identified(found, IdScheme.ENTRY_PATIENT_ID)
    yield "uniqueId", _identified(found, IdScheme.ENTRY_UNIQUE_ID)
    yield "repository", found.value("repositoryUniqueId")
    yield "class", _code(found, EntryScheme.CLASS_CODE)
    yield "type", _code(found, EntryScheme.TYPE_CODE)
    yield "format", _code(found, EntryScheme.FORMAT_CODE)
    yield "confidentiality", ", ".join(map(_written, found.classified_by(EntryScheme.CONFIDENTIALITY_CODE)))
    yield "", " ".join(part for part in (found.mime_type, found.value("size")) if part)
    yield "created", found.value("creationTime")


def _folder_parts(found: SubmittedObject) -> Iterator[tuple[str, str]]:
    yield "title", _title(found)
    yield "patient", _identified(found, IdScheme.FOLDER_PATIENT_ID)
    yield "uniqueId", _identified(found, IdScheme.FOLDER_UNIQUE_ID)


def _identified(found: SubmittedObject, scheme: str) -> str:
    return next((each.value for each in found.identified_by(scheme)), "")


def _title(found: SubmittedObject) -> str:
    return found.title[0].value if found.title else ""


def _code(found: SubmittedObject, scheme: str) -> str:
    return next((_written(each) for each in found.classified_by(scheme)), "")


def _written(code: Classification) -> str:
    scheme = next(iter(code.values("codingScheme")), "")
    shown = f"{code.code or ''} ({scheme})" if scheme else code.code or ""
    return f"{code.name} = {shown}" if code.name else shown
