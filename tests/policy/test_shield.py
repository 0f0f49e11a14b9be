"""What a query found, reduced to what the caller may see."""

from __future__ import annotations

from policy.facts import EntryFacts, Reason
from policy.reading import read
from policy.shield import Family, association_shown, container_shown, shield
from tests.policy.casebook import block, cx, entry, machine, person, pilot, situation
from tests.policy.test_possible import OPEN, with_agreement


def alone(*entries: EntryFacts) -> list[Family]:
    return [Family((each,), (each,)) for each in entries]


def test_order_is_that_of_the_result() -> None:
    policy = pilot()
    found = alone(*(entry(name, policy) for name in ("c", "a", "b")))
    assert shield(situation(person("Anne"), policy), found).visible == ("c", "a", "b")


def test_only_wanted_entries_are_shown_but_the_whole_family_speaks() -> None:
    policy = pilot()
    wanted = entry("wanted", policy, unique_id="2.999.1")
    plain = entry("plain", policy, unique_id="2.999.1")
    marked = entry("marked", policy, unique_id="2.999.1", codes=["NORS"])
    anne = situation(person("Anne"), policy)
    assert shield(anne, [Family((wanted, plain), (wanted,))]).visible == ("wanted",)
    assert shield(anne, [Family((wanted, marked), (wanted,))]).visible == ()


def test_a_closed_patient_is_one_decision_and_no_entry_is_judged() -> None:
    policy = pilot()
    shown = shield(
        situation(person("Anne"), policy, [block("visit_history")]), alone(entry("a", policy), entry("b", policy))
    )
    assert shown.visible == ()
    assert shown.judgements == ()
    assert {patient: each.reason for patient, each in shown.patients.items()} == {cx("P1"): Reason.BLOCK_VISIT_HISTORY}


def test_a_machine_may_ask_about_many_and_each_has_his_own_blocks() -> None:
    policy = read(with_agreement(OPEN), ("open",))
    blocked = [block("visit_history", patient="P2")]
    found = alone(entry("a", policy), entry("b", policy, patient="P2"), entry("c", policy, patient="P3"))
    shown = shield(situation(machine("lab"), policy, blocked), found)
    assert shown.visible == ("a", "c")
    assert list(shown.patients) == [cx("P2")]


def test_another_patients_entry_is_judged_alone_even_when_the_caller_has_no_source_at_all() -> None:
    policy = pilot()
    shown = shield(situation(person("Guro"), policy), alone(entry("theirs", policy, patient="P2"), entry("a", policy)))
    assert [each.decision.reason for each in shown.judgements] == [Reason.PATIENT_MISMATCH_DOC]
    assert shown.judgements[0].decision.alert
    assert list(shown.patients) == [cx("P1")]


def test_unknown_codes_are_noted_once_and_with_nothing_but_ids() -> None:
    policy = pilot()
    odd = entry("odd", policy, codes=["NORX", "NORX"])
    shown = shield(situation(person("Anne"), policy), alone(odd))
    assert shown.notes == ("odd: unknown 9603 code NORX",)


def test_nothing_found_is_nothing_shown() -> None:
    shown = shield(situation(person("Anne"), pilot()), [])
    assert (shown.visible, shown.judgements, dict(shown.patients), shown.notes) == ((), (), {}, ())


def test_an_association_shows_only_with_both_its_ends() -> None:
    assert association_shown(["a", "b"], {"a", "b", "c"})
    assert not association_shown(["a", "hidden"], {"a"})


def test_a_container_shows_with_any_of_its_members_or_if_it_never_had_one() -> None:
    assert container_shown(["a", "hidden"], {"a"}, judged_alone=True)
    assert not container_shown(["hidden"], {"a"}, judged_alone=True)
    assert container_shown([], set(), judged_alone=True)
    assert not container_shown(["a"], {"a"}, judged_alone=False)
    assert not container_shown([], set(), judged_alone=False)
