"""Hostile packages, row by row (M01-M13), as a caller sends them: read whole or refused, and nothing is fetched."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass

import pytest

from ihe import mtom, soap
from ihe.errors import FaultCode, Mangled
from ihe.names import XOP, Action
from tests.ihe.messages import HEADERS, SERVED, envelope, fault_of, of, package, package_type, security

ROOT = of(Action.RETRIEVE)


@dataclass(frozen=True)
class Row:
    name: str
    raw: bytes
    content_type: str = package_type()
    read: bool = False
    reason: str = ""


def part(headers: str, content: bytes = b"x") -> bytes:
    return headers.encode("latin-1") + b"\r\n\r\n" + content


def typed(**changed: str) -> str:
    given = {"type": '"application/xop+xml"', "boundary": '"b1"', "start": '"<root@x>"'} | changed
    return "multipart/related; " + "; ".join(f"{name}={value}" for name, value in given.items() if value)


def including(include: str, around: str = "{}") -> bytes:
    held = f'<v:Held xmlns:v="urn:v" xmlns:xop="{XOP}">{around.format(include)}</v:Held>'
    return envelope(HEADERS + security(held))


def include(href: str, inside: str = "") -> str:
    return f'<xop:Include href="{href}">{inside}</xop:Include>'


def many(number: int) -> bytes:
    return including(f"<v:A>{include('cid:d1@x')}</v:A>" * number)


ONE = part("Content-ID: <d1@x>")
THREE = part("Content-ID: <d3@x>", b"z" * 2_000)
NESTED = b"".join(b"--n%d\r\nContent-Type: multipart/mixed; boundary=n%d\r\n\r\n" % (i, i + 1) for i in range(2000))
HEAD = "Content-Type: application/xop+xml\r\nContent-ID: <root@x>"

ROWS = [
    Row("read", package(ROOT, ONE), read=True),
    Row("M01 no boundary", package(ROOT), typed(boundary=""), reason="boundary"),
    Row("M01 empty boundary", package(ROOT), typed(boundary='""'), reason="boundary"),
    Row("M01 boundary of 70", package(ROOT, boundary="b" * 70), typed(boundary="b" * 70), read=True),
    Row("M01 boundary of 71", package(ROOT, boundary="b" * 71), typed(boundary="b" * 71), reason="boundary"),
    Row("M01 boundary with quotes", package(ROOT, boundary='b"1'), typed(boundary='"b\\"1"'), reason="boundary"),
    Row("M01 boundary with a line break", package(ROOT), typed(boundary='"b1\r\n"'), reason="control"),
    Row("M01 boundary ending in a blank", package(ROOT, boundary="b1 "), typed(boundary='"b1 "'), reason="boundary"),
    Row("M01 two boundaries", package(ROOT), typed() + "; Boundary=b2", reason="twice"),
    Row("M02 near-boundary in a part", package(ROOT, part("X: y", b"\r\n--b\r\n--b2\r\r\n--")), read=True),
    Row("M03 256 parts", package(ROOT, *[part("X: y")] * 255), read=True),
    Row("M03 257 parts", package(ROOT, *[part("X: y")] * 256)),
    Row("M03 20 001 parts", package(ROOT, *[part("X: y")] * 20_000)),
    Row("M04 header line of 1 MiB", package(ROOT, part("X: " + "y" * 1_048_576))),
    Row("M04 1000 headers", package(ROOT, part("\r\n".join(f"X{i}: y" for i in range(1000))))),
    Row("M04 headers of 9 KiB", package(ROOT, part("\r\n".join(f"X{i}: " + "y" * 1000 for i in range(9)))),
        reason="headers"),
    Row("M04 NUL", package(ROOT, part("X: \x00")), reason="control"),
    Row("M04 folded", package(ROOT, part("X: a\r\n b"))),
    Row("M04 non-ASCII", package(ROOT, part("X: \xe5"))),
    Row("M04 two Content-ID", package(ROOT, part("Content-ID: <a@x>\r\nContent-Id: <b@x>")), reason="twice"),
    Row("M04 two Content-Type", package(ROOT, part("Content-Type: a/b\r\ncontent-type: c/d")), reason="twice"),
    Row("M04 no colon", package(ROOT, part("X"))),
    Row("M05 no Content-ID", package(ROOT, part("Content-Type: a/b")), read=True),
    Row("M05 same Content-ID", package(ROOT, ONE, ONE), reason="occurs twice"),
    Row("M05 the root's Content-ID", package(ROOT, part("Content-ID: <root@x>")), reason="occurs twice"),
    Row("M05 differs in case", package(ROOT, ONE, part("Content-ID: <D1@x>")), reason="occurs twice"),
    Row("M05 differs in %2E", package(ROOT, part("Content-ID: <a.b@x>"), part("Content-ID: <a%2Eb@x>")),
        reason="twice"),
    Row("M05 path", package(ROOT, part('Content-ID: <a"] | //*["@x>')), reason="Content-ID cannot be read"),
    Row("M06 start names nothing", package(ROOT, ONE), package_type(start="<nothing@x>"), reason="no root part"),
    Row("M06 start names a later part", package(b"x", part(HEAD.replace("root@x", "r2@x"), ROOT)),
        package_type(start="<r2@x>"), read=True),
    Row("M06 no start", package(ROOT, ONE), typed(start=""), read=True),
    Row("M06 start without brackets", package(ROOT, ONE), typed(start='"root@x"'), read=True),
    Row("M06 type of SOAP with attachments", package(ROOT), typed(type='"text/xml"'), read=True),
    Row("M06 wrong type", package(ROOT), typed(type='"image/png"'), reason="type"),
    Row("M06 root of another type", package(ROOT).replace(b"application/xop+xml", b"image/png"),
        reason="root part is not XOP"),
    Row("M07 to a part", package(including(include("cid:d1@x")), ONE), read=True),
    Row("M07 to nothing", package(including(include("cid:no@x")), ONE), reason="no part"),
    Row("M07 to http", package(including(include("http://127.0.0.1:9/")), ONE), reason="no part"),
    Row("M07 to file", package(including(include("file:///etc/passwd")), ONE), reason="no part"),
    Row("M07 to the root", package(including(include("cid:root@x")), ONE), reason="no part"),
    Row("M07 without href", package(including("<xop:Include/>"), ONE), reason="no part"),
    Row("M07 one part twice", package(many(2), ONE), read=True),
    Row("M07 nested", package(including(include("cid:d1@x", include("cid:d1@x"))), ONE), reason="alone"),
    Row("M07 with children", package(including(include("cid:d1@x", "<v:a/>")), ONE), reason="alone"),
    Row("M07 with text inside", package(including(include("cid:d1@x", "a")), ONE), reason="alone"),
    Row("M07 with a sibling", package(including(include("cid:d1@x"), "{}<v:a/>"), ONE), reason="alone"),
    Row("M07 with text beside", package(including(include("cid:d1@x"), "a{}"), ONE), reason="alone"),
    Row("M07 as the root", package(f'<xop:Include xmlns:xop="{XOP}" href="cid:d1@x"/>'.encode(), ONE), reason="alone"),
    Row("M07 one part 200 times",
        package(many(200), part("Content-ID: <d1@x>", b"z" * 20_000)), reason="too large"),
    Row("M07 a thousand references", package(many(1000), ONE), reason="too many references"),
    Row("M08 part never referred to", package(ROOT, ONE, THREE), read=True),
    Row("M09 package in a package", package(ROOT, part("Content-Type: multipart/mixed; boundary=n0", NESTED)),
        reason="within"),
    Row("M09 package as root", package(NESTED).replace(b"application/xop+xml", b"multipart/mixed; boundary=n0"),
        reason="root part is not XOP"),
    *(
        Row(f"M10 {encoding}", package(ROOT, part(f"Content-Transfer-Encoding: {encoding}", b"YWJj")), read=True)
        for encoding in ("binary", "8bit", "7BIT", "base64", "quoted-printable")
    ),
    Row("M10 root in base64",
        package(base64.encodebytes(ROOT)).replace(b"Content-ID", b"Content-Transfer-Encoding: base64\r\nContent-ID"),
        read=True),
    Row("M10 unknown", package(ROOT, part("Content-Transfer-Encoding: gzip")), reason="transfer encoding"),
    Row("M10 broken base64", package(ROOT, part("Content-Transfer-Encoding: base64", b"a")), reason="base64"),
    Row("M11 no closing boundary", package(ROOT, ONE)[:-4], reason="cut short"),
    Row("M11 nothing but the closing boundary", b"--b1--\r\n", reason="no root part"),
    Row("M11 junk before, 4 KiB", b"x" * 4094 + b"\r\n" + package(ROOT), read=True),
    Row("M11 junk before, more", b"x" * 5000 + b"\r\n" + package(ROOT), reason="before the first part"),
    Row("M11 junk after, 4 KiB", package(ROOT) + b"x" * 4094, read=True),
    Row("M11 junk after, more", package(ROOT) + b"x" * 5000, reason="after the last part"),
    Row("M11 nothing at all", b"", reason="cut short"),
    Row("M11 bare LF", package(ROOT, ONE).replace(b"\r\n", b"\n")),
    Row("M11 bare LF in headers", package(ROOT, part("X: a\nY: b")), reason="control"),
    Row("M11 root of 3 MiB", package(ROOT + b" " * 3_145_728), reason="root part too large"),
    Row("M12 an archive as document", package(ROOT, part("X: y", b"PK\x03\x04" + bytes(1000))), read=True),
    Row("M13 on an operation that does not need it", package(of(Action.QUERY)), read=True),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_a_hostile_package_has_the_answer_of_its_row(row: Row) -> None:
    began = time.process_time()
    fault = fault_of(row.raw, row.content_type)
    assert time.process_time() - began < 0.3
    assert (fault is None) is row.read
    if fault is not None:
        assert (fault.code, fault.subcode, fault.problem) == (FaultCode.SENDER, None, "")
        assert row.reason in fault.reason


def outcome(chunks: list[bytes], content_type: str) -> list[mtom.Event] | None:
    try:
        reader = mtom.Reader(content_type, mtom.REQUEST)
        events = [event for chunk in chunks for event in reader.feed(chunk)]
        reader.close()
    except Mangled:
        return None
    return events


@pytest.mark.parametrize(
    "row", [row for row in ROWS if len(row.raw) < 20_000], ids=lambda row: row.name.replace(" ", "-")
)
def test_a_package_that_arrives_byte_by_byte_ends_as_it_does_whole(row: Row) -> None:
    whole = outcome([row.raw], row.content_type)
    dripped = outcome([row.raw[i : i + 1] for i in range(len(row.raw))], row.content_type)
    assert (whole is None) is (dripped is None)


def test_what_is_inlined_is_the_part_and_nothing_of_it_is_read_as_xml() -> None:
    hostile = include("cid:d1@x").encode()
    raw = package(including(include("cid:d1@x")), part("Content-ID: <d1@x>", hostile))
    security_header = soap.read_call(raw, package_type(), SERVED).security
    assert security_header is not None
    (held,) = security_header.iter("{urn:v}Held")
    assert base64.b64decode(held.text or "") == hostile
