"""Writes one element of ebRIM in the one spelling that is stored and compared: no prefix, attributes sorted.

Source: OASIS ebRIM 3.0. What becomes of a whole object is ihe.canonical's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ihe import xml
from ihe.names import RIM, XML, XSI

IN_RIM = f"{{{RIM}}}"
LANG = f"{{{XML}}}lang"
HINTS = frozenset({f"{{{XSI}}}schemaLocation", f"{{{XSI}}}noNamespaceSchemaLocation"})
"""Attributes that tell a validator where to look and say nothing about the content."""
_ELSEWHERE = HINTS | {LANG}


def said(element: xml.Element) -> dict[str, str]:
    """The attributes of an element as they were read, by full names."""
    return dict(element.items())  # type: ignore[arg-type]  # bytes are never read, only written


def tagged(name: str, attributes: str, inside: str) -> str:
    """An element of attributes that are spelled already."""
    return f"<{name}{attributes}>{inside}</{name}>" if inside else f"<{name}{attributes}/>"


def spelled(attributes: Mapping[str, str]) -> str:
    """Attributes whose values are escaped already, sorted by name."""
    if len(attributes) == 1:  # a slot, mostly
        ((name, value),) = attributes.items()
        return f' {name}="{value}"'
    return "".join([f' {name}="{attributes[name]}"' for name in sorted(attributes)])


def escaped(attributes: Mapping[str, str]) -> dict[str, str]:
    """Attributes of an element as it was read, as they are written; of another namespace nothing has a place but
    xml:lang."""
    escape = xml.escape_attribute
    if _ELSEWHERE.isdisjoint(attributes):
        return {key: escape(value) for key, value in attributes.items()}
    found = {key: escape(value) for key, value in attributes.items() if key not in _ELSEWHERE}
    if LANG in attributes:
        found["xml:lang"] = escape(attributes[LANG])
    return found


def values(texts: Iterable[str]) -> str:
    """A ValueList."""
    escape = xml.escape_text
    inside = "".join([f"<Value>{escape(text)}</Value>" if text else "<Value/>" for text in texts])
    return f"<ValueList>{inside}</ValueList>" if inside else "<ValueList/>"


def localized(attributes: Mapping[str, str]) -> str:
    """A LocalizedString. Its character set is that of the message, always."""
    found = escaped(attributes)
    found.pop("charset", None)
    return f'<LocalizedString charset="UTF-8"{spelled(found)}/>'
