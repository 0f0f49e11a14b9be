"""The identifiers of a submission, taken for good: uniqueIds by claim, entryUUIDs in the directory.

A claim is an insert that either goes in or finds the first user; there is no moment between asking and taking.
Sources: ITI TF-2 3.42.4.1.3.3 (uniqueIds), TF-3 4.2.3.1 (UUIDs).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.metadata import Submission
from registry.database.engine import Undone
from registry.database.rows import AnyRow
from registry.database.statements import Insertion
from registry.database.tables import (
    REMOVED,
    ObjectKind,
    document,
    folder,
    object_dir,
    patient_key,
    submission_set,
    uid_claim,
    uid_hash,
    uuid_bytes,
)
from registry.database.vocabulary import Vocabulary
from registry.rules.table import (
    ON_DEMAND_UNIQUE_ID,
    SAME_HASH,
    SAME_SIZE,
    UNIQUE_IDS_IN_MESSAGE,
    UNUSED_UNIQUE_ID,
    UNUSED_UUID,
    Violation,
)

_CLAIMS, _DIRECTORY = Insertion(uid_claim), Insertion(object_dir)
UNCLAIMED = b""
"""The holder of a claim itself: the uniqueId's first user."""


class Resent(Undone):
    """Exactly this submission of this source is registered already: nothing is to be written."""


@dataclass(slots=True)
class Claims:
    """The identifiers of one submission, within its transaction."""

    submission: Submission
    by: str
    vocabulary: Vocabulary
    shared: set[str] = field(default_factory=set)
    """uniqueIds of submitted entries that another entry already carries."""

    def claim(self, connection: Connection) -> Iterator[Violation]:
        """Claims every uniqueId; tells which are taken in a way that the standard forbids."""
        sent = self.submission
        claims: dict[bytes, dict[str, Any]] = {}
        texts: dict[bytes, str] = {}
        for unique_id, row in self._claims():
            key = row["uid_hash"]
            if key in claims:
                yield Violation(UNIQUE_IDS_IN_MESSAGE, "RegistryObjectList", "one object per uniqueId", unique_id)
            claims.setdefault(key, row)
            texts[key] = unique_id
        taken = self._taken(connection, claims)
        if (first := taken.get(uid_hash(sent.submission_set.unique_id))) is not None:
            self._raise_if_resent(connection, first)
        for key in sorted(taken):
            conflict = _conflict(claims[key], taken[key], texts[key])
            if conflict is not None:
                yield conflict
            elif taken[key].kind == REMOVED + ObjectKind.DOCUMENT:
                _revive(connection, claims[key])
            else:
                self._share(connection, claims[key], taken[key], texts[key])

    def _taken(self, connection: Connection, claims: Mapping[bytes, Mapping[str, Any]]) -> dict[bytes, AnyRow]:
        """Claims what is free; returns the claims of the rest, locked."""
        taken: dict[bytes, AnyRow] = {}
        left = set(claims)
        while left:
            rows = [claims[key] for key in sorted(left)]
            left -= _CLAIMS.insert_new(connection, rows, uid_claim.c.uid_hash)
            if left:
                taken |= {row.uid_hash: row for row in locked_claims(connection, left)}
            # What is neither free nor taken was the tombstone of something, forgotten between the two.
            left -= taken.keys()
        return taken

    def _claims(self) -> Iterator[tuple[str, dict[str, Any]]]:
        sent = self.submission
        key = patient_key(sent.submission_set.patient_id)

        def claim(kind: ObjectKind, each: Any, content_hash: str = "", size: int | None = None) -> dict[str, Any]:
            return {
                "uid_hash": uid_hash(each.unique_id),
                "holder": UNCLAIMED,
                "kind": int(kind),
                "patient_key": key,
                "entry_uuid": uuid_bytes(each.entry_uuid),
                "hash": content_hash,
                "size": size,
            }

        yield sent.submission_set.unique_id, claim(ObjectKind.SUBMISSION_SET, sent.submission_set)
        for each in sent.folders:
            yield each.unique_id, claim(ObjectKind.FOLDER, each)
        for entry in sent.entries:
            yield entry.unique_id, claim(ObjectKind.DOCUMENT, entry, entry.hash.lower(), entry.size)

    def _raise_if_resent(self, connection: Connection, first: AnyRow) -> None:
        if first.kind != ObjectKind.SUBMISSION_SET:
            return
        earlier = connection.execute(
            sa.select(submission_set.c.digest, submission_set.c.registered_by).where(
                submission_set.c.patient_key == first.patient_key, submission_set.c.entry_uuid == first.entry_uuid
            )
        ).one()
        known = self.vocabulary.intern(connection, (), (self.by,)).labels[self.by]
        same = earlier.digest == self.submission.digest and earlier.registered_by == known
        if same and self._all_there(connection, first):
            raise Resent

    def _all_there(self, connection: Connection, first: AnyRow) -> bool:
        """Whether nothing of the earlier submission was removed since: a Success must not tell of what is not there."""
        sent = self.submission
        for table, objects in ((document, sent.entries), (folder, sent.folders)):
            of_it = table.c.patient_key == first.patient_key, table.c.submission_uuid == first.entry_uuid
            held = connection.execute(sa.select(sa.func.count()).select_from(table).where(*of_it)).scalar_one()
            if held < len(objects):
                return False
        return True

    def _share(self, connection: Connection, claim: dict[str, Any], taken: AnyRow, unique_id: str) -> None:
        """The same document registered once more (ITI TF-2 3.42.4.1.3.3): both entries know that they have company."""
        self.shared.add(unique_id)
        connection.execute(uid_claim.insert(), {**claim, "holder": claim["entry_uuid"]})
        # Later holders were marked when they came; only the first user may not know yet.
        first = (document.c.patient_key == taken.patient_key, document.c.entry_uuid == taken.entry_uuid)
        connection.execute(document.update().where(*first).values(shared=1))

    def enter(self, connection: Connection, ids: dict[str, ObjectKind]) -> Iterator[Violation]:
        """Enters every id into the directory; tells which are there already."""
        hashes = {entry.entry_uuid: uid_hash(entry.unique_id) for entry in self.submission.entries}
        hashes |= {each.entry_uuid: uid_hash(each.unique_id) for each in self.submission.folders}
        key = patient_key(self.submission.submission_set.patient_id)
        rows = [
            {
                "entry_uuid": uuid_bytes(each),
                "kind": int(ids[each]),
                "patient_key": key,
                "uid_hash": hashes.get(each, b""),
            }
            for each in sorted(ids)
        ]
        new = _DIRECTORY.insert_new(connection, rows, object_dir.c.entry_uuid)
        for each in ids:
            if uuid_bytes(each) not in new:
                yield Violation(UNUSED_UUID, ids[each].title, "a UUID that is not registered yet", each)


_CLAIM = sa.select(uid_claim).where(uid_claim.c.holder == UNCLAIMED)
_ONE_CLAIM = _CLAIM.where(uid_claim.c.uid_hash == sa.bindparam("uid")).with_for_update()


def locked_claims(connection: Connection, hashes: Collection[bytes]) -> list[AnyRow]:
    """The claims of these uniqueIds, locked in their order: whoever adds or takes away a holder waits here.

    One at a time, for they may lie on several servers (Citus locks rows of one shard per statement); SQLite has one
    writer at a time anyway.
    """
    if connection.dialect.name == "sqlite":
        return list(connection.execute(_CLAIM.where(uid_claim.c.uid_hash.in_(sorted(hashes)))))
    return [row for each in sorted(hashes) for row in connection.execute(_ONE_CLAIM, {"uid": each})]


def _revive(connection: Connection, claim: dict[str, Any]) -> None:
    """The very document that was removed is registered again: its uniqueId is in use again."""
    where = (uid_claim.c.uid_hash == claim["uid_hash"], uid_claim.c.holder == UNCLAIMED)
    # Without its key, which says where the row lies and must not be written (Citus).
    again = {name: value for name, value in claim.items() if name not in ("uid_hash", "holder")}
    connection.execute(uid_claim.update().where(*where).values(again))


def _conflict(claim: dict[str, Any], taken: AnyRow, unique_id: str) -> Violation | None:
    """What is wrong with using a uniqueId again; None for the same document registered once more."""
    place = ObjectKind(claim["kind"]).title
    documents = (ObjectKind.DOCUMENT, REMOVED + ObjectKind.DOCUMENT)
    if claim["kind"] != ObjectKind.DOCUMENT or taken.kind not in documents:
        return Violation(UNUSED_UNIQUE_ID, place, "a uniqueId that nothing uses", unique_id)
    if (claim["hash"] == "") != (taken.hash == ""):
        return Violation(ON_DEMAND_UNIQUE_ID, place, "a uniqueId of entries of the same objectType", unique_id)
    if claim["hash"] != taken.hash:
        return Violation(SAME_HASH, place, "the hash it is registered with", f"another for {unique_id}")
    if claim["size"] != taken.size:
        return Violation(SAME_SIZE, place, "the size it is registered with", f"another for {unique_id}")
    return None
