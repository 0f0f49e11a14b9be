"""The pilot's files, its people, and cases in the domain's words turned into what the policy takes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from ihe.metadata import Coded
from policy.agreements import Policy
from policy.blocks import Block, BlockKind, Setter
from policy.decide import Situation
from policy.facts import Basis, Channel, EntryFacts, Subject
from policy.files import OSLO, STATUSES
from policy.reading import read
from policy.rows import CONFIDENTIALITY_9603

HERE = Path(__file__).parent
PILOT = HERE.parent.parent / "docs/examples/pilot/policy"
GUIDE = (HERE.parent.parent / "docs/policy-guide.md").read_text()
NOW = datetime(2021, 2, 15, 10, tzinfo=OSLO)
LONG_AGO = datetime(2020, 6, 1, tzinfo=UTC)
PEOPLE: dict[str, Any] = tomllib.loads((HERE / "personae.toml").read_text())
SYSTEM = "2.16.578.1.12.4.1.1.9602"


def pilot_texts() -> dict[str, str]:
    return {str(path.relative_to(PILOT)): path.read_text() for path in sorted(PILOT.rglob("*.toml"))}


@lru_cache(maxsize=64)
def policy_of(texts: frozenset[tuple[str, str]]) -> Policy:
    return read(dict(texts))


def pilot() -> Policy:
    return policy_of(frozenset(pilot_texts().items()))


def cx(patient: str) -> str:
    return str(PEOPLE["patient"][patient])


def same_person(patient: str) -> frozenset[str]:
    groups = [frozenset(group["patients"]) for group in PEOPLE["same"]]
    return next((group for group in groups if patient in group), frozenset({patient}))


def person(name: str, patient: str = "P1", **changes: Any) -> Subject:
    who = PEOPLE["person"][name]
    facts: dict[str, Any] = {
        "channel": "clinician",
        "name": name,
        "issuer": "https://sts.example",
        "name_id": "20871451029",
        "purpose": "TREAT",
        "patient_id": cx(patient),
        "patient_ids": 1,
        "security_level": "4",
        "scopes": frozenset({"journaldokumenter_helsepersonell"}),
        "user_selected": True,
        "token_profile": "2.1",
        **who,
        **changes,
    }
    facts["channel"] = Channel(facts["channel"])
    facts["basis"] = Basis(facts["basis"]) if facts.get("basis") else None
    return Subject(**facts)


def machine(name: str) -> Subject:
    return Subject(Channel.MACHINE, name, machine=name, may_register=tuple(PEOPLE["machine"][name]["may_register"]))


def entry(name: str, policy: Policy, patient: str = "P1", **words: Any) -> EntryFacts:
    """One entry; by default a signed, approved A03-2 of OUS."""
    source = policy.sources[words.get("source", "ous")]
    system = words.get("system", SYSTEM)
    signed = words.get("signed", LONG_AGO)
    return EntryFacts(
        entry_uuid=name,
        lid=words.get("lid", name),
        version=words.get("version", 1),
        status=STATUSES[words.get("status", "Approved")],
        unique_id=words.get("unique_id", f"2.999.{name}"),
        repository_unique_id=words.get("repository", source.repository_unique_ids[0]),
        patient_id=cx(words.get("patient", patient)),
        mime_type="application/pdf",
        hash="",
        size=None,
        class_code=Coded(words.get("class", "A00-1"), system),
        type_code=Coded(words.get("type", "A03-2"), system),
        confidentiality_codes=tuple(Coded(code, CONFIDENTIALITY_9603) for code in words.get("codes", ["N"])),
        creation_time=words.get("created", "20200601"),
        registered_at=LONG_AGO,
        registered_by=words.get("registered_by", "ous"),
        signed_at=None if signed == "never" else signed,
        withdrawn=words.get("withdrawn", False),
    )


def block(kind: str, name: str = "b1", patient: str = "P1", **words: Any) -> Block:
    opened = words.get("opened_by")
    return Block(
        block_id=name,
        kind=BlockKind(kind),
        patient_id=cx(words.get("patient", patient)),
        set_by=Setter.PATIENT,
        valid_from=words.get("from", LONG_AGO),
        valid_to=words.get("to"),
        person=words.get("person", ""),
        organisation=words.get("organisation", ""),
        department=words.get("department", ""),
        source=words.get("source", ""),
        documents=frozenset(words.get("documents", ())),
        overridable_by=None if opened is None else frozenset(Basis(each) for each in opened),
    )


def blocks_by_patient(blocks: Iterable[Block], patients: Iterable[str]) -> dict[str, tuple[Block, ...]]:
    """Every patient's blocks, those of the whole identity set, as the book of blocks gives them."""
    kept = tuple(blocks)
    sets = {patient: {cx(each) for each in same_person(patient)} for patient in patients}
    return {
        cx(patient): tuple(each for each in kept if each.patient_id in numbers) for patient, numbers in sets.items()
    }


def situation(
    subject: Subject,
    policy: Policy,
    blocks: Iterable[Block] = (),
    now: datetime = NOW,
    patient: str = "P1",
) -> Situation:
    identities = frozenset(cx(each) for each in same_person(patient))
    known = blocks_by_patient(blocks, PEOPLE["patient"])
    return Situation(subject, policy, known, identities, now)


@dataclass(frozen=True)
class Case:
    """One case of tests/policy/cases."""

    name: str
    words: Mapping[str, Any]

    @property
    def policy(self) -> Policy:
        texts = pilot_texts()
        texts |= self.words.get("add", {})
        for file, text in self.words.get("append", {}).items():
            texts[file] += text
        for edit in self.words.get("replace", ()):
            assert edit["old"] in texts[edit["file"]]
            texts[edit["file"]] = texts[edit["file"]].replace(edit["old"], edit["new"], 1)
        return policy_of(frozenset(texts.items()))

    @property
    def patient(self) -> str:
        return str(self.words.get("patient", "P1"))

    @property
    def subject(self) -> Subject:
        if "machine" in self.words:
            return machine(self.words["machine"])
        return person(self.words["who"], self.patient, **self.words.get("token", {}))

    @property
    def asks_for(self) -> str | None:
        if "asks_for_cx" in self.words:
            return str(self.words["asks_for_cx"])
        return cx(self.words["asks_for"]) if "asks_for" in self.words else None

    @property
    def entries(self) -> dict[str, EntryFacts]:
        return {
            name: entry(name, self.policy, **({"patient": self.patient} | words))
            for name, words in self.words.get("entry", {}).items()
        }

    @property
    def situation(self) -> Situation:
        blocks = []
        for index, words in enumerate(self.words.get("block", ()), 1):
            aimed = {"patient": self.patient} | {key: value for key, value in words.items() if key != "kind"}
            blocks.append(block(words["kind"], f"b{index}", **aimed))
        return situation(self.subject, self.policy, blocks, self.words.get("now", NOW), self.patient)


def cases() -> list[Case]:
    found = []
    for path in sorted((HERE / "cases").glob("*.toml")):
        for words in tomllib.loads(path.read_text())["case"]:
            number = f"{words['scenario']} " if "scenario" in words else ""
            found.append(Case(f"{path.stem}: {number}{words['title']}", words))
    return found


def day(text: str) -> datetime:
    """A date of Europe/Oslo, at 00:00."""
    return datetime.combine(date.fromisoformat(text), datetime.min.time(), OSLO)
