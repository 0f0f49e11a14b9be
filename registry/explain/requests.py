"""Judges what is asked for by ids alone, ITI-43 and ITI-62, as the node does, and says what that is."""

from __future__ import annotations

from dataclasses import replace

from ihe import removal, retrieval, xml
from ihe.errors import XdsError, XdsFailure, clip
from ihe.names import Action, Code
from ihe.places import Places, find, local, path_of
from registry.explain.found import Fix, Given, How, Judgement, Problem
from registry.explain.submissions import MOST_LISTED, SCHEMA, schema_problems
from registry.explain.writing import Writer
from registry.rules.removal import REMOVAL_RULES
from registry.rules.strictness import Level
from registry.rules.table import Rule

REMOVAL = Rule(
    "remove-by-id",
    Code.REGISTRY_ERROR,
    "RMD 3.62.4.1.2",
    "A removal names registry objects by their ids, and removes all of them",
    firm=True,
)
_REMOVE = replace(SCHEMA, code=Code.REGISTRY_ERROR)
_RETRIEVE = replace(SCHEMA, code=Code.REPOSITORY_ERROR, section="schema XDS.b_DocumentRepository")


def judge_retrieve(body: xml.Element, places: Places, action: Action, given: Given) -> Judgement:
    """Everything the proxy says of a RetrieveDocumentSetRequest before it looks for a document."""
    try:
        asked = retrieval.read(body)
    except XdsFailure:
        return Judgement(schema_problems(xml.schema("xds").findings(body), body, body, places, _RETRIEVE), "")
    rows = [(f"Document {number}", _line(each)) for number, each in enumerate(asked[:MOST_LISTED], 1)]
    if len(asked) > MOST_LISTED:
        rows.append(("Document", f"and {len(asked) - MOST_LISTED} more"))
    summary = f"{len(asked)} document{'' if len(asked) == 1 else 's'}"
    return Judgement((), summary, tuple(rows), 0, _RETRIEVE_UNCHECKED)


def _line(asked: retrieval.DocumentRequest) -> str:
    parts = (asked.document_unique_id, f"from {asked.repository_unique_id}", asked.home)
    return " ".join(clip(part, 130) for part in parts if part)


_RETRIEVE_UNCHECKED = (
    ("XDSDocumentUniqueIdError", "Whether there is such a document, and whether the caller may open it"),
    ("XDSUnknownRepositoryId", "Whether a hospital answers for the repository"),
)


def judge_remove(body: xml.Element, places: Places, action: Action, given: Given) -> Judgement:
    """Everything the registry says of a RemoveObjectsRequest before it looks for the objects."""
    try:
        ids = removal.read(body)
    except XdsFailure as failure:
        findings = xml.schema("lcm").findings(body)
        if findings:
            return Judgement(schema_problems(findings, body, body, places, _REMOVE), "")
        return Judgement(tuple(_unreadable(error, body, places) for error in failure.errors), "")
    rows = [("ObjectRef", clip(each, 100)) for each in ids[:MOST_LISTED]]
    if len(ids) > MOST_LISTED:
        rows.append(("ObjectRef", f"and {len(ids) - MOST_LISTED} more"))
    summary = f"{len(ids)} object{'' if len(ids) == 1 else 's'} to remove"
    return Judgement((), summary, tuple(rows), 0, _REMOVE_UNCHECKED, (), _IF)


_IF = ", if it is registered and nothing that stays needs it"
_REMOVE_UNCHECKED = tuple((rule.id, rule.explanation) for rule in REMOVAL_RULES.values())


def _unreadable(error: XdsError, body: xml.Element, places: Places) -> Problem:
    """A removal that names its objects otherwise than by their ids."""
    element, name = find(body, f"/{local(body)}/{error.location}")
    place = places.of(element, name)
    at = path_of(element, body)
    reference = Writer(element).element("ObjectRef", {"id": "[the entryUUID of what is to be removed]"})
    inside = bool(name) or element is not body
    return Problem(
        rule=REMOVAL.id,
        level=Level.REJECT,
        section=REMOVAL.section,
        explanation=REMOVAL.explanation,
        path=f"{at}/@{name}" if name else at,
        expected=error.context,
        found=clip(element.get(name, "")) if name else ", ".join(map(local, element)) or "nothing in it",
        line=None if place is None else place.line,
        column=None if place is None else place.column,
        code=error.code.value,
        fix=Fix(How.ADD, reference) if local(element) == "ObjectRefList" else Fix(How.REMOVE) if inside else None,
    )
