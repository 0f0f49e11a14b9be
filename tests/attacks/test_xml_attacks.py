"""Hostile XML, row by row (X01-X30): each row has exactly one answer, and nothing is fetched or executed for it."""

from __future__ import annotations

import gzip
import time
from dataclasses import dataclass

import pytest

from ihe import soap, xml
from ihe.errors import FaultCode, Mangled
from ihe.names import RIM, XSI
from tests.ihe.messages import (
    HEADERS,
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

READ = "read"
SENDER = "SENDER"
SCHEMA = "read, then a schema finding"


@dataclass(frozen=True)
class Row:
    name: str
    raw: bytes
    expected: str = SENDER
    reason: str = ""


MESSAGE = envelope()


def dtd(inside: str, value: str = "&x;") -> bytes:
    return envelope(body=QUERY_BODY.replace("15837510047", value), before=f"<!DOCTYPE e {inside}>")


def within(inside: str) -> bytes:
    """The message with something more inside the AdhocQuery."""
    return envelope(body=QUERY_BODY.replace("</rim:AdhocQuery>", inside + "</rim:AdhocQuery>"))


def value(raw: str) -> bytes:
    return MESSAGE.replace(b"15837510047", raw.encode("utf-8", "surrogatepass"))


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
DOCTYPE = "a document type declaration is not accepted"
INSTRUCTION = "a processing instruction is not accepted"
DECLARED = '<?xml version="1.0" encoding="{}"?>'

ROWS = [
    Row("X01 external entity", dtd('[<!ENTITY x SYSTEM "file:///etc/passwd">]'), reason=DOCTYPE),
    Row("X02 parameter entity", dtd('[<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]', "1"), reason=DOCTYPE),
    Row("X03 external subset", dtd('SYSTEM "http://127.0.0.1:9/x.dtd"', "1"), reason=DOCTYPE),
    Row("X04 internal entity in a value", dtd('[<!ENTITY x "y">]', "a&x;b"), reason=DOCTYPE),
    Row("X04 entity that nobody declared", value("a&x;b")),
    Row("X05 laughs", dtd(f'[<!ENTITY l0 "ha">{LAUGHS}]', "&l9;"), reason=DOCTYPE),
    Row("X06 quadratic", dtd(f'[<!ENTITY x "{"a" * 100_000}">]', "&x;" * 5000), reason=DOCTYPE),
    Row("X07 laughs in an attribute default", dtd(f'[<!ENTITY l0 "ha">{LAUGHS}<!ATTLIST a b CDATA "&l9;">]', "1")),
    Row("X08 defaulted namespace", dtd('[<!ATTLIST rim:Slot xmlns:rim CDATA "urn:x">]', "1"), reason=DOCTYPE),
    Row("X09 entity loop", dtd('[<!ENTITY x "&y;"><!ENTITY y "&x;">]'), reason=DOCTYPE),
    Row("X08 declaration in UTF-16", dtd('[<!ATTLIST a xmlns:s CDATA "urn:x">]', "1").decode().encode("utf-16")),
    *(
        Row(f"X10 nested {depth}", within("<a>" * (depth - 4) + "</a>" * (depth - 4)), SCHEMA if depth < 65 else SENDER)
        for depth in (64, 65, 256, 257, 100_000)
    ),
    Row("X11 attribute of 10 MiB", within(f'<a b="{"x" * (10 * xml.MiB + 1)}"/>'), reason="message too large"),
    Row("X12 text of 11 MiB", value("x" * 11 * xml.MiB), reason="message too large"),
    Row("X13 attributes", within("<a " + " ".join(f'a{i}=""' for i in range(200_000)) + "/>"), reason="attributes"),
    Row(
        "X13 one attribute too many",
        within("<a " + " ".join(f'a{i}=""' for i in range(257)) + "/>"),
        reason="attributes",
    ),
    Row("X14 siblings", within("<a/>" * 1_000_000), reason="message too large"),
    Row("X14 siblings in 2 MiB", within("<a/>" * 400_000), reason="too many elements"),
    Row("X14 one element too many", within("<a/>" * 50_000), reason="too many elements"),
    Row(
        "X15 declarations",
        within("<a " + " ".join(f'xmlns:a{i}="u"' for i in range(20_000)) + "/>"),
        reason="namespace",
    ),
    Row(
        "X15 nested declarations",
        within("".join(f'<a xmlns:a{i}="u">' for i in range(200)) + "</a>" * 200),
        reason="too deeply nested",
    ),
    Row("X16 name of 60 000 characters", within(f"<{'a' * 60_000}/>")),
    Row("X16 name of 20 000 000 characters", within(f"<{'a' * 20_000_000}/>"), reason="message too large"),
    Row("X17 instruction before the root", envelope(before='<?xml-stylesheet href="x"?>'), reason=INSTRUCTION),
    Row("X17 instruction after the declaration", b'<?xml version="1.0"?><?a b?>' + MESSAGE, reason=INSTRUCTION),
    Row("X17 instruction in the body", within("<?php x ?>"), reason=INSTRUCTION),
    Row("X17 instruction in a value", value("1<?a?>2"), reason=INSTRUCTION),
    Row("X17 instruction after the root", MESSAGE + b"<?a b?>", reason=INSTRUCTION),
    Row("X18 UTF-7", DECLARED.format("UTF-7").encode() + value("+ADw-"), reason="declared encoding"),
    Row("X19 UTF-16 with mark", MESSAGE.decode().encode("utf-16"), READ),
    Row("X19 UTF-16 without mark", MESSAGE.decode().encode("utf-16-le")),
    Row("X19 UTF-16 declared on UTF-8", DECLARED.format("UTF-16").encode() + MESSAGE, reason="declared encoding"),
    Row("X20 UTF-32", MESSAGE.decode().encode("utf-32"), reason="not UTF-8"),
    Row("X20 EBCDIC", MESSAGE.decode().encode("cp500")),
    Row("X20 Latin-1 declared under a mark", b"\xef\xbb\xbf" + DECLARED.format("ISO-8859-1").encode() + MESSAGE),
    Row("X21 invalid byte", MESSAGE.replace(b"15837510047", b"\xff"), reason="not UTF-8"),
    Row("X21 overlong", MESSAGE.replace(b"15837510047", b"\xc0\xbc"), reason="not UTF-8"),
    Row("X21 surrogate", value("\ud800"), reason="not UTF-8"),
    Row("X21 NUL", value("\x00")),
    Row("X21 NUL by reference", value("&#0;")),
    Row("X21 backspace by reference", value("&#8;")),
    Row(
        "X23 XInclude",
        within('<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>'),
        SCHEMA,
    ),
    Row(
        "X23 schema location",
        envelope(
            body=QUERY_BODY.replace(
                " xmlns:rim", f' xmlns:i="{XSI}" i:schemaLocation="a http://127.0.0.1:9/" xmlns:rim'
            )
        ),
        READ,
    ),
    Row("X24 two roots", MESSAGE * 2),
    Row("X24 trailing garbage", MESSAGE + b"x"),
    Row("X24 space before the declaration", b" " + DECLARED.format("UTF-8").encode() + MESSAGE),
    Row("X24 empty", b""),
    Row("X24 only white space", b" \r\n"),
    Row("X25 duplicate attribute", within('<a b="1" b="2"/>')),
    Row("X25 one attribute by two prefixes", within('<a xmlns:p="u" xmlns:q="u" p:b="1" q:b="2"/>')),
    Row("X25 duplicate xml:id", within('<a xml:id="x"/><a xml:id="x"/>')),
    Row("X25 unbound prefix", within("<q:a/>")),
    Row("X25 XML 1.1", b'<?xml version="1.1"?>' + MESSAGE),
    Row("X26 comment in a value", value("15837<!-- -->510047"), READ),
    Row("X27 CDATA", value("<![CDATA[15837510047]]>"), READ),
    Row("X27 CDATA around markup", value("<![CDATA[<?a?><b>&x;</b>]]>"), READ),
    Row("X28 gzip", gzip.compress(MESSAGE)),
    Row("X29 relative namespace", within('<a xmlns="1"/>'), SCHEMA),
    Row(
        "X30 SOAP references",
        envelope(body=QUERY_BODY.replace("<rim:AdhocQuery ", '<rim:AdhocQuery href="#id" ')),
        SCHEMA,
    ),
    Row("foreign type", within(f'<rim:Slot name="a" xmlns:i="{XSI}" i:type="rim:RegistryObjectType"/>'), SCHEMA),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_hostile_xml_has_the_answer_of_its_row(row: Row) -> None:
    began = time.process_time()
    fault = fault_of(row.raw)
    assert time.process_time() - began < 0.2
    if row.expected is SENDER:
        assert fault is not None
        assert (fault.code, fault.subcode, fault.problem) == (FaultCode.SENDER, None, "")
        assert row.reason in fault.reason
        assert told(fault) is not None
    else:
        assert fault is None
        found = xml.schema("query").findings(soap.read_call(row.raw, SIMPLE, SERVED).body)
        assert bool(found) is (row.expected is SCHEMA)


@pytest.mark.parametrize("name", ["X26 comment in a value", "X27 CDATA", "X19 UTF-16 with mark"])
def test_another_spelling_of_a_value_is_the_same_value(name: str) -> None:
    (raw,) = (row.raw for row in ROWS if row.name == name)
    told_apart = [
        xml.text(soap.read_call(each, SIMPLE, SERVED).body.find(f".//{{{RIM}}}Value")) for each in (raw, MESSAGE)
    ]
    assert told_apart[0] == told_apart[1] == "'15837510047^^^&2.16.578.1.12.4.1.4.1&ISO'"


@pytest.mark.parametrize("charset", ["unicode_escape", "rot13", "nope", "utf-7", '"utf- 8"'])
def test_x22_the_charset_of_a_media_type_is_never_used_to_decode(charset: str) -> None:
    assert fault_of(MESSAGE, f"application/soap+xml; charset={charset}") is None


def test_x23_a_reference_out_of_the_message_brings_nothing_in() -> None:
    (raw,) = (row.raw for row in ROWS if row.name == "X23 XInclude")
    assert b"root:" not in xml.write(soap.read_call(raw, SIMPLE, SERVED).body)


def test_an_attack_in_a_header_is_refused_like_one_in_the_body() -> None:
    for inside in ("<?a?>", "<a>" * 70 + "</a>" * 70, "&x;"):
        assert fault_of(envelope(HEADERS + security(inside))) is not None


def test_no_refusal_repeats_what_was_sent() -> None:
    for row in ROWS:
        if row.expected is SENDER and len(row.raw) < 100_000:
            with pytest.raises(Mangled) as refused:
                xml.read(row.raw)
            assert not any(word in str(refused.value) for word in ("passwd", "127.0.0.1", "15837510047", "ha", "php"))


def test_hostile_messages_are_hostile_in_every_packaging() -> None:
    for row in ROWS:
        if row.expected is SENDER and len(row.raw) < 100_000 and row.name != "X24 space before the declaration":
            assert fault_of(package(row.raw), package_type()) is not None, row.name
    assert fault_of(package(of(next(iter(SERVED)))), package_type()) is None
