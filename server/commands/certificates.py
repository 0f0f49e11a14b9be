"""certificates: a throw-away authority for demonstrations. Its keys protect nothing that is real."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.terminal import console, stop

if TYPE_CHECKING:
    import trustme

app = typer.Typer(no_args_is_help=True, help="Make throw-away certificates.")

MEMBERS = ("node", "caller", "source", "hospital")


@app.command("demo")
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for the files; made if needed, never written over.")],
    client: Annotated[list[str] | None, typer.Option(help="Names of further client certificates.")] = None,
    host: Annotated[list[str] | None, typer.Option(help="Names and addresses of the servers.")] = None,
) -> None:
    """Make a CA and, from it, certificates for node, caller, source and hospital on this machine."""
    import trustme

    hosts = host or ["localhost", "127.0.0.1", "::1"]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = trustme.CA(organization_name="Innsyn demonstration, not to be trusted")
    try:
        _write(folder / "ca.pem", authority.cert_pem.bytes(), 0o644)
        for name in (*MEMBERS, *(client or ())):
            made = authority.issue_cert(*hosts, common_name=f"{name} (demonstration)")
            _member(folder, name, made)
    except FileExistsError as there:
        stop(f"{there.filename} is there already; choose an empty folder")
    except OSError as problem:
        stop(f"{problem.filename} cannot be written: {problem.strerror}")
    console().print(f"{folder}: ca.pem and NAME.pem, NAME.key for {', '.join((*MEMBERS, *(client or ())))}")


def _member(folder: Path, name: str, made: trustme.LeafCert) -> None:
    _write(folder / f"{name}.pem", b"".join(part.bytes() for part in made.cert_chain_pems), 0o644)
    _write(folder / f"{name}.key", made.private_key_pem.bytes(), 0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    # Born with its mode: a key that is closed a moment later has been open.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
