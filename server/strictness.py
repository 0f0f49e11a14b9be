"""How strictly a node judges, from its configuration: for the node itself, and for whoever asks what it would say."""

from __future__ import annotations

from registry.rules import codes
from registry.rules.strictness import Level, Strictness
from server.config import ValidationSection


def strictness_of(validation: ValidationSection) -> Strictness:
    """The levels and codes of [validation]. Raises CodesRefused with everything wrong with the file of codes."""
    return Strictness(
        rules=_levels(validation.rules),
        senders={name: _levels(told) for name, told in validation.sender.items()},
        codes=codes.load(validation.codes) if validation.codes is not None else codes.NO_SETS,
        extra_metadata=validation.extra_metadata,
    )


def _levels(told: dict[str, str]) -> dict[str, Level]:
    return {rule: Level(level) for rule, level in told.items()}
