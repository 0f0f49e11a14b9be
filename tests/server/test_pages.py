"""server.pages: what partners and probes get, the same for every caller and whatever the request says."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

import schemas
from server.pages import REGISTRY, REPOSITORY, SCHEMAS, pages
from tests.server.edge import Edge, edge
from tests.server.wire import Answer, Wire, head

PUBLIC = "https://xds.region.example:8443"
SOAP12_WSDL = "{http://schemas.xmlsoap.org/wsdl/soap12/}address"
XSD = "{http://www.w3.org/2001/XMLSchema}"


class Trouble:
    sentence = ""

    def __call__(self) -> str:
        return self.sentence


TROUBLE = Trouble()


@pytest.fixture(scope="module")
def one() -> Iterator[Edge]:
    with edge(pages=pages(PUBLIC, TROUBLE)) as started:
        yield started


def get(one: Edge, target: str, method: str = "GET", host: str = "node.example") -> Answer:
    with Wire(one.address) as wire:
        return wire.ask(head(method, target, content_type=None, host=host), method)


@pytest.mark.parametrize("path", [REGISTRY, REPOSITORY])
@pytest.mark.parametrize("query", ["wsdl", "WSDL"])
def test_the_wsdl_names_the_configured_address_and_nothing_of_the_request(one: Edge, path: str, query: str) -> None:
    answer = get(one, f"{path}?{query}", host="evil.example")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/xml; charset=UTF-8")
    assert b"evil" not in answer.body
    root = ElementTree.fromstring(answer.body)
    assert [each.get("location") for each in root.iter(SOAP12_WSDL)] == [PUBLIC + path]


def test_every_schema_that_a_wsdl_leads_to_is_served(one: Edge) -> None:
    waiting = set[str]()
    for path in (REGISTRY, REPOSITORY):
        root = ElementTree.fromstring(get(one, f"{path}?wsdl").body)
        waiting |= {each.get("schemaLocation", "") for each in root.iter() if each.get("schemaLocation")}
    assert waiting
    assert all(each.startswith(PUBLIC + SCHEMAS) for each in waiting)
    seen: set[str] = set()
    while waiting - seen:
        url = (waiting - seen).pop()
        seen.add(url)
        answer = get(one, url.removeprefix(PUBLIC))
        assert answer.status == 200, url
        folder = url.rpartition("/")[0]
        for each in ElementTree.fromstring(answer.body).iter(f"{XSD}import"):
            if location := each.get("schemaLocation"):
                parts = f"{folder}/{location}".removeprefix(PUBLIC).split("/")
                while ".." in parts:
                    at = parts.index("..")
                    del parts[at - 1 : at + 1]
                waiting.add(PUBLIC + "/".join(parts))
    assert {url.removeprefix(PUBLIC + SCHEMAS) for url in seen} <= schemas.SHA256.keys()


def test_readiness_says_in_one_sentence_what_is_wrong_and_liveness_does_not_care(one: Edge) -> None:
    assert (get(one, "/health/ready").status, get(one, "/health/ready").body) == (200, b"ready\n")
    TROUBLE.sentence = "less free space than the reserve"
    try:
        red = get(one, "/health/ready")
        assert (red.status, red.body) == (503, b"less free space than the reserve\n")
        assert get(one, "/health/ready", "HEAD").status == 503
        assert (get(one, "/health/live").status, get(one, "/health/live").body) == (200, b"live\n")
    finally:
        TROUBLE.sentence = ""


def test_head_has_the_length_of_get_and_no_body(one: Edge) -> None:
    for target in (f"{REGISTRY}?wsdl", f"{SCHEMAS}xml.xsd", "/health/live", "/health/ready"):
        got, headed = get(one, target), get(one, target, "HEAD")
        assert (headed.status, headed.body) == (200, b"")
        assert headed.headers["content-length"] == str(len(got.body))


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", REGISTRY, 405),
        ("GET", f"{REGISTRY}?wsdl=1", 405),
        ("HEAD", REPOSITORY, 405),
        ("GET", "/", 404),
        ("GET", "/?wsdl", 404),
        ("GET", SCHEMAS, 404),
        ("GET", f"{SCHEMAS}nothing.xsd", 404),
        ("GET", f"{SCHEMAS}..%2f..%2fpyproject.toml", 404),
        ("GET", "/health/live/", 404),
    ],
)
def test_everything_else_is_not_there(one: Edge, method: str, target: str, status: int) -> None:
    answer = get(one, target, method)
    assert (answer.status, answer.bare) == (status, True)
    assert (answer.headers.get("allow") == "POST") is (status == 405)
