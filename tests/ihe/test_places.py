"""ihe.places: every element is found again in the text it was read from."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihe import xml
from ihe.errors import Mangled
from ihe.places import Place, Places, Text, decoded, find, path_of

PIECES = ["<b>", "<b x='>'/>", "<!-- <b> -->", "t\n", "<![CDATA[<b>]]>", "\n<c\n/>"]
MESSAGE = b"""<?xml version="1.0"?>
<!-- <not an="element"> -->
<a xmlns="u"
   b = '1' >
 <c>t</c><c
 d="&lt;x>y" e="2"/><![CDATA[<q>]]>
  <x:c xmlns:x="v" x:e="3"/>
</a>"""


def places(raw: bytes = MESSAGE) -> dict[str, Place | None]:
    found = Places(raw)
    return {path_of(each, found.root): found.of(each) for each in found.root.iter("*")}


def test_a_start_tag_is_found_by_line_and_column_whatever_stands_before_it() -> None:
    expected = {"/a": Place(3, 1), "/a/c[1]": Place(5, 2), "/a/c[2]": Place(5, 10), "/a/c[3]": Place(7, 3)}
    assert places() == expected
    assert places(b"\xef\xbb\xbf" + MESSAGE) == expected
    assert places(MESSAGE.decode().encode("utf-16")) == expected
    assert places(MESSAGE.replace(b"\n", b"\r\n")) == expected


def test_an_attribute_is_found_where_its_name_begins() -> None:
    found = Places(MESSAGE)
    first, second, third = found.root
    assert found.of(second, "e") == Place(6, 14)
    assert found.of(third, "{v}e") == Place(7, 20)
    assert found.of(found.root, "b") == Place(4, 4)
    assert found.of(first, "absent") == found.of(first)
    assert found.of(xml.read(b"<other/>")) is None


def test_lines_are_those_of_the_text_around() -> None:
    found = Places(b"<a><b/>\n<b/></a>", first_line=10, first_column=5)
    assert [str(found.of(each)) for each in found.root] == ["line 10, column 8", "line 11, column 1"]
    assert (found.text.line(11), found.text.line(9), found.text.line(12)) == ("<b/></a>", "", "")


def test_a_path_leads_to_its_element_or_as_far_as_there_is_one() -> None:
    root = xml.read(MESSAGE)
    assert find(root, "/a/c[2]/@d") == (root[1], "d")
    assert find(root, "/x:a/x:c[3]")[0] is root[2]
    assert find(root, "/*/*[2]")[0] is root[1]
    assert find(root, "/a/c[9]/d")[0] is root
    assert find(root, "")[0] is root
    assert find(root, "nonsense[")[0] is root


def test_what_cannot_be_read_has_no_places() -> None:
    for raw in (b"<a>", b"\xff\xfe\x00", b"<a>\xe6</a>"):
        with pytest.raises(Mangled):
            Places(raw)
    with pytest.raises(Mangled):
        decoded(b"\xe6")


def test_broken_xml_is_told_with_line_and_column_and_without_content_in_its_reason() -> None:
    with pytest.raises(xml.NotWellFormed) as refused:
        xml.read(b"<a>\n <b x='Ola & Kari'/></a>")
    assert (refused.value.line, str(refused.value)) == (2, "not well-formed XML, line 2")
    assert "xmlParseEntityRef" in refused.value.said


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(["<b>", "<b x='>'/>", "<!-- <b> -->", "t\n", "<![CDATA[<b>]]>", "\n<c\n/>"]), max_size=12)
)
def test_there_is_one_place_for_each_element(pieces: list[str]) -> None:
    text = "<a>" + "".join(piece + ("</b>" if piece == "<b>" else "") for piece in pieces) + "</a>"
    found = Places(text.encode())
    text_of = Text(text)
    for element in found.root.iter("*"):
        place = found.of(element)
        assert place is not None
        assert text_of.line(place.line)[place.column - 1 :].startswith(f"<{element.tag}")
