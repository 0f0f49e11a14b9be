"""Every question a caller can ask of a small world, in all forms, and the calls they arrive as."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bench.place import retrieve
from bench.worlds import ASKED, CHANGED, OTHER, World
from ihe import soap, xml
from ihe.names import ON_DEMAND_ENTRY, STABLE_ENTRY, Action, QueryId, Status
from ihe.soap import Call, Packaging
from simulators.consumer import adhoc_query
from simulators.papers import ACCESS_SYSTEM, FORMAT_SYSTEM, KIND_SYSTEM
from simulators.source import FACILITY_SYSTEM, PRACTICE_SYSTEM

DE = "$XDSDocumentEntry"
MESSAGE = "urn:uuid:00000000-0000-4000-8000-00000000cafe"
UNKNOWN_UUID = "urn:uuid:00000000-0000-4000-8000-00000000dead"
UNKNOWN_ID = "2.999.9.1"
UNKNOWN_KEY = ("2.999.578.1.1", UNKNOWN_ID)
_BOTH = f"('{Status.APPROVED}','{Status.DEPRECATED}')"
_FILTERS: tuple[tuple[str, str], ...] = (
    ("ClassCode", f"('A00-1^^{KIND_SYSTEM}')"),
    ("ClassCode", f"('B00-1^^{KIND_SYSTEM}','C00-1^^{KIND_SYSTEM}')"),
    ("TypeCode", f"('A03-2^^{KIND_SYSTEM}','A12-2^^{KIND_SYSTEM}','C01-2^^{KIND_SYSTEM}')"),
    ("PracticeSettingCode", f"('4^^{PRACTICE_SYSTEM}')"),
    ("HealthcareFacilityTypeCode", f"('86.101^^{FACILITY_SYSTEM}')"),
    ("ConfidentialityCode", f"('NORS^^{ACCESS_SYSTEM}')"),
    ("ConfidentialityCode", f"('N^^{ACCESS_SYSTEM}')"),
    ("EventCodeList", f"('e1^^{KIND_SYSTEM}')"),
    ("FormatCode", f"('urn:ihe:iti:xds:2017:mimeTypeSufficient^^{FORMAT_SYSTEM}')"),
    ("CreationTimeFrom", "20200101"),
    ("CreationTimeTo", "20200101"),
    ("ServiceStartTimeFrom", "20200101"),
    ("ServiceStartTimeTo", "20200101"),
    ("ServiceStopTimeFrom", "2020"),
    ("ServiceStopTimeTo", "2020"),
    ("AuthorPerson", "('%Tindstad%','%Nordvik%')"),
    ("Type", f"('{STABLE_ENTRY}','{ON_DEMAND_ENTRY}')"),
)
_MESSAGE_ID = re.compile(rb"<wsa:MessageID>[^<]*<")
Question = tuple[str, Call]


def queries(world: World) -> Iterator[Question]:
    """FindDocuments with each parameter, GetDocuments by every id and by all of them; LeafClass and ObjectRef."""
    for returns in ("LeafClass", "ObjectRef"):
        for patient in patients_of(world):
            for status in (f"('{Status.APPROVED}')", f"('{Status.DEPRECATED}')", _BOTH):
                yield _query(QueryId.FIND_DOCUMENTS, [("PatientId", f"'{patient}'"), ("Status", status)], returns)
        for name, value in _FILTERS:
            asked = [("PatientId", f"'{patients_of(world)[0]}'"), ("Status", _BOTH), (name, value)]
            yield _query(QueryId.FIND_DOCUMENTS, asked, returns)
        uuids = [each for step in world.steps for each in step.entry_uuids]
        ids = list(dict.fromkeys(each.unique_id for step in world.steps for each in step.papers))
        for name, known, unknown in (("EntryUUID", uuids, UNKNOWN_UUID), ("UniqueId", ids, UNKNOWN_ID)):
            for some in (*([each] for each in known), [*known, unknown], [unknown, *reversed(known)]):
                listed = ",".join(f"'{each}'" for each in some)
                yield _query(QueryId.GET_DOCUMENTS, [(name, f"({listed})")], returns)


def by_entry_uuid(uuid: str) -> Call:
    """GetDocuments for one entry."""
    return _query(QueryId.GET_DOCUMENTS, [("EntryUUID", f"('{uuid}')")], "LeafClass")[1]


def retrieves(world: World) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """ITI-43 for every document by itself and for all at once, unknown ones among them."""
    keys = list(
        dict.fromkeys(
            (each.source.repository_unique_id, each.unique_id) for step in world.steps for each in step.papers
        )
    )
    for some in (*([each] for each in keys), [*keys, UNKNOWN_KEY], [("2.999.404", UNKNOWN_ID), *reversed(keys)]):
        yield f"ITI-43 {some}", some


def retrieve_request(keys: Sequence[tuple[str, str]]) -> tuple[str, bytes]:
    """Media type and bytes of a retrieve, the same every time."""
    content_type, raw = retrieve(keys, None)
    return content_type, _MESSAGE_ID.sub(f"<wsa:MessageID>{MESSAGE}<".encode(), raw)


def retrieve_call(raw: bytes, content_type: str) -> Call:
    """A retrieve as the edge hands it on."""
    return soap.read_call(raw, content_type, frozenset({Action.RETRIEVE}))


def patients_of(world: World) -> Sequence[str]:
    """Whose documents are asked for: the token's patient first, another identifier of the same person, a stranger."""
    mine = world.subject.patient_id or ASKED.patient_id
    return tuple(dict.fromkeys((mine, CHANGED.patient_id, CHANGED.before().patient_id, OTHER.patient_id)))


def _query(query_id: str, asked: Sequence[tuple[str, str]], returns: str) -> Question:
    body = adhoc_query(query_id, [(f"{DE}{name}", value) for name, value in asked], returns)
    call = Call(Action.QUERY, xml.read(body), None, MESSAGE, Packaging.SIMPLE)
    return f"{returns} {asked}", call
