"""What a query found, reduced to what this caller may see: content and order, with every decision for the trail.

Pure. The one filter of every stored query and return type, so that no query shows what another hides. Whatever counts
or compares a result (single patient, too many results) looks at `Shown.visible` and at nothing before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from policy.decide import Situation, decide, outlook
from policy.facts import Decision, EntryFacts
from policy.rows import unknown_codes


@dataclass(frozen=True, slots=True)
class Family:
    """All entries of one (repositoryUniqueId, uniqueId), and those of them that the query matched."""

    entries: tuple[EntryFacts, ...]
    wanted: tuple[EntryFacts, ...]
    replaced_by: tuple[tuple[EntryFacts, ...], ...] = ()
    """The family of each document that replaced this one (RPLC, XFRM_RPLC), step by step; only read where an
    agreement shares Deprecated entries."""


@dataclass(frozen=True, slots=True)
class Judgement:
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
            for code in unknown_codes(entry):
                notes[f"{entry.entry_uuid}: unknown 9603 code {code}"] = None
    return Shown(tuple(visible), tuple(judgements), closed, tuple(notes))


def association_shown(ends: Collection[str], visible: Collection[str]) -> bool:
    """Whether an association may be seen: not if any end is hidden, for its type and ends speak of what is hidden."""
    return all(end in visible for end in ends)


def container_shown(members: Collection[str], visible: Collection[str], judged_alone: bool) -> bool:
    """Whether a submission set or folder may be seen: one of its documents can, or it never had any.

    `judged_alone` is its own outcome of rows B, C and D; `members` are the documents it ever had, hidden ones included.
    """
    return judged_alone and (not members or any(member in visible for member in members))
