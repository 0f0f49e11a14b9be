"""registry.explain.explanation: every kind of mistake is found on its line, with a correction that holds."""

from __future__ import annotations

import pytest

from ihe import xml
from ihe.names import RIM, SOAP12, WSA, Action
from ihe.places import find
from registry.explain.explanation import Outcome
from registry.explain.found import How, Problem
from registry.rules import codes
from registry.rules import table as rules_table
from registry.rules.samples import sample
from registry.rules.samples.table import SAMPLES
from registry.rules.strictness import Strictness
from tests.registry.messages import (
    ASK,
    PERSON,
    REGISTER,
    Mistake,
    line_of,
    refusing,
    told,
)

R = f"{{{RIM}}}"
CX = f"{PERSON}^^^&amp;2.16.578.1.12.4.1.4.1&amp;ISO"

SUBMISSIONS = [
    Mistake(
        "<Value>20200114083000<", "<Value>2020-01-14T09:30:00+01:00<", "data-type", "<Value>20200114083000</Value>"
    ),
    Mistake("<Value>20200114083000<", "<Value>14.01.2020<", "data-type", "<Value>20200114</Value>"),
    Mistake("<Value>nb-NO<", "<Value>nb_NO<", "data-type", "<Value>nb-NO</Value>"),
    Mistake("<Value>51342<", "<Value>51 342 bytes<", "needed-type", "<Value>51342</Value>"),
    Mistake(
        "<Value>2fd4e1c67a2d28fced849ee1bb76e7391b93eb12<",
        "<Value>L9ThxnotKPzthJ7hu3bnORuT6xI=<",
        "needed-type",
        "<Value>2fd4e1c67a2d28fced849ee1bb76e7391b93eb12</Value>",
    ),
    Mistake("<Value>2.999.10.20.1<", "<Value>urn:oid:2.999.10.20.1<", "needed-type", "<Value>2.999.10.20.1</Value>"),
    Mistake('mimeType="application/pdf"', 'mimeType="text/plain; charset=x"', "needed-type", 'mimeType="text/plain"'),
    Mistake(
        'id="Doc1-author"',
        'id="urn:uuid:AAAAAAAA-0000-4000-8000-000000000001"',
        "needed-type",
        'id="urn:uuid:aaaaaaaa-0000-4000-8000-000000000001"',
    ),
    Mistake(
        f'registryObject="Doc1" value="{CX}"',
        f'registryObject="Doc1" value="{PERSON}^^^HEALTH&amp;2.16.578.1.12.4.1.4.1&amp;ISO"',
        "needed-type",
        "^^^&amp;2.16.578.1.12.4.1.4.1&amp;ISO",
        more=("one-patient",),
    ),
    Mistake(
        '<Slot name="languageCode"><ValueList><Value>nb-NO</Value></ValueList></Slot>',
        "",
        "required-attribute",
        '<Slot name="languageCode"><ValueList><Value>[a language tag of RFC 5646]</Value></ValueList></Slot>',
        at='<ExtrinsicObject id="Doc1"',
    ),
    Mistake(
        '<Slot name="codingScheme"><ValueList><Value>2.16.578.1.12.4.1.1.8651</Value></ValueList></Slot>',
        "",
        "complete-code",
        '<Slot name="codingScheme"><ValueList><Value>[the coding scheme of 4]</Value></ValueList></Slot>',
        at='id="Doc1-practice"',
    ),
    Mistake(
        '<Name><LocalizedString value="Indremedisin"/></Name>',
        "",
        "display-name",
        '<Name><LocalizedString value="[its display name]"/></Name>',
        at='id="Doc1-practice"',
    ),
    Mistake(
        "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead",
        "urn:uuid:CCCF5598-8b07-4b77-a05e-ae952c785ead",
        "known-scheme",
        'classificationScheme="urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead"',
        at='id="Doc1-practice"',
        more=("required-attribute",),
    ),
    Mistake('<Slot name="serviceStartTime">', '<Slot name="serviceStarttime">', "extra-slot-name", "serviceStartTime"),
    Mistake('nodeRepresentation=""', 'nodeRepresentation="x"', "complete-author", 'nodeRepresentation=""'),
    Mistake(
        '<Slot name="SubmissionSetStatus"><ValueList><Value>Original</Value></ValueList></Slot>',
        "",
        "submission-set-status",
        '<Slot name="SubmissionSetStatus"><ValueList><Value>Original</Value></ValueList></Slot>',
        at='<Association id="Set1-Doc1"',
    ),
    Mistake(
        '<Association id="Set1-Doc1" sourceObject="Set1" targetObject="Doc1"',
        '<Association id="Set1-Doc1" sourceObject="Set1" targetObject="Doc"',
        "association-ends",
        'targetObject="Doc1"',
        more=("entry-membership",),
    ),
    Mistake(
        '"urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"/>',
        '"HasMember"/>',
        "association-type",
        'associationType="urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"',
        at='associationType="HasMember"',
        more=("folder-membership",),
    ),
    Mistake("<RegistryObjectList>", "<RegistryObjectList><!-- of ours -->lost", "schema", at="lost"),
    Mistake('<Slot name="size">', '<Slot name="size" colour="red">', "schema"),
]
QUERIES = [
    Mistake(f"'{CX}'", f'"{CX}"', "query-value", "<rim:Value>'(patient 1)"),
    Mistake("('urn:oasis", "(urn:oasis", "query-value", "<rim:Value>('urn:oasis"),
    Mistake("9602')", "9602)", "query-value", "<rim:Value>('A00-1^^2.16.578.1.12.4.1.1.9602')</rim:Value>"),
    Mistake("'A00-1^^2.16.578.1.12.4.1.1.9602'", "'A00-1'", "query-type", "('A00-1^^[its coding scheme]')"),
    Mistake(
        "StatusType:Approved",
        "ResponseStatusType:Approved",
        "query-missing-parameter",
        "('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')",
        at='name="$XDSDocumentEntryStatus"',
    ),
    Mistake(
        '"$XDSDocumentEntryStatus"', '"XDSDocumentEntryStatus"', "query-missing-parameter", '"$XDSDocumentEntryStatus"'
    ),
    Mistake('returnType="LeafClass"', 'returnType="RegistryObject"', "query-return-type", 'returnType="LeafClass"'),
    Mistake("14d4debf-8f97", "14d4debf-8f98", "query-known", "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"),
    Mistake(f"'{CX}'", f"('{CX}','{CX}1')", "query-parameter-number", at='name="$XDSDocumentEntryPatientId"'),
    Mistake(f"'{CX}'", f"'{PERSON}'", "query-type"),
    Mistake("<rim:AdhocQuery id=", "<rim:AdhocQuery colour='red' id=", "schema"),
]
ENVELOPES = [
    Mistake(
        f'    <wsa:Action soap12:mustUnderstand="1">{Action.QUERY.value}</wsa:Action>\n',
        "",
        "header-action",
        Action.QUERY.value,
        at="<soap12:Header>",
    ),
    Mistake(Action.QUERY.value, "urn:ihe:iti:2007:RegisterDocumentSet-b", "header-action-body", Action.QUERY.value),
    Mistake(Action.QUERY.value, "urn:nothing", "header-action-known", Action.QUERY.value),
    Mistake("08/addressing/anonymous", "08/addressing/anybody", "header-reply-to", "addressing/anonymous"),
    Mistake(
        "<wsa:MessageID>", "<wsa:To>a</wsa:To>\n<wsa:To>b</wsa:To><wsa:MessageID>", "header-cardinality", "", at=">b<"
    ),
    Mistake("<wsa:MessageID>", '<x:y xmlns:x="u" soap12:mustUnderstand="1"/><wsa:MessageID>', "header-must-understand"),
    Mistake("  <soap12:Body>", "  <soap12:Body>\n<extra/>", "envelope-body", at="<soap12:Body>"),
    Mistake("  <soap12:Body>", "  lost <soap12:Body>", "envelope-text", at="<soap12:Envelope"),
]


def check(mistake: Mistake, message: str, found: list[Problem], whole: str) -> None:
    assert [each.rule for each in found if each.rule == mistake.rule], found
    problem = next(each for each in found if each.rule == mistake.rule)
    assert sorted(each.rule for each in found) == sorted((mistake.rule, *mistake.more)), found
    assert problem.line == line_of(whole, mistake.at or mistake.new)
    assert problem.column
    assert mistake.fix in str(problem.fix or "")
    assert problem.explanation
    assert problem.section
    assert problem.expected
    assert problem.found


@pytest.mark.parametrize("mistake", SUBMISSIONS, ids=lambda each: f"{each.rule} {each.new[:30]}")
def test_a_mistake_in_a_submission_is_on_its_line_with_its_cure(mistake: Mistake) -> None:
    assert told(REGISTER).outcome is Outcome.ACCEPTED
    message = mistake.of(REGISTER)
    check(mistake, message, refusing(told(message)), message)


@pytest.mark.parametrize("mistake", QUERIES, ids=lambda each: f"{each.rule} {each.new[:30]}")
def test_a_mistake_in_a_query_is_on_its_line_with_its_cure(mistake: Mistake) -> None:
    assert told(ASK).outcome is Outcome.ACCEPTED
    message = mistake.of(ASK)
    check(mistake, message, refusing(told(message)), message)


@pytest.mark.parametrize("mistake", ENVELOPES, ids=lambda each: f"{each.rule} {each.new[:30]}")
def test_a_mistake_in_an_envelope_is_on_its_line_with_its_cure(mistake: Mistake) -> None:
    message = mistake.of(ASK)
    check(mistake, message, refusing(told(message)), message)


def corrected(message: str, problem: Problem) -> bytes:
    """The message with the correction of one problem, put where the problem says."""
    fix = problem.fix
    assert fix is not None
    root = xml.read(message.encode())
    body = next(root.iter(problem.path.split("/")[1] if problem.path.startswith("/Envelope") else "{*}Body"))[0]
    element, _ = find(body, fix.path or problem.path)
    fragment = f'<f xmlns="{RIM}" xmlns:rim="{RIM}" xmlns:soap12="{SOAP12}" xmlns:wsa="{WSA}">{fix.text}</f>'
    match fix.how:
        case How.SET:
            name, value = next(iter(xml.read(f"<a {fix.text}/>".encode()).attrib.items()))
            element.set(name, value)
        case How.ADD:
            element.append(xml.read(fragment.encode())[0])
        case How.REPLACE:
            above = element.getparent()
            assert above is not None
            above.replace(element, xml.read(fragment.encode())[0])
        case How.REMOVE:
            above = element.getparent()
            assert above is not None
            above.remove(element)
    return xml.write(root)


@pytest.mark.parametrize(
    "mistake", [each for each in (*SUBMISSIONS, *QUERIES) if each.fix], ids=lambda each: each.new[:40]
)
def test_a_correction_cures_what_it_is_offered_for(mistake: Mistake) -> None:
    whole = REGISTER if mistake.old in REGISTER else ASK
    message = mistake.of(whole)
    problem = next(each for each in refusing(told(message, show_patients=True)) if each.rule == mistake.rule)
    assert problem.fix is not None
    after = refusing(told(corrected(message, problem), show_patients=True))
    assert (problem.rule, problem.path) not in [(each.rule, each.path) for each in after]


RULES_OF_MESSAGES = [each for each in SAMPLES if each not in {rule.id for rule in rules_table.REGISTRY}]


@pytest.mark.parametrize("rule", RULES_OF_MESSAGES)
def test_every_rule_is_found_in_the_sample_that_breaks_it_and_not_in_the_one_that_keeps_it(rule: str) -> None:
    sent = sample(rule)
    strictness = Strictness(
        codes=codes.read(sent.codes) if sent.codes else codes.NO_SETS, extra_metadata=sent.extra_metadata
    )
    broken = told(sent.failing.body, action=sent.failing.action, strictness=strictness)
    found = [each for each in broken.problems if each.rule == rule]
    assert found
    assert all(each.line and each.column and each.path for each in found)
    assert broken.outcome is (Outcome.ACCEPTED if rule == "extra-metadata" else Outcome.REFUSED)
    kept = told(sent.passing.body, action=sent.passing.action, strictness=strictness)
    assert rule not in [each.rule for each in kept.problems]
    assert kept.outcome is Outcome.ACCEPTED
