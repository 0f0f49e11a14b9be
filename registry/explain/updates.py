"""Judges updates of metadata, ITI-57 and ITI-92, as the registry does, and says what they would change."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

from ihe import ebrim, updates, xml
from ihe.errors import XdsFailure, clip
from ihe.names import Action
from ihe.places import Places
from ihe.submittal import SubmittedObject
from ihe.updates import NEW_STATUS, PREVIOUS_VERSION, Operations, SentVersion
from registry.database.tables import URN_UUID
from registry.explain.found import Given, Judgement
from registry.explain.submissions import (
    MOST_LISTED,
    Everything,
    counted,
    problem_of,
    schema_problems,
    unlisted,
)
from registry.rules.strictness import Demands
from registry.rules.update import UPDATE_RULES
from registry.update import ENTRY_TYPES, judge_update


def judge(body: xml.Element, places: Places, action: Action, given: Given) -> Judgement:
    """Everything the registry's rules say of an update before it looks for what is updated."""
    repaired = ebrim.repair(body)
    if findings := xml.schema("lcm").findings(repaired):
        return Judgement(schema_problems(findings, repaired, body, places), "")
    try:
        submittal = ebrim.read_submission(repaired)
    except XdsFailure as failure:
        return unlisted(failure, body, places)
    verdict = Everything(given.strictness, given.sender)
    demands = Demands(ENTRY_TYPES, given.value_limit, given.strictness.codes)
    asked = judge_update(submittal, action is Action.RESTRICTED_UPDATE, given.home, demands, verdict)
    if not verdict.rejects:
        try:
            updates.typed(submittal, asked, lambda: f"{URN_UUID}{uuid4()}")
        except XdsFailure as failure:
            return unlisted(failure, body, places)
    problems = tuple(problem_of(each, level, body, places, submittal) for each, level in verdict.kept)
    return Judgement(problems, counted(submittal), tuple(_understood(asked)), verdict.more, _UNCHECKED, (), _CONDITION)


OF_CONTENT = (
    "update-known-object",
    "update-latest-version",
    "update-approved-version",
    "update-same-unique-id",
    "update-same-type",
    "update-own-repository",
    "update-same-document",
    "update-known-target",
    "update-current-status",
    "update-latest-target",
    "update-new-association",
    "update-one-patient",
)
"""Rules of updates that take the registry's content."""
_CONDITION = ", if what it updates is registered as it says"
_UNCHECKED = tuple((each.id, each.explanation) for each in UPDATE_RULES.values() if each.id in OF_CONTENT)


def _understood(asked: Operations) -> Iterator[tuple[str, str]]:
    rows = [*map(_version, asked.versions), *map(_status, asked.statuses)]
    rows += [("new association", f"at {clip(each.operation.target, 60)}") for each in asked.submitted]
    yield from rows[:MOST_LISTED]
    if len(rows) > MOST_LISTED:
        yield "operations", f"and {len(rows) - MOST_LISTED} more"


def _version(sent: SentVersion) -> tuple[str, str]:
    previous = next((each.value(PREVIOUS_VERSION) for each in sent.memberships), "")
    after = f", after version {clip(previous, 20)}" if previous else ""
    return f"new version of {sent.found.kind.value}", f"{clip(sent.found.lid, 60) or 'nothing'}{after}"


def _status(sent: SubmittedObject) -> tuple[str, str]:
    status = sent.value(NEW_STATUS).rpartition(":")[2]
    return "new status", f"{clip(sent.target, 60)} becomes {clip(status, 20) or 'nothing'}"
