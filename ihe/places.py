"""Where in a message each element stands, by line and column: what an editor needs and a parsed tree has lost.

A tree remembers the line on which a start tag ends, up to a limit; here the text is looked at once more, for the few
messages that somebody reads in order to mend them. No I/O.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from ihe import xml
from ihe.errors import Mangled

_MARKUP = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|</[^>]*+>|(<[^<>\"'!?/](?:[^<>\"']|\"[^\"]*+\"|'[^']*+')*+>)", re.DOTALL
)
_STEP = re.compile(r"(?:[^:\[\]]*:)?([^:\[\]]+)(?:\[([0-9]{1,9})\])?")
_MOST_STEPS = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column of a character, both counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class Text:
    """A text whose characters can be found by line and column."""

    def __init__(self, text: str, first_line: int = 1, first_column: int = 1) -> None:
        self.text = text
        self._first_line = first_line
        self._first_column = first_column
        self._begins = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(self, offset: int) -> Place:
        """The place of the character at `offset`."""
        row = bisect_right(self._begins, offset) - 1
        indent = self._first_column - 1 if row == 0 else 0
        return Place(self._first_line + row, offset - self._begins[row] + 1 + indent)

    def line(self, number: int) -> str:
        """The text of a line without its line break, or empty where there is none."""
        row = number - self._first_line
        if not 0 <= row < len(self._begins):
            return ""
        end = self._begins[row + 1] if row + 1 < len(self._begins) else len(self.text)
        return self.text[self._begins[row] : end].rstrip("\r\n")


class Places:
    """Finds the start tag of every element of one message, and its attributes."""

    def __init__(self, raw: bytes, first_line: int = 1, first_column: int = 1) -> None:
        """Reads `raw`, which stands at this place of a larger text. Raises Mangled where xml.read does."""
        self.root = xml.read(raw)
        self.text = Text(decoded(raw), first_line, first_column)
        tags = (found for found in _MARKUP.finditer(self.text.text) if found[1])
        # One start tag per element and both in document order: nothing else can be, in what was just read.
        self._tags = dict(zip(self.root.iter("*"), tags, strict=False))

    def of(self, element: xml.Element, attribute: str = "") -> Place | None:
        """Where the start tag of `element` begins, or one of its attributes; None for an element of another tree."""
        tag = self._tags.get(element)
        if tag is None:
            return None
        local = re.escape(attribute.rpartition("}")[2])
        found = re.search(rf"[\s\"']((?:[\w.-]+:)?{local})\s*=\s*[\"']", tag[1]) if attribute else None
        return self.text.place(tag.start() + (found.start(1) if found else 0))


def decoded(raw: bytes) -> str:
    """The characters of an XML message, without a byte order mark. Raises Mangled for what xml.read refuses as well."""
    try:
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return raw.decode("utf-16")
        return raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeError:
        raise Mangled("not UTF-8") from None


def find(body: xml.Element, path: str) -> tuple[xml.Element, str]:
    """The element that `path` leads to from `body`, and the name of the attribute it ends with, or empty.

    Paths are those of rules and of schema findings: names without or with a prefix, or `*`, each with a position among
    its likes. Where a path leads nowhere, the last element on the way is the answer.
    """
    here, attribute = body, ""
    for step in path.split("/")[2:_MOST_STEPS]:
        if step.startswith("@"):
            attribute = step[1:].rpartition(":")[2]
            break
        found = _STEP.fullmatch(step)
        if found is None:
            break
        alike = [child for child in here if found[1] in ("*", local(child))]
        number = int(found[2] or 1)
        if not 0 < number <= len(alike):
            break
        here = alike[number - 1]
    return here, attribute


def path_of(element: xml.Element, top: xml.Element) -> str:
    """The path of `element` from `top` by names, with a position where there are several of a name."""
    steps: list[str] = []
    here: xml.Element | None = element
    while here is not None and here is not top:
        above = here.getparent()
        steps.append(_step(here, above))
        here = above
    return "/".join(["", local(top), *reversed(steps)])


def _step(element: xml.Element, above: xml.Element | None) -> str:
    alike = [] if above is None else [child for child in above if local(child) == local(element)]
    return local(element) if len(alike) < 2 else f"{local(element)}[{alike.index(element) + 1}]"


def local(element: xml.Element) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]
