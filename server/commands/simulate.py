"""simulate: a hospital, a document source and a token service to try a node with. All of them stay on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands.terminal import MISTAKEN, config_of, console, stop

if TYPE_CHECKING:
    from policy.facts import Clock
    from simulators.hospital import Hospital
    from simulators.papers import Paper
    from simulators.sts import KeyPair

app = typer.Typer(no_args_is_help=True, help="Run simulated partners of a node on this machine.")

Bind = Annotated[str, typer.Option(help="ADDRESS:PORT, on loopback.")]
NodeConfig = Annotated[
    Path | None, typer.Option("--config", "-c", envvar="INNSYN_CONFIG", help="A node whose clock is followed.")
]


@app.command("sts")
def sts(
    folder: Annotated[Path, typer.Argument(help="Folder of sts.key and sts.pem; made at the first start.")],
    bind: Bind = "127.0.0.1:9300",
    issuer: Annotated[str, typer.Option(help="Issuer written into the tokens.")] = "https://sts.simulated.example",
    audience: Annotated[str, typer.Option(help="Audience; the national one if absent.")] = "",
    profile: Annotated[str, typer.Option(help="2.1 or 2020.")] = "2.1",
    config: NodeConfig = None,
) -> None:
    """Run a token service that gives any token to anybody on this machine, until interrupted."""
    from simulators.sts import AUDIENCE, TokenService, serve

    if profile not in ("2.1", "2020"):
        raise typer.BadParameter("profile is 2.1 or 2020")
    address, clock = _loopback(bind), _clock(config)
    service = TokenService(issuer, _key(folder, clock), audience or AUDIENCE, profile)
    try:
        server = serve(service, address, clock.now)
    except OSError as problem:
        stop(f"cannot listen on {bind}: {problem.strerror}", MISTAKEN)
    host, port = server.server_address[:2]
    console().print(f"token service on http://{host!s}:{port}, certificate {folder / 'sts.pem'}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


@app.command("hospital")
def hospital(
    folder: Annotated[Path, typer.Argument(help="Folder with documents.toml and the files it lists.")],
    bind: Bind = "127.0.0.1:9200",
    variant: Annotated[list[str] | None, typer.Option(help="A misbehaviour, by name; may be repeated.")] = None,
    rate: Annotated[int | None, typer.Option(help="Bytes per second.")] = None,
    delay: Annotated[float, typer.Option(help="Seconds before each answer.")] = 0.0,
    certificate: Annotated[Path | None, typer.Option(help="Server certificate (PEM): speaks mutual TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    client_ca: Annotated[Path | None, typer.Option(help="CA of the callers it lets in.")] = None,
) -> None:
    """Run a hospital's document repository, well-behaved or not, until interrupted."""
    import asyncio
    import ssl

    from simulators.hospital import Hospital, Script, Variant, read_folder, server_tls

    known = {each.value for each in Variant}
    if unknown := set(variant or ()) - known:
        raise typer.BadParameter(f"no variant {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    host, port = _loopback(bind)
    try:
        tls = server_tls(certificate, key, client_ca) if certificate and key and client_ca else None
        script = Script(frozenset(map(Variant, variant or ())), rate=rate, delay=delay)
        simulated = Hospital(read_folder(folder), script, tls)
        asyncio.run(_until_interrupted(simulated, host, port))
    except KeyboardInterrupt:
        return
    except ssl.SSLError:
        stop("certificate, key or client CA cannot be used", MISTAKEN)
    except (OSError, ValueError) as problem:
        stop(str(problem), MISTAKEN)


@app.command("source")
def source(
    url: Annotated[str, typer.Argument(help="A registry's ITI-42 address, e.g. http://127.0.0.1:8080/xds/registry.")],
    patient: Annotated[str, typer.Option(help="Number of a made-up patient.")] = "15837510047",
    name: Annotated[str, typer.Option("--source", help="Hospital: ous, unn, nlsh, finn or helg.")] = "ous",
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Documents in the patient's history.")] = 20,
    seed: Annotated[int, typer.Option(help="Another seed, other documents.")] = 1,
    documents: Annotated[
        Path | None, typer.Option(help="Folder to put the documents in, for simulate hospital.")
    ] = None,
    trust: Annotated[Path | None, typer.Option(help="CA of the registry (PEM): speaks mutual TLS.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="The source's certificate.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
) -> None:
    """Register one hospital's share of a made-up patient's history, one submission a document."""
    import ssl

    from simulators.papers import history
    from simulators.people import person
    from simulators.people import source as hospital_named
    from simulators.source import submissions, submit, tls

    try:
        whose = hospital_named(name)
        papers = [each for each in history(person(patient), count, seed) if each.source == whose]
        context = tls(trust, certificate, key) if trust and certificate and key else None
        if documents is not None:
            _put(documents, papers)
        refused = 0
        for sent in submissions(papers, tell_signing=True):
            outcome = submit(url, sent, context)
            refused += not outcome.status.endswith(":Success")
            said = ", ".join(f"{each.code}: {each.context}" for each in outcome.errors) or outcome.fault
            word = outcome.status.rpartition(":")[2] or f"HTTP {outcome.http_status}"
            console().print(f"{sent.papers[0].unique_id} {word} {said}".rstrip())
    except ssl.SSLError:
        stop("trust, certificate or key cannot be used, or the registry's certificate is not trusted", MISTAKEN)
    except (LookupError, ValueError) as problem:
        stop(str(problem.args[0]), MISTAKEN)
    except OSError as problem:
        stop(f"{problem.filename or url}: {problem.strerror or problem}", MISTAKEN)
    if refused:
        stop(f"{refused} of {len(papers)} submissions were not taken")


@app.command("feed")
def feed(
    target: Annotated[str, typer.Argument(help="Where a registry is fed: http(s)://HOST:PORT/pix/feed, or HOST:PORT.")],
    patient: Annotated[str, typer.Argument(help="Number of a made-up patient, or a CX.")],
    subsumed: Annotated[str, typer.Option(help="A number that lives on under that one: tells of a merge.")] = "",
    trust: Annotated[Path | None, typer.Option(help="CA of the registry (PEM): speaks mutual TLS.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="The register's certificate.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
) -> None:
    """Tell a registry of a patient, or of a merge, as a patient register does: ITI-44, or ITI-8 over MLLP."""
    import ssl

    from server.clock import RealClock
    from simulators.register import Told, tell_mllp, tell_soap
    from simulators.source import tls
    from simulators.sts import patient_cx

    def cx(number: str) -> str:
        return number if "^" in number or not number else patient_cx(number)

    host, _, port = target.rpartition(":")
    try:
        context = tls(trust, certificate, key) if trust and certificate and key else None
        told, at = Told(cx(patient), cx(subsumed)), RealClock().wall()
        if "://" in target:
            said = tell_soap(target, told, at, context)
        elif host and port.isdecimal():
            said = tell_mllp(host.strip("[]"), int(port), told, at, context)
        else:
            stop("write where: http(s)://HOST:PORT/pix/feed, or HOST:PORT", MISTAKEN)
    except ssl.SSLError:
        stop("trust, certificate or key cannot be used, or the registry's certificate is not trusted", MISTAKEN)
    except ValueError as problem:
        stop(str(problem), MISTAKEN)
    except OSError as problem:
        stop(f"{target}: {problem.strerror or problem}", MISTAKEN)
    if said.code not in ("AA", "CA"):
        stop(f"not taken: {said.code} {said.why}".rstrip())
    console().print(f"taken: {said.code}")


def _put(folder: Path, papers: list[Paper]) -> None:
    """The documents as files, and the list that a simulated hospital reads."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for number, each in enumerate(papers):
        file = f"{each.source.key}-{number:04d}"
        (folder / file).write_bytes(each.content)
        listed.append(
            f'[[document]]\nrepository_unique_id = "{each.source.repository_unique_id}"\n'
            f'unique_id = "{each.unique_id}"\nmime_type = "{each.mime_type}"\nfile = "{file}"\n'
        )
    (folder / "documents.toml").write_text("\n".join(listed), encoding="utf-8")


async def _until_interrupted(simulated: Hospital, host: str, port: int) -> None:
    import asyncio

    # Told only once it listens: scripts wait for the line.
    await simulated.start(host, port)
    try:
        console().print(f"hospital with {len(simulated.documents)} documents on {simulated.url}")
        await asyncio.Event().wait()
    finally:
        await simulated.close()


def _key(folder: Path, clock: Clock) -> KeyPair:
    from simulators.sts import KeyPair, new_key

    key, certificate = folder / "sts.key", folder / "sts.pem"
    try:
        if key.exists():
            return KeyPair(key.read_bytes(), certificate.read_bytes())
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Certificates are judged at the real time, whatever the node's decisions believe.
        made = new_key("simulated token service", clock.wall())
        certificate.write_bytes(made.certificate)
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made.private_key)
        return made
    except OSError as problem:
        stop(f"{problem.filename}: {problem.strerror}")


def _clock(config: Path | None) -> Clock:
    from server.clock import RealClock, open_clock

    return RealClock() if config is None else open_clock(config_of(config))


def _loopback(bind: str) -> tuple[str, int]:
    from repository_proxy.repositories import is_loopback

    host, _, port = bind.rpartition(":")
    if not port.isdecimal() or not is_loopback(host.strip("[]")):
        stop("a simulated partner listens on loopback only: 127.0.0.1:PORT", MISTAKEN)
    return host.strip("[]"), int(port)
