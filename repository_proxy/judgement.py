"""Decides one retrieve: the registry is asked in all cases, so that time does not tell what exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import structlog

from audit.event import Ending
from ihe import saml, xml
from ihe.errors import Mangled
from policy.decide import Situation, decide_document, malformed, refusal
from policy.facts import BlocksUnavailable, Decision, Reason, Subject
from repository_proxy.desk import Desk
from repository_proxy.plan import Asked, Plan, Refused, make_plan, refuse_all
from repository_proxy.repositories import Hospital
from repository_proxy.watch import Basis

log = structlog.get_logger()


class Token:
    """The caller's assertion as it was sent and verified, for hospitals that want it; read only when one does."""

    def __init__(self, security: xml.Element | None) -> None:
        self._security = security

    @cached_property
    def _found(self) -> tuple[bytes | None, tuple[tuple[str, ...], ...]]:
        try:
            assertion = saml.find(self._security)
            if assertion is None:
                return None, ()
            raw = xml.write(assertion)
            return raw, saml.read(xml.read(raw)).audiences
        except Mangled:
            return None, ()

    @property
    def raw(self) -> bytes | None:
        """The assertion with every namespace declaration it needs, or None."""
        return self._found[0]

    def fits(self, hospital: Hospital) -> bool:
        """Whether this hospital may be asked: it wants no assertion, or is an audience of this one (SAML core 2.5.1.4).

        An assertion is never shown to anybody whom its issuer did not address.
        """
        if hospital.assertion == "none":
            return True
        _, audiences = self._found
        return bool(audiences) and all(hospital.audience in restriction for restriction in audiences)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A plan, what it stands on, and the reason code if the request was refused as a whole (rows A10-A12)."""

    plan: Plan
    basis: Basis | None
    reason: str = ""


def judge(desk: Desk, subject: Subject, asked: Sequence[Asked], token: Token, at: datetime) -> Judgement:
    """What this caller gets at `at` of what it asked. Waits for the registry. Raises RulesUnknown.

    A block that came into force between `at` and now holds: its acknowledgement may be older than this decision.
    """
    policy = desk.rules()
    try:
        families = desk.lookup(list(dict.fromkeys(one.key for one in asked)))
        later = desk.lookup.replacements(families) if policy.shares_deprecated else {}
        own = desk.lookup.known_patient(subject.patient_id) if subject.patient_id else frozenset[str]()
        # Before the blocks: one that is set while they are read must count as a change.
        sequence = desk.blocks.sequence()
        concerned = (*families.values(), *(family for after in later.values() for family in after))
        blocks = desk.blocks.of(own | {entry.patient_id for family in concerned for entry in family})
    except BlocksUnavailable:
        reason = malformed(subject, policy, None) or Reason.BLOCKS_UNAVAILABLE
        return Judgement(refuse_all(asked, reason), None, reason.value)
    standing = Basis(policy, sequence)
    now = desk.clock.now()
    newer = any(at < block.valid_from <= now for held in blocks.values() for block in held)
    situation = Situation(subject, policy, blocks, own, now if newer else at)
    if (refused := refusal(situation, None)) is not None:
        return Judgement(refuse_all(asked, refused), standing, refused.value)
    decisions = {key: decide_document(situation, key, family, later.get(key, ())) for key, family in families.items()}
    unknown = Decision(permit=False, reason=Reason.UNKNOWN_DOC)
    decisions = {one.key: decisions.get(one.key, unknown) for one in asked}
    plan = make_plan(asked, families, decisions, desk.home, lambda hospital: not token.fits(hospital))
    unfit = [step.asked.route for step in plan.steps if isinstance(step, Refused) and step.ending is Ending.NOT_SENT]
    for name in {route.hospital.name for route in unfit if route is not None and not route.hospital.switched_off}:
        log.error("the caller's assertion is not for this hospital's audience", hospital=name)
    return Judgement(plan, standing)
