"""serve, check-config, migrate and version: the life of a node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.commands.terminal import DEFAULT_CONFIG, MISTAKEN, ConfigFile, config_of, console, stop, tell


def serve(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Run the node until SIGTERM. Starts only if check-config finds no mistake."""
    from server.check import examine
    from server.log import configure

    examined = examine(config)
    if examined.mistakes or examined.config is None:
        tell(examined.found)
        raise typer.Exit(MISTAKEN)
    import structlog

    from server.serve import StartFailed, run

    configure(examined.config)
    for each in examined.warnings:
        structlog.get_logger().warning("configuration", path=each.path, sentence=each.sentence)
    try:
        run(examined.config)
    except StartFailed as failed:
        stop(str(failed), MISTAKEN)


def check_config(
    config: ConfigFile = DEFAULT_CONFIG,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the configuration.")] = False,
) -> None:
    """Load everything that serve loads and name every mistake."""
    if schema:
        import json

        from server.config import Config

        console().print(json.dumps(Config.model_json_schema(), indent=2))
        return
    from server.check import examine

    examined = examine(config)
    tell(examined.found)
    if examined.mistakes:
        raise typer.Exit(MISTAKEN)
    policy = f", policy {examined.policy.version}" if examined.policy else ""
    console().print(f"{config} can be served{policy}")


def migrate(
    config: ConfigFile = DEFAULT_CONFIG,
    create: Annotated[bool, typer.Option("--create", help="Begin an empty registry although there was one.")] = False,
    partitions: Annotated[
        int, typer.Option(help="PostgreSQL: put the patients' rows into so many hash partitions; 0 leaves them.")
    ] = 0,
) -> None:
    """Bring the registry's tables to this version; on a new node, create folders and database."""
    from registry.database.engine import DatabaseMissing, StoreTrouble, open_database
    from registry.database.layout import LayoutRefused, partition
    from registry.migrations import migrate as bring_forward

    settings = config_of(config)
    for folder in (settings.node.state, settings.audit_folder):
        _folder(folder)
    try:
        try:
            database = open_database(settings.database_url)
        except DatabaseMissing:
            if any(settings.audit_folder.glob("*.jsonl")) and not create:
                stop(
                    "this node has served before, but its database is missing: restore it from a backup, or begin an "
                    "empty registry with --create"
                )
            database = open_database(settings.database_url, create=True)
        try:
            bring_forward(database)
            if partitions:
                partition(database, partitions)
        finally:
            database.close()
    except (DatabaseMissing, StoreTrouble, LayoutRefused) as trouble:
        stop(str(trouble))
    console().print("the registry's tables are up to date")


def version() -> None:
    """Show the version of Innsyn."""
    from importlib.metadata import version as installed

    console().print(f"innsyn {installed('innsyn')}")


def _folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        stop(f"{folder} cannot be created: {problem.strerror}")
