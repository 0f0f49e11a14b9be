"""`python -m bench smoke|full [NAME...]`: prints one line per claim; fails only when a claim about being right does."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
import traceback

from bench.machine import line
from bench.report import Report

CLAIMS = {
    "p1": "p1_query",
    "p4": "p4_large",
    "p5": "p5_small",
    "p6": "p6_slow",
    "n1": "n1_kills",
    "n4": "n4_hostile",
    "n6": "n6_no_trace",
    "n7": "n7_timing",
}


def main() -> int:
    """Runs the claims that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("size", choices=["smoke", "full"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(CLAIMS)}; all if none")
    asked = parser.parse_args()
    if unknown := [each for each in asked.names if each.lower() not in CLAIMS]:
        parser.error(f"there is no claim {unknown[0]}; there are {', '.join(CLAIMS)}")
    # Everything started here is stopped on the way out, also when somebody loses patience.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report()
    report.say(f"# {asked.size}, {line()}")
    for name in [each.lower() for each in asked.names] or CLAIMS:
        begun = time.monotonic()
        try:
            importlib.import_module(f"bench.{CLAIMS[name]}").run(report, asked.size == "full")
        except Exception:  # noqa: BLE001 - one claim that cannot be measured must not hide the others
            report.holds(name.upper(), "it can be measured at all", False, traceback.format_exc(limit=-4))
        report.say(f"    ({name} took {time.monotonic() - begun:.0f} s)")
    for each in report.broken:
        report.say(f"BROKEN: {each}")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
