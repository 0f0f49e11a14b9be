"""Why a decision came out as it did, row by row and in words, for the operator who is asked.

Pure. Verdicts are read off the decision itself, never worked out a second time, so the explanation cannot differ from
what was answered. For operators only: rows B-E must not reach a caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from policy.agreements import Agreement, Policy
from policy.blocks import REASON_OF, BlockKind, covers
from policy.decide import Situation, decide, refusal
from policy.facts import Decision, EntryFacts, Reason
from policy.files import OSLO
from policy.rows import opening, signature, unknown_codes


class Verdict(StrEnum):
    """What a row said."""

    PASSED = "passed"
    FAILED = "FAILED"
    OPENED = "opened"
    """A block hit, and the caller's basis opened it."""
    NOT_TESTED = "not tested"
    """The row does not apply to this channel, or no agreement was left to test it along."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table: what it tests, how it came out, what it looked at."""

    row: str
    tests: str
    verdict: Verdict
    reason: str
    """The code of the row that failed; empty otherwise."""
    seen: str

    def __str__(self) -> str:
        outcome = f"{self.verdict.value} {self.reason}".rstrip()
        return f"{self.row:<4} {outcome:<30} {self.tests}" + (f" ({self.seen})" if self.seen else "")


@dataclass(frozen=True, slots=True)
class _Row:
    row: str
    tests: str
    reasons: tuple[Reason, ...]
    seen: Callable[[Situation, EntryFacts], str]
    machine: bool = True
    """Whether the row is tested for channel machine."""
    along: bool = False
    """Whether it is tested along an agreement."""


def explain(situation: Situation, entry: EntryFacts, family: Sequence[EntryFacts] = ()) -> tuple[Line, ...]:
    """Every row of A10-F1 for one entry, in the order of the table; the first FAILED one is the primary reason.

    The one exception is the table's own: D1-D3 come before rows C where another source is open to the caller.
    `family` are all entries of the same document, the entry included; empty means that it is the only one.
    """
    decision = decide(situation, family or (entry,), entry)
    refused = refusal(situation, None)
    failed = ({decision.reason, *decision.also} if not decision.permit else set()) | {refused}
    opened = _opened(situation, entry)
    seats = bool(situation.standing_for(entry).seats)
    return (
        *(_line(row, situation, entry, failed, opened, seats) for row in _ROWS),
        _outcome(decision, refused),
    )


def describe(policy: Policy) -> tuple[str, ...]:
    """The policy in sentences: each agreement with its period, the growth that is promised, what to look into."""
    lines = [f"{policy.version}: {policy.description}"]
    lines += [_agreement(policy, policy.agreements[name]) for name in sorted(policy.agreements)]
    for growth in policy.growth:
        region = policy.regions[growth.region].name
        lines.append(f"the next source of {region} is to be appended to agreement {growth.agreement}")
    return (*lines, *(f"look into {warning}" for warning in policy.warnings))


def _agreement(policy: Policy, agreement: Agreement) -> str:
    sources = "what it registered itself" if agreement.own else _words(agreement.sources) or "nothing yet"
    readers = "any machine" if agreement.machines is None else _words(agreement.machines)
    readers = readers or _words(agreement.consumers | agreement.panels)
    named = {
        name for name, kind in policy.kinds.items() if agreement.kinds is not None and kind.codes <= agreement.kinds
    }
    kinds = "any kind" if agreement.kinds is None else _words(named)
    until = "with no end" if agreement.valid_to is None else f"until {_local(agreement.valid_to)}"
    return (
        f"agreement {agreement.agreement_id}: {sources} -> {readers}; {kinds}; "
        f"from {_local(agreement.valid_from)} {until}{'; also across patients' if agreement.multi_patient else ''}"
    )


def _line(
    row: _Row, situation: Situation, entry: EntryFacts, failed: set[Reason | None], opened: set[Reason], seats: bool
) -> Line:
    hit = next((reason for reason in row.reasons if reason in failed), None)
    if hit is not None:
        verdict = Verdict.FAILED
    elif (situation.is_machine and not row.machine) or (row.along and not seats):
        verdict = Verdict.NOT_TESTED
    else:
        verdict = Verdict.OPENED if opened.intersection(row.reasons) else Verdict.PASSED
    seen = "" if verdict is Verdict.NOT_TESTED else row.seen(situation, entry)
    return Line(row.row, row.tests, verdict, "" if hit is None else hit.value, seen)


def _outcome(decision: Decision, refused: Reason | None) -> Line:
    permit = decision.permit and refused is None
    told = ["the patient is told"] if decision.notify_patient else []
    told += ["operators are alerted"] if decision.alert else []
    reason = refused or decision.reason
    verdict = Verdict.PASSED if permit else Verdict.FAILED
    tests = "shown" if permit else "hidden" if refused is None else "the request is refused"
    return Line("F1", tests, verdict, reason.value, ", ".join(told))


def _opened(situation: Situation, entry: EntryFacts) -> set[Reason]:
    standing = situation.standing_for(entry)
    found = {
        REASON_OF[block.kind]
        for block in situation.held(entry.patient_id).narrower
        if covers(block, standing.source_id, entry.unique_id) and situation.opens(block)
    }
    rule = situation.policy.block_rules.get(BlockKind.DOCUMENT)
    if rule is not None and not rule.codes.isdisjoint(entry.confidentiality_codes):
        if opening(situation.subject) in situation.policy_override(BlockKind.DOCUMENT):
            found.add(Reason.BLOCK_DOC)
    return found


def _local(at: datetime) -> str:
    return at.astimezone(OSLO).strftime("%Y-%m-%d %H:%M:%S")


def _words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _blocks(*reasons: Reason) -> Callable[[Situation, EntryFacts], str]:
    def seen(situation: Situation, entry: EntryFacts) -> str:
        held = situation.held(entry.patient_id)
        if not held.known:
            return "the patient's blocks were not read"
        source = situation.standing_for(entry).source_id
        ids = [failure.block for failure in held.wide if failure.reason in reasons]
        ids += [
            block.block_id
            for block in held.narrower
            if REASON_OF[block.kind] in reasons and covers(block, source, entry.unique_id)
        ]
        return f"blocks {_words(ids)}" if ids else ""

    return seen


def _document_block(situation: Situation, entry: EntryFacts) -> str:
    codes = ", ".join(code.value for code in entry.confidentiality_codes)
    unknown = unknown_codes(entry.confidentiality_codes)
    return "; ".join(
        part
        for part in (
            f"codes {codes}" if codes else "",
            f"unknown 9603 codes {_words(unknown)}" if unknown else "",
            _blocks(Reason.BLOCK_DOC)(situation, entry),
        )
        if part
    )


def _periods(situation: Situation, entry: EntryFacts) -> str:
    standing = situation.standing_for(entry)
    parts = [f"now {_local(situation.now)}"]
    if standing.source is not None:
        parts.append(f"source from {_local(standing.source.available_from)}")
    for name in sorted({seat.agreement.agreement_id for seat in standing.seats}):
        agreement = situation.policy.agreements[name]
        until = "open" if agreement.valid_to is None else _local(agreement.valid_to)
        parts.append(f"{name} {_local(agreement.valid_from)} to {until}")
    return "; ".join(parts)


def _agreements(situation: Situation, entry: EntryFacts) -> str:
    standing = situation.standing_for(entry)
    named = _words({seat.agreement.agreement_id for seat in standing.seats})
    return f"source {standing.source_id or 'none'}, agreements {named or 'none'}"


def _signed(situation: Situation, entry: EntryFacts) -> str:
    at = signature(entry, situation.standing_for(entry).source, situation.now).at
    return "unsigned" if at is None else f"signed {_local(at)}"


def _nothing(situation: Situation, entry: EntryFacts) -> str:
    return ""


_ROWS: tuple[_Row, ...] = (
    _Row(
        "A10",
        "the token names one well-formed patient",
        (Reason.PATIENT_MISSING, Reason.PATIENT_INVALID),
        _nothing,
        machine=False,
    ),
    _Row("A10b", "the patient's blocks can be read", (Reason.BLOCKS_UNAVAILABLE,), _blocks(Reason.BLOCKS_UNAVAILABLE)),
    _Row(
        "A12",
        "an agreement names the caller's place of care, or the machine",
        (Reason.NO_AGREEMENT,),
        lambda situation, _: situation.subject.machine or f"place {situation.subject.place_of_care or 'none'}",
    ),
    _Row("B2", "the document is of the token's patient", (Reason.PATIENT_MISMATCH_DOC,), _nothing, machine=False),
    _Row("C1", "an agreement names this source and this caller", (Reason.NO_AGREEMENT_SOURCE,), _agreements),
    _Row("C2", "agreement and source have begun", (Reason.SCOPE_NOT_YET,), _periods, along=True),
    _Row("C3", "the agreement has not ended", (Reason.SCOPE_EXPIRED,), _periods, along=True),
    _Row("C4", "the region rule holds", (Reason.REGION_NOT_ALLOWED,), _nothing, along=True),
    _Row(
        "C5",
        "the department is listed, if departments are",
        (Reason.DEPT_NOT_LISTED,),
        lambda situation, _: f"department {situation.subject.department or 'none'}",
        machine=False,
        along=True,
    ),
    _Row(
        "C6",
        "the person is enrolled for this place",
        (Reason.PERSON_NOT_ENROLLED,),
        lambda situation, _: f"HPR {situation.subject.hpr or 'none'}, place {situation.subject.place_of_care}",
        machine=False,
        along=True,
    ),
    _Row(
        "C7",
        "role and purpose are inside the agreement",
        (Reason.ROLE_NOT_IN_SCOPE, Reason.PURPOSE_NOT_IN_SCOPE),
        lambda situation, _: f"{situation.subject.role or 'no role'}, {situation.subject.purpose or 'no purpose'}",
        machine=False,
        along=True,
    ),
    _Row("D1", "visit history is not blocked", (Reason.BLOCK_VISIT_HISTORY,), _blocks(Reason.BLOCK_VISIT_HISTORY)),
    _Row(
        "D2",
        "no reservation, and sharing is not blocked",
        (Reason.BLOCK_RESERVATION, Reason.BLOCK_SHARING),
        _blocks(Reason.BLOCK_RESERVATION, Reason.BLOCK_SHARING),
    ),
    _Row("D3", "this person is not blocked", (Reason.BLOCK_PERSON,), _blocks(Reason.BLOCK_PERSON), machine=False),
    _Row("D4", "this enterprise or department is not blocked", (Reason.BLOCK_ORG,), _blocks(Reason.BLOCK_ORG)),
    _Row("D5", "the source is not blocked whole", (Reason.BLOCK_SOURCE_TOTAL,), _blocks(Reason.BLOCK_SOURCE_TOTAL)),
    _Row("D6", "no block that needs opening", (Reason.BLOCK_OPENABLE,), _blocks(Reason.BLOCK_OPENABLE)),
    _Row(
        "E1",
        "the agreement shares this kind",
        (Reason.KIND_NOT_SHARED,),
        lambda _, entry: f"class {entry.class_code.value}, type {entry.type_code.value}",
        along=True,
    ),
    _Row("E2", "signed, and not in the future", (Reason.NOT_SIGNED,), _signed, along=True),
    _Row("E3", "not withdrawn", (Reason.WITHDRAWN,), _nothing),
    _Row(
        "E4",
        "the agreement shares this status",
        (Reason.DEPRECATED,),
        lambda _, entry: entry.status.rpartition(":")[2],
        along=True,
    ),
    _Row("E5", "the document is not blocked", (Reason.BLOCK_DOC,), _document_block),
    _Row(
        "E6",
        "young enough for its kind, if there is a limit",
        (Reason.TOO_OLD,),
        lambda _, entry: f"created {entry.creation_time or 'at an unknown time'}",
        along=True,
    ),
)
