"""load: a hospital's existing documents into the registry, beside a running node; interrupted, it goes on."""

from __future__ import annotations

import asyncio
import csv
import json
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.progress import progress
from server.commands.terminal import (
    DEFAULT_CONFIG,
    MISTAKEN,
    REFUSED,
    ConfigFile,
    config_of,
    console,
    private_files,
    stop,
)

if TYPE_CHECKING:
    from registry.desk import Desk
    from server.config import Config
    from server.load import Summary
    from server.load_journal import Told

TRAIL = "load"
"""Name of a load in the audit trail; one at a time has it on a node, and one each share."""


# Journal and report hold what senders wrote, patients' numbers too.
@private_files()
def load(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Folders and tar archives of .xml files, or single files: lcm:SubmitObjectsRequest, bare or in SOAP."
        ),
    ],
    identity: Annotated[str, typer.Option(help="The [identity] that registers them.")],
    journal: Annotated[
        Path | None, typer.Option(help="Where to note what is done; load.jsonl in the state folder if absent.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write what is not registered, and why: CSV or JSON lines.")
    ] = None,
    share: Annotated[
        str, typer.Option(help="NUMBER/OF: take this share of the patients; start the others beside, one per core.")
    ] = "1/1",
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Register existing documents in bulk, judged like ITI-42. Start it again to go on where it was interrupted."""
    import tarfile

    from server.load import Loader, LoadStopped
    from server.load_journal import Journal

    settings = config_of(config)
    number, shares = _share(share)
    name = TRAIL if shares == 1 else f"{TRAIL}-{number}-of-{shares}"
    with _desk(settings, identity, name) as desk, progress() as shown:
        try:
            noted = Journal(journal or settings.node.state / f"{name}.jsonl")
        except OSError as problem:
            stop(f"the journal cannot be written: {problem.strerror}", MISTAKEN)
        loader = Loader(desk, noted, shown, share=(number, shares))
        trouble = ""
        # Not as an exception, which would come anywhere.
        before = signal.signal(signal.SIGINT, lambda *_: loader.interrupt())
        try:
            loader.run(paths)
        except (LoadStopped, tarfile.TarError) as why:
            trouble = str(why)
        except OSError as problem:
            trouble = f"{problem.filename}: {problem.strerror}"
        finally:
            signal.signal(signal.SIGINT, before)
            noted.close()
    if report is not None:
        _write(report, loader.summary.others.values())
    _tell(loader.summary, trouble)


def _share(text: str) -> tuple[int, int]:
    number, _, shares = text.partition("/")
    if not (number.isdecimal() and shares.isdecimal() and 1 <= int(number) <= int(shares) <= 64):
        raise typer.BadParameter("write a share as NUMBER/OF, for example 1/4 and up to 4/4")
    return int(number), int(shares)


@contextmanager
def _desk(settings: Config, identity: str, trail: str) -> Iterator[Desk]:
    """The desk of a node that listens nowhere, at which this machine sends."""
    from audit.event import RecordLost
    from registry.database.engine import DatabaseMissing, StoreTrouble
    from registry.rules.codes import CodesRefused
    from server.certificates import CertificateTrouble
    from server.clock import ClockUnreadable
    from server.load import as_sender
    from server.policies import read_policy
    from server.wiring import Node, machine

    if identity not in settings.identity:
        stop(f"there is no [identity.{identity}]; there are {', '.join(sorted(settings.identity)) or 'none'}", MISTAKEN)
    if not settings.identity[identity].may_register:
        stop(f"[identity.{identity}] may register for no repository", MISTAKEN)
    policy, mistakes = read_policy(settings, 0)
    if policy is None:
        stop("\n".join(map(str, mistakes)), MISTAKEN)
    try:
        node = Node(settings, 0, policy.load(), policy.patients, trail=trail)
        try:
            yield as_sender(node.registry_desk(), machine(identity, settings.identity[identity]).subject())
        finally:
            asyncio.run(node.close())
    except (DatabaseMissing, StoreTrouble, RecordLost, ClockUnreadable, CodesRefused, CertificateTrouble) as trouble:
        stop(f"nothing can be loaded: {trouble}")


def _write(report: Path, others: Iterable[Told]) -> None:
    with report.open("w", encoding="utf-8", newline="") as file:
        report.chmod(0o600)
        if report.suffix.lower() != ".csv":
            for told in others:
                file.write(json.dumps(asdict(told), ensure_ascii=False) + "\n")
            return
        lines = csv.writer(file)
        lines.writerow(("file", "outcome", "code", "rule", "problem"))
        for told in others:
            for each in told.problems:
                lines.writerow(map(_cell, (told.file, told.outcome.value, each.code, each.rule, each.text)))


def _cell(text: str) -> str:
    """As a spreadsheet shows it: what a message says must not become a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _tell(summary: Summary, trouble: str) -> None:
    before = f", {summary.known:,} were before" if summary.known else ""
    console().print(f"{summary.registered:,} files are registered{before}; {len(summary.others):,} are not")
    out = console(error=True)
    reasons = Counter(
        (each.rule or each.code or each.text) for told in summary.others.values() for each in told.problems
    )
    for reason, number in reasons.most_common(20):
        out.print(f"  {number:,} x {reason}")
    if trouble:
        out.print(f"the load ended early: {trouble}")
    if summary.interrupted:
        out.print("the load was interrupted; start it again to go on")
    if summary.others or summary.interrupted or trouble:
        raise typer.Exit(REFUSED)
