"""policy: check the agreements' files, give them to a running node, and explain a decision that was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.terminal import (
    DEFAULT_CONFIG,
    MISTAKEN,
    ConfigFile,
    config_of,
    console,
    shown,
    stop,
    table,
    tell,
)

if TYPE_CHECKING:
    from audit.event import Event

app = typer.Typer(no_args_is_help=True, help="Check and explain the sharing agreements.")


@app.command("check")
def check(
    folder: Annotated[Path | None, typer.Argument(help="Policy folder; that of the configuration if absent.")] = None,
    open_agreement: Annotated[list[str] | None, typer.Option(help="An agreement that may be open to all.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Load the policy and name every mistake in it."""
    from server.check import load_folder

    if folder is not None:
        policy, found = load_folder(folder, open_agreement or ())
    else:
        node = config_of(config).node
        policy, found = load_folder(node.policy, (*node.open_agreements, *(open_agreement or ())))
    tell(tuple(found))
    if policy is None:
        raise typer.Exit(MISTAKEN)
    counts = (
        f"{len(policy.agreements)} agreements, {len(policy.sources)} sources, {len(policy.consumers)} consumers, "
        f"{len(policy.panels)} panels"
    )
    console().print(f"{policy.version}: {counts}")


@app.command("reload")
def reload(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Give the policy files to the running node; with a mistake in them the policy in force stays."""
    from server.serve import StartFailed, command

    try:
        answer = command(config_of(config), {"do": "reload"})
    except (StartFailed, OSError, ValueError) as problem:
        stop(str(problem))
    if "error" in answer:
        stop(str(answer["error"]))
    console().print(f"policy {answer.get('version')} is in force, generation {answer.get('generation')}")


@app.command("explain")
def explain(
    correlation: Annotated[str, typer.Argument(help="Id of the exchange: in the answer's HTTP header and the log.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Explain every decision of one exchange, from the audit trail."""
    from audit.search import exchange
    from audit.segment import Broken

    try:
        events = exchange(config_of(config).audit_folder, correlation)
    except (Broken, OSError) as problem:
        stop(f"the trail cannot be read: {problem}")
    if not events:
        stop("the trail knows no such exchange")
    for event in events:
        _show(event)


def _show(event: Event) -> None:
    from server.commands.reasons import sentence

    out = console()
    when = shown(event.at) + (" (simulated)" if event.simulated else "")
    out.print(f"{event.kind.value} {event.transaction} at {when}, policy {event.policy or 'none'}")
    if event.subject is not None:
        one = event.subject
        where = " ".join(part for part in (one.role, one.place_of_care or one.legal_entity, one.purpose) if part)
        out.print(f"  asked by {one.name or one.machine} {where}".rstrip())
    if event.reason:
        out.print(f"  {event.reason}: {sentence(event.reason)}")
    for code in event.errors:
        out.print(f"  answered with {code}")
    if event.note:
        out.print(f"  {event.note}")
    if event.objects:
        shows = table("document", "decision", "why", "source", "agreement", "block")
        for each in event.objects:
            decision = each.decision
            also = f" (also {', '.join(reason.value for reason in decision.also)})" if decision.also else ""
            shows.add_row(
                each.unique_id or "the patient as a whole",
                "shown" if decision.permit else "withheld",
                f"{decision.reason.value}: {sentence(decision.reason.value)}{also}",
                decision.source,
                decision.agreement,
                decision.block,
            )
        out.print(shows)
