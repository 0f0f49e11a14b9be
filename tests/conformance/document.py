"""docs/conformance.md, written from the product's own tables and from what the kit's sections have shown."""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ihe.names import AssociationType, Code, QueryId, ResponseStatus
from registry.queries.catalogue import CATALOGUE
from registry.queries.parameters import Parameter
from registry.rules.removal import REMOVAL_RULES
from registry.rules.table import RULES
from registry.rules.update import UPDATE_RULES
from tests.conformance.errors import FAULTS, RAISED
from tests.conformance.evidence import Evidence, collect
from tests.conformance.missing import QUERIES, SHOWS_NOTHING, needs, unexplained, whole_test
from tests.conformance.own import own_tests
from tests.conformance.produced import shown
from tests.conformance.runs import ROOT, Run, Section, Test

RULES_OF = {"ITI-42 and ITI-61": RULES, "ITI-57 and ITI-92": UPDATE_RULES, "ITI-62": REMOVAL_RULES}
"""What senders are judged by. New versions of ITI-57 and ITI-92 are held to the rules of ITI-42 as well."""
PAGE = ROOT / "docs" / "conformance.md"

OPENING = """<!-- Written by `python -m tests.conformance --write-docs`; change that, not this. -->

# Conformance

Innsyn is tested with the declarative tests of the NIST XDS Toolkit that apply to a document registry and a retrieve
proxy: **{passed} sections of {tests} tests** pass, which is what this version offers. What else the kit has asks
for transactions and queries that are not in this version; it is listed below with what it waits for.

    make conformance KIT=DIR                         # the sections that cover what is offered; all must pass
    make conformance KIT=DIR ONLY='11897/class*'     # any test or section
    .venv/bin/python -m tests.conformance --kit DIR --every

The kit is a folder with a runner and the toolkit's test plans; it is not part of this project. The node under test is
[docs/examples/conformance](examples/conformance), with a new database. The runner plays the hospital: it takes ITI-41,
registers with ITI-42 at the node, and answers the ITI-43 that the node sends on.

"Shown by" names the tests of the kit that have shown a line, or, where none does, the file below tests/ that does.
{open}"""

CORRECTION = "a correction"

SYNTAX = {
    "patient": "`'id^^^&oid&ISO'`",
    "status": "status URNs",
    "code": "`'code^^scheme'`",
    "time": "DTM, UTC",
    "entry_type": "objectType of stable and on-demand entries",
    "availability": "URNs of documentAvailability; an entry that says nothing is online",
    "level": "1 (if absent) or 2: then a uniqueId means all versions",
}
MEANING = {
    "author_persons": "pattern with `%` and `_`, at most four in one",
    "entry_uuids": "UUID URNs",
    "uuids": "UUID URNs",
    "logical_ids": "UUID URNs",
    "unique_ids": "uniqueIds",
    "source_ids": "OIDs",
    "reference_ids": "CXi, compared whole",
    "types": "URNs of association types",
    "association_statuses": "status URNs; Approved if absent",
    "": "1 or 2, which makes no difference here",
}


def page(done: Run, logs: Path, produced: Mapping[Code, Sequence[str]]) -> str:
    """The whole page. `produced` are the project's own tests by the error code they had answered."""
    seen = collect(done, logs)
    passed = [section for section in done.sections() if _counts(section)]
    parts = [
        OPENING.format(passed=len(passed), tests=len({section.test for section in passed}), open=_open(done)),
        "## ITI-42 Register Document Set-b, ITI-61 Register On-Demand Document Entry\n",
        *_table(("content", "shown by"), _submissions(seen, passed)),
        "## ITI-57 Update Document Set, ITI-92 Restricted Update Document Set, ITI-62 Remove Metadata\n",
        *_table(("content", "shown by"), _changes(passed)),
        "## ITI-18 Registry Stored Query, ITI-51 Multi-Patient Stored Query\n",
        *_table(("query or option", "shown by"), _queries(seen)),
        "Parameters; one value unless it says several. AND: may be repeated, and all repetitions must match.\n",
        *_table(("query", "parameter", "values", "shown by"), _parameters(seen)),
        _paragraph(
            f"Every other query answers `{Code.UNKNOWN_STORED_QUERY.value}` ({', '.join(QUERIES.values())}), as do "
            "those for multiple patients in ITI-18 and all others in ITI-51, which is off unless configured. Unknown "
            "parameters are ignored, as are paging and returnComposedObjects."
        ),
        "## ITI-43 Retrieve Document Set\n",
        *_table(("outcome", "shown by"), _retrieves(seen)),
        "Request and answer may be MTOM or simple SOAP; documents of several hospitals may be asked for at once.\n",
        "## Error codes\n",
        "What is raised by a rule can be lowered to a warning or less where docs/operations.md says so.\n",
        *_table(("code", "raised when", "NIST", "own tests that had it answered"), _errors(seen, produced)),
        _paragraph(f"In ITI-42 and ITI-61, `codeContext` begins with the rule's name. Never raised: {_unraised()}."),
        "## SOAP faults\n",
        *_table(("subcode", "raised when"), ((f"`{code}`", when) for code, when in FAULTS.items())),
        "## NIST tests\n",
        *_table(("test", "what", "passes", "waits for"), _tests(done)),
        "No section of these passes yet; the whole test waits:\n",
        *_table(("waits for", "tests"), _waiting(done)),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


def _open(done: Run) -> str:
    """What the page has to admit, or nothing."""
    wrong = sorted(unexplained(done))
    return f"\n**These should pass and do not: {', '.join(wrong)}.**\n" if wrong else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _shown(tests: Iterable[str], most: int = 4) -> str:
    names = list(tests)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _submissions(seen: Evidence, passed: Sequence[Section]) -> Iterator[tuple[str, str]]:
    for what, transaction in (("Document", "RegisterTransaction"), ("on-demand Document", "RegisterODDETransaction")):
        sent = {section.test: None for section in passed if transaction in section.transactions}
        yield f"SubmissionSet with {what}Entries", _shown(sent)
    yield (
        "Metadata beyond the framework, kept and returned",
        _shown({s.test: None for s in passed if s.test == "12379"}),
    )
    yield "Folders, new and added to", _shown(seen.folders)
    for each in AssociationType:
        own = own_tests([rf"AssociationType\.{each.name}\b"], "registry")
        yield f"`{each.value.rpartition(':')[2]}`", _shown(seen.associations[each.value]) or own


def _changes(passed: Sequence[Section]) -> Iterator[tuple[str, str]]:
    for what, transaction in (
        ("New versions, status changes, associations of registered objects", "MuTransaction"),
        ("Removal of whatever a message names", "RemoveMetadataTransaction"),
    ):
        yield what, _shown({section.test: None for section in passed if transaction in section.transactions})
    yield "Restricted update of entries", own_tests([r"Action\.RESTRICTED_UPDATE\b"], "registry")


def _queries(seen: Evidence) -> Iterator[tuple[str, str]]:
    for query in QueryId:
        own = own_tests([rf"QueryId\.{query.name}\b"], "registry")
        yield f"{_title(query)} `{query.value}`", _shown(seen.queries[query.value]) or own
    for returns in ("LeafClass", "ObjectRef"):
        yield f"returnType `{returns}`", _shown(seen.returns[returns])
    home = {test: None for query in QueryId for test in seen.parameters[f"{query.value} home"]}
    yield "`AdhocQuery/@home`", _shown(home)


def _parameters(seen: Evidence) -> Iterator[tuple[str, str, str, str]]:
    for query, described in CATALOGUE.items():
        for each in described.parameters:
            tests = seen.parameters[f"{query.value} {each.name}"]
            own = own_tests([rf'"{re.escape(each.name)}"'], "registry")
            yield _title(query), f"`{each.name}`", _values(each), _shown(tests) or own


def _values(parameter: Parameter) -> str:
    syntax = MEANING.get(parameter.field.rpartition(".")[2]) or SYNTAX[parameter.syntax.__name__]
    marks = ["required"] if parameter.required else []
    marks += ["several"] if parameter.many else []
    marks += ["AND"] if parameter.groups else []
    return "; ".join([syntax, *marks])


def _title(query: QueryId) -> str:
    return query.name.title().replace("_", "")


def _retrieves(seen: Evidence) -> Iterator[tuple[str, str]]:
    for status in ResponseStatus:
        own = own_tests([rf"ResponseStatus\.{status.name}\b", status.value.rpartition(":")[2]], "repository_proxy")
        yield f"`{status.value.rpartition(':')[2]}`", _shown(seen.retrieves[status.value]) or own


def _errors(seen: Evidence, produced: Mapping[Code, Sequence[str]]) -> Iterator[tuple[str, str, str, str]]:
    for code in Code:
        when = []
        for transactions, rules in RULES_OF.items():
            if names := [rule.id for rule in rules.values() if rule.code is code]:
                when.append(f"{transactions}, rules: {', '.join(names)}")
        when += [f"{transaction}: {told}" for transaction, told in RAISED.get(code, {}).items()]
        if when:
            nist, own = _shown(seen.errors[code.value]), shown(produced.get(code, ()))
            yield f"`{code.value}`", "<br>".join(when), nist, own or "**none**"


def unproduced(produced: Mapping[Code, Sequence[str]]) -> list[str]:
    """Codes that are said to be raised and that no test has had answered."""
    return [code.value for code in Code if code in raised() and not produced.get(code)]


def raised() -> frozenset[Code]:
    """Every code this page says something of."""
    return frozenset(RAISED) | {rule.code for rules in RULES_OF.values() for rule in rules.values()}


def _unraised() -> str:
    return ", ".join(f"`{code.value}`" for code in Code if code not in raised())


def _counts(section: Section) -> bool:
    return section.passed and section.full_name not in SHOWS_NOTHING


def _tests(done: Run) -> Iterator[tuple[str, str, str, str]]:
    by_name = {section.full_name: section for section in done.sections(setup=True)}
    for test in done.tests:
        passed = [section.name for section in test.sections if _counts(section)]
        if not passed or test.sections[0].transactions[:1] == ("PatientIdentityFeedTransaction",):
            continue
        waiting: dict[str, list[str]] = defaultdict(list)
        for section in test.sections:
            if not _counts(section):
                waiting[_need(section, by_name)].append(section.name)
        whole = len(passed) == len(test.sections)
        told = f"all: {', '.join(passed)}" if whole else f"{len(passed)} of {len(test.sections)}: {', '.join(passed)}"
        title = test.title.removeprefix("SQ.b ").removeprefix("R.b ").replace("|", "/")
        kind = "data: " if test.setup else ""
        yield test.id, f"{kind}{title}", told, "; ".join(f"{what}: {', '.join(on)}" for what, on in waiting.items())


def _need(section: Section, by_name: dict[str, Section]) -> str:
    return SHOWS_NOTHING.get(section.full_name) or needs(section, by_name) or CORRECTION


def _waiting(done: Run) -> Iterator[tuple[str, str]]:
    by_name = {section.full_name: section for section in done.sections(setup=True)}
    found: dict[str, list[str]] = defaultdict(list)
    for test in done.tests:
        if test.setup or any(_counts(section) for section in test.sections):
            continue
        found[_needs_of_all(test, by_name)].append(test.id)
    for what, tests in found.items():
        yield what, ", ".join(tests)


def _needs_of_all(test: Test, by_name: dict[str, Section]) -> str:
    each = {_need(section, by_name): None for section in test.sections}
    return whole_test(test) or ", ".join(each)
