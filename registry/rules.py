"""Judges a submission by everything that its message alone can tell, and says all of it at once.

The rules stand in rules_table; those about the registry's own content are run by the store, after these.
Source: ITI TF-3 4.2, TF-2 3.42.4.1; rulings 11 and B10.
"""

from __future__ import annotations

from itertools import islice

from ihe.errors import XdsFailure
from ihe.submittal import Submittal
from registry.rules_attributes import attributes
from registry.rules_relations import relations
from registry.rules_structure import LIST, structure
from registry.rules_table import RULES, Rule, Violation

__all__ = ["LIST", "MOST_VIOLATIONS", "RULES", "VALUE_LIMIT", "Rule", "Violation", "check", "failure"]

VALUE_LIMIT = 256
"""Longest value of the schema (LongName); a node may be configured to take longer ones."""
MOST_VIOLATIONS = 100
"""Shown at once. Whoever breaks more rules than this has one mistake in the mapping, and the answer stays smaller than
the question."""


def check(submittal: Submittal, value_limit: int = VALUE_LIMIT) -> tuple[Violation, ...]:
    """Every rule the message breaks, in the order of its objects; empty for a submission the registry can look at.

    When the structure is broken only that is told, because everything else would be guesswork.
    """
    found = tuple(islice(structure(submittal, value_limit), MOST_VIOLATIONS))
    if found:
        return found
    content = (violation for judge in (attributes, relations) for violation in judge(submittal))
    return tuple(islice(content, MOST_VIOLATIONS))


def failure(violations: tuple[Violation, ...]) -> XdsFailure:
    """The answer to a submission that breaks rules: one RegistryError each."""
    return XdsFailure(tuple(violation.error for violation in violations))
