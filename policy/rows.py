"""The rows of the decision table that look at one thing each: a seat, an entry, a block. Composed by policy.decide.

Pure predicates; each answers for one row and knows no other. Row names (C2, E4 ...) are those of docs/policy-guide.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from ihe.metadata import Coded
from policy.agreements import Codes, RegionRule, Seat, SigningGate, SigningRule, Source
from policy.blocks import Block
from policy.facts import Basis, Channel, EntryFacts, Purpose, Reason, Subject

RANK: dict[Reason, int] = {reason: place for place, reason in enumerate(Reason)}
"""Place of each reason in the decision table: the lowest one that failed is the primary reason."""

CONFIDENTIALITY_9603 = "2.16.578.1.12.4.1.1.9603"
_SCHEMES_9603 = frozenset({CONFIDENTIALITY_9603, f"urn:oid:{CONFIDENTIALITY_9603}"})
KNOWN_9603 = frozenset(
    {
        "N",
        "NORS",
        "NORU",
        "NORN_FFL",
        "NORN_KUT",
        "NORN_EPO",
        "NORN_ALL",
        "NORN_FOR",
        "NORN_FORANS",
        "NORN_UNGDOM",
        "NORN_FFH",
        "NORN_FPB",
        "NORN_DUP",
        "NORN_ANG",
    }
)
"""The list as published. NORS keeps personnel out; NORU and NORN_* restrict the citizen alone."""


class Caller(NamedTuple):
    """What the rows read of one request: who asks, and the one `now`."""

    subject: Subject
    now: datetime


SeatRow = tuple[Reason, Callable[[Seat, Source | None, Caller], bool]]


def has_begun(seat: Seat, source: Source | None, caller: Caller) -> bool:
    """C2: the agreement's period has begun, and the source's documents are available."""
    return seat.agreement.valid_from <= caller.now and (source is None or source.available_from <= caller.now)


def has_not_ended(seat: Seat, source: Source | None, caller: Caller) -> bool:
    """C3: half-open, so the agreement is over at its valid_to."""
    return seat.agreement.valid_to is None or caller.now < seat.agreement.valid_to


def region_holds(seat: Seat, source: Source | None, caller: Caller) -> bool:
    """C4: consumers were checked when the policy was read; here it bites on the sites of a panel."""
    if seat.agreement.region_rule is RegionRule.ANY:
        return True
    return source is not None and seat.region == source.region


def department_listed(seat: Seat, source: Source | None, caller: Caller) -> bool:
    """C5: a token without a department is in no list."""
    return seat.departments is None or caller.subject.department in seat.departments


def person_enrolled(seat: Seat, source: Source | None, caller: Caller) -> bool:
    """C6: the person, at this very place, now."""
    if seat.persons is None:
        return True
    return any(enrolled.at(caller.now) for enrolled in seat.persons.get(caller.subject.hpr, ()))


def role_in_scope(seat: Seat, source: Source | None, caller: Caller) -> bool:
    """C7, first code: the agreement's roles and, on a panel, the one it asks for."""
    return caller.subject.role in seat.agreement.roles and seat.role in ("", caller.subject.role)


def purpose_in_scope(seat: Seat, source: Source | None, caller: Caller) -> bool:
    """C7, second code."""
    return caller.subject.purpose in seat.agreement.purposes


MACHINE_ROWS: tuple[SeatRow, ...] = (
    (Reason.SCOPE_NOT_YET, has_begun),
    (Reason.SCOPE_EXPIRED, has_not_ended),
    (Reason.REGION_NOT_ALLOWED, region_holds),
)
"""C2-C4: what channel machine is tested on."""

PERSON_ROWS: tuple[SeatRow, ...] = (
    *MACHINE_ROWS,
    (Reason.DEPT_NOT_LISTED, department_listed),
    (Reason.PERSON_NOT_ENROLLED, person_enrolled),
    (Reason.ROLE_NOT_IN_SCOPE, role_in_scope),
    (Reason.PURPOSE_NOT_IN_SCOPE, purpose_in_scope),
)
"""C2-C7."""


def rows_of(subject: Subject) -> tuple[SeatRow, ...]:
    """The C rows that this caller's channel is tested on, in their order."""
    return MACHINE_ROWS if subject.channel is Channel.MACHINE else PERSON_ROWS


class Signature(NamedTuple):
    """When an entry counts as signed, and whether that is so now."""

    at: datetime | None
    holds: bool


def signature(entry: EntryFacts, source: Source | None, now: datetime) -> Signature:
    """E2: signed, not in the future. Where a source's submission implies the signature, registration is its time."""
    at = entry.signed_at
    if at is None and source is not None and source.signing is SigningRule.SUBMISSION_IMPLIES_SIGNED:
        at = entry.registered_at
    return Signature(at, at is not None and at <= now)


class Judged(NamedTuple):
    """What the rows read of one entry."""

    entry: EntryFacts
    signed: bool
    now: datetime


def kind_shared(seat: Seat, judged: Judged) -> bool:
    """E1: the pair of class and type is one the agreement names."""
    kinds = seat.agreement.kinds
    return kinds is None or (judged.entry.class_code, judged.entry.type_code) in kinds


def signing_suffices(seat: Seat, judged: Judged) -> bool:
    """E2: signed, unless the agreement does not wait for that."""
    return judged.signed or seat.agreement.signing is SigningGate.ANY


def available(seat: Seat, judged: Judged) -> bool:
    """E4: the status is one the agreement shares."""
    return judged.entry.status in seat.agreement.availability


def young_enough(seat: Seat, judged: Judged) -> bool:
    """E6: half-open; a creation time that cannot be read is too old for any limit."""
    limits = seat.agreement.max_age
    if limits is None:
        return True
    limit = limits.get(Codes(judged.entry.class_code, judged.entry.type_code))
    return limit is None or within(judged.entry.creation_time, limit, judged.now)


ENTRY_ROWS: tuple[tuple[Reason, Callable[[Seat, Judged], bool]], ...] = (
    (Reason.KIND_NOT_SHARED, kind_shared),
    (Reason.NOT_SIGNED, signing_suffices),
    (Reason.DEPRECATED, available),
    (Reason.TOO_OLD, young_enough),
)
"""E1, E2, E4 and E6: the rows about an entry that read an agreement."""


def shares(seat: Seat, judged: Judged) -> bool:
    """All of ENTRY_ROWS at once, for the common case that nothing failed."""
    return (
        kind_shared(seat, judged)
        and signing_suffices(seat, judged)
        and available(seat, judged)
        and young_enough(seat, judged)
    )


def within(creation_time: str, limit: timedelta, now: datetime) -> bool:
    """Whether a document created at this DTM (UTC, any precision) is younger than `limit`.

    A DTM that leaves digits out counts from the first instant it may mean: the doubt is the limit's.
    """
    if not (creation_time.isascii() and creation_time.isdecimal() and len(creation_time) in (4, 6, 8, 10, 12, 14)):
        return False
    digits = creation_time + "00000101000000"[len(creation_time) :]
    try:
        created = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return False
    return now - created < limit


def opening(subject: Subject) -> Basis | None:
    """What this caller can open a block with: a stated basis, which for an emergency also needs such a purpose."""
    if subject.basis is Basis.EMERGENCY and subject.purpose not in (Purpose.ETREAT, Purpose.BTG):
        return None
    return subject.basis


def first(blocks: Iterable[Block]) -> str:
    """The block that is named where several say the same, whatever order they came in."""
    return min((block.block_id for block in blocks), default="")


@lru_cache(maxsize=4096)
def folded(code: Coded) -> Coded:
    """The code without regard to letter case or white space at its ends: what keeps a document back is not undone by
    how its source writes it."""
    return Coded(code.value.strip().upper(), code.scheme.strip().lower())


def marked(entry: EntryFacts, blocking: frozenset[Coded]) -> bool:
    """E5: whether a confidentialityCode of this entry is one of `blocking`, which are folded."""
    return any(folded(code) in blocking for code in entry.confidentiality_codes)


def code_9603(code: Coded) -> str | None:
    """A code of list 9603 in its present spelling, or None for a code of another list.

    The retired hyphen spellings (NORN-ANG) mean what the underscore ones do.
    """
    return code.value.replace("-", "_") if code.scheme.strip().lower() in _SCHEMES_9603 else None


@lru_cache(maxsize=4096)
def unknown_codes(confidentiality_codes: tuple[Coded, ...]) -> tuple[str, ...]:
    """Codes that claim to be of list 9603 and are not: no ground to hide from personnel, but operators must know."""
    found = {code_9603(code) for code in confidentiality_codes}
    return tuple(sorted(code for code in found if code is not None and code not in KNOWN_9603))
