"""What is listed can be fetched, and nothing else: a retrieve decided on a real registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from ihe import soap, xml
from ihe.names import Action, AssociationType, QueryId, Status
from ihe.retrieval import DocumentRequest
from policy.agreements import Policy, SigningGate
from policy.facts import Peer, Reason, Subject
from registry.blocks import BlockBook
from registry.database.engine import open_database
from registry.database.statements import Prepared
from registry.desk import Desk as RegistryDesk
from registry.migrations import migrate
from registry.query import answer_query
from registry.store import Store
from repository_proxy.desk import Desk
from repository_proxy.plan import Fetch
from repository_proxy.repositories import Hospital, Routes
from repository_proxy.retrieve import Release, prepare
from simulators.consumer import adhoc_query
from tests.policy.casebook import block, cx, person, pilot
from tests.registry.desks import OUS, SUMMARY
from tests.registry.submissions import entry, relation, submission
from tests.repository_proxy.ports import MACHINE, NOW, PATIENT, Clock, Trail, make_policy
from tests.repository_proxy.stage import request

REPOSITORY = OUS
PEER = Peer("test", "127.0.0.1", "", "c" * 32)
HERE = {"repository_unique_id": REPOSITORY, "patient_id": PATIENT}
BEFORE = NOW - timedelta(days=1)


class Registry:
    """A real registry on SQLite, asked as listing and as retrieve by the same caller."""

    def __init__(self, store: Store, book: BlockBook, policy: Policy) -> None:
        self.store, self.book, self.policy = store, book, policy
        self.trail = Trail()
        self.subject: Subject = MACHINE

    def lists(self, entry_uuid: str) -> bool:
        desk = RegistryDesk(
            clock=Clock(),
            identify=lambda call, peer, now: self.subject,
            rules=lambda: self.policy,
            blocks=self.book,
            store=self.store,
            audit=self.trail,
            home="",
        )
        body = adhoc_query(QueryId.GET_DOCUMENTS, [("$XDSDocumentEntryEntryUUID", f"('{entry_uuid}')")], "ObjectRef")
        call = soap.Call(Action.QUERY, xml.read(body), None, "urn:uuid:m", soap.Packaging.SIMPLE)
        return entry_uuid.encode() in answer_query(call, PEER, desk).body

    def retrieve(self, *unique_ids: str) -> Release:
        desk = Desk(
            clock=Clock(),
            identify=lambda call, peer, now: self.subject,
            rules=lambda: self.policy,
            blocks=self.book,
            lookup=self.store,
            audit=self.trail,
            routes=Routes([Hospital("ous", (REPOSITORY,), "http://127.0.0.1:9/", "none")]),
            upstreams={},
        )
        content_type, raw = request([DocumentRequest("", REPOSITORY, each) for each in unique_ids], soap.Packaging.MTOM)
        return prepare(soap.read_call(raw, content_type, frozenset(Action)), PEER, desk)

    def fetches(self, unique_id: str) -> bool:
        return isinstance(self.retrieve(unique_id).plan.steps[0], Fetch)


@contextmanager
def registry(folder: Path, **changes: object) -> Iterator[Registry]:
    database = open_database(f"sqlite:///{folder}/registry.db", create=True)
    migrate(database)
    policy = make_policy([REPOSITORY])
    agreements = {name: replace(each, **changes) for name, each in policy.agreements.items()}  # type: ignore[arg-type]
    try:
        yield Registry(Store(database), BlockBook(database), replace(policy, agreements=agreements))
    finally:
        database.close()


@pytest.mark.parametrize("hidden", [False, True])
def test_where_replaced_versions_are_shared_one_is_fetched_and_listed_only_with_its_replacement(
    tmp_path: Path, hidden: bool
) -> None:
    both = frozenset(Status)
    with registry(tmp_path, availability=both, signing=SigningGate.SIGNED) as here:
        old, plain = entry(**HERE), entry(**HERE)
        new = entry(**HERE, legal_authenticator="" if hidden else "1^Hansen^Kari")
        here.store.register(submission(old, plain, patient_id=PATIENT), "ous", BEFORE)
        rplc = relation(AssociationType.RPLC, new.entry_uuid, old.entry_uuid)
        here.store.register(submission(new, relations=(rplc,), patient_id=PATIENT), "ous", BEFORE)
        for each, seen in ((old, not hidden), (new, not hidden), (plain, True)):
            assert here.fetches(each.unique_id) is here.lists(each.entry_uuid) is seen


def test_an_entry_of_nobody_that_stands_in_for_an_unknown_document_is_in_no_plan_and_in_no_record(
    tmp_path: Path,
) -> None:
    with registry(tmp_path) as here:
        known = entry(**HERE)
        here.store.register(submission(known, patient_id=PATIENT), "ous", BEFORE)
        release = here.retrieve(known.unique_id, "1.2.3")
        assert [fetch.entry.entry_uuid for fetch in release.plan.fetches] == [known.entry_uuid]
        told = here.trail.events[-1].objects[1]
        assert (told.entry_uuid, told.unique_id, told.decision.reason) == ("", "1.2.3", Reason.UNKNOWN_DOC)
        assert not told.decision.source
        # Known, and not from the repository that was asked: what stands in then may be seen, and is not.
        elsewhere = here.store([release.plan.steps[0].asked.key._replace(repository_unique_id="2.999.9")])
        assert list(elsewhere.families.values()) == [()]


def test_a_hidden_an_unknown_and_another_patients_document_cost_the_same_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    rows = Prepared.rows

    def noted(prepared: Prepared, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        ran.append(str(prepared.statement))
        return rows(prepared, connection, values)

    monkeypatch.setattr(Prepared, "rows", noted)
    with registry(tmp_path) as here:
        words = {"repository_unique_id": REPOSITORY, **SUMMARY}
        mine, closed = (entry(**words, patient_id=cx("P1")) for _ in range(2))
        theirs = entry(**words, patient_id=cx("P2"))
        for each in (mine, closed, theirs):
            here.store.register(submission(each, patient_id=each.patient_id), "ous", BEFORE)
        here.book.set_block(block("document", documents=[closed.unique_id]), "clerk", BEFORE)
        # What another patient has blocked is not looked at: row B2 closes the document whatever it is.
        here.book.set_block(block("reservation", name="b2", patient="P2"), "clerk", BEFORE)
        here.subject, here.policy = person("Anne"), pilot()
        here.retrieve(mine.unique_id)
        found = set()
        for unique_id, reason in (
            (closed.unique_id, Reason.BLOCK_DOC),
            (theirs.unique_id, Reason.PATIENT_MISMATCH_DOC),
            ("2.999.40.404", Reason.UNKNOWN_DOC),
            (mine.unique_id, Reason.OK),
        ):
            ran.clear()
            decision = here.retrieve(unique_id).plan.steps[0].decision
            assert (decision.reason, decision.block) == (reason, "b1" if reason is Reason.BLOCK_DOC else "")
            found.add(tuple(ran))
        assert len(found) == 1
        assert len(ran) == 5
