"""The policy folder as it is handed around: texts under a generation, checked once, loaded alike by every worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.check import Found, PolicyUnreadable, policy_for, policy_texts
from server.config import Config
from server.known_patients import known_patients

if TYPE_CHECKING:
    from policy.agreements import Policy


@dataclass(frozen=True, slots=True)
class PolicyTexts:
    """The policy as files, so that every worker loads exactly what the parent has checked."""

    texts: Mapping[str, str]
    generation: int
    version: str = ""
    confirmed: tuple[str, ...] = ()
    """Agreements that may be open to everybody (`node.open_agreements`)."""
    patients: frozenset[str] | None = None
    """The list of known patients (`[patients] known`), read along with the policy; None where there is no list."""

    def load(self) -> Policy:
        """The policy under its generation. Raises PolicyRefused with every mistake at once."""
        from policy.reading import read

        return read(self.texts, self.confirmed, self.generation)


def read_policy(config: Config, generation: int) -> tuple[PolicyTexts | None, list[Found]]:
    """The folder's files as they are now, if a node with this configuration would start with them.

    Else None and every mistake in them.
    """
    try:
        texts = policy_texts(config.node.policy)
    except PolicyUnreadable as problem:
        return None, [Found("node.policy", str(problem))]
    policy, mistakes = policy_for(config, texts)
    if policy is None:
        return None, mistakes
    patients, wrong = known_patients(config, policy)
    if wrong:
        return None, [Found("patients.known", each) for each in wrong]
    return PolicyTexts(texts, generation, policy.version, config.node.open_agreements, patients), []
