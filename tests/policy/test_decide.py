"""Decisions that the cases cannot say: what is missing, what is remembered, which words the trail gets."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from policy.agreements import BlockRule
from policy.blocks import Block, BlockKind, Setter
from policy.decide import Situation, current, decide, decide_document, malformed, outlook, refusal
from policy.facts import Basis, Decision, DocumentKey, Reason
from policy.reading import read
from tests.policy.casebook import NOW, Case, block, cx, entry, machine, person, pilot, pilot_texts, situation
from tests.policy.test_possible import OPEN, with_agreement

P1 = cx("P1")


def anne(*blocks: Block) -> Situation:
    return situation(person("Anne"), pilot(), blocks)


def test_a_permit_names_its_agreement_and_its_source() -> None:
    found = entry("e", pilot())
    assert decide(anne(), (found,), found) == Decision(True, Reason.OK, (), "ous", "ous-regional")


def test_a_refusal_names_the_block_that_made_it() -> None:
    found = entry("e", pilot())
    decision = decide(anne(block("visit_history", "b-7")), (found,), found)
    assert decision == Decision(False, Reason.BLOCK_VISIT_HISTORY, (), "ous", "ous-regional", "b-7")


def test_every_later_row_that_failed_stands_beside_the_first() -> None:
    found = entry("e", pilot(), type="E01-2", signed="never", withdrawn=True, status="Deprecated", codes=["NORS"])
    decision = decide(anne(block("named_person", person="T0000101")), (found,), found)
    assert decision.reason is Reason.BLOCK_PERSON
    assert decision.also == (
        Reason.KIND_NOT_SHARED,
        Reason.NOT_SIGNED,
        Reason.WITHDRAWN,
        Reason.DEPRECATED,
        Reason.BLOCK_DOC,
    )


def test_the_agreement_named_is_the_one_at_the_first_row_that_failed() -> None:
    terms = (
        'channel = "clinician"\nsources = ["ous"]\nconsumers = ["{}"]\npanels = []\nkinds = ["pilot"]\n'
        'roles = ["SP"]\npurposes = ["TREAT"]\nregion_rule = "any"\nvalid_from = 2022-01-01\nvalid_to = "open"\n'
        'availability = ["Approved"]\nsigning = "signed"\nmax_age = "none"\nprecision = "day"\n'
    )
    texts = pilot_texts()
    texts["organisations.toml"] += (
        '[consumer.empty]\nname = "x"\nregion = "sor-ost"\nlegal_entity = "958935420"\n'
        'places_of_care = ["984630492"]\nenrolment = "listed"\n'
    )
    texts["agreements.toml"] = f"[agreement.a]\n{terms.format('empty')}[agreement.b]\n{terms.format('oslo_legevakt')}"
    decision = outlook(situation(person("Anne"), read(texts)), P1).closed
    assert decision == Decision(False, Reason.SCOPE_NOT_YET, (Reason.ROLE_NOT_IN_SCOPE,), "ous", "a")


@pytest.mark.parametrize("named", [{"legal_entity": ""}, {"legal_entity": "993467049"}])
def test_a_sources_own_place_is_known_by_the_organisation_file_too(named: dict[str, str]) -> None:
    texts = pilot_texts()
    texts["agreements.toml"] = texts["agreements.toml"].replace("sources = []", 'sources = ["ous", "nlsh"]')
    finn = situation(person("Finn", **named), read(texts))
    own, other = (finn.standing(finn.policy.sources[source]) for source in ("ous", "nlsh"))
    assert own.failed == (Reason.NO_AGREEMENT_SOURCE,)
    assert other.failed == (Reason.PERSON_NOT_ENROLLED,)


def test_a_sources_own_unit_is_no_reader_of_it_either() -> None:
    texts = pilot_texts()
    texts["organisations.toml"] = texts["organisations.toml"].replace(
        'organisation_number = "993467049"', 'organisation_number = "984630492"'
    )
    assert not situation(person("Anne"), read(texts)).reachable()


def test_no_policy_opens_an_absolute_block_even_if_it_says_so() -> None:
    rule = BlockRule(BlockKind.SOURCE_TOTAL, frozenset(Basis), Setter.SOURCE)
    policy = replace(pilot(), block_rules={BlockKind.SOURCE_TOTAL: rule})
    anne = person("Anne", purpose="ETREAT", basis="emergency")
    found = entry("e", policy)
    total = block("source_total", source="ous")
    assert decide(situation(anne, policy, [total]), (found,), found).reason is Reason.BLOCK_SOURCE_TOTAL


def test_a_block_on_a_legal_entity_meets_a_token_that_names_only_the_place() -> None:
    anne = person("Anne", legal_entity="")
    blocked = situation(anne, pilot(), [block("organisation", organisation="958935420")])
    found = entry("e", pilot())
    assert decide(blocked, (found,), found).reason is Reason.BLOCK_ORG


def test_a_block_on_a_person_is_none_on_a_machine_whatever_it_calls_itself() -> None:
    policy = read(with_agreement(OPEN), ("open",))
    lab = replace(machine("lab"), hpr="T0000101")
    found = entry("e", policy)
    assert decide(situation(lab, policy, [block("named_person", person="T0000101")]), (found,), found).permit


@pytest.mark.parametrize("now", [NOW, NOW - timedelta(days=120)])
def test_a_row_about_the_entry_names_no_later_agreement_either(now: datetime) -> None:
    texts = pilot_texts()
    drafts = texts["agreements.toml"].split("[agreement.nord")[0].replace("ous-regional", "zz-drafts")
    texts["agreements.toml"] += drafts.replace('signing = "signed"', 'signing = "any"')
    draft = entry("e", pilot(), type="E01-2" if now is NOW else "A03-2", signed="never")
    decision = decide(situation(person("Anne"), read(texts), now=now), (draft,), draft)
    assert decision.reason is (Reason.KIND_NOT_SHARED if now is NOW else Reason.SCOPE_NOT_YET)
    assert decision.agreement == "ous-regional"


@pytest.mark.parametrize("patient", ["P1", "P2"])
def test_a_patient_whose_blocks_were_not_given_is_blocked_and_not_free(patient: str) -> None:
    found = entry("e", pilot(), patient=patient)
    blind = Situation(person("Anne", patient), pilot(), {}, frozenset({cx(patient)}), NOW)
    assert decide(blind, (found,), found).reason is Reason.BLOCKS_UNAVAILABLE
    closed = outlook(blind, cx(patient)).closed
    assert closed is not None
    assert closed.reason is Reason.BLOCKS_UNAVAILABLE


def test_a_former_patient_whose_blocks_were_not_given_blocks_the_document() -> None:
    policy = pilot()
    before = entry("before", policy, unique_id="2.999.1", lid="x", patient="P2", status="Deprecated")
    after = entry("after", policy, unique_id="2.999.1", lid="x", version=2)
    blind = Situation(person("Anne"), policy, {P1: ()}, frozenset({P1}), NOW)
    assert decide(blind, (before, after), after).reason is Reason.BLOCKS_UNAVAILABLE


def test_another_patients_entry_stays_one_when_his_blocks_were_not_given() -> None:
    found = entry("e", pilot(), patient="P2")
    blind = Situation(person("Anne"), pilot(), {P1: ()}, frozenset({P1}), NOW)
    decision = decide(blind, (found,), found)
    assert (decision.reason, decision.also, decision.alert) == (Reason.PATIENT_MISMATCH_DOC, (), True)


def test_another_patients_blocks_are_not_written_into_this_exchange() -> None:
    found = entry("e", pilot(), patient="P2")
    decision = decide(anne(block("visit_history", patient="P2")), (found,), found)
    assert decision.also == ()


def test_an_entry_is_judged_with_its_own_codes_even_where_no_family_was_given() -> None:
    found = entry("e", pilot(), codes=["NORS"])
    assert decide(anne(), (), found).reason is Reason.BLOCK_DOC


def test_a_document_is_known_by_both_parts_of_its_key() -> None:
    found = entry("e", pilot())
    elsewhere = DocumentKey("2.999.578.3.1", found.unique_id)
    assert decide_document(anne(), found.key, (found,)).permit
    assert decide_document(anne(), elsewhere, (found,)).reason is Reason.UNKNOWN_DOC
    assert decide_document(anne(), found.key, ()).reason is Reason.UNKNOWN_DOC


def test_of_several_refused_entries_the_one_that_came_furthest_speaks() -> None:
    policy = pilot()
    odd = entry("odd", policy, unique_id="2.999.1", type="E01-2")
    draft = entry("draft", policy, unique_id="2.999.1", signed="never")
    for family in ((odd, draft), (draft, odd)):
        assert decide_document(anne(), odd.key, family).reason is Reason.NOT_SIGNED


def test_an_unknown_replacement_does_not_show() -> None:
    policy = replace(pilot())
    found = entry("e", policy)
    assert decide(anne(), (found,), found, ((),)).reason is Reason.DEPRECATED


def test_versions_of_one_logical_entry_supersede_each_other_and_nothing_else() -> None:
    policy = pilot()
    first, second = (entry(f"e{version}", policy, lid="x", version=version) for version in (1, 2))
    other = entry("o", policy, lid="y", version=3)
    assert current((first, second, other)) == (second, other)


def test_what_was_listed_is_remembered_only_where_the_node_does() -> None:
    found = entry("e", pilot())
    unlisted = replace(anne(), listed=frozenset())
    listed = replace(anne(), listed=frozenset({found.key}))
    assert decide_document(anne(), found.key, (found,)).also == ()
    assert decide_document(unlisted, found.key, (found,)).also == (Reason.NOT_LISTED,)
    assert decide_document(unlisted, found.key, (found,)).permit
    assert decide_document(listed, found.key, (found,)).also == ()


def test_where_listing_is_required_a_node_that_does_not_remember_delivers_nothing() -> None:
    found = entry("e", pilot())
    strict = replace(pilot(), defaults=replace(pilot().defaults, require_listed=True))
    for listed, permit in ((None, False), (frozenset[DocumentKey](), False), (frozenset({found.key}), True)):
        decision = decide_document(replace(anne(), policy=strict, listed=listed), found.key, (found,))
        assert decision.permit is permit
        assert decision.reason is (Reason.OK if permit else Reason.NOT_LISTED)
    blocked = replace(anne(block("reservation")), policy=strict)
    assert decide_document(blocked, found.key, (found,)).reason is Reason.BLOCK_RESERVATION


def test_the_outlook_tells_what_each_source_would_give() -> None:
    dag = situation(person("Dag"), pilot(), [block("source_total", source="unn")])
    found = outlook(dag, P1)
    assert found.reachable == {"finn", "unn", "nlsh", "helg"}
    assert found.open_sources == {"finn", "nlsh", "helg"}
    assert found.closed is None


def test_the_outlook_closes_when_every_source_is_blocked() -> None:
    blocks = [block("source_total", f"b-{source}", source=source) for source in ("unn", "nlsh", "helg", "finn")]
    found = outlook(situation(person("Dag"), pilot(), blocks), P1)
    assert found.closed == Decision(False, Reason.BLOCK_SOURCE_TOTAL, (), "finn", "nord-regional", "b-finn")
    assert found.reachable


def test_the_sources_in_reach_do_not_depend_on_the_patient() -> None:
    free, blocked = outlook(anne(), P1), outlook(anne(block("visit_history")), P1)
    assert free.reachable == blocked.reachable == {"ous"}


def test_an_openable_block_is_no_part_of_the_outlook() -> None:
    assert outlook(anne(block("openable")), P1).closed is None


def test_a_patient_wide_block_is_recorded_once_and_for_no_source_in_particular() -> None:
    closed = outlook(anne(block("reservation", "b-1"), block("visit_history", "b-2")), P1).closed
    assert closed == Decision(False, Reason.BLOCK_VISIT_HISTORY, (Reason.BLOCK_RESERVATION,), "", "", "b-2")


def test_what_is_malformed_is_known_without_any_block() -> None:
    assert malformed(person("Anne"), pilot(), None) is None
    assert malformed(person("Anne", patient_ids=0), pilot(), None) is Reason.PATIENT_MISSING
    assert malformed(person("Anne"), pilot(), "x") is Reason.PATIENT_INVALID
    assert malformed(machine("ous"), pilot(), "x") is Reason.PATIENT_INVALID
    assert malformed(machine("ous"), pilot(), None) is None


def test_the_identity_set_is_that_of_the_tokens_patient() -> None:
    p4 = situation(person("Anne", "P4"), pilot(), patient="P4")
    assert refusal(p4, cx("P3")) is None
    assert refusal(anne(), cx("P3")) is Reason.PATIENT_MISMATCH
    alone = Situation(person("Anne"), pilot(), {P1: ()}, frozenset(), NOW)
    assert refusal(alone, P1) is None


def test_one_instant_counts_for_the_whole_request() -> None:
    later = replace(anne(), now=NOW - timedelta(days=365))
    assert later.standings() is later.standings()
    assert not later.reachable()


def test_a_case_reads_as_it_is_written() -> None:
    case = Case("x", {"who": "Anne", "entry": {"a": {}}, "want": {"visible": ["a"]}})
    assert decide(case.situation, (), case.entries["a"]).permit
