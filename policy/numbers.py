"""National numbers of persons and organisations: which are well-formed, and nothing more.

A number proves nothing about age or sex (from 2032 it no longer tells), so no rule reads either from it.
Sources: Skatteetaten on the national identity number and its change in 2032, NHN on the common help number (FH), the
Central Coordinating Register for Legal Entities on organisation numbers; OIDs of the 2.16.578.1.12.4.1.4 family.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from stdnum.no import fodselsnummer, orgnr

F_NUMBER = "2.16.578.1.12.4.1.4.1"
D_NUMBER = "2.16.578.1.12.4.1.4.2"
FH_NUMBER = "2.16.578.1.12.4.1.4.3"


class NumberKind(StrEnum):
    """What an eleven-digit number is; each kind has its own authority."""

    F = "F"
    D = "D"
    FH = "FH"


AUTHORITY: dict[NumberKind, str] = {NumberKind.F: F_NUMBER, NumberKind.D: D_NUMBER, NumberKind.FH: FH_NUMBER}
assert set(AUTHORITY) == set(NumberKind)
NATIONAL = frozenset(AUTHORITY.values())

SYNTHETIC_MONTHS = frozenset({40, 65, 80})
"""What issuers of test persons add to the month. 40 is also the mark of a local emergency number (H)."""
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DIGITS = re.compile(r"[0-9]{11}")
_CX = re.compile(r"([^^&\s][^^&]*)\^\^\^&(?:urn:oid:)?([0-2](?:\.(?:0|[1-9][0-9]*))+)&ISO")


@dataclass(frozen=True, slots=True)
class NumberRules:
    """Which person numbers a node takes. The default is that of production: the union of both rules, real persons."""

    rule_2032: bool = True
    """Also numbers allotted from 2032, whose first control sum leaves 1, 2 or 3. Held numbers stay valid for life."""
    synthetic_months: frozenset[int] = frozenset()
    """Which of SYNTHETIC_MONTHS a test node takes besides."""


class PersonNumber(NamedTuple):
    """A well-formed number."""

    kind: NumberKind
    synthetic: bool


class PatientId(NamedTuple):
    """The two parts of a CX that tell who is meant (HL7 v2 CX.1 and CX.4.2)."""

    number: str
    authority: str

    @property
    def cx(self) -> str:
        """The one spelling we compare: `number^^^&oid&ISO`."""
        return f"{self.number}^^^&{self.authority}&ISO"


def person_number(number: str, rules: NumberRules) -> PersonNumber | None:
    """What `number` is by these rules, or None if it is no number that they take.

    Local emergency numbers (H, month + 40) are never taken: they mean nothing outside the enterprise that gave them.
    """
    if not _DIGITS.fullmatch(number) or not _controls_hold(number, rules.rule_2032):
        return None
    if number[0] in "89":
        return PersonNumber(NumberKind.FH, synthetic=False)
    day, month = int(number[:2]), int(number[2:4])
    kind = NumberKind.F
    if day > 40:
        kind, day = NumberKind.D, day - 40
    for added in (0, *sorted(rules.synthetic_months & SYNTHETIC_MONTHS)):
        if 1 <= month - added <= 12 and 1 <= day <= _LONGEST_MONTH[month - added - 1]:
            return PersonNumber(kind, synthetic=added > 0)
    return None


def patient_id(text: str) -> PatientId | None:
    """The parts of a CX, with or without `urn:oid:` before its authority, or None if it is not one."""
    found = _CX.fullmatch(text)
    return PatientId(found[1], found[2]) if found else None


def is_patient(text: str, authorities: Collection[str], rules: NumberRules) -> bool:
    """Whether a CX can name a patient here: one of `authorities`, and the number one that authority gives out.

    An empty collection takes any authority (machine callers ask by their own enterprise's numbers too); a national
    number is held to its rules all the same.
    """
    who = patient_id(text)
    if who is None or (authorities and who.authority not in authorities):
        return False
    if who.authority not in NATIONAL:
        return True
    known = person_number(who.number, rules)
    return known is not None and AUTHORITY[known.kind] == who.authority


def organisation_fault(number: str, synthetic: bool) -> str:
    """What is wrong with an organisation number, or empty. Numbers that begin with 3 are made up and must say so."""
    if not re.fullmatch(r"[0-9]{9}", number):
        return "is not nine digits"
    if not orgnr.is_valid(number):
        return "fails the control digit (mod 11)"
    if number[0] not in ("389" if synthetic else "89"):
        return "begins with neither 8 nor 9"
    return ""


def _controls_hold(number: str, rule_2032: bool) -> bool:
    # The library gives the digit that makes the weighted sum zero ("10" where there is none); the distance of the
    # digit that stands there is the remainder.
    remainder = (int(number[9]) - int(fodselsnummer.calc_check_digit1(number))) % 11
    return remainder <= (3 if rule_2032 else 0) and number[10] == fodselsnummer.calc_check_digit2(number)
