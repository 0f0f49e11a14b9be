"""status: what a running node says of itself, over its control socket."""

from __future__ import annotations

import typer

from server.commands.terminal import DEFAULT_CONFIG, REFUSED, ConfigFile, config_of, console, stop, table


def status(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Show the running node's workers and policy; the exit status is 1 if any of them has trouble."""
    from server.serve import StartFailed, command

    try:
        told = command(config_of(config), {"do": "status"})
    except (StartFailed, OSError, ValueError) as problem:
        stop(str(problem))
    out = console()
    out.print(f"node {told['pid']}, policy {told['version']}, generation {told['generation']}")
    shows = table("worker", "process", "generation", "connections", "state")
    for each in told["workers"]:
        state = each.get("error") or each.get("trouble") or "ready"
        shows.add_row(*(str(each.get(key, "")) for key in ("number", "pid", "generation", "connections")), state)
    out.print(shows)
    if told["stale"]:
        out.print("the files in the policy folder are not in force; the last reload found:")
        for sentence in told["stale"]:
            out.print(f"  {sentence}")
    if told["stale"] or any(each.get("error") or each.get("trouble") for each in told["workers"]):
        raise typer.Exit(REFUSED)
