"""database: how the registry's tables lie on PostgreSQL: in partitions on one server, or spread by Citus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.terminal import DEFAULT_CONFIG, ConfigFile, config_of, console, stop

if TYPE_CHECKING:
    from registry.database.engine import Database
    from server.config import Config

app = typer.Typer(no_args_is_help=True, help="Lay the registry's tables out in partitions, or over a Citus.")


@app.command("partition")
def partition(
    count: Annotated[int, typer.Argument(help="Partitions of each table.")] = 64,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Put the patients' rows into hash partitions; nodes on this database answer that it is busy meanwhile."""
    from registry.database.layout import LayoutRefused
    from registry.database.layout import partition as lay_out

    with _opened(config_of(config)) as database:
        try:
            moved = lay_out(database, count)
        except LayoutRefused as refused:
            stop(str(refused))
    console().print(
        f"the patients' rows are in {count} partitions" if moved else "the tables are in partitions already"
    )


@app.command("distribute")
def distribute(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Spread the tables over the servers of a Citus. Once, on its coordinator, with all nodes stopped."""
    from registry.database.layout import LayoutRefused
    from registry.database.layout import distribute as spread

    with _opened(config_of(config)) as database:
        try:
            spread(database)
        except LayoutRefused as refused:
            stop(str(refused))
    console().print("the tables are spread over the servers of Citus")


@contextmanager
def _opened(settings: Config) -> Iterator[Database]:
    """The database, its tables checked; what is wrong with it ends the command."""
    from registry.database.engine import DatabaseMissing, StoreTrouble, open_database
    from registry.migrations import check

    try:
        database = open_database(settings.database_url)
        try:
            check(database)
            yield database
        finally:
            database.close()
    except (DatabaseMissing, StoreTrouble) as trouble:
        stop(str(trouble))
