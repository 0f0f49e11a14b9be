"""backup, restore and retention: what an operator does for the day when a machine is lost, and for the disk to last."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.progress import progress
from server.commands.terminal import DEFAULT_CONFIG, REFUSED, ConfigFile, config_of, console, private_files, stop

if TYPE_CHECKING:
    from audit.search import Finding
    from server.backup import PutBack


@private_files()
def backup(
    target: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Save database, audit trail, policy and configuration of a node, which may go on serving."""
    from registry.database.engine import DatabaseMissing, StoreTrouble
    from registry.database.snapshots import SnapshotBroken
    from server.backup import BackupRefused, make
    from server.clock import RealClock

    settings = config_of(config)
    try:
        with progress() as shown:
            made = make(settings, config, target, RealClock().wall(), shown)
    except (BackupRefused, DatabaseMissing, SnapshotBroken, StoreTrouble) as trouble:
        stop(f"no backup: {trouble}")
    except OSError as problem:
        stop(f"no backup: {problem.filename or target}: {problem.strerror}")
    size = sum(bytes_ for bytes_, _ in made.manifest.files.values())
    rows = sum(made.manifest.database.rows.values())
    console().print(f"{target}: {rows:,} rows, {made.lines:,} lines of the audit trail, {size:,} bytes")
    _tell(made.findings)


@private_files()
def restore(
    source: Annotated[Path, typer.Argument(help="A backup.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Put a backup back into the empty place that the configuration names; without one, begin with the backup's own."""
    from registry.database.engine import DatabaseMissing, StoreTrouble
    from registry.database.snapshots import SnapshotBroken
    from server.backup import BackupRefused, put_back, read, unpack_configuration

    try:
        with progress() as shown:
            manifest = read(source, shown)
            if not config.exists():
                unpack_configuration(source, manifest, config)
            done = put_back(config_of(config), source, manifest, shown)
    except (BackupRefused, DatabaseMissing, SnapshotBroken, StoreTrouble) as trouble:
        stop(f"not restored: {trouble}")
    except OSError as problem:
        stop(f"not restored: {problem.filename or source}: {problem.strerror}")
    console().print(f"{done.rows:,} rows are back as of {manifest.taken_at}; {done.bodies:,} bodies can be read")
    _tell_lost(done)
    _tell(done.findings)


def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Remove audit files and tombstones whose time is over, as [retention] says. A running node does so by itself."""
    from audit.segment import Broken
    from registry.database.engine import StoreTrouble
    from server.commands.hand import opened
    from server.retention import clear, due

    settings = config_of(config)
    try:
        with opened(settings) as (database, clock, trail):
            if dry_run:
                found = due(settings, database, clock)
                for cut in found.cuts:
                    first, last = cut.files[0].day, cut.files[-1].day
                    console().print(f"{cut.worker}: {len(cut.files)} files, {first} to {last}, {cut.size:,} bytes")
                console().print(f"{found.tombstones:,} tombstones")
                return
            removed, forgotten = clear(settings, database, trail, clock)
    except (StoreTrouble, Broken) as trouble:
        stop(str(trouble))
    except OSError as problem:
        stop(f"{settings.audit_folder}: {problem.strerror}")
    console().print(f"removed {removed} audit files and {forgotten:,} tombstones")


def _tell_lost(done: PutBack) -> None:
    out = console(error=True)
    if done.lost:
        out.print(
            f"{len(done.lost)} exchanges were acknowledged after the database was saved; senders must send again:"
        )
        for each in done.lost:
            out.print(f"  {each}")
    if done.blocks:
        out.print(f"{done.blocks} blocks were set or lifted after the database was saved: set or lift them again first")


def _tell(findings: tuple[Finding, ...]) -> None:
    for each in findings:
        console(error=True).print(f"the audit trail: {each}")
    if findings:
        raise typer.Exit(REFUSED)
