"""Tells which transaction a body belongs to, also where several share one element. Source: ITI TF-2 3.18 to 3.92."""

from __future__ import annotations

from ihe import xml
from ihe.errors import clip
from ihe.names import (
    BODY_OF,
    LCM,
    MULTI_PATIENT,
    ON_DEMAND_ENTRY,
    RIM,
    SUBMIT_ASSOCIATION,
    UPDATE_AVAILABILITY_STATUS,
    XDS,
    Action,
)
from ihe.places import local
from ihe.updates import PREVIOUS_VERSION

SUBMIT = f"{{{LCM}}}SubmitObjectsRequest"
PROVIDE = f"{{{XDS}}}ProvideAndRegisterDocumentSetRequest"
"""ITI-41, which a repository takes and a registry does not."""
BODIES = frozenset({*BODY_OF.values(), PROVIDE})
_SERVED = frozenset(BODY_OF.values())
ANSWERS = frozenset({"RegistryResponse", "AdhocQueryResponse", "RetrieveDocumentSetResponse", "Fault"})
_BY_NAME = {body.rpartition("}")[2]: body for body in BODIES}
_OPERATIONS = frozenset({SUBMIT_ASSOCIATION, UPDATE_AVAILABILITY_STATUS})
_IN_RIM = f"{{{RIM}}}"


def body_named(name: str) -> str:
    """The body element of this local name with its namespace, or empty."""
    return _BY_NAME.get(name, "")


def body_within(root: xml.Element) -> xml.Element | None:
    """The first body of a transaction anywhere below `root`, itself included."""
    return next((each for each in root.iter("*") if each.tag in BODIES), None)


def served_within(body: xml.Element) -> xml.Element | None:
    """The first body, `body` itself included, that a registry or its proxy takes."""
    return next((each for each in body.iter("*") if each.tag in _SERVED), None)


def meant(body: xml.Element) -> Action | None:
    """The transaction a body belongs to, by its element and its content; None for none."""
    if body.tag == Action.QUERY.body:
        asked = body.find(f"{_IN_RIM}AdhocQuery")
        query_id = "" if asked is None else asked.get("id", "").strip().lower()
        return Action.MULTI_PATIENT_QUERY if query_id in MULTI_PATIENT else Action.QUERY
    if body.tag == SUBMIT:
        return _submission(body)
    return next((action for action, tag in BODY_OF.items() if tag == body.tag), None)


def _submission(body: xml.Element) -> Action:
    """ITI-57 where something registered is changed, ITI-61 where every entry is on-demand, else ITI-42."""
    if any(each.get("associationType") in _OPERATIONS for each in body.iter(f"{_IN_RIM}Association")):
        return Action.UPDATE
    if any(each.get("name") == PREVIOUS_VERSION for each in body.iter(f"{_IN_RIM}Slot")):
        return Action.UPDATE
    entries = list(body.iter(f"{_IN_RIM}ExtrinsicObject"))
    if entries and all(each.get("objectType") == ON_DEMAND_ENTRY for each in entries):
        return Action.REGISTER_ON_DEMAND
    return Action.REGISTER


def transaction(name: str) -> Action | None:
    """The action that somebody calls `ITI-42`, `iti42`, `42` or by its URN; None for none that can be explained."""
    said = name.strip().lower().removeprefix("iti").lstrip("-_ ")
    for action in Action:
        if name.strip() == action.value or said == action.transaction.removeprefix("ITI-"):
            return action
    return None


def described(element: xml.Element) -> str:
    """The name and namespace of an element, for a sentence."""
    namespace = str(element.tag)[1:].rpartition("}")[0] if str(element.tag).startswith("{") else ""
    name = clip(local(element) or str(element.tag))
    return f"{name} in the namespace {clip(namespace)}" if namespace else f"{name} without a namespace"
