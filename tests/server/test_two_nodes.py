"""Two nodes on one database: what is done at one holds at the other, from its next answer on."""

from __future__ import annotations

import dataclasses
import http.client
import itertools
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from audit import spool
from audit.event import RecordLost
from audit.search import verify
from ihe.names import Action, Code
from policy.reading import read
from server.check import policy_texts
from server.settings import load
from server.wiring import Node
from simulators import source
from simulators.consumer import envelope, find_documents
from simulators.papers import history
from simulators.people import PEOPLE
from simulators.source import Outcome, Submission, submit
from tests import loading
from tests.databases import fresh_database, text_of
from tests.nodes import STUB, free_port, serving
from tests.server.place import innsyn

PATIENT = PEOPLE[0]


@dataclass(frozen=True)
class Served:
    """One node: its own folder and processes, and the database of both."""

    config: Path
    address: str

    def send(self, sent: Submission) -> Outcome:
        return submit(f"http://{self.address}/xds/registry", sent, None)

    def finds(self) -> set[str]:
        """uniqueIds of what this node shows of the patient."""
        connection = http.client.HTTPConnection(self.address, timeout=20)
        message = envelope(Action.QUERY, find_documents(PATIENT.patient_id), None)
        connection.request("POST", "/xds/registry", message, {"Content-Type": "application/soap+xml; charset=UTF-8"})
        answer = connection.getresponse().read().decode()
        connection.close()
        assert "ResponseStatusType:Success" in answer, answer
        return set(re.findall(r'value="([0-9.]+)"><Name><LocalizedString[^>]*XDSDocumentEntry.uniqueId', answer))


@pytest.fixture
def nodes(server: URL, tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    """Both serve, with nothing registered when they started."""
    folder = tmp_path
    with ExitStack() as stack:
        url = text_of(stack.enter_context(fresh_database(server)))
        made = []
        for name in ("a", "b"):
            address = f"127.0.0.1:{free_port()}"
            replaced = {
                '[validation]\ncodes = "codes.toml"': f'[database]\nurl = "{url}"',
                "127.0.0.1:8080": address,
                'name = "conformance"': f'name = "{name}"',
            }
            loading.configured(folder / name, replaced, loading.CONFORMANCE)
            config = folder / name / "innsyn.toml"
            config.chmod(0o600)
            stack.enter_context(serving(config, f"http://{address}", folder / name / "node.log"))
            made.append(Served(config, address))
        yield made[0], made[1]
    for each in made:
        assert verify(load(each.config).audit_folder).findings == ()
        assert "Traceback" not in (each.config.parent / "node.log").read_text()


_turns = itertools.count(1)


def papers(number: int, replaces: Submission | None = None) -> list[Submission]:
    """New documents of the patient, each replacing the same one if it is given."""
    made = []
    for _ in range(number):
        (paper,) = history(PATIENT, 1, 50_000 + next(_turns))
        old = {paper.unique_id: replaces.papers[0].entry_uuid} if replaces else None
        sent = source.submission([paper], replaces=old)
        repository = paper.source.repository_unique_id.encode()
        body = sent.body.replace(b">%b<" % repository, f">{STUB}<".encode())
        made.append(dataclasses.replace(sent, body=body))
    return made


def unique_id(sent: Submission) -> str:
    return sent.papers[0].unique_id


def _what_is_registered_at_one_is_seen_and_known_at_the_other(nodes: tuple[Served, Served]) -> None:
    one, other = nodes
    (first,) = papers(1)
    assert one.send(first).status.endswith("Success")
    # With codes that the other node has never met.
    assert unique_id(first) in other.finds()
    assert other.send(first).status.endswith("Success")
    (newer,) = papers(1, replaces=first)
    assert other.send(newer).status.endswith("Success")
    found = one.finds()
    assert unique_id(newer) in found
    assert unique_id(first) not in found


def _of_replacements_sent_to_both_at_once_one_wins(nodes: tuple[Served, Served]) -> None:
    (old,) = papers(1)
    assert nodes[0].send(old).status.endswith("Success")
    outcomes: list[str] = []
    start = threading.Barrier(6)

    def race(node: Served, sent: Submission) -> None:
        start.wait()
        told = node.send(sent)
        outcomes.append(told.status.rpartition(":")[2] or told.fault)
        outcomes.extend(each.code for each in told.errors)

    threads = [
        threading.Thread(target=race, args=(nodes[number % 2], sent))
        for number, sent in enumerate(papers(6, replaces=old))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == sorted(["Success", *["Failure", Code.REGISTRY_DEPRECATED_DOCUMENT.value] * 5])


def _a_block_set_at_one_holds_at_the_others_next_answer(nodes: tuple[Served, Served]) -> None:
    one, other = nodes
    (sent,) = papers(1)
    assert other.send(sent).status.endswith("Success")
    assert unique_id(sent) in other.finds()
    told = innsyn(one.config, "block", "set", PATIENT.patient_id, "--kind", "visit_history")
    assert told.exit_code == 0, told.output
    assert other.finds() == set()
    assert one.finds() == set()
    lifted = innsyn(other.config, "block", "lift", PATIENT.patient_id, told.stdout.split()[1])
    assert lifted.exit_code == 0, lifted.output
    assert unique_id(sent) in one.finds()


@pytest.mark.postgresql
def test_two_nodes_on_one_database_act_as_one(nodes: tuple[Served, Served]) -> None:
    _what_is_registered_at_one_is_seen_and_known_at_the_other(nodes)
    _of_replacements_sent_to_both_at_once_one_wins(nodes)
    _a_block_set_at_one_holds_at_the_others_next_answer(nodes)


def test_nodes_may_have_workers_of_the_same_name_but_not_one_trail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = loading.node(tmp_path)
    policy = read(policy_texts(config.node.policy), config.node.open_agreements, 1)
    monkeypatch.setattr(spool, "LOCK_SECONDS", 0.05)
    first = Node(config, 1, policy)
    try:
        with pytest.raises(RecordLost, match="another process writes this worker's audit spool"):
            Node(config, 1, policy)
    finally:
        first.database.close()
        first.audit.close()
