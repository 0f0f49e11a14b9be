"""What commands share with the person at the terminal: where the configuration is, how times and patients are typed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn
from zoneinfo import ZoneInfo

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from server.check import Found
    from server.config import Config

REFUSED = 1
"""Exit status of a command whose answer is no: a finding, an unknown block, an unreadable line."""
MISTAKEN = 2
"""Exit status of a command that could not begin: a mistake in the configuration or on the command line."""

ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="INNSYN_CONFIG", help="Configuration file.", show_default=True),
]
PATIENT_HELP = (
    "Eleven digits, or NUMBER^^^&OID&ISO; - reads a line of standard input, which no list of processes shows."
)
DEFAULT_CONFIG = Path("innsyn.toml")
OSLO = ZoneInfo("Europe/Oslo")


@contextmanager
def private_files() -> Iterator[None]:
    """Within it, whatever comes into being is open to its owner alone. Also a decorator of commands."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def console(*, error: bool = False) -> Console:
    """Where a command writes; marks in what is written are never interpreted. Into a file, lines stay whole."""
    from rich.console import Console

    wide = None if (sys.stderr if error else sys.stdout).isatty() else 240
    return Console(stderr=error, markup=False, highlight=False, soft_wrap=True, width=wide)


def table(*columns: str) -> Table:
    """An empty table that shows text as it is."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column in ("block", "exchange", "time"))
    return made


def stop(sentence: str, status: int = REFUSED) -> NoReturn:
    """Ends the command with a sentence on stderr."""
    console(error=True).print(sentence)
    raise typer.Exit(status)


def config_of(path: Path) -> Config:
    """The configuration, or every mistake in it and the end of the command."""
    from server.settings import ConfigRefused, load

    try:
        return load(path)
    except ConfigRefused as refused:
        stop(f"{path} cannot be used:\n{refused}", MISTAKEN)


def tell(found: tuple[Found, ...]) -> None:
    """Shows warnings and then mistakes on stderr, one a line: what must be done stands last, next to the prompt."""
    out = console(error=True)
    for each in sorted(found, key=lambda one: not one.warning):
        out.print(f"{'warning' if each.warning else 'mistake'}: {each}")


def moment(text: str) -> datetime:
    """A time as typed: with its offset, or a date, which begins at 00:00 in Europe/Oslo."""
    try:
        if len(text) == len("2021-02-15"):
            typed = datetime.combine(date.fromisoformat(text), time(), OSLO)
        else:
            typed = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write a date, or a time such as 2021-02-15T10:00:00+01:00") from None
    if typed.tzinfo is None:
        raise typer.BadParameter("write the offset after the time, as in 2021-02-15T10:00:00+01:00")
    if not 1900 <= typed.year < 9000:
        raise typer.BadParameter("write a year that somebody may live to see")
    return typed


def patient(text: str) -> str:
    """A patient as typed, eleven digits or a whole CX, as canonical CX; `-` takes a line of standard input.

    Refuses a number that cannot be one: a slip of one digit would set a block on nobody and look like success.
    """
    from policy.numbers import AUTHORITY, SYNTHETIC_MONTHS, NumberRules, is_patient, patient_id, person_number

    if text == "-":
        text = sys.stdin.readline().strip()
    rules = NumberRules(synthetic_months=SYNTHETIC_MONTHS)
    if text.isdecimal():
        found = person_number(text, rules)
        if found is None:
            raise typer.BadParameter("is not a national number: its control digits or its date do not fit")
        return f"{text}^^^&{AUTHORITY[found.kind]}&ISO"
    parsed = patient_id(text)
    if parsed is None or not is_patient(text, frozenset(), rules):
        raise typer.BadParameter("is neither eleven digits nor an id of the form NUMBER^^^&OID&ISO")
    return parsed.cx


def shown(when: datetime) -> str:
    """A time as people in Norway read it, with its offset."""
    return when.astimezone(OSLO).isoformat(sep=" ", timespec="seconds")
