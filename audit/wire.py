"""An Event becomes one line of ASCII that anyone can read years later, and becomes the same Event again.

Exact: every field of Event, Subject, Object and Decision, found from the types themselves, so a field added there is
written without a change here. Safe: JSON with everything but printable ASCII escaped, so one event is one line
whatever a caller planted in it. Bounded: texts above a limit are cut, and the cut fields are named in `clipped`.
Source: RFC 8259; what the trail must hold: ITI TF-2 3.20.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

from audit.event import Event, Object
from ihe.errors import clip
from policy.facts import Decision

VERSION = 1
"""Raised when the meaning of a field changes. A field with a default may be added without it."""

MAX_TEXT = 1024
"""Characters of one text. The longest id a standard allows is 256; a distinguished name stays below 1024."""

MAX_QUERY = 64 * 1024
"""Characters of an AdhocQueryRequest. A query that names 1 000 documents by uuid takes 60 000."""

Json = Any
"""What json reads and writes. Checked by the readers below, never trusted."""


class Unreadable(ValueError):
    """A line of the spool that is not what this version writes. `str()` holds none of its values."""


def write(event: Event) -> bytes:
    """The event as one line of ASCII JSON, without the line break.

    Raises ValueError for a time without a zone: an audit time that depends on a machine's setting proves nothing.
    """
    clipped: list[str] = []
    decisions: dict[Decision, int] = {}
    objects = [_row(one, decisions, clipped) for one in event.objects]
    written: dict[str, Json] = {"v": VERSION}
    for name, default in _WRITTEN[Event]:
        value = getattr(event, name)
        if name != "objects" and value != default:
            written[name] = _plain(value, name, clipped)
    if objects:
        written["decisions"] = [_plain(decision, "decisions", clipped) for decision in decisions]
        written["objects"] = objects
    if clipped:
        written["clipped"] = sorted(set(clipped))
    return json.dumps(written, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def read(raw: bytes) -> Event:
    """The event that `write` was given, texts cut to their limits. Raises Unreadable for anything else."""
    try:
        found = json.loads(raw)
    except ValueError:
        raise Unreadable("not JSON") from None
    if not isinstance(found, dict) or found.pop("v", None) != VERSION:
        raise Unreadable(f"not an event of version {VERSION}")
    found.pop("clipped", None)
    decisions = [_DECISION(each) for each in _list(found.pop("decisions", []), "decisions")]
    rows = _list(found.pop("objects", []), "objects")
    event = cast(Event, _EVENT(found))
    # Written field by field and not with replace(): the rows share the decisions they point at.
    return _with_objects(event, tuple(_object(row, decisions) for row in rows))


# Writing -------------------------------------------------------------------------------------------------------------


def _plain(value: object, where: str, clipped: list[str]) -> Json:
    """`value` in JSON's own types; dataclasses leave out what equals its default."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, str):
        return _text(value, where, clipped)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{where} has no time zone")
        return value.astimezone(UTC).isoformat()
    if isinstance(value, frozenset):
        return sorted(_plain(each, where, clipped) for each in value)
    if isinstance(value, tuple):
        return [_plain(each, where, clipped) for each in value]
    return {
        # Most parts are short texts and stand as they are: every exchange waits for this, twice.
        name: part if type(part) is str and len(part) <= MAX_TEXT else _plain(part, f"{where}.{name}", clipped)
        for name, default in _WRITTEN[type(value)]
        if (part := getattr(value, name)) != default
    }


def _text(value: str, where: str, clipped: list[str]) -> str:
    most = MAX_QUERY if where == "query" else MAX_TEXT
    if len(value) <= most:
        return value
    clipped.append(where)
    return value[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _row(one: Object, decisions: dict[Decision, int], clipped: list[str]) -> list[Json]:
    # A query's answer shares a handful of decisions among hundreds of documents: each decision is written once.
    number = decisions.setdefault(one.decision, len(decisions))
    texts = one.entry_uuid, one.repository_unique_id, one.unique_id
    if max(map(len, texts)) <= MAX_TEXT:
        row: list[Json] = [number, *texts]
    else:
        row = [number, *(_text(value, "objects", clipped) for value in texts)]
    if one.ending is not None or one.bytes_sent:
        row += [one.ending.value if one.ending else None, one.bytes_sent]
    return row


# Reading -------------------------------------------------------------------------------------------------------------

Reader = Callable[[Json], object]


def _list(value: Json, where: str) -> list[Json]:
    if not isinstance(value, list):
        raise Unreadable(f"{where} is not a list")
    return value


def _object(row: Json, decisions: list[object]) -> Object:
    """One row: decision number, entryUUID, repositoryUniqueId, uniqueId and, for a delivery, ending and bytes."""
    cells = _list(row, "objects")
    if len(cells) not in (4, 6) or type(cells[0]) is not int or not 0 <= cells[0] < len(decisions):
        raise Unreadable("objects holds a broken row")
    ending, sent = (_ENDING(cells[4]), _exactly(int)(cells[5])) if len(cells) == 6 else (None, 0)
    uuid, repository, unique = (_exactly(str)(cell) for cell in cells[1:4])
    return Object(
        decision=cast(Decision, decisions[cells[0]]),
        entry_uuid=cast(str, uuid),
        repository_unique_id=cast(str, repository),
        unique_id=cast(str, unique),
        ending=cast(Any, ending),
        bytes_sent=cast(int, sent),
    )


def _with_objects(event: Event, objects: tuple[Object, ...]) -> Event:
    values = {each.name: getattr(event, each.name) for each in fields(event)}
    return Event(**(values | {"objects": objects}))


def _exactly(kind: type) -> Reader:
    def exact(value: Json) -> object:
        # bool is an int to isinstance; `1` where true was written would be a forged line that reads well.
        if type(value) is not kind:
            raise Unreadable(f"found {type(value).__name__} instead of {kind.__name__}")
        return value

    return exact


def _time(value: Json) -> datetime:
    try:
        moment = datetime.fromisoformat(cast(str, _exactly(str)(value)))
    except ValueError:
        raise Unreadable("not a time") from None
    if moment.tzinfo is None:
        raise Unreadable("a time without a zone")
    return moment


def _member(kind: type[StrEnum]) -> Reader:
    def member(value: Json) -> object:
        try:
            return kind(value)
        except ValueError:
            raise Unreadable(f"unknown {kind.__name__}") from None

    return member


def _many(make: Callable[[list[object]], object], each: Reader) -> Reader:
    return lambda value: make([each(one) for one in _list(value, "a list")])


def _pair(readers: tuple[Reader, ...]) -> Reader:
    def pair(value: Json) -> object:
        cells = _list(value, "a pair")
        if len(cells) != len(readers):
            raise Unreadable("a pair of another length")
        return tuple(read_cell(cell) for read_cell, cell in zip(readers, cells, strict=True))

    return pair


def _dataclass(kind: type) -> Reader:
    hints = typing.get_type_hints(kind)
    readers = {each.name: _reader(hints[each.name]) for each in fields(kind)}
    needed = {each.name for each in fields(kind) if _default(each) is MISSING}

    def build(value: Json) -> object:
        if not isinstance(value, dict) or not needed <= value.keys():
            raise Unreadable(f"{kind.__name__} lacks a field")
        unknown = value.keys() - readers.keys()
        if unknown:
            # Dropping what we do not know would show an auditor less than was written.
            raise Unreadable(f"{kind.__name__} has an unknown field {clip(min(unknown))}")
        return kind(**{name: readers[name](part) for name, part in value.items()})

    return build


def _reader(hint: Any) -> Reader:
    """How to read a field of this type; a type nobody provided for stops the import, not an audit years later."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType) and type(None) in inner:
        present = _reader(next(each for each in inner if each is not type(None)))
        return lambda value: None if value is None else present(value)
    if origin is frozenset:
        return _many(frozenset, _reader(inner[0]))
    if origin is tuple:
        return _many(tuple, _reader(inner[0])) if inner[-1] is Ellipsis else _pair(tuple(map(_reader, inner)))
    if hint is datetime:
        return _time
    if hint in (str, int, bool):
        return _exactly(hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _member(hint)
    if is_dataclass(hint):
        return _dataclass(cast(type, hint))
    raise TypeError(f"audit.wire cannot write {hint}")


def _default(each: Field[Any]) -> object:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _written(*kinds: type) -> dict[type, tuple[tuple[str, object], ...]]:
    """Per dataclass its fields and their defaults; collects the dataclasses inside as well."""
    found: dict[type, tuple[tuple[str, object], ...]] = {}
    for kind in kinds:
        found[kind] = tuple((each.name, _default(each)) for each in fields(kind))
        inner = [arg for hint in typing.get_type_hints(kind).values() for arg in (hint, *typing.get_args(hint))]
        found |= _written(*(each for each in inner if isinstance(each, type) and is_dataclass(each)))
    return found


_WRITTEN = _written(Event)
_EVENT = _dataclass(Event)
_DECISION = _dataclass(Decision)
_ENDING = _reader(typing.get_type_hints(Object)["ending"])
_ROW_FIELDS = {"decision", "entry_uuid", "repository_unique_id", "unique_id", "ending", "bytes_sent"}
assert {each.name for each in fields(Object)} == _ROW_FIELDS, "audit.wire writes objects as rows: extend _row, _object"
