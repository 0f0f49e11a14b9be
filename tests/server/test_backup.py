"""server.backup: a node that is lost comes back with all it had acknowledged, and says what it cannot know."""

from __future__ import annotations

import itertools
import json
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from registry.blocks import BlockBook
from registry.database.engine import open_database
from server.config import Config
from server.settings import load
from simulators.source import submit
from tests import loading
from tests.databases import fresh_database, text_of
from tests.nodes import node_here
from tests.registry.submissions import CX
from tests.server.place import innsyn

SUCCESS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"


@dataclass
class Place:
    """A node, and where it may come back."""

    config: Config
    lost: Path
    """Configuration of the node that is lost."""
    back: Path
    """Where its configuration comes back."""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A node with a registry on either database."""
    if request.param == "sqlite":
        config = loading.node(tmp_path / "lost")
        yield Place(config, tmp_path / "lost" / "innsyn.toml", tmp_path / "back" / "innsyn.toml")
        return
    running: URL = request.getfixturevalue("server")
    with fresh_database(running) as url, fresh_database(running) as other:
        section = '[validation]\ncodes = "codes.toml"'
        config = loading.configured(
            tmp_path / "lost", {section: f'[database]\nurl = "{text_of(url)}"'}, loading.CONFORMANCE
        )
        back = tmp_path / "back" / "innsyn.toml"
        back.parent.mkdir()
        back.write_text((tmp_path / "lost" / "innsyn.toml").read_text().replace(text_of(url), text_of(other)))
        yield Place(config, tmp_path / "lost" / "innsyn.toml", back)


def test_a_node_saved_under_load_comes_back_with_what_it_acknowledged(place: Place, tmp_path: Path) -> None:
    sent = iter(list(loading.submissions(500)))
    turn, acknowledged, stop = threading.Lock(), [], threading.Event()
    kept = tmp_path / "kept"

    def send(url: str) -> None:
        while not stop.is_set():
            time.sleep(0.005)
            with turn:
                each = next(sent)
            assert submit(f"{url}/xds/registry", each, None).status == SUCCESS
            acknowledged.append(each)

    with node_here(place.config) as here:
        senders = [threading.Thread(target=send, args=(here.url,)) for _ in range(2)]
        for sender in senders:
            sender.start()
        while len(acknowledged) < 20:
            time.sleep(0.01)
        before = list(acknowledged)
        try:
            made = innsyn(place.lost, "backup", str(kept))
        finally:
            stop.set()
            for sender in senders:
                sender.join()
        assert made.exit_code == 0, made.output
        assert innsyn(place.lost, "block", "set", CX, "--kind", "visit_history").exit_code == 0
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept.rglob("*") if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept.rglob("*") if path.is_dir()} == {0o700}
    shutil.rmtree(place.lost.parent)

    restored = innsyn(place.back, "restore", str(kept))
    assert restored.exit_code == 0, restored.output
    assert "bodies can be read" in restored.stdout
    assert innsyn(place.back, "audit", "verify").exit_code == 0
    config = load(place.back)
    with node_here(config) as here:
        # Sent again, what is there writes nothing, and what is not is registered: nobody needs to know which.
        for each in acknowledged:
            assert submit(f"{here.url}/xds/registry", each, None).status == SUCCESS
    kinds = [
        json.loads(line)["event"]["kind"]
        for path in sorted(config.audit_folder.glob("worker-1.*.jsonl"))
        for line in path.read_text().splitlines()[1:]
    ]
    assert kinds.count("resend") >= len(before)
    told = kinds.count("registered") - kinds.count("resend")
    assert told >= 0
    assert innsyn(place.back, "restore", str(kept)).exit_code == 1


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A finished backup of a node that was lost, beside whose folder nothing stands."""
    config = loading.node(tmp_path / "lost")
    (config.node.state / "keys").mkdir()
    (config.node.state / "keys" / "seal.key").write_text("secret")
    with node_here(config) as here:
        for each in itertools.islice(loading.submissions(3), 3):
            assert submit(f"{here.url}/xds/registry", each, None).status == SUCCESS
    path = tmp_path / "lost" / "innsyn.toml"
    assert innsyn(path, "block", "set", CX, "--kind", "visit_history").exit_code == 0
    told = innsyn(path, "backup", str(tmp_path / "kept"))
    assert told.exit_code == 0, told.output
    shutil.copytree(tmp_path / "lost", tmp_path / "later")
    shutil.rmtree(tmp_path / "lost")
    return tmp_path / "kept"


def test_configuration_policy_blocks_and_keys_come_back(small: Path, tmp_path: Path) -> None:
    back = tmp_path / "back" / "innsyn.toml"
    told = innsyn(back, "restore", str(small))
    assert told.exit_code == 0, told.output
    assert stat.S_IMODE(back.stat().st_mode) == 0o600
    assert innsyn(back, "policy", "check").exit_code == 0
    assert (back.parent / "state" / "keys" / "seal.key").read_text() == "secret"
    database = open_database(load(back).database_url)
    assert len(BlockBook(database).list(CX)) == 1
    database.close()


def test_what_was_done_after_the_database_was_saved_is_told(small: Path, tmp_path: Path) -> None:
    """The trail is saved after the database: here, by as much as a registration and a block."""
    later = tmp_path / "later" / "innsyn.toml"
    config = load(later)
    (sent,) = itertools.islice(loading.submissions(4), 3, 4)
    with node_here(config) as here:
        assert submit(f"{here.url}/xds/registry", sent, None).status == SUCCESS
    assert innsyn(later, "block", "set", CX, "--kind", "reservation").exit_code == 0
    manifest = json.loads((small / "manifest.json").read_text())
    again = tmp_path / "again"
    assert innsyn(later, "backup", str(again)).exit_code == 0
    newer = json.loads((again / "manifest.json").read_text())
    shutil.rmtree(again / "database")
    shutil.copytree(small / "database", again / "database")
    files = {name: told for name, told in newer["files"].items() if not name.startswith("database/")}
    files |= {name: told for name, told in manifest["files"].items() if name.startswith("database/")}
    newer |= {"database": manifest["database"], "taken_at": manifest["taken_at"], "files": files}
    (again / "manifest.json").write_text(json.dumps(newer))
    told = innsyn(tmp_path / "back" / "innsyn.toml", "restore", str(again))
    assert told.exit_code == 0, told.output
    assert "1 exchanges were acknowledged after the database was saved" in told.stderr
    assert sent.unique_id in told.stderr
    assert "1 blocks were set or lifted" in told.stderr


def test_a_backup_that_is_not_whole_is_not_restored(small: Path, tmp_path: Path) -> None:
    back = tmp_path / "back" / "innsyn.toml"
    database = small / "database" / "innsyn.db"
    whole = database.read_bytes()
    database.write_bytes(whole[:-1] + b"x")
    assert "innsyn.db is not as it was written" in innsyn(back, "restore", str(small)).stderr
    database.write_bytes(whole)
    (small / "audit" / "worker-9.head").write_text("{}")
    assert "worker-9.head is no part of the backup" in innsyn(back, "restore", str(small)).stderr
    (small / "audit" / "worker-9.head").unlink()
    head = small / "audit" / "worker-1.head"
    head.rename(tmp_path / "head")
    assert "worker-1.head is missing" in innsyn(back, "restore", str(small)).stderr
    (tmp_path / "head").rename(head)
    (small / "manifest.json").rename(tmp_path / "manifest")
    assert "no finished backup" in innsyn(back, "restore", str(small)).stderr
    (tmp_path / "manifest").rename(small / "manifest.json")
    assert not back.exists()
    assert innsyn(back, "restore", str(small)).exit_code == 0


def test_a_place_that_is_not_empty_is_left_as_it_is(small: Path, tmp_path: Path) -> None:
    later = tmp_path / "later" / "innsyn.toml"
    before = {path: path.read_bytes() for path in later.parent.rglob("*") if path.is_file()}
    told = innsyn(later, "restore", str(small))
    assert "holds an audit trail already" in told.stderr
    for path in (later.parent / "state" / "audit").iterdir():
        path.unlink()
    shutil.rmtree(later.parent / "state" / "keys")
    assert "there is a registry at" in innsyn(later, "restore", str(small)).stderr
    assert (later.parent / "state" / "innsyn.db").read_bytes() == before[later.parent / "state" / "innsyn.db"]
    assert "is not empty" in innsyn(later, "backup", str(small)).stderr
