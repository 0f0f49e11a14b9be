"""The ports the registry's transactions stand on; filled in server/wiring.py, or by a test in three lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from audit.event import Recorder
from policy.facts import Blocks, Clock, Identify, Rules
from registry.queries.understanding import Across
from registry.rules.strictness import STRICT, Strictness
from registry.store import Store


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything ITI-18 and ITI-42 need of the world."""

    clock: Clock
    identify: Identify
    rules: Rules
    blocks: Blocks
    store: Store
    audit: Recorder
    home: str
    """This community's homeCommunityId (`urn:oid:...`), shown on every entry; empty leaves it out."""
    unknown_patient_is_error: bool = False
    """XDSUnknownPatientId on ITI-18; loads only where every agreement is of channel machine."""
    max_results: int = 5000
    """LeafClass answers above this many visible entries get XDSTooManyResults."""
    value_limit: int = field(default=256)
    """Longest rim:Value in a submission (rule value-length)."""
    strictness: Strictness = STRICT
    """Which breach of a rule rejects whose message, and which codes are agreed on."""
    across: Across = Across.OFF
    """What ITI-51 takes; where it is off the endpoint does not serve it at all."""
    registers: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """By machine identity, the repositoryUniqueIds it registers for: whose a folder is that has no document."""
