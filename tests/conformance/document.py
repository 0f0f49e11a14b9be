"""docs/conformance.md, written from the product's own tables and from what the kit's sections have shown."""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ihe.names import AssociationType, Code, QueryId, ResponseStatus
from registry.rules_table import RULES
from registry.stored_queries import PARAMETERS, Parameter
from tests.conformance.errors import FAULTS, RAISED
from tests.conformance.evidence import Evidence, collect
from tests.conformance.missing import QUERIES, SHOWS_NOTHING, TRANSACTIONS, needs, unexplained, whole_test
from tests.conformance.own import own_tests
from tests.conformance.runs import ROOT, Run, Section, Test

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
    "_patient": "`'id^^^&oid&ISO'`",
    "_status": "status URNs",
    "_code": "`'code^^scheme'`",
    "_time": "DTM, UTC",
    "_entry_type": "objectType of stable and on-demand entries",
}
MEANING = {
    "author_persons": "pattern with `%` and `_`, at most four in one",
    "entry_uuids": "UUID URNs",
    "unique_ids": "uniqueIds",
}


def page(done: Run, logs: Path) -> str:
    """The whole page."""
    seen = collect(done, logs)
    passed = [section for section in done.sections() if _counts(section)]
    parts = [
        OPENING.format(passed=len(passed), tests=len({section.test for section in passed}), open=_open(done)),
        "## ITI-42 Register Document Set-b\n",
        *_table(("content", "shown by"), _submissions(seen, passed)),
        "## ITI-18 Registry Stored Query\n",
        *_table(("query or option", "shown by"), _queries(seen)),
        "Parameters; one value unless it says several. AND: may be repeated, and all repetitions must match.\n",
        *_table(("parameter", "query", "values", "shown by"), _parameters(seen)),
        _paragraph(
            f"Every other query answers `{Code.UNKNOWN_STORED_QUERY.value}`: {', '.join(QUERIES.values())}, and those "
            "of ITI-51. Unknown parameters are ignored, as are paging and returnComposedObjects."
        ),
        "## ITI-43 Retrieve Document Set\n",
        *_table(("outcome", "shown by"), _retrieves(seen)),
        "Request and answer may be MTOM or simple SOAP; documents of several hospitals may be asked for at once.\n",
        "## Error codes\n",
        *_table(("code", "raised when", "NIST", "own tests"), _errors(seen)),
        _paragraph(f"In ITI-42, `codeContext` begins with the rule's name. Never raised: {_unraised()}."),
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
    sent = {section.test: None for section in passed if "RegisterTransaction" in section.transactions}
    yield "SubmissionSet with DocumentEntries", _shown(sent)
    yield "Folders, new and added to", _shown(seen.folders)
    for each in AssociationType:
        if each is not AssociationType.IS_SNAPSHOT_OF:
            own = own_tests([rf"AssociationType\.{each.name}\b"], "registry")
            yield f"`{each.value.rpartition(':')[2]}`", _shown(seen.associations[each.value]) or own
    yield "`IsSnapshotOf`, of on-demand entries", f"with {TRANSACTIONS['RegisterODDETransaction']}"


def _queries(seen: Evidence) -> Iterator[tuple[str, str]]:
    for query in QueryId:
        yield f"{_title(query)} `{query.value}`", _shown(seen.queries[query.value])
    for returns in ("LeafClass", "ObjectRef"):
        yield f"returnType `{returns}`", _shown(seen.returns[returns])
    home = {test: None for query in QueryId for test in seen.parameters[f"{query.value} home"]}
    yield "`AdhocQuery/@home`", _shown(home)


def _parameters(seen: Evidence) -> Iterator[tuple[str, str, str, str]]:
    for query, parameters in PARAMETERS.items():
        for each in parameters:
            tests = seen.parameters[f"{query.value} {each.name}"]
            name = each.name.partition("DocumentEntry")[2]
            own = own_tests(
                [rf"DocumentEntry{name}\b", rf'}}{name}"', rf"\b{each.field.partition('.')[0]}\b"], "registry"
            )
            yield f"`{each.name}`", _title(query), _values(each), _shown(tests) or own


def _values(parameter: Parameter) -> str:
    syntax = MEANING.get(parameter.field) or SYNTAX[parameter.syntax.__name__]
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


def _errors(seen: Evidence) -> Iterator[tuple[str, str, str, str]]:
    by_code: dict[Code, list[str]] = defaultdict(list)
    for rule in RULES.values():
        by_code[rule.code].append(rule.id)
    for code in Code:
        when = [f"{transaction}: {told}" for transaction, told in RAISED.get(code, {}).items()]
        if by_code[code]:
            when.insert(0, f"ITI-42, rules: {', '.join(by_code[code])}")
        if when:
            yield f"`{code.value}`", "<br>".join(when), _shown(seen.errors[code.value]), own_tests(_names(code))


def _names(code: Code) -> Iterator[str]:
    """Patterns by which tests name an error code: itself, and the rules that raise it."""
    yield from (rf"Code\.{code.name}\b", re.escape(code.value))
    for rule in RULES.values():
        if rule.code is code:
            yield from (rf'"{rule.id}"', rf"\b{rule.id.upper().replace('-', '_')}\b")


def raised() -> frozenset[Code]:
    """Every code this page says something of."""
    return frozenset(RAISED) | {rule.code for rule in RULES.values()}


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
