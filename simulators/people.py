"""Whoever tries the system meets people who do not exist: patients with valid synthetic numbers, and five hospitals.

Numbers are those of Norwegian test registers: valid in both check digits, with 80 added to the month, so that none of
them can be a living person's and every production system refuses them. Personnel numbers begin with 9000, far from
those in use. OIDs of repositories stand below 2.999, the arc for examples (ITU-T X.660). Source of the check
digits: Skatteetaten, fødselsnummer; OIDs: the national document sharing profile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TypeVar

BIRTH_NUMBER = "2.16.578.1.12.4.1.4.1"
D_NUMBER = "2.16.578.1.12.4.1.4.2"
PERSONNEL = "2.16.578.1.12.4.1.4.4"
ORGANISATIONS = "2.16.578.1.12.4.1.4.101"
DEPARTMENTS = "2.16.578.1.12.4.1.4.102"
EXAMPLES = "2.999"

SYNTHETIC_MONTH = 80
D_NUMBER_DAY = 40

_FIRST = (3, 7, 6, 1, 8, 9, 4, 5, 2)
_SECOND = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
_ORGANISATION = (3, 2, 7, 6, 5, 4, 3, 2)

T = TypeVar("T")


def choose(options: Sequence[T], *about: object) -> T:
    """The same one of `options` every time, on every machine, for the same things it is chosen about."""
    return options[number_of(*about) % len(options)]


def number_of(*about: object) -> int:
    """A number below 2**64 that stands for these things and tells nothing about them."""
    text = "\n".join(str(each) for each in about)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _control(digits: str, weights: Sequence[int]) -> int:
    """The digit that brings the weighted sum to a multiple of 11; 10 where no digit does."""
    return -sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True)) % 11


def is_valid(number: str) -> bool:
    """Whether both check digits of a birth number or D-number of the series in use before 2032 are right."""
    if len(number) != 11 or not (number.isascii() and number.isdigit()):
        return False
    return _control(number[:9], _FIRST) == int(number[9]) and _control(number[:10], _SECOND) == int(number[10])


def is_valid_organisation(number: str) -> bool:
    """Whether the check digit of an organisation number is right."""
    if len(number) != 9 or not (number.isascii() and number.isdigit()):
        return False
    return _control(number[:8], _ORGANISATION) == int(number[8])


def synthetic_number(born: date, serial: int, *, d_number: bool = False) -> str:
    """The `serial`-th synthetic number of that day of birth, counted from 0; the same every time.

    `born` from 1900 to 2039. `ValueError` for any other year or when the day has no more numbers.
    """
    if 1900 <= born.year <= 1999:
        individuals = range(500)
    elif 2000 <= born.year <= 2039:
        individuals = range(500, 1000)
    else:
        raise ValueError("no number of the present series begins with that year")
    day = born.day + (D_NUMBER_DAY if d_number else 0)
    start = f"{day:02}{born.month + SYNTHETIC_MONTH:02}{born.year % 100:02}"
    for individual in individuals:
        nine = f"{start}{individual:03}"
        first = _control(nine, _FIRST)
        second = _control(f"{nine}{first}", _SECOND) if first < 10 else 10
        if second < 10:
            if not serial:
                return f"{nine}{first}{second}"
            serial -= 1
    raise ValueError("that day has no more numbers")


def escape_hl7(text: str) -> str:
    """`text` as one component of an HL7 v2 value (HL7 v2.5, 2.7.1)."""
    for plain, escaped in (("\\", "\\E\\"), ("|", "\\F\\"), ("^", "\\S\\"), ("&", "\\T\\"), ("~", "\\R\\")):
        text = text.replace(plain, escaped)
    return text


@dataclass(frozen=True, slots=True)
class Person:
    """A patient who does not exist."""

    number: str
    given: str
    family: str
    born: date
    sex: str
    """F or M, as in PID-8."""
    former_number: str = ""
    """The D-number this person had before the present number, which older documents still carry."""

    @property
    def authority(self) -> str:
        """OID of who assigned the number."""
        return D_NUMBER if self.number[0] in "4567" else BIRTH_NUMBER

    @property
    def patient_id(self) -> str:
        """The number as CX (ITI TF-3 table 4.2.3.1.7-2)."""
        return f"{self.number}^^^&{self.authority}&ISO"

    @property
    def name(self) -> str:
        """Given name first."""
        return f"{self.given} {self.family}"

    def before(self) -> Person:
        """The same person under the former number. `ValueError` if there is none."""
        if not self.former_number:
            raise ValueError("this person has had one number only")
        return replace(self, number=self.former_number, former_number="")


def _person(given: str, family: str, born: date, sex: str, serial: int = 0) -> Person:
    return Person(synthetic_number(born, serial), given, family, born, sex)


PEOPLE: tuple[Person, ...] = (
    Person("15837510047", "Ingunn", "Prøvedal", date(1975, 3, 15), "F"),
    Person("02911160008", "Odin", "Skinnvik", date(2011, 11, 2), "M"),
    Person("01826520074", "Amira", "Liksomby", date(1965, 2, 1), "F", former_number="41826520068"),
    Person("20871451029", "Tiril", "Latvik", date(2014, 7, 20), "F"),
    Person("30924830065", "Torvald", "Omtrentsen", date(1948, 12, 30), "M"),
    _person("Ragnhild", "Kanskjeberg", date(1931, 5, 7), "F"),
    _person("Aslak", "Tenkvik", date(1959, 9, 23), "M"),
    _person("Jørgine", "Skyggenes", date(1968, 1, 11), "F"),
    _person("Máret", "Luftfjell", date(1982, 6, 30), "F"),
    _person("Håkon", "Nestenås", date(1990, 10, 4), "M"),
    _person("Ylva", "Speilvatn", date(1997, 4, 18), "F"),
    _person("Bård", "Tomheim", date(2003, 8, 9), "M"),
    _person("Solveig", "Dikteland", date(1975, 3, 15), "F", serial=40),
    _person("Eskil", "Antamo", date(2000, 2, 29), "M"),
)
"""In this order: an adult, a child, one who came with a D-number, a child, an old man, then everybody else."""


@dataclass(frozen=True, slots=True)
class Department:
    """A unit of a hospital by its number in the register of units in specialist care; numbers invented."""

    name: str
    number: str
    specialty: str

    @property
    def xon(self) -> str:
        """The unit as the second value of authorInstitution."""
        return f"{escape_hl7(self.name)}^^^^^&{DEPARTMENTS}&ISO^^^^{self.number}"


@dataclass(frozen=True, slots=True)
class Practitioner:
    """Somebody who writes and signs; invented."""

    number: str
    given: str
    family: str
    role: str

    @property
    def xcn(self) -> str:
        """The person as authorPerson and legalAuthenticator."""
        return f"{self.number}^{escape_hl7(self.family)}^{escape_hl7(self.given)}^^^^^^&{PERSONNEL}&ISO"


@dataclass(frozen=True, slots=True)
class Source:
    """A hospital that registers and keeps documents."""

    key: str
    place: int
    """Its number among the hospitals here."""
    name: str
    organisation: str
    departments: tuple[Department, ...]
    practitioners: tuple[Practitioner, ...]

    @property
    def repository_unique_id(self) -> str:
        """OID of its repository."""
        return f"{EXAMPLES}.578.{self.place}.1"

    @property
    def source_id(self) -> str:
        """OID of its document source (XDSSubmissionSet.sourceId)."""
        return f"{EXAMPLES}.8.{self.organisation}"

    @property
    def unique_ids(self) -> str:
        """OID below which it numbers documents and submission sets."""
        return f"{EXAMPLES}.9.{self.organisation}"

    @property
    def xon(self) -> str:
        """The hospital as the first value of authorInstitution."""
        return f"{escape_hl7(self.name)}^^^^^&{ORGANISATIONS}&ISO^^^^{self.organisation}"


_UNITS = (
    ("Medisinsk avdeling", "Indremedisin"),
    ("Kirurgisk avdeling", "Generell kirurgi"),
    ("Barneavdelingen", "Barnesykdommer"),
    ("Nevrologisk poliklinikk", "Nevrologi"),
)
_STAFF = (
    ("Signe", "Nordvik", "Lege"),
    ("Olav", "Tindstad", "Lege"),
    ("Berit", "Fjæremo", "Sykepleier"),
    ("Kasper", "Grønnlien", "Psykolog"),
)


def _source(key: str, place: int, name: str, organisation: str) -> Source:
    units = tuple(
        Department(name, f"99{place}{number:04}", specialty) for number, (name, specialty) in enumerate(_UNITS, 1)
    )
    staff = tuple(
        Practitioner(f"9000{place}{number:04}", given, family, role)
        for number, (given, family, role) in enumerate(_STAFF, 1)
    )
    return Source(key, place, name, organisation, units, staff)


SOURCES: tuple[Source, ...] = (
    _source("ous", 1, "Oslo universitetssykehus HF", "993467049"),
    _source("finn", 2, "Finnmarkssykehuset HF", "983974880"),
    _source("unn", 3, "Universitetssykehuset Nord-Norge HF", "983974899"),
    _source("nlsh", 4, "Nordlandssykehuset HF", "983974910"),
    _source("helg", 5, "Helgelandssykehuset HF", "983974929"),
)
"""The hospitals of the pilot; their names and organisation numbers are public, all else about them is invented."""


def source(key: str) -> Source:
    """The hospital with this key, e.g. `ous`. `LookupError` names those there are."""
    for each in SOURCES:
        if each.key == key:
            return each
    raise LookupError(f"no source {key!r}; there are {', '.join(each.key for each in SOURCES)}")


def person(number: str) -> Person:
    """The patient with this number, present or former. `LookupError` if there is none."""
    for each in PEOPLE:
        if number == each.number:
            return each
        if number == each.former_number:
            return each.before()
    raise LookupError("nobody here has that number")
