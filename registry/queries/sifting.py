"""What was read becomes what this caller may see: the shield's verdict, the answer's objects, and the trail's.

Pure. One way for documents alone, which is the path of every FindDocuments, and one for everything that is related.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from audit.event import Object
from ihe.errors import clip
from policy import shield
from policy.decide import Situation, current
from policy.facts import Decision, EntryFacts, Reason
from policy.shield import Family, Seen, Shown
from registry.queries.containers import Container, Link
from registry.queries.gathered import Chosen, Gathered, Shows, choose
from registry.queries.reading import Found
from registry.queries.stored_queries import ById, StoredQuery, asked_ids

UNKNOWN = Decision(permit=False, reason=Reason.UNKNOWN_DOC)


@dataclass(frozen=True, slots=True)
class Sifted:
    """An answer before it is written, and every decision about what was asked for."""

    chosen: Chosen
    shows: Shows
    objects: tuple[Object, ...]
    patients: tuple[str, ...]
    """Of whom the answer tells anything, be it that two documents belong together."""
    note: str


def patients_of(situation: Situation, found: Iterable[Found], containers: Iterable[Container] = ()) -> frozenset[str]:
    """The patients, besides those in the situation, whose blocks decide about these.

    A machine may find anybody's. A person is shown entries of one patient alone (row B2); of others only those count
    whose blocks a corrected entry of that patient has inherited: the patients of versions that a newer one superseded.
    """
    if not situation.is_machine:
        # A document that was never corrected, nor registered twice, is alone in its family: nearly every one.
        found = [each for each in found if each.replaced_by or len(each.family) > 1]
    families = (family for each in found for family in (each.family, *each.replaced_by))
    if situation.is_machine:
        patients = {entry.patient_id for family in families for entry in family}
        return frozenset(patients | {each.patient_id for each in containers}) - situation.blocks.keys()
    return frozenset(
        entry.patient_id
        for family in families
        if len(family) > 1 and all(situation.own_patient(each.patient_id) for each in current(family))
        for entry in family
        if entry.patient_id not in situation.blocks
    )


def sift_documents(
    situation: Situation,
    query: StoredQuery,
    found: Sequence[Found],
    decoys: Sequence[Found],
    closed: Iterable[Decision],
) -> Sifted:
    """Of documents. Decoys are judged like what they stand for, so that an unknown id takes as long as a hidden one."""
    families = [Family(each.family, (each.facts,), each.replaced_by) for each in found]
    families += _standing_in(situation, decoys)
    if isinstance(query, ById):
        situation.held("")  # a decoy's patient has to be looked at; so must it be where no decoy is
    shown = shield.shield(situation, families)
    seen = set(shown.visible)
    visible = [each for each in found if each.facts.entry_uuid in seen]
    objects = [*_closed(closed, shown)]
    # A decoy has no patient; what it stands for is told as unknown.
    objects += [_entry(each.entry, each.decision) for each in shown.judgements if each.entry.patient_id]
    if isinstance(query, ById):
        facts = [each.facts for each in found]
        objects += _unknown(query, {name for each in facts for name in (each.entry_uuid, each.lid, each.unique_id)})
    chosen = Chosen(entries=visible)
    return Sifted(chosen, seen.__contains__, tuple(objects), tuple(chosen.patients), "; ".join(shown.notes))


def sift(
    situation: Situation,
    query: StoredQuery,
    found: Gathered,
    registers: Mapping[str, tuple[str, ...]],
    closed: Iterable[Decision],
) -> Sifted:
    """Of documents, sets, folders and associations together. `registers`: see registry.desk."""
    seen = shield.shield_all(
        situation,
        [
            *(Family(each.family, (each.facts,), each.replaced_by) for each in found.entries.values()),
            *_standing_in(situation, found.decoys),
        ],
        [_container(each, found, registers) for each in found.containers.values()],
        [shield.Link(each.entry_uuid, (each.source, each.target)) for each in found.links.values()],
    )
    answer = choose(query, found, seen.visible.__contains__)
    asked = choose(query, found, lambda _: True)
    told = dict.fromkeys([*answer.uuids, *(end for each in answer.links for end in _ends(each))])
    objects = [*_closed(closed, seen.shown), *_shown(found, seen, told), *_withheld(found, seen, asked)]
    if isinstance(query, ById):
        known = found.entries.keys() | found.containers.keys() | found.links.keys()
        known |= {each.facts.unique_id for each in found.entries.values()}
        known |= {name for each in found.containers.values() for name in (each.unique_id, each.lid)}
        objects += _unknown(query, known)
    notes = list(seen.shown.notes)
    if asked.links:
        notes.append(f"associations: {len(answer.links)} shown, {len(asked.links) - len(answer.links)} withheld")
    patients = tuple(dict.fromkeys(_patients(found, told)))
    return Sifted(answer, seen.visible.__contains__, tuple(objects), patients, "; ".join(notes))


def _standing_in(situation: Situation, decoys: Iterable[Found]) -> Iterator[Family]:
    """Decoys as documents of a source there is: for a repository nobody owns one more source would be walked (N7)."""
    repository = next((each.repository_unique_ids[0] for each in situation.policy.sources.values()), "")
    for decoy in decoys:
        facts = decoy.facts._replace(repository_unique_id=repository)
        yield Family((facts,), (facts,))


def _container(each: Container, found: Gathered, registers: Mapping[str, tuple[str, ...]]) -> shield.Container:
    members = found.members_of(each.entry_uuid)
    documents = [entry for member in members if (entry := found.entries.get(member)) is not None]
    repositories = {entry.facts.repository_unique_id for entry in documents}
    return shield.Container(
        each.entry_uuid,
        each.patient_id,
        each.registered_by,
        frozenset(repositories or registers.get(each.registered_by, ())),
        tuple(members),
        tuple(found.later(each)),
    )


def _shown(found: Gathered, seen: Seen, told: Iterable[str]) -> Iterator[Object]:
    """What the answer shows; of an association what it ties together."""
    judged = {each.entry.entry_uuid: each.decision for each in seen.shown.judgements}
    for uuid in told:
        if uuid in judged:
            yield _entry(found.entries[uuid].facts, judged[uuid])
        elif uuid in found.containers:
            yield _object(found.containers[uuid], seen.containers[uuid])


def _withheld(found: Gathered, seen: Seen, asked: Chosen) -> Iterator[Object]:
    """What was asked for and is not shown; of a hidden association the end that hides it."""
    judged = {each.entry.entry_uuid: each.decision for each in seen.shown.judgements}
    wanted = dict.fromkeys([*found.roots, *asked.uuids, *(end for each in asked.links for end in _ends(each))])
    for uuid in wanted:
        if uuid in seen.visible:
            continue
        if uuid in judged:
            yield _entry(found.entries[uuid].facts, judged[uuid])
        elif uuid in found.containers and found.containers[uuid].patient_id not in seen.shown.patients:
            yield _object(found.containers[uuid], seen.containers[uuid])


def _patients(found: Gathered, told: Iterable[str]) -> Iterator[str]:
    for uuid in told:
        if uuid in found.entries:
            yield found.entries[uuid].facts.patient_id
        elif uuid in found.containers:
            yield found.containers[uuid].patient_id


def _ends(link: Link) -> tuple[str, str]:
    return link.source, link.target


def _entry(entry: EntryFacts, decision: Decision) -> Object:
    return Object(decision, entry.entry_uuid, entry.repository_unique_id, entry.unique_id)


def _object(container: Container, decision: Decision) -> Object:
    return Object(decision, container.entry_uuid, "", container.unique_id)


def _closed(closed: Iterable[Decision], shown: Shown) -> list[Object]:
    """Patients of whom nothing was looked at, one decision each; a decoy's is nobody's."""
    decisions = {*closed, *(decision for patient_id, decision in shown.patients.items() if patient_id)}
    return [Object(decision) for decision in decisions]


def _unknown(query: ById, known: Collection[str]) -> list[Object]:
    uuids, unique_ids = asked_ids(query)
    return [
        *(Object(UNKNOWN, entry_uuid=clip(each, 256)) for each in uuids if each not in known),
        *(Object(UNKNOWN, unique_id=clip(each, 256)) for each in unique_ids if each not in known),
    ]
