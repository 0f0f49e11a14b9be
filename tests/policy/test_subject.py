"""The national attribute profile, and rows A4-A9 of the decision table (acceptance scenarios 20-31)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from ihe import saml, xml
from ihe.errors import Mangled
from ihe.saml import AttributeValue
from policy.facts import Basis, Channel, Reason, Subject
from policy.numbers import NumberRules
from policy.subject import admit, attested_at, subject_of
from simulators import sts
from tests.tools import tokens
from tests.tools.tokens import ANNE, NOW

XSPA = "urn:oasis:names:tc:xspa:1.0:subject:"
TRUST = "urn:nhn:trust-framework:1.0:ext:"
PROVIDER = "urn:ihe:iti:xua:2017:subject:provider-identifier"
RESOURCE = "urn:oasis:names:tc:xacml:2.0:resource:resource-id"
HPR = "2.16.578.1.12.4.1.4.4"
F_NUMBER = "2.16.578.1.12.4.1.4.1"
ROLES = "2.16.578.1.12.4.1.1.9060"


def read(token: bytes) -> saml.Assertion:
    return saml.read(xml.read(token))


def saying(name: str, *values: AttributeValue, without: str = "") -> saml.Assertion:
    """Anne's assertion with this attribute in the place of any by that name."""
    assertion = read(tokens.good())
    kept = {known: found for known, found in assertion.attributes.items() if known not in (name, without)}
    return replace(assertion, attributes=MappingProxyType({**kept, name: values}))


def seen(assertion: saml.Assertion) -> Subject:
    return subject_of(assertion, tokens.profile())


def text(value: str) -> AttributeValue:
    return AttributeValue(text=value)


def coded(code: str, system: str) -> AttributeValue:
    return AttributeValue(code=code, code_system=system, element="Role")


def numbered(extension: str, root: str) -> AttributeValue:
    return AttributeValue(root=root, extension=extension, element="id")


def test_a_clinicians_token_tells_who_where_whom_and_why() -> None:
    service = tokens.service(client_legal_entity="958935420", client_place_of_care="984630492")
    who = replace(ANNE, department="705592")
    subject = seen(read(service.clinician(who, tokens.P1, NOW, sts.Need("ETREAT", acp="7"), token_id="_a1")))
    assert subject == Subject(
        channel=Channel.CLINICIAN,
        name="Anne Eksempel",
        issuer=tokens.ISSUER,
        assertion_id="_a1",
        name_id="01826520074",
        hpr="9144900",
        role="LE",
        legal_entity="958935420",
        legal_entity_name="Oslo kommune",
        place_of_care="984630492",
        place_of_care_name="Oslo kommunale legevakt",
        department="705592",
        client_legal_entity="958935420",
        client_place_of_care="984630492",
        purpose="ETREAT",
        basis=Basis.EMERGENCY,
        patient_id="15837510047^^^&2.16.578.1.12.4.1.4.1&ISO",
        patient_ids=1,
        security_level="4",
        scopes=frozenset({"journaldokumenter_helsepersonell"}),
        decision_ref=sts.Need().decision_ref,
        token_profile="2.1",
        provider_identifiers=((HPR, "9144900"),),
    )


def test_a_citizens_token_has_other_names_for_level_and_scope() -> None:
    token = tokens.service().citizen("Per Eksempel", "20871451029", NOW, represents="02911160008")
    citizens = tokens.profile(channel=Channel.CITIZEN)
    subject = subject_of(read(token), citizens)
    assert (subject.channel, subject.security_level, subject.purpose) == (Channel.CITIZEN, "4", "13")
    assert subject.patient_id.startswith("02911160008^")
    assert subject.hpr == ""
    assert "innsynpasientjournal" in subject.scopes
    assert subject_of(read(token), tokens.profile()).security_level == ""


@pytest.mark.parametrize(
    ("acp", "basis"),
    [("5", Basis.CONSENT), ("7", Basis.EMERGENCY), *((n, None) for n in ("", "0", "1", "4", "6", "8", "55", "7.1"))],
)
def test_only_explicit_consent_and_emergency_are_a_basis(acp: str, basis: Basis | None) -> None:
    assert seen(read(tokens.good(need=sts.Need(acp=acp)))).basis is basis


@pytest.mark.parametrize(
    "sent",
    [
        text("15837510047^^^&2.16.578.1.12.4.1.4.1&ISO"),
        text("15837510047^^^&urn:oid:2.16.578.1.12.4.1.4.1&ISO"),
        numbered("15837510047", F_NUMBER),
    ],
)
def test_a_patient_is_one_canonical_identifier(sent: AttributeValue) -> None:
    subject = seen(saying(RESOURCE, sent))
    assert (subject.patient_id, subject.patient_ids) == ("15837510047^^^&2.16.578.1.12.4.1.4.1&ISO", 1)


def test_two_patients_are_told_and_none_is_chosen() -> None:
    other = text("02911160008^^^&2.16.578.1.12.4.1.4.1&ISO")
    subject = seen(saying("urn:oasis:names:tc:xacml:1.0:resource:resource-id", other))
    assert (subject.patient_id, subject.patient_ids) == ("", 2)


def test_one_patient_under_two_names_and_spellings_is_one() -> None:
    again = text("15837510047^^^&urn:oid:2.16.578.1.12.4.1.4.1&ISO")
    assert seen(saying("urn:oasis:names:tc:xacml:1.0:resource:resource-id", again)).patient_ids == 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (XSPA + "role", [coded("SP", ROLES)]),
        (XSPA + "npi", [text("9144897")]),
        (XSPA + "organization-id", [text("958935420"), text("983971636")]),
        (XSPA + "CHILD-organization", [text("974706490")]),
        ("urn:oasis:names:tc:xacml:2.0:action:purpose", [coded("BTG", "2.16.840.1.113883.1.11.20448")]),
        ("urn:no:ehelse:saml:1.0:subject:SecurityLevel", [text("3"), text("4")]),
        ("urn:ihe:iti:xua:2012:acp", [text("urn:oid:1.2"), text("urn:oid:2.16.578.1.12.4.1.7.2.1.7")]),
    ],
)
def test_values_that_contradict_each_other_are_refused(name: str, values: list[AttributeValue]) -> None:
    with pytest.raises(Mangled, match="two different values"):
        seen(saying(name, *values))


def test_markup_never_passes_for_text() -> None:
    with pytest.raises(Mangled, match="markup"):
        seen(saying("urn:no:ehelse:saml:1.0:subject:SecurityLevel", AttributeValue(element="b")))


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        (XSPA + "organization-id", text("urn:oid:2.16.578.1.12.4.1.4.101.958935420"), "legal_entity", "958935420"),
        (
            XSPA + "organization-id",
            numbered("4001031", "2.16.578.1.12.4.1.4.102"),
            "legal_entity",
            "4001031@2.16.578.1.12.4.1.4.102",
        ),
        (
            XSPA + "facility-id",
            numbered("705592", "2.16.578.1.12.4.5.390"),
            "department",
            "705592@2.16.578.1.12.4.5.390",
        ),
    ],
)
def test_a_number_of_another_register_is_not_taken_for_ours(
    name: str, value: AttributeValue, field: str, expected: str
) -> None:
    assert getattr(seen(saying(name, value)), field) == expected


@pytest.mark.parametrize("value", [coded("LE", "1.2.3"), coded("LE", ""), text("LE")])
def test_a_code_of_another_list_is_not_taken_for_ours(value: AttributeValue) -> None:
    subject = seen(saying("urn:oasis:names:tc:xacml:2.0:subject:role", value, without=XSPA + "role"))
    assert subject.role != "LE"
    assert admit(subject, tokens.rules()) is Reason.ROLE_NOT_ALLOWED


def test_a_provider_without_hpr_number_has_none() -> None:
    subject = seen(read(tokens.good(who=replace(ANNE, hpr="", role="HF"))))
    assert (subject.hpr, subject.provider_identifiers) == ("", ((F_NUMBER, ANNE.number),))


def test_the_attest_is_as_old_as_the_token_says_or_as_the_token() -> None:
    told = read(tokens.good(need=sts.Need(attested=NOW - timedelta(minutes=9, microseconds=5))))
    assert attested_at(told, tokens.profile()) == NOW - timedelta(minutes=9, seconds=1)
    silent = replace(told, attributes=MappingProxyType({}))
    assert attested_at(silent, tokens.profile()) == NOW
    assert attested_at(told, tokens.profile(token_profile="2020")) is None


@pytest.mark.parametrize("written", ["-1", "1e9", "٣", "99999999999", "2021-02-15T09:00:00Z", "1.5"])
def test_a_time_of_attestation_that_is_no_number_is_refused(written: str) -> None:
    with pytest.raises(Mangled):
        attested_at(saying(TRUST + "attestation:toa", text(written)), tokens.profile())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"channel": Channel.CITIZEN}, Reason.CHANNEL_NOT_ALLOWED),  # scenario 20
        ({"security_level": "3"}, Reason.LOA_LOW),  # scenario 25
        ({"security_level": ""}, Reason.LOA_LOW),
        ({"security_level": "44"}, Reason.LOA_LOW),
        ({"security_level": "x"}, Reason.LOA_LOW),
        ({"name_id": "41826520068"}, None),  # a D number
        ({"name_id": "15837510055"}, None),  # allotted from 2032
        ({"name_id": "15837512333"}, Reason.SUBJECT_MISMATCH),  # no rule gives this control digit
        ({"name_id": "15837510048"}, Reason.SUBJECT_MISMATCH),
        ({"name_id": "81234560077"}, Reason.SUBJECT_MISMATCH),  # a help number is no practitioner's
        ({"name_id": "12457030078"}, Reason.SUBJECT_MISMATCH),  # nor is a local emergency number
        ({"name_id": "anne"}, Reason.SUBJECT_MISMATCH),
        ({"provider_identifiers": ((F_NUMBER, "30924830065"),)}, Reason.SUBJECT_MISMATCH),  # scenario 29
        ({"provider_identifiers": ((HPR, "9144897"),)}, Reason.SUBJECT_MISMATCH),
        ({"provider_identifiers": ((HPR, "9144900"), (F_NUMBER, "01826520074"), ("1.2", "x"))}, None),
        ({"provider_identifiers": ()}, None),
        ({"hpr": "", "provider_identifiers": ()}, Reason.SUBJECT_MISMATCH),
        ({"role": "HF"}, Reason.ROLE_NOT_ALLOWED),
        ({"role": ""}, Reason.ROLE_NOT_ALLOWED),
        ({"legal_entity": "983971636"}, Reason.ORG_MISMATCH),
        ({"client_legal_entity": "965985166"}, Reason.ORG_MISMATCH),  # scenario 23
        ({"client_place_of_care": "974207532"}, Reason.ORG_MISMATCH),
        ({"client_legal_entity": "958935420", "client_place_of_care": "984630492"}, None),
        ({"place_of_care": "974207532", "legal_entity": "965985166"}, None),  # a place we do not list: row A12
        ({"purpose": ""}, Reason.PURPOSE_MISSING),
        ({"purpose": "BTG"}, Reason.PURPOSE_NOT_ALLOWED),
        ({"scopes": frozenset()}, Reason.TOKEN_SCOPE),
        ({"scopes": frozenset({"journaldokumenter"})}, Reason.TOKEN_SCOPE),
        ({"scopes": frozenset({"x", "journaldokumenter_helsepersonell"})}, None),
        ({"decision_ref": ""}, Reason.NEED_NOT_STATED),  # scenario 31
        ({"decision_ref": "", "purpose": "ETREAT"}, Reason.NEED_NOT_STATED),
        ({"decision_ref": "", "user_selected": True}, None),
        ({"decision_ref": "", "token_profile": "2020"}, None),
    ],
)
def test_rows_a4_to_a9(changes: dict[str, object], reason: Reason | None) -> None:
    assert admit(tokens.subject(**changes), tokens.rules()) is reason


def test_the_first_failing_row_gives_the_reason() -> None:
    spoilt: dict[str, object] = {}
    rows: list[tuple[dict[str, object], Reason]] = [
        ({"channel": Channel.CITIZEN}, Reason.CHANNEL_NOT_ALLOWED),
        ({"security_level": "3"}, Reason.LOA_LOW),
        ({"name_id": "x"}, Reason.SUBJECT_MISMATCH),
        ({"role": "XX"}, Reason.ROLE_NOT_ALLOWED),
        ({"client_legal_entity": "1"}, Reason.ORG_MISMATCH),
        ({"purpose": "BTG"}, Reason.PURPOSE_NOT_ALLOWED),
        ({"scopes": frozenset()}, Reason.TOKEN_SCOPE),
        ({"decision_ref": ""}, Reason.NEED_NOT_STATED),
    ]
    for changes, reason in reversed(rows):
        spoilt.update(changes)
        assert admit(tokens.subject(**spoilt), tokens.rules()) is reason


@pytest.mark.parametrize(
    ("feed", "reason"),
    [
        (None, None),
        ({"9144900": frozenset({"LE", "SP"})}, None),
        ({"9144900": frozenset({"SP"})}, Reason.ROLE_NOT_ALLOWED),
        ({"9144900": frozenset()}, Reason.ROLE_NOT_ALLOWED),
        ({}, Reason.ROLE_NOT_ALLOWED),
    ],
)
def test_a_withdrawn_authorisation_ends_access_where_a_feed_tells(
    feed: dict[str, frozenset[str]] | None, reason: Reason | None
) -> None:
    assert admit(tokens.subject(), tokens.rules(authorisations=feed)) is reason


def test_a_production_node_refuses_test_persons() -> None:
    assert admit(tokens.subject(), tokens.rules(numbers=NumberRules())) is Reason.SUBJECT_MISMATCH


@pytest.mark.parametrize(
    "changes",
    [{"token_profile": "3.0"}, {"audiences": frozenset()}, {"entity_id": ""}, {"channel": Channel.MACHINE}],
)
def test_a_profile_is_configured_and_never_guessed(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="issuer"):
        tokens.profile(**changes)


def test_a_token_of_2020_needs_neither_attest_nor_decision() -> None:
    token = tokens.service(profile="2020").clinician(ANNE, tokens.P1, NOW)
    assert b"trust-framework" not in token
    old = tokens.profile(token_profile="2020")
    assert admit(subject_of(read(token), old), tokens.rules()) is None
    assert admit(subject_of(read(token), tokens.profile()), tokens.rules()) is Reason.NEED_NOT_STATED


def test_attests_are_whole_seconds_since_1970() -> None:
    assert attested_at(saying(TRUST + "attestation:toa", text("0")), tokens.profile()) == datetime(
        1970, 1, 1, tzinfo=UTC
    )
