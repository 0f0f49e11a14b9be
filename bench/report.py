"""One line per claim, and whether the claims that are about being right held."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from bench.machine import load, spread


@dataclass
class Report:
    """Prints as it goes, so that a run that is stopped has said what it found."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    broken: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """A line that is no claim."""
        print(text, file=self.out, flush=True)

    def ratio(self, name: str, claim: str, values: Sequence[float], promised: float, raw: str) -> None:
        """A measured ratio: median of the rounds, their spread, and how it compares. Judges nothing."""
        median, least, most = spread(values)
        met = "met" if median <= promised else "NOT MET"
        self.say(
            f"{name:<3} {claim}: {median:.2f} x ({least:.2f}-{most:.2f}), promised {promised:g} x, {met}; "
            f"{raw}; load {load()}"
        )

    def least(self, name: str, claim: str, values: Sequence[float], promised: float, raw: str) -> None:
        """A measured ratio that is to be at least what was promised. Judges nothing."""
        median, least, most = spread(values)
        met = "met" if median >= promised else "NOT MET"
        self.say(
            f"{name:<3} {claim}: {median:.2f} x ({least:.2f}-{most:.2f}), promised at least {promised:g} x, {met}; "
            f"{raw}; load {load()}"
        )

    def amount(self, name: str, claim: str, value: float, promised: float, unit: str, raw: str = "") -> None:
        """A measured amount. Judges nothing."""
        met = "met" if value <= promised else "NOT MET"
        more = f"; {raw}" if raw else ""
        self.say(f"{name:<3} {claim}: {value:.1f} {unit}, promised {promised:g} {unit}, {met}{more}; load {load()}")

    def holds(self, name: str, claim: str, right: bool, raw: str) -> None:
        """A claim about being right: one that does not hold makes the run fail."""
        self.say(f"{name:<3} {claim}: {'holds' if right else 'BROKEN'}; {raw}; load {load()}")
        if not right:
            self.broken.append(f"{name} {claim}")
