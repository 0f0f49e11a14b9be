"""What is asked, known and decided becomes a plan; what cannot be had looks alike, whatever the reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from audit.event import Ending
from ihe.names import Status
from ihe.retrieval import DocumentRequest
from policy.facts import Decision, DocumentKey, EntryFacts, Reason
from repository_proxy.plan import Fetch, Plan, Refused, foreign, make_plan, newest, refuse_all, route
from repository_proxy.repositories import Hospital, Routes
from tests.repository_proxy.ports import NOW, entry

OK = Decision(True, Reason.OK)
HIDDEN = Decision(False, Reason.BLOCK_DOC)
UNKNOWN = Decision(False, Reason.UNKNOWN_DOC)
OURS = "urn:oid:2.999.100"


def hospital(name: str, repository: str, **more: Any) -> Hospital:
    settings: dict[str, Any] = {"url": "http://127.0.0.1:1/", "assertion": "none", **more}
    return Hospital(name, (repository,), **settings)


ROUTES = Routes(
    [
        hospital("ous", "2.999.1"),
        hospital("ahus", "2.999.2", one_document_per_request=True),
        hospital("off", "2.999.3", switched_off=True),
    ]
)


def planned(
    *asked: DocumentRequest,
    decisions: dict[str, Decision] | None = None,
    known: set[str] | None = None,
    withheld: str = "",
) -> Plan:
    routed = route(asked, ROUTES)
    families: dict[DocumentKey, tuple[EntryFacts, ...]] = {
        one.key: (entry(one.key.repository_unique_id, one.key.unique_id, b"x"),)
        for one in routed
        if known is None or one.key.unique_id in known
    }
    decided = {one.key: (decisions or {}).get(one.key.unique_id, OK) for one in routed}
    return make_plan(routed, families, decided, OURS, lambda each: each.name == withheld)


def ask(repository: str, unique_id: str, home: str = "") -> DocumentRequest:
    return DocumentRequest(home, repository, unique_id)


def test_hidden_and_unknown_documents_get_one_and_the_same_error() -> None:
    plan = planned(
        ask("2.999.1", "hidden"),
        ask("2.999.1", "unknown"),
        decisions={"hidden": HIDDEN, "unknown": UNKNOWN},
        known={"hidden"},
    )
    hidden, unknown = plan.errors
    assert hidden.code == unknown.code == "XDSDocumentUniqueIdError"
    assert hidden.context == "document hidden is not available from repository 2.999.1"
    assert unknown.context == hidden.context.replace("hidden", "unknown")
    assert (hidden.location, unknown.location) == ("hidden", "unknown")


def test_an_unknown_repository_is_told_from_the_table_alone() -> None:
    for decision in (OK, HIDDEN, UNKNOWN):
        plan = planned(ask("2.9", "1"), decisions={"1": decision})
        assert [error.code.value for error in plan.errors] == ["XDSUnknownRepositoryId"]
        assert not any(each.decision.permit for each in plan.objects())


def test_a_foreign_community_is_told_apart_and_our_own_is_taken_in_both_spellings() -> None:
    plan = planned(ask("2.999.1", "1", "urn:oid:2.999.7"), ask("2.999.1", "2", OURS), ask("2.999.1", "3", "2.999.100"))
    assert [type(step) for step in plan.steps] == [Refused, Fetch, Fetch]
    assert plan.errors[0].code == "XDSUnknownCommunity"
    assert not foreign("urn:oid:2.999.7", "")


def test_ids_are_repeated_as_sent_and_asked_for_as_registered() -> None:
    plan = planned(ask("urn:oid:2.999.1", "1"), ask("urn:oid:2.999.1", "2"), decisions={"2": HIDDEN})
    assert plan.fetches[0].asked.key == ("2.999.1", "1")
    assert plan.errors[0].context.endswith("repository urn:oid:2.999.1")


def test_a_hospital_that_may_not_be_asked_fails_only_what_is_permitted() -> None:
    plan = planned(
        ask("2.999.3", "1"), ask("2.999.3", "2"), ask("2.999.1", "3"), decisions={"2": HIDDEN}, withheld="ous"
    )
    assert [error.code.value for error in plan.errors] == [
        "XDSRepositoryError",
        "XDSDocumentUniqueIdError",
        "XDSRepositoryError",
    ]
    assert plan.refusals == {0: Ending.NOT_SENT, 1: Ending.REFUSED_BY_POLICY, 2: Ending.NOT_SENT}


def test_each_hospital_is_asked_once_or_once_per_document_and_never_twice_for_one_in_a_message() -> None:
    plan = planned(
        ask("2.999.1", "1"),
        ask("2.999.2", "2"),
        ask("2.999.1", "3"),
        ask("2.999.2", "4"),
        ask("2.999.1", "1", OURS),
    )
    errands = [[fetch.place for fetch in errand.fetches] for errand in plan.errands()]
    assert errands == [[0, 2], [1], [3], [4]]


def test_the_bytes_are_held_to_the_newest_approved_entry() -> None:
    old = entry("2.999.1", "1", b"old", version=2, status=Status.DEPRECATED)
    new = entry("2.999.1", "1", b"new", version=1)
    newer = entry("2.999.1", "1", b"newer", version=1, registered_at=NOW + timedelta(1))
    assert newest([old, new]) is new
    assert newest([newer, old, new]) is newer


def test_deciding_again_takes_away_and_never_adds() -> None:
    before = planned(ask("2.999.1", "1"), ask("2.999.1", "2"), decisions={"2": HIDDEN})
    after = planned(ask("2.999.1", "1"), ask("2.999.1", "2"), decisions={"1": HIDDEN})
    narrowed = before.narrowed(after)
    assert narrowed.fetches == ()
    assert narrowed.steps == (after.steps[0], before.steps[1])


def test_a_request_refused_as_a_whole_says_why_for_each_document() -> None:
    plan = refuse_all(route([ask("2.999.1", "1"), ask("2.9", "2")], ROUTES), Reason.PATIENT_MISSING)
    assert [(error.code.value, error.context, error.location) for error in plan.errors] == [
        ("XDSRepositoryError", "PATIENT_MISSING", "1"),
        ("XDSRepositoryError", "PATIENT_MISSING", "2"),
    ]


def test_the_trail_holds_every_asked_document_in_request_order() -> None:
    plan = planned(ask("2.9", "1"), ask("2.999.1", "2"), ask("2.999.1", "3"), decisions={"3": HIDDEN})
    objects = plan.objects({1: Ending.COMPLETE, **plan.refusals}, {1: 7})
    assert [(each.unique_id, each.ending, each.bytes_sent) for each in objects] == [
        ("1", Ending.REFUSED_BY_POLICY, 0),
        ("2", Ending.COMPLETE, 7),
        ("3", Ending.REFUSED_BY_POLICY, 0),
    ]
    assert objects[2].entry_uuid
    assert plan.patient_ids == (plan.fetches[0].entry.patient_id,)
