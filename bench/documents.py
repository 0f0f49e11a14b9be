"""What the measurements of ITI-43 share: a fast hospital, a node that routes to it, and documents known to both."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from bench.filling import keep
from bench.place import OUS, REPOSITORY, Place, people
from bench.processes import companion
from bench.upstream import Kept, digest
from simulators.people import Person


@dataclass(frozen=True)
class Stage:
    """A node and a hospital, both running."""

    place: Place
    folder: Path
    hospital: str
    """Its base URL."""
    node: int
    """Pid of the node's parent process."""
    patient: Person

    def request(self, unique_id: str) -> tuple[str, bytes]:
        """A retrieve of one document with a token: media type and bytes."""
        return self.place.retrieve(self.patient, [(OUS.repository_unique_id, unique_id)])


def unique_id(name: str) -> str:
    """A uniqueId that stands for this document."""
    return f"{OUS.unique_ids}.79.{int.from_bytes(name.encode())}"


@contextmanager
def stage(sizes: Mapping[str, tuple[int, int]], flipped: str = "", connections: int = 512) -> Iterator[Stage]:
    """`sizes`: name -> (bytes, bytes per second or 0). The document called `flipped` is not what was registered."""
    documents = {
        unique_id(name): Kept(OUS.repository_unique_id, size, rate, name == flipped)
        for name, (size, rate) in sizes.items()
    }
    with TemporaryDirectory(prefix="innsyn-bench-") as name:
        folder = Path(name)
        told = {"documents": {each: asdict(kept) for each, kept in documents.items()}}
        with companion("upstream", folder, told, measured=False) as (_, hospital):
            place = Place(folder, connections, {"ous": hospital})
            (patient,) = people(1)
            keep(place.database, patient, {each: (digest(kept.size), kept.size) for each, kept in documents.items()})
            with place.node() as node:
                yield Stage(place, folder, hospital, node, patient)


@dataclass(frozen=True)
class Sunk:
    """One answer that was read and thrown away."""

    size: int
    """Bytes received, head and framing included."""
    first: float
    """When the first byte of the body was here, on the monotonic clock."""
    seconds: float
    head: bytes
    whole: bool


def sink(url: str, content_type: str, body: bytes) -> Sunk:
    """Asks on a connection of its own and reads as fast as it can."""
    where = urlsplit(url)
    head = (
        f"POST {REPOSITORY} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    buffer = bytearray(1024 * 1024)
    begin, tail, size, first = b"", b"", 0, 0.0
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=60) as connection:
        started = time.monotonic()
        connection.sendall(head.encode() + body)
        while True:
            try:
                count = connection.recv_into(buffer)
            except ConnectionResetError:
                break
            if not count:
                break
            size += count
            tail = (tail + bytes(buffer[max(0, count - 8) : count]))[-8:]
            if not first:
                begin += bytes(buffer[:count])
                if 0 <= begin.find(b"\r\n\r\n") < len(begin) - 4:
                    first = time.monotonic()
    seconds = time.monotonic() - started
    header = begin.partition(b"\r\n\r\n")[0]
    lengths = [int(line.split(b":")[1]) for line in header.lower().split(b"\r\n") if line.startswith(b"content-length")]
    whole = size == len(header) + 4 + lengths[0] if lengths else tail.endswith(b"\r\n0\r\n\r\n")
    return Sunk(size, first, seconds, header, whole and header.startswith(b"HTTP/1.1 200"))


def fetch(url: str, content_type: str, body: bytes, path: str = REPOSITORY) -> tuple[str, bytes]:
    """The answer as a careful client reads it: media type and body. Raises HTTPException if it is cut."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
    try:
        connection.request("POST", path, body, {"Content-Type": content_type})
        answer = connection.getresponse()
        return answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def began(hospital: str) -> float:
    """When the hospital's last answer began, on the same clock."""
    where = urlsplit(hospital)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    try:
        connection.request("GET", "/began")
        return float(connection.getresponse().read())
    finally:
        connection.close()
