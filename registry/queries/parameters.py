"""The syntax of stored query parameters: what one value may be, and how many there may be.

Sources: ITI TF-2 3.18.4.1.2.3 (codings), TF-3 4.2.3.1.7 (data types).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ihe.metadata import Coded
from ihe.names import Status
from ihe.values import AVAILABILITY, cx, earliest, is_dtm, nfc
from registry.database.tables import OBJECT_TYPE_NUMBER


class Malformed(ValueError):
    """A value that is not in its parameter's syntax; `str()` says what was expected."""


Syntax = Callable[[str], Any]
"""The value in its type, or None for one that does not count. Raises Malformed."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a stored query: where its values go, in which syntax, how many there may be."""

    name: str
    field: str
    """Of the query's type; `part.field` for a field of one of its parts."""
    syntax: Syntax
    required: bool = False
    many: bool = True
    groups: bool = False
    """May be repeated: the repetitions are ANDed."""
    unordered: bool = False
    """Becomes a frozenset."""
    listed: bool = False
    """Becomes a tuple although it takes one value."""

    def typed(self, groups: tuple[tuple[Any, ...], ...]) -> Any:
        """Its values as the query's field holds them; there is at least one."""
        if self.groups:
            return groups
        if self.unordered:
            return frozenset(groups[0])
        return groups[0] if self.many or self.listed else groups[0][0]


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open time range in numbers yyyymmddhhmmss; None where it has no end, or no beginning."""

    begin: int | None = None
    end: int | None = None


ALWAYS = Period()


def patient(value: str) -> str:
    """A patient identifier as CX."""
    if (expected := cx(value)) is not None:
        raise Malformed(expected)
    return value


def status(value: str) -> Status | None:
    """None for an unknown status: those are dropped, and a parameter of which nothing is left counts as missing."""
    return Status(value) if value in set(Status) else None


def code(value: str) -> Coded:
    """`code^^scheme`. NFC, as what it is compared with (ITI TF-2 appendix F)."""
    parts = value.split("^")
    if len(parts) != 3 or parts[1] or not parts[0] or not parts[2]:
        raise Malformed("code^^scheme, both given")
    return Coded(nfc(parts[0]), nfc(parts[2]))


def time(value: str) -> int:
    """A DTM, padded with the lowest legal value."""
    if not is_dtm(value):
        raise Malformed("a time YYYY[MM[DD[hh[mm[ss]]]]] in UTC")
    return int(earliest(value))


def entry_type(value: str) -> str:
    """The objectType of a DocumentEntry."""
    if value not in OBJECT_TYPE_NUMBER:
        raise Malformed("the objectType of a stable or an on-demand entry")
    return value


def availability(value: str) -> str:
    """documentAvailability."""
    if value not in AVAILABILITY:
        raise Malformed("the URN of documentAvailability Online or Offline")
    return value


def level(value: str) -> int:
    """$MetadataLevel: 2 for a consumer that knows of versions."""
    if value not in ("1", "2"):
        raise Malformed("1 or 2")
    return int(value)


def text(value: str) -> str:
    """Any text, an id for instance: one that is none finds nothing. NFC, as what it is compared with."""
    return nfc(value)
