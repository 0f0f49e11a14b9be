"""The folder of schemas is whole, closed and unchanged, and nothing outside it can be reached through it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from lxml import etree

import schemas

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "schemas"
XS = "{http://www.w3.org/2001/XMLSchema}"


def files() -> list[Path]:
    return sorted(FOLDER.rglob("*.xsd"))


def imports(path: Path) -> list[etree._Element]:
    root = etree.parse(path, etree.XMLParser(no_network=True)).getroot()
    return [node for kind in ("import", "include", "redefine") for node in root.iter(f"{XS}{kind}")]


def compiled(name: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(FOLDER / schemas.SCHEMAS[name], etree.XMLParser(no_network=True)))


def test_the_digests_are_those_of_the_files() -> None:
    found = {path.relative_to(FOLDER).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files()}
    assert dict(schemas.SHA256) == found


def test_no_other_schema_lies_in_the_tree() -> None:
    ignored = {".venv", ".git", "build", "dist", "node_modules"}
    outside = [path for path in ROOT.rglob("*.xsd") if FOLDER not in path.parents]
    assert not [path for path in outside if not ignored.intersection(path.relative_to(ROOT).parts)]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_every_import_says_where_and_stays_inside(path: Path) -> None:
    for node in imports(path):
        target = (path.parent / node.get("schemaLocation", "")).resolve()
        assert target in files()
        assert etree.parse(target).getroot().get("targetNamespace") == node.get("namespace")


def test_no_schema_imports_itself_by_a_detour() -> None:
    reached = {
        path: {(path.parent / node.get("schemaLocation", "")).resolve() for node in imports(path)} for path in files()
    }
    for _ in files():
        for path, further in reached.items():
            reached[path] = further.union(*(reached[other] for other in further))
    assert not [path for path, further in reached.items() if path in further]


@pytest.mark.parametrize("name", sorted(schemas.SCHEMAS))
def test_every_schema_loads_without_a_network(name: str) -> None:
    compiled(name)
    assert schemas.SCHEMAS[name] in schemas.SHA256


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_every_schema_says_where_it_comes_from(path: Path) -> None:
    opening = path.read_text(encoding="utf-8").splitlines()[1]
    assert opening.startswith("<!-- Innsyn: ")


def test_a_schema_is_read_as_it_lies() -> None:
    for path in files():
        assert schemas.read(path.relative_to(FOLDER).as_posix()) == path.read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "",
        "ebrs",
        "ebrs/",
        "/ebrs/rim.xsd",
        "./ebrs/rim.xsd",
        "ebrs/../ebrs/rim.xsd",
        "../setup.cfg",
        "__init__.py",
        "ebrs\\rim.xsd",
        "ebrs/rim.xsd\0",
        "EBRS/rim.xsd",
        "rim",
    ],
)
def test_nothing_but_a_listed_schema_can_be_read(path: str) -> None:
    with pytest.raises(LookupError):
        schemas.read(path)


ENVELOPE = """<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://www.w3.org/2005/08/addressing">
  <e:Header>
    <a:Action e:mustUnderstand="1">urn:ihe:iti:2007:RegistryStoredQuery</a:Action>
    <a:MessageID>urn:uuid:0b7c2f0e-4f57-4d1b-9d0e-2f6a51c9e8a4</a:MessageID>
    <a:ReplyTo><a:Address>http://www.w3.org/2005/08/addressing/anonymous</a:Address></a:ReplyTo>
  </e:Header>
  <e:Body>%s</e:Body>
</e:Envelope>"""
FAULT = """<e:Fault><e:Code><e:Value>e:%s</e:Value><e:Subcode><e:Value>a:ActionMismatch</e:Value></e:Subcode></e:Code>
  <e:Reason><e:Text xml:lang="en">The body does not belong to the action.</e:Text></e:Reason></e:Fault>"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", True),
        ("<anything xmlns=''/>", True),
        (FAULT % "Sender", True),
        (FAULT % "Client", False),
        (FAULT.replace(' xml:lang="en"', "") % "Sender", False),
    ],
)
def test_the_envelope_of_soap_is_known(body: str, expected: bool) -> None:
    assert compiled("soap").validate(etree.fromstring(ENVELOPE % body)) is expected


def test_an_envelope_with_its_parts_in_the_wrong_order_is_refused() -> None:
    envelope = etree.fromstring(ENVELOPE % "")
    envelope.append(envelope[0])
    assert not compiled("soap").validate(envelope)


def test_the_headers_of_addressing_are_known() -> None:
    addressing = compiled("addressing")
    for header in etree.fromstring(ENVELOPE % "")[0]:
        assert addressing.validate(etree.fromstring(etree.tostring(header))), addressing.error_log


ASSERTION = """<s:Assertion xmlns:s="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:x="http://www.w3.org/2001/XMLSchema-instance"
    Version="2.0" ID="a1" IssueInstant="2020-11-10T12:00:00Z">
  <s:Issuer>https://sts.example.no</s:Issuer>
  <s:Subject><s:NameID>T1</s:NameID><s:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"/></s:Subject>
  <s:Conditions NotBefore="2020-11-10T12:00:00Z" NotOnOrAfter="2020-11-10T13:00:00Z">%s</s:Conditions>
  <s:AttributeStatement><s:Attribute Name="urn:oasis:names:tc:xacml:2.0:subject:role">
    <s:AttributeValue x:type="s:Unheard"><Role xmlns="urn:hl7-org:v3" x:type="CE" code="LE"/></s:AttributeValue>
  </s:Attribute></s:AttributeStatement>
</s:Assertion>"""
AUDIENCE = "<s:AudienceRestriction><s:Audience>urn:innsyn</s:Audience></s:AudienceRestriction>"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (AUDIENCE, True),
        (AUDIENCE + AUDIENCE, True),
        (AUDIENCE + "<s:Condition/>", False),
        (AUDIENCE + "<s:OneTimeUse/>", True),
        ("<s:AudienceRestriction/>", False),
    ],
)
def test_an_assertion_with_a_condition_nobody_knows_is_refused(conditions: str, expected: bool) -> None:
    assert compiled("saml").validate(etree.fromstring(ASSERTION % conditions)) is expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('ID="a1" ', ""),
        ("2020-11-10T12:00:00Z", "yesterday"),
        ("<s:Issuer>https://sts.example.no</s:Issuer>", ""),
        ("<s:NameID>T1</s:NameID>", "<s:EncryptedID/>"),
        ("</s:Assertion>", "<s:Issuer>https://other.example.no</s:Issuer></s:Assertion>"),
    ],
)
def test_an_assertion_that_could_be_read_in_two_ways_is_refused(old: str, new: str) -> None:
    assert not compiled("saml").validate(etree.fromstring((ASSERTION % AUDIENCE).replace(old, new)))
