"""Ways around a decision that need no race: each row an attack and the one answer it gets.

Blocks that would hold for nobody, codes written so that they are not recognised, another source's objects, tokens put
where nobody looks, machines nobody knows, and questions made to be expensive.
"""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ihe.metadata import Author
from ihe.names import SAML, WSSE, AssociationType, EntryScheme, QueryId, Status
from policy.facts import Channel, Reason, Refusal, Subject
from policy.rows import CONFIDENTIALITY_9603
from registry.blocks import BlockBook
from registry.database.engine import Database, open_database
from registry.migrations import migrate
from registry.query import answer_query
from registry.register import register
from registry.store import Store
from tests.attacks.test_races import MACHINES, READER
from tests.ihe import submissions as written
from tests.policy.casebook import NOW, SYSTEM, block, cx, pilot_texts, policy_of
from tests.registry.desks import (
    DE,
    LONG_AGO,
    OUS,
    PEER,
    SUMMARY,
    UNN,
    Trail,
    desk_for,
    errors_of,
    find_documents,
    get_documents,
    ids_of,
    query_call,
    status_of,
)
from tests.registry.submissions import entry as typed_entry
from tests.registry.submissions import submission as typed_submission
from tests.registry.test_query import BODY, anne
from tests.registry.test_query import register as store_one
from tests.registry.test_register import call
from tests.server.place import innsyn, place
from tests.tools import tokens

P1, P2 = cx("P1"), cx("P2")
TAKEN, FREE = (f"urn:uuid:11111111-0000-4000-8000-00000000000{number}" for number in (1, 2))
FOLDER, SET = (f"urn:uuid:11111111-0000-4000-8000-0000000000a{number}" for number in (1, 2))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path}/registry.db", create=True)
    migrate(opened)
    yield opened
    opened.close()


# ITI-42 ---------------------------------------------------------------------------------------------------------------


@dataclass
class Source:
    """A hospital that registers for one repository, one document a submission unless told otherwise."""

    database: Database
    name: str
    repository: str
    number: int = 0

    def entry(self, *slots: Any, of: str = "Doc1", unique_id: str = "", sha1: str = written.SHA1, **said: Any) -> Any:
        self.number += 1
        made = written.entry(of, unique_id or f"{self.repository}.9.{self.number}", P1)
        dropped = {"repositoryUniqueId", "hash", EntryScheme.CLASS_CODE, EntryScheme.TYPE_CODE}
        for part in list(made):
            if {part.get("name"), part.get("classificationScheme")} & dropped:
                made.remove(part)
        own = [written.slot("repositoryUniqueId", said.get("repository", self.repository)), written.slot("hash", sha1)]
        made[:0] = [*own, written.slot("legalAuthenticator", "1^Hansen^Kari"), *slots]
        made.append(written.code(EntryScheme.CLASS_CODE, "A00-1", of, SYSTEM))
        made.append(written.code(EntryScheme.TYPE_CODE, "A03-2", of, SYSTEM))
        return made

    def sends(self, *objects: Any, of: str = "Set1") -> list[tuple[str, str]]:
        """The errors of one submission of these objects and a SubmissionSet; none for a Success."""
        self.number += 1
        the_set = written.submission_set(of, f"{self.repository}.8.{self.number}", P1)
        who = Subject(Channel.MACHINE, self.name, machine=self.name, may_register=(self.repository,))
        reply = register(call(written.request(*objects, the_set)), PEER, desk_for(who, self.database, Trail()))
        errors = errors_of(reply)
        assert status_of(reply) == ("Failure" if errors else "Success")
        return errors

    def registers(self, made: Any, *more: Any) -> list[tuple[str, str]]:
        return self.sends(made, written.member("As1", "Set1", made.get("id"), "Original"), *more)


def listed(database: Database) -> int:
    return len(ids_of(answer_query(find_documents(P1), PEER, desk_for(anne(), database, Trail()))))


@pytest.fixture
def ous(registry: Database) -> Source:
    return Source(registry, "ous", OUS)


@pytest.fixture
def unn(registry: Database) -> Source:
    return Source(registry, "unn", UNN)


@pytest.mark.parametrize(
    ("code", "scheme"),
    [
        ("NORS", CONFIDENTIALITY_9603),
        ("NORS", f"urn:oid:{CONFIDENTIALITY_9603}"),
        ("NORS", f"URN:OID:{CONFIDENTIALITY_9603}"),
        ("nors", CONFIDENTIALITY_9603),
        (" NORS", CONFIDENTIALITY_9603),
        ("NORS\N{NO-BREAK SPACE}", CONFIDENTIALITY_9603),
        ("NORS", f"\n  {CONFIDENTIALITY_9603}\n"),
    ],
)
def test_no_spelling_of_a_confidentiality_code_shows_what_it_keeps_back(ous: Source, code: str, scheme: str) -> None:
    made = ous.entry()
    made.append(written.code(EntryScheme.CONFIDENTIALITY_CODE, code, "Doc1", scheme))
    assert {each for each, _ in ous.registers(made)} <= {"XDSRegistryMetadataError"}
    assert listed(ous.database) == 0


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("urn:innsyn:signedAt", ["20200601"], 1),
        ("urn:innsyn:signedAt", ["20300101"], 0),
        ("urn:innsyn:signedAt", [], None),
        ("urn:innsyn:signedAt", [""], None),
        ("urn:innsyn:signedat", ["20300101"], None),
        ("urn:innsyn:withdrawn", ["true"], None),
        ("URN:INNSYN:withdrawn", ["true"], None),
    ],
)
def test_what_a_source_says_of_signing_and_withdrawal_counts_or_is_refused(
    ous: Source, name: str, values: Sequence[str], shown: int | None
) -> None:
    errors = ous.registers(ous.entry(written.slot(name, *values)))
    assert [each for each, _ in errors] == (["XDSRegistryMetadataError"] if shown is None else [])
    assert listed(ous.database) == (shown or 0)


def test_what_a_sender_says_of_status_version_and_home_is_not_kept(ous: Source) -> None:
    made = ous.entry()
    made.attrib.update(lid=TAKEN, home="urn:oid:9.9", status=Status.DEPRECATED.value)
    made.append(written.rim("VersionInfo", {"versionName": "99"}))
    assert ous.registers(made) == []
    answer = answer_query(find_documents(P1), PEER, desk_for(anne(), ous.database, Trail())).body
    assert len(re.findall(rb' lid="([^"]*)"', answer)) == 1
    assert TAKEN.encode() not in answer
    assert b'versionName="99"' not in answer
    assert b"9.9" not in answer


RELATED = [each for each in AssociationType if each is not AssociationType.HAS_MEMBER]


def test_another_sources_objects_are_to_a_source_as_if_they_were_not(ous: Source, unn: Source) -> None:
    members = [
        written.member("As1", SET, TAKEN, "Original"),
        written.member("As2", SET, FOLDER),
        written.member("As3", FOLDER, TAKEN),
        written.member("As4", SET, "As3"),
    ]
    folder = written.folder(FOLDER, "2.999.41.9", P1)
    assert ous.sends(ous.entry(of=TAKEN), folder, *members, of=SET) == []

    def refer(each: str) -> list[list[tuple[str, str]]]:
        return [
            *(unn.registers(unn.entry(), written.association("r", kind, "Doc1", each)) for kind in RELATED),
            unn.sends(written.member("As1", "Set1", each, "Reference")),
            unn.registers(unn.entry(), written.member("r", each, "Doc1"), written.member("s", "Set1", "r")),
        ]

    unknown = [[(code, text.replace(FREE, "it")) for code, text in errors] for errors in refer(FREE)]
    assert {code for errors in unknown for code, _ in errors} == {"UnresolvedReferenceException"}
    for there in (TAKEN, FOLDER, SET):
        assert [[(code, text.replace(there, "it")) for code, text in errors] for errors in refer(there)] == unknown
    assert listed(ous.database) == 1


def test_what_only_the_standard_makes_known_of_another_source_is_that_an_id_is_taken(ous: Source, unn: Source) -> None:
    assert ous.registers(ous.entry(of=TAKEN, unique_id="2.999.1.2.3")) == []
    for made, code in (
        (unn.entry(of=TAKEN), "XDSRegistryMetadataError"),
        (unn.entry(unique_id="2.999.1.2.3", sha1="0" * 40), "XDSNonIdenticalHash"),
        (unn.entry(repository=OUS), "XDSRegistryMetadataError"),
        (unn.entry(repository=f"urn:oid:{UNN}"), "XDSRegistryMetadataError"),
    ):
        assert [each for each, _ in unn.registers(made)] == [code]
    assert unn.registers(unn.entry(unique_id="2.999.1.2.3")) == []
    assert listed(ous.database) == 1


def test_a_submission_of_nothing_but_mistakes_gets_a_short_answer(unn: Source) -> None:
    many = [
        written.association(f"r{n}", AssociationType.RPLC, "Doc1", FREE.replace("11111111", f"{n:08x}"))
        for n in range(3000)
    ]
    begun = time.perf_counter()
    errors = unn.registers(unn.entry(), *many)
    assert len(errors) == 100
    assert time.perf_counter() - begun < 5


# ITI-18 ---------------------------------------------------------------------------------------------------------------

BASE = [(f"{DE}PatientId", f"'{P1}'"), (f"{DE}Status", f"('{Status.APPROVED.value}')")]


def pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


def codes(group: int, count: int) -> tuple[str, str]:
    return f"{DE}EventCodeList", "(" + ",".join(f"'{group}x{n}^^1.2'" for n in range(count)) + ")"


def test_no_series_of_questions_fills_the_memory(registry: Database) -> None:
    store_one(Store(registry))
    desk = desk_for(anne(), registry, Trail())

    def ask(shape: int) -> None:
        slots = [codes(group, 100 if group < 45 - shape else 50) for group in range(45)]
        assert status_of(answer_query(query_call([*BASE, *slots], QueryId.FIND_DOCUMENTS), PEER, desk)) == "Success"

    ask(0)
    before = pages()
    for shape in range(1, 9):
        ask(shape)
    # Kept per shape before: 17 MiB, for as many as 512 shapes.
    assert (pages() - before) * resource.getpagesize() < 48 * 1024 * 1024


def test_a_pattern_made_to_match_slowly_costs_what_others_do(registry: Database) -> None:
    store = Store(registry)
    slow = (Author(person="a" * 250),)
    entries = [
        typed_entry(repository_unique_id=OUS, patient_id=P1, body=BODY, authors=slow, **SUMMARY) for _ in range(300)
    ]
    store.register(typed_submission(*entries, patient_id=P1), "ous", LONG_AGO)
    patterns = ",".join(f"'%{'a' * 120}b{n}%'" for n in range(9))
    desk = desk_for(anne(), registry, Trail())
    begun = time.perf_counter()
    slots = [*BASE, (f"{DE}AuthorPerson", f"({patterns},'%')")]
    reply = answer_query(query_call(slots, QueryId.FIND_DOCUMENTS, "ObjectRef"), PEER, desk)
    # Before: 17 seconds.
    assert time.perf_counter() - begun < 5
    assert len(ids_of(reply)) == 300
    slots = [*BASE, (f"{DE}AuthorPerson", "(" + ",".join(f"'{n}'" for n in range(11)) + ")")]
    assert errors_of(answer_query(query_call(slots, QueryId.FIND_DOCUMENTS), PEER, desk)) == [
        ("XDSRegistryError", f"{DE}AuthorPerson: more than 10 patterns")
    ]


def test_a_query_of_nothing_but_mistakes_gets_a_short_answer(registry: Database) -> None:
    slots = [*BASE, *[(f"$x{n}", "'") for n in range(5000)]]
    reply = answer_query(query_call(slots, QueryId.FIND_DOCUMENTS), PEER, desk_for(anne(), registry, Trail()))
    assert len(errors_of(reply)) == 100


def test_a_document_registered_again_and_again_is_decided_in_a_moment(registry: Database) -> None:
    store = Store(registry)
    for number in range(120):
        patient = P1 if number % 2 else P2
        again = typed_entry(unique_id="2.999.7", repository_unique_id=OUS, patient_id=patient, body=BODY, **SUMMARY)
        store.register(typed_submission(again, patient_id=patient), "ous", LONG_AGO)
    begun = time.perf_counter()
    reply = answer_query(find_documents(P1), PEER, desk_for(anne(), registry, Trail()))
    assert time.perf_counter() - begun < 2
    assert ids_of(reply) == []


# Machines -------------------------------------------------------------------------------------------------------------


def reader(database: Database, trail: Trail) -> Any:
    texts = pilot_texts()
    texts["agreements.toml"] += MACHINES
    return desk_for(READER, database, trail, policy_of(frozenset(texts.items())))


@pytest.mark.parametrize("returns", ["LeafClass", "ObjectRef"])
def test_the_trail_knows_whose_documents_a_machine_was_shown_by_id(registry: Database, returns: str) -> None:
    store, trail = Store(registry), Trail()
    asked = [store_one(store, patient).entry_uuid for patient in ((P1,) if returns == "LeafClass" else (P1, P2))]
    reply = answer_query(get_documents(*asked, returns=returns), PEER, reader(registry, trail))
    assert len(ids_of(reply)) == len(asked)
    assert {trail.last.patient_id, *trail.last.patients} == ({P1} if returns == "LeafClass" else {P1, P2})


def test_a_block_of_an_organisation_holds_for_a_machine_of_which_nobody_knows_whose_it_is(registry: Database) -> None:
    store_one(Store(registry))
    assert len(ids_of(answer_query(find_documents(P1), PEER, reader(registry, Trail())))) == 1
    BlockBook(registry).set_block(block("organisation", organisation="974760673"), "clerk", NOW)
    assert ids_of(answer_query(find_documents(P1), PEER, reader(registry, Trail()))) == []


# Tokens ---------------------------------------------------------------------------------------------------------------

GOOD = tokens.good(token_id="_astray")
ROLE = 'soap12:role="http://other.example"'


def header(inside: bytes, attributes: str = "", name: str = f'wsse:Security xmlns:wsse="{WSSE}"') -> bytes:
    return f"<{name} {attributes}>".encode() + inside + f"</{name.partition(' ')[0]}>".encode()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([header(GOOD, ROLE)], b""),
        ([header(GOOD.replace(b"TREAT", b"ETREAT", 1), ROLE)], b""),
        ([header(GOOD, 'soap12:role="http://www.w3.org/2003/05/soap-envelope/role/none"')], b""),
        ([header(b""), GOOD], b""),
        ([GOOD], b""),
        ([header(GOOD, name='w:Security xmlns:w="urn:not-wsse"')], b""),
        ([header(b"<e:EncryptedAssertion xmlns:e='%s'/>" % SAML.encode(), ROLE)], b""),
        ([], tokens.QUERY_BODY.replace(b"</query:AdhocQueryRequest>", GOOD + b"</query:AdhocQueryRequest>")),
    ],
)
def test_a_token_where_nobody_looks_is_a_broken_token_and_not_none(headers: list[bytes], body: bytes) -> None:
    asked = tokens.call(tokens.message(*headers, body=body))
    answer = tokens.gatekeeper()(asked, tokens.peer("cc" * 32), tokens.NOW)
    assert isinstance(answer, Refusal)
    assert answer.reason is Reason.TOKEN_MALFORMED


# The command line -----------------------------------------------------------------------------------------------------

NUMBER = "15837510047"
NATIONAL = "2.16.578.1.12.4.1.4"
Words = tuple[str, ...]
FOR_NOBODY: list[Words] = [
    *[
        (patient, "--kind", "visit_history")
        for patient in (
            f" {NUMBER}",
            f"{NUMBER} ",
            f"{NUMBER[:6]} {NUMBER[6:]}",
            f"{NUMBER}^^^&{NATIONAL}.2&ISO",
            f"{NUMBER}^^^&1.2.3&ISO",
            f"{NUMBER}^^^&{NATIONAL}.1&iso",
            f"{NUMBER}^^^&{NATIONAL}.1&ISO^PI",
            "".join(chr(0xFF10 + int(digit)) for digit in NUMBER),
        )
    ],
    *[
        (NUMBER, "--kind", "named_person", "--person", person)
        for person in ("T0000101 ", "t0000101", "0T0000101", "HPR9144900", "009144900", f"{NUMBER} ", "Anne Eksempel")
    ],
    *[
        (NUMBER, "--kind", "organisation", "--organisation", organisation)
        for organisation in ("984 630 492", "NO984630492", "984630492MVA", "984630493", "123")
    ],
    *[
        (NUMBER, "--kind", "source_total", "--source", source)
        for source in ("OUS", " ous", "Oslo universitetssykehus", "993467049")
    ],
    (NUMBER, "--kind", "openable", "--source", "OUS"),
    (NUMBER, "--kind", "organisation", "--organisation", "984630492", "--source", "OUS"),
    (NUMBER, "--kind", "department", "--organisation", "984630492", "--department", "4208723 "),
    *[(NUMBER, "--kind", "document", "--document", each) for each in ("", "1.2", "1.2 ", f"urn:oid:{NATIONAL}", TAKEN)],
    (NUMBER, "--kind", "visit_history", "--to", "9999-12-31T23:59:59-12:00"),
    (NUMBER, "--kind", "visit_history", "--from", "0001-01-01T00:00:00+14:00"),
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = place(tmp_path_factory.mktemp("node"))
    assert innsyn(path, "migrate").exit_code == 0
    return path


@pytest.mark.parametrize("words", FOR_NOBODY)
def test_a_block_that_would_hold_for_nobody_is_not_set(node: Path, words: Words) -> None:
    told = innsyn(node, "block", "set", *words)
    assert told.exit_code == 2
    assert "in force" not in told.stdout
