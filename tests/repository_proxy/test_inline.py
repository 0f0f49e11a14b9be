"""A plain answer is taken apart while it arrives, and believed only as far as the ordinary reader believes it."""

from __future__ import annotations

import pytest

from ihe.errors import Mangled
from repository_proxy.inline import Envelope, InlineReader

HEAD = b'<?xml version="1.0"?><s:E xmlns:s="a" note="a > b"><s:B><r:D xmlns:r="b"><r:id>1</r:id>'
TAIL = b"</r:D></s:B></s:E>"
WHOLE = HEAD + b"<r:Document>SGVs\nbG8=</r:Document>" + TAIL


def read(raw: bytes, size: int = 1 << 20, limit: int = 10_000) -> tuple[list[Envelope], bytes]:
    reader = InlineReader(limit)
    found = [each for start in range(0, len(raw), size) for each in reader.feed(raw[start : start + size])]
    last = reader.close()
    envelopes = [each for each in found if isinstance(each, Envelope)] + ([last] if last else [])
    return envelopes, b"".join(each for each in found if isinstance(each, bytes))


@pytest.mark.parametrize("size", [1, 2, 3, 1 << 20])
def test_the_envelope_comes_closed_before_the_documents_first_byte(size: int) -> None:
    envelopes, content = read(WHOLE, size)
    assert [each.raw for each in envelopes] == [HEAD + b"<r:Document></r:Document>" + TAIL]
    assert content == b"Hello"


def test_an_answer_without_a_document_comes_whole() -> None:
    raw = HEAD + TAIL
    assert read(raw) == ([Envelope(raw)], b"")


@pytest.mark.parametrize(
    "raw",
    [
        WHOLE[:-1],
        WHOLE.replace(TAIL, b"</r:X></s:B></s:E>"),
        WHOLE.replace(b"SGVs", b"<!-- -->SGVs"),
        WHOLE.replace(b"SGVs", b"<x/>SGVs"),
        WHOLE.replace(b"SGVs", b"S"),
        WHOLE.replace(b"SGVs", b"&#83;GVs"),
        WHOLE.replace(b"<r:id>", b"<![CDATA[<r:Document>]]><r:id>"),
        WHOLE.replace(b"?><s:E", b"?><!DOCTYPE s><s:E"),
        WHOLE.replace(TAIL, b"<r:Document>SGVs</r:Document>" + TAIL),
        WHOLE.replace(TAIL, b"&undefined;" + TAIL),
        WHOLE + b"<more/>",
        b"",
    ],
)
def test_what_is_not_plainly_one_document_in_one_envelope_is_refused(raw: bytes) -> None:
    for size in (1, 1 << 20):
        with pytest.raises(Mangled):
            read(raw, size)


def test_an_envelope_that_never_comes_to_its_document_is_cut_at_the_limit() -> None:
    with pytest.raises(Mangled):
        read(b"<a>text" * 10_000, 7)
    with pytest.raises(Mangled):
        list(InlineReader(10_000).feed(b"<a " + b"x" * 20_000))
