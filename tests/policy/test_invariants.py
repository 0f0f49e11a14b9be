"""What holds for every policy, caller, block and document (docs/policy-guide.md, "What always holds")."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ihe.metadata import Coded
from policy.agreements import Agreement
from policy.blocks import Block
from policy.decide import decide, decide_document, outlook
from policy.facts import Channel, Decision, EntryFacts, Reason
from policy.rows import RANK
from policy.shield import Family, shield
from tests.policy.oracle import may_see
from tests.policy.worlds import NOW, PATIENTS, World, agreements, blocks, later, shuffled, worlds

FIELDS = EntryFacts._fields
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def visible(world: World) -> frozenset[str]:
    return frozenset(shield(world.situation(), world.families).visible)


def decisions(world: World) -> dict[str, Decision]:
    situation = world.situation()
    return {
        entry.entry_uuid: decide(situation, family.entries, entry, family.replaced_by)
        for family in world.families
        for entry in family.entries
    }


@many
@given(worlds())
def test_it_agrees_with_the_rules_said_plainly(world: World) -> None:
    last = world.families[-1].entries
    for family in world.families:
        ends = [last] if family.replaced_by else []
        shown = all(any(may_see(world, end, each) for each in end) for end in ends)
        for entry in family.entries:
            assert (entry.entry_uuid in visible(world)) is (may_see(world, family.entries, entry) and shown)


@many
@given(worlds())
def test_what_is_listed_can_be_fetched_and_nothing_else(world: World) -> None:
    situation, seen = world.situation(), visible(world)
    for family in world.families:
        fetched = decide_document(situation, family.entries[0].key, family.entries, later(family))
        assert fetched.permit is any(entry.entry_uuid in seen for entry in family.entries)


@many
@given(worlds(), blocks("extra"))
def test_one_block_more_never_shows_anything(world: World, extra: Block) -> None:
    assert visible(replace(world, blocks=(*world.blocks, extra))) <= visible(world)


@many
@given(worlds(), agreements("extra"))
def test_one_agreement_more_never_hides_anything(world: World, extra: Agreement) -> None:
    assert visible(world) <= visible(replace(world, agreements=(*world.agreements, extra)))


@many
@given(worlds(), st.data())
def test_no_order_changes_a_decision_or_its_reason(world: World, order: st.DataObject) -> None:
    other = shuffled(world, order)
    assert decisions(other) == decisions(world)
    for patient in PATIENTS:
        assert outlook(other.situation(), patient) == outlook(world.situation(), patient)
    for mine, theirs in zip(world.families, other.families, strict=True):
        key = mine.entries[0].key
        assert decide_document(other.situation(), key, theirs.entries, later(theirs)) == decide_document(
            world.situation(), key, mine.entries, later(mine)
        )


@many
@given(worlds())
def test_a_world_of_only_what_may_be_seen_looks_the_same(world: World) -> None:
    seen = visible(world)
    kept = tuple(
        Family(entries, entries)
        for family in world.families
        if (entries := tuple(entry for entry in family.entries if entry.entry_uuid in seen))
    )
    assert visible(replace(world, families=kept)) == seen


@many
@given(worlds())
def test_a_closed_outlook_and_an_open_document_do_not_meet(world: World) -> None:
    situation = world.situation()
    for patient in PATIENTS:
        if outlook(situation, patient).closed is not None:
            for entry in world.entries():
                assert entry.patient_id != patient or not decisions(world)[entry.entry_uuid].permit


@many
@given(worlds())
def test_every_refusal_has_a_reason_and_every_permit_an_agreement(world: World) -> None:
    for decision in decisions(world).values():
        if decision.permit:
            assert decision.reason in (Reason.OK, Reason.OK_BTG, Reason.OK_CONSENT)
            assert decision.agreement in {each.agreement_id for each in world.agreements}
            assert decision.notify_patient is (decision.reason is not Reason.OK)
        else:
            assert RANK[Reason.BLOCKS_UNAVAILABLE] <= RANK[decision.reason] < RANK[Reason.OK]
            assert not decision.notify_patient
            assert decision.reason not in decision.also
        machine = world.subject.channel is Channel.MACHINE
        assert not (machine and decision.reason in (Reason.PATIENT_MISMATCH_DOC, Reason.BLOCK_PERSON))


@many
@given(worlds())
def test_what_was_decided_of_one_document_is_no_other_ones_decision(world: World) -> None:
    entries = list(world.entries())[:4]
    first, later_on = entries[0], NOW + timedelta(days=1)
    entries += [
        first._replace(class_code=Coded("B", "s"), creation_time="1970", signed_at=None),
        first._replace(signed_at=later_on, registered_at=later_on),
    ]
    mixed = {one._replace(**{name: getattr(other, name)}) for one in entries for other in entries for name in FIELDS}
    together = world.situation()
    for each in mixed:
        # As it would be decided if nothing had been decided before it.
        assert decide(together, (each,), each) == decide(world.situation(), (each,), each)
