"""Documents about nobody are still documents: any viewer opens them, and their bytes never change."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zlib

import pytest
from lxml import etree

from ihe import names, values
from simulators import papers, people
from simulators.papers import CDA, KINDS, MIME_TYPES, OUTSIDE, PILOT, PNG, TEXT, history, paper
from simulators.people import PEOPLE, SOURCES

OUS = people.source("ous")
INGUNN = PEOPLE[0]


def test_a_pdf_opens_where_its_table_says() -> None:
    made = paper(INGUNN, OUS, "A03-2", 1)
    content = made.content
    assert content.startswith(b"%PDF-1.4\n")
    assert content.endswith(b"%%EOF\n")
    located = re.search(rb"startxref\n(\d+)\n%%EOF\n$", content)
    assert located is not None
    table = content[int(located[1]) :]
    opening = re.match(rb"xref\n0 (\d+)\n0000000000 65535 f \n", table)
    assert opening is not None
    entries = re.findall(rb"(\d{10}) 00000 n \n", table)
    assert len(entries) == int(opening[1]) - 1
    for number, offset in enumerate(entries, 1):
        assert content[int(offset) :].startswith(b"%d 0 obj\n" % number)
    for length, stream in re.findall(rb"/Length (\d+) >>\nstream\n(.*?)\nendstream", content, re.DOTALL):
        assert len(stream) == int(length)
    assert b"/Root 1 0 R" in table
    count = re.search(rb"/Count (\d+)", content)
    assert count is not None
    assert content.count(b"/Type /Page ") == int(count[1]) >= 2


def test_a_pdf_shows_norwegian_letters_and_survives_brackets() -> None:
    content = papers.pdf(r"Øye (høyre) \ 中", ["blåbærsyltetøy (fersk", "1) a \\ b"])
    assert rb"/Title (\330ye" not in content
    assert "Øye \\(høyre\\) \\\\ ?".encode("cp1252") in content
    assert "(blåbærsyltetøy \\(fersk) Tj".encode("cp1252") in content
    assert rb"(1\) a \\ b) Tj" in content


@pytest.mark.parametrize("size", [0, 10_000, 1_000_001])
def test_a_pdf_can_be_as_long_as_a_test_wants(size: int) -> None:
    made = paper(INGUNN, OUS, "A03-2", 1, least_bytes=size)
    assert size <= made.size < size + 10_000
    located = re.search(rb"startxref\n(\d+)\n%%EOF\n$", made.content)
    assert located is not None
    assert made.content[int(located[1]) :].startswith(b"xref\n")


def test_a_picture_has_rows_as_its_header_says() -> None:
    content = paper(INGUNN, OUS, "E01-2", 1, mime_type=PNG).content
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, stream = {}, io.BytesIO(content[8:])
    while head := stream.read(8):
        name, body = head[4:], stream.read(int.from_bytes(head[:4]))
        assert zlib.crc32(name + body) == int.from_bytes(stream.read(4))
        chunks[name] = body
    width, height = int.from_bytes(chunks[b"IHDR"][:4]), int.from_bytes(chunks[b"IHDR"][4:8])
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (width + 1)
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]


def test_a_cda_document_has_the_patient_in_its_header_and_a_pdf_in_its_body() -> None:
    made = paper(INGUNN, OUS, "A03-2", 1, mime_type=CDA)
    root = etree.fromstring(made.content)
    hl7 = {"h": names.HL7}
    assert root.tag == f"{{{names.HL7}}}ClinicalDocument"
    assert root.xpath("string(h:recordTarget/h:patientRole/h:id/@extension)", namespaces=hl7) == INGUNN.number
    body = root.xpath("string(h:component/h:nonXMLBody/h:text)", namespaces=hl7)
    assert base64.b64decode(str(body), validate=True).startswith(b"%PDF-1.4")


def test_a_text_is_utf8_and_norwegian() -> None:
    text = paper(INGUNN, OUS, "B03-2", 1, mime_type=TEXT).content.decode()
    assert "Prøvedal" in text
    assert "oppdiktet" in text


@pytest.mark.parametrize("mime_type", MIME_TYPES)
def test_a_paper_is_the_same_each_time_and_unlike_every_other(mime_type: str) -> None:
    made = [paper(INGUNN, OUS, "A03-2", number, mime_type=mime_type) for number in (1, 1, 2)]
    assert made[0] == made[1]
    assert made[0].hash == hashlib.sha1(made[0].content).hexdigest() != made[2].hash
    assert made[0].unique_id != made[2].unique_id
    assert INGUNN.number not in made[0].unique_id
    assert values.is_oid(made[0].unique_id)
    assert values.is_uuid(made[0].entry_uuid)


def test_a_kind_or_type_nobody_knows_is_refused() -> None:
    with pytest.raises(LookupError):
        paper(INGUNN, OUS, "Z99-2", 1)
    with pytest.raises(ValueError, match="image/jpeg"):
        paper(INGUNN, OUS, "A03-2", 1, mime_type="image/jpeg")


def test_a_history_holds_everything_a_decision_can_turn_on() -> None:
    told = history(INGUNN, 80, 0)
    assert {each.kind.code for each in told} == set(KINDS) == set(PILOT) | set(OUTSIDE)
    assert {each.source for each in told} == set(SOURCES)
    assert {each.mime_type for each in told} == set(MIME_TYPES)
    assert {each.signed for each in told} == {True, False}
    assert 5 <= sum(each.created.year == 2009 for each in told) <= 15
    assert len({each.unique_id for each in told}) == 80
    assert [each.created for each in told] == sorted(each.created for each in told)
    assert told == history(INGUNN, 80, 0)
    assert not {each.unique_id for each in told} & {each.unique_id for each in history(PEOPLE[1], 80, 0)}
