"""P4: what passing on one large document costs per byte, hash included, against nginx and sha1; memory; first byte."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.documents import Stage, began, fetch, sink, stage, unique_id
from bench.machine import LOAD_CORE, SERVER_CORE, Peak, on_server_core, spent
from bench.processes import companion, free_port, running
from bench.report import Report
from bench.upstream import BLOCK, digest
from ihe import mtom

MIB = 1024 * 1024
ROUNDS = 3
PROMISED, MEMORY, FIRST = 3.0, 32.0, 30.0
_NGINX = """
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {hospital};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffers 16 64k;
            proxy_buffer_size 64k;
            proxy_busy_buffers_size 128k;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"""


def run(report: Report, full: bool) -> None:
    """The claim in its size."""
    size = (1024 if full else 128) * MIB
    sizes = {"large": (size, 0), "middle": (2 * MIB, 0), "odd": (5 * MIB + 3, 0), "flipped": (2 * MIB, 0)}
    with stage(sizes, flipped="flipped") as built, _reference(built, report) as (name, pid, url):
        os.sched_setaffinity(0, {LOAD_CORE})
        try:
            _right(report, built)
            _first_byte(report, built)
            _cost(report, built, size, name, pid, url)
        finally:
            os.sched_setaffinity(0, {SERVER_CORE, LOAD_CORE})


@contextmanager
def _reference(built: Stage, report: Report) -> Iterator[tuple[str, int, str]]:
    """nginx in front of the same hospital; where there is none, a bare pass-through, which is said."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        report.say("P4  nginx is not installed (Debian: nginx-light); the reference is aiohttp under uvicorn instead")
        told = {"hospital": built.hospital}
        with companion("passthrough", built.folder, told, measured=True) as (pid, url):
            yield "pass-through", pid, url
        return
    port = free_port()
    folder = built.folder / "nginx"
    folder.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(user=user, folder=folder, port=port, hospital=built.hospital))
    command = [nginx, "-c", str(config), "-p", str(folder), "-g", "daemon off;"]
    with running(command, folder / "nginx.log", on_server_core, port) as process:
        yield "nginx", process.pid, f"http://127.0.0.1:{port}"


def _right(report: Report, built: Stage) -> None:
    content_type, raw = fetch(built.place.url, *built.request(unique_id("odd")))
    parts = mtom.read_package(raw, content_type, mtom.ANSWER).parts.values()
    arrived = [hashlib.sha1(part.body, usedforsecurity=False).hexdigest() for part in parts]
    right = arrived == [digest(5 * MIB + 3)]
    report.holds("P4", "the document arrives as it was registered", right, f"{len(raw)} bytes of answer")
    try:
        fetch(built.place.url, *built.request(unique_id("flipped")))
        cut = False
    except (http.client.HTTPException, OSError):
        cut = True
    report.holds("P4", "a document with one wrong bit never ends whole", cut, "2 MiB, the last byte flipped")


def _first_byte(report: Report, built: Stage) -> None:
    lags = []
    for _ in range(15):
        answer = sink(built.place.url, *built.request(unique_id("middle")))
        lags.append((answer.first - began(built.hospital)) * 1000)
    lags.sort()
    raw = f"2 MiB document, 15 times: {lags[0]:.1f} to {lags[-1]:.1f} ms"
    report.amount("P4", "first byte after the hospital's", lags[len(lags) // 2], FIRST, "ms", raw)


def _cost(report: Report, built: Stage, size: int, name: str, pid: int, url: str) -> None:
    content_type, body = built.request(unique_id("large"))
    ours: list[float] = []
    theirs: list[float] = []
    sums: list[float] = []
    rates: list[float] = []
    whole = True
    with Peak(built.node) as peak:
        for _ in range(ROUNDS):
            for side, where, target in ((ours, built.node, built.place.url), (theirs, pid, url)):
                answers = []
                side.append(
                    spent(
                        where, lambda target=target, answers=answers: answers.append(sink(target, content_type, body))
                    )
                )
                whole = whole and answers[0].whole and answers[0].size > size
                if side is ours:
                    rates.append(size / MIB / answers[0].seconds)
            sums.append(_sha1(size))
    floors = [one + other for one, other in zip(theirs, sums, strict=True)]
    ratios = [one / other for one, other in zip(ours, floors, strict=True)]
    gib = 1024 * MIB / size
    shown = [" ".join(f"{each * gib:.2f}" for each in values) for values in (ours, theirs, sums)]
    raw = (
        f"CPU s per GiB, node {shown[0]}, {name} {shown[1]}, sha1 {shown[2]}; "
        f"wall {sorted(rates)[1]:.0f} MiB/s with hospital and reader on one core"
    )
    report.ratio("P4", f"one document of {size // MIB} MiB, CPU against {name} and sha1", ratios, PROMISED, raw)
    base = f"from {peak.base / MIB:.0f} MiB"
    report.amount("P4", "memory of the node above its base", peak.grown / MIB, MEMORY, "MiB", base)
    report.holds("P4", "every answer was whole", whole, f"{2 * ROUNDS} answers")


def _sha1(size: int) -> float:
    before = time.process_time()
    sha1 = hashlib.sha1(usedforsecurity=False)
    for start in range(0, size, len(BLOCK)):
        sha1.update(memoryview(BLOCK)[: size - start])
    return time.process_time() - before
