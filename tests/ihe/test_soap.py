"""SOAP messages: any bytes become a call or a fault, and answers travel as their requests did."""

from __future__ import annotations

from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihe import mtom, soap, xml
from ihe.errors import FaultCode, Mangled, SoapFault, Subcode
from ihe.names import DS, QUERY, SOAP11, SOAP12, SOAP_FAULT, WSA, WSA_ANONYMOUS, WSA_FAULT, WSA_NONE, WSSE, XOP, Action
from ihe.soap import Packaging
from tests.ihe.messages import (
    HEADERS,
    ID,
    MESSAGE_ID,
    QUERY_BODY,
    SERVED,
    SIMPLE,
    envelope,
    fault_of,
    of,
    package,
    package_type,
    security,
    told,
)

NS = {"s": SOAP12, "a": WSA, "q": QUERY}


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("packaging", list(Packaging))
def test_a_request_is_read_the_same_in_both_packagings(action: Action, packaging: Packaging) -> None:
    raw, content_type = of(action), SIMPLE
    if packaging is Packaging.MTOM:
        raw, content_type = package(b"\r\n" + raw), package_type()
    call = soap.read_call(raw, content_type, SERVED)
    assert (call.action, call.message_id, call.packaging) == (action, MESSAGE_ID, packaging)
    assert call.body.tag == action.body
    assert call.security is None


def test_the_body_is_cut_out_of_its_envelope_and_the_security_header_stays_in_its_envelope() -> None:
    call = soap.read_call(envelope(HEADERS + security()), SIMPLE, SERVED)
    assert call.body.getparent() is None
    assert call.security is not None
    assert call.security.getroottree().getroot().tag == f"{{{SOAP12}}}Envelope"
    assert not list(call.security.getroottree().getroot().iter(call.body.tag))


def test_findings_in_a_body_keep_the_lines_of_the_message() -> None:
    body = QUERY_BODY.replace("<rim:AdhocQuery", "\n<rim:Wrong/>\n<rim:AdhocQuery")
    call = soap.read_call(envelope(body=body, before="<!-- one\ntwo\nthree -->\n"), SIMPLE, SERVED)
    (found,) = xml.schema("query").findings(call.body)
    assert found.line == 5
    assert found.path == "/query:AdhocQueryRequest/rim:Wrong"


@pytest.mark.parametrize(
    "headers",
    [
        HEADERS.replace(' soap12:mustUnderstand="1"', ""),
        HEADERS.replace("<wsa:ReplyTo>", '<wsa:ReplyTo soap12:mustUnderstand="true">'),
        HEADERS.replace("<wsa:ReplyTo>", '<wsa:ReplyTo soap12:role="">'),
        HEADERS.replace(Action.QUERY, f"\n  {Action.QUERY}\r\n"),
        HEADERS.replace(WSA_ANONYMOUS, f" {WSA_NONE} "),
        HEADERS.split("<wsa:ReplyTo>")[0],
        HEADERS + "<wsa:To>http://elsewhere/iti39</wsa:To><wsa:From><wsa:Address>x</wsa:Address></wsa:From>",
        HEADERS + "<wsa:RelatesTo>a</wsa:RelatesTo><wsa:RelatesTo>b</wsa:RelatesTo>",
        HEADERS + '<v:Context xmlns:v="urn:vendor" soap12:mustUnderstand="0">x</v:Context>',
        f'<wsa:Action xmlns:wsa="{WSA}">{Action.QUERY}</wsa:Action>' + ID,
    ],
)
def test_what_known_senders_write_is_read(headers: str) -> None:
    assert soap.read_call(envelope(headers), SIMPLE, SERVED).message_id == MESSAGE_ID


@pytest.mark.parametrize("message_id", ["A1B2", "urn:uuid:76A2C3D9BCD3AECFF31217932910053", "x" * 1024, "a b", "<&>"])
def test_a_message_id_is_opaque_and_comes_back_as_it_was(message_id: str) -> None:
    call = soap.read_call(envelope(HEADERS.replace(MESSAGE_ID, xml.escape_text(message_id))), SIMPLE, SERVED)
    assert call.message_id == message_id
    reply = xml.read(soap.write_reply(call, [b"<x/>"]).body)
    assert reply.findtext("s:Header/a:RelatesTo", None, NS) == message_id


def test_a_missing_message_id_is_answered_without_relates_to() -> None:
    call = soap.read_call(envelope(HEADERS.replace(ID, "")), SIMPLE, SERVED)
    assert call.message_id == ""
    assert b"RelatesTo" not in soap.write_reply(call, [b"<x/>"]).body


def test_a_reference_in_the_security_header_is_inlined_before_anybody_verifies() -> None:
    inside = (
        f'<ds:KeyInfo xmlns:ds="{DS}"><ds:X509Certificate>\n'
        f'<xop:Include xmlns:xop="{XOP}" href="cid:c%40x"/> </ds:X509Certificate></ds:KeyInfo>'
    )
    raw = package(envelope(HEADERS + security(inside)), b"Content-ID: <c@x>\r\n\r\n\x00\x01\xff")
    call = soap.read_call(raw, package_type(), SERVED)
    assert call.security is not None
    (certificate,) = call.security.iter(f"{{{DS}}}X509Certificate")
    assert (certificate.text, len(certificate)) == ("AAH/", 0)


def test_a_timestamp_is_left_for_those_who_know_the_time() -> None:
    stamp = '<wsu:Timestamp xmlns:wsu="urn:x"><wsu:Expires>2001-01-01T00:00:00Z</wsu:Expires></wsu:Timestamp>'
    call = soap.read_call(envelope(HEADERS + security(stamp)), SIMPLE, SERVED)
    assert call.security is not None
    assert len(call.security) == 2


def test_an_action_that_is_not_served_here_is_named_in_the_fault() -> None:
    fault = fault_of(of(Action.REGISTER), served=frozenset({Action.QUERY}))
    assert fault is not None
    assert (fault.code, fault.subcode, fault.relates_to) == (
        FaultCode.SENDER,
        Subcode.ACTION_NOT_SUPPORTED,
        MESSAGE_ID,
    )
    written = told(fault)
    assert written.findtext("s:Body/s:Fault/s:Detail/a:ProblemAction/a:Action", None, NS) == Action.REGISTER


@pytest.mark.parametrize("content_type", ["", "text/xml", "application/json", "multipart/form-data; boundary=a"])
def test_a_media_type_that_is_not_served_is_told_apart(content_type: str) -> None:
    assert soap.packaging_of(content_type) is None
    assert fault_of(of(Action.QUERY), content_type) is not None


def test_an_answer_travels_as_its_request_did() -> None:
    pieces = [b"<q:AdhocQueryResponse xmlns:q='urn:q'>", b"<a/>" * 3, b"</q:AdhocQueryResponse>"]
    simple = soap.read_call(of(Action.QUERY), SIMPLE, SERVED)
    packed = soap.read_call(package(of(Action.QUERY)), package_type(), SERVED)
    reply = soap.write_reply(simple, pieces)
    assert (reply.status, reply.content_type) == (200, SIMPLE)
    assert b"".join(pieces) in reply.body
    root = xml.read(reply.body)
    action = root.find("s:Header/a:Action", NS)
    assert action is not None
    assert (action.text, action.get(f"{{{SOAP12}}}mustUnderstand")) == (Action.QUERY.reply, "1")
    assert [header.tag for header in root[0]] == [f"{{{WSA}}}Action", f"{{{WSA}}}RelatesTo"]
    multipart = soap.write_reply(packed, pieces)
    assert multipart.status == 200
    assert mtom.read_package(multipart.body, multipart.content_type).root == reply.body


def test_a_boundary_cannot_be_put_into_an_answer_by_its_content() -> None:
    packed = soap.read_call(package(of(Action.QUERY)), package_type(), SERVED)
    first = soap.write_reply(packed, [b"<a/>"])
    boundary = mtom.parameters(first.content_type)[1]["boundary"]
    second = soap.write_reply(packed, [f"<a>\r\n--{boundary}--\r\n</a>".encode()])
    assert b"</a>" in mtom.read_package(second.body, second.content_type).root


FAULTS = [
    SoapFault(FaultCode.SENDER, "plain"),
    SoapFault(FaultCode.RECEIVER, "a < b & c", relates_to="<id>"),
    SoapFault(FaultCode.VERSION_MISMATCH, "old"),
    SoapFault(FaultCode.MUST_UNDERSTAND, "what", None, "{urn:x&y}header"),
    SoapFault(FaultCode.MUST_UNDERSTAND, "what", None, "{http://www.w3.org/XML/1998/namespace}header"),
    SoapFault(FaultCode.MUST_UNDERSTAND, "what", None, "{urn:x}" + "h" * 1000),
    *(SoapFault(FaultCode.SENDER, "why", subcode, f"{{{WSA}}}Action") for subcode in Subcode),
    SoapFault(FaultCode.SENDER, "why", Subcode.INVALID_HEADER, "{urn:x}y"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("packaging", list(Packaging))
def test_every_fault_is_a_valid_envelope_with_status_500(fault: SoapFault, packaging: Packaging) -> None:
    reply = soap.write_fault(fault, packaging)
    assert reply.status == 500
    body = reply.body
    if packaging is Packaging.MTOM:
        body = mtom.read_package(reply.body, reply.content_type).root
    root = xml.read(body)
    (written,) = root[1]
    assert xml.Schema.compile(resources.files("schemas"), "soap/envelope.xsd").findings(written) == ()
    assert written.findtext("s:Code/s:Value", None, NS) == f"soap12:{fault.code}"
    assert written.findtext("s:Reason/s:Text", None, NS) == fault.reason
    assert root.findtext("s:Header/a:RelatesTo", "", NS) == fault.relates_to
    subcodes = [value.text for value in written.findall(".//s:Subcode/s:Value", NS)]
    assert subcodes[-1:] == ([fault.subcode.value] if fault.subcode else [])
    prefixes = {value.partition(":")[0] for value in subcodes if value}
    assert prefixes <= {prefix for prefix in written.nsmap if prefix}
    assert written.nsmap["wsse"] == WSSE
    expected = WSA_FAULT if fault.subcode and fault.subcode.startswith("wsa:") else SOAP_FAULT
    assert root.findtext("s:Header/a:Action", None, NS) == expected


def test_what_a_fault_names_is_a_name_that_resolves() -> None:
    not_understood = told(SoapFault(FaultCode.MUST_UNDERSTAND, "what", None, "{urn:x}h")).find(".//s:NotUnderstood", NS)
    assert not_understood is not None
    prefix, _, local = (not_understood.get("qname") or "").partition(":")
    assert (not_understood.nsmap[prefix], local) == ("urn:x", "h")
    upgrade = told(SoapFault(FaultCode.VERSION_MISMATCH, "old")).find(".//s:SupportedEnvelope", NS)
    assert upgrade is not None
    prefix, _, local = (upgrade.get("qname") or "").partition(":")
    assert (upgrade.nsmap[prefix], local) == (SOAP12, "Envelope")
    problem = told(SoapFault(FaultCode.SENDER, "x", Subcode.HEADER_REQUIRED, f"{{{WSA}}}Action"))
    assert problem.findtext(".//a:ProblemHeaderQName", None, NS) == "wsa:Action"


def test_nested_subcodes_stand_where_ws_addressing_wants_them() -> None:
    root = told(SoapFault(FaultCode.SENDER, "twice", Subcode.INVALID_CARDINALITY, f"{{{WSA}}}To"))
    outer = root.find(".//s:Code/s:Subcode", NS)
    assert outer is not None
    assert outer.findtext("s:Value", None, NS) == "wsa:InvalidAddressingHeader"
    assert outer.findtext("s:Subcode/s:Value", None, NS) == "wsa:InvalidCardinality"


SEEDS = [
    (of(Action.QUERY), SIMPLE),
    (envelope(HEADERS + security()), SIMPLE),
    (
        package(of(Action.RETRIEVE), b"Content-ID: <c@x>\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJj"),
        package_type(),
    ),
    (of(Action.REGISTER).decode().encode("utf-16"), SIMPLE),
]
PIECES = st.one_of(
    st.binary(max_size=3),
    st.sampled_from(
        [
            b"<",
            b"/>",
            b"<?a?>",
            b"<!-- -->",
            b"&#0;",
            b"]]>",
            b"\r\n--b1",
            b"xmlns=''",
            b"soap12:role='x'",
            b"{",
            b"\x00\xd8",
        ]
    ),
)


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 40), PIECES), max_size=5),
    st.sampled_from(["", ";", '; boundary="b1"', "; charset=utf-7", "\x00"]),
)
def test_any_bytes_become_a_call_or_a_fault(
    seed: tuple[bytes, str], changes: list[tuple[int, int, bytes]], tail: str
) -> None:
    raw, content_type = seed
    for position, removed, added in changes:
        raw = raw[:position] + added + raw[position + removed :]
    fault = fault_of(raw, content_type + tail)
    if fault is not None:
        assert told(fault) is not None


@given(st.binary(max_size=300), st.text(max_size=60))
def test_even_bytes_that_are_nothing_become_a_fault(raw: bytes, content_type: str) -> None:
    for media in (content_type, SIMPLE, package_type()):
        assert fault_of(raw, media) is not None


def answered(header: str, body: str, namespace: str = SOAP12) -> bytes:
    inside = f"<e:Header>{header}</e:Header><e:Body>{body}</e:Body>"
    return f'<e:Envelope xmlns:e="{namespace}" xmlns:wsa="{WSA}">{inside}</e:Envelope>'.encode()


def test_a_hospitals_answer_gives_its_body_and_what_it_relates_to() -> None:
    answer = soap.read_answer(answered("<wsa:Action> urn:a </wsa:Action><wsa:RelatesTo>x</wsa:RelatesTo>", "<b/>"))
    assert (answer.action, answer.relates_to, answer.fault) == ("urn:a", "x", None)
    assert answer.body is not None
    assert answer.body.getparent() is None


@pytest.mark.parametrize(
    ("body", "namespace", "reason"),
    [
        ("<e:Fault><e:Reason><e:Text>No\nway</e:Text></e:Reason></e:Fault>", SOAP12, "No\N{REPLACEMENT CHARACTER}way"),
        ("<e:Fault><e:Code/></e:Fault>", SOAP12, "a fault without a reason"),
        ("<e:Fault><faultstring>old</faultstring></e:Fault>", SOAP11, "old"),
        (f"<e:Fault><e:Reason><e:Text>{'x' * 900}</e:Text></e:Reason></e:Fault>", SOAP12, "x" * 199 + "…"),
    ],
)
def test_a_hospitals_fault_is_known_by_its_element(body: str, namespace: str, reason: str) -> None:
    answer = soap.read_answer(answered("", body, namespace))
    assert (answer.body, answer.fault) == (None, reason)


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html/>", b"<Envelope/>", answered("", "<a/><b/>"), b"<!DOCTYPE html><html/>", answered("", "", "urn:x")],
)
def test_an_answer_that_is_no_envelope_is_refused(raw: bytes) -> None:
    with pytest.raises(Mangled):
        soap.read_answer(raw)


def test_an_outgoing_envelope_gets_what_ihe_asks_of_a_requester() -> None:
    sent = xml.read(envelope(HEADERS.replace(' soap12:mustUnderstand="1"', "").split("<wsa:ReplyTo>")[0]))
    soap.complete_headers(sent)
    marked = [header.tag for header in sent[0] if header.get(f"{{{SOAP12}}}mustUnderstand")]
    assert marked == [f"{{{WSA}}}Action"]
    assert sent.findtext("s:Header/a:ReplyTo/a:Address", None, NS) == WSA_ANONYMOUS
    soap.complete_headers(sent)
    assert len(sent.findall("s:Header/a:ReplyTo", NS)) == 1
    bare = xml.read(envelope(HEADERS.split("<wsa:ReplyTo>")[0]))
    soap.complete_headers(bare, reply_to=False)
    assert bare.find("s:Header/a:ReplyTo", NS) is None
    with pytest.raises(ValueError, match="Action"):
        soap.complete_headers(xml.read(envelope("")))
