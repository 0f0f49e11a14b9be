"""Starts the processes a measurement is made of, each on its core, and stops every one it started."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.machine import on_load_core, on_server_core

START_SECONDS = 30.0
STOP_SECONDS = 40.0


def free_port() -> int:
    """A port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Failed(Exception):
    """A process did not start or answer; `str()` says which, with the end of its log."""


@contextmanager
def running(
    command: Sequence[str], log: Path, place: Callable[[], None], port: int, path: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own that accepts connections on `port` (and answers 200 on `path`, if given)."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, preexec_fn=place, start_new_session=True, env=environment()
        )
    try:
        wait(process, port, path, log)
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end, and ends it if it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    ask = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                if not path:
                    return
                connection.sendall(ask)
                if connection.recv(64).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            pass
        time.sleep(0.03)
    raise Failed(f"{process.args!r} did not answer\n" + log.read_text(errors="replace")[-3000:])


def environment() -> dict[str, str]:
    """What every process here runs in."""
    return os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@contextmanager
def companion(module: str, folder: Path, settings: dict[str, Any], measured: bool) -> Iterator[tuple[int, str]]:
    """One of this package's own servers (`python -m bench.NAME FILE`); gives its pid and base URL."""
    port = free_port()
    file = folder / f"{module}-{port}.json"
    file.write_text(json.dumps(settings | {"port": port}))
    command = [sys.executable, "-m", f"bench.{module}", str(file)]
    place = on_server_core if measured else on_load_core
    with running(command, folder / f"{module}.log", place, port) as process:
        yield process.pid, f"http://127.0.0.1:{port}"


def settings_of(arguments: Sequence[str]) -> dict[str, Any]:
    """What `companion` wrote for this process."""
    read: dict[str, Any] = json.loads(Path(arguments[1]).read_text())
    return read


__all__ = ["Failed", "companion", "environment", "free_port", "running", "settings_of", "stop", "wait"]
