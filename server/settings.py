"""Reads a configuration file into a Config, or names everything that is wrong with it.

Each section is checked by itself, so that a mistake in one does not hide those in another; rules across sections are
checked on every section that stands.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from pydantic import ValidationError

from ihe.errors import clip
from registry.rules.strictness import level_fault
from server import config
from server.config import (
    Config,
    Feed,
    Hospital,
    Identity,
    Issuer,
    Listener,
    PatientsSection,
    Section,
    ValidationSection,
)

MANY: Mapping[str, type[Section]] = {
    "listener": Listener,
    "issuer": Issuer,
    "identity": Identity,
    "hospital": Hospital,
    "feed": Feed,
}
ONE: Mapping[str, type[Section]] = {
    "node": config.NodeSection,
    "database": config.DatabaseSection,
    "audit": config.AuditSection,
    "retention": config.RetentionSection,
    "clock": config.ClockSection,
    "patients": config.PatientsSection,
    "query": config.QuerySection,
    "retrieve": config.RetrieveSection,
    "validation": config.ValidationSection,
    "log": config.LogSection,
}
assert MANY.keys() | ONE.keys() == Config.model_fields.keys()

LARGEST = 1024 * 1024
"""Bytes of a configuration file: a node with a thousand hospitals takes half of it."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong: the dotted path of the key, and a sentence. Never a value: it may be a secret."""

    path: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}: {self.sentence}" if self.path else self.sentence


class ConfigRefused(ValueError):
    """A configuration that cannot be used; `mistakes` are all of them."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Parts:
    """The sections that stand by themselves, also where others do not."""

    listeners: Mapping[str, Listener]
    issuers: Mapping[str, Issuer]
    identities: Mapping[str, Identity]
    hospitals: Mapping[str, Hospital]
    feeds: Mapping[str, Feed]
    patients: PatientsSection | None
    """None where the section has mistakes."""
    simulated: bool
    known_identities: frozenset[str]
    """Names of all [identity] sections, broken ones too."""
    validation: ValidationSection


def load(path: Path) -> Config:
    """The configuration in this file. Raises ConfigRefused with every mistake; nothing outside the file is read."""
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigRefused((Mistake("", f"{path} is larger than {LARGEST // 1024} KiB"),))
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as problem:
        raise ConfigRefused((Mistake("", f"{path} cannot be read: {problem.strerror}"),)) from None
    except UnicodeDecodeError:
        raise ConfigRefused((Mistake("", f"{path} is not UTF-8"),)) from None
    except tomllib.TOMLDecodeError as problem:
        raise ConfigRefused((Mistake("", f"{path} is not TOML: {clip(str(problem), 200)}"),)) from None
    return read(raw, path.absolute().parent)


def read(raw: Mapping[str, Any], folder: Path) -> Config:
    """The configuration in parsed TOML, paths relative to `folder`. Raises ConfigRefused with every mistake."""
    mistakes: list[Mistake] = [_unknown(key, "", Config.model_fields) for key in raw if key not in Config.model_fields]
    stand: dict[str, Any] = {}
    for name, kind in ONE.items():
        if name == "node" and name not in raw:
            mistakes.append(Mistake("node", "is missing"))
            continue
        section = _section(kind, raw.get(name, {}), name, folder, mistakes)
        if section is not None:
            stand[name] = section
    for name, kind in MANY.items():
        stand[name] = dict(_sections(kind, raw.get(name, {}), name, folder, mistakes))
    mistakes += _pairs(raw)
    mistakes += _across(_parts(raw, stand))
    if mistakes:
        raise ConfigRefused(tuple(mistakes))
    return Config(**stand)


def _sections(
    kind: type[Section], raw: object, name: str, folder: Path, mistakes: list[Mistake]
) -> Iterator[tuple[str, Section]]:
    if not isinstance(raw, dict):
        mistakes.append(Mistake(name, f"must be sections [{name}.NAME]"))
        return
    if name == "listener" and not raw:
        mistakes.append(Mistake(name, "is missing: a node without a listener answers nobody"))
    for key, value in raw.items():
        if not re.fullmatch(config.NAME, key):
            mistakes.append(Mistake(f"{name}.{clip(key)}", "is not a name: letters, digits, _ and -"))
        section = _section(kind, value, f"{name}.{clip(key)}", folder, mistakes)
        if section is not None:
            yield key, section


def _section(kind: type[Section], raw: object, path: str, folder: Path, mistakes: list[Mistake]) -> Section | None:
    try:
        return kind.model_validate(raw, context={"folder": folder})
    except ValidationError as refused:
        for error in refused.errors(include_url=False, include_context=False, include_input=False):
            where = ".".join(clip(str(each)) for each in error["loc"])
            full = f"{path}.{where}" if where else path
            if error["type"] == "extra_forbidden":
                mistakes.append(_unknown(str(error["loc"][-1]), path, kind.model_fields))
            else:
                mistakes.append(Mistake(full, _sentence(error["type"], error["msg"])))
    return None


def _unknown(key: str, path: str, known: Mapping[str, object]) -> Mistake:
    near = difflib.get_close_matches(key, list(known), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return Mistake(f"{path}.{clip(key)}" if path else clip(key), f"is not a known key{hint}")


def _sentence(kind: str, text: str) -> str:
    if kind == "missing":
        return "is missing"
    if kind == "timezone_aware":
        return "must carry an offset, for example 2021-02-15T10:00:00+01:00"
    return clip(text.removeprefix("Value error, ").replace("Input should", "should"), 300)


# Rules that read raw keys: they hold also where a section has other mistakes ------------------------------------------


def _pairs(raw: Mapping[str, Any]) -> Iterator[Mistake]:
    tls = ("certificate", "key", "client_ca")
    for name, keys in (("listener", tls), ("feed", tls), ("hospital", ("certificate", "key"))):
        sections = raw.get(name, {})
        for key, section in sections.items() if isinstance(sections, dict) else ():
            if not isinstance(section, dict):
                continue
            absent = [each for each in keys if each not in section]
            if 0 < len(absent) < len(keys):
                for each in absent:
                    together = f"{', '.join(keys[:-1])} and {keys[-1]}"
                    yield Mistake(f"{name}.{clip(key)}.{each}", f"is missing: {together} come together")


# Rules across sections -----------------------------------------------------------------------------------------------


def _parts(raw: Mapping[str, Any], stand: Mapping[str, Any]) -> Parts:
    clock = raw.get("clock", {})
    identities = raw.get("identity", {})
    return Parts(
        listeners=cast(Mapping[str, Listener], stand["listener"]),
        issuers=cast(Mapping[str, Issuer], stand["issuer"]),
        identities=cast(Mapping[str, Identity], stand["identity"]),
        hospitals=cast(Mapping[str, Hospital], stand["hospital"]),
        feeds=cast(Mapping[str, Feed], stand["feed"]),
        patients=cast(PatientsSection | None, stand.get("patients")),
        simulated=isinstance(clock, dict) and "simulated" in clock,
        known_identities=frozenset(identities) if isinstance(identities, dict) else frozenset(),
        validation=stand.get("validation", ValidationSection()),
    )


def _across(parts: Parts) -> Iterator[Mistake]:
    for rule in (_listeners, _feeds, _patients, _hospitals, _issuers, _identities, _simulated, _levels):
        yield from rule(parts)


def _listeners(parts: Parts) -> Iterator[Mistake]:
    taken: dict[str, str] = {}
    for name, listener in parts.listeners.items():
        path = f"listener.{name}"
        other = taken.setdefault(listener.bind, name)
        if other != name and not listener.bind.endswith(":0"):
            yield Mistake(f"{path}.bind", f"is the address of listener.{other} as well")
        if not listener.tls and not listener.on_loopback:
            yield Mistake(
                f"{path}.bind",
                "is open to the network without TLS: set certificate, key and client_ca, or use 127.0.0.1",
            )
        if listener.machine_identity is None:
            continue
        if listener.machine_identity not in parts.known_identities:
            yield Mistake(f"{path}.machine_identity", "names no [identity] section")
        if not listener.on_loopback:
            yield from _open_machine(f"{path}.machine_identity", listener, parts)


def _feeds(parts: Parts) -> Iterator[Mistake]:
    taken = {listener.bind: f"listener.{name}" for name, listener in parts.listeners.items()}
    for name, feed in parts.feeds.items():
        path = f"feed.{name}"
        other = taken.setdefault(feed.bind, path)
        if other != path and not feed.bind.endswith(":0"):
            yield Mistake(f"{path}.bind", f"is the address of {other} as well")
        if not feed.tls and not feed.on_loopback:
            yield Mistake(
                f"{path}.bind",
                "is open to the network without TLS: set certificate, key and client_ca, or use 127.0.0.1",
            )
        identity = parts.identities.get(feed.identity)
        if feed.identity not in parts.known_identities:
            yield Mistake(f"{path}.identity", "names no [identity] section")
        elif identity is not None and not identity.may_feed:
            yield Mistake(f"{path}.identity", f"may not feed: set may_feed in identity.{feed.identity}")
        elif identity is not None and feed.tls and not identity.certificates:
            yield Mistake(f"{path}.identity", f"has no certificate that a sender could show: identity.{feed.identity}")


def _patients(parts: Parts) -> Iterator[Mistake]:
    if parts.patients is None:
        return
    feeders = sorted(name for name, each in parts.identities.items() if each.may_feed)
    if parts.patients.known == "feed" and not feeders and parts.known_identities == parts.identities.keys():
        yield Mistake("patients.known", "is the feed's to say, and no [identity] may feed: nothing could be registered")
    if parts.patients.file is not None and feeders:
        yield Mistake("patients.known", f"is a list, so that nothing is left for identity.{feeders[0]} to feed")


def _open_machine(path: str, listener: Listener, parts: Parts) -> Iterator[Mistake]:
    """A listener that others reach, and that takes whoever sends no token for one machine."""
    if not listener.tls:
        yield Mistake(
            path,
            "would make everybody on the network this machine: demand client certificates or listen on 127.0.0.1",
        )
        return
    identity = parts.identities.get(listener.machine_identity or "")
    if identity is not None and identity.writes:
        yield Mistake(path, "would let every client certificate write: name that of the source in its [identity]")
    if parts.issuers:
        yield Mistake(path, "would make a caller that loses its token this machine: name certificates in [identity]")


def _hospitals(parts: Parts) -> Iterator[Mistake]:
    owners: dict[str, str] = {}
    for name, hospital in parts.hospitals.items():
        path = f"hospital.{name}"
        for number, unique_id in enumerate(hospital.repository_unique_ids):
            other = owners.setdefault(unique_id, name)
            if other != name or unique_id in hospital.repository_unique_ids[:number]:
                yield Mistake(f"{path}.repository_unique_ids.{number}", f"is claimed by hospital.{other} as well")
        if urlsplit(hospital.url).scheme == "https" and hospital.ca is None:
            yield Mistake(f"{path}.ca", "is missing: without it no server certificate could be believed")
        if urlsplit(hospital.url).scheme == "http" and not hospital.on_loopback:
            yield Mistake(f"{path}.url", "must be https: documents would cross the network in the clear")
        if hospital.assertion == "forward" and not hospital.audience:
            yield Mistake(f"{path}.audience", "is missing: an assertion is forwarded only to an audience it names")
        if hospital.assertion == "none" and hospital.audience:
            yield Mistake(f"{path}.audience", 'has no meaning with assertion = "none"')


def _issuers(parts: Parts) -> Iterator[Mistake]:
    yield from _twice({f"issuer.{name}.entity_id": (each.entity_id,) for name, each in parts.issuers.items()})
    if reachable := sorted(name for name, each in parts.listeners.items() if not each.on_loopback):
        for name, each in parts.issuers.items():
            if each.simulated:
                yield Mistake(
                    f"issuer.{name}.simulated",
                    f"gives any token to anybody: not on a node that others reach by listener.{reachable[0]}",
                )


def _identities(parts: Parts) -> Iterator[Mistake]:
    yield from _twice({f"identity.{name}.certificates": each.certificates for name, each in parts.identities.items()})


def _twice(named: Mapping[str, tuple[str, ...]]) -> Iterator[Mistake]:
    """Names that lead to two sections: which one was meant would depend on their order."""
    owners: dict[str, str] = {}
    for path, values in named.items():
        for value in values:
            other = owners.setdefault(value, path)
            if other != path:
                yield Mistake(path, f"is that of {other.rpartition('.')[0]} as well")


def _simulated(parts: Parts) -> Iterator[Mistake]:
    """Simulated time on a node that others can reach would let expired agreements and tokens live again."""
    if not parts.simulated:
        return
    reachable: list[str] = [
        *(f"listener.{name} is not on loopback" for name, each in parts.listeners.items() if not each.on_loopback),
        *(f"feed.{name} is not on loopback" for name, each in parts.feeds.items() if not each.on_loopback),
        *(f"hospital.{name} is not on loopback" for name, each in parts.hospitals.items() if not each.on_loopback),
        *(f"issuer.{name} is not marked simulated" for name, each in parts.issuers.items() if not each.simulated),
    ]
    for each in reachable:
        yield Mistake("clock.simulated", f"is for a node that lives on one machine, but {each}")


def _levels(parts: Parts) -> Iterator[Mistake]:
    told = {"validation.rules": parts.validation.rules}
    for name, levels in parts.validation.sender.items():
        path = f"validation.sender.{clip(name)}"
        told[path] = levels
        if name not in parts.known_identities:
            near = difflib.get_close_matches(name, sorted(parts.known_identities), n=1)
            yield Mistake(path, f"names no [identity] section{f'; did you mean {near[0]}?' if near else ''}")
    for path, levels in told.items():
        for rule, level in levels.items():
            if (fault := level_fault(rule, level)) is not None:
                yield Mistake(f"{path}.{clip(rule)}", fault)
