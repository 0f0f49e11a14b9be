"""XML: what is read is whole, what is written can be read again, and schemas come from our folder only."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihe import xml
from ihe.errors import Mangled, XdsFailure
from ihe.names import Code

ROOT = Path(__file__).resolve().parents[2]
PLAIN = '<?xml version="1.0" encoding="UTF-8"?><a>blåbær</a>'


@pytest.mark.parametrize(
    "raw",
    [
        PLAIN.encode(),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.replace("UTF-8", "utf-8").replace('"', "'").encode(),
        PLAIN.replace("UTF-8", "UTF-16").encode("utf-16"),
        b"\xfe\xff" + PLAIN.replace("UTF-8", "UTF-16").encode("utf-16-be"),
        "<a>blåbær</a>".encode("utf-16"),
        '<?xml version="1.0" standalone="yes"?><a>blåbær</a>'.encode(),
    ],
)
def test_utf_8_and_marked_utf_16_are_read(raw: bytes) -> None:
    assert xml.text(xml.read(raw)) == "blåbær"


def test_a_comment_does_not_cut_a_text() -> None:
    assert xml.read(b"<a>adm<!-- x -->in</a>").text == "admin"


def test_text_is_whole_and_loses_only_xml_white_space_around_it() -> None:
    assert xml.text(xml.read("<a> \r\n\t\N{NO-BREAK SPACE}b<c>c</c>d </a>".encode())) == "\N{NO-BREAK SPACE}bcd"
    assert xml.text(None) == ""


def test_writing_an_element_takes_its_namespaces_along_and_not_what_follows_it() -> None:
    root = xml.read(b'<a xmlns:p="urn:p"><p:b c="1"/>tail</a>')
    assert xml.write(root[0]) == b'<p:b xmlns:p="urn:p" c="1"/>'


@given(st.text(st.characters(blacklist_categories=())))
def test_whatever_is_escaped_can_be_read_back(plain: str) -> None:
    element = xml.read(f'<a b="{xml.escape_attribute(plain)}">|{xml.escape_text(plain)}|</a>'.encode())
    legal = "".join(
        c if xml.escape_text(c) != "\N{REPLACEMENT CHARACTER}" else "\N{REPLACEMENT CHARACTER}" for c in plain
    )
    assert element.get("b") == legal
    assert element.text == f"|{legal}|"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"<a>" + b"x" * 3000 + b"</a>", "message too large"),
        (b"<r>" + b"<a/>" * 100 + b"</r>", "too many elements"),
        (b"<r>" + b"<a></a>" * 100 + b"</r>", "too many elements"),
        (b"<a>" * 9 + b"</a>" * 9, "too deeply nested"),
        (b"<a " + b" ".join(b'a%d=""' % i for i in range(9)) + b"/>", "too many attributes on one element"),
        (
            b"<a " + b" ".join(b'xmlns:a%d="u"' % i for i in range(5)) + b"/>",
            "too many namespace declarations on one element",
        ),
    ],
)
def test_each_budget_is_a_refusal_with_its_own_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(Mangled, match=reason):
        xml.read(raw, xml.Budget(bytes=2000, nodes=100, depth=8, attributes=8, declarations=4))


@pytest.mark.parametrize(
    "raw",
    [
        b"<r>" + b"<a/>" * 99 + b"</r>",
        b"<a>" * 8 + b"</a>" * 8,
        b"<r>" + b"<!-- x -->" * 150 + b"</r>",
        b"<a " + b" ".join(b'a%d=""' % i for i in range(8)) + b"/>",
        b"<a b='" + b"x=y xmlns=" * 9 + b"' c=\"" + b"x=y>" * 9 + b'" />',
        b"<r>" + b'<a xmlns="u" b="1"/>' * 20 + b"</r>",
        b"<r>a=b" + b" xmlns=" * 30 + b"</r>",
        b"<r><![CDATA[" + b"a=b " * 30 + b"]]></r>",
    ],
)
def test_what_is_just_within_budget_is_read(raw: bytes) -> None:
    xml.read(raw, xml.Budget(bytes=2000, nodes=100, depth=8, attributes=8, declarations=4))


def test_a_reason_repeats_nothing_of_the_message() -> None:
    with pytest.raises(Mangled) as refused:
        xml.read(b"<secret15837510047>&secret15837510047;</secret15837510047>")
    assert "secret" not in str(refused.value)


HOSTILE = """
import threading
from pathlib import Path
from ihe import xml
from ihe.errors import Mangled

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 / 1024

def hostile():
    for number in range(40):
        if number == 10:
            grown.append(resident())
        xml.read(b"<r>" + b"".join(b"<%s%d_%d/>" % (b"x" * 100, number, i) for i in range(9000)) + b"</r>")
    assert xml.worn()
    try:
        xml.read(b"<r>")
    except Mangled:
        grown.append(resident())

grown = []
thread = threading.Thread(target=hostile)
thread.start()
thread.join()
print(grown[1] - grown[0])
"""


def test_a_thread_that_read_much_gives_the_names_it_met_back() -> None:
    # In a process of its own: what this one has freed and not given back would hide it, or look like it.
    run = subprocess.run(
        [sys.executable, "-c", HOSTILE], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    # Without an end the remaining thirty messages of 1 MB leave more than 30 MB behind.
    assert float(run.stdout) < 15


def test_a_worn_thread_that_must_not_end_reads_on_through_one_other_which_ends_with_it() -> None:
    """The event loop's thread reads every hospital's answer and is never replaced: a thread for each would cost it."""
    helpers: list[set[threading.Thread]] = []

    def reading() -> set[threading.Thread]:
        return {each for each in threading.enumerate() if each.name == "xml"}

    def loop() -> None:
        before = reading()
        xml.read(b"<r>" + b" " * xml.WORN + b"</r>", xml.ANSWER)
        for _ in range(50):
            assert xml.read(b"<r><a/></r>")[0].tag == "a"
            helpers.append(reading() - before)

    thread = threading.Thread(target=loop)
    thread.start()
    thread.join()
    assert {len(each) for each in helpers} == {1}
    assert len(set().union(*helpers)) == 1
    (helper,) = helpers[0]
    helper.join(5)
    assert not helper.is_alive()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "a.xsd").write_text(
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:b="urn:b" targetNamespace="urn:a"'
        ' elementFormDefault="qualified"><xs:import namespace="urn:b" schemaLocation="../two/b.xsd"/>'
        '<xs:element name="a"><xs:complexType><xs:sequence><xs:element ref="b:b" maxOccurs="unbounded"/></xs:sequence>'
        "</xs:complexType></xs:element></xs:schema>"
    )
    (tmp_path / "two" / "b.xsd").write_text(
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:b"><xs:element name="b">'
        '<xs:simpleType><xs:restriction base="xs:string"><xs:maxLength value="3"/></xs:restriction></xs:simpleType>'
        "</xs:element></xs:schema>"
    )
    return tmp_path


def test_a_schema_finds_everything_wrong_with_line_and_path(folder: Path) -> None:
    compiled = xml.Schema.compile(folder, "one/a.xsd")
    body = xml.read(b'<a:a xmlns:a="urn:a" xmlns:b="urn:b">\n<b:b>abcd</b:b>\n<b:b>abc</b:b>\n<b:b>efghi</b:b></a:a>')
    found = compiled.findings(body)
    assert [(finding.line, finding.path) for finding in found] == [(2, "/a:a/b:b[1]"), (4, "/a:a/b:b[3]")]
    assert "maxLength" in found[0].message
    assert compiled.findings(xml.read(b'<a:a xmlns:a="urn:a" xmlns:b="urn:b"><b:b>abc</b:b></a:a>')) == ()


def test_findings_are_bounded_in_number_and_in_length(folder: Path) -> None:
    compiled = xml.Schema.compile(folder, "one/a.xsd")
    wrong = b"<b:b>" + b"x" * 5000 + b"</b:b>"
    found = compiled.findings(xml.read(b'<a:a xmlns:a="urn:a" xmlns:b="urn:b">' + wrong * 100 + b"</a:a>"))
    assert len(found) == xml.MOST_FINDINGS
    assert all(len(finding.message) <= xml.MOST_WORDS for finding in found)


@pytest.mark.parametrize(
    "location", ["../../outside.xsd", "http://127.0.0.1:9/x.xsd", "file:///etc/passwd", "missing.xsd"]
)
def test_a_schema_that_reaches_outside_its_folder_is_refused(folder: Path, location: str) -> None:
    (folder.parent / "outside.xsd").write_text('<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"/>')
    path = folder / "one" / "a.xsd"
    whole = path.read_text()
    # An import that nothing refers to is skipped by the library when it cannot be had, without a word.
    unused = f'<xs:import namespace="urn:c" schemaLocation="{location}"/>'
    for changed in (whole.replace("../two/b.xsd", location), whole.replace("<xs:import", unused + "<xs:import")):
        path.write_text(changed)
        with pytest.raises(xml.SchemaUnusable):
            xml.Schema.compile(folder, "one/a.xsd")


@pytest.mark.parametrize("name", sorted(xml.SCHEMAS))
def test_every_schema_a_message_is_judged_by_can_be_compiled(name: str) -> None:
    assert xml.schema(name) is xml.schema(name)


def test_each_thread_has_its_own_copy_of_a_schema() -> None:
    others: list[xml.Schema] = []
    thread = threading.Thread(target=lambda: others.append(xml.schema("rs")))
    thread.start()
    thread.join()
    assert others[0] is not xml.schema("rs")


AT_ONCE = """
import sys, threading
from ihe import xml
sys.setswitchinterval(1e-5)
start, failed = threading.Barrier(8), []
def compile():
    start.wait()
    try:
        xml.Schema.load("lcm")
    except xml.SchemaUnusable as wrong:
        failed.append(str(wrong))
threads = [threading.Thread(target=compile) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
sys.exit("; ".join(failed) or 0)
"""


def test_the_first_requests_of_a_process_may_compile_their_schemas_at_once() -> None:
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_a_demand_names_every_finding_with_the_code_of_the_transaction() -> None:
    with pytest.raises(XdsFailure) as failure:
        xml.demand("xds", xml.read(b'<a xmlns="urn:nothing"/>'), Code.REPOSITORY_ERROR)
    (error,) = failure.value.errors
    assert error.code is Code.REPOSITORY_ERROR
    assert error.context.startswith("line 1: ")
    assert error.location
