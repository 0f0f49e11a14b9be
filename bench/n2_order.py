"""N2: every acknowledgement leaves after the fdatasync of its commit and of its audit record, as the kernel saw it.

strace follows a node of docs/examples/conformance while four sources register and a fifth caller asks. Its database is
SQLite's file; what PostgreSQL syncs before it answers is PostgreSQL's promise (synchronous_commit is on, checked at
the start of a node).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.acknowledged import Acknowledgement, acknowledgements, by_attempt
from bench.report import Report
from bench.traced import Scene, Step, is_here, scene
from bench.writers import Attempt

SMOKE, FULL = 200, 2000
SEED = 20210216
FRAME_HEAD = 24
"""Bytes of a frame's head in SQLite's log; a commit has the database's size in bytes 4 to 8, any other frame zero."""
MISSING = "strace is not here or may not follow processes (Debian: apt install strace)"


@dataclass
class Verdict:
    """What was looked at, and every acknowledgement that came too early."""

    registrations: int = 0
    queries: int = 0
    early: list[str] = field(default_factory=list)
    strayed: list[str] = field(default_factory=list)
    """Files written outside of the node's folders."""


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    if not is_here():
        report.say(f"N2  left out: {MISSING}")
        return
    with scene(FULL if full else SMOKE, SEED) as seen:
        verdict = examined(seen)
    raw = (
        f"{verdict.registrations} registrations, {verdict.queries} queries, {len(verdict.early)} too early; seed {SEED}"
    )
    right = not verdict.early and verdict.registrations > 0 and verdict.queries > 0
    report.holds("N2", "every acknowledgement follows the fdatasync of its commit and of its record", right, raw)
    for each in verdict.early[:5]:
        report.say(f"    {each}")
    raw = f"{len(verdict.strayed)} others {verdict.strayed[:3]}"
    report.holds("N2", "nothing is written to a file outside of the node's folders", not verdict.strayed, raw)


def examined(seen: Scene) -> Verdict:
    """Every acknowledgement of the scene against the order of the trace."""
    verdict = Verdict()
    root = str(seen.after)
    log = [each for each in seen.steps if each.where == f"{root}/innsyn.db-wal"]
    trail = [each for each in seen.steps if each.where.startswith(f"{root}/audit/") and each.where.endswith(".jsonl")]
    acknowledged = by_attempt(seen.steps, seen.attempts)
    for attempt in seen.attempts:
        if (answer := acknowledged.get(attempt.message_id)) is None:
            if attempt.acknowledged:
                verdict.early.append(f"{attempt.set_id}: its answer is not in the trace")
            continue
        verdict.registrations += 1
        if not _committed(log, attempt, answer):
            verdict.early.append(f"{attempt.set_id}: its commit was not synced before the answer left")
        if not _recorded(trail, answer, (b'"kind":"registering"', b'"kind":"registered"')):
            verdict.early.append(f"{attempt.set_id}: its record was not synced before the answer left")
    for answer in acknowledgements(seen.steps):
        if answer.registers:
            continue
        verdict.queries += 1
        if not _recorded(trail, answer, (b'"kind":"queried"',)):
            verdict.early.append(f"query {answer.correlation}: its record was not synced before the answer left")
    folder = str(seen.after.parent)
    verdict.strayed = sorted(
        {
            each.where
            for each in seen.steps
            if each.name in ("write", "pwrite64", "writev")
            and each.where.startswith("/")
            and not each.where.startswith((folder, "/dev/"))
        }
    )
    return verdict


def _committed(log: Sequence[Step], attempt: Attempt, answer: Acknowledgement) -> bool:
    """Whether the log's frames of this submission, and the commit that follows them, were synced before the answer."""
    ids = attempt.set_id.encode()
    first = next((at for at, each in enumerate(log) if each.name == "pwrite64" and ids in each.data), None)
    if first is None:
        return False
    for at in range(max(0, first - 1), len(log)):
        each = log[at]
        if each.name == "pwrite64" and len(each.data) == FRAME_HEAD and any(each.data[4:8]):
            page = next(later for later in log[at + 1 :] if later.name == "pwrite64")
            return _synced(log[at:], page, answer)
    return False


def _recorded(trail: Sequence[Step], answer: Acknowledgement, kinds: Sequence[bytes]) -> bool:
    wanted = answer.correlation.encode()
    lines = [each for each in trail if each.name == "write" and wanted in each.data]
    return all(
        any(
            any(wanted in line and kind in line for line in each.data.splitlines()) and _synced(trail, each, answer)
            for each in lines
        )
        for kind in kinds
    )


def _synced(steps: Sequence[Step], written: Step, answer: Acknowledgement) -> bool:
    return any(
        each.name in ("fsync", "fdatasync")
        and each.where == written.where
        and written.ended < each.begun
        and each.ended < answer.begun
        for each in steps
    )
