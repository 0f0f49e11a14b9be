"""Updates and removals to test with: messages from the builder of tests.ihe, sent through the transactions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import sqlalchemy as sa

from ihe import updates
from ihe.names import (
    LCM,
    RIM,
    SUBMIT_ASSOCIATION,
    UPDATE_AVAILABILITY_STATUS,
    Action,
    AssociationType,
    Status,
)
from ihe.soap import Call, Packaging, Reply
from ihe.updates import Update
from policy.facts import Channel, Subject
from registry.database.engine import Database
from registry.database.rows import AnyRow
from registry.database.tables import DECOY_KEY, STATUS_OF, document, folder, uuid_text
from registry.register import register
from registry.remove import remove
from registry.store import Store
from registry.update import update
from tests.ihe import submissions as written
from tests.ihe.submissions import Node, slot
from tests.registry.desks import PEER, Trail, desk_for, errors_of, status_of
from tests.registry.submissions import new_uuid

REPOSITORY = "2.999.10.20.1"
OTHER_REPOSITORY = "2.999.10.20.2"
BOTH = (REPOSITORY, OTHER_REPOSITORY)
OUS = Subject(
    Channel.MACHINE, "ous", machine="ous", may_register=BOTH, may_update=(REPOSITORY,), may_remove=(REPOSITORY,)
)
UNN = Subject(
    Channel.MACHINE,
    "unn",
    machine="unn",
    may_register=(OTHER_REPOSITORY,),
    may_update=(OTHER_REPOSITORY,),
    may_remove=(OTHER_REPOSITORY,),
)
APPROVED, DEPRECATED = Status.APPROVED.value, Status.DEPRECATED.value
_numbers = itertools.count(1)


def uuid(number: int) -> str:
    """A UUID that a test can name."""
    return f"urn:uuid:{UUID(int=(0xCCCC << 112) | number)}"


def new_set(patient: str = written.PATIENT, of: str = "Set1") -> Node:
    """A SubmissionSet with a uniqueId of its own."""
    return written.submission_set(of, unique_id=f"2.999.60.{next(_numbers)}", patient=patient)


def entry(of: str, unique_id: str, lid: str = "", patient: str = written.PATIENT, **slots: str) -> Node:
    """An entry; with a `lid` the complete metadata of a new version. `slots` replace those of its name."""
    made = written.entry(of, unique_id, patient)
    if lid:
        made.set("lid", lid)
    for name, value in slots.items():
        put(made, name, value)
    return made


def put(made: Node, name: str, *values: str) -> Node:
    """Replaces a slot; without values takes it away."""
    for found in made.findall(f"{{{RIM}}}Slot"):
        if found.get("name") == name:
            made.remove(found)
    if values:
        made.insert(0, slot(name, *values))
    return made


def a_folder(of: str, unique_id: str, lid: str = "", patient: str = written.PATIENT) -> Node:
    made = written.folder(of, unique_id, patient)
    if lid:
        made.set("lid", lid)
    return made


def follows(
    target: str,
    previous: str = "1",
    propagation: str = "",
    status: str = "Original",
    of: str = "",
    source: str = "Set1",
) -> Node:
    """The membership of a new version."""
    made = written.member(of or f"Member{next(_numbers)}", source, target, status)
    if previous:
        made.append(slot("PreviousVersion", previous))
    if propagation:
        made.append(slot("AssociationPropagation", propagation))
    return made


def _association(of: str, kind: str, source: str, target: str, *slots: Node) -> Node:
    attributes = {"id": of, "associationType": kind, "sourceObject": source, "targetObject": target}
    return written.rim("Association", attributes, *slots)


def status(target: str, original: str = APPROVED, new: str = DEPRECATED, source: str = "Set1") -> Node:
    """An UpdateAvailabilityStatus; an empty status leaves its slot out."""
    said = [("OriginalStatus", original), ("NewStatus", new)]
    slots = [slot(name, value) for name, value in said if value]
    return _association(f"Status{next(_numbers)}", UPDATE_AVAILABILITY_STATUS, source, target, *slots)


def submits(target: str, source: str = "Set1") -> Node:
    """A SubmitAssociation."""
    return _association(f"Submit{next(_numbers)}", SUBMIT_ASSOCIATION, source, target)


def joins(of: str, kind: AssociationType, source: str, target: str) -> Node:
    return _association(of, kind.value, source, target)


def removal(*ids: str) -> Node:
    refs = [written.rim("ObjectRef", {"id": each}) for each in ids]
    root = ElementTree.Element(f"{{{LCM}}}RemoveObjectsRequest")
    root.append(written.rim("ObjectRefList", {}, *refs))
    return root


def call(root: Node, action: Action) -> Call:
    return Call(action, written.body(root), None, "urn:uuid:message", Packaging.SIMPLE)


def typed(*objects: Node) -> Update:
    """An update as its transaction hands it to the store."""
    submittal = written.submittal(written.request(*objects))
    return updates.typed(submittal, updates.operations(submittal), new_uuid)


@dataclass
class Registry:
    """One database, its transactions, and a trail."""

    database: Database
    sender: Subject = OUS
    trail: Trail = field(default_factory=Trail)
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return Store(self.database)

    def send(self, action: Action, root: Node, sender: Subject | None = None) -> Reply:
        desk = desk_for(sender or self.sender, self.database, self.trail, **self.changes)
        transaction = {Action.REGISTER: register, Action.REMOVE: remove}.get(action, update)
        return transaction(call(root, action), PEER, desk)

    def codes(self, action: Action, root: Node, sender: Subject | None = None) -> list[str]:
        """The codes of the answer; none for a Success."""
        reply = self.send(action, root, sender)
        found = [code for code, _ in errors_of(reply)]
        assert (status_of(reply) == "Success") == (not found), reply.body.decode()
        return found

    def register(self, *objects: Node, sender: Subject | None = None) -> None:
        reply = self.send(Action.REGISTER, written.request(*objects), sender)
        assert status_of(reply) == "Success", reply.body.decode()

    def update(self, *objects: Node, sender: Subject | None = None, restricted: bool = False) -> list[str]:
        action = Action.RESTRICTED_UPDATE if restricted else Action.UPDATE
        return self.codes(action, written.request(*objects), sender)

    def remove(self, *ids: str, sender: Subject | None = None) -> list[str]:
        return self.codes(Action.REMOVE, removal(*ids), sender)

    def document(
        self, number: int, unique_id: str, patient: str = written.PATIENT, sender: Subject | None = None, **slots: str
    ) -> str:
        """Registers an entry with its set; returns its entryUUID. The set is uuid(number + 1), the membership + 2."""
        of, its_set, membership = uuid(number), uuid(number + 1), uuid(number + 2)
        made = entry(of, unique_id, patient=patient, **slots)
        member = written.member(membership, its_set, of, "Original")
        self.register(made, new_set(patient, its_set), member, sender=sender)
        return of

    def entries(self) -> dict[str, AnyRow]:
        """The rows of entries by entryUUID."""
        return self._rows(document)

    def folders(self) -> dict[str, AnyRow]:
        return self._rows(folder)

    def _rows(self, table: sa.Table) -> dict[str, AnyRow]:
        with self.database.snapshot() as connection:
            rows = connection.execute(sa.select(table).where(table.c.patient_key != DECOY_KEY)).all()
        return {uuid_text(row.entry_uuid): row for row in rows}

    def states(self) -> list[tuple[str, int, str]]:
        """Of every entry its uniqueId, version and status, in that order."""
        return sorted((row.unique_id, row.version, STATUS_OF[row.status].name) for row in self.entries().values())

    def count(self, *tables: sa.Table) -> list[int]:
        with self.database.snapshot() as connection:
            return [connection.execute(sa.select(sa.func.count()).select_from(each)).scalar_one() for each in tables]
