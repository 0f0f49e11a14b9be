"""What the tests of the trail share: events in three words, and a process that can be killed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from audit.event import Ending, Event, Kind, Object
from policy.facts import Channel, Decision, Reason, Subject

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2021, 2, 15, 9, 0, tzinfo=UTC)
PATIENT = "15837510047^^^&2.16.578.1.12.4.1.4.1&ISO"
CHILD = "02911160008^^^&2.16.578.1.12.4.1.4.1&ISO"
ANNE = Subject(
    Channel.CLINICIAN,
    "Anne",
    hpr="9144900",
    role="LE",
    place_of_care="984630492",
    place_of_care_name="Oslo legevakt",
    purpose="TREAT",
    patient_id=PATIENT,
)
OK = Decision(True, Reason.OK, source="ous", agreement="ous-regional")
BLOCKED = Decision(False, Reason.BLOCK_DOC, source="ous", block="b1")


def event(kind: Kind, correlation: str = "c1", *, minutes: float = 0, **more: object) -> Event:
    when = NOW + timedelta(minutes=minutes)
    bare = Event(kind, "ITI-43", when, when, False, correlation, "urn:uuid:1", "main", "127.0.0.1", "")
    return replace(bare, **{"subject": ANNE, "patient_id": PATIENT, **more})  # type: ignore[arg-type]


def document(number: int, decision: Decision = OK, ending: Ending | None = None, sent: int = 0) -> Object:
    return Object(decision, f"urn:uuid:{number}", "1.2.3", f"1.2.3.{number}", ending, sent)


def only_segment(folder: Path) -> Path:
    (found,) = folder.glob("*.jsonl")
    return found


def python(script: str, *args: str) -> subprocess.Popen[str]:
    """A process of its own running `script` with this project importable."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
