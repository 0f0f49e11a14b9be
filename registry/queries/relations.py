"""Reads what sets, folders and associations a query asks for, and everything that decides whether they show.

A set shows with its members, an association with its ends, a folder with its newer versions: from where a query starts,
each round reads the associations of what the last one brought, until nothing new turns up; then the objects themselves,
all of them facts alone unless they may be answered. Ids that nobody registered run the same statements.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection

from ihe.names import AssociationType
from registry.database.rows import (
    BODY,
    FORMAT_CODE,
    OBJECT_TYPE,
    PATIENT_ID,
    SHARED,
    AnyRow,
    instant,
    stamp,
)
from registry.database.statements import bound, padded
from registry.database.tables import (
    ASSOCIATION_NUMBER,
    DECOY_UUID,
    IMPOSSIBLE_KEY,
    OBJECT_TYPE_NUMBER,
    ObjectKind,
    patient_key,
    uid_hash,
    uuid_bytes,
    uuid_text,
)
from registry.database.vocabulary import Vocabulary
from registry.people.identities import identity_set
from registry.queries.containers import (
    AUTHORS,
    OWNER,
    Container,
    link,
    reader_of_folders,
    reader_of_sets,
)
from registry.queries.find_containers import ContainerStatements
from registry.queries.find_related import (
    OF_ENTRIES,
    OF_ENTRIES_LEAF,
    OF_FOLDERS,
    OF_LINKS,
    OF_SETS,
    OF_STAMPS,
    by_uuid,
    claimed,
    directory,
    folders_by,
    of_patients,
)
from registry.queries.gathered import Gathered, Marks
from registry.queries.reading import Found, Reader, refuse_reports
from registry.queries.stored_queries import (
    EVERYBODY,
    AcrossPatients,
    ByDocument,
    ById,
    ByObject,
    Everybody,
    FindFolders,
    FindSubmissionSets,
    GetAll,
    GetDocuments,
    GetFolderAndContents,
    GetFolders,
    GetSubmissionSetAndContents,
    by_any,
)

AT_A_TIME = 256
"""Ids in one statement; longer lists take several."""

Related = FindSubmissionSets | FindFolders | GetAll | AcrossPatients | ById
"""Every stored query whose answer, or whose decisions, take more than documents."""
_CONTENTS = GetAll | GetSubmissionSetAndContents | GetFolderAndContents
_MEMBER = ASSOCIATION_NUMBER[AssociationType.HAS_MEMBER]
_OBJECT_TYPE_OF = {number: name for name, number in OBJECT_TYPE_NUMBER.items()}


class Scope(NamedTuple):
    """Whose objects are read: these keys of patients, and the CX that must stand there."""

    keys: frozenset[int]
    patients: frozenset[str]

    @classmethod
    def of(cls, identities: Collection[str]) -> Scope:
        """One person's identifiers; with none, a patient that cannot exist."""
        keys = frozenset(patient_key(each) for each in identities)
        return cls(keys or frozenset({IMPOSSIBLE_KEY}), frozenset(identities))


Availability = Callable[[int, bytes], str]
"""documentAvailability in a body as it is stored."""


class Relations:
    """Gathers on a connection that must be a snapshot."""

    def __init__(self, vocabulary: Vocabulary, reader: Reader, on_sqlite: bool, availability: Availability) -> None:
        self._vocabulary = vocabulary
        self._reader = reader
        self._statements = ContainerStatements(vocabulary, on_sqlite)
        self._set, self._folder = reader_of_sets(vocabulary), reader_of_folders(vocabulary)
        self._availability = availability

    def gather(self, connection: Connection, query: Related, scope: Scope | Everybody, leaf: bool) -> Gathered:
        """What decides the answer to `query`; EVERYBODY for a machine that names no patient."""
        reading = _Reading(self, connection, scope, leaf, _wants_availability(query))
        match query:
            case FindSubmissionSets():
                reading.sets(query)
            case FindFolders():
                reading.folders(query)
            case AcrossPatients(wanted=FindFolders() as wanted):
                reading.folders(wanted)
            case GetAll():
                reading.everything()
            case GetSubmissionSetAndContents():
                reading.containers(query.entry_uuids, query.unique_ids, ObjectKind.SUBMISSION_SET)
            case GetFolders():
                uuids = (*query.entry_uuids, *query.logical_ids)
                reading.containers(uuids, query.unique_ids, ObjectKind.FOLDER, bool(query.logical_ids))
            case GetFolderAndContents():
                reading.containers(query.entry_uuids, query.unique_ids, ObjectKind.FOLDER)
            case _:
                assert isinstance(query, ByDocument | ByObject), "documents across patients have a reader of their own"
                reading.by_document(query)
        return reading.found


def _wants_availability(query: Related) -> bool:
    return isinstance(query, _CONTENTS) and bool(query.contents.availabilities)


class _Reading:
    """One query on its way through the database."""

    def __init__(
        self, relations: Relations, connection: Connection, scope: Scope | Everybody, leaf: bool, availability: bool
    ) -> None:
        self._of, self._connection = relations, connection
        self._everybody = scope is EVERYBODY
        self._keys = frozenset({IMPOSSIBLE_KEY}) if scope is EVERYBODY else scope.keys
        self._patients = None if scope is EVERYBODY else scope.patients
        self._leaf, self._availability = leaf or availability, availability
        self._traced: set[str] = set()
        """Folders whose newer versions were read."""
        self.found = Gathered()

    # Where a query starts ---------------------------------------------------------------------------------------------

    def sets(self, query: FindSubmissionSets) -> None:
        statement, values = self._of._statements.of_sets(query, tuple(self._keys))
        rows = self._mine(self._connection.execute(statement, values))
        wanted = query.author_persons
        self._start_from(self._of._set(row) for row in rows if not wanted or by_any(row[AUTHORS], wanted))

    def folders(self, query: FindFolders) -> None:
        keys = EVERYBODY if self._everybody else tuple(self._keys)
        statement, values = self._of._statements.of_folders(query, keys)
        rows = self._mine(self._connection.execute(statement, values))
        if keys is EVERYBODY:
            refuse_reports(len(rows))
        self._start_from(self._of._folder(row) for row in rows)

    def everything(self) -> None:
        keys = padded(sorted(self._keys), IMPOSSIBLE_KEY)
        values = bound("key", keys)
        for name, read in ((OF_SETS, self._of._set), (OF_FOLDERS, self._of._folder)):
            rows = self._mine(of_patients(name, len(keys)).rows(self._connection, values))
            self.found.containers |= {each.entry_uuid: each for each in map(read, rows)}
        self._later()
        links = map(link, of_patients(OF_LINKS, len(keys)).rows(self._connection, values))
        self.found.links |= {each.entry_uuid: each for each in links}
        name = OF_ENTRIES_LEAF if self._leaf else OF_ENTRIES
        self._take_entries(of_patients(name, len(keys)).rows(self._connection, values))
        self._stamp()

    def containers(
        self, uuids: Collection[str], unique_ids: Collection[str], kind: ObjectKind, logical: bool = False
    ) -> None:
        """By entryUUID, uniqueId or logical id, whoever's they are."""
        places = dict(self._places(uuids))
        wanted = {raw for each in uuids if (raw := uuid_bytes(each)) is not None}
        name, read = (OF_FOLDERS, self._of._folder) if kind is ObjectKind.FOLDER else (OF_SETS, self._of._set)
        found = {each.entry_uuid: each for each in map(read, self._at(name, frozenset(places.values()), wanted))}
        names = set(unique_ids)
        if logical:
            # Versions keep their uniqueId, and maybe not their patient.
            names |= {each.unique_id for each in found.values()}
        claims = self._claims(names, kind)
        found |= {each.entry_uuid: each for each in map(read, self._at(name, *claims))}
        if kind is ObjectKind.FOLDER:
            keys = claims[0] | frozenset(places.values())
            found |= {each.entry_uuid: each for each in map(read, self._folders_of(keys, "unique_id", sorted(names)))}
        asked = set(uuids)
        self._start_from(
            each
            for each in found.values()
            if each.unique_id in unique_ids or each.entry_uuid in asked or (logical and each.lid in asked)
        )

    def by_document(self, query: ByDocument | ByObject) -> None:
        uuids = query.uuids if isinstance(query, ByObject) else query.entry_uuids
        unique_ids = () if isinstance(query, ByObject) else query.unique_ids
        hits = self._of._reader.get(self._connection, GetDocuments(uuids, unique_ids, level=2), self._leaf)
        self.found.decoys = hits.decoys
        self.found.entries |= {each.facts.entry_uuid: each for each in hits.found}
        roots = [each.facts.entry_uuid for each in hits.found]
        people = {each.facts.patient_id for each in hits.found}
        if isinstance(query, ByObject):
            roots = list(uuids)
            places = dict(self._places(uuids))
            for name, read in ((OF_SETS, self._of._set), (OF_FOLDERS, self._of._folder)):
                for each in map(read, self._at(name, frozenset(places.values()), set(places))):
                    self.found.containers[each.entry_uuid] = each
                    people.add(each.patient_id)
        self.found.roots = roots
        self._resolve(people)
        raw = _raw(roots)
        ends = self._links("source", raw) | self._links("target", raw)
        self._explore(raw | ends)

    def _start_from(self, containers: Iterable[Container]) -> None:
        found = {each.entry_uuid: each for each in containers}
        self.found.containers |= found
        self.found.roots = sorted(found)
        self._resolve({each.patient_id for each in found.values()})
        self._explore(_raw(uuid for uuid, each in found.items() if self._is_own(each)))

    def _resolve(self, people: Collection[str]) -> None:
        """For a machine: from here on what is read is of these people."""
        if self._everybody:
            sets = (identity_set(self._connection, each) for each in sorted(people))
            self._keys = frozenset(patient_key(each) for known in sets for each in known) or self._keys

    # What it leads to -------------------------------------------------------------------------------------------------

    def _explore(self, pending: set[bytes]) -> None:
        seen: set[bytes] = set()
        pending = pending or {DECOY_UUID}
        while pending:
            seen |= pending
            ends = self._links("entry_uuid", pending) | self._links("member", pending)
            for name, read in ((OF_SETS, self._of._set), (OF_FOLDERS, self._of._folder)):
                for each in map(read, self._mine(self._at(name, self._keys, pending))):
                    self.found.containers[each.entry_uuid] = each
            pending = (ends | self._later()) - seen
        name = OF_ENTRIES_LEAF if self._leaf else OF_ENTRIES
        self._take_entries(self._at(name, self._keys, seen))
        if self._everybody:
            # A set may have documents of others as members (SubmissionSetStatus Reference).
            missing = seen - _raw(self.found.entries) - _raw(self.found.containers) - _raw(self.found.links)
            places = self._places([uuid_text(each) for each in sorted(missing)])
            self._take_entries(self._at(name, frozenset(key for _, key in places), missing))
        self._stamp()

    def _later(self) -> set[bytes]:
        """Reads newer versions of folders, also of one that a correction gave to another patient: the older one shows
        only with it. Returns those to explore."""
        new = [each for each in self._folders() if each.entry_uuid not in self._traced]
        if not new:
            return set()
        self._traced |= {each.entry_uuid for each in new}
        keys = self._keys | self._claims({each.unique_id for each in new}, ObjectKind.FOLDER)[0]
        lids = sorted(_raw(each.lid for each in new))
        later = [self._of._folder(row) for row in self._folders_of(keys, "lid", lids)]
        self.found.containers |= {each.entry_uuid: each for each in later}
        self.found.elsewhere |= {each.entry_uuid for each in later if not self._is_own(each)}
        return _raw(each.entry_uuid for each in later if self._is_own(each))

    def _links(self, by: str, raw: Collection[bytes]) -> set[bytes]:
        """Reads associations by id or end; with `member`, what these sets and folders have. Returns all ends."""
        ends: set[bytes] = set()
        for row in self._at((OF_LINKS[0], by), self._keys, raw):
            each = link(row)
            self.found.links[each.entry_uuid] = each
            ends |= {row[5], row[6]}
        return ends

    def _take_entries(self, rows: Iterable[AnyRow]) -> None:
        of, facts = self._of, self._of._reader.facts
        read = [(row, facts(row)) for row in self._mine(rows, PATIENT_ID)]
        shared = {each.unique_id for row, each in read if row[SHARED]}
        families = of._reader.families(self._connection, shared) if shared else {}
        for row, each in read:
            family = (each, *(other for other in families.get(each.key, ()) if other.entry_uuid != each.entry_uuid))
            self.found.entries[each.entry_uuid] = Found(each, family, row[BODY], row[BODY + 1])
            available = of._availability(row[BODY], row[BODY + 1]) if self._availability else ""
            marks = Marks(_OBJECT_TYPE_OF[row[OBJECT_TYPE]], of._vocabulary.code(row[FORMAT_CODE]), available)
            self.found.marks[each.entry_uuid] = marks

    def _stamp(self) -> None:
        """When folders and what is in them was registered."""
        folders = {each.entry_uuid: each for each in self._folders()}
        sets = {each.submission_uuid for each in folders.values()}
        sets |= {each.submission_uuid for each in self.found.links.values() if each.source in folders}
        for row in self._at(OF_STAMPS, self._keys, _raw(sets)) if sets else ():
            self.found.stamps[uuid_text(row[0])] = stamp(instant(row[1]))

    def _folders(self) -> list[Container]:
        containers = self.found.containers.values()
        return [each for each in containers if each.kind is ObjectKind.FOLDER and self._is_own(each)]

    def _is_own(self, each: Container) -> bool:
        """Whether to look further: what is another patient's costs a person what an unknown id costs."""
        return self._patients is None or each.patient_id in self._patients

    # Statements -------------------------------------------------------------------------------------------------------

    def _mine(self, rows: Iterable[AnyRow], place: int = OWNER) -> list[AnyRow]:
        """Without rows of a patient that only has the same key."""
        people = self._patients
        return list(rows) if people is None else [row for row in rows if row[place] in people]

    def _at(self, name: tuple[str, str], keys: Collection[int], raw: Collection[bytes]) -> Iterator[AnyRow]:
        wanted = sorted(raw) or [DECOY_UUID]
        places = padded(sorted(keys), IMPOSSIBLE_KEY)
        for start in range(0, len(wanted), AT_A_TIME):
            some = padded(wanted[start : start + AT_A_TIME], DECOY_UUID)
            statement = by_uuid(name, len(places), len(some))
            yield from statement.rows(self._connection, bound("key", places) | bound("uuid", some))

    def _folders_of(self, keys: Collection[int], column: str, values: list[Any]) -> Iterator[AnyRow]:
        places = padded(sorted(keys), IMPOSSIBLE_KEY)
        for start in range(0, len(values), AT_A_TIME):
            some = padded(values[start : start + AT_A_TIME], values[0])
            statement = folders_by(column, len(places), len(some))
            yield from statement.rows(self._connection, bound("key", places) | bound("value", some))

    def _places(self, uuids: Iterable[str]) -> list[tuple[bytes, int]]:
        """Where objects are, whoever's: (id, key of the patient)."""
        wanted = sorted(_raw(uuids)) or [DECOY_UUID]
        found: list[tuple[bytes, int]] = []
        for start in range(0, len(wanted), AT_A_TIME):
            some = padded(wanted[start : start + AT_A_TIME], DECOY_UUID)
            found += [(row[0], row[1]) for row in directory(len(some)).rows(self._connection, bound("uuid", some))]
        return found

    def _claims(self, unique_ids: Collection[str], kind: ObjectKind) -> tuple[frozenset[int], set[bytes]]:
        wanted = sorted(uid_hash(each) for each in unique_ids) or [DECOY_UUID]
        found: list[AnyRow] = []
        for start in range(0, len(wanted), AT_A_TIME):
            some = padded(wanted[start : start + AT_A_TIME], DECOY_UUID)
            found += claimed(kind, len(some)).rows(self._connection, bound("hash", some))
        return frozenset(row[0] for row in found), {row[1] for row in found}


def _raw(uuids: Iterable[str]) -> set[bytes]:
    return {raw for each in uuids if (raw := uuid_bytes(each)) is not None}
