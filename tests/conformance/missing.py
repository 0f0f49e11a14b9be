"""Why a section of the kit does not pass yet: what it asks for that this version does not offer.

A section with no reason here is a defect, of ours or of the set-up, and is reported as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.conformance.runs import Run, Section, Test

QUERIES = {
    "f26abbcb-ac74-4422-8a30-edb644bbc1a9": "FindSubmissionSets",
    "958f3006-baad-4929-a4de-ff1114824431": "FindFolders",
    "10b545ea-725c-446d-9b95-8aeb444eddf3": "GetAll",
    "5737b14c-8a1a-4539-b659-e03a34a5e1e4": "GetFolders",
    "a7ae438b-4bc2-4642-93e9-be891f7bb155": "GetAssociations",
    "bab9529a-4a10-40b3-a01f-f68a615d247a": "GetDocumentsAndAssociations",
    "51224314-5390-4169-9b91-b1980040715a": "GetSubmissionSets",
    "e8e3cb2c-e39c-46b9-99e4-c12f57260b83": "GetSubmissionSetAndContents",
    "b909a503-523d-4517-8acf-8e5834dfc4c7": "GetFolderAndContents",
    "10cae35a-c7f9-4cf5-b61e-fc3278ffb578": "GetFoldersForDocument",
    "d90e5407-b356-4d91-a89f-873917b4b0e6": "GetRelatedDocuments",
    "12941a89-e02e-4be5-967c-ce4bfc8fe492": "FindDocumentsByReferenceId",
}
"""Stored queries of the framework that are not offered yet, by the UUID they are asked with (TF-2 3.18.4.1.2.4)."""

TRANSACTIONS = {
    "MuTransaction": "ITI-57 metadata update",
    "RmuTransaction": "ITI-92 restricted metadata update",
    "RemoveMetadataTransaction": "ITI-62 removal",
    "RmdTransaction": "ITI-62 removal",
    "RegisterODDETransaction": "ITI-61 on-demand entries",
}
"""Transactions that are not offered yet, by the kit's names for them."""

WHOLE_TESTS = (
    ("give --rg", "XCA responding gateway (ITI-38, ITI-39)"),
    ("--community-ports", "XCA initiating gateway"),
    ("XUA test", "XUA: assertions with the kit's issuer and attributes"),
)
"""What tests are skipped for, by a piece of the runner's sentence."""

AFTER = {
    "15802/confirm_docentry_1_deprecated": "15802/deprecate_docentry_1",
    "15802b/verify_orig_docentry_2_deprecated": "15802b/update_docentry_2",
    "15805/Register_Snapshot": "15805/Register_OD",
    "15805/Query_OD_FindDocuments": "15805/Register_OD",
    "15805/Query_Stable_FindDocuments": "15805/Register_OD",
}
"""Sections that find nothing of what a section before them would have registered or changed."""

SHOWS_NOTHING = {
    "15804/section": "the patient identity feed, which the runner does not send here",
    "15802/confirm_docentry_1_undeprecated": "ITI-57 metadata update",
}
"""Sections that pass although what they look at never happened; they are not listed, and wait for what is named."""

_QUERY = re.compile(r"stored query urn:uuid:([0-9a-f-]{36}) is not offered")
_BLOCKED = re.compile(r"blocked: no Report \S+ in ([^/\s]+/[^/\s]+)/")


def whole_test(test: Test) -> str:
    """What a test needs none of whose sections could run, or an empty string."""
    reasons = [test.reason, *(section.reason for section in test.sections)]
    return next((needs for piece, needs in WHOLE_TESTS if any(piece in reason for reason in reasons)), "")


def needs(section: Section, run: Mapping[str, Section]) -> str:
    """What the section needs that is not offered, or an empty string for a section that should have passed."""
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
