"""`make conformance`: a node with docs/examples/conformance, and the tests of a kit against it.

The kit (a folder with `nist_runner/` and `testkit/`) lies outside this tree, and its runner gets an environment of its
own. Without a choice, the sections of sections.txt run: those that cover what this version offers. All must pass.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ihe.names import Code
from tests.conformance import document
from tests.conformance.missing import SHOWS_NOTHING, needs, unexplained, whole_test
from tests.conformance.produced import produced
from tests.conformance.runs import FEEDS, LISTED, ROOT, Run, listed, run


def main() -> int:
    """Runs what was chosen; 0 when all of it is as it should be."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--kit", type=Path, default=ROOT.parent / "shared" / "conformance" / "nist")
    parser.add_argument("--only", action="append", default=[], metavar="GLOB", help="tests or sections, any of the kit")
    parser.add_argument("--every", action="store_true", help="every test, with what the rest of them wait for")
    parser.add_argument("--write-docs", action="store_true", help=f"every test, and {document.PAGE.name} from it")
    parser.add_argument("--feed", choices=FEEDS, help="how patients become known; else each way in turn")
    parser.add_argument("--json", type=Path, help="write the runner's results")
    parser.add_argument("--logs", type=Path, help="write every message and the node's log below here")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the sections that passed, too")
    chosen = parser.parse_args()
    kit = chosen.kit.resolve()
    if not (kit / "nist_runner").is_dir():
        print(f"no runner in {kit}: say where with KIT=DIR")
        return 2
    words = ["--verbose"] if chosen.verbose else []
    started = time.monotonic()
    if chosen.only:
        words += [word for glob in chosen.only for word in ("--only", glob)]
        return run(kit, words, chosen.json, chosen.logs, chosen.feed or FEEDS[0]).status
    if not chosen.every and not chosen.write_docs:
        status = 0
        for feed in [chosen.feed] if chosen.feed else FEEDS:
            print(f"patients by {feed}:")
            words_of = [*words, "--list", str(LISTED)]
            status = max(status, all_listed(run(kit, words_of, chosen.json, chosen.logs, feed)))
        print(f"{time.monotonic() - started:.0f} seconds")
        return status
    with tempfile.TemporaryDirectory(prefix="innsyn-conformance-") as folder:
        logs = chosen.logs or Path(folder)
        # By itself the runner leaves out the tests that the kit marks as beta.
        done = run(kit, [*words, "--only", "*"], chosen.json, logs, chosen.feed or FEEDS[0])
        as_expected = every(done)
        if chosen.write_docs:
            tests = produced()
            document.PAGE.write_text(document.page(done, logs, tests))
            as_expected &= all_produced(tests)
            print(f"wrote {document.PAGE.relative_to(ROOT)}")
    return 0 if as_expected else 1


def all_listed(done: Run) -> int:
    """0 when every listed section passed; the runner alone would also be content with one that was skipped."""
    status = {section.full_name: section.status for section in done.sections()}
    names = listed()
    missing = [name for name in names if status.get(name) != "pass"]
    print(f"listed: {len(names) - len(missing)} of {len(names)} sections passed")
    for name in missing:
        print(f"  {name}: {status.get(name, 'not run')}")
    return 1 if missing or done.status else 0


def all_produced(tests: Mapping[Code, Sequence[str]]) -> bool:
    """Whether every error code that is said to be raised has been, in a test that passed; tells which were not."""
    missing = document.unproduced(tests)
    print(*(f"no test has {code} answered" for code in missing), sep="\n", end="\n" if missing else "")
    return not missing


def every(done: Run) -> bool:
    """Prints what sections wait for; whether exactly the listed ones pass and nothing else is wrong."""
    sections = {section.full_name: section for section in done.sections(setup=True)}
    waiting = Counter(needs(section, sections) for section in sections.values() if not section.passed)
    waiting += Counter(whole_test(test) for test in done.tests if not test.sections and test.status != "pass")
    waiting.pop("", None)
    print("waiting for what this version does not offer (sections, or tests that could not start):")
    for what, count in waiting.most_common():
        print(f"  {count:3} {what}")
    passed = {section.full_name for section in done.sections() if section.passed}
    names = set(listed())
    complaints = [f"{name} should pass: {reason}" for name, reason in unexplained(done).items()]
    complaints += [f"{name} is listed and does not pass" for name in sorted(names - passed)]
    complaints += [f"{name} passes and is not listed" for name in sorted(passed - names - set(SHOWS_NOTHING))]
    print(*complaints or ["exactly the listed sections pass"], sep="\n")
    return not complaints


if __name__ == "__main__":
    sys.exit(main())
