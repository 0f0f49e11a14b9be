from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihe import values
from ihe.values import Cx

GOOD: dict[Callable[[str], str | None], tuple[str, ...]] = {
    values.oid: ("1.2", "0.1.2", "2.16.578.1.12.4.1.4.1", "2.999", "1." + "1" * 62),
    values.oid_urn: ("urn:oid:2.999.1",),
    values.uuid: ("Doc1", "", "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"),
    values.dtm: ("2020", "202002", "20200229", "2020011423", "202001142359", "20200114235959"),
    values.sha1: ("da39a3ee5e6b4b0d3255bfef95601890afd80709", "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709"),
    values.size: ("0", "51342"),
    values.language: ("nb-NO", "en", "zh-Hans-CN"),
    values.mime: ("application/pdf", "text/goofy", "application/hl7-v3+xml", "application/vnd.oasis.opendocument.text"),
    values.unique_id: ("2.999.1^abc", "urn:uuid:x", "http://a/b?c", "a b", "x" * 256),
    values.availability: ("urn:ihe:iti:2010:DocumentAvailability:Online",),
    values.cx: ("15837510047^^^&2.16.578.1.12.4.1.4.1&ISO", "a b^^^&1.2&ISO"),
    values.cxi: (
        "1^^^&2.999.1&ISO^urn:ihe:iti:xds:2013:accession",
        "1.2.3^^^^urn:ihe:iti:xds:2016:studyInstanceUID",
        "1^^^NS^local",
    ),
    values.xcn: (
        "^Legesen^Kari^^^",
        "02911160008^Legesen^Kari^^^^^^&2.16.578.1.12.4.1.4.1&ISO",
        "Kari Legesen",
        "^Smitty^Gerald^^^Dr^MD",
    ),
    values.xon: (
        "Testsykehuset",
        "Testsykehuset^^^^^&2.16.578.1.12.4.1.4.101&ISO^^^^974633574",
        "Testsykehuset^^^^^^^^^1.2.3",
    ),
    values.xtn: ("^^Internet^a@example.org", "^PRS^PH^^31^^(042) 1123", "^PRS^PH^^^^+31 42 1123", "^^PH^^^^^^^^^1123"),
    values.recipient: ("Testsykehuset", "|^Legesen", "||^^Internet^a@example.org", "Testsykehuset|^Legesen"),
    values.patient_field: ("PID-3|a^^^&1.2&ISO", "PID-8|", "PID-39|x"),
}
BAD: dict[Callable[[str], str | None], tuple[str, ...]] = {
    values.oid: ("", "1", "1.2.", ".1.2", "1.02", "1..2", "urn:oid:1.2", "1.2 ", "1.2\n", "1." + "1" * 63, "１.2"),
    values.oid_urn: ("2.999.1", "urn:oid:", "URN:OID:1.2", "http://example.org", "urn:oid:urn:oid:1.2"),
    values.uuid: (
        "urn:uuid:7EDCA82F-054d-47f2-a032-9b2a5b5186c1",
        "urn:uuid:7edca82f054d47f2a0329b2a5b5186c1",
        "urn:uuid:{7edca82f-054d-47f2-a032-9b2a5b5186c1}",
        "urn:uuid:urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1",
        "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1 ",
    ),
    values.dtm: (
        "",
        "20",
        "20200",
        "0000",
        "202013",
        "20260230",
        "20210229",
        "2020011424",
        "20200114235960",
        "20200114120000+0100",
        "20200114120000.5",
        "2020-01-14",
        " 2020",
        "2020\n",
        "２０２０",
    ),
    values.sha1: ("", "da39", "g" * 40, "a" * 41),
    values.size: ("", "-1", "1.5", "+1", "9" * 19, "٣"),
    values.language: ("", "norwegian-bokmaal-too-long-", "nb_NO", "nb-"),
    values.mime: ("", "pdf", "text/plain; charset=utf-8", "text/", "/plain", "a/b/c"),
    values.unique_id: ("", " a", "a ", "blåbær", "a\nb", "x" * 257),
    values.availability: ("Online",),
    values.cx: (
        "",
        "1",
        "^^^&1.2&ISO",
        "1^^^&1.2&iso",
        "1^^^&1.2",
        "1^^^NS&1.2&ISO",
        "1^^^&1.02&ISO",
        "1^^^&1.2&ISO^",
        "1^x^^&1.2&ISO",
        " 1^^^&1.2&ISO",
        "1^^^&1.2&ISO ",
        "1^^&1.2&ISO",
    ),
    values.cxi: ("", "1", "1^^^&1.2&ISO", "^^^&1.2&ISO^kind", "1^x^^&1.2&ISO^kind", "1^^^&1.2^kind"),
    values.xcn: ("", "^^Kari", "1^Legesen^Kari^^^^^^NS"),
    values.xon: ("", "^^^^^&1.2&ISO", "Testsykehuset^^^^^^^^^974633574", "Testsykehuset^^^^^1.2^^^^1"),
    values.xtn: ("", "a@example.org", "^^Internet", "^^PH"),
    values.recipient: ("", "||", "a|b|c|d", "|^^Kari"),
    values.patient_field: ("PID-40|x", "PID-0|x", "PID-3", "3|x", ""),
}


@pytest.mark.parametrize(("check", "text"), [(check, text) for check, texts in GOOD.items() for text in texts])
def test_a_value_of_its_type_passes(check: Callable[[str], str | None], text: str) -> None:
    assert check(text) is None


@pytest.mark.parametrize(("check", "text"), [(check, text) for check, texts in BAD.items() for text in texts])
def test_a_value_that_is_not_of_its_type_is_answered_with_what_was_expected(
    check: Callable[[str], str | None], text: str
) -> None:
    assert check(text)


@given(st.sampled_from(sorted(GOOD, key=lambda check: check.__name__)), st.text(max_size=300))
def test_no_text_makes_a_check_fail_otherwise(check: Callable[[str], str | None], text: str) -> None:
    said = check(text)
    assert said is None or said


def test_the_parts_of_a_patient_id_make_it_again() -> None:
    text = "15837510047^^^&2.16.578.1.12.4.1.4.1&ISO"
    assert values.read_cx(text) == Cx("15837510047", "2.16.578.1.12.4.1.4.1")
    assert Cx("15837510047", "2.16.578.1.12.4.1.4.1").text == text


@pytest.mark.parametrize(
    ("dtm", "filled"),
    [
        ("2020", "20200101000000"),
        ("202002", "20200201000000"),
        ("2020022923", "20200229230000"),
        ("20200229230102", "20200229230102"),
    ],
)
def test_times_are_filled_up_with_the_lowest_legal_value(dtm: str, filled: str) -> None:
    assert values.earliest(dtm) == filled
    assert values.is_dtm(filled)


@pytest.mark.parametrize("text", ["urn:oid:2.999", "urn:x-mine:note", "URN:a1:b", "urn:att"])
def test_a_urn_is_one_however_short(text: str) -> None:
    assert values.is_urn(text)


@pytest.mark.parametrize("text", ["", "urn:", "urn:a", "colour", "urn:x-mine:", "urn:x y:z", "urn:æ:b", "xurn:a1:b"])
def test_what_only_looks_like_a_urn_is_none(text: str) -> None:
    assert not values.is_urn(text)


def test_what_is_compared_is_nfc_and_ascii_stays_what_it_is() -> None:
    assert values.nfc("A\u030arud") == "\u00c5rud"
    assert values.nfc("plain") == "plain"
