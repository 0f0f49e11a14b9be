"""Many writers on one thing at once: exactly one wins, and the others are told why in the standard's words.

Each race is run by threads on two connections to one database, as two processes of a node would; none of them may ever
see that another was in its way, neither as a deadlock nor as a failed serialisation.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from ihe.errors import XdsFailure
from ihe.metadata import DocumentEntry
from ihe.names import AssociationType, Status
from registry.database.engine import Database, open_database
from registry.database.tables import REMOVED, association, document, uid_claim, uid_hash
from registry.queries.stored_queries import FindDocuments
from registry.store import Store
from tests.ihe import submissions as written
from tests.registry.revisions import entry as sent_entry
from tests.registry.revisions import follows, joins, new_set, status, submits, typed
from tests.registry.submissions import CX, NOW, REPOSITORY, entry, relation, submission
from tests.registry.submissions import folder as a_folder

WRITERS = 6
ROUNDS = 2
ONE, TWO = "2.999.80.1", "2.999.80.2"
RPLC, APND, MEMBER = AssociationType.RPLC, AssociationType.APND, AssociationType.HAS_MEMBER
REPOSITORIES = (REPOSITORY, "2.999.10.20.1")
WON = "won"
Work = Callable[[Store], object]


@pytest.fixture
def stores(database: Database, database_url: str) -> Iterator[tuple[Store, Store]]:
    """The registry as two processes have it."""
    other = open_database(database_url)
    yield Store(database), Store(other)
    other.close()


def race(stores: Sequence[Store], works: Sequence[Work]) -> Counter[str]:
    """Runs all of them at the same moment; how often each outcome came about."""
    start = threading.Barrier(len(works))

    def run(number: int) -> str:
        start.wait(10)
        try:
            works[number](stores[number % len(stores)])
        except XdsFailure as failure:
            return ", ".join(sorted({error.code.value for error in failure.errors}))
        return WON

    with ThreadPoolExecutor(len(works)) as threads:
        return Counter(threads.map(run, range(len(works))))


def registers(sent: object) -> Work:
    return lambda store: store.register(sent, "ous", NOW, REPOSITORIES)  # type: ignore[arg-type]


def updates(*objects: written.Node) -> Work:
    asked = typed(*objects)
    return lambda store: store.update(asked, "ous", NOW, REPOSITORIES)


def removes(*ids: str) -> Work:
    return lambda store: store.remove(ids, "ous", NOW, REPOSITORIES)


def registered(store: Store, **changes: object) -> DocumentEntry:
    made = entry(**changes)
    store.register(submission(made), "ous", NOW, REPOSITORIES)
    return made


def approved(store: Store) -> int:
    query = FindDocuments(CX, frozenset({Status.APPROVED}))
    return len(store.find_documents(query, {CX}, leaf=False))


def losers(code: str) -> Counter[str]:
    return Counter({WON: 1, code: WRITERS - 1})


def rounds(name: str) -> list[str]:
    """A different name for each round: what was raced for once is taken."""
    return [f"{name}.{number}" for number in range(ROUNDS)]


def test_one_of_many_replacements_replaces(stores: tuple[Store, Store]) -> None:
    for _ in range(ROUNDS):
        old = registered(stores[0])
        before = approved(stores[0])
        works = []
        for _ in range(WRITERS):
            new = entry()
            works.append(registers(submission(new, relations=(relation(RPLC, new.entry_uuid, old.entry_uuid),))))
        assert race(stores, works) == losers("XDSRegistryDeprecatedDocumentError")
        assert approved(stores[0]) == before


def test_one_of_many_claims_of_a_unique_id_holds(stores: tuple[Store, Store]) -> None:
    for unique_id in rounds(ONE):
        works = [registers(submission(entry(unique_id=unique_id, hash=f"{n}" * 40))) for n in range(WRITERS)]
        assert race(stores, works) == losers("XDSNonIdenticalHash")
    for unique_id in rounds(TWO):
        works = [registers(submission(folders=(a_folder(unique_id=unique_id),))) for _ in range(WRITERS)]
        assert race(stores, works) == losers("XDSDuplicateUniqueIdInRegistry")


def test_the_same_document_is_taken_from_everybody(stores: tuple[Store, Store], database: Database) -> None:
    for unique_id in rounds(ONE):
        works = [registers(submission(entry(unique_id=unique_id))) for _ in range(WRITERS)]
        assert race(stores, works) == Counter({WON: WRITERS})
        with database.snapshot() as connection:
            shared = sa.select(document.c.shared).where(document.c.unique_id == unique_id)
            assert set(connection.execute(shared).scalars()) == {1}


def test_claims_in_opposite_order_do_not_wait_in_a_circle(stores: tuple[Store, Store]) -> None:
    for one, two in zip(rounds(ONE), rounds(TWO), strict=True):
        works = []
        for number in range(WRITERS):
            ids = (one, two) if number % 2 else (two, one)
            works.append(registers(submission(folders=tuple(a_folder(unique_id=each) for each in ids))))
        assert race(stores, works) == losers("XDSDuplicateUniqueIdInRegistry")


def test_one_of_many_updates_is_the_next_version(stores: tuple[Store, Store], database: Database) -> None:
    for number in range(ROUNDS):
        old = registered(stores[0], unique_id=f"{ONE}.{number}", repository_unique_id=REPOSITORIES[1])
        works = [
            updates(sent_entry("Doc1", old.unique_id, old.entry_uuid), new_set(), follows("Doc1"))
            for _ in range(WRITERS)
        ]
        assert race(stores, works) == losers("XDSMetadataVersionError")
        with database.snapshot() as connection:
            versions = sa.select(document.c.version).where(document.c.unique_id == old.unique_id)
            assert sorted(connection.execute(versions).scalars()) == [1, 2]


def test_updates_of_several_objects_in_opposite_order_do_not_wait_in_a_circle(stores: tuple[Store, Store]) -> None:
    for number in range(ROUNDS):
        olds = [
            registered(stores[0], unique_id=f"{each}.{number}", repository_unique_id=REPOSITORIES[1])
            for each in (ONE, TWO)
        ]
        works = []
        for turn in range(WRITERS):
            order = olds if turn % 2 else olds[::-1]
            new = [sent_entry(f"Doc{n}", old.unique_id, old.entry_uuid) for n, old in enumerate(order)]
            works.append(updates(*new, new_set(), *(follows(f"Doc{n}") for n in range(2))))
        assert race(stores, works) == losers("XDSMetadataVersionError")


def test_an_entry_is_updated_or_replaced_not_both(stores: tuple[Store, Store]) -> None:
    for number in range(ROUNDS):
        old = registered(stores[0], unique_id=f"{ONE}.{number}", repository_unique_id=REPOSITORIES[1])
        before = approved(stores[0])
        works: list[Work] = []
        for turn in range(WRITERS):
            new = entry()
            replacing = submission(new, relations=(relation(RPLC, new.entry_uuid, old.entry_uuid),))
            update = (sent_entry("Doc1", old.unique_id, old.entry_uuid), new_set(), follows("Doc1"))
            works.append(updates(*update) if turn % 2 else registers(replacing))
        assert race(stores, works)[WON] == 1
        assert approved(stores[0]) == before


def test_one_of_many_changes_of_a_status_counts(stores: tuple[Store, Store]) -> None:
    for _ in range(ROUNDS):
        old = registered(stores[0])
        works = [updates(new_set(), status(old.entry_uuid)) for _ in range(WRITERS)]
        assert race(stores, works) == losers("XDSMetadataUpdateError")


def test_one_of_many_submitted_associations_joins(stores: tuple[Store, Store]) -> None:
    for _ in range(ROUNDS):
        one, two = registered(stores[0]), registered(stores[0])
        works = [
            updates(new_set(), submits("as"), joins("as", APND, one.entry_uuid, two.entry_uuid)) for _ in range(WRITERS)
        ]
        assert race(stores, works) == losers("XDSMetadataUpdateError")


def test_one_of_many_removals_removes(stores: tuple[Store, Store]) -> None:
    for _ in range(ROUNDS):
        made = entry()
        sent = submission(made)
        stores[0].register(sent, "ous", NOW, REPOSITORIES)
        ids = [made.entry_uuid, sent.submission_set.entry_uuid, sent.associations[0].entry_uuid]
        works = [removes(*(ids if number % 2 else ids[::-1])) for number in range(WRITERS)]
        assert race(stores, works) == losers("UnresolvedReferenceException")


def test_what_is_referred_to_is_not_removed_and_what_is_removed_not_referred_to(
    stores: tuple[Store, Store], database: Database
) -> None:
    for number in range(ROUNDS):
        old = entry(unique_id=f"{ONE}.{number}")
        sent = submission(old)
        stores[0].register(sent, "ous", NOW, REPOSITORIES)
        works: list[Work] = []
        for turn in range(WRITERS):
            new = entry()
            referring = submission(new, relations=(relation(APND, new.entry_uuid, old.entry_uuid),))
            ids = (old.entry_uuid, sent.submission_set.entry_uuid, sent.associations[0].entry_uuid)
            works.append(removes(*ids) if turn % 2 else registers(referring))
        outcomes = race(stores, works)
        assert set(outcomes) <= {WON, "UnresolvedReferenceException", "ReferencesExistException"}
        with database.snapshot() as connection:
            held = set(connection.execute(sa.select(document.c.entry_uuid)).scalars())
            ends = connection.execute(sa.select(association.c.target).where(association.c.type != 0)).scalars()
            assert set(ends) <= held


def test_what_an_update_takes_along_is_not_removed_meanwhile(stores: tuple[Store, Store], database: Database) -> None:
    for number in range(ROUNDS * 2):
        old = registered(stores[0], unique_id=f"{ONE}.{number}", repository_unique_id=REPOSITORIES[1])
        new = entry()
        joined = relation(APND, new.entry_uuid, old.entry_uuid)
        sent = submission(new, relations=(joined,))
        stores[0].register(sent, "ous", NOW, REPOSITORIES)
        ids = (new.entry_uuid, sent.submission_set.entry_uuid, *(each.entry_uuid for each in sent.associations))
        update = (sent_entry("Doc1", old.unique_id, old.entry_uuid), new_set(), follows("Doc1"))
        outcomes = race(stores, [updates(*update), removes(*ids)])
        assert outcomes in (Counter({WON: 2}), Counter({WON: 1, "ReferencesExistException": 1}))
        with database.snapshot() as connection:
            held = set(connection.execute(sa.select(document.c.entry_uuid)).scalars())
            ends = connection.execute(sa.select(association.c.source).where(association.c.type != 0)).scalars()
            assert set(ends) <= held


def test_a_document_that_is_removed_and_registered_again_keeps_one_claim(
    stores: tuple[Store, Store], database: Database
) -> None:
    for unique_id in rounds(ONE):
        old = entry(unique_id=unique_id)
        sent = submission(old)
        stores[0].register(sent, "ous", NOW, REPOSITORIES)
        ids = (old.entry_uuid, sent.submission_set.entry_uuid, sent.associations[0].entry_uuid)
        again = [registers(submission(entry(unique_id=unique_id))) for _ in range(WRITERS - 1)]
        assert race(stores, [removes(*ids), *again]) == Counter({WON: WRITERS})
        with database.snapshot() as connection:
            claims = connection.execute(sa.select(uid_claim).where(uid_claim.c.uid_hash == uid_hash(unique_id))).all()
            held = set(connection.execute(sa.select(document.c.entry_uuid)).scalars())
        assert len(claims) == WRITERS - 1
        assert sum(row.holder == b"" for row in claims) == 1
        assert {row.entry_uuid for row in claims} <= held
        assert all(row.kind < REMOVED for row in claims)
