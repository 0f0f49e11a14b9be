"""The pilot in miniature on one machine: five hospitals, token services and a node, started and stopped together.

Knows the node by its command line, its configuration file and its endpoints only. `make demo` and the journeys run on
it; it stops everything that it started.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path
from ssl import SSLContext
from typing import Any, TypeVar

from simulators.consumer import Answered, Consumer
from simulators.hospital import Document, Hospital, server_tls
from simulators.papers import Paper
from simulators.people import SOURCES, Source
from simulators.source import Outcome, submission, submit, tls
from simulators.sts import CITIZEN_AUDIENCE, Clinician, KeyPair, Need, TokenService, new_key, patient_cx

EXAMPLE = Path(__file__).resolve().parent.parent / "docs" / "examples" / "pilot"
START_SECONDS = 30.0
STOP_SECONDS = 40.0
COMMAND_SECONDS = 60.0

TREATMENT = Need()

T = TypeVar("T")


class TownFailed(Exception):
    """Something of the town did not start or answer; `str()` says what, with the end of the node's log."""


class Town:
    """Start with `with Town(folder) as town`. Everything lies in `folder`, which must be empty or new."""

    def __init__(self, folder: Path, replaced: Mapping[str, str] | None = None) -> None:
        """`replaced` edits the text of the example's innsyn.toml before the node starts (old -> new)."""
        self.folder = folder
        self.config = folder / "innsyn.toml"
        self.log = folder / "node.log"
        self.hospitals: dict[str, Hospital] = {}
        self._replaced = dict(replaced or {})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hospitals", daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._set_to: tuple[datetime, float] | None = None
        self.url = ""

    def __enter__(self) -> Town:
        self._thread.start()
        with ExitStack() as undo:
            undo.callback(self.__exit__)
            self._furnish()
            self.start_node()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_node()
        for hospital in self.hospitals.values():
            self._run(hospital.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()

    # The node ---------------------------------------------------------------------------------------------------------

    def start_node(self) -> None:
        """Starts the node and waits until it is ready. Raises TownFailed."""
        with self.log.open("ab") as sink:
            command = [sys.executable, "-m", "server.cli", "serve", "--config", str(self.config)]
            self._process = subprocess.Popen(command, stdout=sink, stderr=sink, env=_environment())  # noqa: S603
        deadline = time.monotonic() + START_SECONDS
        host, port = self.url.removeprefix("https://").split(":")
        while time.monotonic() < deadline and self._process.poll() is None:
            connection = HTTPSConnection(host, int(port), timeout=5, context=self.tls("caller"))
            try:
                connection.request("GET", "/health/ready")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.05)
            finally:
                connection.close()
        raise TownFailed("the node did not become ready\n" + self.log.read_text()[-4000:])

    def stop_node(self, kill: bool = False) -> int | None:
        """Stops the node (SIGTERM, or SIGKILL with `kill`); its exit status, None if none ran."""
        process, self._process = self._process, None
        if process is None:
            return None
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def innsyn(self, *words: str) -> str:
        """Runs one command of the node's command line and returns what it prints. Raises TownFailed."""
        return _run_command([*words, "--config", str(self.config)])

    def at(self, moment: str) -> None:
        """Sets the node's simulated time; it passes from there. ISO 8601 with offset."""
        self.innsyn("clock", "set", moment)
        self._set_to = (datetime.fromisoformat(moment), time.monotonic())

    def now(self) -> datetime:
        """The node's simulated time, as tokens are minted by it."""
        assert self._set_to is not None, "call at() first"
        set_to, mark = self._set_to
        return set_to + timedelta(seconds=time.monotonic() - mark)

    # Who calls --------------------------------------------------------------------------------------------------------

    def tls(self, name: str) -> SSLContext:
        """What the holder of this client certificate connects with."""
        folder = self.folder / "certificates"
        return tls(folder / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key")

    def consumer(self, certificate: str = "caller") -> Consumer:
        """A clinician's system with this client certificate."""
        return Consumer(self.url, self.tls(certificate))

    def token(self, who: Clinician, patient: str, need: Need = TREATMENT, **issued: Any) -> bytes:
        """A clinician's token for one patient, minted now; `issued` goes to TokenService.clinician."""
        return self.clinicians.clinician(who, patient, issued.pop("at", None) or self.now(), need, **issued)

    def find(self, who: Clinician, patient: str, need: Need = TREATMENT, **asked: Any) -> Answered:
        """FindDocuments by a reader for one patient (number or CX); `asked` goes to Consumer.find."""
        patient_id = patient if "^" in patient else patient_cx(patient)
        return self.consumer().find(patient_id, self.token(who, patient, need), **asked)

    def open(self, who: Clinician, patient: str, documents: Iterable[Paper], need: Need = TREATMENT) -> Answered:
        """Opens documents as a reader for one patient."""
        keys = [(each.source.repository_unique_id, each.unique_id) for each in documents]
        return self.consumer().open(keys, self.token(who, patient, need))

    # The hospitals ----------------------------------------------------------------------------------------------------

    def publish(self, papers: Sequence[Paper], **said: Any) -> Outcome:
        """One hospital puts papers about one patient into its repository and registers them; `said` goes to submission.

        The registry's clock is the time of registration.
        """
        source = papers[0].source
        for each in papers:
            key = (source.repository_unique_id, each.unique_id)
            self._shelves[source.key][key] = Document(each.mime_type, each.content)
        return submit(f"{self.url}/xds/registry", submission(papers, **said), self.tls(source.key))

    def forget(self, paper: Paper) -> None:
        """The hospital no longer holds this paper; the registry does not know."""
        self._shelves[paper.source.key].pop((paper.source.repository_unique_id, paper.unique_id), None)

    def close_hospital(self, key: str) -> None:
        """The hospital stops answering: connections to it are refused."""
        self._run(self.hospitals[key].close())

    def reopen_hospital(self, key: str) -> None:
        """The hospital answers again at the same address."""
        self._run(self.hospitals[key].start(port=self._ports[key]))

    # Inside -----------------------------------------------------------------------------------------------------------

    def _furnish(self) -> None:
        """Certificates, token services, hospitals, configuration, database."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(EXAMPLE, self.folder, dirs_exist_ok=True)
        clients = [word for source in SOURCES for word in ("--client", source.key)]
        clients += ["--client", "proxy", "--client", "other"]
        certificates = self.folder / "certificates"
        _run_command(["certificates", "demo", str(certificates), *clients])
        self._token_services(certificates)
        self._shelves: dict[str, dict[tuple[str, str], Document]] = {source.key: {} for source in SOURCES}
        self._ports = {source.key: self._open_hospital(source, certificates) for source in SOURCES}
        self._configure()
        self.innsyn("migrate")

    def _token_services(self, certificates: Path) -> None:
        # Valid whatever day it is: certificates are judged at wall time, and this key trusts nobody but the town.
        key: KeyPair = new_key("simulated token service", datetime(2020, 1, 1, tzinfo=UTC), timedelta(days=36500))
        (certificates / "sts.pem").write_bytes(key.certificate)
        self.clinicians = TokenService("https://helseid-xdssaml.simulated.example", key)
        self.clinicians_2020 = TokenService("https://helseid-xdssaml-2020.simulated.example", key, profile="2020")
        self.citizens = TokenService(
            "https://sikkerhet.helsenorge.simulated.example", key, audience=CITIZEN_AUDIENCE, life=timedelta(minutes=20)
        )

    def _open_hospital(self, source: Source, certificates: Path) -> int:
        context = server_tls(certificates / "hospital.pem", certificates / "hospital.key", certificates / "ca.pem")
        hospital = Hospital(self._shelves[source.key], tls=context)
        self.hospitals[source.key] = hospital
        port = _free_port()
        self._run(hospital.start(port=port))
        return port

    def _configure(self) -> None:
        text = self.config.read_text("utf-8")
        self.url = f"https://127.0.0.1:{_free_port()}"
        edits = {"127.0.0.1:8443": self.url.removeprefix("https://")}
        addresses = {"ous": 9441, "unn": 9442, "nlsh": 9443, "finn": 9444, "helg": 9445}
        edits |= {f"127.0.0.1:{addresses[key]}": f"127.0.0.1:{port}" for key, port in self._ports.items()}
        for old, new in (edits | self._replaced).items():
            if old not in text:
                raise TownFailed(f"the example's innsyn.toml has no {old!r}")
            text = text.replace(old, new)
        self.config.write_text(text, "utf-8")

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(COMMAND_SECONDS)


def _run_command(words: Sequence[str]) -> str:
    command = [sys.executable, "-m", "server.cli", *words]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=COMMAND_SECONDS, env=_environment()
    )
    if done.returncode != 0:
        raise TownFailed(f"innsyn {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONUNBUFFERED": "1"}
