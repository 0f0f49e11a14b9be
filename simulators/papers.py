"""Real documents of people who do not exist: PDF, CDA, text and picture that any viewer opens, always the same bytes.

Everything follows from who, where, which kind and which number; there is no chance and no clock in it, so that a hash
registered yesterday still fits tomorrow. Sources: PDF reference 1.4; PNG (ISO 15948); HL7 CDA R2, level 1; code system
9602 for kinds of documents, 9603 for access.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import textwrap
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from ihe.xml import escape_attribute, escape_text
from simulators.people import SOURCES, Department, Person, Practitioner, Source, choose, number_of

KIND_SYSTEM = "2.16.578.1.12.4.1.1.9602"
ACCESS_SYSTEM = "2.16.578.1.12.4.1.1.9603"
FORMAT_SYSTEM = "1.3.6.1.4.1.19376.1.2.3"

PDF, CDA, TEXT, PNG = "application/pdf", "text/xml", "text/plain", "image/png"
MIME_TYPES = (PDF, CDA, TEXT, PNG)

_LINES_ON_A_PAGE = 44
_LINE_WIDTH = 88
_HEADING = "Dette er et oppdiktet dokument om en person som ikke finnes."


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document: its typeCode, and the classCode it belongs to, both of 9602."""

    code: str
    name: str
    class_code: str
    class_name: str


def _kinds(class_code: str, class_name: str, **names: str) -> dict[str, Kind]:
    coded = {code.replace("_", "-"): name for code, name in names.items()}
    return {code: Kind(code, name, class_code, class_name) for code, name in coded.items()}


PILOT: Mapping[str, Kind] = MappingProxyType(
    _kinds(
        "A00-1",
        "Epikriser og sammenfatninger",
        A03_2="Epikrise",
        A04_2="Sammenfatning sykepleie",
        A05_2="Sammenfatning fysioterapi",
        A06_2="Sammenfatning ergoterapi",
        A07_2="Sammenfatning psykolog",
        A08_2="Sammenfatning sosionom",
        A09_2="Sammenfatning ernæring",
        A10_2="Sammenfatning annet",
        A11_2="Tverrfaglig sammenfatning",
        A13_2="Poliklinisk epikrise",
    )
    | _kinds("B00-1", "Kontinuerlig/løpende journal", B03_2="Poliklinisk notat")
)
"""What the sources of the pilot share."""
OUTSIDE: Mapping[str, Kind] = MappingProxyType(
    _kinds("A00-1", "Epikriser og sammenfatninger", A12_2="Pasientorientering")
    | _kinds("B00-1", "Kontinuerlig/løpende journal", B02_2="Journalnotat")
    | _kinds("C00-1", "Prøvesvar, vev og væsker", C01_2="Prøvesvar")
    | _kinds("E00-1", "Bildediagnostikk", E01_2="Svarrapport bildediagnostikk")
    | _kinds("I00-1", "Korrespondanse", I01_2="Henvisning")
)
"""What is registered too, and not shared in the pilot."""
KINDS: Mapping[str, Kind] = MappingProxyType({**PILOT, **OUTSIDE})


@dataclass(frozen=True, slots=True)
class Paper:
    """One document and everything its hospital says about it. Times are in UTC."""

    person: Person
    source: Source
    kind: Kind
    number: int
    content: bytes
    mime_type: str
    title: str
    author: Practitioner
    department: Department
    signed: bool
    created: datetime
    service_start: datetime
    service_stop: datetime
    access_codes: tuple[str, ...]
    """Codes of 9603, N for an ordinary document."""

    @property
    def unique_id(self) -> str:
        """XDSDocumentEntry.uniqueId, an OID that says nothing about the patient."""
        about = number_of(self.person.number, self.kind.code, self.number, self.mime_type)
        return f"{self.source.unique_ids}.{about}"

    @property
    def entry_uuid(self) -> str:
        """The id under which it is registered, so that a later version can name it."""
        return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, self.unique_id)}"

    @property
    def format_code(self) -> str:
        """Code of IHE's format code system: a PDF inside CDA, or whatever the media type says."""
        return "urn:ihe:iti:xds-sd:pdf:2008" if self.mime_type == CDA else "urn:ihe:iti:xds:2017:mimeTypeSufficient"

    @property
    def author_institutions(self) -> tuple[str, str]:
        """Hospital, then department, each as XON."""
        return self.source.xon, self.department.xon

    @property
    def legal_authenticator(self) -> str:
        """Who signed, as XCN; empty as long as nobody has."""
        return self.author.xcn if self.signed else ""

    @property
    def signed_at(self) -> datetime:
        """When it was signed. Says nothing for a document that is not."""
        return self.created + timedelta(minutes=7)

    @property
    def hash(self) -> str:
        """SHA-1 of the content in lower case, as XDS asks."""
        return hashlib.sha1(self.content, usedforsecurity=False).hexdigest()

    @property
    def size(self) -> int:
        """Octets of the content."""
        return len(self.content)


def paper(
    person: Person,
    source: Source,
    kind: str,
    number: int,
    *,
    mime_type: str = PDF,
    signed: bool = True,
    created: datetime | None = None,
    access_codes: tuple[str, ...] = ("N",),
    least_bytes: int = 0,
) -> Paper:
    """The `number`-th document of this kind about this person at this hospital; the same call gives the same bytes.

    `kind` is a code of `KINDS` (`LookupError` otherwise), `mime_type` one of `MIME_TYPES` (`ValueError` otherwise).
    `created` is an aware time, by default some hour of late 2020. `least_bytes` makes a PDF at least that long.
    """
    known = KINDS[kind]
    author = choose(source.practitioners, person.number, source.key, kind, number)
    department = choose(source.departments, kind, number, person.number)
    if created is None:
        hours = number_of(person.number, source.key, kind, number) % 1000
        created = datetime(2020, 11, 10, 8, tzinfo=UTC) + timedelta(hours=hours)
    created = created.astimezone(UTC).replace(microsecond=0)
    days = number_of(kind, number, person.number) % 9
    title = f"{known.name} {created:%d.%m.%Y}"
    lines = _lines(title, person, source, author, department, number)
    match mime_type:
        case "application/pdf":
            content = pdf(title, lines, least_bytes)
        case "text/xml":
            content = cda(title, lines, person, source, author, created)
        case "text/plain":
            content = ("\n".join(lines) + "\n").encode()
        case "image/png":
            content = png(number_of(title, person.number, number))
        case _:
            raise ValueError(f"cannot make a document of type {mime_type}")
    service_start = created - timedelta(days=days, hours=2)
    return Paper(
        person, source, known, number, content, mime_type, title, author, department, signed,
        created, service_start, created, access_codes,
    )  # fmt: skip


def history(person: Person, count: int, seed: int) -> tuple[Paper, ...]:
    """`count` documents of a patient over all hospitals, oldest first; another `seed` gives other documents.

    From 16 documents on every kind occurs, from 5 on every hospital. One in seven is unsigned, one in nine is from
    2009, one in three is not a PDF.
    """
    kinds = tuple(KINDS)
    papers = []
    for index in range(count):
        turn = index + seed
        day = number_of(person.number, seed, index)
        year = datetime(2009, 1, 5, 9, tzinfo=UTC) if turn % 9 == 3 else datetime(2019, 6, 3, 9, tzinfo=UTC)
        papers.append(
            paper(
                person,
                SOURCES[turn % len(SOURCES)],
                kinds[turn % len(kinds)],
                turn,
                mime_type=MIME_TYPES[1 + turn // 3 % 3] if turn % 3 == 1 else PDF,
                signed=turn % 7 != 5,
                created=year + timedelta(days=day % 300, minutes=day % 420),
            )
        )
    return tuple(sorted(papers, key=lambda each: (each.created, each.unique_id)))


_SENTENCES = (
    "Pasienten kommer gående inn, er våken, klar og orientert.",
    "Det er ikke funnet noe nytt siden forrige kontroll, og pasienten kjenner seg bedre.",
    "Blodtrykk og puls er målt tre ganger med rolige forhold; verdiene er innenfor det som er avtalt.",
    "Behandlingen fortsetter uendret. Pasienten er kjent med hvor hun eller han kan ringe ved forverring.",
    "Pårørende har vært til stede og fått samme informasjon som pasienten.",
    "Øvelsene er gjennomgått på nytt, og opplegget videre følges opp hjemme.",
    "Søvnen er bedre, matlysten god og humøret jevnt. Ønsker ny time når våren kommer.",
    "Vi har drøftet ulike løsninger og er blitt enige om å se det an.",
    "Undersøkelsen viste som ventet ingen holdepunkter for sykdom som krever tiltak nå.",
    "Kopi sendes ikke, da dokumentet er gjort tilgjengelig for dem som har tjenstlig behov.",
)
_HEADINGS = ("Bakgrunn", "Aktuelt", "Funn", "Vurdering", "Tiltak", "Videre oppfølging")


def _lines(
    title: str, person: Person, source: Source, author: Practitioner, department: Department, number: int
) -> list[str]:
    lines = [title, _HEADING, "", f"Pasient: {person.name}, født {person.born:%d.%m.%Y}", f"Sted: {source.name}"]
    lines += [f"Avdeling: {department.name}", f"Skrevet av: {author.role} {author.given} {author.family}", ""]
    for part, heading in enumerate(_HEADINGS):
        count = 4 + number_of(person.number, title, number, part) % 9
        sentences = (choose(_SENTENCES, person.number, title, number, part, each) for each in range(count))
        lines += [heading, *textwrap.wrap(" ".join(sentences), _LINE_WIDTH), ""]
    return lines


def pdf(title: str, lines: list[str], least_bytes: int = 0) -> bytes:
    """A PDF 1.4 of as many A4 pages as the lines need; characters outside Windows-1252 become question marks."""
    pages = [lines[at : at + _LINES_ON_A_PAGE] for at in range(0, len(lines), _LINES_ON_A_PAGE)]
    first_page = 5
    kids = " ".join(f"{first_page + 2 * each} 0 R" for each in range(len(pages)))
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R /Lang (nb-NO) >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Title " + _pdf_text(title) + b" /Producer (Innsyn) >>",
    ]
    for each, page in enumerate(pages):
        shown = b"".join(_pdf_text(line) + b" Tj T*\n" for line in page)
        stream = b"BT /F1 10 Tf 14 TL 56 786 Td\n" + shown + b"ET"
        bodies.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> "
            + f"/Contents {first_page + 2 * each + 1} 0 R >>".encode()
        )
        bodies.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    written = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for each, body in enumerate(bodies, 1):
        offsets.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (each, body)
    while len(written) < least_bytes:
        written += b"%" + b"." * min(1000, least_bytes - len(written)) + b"\n"
    table = len(written)
    written += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1)
    written += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    name = hashlib.sha256(written).hexdigest()[:32].encode()
    written += b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R /ID [<%s> <%s>] >>\n" % (len(bodies) + 1, name, name)
    written += b"startxref\n%d\n%%%%EOF\n" % table
    return bytes(written)


def _pdf_text(text: str) -> bytes:
    escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return b"(" + escaped.encode("cp1252", "replace") + b")"


def cda(title: str, lines: list[str], person: Person, source: Source, author: Practitioner, created: datetime) -> bytes:
    """A CDA document of level 1: a header that can be read by machine, and a PDF as its body."""
    body = base64.b64encode(pdf(title, lines)).decode()
    when = f"{created:%Y%m%d%H%M%S}+0000"
    who = "\n".join(
        (
            f'    <id extension="{author.number}" root="2.16.578.1.12.4.1.4.4"/>',
            f"    <assignedPerson><name><given>{escape_text(author.given)}</given>"
            f"<family>{escape_text(author.family)}</family></name></assignedPerson>",
        )
    )
    organisation = (
        f'<id extension="{source.organisation}" root="2.16.578.1.12.4.1.4.101"/><name>{escape_text(source.name)}</name>'
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3">
  <typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
  <id root="{source.unique_ids}.{number_of("cda", person.number, title, created)}"/>
  <code code="34133-9" codeSystem="2.16.840.1.113883.6.1"/>
  <title>{escape_text(title)}</title>
  <effectiveTime value="{when}"/>
  <confidentialityCode code="N" codeSystem="2.16.840.1.113883.5.25"/>
  <languageCode code="nb-NO"/>
  <recordTarget><patientRole>
    <id extension="{person.number}" root="{person.authority}"/>
    <patient>
      <name><given>{escape_text(person.given)}</given><family>{escape_text(person.family)}</family></name>
      <administrativeGenderCode code="{escape_attribute(person.sex)}" codeSystem="2.16.840.1.113883.5.1"/>
      <birthTime value="{person.born:%Y%m%d}"/>
    </patient>
  </patientRole></recordTarget>
  <author><time value="{when}"/><assignedAuthor>
{who}
  </assignedAuthor></author>
  <custodian><assignedCustodian><representedCustodianOrganization>
    {organisation}
  </representedCustodianOrganization></assignedCustodian></custodian>
  <component><nonXMLBody>
    <text mediaType="application/pdf" representation="B64">{body}</text>
  </nonXMLBody></component>
</ClinicalDocument>
""".encode()


def png(seed: int, width: int = 160, height: int = 120) -> bytes:
    """A grey picture with rings and stripes, stored rather than compressed so that every zlib writes the same bytes."""
    across, down, step = seed % width, seed // width % height, 3 + seed % 11
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        rows += bytes(((x - across) ** 2 + (y - down) ** 2) // step % 200 + y * 55 // height for x in range(width))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
