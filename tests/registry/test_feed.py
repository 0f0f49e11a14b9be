"""Both patient feeds: what is told becomes known or one person, is on record, and is acknowledged as it went."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from audit.event import Event, Kind, RecordLost
from ihe.errors import SoapFault
from ihe.names import Action
from policy.facts import Channel, Reason, Subject
from policy.numbers import D_NUMBER, F_NUMBER
from registry.blocks import BlockBook
from registry.database.engine import Database
from registry.feed import Domain, FeedDesk, feed, take_message
from registry.people.book import PatientBook
from tests.ihe.feeds import a40, adt, feed_call, instance, prior, v3
from tests.policy.casebook import block, pilot
from tests.registry.desks import NOW, PEER, FixedClock, Trail

FEEDER = Subject(Channel.MACHINE, "register", machine="register", may_feed=True)
F, D, OTHER = "01826520074", "41826520068", "15837510047"
P_F, P_D, P_OTHER = f"{F}^^^&{F_NUMBER}&ISO", f"{D}^^^&{D_NUMBER}&ISO", f"{OTHER}^^^&{F_NUMBER}&ISO"
CHILD = "02911160008"


@pytest.fixture
def desk(database: Database, trail: Trail) -> FeedDesk:
    domain = Domain(namespaces={"FNR": F_NUMBER, "DNR": D_NUMBER})
    return FeedDesk(
        FixedClock(),
        lambda call, peer, now: FEEDER,
        pilot,
        trail,
        PatientBook(database),
        domain,
    )


@pytest.fixture(params=["iti8", "iti44"])
def way(request: pytest.FixtureRequest) -> str:
    """Each test runs by either feed: what holds for one holds for the other."""
    return str(request.param)


def of(number: str) -> str:
    return instance(D_NUMBER if number[0] in "4567" else F_NUMBER, number)


def add(desk: FeedDesk, way: str, *numbers: str) -> str:
    """Tells of one patient; returns the kind of acknowledgement, A, E or R, and its code."""
    if way == "iti44":
        return sent(desk, Action.FEED_ADD, v3(Action.FEED_ADD, *map(of, numbers)))
    cx = "~".join(f"{each}^^^{'DNR' if each[0] in '4567' else 'FNR'}" for each in numbers)
    return taken(desk, adt("A04", cx))


def merge(desk: FeedDesk, way: str, survivor: str, subsumed: str) -> str:
    if way == "iti44":
        message = v3(Action.FEED_MERGE, of(survivor), replaced=prior(of(subsumed)))
        return sent(desk, Action.FEED_MERGE, message)
    cx = [f"{each}^^^&{D_NUMBER if each[0] in '4567' else F_NUMBER}&ISO" for each in (survivor, subsumed)]
    return taken(desk, a40(*cx))


def sent(desk: FeedDesk, action: Action, message: str) -> str:
    body = feed(feed_call(action, message), PEER, desk).body.decode()
    code = re.search(r'<acknowledgementDetail typeCode="E"><code code="(\w+)"/>', body)
    (kind,) = re.findall(r'<typeCode code="C([AER])"/>', body)
    return f"{kind} {code[1]}" if code else kind


def taken(desk: FeedDesk, message: bytes, subject: Subject | None = FEEDER) -> str:
    lines = take_message(message, "iso8859-1", subject, PEER, desk).decode().split("\r")
    code = lines[2].split("|")[3][:3] if len(lines) > 3 else ""
    return f"{lines[1].split('|')[1][1]} {code}".strip()


def test_a_patient_becomes_known_once(desk: FeedDesk, trail: Trail, way: str) -> None:
    assert add(desk, way, F) == "A"
    assert desk.patients.of(P_F).known
    intent, outcome = trail.events
    assert (intent.kind, outcome.kind) == (Kind.FEEDING, Kind.FED)
    assert (outcome.patient_id, outcome.subject, outcome.note) == (P_F, FEEDER, "")
    assert outcome.transaction == {"iti8": "ITI-8", "iti44": "ITI-44"}[way]
    assert outcome.message_id == {"iti8": "m-1", "iti44": "2.999.50.1^m-1"}[way]
    assert add(desk, way, F) == "A"
    assert trail.last.note == "known already"


def test_two_numbers_become_one_person(desk: FeedDesk, database: Database, trail: Trail, way: str) -> None:
    BlockBook(database).set_block(block("reservation", patient="P3"), "clerk", NOW)
    for number in (F, D):
        add(desk, way, number)
    trail.events.clear()
    assert merge(desk, way, F, D) == "A"
    person = desk.patients.of(P_D)
    assert (person.survivor, person.identities) == (P_F, {P_F, P_D})
    assert [(each.by, each.survivor, each.subsumed) for each in person.history] == [("register", P_F, P_D)]
    assert [each.kind for each in trail.events] == [Kind.MERGING, Kind.MERGED]
    assert (trail.last.patient_id, trail.last.patients) == (P_F, (P_D,))


@pytest.mark.parametrize(
    ("survivor", "subsumed", "code"),
    [
        (F, F, {"iti8": "205", "iti44": "KEY205"}),
        (F, CHILD, {"iti8": "204", "iti44": "KEY204"}),
        (CHILD, F, {"iti8": "204", "iti44": "KEY204"}),
        (D, F, {"iti8": "205", "iti44": "KEY205"}),
        (OTHER, D, {"iti8": "205", "iti44": "KEY205"}),
        (F, "15837510048", {"iti8": "102", "iti44": "SYN102"}),
    ],
)
def test_a_refused_merge_changes_nothing(
    desk: FeedDesk, trail: Trail, way: str, survivor: str, subsumed: str, code: dict[str, str]
) -> None:
    for number in (F, D, OTHER):
        add(desk, way, number)
    merge(desk, way, F, D)
    before = [desk.patients.of(each) for each in (P_F, P_D, P_OTHER)]
    assert merge(desk, way, survivor, subsumed) == f"E {code[way]}"
    assert [desk.patients.of(each) for each in (P_F, P_D, P_OTHER)] == before
    assert trail.last.kind is Kind.FAILED
    assert trail.last.note


@pytest.mark.parametrize("wrong", ["survivor", "subsumed"])
def test_an_identifier_of_another_domain_is_merged_with_nobody(desk: FeedDesk, trail: Trail, wrong: str) -> None:
    for number in (F, OTHER):
        add(desk, "iti8", number)
    mine, foreign = f"{F}^^^FNR", f"{OTHER}^^^&2.999.7&ISO"
    message = a40(foreign, mine) if wrong == "survivor" else a40(mine, foreign)
    assert taken(desk, message) == "E 204"
    elsewhere = instance("2.999.7", OTHER)
    ids = (elsewhere, of(F)) if wrong == "survivor" else (of(F), elsewhere)
    assert sent(desk, Action.FEED_MERGE, v3(Action.FEED_MERGE, ids[0], replaced=prior(ids[1]))) == "E KEY204"
    assert desk.patients.of(P_F).merges == ()


def test_other_domains_are_passed_over(desk: FeedDesk, trail: Trail) -> None:
    assert sent(desk, Action.FEED_ADD, v3(Action.FEED_ADD, instance("2.999.7", "A-1"), of(F))) == "A"
    assert desk.patients.of(P_F).known
    assert sent(desk, Action.FEED_ADD, v3(Action.FEED_ADD, instance("2.999.7", "A-1"))) == "A"
    assert taken(desk, adt("A01", "A-1^^^PAS~A-2^^^&2.999.7&ISO")) == "A"
    assert trail.last.note == "no identifier of this domain"
    assert not desk.patients.of("A-1^^^&2.999.7&ISO").known


def test_the_domain_may_be_one_of_this_node_alone(desk: FeedDesk) -> None:
    local = replace(desk, domain=Domain(frozenset({"2.999.7"}), {"PAS": "2.999.7"}))
    assert taken(local, adt("A05", "A-1^^^PAS")) == "A"
    assert desk.patients.of("A-1^^^&2.999.7&ISO").known
    assert taken(local, adt("A05", f"{F}^^^&{F_NUMBER}&ISO")) == "A"
    assert not desk.patients.of(P_F).known


def test_numbers_that_nobody_was_given_are_refused(desk: FeedDesk, way: str) -> None:
    assert add(desk, way, "15837510048") == {"iti8": "E 102", "iti44": "E SYN102"}[way]
    assert not desk.patients.of(f"15837510048^^^&{F_NUMBER}&ISO").known


def test_a_revision_makes_known_and_a_demographic_update_changes_nothing(desk: FeedDesk, trail: Trail) -> None:
    assert taken(desk, adt("A08", f"{F}^^^FNR")) == "A"
    assert trail.last.note == "A08 is ignored"
    assert not desk.patients.of(P_F).known
    assert sent(desk, Action.FEED_REVISE, v3(Action.FEED_REVISE, of(F))) == "A"
    assert desk.patients.of(P_F).known


def test_a_merged_number_does_not_come_back_by_being_fed(desk: FeedDesk, way: str) -> None:
    for number in (F, D):
        add(desk, way, number)
    merge(desk, way, F, D)
    assert add(desk, way, D) == "A"
    assert desk.patients.of(P_D).survivor == P_F


def test_only_a_machine_that_may_feed_is_listened_to(desk: FeedDesk, trail: Trail) -> None:
    quiet = replace(FEEDER, may_feed=False)
    call = feed_call(Action.FEED_ADD, v3(Action.FEED_ADD, of(F)))
    with pytest.raises(SoapFault):
        feed(call, PEER, replace(desk, identify=lambda call, peer, now: quiet))
    assert (trail.last.kind, trail.last.reason) == (Kind.REFUSED, Reason.ROLE_NOT_ALLOWED.value)
    person = Subject(Channel.CLINICIAN, "Anne")
    with pytest.raises(SoapFault):
        feed(call, PEER, replace(desk, identify=lambda call, peer, now: person))
    for sender in (None, quiet):
        assert taken(desk, adt("A04", f"{F}^^^FNR"), sender) == "R"
        assert (trail.last.kind, trail.last.reason) == (Kind.REFUSED, Reason.ROLE_NOT_ALLOWED.value)
    assert not desk.patients.of(P_F).known


def test_without_a_record_nothing_changes(desk: FeedDesk, trail: Trail) -> None:
    trail.lost = True
    assert taken(desk, adt("A04", f"{F}^^^FNR")) == "E 207"
    with pytest.raises(SoapFault):
        feed(feed_call(Action.FEED_ADD, v3(Action.FEED_ADD, of(F))), PEER, desk)
    assert not desk.patients.of(P_F).known


def test_the_intent_is_on_record_before_anything_changes(desk: FeedDesk, way: str) -> None:
    seen: list[tuple[Kind, bool]] = []

    class Watching(Trail):
        def record(self, event: Event) -> None:
            seen.append((event.kind, desk.patients.of(P_F).known))

    add(replace(desk, audit=Watching()), way, F)
    assert seen == [(Kind.FEEDING, False), (Kind.FED, True)]


def test_what_is_committed_is_acknowledged_even_if_its_outcome_cannot_be_recorded(desk: FeedDesk, way: str) -> None:
    class Filling(Trail):
        def record(self, event: Event) -> None:
            if event.kind is Kind.FED:
                raise RecordLost

    assert add(replace(desk, audit=Filling()), way, F) == "A"
    assert desk.patients.of(P_F).known


def test_a_message_that_cannot_be_read_is_on_record(desk: FeedDesk, trail: Trail) -> None:
    assert taken(desk, b"nonsense") == "R 100"
    assert trail.last.kind is Kind.FAILED
    assert sent(desk, Action.FEED_ADD, v3(Action.FEED_ADD)) == "E SYN105"
    assert (trail.last.kind, trail.last.subject) == (Kind.FAILED, FEEDER)
