"""What senders break is counted, whatever comes of it, and counting costs nobody a submission."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from threading import Barrier, Thread

import pytest

from ihe import xml
from ihe.soap import Call, Packaging, Reply
from policy.facts import Channel, Peer, Subject
from registry.database.engine import Database, StoreTrouble
from registry.desk import Desk
from registry.register import register
from registry.rules.findings import Finding, Findings
from registry.rules.samples import REPOSITORY, Message, sample
from registry.rules.strictness import STRICT, Level, Strictness, Verdict
from registry.rules.table import RULES
from registry.store import Store
from tests.registry.desks import PEER, FixedClock, Trail, desk_for, errors_of, status_of

SENDER = Subject(Channel.MACHINE, "ous", machine="ous", may_register=(REPOSITORY,))
DAY = datetime(2021, 2, 15, 23, 30, tzinfo=UTC)
TITLE, TIMES = sample("title-length"), sample("service-times")


def desk_at(database: Database, at: datetime, strictness: Strictness = STRICT, sender: str = "ous") -> Desk:
    subject = replace(SENDER, name=sender, machine=sender)
    return desk_for(subject, database, Trail(), clock=FixedClock(at), strictness=strictness)


def send(message: Message, desk: Desk, correlation: str = "exchange-1") -> Reply:
    peer = Peer(PEER.listener, PEER.address, PEER.certificate, correlation)
    return register(Call(message.action, xml.read(message.body), None, "m", Packaging.SIMPLE), peer, desk)


def renumbered(message: Message, number: int) -> Message:
    body = message.body
    for arc in ("7", "8", "9"):
        body = body.replace(b"2.999.40.%s.1" % arc.encode(), b"2.999.40.%s.1%d" % (arc.encode(), number))
    return Message(message.action, body)


def test_a_refused_message_is_counted_for_each_rule_it_broke(database: Database) -> None:
    for number in range(3):
        send(TITLE.failing, desk_at(database, DAY), f"exchange-{number}")
    assert Findings.read(database, date(2021, 2, 15)) == (
        Finding("ous", "ITI-42", "title-length", 3, 3, DAY, "exchange-2"),
    )


def test_what_is_tolerated_is_counted_apart_from_what_was_refused(database: Database) -> None:
    lenient = Strictness({"title-length": Level.WARN})
    assert status_of(send(TITLE.failing, desk_at(database, DAY, lenient))) == "Success"
    send(renumbered(TITLE.failing, 2), desk_at(database, DAY))
    (found,) = Findings.read(database, date(2021, 2, 15))
    assert (found.seen, found.rejected, found.tolerated) == (2, 1, 1)


@pytest.mark.parametrize("level", [Level.LOG, Level.WARN])
def test_what_a_sender_is_not_refused_for_is_counted_with_its_submission(database: Database, level: Level) -> None:
    desk = desk_at(database, DAY, Strictness({}, {"ous": {"title-length": level}}))
    assert status_of(send(TITLE.failing, desk)) == "Success"
    assert [(each.rule, each.seen, each.rejected) for each in Findings.read(database, DAY.date())] == [
        ("title-length", 1, 0)
    ]


def test_what_is_off_is_not_counted_and_nothing_is_where_nothing_is_wrong(database: Database) -> None:
    desk = desk_at(database, DAY, Strictness({"title-length": Level.OFF}))
    assert status_of(send(TITLE.failing, desk)) == "Success"
    assert status_of(send(renumbered(TITLE.passing, 2), desk_at(database, DAY))) == "Success"
    assert Findings.read(database, date(2000, 1, 1)) == ()


def test_levels_hold_for_the_sender_they_are_given_for(database: Database) -> None:
    strictness = Strictness({"title-length": Level.WARN}, {"unn": {"title-length": Level.REJECT}})
    assert status_of(send(TITLE.failing, desk_at(database, DAY, strictness))) == "Success"
    told = send(renumbered(TITLE.failing, 2), desk_at(database, DAY, strictness, sender="unn"))
    assert status_of(told) == "Failure"
    assert [(each.sender, each.rejected) for each in Findings.read(database, DAY.date())] == [("ous", 0), ("unn", 1)]


def test_what_only_the_registry_knows_is_counted_too(database: Database) -> None:
    told = sample("same-hash")
    desk = desk_at(database, DAY)
    for message in told.first:
        send(message, desk)
    assert status_of(send(told.failing, desk)) == "Failure"
    assert [(each.rule, each.rejected) for each in Findings.read(database, DAY.date())] == [("same-hash", 1)]
    tolerant = desk_at(database, DAY, Strictness({"appended-transform": Level.LOG}))
    told = sample("appended-transform")
    for message in told.first[1:]:
        assert errors_of(send(message, tolerant)) == []
    assert status_of(send(told.failing, tolerant)) == "Success"
    assert [each.rule for each in Findings.read(database, DAY.date())] == ["appended-transform", "same-hash"]


def test_a_refused_message_is_told_what_it_is_only_warned_of_as_well(database: Database) -> None:
    body = TITLE.failing.body.replace(b"202001140830", b"202001140759")
    desk = desk_at(database, DAY, Strictness({"title-length": Level.WARN}))
    reply = send(Message(TITLE.failing.action, body), desk)
    assert status_of(reply) == "Failure"
    assert [context.split()[0] for _, context in errors_of(reply)] == ["service-times", "title-length"]
    assert [(each.rule, each.rejected) for each in Findings.read(database, DAY.date())] == [
        ("service-times", 1),
        ("title-length", 0),
    ]


def test_a_submission_sent_again_is_warned_of_again_and_counted_once(database: Database) -> None:
    desk = desk_at(database, DAY, Strictness({"title-length": Level.WARN}))
    replies = [send(TITLE.failing, desk) for _ in range(2)]
    assert [len(errors_of(reply)) for reply in replies] == [1, 1]
    assert [each.seen for each in Findings.read(database, DAY.date())] == [1]


def test_days_are_counted_apart_and_read_from_any_of_them(database: Database) -> None:
    send(TITLE.failing, desk_at(database, DAY))
    send(TITLE.failing, desk_at(database, DAY + timedelta(hours=1)), "next-day")
    assert [each.seen for each in Findings.read(database, date(2021, 2, 15))] == [2]
    (since,) = Findings.read(database, date(2021, 2, 16))
    assert (since.seen, since.correlation, since.last_at) == (1, "next-day", DAY + timedelta(hours=1))
    assert Findings.read(database, date(2021, 2, 17)) == ()


def test_nothing_of_a_patient_is_counted(database: Database) -> None:
    send(sample("one-patient").failing, desk_at(database, DAY))
    (found,) = Findings.read(database, DAY.date())
    assert found == Finding("ous", "ITI-42", "one-patient", 1, 1, DAY, "exchange-1")


def test_a_count_that_is_lost_changes_nothing_about_the_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_at(database, DAY)

    def busy(store: Store, verdict: Verdict, now: datetime) -> None:
        raise StoreTrouble(sample("one-patient").rule.code, "busy")

    monkeypatch.setattr(Store, "count", busy)
    assert [context.split()[0] for _, context in errors_of(send(TITLE.failing, desk))] == ["title-length"]


def test_every_rule_can_be_counted(database: Database) -> None:
    verdict = Verdict(STRICT, "ous", "ITI-42", "exchange-1", broken=dict.fromkeys(RULES, False))
    Store(database).count(verdict, DAY)
    assert {each.rule for each in Findings.read(database, DAY.date())} == set(RULES)


def test_senders_that_break_the_same_rules_at_once_wait_for_each_other_and_never_in_a_circle(
    database: Database,
) -> None:
    lenient = Strictness(dict.fromkeys(("title-length", "service-times"), Level.WARN))
    body = TITLE.failing.body.replace(b"202001140830", b"202001140759")
    start, outcomes = Barrier(4), list[str]()

    def sends(number: int) -> Callable[[], None]:
        def run() -> None:
            desk = desk_at(database, DAY, lenient)
            start.wait()
            for each in range(5):
                message = renumbered(Message(TITLE.failing.action, body), number * 10 + each)
                outcomes.append(status_of(send(message, desk)))

        return run

    threads = [Thread(target=sends(number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["Success"] * 20
    assert [each.seen for each in Findings.read(database, DAY.date())] == [20, 20]
