"""explain: what is wrong with a message, where, and how to mend it. Needs no node and no database."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.terminal import MISTAKEN, REFUSED, config_of, console, stop

if TYPE_CHECKING:
    from registry.explain.found import Given, Outcome

Files = Annotated[list[Path] | None, typer.Argument(help="Messages as they are sent; - reads standard input.")]
As = Annotated[str, typer.Option("--as", help="Transaction the messages are meant to be, such as ITI-42.")]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="Judge as strictly as the node of this configuration.")
]
Sender = Annotated[str, typer.Option(help="The [identity] that sends, for the levels it has; needs --config.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Shown = Annotated[bool, typer.Option("--show-patients", help="Show patients' numbers instead of masking them.")]
OneRule = Annotated[str, typer.Option("--rule", help="Explain one rule, with a sample of it.")]
AllRules = Annotated[bool, typer.Option("--rules", help="List every rule.")]


def explain(
    files: Files = None,
    as_: As = "",
    config: Config = None,
    sender: Sender = "",
    as_json: AsJson = False,
    show_patients: Shown = False,
    rule: OneRule = "",
    rules: AllRules = False,
) -> None:
    """Explain every problem of messages, each with its line, its rule and a correction.

    Exit status: 0 accepted, 1 problems, 2 unreadable.
    """
    from server.commands import explain_view

    if rule or rules:
        if files:
            stop("name messages, or --rule, or --rules", MISTAKEN)
        if rules:
            explain_view.show_rules(as_json)
        else:
            explain_view.show_rule(rule, as_json)
        return
    if not files:
        stop("name a message, or - for standard input; --rules lists what is judged", MISTAKEN)
    given = _given(as_, config, sender, show_patients)
    worst = 0
    for number, file in enumerate(files):
        worst = max(worst, _explained(file, given, as_json, number > 0))
    if worst:
        raise typer.Exit(worst)


def _given(as_: str, config: Path | None, sender: str, show_patients: bool) -> Given:
    """What the command line says about the messages; a mistake in it ends the command."""
    from registry.explain.found import Given
    from registry.explain.recognition import transaction
    from registry.rules.codes import CodesRefused
    from server.strictness import strictness_of

    action = transaction(as_) if as_ else None
    if as_ and action is None:
        stop(f"--as {as_} is no transaction that is explained: ITI-18, 42, 43, 51, 57, 61, 62 or 92", MISTAKEN)
    if config is None:
        if sender:
            stop("--sender needs --config: levels are the node's", MISTAKEN)
        return Given(action=action, show_patients=show_patients)
    settings = config_of(config)
    if sender and sender not in settings.identity:
        known = ", ".join(sorted(settings.identity)) or "none"
        stop(f"--sender {sender} is no [identity] of {config}; there are: {known}", MISTAKEN)
    try:
        strictness = strictness_of(settings.validation)
    except (CodesRefused, OSError) as refused:
        stop(f"{settings.validation.codes} cannot be used:\n{refused}", MISTAKEN)
    return Given(
        action,
        strictness,
        sender,
        home=settings.node.home_community_id,
        across=settings.query.multi_patient,
        repositories=settings.identity[sender].may_register if sender else None,
        show_patients=show_patients,
    )


def _explained(file: Path, given: Given, as_json: bool, another: bool) -> int:
    """Explains one file. Returns the exit status it asks for."""
    from ihe.errors import clip
    from registry.explain.explanation import explain as explained
    from registry.explain.reading import LARGEST
    from server.commands import explain_view

    try:
        if str(file) == "-":
            raw = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with file.open("rb") as opened:
                raw = opened.read(LARGEST + 1)
    except OSError as problem:
        console(error=True).print(f"{clip(str(file), 200)} cannot be read: {problem.strerror}")
        return MISTAKEN
    found = explained(raw, given)
    if as_json:
        explain_view.show_json(str(file), found)
    else:
        explain_view.show(str(file), found, another)
    return _status(found.outcome)


def _status(outcome: Outcome) -> int:
    from registry.explain.found import Outcome

    return {Outcome.ACCEPTED: 0, Outcome.REFUSED: REFUSED, Outcome.UNREADABLE: MISTAKEN}[outcome]
