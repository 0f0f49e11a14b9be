"""The hospitals this node retrieves from, and which repository ids lead to which: the same table for every caller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

KiB = 1024


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each step of asking a hospital may take, in seconds on the monotonic clock."""

    admit: float = 0.5
    """Waiting for a free place at a busy hospital."""
    connect: float = 3.0
    """Name, TCP and TLS together."""
    root: float = 10.0
    """From the request to the end of the root part; a caller that waits 20 seconds still gets an answer."""
    settle: float = 0.5
    """Reading ahead after the root part, so that small documents are verified while errors can still be told."""
    idle: float = 20.0
    """Between two chunks while we are reading."""
    floor: int = 32 * KiB
    """Bytes per second, averaged over `floor_window`; counts only while we are reading."""
    floor_window: float = 30.0


@dataclass(frozen=True, slots=True)
class Hospital:
    """One hospital's document repository (or several behind one address).

    Raises ValueError with a sentence for whoever wrote the configuration.
    """

    name: str
    repository_unique_ids: tuple[str, ...]
    url: str
    assertion: Literal["forward", "none"]
    """Whether the caller's own assertion goes along, byte for byte. There is no default: either is a decision."""
    audience: str = ""
    """The audience an assertion must have to be forwarded to this hospital."""
    ca: Path | None = None
    """The only CA whose server certificates are believed here (PEM)."""
    certificate: Path | None = None
    key: Path | None = None
    one_document_per_request: bool = False
    """For hospitals that mishandle several at once, or that inline large documents as base64."""
    limit: int = 100
    """Exchanges at the same time, so that one slow hospital cannot take the whole node."""
    queue: int = 20
    """Exchanges that may wait for one of those places."""
    switched_off: bool = False
    """Known, and not asked: its documents get an error, its ids stay known to everyone alike."""
    deadlines: Deadlines = field(default=Deadlines())

    def __post_init__(self) -> None:
        where = f"hospital {self.name}"
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{where}: url must be https://host[:port]/path")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError(f"{where}: http without TLS is for loopback addresses only")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise ValueError(f"{where}: url carries a user, a password or a fragment")
        if parts.scheme == "https" and self.ca is None:
            raise ValueError(f"{where}: ca is missing, so nothing could be believed")
        if (self.certificate is None) != (self.key is None):
            raise ValueError(f"{where}: certificate and key come together")
        if not self.repository_unique_ids or not all(self.repository_unique_ids):
            raise ValueError(f"{where}: repository_unique_ids is empty")
        if (self.assertion == "forward") != bool(self.audience):
            raise ValueError(f"{where}: audience belongs to assertion = forward")
        if self.limit < 1 or self.queue < 0:
            raise ValueError(f"{where}: limit must be at least 1 and queue at least 0")

    @property
    def on_loopback(self) -> bool:
        """True when the address never leaves this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")


def is_loopback(host: str) -> bool:
    """True for localhost and for literal loopback addresses; a name is not looked up."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Route:
    """Where a repository id leads: the hospital, and the id as that hospital and the registry write it."""

    hospital: Hospital
    repository_unique_id: str


class Routes:
    """Which hospital answers for which repositoryUniqueId: nothing else tells a known repository from an unknown."""

    def __init__(self, hospitals: Iterable[Hospital]) -> None:
        """Raises ValueError when a name or a repository id occurs twice."""
        self._hospitals: dict[str, Hospital] = {}
        self._routes: dict[str, Route] = {}
        for hospital in hospitals:
            if self._hospitals.setdefault(hospital.name, hospital) is not hospital:
                raise ValueError(f"hospital {hospital.name} is configured twice")
            for unique_id in hospital.repository_unique_ids:
                route = Route(hospital, unique_id)
                if self._routes.setdefault(unique_id, route) is not route:
                    raise ValueError(f"repository {unique_id} is configured twice")

    def __iter__(self) -> Iterator[Hospital]:
        return iter(self._hospitals.values())

    def find(self, repository_unique_id: str) -> Route | None:
        """The route of an id as a caller sent it. Some callers write an OID as `urn:oid:`; both forms are found."""
        return self._routes.get(repository_unique_id) or self._routes.get(repository_unique_id.removeprefix("urn:oid:"))
