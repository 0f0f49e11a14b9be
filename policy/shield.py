"""What a query found, reduced to what this caller may see: content and order, with every decision for the trail.

Pure. The one filter of every stored query and return type, so that no query shows what another hides. Whatever counts
or compares a result (single patient, too many results) looks at `Shown.visible` and at nothing before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from policy.decide import Situation, decide, decide_alone, outlook
from policy.facts import Decision, EntryFacts, Reason
from policy.rows import unknown_codes


class Family(NamedTuple):
    """All entries of one (repositoryUniqueId, uniqueId), and those of them that the query matched."""

    entries: tuple[EntryFacts, ...]
    wanted: tuple[EntryFacts, ...]
    replaced_by: tuple[tuple[EntryFacts, ...], ...] = ()
    """The family of each document that replaced this one (RPLC, XFRM_RPLC), step by step; only read where an
    agreement shares Deprecated entries."""


class Judgement(NamedTuple):
    """One wanted entry and what was decided about it."""

    entry: EntryFacts
    decision: Decision


@dataclass(frozen=True, slots=True)
class Shown:
    """The visible part of a result, and what the trail holds of the rest."""

    visible: tuple[str, ...]
    """entryUUIDs the caller may see, in the order found."""
    judgements: tuple[Judgement, ...]
    """Per wanted entry, in the order found; entries of a closed patient are left out, they were not judged."""
    patients: Mapping[str, Decision]
    """Patients of whom nothing was looked at: one decision each."""
    notes: tuple[str, ...]
    """For operators: confidentiality codes that claim to be of list 9603 and are not."""


def shield(situation: Situation, found: Sequence[Family]) -> Shown:
    """The part of `found` that this caller may see.

    `found` is in the order of the answer; `situation.blocks` must hold every patient in it. An entry under another
    patient than the token's is judged by itself (and raises an alert), whoever's outlook is closed.
    """
    visible: list[str] = []
    judgements: list[Judgement] = []
    closed: dict[str, Decision] = {}
    notes: dict[str, None] = {}
    outlooks: dict[str, Decision | None] = {}
    for family in found:
        for entry in family.wanted:
            patient = entry.patient_id
            if patient not in outlooks:
                mine = situation.own_patient(patient)
                # Another's entry is judged by itself; to look at the caller's own patient then only costs as much.
                whole = outlook(situation, patient if mine else situation.subject.patient_id).closed
                outlooks[patient] = whole if mine else None
            if (whole := outlooks[patient]) is not None:
                closed[patient] = whole
                continue
            decision = decide(situation, family.entries, entry, family.replaced_by)
            judgements.append(Judgement(entry, decision))
            if decision.permit:
                visible.append(entry.entry_uuid)
            for code in unknown_codes(entry.confidentiality_codes):
                notes[f"{entry.entry_uuid}: unknown 9603 code {code}"] = None
    return Shown(tuple(visible), tuple(judgements), closed, tuple(notes))


@dataclass(frozen=True, slots=True)
class Container:
    """A submission set or folder, and what decides whether it shows."""

    entry_uuid: str
    patient_id: str
    registered_by: str
    repositories: frozenset[str]
    """See policy.decide.decide_alone."""
    members: tuple[str, ...]
    """Everything it ever had, hidden or not: documents, folders, memberships."""
    later: tuple[str, ...] = ()
    """Newer versions of the same folder."""


@dataclass(frozen=True, slots=True)
class Link:
    """An association and its ends."""

    entry_uuid: str
    ends: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the caller may see of documents, sets, folders and associations together."""

    visible: frozenset[str]
    shown: Shown
    containers: Mapping[str, Decision]
    """Per container, also where it is a closed patient's."""


def shield_all(
    situation: Situation, found: Sequence[Family], containers: Sequence[Container], links: Iterable[Link]
) -> Seen:
    """What of all this the caller may see. Every end, member and newer version that decides must be among it: what is
    not there counts as hidden."""
    shown = shield(situation, found)
    alone = {
        each.entry_uuid: decide_alone(situation, each.patient_id, each.registered_by, each.repositories)
        for each in containers
    }
    visible = set(shown.visible)
    # The newest version of a folder first: a long line of them is then seen through in one round.
    open_containers, open_links = sorted(containers, key=lambda each: len(each.later)), list(links)
    grown = -1
    # What shows lets more show, and never less: a folder its memberships, those the set that brought them.
    while grown < len(visible):
        grown = len(visible)
        open_links = [each for each in open_links if each.entry_uuid not in visible]
        visible |= {each.entry_uuid for each in open_links if association_shown(each.ends, visible)}
        open_containers = [each for each in open_containers if each.entry_uuid not in visible]
        for each in open_containers:
            if container_shown(each.members, visible, alone[each.entry_uuid].permit) and visible.issuperset(each.later):
                visible.add(each.entry_uuid)
    judged = {each.entry.entry_uuid: each.decision for each in shown.judgements}
    hidden = {each.entry_uuid: _of_members(each, alone[each.entry_uuid], judged) for each in open_containers}
    return Seen(frozenset(visible), shown, alone | {uuid: hidden[uuid] for uuid in hidden if uuid not in visible})


def _of_members(container: Container, alone: Decision, judged: Mapping[str, Decision]) -> Decision:
    """Why a container does not show: for what it is, else for what its first member is (in whatever order it came)."""
    if not alone.permit:
        return alone
    reasons = [judged[each] for each in sorted(container.members) if each in judged]
    return reasons[0] if reasons else Decision(permit=False, reason=Reason.DEPRECATED)


def association_shown(ends: Collection[str], visible: Collection[str]) -> bool:
    """Whether an association may be seen: not if any end is hidden, for its type and ends speak of what is hidden."""
    return all(end in visible for end in ends)


def container_shown(members: Collection[str], visible: Collection[str], judged_alone: bool) -> bool:
    """Whether a submission set or folder may be seen: anything in it can, or it never had anything.

    `judged_alone` is its own outcome of rows B, C and D; `members` is all it ever had, what is hidden included.
    """
    return judged_alone and (not members or any(member in visible for member in members))
