"""The command `innsyn`: everything an operator does with a node, most of it beside a running one.

Exit status: 0 done, 1 the answer is no, 2 a mistake in the configuration or on the command line.
"""

from __future__ import annotations

import typer

from server.commands import (
    audit,
    backup,
    block,
    certificates,
    clock,
    control,
    database,
    explain,
    load,
    node,
    patient,
    policy,
    simulate,
    validation,
)

# Tracebacks with local variables would show messages and patients on a terminal that is often recorded.
app = typer.Typer(
    name="innsyn",
    help="IHE XDS.b document registry and repository proxy with sharing agreements and patient blocks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("serve")(node.serve)
app.command("status")(control.status)
app.command("check-config")(node.check_config)
app.command("migrate")(node.migrate)
app.command("explain")(explain.explain)
app.command("load")(load.load)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("retention")(backup.retention)
app.command("version")(node.version)
app.add_typer(database.app, name="database")
app.add_typer(block.app, name="block")
app.add_typer(patient.app, name="patient")
app.add_typer(audit.app, name="audit")
app.add_typer(clock.app, name="clock")
app.add_typer(policy.app, name="policy")
app.add_typer(simulate.app, name="simulate")
app.add_typer(certificates.app, name="certificates")
app.add_typer(validation.app, name="validation")


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
