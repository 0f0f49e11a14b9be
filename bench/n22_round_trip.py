"""N22: what was registered comes back in every attribute, as an independent reader sees it.

Submissions made by chance go through ITI-42 and come back through ITI-18 (GetAll, LeafClass), over HTTP. What was
sent and what came is read by the standard library's ElementTree here, and by nothing of the product. What the
registry itself says of an object (ids, lid, version, status, home, a folder's lastUpdateTime) is looked at apart.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from bench.generated import RIM, XML, Maker, Node
from bench.n1_kills import Node as Served
from bench.place import REGISTRY, SIMPLE, people
from bench.processes import stop
from bench.progress import bar
from bench.report import Report
from bench.writers import KIT

SMOKE, FULL = 500, 10_000
SEED = 20210218
GET_ALL = "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3"
R = f"{{{RIM}}}"
APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OWN_SLOTS = {"lastUpdateTime"}
"""Slots that the registry writes."""
PATIENTS = 200


@dataclass
class Tally:
    """What was compared."""

    submissions: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    values: int = 0
    wrong: list[str] = field(default_factory=list)


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    with TemporaryDirectory(prefix="innsyn-bench-") as name:
        node = Served(Path(name))
        node.start()
        try:
            tally = compared(node.port, FULL if full else SMOKE)
        finally:
            if node.process is not None:
                stop(node.process)
    told = ", ".join(f"{count} {tag}" for tag, count in sorted(tally.objects.items()))
    raw = f"{tally.submissions} submissions, {told}, {tally.values} values, {len(tally.wrong)} differ; seed {SEED}"
    right = not tally.wrong and tally.submissions > 0
    report.holds("N22", "what was registered comes back in every attribute, an independent reader agrees", right, raw)
    for each in tally.wrong[:5]:
        report.say(f"    {each[:600]}")


def compared(port: int, count: int) -> Tally:
    """Registers and asks so many times."""
    tally, patients = Tally(), [each.patient_id for each in people(PATIENTS)]
    maker = Maker(SEED, patients, KIT)
    for number in bar(range(count), count, "round trips"):
        patient, unique_id, request = maker.submission()
        body = ElementTree.tostring(request, encoding="utf-8")
        answer = _asked(port, "urn:ihe:iti:2007:RegisterDocumentSet-b", body, number)
        if "ResponseStatusType:Success" not in answer.get("status", ""):
            tally.wrong.append(f"refused: {ElementTree.tostring(answer, encoding='unicode')[:500]}")
            continue
        tally.submissions += 1
        shown = _asked(port, "urn:ihe:iti:2007:RegistryStoredQuery", _get_all(patient), number)
        _compare(unique_id, ElementTree.fromstring(body), shown, tally)
    return tally


def _asked(port: int, action: str, body: bytes, number: int) -> Node:
    message = (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://www.w3.org/2005/08/addressing">'
        f'<s:Header><a:Action s:mustUnderstand="1">{action}</a:Action>'
        f"<a:MessageID>urn:uuid:00000000-0000-4000-8000-{number:012d}</a:MessageID></s:Header><s:Body>"
    ).encode() + body + b"</s:Body></s:Envelope>"  # fmt: skip
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", REGISTRY, message, {"Content-Type": SIMPLE})
    raw = connection.getresponse().read()
    connection.close()
    return ElementTree.fromstring(raw)[1][0]


def _get_all(patient: str) -> bytes:
    asked = {
        "$patientId": f"'{patient}'",
        **{
            f"$XDS{kind}Status": f"('{APPROVED}')"
            for kind in ("DocumentEntry", "SubmissionSet", "Folder")
        },
    }  # fmt: skip
    query = ElementTree.Element("{urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0}AdhocQueryRequest")
    option = ElementTree.SubElement(query, "{urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0}ResponseOption")
    option.attrib.update(returnType="LeafClass", returnComposedObjects="true")
    stored = ElementTree.SubElement(query, f"{R}AdhocQuery", {"id": GET_ALL})
    for name, value in asked.items():
        slot = ElementTree.SubElement(stored, f"{R}Slot", {"name": name})
        ElementTree.SubElement(ElementTree.SubElement(slot, f"{R}ValueList"), f"{R}Value").text = value
    written: bytes = ElementTree.tostring(query, encoding="utf-8")
    return written


# The independent reader -----------------------------------------------------------------------------------------------


def _compare(unique_id: str, request: Node, answer: Node, tally: Tally) -> None:
    sent = list(request[0])
    shown = {_key(each): each for each in answer.iter() if each.tag in (f"{R}ExtrinsicObject", f"{R}RegistryPackage")}
    given: dict[str, str] = {}
    """Symbolic id -> the UUID that the registry gave."""
    for each in sent:
        if each.tag == f"{R}Association":
            continue
        found = shown.get(_key(each))
        if found is None:
            tally.wrong.append(f"{unique_id}: {each.get('id')} is not in the answer")
            return
        given[each.get("id", "")] = found.get("id", "")
        tally.wrong += [f"{unique_id}: {why}" for why in _registry_says(found)]
        _same(unique_id, _said(each), _said(found), tally)
        tally.objects["entries" if each.tag == f"{R}ExtrinsicObject" else "packages"] += 1
    _associations(unique_id, sent, answer, given, tally)


def _same(unique_id: str, ours: Counter[object], theirs: Counter[object], tally: Tally) -> None:
    tally.values += sum(ours.values())
    if ours != theirs:
        tally.wrong.append(f"{unique_id}: sent {list((ours - theirs).items())}, came {list((theirs - ours).items())}")


def _key(item: Node) -> str:
    """The uniqueId of an object: its second external identifier in no particular order, told by its Name."""
    for each in item.iterfind(f"{R}ExternalIdentifier"):
        if each.find(f"{R}Name/{R}LocalizedString").get("value", "").endswith(".uniqueId"):  # type: ignore[union-attr]
            return each.get("value", "")
    return ""


def _said(item: Node) -> Counter[object]:
    """Everything that its source says in an object, in no order but that of the values of a slot."""
    found: Counter[object] = Counter()
    for name in ("objectType", "mimeType"):
        found[name, item.get(name)] += 1
    for slot in item.iterfind(f"{R}Slot"):
        if slot.get("name") not in _OWN_SLOTS:
            found["slot", slot.get("name"), _values(slot)] += 1
    for tag in ("Name", "Description"):
        for each in item.iterfind(f"{R}{tag}/{R}LocalizedString"):
            found[tag, each.get(f"{{{XML}}}lang", "en-us").lower(), each.get("value")] += 1
    for each in item.iterfind(f"{R}Classification"):
        slots = tuple(sorted((slot.get("name") or "", _values(slot)) for slot in each.iterfind(f"{R}Slot")))
        names = tuple(text.get("value") for text in each.iterfind(f"{R}Name/{R}LocalizedString"))
        node = each.get("classificationNode")
        found["classification", each.get("classificationScheme"), node, each.get("nodeRepresentation") or "", slots,
              names] += 1  # fmt: skip
    for each in item.iterfind(f"{R}ExternalIdentifier"):
        found["identifier", each.get("identificationScheme"), each.get("value")] += 1
    return found


def _values(slot: Node) -> tuple[str, ...]:
    return tuple(each.text or "" for each in slot.iterfind(f"{R}ValueList/{R}Value"))


def _registry_says(found: Node) -> list[str]:
    """What is wrong with what the registry adds."""
    version = found.find(f"{R}VersionInfo")
    parts = [*found.iterfind(f"{R}Classification"), *found.iterfind(f"{R}ExternalIdentifier")]
    ids = [found.get("id", ""), *(each.get("id", "") for each in parts)]
    owners = [each.get("classifiedObject") or each.get("registryObject") for each in parts]
    wrong = []
    if not all(_UUID.fullmatch(each) for each in ids) or len(set(ids)) != len(ids):
        wrong.append(f"ids {ids}")
    if found.get("lid") != found.get("id") or version is None or version.get("versionName") != "1":
        wrong.append("lid or version")
    if found.get("status") != APPROVED:
        wrong.append(f"status {found.get('status')}")
    if any(each != found.get("id") for each in owners):
        wrong.append("a part belongs to another object")
    return wrong


def _associations(unique_id: str, sent: list[Node], answer: Node, given: dict[str, str], tally: Tally) -> None:
    shown: Counter[object] = Counter()
    by_ends: dict[tuple[str, str], str] = {}
    for each in answer.iter(f"{R}Association"):
        ends = (each.get("sourceObject", ""), each.get("targetObject", ""))
        by_ends[ends] = each.get("id", "")
        shown[each.get("associationType"), *ends, *map(_values, each.iterfind(f"{R}Slot"))] += 1
    mine = [each for each in sent if each.tag == f"{R}Association"]
    # An association may be a member itself: its id is known by its ends.
    for each in mine:
        ends = (given.get(each.get("sourceObject", ""), ""), given.get(each.get("targetObject", ""), ""))
        given[each.get("id", "")] = by_ends.get(ends, "")
    for each in mine:
        ends = (given.get(each.get("sourceObject", ""), ""), given.get(each.get("targetObject", ""), ""))
        key = (each.get("associationType"), *ends, *map(_values, each.iterfind(f"{R}Slot")))
        tally.values += 1
        tally.objects["associations"] += 1
        if shown[key] != 1:
            tally.wrong.append(f"{unique_id}: association {key} came {shown[key]} times")
