"""audit: who has seen a patient's documents, and whether the trail is whole. Both work beside a running node."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.terminal import (
    DEFAULT_CONFIG,
    PATIENT_HELP,
    REFUSED,
    ConfigFile,
    config_of,
    console,
    patient,
    shown,
    stop,
    table,
)

if TYPE_CHECKING:
    from audit.event import Object
    from audit.search import View

app = typer.Typer(no_args_is_help=True, help="Read and verify the audit trail.")


@app.command("verify")
def verify(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Read the whole trail and name the first bad line of each worker's."""
    from audit.search import verify as check

    folder = config_of(config).audit_folder
    try:
        verdict = check(folder)
    except OSError as problem:
        stop(f"{folder} cannot be read: {problem.strerror}")
    for finding in verdict.findings:
        console(error=True).print(str(finding))
    if verdict.findings:
        raise typer.Exit(REFUSED)
    console().print(f"{verdict.lines} lines in {verdict.segments} files are whole, unaltered and in order")


@app.command("who")
def who(
    patients: Annotated[list[str], typer.Argument(help=f"Every number of one patient. {PATIENT_HELP}")],
    everything: Annotated[
        bool, typer.Option("--all", help="Also who looked and was shown nothing, and who changed something.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Show who has seen a patient's documents: when, as what, why, and what was shown, opened or withheld."""
    from audit.search import who as look

    folder = config_of(config).audit_folder
    try:
        found = look(folder, [patient(each) for each in patients])
    except OSError as problem:
        stop(f"{folder} cannot be read: {problem.strerror}")
    views = [each for each in found.views if everything or each.saw_anything]
    if as_json:
        for view in views:
            console().print(json.dumps(asdict(view), default=str))
    else:
        _show(views)
    for gap in found.gaps:
        console(error=True).print(f"unreadable, so the answer may not be whole: {gap}")
    if found.gaps:
        raise typer.Exit(REFUSED)


def _show(views: list[View]) -> None:
    shows = table(
        "time", "who", "role", "organisation", "purpose", "shown", "opened", "changed", "withheld", "exchange"
    )
    for view in views:
        who_it_was = f"{view.name} (HPR {view.hpr})" if view.hpr else view.name
        shows.add_row(
            shown(view.at) + (" (simulated)" if view.simulated else ""),
            who_it_was,
            view.role,
            " ".join(part for part in (view.organisation, view.department) if part),
            view.purpose,
            _listed(each.unique_id for each in view.shown),
            _listed(f"{each.unique_id} {each.ending or 'outcome unknown'}" for each in view.opened),
            _listed(f"{each.unique_id or each.entry_uuid} ({view.transaction})" for each in view.changed),
            _withheld(view.withheld) or view.refused,
            view.correlation,
        )
    console().print(shows if views else "nobody")


def _listed(lines: Iterable[str]) -> str:
    found = list(lines)
    return "\n".join(found[:10]) + (f"\nand {len(found) - 10} more" if len(found) > 10 else "")


def _withheld(objects: Iterable[Object]) -> str:
    """Reasons with their number: ids of what was withheld are no business of whoever asks about the views."""
    counted: dict[str, int] = {}
    for each in objects:
        word = each.decision.reason.value if not each.decision.permit else str(each.ending)
        counted[word] = counted.get(word, 0) + 1
    return "\n".join(f"{count} x {word}" for word, count in sorted(counted.items()))
