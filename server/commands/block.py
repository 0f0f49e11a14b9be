"""block: set, lift and list a patient's blocks. They hold from the next decision of every node on this database."""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.hand import by_hand, opened
from server.commands.terminal import (
    DEFAULT_CONFIG,
    MISTAKEN,
    PATIENT_HELP,
    ConfigFile,
    config_of,
    console,
    moment,
    patient,
    shown,
    stop,
    table,
)

if TYPE_CHECKING:
    from audit.event import Event, Kind
    from audit.spool import Spool
    from policy.blocks import Block
    from policy.facts import Clock
    from registry.blocks import BlockBook
    from server.config import Config

app = typer.Typer(no_args_is_help=True, help="Set, lift and list patients' blocks; a running node follows at once.")

Patient = Annotated[str, typer.Argument(help=PATIENT_HELP)]
By = Annotated[str, typer.Option("--by", help="Who asked for it; your login name if absent.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the audit trail. Not about the patient's health.")]

AT_ONCE = timedelta(minutes=1)
"""How much earlier a block begins that is to hold at once: the clocks of the nodes need not agree to the second."""
BY_SOURCE = frozenset({"organisation", "department", "document", "source_total"})
"""Kinds that a source sets; the others are the patient's own."""


@app.command("set")
def set_block(
    patient_id: Patient,
    kind: Annotated[str, typer.Option(help="visit_history, reservation, journal_sharing, named_person, ...")],
    person: Annotated[str, typer.Option(help="HPR number (else F or D number) of a named_person block.")] = "",
    organisation: Annotated[str, typer.Option(help="Organisation number of an organisation or department block.")] = "",
    department: Annotated[str, typer.Option(help="RESH number within the organisation.")] = "",
    source: Annotated[str, typer.Option(help="Source id of the policy whose documents are meant.")] = "",
    repository: Annotated[str, typer.Option(help="repositoryUniqueId of the document, for the audit trail.")] = "",
    document: Annotated[list[str] | None, typer.Option(help="uniqueId of a blocked document; may be repeated.")] = None,
    overridable_by: Annotated[str, typer.Option(help="consent, emergency or both; the policy decides if absent.")] = "",
    begin: Annotated[str, typer.Option("--from", help="First moment it holds; now if absent.")] = "",
    end: Annotated[str, typer.Option("--to", help="First moment it no longer holds.")] = "",
    ahead: Annotated[bool, typer.Option("--ahead", help="The documents are yet to be registered.")] = False,
    by: By = "",
    reason: Why = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Set a block. When this returns, no decision that starts later misses it."""
    from policy.blocks import Block, BlockKind, Setter
    from policy.facts import Basis

    settings = config_of(config)
    with _open(settings) as desk:
        now = desk.clock.now()
        try:
            new = Block(
                block_id=secrets.token_hex(8),
                kind=BlockKind(kind),
                patient_id=patient(patient_id),
                set_by=Setter.SOURCE if kind in BY_SOURCE else Setter.PATIENT,
                valid_from=moment(begin) if begin else now - AT_ONCE,
                valid_to=moment(end) if end else None,
                person=person,
                organisation=organisation,
                department=department,
                source=source,
                documents=frozenset(document or ()),
                overridable_by=frozenset(map(Basis, overridable_by.split(","))) if overridable_by else None,
            )
        except ValueError as mistake:
            stop(str(mistake), MISTAKEN)
        _aimed(new, settings, desk.book, ahead)
        desk.set(new, by or getpass.getuser(), reason, repository)
        console().print(f"block {new.block_id} is in force" if new.in_force(now) else f"block {new.block_id} is set")


@app.command("lift")
def lift(
    patient_id: Patient,
    block_id: Annotated[str, typer.Argument(help="Id of the block, as set and list show it.")],
    by: By = "",
    reason: Why = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Lift a block: the next decision no longer sees it in force."""
    with _open(config_of(config)) as desk:
        desk.lift(patient(patient_id), block_id, by or getpass.getuser(), reason)
        console().print(f"block {block_id} is lifted")


@app.command("list")
def list_blocks(patient_id: Patient, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """List a patient's blocks, lifted ones too."""
    from policy.facts import BlocksUnavailable

    with _open(config_of(config)) as desk:
        now = desk.clock.now()
        try:
            blocks = desk.book.list(patient(patient_id))
        except BlocksUnavailable as trouble:
            stop(f"the blocks cannot be read: {trouble}")
        shows = table("block", "kind", "target", "from", "to", "in force", "set by", "opened by")
        for each in blocks:
            shows.add_row(
                each.block_id,
                each.kind.value,
                _target(each),
                shown(each.valid_from),
                shown(each.valid_to) if each.valid_to else "",
                "yes" if each.in_force(now) else "no",
                each.set_by.value,
                _opened_by(each),
            )
        console().print(shows if blocks else "no blocks")


def _aimed(new: Block, settings: Config, book: BlockBook, ahead: bool) -> None:
    """Ends the command if the block would hold for nobody; says on stderr where that may be so."""
    from policy.facts import BlocksUnavailable
    from server.check import load_folder
    from server.commands import targets

    known = None
    if targets.needs_policy(new):
        known, _ = load_folder(settings.node.policy, settings.node.open_agreements)
    try:
        if wrong := list(targets.faults(new, known, book, ahead)):
            stop("the block is not set: it would hold for nobody\n" + "\n".join(wrong), MISTAKEN)
        for doubt in targets.doubts(new, known, book):
            console(error=True).print(f"warning: {doubt}")
    except BlocksUnavailable as trouble:
        stop(f"the block is not set: {trouble}")


class _Desk:
    """The block book and the trail of one command."""

    def __init__(self, book: BlockBook, clock: Clock, trail: Spool) -> None:
        self.book, self.clock, self._trail = book, clock, trail

    def set(self, new: Block, by: str, reason: str, repository: str) -> None:
        """What protects the patient comes first: a block holds even if the trail then turns out to be full."""
        from audit.event import Kind, RecordLost
        from registry.blocks import BlockRefused
        from registry.database.engine import StoreTrouble

        try:
            self.book.set_block(new, by, self.clock.now())
            self._trail.record(self._event(Kind.BLOCK_SET, new, by, reason, repository))
        except (BlockRefused, StoreTrouble) as trouble:
            stop(f"the block is not set: {trouble}")
        except RecordLost as lost:
            stop(f"block {new.block_id} is set, but the audit trail does not know: {lost}")

    def lift(self, patient_id: str, block_id: str, by: str, reason: str) -> None:
        """What opens is recorded first: no block ends without a line that tells who ended it."""
        from audit.event import Kind, RecordLost
        from policy.facts import BlocksUnavailable
        from registry.blocks import BlockRefused
        from registry.database.engine import StoreTrouble

        now = self.clock.now()
        try:
            old = next((each for each in self.book.list(patient_id) if each.block_id == block_id), None)
            if old is None or (old.valid_to is not None and old.valid_to <= now):
                stop(f"the patient has no block {block_id} to lift")
            event = self._event(Kind.BLOCK_LIFTED, old, by, reason, "")
            self._trail.record(event)
            try:
                self.book.lift(patient_id, block_id, by, now)
            except (BlockRefused, StoreTrouble) as trouble:
                self._trail.record(replace(event, kind=Kind.FAILED, note=f"not lifted: {trouble}"))
                stop(f"the block is not lifted: {trouble}")
        except (RecordLost, BlocksUnavailable) as trouble:
            stop(f"the block is not lifted: {trouble}")

    def _event(self, kind: Kind, block: Block, by: str, reason: str, repository: str) -> Event:
        from audit.event import Object
        from policy.blocks import REASON_OF
        from policy.facts import Decision

        decision = Decision(False, REASON_OF[block.kind], source=block.source, block=block.block_id)
        bare = by_hand(self.clock, kind, block.patient_id, block.kind.value, by, reason)
        objects = tuple(Object(decision, "", repository, each) for each in sorted(block.documents) or ("",))
        return replace(bare, reason=REASON_OF[block.kind].value, objects=objects)


@contextmanager
def _open(settings: Config) -> Iterator[_Desk]:
    from registry.blocks import BlockBook

    with opened(settings) as (database, clock, trail):
        yield _Desk(BlockBook(database), clock, trail)


def _opened_by(block: Block) -> str:
    from policy.blocks import ABSOLUTE

    if block.overridable_by is None:
        return "nothing" if block.kind in ABSOLUTE else "as the policy says"
    return ", ".join(sorted(block.overridable_by)) or "nothing"


def _target(block: Block) -> str:
    named = (
        ("person", block.person),
        ("organisation", block.organisation),
        ("department", block.department),
        ("source", block.source),
        ("documents", ", ".join(sorted(block.documents))),
    )
    return "; ".join(f"{name} {value}" for name, value in named if value) or "everything"
