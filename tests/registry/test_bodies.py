"""Bodies come back as they went in, small, and a damaged one is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.database.bodies import PLAIN, Bodies, BodyLost, first_dictionary
from registry.database.engine import Database
from registry.database.tables import body_dict
from tests.ihe import submissions as written

BODY = written.submission(written.one_document()).entries[0].body


@given(st.binary(max_size=3000), st.booleans())
def test_a_body_comes_back_as_it_went_in(body: bytes, with_dictionary: bool) -> None:
    bodies = Bodies({1: first_dictionary()} if with_dictionary else {})
    assert bodies.inflate(*bodies.deflate(body)) == body


def test_an_entry_takes_a_tenth_of_its_size() -> None:
    codec, stored = Bodies({1: first_dictionary()}).deflate(BODY)
    assert codec == 1
    assert len(stored) * 10 < len(BODY)


def test_a_new_dictionary_leaves_older_bodies_readable(database: Database) -> None:
    with database.reading() as connection:
        old = Bodies.read(connection)
    kept = old.deflate(BODY)
    database.write(lambda connection: connection.execute(body_dict.insert(), {"id": 2, "dictionary": BODY}))
    with database.reading() as connection:
        new = Bodies.read(connection)
    assert new.inflate(*kept) == BODY
    assert new.deflate(BODY)[0] == 2
    with pytest.raises(BodyLost):
        old.inflate(*new.deflate(BODY))


def test_a_damaged_body_is_told_never_shown() -> None:
    bodies = Bodies({1: first_dictionary()})
    codec, stored = bodies.deflate(BODY)
    for damaged in (stored[:-1], stored[:40] + bytes([stored[40] ^ 1]) + stored[41:], b"", stored[:20]):
        with pytest.raises(BodyLost):
            bodies.inflate(codec, damaged)
    with pytest.raises(BodyLost):
        bodies.inflate(PLAIN, stored)


def test_no_bit_of_a_body_can_change_unseen() -> None:
    bodies = Bodies({1: first_dictionary()})
    codec, stored = bodies.deflate(BODY)
    # The first two bytes say how it was deflated and change nothing of what comes out.
    for place in range(2, len(stored)):
        with pytest.raises(BodyLost):
            bodies.inflate(codec, stored[:place] + bytes([stored[place] ^ 4]) + stored[place + 1 :])
    for other in (first_dictionary()[:-1] + b"?", b"?" + first_dictionary()):
        with pytest.raises(BodyLost):
            Bodies({1: other}).inflate(codec, stored)
    with pytest.raises(BodyLost):
        bodies.inflate(codec, stored + b"?")
