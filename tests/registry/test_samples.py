"""Every rule has a message that breaks it and nothing else, and one that keeps it; what it says is what comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ihe import ebrim, xml
from ihe.names import Code
from ihe.soap import Call, Packaging, Reply
from policy.facts import Channel, Subject
from registry.database.engine import Database, open_database
from registry.desk import Desk
from registry.migrations import migrate
from registry.register import ENTRY_TYPES, register
from registry.rules import codes
from registry.rules import judge as rules
from registry.rules.extra_metadata import without_extra_metadata
from registry.rules.samples import PATIENT, REPOSITORY, Message, Sample, sample
from registry.rules.samples.table import SAMPLES
from registry.rules.strictness import Demands, Level, Strictness, Verdict
from registry.rules.table import CONTENT, EXTRA_METADATA, KNOWN_OBJECTS, REGISTRY, RULES, STRUCTURE, Rule
from registry.store import Store
from tests.policy.casebook import NOW
from tests.registry.desks import PEER, Trail, desk_for, errors_of, status_of

SENDER = Subject(Channel.MACHINE, "ous", machine="ous", may_register=(REPOSITORY,))
LOWERABLE = [rule.id for rule in RULES.values() if not rule.firm]
OF_MESSAGE = [rule.id for rule in (*STRUCTURE, *CONTENT)]
OF_REGISTRY = [rule.id for rule in REGISTRY]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an embedded registry that holds nothing; to be copied."""
    path = tmp_path_factory.mktemp("registry") / "registry.db"
    database = open_database(f"sqlite:///{path}", create=True)
    migrate(database)
    database.close()
    return path


@pytest.fixture
def embedded(migrated: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty SQLite registry: what a message tells by itself is the same whatever the database."""
    copy = tmp_path / "registry.db"
    copy.write_bytes(migrated.read_bytes())
    copy.chmod(0o600)
    database = open_database(f"sqlite:///{copy}")
    yield database
    database.close()


def send(message: Message, desk: Desk) -> Reply:
    return register(Call(message.action, xml.read(message.body), None, "m", Packaging.SIMPLE), PEER, desk)


def prepared(told: Sample, database: Database, **levels: Level) -> Desk:
    """A desk of a node that the sample can be sent to: what must come first is there."""
    agreed = codes.read(told.codes) if told.codes else codes.NO_SETS
    named = {rule.replace("_", "-"): level for rule, level in levels.items()}
    strictness = Strictness(named, {}, agreed, told.extra_metadata)
    desk = desk_for(SENDER, database, Trail(), strictness=strictness)
    for message in told.first:
        assert errors_of(send(message, desk)) == []
    if told.merged:
        Store(database).merge(told.merged, PATIENT, "test", NOW)
    return desk


def level(rule: str, wanted: Level) -> dict[str, Any]:
    return {rule.replace("-", "_"): wanted}


def severities(reply: Reply) -> set[str]:
    return set(re.findall(r'severity="[^"]*:(\w+)"', reply.body.decode()))


def test_every_rule_has_its_sample() -> None:
    assert set(SAMPLES) == set(RULES)


def refused_for_it_alone(rule: str, database: Database) -> None:
    told = sample(rule)
    reply = send(told.failing, prepared(told, database))
    assert status_of(reply) == "Failure"
    assert {(code, context.split()[0]) for code, context in errors_of(reply)} == {(RULES[rule].code.value, rule)}
    assert severities(reply) == {"Error"}


def registered(rule: str, database: Database) -> None:
    told = sample(rule)
    reply = send(told.passing, prepared(told, database))
    assert (status_of(reply), errors_of(reply)) == ("Success", [])


@pytest.mark.parametrize("rule", [rule for rule in OF_MESSAGE if rule != EXTRA_METADATA.id])
def test_what_breaks_one_rule_is_refused_for_that_rule_alone(rule: str, embedded: Database) -> None:
    refused_for_it_alone(rule, embedded)


@pytest.mark.parametrize("rule", OF_REGISTRY)
def test_what_breaks_a_rule_of_the_registry_is_refused_for_that_rule_alone(rule: str, database: Database) -> None:
    refused_for_it_alone(rule, database)


@pytest.mark.parametrize("rule", OF_MESSAGE)
def test_what_keeps_the_rule_is_registered(rule: str, embedded: Database) -> None:
    registered(rule, embedded)


@pytest.mark.parametrize("rule", OF_REGISTRY)
def test_what_keeps_a_rule_of_the_registry_is_registered(rule: str, database: Database) -> None:
    registered(rule, database)


@pytest.mark.parametrize("rule", LOWERABLE)
@pytest.mark.parametrize("lowered", [Level.OFF, Level.LOG, Level.WARN])
def test_what_breaks_a_lowered_rule_is_registered(rule: str, lowered: Level, embedded: Database) -> None:
    told = sample(rule)
    reply = send(told.failing, prepared(told, embedded, **level(rule, lowered)))
    assert status_of(reply) == "Success"
    warned = {(code, context.split()[0]) for code, context in errors_of(reply)}
    assert warned == ({(RULES[rule].code.value, rule)} if lowered is Level.WARN else set())
    assert severities(reply) == ({"Warning"} if lowered is Level.WARN else set())


JUDGED_ALONE = [each for each in (*STRUCTURE, *CONTENT) if each not in (EXTRA_METADATA, KNOWN_OBJECTS)]
"""Of an object of unknown kind nothing else can be judged."""


@pytest.mark.parametrize("rule", JUDGED_ALONE, ids=lambda rule: rule.id)
def test_nothing_but_the_rule_itself_refuses_its_sample(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    told = sample(rule.id)
    judged = Strictness.level

    def without(strictness: Strictness, asked: Rule, sender: str) -> Level:
        return Level.OFF if asked is rule else judged(strictness, asked, sender)

    submittal = ebrim.read_submission(ebrim.repair(xml.read(told.failing.body)))
    agreed = codes.read(told.codes) if told.codes else codes.NO_SETS
    demands = Demands(ENTRY_TYPES[told.failing.action], codes=agreed)
    assert {each.rule for each in rules.check(submittal, demands=demands)} == {rule}
    monkeypatch.setattr(Strictness, "level", without)
    assert rules.check(submittal, demands=demands) == ()


def test_rules_of_the_registry_are_broken_only_by_what_came_first() -> None:
    for rule in REGISTRY:
        told = sample(rule.id)
        submittal = ebrim.read_submission(ebrim.repair(xml.read(told.failing.body)))
        assert rules.check(submittal, demands=Demands(ENTRY_TYPES[told.failing.action])) == ()


def test_extra_metadata_is_not_stored_where_a_node_says_so_and_the_sender_is_told(database: Database) -> None:
    told = sample(EXTRA_METADATA.id)
    reply = send(told.failing, prepared(told, database))
    assert status_of(reply) == "Success"
    assert [code for code, _ in errors_of(reply)] == [Code.EXTRA_METADATA_NOT_SAVED.value]
    assert severities(reply) == {"Warning"}
    assert "urn:oid:2.999.77" in errors_of(reply)[0][1]
    again = send(told.failing, prepared(told, database))
    assert (status_of(again), len(errors_of(again))) == ("Success", 1)


def test_extra_metadata_goes_wherever_it_stands_and_nothing_else_does() -> None:
    told = sample(EXTRA_METADATA.id)
    extra = b'<Slot name="urn:oid:2.999.77"><ValueList><Value>red</Value></ValueList></Slot>'
    plain = ebrim.read_submission(xml.read(sample("data-type").passing.body))
    everywhere = told.failing.body
    for part in (b'<Slot name="authorPerson">', b'<Slot name="codingScheme">', b'<Slot name="submissionTime">'):
        assert part in everywhere
        everywhere = everywhere.replace(part, extra + part)
    stripped = without_extra_metadata(ebrim.read_submission(xml.read(everywhere)))
    assert b"2.999.77" not in xml.write(stripped.body)
    assert [each.path for each in stripped.objects] == [each.path for each in plain.objects]
    kept = without_extra_metadata(ebrim.read_submission(xml.read(sample("data-type").passing.body)))
    assert xml.write(kept.body) == xml.write(plain.body)


def test_a_message_may_break_a_hundred_tolerated_rules_and_is_still_refused_for_the_one_that_is_not() -> None:
    told = sample("needed-type")
    many = b"".join(
        b'<Slot name="colour%d"><ValueList><Value>red</Value></ValueList></Slot>' % number for number in range(300)
    )
    body = told.failing.body.replace(b'<Slot name="languageCode">', many + b'<Slot name="languageCode">', 1)
    verdict = Verdict(Strictness({"extra-slot-name": Level.WARN}), "ous")
    rules.judge(ebrim.read_submission(ebrim.repair(xml.read(body))), Demands(), verdict)
    assert len(verdict.warnings) == rules.MOST_VIOLATIONS
    assert [each.rule.id for each in verdict.rejections] == ["needed-type"]
    assert verdict.broken == {"extra-slot-name": False, "needed-type": True}


def test_a_verdict_that_begins_again_knows_nothing_of_the_first_time() -> None:
    verdict = Verdict()
    again = verdict.so_far()
    told = sample("needed-type")
    rules.judge(ebrim.read_submission(ebrim.repair(xml.read(told.failing.body))), Demands(), again)
    assert again.rejects
    assert not verdict.rejects
    assert verdict.broken == {}
    assert replace(again).failure.errors[0].rule == "needed-type"
