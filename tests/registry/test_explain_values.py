"""registry.explain.values: what is mended is what was meant, in the type it should have."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihe import values
from ihe.values import Check
from registry.explain.query_fixes import rewritten
from registry.explain.values import check_of, mended

MENDS: list[tuple[Check, str, str | None]] = [
    (values.dtm, "2020-01-14T09:30:00+01:00", "20200114083000"),
    (values.dtm, "2020-01-14T09:30+0100", "202001140830"),
    (values.dtm, "20200114093000Z", "20200114093000"),
    (values.dtm, "2020-01-14 09:30:00.123", "20200114093000"),
    (values.dtm, "2020-01-14", "20200114"),
    (values.dtm, "2019-12-31T23:30:00-02:00", "20200101013000"),
    (values.dtm, "2020-02-30", None),
    (values.dtm, "yesterday", None),
    (values.dtm, "0001-01-01T00:00:00+14:00", None),
    (values.uuid, "urn:uuid:7EDCA82F-054D-47F2-A032-9B2A5B5186C1", "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"),
    (values.uuid, "urn:uuid:{7edca82f-054d-47f2-a032-9b2a5b5186c1}", "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"),
    (values.uuid, "urn:uuid:none", None),
    (values.oid, "urn:oid:1.2.3", "1.2.3"),
    (values.oid, "1.02.3", "1.2.3"),
    (values.oid, "hospital", None),
    (values.oid_urn, "1.2.3", "urn:oid:1.2.3"),
    (values.cx, "1^^^NS&1.2.3&ISO", "1^^^&1.2.3&ISO"),
    (values.cx, "1^^^&amp;1.2.3&amp;ISO", "1^^^&1.2.3&ISO"),
    (values.cx, "1^^^&urn:oid:1.2.3&ISO^^", "1^^^&1.2.3&ISO"),
    (values.cx, "1^^^1.2.3", "1^^^&1.2.3&ISO"),
    (values.cx, "1", None),
    (values.sha1, "2F:D4:" + "e1" * 18, "2fd4" + "e1" * 18),
    (values.sha1, "L9ThxnotKPzthJ7hu3bnORuT6xI=", "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12"),
    (values.sha1, "5d41402abc4b2a76b9719d911017c592", None),
    (values.size, "51 342 bytes", "51342"),
    (values.size, "51342.0", "51342"),
    (values.size, "large", None),
    (values.language, "nb_NO", "nb-NO"),
    (values.mime, "text/plain; charset=UTF-8", "text/plain"),
    (values.xtn, "post@example.org", "^^Internet^post@example.org"),
    (values.xtn, "mailto:post@example.org", "^^Internet^post@example.org"),
    (values.xcn, "1^Legesen^Kari^^^^^^1.2.3", "1^Legesen^Kari^^^^^^&1.2.3&ISO"),
    (values.xon, "Sykehus^^^^^1.2.3^^^^5", "Sykehus^^^^^&1.2.3&ISO^^^^5"),
    (values.availability, "online", "urn:ihe:iti:2010:DocumentAvailability:Online"),
]


@pytest.mark.parametrize(("check", "said", "meant"), MENDS)
def test_a_value_is_written_as_it_was_meant_or_left_to_its_sender(check: Check, said: str, meant: str | None) -> None:
    assert check(said) is not None
    assert mended(check, said) == meant
    assert check_of(said, check(said) or "") is not None


CHECKS = sorted({check for check, _, _ in MENDS}, key=lambda check: check.__name__)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(check=st.sampled_from(CHECKS), said=st.text("0123456789^&.-:+TZaFurnoid ISO@/;_", max_size=40))
def test_a_mend_is_always_of_its_type(check: Check, said: str) -> None:
    meant = mended(check, said)
    assert meant is None or check(meant) is None


QUERIES = [
    ('"a"', "'a'"),
    ("\u2018a\u2019", "'a'"),
    ("(a,b)", "('a','b')"),
    ("('a','b)", "('a','b')"),
    ("('a' 'b')", None),
    ("O'Brien", "'O''Brien'"),
    ("'a", "'a'"),
    ("a, b", "('a','b')"),
]


@pytest.mark.parametrize(("said", "meant"), QUERIES)
def test_a_value_of_a_query_gets_its_quotes(said: str, meant: str | None) -> None:
    assert rewritten(said) == meant
