"""May this entry be seen? Said a second time, as plainly as can be and with no thought of speed or reasons.

Follows the sentences of docs/policy-guide.md; shares no code with policy.decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ihe.names import Status
from policy.agreements import Agreement, SigningRule
from policy.blocks import Block, BlockKind
from policy.facts import Basis, Channel, EntryFacts
from tests.policy.worlds import KINDS, NORS, NOW, PLACES, RULES, SOURCES, World

PATIENT_WIDE = (BlockKind.VISIT_HISTORY, BlockKind.RESERVATION, BlockKind.JOURNAL_SHARING, BlockKind.SOURCE_TOTAL)


def may_see(world: World, family: Sequence[EntryFacts], entry: EntryFacts) -> bool:
    """One entry, replacements aside."""
    current = [each for each in family if not newer(family, each)]
    counted = [*current, entry]
    if world.subject.channel is not Channel.MACHINE and any(each.patient_id != "p0" for each in counted):
        return False
    for each in counted:
        if any(hides(world, block, each) for block in world.blocks if block.patient_id == each.patient_id):
            return False
        if NORS in each.confidentiality_codes and not opens(world, RULES[BlockKind.DOCUMENT].override):
            return False
    everyone = {each.patient_id for each in family}
    for block in world.blocks:
        marks = block.kind is BlockKind.DOCUMENT and entry.unique_id in block.documents and block.in_force(NOW)
        if marks and block.patient_id in everyone and not opened(world, block):
            return False
    if entry.withdrawn or not any(shares(world, agreement, entry) for agreement in world.agreements):
        return False
    return all(may_see(world, family, each) for each in newer(family, entry) if not newer(family, each))


def newer(family: Sequence[EntryFacts], entry: EntryFacts) -> list[EntryFacts]:
    return [each for each in family if each.lid == entry.lid and each.version > entry.version]


def hides(world: World, block: Block, entry: EntryFacts) -> bool:
    subject = world.subject
    source = {"r0": "s0", "r1": "s1", "r2": "s2"}.get(entry.repository_unique_id, "")
    if not block.in_force(NOW) or opened(world, block) or block.source not in ("", source):
        return False
    if block.kind in PATIENT_WIDE:
        return True
    if block.kind is BlockKind.NAMED_PERSON:
        return subject.channel is not Channel.MACHINE and block.person == subject.hpr
    nobodys = subject.channel is Channel.MACHINE and not subject.legal_entity
    at_unit = nobodys or block.organisation in (subject.place_of_care, PLACES.get(subject.place_of_care))
    if block.kind is BlockKind.ORGANISATION:
        return at_unit
    if block.kind is BlockKind.DEPARTMENT:
        return at_unit and subject.department in ("", block.department)
    return block.kind is BlockKind.OPENABLE and (not block.documents or entry.unique_id in block.documents)


def opened(world: World, block: Block) -> bool:
    allowed = RULES[block.kind].override if block.overridable_by is None else block.overridable_by
    return block.kind not in (*PATIENT_WIDE, BlockKind.NAMED_PERSON) and opens(world, allowed)


def opens(world: World, allowed: frozenset[Basis]) -> bool:
    subject = world.subject
    if subject.basis is Basis.EMERGENCY:
        return Basis.EMERGENCY in allowed and subject.purpose == "ETREAT"
    return subject.basis is Basis.CONSENT and Basis.CONSENT in allowed


def shares(world: World, agreement: Agreement, entry: EntryFacts) -> bool:
    """The one agreement that permits: readers, sources, period, and every gate on the entry."""
    owner = next((each for each in SOURCES.values() if entry.repository_unique_id in each.repository_unique_ids), None)
    subject = world.subject
    begun = agreement.valid_from <= NOW and (owner is None or owner.available_from <= NOW)
    if not begun or (agreement.valid_to is not None and agreement.valid_to <= NOW):
        return False
    if subject.channel is Channel.MACHINE:
        if agreement.channel is not Channel.MACHINE or (
            agreement.machines is not None and "m0" not in agreement.machines
        ):
            return False
        mine = agreement.own and entry.registered_by == "m0" and entry.repository_unique_id in subject.may_register
        if not mine and (owner is None or owner.source_id not in agreement.sources):
            return False
    elif not reads(world, agreement, entry):
        return False
    if agreement.kinds is not None and (entry.class_code, entry.type_code) not in agreement.kinds:
        return False
    at = entry.signed_at
    if at is None and owner is not None and owner.signing is SigningRule.SUBMISSION_IMPLIES_SIGNED:
        at = entry.registered_at
    if agreement.signing == "signed" and (at is None or at > NOW):
        return False
    if entry.status is Status.DEPRECATED and Status.DEPRECATED not in agreement.availability:
        return False
    limited = agreement.max_age is not None and entry.type_code == KINDS[0].type_code
    return not limited or entry.creation_time == "20210214"


def reads(world: World, agreement: Agreement, entry: EntryFacts) -> bool:
    owner = next((each for each in SOURCES.values() if entry.repository_unique_id in each.repository_unique_ids), None)
    subject = world.subject
    if agreement.channel is Channel.MACHINE or owner is None or owner.source_id not in agreement.sources:
        return False
    if owner.legal_entity == subject.legal_entity or subject.purpose not in agreement.purposes:
        return False
    if subject.role not in agreement.roles:
        return False
    if agreement.departments is not None and subject.department not in agreement.departments:
        return False

    def in_region(region: str) -> bool:
        return agreement.region_rule == "any" or owner.region == region

    for consumer in world.consumers:
        if consumer.consumer_id in agreement.consumers and subject.place_of_care in consumer.places_of_care:
            if in_region(consumer.region) and (consumer.enrolment == "role" or enrolled(world, subject.hpr, NOW)):
                return True
    on_panel = subject.hpr == "h0" and subject.place_of_care == "place1" and subject.role == "LE"
    return "n0" in agreement.panels and on_panel and in_region("south")


def enrolled(world: World, hpr: str, now: datetime) -> bool:
    return any(
        each.hpr == hpr and each.place_of_care == world.subject.place_of_care and each.valid_from <= now
        for consumer in world.consumers
        for each in consumer.enrolled
    )
