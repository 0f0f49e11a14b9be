"""How often each sender breaks which rule: one row a day per sender, rule and transaction, with no patient in it.

An operator reads here who would be refused if a rule were raised. Counting never fails a message: with an accepted one
it is part of its transaction, the last thing in it and in one order for all writers, so that they cannot wait for one
another in a circle; for a refused one it is a small write of its own that may be lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from registry.database.engine import Database
from registry.database.rows import microseconds
from registry.database.tables import finding
from registry.rules.strictness import Verdict


def count(connection: Connection, verdict: Verdict, at: datetime) -> None:
    """Adds what one message broke to the counts of its day. To be called last in a transaction."""
    if not verdict.broken:
        return
    insert = sqlite.insert(finding) if connection.dialect.name == "sqlite" else postgresql.insert(finding)
    counted = insert.on_conflict_do_update(
        index_elements=[finding.c.day, finding.c.sender, finding.c.rule, finding.c.transaction],
        set_={
            "seen": finding.c.seen + 1,
            "rejected": finding.c.rejected + insert.excluded.rejected,
            "last_at": insert.excluded.last_at,
            "correlation": insert.excluded.correlation,
        },
    )
    same = {
        "day": _day(at.astimezone(UTC).date()),
        "sender": verdict.sender,
        "transaction": verdict.transaction,
        "seen": 1,
        "last_at": microseconds(at),
        "correlation": verdict.correlation,
    }
    rows = [{**same, "rule": rule, "rejected": int(verdict.broken[rule])} for rule in sorted(verdict.broken)]
    connection.execute(counted, rows)


def _day(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day


@dataclass(frozen=True, slots=True)
class Finding:
    """One sender and one of the rules it broke since a day."""

    sender: str
    transaction: str
    rule: str
    seen: int
    """Messages that broke it."""
    rejected: int
    """Of these, how many were refused for it: the others would be if the rule were raised to `reject`."""
    last_at: datetime
    """UTC."""
    correlation: str
    """Of the last such message, to find it in the audit trail by."""

    @property
    def tolerated(self) -> int:
        """Messages that would be refused if the rule were raised to `reject`."""
        return self.seen - self.rejected


class Findings:
    """What was counted, for reports."""

    @staticmethod
    def read(database: Database, since: date) -> tuple[Finding, ...]:
        """Everything broken on this day (UTC) or later, by sender, transaction and rule. Raises: StoreTrouble."""
        # A group per sender, rule and transaction: in numbers as small as the operator's own configuration.
        statement = (
            sa.select(
                finding.c.sender,
                finding.c.transaction,
                finding.c.rule,
                finding.c.seen,
                finding.c.rejected,
                finding.c.last_at,
                finding.c.correlation,
            )
            .where(finding.c.day >= _day(since))
            .order_by(finding.c.sender, finding.c.transaction, finding.c.rule, finding.c.last_at)
        )
        found: dict[tuple[str, str, str], Finding] = {}
        with database.reading() as connection:
            for sender, transaction, rule, seen, rejected, last_at, correlation in connection.execute(statement):
                key = (sender, transaction, rule)
                before = found.get(key)
                found[key] = Finding(
                    sender,
                    transaction,
                    rule,
                    seen + (before.seen if before else 0),
                    rejected + (before.rejected if before else 0),
                    datetime.fromtimestamp(last_at / 1_000_000, UTC),
                    correlation,
                )
        return tuple(found.values())
