"""UpdateAvailabilityStatus of ITI-57: of registered objects, and of objects that the same message brings.

Source: IHE ITI supplement XDS Metadata Update 3.57.4.1.3.3.3; what the NIST toolkit expects of combinations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from ihe.updates import StatusChange, Update
from registry.changes.filing import DEPRECATED
from registry.changes.reach import HAS_MEMBER, TABLE_OF, Held, places
from registry.changes.versions import newest_version
from registry.database.tables import STATUS_NUMBER, ObjectKind, uuid_bytes
from registry.rules.table import Rule, Violation
from registry.rules.update import CURRENT_STATUS, KNOWN_TARGET, LATEST_TARGET, ONE_PERSON


@dataclass(frozen=True, slots=True)
class Statuses:
    """The changes of status of one update."""

    update: Update
    objects: Mapping[bytes, Held]
    """What the message names and the sender may change, locked."""
    keys: frozenset[int]

    def check(self, connection: Connection) -> Iterator[Violation]:
        """What is wrong with each change of what is registered; of new objects the message has told it."""
        for change in self.update.statuses:
            if self._is_new(change):
                continue
            held = self._held(change)
            if held is None or not self._has_status(connection, held):
                expected = "a registered entry, folder, folder membership or relationship that the sender may change"
                yield _broken(KNOWN_TARGET, change, expected, change.target)
            elif held.row.status != STATUS_NUMBER[change.original]:
                yield _broken(CURRENT_STATUS, change, "the status it has", change.original.value)
            elif held.key not in self.keys:
                yield _broken(ONE_PERSON, change, "an object of the SubmissionSet's patient", change.target)
            elif held.kind is not ObjectKind.ASSOCIATION and not self._is_latest(connection, held):
                yield _broken(LATEST_TARGET, change, "the latest version", change.target)

    def _is_latest(self, connection: Connection, held: Held) -> bool:
        lids = {uuid_bytes(each.lid) for each in self.update.versions.values()}
        return newest_version(connection, held) and (held.row.lid or held.uuid) not in lids

    def _is_new(self, change: StatusChange) -> bool:
        submitted = {each.entry_uuid for each in self.update.submitted}
        return change.target in self.update.versions or change.target in submitted

    def _held(self, change: StatusChange) -> Held | None:
        raw = uuid_bytes(change.target)
        return None if raw is None else self.objects.get(raw)

    @staticmethod
    def _has_status(connection: Connection, held: Held) -> bool:
        """A SubmissionSet is always approved, and with it what says that something came with it."""
        if held.kind is ObjectKind.ASSOCIATION and held.row.type == HAS_MEMBER:
            source = places(connection, [held.row.source]).get(held.row.source)
            return source is not None and source.kind is ObjectKind.FOLDER
        return held.kind is not ObjectKind.SUBMISSION_SET

    def of_new(self) -> dict[str, int]:
        """The status that each new object of the message ends with, where the message changes it."""
        return {change.target: STATUS_NUMBER[change.new] for change in self.update.statuses if self._is_new(change)}

    def carry_out(self, connection: Connection) -> bool:
        """Changes what is registered; whether anything was deprecated."""
        taken_away = False
        for change in self.update.statuses:
            if self._is_new(change) or (held := self._held(change)) is None:
                continue
            table, new = TABLE_OF[held.kind], STATUS_NUMBER[change.new]
            where = (table.c.patient_key == held.key, table.c.entry_uuid == held.uuid)
            connection.execute(table.update().where(*where).values(status=new))
            taken_away |= new == DEPRECATED
        return taken_away


def _broken(rule: Rule, change: StatusChange, expected: str, sent: str) -> Violation:
    return Violation(rule, f"UpdateAvailabilityStatus of {change.target}", expected, sent)
