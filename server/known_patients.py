"""The list of known patients as a file: checked whole, before anybody is turned away or let in by half of it.

One identifier a line, as CX or as its number alone; `#` begins a comment. It is read again with the policy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from policy.numbers import AUTHORITY, PatientId, is_patient, patient_id, person_number
from server.config import MIB, Config

if TYPE_CHECKING:
    from policy.agreements import Policy

LARGEST = 64 * MIB
"""Bytes of a list: 1.3 million CX of national numbers, which take some 200 MiB in each worker."""
MOST_TOLD = 20
"""Mistakes told of one list; whoever made more has made the same one often."""


def known_patients(config: Config, policy: Policy) -> tuple[frozenset[str] | None, list[str]]:
    """The list that `[patients] known` names, and every mistake in it, by line and without the line's content.

    None where the configuration names no list, or where it has mistakes.
    """
    path = config.patients.file
    if path is None:
        return None, []
    try:
        if path.stat().st_size > LARGEST:
            return None, [f"{path} is larger than {LARGEST // MIB} MiB"]
        text = path.read_text("utf-8")
    except OSError as problem:
        return None, [f"{path} cannot be read: {problem.strerror}"]
    except UnicodeDecodeError:
        return None, [f"{path} is not UTF-8"]
    authorities = frozenset(config.patients.authorities) or policy.identifiers.patient
    known, wrong = _read(text, path, authorities, policy)
    if not known and not wrong:
        wrong = [f"{path} names nobody: nothing could be registered"]
    more = len(wrong) - MOST_TOLD
    return (None if wrong else frozenset(known)), wrong[:MOST_TOLD] + [f"and {more} more"] * (more > 0)


def _read(text: str, path: Path, authorities: frozenset[str], policy: Policy) -> tuple[dict[str, int], list[str]]:
    """CX -> its line, and the mistakes."""
    known: dict[str, int] = {}
    wrong: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        cx = _cx(line, authorities, policy)
        if not is_patient(cx, authorities, policy.numbers):
            wrong.append(f"{path.name} line {number} is no identifier of a patient here")
        elif known.setdefault(cx, number) != number:
            wrong.append(f"{path.name} line {number} says what line {known[cx]} says")
    return known, wrong


def _cx(line: str, authorities: frozenset[str], policy: Policy) -> str:
    """A line as CX: a number alone is of the register that gives out such numbers, or of the only authority."""
    if "^" in line:
        found = patient_id(line)
        return "" if found is None else found.cx
    national = person_number(line, policy.numbers)
    if national is not None and AUTHORITY[national.kind] in authorities:
        return PatientId(line, AUTHORITY[national.kind]).cx
    return PatientId(line, *authorities).cx if len(authorities) == 1 else ""
