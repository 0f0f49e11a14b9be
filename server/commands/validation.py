"""validation: which senders break which rules, and what raising a rule would refuse."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.terminal import DEFAULT_CONFIG, ConfigFile, config_of, console, moment, shown, stop, table

if TYPE_CHECKING:
    from registry.rules.findings import Finding
    from registry.rules.strictness import Strictness
    from server.config import Config

app = typer.Typer(no_args_is_help=True, help="Look at how senders keep the rules.")
Since = Annotated[str, typer.Option(help="A date; everything that is kept is counted if absent.")]


@app.command("report")
def report(
    since: Since = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Show which senders would be refused if a rule were raised to reject."""
    from registry.rules.codes import CodesRefused
    from server.strictness import strictness_of

    first = moment(since).date() if since else date.min
    settings = config_of(config)
    try:
        strictness = strictness_of(settings.validation)
    except (CodesRefused, OSError) as refused:
        stop(f"{settings.validation.codes} cannot be used:\n{refused}")
    found = _read(settings, first)
    if as_json:
        for each in found:
            console().print(json.dumps(_told(each, strictness), ensure_ascii=False))
        return
    if not found:
        console().print("no sender has broken a rule" + (f" since {since}" if since else ""))
        return
    _show(found, strictness)
    for line in _raised(found, strictness, since):
        console().print(line)


def _read(settings: Config, first: date) -> tuple[Finding, ...]:
    """What was counted; what is wrong with the database ends the command."""
    from registry import migrations
    from registry.database.engine import DatabaseMissing, StoreTrouble, open_database
    from registry.rules.findings import Findings

    try:
        database = open_database(settings.database_url)
        try:
            migrations.check(database)
            return Findings.read(database, first)
        finally:
            database.close()
    except (DatabaseMissing, StoreTrouble) as trouble:
        stop(str(trouble))


def _told(each: Finding, strictness: Strictness) -> dict[str, object]:
    return {
        "sender": each.sender,
        "transaction": each.transaction,
        "rule": each.rule,
        "level": _level(each, strictness),
        "seen": each.seen,
        "rejected": each.rejected,
        "tolerated": each.tolerated,
        "last": each.last_at.isoformat(timespec="seconds"),
        "correlation": each.correlation,
    }


def _level(each: Finding, strictness: Strictness) -> str:
    """The level the rule has for this sender now; empty for a rule of another version."""
    from registry.rules.table import RULES
    from registry.rules.update import UPDATE_RULES

    rule = RULES.get(each.rule) or UPDATE_RULES.get(each.rule)
    return "" if rule is None else strictness.level(rule, each.sender).value


def _show(found: tuple[Finding, ...], strictness: Strictness) -> None:
    shows = table("sender", "transaction", "rule", "level now", "messages", "refused", "last seen", "exchange")
    for each in found:
        shows.add_row(
            each.sender,
            each.transaction,
            each.rule,
            _level(each, strictness),
            str(each.seen),
            str(each.rejected),
            shown(each.last_at),
            each.correlation,
        )
    console().print(shows)


def _raised(found: tuple[Finding, ...], strictness: Strictness, since: str) -> list[str]:
    """A sentence for each rule that some sender breaks and is let through with."""
    by_rule: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in found:
        if each.tolerated and _level(each, strictness) not in ("", "reject"):
            by_rule[each.rule][each.sender] += each.tolerated
    when = f" since {since}" if since else ""
    lines = []
    for rule, senders in sorted(by_rule.items(), key=lambda pair: -sum(pair[1].values())):
        count = sum(senders.values())
        most = sorted(senders.items(), key=lambda pair: -pair[1])
        whose = ", ".join(f"{sender} ({number})" for sender, number in most)
        messages = "message" if count == 1 else "messages"
        lines.append(f"raising {rule} to reject would refuse {count} {messages} of these senders{when}: {whose}")
    lines = lines or [f"raising any rule to reject would refuse nothing that was accepted{when}"]
    if off := sorted(rule for rule, level in strictness.rules.items() if level == "off"):
        lines.append(f"not counted, because they are off: {', '.join(off)}")
    return lines
