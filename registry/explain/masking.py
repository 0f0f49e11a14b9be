"""Keeps patients out of explanations: a message is often sent on to colleagues, and its patient with it.

Each patient becomes `(patient 1)`, `(patient 2)` and so on, so that two different ones can still be told apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ihe import xml
from ihe.errors import Mangled
from ihe.names import RIM, IdScheme
from ihe.queries import parse_value
from policy.numbers import SYNTHETIC_MONTHS, NumberRules, person_number

_SCHEMES = frozenset({IdScheme.ENTRY_PATIENT_ID, IdScheme.SET_PATIENT_ID, IdScheme.FOLDER_PATIENT_ID})
_ELEVEN = re.compile(r"(?<![0-9])[0-9]{11}(?![0-9])")
_WITHIN = re.compile(r"[A-Fa-f.]")
_NATIONAL = NumberRules(synthetic_months=SYNTHETIC_MONTHS)
_IN_CX = re.compile(r"[^\s'\"()<>|^&;]+(?=\^\^\^)")
_MOST_NUMBERS = 10_000
_SLOT, _VALUE = f"{{{RIM}}}Slot", f"{{{RIM}}}Value"
_SHORT = 4
"""An id shorter than this stands in too many other words to be replaced wherever it is found."""


class Mask:
    """Replaces the patient numbers of one message."""

    def __init__(self, root: xml.Element | None) -> None:
        """Takes the patients of the message below `root`; without one, whatever looks like a patient is hidden."""
        self._names: dict[str, str] = {}
        self._count = 0
        self._details: set[str] = set()
        self._loose = root is None
        for element in () if root is None else root.iter("*"):
            for number in _numbers(element):
                self._names.setdefault(xml.escape_text(number), self._name(number))
            for detail in _details(element):
                self._details |= {detail, xml.escape_text(detail)}
        self._known = _words(self._names)
        self._hidden = _words(self._details)

    def __call__(self, text: str) -> str:
        """`text` without patients."""
        if self._hidden is not None:
            text = self._hidden.sub("(patient detail)", text)
        if self._known is not None:
            text = self._known.sub(lambda found: self._names[found[0]], text)
        if self._loose:
            text = _IN_CX.sub(lambda found: self._name(found[0]), text)
        return _ELEVEN.sub(self._person, text)

    def _person(self, found: re.Match[str]) -> str:
        """Eleven digits by themselves, or anywhere if they can be a national number: also within an OID."""
        around = found.string[found.start() - 1 : found.start()] + found.string[found.end() : found.end() + 1]
        if _WITHIN.search(around) is not None and person_number(found[0], _NATIONAL) is None:
            return found[0]
        return self._name(found[0])

    def _name(self, number: str) -> str:
        if number not in self._names:
            self._count += 1
            self._names[number] = f"(patient {self._count})"
        return self._names[number]


def _words(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Any of `texts` as a word of its own, the longest first."""
    words = [
        re.escape(each) + (r"(?=\^)" if len(each) < _SHORT else r"(?!\w)")
        for each in sorted(texts, key=len, reverse=True)[:_MOST_NUMBERS]
    ]
    return re.compile(rf"(?<![\w.])(?:{'|'.join(words)})") if words else None


def _numbers(element: xml.Element) -> Iterator[str]:
    """What of `element` is a patient's number, or would be if it were written as it should be."""
    scheme, value = element.get("identificationScheme", ""), element.get("value", "")
    if value and (scheme.strip().lower() in _SCHEMES or "^^^" in value):
        yield from _number(value)
    if element.tag == _SLOT:
        name = element.get("name", "")
        if name.strip().lower().endswith("patientid"):
            for text in _texts(element):
                yield from _read(text)


def _read(text: str) -> Iterator[str]:
    try:
        values: Iterable[str] = parse_value(text)
    except Mangled:
        values = [text.strip("'\"() ")]
    for value in values:
        yield from _number(value)


def _number(value: str) -> Iterator[str]:
    number = value.partition("^")[0].strip()
    if number:
        yield number


def _details(element: xml.Element) -> Iterator[str]:
    if element.tag == _SLOT and element.get("name", "").strip().lower() == "sourcepatientinfo":
        for text in _texts(element):
            field = text.partition("|")[2].strip()
            if len(field) >= _SHORT:
                yield field


def _texts(slot: xml.Element) -> list[str]:
    return [xml.text(value) for value in slot.iter(_VALUE)]
