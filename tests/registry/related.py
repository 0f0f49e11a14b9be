"""Sets, folders and associations in a store, and every stored query as a call: for tests of what belongs together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ihe import xml
from ihe.metadata import Association, DocumentEntry, Folder, Submission
from ihe.names import AssociationType, QueryId, Status
from ihe.soap import Call, Reply
from registry.database.rows import stamp
from registry.desk import Desk
from registry.query import answer_query
from registry.store import Store
from tests.ihe import submissions as written
from tests.policy.casebook import cx
from tests.registry import submissions
from tests.registry.desks import DE, LONG_AGO, OUS, PEER, SUMMARY, errors_of, query_call, status_of
from tests.registry.submissions import new_uuid, relation, submission

P1, P2 = cx("P1"), cx("P2")
FD, SS = "$XDSFolder", "$XDSSubmissionSet"
MEMBER = AssociationType.HAS_MEMBER
APPROVED = ("Status", f"('{Status.APPROVED}')")
BOTH = ("Status", f"('{Status.APPROVED}','{Status.DEPRECATED}')")
_WHOLE = written.submission(written.with_folder())
ENTRY_BODY, SET_BODY, FOLDER_BODY = _WHOLE.entries[0].body, _WHOLE.submission_set.body, _WHOLE.folders[0].body

FILED = stamp(LONG_AGO)
RPLC, APND = AssociationType.RPLC, AssociationType.APND
ASSOCIATIONS, AND_ASSOCIATIONS = QueryId.GET_ASSOCIATIONS, QueryId.GET_DOCUMENTS_AND_ASSOCIATIONS
OF_DOCUMENT, SETS = QueryId.GET_FOLDERS_FOR_DOCUMENT, QueryId.GET_SUBMISSION_SETS
SET_AND, FOLDER_AND = QueryId.GET_SUBMISSION_SET_AND_CONTENTS, QueryId.GET_FOLDER_AND_CONTENTS


def entry(patient: str = P1, **changes: Any) -> DocumentEntry:
    """A signed summary of OUS, which Anne may see."""
    words = {"repository_unique_id": OUS, "patient_id": patient, "body": ENTRY_BODY, **SUMMARY, **changes}
    return submissions.entry(**words)


def unsigned(patient: str = P1, **changes: Any) -> DocumentEntry:
    """One that Anne may not see."""
    return entry(patient, legal_authenticator="", **changes)


def folder(patient: str = P1, **changes: Any) -> Folder:
    return submissions.folder(**{"patient_id": patient, "body": FOLDER_BODY, **changes})


@dataclass(frozen=True)
class Put:
    """What was registered together."""

    sent: Submission

    @property
    def uuid(self) -> str:
        return self.sent.submission_set.entry_uuid

    def link(self, source: str, target: str) -> Association:
        """The one association between these two."""
        (found,) = [each for each in self.sent.associations if (each.source, each.target) == (source, target)]
        return found

    @property
    def everything(self) -> set[str]:
        """entryUUIDs of all its objects."""
        parts = (*self.sent.entries, *self.sent.folders, *self.sent.associations)
        return {self.uuid, *(each.entry_uuid for each in parts)}


def put(
    store: Store,
    *entries: DocumentEntry,
    folders: Sequence[Folder] = (),
    into: Sequence[tuple[str, str]] = (),
    relations: Sequence[Association] = (),
    patient: str = P1,
    by: str = "ous",
    at: datetime = LONG_AGO,
    repositories: Sequence[str] = (OUS,),
    **of_set: Any,
) -> Put:
    """Registers a set: its entries and folders, `into` (folder, document) memberships, and other associations."""
    uuid = new_uuid()
    joined = [relation(MEMBER, *each) for each in into]
    own = [relation(MEMBER, uuid, each.entry_uuid, True) for each in joined]
    sent = submission(
        *entries,
        folders=tuple(folders),
        relations=(*joined, *own, *relations),
        patient_id=patient,
        entry_uuid=uuid,
        **{"body": SET_BODY, **of_set},
    )
    store.register(sent, by, at, repositories)
    return Put(sent)


def again(each: DocumentEntry, **changes: Any) -> DocumentEntry:
    """The same document registered once more, under another entryUUID."""
    return replace(each, entry_uuid=new_uuid(), **changes)


def objects_of(reply: Reply) -> dict[str, str]:
    """The objects of an answer: entryUUID and tag."""
    found = re.findall(
        r'<(ExtrinsicObject|RegistryPackage|Association|ObjectRef)\b[^>]*? id="([^"]*)"', reply.body.decode()
    )
    assert len(dict(map(reversed, found))) == len(found)  # type: ignore[arg-type]
    return {uuid: tag for tag, uuid in found}


def body_of(reply: Reply) -> xml.Element:
    """The AdhocQueryResponse of an answer."""
    return xml.read(reply.body)[1][0]


def ask(call: Call, desk: Desk) -> Reply:
    """The answer, whatever it is."""
    return answer_query(call, PEER, desk)


def found(call: Call, desk: Desk) -> set[str]:
    """entryUUIDs of what a question finds."""
    reply = ask(call, desk)
    assert status_of(reply) == "Success", errors_of(reply)
    return set(objects_of(reply))


def with_returns(call: Call, returns: str) -> Call:
    """A LeafClass query with another returnType."""
    return replace(call, body=xml.read(xml.write(call.body).replace(b"LeafClass", returns.encode())))


def listed(*ids: str) -> str:
    return "(" + ",".join(f"'{each}'" for each in ids) + ")"


def find_sets(patient: str, *more: tuple[str, str], returns: str = "LeafClass") -> Call:
    slots = [(f"{SS}PatientId", f"'{patient}'"), (f"{SS}{APPROVED[0]}", APPROVED[1]), *more]
    return query_call(slots, QueryId.FIND_SUBMISSION_SETS, returns)


def find_folders(
    patient: str, *more: tuple[str, str], statuses: tuple[str, str] = APPROVED, returns: str = "LeafClass"
) -> Call:
    slots = [(f"{FD}PatientId", f"'{patient}'"), (f"{FD}{statuses[0]}", statuses[1]), *more]
    return query_call(slots, QueryId.FIND_FOLDERS, returns)


def get_all(
    patient: str, *more: tuple[str, str], statuses: tuple[str, str] = APPROVED, returns: str = "LeafClass"
) -> Call:
    kinds = [(f"{kind}{statuses[0]}", statuses[1]) for kind in (DE, SS, FD)]
    return query_call([("$patientId", f"'{patient}'"), *kinds, *more], QueryId.GET_ALL, returns)


def get(
    query_id: QueryId, name: str, *ids: str, more: Sequence[tuple[str, str]] = (), returns: str = "LeafClass"
) -> Call:
    """Any query by id: `name` is the parameter, without `$XDS` where it has that."""
    full = name if name.startswith("$") else f"$XDS{name}"
    return query_call([(full, listed(*ids)), *more], query_id, returns)


def related(
    uuid: str, *types: AssociationType, more: Sequence[tuple[str, str]] = (), returns: str = "LeafClass"
) -> Call:
    wanted = ("$AssociationTypes", listed(*(each.value for each in types)))
    return get(QueryId.GET_RELATED_DOCUMENTS, "DocumentEntryEntryUUID", uuid, more=[wanted, *more], returns=returns)
