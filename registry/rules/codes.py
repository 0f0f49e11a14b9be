"""The codes and media types a domain has agreed on: an operator's file, and what it says of one code.

Only what the file names is closed: an attribute that it leaves out takes any code, a coding scheme whose codes are
`"any"` takes any of that scheme. Display names are never compared. Source: ITI TF-3 4.2.3.1.2; TF-1 appendix L.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ihe import values
from ihe.errors import clip

MEDIA_TYPES = "mimeType"
ATTRIBUTES = (
    "classCode",
    "typeCode",
    "formatCode",
    "healthcareFacilityTypeCode",
    "practiceSettingCode",
    "confidentialityCode",
    "eventCodeList",
    "contentTypeCode",
    "codeList",
    "associationDocumentation",
)
"""Attributes that carry codes, as the framework names them; `codeList` is a folder's."""
ANY = "any"
LARGEST = 16 * 1024 * 1024
"""Bytes of a file of codes: ICD-10 as a whole takes half of one MiB."""


class CodesRefused(ValueError):
    """A file of codes that cannot be used; `mistakes` are all that is wrong with it, as (place, sentence)."""

    def __init__(self, mistakes: tuple[tuple[str, str], ...]) -> None:
        super().__init__("\n".join(f"{place}: {sentence}" if place else sentence for place, sentence in mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class CodeSets:
    """The closed attributes of a domain."""

    codes: Mapping[str, Mapping[str, frozenset[str] | None]] = field(default_factory=dict)
    """By attribute and coding scheme; None: any code of that scheme."""
    media_types: frozenset[str] | None = None
    """None: any."""

    def refusal(self, attribute: str, code: str, scheme: str) -> str | None:
        """None for an agreed code, or what was expected instead, in words a sender can act on."""
        schemes = self.codes.get(attribute)
        if schemes is None:
            return None
        if scheme not in schemes:
            return f"a {attribute} of {_some(schemes)}"
        agreed = schemes[scheme]
        if agreed is None or code in agreed:
            return None
        return f"a {attribute} of {scheme}: {_some(agreed)}"

    def media_refusal(self, media_type: str) -> str | None:
        """None for an agreed media type, or what was expected. Compared as text, without parameters."""
        if self.media_types is None or media_type in self.media_types:
            return None
        return f"a media type of {_some(self.media_types)}"


NO_SETS = CodeSets()
"""Everything is open."""


def _some(texts: Mapping[str, object] | frozenset[str], most: int = 8) -> str:
    listed = sorted(texts)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def load(path: Path) -> CodeSets:
    """The code sets in a file. Raises: CodesRefused, with every mistake at once, or why the file cannot be read."""
    try:
        if path.stat().st_size > LARGEST:
            raise CodesRefused((("", f"is larger than {LARGEST // 1024 // 1024} MiB"),))
        return read(path.read_text("utf-8"))
    except OSError as problem:
        raise CodesRefused((("", f"cannot be read: {problem.strerror}"),)) from None
    except UnicodeDecodeError:
        raise CodesRefused((("", "is not UTF-8"),)) from None


def read(text: str) -> CodeSets:
    """The code sets in a TOML text: per attribute, per coding scheme, a list of codes or "any"; and `mimeType`.

    Raises: CodesRefused with every mistake at once.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise CodesRefused((("", f"is not TOML: {clip(str(problem), 200)}"),)) from None
    mistakes: list[tuple[str, str]] = []
    codes: dict[str, dict[str, frozenset[str] | None]] = {}
    media_types: frozenset[str] | None = None
    if not raw:
        mistakes.append(("", "closes no attribute: leave validation.codes out instead"))
    for attribute, told in raw.items():
        if attribute == MEDIA_TYPES:
            media_types = frozenset(_listed(told, MEDIA_TYPES, mistakes))
            mistakes += [(MEDIA_TYPES, f"{clip(each)} is not {fault}") for each, fault in _wrong_types(media_types)]
        elif attribute not in ATTRIBUTES:
            near = difflib.get_close_matches(attribute, (*ATTRIBUTES, MEDIA_TYPES), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            mistakes.append((clip(attribute), f"is no attribute that carries codes{hint}"))
        elif not isinstance(told, dict) or not told:
            mistakes.append((attribute, 'must be a table: "CODING SCHEME" = ["CODE", ...] or "any"'))
        else:
            codes[attribute] = dict(_schemes(attribute, told, mistakes))
    if mistakes:
        raise CodesRefused(tuple(mistakes))
    return CodeSets(codes, media_types)


def _schemes(
    attribute: str, told: Mapping[str, object], mistakes: list[tuple[str, str]]
) -> Iterator[tuple[str, frozenset[str] | None]]:
    for scheme, listed in told.items():
        place = f'{attribute}."{clip(scheme)}"'
        if not scheme or scheme != scheme.strip():
            mistakes.append((place, "is no coding scheme: empty, or with white space around it"))
        yield scheme, None if listed == ANY else frozenset(_listed(listed, place, mistakes))


def _listed(told: object, place: str, mistakes: list[tuple[str, str]]) -> Iterator[str]:
    if not isinstance(told, list) or not told:
        mistakes.append((place, 'must be a list of texts, not empty; or "any" for a coding scheme'))
        return
    seen: set[str] = set()
    for number, each in enumerate(told):
        if not isinstance(each, str) or not each or each != each.strip():
            mistakes.append((f"{place}.{number}", "must be a text, not empty, without white space around it"))
        elif each in seen:
            mistakes.append((f"{place}.{number}", f"{clip(each)} stands there twice"))
        else:
            seen.add(each)
            yield values.nfc(each)


def _wrong_types(media_types: frozenset[str]) -> Iterator[tuple[str, str]]:
    for each in sorted(media_types):
        if fault := values.mime(each):
            yield each, fault
