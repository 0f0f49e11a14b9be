"""Registries of realistic shape and size, made once and kept: 100 000 or 1 000 000 entries, on SQLite and PostgreSQL.

The number of entries per patient is log-normal with a mean of about 50; some patients have exactly 10, 20, 100, 1 000
or 5 000. Entries come in the order of life, that is, shuffled over the patients, each with its own SubmissionSet,
association, directory rows and claims, and with a body of its own, deflated as the registry does it. Rows are copies of
what the store itself wrote for a few submissions, so that a column added to the tables is in them by itself.

They are kept below the system's folder for temporary files (or INNSYN_BENCH_CACHE), under a name that changes with the
seed and with version and text of the tables.
"""

from __future__ import annotations

import gc
import hashlib
import math
import os
import random
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from bench.place import OUS, people
from bench.progress import bar
from ihe import ebrim, xml
from registry.database import tables
from registry.database.bodies import Bodies
from registry.database.engine import open_database
from registry.database.rows import microseconds
from registry.database.tables import patient_key, uid_hash
from registry.migrations import SCHEMA_VERSION, migrate
from registry.store import Store
from simulators.papers import PILOT, paper
from simulators.people import PEOPLE, Person
from simulators.source import submission

SEED = 20210215
MEAN, SIGMA = 50.0, 1.1
"""Entries per patient; with this sigma one patient in a hundred has more than 350."""
EXACT = {20: 64, 10: 8, 100: 8, 1000: 4, 5000: 2}
"""How many patients have exactly so many entries; those with 20 are the ones that P1, P2 and P7 ask about."""
PATTERNS = 24
FORM = 1
"""To be raised where the same numbers would give other rows."""
BATCH = 20_000
"""Entries per transaction."""
BEGIN = datetime(2019, 1, 1, tzinfo=UTC)
SECOND_PER_ENTRY = timedelta(seconds=37)
ORDER = (
    tables.patient,
    tables.document,
    tables.submission_set,
    tables.association,
    tables.object_dir,
    tables.uid_claim,
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """Who has how many entries; the same for the same count."""

    patients: tuple[Person, ...]
    counts: tuple[int, ...]

    def having(self, entries: int) -> list[Person]:
        """The patients that were made to have exactly so many."""
        return [who for who, count in zip(self.patients, self.counts, strict=True) if count == entries][
            : EXACT[entries]
        ]


@cache
def shape(count: int) -> Shape:
    """`count` entries in all."""
    dice = random.Random(SEED)
    counts = [size for size, times in EXACT.items() for _ in range(times) if size * times <= count // 3]
    left = count - sum(counts)
    while left > 0:
        drawn = min(left, max(1, round(dice.lognormvariate(math.log(MEAN) - SIGMA**2 / 2, SIGMA))))
        counts.append(drawn)
        left -= drawn
    return Shape(tuple(people(len(counts))), tuple(counts))


class Pattern:
    """One submission of one entry as the store wrote it, of which others are made by changing what differs."""

    def __init__(self, rows: Mapping[sa.Table, Row], bodies: Bodies, person: Person, content_hash: str) -> None:
        self._rows = rows
        self._bodies = bodies
        entry, sent = rows[tables.document], rows[tables.submission_set]
        self._set = sent
        self._known = (entry["unique_id"].encode(), person.number.encode(), content_hash.encode())
        self._body = bodies.inflate(entry["codec"], entry["body"])

    def rows(self, number: int, key: int, person: Person) -> dict[sa.Table, Row]:
        """The rows of the `number`-th entry of all."""
        unique_id, set_id = f"{OUS.unique_ids}.90.{number}", f"{OUS.unique_ids}.91.{number}"
        seed = hashlib.sha256(b"%d" % number).digest()
        entry, sent, member = (uuid.UUID(bytes=seed[at : at + 16], version=4).bytes for at in (0, 8, 16))
        content_hash = hashlib.sha1(seed, usedforsecurity=False).hexdigest()
        at = microseconds(BEGIN + number * SECOND_PER_ENTRY)
        body = self._body
        for old, new in zip(self._known, (unique_id, person.number, content_hash), strict=True):
            body = body.replace(old, new.encode())
        codec, deflated = self._bodies.deflate(body)
        common = {"patient_key": key, "registered_at": at, "submission_uuid": sent}
        own = {"entry_uuid": entry, "lid": entry, "unique_id": unique_id, "hash": content_hash, "codec": codec}
        claim, listed = self._rows[tables.uid_claim], self._rows[tables.object_dir]
        first = {**listed, "entry_uuid": entry, "patient_key": key, "uid_hash": uid_hash(unique_id)}
        return {
            tables.document: {**self._rows[tables.document], **common, **own, "body": deflated},
            tables.submission_set: {**self._set, **_of(self._set, common), "entry_uuid": sent, "unique_id": set_id},
            tables.association: {
                **self._rows[tables.association], "patient_key": key, "entry_uuid": member, "source": sent,
                "target": entry, "submission_uuid": sent,
            },
            tables.object_dir: first,
            tables.uid_claim: {
                **claim, "uid_hash": first["uid_hash"], "patient_key": key, "entry_uuid": entry, "hash": content_hash,
            },
        }  # fmt: skip

    def beside(self, made: Mapping[sa.Table, Row]) -> tuple[list[Row], list[Row]]:
        """The directory's and the claims' rows of the SubmissionSet and of the association."""
        sent, member = made[tables.submission_set], made[tables.association]
        key, blank = sent["patient_key"], {**made[tables.object_dir], "uid_hash": b""}
        listed = [
            {**blank, "entry_uuid": each["entry_uuid"], "kind": int(kind)}
            for each, kind in ((sent, tables.ObjectKind.SUBMISSION_SET), (member, tables.ObjectKind.ASSOCIATION))
        ]
        claim = {
            **made[tables.uid_claim], "uid_hash": uid_hash(sent["unique_id"]), "patient_key": key,
            "kind": int(tables.ObjectKind.SUBMISSION_SET), "entry_uuid": sent["entry_uuid"], "hash": "", "size": None,
        }  # fmt: skip
        return listed, [claim]

    def beside_member(self, made: Mapping[sa.Table, Row]) -> list[Row]:
        """The directory's row of the association alone, for an entry that joins an earlier SubmissionSet."""
        kind = int(tables.ObjectKind.ASSOCIATION)
        member = made[tables.association]["entry_uuid"]
        return [{**made[tables.object_dir], "uid_hash": b"", "entry_uuid": member, "kind": kind}]


def patterns() -> list[Pattern]:
    """The patterns by themselves, for rows that are put somewhere else."""
    with tempfile.TemporaryDirectory(prefix="innsyn-bench-") as folder:
        database = open_database(f"sqlite:///{folder}/patterns.db", create=True)
        try:
            migrate(database)
            return _patterns(Store(database), database)
        finally:
            database.close()


def _of(row: Row, values: Row) -> Row:
    return {name: value for name, value in values.items() if name in row}


def kept() -> Path:
    """The folder of all that is made once."""
    folder = Path(os.environ.get("INNSYN_BENCH_CACHE") or Path(tempfile.gettempdir()) / f"innsyn-bench-{os.getuid()}")
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder


def name(count: int) -> str:
    """What a registry of this size is called: another seed or another table is another registry."""
    text = "".join(str(CreateTable(table)) for table in tables.metadata.sorted_tables)
    text += f"{SEED} {MEAN} {SIGMA} {EXACT} {PATTERNS} {FORM}"
    return f"entries_{count}_v{SCHEMA_VERSION}_{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def on_sqlite(count: int) -> Path:
    """The file of a registry with `count` entries, made now if there is none. Nobody may write to it: copy it."""
    path = kept() / f"{name(count)}.db"
    if path.exists():
        return path
    for old in kept().glob(f"entries_{count}_v*"):
        old.unlink()
    making = path.with_suffix(f".{os.getpid()}.making")
    database = open_database(f"sqlite:///{making}", create=True)
    try:
        migrate(database)
        patterns = _patterns(Store(database), database)
        with database.engine.connect() as connection:
            # It is made again if this is interrupted, so nothing needs to be durable before the end.
            driver: Any = connection.connection.driver_connection
            for pragma in ("synchronous=off", "cache_size=-2000000", "wal_autocheckpoint=200000", "mmap_size=0"):
                driver.execute(f"PRAGMA {pragma}")
            # Millions of short-lived rows and no cycles: collections would take half of the time.
            gc.disable()
            try:
                _fill(connection, count, patterns)
            finally:
                gc.enable()
        database.checkpoint()
    finally:
        database.close()
    for rest in kept().glob(f"{making.name}?*"):
        rest.unlink()
    making.replace(path)
    return path


def _patterns(store: Store, database: Any) -> list[Pattern]:
    """Submissions of all kinds that the pilot shares, registered, read back, and taken out again."""
    patient, now = PEOPLE[0], datetime.now(UTC)
    kinds = sorted(PILOT)
    with database.reading() as connection:
        bodies = Bodies.read(connection)
    found = []
    for number in range(PATTERNS):
        written = paper(patient, OUS, kinds[number % len(kinds)], number)
        body = ebrim.repair(xml.read(submission([written], tell_signing=True).body))
        sent = ebrim.metadata(ebrim.read_submission(body), lambda: f"urn:uuid:{uuid.uuid4()}")
        store.register(sent, "ous", now)
        with database.engine.begin() as connection:
            rows = {table: _only(connection, table, patient) for table in ORDER[1:]}
            found.append(Pattern(rows, bodies, patient, written.hash))
            for table in ORDER[1:]:
                connection.execute(table.delete().where(table.c.patient_key == patient_key(patient.patient_id)))
    return found


def _only(connection: sa.Connection, table: sa.Table, patient: Person) -> Row:
    wanted = sa.select(table).where(table.c.patient_key == patient_key(patient.patient_id))
    if "kind" in table.c:
        wanted = wanted.where(table.c.kind == int(tables.ObjectKind.DOCUMENT))
    return dict(connection.execute(wanted).mappings().one())


def _fill(connection: sa.Connection, count: int, patterns: list[Pattern]) -> None:
    made = shape(count)
    whose = [place for place, entries in enumerate(made.counts) for _ in range(entries)]
    random.Random(SEED).shuffle(whose)
    keys = [patient_key(each.patient_id) for each in made.patients]
    batches = range(0, count, BATCH)
    connection.execute(tables.patient.insert(), list(_people(made, keys)))
    connection.commit()
    for begin in bar(batches, len(batches), f"making {count:,} entries, {BATCH:,} at a time,"):
        rows: dict[sa.Table, list[Row]] = {table: [] for table in ORDER[1:]}
        for number in range(begin, min(begin + BATCH, count)):
            place = whose[number]
            pattern = patterns[number % len(patterns)]
            one = pattern.rows(number, keys[place], made.patients[place])
            for table, row in one.items():
                rows[table].append(row)
            listed, claims = pattern.beside(one)
            rows[tables.object_dir] += listed
            rows[tables.uid_claim] += claims
        for table, several in rows.items():
            connection.execute(table.insert(), several)
        connection.commit()


def _people(made: Shape, keys: list[int]) -> Iterator[Row]:
    for key, who in zip(keys, made.patients, strict=True):
        yield {"patient_key": key, "patient_id": who.patient_id, "survivor": who.patient_id, "survivor_key": key}
