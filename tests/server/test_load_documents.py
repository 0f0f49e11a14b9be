"""innsyn load: existing documents are judged like ITI-42, registered once whatever happens, and the rest is told."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from audit.search import verify
from registry.database.engine import open_database
from registry.database.tables import DECOY_KEY, document
from server import load_files
from server.config import Config
from server.load_journal import Journal
from simulators import source
from simulators.papers import history
from simulators.people import PEOPLE
from simulators.source import submit
from tests import loading
from tests.databases import fresh_database, text_of
from tests.nodes import STUB, node_here
from tests.server.place import ROOT, innsyn

LOAD = ("load", "--identity", "toolkit")


@dataclasses.dataclass
class Hospital:
    """A node, and a folder of what is to be loaded into it."""

    config: Config
    file: Path
    folder: Path

    def registered(self) -> int:
        database = open_database(self.config.database_url)
        with database.reading() as connection:
            count = sa.select(sa.func.count()).where(document.c.patient_key != DECOY_KEY)
            number = connection.execute(count).scalar_one()
        database.close()
        return int(number)

    def kinds(self) -> list[str]:
        return [
            json.loads(line)["event"]["kind"]
            for path in sorted(self.config.audit_folder.glob("load*.jsonl"))
            for line in path.read_text().splitlines()[1:]
        ]


def bodies(number: int, seed: int = 1) -> list[bytes]:
    return [each.body for each in itertools.islice(loading.submissions(number, seed), number)]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def hospital(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hospital]:
    """Nothing is loaded yet."""
    folder = tmp_path / "documents"
    (folder / "2020").mkdir(parents=True)
    for number, body in enumerate(bodies(24)):
        (folder / "2020" / f"{number:03}.xml").write_bytes(body)
    (folder / "README.txt").write_text("no submission")
    if request.param == "sqlite":
        yield Hospital(loading.node(tmp_path / "node"), tmp_path / "node" / "innsyn.toml", folder)
        return
    running: URL = request.getfixturevalue("server")
    with fresh_database(running) as url:
        section = '[validation]\ncodes = "codes.toml"'
        replaced = {section: f'[database]\nurl = "{text_of(url)}"'}
        config = loading.configured(tmp_path / "node", replaced, loading.CONFORMANCE)
        yield Hospital(config, tmp_path / "node" / "innsyn.toml", folder)


@pytest.fixture
def node(tmp_path: Path) -> Hospital:
    """Like `hospital`, on SQLite, with an empty folder."""
    (tmp_path / "documents").mkdir()
    return Hospital(loading.node(tmp_path / "node"), tmp_path / "node" / "innsyn.toml", tmp_path / "documents")


def test_a_folder_is_registered_and_a_second_load_has_nothing_to_do(hospital: Hospital) -> None:
    told = innsyn(hospital.file, *LOAD, str(hospital.folder))
    assert (told.exit_code, told.stdout) == (0, "24 files are registered; 0 are not\n"), told.output
    assert hospital.registered() == 24
    assert sorted(hospital.kinds()) == ["registered"] * 24 + ["registering"] * 24
    assert verify(hospital.config.audit_folder).findings == ()
    told = innsyn(hospital.file, *LOAD, str(hospital.folder))
    assert (told.exit_code, told.stdout) == (0, "0 files are registered, 24 were before; 0 are not\n")
    assert len(hospital.kinds()) == 48
    # Without the journal everything is sent again, and nothing is written twice.
    (hospital.config.node.state / "load.jsonl").unlink()
    assert innsyn(hospital.file, *LOAD, str(hospital.folder)).exit_code == 0
    assert (hospital.registered(), hospital.kinds().count("resend")) == (24, 24)


def test_what_is_refused_is_reported_by_rule_and_the_exit_status_says_so(hospital: Hospital, tmp_path: Path) -> None:
    good, foreign, bare, broken = bodies(4, seed=2)
    place = hospital.folder / "2020"
    (place / "100.xml").write_bytes(foreign.replace(STUB.encode(), b"2.999.1"))
    (place / "101.xml").write_bytes(bare.replace(b'name="hash"', b'name="urn:hospital:hash"'))
    (place / "102.xml").write_bytes(broken[:-20])
    (place / "103.xml").write_bytes(b"<note/>")
    report = tmp_path / "refused.csv"
    told = innsyn(hospital.file, *LOAD, str(hospital.folder), "--report", str(report))
    assert (told.exit_code, told.stdout) == (1, "24 files are registered; 4 are not\n")
    rows = {Path(row["file"]).name: row for row in csv.DictReader(io.StringIO(report.read_text()))}
    assert {name: (row["outcome"], row["rule"]) for name, row in rows.items()} == {
        "100.xml": ("refused", "own-repository"),
        "101.xml": ("refused", "needed-attribute"),
        "102.xml": ("unreadable", ""),
        "103.xml": ("unreadable", ""),
    }
    assert "1 x own-repository" in told.stderr
    assert report.stat().st_mode & 0o077 == 0
    (place / "100.xml").write_bytes(good)
    for name in ("101.xml", "102.xml", "103.xml"):
        (place / name).unlink()
    told = innsyn(hospital.file, *LOAD, str(hospital.folder), "--report", str(tmp_path / "rest.jsonl"))
    assert (told.exit_code, told.stdout) == (0, "1 files are registered, 24 were before; 0 are not\n")
    assert (tmp_path / "rest.jsonl").read_text() == ""


def test_a_killed_load_goes_on_and_registers_nothing_twice(node: Hospital) -> None:
    for number, body in enumerate(bodies(60)):
        (node.folder / f"{number:03}.xml").write_bytes(body)
    words = [*LOAD, str(node.folder), "--config", str(node.file)]
    running = subprocess.Popen([sys.executable, "-m", "server.cli", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    while len(node.kinds()) < 20 and running.poll() is None:
        time.sleep(0.02)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    told = innsyn(node.file, *LOAD, str(node.folder))
    assert told.exit_code == 0, told.output
    assert node.registered() == 60
    kinds = node.kinds()
    # What the kill left without an outcome was settled by the next load.
    assert kinds.count("registering") == kinds.count("registered") + kinds.count("resend") + kinds.count("failed")


def test_an_interrupted_load_ends_what_it_began_and_says_so(node: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, body in enumerate(bodies(60)):
        (node.folder / f"{number:03}.xml").write_bytes(body)

    @contextmanager
    def interrupting() -> Iterator[Callable[[str, int, int | None], None]]:
        def shown(what: str, done: int, total: int | None) -> None:
            assert (what, total) == ("loading", 60)
            if done == 5:
                signal.raise_signal(signal.SIGINT)

        yield shown

    monkeypatch.setattr("server.load.WAITING", 1)
    monkeypatch.setattr("server.commands.load.progress", interrupting)
    told = innsyn(node.file, *LOAD, str(node.folder))
    assert (told.exit_code, "start it again to go on" in told.stderr) == (1, True), told.output
    assert 5 <= node.registered() < 60
    assert node.registered() == int(told.stdout.split()[0])
    monkeypatch.undo()
    assert innsyn(node.file, *LOAD, str(node.folder)).exit_code == 0
    assert node.registered() == 60


def test_a_load_works_beside_a_node_that_registers(hospital: Hospital) -> None:
    others, stop = iter(list(itertools.islice(loading.submissions(300, seed=4), 300))), threading.Event()
    sent = [0]

    def send(url: str) -> None:
        while not stop.is_set():
            assert submit(f"{url}/xds/registry", next(others), None).status.endswith("Success")
            sent[0] += 1

    with node_here(hospital.config) as here:
        sender = threading.Thread(target=send, args=(here.url,))
        sender.start()
        try:
            told = innsyn(hospital.file, *LOAD, str(hospital.folder))
        finally:
            stop.set()
            sender.join()
    assert told.exit_code == 0, told.output
    assert sent[0] > 0
    assert hospital.registered() == 24 + sent[0]


def test_a_file_that_refers_to_a_later_one_goes_in_after_it(node: Hospital) -> None:
    old, new = history(PEOPLE[0], 2, 7)
    repository = old.source.repository_unique_id.encode()
    of_new = dataclasses.replace(new, source=old.source, department=old.department)
    replacing = source.submission([of_new], replaces={of_new.unique_id: old.entry_uuid})
    for name, sent in (("1.xml", replacing), ("2.xml", source.submission([old]))):
        (node.folder / name).write_bytes(sent.body.replace(b">%b<" % repository, f">{STUB}<".encode()))
    told = innsyn(node.file, *LOAD, str(node.folder))
    assert (told.exit_code, told.stdout) == (0, "2 files are registered; 0 are not\n"), told.output


def test_archives_and_soap_messages_are_read_too(node: Hospital, tmp_path: Path) -> None:
    bare, wrapped, single = bodies(3)
    for name, mode in (("a.tar", "w"), ("b.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:  # type: ignore[call-overload]
            content = bare if mode == "w" else source.envelope(wrapped, "http://x/", "urn:uuid:1")
            member = tarfile.TarInfo("inside/one.xml")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (tmp_path / "single").write_bytes(single)
    paths = [tmp_path / "a.tar", tmp_path / "b.tar.gz", tmp_path / "single"]
    assert load_files.count(paths[:1]) == 1
    told = innsyn(node.file, *LOAD, *map(str, paths))
    assert (told.exit_code, told.stdout) == (0, "3 files are registered; 0 are not\n"), told.output
    told = innsyn(node.file, *LOAD, str(tmp_path / "none"))
    assert told.exit_code == 1
    assert "No such file" in told.stderr


def test_shares_take_each_patient_once(node: Hospital) -> None:
    for number, body in enumerate(bodies(24)):
        (node.folder / f"{number}.xml").write_bytes(body)
    counts = []
    for share in ("1/3", "2/3", "3/3"):
        told = innsyn(node.file, *LOAD, str(node.folder), "--share", share)
        assert told.exit_code == 0, told.output
        counts.append(int(told.stdout.split()[0]))
    assert sum(counts) == node.registered() == 24
    assert max(counts) < 24
    assert innsyn(node.file, *LOAD, str(node.folder), "--share", "4/3").exit_code == 2


def test_who_may_not_register_loads_nothing(node: Hospital) -> None:
    (node.folder / "1.xml").write_bytes(bodies(1)[0])
    told = innsyn(node.file, "load", "--identity", "nobody", str(node.folder))
    assert (told.exit_code, "there is no [identity.nobody]" in told.stderr) == (2, True)
    assert node.registered() == 0


def test_a_load_that_cannot_be_recorded_ends_and_says_so(node: Hospital) -> None:
    for number, body in enumerate(bodies(40)):
        (node.folder / f"{number}.xml").write_bytes(body)
    text = node.file.read_text()
    node.file.write_text(f"{text}\n[audit]\nreserve_mib = 1000000000\n")
    told = innsyn(node.file, *LOAD, str(node.folder))
    assert told.exit_code == 1
    assert "the load ended early: The exchange could not be recorded" in told.stderr
    assert node.registered() == 0


def test_a_journal_survives_a_line_that_was_cut_short(node: Hospital, tmp_path: Path) -> None:
    (node.folder / "1.xml").write_bytes(bodies(1)[0])
    assert innsyn(node.file, *LOAD, str(node.folder)).exit_code == 0
    path = node.config.node.state / "load.jsonl"
    whole = path.read_text()
    path.write_text(whole + whole[:40])
    journal = Journal(path)
    assert len(journal.registered) == 1
    journal.close()
    told = innsyn(node.file, *LOAD, str(node.folder))
    assert told.stdout == "0 files are registered, 1 were before; 0 are not\n"
