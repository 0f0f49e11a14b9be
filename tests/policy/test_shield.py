"""What a query found, reduced to what the caller may see."""

from __future__ import annotations

from policy.decide import decide_alone
from policy.facts import EntryFacts, Reason
from policy.reading import read
from policy.shield import Container, Family, Link, association_shown, container_shown, shield, shield_all
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


OUS_REPOSITORY = "2.999.578.1.1"


def container(name: str, *members: str, patient: str = "P1", later: tuple[str, ...] = ()) -> Container:
    return Container(name, cx(patient), "ous", frozenset({OUS_REPOSITORY}), members, later)


def test_sets_folders_and_associations_show_with_what_they_hold() -> None:
    """A set shows with the membership it filed, the membership with both ends, the folder with a document."""
    policy = pilot()
    found = alone(entry("seen", policy), entry("hidden", policy, signed="never"))
    containers = [
        container("folder", "seen", "hidden"),
        container("closed", "hidden"),
        container("filing", "in"),
        container("filing hidden", "in closed"),
        container("empty"),
    ]
    links = [
        Link("in", ("folder", "seen")),
        Link("in hidden", ("folder", "hidden")),
        Link("in closed", ("closed", "hidden")),
        Link("filed", ("filing", "in")),
        Link("filed hidden", ("filing hidden", "in closed")),
        Link("dangling", ("folder", "nowhere")),
    ]
    seen = shield_all(situation(person("Anne"), policy), found, containers, links)
    assert seen.visible == {"seen", "folder", "filing", "empty", "in", "filed"}
    assert {name: each.reason for name, each in seen.containers.items() if not each.permit} == {
        "closed": Reason.NOT_SIGNED,
        "filing hidden": Reason.DEPRECATED,
    }


def test_an_older_version_of_a_folder_shows_only_with_the_newer() -> None:
    policy = pilot()
    anne = situation(person("Anne"), policy)
    found = alone(entry("a", policy), entry("b", policy, signed="never"))
    for newer, shown in (("a", {"a", "old", "new"}), ("b", {"a"})):
        containers = [container("old", "a", later=("new",)), container("new", newer)]
        assert shield_all(anne, found, containers, []).visible == shown


def test_what_shows_does_not_depend_on_the_order_it_was_found_in() -> None:
    policy = pilot()
    anne = situation(person("Anne"), policy)
    found = alone(entry("a", policy))
    containers = [container("set", "link"), container("folder", "a"), container("other", "folder")]
    links = [Link("of set", ("set", "link")), Link("link", ("folder", "a")), Link("of other", ("other", "folder"))]
    expected = {"a", "set", "folder", "other", "link", "of set", "of other"}
    assert shield_all(anne, found, containers, links).visible == expected
    assert shield_all(anne, found, containers[::-1], links[::-1]).visible == expected


def test_a_container_alone_passes_the_rows_that_read_no_document() -> None:
    policy = pilot()

    def reason(
        who: str = "Anne", patient: str = "P1", repositories: tuple[str, ...] = (OUS_REPOSITORY,), **how: object
    ) -> Reason:
        blocks = [block(str(how["block"]), source=str(how.get("source", "")))] if "block" in how else []
        anne = situation(person(who), policy, blocks)
        return decide_alone(anne, cx(patient), "ous", repositories).reason

    assert reason() is Reason.OK
    assert reason(patient="P2") is Reason.PATIENT_MISMATCH_DOC
    assert reason(repositories=()) is Reason.NO_AGREEMENT_SOURCE
    assert reason(repositories=("2.999.578.3.1",)) is Reason.NO_AGREEMENT_SOURCE
    assert reason(repositories=("2.999.578.3.1", OUS_REPOSITORY)) is Reason.OK
    assert reason(block="visit_history") is Reason.BLOCK_VISIT_HISTORY
    assert reason(block="source_total", source="ous") is Reason.BLOCK_SOURCE_TOTAL
    assert reason(block="openable") is Reason.BLOCK_OPENABLE
    assert reason(block="source_total", source="unn") is Reason.OK


def test_what_a_machine_registered_is_its_own_only_where_it_may_register() -> None:
    own = OPEN.replace('sources = "any"', 'sources = "own"')
    policy = read(with_agreement(own), ("open",))
    lab, ous = (situation(machine(each), policy) for each in ("lab", "ous"))
    assert decide_alone(ous, cx("P2"), "ous", [OUS_REPOSITORY]).permit
    assert not decide_alone(ous, cx("P2"), "lab", [OUS_REPOSITORY]).permit
    assert not decide_alone(ous, cx("P2"), "ous", ["2.999.578.3.1"]).permit
    assert not decide_alone(lab, cx("P2"), "ous", [OUS_REPOSITORY]).permit


def test_an_alert_is_raised_for_another_patients_set() -> None:
    policy = pilot()
    seen = shield_all(situation(person("Anne"), policy), [], [container("theirs", patient="P2")], [])
    assert (seen.visible, seen.containers["theirs"].alert) == (frozenset(), True)
