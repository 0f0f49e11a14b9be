"""New versions of registered entries and folders: which logical object each belongs to, and whether it may follow.

All versions of an object have one uniqueId, so its claim is the lock of the whole line: of two updates of one version
the later one finds a newer version than it names. Source: IHE ITI supplement XDS Metadata Update 3.57.4.1.3.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.ebrim import write_entry
from ihe.errors import XdsFailure
from ihe.metadata import DocumentEntry, Folder, Head
from ihe.names import SIGNED_AT, Code
from ihe.updates import NewVersion, Update, slot_values
from registry.changes.claims import UNCLAIMED, locked_claims
from registry.changes.filing import APPROVED, Standing
from registry.changes.reach import VERSIONED, Held, Place, Reach, lid_of, read
from registry.database.bodies import Bodies, BodyLost
from registry.database.rows import AnyRow
from registry.database.tables import (
    OBJECT_TYPE_NUMBER,
    STATUS_OF,
    ObjectKind,
    document,
    folder,
    object_dir,
    patient_key,
    uid_claim,
    uid_hash,
    uuid_bytes,
)
from registry.database.vocabulary import Numbers
from registry.rules.table import Rule, Violation
from registry.rules.update import (
    APPROVED_VERSION,
    KNOWN_OBJECT,
    LATEST,
    OWN_NEW_REPOSITORY,
    RESTRICTED,
    RESTRICTED_ATTRIBUTE,
    RESTRICTED_LOCALLY,
    RESTRICTED_PATIENT,
    SAME_DOCUMENT,
    SAME_TYPE,
    SAME_UNIQUE_ID,
)

_UNMODIFIABLE_SLOTS = ("sourcePatientId", "documentAvailability")


@dataclass(frozen=True, slots=True)
class Line:
    """The versions of one logical object, and what else has its uniqueId; locked, and newest last."""

    lid: bytes
    versions: tuple[Held, ...]
    company: tuple[AnyRow, ...]
    """Entries of other logical objects with the same uniqueId."""

    @property
    def latest(self) -> Held:
        """The newest version."""
        return self.versions[-1]


@dataclass(slots=True)
class Versions:
    """The new versions of one update against the registry."""

    update: Update
    restricted: bool
    reach: Reach
    bodies: Bodies
    keys: frozenset[int]
    """Patient keys of the update's patient and every identity merged with it."""
    lines: dict[str, Line] = field(default_factory=dict)
    """By entryUUID of the new version; those that were found."""

    @property
    def sent(self) -> tuple[DocumentEntry | Folder, ...]:
        """The new versions, entries first."""
        return (*self.update.submission.entries, *self.update.submission.folders)

    def find(self, connection: Connection) -> None:
        """Finds and locks what each new version belongs to: by the claim of its uniqueId first, then row by row."""
        new = {each.entry_uuid: (uuid_bytes(each.lid) or b"", kind) for each, kind in self._new()}
        wanted = _directory(connection, {lid for lid, _ in new.values()})
        hashes = {place.uid_hash for place in wanted.values() if place.uid_hash}
        if not hashes:
            return
        locked_claims(connection, hashes)
        held = uid_claim.c.uid_hash.in_(sorted(hashes)), uid_claim.c.kind.in_([int(kind) for kind in VERSIONED])
        where: dict[bytes, Place] = {
            bytes(row.entry_uuid): Place(ObjectKind(row.kind), row.patient_key, row.uid_hash)
            for row in connection.execute(sa.select(uid_claim).where(*held))
        }
        seen = read(connection, where)
        lids = {lid for lid, _ in new.values()}
        mine = {uuid: where[uuid] for uuid, each in seen.items() if lid_of(each) in lids}
        rows = read(connection, mine, lock=True)
        reachable = self.reach.of(connection, rows)
        for entry_uuid, (lid, kind) in new.items():
            line = sorted(
                (each for each in rows.values() if lid_of(each) == lid and each.kind is kind),
                key=lambda each: int(each.row.version),
            )
            if line and line[-1].uuid in reachable:
                company = (
                    each.row
                    for each in seen.values()
                    if each.kind is ObjectKind.DOCUMENT
                    and each.row.unique_id == line[-1].row.unique_id
                    and lid_of(each) != lid
                )
                self.lines[entry_uuid] = Line(lid, tuple(line), tuple(company))

    def _new(self) -> Iterator[tuple[NewVersion, ObjectKind]]:
        sent = self.update.submission
        for entry in sent.entries:
            yield self.update.versions[entry.entry_uuid], ObjectKind.DOCUMENT
        for each in sent.folders:
            yield self.update.versions[each.entry_uuid], ObjectKind.FOLDER

    def check(self) -> Iterator[Violation]:
        """What is wrong with each new version in the light of those before."""
        for each in self.sent:
            new = self.update.versions[each.entry_uuid]
            line = self.lines.get(each.entry_uuid)
            if line is None:
                yield self._broken(KNOWN_OBJECT, each, "the lid of an object that the sender may change", new.lid)
                continue
            yield from self._sequel(each, new, line)
            if isinstance(each, DocumentEntry):
                yield from self._same_document(each, line)
                if self.restricted:
                    yield from self._restrictions(each, new, line.latest.row)

    def _sequel(self, each: DocumentEntry | Folder, new: NewVersion, line: Line) -> Iterator[Violation]:
        latest = line.latest.row
        if new.previous != latest.version:
            said = f"PreviousVersion {new.previous} of {new.lid}"
            yield self._broken(LATEST, each, "the number of the latest version", said)
        elif latest.status != APPROVED and not self.restricted:
            yield self._broken(APPROVED_VERSION, each, "a version that is approved", f"another of {new.lid}")
        if each.unique_id != latest.unique_id:
            yield self._broken(SAME_UNIQUE_ID, each, "the uniqueId it has", each.unique_id)

    def _same_document(self, entry: DocumentEntry, line: Line) -> Iterator[Violation]:
        latest = line.latest.row
        if OBJECT_TYPE_NUMBER[entry.object_type] != latest.object_type:
            yield self._broken(SAME_TYPE, entry, "the objectType it has", entry.object_type)
        if entry.repository_unique_id not in self.reach.repositories:
            expected = "a repositoryUniqueId that the sender may update"
            yield self._broken(OWN_NEW_REPOSITORY, entry, expected, entry.repository_unique_id)
            return  # a comparison with what lies there would tell that it lies there
        sent = (entry.hash.lower(), entry.size)
        if self.restricted:
            if sent != (latest.hash, latest.size):
                yield self._broken(SAME_DOCUMENT, entry, "the hash and size it has", f"{entry.hash}, {entry.size}")
            return
        newest: dict[bytes, AnyRow] = {}
        for row in line.company:
            at = self.reach.vocabulary.label(row.repository)
            if at == entry.repository_unique_id and row.version >= newest.get(row.lid, row).version:
                newest[row.lid] = row
        if any((row.hash, row.size) != sent for row in newest.values()):
            expected = "the hash and size that other entries of this document have"
            yield self._broken(SAME_DOCUMENT, entry, expected, f"{entry.hash}, {entry.size}")

    def _restrictions(self, entry: DocumentEntry, new: NewVersion, latest: AnyRow) -> Iterator[Violation]:
        if latest.patient_key not in self.keys:
            yield self._broken(RESTRICTED_PATIENT, entry, "the patient it has", entry.patient_id)
        status = STATUS_OF[latest.status]
        if new.status not in ("", status):
            yield self._broken(RESTRICTED_ATTRIBUTE, entry, "the availabilityStatus it has, or none", new.status)
        if entry.repository_unique_id != self.reach.vocabulary.label(latest.repository):
            expected = "the repositoryUniqueId it has"
            yield self._broken(RESTRICTED_ATTRIBUTE, entry, expected, entry.repository_unique_id)
        before = _written(new.lid, _body(self.bodies, latest))
        after = _written(entry.entry_uuid, entry.body)
        for name in _UNMODIFIABLE_SLOTS:
            if (said := slot_values(after, name)) != slot_values(before, name):
                yield self._broken(RESTRICTED_ATTRIBUTE, entry, f"the {name} it has", ", ".join(said) or "nothing")
        if slot_values(after, SIGNED_AT) != slot_values(before, SIGNED_AT) or entry.withdrawn != bool(latest.withdrawn):
            yield self._broken(RESTRICTED_LOCALLY, entry, "the time of signing and the withdrawal it has", "others")

    def _broken(self, rule: Rule, each: DocumentEntry | Folder, expected: str, sent: str) -> Violation:
        """`sent` is of the sender's own message, whatever the registry holds."""
        kind = "DocumentEntry" if isinstance(each, DocumentEntry) else "Folder"
        told = RESTRICTED.get(rule, rule) if self.restricted else rule
        return Violation(told, f"{kind} {each.unique_id}", expected, sent)

    # Once nothing is wrong ------------------------------------------------------------------------------------------

    def moved(self, entry_uuid: str) -> bool:
        """Whether this new version is of another patient than the one before."""
        return self.lines[entry_uuid].latest.key not in self.keys

    def standings(self, statuses: Mapping[str, int]) -> dict[str, Standing]:
        """Where each new version stands; `statuses` are those that the same message changes."""
        return {
            entry_uuid: Standing(
                line.lid,
                line.latest.row.version + 1,
                statuses.get(entry_uuid, line.latest.row.status if self.restricted else APPROVED),
                line.latest.row,
            )
            for entry_uuid, line in self.lines.items()
        }

    def supersede(self, connection: Connection, numbers: Numbers, deprecated: int) -> None:
        """Deprecates the versions before, and lets the new ones hold their uniqueId.

        Where the document moved to another repository, all its versions are found and judged there: the source that
        decides about it is the one that has it. What they say of themselves stays as it was registered.
        """
        key = patient_key(self.update.submission.submission_set.patient_id)
        for each in self.sent:
            line = self.lines[each.entry_uuid]
            is_entry = isinstance(each, DocumentEntry)
            holder = {
                "uid_hash": uid_hash(each.unique_id),
                "holder": uuid_bytes(each.entry_uuid),
                "kind": int(ObjectKind.DOCUMENT if is_entry else ObjectKind.FOLDER),
                "patient_key": key,
                "entry_uuid": uuid_bytes(each.entry_uuid),
                "hash": each.hash.lower() if isinstance(each, DocumentEntry) else "",
                "size": each.size if isinstance(each, DocumentEntry) else None,
            }
            connection.execute(uid_claim.insert(), holder)
            if isinstance(each, DocumentEntry):
                # The claim says what the document is, and follows the entry it was made for, not its company.
                uuids = [version.uuid for version in line.versions]
                own = (uid_claim.c.uid_hash == uid_hash(each.unique_id), uid_claim.c.holder == UNCLAIMED)
                claim = uid_claim.update().where(*own, uid_claim.c.entry_uuid.in_(uuids))
                connection.execute(claim.values(hash=each.hash.lower(), size=each.size))
            table = document if is_entry else folder
            latest = (table.c.patient_key == line.latest.key, table.c.entry_uuid == line.latest.uuid)
            values = {"status": deprecated, "shared": 1} if is_entry else {"status": deprecated}
            connection.execute(table.update().where(*latest).values(values))
            if isinstance(each, DocumentEntry):
                _move(connection, line, numbers.labels[each.repository_unique_id])


def _move(connection: Connection, line: Line, repository: int) -> None:
    """Lets every version that was elsewhere be found and judged in this repository."""
    elsewhere = [version for version in line.versions if version.row.repository != repository]
    for version in elsewhere:
        where = (document.c.patient_key == version.key, document.c.entry_uuid == version.uuid)
        connection.execute(document.update().where(*where).values(repository=repository))


def _directory(connection: Connection, lids: set[bytes]) -> dict[bytes, Place]:
    """Where the first versions are, or were: one that was removed still leads to those that followed it."""
    found: dict[bytes, Place] = {}
    rows = connection.execute(sa.select(object_dir).where(object_dir.c.entry_uuid.in_(sorted(lids))))
    for row in rows.all():
        unique = bytes(row.uid_hash)
        if not unique and row.kind == ObjectKind.FOLDER:
            # Registered before folders had versions.
            place = (folder.c.patient_key == row.patient_key, folder.c.entry_uuid == row.entry_uuid)
            unique_id = connection.execute(sa.select(folder.c.unique_id).where(*place)).scalar()
            unique = b"" if unique_id is None else uid_hash(unique_id)
        found[bytes(row.entry_uuid)] = Place(ObjectKind(row.kind), row.patient_key, unique)
    return found


def newest_version(connection: Connection, each: Held) -> bool:
    """Whether no later version of this entry or folder is registered. Its row must be locked."""
    held = uid_claim.c.uid_hash == uid_hash(each.row.unique_id), uid_claim.c.kind == int(each.kind)
    where = {
        bytes(row.entry_uuid): Place(each.kind, row.patient_key)
        for row in connection.execute(sa.select(uid_claim).where(*held))
    }
    line = (other for other in read(connection, where).values() if lid_of(other) == lid_of(each))
    return all(other.row.version <= each.row.version for other in line)


def _body(bodies: Bodies, row: AnyRow) -> bytes:
    try:
        return bodies.inflate(row.codec, row.body)
    except BodyLost:
        raise XdsFailure.of(Code.REGISTRY_ERROR, "the registry cannot read what is to be updated") from None


def _written(entry_uuid: str, body: bytes) -> bytes:
    return write_entry(Head(entry_uuid, entry_uuid, 1, STATUS_OF[APPROVED], "", ""), body)
