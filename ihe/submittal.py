"""A submission as it was sent: every registry object with its parts, each with a path a person can follow.

Values are verbatim and empty where absent; nothing is allocated, checked or changed yet.
Sources: OASIS ebRIM 3.0, ITI TF-3 4.2.1 and 4.2.3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from ihe import xml


class Kind(StrEnum):
    """What a registry object is in the model of document sharing (TF-3 4.1)."""

    ENTRY = "DocumentEntry"
    SET = "SubmissionSet"
    FOLDER = "Folder"
    ASSOCIATION = "Association"
    OTHER = "unknown object"


class Slot(NamedTuple):
    """A named list of values, verbatim."""

    name: str
    values: tuple[str, ...]
    slot_type: str
    path: str


class LocalizedString(NamedTuple):
    """One language of a name or description."""

    value: str
    lang: str
    charset: str


@dataclass(frozen=True, slots=True)
class Part:
    """What Classification and ExternalIdentifier have in common; `id` is empty where none was sent."""

    id: str
    path: str
    object_type: str
    slots: tuple[Slot, ...]
    names: tuple[LocalizedString, ...]
    element: xml.Element

    def values(self, name: str) -> tuple[str, ...]:
        """The values of the first slot of this name."""
        return next((slot.values for slot in self.slots if slot.name == name), ())

    @property
    def name(self) -> str:
        """The first display name, or empty."""
        return self.names[0].value if self.names else ""


@dataclass(frozen=True, slots=True)
class Classification(Part):
    """A code, an author (by `scheme`) or a label (by `node`). `code` is None where nodeRepresentation is absent."""

    scheme: str
    node: str
    classified: str
    code: str | None


@dataclass(frozen=True, slots=True)
class ExternalIdentifier(Part):
    """An identifier by the scheme it belongs to."""

    scheme: str
    value: str
    identified: str


_NOTHING: Mapping[str, str] = MappingProxyType({})


class Inside(NamedTuple):
    """One child element of an object or part, and how it is written (ihe.spelling)."""

    name: str
    """Local name."""
    element: xml.Element
    text: str
    """The element as it is written; empty for a part, whose ids are still to be told."""
    part: Part | None = None
    """The Classification or ExternalIdentifier that it is."""
    attributes: Mapping[str, str] = _NOTHING
    """Of a part: as they are written, in the order sent."""
    inside: tuple[Inside, ...] = ()
    """Of a part: what stands in it, in the order sent."""


@dataclass(frozen=True, slots=True)
class SubmittedObject:
    """One registry object, whatever its kind, attributes verbatim and empty where absent."""

    kind: Kind
    tag: str
    """Local name of the element."""
    id: str
    path: str
    home: str
    lid: str
    status: str
    object_type: str
    mime_type: str
    version: str
    slots: tuple[Slot, ...]
    title: tuple[LocalizedString, ...]
    description: tuple[LocalizedString, ...]
    classifications: tuple[Classification, ...]
    """Those inside, then the labels that stood beside it in the list."""
    identifiers: tuple[ExternalIdentifier, ...]
    type: str
    """associationType."""
    source: str
    target: str
    inside: tuple[Inside, ...]
    """Everything that stands in its element and has its place there, in the order sent."""
    beside: tuple[Inside, ...]
    """Labels that stood beside it in the list."""
    element: xml.Element

    def slot(self, name: str) -> Slot | None:
        """The first slot of this name."""
        return next((slot for slot in self.slots if slot.name == name), None)

    def value(self, name: str) -> str:
        """The first value of the first slot of this name, or empty."""
        slot = self.slot(name)
        return slot.values[0] if slot is not None and slot.values else ""

    def classified_by(self, scheme: str) -> tuple[Classification, ...]:
        """The classifications of one scheme, in order."""
        return tuple(found for found in self.classifications if found.scheme == scheme)

    def identified_by(self, scheme: str) -> tuple[ExternalIdentifier, ...]:
        """The identifiers of one scheme, in order."""
        return tuple(found for found in self.identifiers if found.scheme == scheme)


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something that has no place where it stands: an element, an attribute or text."""

    path: str
    what: str


@dataclass(frozen=True, slots=True)
class Submittal:
    """A submission as sent. Nothing is allocated, checked or changed yet."""

    objects: tuple[SubmittedObject, ...]
    """In the order sent, without ObjectRefs (they say nothing new) and without labels that found their package."""
    foreign: tuple[Foreign, ...]
    body: xml.Element

    def of(self, kind: Kind) -> tuple[SubmittedObject, ...]:
        """The objects of one kind, in order."""
        return tuple(found for found in self.objects if found.kind is kind)

    def by_id(self) -> dict[str, SubmittedObject]:
        """Objects by the id they were sent with; the first of a doubled id."""
        known: dict[str, SubmittedObject] = {}
        for found in self.objects:
            if found.id:
                known.setdefault(found.id, found)
        return known
