"""Packages: what comes out does not depend on how the bytes were cut, and what is written every stack can read."""

from __future__ import annotations

import base64
import quopri
from email import message_from_bytes, policy
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ihe import mtom
from ihe.errors import Mangled
from tests.ihe.messages import flat, package, package_type

ROOT = b"<root/>"
PDF = b"%PDF-1.7\r\n--b\r\n--b2\r\n\r\n\x00\xff\r\r\n--\r\n\n--b1 is no boundary here\r"


def part(content: bytes, *headers: str) -> bytes:
    return "".join(f"{header}\r\n" for header in headers).encode("latin-1") + b"\r\n" + content


WHOLE = package(ROOT, part(PDF, "Content-Type: application/pdf", "Content-ID: <d1@x>"), part(b"", "Content-ID: <d2@x>"))


def read(
    chunks: list[bytes], content_type: str = package_type(), limits: mtom.Limits = mtom.ANSWER
) -> list[mtom.Event]:
    reader = mtom.Reader(content_type, limits)
    events = [event for chunk in chunks for event in reader.feed(chunk)]
    reader.close()
    return events


def outcome(chunks: list[bytes], limits: mtom.Limits) -> object:
    try:
        return flat(read(chunks, limits=limits))
    except Mangled:
        return Mangled


EXPECTED = [
    (
        {"content-type": 'application/xop+xml; charset=UTF-8; type="application/soap+xml"', "content-id": "<root@x>"},
        ROOT,
    ),
    ({"content-type": "application/pdf", "content-id": "<d1@x>"}, PDF),
    ({"content-id": "<d2@x>"}, b""),
]


def test_a_package_comes_out_whole_at_every_split() -> None:
    assert flat(read([WHOLE])) == EXPECTED
    for cut in range(1, len(WHOLE)):
        assert flat(read([WHOLE[:cut], b"", WHOLE[cut:]])) == EXPECTED, cut


def test_a_package_comes_out_whole_byte_by_byte() -> None:
    events = read([WHOLE[i : i + 1] for i in range(len(WHOLE))])
    assert flat(events) == EXPECTED
    assert isinstance(events[-1], mtom.PackageEnds)
    assert [type(event) for event in events].count(mtom.PackageEnds) == 1
    assert [event.root for event in events if isinstance(event, mtom.PartBegins)] == [True, False, False]


def test_every_package_cut_short_is_noticed() -> None:
    complete = WHOLE.rindex(b"--")
    for length in range(complete + 2):
        with pytest.raises(Mangled, match="cut short"):
            read([WHOLE[:length]])
    read([WHOLE[: complete + 2]])


FRAGMENTS = st.sampled_from(
    [
        b"--b1",
        b"--b1--",
        b"\r\n",
        b"\r",
        b"\n",
        b"\r\n--b1",
        b"--",
        b"x",
        b": ",
        b"Content-ID",
        b"<d3@x>",
        b"\x00",
        b"\xc3",
    ]
)


@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 12), FRAGMENTS), max_size=4),
    st.lists(st.integers(0, len(WHOLE) + 40), max_size=4),
    st.booleans(),
)
@example([(0, 0, b"x"), (0, 0, b"\r\n")], [2], True)
@example([(0, 0, b"junk")], [4], True)
@example([(5, 0, b"\n")], [7], True)
def test_a_broken_package_ends_the_same_however_it_is_cut(
    changes: list[tuple[int, int, bytes]], cuts: list[int], lenient: bool
) -> None:
    broken = WHOLE
    for position, removed, added in changes:
        broken = broken[:position] + added + broken[position + removed :]
    limits = mtom.ANSWER if lenient else mtom.REQUEST
    places = [0, *sorted(cuts), len(broken)]
    expected = outcome([broken], limits)
    assert outcome([broken[i:j] for i, j in pairwise(places)], limits) == expected
    assert outcome([broken[i : i + 1] for i in range(len(broken))], limits) == expected


@given(
    st.binary(max_size=200),
    st.lists(st.integers(0, 400), max_size=6),
    st.sampled_from(["base64", "quoted-printable", "binary", "8bit", "7bit", ""]),
)
def test_a_transfer_encoding_is_undone_however_it_is_cut(content: bytes, cuts: list[int], encoding: str) -> None:
    wire = content
    if encoding == "base64":
        wire = base64.encodebytes(content).replace(b"\n", b"\r\n")
    if encoding == "quoted-printable":
        wire = quopri.encodestring(content, quotetabs=True).replace(b"\n", b"=0A=\r\n")
        content = quopri.decodestring(wire)
    places = [0, *sorted(cut for cut in cuts if cut <= len(wire)), len(wire)]
    decoder = mtom.decoder(encoding)
    assert b"".join(decoder.feed(wire[i:j]) for i, j in pairwise(places)) + decoder.end() == content


@pytest.mark.parametrize(
    ("encoding", "wire"),
    [
        ("base64", b"YWJj!"),
        ("base64", b"YWJ"),
        ("base64", b"YQ==YQ=="),
        ("base64", b"=YWJ"),
        ("quoted-printable", b"a=0"),
        ("quoted-printable", b"a=zz"),
        ("quoted-printable", b"a=\rb"),
        ("quoted-printable", b"a="),
        ("x-uuencode", b""),
        ("binary, base64", b""),
    ],
)
def test_an_encoding_that_does_not_hold_is_refused(encoding: str, wire: bytes) -> None:
    for chunks in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        with pytest.raises(Mangled):
            undo(encoding, chunks)


def undo(encoding: str, chunks: list[bytes]) -> bytes:
    decoder = mtom.decoder(encoding)
    return b"".join([decoder.feed(chunk) for chunk in chunks]) + decoder.end()


def test_the_headers_of_a_decoded_part_do_not_ask_for_decoding_again() -> None:
    sent = part(b"YWJj\r\nZGVm", "Content-ID: <d1@x>", "Content-Transfer-Encoding: Base64")
    begins, content, *_ = read([package(ROOT, sent)])[3:]
    assert isinstance(begins, mtom.PartBegins)
    assert "content-transfer-encoding" not in begins.headers
    assert content == mtom.Content(b"abcdef")


@pytest.mark.parametrize(
    ("line", "media", "expected"),
    [
        ("application/soap+xml", "application/soap+xml", {}),
        ('Multipart/Related; Boundary="a;b=\\"c\\""; TYPE=application/xop+xml;', "multipart/related",
         {"boundary": 'a;b="c"', "type": "application/xop+xml"}),
        ("a/b;charset = utf- 8 ; x=<y@z>\t", "a/b", {"charset": "utf- 8", "x": "<y@z>"}),
        ('a/b; x="";; y="\\\\" ', "a/b", {"x": "", "y": "\\"}),
        ("a/b;\r\n x=1", "a/b", {"x": "1"}),
        ("", "", {}),
    ],
)  # fmt: skip
def test_media_type_parameters_are_read_as_mime_has_them(line: str, media: str, expected: dict[str, str]) -> None:
    assert mtom.parameters(line) == (media, expected)


@pytest.mark.parametrize(
    "line",
    ['a/b; x="y', "a/b; x=1; X=2", "a/b; x=1\r\ny: z", "a/b; =1", 'a/b; x="y"z', 'a/b; x="y" z', "a/b; x\x00=1"],
)
def test_media_type_parameters_that_two_readers_could_take_differently_are_refused(line: str) -> None:
    with pytest.raises(Mangled):
        mtom.parameters(line)


@pytest.mark.parametrize(
    ("href", "content_id"),
    [
        ("cid:d1@x", "d1@x"),
        (" CID:d1@x\n", "d1@x"),
        ("cid:d1%40x", "d1@x"),
        ("cid:1@urn%3Aihe%3Aiti", "1@urn%3Aihe%3Aiti"),
        ("cid:1@urn%253Aihe", "1@urn%3Aihe"),
        ("cid:1@urn:ihe", "1@urn%3Aihe"),
        ("cid:a+b@x", "a+b@x"),
        ("cid:a%2Bb@x", "a+b@x"),
    ],
)
def test_a_reference_finds_its_part_whoever_encoded_what(href: str, content_id: str) -> None:
    assert mtom.match(href, ["other@x", content_id]) == content_id


@pytest.mark.parametrize("href", ["", "cid:", "d1@x", "http://x/d1@x", "file:d1@x", "cid:D1@x"])
def test_a_reference_to_nothing_finds_nothing(href: str) -> None:
    assert mtom.match(href, ["", "d1@x"]) is None


def test_what_is_written_is_the_canonical_form_and_an_independent_reader_agrees() -> None:
    writer = mtom.new_writer("0123456789abcdef")
    written = writer.root(ROOT) + writer.part("d1.1@innsyn", "application/pdf") + PDF + writer.end()
    assert writer.content_type == (
        'multipart/related; type="application/xop+xml"; boundary="uuid-0123456789abcdef"; '
        'start="<root.0123456789abcdef@innsyn>"; start-info="application/soap+xml"'
    )
    assert written.startswith(
        b'--uuid-0123456789abcdef\r\nContent-Type: application/xop+xml; charset=UTF-8; type="application/soap+xml"\r\n'
        b"Content-Transfer-Encoding: binary\r\nContent-ID: <root.0123456789abcdef@innsyn>\r\n\r\n<root/>\r\n--uuid-"
    )
    read_elsewhere = message_from_bytes(
        f"Content-Type: {writer.content_type}\r\n\r\n".encode() + written, policy=policy.HTTP
    )
    root, document = read_elsewhere.iter_parts()
    assert (root["content-id"], root.get_payload(decode=True)) == ("<root.0123456789abcdef@innsyn>", ROOT)
    assert (document["content-type"], document["content-transfer-encoding"]) == ("application/pdf", "binary")
    for limits in (mtom.REQUEST, mtom.ANSWER):
        assert [content for _, content in flat(read([written], writer.content_type, limits))] == [ROOT, PDF]


@pytest.mark.parametrize("media", ["a/b\r\nX: y", "text", "", "a/b; x=\n", "å/b"])
def test_a_media_type_cannot_carry_a_header_into_a_package(media: str) -> None:
    assert b"Content-Type: application/octet-stream\r\n" in mtom.new_writer("1").part("d@x", media)


@pytest.mark.parametrize("bad", ["a b@x", "a@x>\r\nX: y", "a%20@x", "ax"])
def test_a_content_id_that_readers_encode_differently_is_never_written(bad: str) -> None:
    with pytest.raises(ValueError, match="Content-ID"):
        mtom.new_writer("1").part(bad, "a/b")


def test_a_hospital_may_fold_headers_and_leave_brackets_and_ids_out() -> None:
    head = 'Content-Type: application/xop+xml;\r\n\ttype="application/soap+xml"\r\nX-Name: r\xf8ntgen\r\n\r\n'
    sent = package(ROOT).replace(package(ROOT).split(b"\r\n", 1)[1].split(ROOT)[0], head.encode("latin-1"))
    begins = read([sent], package_type(start="root@x"))[0]
    assert isinstance(begins, mtom.PartBegins)
    assert begins.root
    with pytest.raises(Mangled):
        mtom.read_package(sent, package_type())


def test_a_hospitals_root_must_come_first() -> None:
    with pytest.raises(Mangled, match="first"):
        read([WHOLE], package_type(start="<d1@x>"))


def test_a_hospitals_root_is_bounded() -> None:
    with pytest.raises(Mangled, match="root part too large"):
        read([package(b"<r>" + b"x" * mtom.ANSWER.root)])


def test_a_document_is_not_bounded_by_the_reader() -> None:
    sent = package(ROOT, part(b"x" * 3_000_000, "Content-ID: <d1@x>"))
    assert len(flat(read([sent[i : i + 65536] for i in range(0, len(sent), 65536)]))[1][1]) == 3_000_000
