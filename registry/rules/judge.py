"""Judges a submission by everything that its message alone can tell, and says all of it at once.

The rules stand in rules_table, what follows from a breach in strictness; those about the registry's own content are run
by the store, after these. Source: ITI TF-3 4.2, TF-2 3.42.4.1, 3.61.4.1; rulings 11 and B10.
"""

from __future__ import annotations

from ihe.errors import XdsFailure
from ihe.submittal import Submittal
from registry.rules.attributes import attributes
from registry.rules.relations import relations
from registry.rules.strictness import MOST_VIOLATIONS, VALUE_LIMIT, Demands, Verdict
from registry.rules.structure import LIST, structure
from registry.rules.table import RULES, Rule, Violation

__all__ = ["LIST", "MOST_VIOLATIONS", "RULES", "VALUE_LIMIT", "Rule", "Violation", "check", "failure", "judge"]


def judge(submittal: Submittal, demands: Demands, verdict: Verdict) -> None:
    """Adds to the verdict every rule the message breaks, in the order of its objects.

    When the structure rejects it only that is told, because everything else would be guesswork.
    """
    verdict.add(structure(submittal, demands.value_limit))
    if not verdict.rejects:
        verdict.add(attributes(submittal, demands))
        verdict.add(relations(submittal))


def check(
    submittal: Submittal, value_limit: int = VALUE_LIMIT, demands: Demands | None = None
) -> tuple[Violation, ...]:
    """Every rule the message breaks where all of them reject; empty for one that the registry can look at."""
    verdict = Verdict()
    judge(submittal, demands or Demands(value_limit=value_limit), verdict)
    return tuple(verdict.rejections)


def failure(violations: tuple[Violation, ...]) -> XdsFailure:
    """The answer to a submission that breaks rules: one RegistryError each."""
    return XdsFailure(tuple(violation.error for violation in violations))
