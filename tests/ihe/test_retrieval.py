"""ITI-43 bodies: ids come out as they went in, elements in the schema's order, and a hospital's in any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihe import retrieval, xml
from ihe.errors import Mangled, XdsError, XdsFailure
from ihe.names import RS, XDS, XOP, Code, ResponseStatus, Severity
from ihe.retrieval import DocumentRequest, DocumentResponse

PDF = DocumentResponse("urn:oid:2.999.1", "2.999.10", "2.999.40.7", "application/pdf", "d1@innsyn")


def request(*documents: str) -> xml.Element:
    inside = "".join(f"<x:DocumentRequest>{document}</x:DocumentRequest>" for document in documents)
    return xml.read(f'<x:RetrieveDocumentSetRequest xmlns:x="{XDS}">{inside}</x:RetrieveDocumentSetRequest>'.encode())


def asked(repository: str, document: str, home: str = "") -> str:
    first = f"<x:HomeCommunityId>{home}</x:HomeCommunityId>" if home else ""
    return (
        f"{first}<x:RepositoryUniqueId>{repository}</x:RepositoryUniqueId>"
        f"<x:DocumentUniqueId>{document}</x:DocumentUniqueId>"
    )


def answer(inside: str, around: str = "RetrieveDocumentSetResponse") -> xml.Element:
    return xml.read(f'<{around} xmlns="{XDS}" xmlns:rs="{RS}" xmlns:xop="{XOP}">{inside}</{around}>'.encode())


def test_requests_keep_their_order_and_lose_their_duplicates() -> None:
    body = request(asked("2.1", "b"), asked("2.1", "a"), asked("2.1", "b"), asked("2.1", "b", "urn:oid:2.9"))
    assert retrieval.read(body) == (
        DocumentRequest("", "2.1", "b"),
        DocumentRequest("", "2.1", "a"),
        DocumentRequest("urn:oid:2.9", "2.1", "b"),
    )


@pytest.mark.parametrize("identifier", ["urn:oid:2.1", "2.01", "a^b", "urn:uuid:ABC", "æ", "a&amp;b", "a b"])
def test_identifiers_are_never_repaired(identifier: str) -> None:
    (one,) = retrieval.read(request(asked(identifier, identifier)))
    assert one.repository_unique_id == one.document_unique_id == identifier.replace("&amp;", "&")


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (request(), 1),
        (request("<x:DocumentUniqueId>1</x:DocumentUniqueId>"), 1),
        (request(asked("1" * 257, "1"), asked("1", "1" * 257)), 2),
        (xml.read(b"<a/>"), 1),
    ],
)
def test_a_request_that_breaks_the_schema_is_answered_with_every_finding(body: xml.Element, errors: int) -> None:
    with pytest.raises(XdsFailure) as failure:
        retrieval.read(body)
    assert len(failure.value.errors) >= errors
    assert {error.code for error in failure.value.errors} == {Code.REPOSITORY_ERROR}


def test_nothing_delivered_is_never_success() -> None:
    assert retrieval.status_of(0, 0) is ResponseStatus.FAILURE
    assert retrieval.status_of(0, 2) is ResponseStatus.FAILURE
    assert retrieval.status_of(1, 1) is ResponseStatus.PARTIAL
    assert retrieval.status_of(1, 0) is ResponseStatus.SUCCESS


def test_an_answer_is_valid_and_in_the_order_of_the_schema() -> None:
    on_demand = DocumentResponse("", "2.999.10", "2.999.41", "text/xml", "d2@innsyn", "2.999.11", "2.999.42")
    errors = (
        XdsError(Code.DOCUMENT_UNIQUE_ID, 'document "<x>" is not\tavailable', "2.999.43"),
        XdsError(Code.REPOSITORY_ERROR, "slow", "2.999.41", Severity.WARNING),
    )
    body = xml.read(b"".join(retrieval.write_response(ResponseStatus.PARTIAL, errors, (PDF, on_demand))))
    assert xml.schema("xds").findings(without_references(body)) == ()
    children = [
        [child.tag.rpartition("}")[2] for child in response] for response in body.iter(f"{{{XDS}}}DocumentResponse")
    ]
    assert children == [
        ["HomeCommunityId", "RepositoryUniqueId", "DocumentUniqueId", "mimeType", "Document"],
        [
            "RepositoryUniqueId",
            "DocumentUniqueId",
            "NewRepositoryUniqueId",
            "NewDocumentUniqueId",
            "mimeType",
            "Document",
        ],
    ]
    assert b'highestSeverity="urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"' in xml.write(body)


def without_references(body: xml.Element) -> xml.Element:
    copy = xml.read(xml.write(body))
    for include in list(copy.iter(f"{{{XOP}}}Include")):
        parent = include.getparent()
        assert parent is not None
        assert parent.text is None
        parent.remove(include)
    return copy


def test_what_is_written_is_what_a_reader_reads() -> None:
    errors = (XdsError(Code.DOCUMENT_UNIQUE_ID, "not available", "2.999.43"),)
    read = retrieval.read_response(xml.read(b"".join(retrieval.write_response(ResponseStatus.PARTIAL, errors, (PDF,)))))
    assert read.status == ResponseStatus.PARTIAL
    assert [(e.code, e.context, e.location, e.is_error) for e in read.errors] == [
        ("XDSDocumentUniqueIdError", "not available", "2.999.43", True)
    ]
    (document,) = read.documents
    assert (document.home, document.repository, document.document) == ("urn:oid:2.999.1", "2.999.10", "2.999.40.7")
    assert (document.mime_type, document.href, document.inline) == ("application/pdf", "cid:d1@innsyn", None)


@given(st.binary(max_size=300))
def test_an_inline_document_keeps_every_byte(content: bytes) -> None:
    body = xml.read(b"".join(retrieval.write_inline_response(ResponseStatus.SUCCESS, (), ((PDF, content),))))
    assert xml.schema("xds").findings(body) == ()
    assert retrieval.read_response(body).documents[0].inline == content


def test_a_hospital_may_put_elements_in_any_order_and_break_its_base64() -> None:
    read = retrieval.read_response(
        answer(
            "<DocumentResponse><Document>\r\n YWJj\n&#13;ZGVm </Document><mimeType> text/plain </mimeType>"
            "<NewDocumentUniqueId>3</NewDocumentUniqueId><NewRepositoryUniqueId>4</NewRepositoryUniqueId>"
            "<DocumentUniqueId>1</DocumentUniqueId><RepositoryUniqueId>2</RepositoryUniqueId></DocumentResponse>"
            "<DocumentResponse><Document>\n<xop:Include href='cid:a%40b'/>\n</Document></DocumentResponse>"
            "<DocumentResponse><Document/></DocumentResponse><DocumentResponse/>"
            "<rs:RegistryResponse status='Success'/>"
        )
    )
    first, second, third, fourth = read.documents
    assert (first.repository, first.document, first.mime_type, first.inline) == ("2", "1", "text/plain", b"abcdef")
    assert (first.new_repository, first.new_document) == ("4", "3")
    assert (second.href, second.inline) == ("cid:a%40b", None)
    assert (third.href, third.inline) == (None, b"")
    assert (fourth.href, fourth.inline) == (None, None)
    assert read.status == "Success"


def test_a_bare_registry_response_is_an_answer_without_documents() -> None:
    body = xml.read(
        f'<RegistryResponse xmlns="{RS}" status="x"><RegistryErrorList><RegistryError errorCode="Odd"/>'
        "</RegistryErrorList></RegistryResponse>".encode()
    )
    read = retrieval.read_response(body)
    assert (read.status, read.documents, [error.code for error in read.errors]) == ("x", (), ["Odd"])


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "<rs:RegistryResponse/><DocumentResponse><Document>Y!</Document></DocumentResponse>",
        "<rs:RegistryResponse/><DocumentResponse><Document>YQ</Document></DocumentResponse>",
        "<rs:RegistryResponse/><DocumentResponse><Document>å</Document></DocumentResponse>",
        "<rs:RegistryResponse/><DocumentResponse><Document/><Document/></DocumentResponse>",
        "<rs:RegistryResponse/><DocumentResponse><Document>YQ<xop:Include href='cid:a'/></Document></DocumentResponse>",
        "<rs:RegistryResponse/><DocumentResponse><Document><xop:Include/><xop:Include/></Document></DocumentResponse>",
        "<rs:RegistryResponse/><DocumentResponse><Document><p/></Document></DocumentResponse>",
    ],
)
def test_an_answer_that_says_two_things_or_nothing_is_refused(inside: str) -> None:
    with pytest.raises(Mangled):
        retrieval.read_response(answer(inside))
    with pytest.raises(Mangled):
        retrieval.read_response(answer("<rs:RegistryResponse/>", "SomethingElse"))
