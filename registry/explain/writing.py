"""Writes corrected fragments in the prefixes of the message they are for. Words in square brackets are to fill in."""

from __future__ import annotations

import re

from ihe import xml
from ihe.names import RIM, SOAP12, WSA
from ihe.places import local

_DECLARATION = re.compile(r"""\sxmlns(?::[\w.-]+)?=(?:"[^"]*"|'[^']*')""")
_USUAL = {WSA: "wsa:", SOAP12: "soap12:", RIM: "rim:"}
MOST_SHOWN = 2000
"""Characters of a fragment: a whole classification fits, a whole entry is better mended where it is broken."""


def prefixed(element: xml.Element, namespace: str, name: str) -> str:
    """`name` with the prefix that `namespace` has at `element`; with a usual one where it has none."""
    prefixes = [prefix for prefix, known in element.nsmap.items() if known == namespace]
    if not prefixes:
        return _USUAL.get(namespace, "") + name
    return f"{prefixes[0]}:{name}" if prefixes[0] else name


def name_of(element: xml.Element) -> str:
    """The name of an element as its message writes it."""
    return f"{element.prefix}:{local(element)}" if element.prefix else local(element)


def shown(element: xml.Element) -> str:
    """An element as it stands in its message: without the declarations that a copy of it alone would need."""
    return _DECLARATION.sub("", xml.write(element).decode())


def attribute(name: str, value: str) -> str:
    """An attribute as it is written."""
    return f'{name}="{xml.escape_attribute(value)}"'


class Writer:
    """Writes ebRIM in the prefix that it has at one element."""

    def __init__(self, at: xml.Element) -> None:
        self._at = at

    def element(self, name: str, attributes: dict[str, str], *inside: str) -> str:
        """An element with attributes and what stands inside."""
        full = prefixed(self._at, RIM, name)
        said = "".join(f" {attribute(key, value)}" for key, value in attributes.items())
        return f"<{full}{said}>{''.join(inside)}</{full}>" if inside else f"<{full}{said}/>"

    def value(self, text: str) -> str:
        """One Value."""
        return self.element("Value", {}, xml.escape_text(text))

    def slot(self, name: str, *values: str) -> str:
        """A slot with its values."""
        listed = self.element("ValueList", {}, *(self.value(each) for each in values))
        return self.element("Slot", {"name": name}, listed)

    def name(self, text: str) -> str:
        """A Name."""
        return self.element("Name", {}, self.element("LocalizedString", {"value": text}))

    def code(self, of: str, scheme: str, what: str) -> str:
        """A coded attribute to fill in."""
        attributes = {
            "id": f"[an id of its own, such as {of}-{what}]",
            "classifiedObject": of,
            "classificationScheme": scheme,
            "nodeRepresentation": f"[the code of {what}]",
        }
        slot = self.slot("codingScheme", "[its coding scheme]")
        return self.element("Classification", attributes, slot, self.name("[its display name]"))

    def label(self, of: str, node: str) -> str:
        """What makes a RegistryPackage a SubmissionSet or a Folder."""
        attributes = {"id": f"[an id of its own, such as {of}-label]", "classifiedObject": of}
        return self.element("Classification", {**attributes, "classificationNode": node})

    def identifier(self, of: str, scheme: str, what: str, value: str, kind: str) -> str:
        """An identifier to fill in."""
        attributes = {
            "id": f"[an id of its own, such as {of}-{what}]",
            "registryObject": of,
            "identificationScheme": scheme,
            "value": f"[{value}]",
        }
        return self.element("ExternalIdentifier", attributes, self.name(f"XDS{kind}.{what}"))

    def association(self, kind: str, source: str, target: str, status: str = "") -> str:
        """An association."""
        attributes = {
            "id": "[an id of its own]",
            "associationType": kind,
            "sourceObject": source,
            "targetObject": target,
        }
        return self.element("Association", attributes, *([self.slot("SubmissionSetStatus", status)] if status else []))
