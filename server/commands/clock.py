"""clock: the simulated time of a node that lives on one machine."""

from __future__ import annotations

from typing import Annotated

import typer

from server.commands.terminal import DEFAULT_CONFIG, ConfigFile, config_of, console, moment, shown, stop

app = typer.Typer(no_args_is_help=True, help="Show and set simulated time; real nodes follow the machine.")


@app.command("show")
def show(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Show the time that decisions are made by."""
    from server.clock import ClockUnreadable, open_clock

    try:
        clock = open_clock(config_of(config))
        now = clock.now()
    except (ClockUnreadable, OSError) as problem:
        stop(str(problem))
    real = f" (simulated; really {shown(clock.wall())})" if clock.simulated else ""
    console().print(f"{shown(now)}{real}")


@app.command("set")
def set_clock(
    time: Annotated[str, typer.Argument(help="A date, or a time with offset; it passes from there.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Set simulated time, for every worker of the node at once."""
    from server.clock import ClockUnreadable, SimulatedClock

    settings = config_of(config)
    if settings.simulated is None:
        stop("this node follows the real clock: [clock] simulated is not set")
    try:
        clock = SimulatedClock.start(settings.node.state, settings.simulated)
        clock.set(moment(time))
    except (ClockUnreadable, OSError) as problem:
        stop(str(problem))
    console().print(shown(clock.now()))
