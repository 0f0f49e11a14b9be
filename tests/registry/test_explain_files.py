"""registry.explain.explanation: whatever the file is, the answer is one helpful sentence or the message in it."""

from __future__ import annotations

import ast
import gzip
import time
from pathlib import Path

import pytest

import ihe
from ihe.names import RIM, SOAP11, SOAP12, Action
from registry.explain.envelope import FAULTS
from registry.explain.explanation import JUDGES, Outcome
from registry.explain.found import MOST_PROBLEMS
from registry.explain.recognition import transaction
from registry.explain.rules import described_rules, sample_of
from registry.explain.unread import REASONS
from tests.registry.messages import ASK, FIND, PERSON, REGISTER, SUBMISSION, envelope, line_of, refusing, told

RAW = ASK.encode()
HEAD = (
    b'--b1\r\nContent-Type: application/xop+xml; charset=UTF-8; type="application/soap+xml"\r\n'
    b"Content-ID: <root@x>\r\n\r\n"
)
PACKAGE = HEAD + RAW + b"\r\n--b1--\r\n"
TYPE = 'multipart/related; type="application/xop+xml"; boundary="b1"; start="<root@x>"'


def http(body: bytes, content_type: str = "application/soap+xml; charset=UTF-8", **more: str) -> bytes:
    lines = ["POST /xds/registry HTTP/1.1", f"Content-Type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


STRANGE = {
    b"": "is empty",
    b" \n": "nothing but white space",
    gzip.compress(RAW, mtime=0): "gunzip -c FILE | innsyn explain -",
    b"%PDF-1.7\n": "a PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>": "an HTML page, '502 Bad Gateway'",
    b"<html><body>no</body></html>": "an HTML page",
    b'{"resourceType": "Bundle"}': "is JSON",
    b"MSH|^~\\&|": "ITI-8",
    b"Hei du": "is neither XML nor a multipart package nor an HTTP request",
    ASK.encode("utf-16-le"): "UTF-16 without a byte order mark",
    ASK.encode("utf-32"): "is UTF-32",
    bytes(range(1, 200)) + b"\x00": "is binary",
    b"\x16\x03\x01\x02\x00": "TLS",
    b"HTTP/1.1 200 OK\r\n\r\n<a/>": "an HTTP answer",
    http(b""): "an empty body",
    http(gzip.compress(RAW, mtime=0), Content_Encoding="gzip"): "Content-Encoding gzip",
    http(b"1a\r\n<x", Transfer_Encoding="chunked"): "HTTP chunks",
    b"Content-Type: text/xml\r\nHost: x": "no body",
    b"<definitions xmlns='http://schemas.xmlsoap.org/wsdl/'/>": "its root is definitions in the namespace http",
    b"<a>" + b"x" * 10_000_000 + b"</a>": "refuses what is larger than any honest request",
    b"y" * 10_000_000: "is neither XML nor",
    b"<" * 64 * 1024 * 1024 + b"<": "is larger than 64 MiB",
}


@pytest.mark.parametrize("raw", STRANGE, ids=lambda each: repr(each[:20]))
def test_what_is_no_message_gets_one_sentence_that_says_what_it_is(raw: bytes) -> None:
    begun = time.perf_counter()
    found = told(raw)
    assert found.outcome is Outcome.UNREADABLE
    assert STRANGE[raw] in found.sentence
    assert "\n" not in found.sentence
    assert time.perf_counter() - begun < 5


READABLE = [
    RAW,
    b"\xef\xbb\xbf" + RAW,
    ASK.replace('encoding="UTF-8"', 'encoding="UTF-16"').encode("utf-16"),
    ASK.replace("\n", "\r\n").encode(),
    FIND.encode(),
    http(RAW),
    http(RAW).replace(b"\r\n", b"\n"),
    http(RAW, Host="example.org", SOAPAction='""').partition(b"\r\n")[2],
    PACKAGE,
    PACKAGE.replace(b"\r\n", b"\n"),
    PACKAGE.replace(b"\r\n", b" \r\n"),
    http(PACKAGE, TYPE),
]


@pytest.mark.parametrize("raw", READABLE, ids=lambda each: repr(each[:30]))
def test_a_message_is_found_in_whatever_it_was_saved_as(raw: bytes) -> None:
    found = told(raw)
    assert (found.outcome, found.transaction, found.problems) == (Outcome.ACCEPTED, "ITI-18", ())
    assert dict(found.understood)["Query"] == "FindDocuments, returning LeafClass"


def test_lines_are_those_of_the_file_also_below_header_lines() -> None:
    wrong = ASK.replace("LeafClass", "All")
    for raw in (http(wrong.encode()), http(HEAD + wrong.encode() + b"\r\n--b1--\r\n", TYPE)):
        (problem,) = told(raw).problems
        assert problem.line == line_of(raw.decode(), "All")


UNREAD = {
    RAW.replace(b"&amp;2.16", b"&2.16"): ("xml-well-formed", "15837510047", "&amp;2.16.578.1.12.4.1.4.1&amp;ISO"),
    RAW.replace(b"</rim:AdhocQuery>", b""): ("xml-well-formed", "</query:AdhocQueryRequest>", ""),
    b"\n" + RAW: ("xml-well-formed", "<?xml", "what stands before"),
    ASK.replace("LeafClass", "Læ").encode("latin-1"): ("xml-utf-8", "L\xe6", "in UTF-8"),
    RAW.replace(b"UTF-8", b"latin-1"): ("xml-encoding", "latin-1", 'encoding="UTF-8"'),
    RAW.replace(b"<soap12:Envelope", b"<!DOCTYPE x><soap12:Envelope"): ("xml-doctype", "<!DOCTYPE", "leave it out"),
    RAW.replace(b"<soap12:Envelope", b"<?style x?><soap12:Envelope"): ("xml-instruction", "<?style", "leave it out"),
    PACKAGE.replace(b"\r\n--b1--", b""): ("mime-end", "", "--b1--"),
    http(PACKAGE, TYPE.replace("b1", "b2")): ("mime-end", "", ""),
    http(PACKAGE, TYPE.replace("root@x", "other@x")): ("mime-root", "", ""),
}


@pytest.mark.parametrize("raw", UNREAD, ids=lambda each: repr(each[:30]))
def test_bytes_that_cannot_be_read_are_told_with_their_place_and_cure(raw: bytes) -> None:
    rule, at, fix = UNREAD[raw]
    found = told(raw)
    (problem,) = found.problems
    assert found.outcome is Outcome.UNREADABLE
    assert problem.rule == rule
    assert problem.explanation in found.sentence
    assert fix in str(problem.fix or "")
    assert problem.line == (line_of(raw.decode("latin-1"), at) if at else None)
    assert PERSON not in str(found)


def test_wrong_namespaces_are_told_with_the_right_one() -> None:
    older = told(ASK.replace(SOAP12, SOAP11))
    assert [(each.rule, str(each.fix)) for each in older.problems] == [
        ("envelope-version", f'write the attribute as: xmlns:soap12="{SOAP12}"')
    ]
    assert older.understood, "the body is explained all the same"
    (problem,) = told(ASK.replace("xsd:query:3.0", "xsd:query:2.1")).problems
    assert (problem.rule, problem.line) == ("body-element", line_of(ASK, "AdhocQueryRequest"))
    assert "xsd:query:3.0" in str(problem.fix)
    (problem,) = told(ASK.replace("xsd:rim:3.0", "xsd:rim:2.1")).problems
    assert (problem.rule, str(problem.fix)) == ("schema", f'write the attribute as: xmlns:rim="{RIM}"')


def test_several_faults_of_an_envelope_are_told_at_once() -> None:
    wrong = ASK.replace(f'<wsa:Action soap12:mustUnderstand="1">{Action.QUERY.value}</wsa:Action>', "")
    wrong = wrong.replace("addressing/anonymous", "addressing/me").replace(SOAP12, SOAP11)
    assert [each.rule for each in told(wrong).problems] == ["envelope-version", "header-action", "header-reply-to"]


def test_an_include_that_leads_nowhere_is_found_with_the_parts_there_are() -> None:
    include = b'<xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" href="cid:b@x"/>'
    value = FIND.encode().partition(b"<rim:Value>")[2].partition(b"</rim:Value>")[0]
    part = b"\r\n--b1\r\nContent-ID: <a@x>\r\n\r\nabc\r\n--b1--\r\n"
    found = told(http(PACKAGE.replace(value, include).replace(b"\r\n--b1--\r\n", part), TYPE))
    problem = next(each for each in found.problems if each.rule == "xop-part")
    assert (problem.found, problem.expected) == ("cid:b@x", "one of the parts a@x")
    assert problem.line


def test_a_part_that_nothing_refers_to_is_noted() -> None:
    part = b"\r\n--b1\r\nContent-ID: <a@x>\r\n\r\nabc\r\n--b1--\r\n"
    found = told(http(PACKAGE.replace(b"\r\n--b1--\r\n", part), TYPE))
    assert found.outcome is Outcome.ACCEPTED
    assert found.notes == ("no xop:Include refers to the part a@x: it is passed over",)


def test_an_answer_is_no_question() -> None:
    answer = '<rs:RegistryResponse xmlns:rs="urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0" status="x"/>'
    for raw in (answer, envelope(answer, Action.QUERY)):
        found = told(raw)
        assert found.outcome is Outcome.UNREADABLE
        assert "is an answer, RegistryResponse" in found.sentence


def test_every_transaction_is_recognised_by_any_name_it_goes_by() -> None:
    for action in Action:
        assert transaction(action.value) is action
    assert transaction("ITI-42") is transaction("iti42") is transaction("42") is Action.REGISTER
    assert transaction("ITI-92") is Action.RESTRICTED_UPDATE
    assert transaction("FHIR") is None
    assert {action.transaction for action in JUDGES} == {f"ITI-{n}" for n in (18, 42, 43, 51, 57, 61, 62, 92)}


def test_problems_are_bounded_and_the_rest_is_counted() -> None:
    slots = "".join(f'<Slot name="s{n}"><ValueList><Value>x</Value></ValueList></Slot>' for n in range(250))
    found = told(SUBMISSION.replace("<Name><LocalizedString xml:lang", f"{slots}<Name><LocalizedString xml:lang"))
    assert (len(found.problems), found.more) == (MOST_PROBLEMS, 150)
    assert "250 problems" in found.sentence


def test_patients_are_masked_unless_asked_for_and_still_told_apart() -> None:
    other = SUBMISSION.replace(PERSON, "02911160008").replace("02911160008", PERSON, 2)
    masked = told(other)
    assert PERSON not in str(masked)
    assert "02911160008" not in str(masked)
    problem = next(each for each in masked.problems if each.rule == "one-patient")
    assert problem.expected != problem.found
    assert {problem.expected[:11], problem.found[:11]} == {"(patient 1)", "(patient 2)"}
    assert PERSON in str(told(other, show_patients=True))
    assert "patient (patient 1)^^^&2.16.578.1.12.4.1.4.1&ISO" in dict(told(REGISTER).understood)["SubmissionSet Set1"]


def test_good_news_are_told_with_what_was_understood() -> None:
    found = told(REGISTER)
    assert found.sentence == "ITI-42 with 1 entry, 1 folder, 4 associations: a node would accept it."
    assert "title Epikrise" in dict(found.understood)["DocumentEntry Doc1"]
    assert dict(found.understood)["Associations"] == "4 x HasMember"
    assert "known-patient" in dict(found.unchecked)


def _raised(file: str, name: str) -> set[str]:
    """The texts with which a module of ihe calls `name`."""
    tree = ast.parse((Path(ihe.__file__ or "").parent / file).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name]
    texts = [each.value for node in calls for each in node.args if isinstance(each, ast.Constant)]
    return {each for each in texts if isinstance(each, str) and " " in each}


def test_every_reason_of_the_readers_has_an_explanation() -> None:
    envelopes = ("envelope.py", "soap.py")
    faults = {each for file in envelopes for name in ("sender", "SoapFault") for each in _raised(file, name)}
    assert faults - FAULTS.keys() == set()
    reasons = {each for file in ("xml.py", "mtom.py", "mime.py", "envelope.py") for each in _raised(file, "Mangled")}
    assert {each for each in reasons if not any(each.startswith(known) for known in REASONS)} == set()


def test_every_rule_that_is_told_can_be_looked_up() -> None:
    rules = described_rules()
    assert {"data-type", "query-value", "header-action", "xop-part", "schema", "update-once"} <= rules.keys()
    assert all(each.explanation and each.section for each in rules.values())
    assert sample_of("data-type") is not None
    assert sample_of("query-value") is None


def test_a_body_in_a_log_or_a_wrapper_is_found() -> None:
    found = told(f"<TestResults>{FIND}</TestResults>")
    assert found.outcome is Outcome.ACCEPTED
    assert "found inside TestResults" in found.notes[0]
    name = "ProvideAndRegisterDocumentSetRequest"
    told_of = told(f'<x:{name} xmlns:x="urn:ihe:iti:xds-b:2007">{SUBMISSION}</x:{name}>')
    assert [each.rule for each in refusing(told_of)] == ["transaction"]
    assert "ITI-41" in told_of.problems[0].expected
