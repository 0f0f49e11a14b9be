"""Everything that decides one answer, as it was read in one snapshot, and what of it the query asks for.

Pure. Which objects answer a query is said once, as a function of what shows: with everything showing it names what was
withheld, with what this caller may see it names the answer. Sources: ITI TF-2 3.18.4.1.2.3.7.2-14.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ihe.metadata import Coded
from ihe.names import Status
from registry.database.tables import ObjectKind
from registry.queries.containers import Container, Link
from registry.queries.parameters import Period
from registry.queries.reading import Found
from registry.queries.stored_queries import (
    AcrossPatients,
    Contents,
    FindDocuments,
    FindFolders,
    FindSubmissionSets,
    GetAll,
    GetAssociations,
    GetDocuments,
    GetDocumentsAndAssociations,
    GetFolderAndContents,
    GetFolders,
    GetFoldersForDocument,
    GetRelatedDocuments,
    GetSubmissionSetAndContents,
    GetSubmissionSets,
    StoredQuery,
)

Shows = Callable[[str], bool]
"""Whether the object with this entryUUID may be seen."""


class Marks(NamedTuple):
    """What filters on documents read and decisions do not."""

    object_type: str
    format_code: Coded
    availability: str
    """Read only where a query asks for it."""


@dataclass(slots=True)
class Gathered:
    """Objects by entryUUID: those a query may answer with, and all that decide whether those show."""

    entries: dict[str, Found] = field(default_factory=dict)
    marks: dict[str, Marks] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    stamps: dict[str, int] = field(default_factory=dict)
    """When submission sets were registered, as yyyymmddhhmmss."""
    roots: list[str] = field(default_factory=list)
    """What a query starts from: found by its filters, or asked for by id."""
    elsewhere: set[str] = field(default_factory=set)
    """Versions of the patient's folders that became another's: they decide, and are no answer."""
    decoys: tuple[Found, ...] = ()

    def members_of(self, container: str) -> list[str]:
        """Everything that ever belonged to it: documents, folders, memberships."""
        return [each.target for each in self._joined(container)]

    def later(self, container: Container) -> list[str]:
        """Newer versions of the same logical folder."""
        if self._lines is None:
            self._lines = {}
            for each in self.containers.values():
                self._lines.setdefault(each.lid, []).append(each)
        return [each.entry_uuid for each in self._lines[container.lid] if each.version > container.version]

    def _joined(self, container: str) -> list[Link]:
        """Its memberships. Sorted once for all, or a patient with many folders would wait for each of them."""
        if self._members is None:
            self._members = {}
            for each in self.links.values():
                if each.member:
                    self._members.setdefault(each.source, []).append(each)
        return self._members.get(container, [])

    _lines: dict[str, list[Container]] | None = None
    _members: dict[str, list[Link]] | None = None

    def last_update(self, folder: Container, shows: Shows) -> int:
        """A folder's lastUpdateTime as far as its documents show: who sees some must not learn of the others, nor of
        what was removed."""
        created = self.stamps.get(folder.submission_uuid)
        if created is None:
            return folder.stamp
        shown = (each for each in self._joined(folder.entry_uuid) if shows(each.entry_uuid))
        return max((created, *(self.stamps.get(each.submission_uuid, created) for each in shown)))


@dataclass(slots=True)
class Chosen:
    """An answer's objects, in its order."""

    containers: list[Container] = field(default_factory=list)
    entries: list[Found] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    @property
    def uuids(self) -> list[str]:
        """entryUUIDs of all of them."""
        entries = [each.facts.entry_uuid for each in self.entries]
        return [*(each.entry_uuid for each in self.containers), *entries, *(each.entry_uuid for each in self.links)]

    @property
    def size(self) -> int:
        """How many objects there are."""
        return len(self.containers) + len(self.entries) + len(self.links)

    @property
    def patients(self) -> list[str]:
        """Whose documents, sets and folders they are, each once. Associations are nobody's (TF-2 3.18.4.1.2.3.1)."""
        found = [each.patient_id for each in self.containers] + [each.facts.patient_id for each in self.entries]
        return list(dict.fromkeys(found))


def choose(query: StoredQuery, found: Gathered, shows: Shows) -> Chosen:
    """The objects that answer `query` if only those showed that `shows` says; in the order of kinds and entryUUIDs."""
    picked = _Choice(found, shows)
    match query:
        case AcrossPatients(wanted=FindFolders() as wanted) | (FindFolders() as wanted):
            picked.containers(each for each in found.roots if picked.updated_in(each, wanted.last_update))
        case FindSubmissionSets():
            picked.containers(found.roots)
        case GetAll():
            picked.all_of_a_patient(query)
        case GetFolders():
            picked.containers(picked.newest(query.unique_ids, query.level))
        case GetAssociations():
            picked.links_of(query.uuids, query.association_statuses)
        case GetDocumentsAndAssociations():
            roots = picked.newest(query.unique_ids, query.level)
            picked.entries(roots)
            picked.links_of(roots, query.association_statuses)
        case GetSubmissionSets():
            picked.holders_of(query.uuids, ObjectKind.SUBMISSION_SET, query.association_statuses)
        case GetSubmissionSetAndContents():
            picked.containers(found.roots)
            picked.contents_of(found.roots, query.contents, query.association_statuses)
        case GetFolderAndContents():
            roots = picked.newest(query.unique_ids, query.level)
            picked.containers(roots)
            picked.contents_of(roots, query.contents, query.association_statuses)
        case GetFoldersForDocument():
            roots = picked.newest(query.unique_ids, query.level)
            picked.holders_of(roots, ObjectKind.FOLDER, frozenset(Status))
            picked.drop_links()
        case GetRelatedDocuments():
            picked.related_to(picked.newest(query.unique_ids, query.level), query)
        case FindDocuments() | GetDocuments() | AcrossPatients():
            picked.entries(found.roots)
    return picked.chosen()


class _Choice:
    """What is picked so far."""

    def __init__(self, found: Gathered, shows: Shows) -> None:
        self._found = found
        self._shows = shows
        self._picked: set[str] = set()

    def chosen(self) -> Chosen:
        found, picked = self._found, sorted(self._picked)
        containers = [found.containers[each] for each in picked if each in found.containers]
        return Chosen(
            containers=sorted(containers, key=lambda each: each.kind),
            entries=[found.entries[each] for each in picked if each in found.entries],
            links=[found.links[each] for each in picked if each in found.links],
        )

    def containers(self, uuids: Iterable[str]) -> None:
        self._picked |= {each for each in uuids if each in self._found.containers and self._shows(each)}

    def entries(self, uuids: Iterable[str]) -> None:
        self._picked |= {each for each in uuids if each in self._found.entries and self._shows(each)}

    def drop_links(self) -> None:
        self._picked -= self._found.links.keys()

    def updated_in(self, folder: str, period: Period) -> bool:
        at = self._found.last_update(self._found.containers[folder], self._shows)
        return (period.begin is None or period.begin <= at) and (period.end is None or at < period.end)

    def newest(self, unique_ids: Collection[str], level: int) -> list[str]:
        """The roots; of what was asked for by uniqueId, for a consumer that knows of no versions, the newest."""
        if not unique_ids or level > 1:
            return self._found.roots
        return [each for each in self._found.roots if not self._superseded(each)]

    def _superseded(self, uuid: str) -> bool:
        if (folder := self._found.containers.get(uuid)) is not None:
            return bool(self._found.later(folder))
        entry = self._found.entries.get(uuid)
        return entry is not None and entry.superseded

    def links_of(self, uuids: Iterable[str], statuses: Collection[Status]) -> None:
        """Associations that have one of these at either end."""
        wanted = set(uuids)
        for each in self._linked(statuses):
            if each.source in wanted or each.target in wanted:
                self._picked.add(each.entry_uuid)

    def holders_of(self, uuids: Iterable[str], kind: ObjectKind, statuses: Collection[Status]) -> None:
        """Sets or folders that have one of these as member, and the memberships."""
        wanted = set(uuids)
        for each in self._linked(statuses):
            holder = self._found.containers.get(each.source)
            if each.member and each.target in wanted and holder is not None and holder.kind is kind:
                self._picked |= {each.entry_uuid, each.source}

    def contents_of(self, roots: Iterable[str], contents: Contents, statuses: Collection[Status]) -> None:
        """Members of sets or folders that show and are wanted, and the memberships; also memberships in folders that
        belong to a set and have both ends in the answer, with what makes them belong (TF-2 3.18.4.1.2.3.7.11)."""
        holders = {each for each in roots if self._shows(each)}
        member = [each for each in self._linked(statuses) if each.member and each.source in holders]
        inside: set[str] = set()
        for each in member:
            if each.target in self._found.containers or self._wanted(each.target, contents):
                inside.add(each.target)
                self._picked |= {each.entry_uuid, each.target}
        shown = {each.entry_uuid: each for each in self._linked(statuses)}
        for each in member:
            linked = shown.get(each.target)
            if linked is not None and {linked.source, linked.target} <= inside:
                self._picked |= {each.entry_uuid, linked.entry_uuid}

    def related_to(self, roots: Iterable[str], query: GetRelatedDocuments) -> None:
        """Documents that an association of these types ties to one of the roots, both ends, and the associations."""
        wanted, entries = set(roots), self._found.entries
        for each in self._linked(query.association_statuses):
            ends = {each.source, each.target}
            if each.type not in query.types or ends.isdisjoint(wanted) or not ends <= entries.keys():
                continue
            if all(self._found.marks[end].object_type in query.object_types for end in ends):
                self._picked |= {each.entry_uuid, *ends}

    def all_of_a_patient(self, query: GetAll) -> None:
        found = self._found
        statuses = {ObjectKind.SUBMISSION_SET: query.set_statuses, ObjectKind.FOLDER: query.folder_statuses}
        containers = (each for uuid, each in found.containers.items() if uuid not in found.elsewhere)
        self.containers(each.entry_uuid for each in containers if each.status in statuses[each.kind])
        in_state = (each for each in found.entries.values() if each.facts.status in query.entry_statuses)
        self._picked |= {
            each.facts.entry_uuid for each in in_state if self._wanted(each.facts.entry_uuid, query.contents)
        }
        self.links_of(set(self._picked), query.association_statuses)

    def _linked(self, statuses: Collection[Status]) -> Iterator[Link]:
        return (each for each in self._found.links.values() if each.status in statuses and self._shows(each.entry_uuid))

    def _wanted(self, uuid: str, contents: Contents) -> bool:
        found = self._found.entries.get(uuid)
        if found is None or not self._shows(uuid):
            return False
        marks, codes = self._found.marks[uuid], found.facts.confidentiality_codes
        return (
            marks.object_type in contents.object_types
            and (not contents.format_codes or marks.format_code in contents.format_codes)
            and all(not set(group).isdisjoint(codes) for group in contents.confidentiality_codes)
            and (not contents.availabilities or marks.availability in contents.availabilities)
        )
