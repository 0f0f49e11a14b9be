"""N3: after a power cut everything acknowledged is there, in the database and in the audit trail, and nothing is torn.

A node of docs/examples/conformance is traced while four sources register (bench.traced). The power is then cut at
moments chosen by chance: the files are rebuilt as that moment left them (bench.powercut), and opened by SQLite and by
the audit spool's own recovery. The replay is checked itself: with everything kept its files must equal the real ones,
and where a sync does nothing it must find what is lost.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from audit import segment
from audit.event import RecordLost
from audit.spool import Spool
from bench.acknowledged import Acknowledgement, by_attempt
from bench.n2_order import MISSING
from bench.powercut import Disk, replayed
from bench.progress import bar
from bench.registry_file import examined
from bench.report import Report
from bench.traced import Scene, is_here, scene
from bench.writers import Attempt

SMOKE, FULL = (20, 80), (500, 400)
"""Cuts, and submissions acknowledged in the scene that is cut."""
SEED = 20210217


@dataclass
class Tally:
    """What the cuts left behind."""

    cuts: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    if not is_here():
        report.say(f"N3  left out: {MISSING}")
        return
    cuts, submissions = FULL if full else SMOKE
    with scene(submissions, SEED) as seen:
        whole = Disk(seen.before, seen.after)
        replayed(whole, seen.steps)
        differing = whole.differs(seen.after)
        tally = cut(seen, cuts, SEED)
        # A sync that does nothing must be noticed, or the replay would prove nothing.
        deaf_log = cut(seen, max(10, cuts // 10), SEED, lambda path: path.endswith("-wal"))
        deaf_trail = cut(seen, max(10, cuts // 10), SEED, lambda path: path.endswith(".jsonl"))
    raw = f"{tally.cuts} cuts, {tally.acknowledged} acknowledgements before them, seed {SEED}"
    for words, found in (
        ("acknowledged submissions lost", tally.lost),
        ("submissions torn", tally.torn),
        ("databases or trails corrupt", tally.corrupt),
        ("acknowledgements without a record", tally.unrecorded),
    ):
        report.holds("N3", f"{len(found)} {words}", not found and tally.acknowledged > 0, f"{raw} {found[:2]}")
    report.holds("N3", "with everything kept the replayed files equal the real ones", not differing, str(differing))
    noticed = bool(deaf_log.lost) and bool(deaf_trail.unrecorded or deaf_trail.corrupt)
    raw = f"{len(deaf_log.lost)} lost without the log's sync, {len(deaf_trail.unrecorded)} without the trail's"
    report.holds("N3", "a sync that does nothing is noticed", noticed, raw)


def cut(seen: Scene, cuts: int, seed: int, deaf: Callable[[str], bool] = lambda path: False) -> Tally:
    """Cuts the power so many times."""
    dice, tally = random.Random(seed), Tally()
    acknowledged = by_attempt(seen.steps, seen.attempts)
    begin = next((at for at, each in enumerate(seen.steps) if each.where.startswith("socket:")), 0)
    moments = sorted(dice.randrange(begin, len(seen.steps)) for _ in range(cuts))
    disk, done = Disk(seen.before, seen.after, deaf), 0
    for moment in bar(moments, len(moments), "power cuts"):
        replayed(disk, seen.steps[done:moment])
        done = moment
        at = seen.steps[moment].begun
        with TemporaryDirectory(prefix="innsyn-bench-") as name:
            disk.cut(Path(name), dice)
            _examine(Path(name), _known(seen.attempts, acknowledged, at), acknowledged, tally)
        tally.cuts += 1
    return tally


def _known(attempts: list[Attempt], answers: dict[str, Acknowledgement], at: int) -> list[Attempt]:
    """The attempts as they stood at this moment: acknowledged, or in doubt."""
    before = {
        each.message_id for each in attempts if each.message_id in answers and answers[each.message_id].begun < at
    }
    done = {unique_id for each in attempts if each.message_id in before for unique_id in each.unique_ids}
    return [
        replace(each, acknowledged=each.message_id in before)
        for each in attempts
        if not each.replaces or each.replaces in done
    ]


def _examine(folder: Path, attempts: list[Attempt], answers: dict[str, Acknowledgement], tally: Tally) -> None:
    mine = [each for each in attempts if each.acknowledged]
    tally.acknowledged += len(mine)
    path = folder / "innsyn.db"
    try:
        _opened(path)
        verdict = examined(path, attempts)
    except sqlite3.DatabaseError as broken:
        tally.corrupt.append(f"database: {broken}")
        return
    tally.lost += verdict.lost
    tally.torn += verdict.torn
    if verdict.integrity != "ok":
        tally.corrupt.append(f"database: {verdict.integrity[:200]}")
    try:
        recorded = _recovered(folder / "audit")
    except (RecordLost, segment.Broken) as broken:
        tally.corrupt.append(f"trail: {broken}")
        return
    for each in mine:
        for kind in (b'"kind":"registering"', b'"kind":"registered"'):
            wanted = (kind, answers[each.message_id].correlation.encode())
            if not any(all(part in event for part in wanted) for event in recorded):
                tally.unrecorded.append(f"{each.set_id} {kind.decode()}")


def _opened(path: Path) -> None:
    """Lets SQLite bring the file up to its log, as the next start of a node does."""
    database = sqlite3.connect(path)
    database.execute("SELECT count(*) FROM schema_version").fetchone()
    database.close()


def _recovered(folder: Path) -> list[bytes]:
    """Every event of the trail after the spool's own recovery, checked line by line. Raises RecordLost, Broken."""
    if not folder.is_dir():
        return []
    Spool(folder, "worker-1", reserve=0).close()
    return [
        line.event
        for several in segment.segments(folder).values()
        for each in several
        for line in segment.walk(segment.whole_lines(each.path.read_bytes())[0], each)
    ]
