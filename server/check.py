"""Everything that would keep a node from serving, or from serving safely, found before it starts and all at once.

`innsyn check-config` and a starting node run the same checks on the same files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from server import certificates
from server.certificates import CertificateTrouble
from server.clock import EARLIEST, RealClock
from server.config import MIB, Config
from server.settings import ConfigRefused, Mistake, load

if TYPE_CHECKING:
    from policy.agreements import Policy
    from policy.facts import Clock

BACKWARDS = timedelta(seconds=2)
"""A clock behind the newest audit line by more than this was set back."""
LARGEST_POLICY = 16 * MIB
"""Bytes of a policy folder; the enrolments of 100 000 persons take 8 MiB."""


@dataclass(frozen=True, slots=True)
class Found:
    """A mistake keeps the node from starting; a warning does not."""

    path: str
    sentence: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.sentence}" if self.path else self.sentence


@dataclass(frozen=True, slots=True)
class Examined:
    """What was loaded, as far as it could be, and what was found."""

    config: Config | None
    policy: Policy | None
    found: tuple[Found, ...]

    @property
    def mistakes(self) -> tuple[Found, ...]:
        """What keeps the node from starting."""
        return tuple(each for each in self.found if not each.warning)

    @property
    def warnings(self) -> tuple[Found, ...]:
        """What an operator should look at soon."""
        return tuple(each for each in self.found if each.warning)


class PolicyUnreadable(Exception):
    """The policy folder is not one; `str()` says why."""


def examine(path: Path, clock: Clock | None = None) -> Examined:
    """Loads a configuration file and everything it points at. Never raises for anything an operator can write."""
    try:
        config = load(path)
    except ConfigRefused as refused:
        return Examined(None, None, tuple(_of(each) for each in refused.mistakes))
    return examine_config(config, clock, config_file=path)


def examine_config(config: Config, clock: Clock | None = None, *, config_file: Path | None = None) -> Examined:
    """The same for a configuration that is loaded already."""
    policy, found = load_folder(config.node.policy, config.node.open_agreements)
    wall = (clock or RealClock()).wall()
    found += [*_folders(config), *_database(config), *_clock(config, wall), *_certificates(config, wall)]
    found += _codes(config)
    if config_file is not None:
        found += _secrets(config, config_file)
    if policy is not None:
        found += [*_agreement(config, policy), *_known(config, policy)]
    return Examined(config, policy, tuple(found))


def policy_texts(folder: Path) -> dict[str, str]:
    """The policy as files, by path within the folder. Raises PolicyUnreadable with one sentence.

    TOML files only, subfolders included; editors' backups and hidden files are left out.
    """
    texts: dict[str, str] = {}
    size = 0
    try:
        if not folder.is_dir():
            raise PolicyUnreadable(f"{folder} is not a folder")
        for path in sorted(folder.rglob("*.toml")):
            name = path.relative_to(folder).as_posix()
            if any(part.startswith(".") for part in name.split("/")) or not path.is_file():
                continue
            size += path.stat().st_size
            if size > LARGEST_POLICY:
                raise PolicyUnreadable(f"{folder} holds more than {LARGEST_POLICY // MIB} MiB")
            texts[name] = path.read_text("utf-8")
    except OSError as problem:
        raise PolicyUnreadable(f"{folder} cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise PolicyUnreadable(f"{folder} holds a file that is not UTF-8") from None
    if not texts:
        raise PolicyUnreadable(f"{folder} holds no .toml file: a node without agreements would answer nobody")
    return texts


def load_folder(folder: Path, open_agreements: Collection[str] = ()) -> tuple[Policy | None, list[Found]]:
    """The policy in this folder, or None and every mistake in it; warnings in either case.

    `open_agreements` are those an operator allows to be open to any reader, kind and source together.
    """
    try:
        return _read(policy_texts(folder), open_agreements)
    except PolicyUnreadable as problem:
        return None, [Found("node.policy", str(problem))]


def policy_for(config: Config, texts: Mapping[str, str]) -> tuple[Policy | None, list[Found]]:
    """The policy of these files if a node with this configuration would start with it, or None and every mistake."""
    policy, found = _read(texts, config.node.open_agreements)
    if policy is not None:
        found += _agreement(config, policy)
    mistakes = [each for each in found if not each.warning]
    return (None, mistakes) if mistakes else (policy, [])


def _read(texts: Mapping[str, str], open_agreements: Collection[str]) -> tuple[Policy | None, list[Found]]:
    from policy.reading import PolicyRefused, read

    try:
        policy = read(texts, open_agreements)
    except PolicyRefused as refused:
        return None, [Found("policy", str(each)) for each in refused.findings]
    return policy, [Found("policy", str(each), warning=True) for each in policy.warnings]


def _of(mistake: Mistake) -> Found:
    return Found(mistake.path, mistake.sentence)


# What the configuration points at ------------------------------------------------------------------------------------


def _folders(config: Config) -> Iterator[Found]:
    for path, folder in (("node.state", config.node.state), ("audit.folder", config.audit_folder)):
        if not folder.is_dir():
            yield Found(path, f"{folder} does not exist; innsyn migrate creates it")
        elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            yield Found(path, f"{folder} cannot be written by this user")
        elif stat.S_IMODE(folder.stat().st_mode) & 0o022:
            yield Found(path, f"{folder} can be changed by others: chmod go-w")
        elif path == "audit.folder":
            room = os.statvfs(folder)
            free = room.f_bavail * room.f_frsize // MIB
            if free < config.audit.reserve_mib:
                yield Found("audit.reserve_mib", f"only {free} MiB are free in {folder}: nothing would be answered")


def _database(config: Config) -> Iterator[Found]:
    from registry.database.engine import DatabaseMissing, open_database
    from registry.migrations import check

    try:
        database = open_database(config.database_url)
        try:
            check(database)
        finally:
            database.close()
    except DatabaseMissing as problem:
        yield Found("database.url", str(problem))
        return
    if database.path is not None and (mode := stat.S_IMODE(database.path.stat().st_mode)) & 0o077:
        yield Found("database.url", f"{database.path} is open to others (mode {mode:04o}): chmod 600")


def _codes(config: Config) -> Iterator[Found]:
    from registry.rules import codes

    if config.validation.codes is None:
        return
    try:
        codes.load(config.validation.codes)
    except codes.CodesRefused as refused:
        for place, sentence in refused.mistakes:
            told = (config.validation.codes.name, place, sentence)
            yield Found("validation.codes", ": ".join(each for each in told if each))


def _clock(config: Config, wall: datetime) -> Iterator[Found]:
    if wall < EARLIEST:
        yield Found("clock", f"the machine believes it is {wall:%Y-%m-%d}: set its time, or no token can be judged")
    newest = 0.0
    if config.audit_folder.is_dir():
        newest = max((each.stat().st_mtime for each in config.audit_folder.glob("*.jsonl")), default=0.0)
    if newest > (wall + BACKWARDS).timestamp():
        yield Found("clock", "the machine's clock is behind the newest line of the audit trail", warning=True)
    if config.simulated is not None:
        yield Found("clock.simulated", "decisions follow simulated time; every audit record says so", warning=True)


def _secrets(config: Config, path: Path) -> Iterator[Found]:
    userinfo = config.database.url.partition("://")[2].rpartition("@")[0]
    mode = stat.S_IMODE(path.stat().st_mode)
    if ":" in userinfo and mode & 0o077:
        yield Found("database.url", f"holds a password, and {path.name} is open to others (mode {mode:04o}): chmod 600")


def _certificates(config: Config, wall: datetime) -> Iterator[Found]:
    for path, file, authority in _certificate_files(config):
        yield from (Found(path, f"{file} {each}") for each in certificates.troubles(file, wall, authority=authority))
        yield from (Found(path, f"{file} {each}", warning=True) for each in certificates.warnings(file, wall))
    for path, key, certificate in _key_files(config):
        yield from (Found(path, f"{key} {each}") for each in certificates.key_troubles(key, certificate))
    yield from _same_machine(config)


def _certificate_files(config: Config) -> Iterator[tuple[str, Path, bool]]:
    for name, listener in config.listener.items():
        if listener.certificate is not None and listener.client_ca is not None:
            yield f"listener.{name}.certificate", listener.certificate, False
            yield f"listener.{name}.client_ca", listener.client_ca, True
    for name, feed in config.feed.items():
        if feed.certificate is not None and feed.client_ca is not None:
            yield f"feed.{name}.certificate", feed.certificate, False
            yield f"feed.{name}.client_ca", feed.client_ca, True
    for name, issuer in config.issuer.items():
        for number, file in enumerate(issuer.certificates):
            yield f"issuer.{name}.certificates.{number}", file, False
    for name, identity in config.identity.items():
        for number, entry in enumerate(identity.certificates):
            if not certificates.is_fingerprint(entry):
                yield f"identity.{name}.certificates.{number}", Path(entry), False
    for name, hospital in config.hospital.items():
        if hospital.ca is not None:
            yield f"hospital.{name}.ca", hospital.ca, True
        if hospital.certificate is not None:
            yield f"hospital.{name}.certificate", hospital.certificate, False


def _key_files(config: Config) -> Iterator[tuple[str, Path, Path]]:
    for name, listener in config.listener.items():
        if listener.key is not None and listener.certificate is not None:
            yield f"listener.{name}.key", listener.key, listener.certificate
    for name, feed in config.feed.items():
        if feed.key is not None and feed.certificate is not None:
            yield f"feed.{name}.key", feed.key, feed.certificate
    for name, hospital in config.hospital.items():
        if hospital.key is not None and hospital.certificate is not None:
            yield f"hospital.{name}.key", hospital.key, hospital.certificate


def _same_machine(config: Config) -> Iterator[Found]:
    """One certificate that stands for two machines, one named by fingerprint and one by file."""
    owners: dict[str, str] = {}
    for name, identity in config.identity.items():
        try:
            mine = certificates.fingerprints(identity.certificates)
        except CertificateTrouble:
            continue
        for each in sorted(mine):
            if owners.setdefault(each, name) != name:
                yield Found(f"identity.{name}.certificates", f"one is that of identity.{owners[each]} as well")


# Whether configuration and policy speak of the same things --------------------------------------------------------


def _agreement(config: Config, policy: Policy) -> Iterator[Found]:
    for rule in (_repositories, _machines):
        yield from rule(config, policy)
    if config.query.unknown_patient_is_error and not policy.machines_only:
        yield Found(
            "query.unknown_patient_is_error",
            "would tell clinicians who is a patient; it loads only where every agreement is of channel machine",
        )


def _known(config: Config, policy: Policy) -> Iterator[Found]:
    from server.known_patients import known_patients

    yield from (Found("patients.known", each) for each in known_patients(config, policy)[1])


def _repositories(config: Config, policy: Policy) -> Iterator[Found]:
    routed: set[str] = set()
    for name, hospital in config.hospital.items():
        for number, unique_id in enumerate(hospital.repository_unique_ids):
            routed.add(unique_id)
            if policy.source_of(unique_id) is None:
                path = f"hospital.{name}.repository_unique_ids.{number}"
                yield Found(
                    path, f"{unique_id} belongs to no source of the policy: nothing of it would ever be released"
                )
    owned = {each for source in policy.sources.values() for each in source.repository_unique_ids}
    for unique_id in sorted(owned - routed):
        yield Found(
            "hospital", f"nobody answers for repository {unique_id} of the policy: listed, not retrievable", True
        )
    for name, identity in config.identity.items():
        for number, unique_id in enumerate(identity.may_register):
            if unique_id not in owned:
                path = f"identity.{name}.may_register.{number}"
                yield Found(path, f"{unique_id} belongs to no source of the policy: registered, shown to nobody", True)


def _machines(config: Config, policy: Policy) -> Iterator[Found]:
    for agreement in policy.agreements.values():
        for machine in sorted((agreement.machines or frozenset()) - config.identity.keys()):
            yield Found(
                "policy", f"agreement {agreement.agreement_id} names machine {machine}, which has no [identity]"
            )
    for name, identity in config.identity.items():
        used = any(listener.machine_identity == name for listener in config.listener.values())
        used = used or any(feed.identity == name for feed in config.feed.values())
        if not identity.certificates and not used:
            yield Found(
                f"identity.{name}", "has no certificate and no listener: nobody can be this machine", warning=True
            )
