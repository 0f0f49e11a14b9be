"""Looks into a registry's SQLite file without our own code's help: is every submission whole, or wholly absent?"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.writers import Attempt
from ihe.names import Status
from registry.database.tables import STATUS_NUMBER, uid_hash


@dataclass
class Verdict:
    """What the file says of what was sent."""

    integrity: str = ""
    acknowledged: int = 0
    unacknowledged: int = 0
    present: int = 0
    absent: int = 0
    lost: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)


def examined(path: Path, attempts: Sequence[Attempt]) -> Verdict:
    """Every attempt against the tables."""
    verdict = Verdict()
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        verdict.integrity = "; ".join(row[0] for row in database.execute("PRAGMA integrity_check"))
        replaced = {}
        for attempt in attempts:
            present = _examine(database, attempt, verdict)
            if attempt.replaces:
                replaced[attempt.replaces] = replaced.get(attempt.replaces, False) or present
        for unique_id, by in replaced.items():
            status = database.execute("SELECT status FROM document WHERE unique_id = ?", (unique_id,)).fetchone()
            wanted = STATUS_NUMBER[Status.DEPRECATED if by else Status.APPROVED]
            if status is None or status[0] != wanted:
                verdict.torn.append(f"{unique_id} has status {status}, its replacement is {'' if by else 'not '}there")
        _orphans(database, verdict)
    finally:
        database.close()
    return verdict


def _examine(database: sqlite3.Connection, attempt: Attempt, verdict: Verdict) -> bool:
    sets = database.execute("SELECT entry_uuid FROM submission_set WHERE unique_id = ?", (attempt.set_id,)).fetchall()
    marks = ",".join("?" * len(attempt.unique_ids))
    entries = database.execute(
        f"SELECT unique_id, entry_uuid, submission_uuid FROM document WHERE unique_id IN ({marks})", attempt.unique_ids
    ).fetchall()
    claims = 0
    for each in (attempt.set_id, *attempt.unique_ids):
        claims += database.execute("SELECT count(*) FROM uid_claim WHERE uid_hash = ?", (uid_hash(each),)).fetchone()[0]
    verdict.acknowledged += attempt.acknowledged
    if not sets and not entries and not claims:
        verdict.absent += 1
        if attempt.acknowledged:
            verdict.lost.append(attempt.set_id)
        return False
    relations = [] if not sets else database.execute(
        "SELECT entry_uuid FROM association WHERE submission_uuid = ?", sets[0]
    ).fetchall()  # fmt: skip
    objects = [*sets, *((row[1],) for row in entries), *relations]
    known = sum(
        database.execute("SELECT count(*) FROM object_dir WHERE entry_uuid = ?", each).fetchone()[0] for each in objects
    )
    whole = (
        len(sets) == 1
        and {row[0] for row in entries} == set(attempt.unique_ids)
        and all(row[2] == sets[0][0] for row in entries)
        and claims == 1 + len(attempt.unique_ids)
        and len(relations) == len(attempt.unique_ids) + bool(attempt.replaces)
        and known == len(objects)
    )
    verdict.present += 1
    verdict.unacknowledged += not attempt.acknowledged
    if not whole:
        verdict.torn.append(
            f"{attempt.set_id}: {len(sets)} sets, {len(entries)} entries, {len(relations)} relations, {claims} claims"
        )
    return True


def _orphans(database: sqlite3.Connection, verdict: Verdict) -> None:
    """Rows of submissions that nobody sent."""
    for table in ("document", "association"):
        (count,) = database.execute(
            f"SELECT count(*) FROM {table} WHERE submission_uuid NOT IN (SELECT entry_uuid FROM submission_set)"
            + (" AND unique_id <> ''" if table == "document" else "")
        ).fetchone()
        if count:
            verdict.torn.append(f"{count} rows of {table} belong to no SubmissionSet")
