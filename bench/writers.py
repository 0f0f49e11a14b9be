"""Four sources that register without pause, remember what was acknowledged, and what is in doubt after a kill."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from bench.place import OUS, REGISTRY, SIMPLE, people
from ihe.names import ResponseStatus
from simulators.papers import Paper, paper
from simulators.people import Person
from simulators.source import envelope, submission

KIT = "1.1.4567332.1.9001"
"""A repository that the conformance node's machine may register for."""
SUCCESS = f'"{ResponseStatus.SUCCESS.value}"'.encode()
KINDS = ("A03-2", "A04-2", "B03-2")


@dataclass
class Attempt:
    """One submission that was sent at least once."""

    set_id: str
    unique_ids: tuple[str, ...]
    replaces: str
    """uniqueId of the document that the first entry replaces, or empty."""
    body: bytes
    message_id: str = ""
    acknowledged: bool = False
    refused: str = ""


@dataclass
class Writer:
    """One source with one patient; `run` until told to stop."""

    url: str
    number: int
    dice: random.Random
    attempts: list[Attempt] = field(default_factory=list)
    doubts: int = 0
    """Times that a connection broke before the answer."""

    def __post_init__(self) -> None:
        self.patient: Person = people(10)[self.number]
        self._free: list[Paper] = []
        """Acknowledged and not replaced."""
        self._papers = 0

    def run(self, stop: threading.Event) -> None:
        """Sends one submission after the other; one in doubt is sent again half of the time, as real sources do."""
        while not stop.is_set():
            papers, attempt = self._next()
            while not stop.is_set() and not self._settled(attempt):
                self.doubts += 1
                stop.wait(0.02)
                if self.dice.random() < 0.5:
                    break
            if attempt.acknowledged:
                self._free += papers

    def _next(self) -> tuple[Sequence[Paper], Attempt]:
        papers = [self._paper() for _ in range(self.dice.choice([1, 1, 2, 3]))]
        old = self._free.pop() if self._free and self.dice.random() < 0.3 else None
        replaces = {papers[0].unique_id: old.entry_uuid} if old is not None else {}
        at = datetime(2021, 1, 1, tzinfo=UTC) + timedelta(seconds=self._papers)
        sent = submission(papers, replaces=replaces, submitted=at)
        body = sent.body.replace(f">{OUS.repository_unique_id}<".encode(), f">{KIT}<".encode())
        ids = tuple(each.unique_id for each in papers)
        message_id = f"urn:uuid:{self.number:08d}-0000-4000-8000-{self._papers:012d}"
        attempt = Attempt(sent.unique_id, ids, old.unique_id if old else "", body, message_id)
        self.attempts.append(attempt)
        return papers, attempt

    def _paper(self) -> Paper:
        self._papers += 1
        return paper(self.patient, OUS, self.dice.choice(KINDS), self._papers, mime_type="text/plain")

    def _settled(self, attempt: Attempt) -> bool:
        """Sends it; false where no answer came."""
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        message = envelope(attempt.body, self.url + REGISTRY, attempt.message_id)
        try:
            connection.request("POST", REGISTRY, message, {"Content-Type": SIMPLE})
            answer = connection.getresponse()
            told = answer.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if answer.status == 200 and SUCCESS in told:
            attempt.acknowledged = True
        elif answer.status == 503:
            return False
        else:
            attempt.refused = f"{answer.status} {told[:600].decode(errors='replace')}"
        return True
