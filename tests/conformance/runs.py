"""One run of the kit's runner against a node of its own, and its results as types."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.nodes import free_port, loopback_node

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "conformance"
STUB = "127.0.0.1:8181"
"""Where the example says the hospital is; the runner plays it on a free port."""
MLLP = "127.0.0.1:2575"
FED = {'known = "any"': 'known = "feed"', "# [feed.kit]": "[feed.kit]", "# bind": "bind", "# identity": "identity"}
"""What the example says of patients, and what it says for the kit."""
FEEDS = ("iti44", "iti8")
RUNNER = ROOT / ".venv-conformance"
LOCK = Path(__file__).with_name("requirements.lock")
LISTED = Path(__file__).with_name("sections.txt")
SECONDS = 600


@dataclass(frozen=True, slots=True)
class Section:
    """How one section of a test ended; in a test without sections that never ran, there are none."""

    test: str
    name: str
    status: str
    """pass, fail or skip."""
    reason: str
    transactions: tuple[str, ...]
    """Of the steps that ran, the last of which is the one at fault where there is one."""

    @property
    def full_name(self) -> str:
        """As sections.txt names it."""
        return f"{self.test}/{self.name}"

    @property
    def passed(self) -> bool:
        """Whether all of it was as the kit expects."""
        return self.status == "pass"


@dataclass(frozen=True, slots=True)
class Test:
    """One test of the kit, or data that a test needs (`setup`)."""

    __test__ = False

    id: str
    title: str
    setup: bool
    status: str
    reason: str
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """What the runner reported."""

    status: int
    tests: tuple[Test, ...]

    def sections(self, setup: bool = False) -> Iterator[Section]:
        """The sections of all tests; those that only bring data if asked for too."""
        for test in self.tests:
            if setup or not test.setup:
                yield from test.sections


def runner_python() -> Path:
    """The runner's own Python, set up on first use: what it needs never becomes something the product needs."""
    python = RUNNER / "bin" / "python"
    ready = RUNNER / ".ready"
    if not ready.exists() or ready.read_bytes() != LOCK.read_bytes():
        subprocess.run([sys.executable, "-m", "venv", RUNNER], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([python, *install, "-r", LOCK], check=True)
        shutil.copy(LOCK, ready)
    return python


def run(
    kit: Path, words: Sequence[str | Path], report: Path | None = None, logs: Path | None = None, feed: str = "iti44"
) -> Run:
    """Starts a node with docs/examples/conformance and the runner with `words`; both stop before this returns.

    The node knows the patients it is fed and no others; `feed` is the kit's name of one of FEEDS. `report` receives the
    runner's JSON, `logs` every message and the node's own log. Raises TimeoutExpired.
    """
    python = runner_python()
    with tempfile.TemporaryDirectory(prefix="innsyn-conformance-") as folder:
        told, stub = report or Path(folder) / "report.json", free_port()
        node = Path(folder) / "node"
        mllp = f"127.0.0.1:{free_port()}"
        with loopback_node(EXAMPLE, node, {STUB: f"127.0.0.1:{stub}", MLLP: mllp, **FED}) as url:
            command: list[str | Path] = [python, "-m", "nist_runner", "--testkit", kit / "testkit"]
            command += ["--registry", f"{url}/xds/registry", "--repository", f"{url}/xds/repository"]
            command += ["--pid-feed", feed, "--pif", f"{url}/pix/feed" if feed == "iti44" else mllp]
            command += ["--stub-repository", str(stub), "--json", told.resolve(), *words]
            if logs is not None:
                command += ["--logs", logs.resolve()]
            environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
            done = subprocess.run(command, cwd=kit, env=environment, timeout=SECONDS)
        if logs is not None:
            logs.mkdir(parents=True, exist_ok=True)
            shutil.copy(node / "node.log", logs)
        tests = json.loads(told.read_text())["tests"] if told.exists() else []
    return Run(done.returncode, tuple(_test(raw) for raw in tests))


def listed() -> tuple[str, ...]:
    """The sections named in sections.txt, in its order."""
    lines = (line.partition("#")[0].strip() for line in LISTED.read_text().splitlines())
    return tuple(line for line in lines if line)


def _test(raw: dict[str, Any]) -> Test:
    sections = tuple(
        Section(
            raw["id"],
            each["name"],
            each["status"],
            each["reason"],
            tuple(step["transaction"] for step in each["steps"]),
        )
        for each in raw["sections"]
    )
    return Test(raw["id"], raw["title"], raw["setup"], raw["status"], raw["reason"], sections)
