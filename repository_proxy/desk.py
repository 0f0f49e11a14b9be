"""The ports a retrieve stands on; filled in server/wiring.py, or by a test in a few lines."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from audit.event import Recorder
from policy.facts import Blocks, Clock, Identify, Rules
from repository_proxy.plan import Lookup
from repository_proxy.repositories import Routes
from repository_proxy.upstream import Upstream
from repository_proxy.watch import Watch

KiB = 1024
MiB = 1024 * KiB


@dataclass(frozen=True, slots=True)
class Limits:
    """What one retrieve may take: seconds on the monotonic clock, bytes of memory."""

    gather: float = 12.0
    """Until every hospital's root part is in or given up: many callers wait no more than 20 s for an answer."""
    caller: float = 30.0
    """For one write to the caller, who may be slow but must not stop."""
    read_ahead: int = 256 * KiB
    """Per hospital, before our root part leaves: what is whole by then is verified while an error can be told."""
    sip: int = 512 * KiB
    """Read at a time from a hospital that waits its turn; less than its write unit does not keep it (measured)."""
    sip_every: float = 1.5
    parked: int = 16 * MiB
    """Held at most, in one retrieve, for all hospitals that wait their turn."""
    documents: int = 500
    """Documents in one request; with their root part they stay below the 1000 parts that WCF reads."""
    watch_every: float = 1.0
    """How often a running release looks whether blocks or policy have changed."""
    blind: float = 3.0
    """How long a running release goes on while that cannot be read."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything ITI-43 needs of the world."""

    clock: Clock
    identify: Identify
    rules: Rules
    blocks: Blocks
    lookup: Lookup
    audit: Recorder
    routes: Routes
    upstreams: Mapping[str, Upstream]
    """By hospital name: repository_proxy.upstream.open_upstreams(routes)."""
    home: str = ""
    """This community's homeCommunityId (`urn:oid:...`); empty takes any that a caller sends."""
    limits: Limits = field(default=Limits())
    unique: Callable[[], str] = lambda: secrets.token_hex(16)
    """Random hex for boundaries and Content-IDs."""
    watch: Watch = field(default_factory=Watch)
    glance: Callable[[], int | None] = lambda: None
    """blocks.sequence() read on the event loop without waiting, or None where only a thread may ask."""
