"""Messages of other implementations: each is read or refused as its producer means it, or as we decided otherwise.

They live beside this repository and are no part of it: `../shared/conformance`, or where INNSYN_SHARED points.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from ihe import ebrim, queries, xml
from ihe.errors import Mangled, XdsFailure
from ihe.names import LCM, QUERY
from registry.rules import judge as rules

SHARED = Path(os.environ.get("INNSYN_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
SAMPLES = SHARED / "conformance" / "samples"
pytestmark = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="the samples of other implementations are not here (INNSYN_SHARED names their folder)"
)

REFUSED_QUERIES = {
    "ipf/iti18request.xml": "an SQL injection: its quote is never closed",
    "nist/sq-req-bad-stat-format2.xml": "an unquoted text in a list",
}
TOLERATED_QUERIES = {
    "nist/sq-req-bad-pid-format.xml": "an unquoted text that can mean only itself",
    "nist/sq-req-bad-stat-format1.xml": "the same",
    "nist/sq-req-bad-code.xml": "code without scheme: the values are well formed, the parameter is judged later",
    "nist/sq-req-missing-stat.xml": "which parameters must be there is judged later",
}
ONLY_REPOSITORY = "needed-attribute"
"""hash, size and repositoryUniqueId are the repository's to add to what ITI-41 sends."""
IPF_30 = {ONLY_REPOSITORY, "required-attribute", "known-scheme", "extra-slot-name", "needed-type"}
"""Scheme UUIDs with a blank inside, a misspelt slot, and what ITI-41 leaves to the repository."""
EXPECTED_RULES: dict[str, set[str]] = {
    "xcadocumentsource/IT_iti-42_request.xml": {"one-submission-set"},
    "microsoft/ProvideAndRegisterDocumentSetRequest.xml": {
        ONLY_REPOSITORY,
        "data-type",
        "needed-type",
        "association-type",
        "entry-membership",
    },
    "microsoft/RegisterDocumentSetRequest.xml": {
        "data-type",
        "needed-type",
        "required-attribute",
        "association-type",
        "entry-membership",
        "folder-membership",
    },
    "ipf/SubmitObjectsRequest_ebrs30.xml": IPF_30,
    "ipf/SubmitObjectsRequest_ebrs30_2.xml": IPF_30,
    "ipf/SubmitObjectsRequest_ebrs3_extra_metadata.xml": IPF_30,
    "ipf/submission-set.xml": set(),
    "xds-registry-to-fhir/iti-42.xml": set(),
    "xds-registry-to-fhir/iti-42-invalid-token.xml": set(),
    "nist/simple.body.txt": set(),
    "nist/pnr.xml": {ONLY_REPOSITORY},
    "nist/pnr-element-order.xml": {ONLY_REPOSITORY},
    "nist/soap-pnr-element-order.xml": {ONLY_REPOSITORY},
    "nist/pnr-assoc-to-self.xml": {
        ONLY_REPOSITORY,
        "association-to-itself",
        "association-kinds",
        "entry-membership",
    },
    "nist/pnr-bad-uplink.xml": {"parent-reference"},
    "nist/pnr-limited.xml": {ONLY_REPOSITORY, "required-attribute", "limited-metadata"},
    "nist/XdrMinimalBad.xml": {ONLY_REPOSITORY, "required-attribute"},
    "ipf/SubmitObjectsRequest_ebrs30_update.xml": {"extra-slot-name", "no-metadata-update"},
    "ipf/SubmitObjectsRequest_ebrs30_update_nonstandard_association.xml": {"association-type"},
    "ipf/SubmitObjectsRequest_ebrs30_update_sameLid.xml": {"unique-object-ids"},
}


def rows(*words: str) -> list[dict[str, str]]:
    if not SAMPLES.is_dir():
        return []
    index = json.loads((SAMPLES / "index.json").read_text())
    asked = [row for row in index if "response" not in row["transaction"]]
    return [row for row in asked if any(word in row["transaction"] for word in words)]


def within(row: dict[str, str], tag: str) -> xml.Element:
    return next(xml.read((SAMPLES / row["file"]).read_bytes()).iter(tag))


@pytest.mark.parametrize("row", rows("ITI-18", "ITI-38", "ITI-51"), ids=lambda row: row["file"])
def test_a_query_of_another_implementation_is_read_or_refused(row: dict[str, str]) -> None:
    body = within(row, f"{{{QUERY}}}AdhocQueryRequest")
    if row["file"] in REFUSED_QUERIES:
        with pytest.raises(XdsFailure):
            queries.read(body)
        return
    assert row["intent"].startswith("valid") or row["file"] in TOLERATED_QUERIES
    asked = queries.read(body)
    assert asked.id.startswith("urn:uuid:")
    assert asked.slots


@pytest.mark.parametrize("file", EXPECTED_RULES)
def test_a_submission_of_another_implementation_breaks_the_rules_it_is_known_to_break(file: str) -> None:
    (row,) = [row for row in rows("") if row["file"] == file]
    body = within(row, f"{{{LCM}}}SubmitObjectsRequest")
    repaired = ebrim.repair(body)
    assert xml.schema("lcm").findings(repaired) == ()
    submittal = ebrim.read_submission(repaired)
    found = rules.check(submittal)
    assert {violation.rule.id for violation in found} == EXPECTED_RULES[file]
    if not found:
        assert ebrim.metadata(submittal, lambda: "urn:uuid:x").entries


def test_every_submission_to_a_registry_is_expected_one_way_or_the_other() -> None:
    files = {row["file"] for row in rows("ITI-42", "ITI-57")}
    assert files <= set(EXPECTED_RULES)


@pytest.mark.parametrize("row", rows("ITI-41", "ITI-42", "ITI-57"), ids=lambda row: row["file"])
def test_no_submission_makes_us_stumble(row: dict[str, str]) -> None:
    raw = (SAMPLES / row["file"]).read_bytes()
    try:
        bodies = list(xml.read(raw).iter(f"{{{LCM}}}SubmitObjectsRequest"))
    except Mangled:
        return  # a whole HTTP message, or an answer
    for body in bodies:
        assert isinstance(rules.check(ebrim.read_submission(ebrim.repair(body))), tuple)


NIST = SHARED / "conformance" / "nist"
UID = "2.999.7."


@pytest.mark.skipif(not (NIST / "nist_runner").is_dir(), reason="the NIST test plans are not here")
def test_the_submissions_of_the_nist_test_plans_pass_or_fail_as_the_plans_expect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(NIST))
    metadata = pytest.importorskip("nist_runner.metadata")
    names = pytest.importorskip("nist_runner.ns")
    etree = pytest.importorskip("lxml.etree")
    judged = {"Success": 0, "Failure": 0}
    # What only the content of a registry can tell; these pass the rules of the message.
    by_content = {"11998/rplc", "12002/add_to_folder", "12004/submit", "15806/resubmit"}
    # A file no section of its test uses; it has the slot languageCode twice.
    unused = {"12346"}
    for plan in sorted((NIST / "testkit" / "tests").rglob("testplan.xml")):
        section = str(plan.parent.relative_to(NIST / "testkit" / "tests"))
        for step in etree.parse(str(plan)).getroot().iter("TestStep"):
            for transaction in step.findall("RegisterTransaction"):
                expected = step.findtext("ExpectedStatus")
                if section in unused or expected not in judged:
                    continue
                text = (plan.parent / transaction.findtext("MetadataFile")).read_text().strip()
                body = _nist_body(text, metadata, names, etree)
                repaired = ebrim.repair(body)
                found = xml.schema("lcm").findings(repaired) or rules.check(ebrim.read_submission(repaired))
                assert bool(found) == (expected == "Failure" and section not in by_content), (section, found)
                judged[expected] += 1
    assert judged["Success"] > 50
    assert judged["Failure"] > 5


def _nist_body(text: str, metadata: Any, names: Any, etree: Any) -> xml.Element:
    """A metadata file as the toolkit sends it: symbols filled in, ids assigned, ebRIM 2.1 made 3.0."""
    patient = "P1^^^&amp;1.3.6.1.4.1.21367.2005.13.20.1000&amp;ISO"

    def symbol(found: re.Match[str]) -> str:
        word = found[0].lower()
        if "pat" in word or "pid" in word:
            return patient
        if "rep" in word:
            return "1.1.4567332.1.42"
        return (
            "20250101120000"
            if word in ("$now$", "$lastyear$")
            else f"urn:uuid:11111111-2222-4333-8444-{len(word):012d}"
        )

    request = etree.fromstring(re.sub(r"\$[A-Za-z0-9_.-]+\$", symbol, text).encode())
    found = metadata.Metadata(request)
    numbers = iter(range(1, 100_000))
    assign = metadata.assign_identifier
    packages = found.registry_packages
    for objects, prefix in ((found.extrinsic_objects, "DE"), (packages, "SS"), (packages, "FOL")):
        assign(objects, getattr(names, f"{prefix}_UID"), lambda: f"{UID}{next(numbers)}")
        assign(objects, getattr(names, f"{prefix}_PID"), lambda: patient.replace("&amp;", "&"))
    assign(packages, names.SS_SOURCE, lambda: "1.3.6.1.4.1.21367.4")
    sent = metadata.Metadata(request).submit_objects_request()
    return xml.read(etree.tostring(sent))
