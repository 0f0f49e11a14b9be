"""HL7 v2 messages of the patient feed: read for whom they name, refused with the place that is wrong, acknowledged."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihe import hl7v2
from ihe.hl7v2 import Answer, Fault, Header, Identifier, Unacceptable
from tests.ihe.feeds import a40, adt

OID = "1.2.826.0.1"
AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


def refused(raw: bytes, charset: str = "iso8859-1") -> Unacceptable:
    with pytest.raises(Unacceptable) as wrong:
        hl7v2.read(raw, charset)
    return wrong.value


@pytest.mark.parametrize("event", ["A01", "A04", "A05"])
def test_a_registration_names_its_patient(event: str) -> None:
    notice = hl7v2.read(adt(event, f"12345^^^NS&{OID}&ISO"), "ascii")
    assert notice.patients == (Identifier("12345", "NS", OID),)
    assert (notice.header.event, notice.header.control_id, notice.header.sender) == (event, "m-1", ("ADT", "HOSPITAL"))
    assert notice.subsumed == ()


@pytest.mark.parametrize(
    ("field", "identifiers"),
    [
        ("1^^^NS", [("1", "NS", "")]),
        ("1", [("1", "", "")]),
        (f"1^^^&{OID}&ISO~2^^^OTHER", [("1", "", OID), ("2", "OTHER", "")]),
        (f"1^4^M10^&{OID}&ISO^PI", [("1", "", OID)]),
        ("1^^^NS&hospital.example&DNS", [("1", "NS", "")]),
        (f"~1^^^&{OID}&ISO", [("1", "", OID)]),
        ("a\\T\\b\\S\\c\\F\\d\\R\\e\\E\\f^^^NS", [("a&b^c|d~e\\f", "NS", "")]),
    ],
)
def test_every_spelling_of_an_identifier(field: str, identifiers: list[tuple[str, str, str]]) -> None:
    notice = hl7v2.read(adt("A04", field), "ascii")
    assert [(each.number, each.namespace, each.authority) for each in notice.patients] == identifiers


def test_a_merge_names_both() -> None:
    notice = hl7v2.read(a40(f"1^^^&{OID}&ISO", f"2^^^&{OID}&ISO"), "ascii")
    assert notice.patients == (Identifier("1", "", OID),)
    assert notice.subsumed == (Identifier("2", "", OID),)


def test_an_update_of_demographic_data_is_not_looked_at() -> None:
    assert hl7v2.read(adt("A08", ""), "ascii").patients == ()


@pytest.mark.parametrize("version", ["2.3", "2.3.1", "2.4", "2.5", "2.5.1"])
def test_versions_that_are_answered(version: str) -> None:
    assert hl7v2.read(adt("A01", "1", version=version), "ascii").header.version == version


@pytest.mark.parametrize("structure", ["", "^ADT_A01"])
def test_the_structure_of_a_message_may_be_named(structure: str) -> None:
    assert hl7v2.read(adt("A04" + structure, "1"), "ascii").header.event == "A04"


def test_separators_and_line_ends_are_the_senders_choice() -> None:
    raw = adt("A04", f"1^^^NS&{OID}&ISO")
    other = raw.translate(bytes.maketrans(b"|^~\\&", b"#!*/%"))
    assert hl7v2.read(other, "ascii").patients == hl7v2.read(raw, "ascii").patients
    for ending in (b"\n", b"\r\n"):
        assert hl7v2.read(raw.replace(b"\r", ending), "ascii").patients == hl7v2.read(raw, "ascii").patients


@pytest.mark.parametrize(
    ("named", "encoding"), [("", "iso8859-1"), ("UNICODE UTF-8", "utf-8"), ("8859/1", "iso8859-1"), ("UTF-8", "utf-8")]
)
def test_the_character_set_is_the_messages_own(named: str, encoding: str) -> None:
    raw = adt("A04", "Ø1", charset=named).decode("utf-8").encode(encoding)
    assert hl7v2.read(raw, "iso8859-1").patients[0].number == "Ø1"


def test_bytes_that_are_not_of_the_character_set_are_refused() -> None:
    raw = adt("A04", "Ø1").decode("utf-8").encode("iso8859-1")
    for wrong in (refused(raw, "utf-8"), refused(adt("A04", "1", charset="KLINGON"))):
        assert (wrong.answer, wrong.fault, wrong.location) == (Answer.ERROR, Fault.DATA_TYPE, "MSH^1^18")


@pytest.mark.parametrize(
    ("raw", "answer", "fault", "location"),
    [
        (b"", Answer.REJECT, Fault.SEQUENCE, "MSH^1"),
        (b"PID|||1\r", Answer.REJECT, Fault.SEQUENCE, "MSH^1"),
        (b"MSH|^^^^|x\r", Answer.REJECT, Fault.SEQUENCE, "MSH^1"),
        (b"MSH|^~\\&|\r", Answer.REJECT, Fault.MISSING, "MSH^1^10"),
        (adt("A04", "1").replace(b"ADT^A04", b"ORU^R01"), Answer.REJECT, Fault.TYPE, "MSH^1^9^1^1"),
        (adt("A03", "1"), Answer.REJECT, Fault.EVENT, "MSH^1^9^1^2"),
        (adt("A04^ADT_A39", "1"), Answer.REJECT, Fault.TYPE, "MSH^1^9^1^3"),
        (adt("A04", "1", version="2.7"), Answer.REJECT, Fault.VERSION, "MSH^1^12"),
        (adt("A04", ""), Answer.ERROR, Fault.MISSING, "PID^1^3"),
        (adt("A04", "^^^NS"), Answer.ERROR, Fault.MISSING, "PID^1^3"),
        (adt("A04", "1\\Xff\\"), Answer.ERROR, Fault.DATA_TYPE, "PID^1^3^1"),
        (adt("A04", "1\\.sp99999999999\\"), Answer.ERROR, Fault.DATA_TYPE, "PID^1^3^1"),
        (adt("A04", "1\\"), Answer.ERROR, Fault.DATA_TYPE, "PID^1^3^1"),
        (adt("A04", "1").replace(b"PID|", b"ZID|"), Answer.ERROR, Fault.SEQUENCE, "PID^1"),
        (a40("1", "2").replace(b"MRG|", b"ZRG|"), Answer.ERROR, Fault.SEQUENCE, "MRG^1"),
        (a40("1", "2") + b"MRG|3\r", Answer.ERROR, Fault.SEQUENCE, "MRG^2"),
        (a40("1", "2") + b"PID|||3\rMRG|4\r", Answer.ERROR, Fault.SEQUENCE, "PID^2"),
        (a40("1", ""), Answer.ERROR, Fault.MISSING, "MRG^1^1"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(raw: bytes, answer: Answer, fault: Fault, location: str) -> None:
    wrong = refused(raw)
    assert (wrong.answer, wrong.fault, wrong.location) == (answer, fault, location)


def test_an_acknowledgement_answers_in_the_senders_words() -> None:
    header = hl7v2.read(adt("A04", "1"), "ascii").header
    lines = hl7v2.write_ack(header, Answer.ACCEPT, AT, "a-1").decode().split("\r")
    assert lines[0].split("|")[2:7] == ["INNSYN", "NODE", "ADT", "HOSPITAL", "20260302090000+0000"]
    assert lines[0].split("|")[8:] == ["ACK^A04", "a-1", "P", "2.3.1"]
    assert lines[1:] == ["MSA|AA|m-1", ""]


def test_a_negative_acknowledgement_says_where() -> None:
    wrong = refused(adt("A03", "1"))
    lines = hl7v2.write_ack(wrong.header, wrong.answer, AT, "a-1", wrong).decode().split("\r")
    assert lines[1:] == ["MSA|AR|m-1", "ERR||MSH^1^9^1^2|201^Unsupported event code^HL70357|E", ""]
    assert "1" not in str(wrong).replace("MSH^1^9^1^2", "")


def test_nothing_of_a_message_can_end_a_field_of_its_answer() -> None:
    raw = b"MSH#!*/%#A|AA|m#H#B#C#20260302##ADT!A04#m|1\x07#P#2.3.1\rPID###1\r"
    answer = hl7v2.write_ack(refused(raw).header, Answer.REJECT, AT, "a-1")
    assert answer.count(b"|AA|") == 0
    assert hl7v2.write_ack(Header(), Answer.REJECT, AT, "a-1").split(b"\r")[1] == b"MSA|AR|"


@given(st.binary(max_size=300) | st.text("MSHPIDMRGADT^A04A40|~\\&\r\n12.3 ", max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for attempt in (raw, adt("A04", "1") + raw, adt("A40", "1") + raw, b"MSH|^~\\&|" + raw):
        try:
            hl7v2.read(attempt, "iso8859-1")
        except Unacceptable as wrong:
            hl7v2.write_ack(wrong.header, wrong.answer, AT, "a-1", wrong)


def test_a_message_of_nothing_but_separators_is_refused_before_it_is_split() -> None:
    for separator in hl7v2.SEPARATORS:
        with pytest.raises(hl7v2.Unacceptable):
            hl7v2.read(b"MSH|^~\\&|" + separator * (hl7v2.MOST_SEPARATORS + 1), "latin-1")
