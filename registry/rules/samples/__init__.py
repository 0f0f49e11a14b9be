"""A message that breaks one rule and one that keeps it, for every rule: what engineers are shown and tests send.

All are changes to one submission (submission.xml), of a person nobody is. What a rule on the registry's content needs
to have happened before is part of its sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from ihe import xml
from ihe.names import Action
from registry.rules.samples.edits import Edit
from registry.rules.samples.table import ON_DEMAND, PATIENT, REPOSITORY, SAMPLES
from registry.rules.table import RULES, Rule

__all__ = ["PATIENT", "REPOSITORY", "Message", "Sample", "sample"]


@dataclass(frozen=True, slots=True)
class Message:
    """A body as it is sent, and with which transaction."""

    action: Action
    body: bytes


@dataclass(frozen=True, slots=True)
class Sample:
    """One rule, broken and kept. The sender may register for REPOSITORY."""

    rule: Rule
    failing: Message
    passing: Message
    first: tuple[Message, ...]
    """What must have been registered before, in this order."""
    merged: str
    """A patient id that the failing message's must have been merged into before; empty for none."""
    codes: str
    """The file of codes that are agreed on, as TOML; empty for none."""
    extra_metadata: Literal["keep", "warn"]


@cache
def sample(rule_id: str) -> Sample:
    """The sample of a rule. Raises KeyError for an id that is no rule's."""
    told = SAMPLES[rule_id]
    return Sample(
        rule=RULES[rule_id],
        failing=_message(told.action, told.broken),
        passing=_message(told.action, told.kept),
        first=tuple(_message(action, edits) for action, edits in told.first),
        merged=told.merged,
        codes=told.codes,
        extra_metadata=told.extra_metadata,
    )


def _message(action: Action, edits: tuple[Edit, ...]) -> Message:
    message = xml.read(resources.files(__name__).joinpath("submission.xml").read_bytes())
    for edit in (*(ON_DEMAND if action is Action.REGISTER_ON_DEMAND else ()), *edits):
        edit(message)
    return Message(action, xml.write(message))
