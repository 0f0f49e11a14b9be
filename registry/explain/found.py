"""What an explanation of a message consists of: problems with their places and corrections, and what was understood."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from ihe.names import Action
from registry.queries.understanding import Across
from registry.rules.strictness import STRICT, VALUE_LIMIT, Level, Strictness

MOST_PROBLEMS = 100
"""Shown at once: whoever has more has one mistake in the mapping."""


NOTE = "note"
"""Of what a node takes and somebody should look at: other registries refuse it, or it means less than it seems to."""


class Outcome(StrEnum):
    """What a node would say, as far as the message alone can tell."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


class How(StrEnum):
    """What to do with a corrected fragment."""

    REPLACE = "write instead"
    ADD = "add inside"
    SET = "write the attribute as"
    REMOVE = "leave it out"


@dataclass(frozen=True, slots=True)
class Fix:
    """A corrected fragment in the prefixes of the message. Words in square brackets are for the sender to fill in."""

    how: How
    text: str = ""
    path: str = ""
    """Where, if not at the problem itself."""

    def __str__(self) -> str:
        where = f" {self.path}" if self.path else ""
        return f"{self.how.value}{where}: {self.text}" if self.text else self.how.value


@dataclass(frozen=True, slots=True)
class Problem:
    """One place where a message breaks a rule, or where somebody should look."""

    rule: str
    level: str
    """`reject`, `warn` or `log`, as the node judges; NOTE where it says nothing."""
    section: str
    explanation: str
    path: str = ""
    expected: str = ""
    found: str = ""
    line: int | None = None
    column: int | None = None
    code: str = ""
    """The errorCode, or the kind of SOAP fault, that the sender would get."""
    fix: Fix | None = None

    @property
    def refuses(self) -> bool:
        """Whether a node would refuse the message for it."""
        return self.level == Level.REJECT


@dataclass(frozen=True, slots=True)
class Given:
    """What is known besides the message itself; the defaults are those of a node that configures nothing."""

    action: Action | None = None
    """What the message is meant to be, where it does not say so itself."""
    strictness: Strictness = STRICT
    sender: str = ""
    """Name of the machine identity that sends it, for the levels it has."""
    value_limit: int = VALUE_LIMIT
    home: str = ""
    """This community's homeCommunityId; empty takes any."""
    across: Across | None = None
    """What of ITI-51 the node takes; None where that is not known, and then all of it is judged."""
    repositories: Collection[str] | None = None
    """repositoryUniqueIds the sender may register for; None where nobody knows who sends."""
    show_patients: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything about one message."""

    outcome: Outcome
    sentence: str
    """The answer in one sentence."""
    transaction: str = ""
    recognised: str = ""
    """How it was recognised."""
    problems: tuple[Problem, ...] = ()
    more: int = 0
    """Problems beyond those shown."""
    notes: tuple[str, ...] = ()
    understood: tuple[tuple[str, str], ...] = ()
    """What was read: a label and a line each."""
    unchecked: tuple[tuple[str, str], ...] = ()
    """Rules that need the registry's content, by id and explanation."""

    def told(self, hidden: Callable[[str], str]) -> Explanation:
        """The same with every text that may repeat the message passed through `hidden`."""

        def mended(fix: Fix | None) -> Fix | None:
            return None if fix is None else replace(fix, text=hidden(fix.text))

        return replace(
            self,
            sentence=hidden(self.sentence),
            recognised=hidden(self.recognised),
            problems=tuple(
                replace(
                    each,
                    expected=hidden(each.expected),
                    found=hidden(each.found),
                    explanation=hidden(each.explanation),
                    fix=mended(each.fix),
                )
                for each in self.problems
            ),
            notes=tuple(map(hidden, self.notes)),
            understood=tuple((hidden(label), hidden(line)) for label, line in self.understood),
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the rules of one transaction say of a body."""

    problems: tuple[Problem, ...]
    summary: str
    """What the message holds, in a few words: `3 entries, 1 folder`."""
    understood: tuple[tuple[str, str], ...] = ()
    more: int = 0
    unchecked: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    condition: str = ""
    """What must be so in the registry for it to be accepted: `, if what it updates is registered`."""
