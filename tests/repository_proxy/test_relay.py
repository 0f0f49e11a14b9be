"""What a hospital answers is matched with what it was asked, checked to the byte, however it was cut into chunks."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from audit.event import Ending
from ihe.retrieval import DocumentRequest
from policy.facts import Decision, DocumentKey, Reason
from repository_proxy.failures import UpstreamFailed
from repository_proxy.plan import Asked, Fetch
from repository_proxy.relay import DocumentBegins, DocumentEnds, Inflater, Relay, RootRead, Step
from repository_proxy.repositories import Hospital, Route
from simulators.hospital_variants import Document, Script, Variant, compose
from tests.repository_proxy.ports import entry

REPOSITORY = "2.999.1"
CONTENTS = {"1.1": b"\r\nfirst\r\n--MIMEBoundary_0\r\n", "1.2": bytes(range(256)) * 3, "1.3": b""}


def fetches(contents: dict[str, bytes], **hospital: Any) -> list[Fetch]:
    where = Hospital("ous", (REPOSITORY,), "http://127.0.0.1:1/", "none", **hospital)
    return [
        Fetch(
            Asked(
                place,
                DocumentRequest("", REPOSITORY, unique_id),
                Route(where, REPOSITORY),
                DocumentKey(REPOSITORY, unique_id),
            ),
            where,
            entry(REPOSITORY, unique_id, content),
            Decision(True, Reason.OK),
        )
        for place, (unique_id, content) in enumerate(contents.items())
    ]


def answer(script: Script, contents: dict[str, bytes] = CONTENTS) -> tuple[str, bytes]:
    documents = {(REPOSITORY, unique_id): Document("application/pdf", each) for unique_id, each in contents.items()}
    asked = [DocumentRequest("", REPOSITORY, unique_id) for unique_id in contents]
    message = compose("urn:uuid:1", asked, documents, script, "00")
    return message.content_type, b"".join(piece for piece in message.pieces() if isinstance(piece, bytes))


def relayed(content_type: str, chunks: Iterable[bytes], asked: Sequence[Fetch]) -> list[Step]:
    relay = Relay(asked, content_type)
    steps = [step for chunk in chunks if chunk for step in relay.feed(chunk)]
    return [*steps, *relay.close()]


def documents(steps: Sequence[Step]) -> dict[str, tuple[bytes, Ending]]:
    """Content and ending by uniqueId; fails if bytes stand outside a document."""
    found: dict[str, tuple[bytes, Ending]] = {}
    current, held = "", b""
    for step in steps:
        match step:
            case DocumentBegins(fetch):
                assert not current
                current, held = fetch.asked.key.unique_id, b""
            case bytes():
                assert current
                held += step
            case DocumentEnds(fetch, ending):
                assert current == fetch.asked.key.unique_id
                found[current], current = (held, ending), ""
    assert not current
    return found


GOOD = [
    (),
    (Variant.PLAIN,),
    (Variant.INLINE,),
    (Variant.UPPER_CASE,),
    (Variant.SPACED_BOUNDARY,),
    (Variant.ENCODED_CID,),
    (Variant.REVERSED_PARTS,),
    (Variant.EXTRA_PART,),
    (Variant.EXTRA_DOCUMENT,),
    (Variant.BASE64_PARTS,),
    (Variant.PREAMBLE,),
    (Variant.EPILOGUE,),
]


@pytest.mark.parametrize("variants", GOOD, ids=lambda found: "+".join(found) or "plain sailing")
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_every_form_that_hospitals_use_gives_the_same_bytes_however_it_is_cut(
    variants: tuple[Variant, ...], size: int
) -> None:
    content_type, raw = answer(Script.of(*variants))
    steps = relayed(content_type, (raw[start : start + size] for start in range(0, len(raw), size)), fetches(CONTENTS))
    assert documents(steps) == {unique_id: (each, Ending.COMPLETE) for unique_id, each in CONTENTS.items()}
    root = next(step for step in steps if isinstance(step, RootRead))
    assert root.unasked == (1 if Variant.EXTRA_DOCUMENT in variants else 0)


def test_a_boundary_may_be_split_at_every_position() -> None:
    content_type, raw = answer(Script())
    for cut in range(0, len(raw), 3):
        steps = relayed(content_type, (raw[:cut], raw[cut:]), fetches(CONTENTS))
        assert {each for _, each in documents(steps).values()} == {Ending.COMPLETE}


@pytest.mark.parametrize("variant", [Variant.BARE_LF, Variant.ROOT_LAST, Variant.WRONG_BOUNDARY, Variant.DOCTYPE])
def test_a_root_that_cannot_be_understood_in_time_is_refused_before_any_document(variant: Variant) -> None:
    content_type, raw = answer(Script.of(variant))
    with pytest.raises(UpstreamFailed) as refused:
        relayed(content_type, [raw], fetches(CONTENTS))
    assert refused.value.ending is Ending.UP_BAD_ROOT


@pytest.mark.parametrize(
    ("variant", "ending"),
    [
        (Variant.SHORT_DOCUMENT, Ending.UP_SHORT),
        (Variant.LONG_DOCUMENT, Ending.UP_LONG),
        (Variant.FLIPPED_BYTE, Ending.UP_HASH),
    ],
)
def test_a_document_that_is_not_the_registered_one_is_told_apart_and_the_others_stay_good(
    variant: Variant, ending: Ending
) -> None:
    content_type, raw = answer(Script.of(variant, document=1))
    found = documents(relayed(content_type, [raw], fetches(CONTENTS)))
    assert [each for _, each in found.values()] == [Ending.COMPLETE, ending, Ending.COMPLETE]
    assert len(found["1.2"][0]) <= len(CONTENTS["1.2"])


@pytest.mark.parametrize("variant", [Variant.UNCLOSED, Variant.MISSING_PART])
def test_an_answer_that_lacks_something_promised_is_never_complete(variant: Variant) -> None:
    content_type, raw = answer(Script.of(variant))
    with pytest.raises(UpstreamFailed) as refused:
        relayed(content_type, [raw], fetches(CONTENTS))
    assert refused.value.ending is Ending.UP_SHORT


def test_cut_at_any_byte_an_answer_is_never_complete() -> None:
    content_type, raw = answer(Script())
    for cut in range(0, len(raw) - 2, 5):
        with pytest.raises(UpstreamFailed):
            relayed(content_type, [raw[:cut]], fetches(CONTENTS))


def test_a_document_under_another_id_or_repository_is_not_what_was_asked_for() -> None:
    content_type, raw = answer(Script.of(Variant.WRONG_DOCUMENT, document=0))
    steps = relayed(content_type, [raw], fetches(CONTENTS))
    root = next(step for step in steps if isinstance(step, RootRead))
    assert set(documents(steps)) == {"1.2", "1.3"}
    assert root.unasked == 1
    assert [fetch.place for fetch, _ in root.missing] == [0]
    raw = raw.replace(b">2.999.1<", b">2.999.2<")
    root = next(step for step in relayed(content_type, [raw], fetches(CONTENTS)) if isinstance(step, RootRead))
    assert (root.promised, root.unasked) == ((), 3)


def test_a_hospital_that_denies_a_document_and_one_that_forgets_it_are_told_the_same_way() -> None:
    content_type, raw = answer(Script(), {"1.1": CONTENTS["1.1"]})
    denied = raw.replace(b"/>", b"/>", 1)
    for each in (raw, denied):
        steps = relayed(content_type, [each], fetches(CONTENTS))
        root = next(step for step in steps if isinstance(step, RootRead))
        assert [error.code.value for _, error in root.missing] == ["XDSDocumentUniqueIdError"] * 2
        assert "own words" not in str(root.missing)


def test_large_inline_content_of_a_hospital_asked_for_one_document_streams_in_small_pieces() -> None:
    content = bytes(range(251)) * 20_000
    contents = {"1.1": content}
    content_type, raw = answer(Script.of(Variant.PLAIN), contents)
    asked = fetches(contents, one_document_per_request=True)
    relay = Relay(asked, content_type)
    taken, largest = 0, 0
    for start in range(0, len(raw), 10_000):
        for step in relay.feed(raw[start : start + 10_000]):
            if isinstance(step, bytes):
                taken, largest = taken + len(step), max(largest, len(step))
    assert [step.ending for step in relay.close() if isinstance(step, DocumentEnds)] == [Ending.COMPLETE]
    assert (taken, largest < 10_000) == (len(content), True)


@pytest.mark.parametrize("contents", [{"1.1": b""}, {"1.1": b"x"}, {"1.1": b"four"}])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_small_and_empty_inline_content_of_such_a_hospital_is_exact(contents: dict[str, bytes], size: int) -> None:
    content_type, raw = answer(Script.of(Variant.PLAIN), contents)
    asked = fetches(contents, one_document_per_request=True)
    steps = relayed(content_type, (raw[start : start + size] for start in range(0, len(raw), size)), asked)
    assert documents(steps) == {"1.1": (contents["1.1"], Ending.COMPLETE)}


def test_inline_content_above_the_limit_of_a_root_is_refused_where_several_documents_are_asked_for_at_once() -> None:
    contents = {"1.1": bytes(2_000_000)}
    content_type, raw = answer(Script.of(Variant.PLAIN), contents)
    with pytest.raises(UpstreamFailed) as refused:
        relayed(content_type, [raw], fetches(contents))
    assert refused.value.ending is Ending.UP_BAD_ROOT


def test_a_gzip_bomb_comes_out_in_bounded_pieces() -> None:
    inflater = Inflater()
    sizes = [len(piece) for piece in inflater.feed(gzip.compress(bytes(50_000_000)))]
    inflater.close()
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 256 * 1024


@pytest.mark.parametrize("spoil", [lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: b"x" + raw])
def test_gzip_that_is_cut_or_goes_on_is_refused(spoil: Any) -> None:
    def inflate(raw: bytes) -> None:
        inflater = Inflater()
        list(inflater.feed(raw))
        inflater.close()

    inflate(gzip.compress(b"document"))
    with pytest.raises(UpstreamFailed):
        inflate(spoil(gzip.compress(b"document")))


@pytest.mark.parametrize(
    "media", ["text/html", "", "application/json", "multipart/mixed; boundary=b", "multipart/related"]
)
def test_only_soap_and_mtom_are_read(media: str) -> None:
    with pytest.raises(UpstreamFailed) as refused:
        Relay(fetches(CONTENTS), media)
    assert refused.value.ending is Ending.UP_BAD_HEADERS
