"""What policy files must say together: every id resolves, every number is right, no agreement is impossible.

Pure. Each check reads all files and yields every mistake it finds; none stops another. A table that could not be read
is left out and its id still counts as known, so that one slip is reported once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from policy.agreements import Finding
from policy.blocks import ABSOLUTE, BlockKind
from policy.files import (
    ANY,
    OWN,
    AgreementsFile,
    AuthorisationsFile,
    ClinicianAgreement,
    ConsumerTable,
    EnrolmentFile,
    KindsFile,
    MachineAgreement,
    NumberStatus,
    OrganisationsFile,
    PolicyFile,
)
from policy.numbers import organisation_fault
from policy.rows import CONFIDENTIALITY_9603

POLICY = "policy.toml"
ORGANISATIONS = "organisations.toml"
KINDS = "kinds.toml"
AGREEMENTS = "agreements.toml"
AUTHORISATIONS = "authorisations.toml"
NATIONAL_KINDS = "2.16.578.1.12.4.1.1.9602"


@dataclass(frozen=True, slots=True)
class Files:
    """All that could be read of the policy's files."""

    policy: PolicyFile | None
    organisations: OrganisationsFile
    kinds: KindsFile
    agreements: AgreementsFile
    enrolled: dict[str, EnrolmentFile]
    authorisations: AuthorisationsFile | None
    unreadable: frozenset[tuple[str, str]]
    """(section, id) of tables that stand in the files but could not be read."""
    unread: frozenset[str]
    """Names of whole files that could not be read: nothing is said of what they may hold."""
    confirmed: frozenset[str]
    """Agreements that the operator allows to be open to any reader, kind and source together."""

    def resolves(self, section: str, name: str) -> bool:
        """Whether `name` is declared, as far as can be known."""
        file, tables = self._section(section)
        return name in tables or (section, name) in self.unreadable or file in self.unread

    def _section(self, section: str) -> tuple[str, Collection[str]]:
        organisations = self.organisations
        sections: dict[str, tuple[str, Collection[str]]] = {
            "region": (ORGANISATIONS, organisations.region),
            "source": (ORGANISATIONS, organisations.source),
            "source_group": (ORGANISATIONS, organisations.source_group),
            "consumer": (ORGANISATIONS, organisations.consumer),
            "panel": (ORGANISATIONS, organisations.panel),
            "kind": (KINDS, self.kinds.kind),
            "kind_set": (KINDS, self.kinds.kind_set),
            "agreement": (AGREEMENTS, self.agreements.agreement),
        }
        return sections[section]

    def sources_of(self, agreement: ClinicianAgreement | MachineAgreement) -> list[str]:
        """Source ids that an agreement means, groups spelled out; those that can be read."""
        if agreement.sources == OWN:
            return []
        known = self.organisations.source
        wanted = known if agreement.sources == ANY else agreement.sources
        groups = self.organisations.source_group
        return sorted({source for name in wanted for source in groups.get(name, (name,)) if source in known})

    def consumers_of(self, agreement: ClinicianAgreement) -> list[str]:
        """Consumer ids that an agreement means; those that can be read."""
        known = self.organisations.consumer
        return sorted(known if agreement.consumers == ANY else (each for each in agreement.consumers if each in known))

    def kinds_of(self, agreement: ClinicianAgreement | MachineAgreement) -> list[str] | None:
        """Kind ids that an agreement means, sets spelled out; None for any."""
        if agreement.kinds == ANY:
            return None
        known, sets = self.kinds.kind, self.kinds.kind_set
        return sorted({kind for name in agreement.kinds for kind in sets.get(name, (name,)) if kind in known})


def warnings(files: Files) -> Iterator[Finding]:
    """What may be meant, and should be known all the same."""
    for name, agreement in files.agreements.agreement.items():
        at = f"agreement.{name}"
        if agreement.precision == "month":
            yield Finding(AGREEMENTS, f"{at}.precision", "the first day is not known, only its month; find it out")
        if agreement.sources != OWN and not files.sources_of(agreement):
            yield Finding(AGREEMENTS, f"{at}.sources", "names no source yet, so it shares nothing and admits nobody")
    yield from _nors_counts(files)
    for path, number, status in _numbers(files):
        if status == "check":
            yield Finding(*path, f"{number} is still to be checked")
    for name, consumer in files.organisations.consumer.items():
        if consumer.enrolment != "role" and not _enrolled(files, name).person:
            yield Finding(f"enrolled/{name}.toml", "", f"nobody is enrolled, so consumer {name} reads nothing")


def _nors_counts(files: Files) -> Iterator[Finding]:
    """The national code that keeps a document back is among those that do: a slip in its list would show everything."""
    table = None if files.policy is None else files.policy.block_kinds.get(BlockKind.DOCUMENT.value)
    codes = None if table is None else table.from_code
    if codes is not None and (codes.system != CONFIDENTIALITY_9603 or "NORS" not in map(str.upper, codes.codes)):
        sentence = f"NORS of list {CONFIDENTIALITY_9603} is not named, so documents marked with it are shown"
        yield Finding(POLICY, f"block_kinds.{BlockKind.DOCUMENT.value}.from_code", sentence)


def ids_resolve(files: Files) -> Iterator[Finding]:
    """Every id that is named is declared."""
    organisations = files.organisations
    for name, source in organisations.source.items():
        yield from _unresolved(files, ORGANISATIONS, f"source.{name}.region", ("region",), [source.region])
    for name, members in organisations.source_group.items():
        yield from _unresolved(files, ORGANISATIONS, f"source_group.{name}", ("source",), members)
    for name, consumer in organisations.consumer.items():
        yield from _unresolved(files, ORGANISATIONS, f"consumer.{name}.region", ("region",), [consumer.region])
    for name, panel in organisations.panel.items():
        for index, member in enumerate(panel.member, 1):
            at = f"panel.{name}.member[{index}].region"
            yield from _unresolved(files, ORGANISATIONS, at, ("region",), [member.region])
    for name, kinds in files.kinds.kind_set.items():
        yield from _unresolved(files, KINDS, f"kind_set.{name}", ("kind",), kinds)
    for name, agreement in files.agreements.agreement.items():
        at = f"agreement.{name}"
        yield from _unresolved(files, AGREEMENTS, f"{at}.sources", ("source", "source_group"), agreement.sources)
        yield from _unresolved(files, AGREEMENTS, f"{at}.kinds", ("kind", "kind_set"), agreement.kinds)
        if isinstance(agreement, ClinicianAgreement):
            yield from _unresolved(files, AGREEMENTS, f"{at}.consumers", ("consumer",), agreement.consumers)
            yield from _unresolved(files, AGREEMENTS, f"{at}.panels", ("panel",), agreement.panels)
    for index, growth in enumerate(files.agreements.growth, 1):
        at = f"growth[{index}]"
        yield from _unresolved(files, AGREEMENTS, f"{at}.region", ("region",), [growth.region])
        yield from _unresolved(files, AGREEMENTS, f"{at}.append_to", ("agreement",), [growth.append_to])
    for name in files.enrolled:
        if not files.resolves("consumer", name):
            yield Finding(
                f"enrolled/{name}.toml", "", f"declare consumer {name}, or name the file after a declared one"
            )


def ids_mean_one_thing(files: Files) -> Iterator[Finding]:
    """A group or set does not share its name with a member, and a repository has one owner."""
    for name in sorted(files.organisations.source.keys() & files.organisations.source_group.keys()):
        yield Finding(ORGANISATIONS, f"source_group.{name}", "a source has this id; give the group another")
    for name in sorted(files.kinds.kind.keys() & files.kinds.kind_set.keys()):
        yield Finding(KINDS, f"kind_set.{name}", "a kind has this id; give the set another")
    owners: dict[str, str] = {}
    for name, source in files.organisations.source.items():
        for repository in source.repository_unique_ids:
            if (owner := owners.setdefault(repository, name)) != name:
                at = f"source.{name}.repository_unique_ids"
                yield Finding(ORGANISATIONS, at, f"{repository} belongs to source {owner}; a repository has one owner")


def numbers_are_right(files: Files) -> Iterator[Finding]:
    """Organisation numbers hold their control digit, and made-up ones say so."""
    for path, number, status in _numbers(files):
        if fault := organisation_fault(number, status == "synthetic"):
            extra = ", or write number_status if it is not a real number" if status == "confirmed" else ""
            if status != "check" or "digits" in fault:
                yield Finding(*path, f"{number!r} {fault}; correct it{extra}")


def places_are_stated(files: Files) -> Iterator[Finding]:
    """A consumer has places of care and a legal entity, unless its enrolment pairs person and place."""
    for name, consumer in files.organisations.consumer.items():
        at = f"consumer.{name}"
        if consumer.enrolment == "pairs":
            if consumer.places_of_care or consumer.legal_entity:
                sentence = 'with enrolment = "pairs" the places stand in the enrolment file; leave them out here'
                yield Finding(ORGANISATIONS, f"{at}.places_of_care", sentence)
        elif not consumer.places_of_care:
            sentence = 'name at least one place of care, or write enrolment = "pairs" and name them per person'
            yield Finding(ORGANISATIONS, f"{at}.places_of_care", sentence)
        elif not consumer.legal_entity:
            yield Finding(ORGANISATIONS, f"{at}.legal_entity", "write the legal entity that its places belong to")
        yield from _enrolment_fits(name, consumer, _enrolled(files, name))


def places_have_one_owner(files: Files) -> Iterator[Finding]:
    """Every place of care belongs to one legal entity, wherever it is named."""
    owners: dict[str, str] = {}
    for path, place, legal_entity in sorted(_places(files), key=lambda each: each[0][0] != ORGANISATIONS):
        if (owner := owners.setdefault(place, legal_entity)) != legal_entity:
            yield Finding(*path, f"place {place} belongs to {owner} elsewhere, here to {legal_entity}; make them agree")


def _enrolment_fits(name: str, consumer: ConsumerTable, enrolment: EnrolmentFile) -> Iterator[Finding]:
    file = f"enrolled/{name}.toml"
    if consumer.enrolment == "role" and enrolment.person:
        yield Finding(file, "person", 'remove the file, or write enrolment = "listed" for this consumer')
    for index, person in enumerate(enrolment.person, 1):
        at = f"person[{index}]"
        if person.valid_to is not None and person.valid_to <= person.valid_from:
            yield Finding(file, f"{at}.valid_to", "write an end after the beginning; the period is half-open")
        if consumer.enrolment == "pairs" and not person.legal_entity:
            yield Finding(file, f"{at}.legal_entity", "write the legal entity that the place belongs to")
        if consumer.enrolment == "listed" and person.place_of_care not in consumer.places_of_care:
            sentence = f"{person.place_of_care} is no place of care of consumer {name}; add it there or correct it here"
            yield Finding(file, f"{at}.place_of_care", sentence)
        if consumer.enrolment == "listed" and person.legal_entity not in ("", consumer.legal_entity):
            yield Finding(file, f"{at}.legal_entity", "leave it out: the consumer's legal entity counts")


def kinds_belong_to_their_class(files: Files) -> Iterator[Finding]:
    """In list 9602 a type's letter is its class's, a class is of level 1 and a type of level 2."""
    for name, kind in files.kinds.kind.items():
        if kind.system != NATIONAL_KINDS:
            continue
        if not kind.class_code.endswith("-1"):
            yield Finding(KINDS, f"kind.{name}.class", f"{kind.class_code} is no class: one ends with -1")
        for code in kind.types:
            if code[0] != kind.class_code[0] or not code.endswith("-2"):
                yield Finding(KINDS, f"kind.{name}.types", f"{code} is no type of class {kind.class_code}; move it")


def blocks_keep_their_word(files: Files) -> Iterator[Finding]:
    """All nine kinds are written out, and nothing opens what a patient made absolute."""
    if files.policy is None:
        return
    tables = files.policy.block_kinds
    known = {kind.value for kind in BlockKind}
    unreadable = {name for section, name in files.unreadable if section == "block_kinds"}
    for name in sorted(known - tables.keys() - unreadable):
        yield Finding(POLICY, f"block_kinds.{name}", "write this table: override, reveal and set_by")
    for name in sorted(tables.keys() - known):
        yield Finding(POLICY, f"block_kinds.{name}", f"there is no such kind of block; write one of {_or(known)}")
    for kind in BlockKind:
        table = tables.get(kind.value)
        if table is not None and kind in ABSOLUTE and table.override:
            yield Finding(POLICY, f"block_kinds.{kind.value}.override", "write []: nothing opens it, it is lifted")
        if table is not None and (kind is BlockKind.DOCUMENT) != (table.from_code is not None):
            sentence = "write it for kind document, and for no other"
            yield Finding(POLICY, f"block_kinds.{kind.value}.from_code", sentence)


def _unresolved(
    files: Files, file: str, path: str, sections: tuple[str, ...], named: Iterable[str] | str
) -> Iterator[Finding]:
    for name in () if isinstance(named, str) else named:
        if not any(files.resolves(section, name) for section in sections):
            yield Finding(file, path, f"{name} is not declared; declare [{sections[0]}.{name}] or correct the id")


def _enrolled(files: Files, consumer: str) -> EnrolmentFile:
    return files.enrolled.get(consumer, EnrolmentFile())


def _numbers(files: Files) -> Iterator[tuple[tuple[str, str], str, NumberStatus]]:
    """Every organisation number: where it stands, the number, what is said of it."""
    organisations = files.organisations
    for name, region in organisations.region.items():
        yield (ORGANISATIONS, f"region.{name}.organisation_number"), region.organisation_number, region.number_status
    for name, source in organisations.source.items():
        at = f"source.{name}"
        yield (ORGANISATIONS, f"{at}.organisation_number"), source.organisation_number, source.number_status
        yield (ORGANISATIONS, f"{at}.legal_entity"), source.legal_entity, source.number_status
    for name, consumer in organisations.consumer.items():
        at = f"consumer.{name}"
        for place in consumer.places_of_care:
            yield (ORGANISATIONS, f"{at}.places_of_care"), place, consumer.number_status
        if consumer.legal_entity:
            # A flag speaks of the places; what is flagged as made up may still belong to a real legal entity.
            yield (ORGANISATIONS, f"{at}.legal_entity"), consumer.legal_entity, consumer.number_status
    for name, panel in organisations.panel.items():
        for index, member in enumerate(panel.member, 1):
            at = f"panel.{name}.member[{index}]"
            yield (ORGANISATIONS, f"{at}.place_of_care"), member.place_of_care, member.number_status
            yield (ORGANISATIONS, f"{at}.legal_entity"), member.legal_entity, member.number_status
    for name, consumer in organisations.consumer.items():
        # Where the consumer lists its places, a person's must be one of them, and that one was looked at above.
        for index, person in enumerate(_enrolled(files, name).person if consumer.enrolment == "pairs" else (), 1):
            file, path = f"enrolled/{name}.toml", f"person[{index}]"
            yield (file, f"{path}.place_of_care"), person.place_of_care, person.number_status
            if person.legal_entity:
                yield (file, f"{path}.legal_entity"), person.legal_entity, person.number_status


def _places(files: Files) -> Iterator[tuple[tuple[str, str], str, str]]:
    """Every place of care: where it stands, the place, its legal entity."""
    for name, consumer in files.organisations.consumer.items():
        for place in consumer.places_of_care if consumer.legal_entity else ():
            yield (ORGANISATIONS, f"consumer.{name}.places_of_care"), place, consumer.legal_entity
        for index, person in enumerate(_enrolled(files, name).person, 1):
            if consumer.enrolment == "pairs" and person.legal_entity:
                path = (f"enrolled/{name}.toml", f"person[{index}].place_of_care")
                yield path, person.place_of_care, person.legal_entity
    for name, panel in files.organisations.panel.items():
        for index, member in enumerate(panel.member, 1):
            path = (ORGANISATIONS, f"panel.{name}.member[{index}].place_of_care")
            yield path, member.place_of_care, member.legal_entity


def _or(words: Collection[str]) -> str:
    return ", ".join(sorted(words))


Check = Callable[[Files], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    ids_resolve,
    ids_mean_one_thing,
    numbers_are_right,
    places_are_stated,
    places_have_one_owner,
    kinds_belong_to_their_class,
    blocks_keep_their_word,
)
