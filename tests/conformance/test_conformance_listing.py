"""What is said of conformance is true of the kit and of the sources."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ihe.errors import Subcode
from ihe.names import Code
from tests.conformance import document
from tests.conformance.errors import FAULTS
from tests.conformance.missing import AFTER, SHOWS_NOTHING
from tests.conformance.runs import ROOT, listed

KIT = Path(os.environ.get("INNSYN_SHARED", ROOT.parent / "shared")) / "conformance" / "nist"
SOURCES = ("ihe", "policy", "audit", "registry", "repository_proxy", "server")


def sources() -> str:
    names = {ROOT / "ihe" / "names.py", ROOT / "ihe" / "errors.py"}
    paths = (path for package in SOURCES for path in (ROOT / package).rglob("*.py") if path not in names)
    return "\n".join(path.read_text() for path in paths)


def test_no_section_is_listed_twice() -> None:
    assert len(listed()) == len(set(listed()))
    assert not set(listed()) & set(SHOWS_NOTHING)


@pytest.mark.skipif(not (KIT / "testkit").is_dir(), reason=f"no kit in {KIT}: sections.txt cannot be held against it")
def test_every_section_that_is_named_is_in_the_kit() -> None:
    named = {*listed(), *AFTER, *AFTER.values(), *SHOWS_NOTHING}
    assert not [name for name in sorted(named) if not (KIT / "testkit" / "tests" / name / "testplan.xml").is_file()]


def test_the_page_explains_exactly_the_error_codes_that_are_raised() -> None:
    raised = {Code[name] for name in re.findall(r"\bCode\.([A-Z_]+)\b", sources()) if name in Code.__members__}
    assert document.raised() == raised


def test_the_page_explains_exactly_the_fault_subcodes_that_are_raised() -> None:
    raised = {Subcode[name] for name in re.findall(r"\bSubcode\.([A-Z_]+)\b", sources())}
    assert set(FAULTS) == raised
