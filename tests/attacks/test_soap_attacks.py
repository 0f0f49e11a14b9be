"""Hostile envelopes and headers, row by row (S01-S16): nothing is executed for any of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ihe import soap
from ihe.errors import FaultCode, Subcode
from ihe.names import DS, SOAP11, SOAP12, WSA, WSA_ANONYMOUS, WSSE, Action
from tests.ihe.messages import (
    ACTION,
    BODIES,
    HEADERS,
    ID,
    MESSAGE_ID,
    QUERY_BODY,
    REPLY_TO,
    SERVED,
    SIMPLE,
    envelope,
    fault_of,
    security,
    told,
)

NEXT, NONE = f"{SOAP12}/role/next", f"{SOAP12}/role/none"
ULTIMATE = f"{SOAP12}/role/ultimateReceiver"


@dataclass(frozen=True)
class Row:
    name: str
    raw: bytes
    code: FaultCode | None = FaultCode.SENDER
    subcode: Subcode | None = None
    problem: str = ""
    relates_to: str = MESSAGE_ID


def unknown(must: str, role: str | None = None) -> bytes:
    given = "" if role is None else f' soap12:role="{role}"'
    return envelope(f'{HEADERS}<v:Odd xmlns:v="urn:v" soap12:mustUnderstand="{must}"{given}/>')


HEADER, BODY = f"<soap12:Header>{HEADERS}</soap12:Header>", f"<soap12:Body>{QUERY_BODY}</soap12:Body>"
MUST, VERSION = FaultCode.MUST_UNDERSTAND, FaultCode.VERSION_MISMATCH
ENCODED = QUERY_BODY.replace(" xmlns:rim", ' soap12:encodingStyle="urn:x" xmlns:rim')
ARRAY = '<rim:AdhocQuery xmlns:e="http://www.w3.org/2003/05/soap-encoding" e:arraySize="99999999"'
TWICE, INVALID = Subcode.INVALID_CARDINALITY, Subcode.INVALID_HEADER
FAILED = Subcode.FAILED_CHECK


def tree(name: str, inner: str) -> Row:
    return Row(name, envelope(inner=inner), relates_to="")


def wsa(name: str) -> str:
    return f"{{{WSA}}}{name}"


def reply_to(address: str, name: str = "ReplyTo") -> bytes:
    return envelope(ACTION + ID + f"<wsa:{name}><wsa:Address>{address}</wsa:Address></wsa:{name}>")


ROWS = [
    Row("S01 SOAP 1.1", envelope().replace(SOAP12.encode(), SOAP11.encode()), VERSION, relates_to=""),
    Row("S01 unknown", envelope().replace(SOAP12.encode(), b"urn:x"), VERSION, relates_to=""),
    Row("S01 no namespace", b"<Envelope/>", VERSION, relates_to=""),
    Row("S01 no envelope", b"<html/>", relates_to=""),
    Row("S02 must understand 1", unknown("1"), MUST, problem="{urn:v}Odd"),
    Row("S02 must understand true", unknown(" true "), MUST, problem="{urn:v}Odd"),
    Row("S02 before addressing", envelope(HEADERS + ACTION + '<v:O xmlns:v="urn:v" soap12:mustUnderstand="1"/>'), MUST,
        problem="{urn:v}O"),
    Row("S02 neither true nor false", unknown("yes")),
    Row("S02 must understand 0", unknown("0"), None),
    Row("S03 next", unknown("1", NEXT), MUST, problem="{urn:v}Odd"),
    Row("S03 ultimate receiver", unknown("1", ULTIMATE), MUST, problem="{urn:v}Odd"),
    Row("S03 empty", unknown("1", ""), MUST, problem="{urn:v}Odd"),
    Row("S03 none", unknown("1", NONE), None),
    Row("S03 foreign", unknown("1", "urn:somebody"), None),
    Row("S03 action of somebody else", envelope(ACTION.replace(" ", ' soap12:role="urn:x" ', 1) + ID),
        subcode=Subcode.HEADER_REQUIRED, problem=wsa("Action")),
    Row("S04 Action twice", envelope(HEADERS + ACTION), subcode=TWICE, problem=wsa("Action")),
    Row("S04 Action twice by role", envelope(HEADERS + ACTION.replace(" ", f' soap12:role="{NONE}" ', 1)),
        subcode=TWICE, problem=wsa("Action")),
    Row("S04 MessageID twice", envelope(HEADERS + ID), subcode=TWICE, problem=wsa("MessageID"), relates_to=""),
    Row("S04 ReplyTo twice", envelope(HEADERS + REPLY_TO), subcode=TWICE, problem=wsa("ReplyTo")),
    Row("S04 To twice", envelope(HEADERS + "<wsa:To>a</wsa:To><wsa:To>b</wsa:To>"), subcode=TWICE, problem=wsa("To")),
    Row("S04 Security twice", envelope(HEADERS + security() * 2), subcode=FAILED),
    Row("S04 Security twice by role",
        envelope(HEADERS + security() + f'<w:Security xmlns:w="{WSSE}" soap12:role="{NONE}"/>'), subcode=FAILED),
    tree("S05 two Header", HEADER * 2 + BODY),
    tree("S05 two Body", HEADER + BODY * 2),
    tree("S05 two children", HEADER + f"<soap12:Body>{QUERY_BODY}{QUERY_BODY}</soap12:Body>"),
    tree("S05 Body before Header", BODY + HEADER),
    tree("S05 element after Body", HEADER + BODY + '<v:x xmlns:v="urn:v"/>'),
    tree("S05 element before Header", '<v:x xmlns:v="urn:v"/>' + HEADER + BODY),
    tree("S05 text in Body", HEADER + f"<soap12:Body>x{QUERY_BODY}</soap12:Body>"),
    tree("S05 text after the child", HEADER + f"<soap12:Body>{QUERY_BODY}x</soap12:Body>"),
    tree("S05 text in Envelope", HEADER + "x" + BODY),
    Row("S05 text in Header", envelope(HEADERS + "x")),
    tree("S05 no Body", HEADER),
    tree("S05 nothing", ""),
    tree("S05 Body of another namespace", HEADER + f'<v:Body xmlns:v="urn:v">{QUERY_BODY}</v:Body>'),
    Row("S05 header block without namespace", envelope(HEADERS + "<Odd/>")),
    Row("S06 empty Body", envelope(body=""), relates_to=""),
    Row("S06 Fault", envelope(body="<soap12:Fault><soap12:Code/></soap12:Fault>"), relates_to=""),
    *(
        Row(f"S07 {action.name} with the body of {other.transaction}",
            envelope(HEADERS.replace(Action.QUERY, action), BODIES[other]),
            subcode=Subcode.ACTION_MISMATCH, problem=wsa("Action"))
        for action in Action for other in BODIES if action.body != other.body
    ),
    Row("S07 local name in another namespace", envelope(body='<AdhocQueryRequest xmlns="urn:x"/>'),
        subcode=Subcode.ACTION_MISMATCH, problem=wsa("Action")),
    Row("S07 no Action", envelope(ID + REPLY_TO), subcode=Subcode.HEADER_REQUIRED, problem=wsa("Action")),
    Row("S07 no Header", envelope(inner=BODY), subcode=Subcode.HEADER_REQUIRED, problem=wsa("Action"), relates_to=""),
    Row("S07 unknown Action", envelope(HEADERS.replace(Action.QUERY, "urn:x")),
        subcode=Subcode.ACTION_NOT_SUPPORTED, problem="urn:x"),
    Row("S07 empty Action", envelope(HEADERS.replace(Action.QUERY, "")), subcode=Subcode.ACTION_NOT_SUPPORTED),
    Row("S07 elements in Action", envelope(HEADERS.replace(Action.QUERY, f"{Action.QUERY}<a/>")),
        subcode=INVALID, problem=wsa("Action")),
    *(
        Row(f"S09 {name} {address}", reply_to(address, name), subcode=Subcode.ONLY_ANONYMOUS, problem=wsa(name))
        for name in ("ReplyTo", "FaultTo")
        for address in ("http://127.0.0.1:22", "http://169.254.169.254", "mailto:a@b", "", WSA_ANONYMOUS + "x")
    ),
    Row("S09 no Address", envelope(ACTION + ID + "<wsa:ReplyTo/>"), subcode=INVALID, problem=wsa("ReplyTo")),
    Row("S09 two Addresses", envelope(HEADERS.replace("</wsa:ReplyTo>", "<wsa:Address>http://x</wsa:Address></wsa:ReplyTo>")),
        subcode=INVALID, problem=wsa("ReplyTo")),
    Row("S10 To another service", envelope(HEADERS + "<wsa:To>https://elsewhere.example.no/</wsa:To>"), None),
    Row("S11 no MessageID", envelope(ACTION + REPLY_TO), None),
    Row("S11 MessageID of 1 MiB", envelope(HEADERS.replace(MESSAGE_ID, "x" * 1024 * 1024)),
        subcode=INVALID, problem=wsa("MessageID"), relates_to=""),
    Row("S11 MessageID with line breaks", envelope(HEADERS.replace(MESSAGE_ID, "a\nb")),
        subcode=INVALID, problem=wsa("MessageID"), relates_to=""),
    Row("S11 MessageID with a hidden escape", envelope(HEADERS.replace(MESSAGE_ID, "a\N{RIGHT-TO-LEFT OVERRIDE}b")),
        subcode=INVALID, problem=wsa("MessageID"), relates_to=""),
    Row("S11 MessageID with elements", envelope(HEADERS.replace(MESSAGE_ID, "a<b/>")),
        subcode=INVALID, problem=wsa("MessageID"), relates_to=""),
    Row("S12 RelatesTo, From, others", envelope(HEADERS + "<wsa:RelatesTo>x</wsa:RelatesTo><wsa:From/>"), None),
    Row("S13 Timestamp", envelope(HEADERS + security('<u:Timestamp xmlns:u="urn:u"/>')), None),
    Row("S14 encodingStyle on the body's child", envelope(body=ENCODED), relates_to=""),
    Row("S14 encodingStyle in UTF-16", envelope(body=ENCODED).decode().encode("utf-16"), relates_to=""),
    Row("S14 array of 99 999 999", envelope(body=QUERY_BODY.replace("<rim:AdhocQuery", ARRAY)), relates_to=""),
    Row("S15 signature over the body", envelope(HEADERS + security(f'<d:Signature xmlns:d="{DS}"/>')), subcode=FAILED),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_a_hostile_envelope_has_the_answer_of_its_row(row: Row) -> None:
    fault = fault_of(row.raw)
    if row.code is None:
        assert fault is None
        return
    assert fault is not None
    assert (fault.code, fault.subcode, fault.problem) == (row.code, row.subcode, row.problem)
    assert fault.relates_to == row.relates_to
    assert told(fault) is not None


def test_every_refusal_of_a_security_header_says_the_same() -> None:
    reasons = {fault.reason for row in ROWS if row.subcode is FAILED and (fault := fault_of(row.raw))}
    assert reasons == {soap.SECURITY_REFUSED}


def test_a_security_header_of_somebody_else_is_no_token() -> None:
    raw = envelope(HEADERS + security().replace("soap12:mustUnderstand", f'soap12:role="{NONE}" soap12:mustUnderstand'))
    assert soap.read_call(raw, SIMPLE, SERVED).security is None


def test_a_fault_repeats_no_more_than_a_name() -> None:
    for row in ROWS:
        if (fault := fault_of(row.raw)) is not None:
            assert len(soap.write_fault(fault, soap.Packaging.SIMPLE).body) < 2500
    long = fault_of(envelope(HEADERS.replace(Action.QUERY, "urn:" + "x" * 100_000)))
    assert long is not None
    assert b"xxxx" not in soap.write_fault(long, soap.Packaging.SIMPLE).body
