"""What a removal of metadata (ITI-62) is judged by, over everything it names at once.

Source: IHE ITI supplement Remove Metadata and Documents 3.62.4.1.3; what the NIST toolkit expects.
"""

from __future__ import annotations

from ihe.names import Code
from registry.rules.table import Rule

KNOWN_REMOVAL = Rule(
    "remove-known-object",
    Code.UNRESOLVED_REFERENCE,
    "RMD 3.62.4.1.3",
    "What is to be removed is registered, and the sender may remove it",
    firm=True,
)
UNREFERENCED_REMOVAL = Rule(
    "remove-unreferenced",
    Code.REFERENCES_EXIST,
    "RMD 3.62.4.1.3",
    "No association that stays leads to or from what is removed",
    firm=True,
)
OLDER_VERSIONS = Rule(
    "remove-older-versions",
    Code.REFERENCES_EXIST,
    "innsyn",
    "The latest version goes last: without it, one that was corrected away would count again",
    firm=True,
)
KEPT_IN_SET = Rule(
    "remove-keeps-membership",
    Code.UNREFERENCED_OBJECT,
    "RMD 3.62.4.1.3",
    "A SubmissionSet that stays keeps a member, and a member that stays its SubmissionSet",
    firm=True,
)
REMOVAL_RULES = {rule.id: rule for rule in (KNOWN_REMOVAL, UNREFERENCED_REMOVAL, OLDER_VERSIONS, KEPT_IN_SET)}
"""Every rule of removals by its id."""
