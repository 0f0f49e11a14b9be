"""Worlds with folders, and every stored query that can be asked of them."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from bench.questions import DE, MESSAGE, UNKNOWN_ID, UNKNOWN_UUID, Question, patients_of
from bench.worlds import World, world
from ihe import xml
from ihe.names import ON_DEMAND_ENTRY, STABLE_ENTRY, Action, AssociationType, QueryId, Status
from ihe.soap import Call, Packaging
from policy.facts import Channel
from simulators.consumer import adhoc_query
from simulators.folders import Drawer
from simulators.papers import ACCESS_SYSTEM, FORMAT_SYSTEM, KIND_SYSTEM

FD, SS = "$XDSFolder", "$XDSSubmissionSet"
ONE = f"('{Status.APPROVED}')"
BOTH = f"('{Status.APPROVED}','{Status.DEPRECATED}')"
LINKED = ("$XDSAssociationStatus", BOTH)
LEVEL = ("$MetadataLevel", "2")
TYPES = ("$AssociationTypes", "(" + ",".join(f"'{each}'" for each in AssociationType) + ")")
_FORMAT = f"('urn:ihe:iti:xds:2017:mimeTypeSufficient^^{FORMAT_SYSTEM}')"
_CONTENTS: tuple[tuple[tuple[str, str], ...], ...] = (
    (),
    ((f"{DE}FormatCode", _FORMAT),),
    ((f"{DE}ConfidentialityCode", f"('NORS^^{ACCESS_SYSTEM}')"), LINKED),
    ((f"{DE}ConfidentialityCode", f"('N^^{ACCESS_SYSTEM}')"), (f"{DE}Type", f"('{STABLE_ENTRY}','{ON_DEMAND_ENTRY}')")),
)


@dataclass(frozen=True)
class Registered:
    """entryUUIDs and uniqueIds of what a database holds, by table."""

    uuids: dict[str, list[str]]
    unique_ids: dict[str, list[str]]

    @classmethod
    def of(cls, path: Path) -> Registered:
        """Reads them past the registry."""
        uuids, unique_ids = {}, {}
        with closing(sqlite3.connect(path)) as database:
            for table in ("document", "submission_set", "folder", "association"):
                rows = database.execute(f"SELECT entry_uuid FROM {table} WHERE patient_key >= 0")
                uuids[table] = [f"urn:uuid:{UUID(bytes=raw)}" for (raw,) in rows]
                if table != "association":
                    rows = database.execute(f"SELECT DISTINCT unique_id FROM {table} WHERE patient_key >= 0")
                    unique_ids[table] = [name for (name,) in rows]
        return cls(uuids, unique_ids)


def filed_world(seed: int) -> World:
    """The world of this seed with folders in its submissions; some machines may ask across patients."""
    dice = random.Random(f"folders of {seed}")
    plain = world(seed)
    steps = []
    folders: list[tuple[str, str]] = []
    entries: list[tuple[str, str]] = []
    for number, step in enumerate(plain.steps):
        patient = step.papers[0].person.patient_id
        drawers = tuple(
            Drawer(f"urn:uuid:{UUID(int=dice.getrandbits(128), version=4)}", f"2.999.41.{seed}.{number}.{each}")
            for each in range(dice.choice([0, 0, 1, 1, 2]))
        )
        own = [(each.entry_uuid, patient) for each in drawers]
        folders += own
        mine = [(each, patient) for each in step.entry_uuids]
        joined: dict[tuple[str, str], None] = {}
        for _ in range(dice.choice([0, 1, 2, 3])):
            # Mostly what was just sent; now and then something of before, which the registry may refuse.
            holders = own if own and dice.random() < 0.7 else [each for each in folders if each[1] == patient]
            held = mine if dice.random() < 0.8 else [each for each in (*entries, *mine) if each[1] == patient]
            if holders:
                joined[dice.choice(holders)[0], dice.choice(held)[0]] = None
        entries += mine
        steps.append(replace(step, drawers=drawers, into=tuple(joined)))
    across = dice.random() < 0.5
    agreements = {
        name: replace(each, multi_patient=across and each.channel is Channel.MACHINE)
        for name, each in plain.policy.agreements.items()
    }
    return replace(plain, steps=tuple(steps), policy=replace(plain.policy, agreements=agreements))


def alone(known: Registered) -> Iterator[tuple[str, Call]]:
    """For each object a question whose answer holds its id if it may be seen at all."""
    for uuid in known.uuids["document"]:
        yield uuid, _call(QueryId.GET_DOCUMENTS, [(f"{DE}EntryUUID", f"('{uuid}')")], "ObjectRef")
    for uuid in known.uuids["folder"]:
        yield uuid, _call(QueryId.GET_FOLDERS, [(f"{FD}EntryUUID", f"('{uuid}')")], "ObjectRef")
    for uuid in known.uuids["submission_set"]:
        yield uuid, _call(QueryId.GET_SUBMISSION_SET_AND_CONTENTS, [(f"{SS}EntryUUID", f"'{uuid}'")], "ObjectRef")


def links_of(uuids: Sequence[str]) -> Iterator[Call]:
    """Associations of each of these objects."""
    for uuid in uuids:
        yield _call(QueryId.GET_ASSOCIATIONS, [("$uuid", f"('{uuid}')"), LINKED], "ObjectRef")


def questions(asked: World, known: Registered) -> Iterator[Question]:
    """Every stored query, for every id and patient, one by one and all together."""
    for returns in ("LeafClass", "ObjectRef"):
        for query_id, slots in (*_of_patients(asked), *_by_id(known)):
            yield f"{returns} {query_id.name} {slots}", _call(query_id, slots, returns)


Asked = tuple[QueryId, list[tuple[str, str]]]


def _of_patients(asked: World) -> Iterator[Asked]:
    patients = patients_of(asked)
    for patient in patients:
        named = f"'{patient}'"
        yield QueryId.FIND_SUBMISSION_SETS, [(f"{SS}PatientId", named), (f"{SS}Status", ONE)]
        for status in (ONE, BOTH):
            yield QueryId.FIND_FOLDERS, [(f"{FD}PatientId", named), (f"{FD}Status", status)]
            kinds = [(f"{kind}Status", status) for kind in (DE, SS, FD)]
            yield QueryId.GET_ALL, [("$patientId", named), *kinds, LINKED]
    mine = f"'{patients[0]}'"
    for time in ("20200602", "20200603", "20200604"):
        for end in ("From", "To"):
            plain = [(f"{FD}PatientId", mine), (f"{FD}Status", BOTH)]
            yield QueryId.FIND_FOLDERS, [*plain, (f"{FD}LastUpdateTime{end}", time)]
            plain = [(f"{SS}PatientId", mine), (f"{SS}Status", ONE)]
            yield QueryId.FIND_SUBMISSION_SETS, [*plain, (f"{SS}SubmissionTime{end}", time)]
    yield QueryId.FIND_SUBMISSION_SETS, [*plain, (f"{SS}AuthorPerson", "'%Nordvik%'")]
    for contents in _CONTENTS:
        kinds = [(f"{kind}Status", BOTH) for kind in (DE, SS, FD)]
        yield QueryId.GET_ALL, [("$patientId", mine), *kinds, *contents]
    plain = [(f"{DE}PatientId", mine), (f"{DE}Status", BOTH)]
    yield QueryId.FIND_DOCUMENTS_EXCLUDE, [*plain, (f"{DE}ClassCodeExclude", f"('A00-1^^{KIND_SYSTEM}')")]
    yield QueryId.FIND_DOCUMENTS_BY_REFERENCE_ID, [*plain, (f"{DE}ReferenceIdList", "('x^^^^y')")]
    listed = "(" + ",".join(f"'{each}'" for each in patients) + ")"
    for people in ([(f"{DE}PatientId", listed)], [(f"{DE}PatientId", f"({mine})")], []):
        classes = (f"{DE}ClassCode", f"('A00-1^^{KIND_SYSTEM}','B00-1^^{KIND_SYSTEM}')")
        yield QueryId.FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS, [*people, (f"{DE}Status", BOTH), classes]
    for people in ([(f"{FD}PatientId", listed)], []):
        codes = (f"{FD}CodeList", "('forlop^^2.999.578.40')")
        yield QueryId.FIND_FOLDERS_FOR_MULTIPLE_PATIENTS, [*people, (f"{FD}Status", ONE), codes]


def _by_id(known: Registered) -> Iterator[Asked]:
    documents, folders, sets = (known.uuids[each] for each in ("document", "folder", "submission_set"))
    everything = [each for uuids in known.uuids.values() for each in uuids]
    for some in _some(documents, UNKNOWN_UUID):
        yield QueryId.GET_DOCUMENTS_AND_ASSOCIATIONS, [(f"{DE}EntryUUID", some), LINKED]
        yield QueryId.GET_DOCUMENTS, [(f"{DE}LogicalID", some)]
    for some in _some(known.unique_ids["document"], UNKNOWN_ID):
        yield QueryId.GET_DOCUMENTS_AND_ASSOCIATIONS, [(f"{DE}UniqueId", some), LEVEL]
    for some in _some(folders, UNKNOWN_UUID):
        yield QueryId.GET_FOLDERS, [(f"{FD}EntryUUID", some)]
        yield QueryId.GET_FOLDERS, [(f"{FD}LogicalID", some)]
    for some in _some(known.unique_ids["folder"], UNKNOWN_ID):
        yield QueryId.GET_FOLDERS, [(f"{FD}UniqueId", some)]
    for some in _some(everything, UNKNOWN_UUID):
        yield QueryId.GET_ASSOCIATIONS, [("$uuid", some), LINKED]
    for some in _some([*documents, *folders], UNKNOWN_UUID):
        yield QueryId.GET_SUBMISSION_SETS, [("$uuid", some)]
    for contents in _CONTENTS:
        for uuid in (*sets, UNKNOWN_UUID):
            yield QueryId.GET_SUBMISSION_SET_AND_CONTENTS, [(f"{SS}EntryUUID", f"'{uuid}'"), *contents]
        for uuid in (*folders, UNKNOWN_UUID):
            yield QueryId.GET_FOLDER_AND_CONTENTS, [(f"{FD}EntryUUID", f"'{uuid}'"), *contents]
    for name in (*known.unique_ids["submission_set"], UNKNOWN_ID):
        yield QueryId.GET_SUBMISSION_SET_AND_CONTENTS, [(f"{SS}UniqueId", f"'{name}'")]
    for name in (*known.unique_ids["folder"], UNKNOWN_ID):
        yield QueryId.GET_FOLDER_AND_CONTENTS, [(f"{FD}UniqueId", f"'{name}'")]
    for by, ids in (("EntryUUID", documents), ("UniqueId", known.unique_ids["document"])):
        for each in ids:
            yield QueryId.GET_FOLDERS_FOR_DOCUMENT, [(f"{DE}{by}", f"'{each}'")]
            yield QueryId.GET_RELATED_DOCUMENTS, [(f"{DE}{by}", f"'{each}'"), TYPES]


def _some(ids: Sequence[str], unknown: str) -> Iterator[str]:
    """Each by itself, and all of them among an unknown one."""
    for some in (*([each] for each in ids), [unknown, *ids][:100]):
        yield "(" + ",".join(f"'{each}'" for each in some) + ")"


def _call(query_id: QueryId, slots: Sequence[tuple[str, str]], returns: str) -> Call:
    across = query_id.name.endswith("MULTIPLE_PATIENTS")
    action = Action.MULTI_PATIENT_QUERY if across else Action.QUERY
    return Call(action, xml.read(adhoc_query(query_id, slots, returns)), None, MESSAGE, Packaging.SIMPLE)
