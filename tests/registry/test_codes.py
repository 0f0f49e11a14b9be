"""The codes a domain has agreed on: read strictly, and closed only where the file says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from ihe import ebrim, xml
from registry.rules import codes
from registry.rules import judge as rules
from registry.rules.codes import CodeSets, CodesRefused
from registry.rules.samples import sample
from registry.rules.strictness import Demands

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
AGREED = """
mimeType = ["application/pdf", "text/plain"]
[typeCode]
"2.16.578.1.12.4.1.1.9602" = ["A03-2", "B03-2"]
"2.999.1" = "any"
[eventCodeList]
"2.999.2" = ["Årsak"]
"""


def mistakes(text: str) -> dict[str, str]:
    with pytest.raises(CodesRefused) as refused:
        codes.read(text)
    return dict(refused.value.mistakes)


def test_an_attribute_is_closed_only_where_the_file_names_it() -> None:
    agreed = codes.read(AGREED)
    assert agreed.refusal("typeCode", "A03-2", "2.16.578.1.12.4.1.1.9602") is None
    assert agreed.refusal("typeCode", "whatever", "2.999.1") is None
    assert agreed.refusal("classCode", "whatever", "anywhere") is None
    assert agreed.refusal("typeCode", "A03-2", "2.999.9") == "a typeCode of 2.16.578.1.12.4.1.1.9602, 2.999.1"
    wanted = "a typeCode of 2.16.578.1.12.4.1.1.9602: A03-2, B03-2"
    assert agreed.refusal("typeCode", "C01-2", "2.16.578.1.12.4.1.1.9602") == wanted
    assert agreed.media_refusal("text/plain") is None
    assert agreed.media_refusal("text/goofy") == "a media type of application/pdf, text/plain"
    assert CodeSets().media_refusal("text/goofy") is None


def test_what_is_expected_is_shown_in_part_where_it_is_long() -> None:
    agreed = CodeSets({"typeCode": {"s": frozenset(f"c{number:02}" for number in range(40))}})
    assert (agreed.refusal("typeCode", "x", "s") or "").endswith("c07 and 32 more")


def test_codes_are_compared_as_nfc() -> None:
    decomposed = "A\u030arsak"
    assert codes.read(AGREED).refusal("eventCodeList", "Årsak", "2.999.2") is None
    text = AGREED.replace("Årsak", decomposed)
    assert codes.read(text).refusal("eventCodeList", "Årsak", "2.999.2") is None


def test_every_mistake_is_told_at_once() -> None:
    told = mistakes(
        """
        mimeType = ["pdf"]
        typecode = {x = ["a"]}
        formatCode = ["a"]
        classCode = {" s" = ["a"], t = [], u = ["b", "b", "", 5], w = "all"}
        """
    )
    assert told["mimeType"].startswith("pdf is not a media type")
    assert told["typecode"] == "is no attribute that carries codes; did you mean typeCode?"
    assert told["formatCode"].startswith("must be a table")
    assert "is no coding scheme" in told['classCode." s"']
    assert "not empty" in told['classCode."t"']
    assert told['classCode."u".1'] == "b stands there twice"
    assert {'classCode."u".2', 'classCode."u".3', 'classCode."w"'} <= told.keys()


@pytest.mark.parametrize(("text", "said"), [("", "closes no attribute"), ("typeCode =", "is not TOML")])
def test_a_file_that_says_nothing_is_a_mistake(text: str, said: str) -> None:
    assert said in mistakes(text)[""]


def test_a_file_that_cannot_be_read_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(CodesRefused, match="cannot be read"):
        codes.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"typeCode = '\xe5'")
    with pytest.raises(CodesRefused, match="not UTF-8"):
        codes.load(tmp_path / "latin.toml")


def test_media_types_and_codes_of_every_kind_of_object_are_judged() -> None:
    submittal = ebrim.read_submission(xml.read(sample("allowed-codes").passing.body))
    everything = {attribute: {"2.999.0": frozenset({"x"})} for attribute in codes.ATTRIBUTES}
    closed = Demands(codes=CodeSets(everything, frozenset({"text/plain"})))
    found = rules.check(submittal, demands=closed)
    assert {each.rule.id for each in found} == {"allowed-codes"}
    said = " ".join(each.expected for each in found)
    assert len(found) == 9  # six codes of the entry, its media type, one code each of set and folder
    for attribute in ("classCode", "typeCode", "confidentialityCode", "contentTypeCode", "codeList", "media type"):
        assert attribute in said


def test_what_is_incomplete_is_not_told_once_more_as_not_agreed() -> None:
    submittal = ebrim.read_submission(xml.read(sample("complete-code").failing.body))
    agreed = codes.read('[typeCode]\n"2.16.578.1.12.4.1.1.9602" = ["A03-2"]')
    assert [each.rule.id for each in rules.check(submittal, demands=Demands(codes=agreed))] == ["complete-code"]


def test_a_code_is_never_longer_than_the_registry_can_find_again() -> None:
    def broken(length: int) -> set[str]:
        body = sample("allowed-codes").passing.body.replace(b'"A03-2"', b'"%s"' % (b"x" * length))
        demands = Demands(value_limit=10_000)
        return {each.rule.id for each in rules.check(ebrim.read_submission(xml.read(body)), demands=demands)}

    assert broken(450) == set()
    assert broken(500) == {"complete-code"}


@pytest.mark.parametrize("example", ["pilot", "conformance"])
def test_the_examples_load(example: str) -> None:
    agreed = codes.load(EXAMPLES / example / "codes.toml")
    assert {"classCode", "typeCode", "confidentialityCode", "formatCode"} <= agreed.codes.keys()
    assert agreed.media_types
