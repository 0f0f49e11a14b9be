"""What leaves towards a hospital, and whom it is shown to."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from lxml import etree

from audit.event import Ending
from ihe import soap, xml
from ihe.names import SAML, WSSE, Action
from policy.facts import Peer
from repository_proxy.judgement import Token
from repository_proxy.repositories import Hospital
from repository_proxy.retrieve import prepare, send
from simulators.hospital import Script, Variant
from tests.repository_proxy.stage import Stage, play, request

SMALL = {"1": b"first"}
AUDIENCE = "urn:hospital"
ASSERTION = (
    f'<saml:Assertion xmlns:saml="{SAML}" xmlns:xs="http://www.w3.org/2001/XMLSchema" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" ID="_1" Version="2.0" IssueInstant="2026-03-02T09:00:00Z">'
    "<saml:Issuer>sts</saml:Issuer><saml:Subject><saml:NameID>1</saml:NameID><saml:SubjectConfirmation "
    'Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"/></saml:Subject><saml:Conditions '
    'NotBefore="2026-03-02T09:00:00Z" NotOnOrAfter="2026-03-02T09:20:00Z">{restrictions}</saml:Conditions>'
    '<saml:AuthnStatement AuthnInstant="2026-03-02T09:00:00Z"><saml:AuthnContext><saml:AuthnContextClassRef>x'
    "</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement>"
    '<saml:Attribute Name="a"><saml:AttributeValue xsi:type="xs:string">\u00e5 &amp; b</saml:AttributeValue>'
    "</saml:Attribute></saml:AttributeStatement></saml:Assertion>"
)


def assertion(*restrictions: tuple[str, ...]) -> str:
    written = "".join(
        "<saml:AudienceRestriction>"
        + "".join(f"<saml:Audience>{one}</saml:Audience>" for one in each)
        + "</saml:AudienceRestriction>"
        for each in restrictions
    )
    return ASSERTION.replace("{restrictions}", written)


def a_call(token: str) -> soap.Call:
    _, raw = request([], soap.Packaging.SIMPLE)
    security = f'<wsse:Security xmlns:wsse="{WSSE}">{token}</wsse:Security>'
    asked = (
        "<x:DocumentRequest><x:RepositoryUniqueId>2.999.1</x:RepositoryUniqueId>"
        "<x:DocumentUniqueId>1</x:DocumentUniqueId></x:DocumentRequest>"
    )
    raw = raw.replace(b"</soap12:Header>", security.encode() + b"</soap12:Header>")
    raw = raw.replace(b"</x:Retrieve", asked.encode() + b"</x:Retrieve")
    return soap.read_call(raw, soap.SIMPLE_TYPE, frozenset(Action))


def canonical(raw: bytes) -> bytes:
    """What a signature over the assertion covers: prefixes declared further out play no part."""
    return etree.tostring(xml.read(raw), method="c14n", exclusive=True, inclusive_ns_prefixes=["xs"])


async def asked_with(token: str, forward: bool) -> tuple[Stage, bytes]:
    async with Stage() as stage:
        more: dict[str, Any] = {"assertion": "forward", "audience": AUDIENCE} if forward else {}
        await stage.hospital("ous", "2.999.1", SMALL, **more)
        await stage.open()
        written = b""

        async def write(chunk: bytes) -> None:
            nonlocal written
            written += chunk

        await send(prepare(a_call(token), Peer("test", "", "", "c"), stage.desk), write)
        return stage, written


def test_the_callers_assertion_arrives_as_it_was_signed_where_its_audience_fits() -> None:
    token = assertion((AUDIENCE, "urn:other"))
    stage, written = play(asked_with(token, forward=True))
    (received,) = stage.hospitals["ous"].received
    assert received.assertion is not None
    assert canonical(received.assertion) == canonical(token.encode())
    assert b"Success" in written


@pytest.mark.parametrize("token", ["", assertion(), assertion(("urn:other",)), assertion((AUDIENCE,), ("urn:other",))])
def test_an_assertion_is_never_shown_to_a_hospital_it_is_not_addressed_to(token: str) -> None:
    stage, written = play(asked_with(token, forward=True))
    assert not stage.hospitals["ous"].received
    assert b"XDSRepositoryError" in written
    assert stage.trail.endings == [Ending.NOT_SENT]


def test_a_hospital_that_wants_none_gets_none() -> None:
    stage, written = play(asked_with(assertion((AUDIENCE,)), forward=False))
    assert [each.assertion for each in stage.hospitals["ous"].received] == [None]
    assert b"Success" in written


def test_an_unreadable_assertion_fits_nobody() -> None:
    token = Token(
        xml.read(f'<wsse:Security xmlns:wsse="{WSSE}"><saml:Assertion xmlns:saml="{SAML}"/></wsse:Security>'.encode())
    )
    assert not token.fits(Hospital("ous", ("2.999.1",), "http://127.0.0.1/", "forward", AUDIENCE))
    assert token.fits(Hospital("ous", ("2.999.1",), "http://127.0.0.1/", "none"))


def test_every_request_is_a_package_with_a_message_id_of_its_own_and_without_the_callers_home() -> None:
    async def scene() -> Stage:
        async with Stage(home="urn:oid:2.999.100") as stage:
            await stage.hospital("ous", "2.999.1", SMALL)
            await stage.open()
            for _ in range(2):
                await stage.retrieve(("urn:oid:2.999.1", "1", "urn:oid:2.999.100"))
            return stage

    first, second = play(scene()).hospitals["ous"].received
    assert first.packaging is soap.Packaging.MTOM
    assert first.message_id.startswith("urn:uuid:")
    assert first.message_id != second.message_id
    assert first.asked == (("", "2.999.1", "1"),)


def test_a_kept_connection_is_used_again_and_one_closed_meanwhile_costs_a_second_try() -> None:
    async def scene() -> list[str]:
        async with Stage() as stage:
            hospital = await stage.hospital("ous", "2.999.1", SMALL)
            await stage.open()
            words = []
            for _ in range(3):
                words.append((await stage.retrieve(("2.999.1", "1"))).status_word)
                words.append(str(hospital.connections))
            for task in list(hospital._running):
                task.cancel()
            words.append((await stage.retrieve(("2.999.1", "1"))).status_word)
            return words

    assert play(scene()) == ["Success", "1"] * 3 + ["Success"]


def test_redirects_and_proxies_of_the_environment_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    async def scene() -> tuple[Stage, str]:
        async with Stage() as stage:
            hospital = await stage.hospital("ous", "2.999.1", SMALL)
            await stage.open()
            good = await stage.retrieve(("2.999.1", "1"))
            hospital.script = Script.of(Variant.REDIRECT)
            assert (await stage.retrieve(("2.999.1", "1"))).codes == [("XDSRepositoryError", "1")]
            return stage, good.status_word

    stage, good = play(scene())
    assert good == "Success"
    # Had it been followed, the ending would tell of the other address.
    assert stage.trail.endings == [Ending.UP_BAD_HEADERS]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    ca = trustme.CA()
    folder = tmp_path_factory.mktemp("tls")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    return ca, folder


def test_only_the_hospitals_own_ca_is_believed(authority: tuple[trustme.CA, Path]) -> None:
    from repository_proxy.upstream import _trust

    _, folder = authority
    context = _trust(Hospital("ous", ("2.999.1",), "https://h.example/", "none", ca=folder / "ca.pem"))
    assert context is not None
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
