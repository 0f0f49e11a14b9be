"""Metadata beyond the framework, left out where a node does not keep it (ITI TF-3 4.2.3.1.6; rule extra-metadata)."""

from __future__ import annotations

from collections.abc import Collection

from ihe import xml
from ihe.ebrim import read_submission
from ihe.names import EntryScheme, SetScheme
from ihe.spelling import IN_RIM
from ihe.submittal import Submittal
from registry.rules.attributes import AUTHOR_SLOTS, KNOWN_SLOTS

_AUTHORS = frozenset({EntryScheme.AUTHOR, SetScheme.AUTHOR})
_OF_CODES = frozenset({"codingScheme"})


def without_extra_metadata(submittal: Submittal, keep: Collection[str] = ()) -> Submittal:
    """The same submission without slots that neither the framework nor this registry gives a meaning.

    `keep` are names that have one in this transaction alone.

    Takes them out of the tree it was read from: what is stored, compared with a submission sent again, and shown is
    the rest.
    """
    for found in submittal.objects:
        _drop(found.element, {*KNOWN_SLOTS[found.kind], *keep})
        for part in found.classifications:
            _drop(part.element, AUTHOR_SLOTS if part.scheme in _AUTHORS else _OF_CODES)
        for identifier in found.identifiers:
            _drop(identifier.element, ())
    return read_submission(submittal.body)


def _drop(element: xml.Element, keep: Collection[str]) -> None:
    for slot in element.findall(f"{IN_RIM}Slot"):
        if slot.get("name", "") not in keep:
            element.remove(slot)
