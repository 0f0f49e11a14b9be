"""Answers from the trail: who has seen a patient's documents, and whether anybody has altered the trail since.

Both read files only and work beside a running node: an unfinished last line of a newest segment is one being written.
Source: the patient's right of insight (docs/policy-guide.md); ITI TF-2 3.20.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from audit import segment, wire
from audit.event import Ending, Event, Kind, Object
from audit.recovery import SETTLES, ends
from audit.segment import Broken, Head, Header, Segment
from audit.wire import Unreadable


@dataclass(frozen=True, slots=True)
class Finding:
    """The first bad line of one worker's trail."""

    file: Path
    line: int
    """Counted from 1; 0 where a whole file is meant."""
    why: str

    def __str__(self) -> str:
        return f"{self.file.name} line {self.line}: {self.why}" if self.line else f"{self.file.name}: {self.why}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of a verification. No finding means: every line ever acknowledged is there, unaltered, in order."""

    lines: int
    segments: int
    findings: tuple[Finding, ...]
    """At most one per worker, in the order of workers: behind a broken link nothing can be proven."""


@dataclass(frozen=True, slots=True)
class View:
    """One exchange about a patient, as that patient may ask about it."""

    at: datetime
    wall: datetime
    simulated: bool
    correlation: str
    transaction: str
    patient_id: str
    name: str
    """The person's name, or the machine identity's."""
    hpr: str
    role: str
    organisation: str
    """Place of care, else legal entity; name where stated, else number."""
    organisation_number: str
    department: str
    purpose: str
    basis: str
    shown: tuple[Object, ...] = ()
    """Entries in the answer to a query."""
    opened: tuple[Object, ...] = ()
    """Documents released; `ending` None means the outcome is not known (yet) and counts as released."""
    withheld: tuple[Object, ...] = ()
    """What was not shown, each with its reason."""
    changed: tuple[Object, ...] = ()
    """Objects whose metadata was updated or removed; nobody saw anything by it."""
    refused: str = ""
    """Why the whole request got nothing: reason code or error codes."""
    note: str = ""

    @property
    def saw_anything(self) -> bool:
        """Whether this exchange gave the caller anything about the patient."""
        return bool(self.shown or self.opened)


@dataclass(frozen=True, slots=True)
class Trail:
    """Views in time order, and what could not be read: unknown is not empty."""

    views: tuple[View, ...]
    gaps: tuple[Finding, ...]


def who(folder: Path, patient_ids: Collection[str]) -> Trail:
    """Every exchange about a patient, given all the patient's ids as CX. Query hits count only if in the answer.

    Raises ValueError without an id: no patient is not every patient. Raises OSError where a file cannot be read.
    """
    if not patient_ids:
        raise ValueError("no patient id to look for")
    # A cheap test on the bytes first: a trail of years is mostly about other patients.
    marks = [json.dumps(each)[1:-1].encode("ascii") for each in patient_ids]
    found = _Found()
    for event in _events(folder, marks, found.gaps):
        about = event.patient_id or (event.subject.patient_id if event.subject else "")
        if not {about, *event.patients}.isdisjoint(patient_ids):
            found.add(event)
    return Trail(found.views(), tuple(found.gaps))


def exchange(folder: Path, correlation: str) -> tuple[Event, ...]:
    """Every event of one exchange, in the order they were recorded. Raises OSError; Broken for an unreadable line."""
    gaps: list[Finding] = []
    mark = json.dumps(correlation)[1:-1].encode("ascii")
    found = tuple(each for each in _events(folder, [mark], gaps) if each.correlation == correlation)
    if gaps:
        raise Broken(gaps[0].line, str(gaps[0]))
    return found


def since(folder: Path, moment: datetime, kinds: Collection[Kind]) -> Iterator[Event]:
    """Every readable event of these kinds that was recorded at `moment` of the real time or later, worker by worker.

    Raises OSError where a file cannot be read.
    """
    day = moment.astimezone(UTC).strftime("%Y%m%d")
    marks = [json.dumps(each.value).encode("ascii") for each in kinds]
    for event in _events(folder, marks, [], day):
        if event.kind in kinds and event.wall >= moment:
            yield event


def verify(folder: Path) -> Verdict:
    """Reads the whole trail and names the first bad line of each worker's. Raises OSError where it cannot be read."""
    # Heads before segments: a head never names a line that is not yet durable, so what it says must be found.
    heads: dict[str, Head | Unreadable | None] = {}
    for path in sorted(folder.glob("*.head")):
        try:
            heads[path.stem] = Head.read(path)
        except Unreadable as problem:
            heads[path.stem] = problem
    files = segment.segments(folder)
    lines, findings = 0, []
    for worker in sorted(heads.keys() | files.keys()):
        mine = files.get(worker, [])
        check = _Check(folder, worker, heads.get(worker))
        finding = check.run(mine)
        lines += check.lines
        if finding is not None:
            findings.append(finding)
    return Verdict(lines, sum(map(len, files.values())), tuple(findings))


class _Check:
    """The walk over one worker's trail."""

    def __init__(self, folder: Path, worker: str, head: Head | Unreadable | None) -> None:
        self.path, self.head = segment.head_path(folder, worker), head
        self.anchor_path = segment.anchor_path(folder, worker)
        self.lines = self.sequence = self.last_line = 0
        self.chain = segment.ZERO

    def run(self, mine: list[Segment]) -> Finding | None:
        """The first bad line, or None."""
        try:
            anchor = segment.Anchor.read(self.anchor_path)
        except Unreadable as problem:
            return Finding(self.anchor_path, 0, str(problem))
        self.sequence, self.chain = anchor.sequence, anchor.chain
        # One that is still there was to be removed when its node was stopped.
        mine = [each for each in mine if each.number > anchor.number]
        if isinstance(self.head, Unreadable):
            return Finding(self.path, 0, str(self.head))
        if self.head is None:
            return Finding(self.path, 0, "the head is missing: lost lines at the end could not be noticed")
        for expected, each in enumerate(mine, start=anchor.number + 1):
            if each.number != expected:
                return Finding(each.path, 0, f"segment {expected} is missing before this one")
            try:
                self._segment(each, newest=each is mine[-1])
            except Broken as problem:
                return Finding(each.path, problem.number, problem.why)
        if self.head.sequence > self.sequence:
            missing = self.head.sequence - self.sequence
            file = mine[-1].path if mine else self.path
            return Finding(file, self.last_line if mine else 0, f"{missing} acknowledged lines are missing at the end")
        return None

    def _segment(self, each: Segment, *, newest: bool) -> None:
        lines, torn = segment.whole_lines(each.path.read_bytes())
        self.last_line = len(lines) + 1
        if torn and not newest:
            raise Broken(len(lines) + 1, "an unfinished line")
        if not lines:
            if newest:
                return
            raise Broken(1, "the segment is empty")
        try:
            header = Header.read(lines[0])
        except Unreadable as problem:
            raise Broken(1, str(problem)) from None
        if header.before != self.chain or header.first != self.sequence + 1:
            raise Broken(1, f"the segment does not continue sequence {self.sequence} of the segment before")
        self.chain = segment.start_of(lines[0])
        for line in segment.walk(lines, each):
            try:
                wire.read(line.event)
            except Unreadable as problem:
                raise Broken(line.number, str(problem)) from None
            self.chain, self.sequence = line.chain, line.sequence
            self.lines += 1
            if isinstance(self.head, Head) and line.sequence == self.head.sequence and line.chain != self.head.chain:
                raise Broken(line.number, "the line is not the one that was acknowledged")


def _events(folder: Path, marks: list[bytes], gaps: list[Finding], day: str = "") -> Iterator[Event]:
    """The events of lines that hold one of the marks, in segments of this day or later. Lines that cannot be read are
    named in `gaps`."""
    for mine in segment.segments(folder).values():
        for each in (one for one in mine if one.day >= day):
            lines, _ = segment.whole_lines(each.path.read_bytes())
            for number, raw in enumerate(lines[1:], start=2):
                try:
                    event = segment.event_of(raw)
                    if any(mark in event for mark in marks):
                        yield wire.read(event)
                except Unreadable as problem:
                    gaps.append(Finding(each.path, number, str(problem)))


_CHANGES = frozenset({Kind.UPDATING, Kind.REMOVING})
"""Intents to change what is registered of a patient."""


class _Found:
    """Events gathered into views: an exchange with intent and outcome is one view."""

    def __init__(self) -> None:
        self.gaps: list[Finding] = []
        self._alone: list[Event] = []
        self._intents: dict[str, Event] = {}
        self._outcomes: dict[str, Event] = {}

    def add(self, event: Event) -> None:
        """Takes one event about the patient."""
        if event.kind in _CHANGES:
            self._intents[event.correlation] = event
        elif event.kind is Kind.RELEASING:
            # Decided again because a block or the policy changed meanwhile: what counted is the last.
            self._intents[event.correlation] = event
        elif event.kind is Kind.RELEASED or ends(self._intents.get(event.correlation), event):
            self._outcomes[event.correlation] = event
        elif event.kind is Kind.QUERIED:
            self._alone = [each for each in self._alone if not _same_query(each, event)]
            self._alone.append(event)
        elif event.kind in (Kind.REFUSED, Kind.FAILED):
            self._alone.append(event)

    def views(self) -> tuple[View, ...]:
        """In time order; on a node with simulated time in the order of the real one."""
        views = [_view(each) for each in self._alone]
        for correlation, intent in self._intents.items():
            view = _change if intent.kind in _CHANGES else _release
            views.append(view(intent, self._outcomes.pop(correlation, None)))
        views.extend(_release(each, each) for each in self._outcomes.values())
        return tuple(sorted(views, key=lambda view: (view.wall, view.correlation)))


def _same_query(one: Event, other: Event) -> bool:
    return one.kind is Kind.QUERIED and bool(one.correlation) and one.correlation == other.correlation


def _view(event: Event) -> View:
    subject = event.subject
    bare = View(
        at=event.at,
        wall=event.wall,
        simulated=event.simulated,
        correlation=event.correlation,
        transaction=event.transaction,
        patient_id=event.patient_id or (subject.patient_id if subject else ""),
        name=(subject.name or subject.machine) if subject else "",
        hpr=subject.hpr if subject else "",
        role=subject.role if subject else "",
        organisation=_organisation(event),
        organisation_number=(subject.place_of_care or subject.legal_entity) if subject else "",
        department=subject.department if subject else "",
        purpose=subject.purpose if subject else "",
        basis=subject.basis.value if subject and subject.basis else "",
        refused=event.reason or ", ".join(event.errors),
        note=event.note,
    )
    withheld = tuple(each for each in event.objects if not each.decision.permit)
    if event.kind is not Kind.QUERIED:
        return replace(bare, withheld=withheld)
    return replace(bare, shown=tuple(each for each in event.objects if each.decision.permit), withheld=withheld)


def _organisation(event: Event) -> str:
    if event.subject is None:
        return ""
    one = event.subject
    return one.place_of_care_name or one.place_of_care or one.legal_entity_name or one.legal_entity


def _release(intent: Event, outcome: Event | None) -> View:
    """One view of a retrieve: what was decided, and how each delivery ended as far as that is known."""
    bare = replace(_view(intent), refused="", note=outcome.note if outcome else "")
    ended = {_key(each): each for each in outcome.objects} if outcome else {}
    objects = [ended.get(_key(each), each) for each in intent.objects]
    opened = tuple(each for each in objects if each.decision.permit and _left(each))
    if outcome is not None and outcome.kind is Kind.FAILED:
        opened, bare = (), replace(bare, refused=outcome.reason or ", ".join(outcome.errors))
    return replace(bare, opened=opened, withheld=tuple(each for each in objects if each not in opened))


def _change(intent: Event, outcome: Event | None) -> View:
    """One view of an update or a removal. Without an outcome (yet) it counts as made."""
    bare = replace(_view(intent), refused="", note=outcome.note if outcome else "")
    if outcome is not None and outcome.kind is Kind.FAILED:
        return replace(bare, refused=outcome.reason or ", ".join(outcome.errors))
    if outcome is not None and outcome.kind is Kind.RESENT:
        return replace(bare, note="sent again: nothing was changed")
    return replace(bare, changed=intent.objects)


def _left(one: Object) -> bool:
    """Whether any of this document may have reached the caller. An unknown ending counts as released."""
    return one.ending in (None, Ending.COMPLETE) or one.bytes_sent > 0


def _key(one: Object) -> tuple[str, str, str]:
    return one.repository_unique_id, one.unique_id, one.entry_uuid


_SHOWS_NOTHING = {Kind.REGISTERING, Kind.FEEDING, Kind.MERGING}
assert SETTLES.keys() == {Kind.RELEASING, *_CHANGES, *_SHOWS_NOTHING}, (
    "audit.search knows which intents show a patient's data"
)
