"""N4: whatever bytes come, one answer, no exception, no last resort, no hang, no growth. The work is bench.hostile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.machine import on_server_core
from bench.n6_no_trace import fast_folder
from bench.processes import environment
from bench.report import Report

MIB = 1024 * 1024
SEED = 1
SMOKE, FULL = (50_000, 30.0), (1_000_000, 6 * 3600.0)
"""Inputs, and the seconds after which no further one is made."""
GROWTH = 50


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    count, seconds = FULL if full else SMOKE
    with TemporaryDirectory(prefix="innsyn-bench-", dir=fast_folder()) as name:
        folder = Path(name)
        file, results = folder / "settings.json", folder / "results.json"
        told = {"folder": name, "results": str(results), "seed": SEED, "count": count, "seconds": seconds}
        file.write_text(json.dumps(told))
        command = [sys.executable, "-m", "bench.hostile", str(file)]
        done = subprocess.run(
            command, capture_output=True, preexec_fn=on_server_core, env=environment(), timeout=2 * seconds + 300
        )
        if done.returncode or not results.exists():
            end = done.stderr.decode(errors="replace")[-2000:]
            report.holds("N4", "the process survives hostile inputs", False, f"exit {done.returncode}\n{end}")
            return
        _tell(report, json.loads(results.read_text()))


def _tell(report: Report, found: dict[str, Any]) -> None:
    sent = ", ".join(f"{count} {word}" for word, count in sorted(found["sent"].items(), key=lambda each: -each[1]))
    raw = f"{found['inputs']} inputs of {found['seeds']} seeds ({found['foreign']} of others), seed {SEED}: {sent}"
    report.holds("N4", "0 uncaught exceptions", not found["uncaught"], raw)
    wrong = {
        "uncaught": "",
        "last_resort": "0 last-resort answers",
        "slow": "0 inputs above 1 s",
        "unequal": "packages mean the same whole and byte by byte",
        "malformed": "every answer can be read",
    }
    for name, claim in wrong.items():
        if claim:
            report.holds("N4", claim, not found[name], f"{len(found[name])}")
        for each in found[name][:6]:
            report.say(f"    input {each}")
    grown = found["grown"] / MIB
    report.holds(
        "N4", f"memory grows by less than {GROWTH} MiB", grown < GROWTH, f"{grown:.1f} MiB, mapped files aside"
    )
