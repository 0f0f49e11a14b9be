"""Which of the project's own tests name a thing: what is shown by no section of the kit is shown by them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tests.conformance.runs import ROOT

TESTS = ROOT / "tests"
MOST = 2


def own_tests(words: Iterable[str], package: str = "") -> str:
    """The test files in which one of the patterns occurs most often; only those of one package if it is given."""
    pattern = re.compile("|".join(words))
    found = [(-len(pattern.findall(text)), name) for name, text in _texts() if name.startswith(package)]
    return ", ".join(name for count, name in sorted(found)[:MOST] if count)


@cache
def _texts() -> tuple[tuple[str, str], ...]:
    paths = (path for path in TESTS.rglob("test_*.py") if path.parent != Path(__file__).parent)
    return tuple((path.relative_to(TESTS).as_posix(), path.read_text()) for path in paths)
