"""What a block is aimed at, looked at before it is set: a target that nobody can match only looks like protection.

What no caller or document can ever be is a fault, and the block is refused; what nobody is yet is a doubt, and is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policy.agreements import Policy
    from policy.blocks import Block
    from registry.blocks import BlockBook

_HPR = re.compile(r"T[0-9]{1,8}|[1-9][0-9]{0,8}")
_RESH = re.compile(r"[1-9][0-9]{0,11}")


def needs_policy(block: Block) -> bool:
    """Whether the policy must be read to judge this block: that takes a while where many persons are enrolled."""
    from policy.numbers import NATIONAL, patient_id

    asked = patient_id(block.patient_id)
    return bool(block.source or block.organisation) or asked is None or asked.authority not in NATIONAL


def faults(block: Block, policy: Policy | None, book: BlockBook, ahead: bool) -> Iterator[str]:
    """Why this block would hold for nobody. `ahead`: its documents need not be registered yet.

    Without a policy (its files may be broken just now) what only the policy knows is not judged. Raises
    BlocksUnavailable.
    """
    from ihe import values
    from policy.numbers import organisation_fault, patient_id

    patient = patient_id(block.patient_id)
    if policy is not None and patient is not None and patient.authority not in policy.identifiers.patient:
        if not book.knows(block.patient_id):
            yield f"nobody asks for patients of {patient.authority}, and nothing is registered under this id"
    if block.person and not _HPR.fullmatch(block.person) and not _is_person(block.person):
        yield "the person is neither an HPR number nor an F or D number, without spaces or leading zeros"
    if block.organisation and (fault := organisation_fault(block.organisation, block.organisation.startswith("3"))):
        yield f"the organisation number {fault}"
    if block.department and not _RESH.fullmatch(block.department):
        yield "the department is not a RESH number"
    if block.source and policy is not None and block.source not in policy.sources:
        yield f"the policy has no source {block.source}; there are {', '.join(sorted(policy.sources))}"
    if any(values.unique_id(each) for each in block.documents):
        yield "a document is not a uniqueId"
    elif not ahead and (unmet := book.unmet(block.patient_id, block.documents)):
        yield f"this patient has no document {', '.join(sorted(unmet))}; --ahead blocks what is yet to be registered"


def doubts(block: Block, policy: Policy | None, book: BlockBook) -> Iterator[str]:
    """What may well be meant, and would otherwise go unnoticed. Raises BlocksUnavailable."""
    if not book.knows(block.patient_id):
        yield "nothing is registered under this number; if the person has another one, block that as well"
    if policy is None and needs_policy(block):
        yield "the policy cannot be read, so whether it knows the target was not checked"
    elif policy is not None and block.organisation:
        if block.organisation not in policy.places.keys() | set(policy.places.values()):
            yield f"no place of care in the policy is, or belongs to, {block.organisation}"


def _is_person(number: str) -> bool:
    from policy.numbers import SYNTHETIC_MONTHS, NumberKind, NumberRules, person_number

    found = person_number(number, NumberRules(synthetic_months=SYNTHETIC_MONTHS))
    return found is not None and found.kind in (NumberKind.F, NumberKind.D)
