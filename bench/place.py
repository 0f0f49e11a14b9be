"""The node that is measured: the pilot's policy, one worker, plain HTTP on loopback, clinicians' tokens, real time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from bench.machine import SERVER_CORE, on_cores
from bench.processes import environment, free_port, running
from ihe.names import Action
from simulators.consumer import adhoc_query, envelope, find_documents
from simulators.people import Person, source, synthetic_number
from simulators.personae import ANNE
from simulators.sts import AUDIENCE, Need, TokenService, new_key

PILOT = Path(__file__).resolve().parent.parent / "docs" / "examples" / "pilot" / "policy"
OUS = source("ous")
ISSUER = "https://sts.bench.example"
SIMPLE = "application/soap+xml; charset=UTF-8"
REGISTRY, REPOSITORY, FEED = "/xds/registry", "/xds/repository", "/pix/feed"

_CONFIG = """
[node]
name = "bench"
home_community_id = "urn:oid:2.16.578.1.12.4.1.7.1.1"
state = "state"
policy = "policy"
workers = {workers}

[database]
url = "{database}"

[listener.xds]
bind = "127.0.0.1:{port}"
max_connections = {connections}
max_exchanges = {connections}
{machine}

[issuer.clinicians]
entity_id = "{issuer}"
channel = "clinician"
profile = "2.1"
audiences = ["{audience}"]
certificates = ["sts.pem"]

[identity.ous]
certificates = ["{fingerprint}"]
may_register = ["2.999.578.1.1"]

[log]
level = "warning"
"""
_HOSPITAL = """
[hospital.{key}]
repository_unique_ids = ["{repository}"]
url = "{url}/repository"
assertion = "forward"
audience = "{audience}"
max_parallel = {connections}
"""
MACHINE = "c0" * 32
"""Fingerprint of the certificate that the hospital would show; nobody here has it, documents are put into the store."""


@dataclass
class Place:
    """A folder with everything a node needs; nothing runs yet."""

    folder: Path
    connections: int = 512
    hospitals: Mapping[str, str] = field(default_factory=dict)
    """Key of a source of the pilot -> base URL of its repository."""
    url_of_database: str = "sqlite:///innsyn.db"
    workers: int = 1
    machine: bool = False
    """Whoever comes without a token is the hospital, as if its certificate had been seen."""
    tokens: TokenService = field(init=False)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        now = datetime.now(UTC)
        key = new_key("bench token service", now - timedelta(days=1))
        self.tokens = TokenService(ISSUER, key)
        self.port = free_port()
        (self.folder / "sts.pem").write_bytes(key.certificate)
        shutil.copytree(PILOT, self.folder / "policy", dirs_exist_ok=True)
        self.config.write_text(self._text())
        self.config.chmod(0o600)  # the URL of a database may hold a password
        command = [sys.executable, "-m", "server.cli", "migrate", "--config", str(self.config)]
        subprocess.run(command, check=True, capture_output=True, env=environment())

    @property
    def config(self) -> Path:
        return self.folder / "innsyn.toml"

    @property
    def database(self) -> Path:
        return self.folder / "state" / "innsyn.db"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _text(self) -> str:
        words: dict[str, Any] = {"port": self.port, "connections": self.connections, "audience": AUDIENCE}
        machine = 'machine_identity = "ous"' if self.machine else ""
        told = {"workers": self.workers, "database": self.url_of_database, "machine": machine}
        text = _CONFIG.format(issuer=ISSUER, fingerprint=MACHINE, **told, **words)
        for key, url in self.hospitals.items():
            text += _HOSPITAL.format(key=key, repository=source(key).repository_unique_id, url=url, **words)
        return text

    @contextmanager
    def node(self, cores: Sequence[int] = (SERVER_CORE,)) -> Iterator[int]:
        """The running node, on the server core unless told; gives the pid of its parent process."""
        command = [sys.executable, "-m", "server.cli", "serve", "--config", str(self.config)]
        log = self.folder / "node.log"
        with running(command, log, partial(on_cores, cores), self.port, "/health/ready") as process:
            yield process.pid

    def token(self, patient: Person) -> bytes:
        """A doctor's token for one patient, as the pilot enrols her; good for an hour."""
        return self.tokens.clinician(ANNE, patient.number, datetime.now(UTC) - timedelta(seconds=1), Need())

    def query(self, patient: Person) -> bytes:
        """An ITI-18 FindDocuments with a token of its own."""
        return envelope(Action.QUERY, find_documents(patient.patient_id), self.token(patient))

    def retrieve(self, patient: Person, documents: Sequence[tuple[str, str]]) -> tuple[str, bytes]:
        """An ITI-43 in MTOM packaging for (repositoryUniqueId, uniqueId): media type and bytes."""
        return retrieve(documents, self.token(patient))


def retrieve(documents: Sequence[tuple[str, str]], token: bytes | None, home: str = "") -> tuple[str, bytes]:
    """An ITI-43 request in MTOM packaging."""
    from ihe import mtom
    from ihe.names import XDS

    community = f"<HomeCommunityId>{home}</HomeCommunityId>" if home else ""
    asked = "".join(
        f"<DocumentRequest>{community}<RepositoryUniqueId>{repository}</RepositoryUniqueId>"
        f"<DocumentUniqueId>{document}</DocumentUniqueId></DocumentRequest>"
        for repository, document in documents
    )
    body = f'<RetrieveDocumentSetRequest xmlns="{XDS}">{asked}</RetrieveDocumentSetRequest>'.encode()
    writer = mtom.new_writer("b" * 32)
    return writer.content_type, writer.root(envelope(Action.RETRIEVE, body, token)) + writer.end()


def people(count: int) -> list[Person]:
    """Patients with valid synthetic numbers, born on as many days as are needed."""
    found = []
    for serial in range(count):
        born = date(1940, 1, 1) + timedelta(days=serial // 100)
        found.append(Person(synthetic_number(born, serial % 100), "Ingunn", "Prøvedal", born, "F"))
    return found


__all__ = ["ANNE", "FEED", "OUS", "REGISTRY", "REPOSITORY", "SIMPLE", "Place", "adhoc_query", "people", "retrieve"]
