"""patient: who is one person, and the operator's hand in it. A running node decides by what is done here at once."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from server.commands.hand import by_hand, opened
from server.commands.terminal import (
    DEFAULT_CONFIG,
    MISTAKEN,
    PATIENT_HELP,
    ConfigFile,
    config_of,
    console,
    patient,
    shown,
    stop,
    table,
)

if TYPE_CHECKING:
    from audit.event import Event, Kind
    from audit.spool import Spool
    from policy.facts import Clock
    from registry.blocks import BlockBook
    from registry.people.book import PatientBook, Person
    from registry.people.merges import Line, Separation
    from server.config import Config

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="See, merge, link and separate patients' numbers; a node follows at once.")

Survivor = Annotated[str, typer.Argument(help=f"The number that remains. {PATIENT_HELP}")]
Subsumed = Annotated[str, typer.Argument(help="The number that lives on under it.")]
By = Annotated[str, typer.Option("--by", help="Who asked for it; your login name if absent.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the audit trail. Not about the patient's health.")]
Ahead = Annotated[bool, typer.Option("--ahead", help="Take a number that nothing is registered or blocked under.")]


@app.command("show")
def show(
    patient_id: Annotated[str, typer.Argument(help=PATIENT_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Show every number of the person, what made them one, and the whole history."""
    from registry.database.engine import StoreTrouble

    with _open(config_of(config)) as desk:
        try:
            person = desk.book.of(patient(patient_id))
        except StoreTrouble as trouble:
            stop(f"the registry cannot be read: {trouble}")
    if as_json:
        typer.echo(json.dumps(_plain(person), indent=2))
        return
    out = console()
    if not person.known:
        out.print("nothing is registered or fed under this number")
    numbers = table("number", "is shown under")
    for each in sorted(person.identities):
        numbers.add_row(each, "itself" if each == person.survivor else person.survivor)
    out.print(numbers)
    if person.history:
        lines = table("time", "change", "number", "with", "moved along", "blocks", "by")
        for line in person.history:
            moved = ", ".join(each for each in line.moved if each != line.subsumed)
            blocks = ", ".join(line.blocks)
            lines.add_row(shown(line.at), line.change.value, line.subsumed, line.survivor, moved, blocks, line.by)
        out.print(lines)


@app.command("merge")
def merge(
    survivor: Survivor,
    subsumed: Subsumed,
    ahead: Ahead = False,
    by: By = "",
    reason: Why = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Make two numbers of one register one person, as a patient feed does."""
    from policy.numbers import patient_id

    ids = patient(survivor), patient(subsumed)
    one, other = (patient_id(each) for each in ids)
    if one is not None and other is not None and one.authority != other.authority:
        stop("the numbers are of two registers, so both remain in use: innsyn patient link", MISTAKEN)
    _unite(*ids, ahead, by, reason, config)


@app.command("link")
def link(
    survivor: Survivor,
    subsumed: Subsumed,
    ahead: Ahead = False,
    by: By = "",
    reason: Why = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Make two numbers of two registers one person: a D-number, and the national identity number that came after it."""
    from policy.numbers import F_NUMBER, NATIONAL, patient_id

    ids = patient(survivor), patient(subsumed)
    one, other = (patient_id(each) for each in ids)
    assert one is not None, "patient() gives CX only"
    assert other is not None, "patient() gives CX only"
    if one.authority == other.authority:
        stop("the numbers are of one register, in which a person has one: innsyn patient merge", MISTAKEN)
    if other.authority == F_NUMBER and one.authority in NATIONAL:
        stop("the national identity number is the one that remains: write it first", MISTAKEN)
    _unite(*ids, ahead, by, reason, config)


@app.command("separate")
def separate(
    subsumed: Annotated[str, typer.Argument(help=f"The number that was merged or linked. {PATIENT_HELP}")],
    by: By = "",
    reason: Why = "",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Take a merge or a link back. Blocks set since then hold for both persons."""
    from audit.event import Kind

    with _open(config_of(config)) as desk:
        cx, who = patient(subsumed), by or getpass.getuser()
        survivor = desk.survivor(cx)
        if survivor == cx:
            stop("the number was not merged into another")
        event = desk.event(Kind.SEPARATED, survivor, cx, who, reason)
        done = desk.change(event, lambda: desk.book.separate(cx, who, desk.clock.now()), "separated")
        _tell(done)


def _unite(survivor: str, subsumed: str, ahead: bool, by: str, reason: str, config: ConfigFile) -> None:
    from audit.event import Kind
    from policy.facts import BlocksUnavailable

    with _open(config_of(config)) as desk:
        who = by or getpass.getuser()
        try:
            for each in (survivor, subsumed):
                if not (ahead or desk.blocks.knows(each) or desk.blocks.list(each)):
                    stop(f"nothing is registered or blocked under {each}; --ahead takes it all the same", MISTAKEN)
        except BlocksUnavailable as trouble:
            stop(f"nothing is merged: {trouble}")
        event = desk.event(Kind.MERGED, survivor, subsumed, who, reason)
        done = desk.change(
            event, lambda: desk.book.merge(survivor, subsumed, who, desk.clock.now(), ahead=True), "merged"
        )
        console().print(f"{', '.join(done.moved)} live on under {survivor}")
        if done.blocks:
            console().print(f"blocks that now cover the whole person: {', '.join(done.blocks)}")


def _tell(done: Separation) -> None:
    out = console()
    out.print(f"{', '.join(done.moved)} are a person again, apart from {done.survivor}")
    if done.returned:
        out.print(f"blocks that went back with it: {', '.join(done.returned)}")
    if done.copied:
        out.print(f"blocks set while both were one, which now hold for both: {', '.join(done.copied)}")
    if done.lifted:
        console(error=True).print(
            f"warning: blocks that ended while both were one, perhaps for the other person: {', '.join(done.lifted)}"
        )


def _plain(person: Person) -> dict[str, object]:
    return {
        "number": person.asked,
        "known": person.known,
        "survivor": person.survivor,
        "identities": sorted(person.identities),
        "merges": [_line(each) for each in person.merges],
        "history": [_line(each) for each in person.history],
    }


def _line(line: Line) -> dict[str, object]:
    return {
        "sequence": line.sequence,
        "at": line.at.isoformat(),
        "by": line.by,
        "change": line.change.value,
        "survivor": line.survivor,
        "subsumed": line.subsumed,
        "moved": list(line.moved),
        "blocks": list(line.blocks),
    }


class _Desk:
    """The patients and the trail of one command."""

    def __init__(self, book: PatientBook, blocks: BlockBook, clock: Clock, trail: Spool) -> None:
        self.book, self.blocks, self.clock, self._trail = book, blocks, clock, trail

    def survivor(self, patient_id: str) -> str:
        """Under whom this number lives on; ends the command where the registry cannot tell."""
        from registry.database.engine import StoreTrouble

        try:
            return self.book.of(patient_id).survivor
        except StoreTrouble as trouble:
            stop(f"the registry cannot be read: {trouble}")

    def change(self, event: Event, work: Callable[[], T], done: str) -> T:
        """Does it once it is recorded: who is whose patient changes with it, so that nothing may be without a line."""
        from audit.event import Kind, RecordLost
        from registry.database.engine import StoreTrouble
        from registry.people.merges import MergeRefused

        try:
            self._trail.record(event)
            try:
                return work()
            except (MergeRefused, StoreTrouble) as trouble:
                self._trail.record(replace(event, kind=Kind.FAILED, note=f"not {done}: {trouble}"))
                stop(f"nothing is {done}: {trouble}")
        except RecordLost as lost:
            stop(f"nothing is {done}: {lost}")

    def event(self, kind: Kind, survivor: str, subsumed: str, by: str, reason: str) -> Event:
        """What the trail is told; about both numbers."""
        return replace(by_hand(self.clock, kind, survivor, kind.value, by, reason), patients=(subsumed,))


@contextmanager
def _open(settings: Config) -> Iterator[_Desk]:
    from registry.blocks import BlockBook
    from registry.people.book import PatientBook

    with opened(settings) as (database, clock, trail):
        yield _Desk(PatientBook(database), BlockBook(database), clock, trail)
