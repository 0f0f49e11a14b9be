"""Which of the project's own tests have an error code answered: found by running them and reading every answer.

`produced()` runs them in a process of its own, in which this file is a plugin of pytest: it notes what the only two
writers of error lists write while a test runs, and keeps it if the test passes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ihe import queries, retrieval
from ihe.errors import XdsError
from ihe.names import Code
from tests.conformance.runs import ROOT

WHERE = ("tests/registry", "tests/repository_proxy")
FIRST = ("registry/test_samples.py",)
LAST = ("registry/test_any_message.py", "registry/test_any_update.py", "registry/test_explain_agrees.py")
"""Tests that send many messages, of which one happened to have the code answered."""
SINK = "INNSYN_PRODUCED"
SECONDS = 900
_ENGINE = re.compile(r"\b(sqlite|postgresql|partitioned)-?")
_written: set[str] = set()


def produced() -> dict[Code, tuple[str, ...]]:
    """By error code the tests below tests/ that had it answered, and passed. A run that fails keeps what passed."""
    with tempfile.TemporaryDirectory(prefix="innsyn-produced-") as folder:
        sink = Path(folder) / "produced.json"
        command = [sys.executable, "-m", "pytest", "-p", __name__, "-p", "no:cacheprovider", "-p", "no:randomly", "-q"]
        command += ["-m", "not postgresql", "--no-header", *WHERE]
        subprocess.run(command, cwd=ROOT, env=os.environ | {SINK: str(sink)}, timeout=SECONDS, capture_output=True)
        told: dict[str, list[str]] = json.loads(sink.read_text()) if sink.exists() else {}
    return {code: tuple(told[code.value]) for code in Code if code.value in told}


def shown(tests: Sequence[str], most: int = 2) -> str:
    """The tests as a reader finds them: those that do nothing but break one rule first, one line each."""
    ordered = sorted(tests, key=lambda test: (not test.startswith(FIRST), test.startswith(LAST)))
    more = f" and {len(tests) - most} more" if len(tests) > most else ""
    return "<br>".join(f"`{test}`" for test in ordered[:most]) + more


class _Noting:
    """Keeps by code the tests in which it was written, as far as they passed."""

    def __init__(self, sink: Path) -> None:
        self.sink = sink
        self.told: dict[str, list[str]] = defaultdict(list)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        _written.clear()
        result = yield
        test = _ENGINE.sub("", item.nodeid.removeprefix("tests/")).replace("[]", "")
        for code in sorted(_written):
            if test not in self.told[code]:
                self.told[code].append(test)
        return result

    def pytest_sessionfinish(self) -> None:
        self.sink.write_text(json.dumps(self.told))


def _noted(write: Callable[..., Any], place: int) -> Callable[..., Any]:
    """The writer, with a note of the codes in its argument at `place`."""

    def noting(*arguments: Any) -> Any:
        errors: Sequence[XdsError] = arguments[place]
        _written.update(error.code.value for error in errors)
        return write(*arguments)

    return noting


def pytest_configure(config: pytest.Config) -> None:
    """Only in the process that produced() starts."""
    if sink := os.environ.get(SINK):
        writers: Mapping[str, tuple[Any, int]] = {"_error_list": (queries, 0), "_opening": (retrieval, 1)}
        for name, (module, place) in writers.items():
            setattr(module, name, _noted(getattr(module, name), place))
        config.pluginmanager.register(_Noting(Path(sink)))
