"""A whole node as one folder, taken while it serves, and put back into an empty place.

    manifest.json     written last: without it a backup is not finished
    database/         the registry as it was at one moment, its compression dictionaries among it
    audit/            the trail up to a moment after that: everything in the database is accounted for in it
    config/           the configuration file, the policy files, and where a simulated clock stands
    keys/             what lies in the state folder's `keys`: without them sealed records could not be proven

Keys of TLS stay out: they are replaced when they are lost, and a backup is read by more people than they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from audit.copies import copy_trail
from audit.event import Event, Kind
from audit.search import Finding, since, verify
from registry import recovery
from registry.database import snapshots
from registry.database.engine import Database, open_database
from registry.database.snapshots import Saved
from server.check import PolicyUnreadable, policy_texts
from server.clock import FILE as CLOCK
from server.config import Config

Progress = Callable[[str, int, int | None], None]

MANIFEST = "manifest.json"
DATABASE, AUDIT, CONFIG, POLICY, KEYS = "database", "audit", "config", "policy", "keys"
CLOCKS_APART = timedelta(minutes=1)
"""How much the clocks of two nodes on one database may differ when the trail is compared with it."""


class BackupRefused(Exception):
    """A backup that cannot be made or put back; `str()` says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself."""

    backup: int
    innsyn: str
    node: str
    taken_at: str
    configuration: str
    """Name of the configuration file."""
    database: Saved
    files: Mapping[str, tuple[int, str]]
    """Of each file, by path: bytes, SHA-256."""


@dataclass(frozen=True, slots=True)
class Made:
    """A finished backup."""

    manifest: Manifest
    lines: int
    findings: tuple[Finding, ...]
    """What is wrong with the trail itself; it was copied as it is."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """A node that was put back, and what it cannot know."""

    rows: int
    bodies: int
    findings: tuple[Finding, ...]
    lost: tuple[str, ...]
    """Exchanges that the trail says were acknowledged and whose change the database does not hold."""
    blocks: int
    """Blocks set or lifted after the database was saved, as the trail has it."""


# Making one ----------------------------------------------------------------------------------------------------------


def make(config: Config, file: Path, target: Path, now: datetime, progress: Progress) -> Made:
    """Saves the node whose configuration this is; `target` must be new or empty. Others read and write meanwhile.

    Raises: BackupRefused; DatabaseMissing, SnapshotBroken, StoreTrouble; OSError.
    """
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise BackupRefused(f"{target} is not empty")
    target.chmod(0o700)
    for part in (DATABASE, AUDIT, CONFIG, KEYS):
        (target / part).mkdir(mode=0o700)
    database = open_database(config.database_url)
    try:
        saved = snapshots.save(database, target / DATABASE, progress)
    finally:
        database.close()
    # After the database: an intent is on record before its commit, so nothing in the database is missing here.
    copy_trail(config.audit_folder, target / AUDIT, progress)
    _copy_configuration(config, file, target / CONFIG)
    if (config.node.state / KEYS).is_dir():
        shutil.copytree(config.node.state / KEYS, target / KEYS, dirs_exist_ok=True)
    verdict = verify(target / AUDIT)
    files = dict(_listed(target, progress))
    manifest = Manifest(1, version("innsyn"), config.node.name, now.isoformat(), file.name, saved, files)
    _write(target / MANIFEST, json.dumps(asdict(manifest), indent=1).encode())
    return Made(manifest, verdict.lines, verdict.findings)


def _copy_configuration(config: Config, file: Path, target: Path) -> None:
    shutil.copyfile(file, target / file.name)
    try:
        texts = policy_texts(config.node.policy)
    except PolicyUnreadable as problem:
        raise BackupRefused(str(problem)) from problem
    for name, text in texts.items():
        path = target / POLICY / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    if (config.node.state / CLOCK).is_file():
        shutil.copyfile(config.node.state / CLOCK, target / CLOCK)


def _listed(folder: Path, progress: Progress) -> Iterator[tuple[str, tuple[int, str]]]:
    """Every file with its size and digest, on disk and readable by its owner alone."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    size, done = sum(path.stat().st_size for path in found), 0
    for path in found:
        path.chmod(0o600)
        with path.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        done += path.stat().st_size
        progress("reading it again, in bytes", done, size)
        yield path.relative_to(folder).as_posix(), (path.stat().st_size, digest)


def _write(path: Path, raw: bytes) -> None:
    beside = path.with_name(f"{path.name}.new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    for folder in (path.parent, path.parent.parent):
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(number)
        os.close(number)


# Putting one back ----------------------------------------------------------------------------------------------------


def read(folder: Path, progress: Progress) -> Manifest:
    """What this backup says of itself, every file of it looked at. Raises BackupRefused; OSError."""
    try:
        told: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise BackupRefused(f"{folder} holds no finished backup: {MANIFEST} is missing") from None
    except ValueError:
        raise BackupRefused(f"{MANIFEST} cannot be read") from None
    if told.get("backup") != 1:
        raise BackupRefused("this backup was made by a newer Innsyn")
    database = told["database"]
    columns = {name: tuple(listed) for name, listed in database["columns"].items()}
    saved = Saved(**{**database, "columns": columns})
    files = {name: (size, digest) for name, (size, digest) in told["files"].items()}
    here = dict(_digests(folder, progress))
    for name in sorted(files.keys() | here.keys()):
        if name not in here:
            raise BackupRefused(f"{name} is missing from the backup")
        if name not in files:
            raise BackupRefused(f"{name} is no part of the backup")
        if files[name] != here[name]:
            raise BackupRefused(f"{name} is not as it was written")
    return Manifest(**{**told, "database": saved, "files": files})


def _digests(folder: Path, progress: Progress) -> Iterator[tuple[str, tuple[int, str]]]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST]
    size, done = sum(path.stat().st_size for path in found), 0
    for path in found:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        done += path.stat().st_size
        progress("checking the backup, in bytes", done, size)
        yield path.relative_to(folder).as_posix(), (path.stat().st_size, digest)


def unpack_configuration(folder: Path, manifest: Manifest, file: Path) -> None:
    """Puts the configuration where none is yet: of a machine that was lost, this is the first to come back."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(folder / CONFIG / manifest.configuration, file)
    file.chmod(0o600)


def put_back(config: Config, folder: Path, manifest: Manifest, progress: Progress) -> PutBack:
    """Restores into the empty place this configuration names, and proves what stands there.

    Raises: BackupRefused, with nothing changed, where anything is in that place; SnapshotBroken, DatabaseMissing,
    StoreTrouble; OSError.
    """
    audit = config.audit_folder
    if audit.is_dir() and any(each.suffix in (".jsonl", ".head") for each in audit.iterdir()):
        raise BackupRefused(f"{audit} holds an audit trail already")
    if (config.node.state / KEYS).exists():
        raise BackupRefused(f"{config.node.state / KEYS} exists already")
    for each in (config.node.state, audit):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = snapshots.put_back(config.database_url, folder / DATABASE, manifest.database, progress)
    try:
        bodies = snapshots.examine(database, manifest.database, progress)
        _place(folder / AUDIT, audit)
        _place(folder / KEYS, config.node.state / KEYS)
        if not config.node.policy.exists():
            _place(folder / CONFIG / POLICY, config.node.policy)
        if config.simulated is not None and (folder / CONFIG / CLOCK).is_file():
            shutil.copyfile(folder / CONFIG / CLOCK, config.node.state / CLOCK)
        return _compared(database, audit, manifest, bodies)
    finally:
        database.close()


def _place(source: Path, target: Path) -> None:
    if not source.is_dir() or not any(source.iterdir()):
        return
    shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
    for path in target.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)


def _compared(database: Database, audit: Path, manifest: Manifest, bodies: int) -> PutBack:
    """What happened after the database was saved is in the trail: acknowledged, and not in what was put back."""
    moment = datetime.fromisoformat(manifest.taken_at) - CLOCKS_APART
    blocks = (Kind.BLOCK_SET, Kind.BLOCK_LIFTED)
    lost = recovery.lost(since(audit, moment, recovery.CHANGES), database)
    return PutBack(
        rows=sum(manifest.database.rows.values()),
        bodies=bodies,
        findings=verify(audit).findings,
        lost=tuple(sorted(map(_told, lost))),
        blocks=sum(1 for _ in since(audit, datetime.fromisoformat(manifest.taken_at), blocks)),
    )


def _told(intent: Event) -> str:
    """What to look for, and nothing of the patient."""
    sender = intent.subject.machine if intent.subject else ""
    return f"{intent.transaction} of {sender}, {intent.submission_set_unique_id or 'exchange'} {intent.correlation}"
