"""The token service that tests, demos and integrators get their tokens from."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from ihe import saml, signature, xml
from simulators import sts
from tests.tools import tokens
from tests.tools.tokens import ANNE, NOW, P1

WHO = {"name": "Anne Eksempel", "number": "01826520074", "hpr": "9144900", "legal_entity": "958935420"}


def verified(token: bytes, pair: sts.KeyPair | None = None) -> saml.Assertion:
    keys = [signature.VerifyKey((pair or tokens.key()).certificate)]
    return saml.read(signature.check(xml.read(token), keys))


def test_every_kind_of_token_is_signed_and_in_time() -> None:
    service = tokens.service()
    for token in (
        service.clinician(ANNE, P1, NOW),
        service.panel_member(ANNE, P1, NOW),
        service.citizen("Per Eksempel", "20871451029", NOW),
    ):
        assertion = verified(token)
        assert not saml.out_of_time(assertion, NOW)
        assert saml.out_of_time(assertion, NOW + timedelta(minutes=61))


def test_a_citizens_token_lives_shorter() -> None:
    assertion = verified(tokens.service().citizen("Per Eksempel", "20871451029", NOW))
    assert assertion.not_on_or_after == NOW + timedelta(minutes=20)
    assert assertion.audiences == ((sts.CITIZEN_AUDIENCE,),)


def test_only_doctors_sit_on_a_panel() -> None:
    with pytest.raises(ValueError, match="doctors"):
        tokens.service().panel_member(replace(ANNE, role="SP"), P1, NOW)


def test_two_tokens_have_two_ids() -> None:
    assert verified(tokens.good()).id != verified(tokens.good()).id


def test_hostile_names_stay_names() -> None:
    name = "a</saml:AttributeValue>&\"'<x>b"
    values = verified(tokens.good(who=replace(ANNE, name=name))).attributes
    assert values["urn:oasis:names:tc:xspa:1.0:subject:subject-id"][0].text == name
    role = verified(tokens.good(who=replace(ANNE, role='L"/><x'))).attributes
    assert role["urn:oasis:names:tc:xacml:2.0:subject:role"][0].code == 'L"/><x'


@pytest.mark.parametrize(
    ("patient", "authority"), [("15837510047", "4.1"), ("41826520068", "4.2"), ("81234560077", "4.3")]
)
def test_a_bare_number_gets_its_authority(patient: str, authority: str) -> None:
    assert sts.patient_cx(patient) == f"{patient}^^^&2.16.578.1.12.4.1.{authority}&ISO"
    assert sts.patient_cx("7^^^&1.2&ISO") == "7^^^&1.2&ISO"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = sts.serve(tokens.service(), ("127.0.0.1", 0), lambda: NOW)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def post(port: int, order: object, raw: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/", raw if raw is not None else json.dumps(order))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_an_order_over_http_gets_a_token(port: int) -> None:
    status, token = post(port, {"who": WHO, "patient": P1, "purpose": "ETREAT", "at": "2021-02-15T10:30:00+01:00"})
    assert status == 200
    assertion = verified(token)
    assert assertion.not_before == NOW + timedelta(minutes=30)
    assert assertion.attributes["urn:oasis:names:tc:xspa:1.0:subject:purposeOfUse"][0].code == "ETREAT"


def test_a_citizens_order_over_http_gets_a_citizens_token(port: int) -> None:
    status, token = post(port, {"citizen": {"name": "Per", "number": "20871451029"}, "represents": "02911160008"})
    assert status == 200
    assert verified(token).not_before == NOW


@pytest.mark.parametrize(
    "order",
    [
        {},
        [],
        7,
        {"who": 7, "patient": P1},
        {"who": WHO},
        {"who": {"x": 1}, "patient": P1},
        {"who": WHO, "patient": P1, "at": "now"},
        {"who": WHO, "patient": P1, "at": "2021-02-15T10:30:00"},
    ],
)
def test_an_order_without_sense_is_refused(port: int, order: object) -> None:
    assert post(port, order)[0] == 400


def test_an_order_that_is_not_json_or_too_large_is_refused(port: int) -> None:
    assert post(port, None, b"{")[0] == 400
    assert post(port, None, b"[" * 10_000)[0] == 400
    assert post(port, None, b" " * (sts.MAX_ORDER + 1))[0] == 413
