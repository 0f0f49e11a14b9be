"""Codes and labels as the small numbers that rows carry, and back; what was read once stays known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.metadata import Coded
from registry.database.engine import Database
from registry.database.statements import insert_new
from registry.database.tables import code, label

UNKNOWN = -1
"""The number of a code or label that no row carries: matches nothing."""

_BY_CODE = sa.select(code.c.id).where(code.c.scheme == sa.bindparam("scheme"), code.c.value == sa.bindparam("value"))
_BY_LABEL = sa.select(label.c.id).where(label.c.text == sa.bindparam("text"))
_CODE = sa.select(code.c.scheme, code.c.value).where(code.c.id == sa.bindparam("id"))
_LABEL = sa.select(label.c.text).where(label.c.id == sa.bindparam("id"))


@dataclass(slots=True)
class Numbers:
    """What one write needs: every code and label of it with its number, new ones included."""

    codes: dict[Coded, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)

    def inline(self, codes: Iterable[Coded]) -> str:
        """`,1,2,` as rows carry a list of codes; empty for none."""
        numbers = [str(self.codes[each]) for each in codes]
        return f",{','.join(numbers)}," if numbers else ""


class Vocabulary:
    """Safe from any thread: entries are only ever added, each from a committed row."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._codes: dict[int, Coded] = {}
        self._labels: dict[int, str] = {}
        self._known = Numbers()
        self._lists: dict[str, tuple[Coded, ...]] = {"": ()}
        with database.reading() as connection:
            for number, scheme, value in connection.execute(sa.select(code.c.id, code.c.scheme, code.c.value)):
                self._learn_code(number, Coded(value, scheme))
            for number, text in connection.execute(sa.select(label.c.id, label.c.text)):
                self._learn_label(number, text)

    def code(self, number: int) -> Coded:
        """The code with this number; read once if another process registered it."""
        try:
            return self._codes[number]
        except KeyError:
            with self._database.reading() as connection:
                scheme, value = connection.execute(_CODE, {"id": number}).one()
            return self._learn_code(number, Coded(value, scheme))

    def label(self, number: int) -> str:
        """The label with this number."""
        try:
            return self._labels[number]
        except KeyError:
            with self._database.reading() as connection:
                text = connection.execute(_LABEL, {"id": number}).scalar_one()
            return self._learn_label(number, text)

    def codes(self, inline: str) -> tuple[Coded, ...]:
        """The codes of an inline list such as `,1,2,`."""
        try:
            return self._lists[inline]
        except KeyError:
            found = tuple(self.code(int(number)) for number in inline.strip(",").split(","))
            self._lists[inline] = found
            return found

    def numbers_of(self, codes: Iterable[Coded]) -> list[int]:
        """The numbers of these codes in order; UNKNOWN for one that no row carries."""
        return [self._number_of(each) for each in codes]

    def _number_of(self, wanted: Coded) -> int:
        known = self._known.codes.get(wanted)
        if known is not None:
            return known
        with self._database.reading() as connection:
            number = connection.execute(_BY_CODE, {"scheme": wanted.scheme, "value": wanted.value}).scalar()
        if number is None:
            return UNKNOWN
        self._learn_code(number, wanted)
        return int(number)

    def label_numbers(self, texts: Iterable[str]) -> list[int]:
        """The numbers of these labels in order; UNKNOWN for one that no row carries."""
        return [self._label_number(each) for each in texts]

    def _label_number(self, wanted: str) -> int:
        known = self._known.labels.get(wanted)
        if known is not None:
            return known
        with self._database.reading() as connection:
            number = connection.execute(_BY_LABEL, {"text": wanted}).scalar()
        if number is None:
            return UNKNOWN
        self._learn_label(number, wanted)
        return int(number)

    def intern(self, connection: Connection, codes: Iterable[Coded], labels: Iterable[str]) -> Numbers:
        """Numbers for a write, giving new ones inside its transaction; in sorted order, so that writers cannot cross.

        Not remembered: the transaction may still be undone. See remember().
        """
        numbers = Numbers()
        for each in sorted(set(codes)):
            number = self._known.codes.get(each)
            if number is None:
                values = {"scheme": each.scheme, "value": each.value}
                number = _number(connection, _BY_CODE, code, values)
            numbers.codes[each] = number
        for text in sorted(set(labels)):
            number = self._known.labels.get(text)
            if number is None:
                number = _number(connection, _BY_LABEL, label, {"text": text})
            numbers.labels[text] = number
        return numbers

    def remember(self, numbers: Numbers) -> None:
        """Keeps the numbers of a committed write."""
        for each, number in numbers.codes.items():
            self._learn_code(number, each)
        for text, number in numbers.labels.items():
            self._learn_label(number, text)

    def _learn_code(self, number: int, known: Coded) -> Coded:
        self._codes[number] = known
        self._known.codes[known] = number
        return known

    def _learn_label(self, number: int, text: str) -> str:
        self._labels[number] = text
        self._known.labels[text] = number
        return text


def _number(connection: Connection, find: sa.Select[int], table: sa.Table, values: Mapping[str, str]) -> int:
    number = connection.execute(find, values).scalar()
    if number is None:
        number = connection.execute(insert_new(connection, table).returning(table.c.id), values).scalar()
    if number is None:  # another transaction committed it in between
        number = connection.execute(find, values).scalar_one()
    return int(number)
