"""audit.wire: an event survives being written, whatever it holds."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import wire
from audit.event import Ending, Event, Kind, Object
from policy.facts import Basis, Channel, Decision, Reason, Subject

NOW = datetime(2021, 2, 15, 9, 0, tzinfo=UTC)
PATIENT = "15837510047^^^&2.16.578.1.12.4.1.4.1&ISO"
BARE = Event(Kind.QUERIED, "ITI-18", NOW, NOW, False, "c1", "urn:uuid:1", "main", "127.0.0.1", "")

texts = st.text(max_size=40)
times = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=1)), timezone(timedelta(hours=-9))]))
decisions = st.builds(
    Decision,
    permit=st.booleans(),
    reason=st.sampled_from(Reason),
    also=st.tuples() | st.tuples(st.sampled_from(Reason)),
    source=texts,
)
objects = st.builds(
    Object,
    decision=decisions,
    entry_uuid=texts,
    unique_id=texts,
    ending=st.none() | st.sampled_from(Ending),
    bytes_sent=st.integers(0, 2**40),
)
subjects = st.builds(
    Subject,
    channel=st.sampled_from(Channel),
    name=texts,
    name_id=texts,
    basis=st.none() | st.sampled_from(Basis),
    scopes=st.frozensets(texts),
    provider_identifiers=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    may_register=st.lists(texts, max_size=3).map(tuple),
)
events = st.builds(
    Event,
    kind=st.sampled_from(Kind),
    transaction=texts,
    at=times,
    wall=times,
    simulated=st.booleans(),
    correlation=texts,
    message_id=texts,
    listener=texts,
    address=texts,
    certificate=texts,
    subject=st.none() | subjects,
    patient_id=texts,
    query=texts,
    objects=st.lists(objects, max_size=5).map(tuple),
    errors=st.lists(texts, max_size=3).map(tuple),
)


@settings(max_examples=200, deadline=None)
@given(events)
def test_every_event_is_read_back_as_it_was(event: Event) -> None:
    assert wire.read(wire.write(event)) == event


@settings(max_examples=200, deadline=None)
@given(events)
def test_every_event_is_one_line_of_printable_ascii(event: Event) -> None:
    assert all(0x20 <= byte < 0x7F for byte in wire.write(event))


@pytest.mark.parametrize(
    "planted",
    ["line\nbreak", "nul\0", "\x1b[31mred", "\u202etxet", "]]>", '"},{"n":9', "\ud800 lone", "alice<admin@evil>"],
)
def test_what_a_caller_plants_stays_inside_its_field(planted: str) -> None:
    event = replace(BARE, subject=Subject(Channel.CLINICIAN, planted), message_id=planted)
    written = wire.write(event)
    assert b"\n" not in written
    assert b"\x1b" not in written
    assert wire.read(written) == event


def test_no_field_is_left_out() -> None:
    values = {each.name: getattr(BARE, each.name) for each in fields(Event)}
    for name, value in values.items():
        if isinstance(value, str) and name not in ("kind",):
            changed = replace(BARE, **{name: "changed"})
            assert getattr(wire.read(wire.write(changed)), name) == "changed", name


def test_a_long_text_is_cut_and_says_so() -> None:
    written = wire.write(replace(BARE, note="n" * 5000, subject=Subject(Channel.CLINICIAN, "a" * 3000)))
    assert json.loads(written)["clipped"] == ["note", "subject.name"]
    assert len(wire.read(written).note) == wire.MAX_TEXT


def test_a_query_is_kept_whole_up_to_its_own_limit() -> None:
    event = replace(BARE, query="q" * wire.MAX_QUERY)
    assert wire.read(wire.write(event)) == event


def test_a_thousand_documents_share_their_decision() -> None:
    shown = Decision(True, Reason.OK, agreement="ous-regional", source="ous")
    many = tuple(Object(shown, f"urn:uuid:{n}", "1.2.3", f"1.2.3.{n}") for n in range(1000))
    written = wire.write(replace(BARE, objects=many))
    assert written.count(b"ous-regional") == 1
    assert wire.read(written).objects == many


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="wall has no time zone"):
        wire.write(replace(BARE, wall=datetime(2021, 1, 1)))


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"unheard": 1},
        {"kind": "invented"},
        {"simulated": 0},
        {"at": "yesterday"},
        {"at": "2021-01-01T00:00:00"},
        {"objects": [[0, "a", "b", "c"]]},
        {"objects": [[True, "a", "b", "c"]], "decisions": [{"permit": True, "reason": "OK"}]},
        {"subject": {"channel": "clinician"}},
        {"errors": "none"},
    ],
)
def test_anything_but_a_written_event_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(wire.Unreadable):
        wire.read(json.dumps(json.loads(wire.write(BARE)) | change).encode())


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b"\xff"])
def test_rubbish_is_refused(raw: bytes) -> None:
    with pytest.raises(wire.Unreadable):
        wire.read(raw)
