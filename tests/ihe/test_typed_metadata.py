"""What a submission says as typed values: nothing made up, and comparable."""

from __future__ import annotations

from ihe.metadata import Coded
from ihe.names import RIM, EntryScheme
from tests.ihe import submissions as s


def test_a_code_that_a_sender_may_leave_out_is_none_and_not_made_up() -> None:
    root = s.one_document()
    entry = root[0][0]
    entry.remove(next(part for part in entry if part.get("classificationScheme") == EntryScheme.TYPE_CODE))
    sent = s.submission(root)
    assert sent.entries[0].type_code == Coded("", "")
    assert EntryScheme.TYPE_CODE.encode() not in sent.entries[0].body


def test_what_queries_compare_is_nfc_and_what_is_stored_is_verbatim() -> None:
    root = s.one_document()
    decomposed, composed = "A\u030arud", "\u00c5rud"
    for slot in root.iter(f"{{{RIM}}}Slot"):
        if slot.get("name") == "authorPerson":
            slot[0][0].text = f"^{decomposed}^Kari"
    (entry,) = s.submission(root).entries
    assert entry.authors[0].person == f"^{composed}^Kari"
    assert decomposed.encode() in entry.body
