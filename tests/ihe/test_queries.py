from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ihe import queries, xml
from ihe.errors import Mangled, XdsError, XdsFailure
from ihe.names import QUERY, RIM, RS, Code, QueryId, ResponseStatus, Severity, Status
from ihe.queries import Returns

CX = "15837510047^^^&2.16.578.1.12.4.1.4.1&ISO"
DOUBLE_QUOTED = '"x"'


def slot(name: str, *values: str) -> str:
    escaped = "".join(f"<rim:Value>{xml.escape_text(value)}</rim:Value>" for value in values)
    return f'<rim:Slot name="{name}"><rim:ValueList>{escaped}</rim:ValueList></rim:Slot>'


def request(*slots: str, option: str = 'returnType="LeafClass"', query: str = f'id="{QueryId.FIND_DOCUMENTS}"') -> str:
    return (
        f'<q:AdhocQueryRequest xmlns:q="{QUERY}" xmlns:rim="{RIM}"><q:ResponseOption {option}/>'
        f"<rim:AdhocQuery {query}>{''.join(slots)}</rim:AdhocQuery></q:AdhocQueryRequest>"
    )


def read(text: str) -> queries.AdhocQuery:
    return queries.read(xml.read(text.encode()))


def refused(text: str) -> list[str]:
    with pytest.raises(XdsFailure) as failure:
        read(text)
    assert {error.code for error in failure.value.errors} == {Code.REGISTRY_ERROR}
    return [error.context for error in failure.value.errors]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("'x'", ("x",)),
        (f"'{CX}'", (CX,)),
        ("('a','b')", ("a", "b")),
        (" ( 'a' ,\n 'b' ) ", ("a", "b")),
        ("'Children''s Hospital'", ("Children's Hospital",)),
        ("''''", ("'",)),
        ("''", ("",)),
        ("20200114", ("20200114",)),
        ("'20200114'", ("20200114",)),
        ("(1,'b',3)", ("1", "b", "3")),
        ("('a,b','(c)')", ("a,b", "(c)")),
        ("' a '", (" a ",)),
        (Status.APPROVED.value, (Status.APPROVED.value,)),
        ("'x'; DROP", None),
        ("'; DROP TABLE x;--", None),
        ("", ()),
        ("  ", ()),
    ],
)
def test_a_value_is_read_as_the_framework_codes_it(text: str, values: tuple[str, ...] | None) -> None:
    if values is None:
        with pytest.raises(Mangled):
            queries.parse_value(text)
    else:
        assert queries.parse_value(text) == values


@pytest.mark.parametrize(
    "text",
    [
        "'a",
        "a'",
        "'a''",
        "'a'b",
        "'a','b'",
        "a,b",
        "a(b",
        "(",
        "()",
        "('a',)",
        "(,'a')",
        "('a'",
        "('a' 'b')",
        "('a'))",
        "('a')('b')",
        "(('a'))",
        "(urn:x)",
        "(1.5)",
        DOUBLE_QUOTED,
        f"({DOUBLE_QUOTED})",
        "'''",
        "('a''b)",
    ],
)
def test_a_malformed_value_is_refused_by_the_name_of_its_parameter_and_never_half_read(text: str) -> None:
    (context,) = refused(request(slot("$XDSDocumentEntryStatus", text)))
    assert "$XDSDocumentEntryStatus" in context


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40), min_size=1, max_size=8))
def test_any_list_of_texts_survives_coding_and_reading(texts: list[str]) -> None:
    coded = "(" + " , ".join("'" + text.replace("'", "''") + "'" for text in texts) + ")"
    assert queries.parse_value(coded) == tuple(texts)


@given(st.text(alphabet="'(),a1 \"", max_size=12))
def test_any_text_is_read_or_refused_and_nothing_of_it_is_dropped(text: str) -> None:
    try:
        values = queries.parse_value(text)
    except Mangled:
        return
    kept = "".join(values).replace("'", "''")
    assert sorted(kept.replace(" ", "")) == sorted("".join(c for c in _outside_dropped(text) if c != " ")), (
        "only quotes around, parentheses, commas between and spaces may go"
    )


def _outside_dropped(text: str) -> str:
    """`text` without its structure, by walking it once: an independent reader of what was accepted."""
    kept, inside, at = [], False, 0
    text = text.strip()
    bare = not text.startswith(("(", "'"))
    while at < len(text):
        c = text[at]
        if bare:
            kept.append(c)
        elif c == "'" and inside and text[at + 1 : at + 2] == "'":
            kept.append("''")
            at += 1
        elif c == "'":
            inside = not inside
        elif inside or c not in "(), ":
            kept.append(c)
        at += 1
    return "".join(kept)


def test_several_values_are_ored_and_repeated_slots_are_anded() -> None:
    asked = read(
        request(
            slot("$XDSDocumentEntryEventCodeList", "('a^^s','b^^s')", "('c^^s')"),
            slot("$XDSDocumentEntryPatientId", f"'{CX}'"),
            slot("$XDSDocumentEntryEventCodeList", "('d^^s')"),
        )
    )
    assert asked.groups("$XDSDocumentEntryEventCodeList") == (("a^^s", "b^^s", "c^^s"), ("d^^s",))
    assert asked.groups("$XDSDocumentEntryPatientId") == ((CX,),)
    assert asked.groups("$XDSDocumentEntryClassCode") == ()
    assert asked.id == QueryId.FIND_DOCUMENTS
    assert asked.returns is Returns.LEAF


def test_an_empty_parameter_counts_as_absent_and_a_name_without_dollar_is_ignored() -> None:
    empty = '<rim:Slot name="$XDSDocumentEntryTypeCode"/><rim:Slot name="$uuid"><rim:ValueList/></rim:Slot>'
    asked = read(request(empty, slot("$XDSDocumentEntryClassCode", ""), slot("unquoted", "'"), slot("$unknown", "'x'")))
    assert [found.name for found in asked.slots] == ["$unknown"]


def test_an_id_with_blanks_and_capitals_is_the_same_query() -> None:
    shouted = "urn:uuid:" + QueryId.GET_DOCUMENTS.removeprefix("urn:uuid:").upper()
    asked = read(request(query=f'id=" {shouted} " home="urn:oid:1.2"'))
    assert asked.id == QueryId.GET_DOCUMENTS
    assert asked.home == "urn:oid:1.2"


@pytest.mark.parametrize("option", ["", 'returnType="RegistryObject"', 'returnType="LeafClassWithRepositoryItem"'])
def test_a_return_type_that_means_nothing_here_is_refused_by_name(option: str) -> None:
    (context,) = refused(request(option=option))
    assert "returnType" in context
    assert option.partition('"')[2].rstrip('"') in context


def test_object_refs_can_be_asked_for() -> None:
    assert read(request(option='returnType="ObjectRef"')).returns is Returns.REF


def test_a_schema_invalid_request_is_told_every_finding() -> None:
    text = request(slot("$a", "'x'")).replace("<rim:AdhocQuery id=", "<rim:AdhocQuery ident=")
    assert any("ident" in context for context in refused(text))


def test_everything_that_is_wrong_is_told_at_once() -> None:
    contexts = refused(request(slot("$a", "'"), slot("$b", "("), option=""))
    assert [context.split(":")[0].split(" ")[0] for context in contexts] == ["returnType", "$a", "$b"]


@pytest.mark.parametrize(
    "slots",
    [
        [slot("$a", "(" + ",".join(["1"] * 101) + ")")],
        [slot("$a", *["'x'"] * 101)],
        [slot(f"$a{number}", "'x'") for number in range(51)],
        [slot("$a", "'x'") for _ in range(51)],
        [slot("$XDSDocumentEntryAuthorPerson", "'" + "x" * 257 + "'")],
        [slot("$XDSDocumentEntryAuthorPerson", "'%a%b_c%d%'")],
    ],
)
def test_a_query_larger_than_its_budget_is_refused(slots: list[str]) -> None:
    assert refused(request(*slots))


def test_a_query_at_its_budget_is_read() -> None:
    slots = [slot(f"$a{number}", "(" + ",".join(["1"] * 100) + ")") for number in range(49)]
    asked = read(request(*slots, slot("$XDSDocumentEntryAuthorPerson", "'%" + "x" * 252 + "%_%'")))
    assert len(asked.slots) == 50


def test_a_value_longer_than_the_schema_of_submissions_allows_is_read() -> None:
    assert read(request(slot("$a", "'" + "x" * 5000 + "'"))).groups("$a") == (("x" * 5000,),)


HOSTILE = XdsError(Code.REGISTRY_ERROR, "a <b> & \"c\" 'd'\x00\n", 'l"<')
MILD = XdsError(Code.EXTRA_METADATA_NOT_SAVED, "w", severity=Severity.WARNING)


def test_an_answer_is_schema_valid_and_says_what_an_independent_reader_reads() -> None:
    raw = b"".join(queries.write_response(ResponseStatus.FAILURE, (MILD, HOSTILE), ()))
    assert xml.schema("query").findings(xml.read(raw)) == ()
    root = ElementTree.fromstring(raw)
    assert root.get("status") == ResponseStatus.FAILURE
    errors, objects = root
    assert objects.tag == f"{{{RIM}}}RegistryObjectList"
    assert errors.get("highestSeverity") == Severity.ERROR
    assert [set(error.keys()) for error in errors] == [{"codeContext", "errorCode", "location", "severity"}] * 2
    assert errors[1].get("codeContext") == "a <b> & \"c\" 'd'\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    assert errors[1].get("location") == 'l"<'


def test_an_answer_without_errors_has_no_error_list_and_always_an_object_list() -> None:
    raw = b"".join(queries.write_response(ResponseStatus.SUCCESS, (), [b'<ObjectRef id="urn:uuid:x"/>']))
    assert xml.schema("query").findings(xml.read(raw)) == ()
    assert [child.tag for child in ElementTree.fromstring(raw)] == [f"{{{RIM}}}RegistryObjectList"]
    assert [child.tag for child in ElementTree.fromstring(raw)[0]] == [f"{{{RIM}}}ObjectRef"]


def test_a_registry_response_is_schema_valid() -> None:
    for errors in ((), (MILD,), (MILD, HOSTILE)):
        raw = b"".join(queries.write_registry_response(ResponseStatus.SUCCESS, errors))
        assert xml.schema("rs").findings(xml.read(raw)) == ()
        assert ElementTree.fromstring(raw).tag == f"{{{RS}}}RegistryResponse"


def test_a_long_context_is_cut_and_never_breaks_the_answer() -> None:
    raw = b"".join(queries.write_response(ResponseStatus.FAILURE, (XdsError(Code.REGISTRY_ERROR, "&" * 10**6),), ()))
    assert len(raw) < 10_000
