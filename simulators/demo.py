"""`make demo`: the pilot on one machine, step by step, each step checked; the exit status tells whether all held.

Every step says in a sentence what it shows. What each reader should see is worked out here from the papers alone, by
the pilot's description, and compared with what the node answers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from simulators import keep
from simulators.papers import PILOT, Paper, history
from simulators.people import PEOPLE, Person
from simulators.personae import ANNE, DAG, EVA, READERS
from simulators.sts import Clinician
from simulators.town import Town, TownFailed

DOCUMENTS_EACH = 25
REGISTERED_ON = "2020-06-01T09:00:00+02:00"
TODAY = "2021-02-15T10:00:00+01:00"
DAYS = (
    ("2020-11-09T12:00:00+01:00", "the day before Oslo universitetssykehus starts"),
    ("2020-11-10T00:00:30+01:00", "the first minute of Oslo universitetssykehus"),
    ("2020-12-01T00:00:30+01:00", "the first minute of Helse Nord"),
    ("2021-01-01T00:00:30+01:00", "the first minute of the national panel"),
    (TODAY, "an ordinary day of the trial"),
)
NORTH = frozenset({"finn", "unn", "nlsh", "helg"})
AGREED: dict[str, tuple[frozenset[str], date]] = {
    "Anne": (frozenset({"ous"}), date(2020, 11, 10)),
    "Berit": (frozenset({"ous"}), date(2020, 11, 10)),
    "Carl": (frozenset({"ous"}), date(2020, 11, 10)),
    "Dag": (NORTH, date(2020, 12, 1)),
    "Eva": (frozenset({"ous"}), date(2021, 1, 1)),
}
"""First name -> the hospitals they may read, and from when, by the pilot's description. All others read nothing."""


class Demo:
    """One run of the demonstration."""

    def __init__(self, town: Town, console: Console) -> None:
        self.town = town
        self.out = console
        self.papers: dict[str, tuple[Paper, ...]] = {}
        self.failures: list[str] = []

    def check(self, holds: bool, claim: str) -> None:
        """Says whether a claim held; a claim that did not makes the demo fail."""
        self.out.print(f"  [green]✓[/green] {claim}" if holds else f"  [red]✗ {claim}[/red]", soft_wrap=True)
        if not holds:
            self.failures.append(claim)

    def register(self) -> None:
        """Step 1: five hospitals register what they hold."""
        people = PEOPLE[:12]
        self.papers = {each.number: history(each, DOCUMENTS_EACH, seed) for seed, each in enumerate(people)}
        total = sum(map(len, self.papers.values()))
        step(self.out, 1, f"Five hospitals register {total} documents of {len(people)} patients (ITI-42).")
        self.town.at(REGISTERED_ON)
        refused = 0
        bars = (TextColumn("  registering"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*bars, console=self.out, transient=True) as progress:
            task = progress.add_task("", total=total)
            for papers in self.papers.values():
                for each in papers:
                    refused += self.town.publish([each], tell_signing=True).status.rpartition(":")[2] != "Success"
                    progress.advance(task)
        counts = Counter(each.source.name for papers in self.papers.values() for each in papers)
        shown = Table("hospital", "documents", box=None, padding=(0, 2))
        for name, count in sorted(counts.items()):
            shown.add_row(name, str(count))
        self.out.print(shown)
        self.check(not refused, f"all {total} registrations were acknowledged")

    def who_sees_what(self, patient: Person) -> None:
        """Step 2: every reader on every day."""
        step(self.out, 2, f"Seven readers ask for the documents of {patient.name} on five days (ITI-18).")
        for moment, words in DAYS:
            self.out.print(f"  {moment[:10]}  {words}")
        seen: dict[str, list[str]] = {reader.name: [] for reader in READERS}
        right = True
        for moment, _ in DAYS:
            self.town.at(moment)
            for reader in READERS:
                listed = {each.unique_id for each in self.town.find(reader, patient.number).entries}
                right &= listed == self.expected(reader, patient, moment)
                seen[reader.name].append(str(len(listed)) if listed else "-")
        shown = Table(box=None, padding=(0, 1))
        shown.add_column("reader", no_wrap=True)
        for moment, _ in DAYS:
            shown.add_column(moment[5:10], justify="right")
        for reader in READERS:
            shown.add_row(f"{reader.name}\n  {reader.place_of_care_name}", *seen[reader.name])
        self.out.print(shown)
        registered = len(self.papers[patient.number])
        self.out.print(
            f"  {registered} documents are registered. Shared are signed discharge summaries and\n"
            "  outpatient notes, from the hospitals and the day that an agreement with the\n"
            "  reader's place of care names."
        )
        self.check(right, "each reader saw exactly what the sharing agreements say, document by document")

    def open_documents(self, patient: Person) -> None:
        """Step 3: the bytes."""
        step(self.out, 3, f"{ANNE.name} opens everything she sees of {patient.name} (ITI-43).")
        papers = [each for each in self.papers[patient.number] if each.unique_id in self.expected(ANNE, patient, TODAY)]
        answer = self.town.open(ANNE, patient.number, papers)
        sent = {each.unique_id: each for each in answer.documents}
        shown = Table("document", "type", "bytes", "as at the hospital", box=None, padding=(0, 2))
        same = 0
        for each in papers:
            got = sent.get(each.unique_id)
            equal = got is not None and got.content == each.content
            same += equal
            shown.add_row(each.title, each.mime_type, str(len(got.content) if got else 0), "yes" if equal else "NO")
        self.out.print(shown)
        self.check(0 < same == len(papers), f"{same} documents came through byte for byte; the node stored none")

    def block(self, patient: Person) -> None:
        """Step 4: a block hides everything at once."""
        step(self.out, 4, f"{patient.name} blocks her visit history, and lifts the block again.")
        before = len(self.town.find(ANNE, patient.number).entries)
        known = [each for each in self.papers[patient.number] if each.unique_id in self.expected(ANNE, patient, TODAY)]
        said = self.town.innsyn("block", "set", patient.number, "--kind", "visit_history", "--by", "the patient")
        block_id = next(word for word in said.split() if len(word) == 16)
        hidden = [len(self.town.find(each, patient.number).entries) for each in READERS]
        blocked = self.town.open(ANNE, patient.number, known[:1])
        unknown = self.town.consumer().open(
            [(known[0].source.repository_unique_id, "2.999.404")], self.town.token(ANNE, patient.number)
        )
        self.town.innsyn("block", "lift", patient.number, block_id, "--by", "the patient")
        after = len(self.town.find(ANNE, patient.number).entries)
        self.out.print(f"  {ANNE.name} saw {before} documents, then {hidden[0]}, then {after}.")
        self.check(not any(hidden), "with the block nobody sees anything, and nobody is told that there is a block")
        alike = [(code, text.replace(known[0].unique_id, "D")) for code, text, _ in blocked.errors] == [
            (code, text.replace("2.999.404", "D")) for code, text, _ in unknown.errors
        ]
        self.check(alike and not blocked.documents, "a blocked document answers like one that does not exist")
        self.check(after == before > 0, "once lifted, everything is back with the next query")

    def hospital_down(self, patient: Person) -> None:
        """Step 5: one hospital of several is away."""
        step(self.out, 5, "Universitetssykehuset Nord-Norge stops answering while a doctor in Bodø opens documents.")
        papers = [each for each in self.papers[patient.number] if each.unique_id in self.expected(DAG, patient, TODAY)]
        self.town.close_hospital("unn")
        started = time.monotonic()
        answer = self.town.open(DAG, patient.number, papers)
        took = time.monotonic() - started
        self.town.reopen_hospital("unn")
        away = [each for each in papers if each.source.key == "unn"]
        self.out.print(f"  {len(answer.documents)} documents delivered, {len(answer.errors)} errors, {took:.1f} s")
        for code, text, _ in answer.errors:
            self.out.print(f"  {code}: {text}")
        self.check(answer.status.endswith(":PartialSuccess"), "the answer is PartialSuccess")
        self.check(
            len(answer.documents) == len(papers) - len(away) > 0, "all other hospitals' documents were delivered"
        )
        self.check(len(answer.errors) == len(away) > 0, "each document that is missing has one error")

    def who_looked(self, patient: Person) -> None:
        """Step 6: the audit trail."""
        step(self.out, 6, f"Who has looked at the documents of {patient.name}? (innsyn audit who)")
        views = [json.loads(line) for line in self.town.innsyn("audit", "who", patient.number, "--json").splitlines()]
        counts = Counter((view["name"], view["organisation"]) for view in views)
        shown = Table("reader", "organisation", "looked", box=None, padding=(0, 2))
        for (name, organisation), count in counts.most_common():
            shown.add_row(name, organisation, f"{count} times")
        self.out.print(shown)
        self.check({ANNE.name, EVA.name} <= {name for name, _ in counts}, "everyone who saw something is on record")
        self.check("are whole" in self.town.innsyn("audit", "verify"), "the audit trail is whole (innsyn audit verify)")

    def expected(self, reader: Clinician, patient: Person, moment: str) -> set[str]:
        """What the pilot's description lets this reader see of this patient, worked out without the node."""
        sources, since = AGREED.get(reader.name.partition(" ")[0], (frozenset(), date.max))
        if date.fromisoformat(moment[:10]) < since:
            return set()
        return {
            each.unique_id
            for each in self.papers[patient.number]
            if each.source.key in sources
            and each.kind.code in PILOT
            and each.signed
            and "NORS" not in each.access_codes
        }


def step(console: Console, number: int, sentence: str) -> None:
    """Announces what comes."""
    console.print(f"\n[bold]{number}. {sentence}[/bold]", soft_wrap=True)


def main() -> int:
    """Runs the demonstration; 0 if every claim held."""
    options = argparse.ArgumentParser(prog="make demo", description="The pilot of 2020-21 on one machine.")
    options.add_argument("--keep", action="store_true", help="leave the node running")
    chosen = options.parse_args()
    console = Console(highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="innsyn-demo-"))
    console.print(
        "[bold]Innsyn[/bold]: a registry and a repository proxy with the sharing agreements of the\n"
        "Norwegian pilot of 2020-21, on this machine alone. All people and documents are invented."
    )
    started = time.monotonic()
    try:
        with console.status("starting five hospitals, a token service and a node"), Town(folder) as town:
            console.print(f"Five hospitals, a token service and a node are up ({time.monotonic() - started:.0f} s).")
            return _run(town, console, chosen.keep, started)
    except TownFailed as failed:
        console.print(f"[red]{failed}[/red]", markup=False)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(town: Town, console: Console, keep_running: bool, started: float) -> int:
    demo = Demo(town, console)
    patient = PEOPLE[0]
    steps: Iterable[Callable[[Person], None]] = (
        demo.who_sees_what,
        demo.open_documents,
        demo.block,
        demo.hospital_down,
        demo.who_looked,
    )
    demo.register()
    for each in steps:
        each(patient)
    console.print()
    for claim in demo.failures:
        console.print(f"[red]did not hold: {claim}[/red]")
    if not demo.failures:
        console.print(f"[green]Every claim held.[/green] {time.monotonic() - started:.0f} s in all.")
    if keep_running:
        keep.running(town, console, patient)
    return 1 if demo.failures else 0


if __name__ == "__main__":
    sys.exit(main())
