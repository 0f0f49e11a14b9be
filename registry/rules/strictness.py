"""How strictly a node judges: which level each rule has for each sender, and what comes of a message that breaks some.

Only the level decides whether a breach rejects, warns or is merely counted; rules themselves know nothing of senders.
Firm rules reject always: a message that breaks one could not be stored, found again or protected.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from ihe.errors import XdsError, XdsFailure, clip
from ihe.names import STABLE_ENTRY, Severity
from registry.rules.codes import NO_SETS, CodeSets
from registry.rules.table import EXTRA_METADATA, RULES, Rule, Violation

VALUE_LIMIT = 256
"""Longest value of the schema (LongName); a node may be configured to take longer ones."""
MOST_VIOLATIONS = 100
"""Shown at once. Whoever breaks more rules than this has one mistake in the mapping, and the answer stays smaller than
the question."""


class Level(StrEnum):
    """What a breach of a rule leads to."""

    OFF = "off"
    """Nothing: the rule is not asked."""
    LOG = "log"
    """It is counted for the operator; the sender is told nothing."""
    WARN = "warn"
    """It is counted, and the sender gets a warning beside its Success."""
    REJECT = "reject"
    """Nothing of the message is stored, and the sender is told why."""


Levels = Mapping[str, Level]
"""By rule id; what is absent has the next wider level, at last `reject`."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What a transaction and this node ask of a message beside the rules that hold for all."""

    entry_types: frozenset[str] = frozenset({STABLE_ENTRY})
    """objectTypes of entries that the transaction takes."""
    value_limit: int = VALUE_LIMIT
    codes: CodeSets = NO_SETS


@dataclass(frozen=True, slots=True)
class Strictness:
    """The levels of a node. Raises ValueError on construction with what levels() finds wrong."""

    rules: Levels = field(default_factory=dict)
    senders: Mapping[str, Levels] = field(default_factory=dict)
    """By name of the machine identity, over `rules`."""
    codes: CodeSets = NO_SETS
    extra_metadata: Literal["keep", "warn"] = "keep"
    """`warn`: slots beyond the framework are not stored, and the sender is told (TF-3 4.2.3.1.6)."""

    def __post_init__(self) -> None:
        for levels in (self.rules, *self.senders.values()):
            for told, level in levels.items():
                if (fault := level_fault(told, level)) is not None:
                    raise ValueError(f"{told} {fault}")

    def level(self, rule: Rule, sender: str) -> Level:
        """The level of a rule for this sender."""
        if rule is EXTRA_METADATA:
            return Level.WARN if self.extra_metadata == "warn" else Level.OFF
        if rule.firm:
            return Level.REJECT
        own = self.senders.get(sender, {}).get(rule.id)
        return own or self.rules.get(rule.id, Level.REJECT)


STRICT = Strictness()
"""Every rule rejects."""


def level_fault(rule_id: str, level: str) -> str | None:
    """What is wrong with giving this rule this level, or None."""
    rule = RULES.get(rule_id)
    if rule is None:
        near = difflib.get_close_matches(rule_id, list(RULES), n=1)
        return f"is no rule{f'; did you mean {near[0]}?' if near else ''}"
    if level not in set(Level):
        return f"must be off, log, warn or reject, not {clip(level)}"
    if rule is EXTRA_METADATA:
        return "has no level of its own: set validation.extra_metadata"
    if rule.firm and level != Level.REJECT:
        return "cannot be lowered: what breaks it could not be stored, found again or protected"
    return None


@dataclass(slots=True)
class Verdict:
    """What the rules found in one message of one sender: sorted by what it leads to, and counted."""

    strictness: Strictness = STRICT
    sender: str = ""
    """Name of the machine identity."""
    transaction: str = ""
    correlation: str = ""
    rejections: list[Violation] = field(default_factory=list)
    warnings: list[Violation] = field(default_factory=list)
    broken: dict[str, bool] = field(default_factory=dict)
    """Every rule that was broken and is not off, and whether that rejects the message."""

    def add(self, violations: Iterable[Violation]) -> None:
        """Takes in what a rule found; of more than MOST_VIOLATIONS of a kind the rest is dropped."""
        for each in violations:
            level = self.strictness.level(each.rule, self.sender)
            if level is Level.OFF:
                continue
            self.broken[each.rule.id] = level is Level.REJECT
            shown = {Level.REJECT: self.rejections, Level.WARN: self.warnings}.get(level)
            if shown is not None and len(shown) < MOST_VIOLATIONS:
                shown.append(each)
            if len(self.rejections) == MOST_VIOLATIONS:
                return  # what else there may be changes neither the answer nor its length

    def hear(self, errors: Iterable[XdsError]) -> None:
        """Takes in what another judge has told the sender already, for counting."""
        self.broken |= {each.rule: each.severity is Severity.ERROR for each in errors if each.rule}

    def so_far(self) -> Verdict:
        """One of its own for a judge who may have to begin again."""
        return replace(self, rejections=list(self.rejections), warnings=list(self.warnings), broken=dict(self.broken))

    @property
    def rejects(self) -> bool:
        """Whether the message is refused."""
        return bool(self.rejections)

    @property
    def told(self) -> tuple[XdsError, ...]:
        """The warnings of the answer."""
        return tuple(each.warning for each in self.warnings)

    @property
    def failure(self) -> XdsFailure:
        """The answer to a message that is refused: everything that rejects it, then what is only warned of."""
        return XdsFailure((*(each.error for each in self.rejections), *self.told))
