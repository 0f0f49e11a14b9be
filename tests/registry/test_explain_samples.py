"""registry.explain over messages of other implementations: no false alarm on what is right, and what is wrong is found.

They live beside this repository and are no part of it: `../shared/conformance`, or where INNSYN_SHARED points.
"""

from __future__ import annotations

import pytest

from ihe.names import Action
from registry.explain.explanation import REPOSITORYS, Outcome
from tests.ihe.test_samples import EXPECTED_RULES, REFUSED_QUERIES, SAMPLES, rows
from tests.registry.messages import refusing, told

pytestmark = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="the samples of other implementations are not here (INNSYN_SHARED names their folder)"
)

VALID = {
    "ipf/submission-set.xml": "ITI-42",
    "xds-registry-to-fhir/iti-42.xml": "ITI-42",
    "xds-registry-to-fhir/iti-42-invalid-token.xml": "ITI-42",
    "nist/simple.body.txt": "ITI-42",
    "nist/soap-sq-req.xml": "ITI-18",
    "nist/sq-req.xml": "ITI-18",
    "openxds/CrossGatewayQueryRequest.xml": "ITI-18",
    "openxds/InitiatingGatewayRequest.xml": "ITI-18",
    "openxds/RegistryStoredQueryFindDocs.xml": "ITI-18",
    "microsoft/StoredQueryGetDocumentRequest.xml": "ITI-18",
    "xcadocumentsource/iti18-iti40-request.xml": "ITI-18",
    "xcadocumentsource/iti18-iti40-request-getassociations.xml": "ITI-18",
    "xcadocumentsource/IT_iti-18_request.xml": "ITI-18",
    "nist/soap-ret-req.xml": "ITI-43",
    "openxds/RetrieveDocumentSetRequest.xml": "ITI-43",
    "xcadocumentsource/iti62-iti40-request.xml": "ITI-62",
}
"""What is right, and which transaction it is of. A query that is right but tolerated differently is not among them."""
WRONG = {
    "xcadocumentsource/IT_iti-62_request.xml": {"remove-by-id"},
    "nist/soap-ret-req-order.xml": {"schema"},
    "nist/sq-req-bad-code.xml": {"query-type"},
    "nist/sq-req-missing-stat.xml": {"query-missing-parameter"},
    "nist/sq-req-bad-stat-format2.xml": {"query-value"},
    "ipf/iti18request.xml": {"query-value", "query-type"},
    "nist/xml-parse-error.xml": {"xml-well-formed"},
    "nist/empty-soap-wrapper.xml": {"envelope-body"},
    "nist/soap-noaction-pnr.xml": {"header-action", "transaction"},
    "nist/soap-pnr-soap-order.xml": {"envelope-parts", "transaction"},
    "nist/soap-xcq-req.xml": {"header-action-known"},
    "xcadocumentsource/iti43-iti40-request.xml": {"header-action-body"},
    "xcadocumentsource/IT_iti-39_request-multipart.txt": {"xml-utf-8"},
}
OWN = {"transaction", "header-action-known", "header-action", "envelope-parts", "body-element", "header-action-body"}
"""Around the submission, which those who know the samples do not look at."""


def read(file: str) -> bytes:
    return (SAMPLES / file).read_bytes()


@pytest.mark.parametrize("file", VALID)
def test_a_message_that_is_right_raises_no_alarm(file: str) -> None:
    found = told(read(file))
    assert (found.outcome, found.transaction, refusing(found)) == (Outcome.ACCEPTED, VALID[file], [])
    assert found.understood


@pytest.mark.parametrize("file", WRONG)
def test_a_message_that_is_wrong_is_told_why_with_a_line(file: str) -> None:
    found = told(read(file))
    assert found.outcome is not Outcome.ACCEPTED
    assert {each.rule for each in found.problems} == WRONG[file]
    assert all(each.line for each in found.problems)


@pytest.mark.parametrize("file", EXPECTED_RULES)
def test_a_submission_breaks_the_rules_it_is_known_to_break(file: str) -> None:
    found = told(read(file))
    if found.transaction == "ITI-57":
        found = told(read(file), action=Action.REGISTER)
    provided = any("which a repository adds" in note for note in found.notes)
    broken = {each.rule for each in refusing(found)} - OWN
    expected = EXPECTED_RULES[file]
    # hash, size and repositoryUniqueId are no problem of ITI-41.
    assert broken <= expected
    assert provided or broken == expected
    assert not [each for each in found.problems if each.expected in REPOSITORYS and provided]


@pytest.mark.parametrize("row", rows(""), ids=lambda row: str(row["file"]))
def test_no_sample_makes_it_stumble(row: dict[str, str]) -> None:
    found = told(read(row["file"]))
    assert found.sentence
    if row["transaction"].startswith("ITI-18") and row["file"] in REFUSED_QUERIES:
        assert found.outcome is Outcome.REFUSED
