"""Why a section of the kit does not pass yet: what it asks for that this version does not offer.

A section with no reason here is a defect, of ours or of the set-up, and is reported as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.conformance.runs import Run, Section, Test

QUERIES = {"f2072993-9478-41df-a603-8f016706efe8": "Fetch of ITI-63"}
"""Stored queries that are not offered, by the UUID they are asked with."""

TRANSACTIONS: dict[str, str] = {}
"""Transactions that are not offered yet, by the kit's names for them."""

NEVER = {
    "20004/success_update": "a SubmissionSet.uniqueId that is an OID (ITI TF-3 4.2.3.3.12): the plan sends the text "
    "SubmissionSet01_uniqueid as it is",
}
"""Sections that no registry can pass that holds senders to the standard, by what would have to be otherwise."""

WHOLE_TESTS = (
    ("give --rg", "XCA responding gateway (ITI-38, ITI-39)"),
    ("--community-ports", "XCA initiating gateway"),
    ("XUA test", "XUA: assertions with the kit's issuer and attributes"),
)
"""What tests are skipped for, by a piece of the runner's sentence."""

AFTER = {"20004/query_success_update": "20004/success_update"}
"""Sections that find nothing of what a section before them would have registered or changed."""

SHOWS_NOTHING: dict[str, str] = {}
"""Sections that pass although what they look at never happened; they are not listed, and wait for what is named."""

_QUERY = re.compile(r"stored query urn:uuid:([0-9a-f-]{36}) is not offered")
_BLOCKED = re.compile(r"blocked: no Report \S+ in ([^/\s]+/[^/\s]+)/")


def whole_test(test: Test) -> str:
    """What a test needs none of whose sections could run, or an empty string."""
    reasons = [test.reason, *(section.reason for section in test.sections)]
    return next((needs for piece, needs in WHOLE_TESTS if any(piece in reason for reason in reasons)), "")


def needs(section: Section, run: Mapping[str, Section]) -> str:
    """What the section needs that is not offered, or an empty string for a section that should have passed."""
    if section.full_name in NEVER:
        return NEVER[section.full_name]
    if (query := _QUERY.search(section.reason)) is not None:
        return QUERIES.get(query[1], "")
    if "ActionNotSupported" in section.reason and section.transactions:
        return TRANSACTIONS.get(section.transactions[-1], "")
    blocked = _BLOCKED.search(section.reason)
    before = AFTER.get(section.full_name) or (blocked[1] if blocked else "")
    if before in run and not run[before].passed:
        return needs(run[before], run)
    return next((what for piece, what in WHOLE_TESTS if piece in section.reason), "")


def unexplained(run: Run) -> dict[str, str]:
    """Sections that do not pass though nothing they need is missing, with the runner's words: defects."""
    by_name = {section.full_name: section for section in run.sections(setup=True)}
    found = {name: each.reason for name, each in by_name.items() if not each.passed and not needs(each, by_name)}
    silent = {t.id: t.reason for t in run.tests if t.status != "pass" and not t.sections and not whole_test(t)}
    return found | silent
