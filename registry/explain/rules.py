"""Every rule there is, of any transaction, for whoever looks one up: what it demands, why, and where that stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from registry.explain import queries as explain_queries
from registry.explain import requests as explain_requests
from registry.explain import submissions as explain_submissions
from registry.explain import updates as explain_updates
from registry.explain.envelope import FAULTS
from registry.explain.found import NOTE
from registry.explain.unread import REASONS
from registry.rules import table as rules_table
from registry.rules.removal import REMOVAL_RULES
from registry.rules.samples import Sample, sample
from registry.rules.samples.table import SAMPLES
from registry.rules.table import RULES, Rule
from registry.rules.update import UPDATE_RULES

__all__ = ["Described", "described_rules", "sample_of"]


@dataclass(frozen=True, slots=True)
class Described:
    """One rule as it is looked up."""

    id: str
    about: str
    """What it is a rule of: `submission`, `update`, `query`, `envelope`, `packaging`."""
    section: str
    explanation: str
    code: str
    """The errorCode, or the kind of answer, that a breach leads to."""
    level: str
    """`reject`, whether that is firm or an operator may set another, or NOTE."""
    of_content: bool = False
    """Whether it takes the registry's content to judge by, so that a message alone is not judged by it."""


def described_rules() -> Mapping[str, Described]:
    """Every rule by its id, in the order in which messages are judged."""
    return {each.id: each for each in _all()}


def sample_of(rule_id: str) -> Sample | None:
    """A message that breaks the rule and one that keeps it; None for rules that have none."""
    return sample(rule_id) if rule_id in SAMPLES else None


FIRM, SET = "reject, firm", "reject, or as configured"


def _all() -> Iterator[Described]:
    for reason in REASONS.values():
        about = "packaging" if reason.id.startswith(("mime", "xop", "media")) else "envelope"
        yield Described(reason.id, about, reason.section, reason.explanation, "SOAP fault", FIRM)
    for meaning in FAULTS.values():
        yield Described(meaning.id, "envelope", meaning.section, meaning.explanation, "SOAP fault", FIRM)
    for rule in explain_queries.RULES:
        yield _of(rule, "query", NOTE if rule in explain_queries.NOTES else FIRM)
    content = {rule.id for rule in rules_table.REGISTRY}
    for rule in RULES.values():
        yield _of(rule, "submission", FIRM if rule.firm else SET, rule.id in content)
    yield _of(explain_submissions.HASH_CASE, "submission", NOTE)
    for rule in UPDATE_RULES.values():
        yield _of(rule, "update", FIRM if rule.firm else SET, rule.id in explain_updates.OF_CONTENT)
    yield _of(explain_requests.REMOVAL, "removal", FIRM)
    for rule in REMOVAL_RULES.values():
        yield _of(rule, "removal", FIRM, of_content=True)


def _of(rule: Rule, about: str, level: str, of_content: bool = False) -> Described:
    code = "" if level == NOTE else rule.code.value
    return Described(rule.id, about, rule.section, rule.explanation, code, level, of_content)
