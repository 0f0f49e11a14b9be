"""`python -m bench smoke|full [NAME...]`: prints one line per claim; fails only when a claim about being right does.

`python -m bench layers` and `python -m bench scale` print where CPU goes and compute the nation.
"""

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
    "p2": "p2_scale",
    "p3": "p3_register",
    "p4": "p4_large",
    "p5": "p5_small",
    "p6": "p6_slow",
    "p7": "p7_workers",
    "n1": "n1_kills",
    "n2": "n2_order",
    "n3": "n3_power",
    "n4": "n4_hostile",
    "n6": "n6_no_trace",
    "n7": "n7_timing",
    "n20": "n20_faults",
    "n22": "n22_round_trip",
}
TABLES = {"layers": "layers", "scale": "scale"}
"""What is measured only when it is named, and has one size."""


def main() -> int:
    """Runs the claims that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("size", choices=["smoke", "full", *TABLES])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(CLAIMS)}; all if none")
    asked = parser.parse_args()
    if asked.size in TABLES:
        asked.names = [asked.size]
    if unknown := [each for each in asked.names if each.lower() not in CLAIMS | TABLES]:
        parser.error(f"there is no claim {unknown[0]}; there are {', '.join(CLAIMS | TABLES)}")
    # Everything started here is stopped on the way out, also when somebody loses patience.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report()
    report.say(f"# {asked.size}, {line()}")
    for name in [each.lower() for each in asked.names] or CLAIMS:
        begun = time.monotonic()
        try:
            importlib.import_module(f"bench.{(CLAIMS | TABLES)[name]}").run(report, asked.size == "full")
        except Exception:  # noqa: BLE001 - one claim that cannot be measured must not hide the others
            report.holds(name.upper(), "it can be measured at all", False, traceback.format_exc(limit=-4))
        report.say(f"    ({name} took {time.monotonic() - begun:.0f} s)")
    for each in report.broken:
        report.say(f"BROKEN: {each}")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
