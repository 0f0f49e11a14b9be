"""How explanations look: for people on a terminal, plain where they are piped, and as JSON for machines."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.text import Text

from server.commands.terminal import MISTAKEN, console, stop, table

if TYPE_CHECKING:
    from registry.explain.found import Explanation, Fix, Problem

_TOKEN = re.compile(r"<[^<>]*>|[^<>]+")
_NARROW = 100
"""Characters of a fragment that stays on one line."""
_STYLES = {"accepted": "bold green", "refused": "bold red", "unreadable": "bold red"}
_LEVELS = {"reject": "red", "warn": "yellow", "log": "cyan", "note": "cyan"}


def show(name: str, found: Explanation, another: bool = False) -> None:
    """Shows one explanation; with an empty line before it if it is another one."""
    out = console()
    found = found.told(_plain)
    if another:
        out.print()
    where = "standard input" if name == "-" else _plain(name)
    out.print(Text.assemble((f"{where}: ", "bold"), (found.sentence, _STYLES[found.outcome.value])))
    if found.recognised:
        out.print(f"  {found.transaction or 'the transaction'} was recognised {found.recognised}")
    for note in found.notes:
        out.print(f"  note: {note}")
    for number, problem in enumerate(found.problems, 1):
        out.print()
        _problem(number, problem)
    if found.more:
        out.print(f"\nand {found.more} more, which are not shown")
    if found.understood:
        out.print("\nunderstood", style="bold")
        shows = table("what", "as")
        shows.show_header = False
        for label, line in found.understood:
            shows.add_row(Text(label), Text(line))
        out.print(shows)
    if found.unchecked:
        out.print("\nnot checked here, because it takes the registry's content", style="bold")
        out.print(f"  {', '.join(rule for rule, _ in found.unchecked)}")


def _plain(text: str) -> str:
    """`text` without what would move the cursor or turn the direction of writing on somebody's terminal."""
    return (
        text
        if text.isprintable()
        else "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    )


def _problem(number: int, problem: Problem) -> None:
    out = console()
    place = f", line {problem.line}, column {problem.column}" if problem.line else ""
    head = Text.assemble((f"{number}. {problem.rule}", "bold"), f" ({problem.level})", place)
    head.stylize(_LEVELS.get(problem.level, ""))
    out.print(head)
    lines = {
        "where": problem.path,
        "expected": problem.expected,
        "found": problem.found,
        "why": f"{problem.explanation} ({problem.section})",
        "answer": problem.code,
    }
    for label, line in lines.items():
        if line:
            out.print(Text.assemble((f"   {label:<9} ", "dim"), line))
    if problem.fix is not None:
        _fix(problem.fix)


def _fix(fix: Fix) -> None:
    out = console()
    where = f" {fix.path}" if fix.path else ""
    out.print(Text(f"   {fix.how.value}{where}{':' if fix.text else ''}", style="green"))
    for line in _indented(fix.text) if fix.text else ():
        out.print(Text(f"      {line}"))


def _indented(fragment: str) -> list[str]:
    """A fragment as a person would write it: an element a line where it is long."""
    if len(fragment) <= _NARROW or not fragment.startswith("<"):
        return [fragment]
    lines: list[str] = []
    depth = 0
    tokens = _TOKEN.findall(fragment)
    for before, token in zip(["", *tokens], tokens, strict=False):
        closes = token.startswith("</")
        depth -= closes
        text = not token.startswith("<")
        # Text, and the end of an element that holds text, stay on the line of its start.
        if lines and (text or (closes and not before.startswith("<"))):
            lines[-1] += token
        else:
            lines.append("  " * max(depth, 0) + token)
        depth += token.startswith("<") and not closes and not token.endswith("/>")
    return lines


def show_json(name: str, found: Explanation) -> None:
    """One explanation as a line of JSON."""
    told = {"file": name, **asdict(found)}
    told["understood"] = [{"what": label, "as": line} for label, line in found.understood]
    told["unchecked"] = [{"rule": rule, "explanation": line} for rule, line in found.unchecked]
    console().print(json.dumps(told))


def show_rules(as_json: bool) -> None:
    """Every rule: its id, whether its level can be set, where it stands and what it demands."""
    from registry.explain.rules import described_rules

    if as_json:
        for rule in described_rules().values():
            console().print(json.dumps(asdict(rule)))
        return
    shows = table("rule", "of", "level", "standard", "demand")
    for rule in described_rules().values():
        shows.add_row(rule.id, rule.about, rule.level, rule.section, rule.explanation)
    console().print(shows)


def show_rule(rule_id: str, as_json: bool) -> None:
    """One rule with a message that breaks it and one that keeps it. Ends the command if there is no such rule."""
    from registry.explain.rules import described_rules, sample_of

    rules = described_rules()
    rule = rules.get(rule_id)
    if rule is None:
        near = difflib.get_close_matches(rule_id, list(rules), n=1)
        hint = f"; did you mean {near[0]}?" if near else "; --rules lists them"
        stop(f"{rule_id} is no rule{hint}", MISTAKEN)
    if as_json:
        found = sample_of(rule_id)
        bodies = (
            {} if found is None else {"failing": found.failing.body.decode(), "passing": found.passing.body.decode()}
        )
        console().print(json.dumps({**asdict(rule), **bodies}))
        return
    out = console()
    out.print(Text(f"{rule.id}: {rule.explanation}", style="bold"))
    lines = {
        "of": rule.about,
        "standard": rule.section,
        "level": rule.level,
        "answer": rule.code,
        "judged": "by the registry's content, not by a message alone" if rule.of_content else "by the message alone",
    }
    for label, line in lines.items():
        if line:
            out.print(Text.assemble((f"   {label:<9} ", "dim"), line))
    _samples(rule_id)


def _samples(rule_id: str) -> None:
    """Where the message that breaks the rule differs from the one that keeps it."""
    from registry.explain.rules import sample_of

    found = sample_of(rule_id)
    if found is None:
        return
    out = console()
    breaks, keeps = (each.body.decode().splitlines() for each in (found.failing, found.passing))
    out.print(Text(f"\na message of {found.failing.action.transaction} that breaks it (-), and one that keeps it (+)"))
    for line in list(difflib.unified_diff(breaks, keeps, "breaks", "keeps", n=2, lineterm=""))[2:]:
        out.print(Text(f"   {line}", style={"-": "red", "+": "green"}.get(line[:1], "")))
    if found.first:
        out.print(f"   after {len(found.first)} other submission(s)")
