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
from policy.facts import BlocksUnavailable, Channel, Decision, DocumentKey, Reason, Subject
from repository_proxy.desk import Desk
from repository_proxy.plan import Asked, Known, Plan, Refused, make_plan, refuse_all
from repository_proxy.repositories import Hospital
from repository_proxy.watch import Basis

log = structlog.get_logger()


class Token:
    """The caller's assertion as it was sent and verified, for hospitals that want it; read only when one does."""

    def __init__(self, security: xml.Element | None) -> None:
        self._security = security

    @cached_property
    def _assertion(self) -> xml.Element | None:
        try:
            return saml.find(self._security)
        except Mangled:
            return None

    @cached_property
    def raw(self) -> bytes | None:
        """The assertion with every namespace declaration it needs, or None."""
        return None if self._assertion is None else xml.write(self._assertion)

    @cached_property
    def _audiences(self) -> tuple[tuple[str, ...], ...]:
        try:
            return () if self._assertion is None else saml.audiences(self._assertion)
        except Mangled:
            return ()

    def fits(self, hospital: Hospital) -> bool:
        """Whether this hospital may be asked: it wants no assertion, or is an audience of this one (SAML core 2.5.1.4).

        An assertion is never shown to anybody whom its issuer did not address.
        """
        if hospital.assertion == "none":
            return True
        restrictions = self._audiences
        return bool(restrictions) and all(hospital.audience in either for either in restrictions)


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
        # First of all: a block that is set, or a patient merged, while the rest is read must count as a change.
        sequence = desk.blocks.sequence()
        known = desk.lookup(list(dict.fromkeys(one.key for one in asked)), policy.shares_deprecated)
        own = desk.lookup.known_patient(subject.patient_id) if subject.patient_id else frozenset[str]()
        blocks = desk.blocks.of(_patients(subject, own, known))
    except BlocksUnavailable:
        reason = malformed(subject, policy, None) or Reason.BLOCKS_UNAVAILABLE
        return Judgement(refuse_all(asked, reason), None, reason.value)
    standing = Basis(policy, sequence)
    now = desk.clock.now()
    newer = any(at < block.valid_from <= now for held in blocks.values() for block in held)
    situation = Situation(subject, policy, blocks, own, now if newer else at)
    if (refused := refusal(situation, None)) is not None:
        return Judgement(refuse_all(asked, refused), standing, refused.value)
    # Worked out for every request and kept there: only the patient's own documents need it, and time would tell them.
    situation.held(subject.patient_id)
    decisions = {key: _decided(situation, key, known) for key in known.families}
    plan = make_plan(asked, known.families, decisions, desk.home, lambda hospital: not token.fits(hospital))
    unfit = [step.asked.route for step in plan.steps if isinstance(step, Refused) and step.ending is Ending.NOT_SENT]
    for name in {route.hospital.name for route in unfit if route is not None and not route.hospital.switched_off}:
        log.error("the caller's assertion is not for this hospital's audience", hospital=name)
    return Judgement(plan, standing)


def _decided(situation: Situation, key: DocumentKey, known: Known) -> Decision:
    """Whether this document may be fetched. For an unknown one an entry of nobody is judged first, for the time it
    takes alone, so that no caller can tell it from a hidden one (B6)."""
    family = known.families[key]
    judged = family or tuple(decoy for decoy in (known.decoys.get(key),) if decoy is not None)
    decision = decide_document(situation, key, judged, known.replaced_by)
    return decision if family else Decision(permit=False, reason=Reason.UNKNOWN_DOC)


def _patients(subject: Subject, own: frozenset[str], known: Known) -> frozenset[str]:
    """Whose blocks decide: to a person, another's document is closed whatever that other has blocked (row B2)."""
    families = (*known.families.values(), *(family for after in known.replaced_by.values() for family in after))
    concerned = (
        family
        for family in (*families, tuple(known.decoys.values()))
        if subject.channel is Channel.MACHINE or any(entry.patient_id in own for entry in family)
    )
    return own | {entry.patient_id for family in concerned for entry in family}
