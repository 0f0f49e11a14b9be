"""server.log: an operator's line holds our words and nothing of a patient's, whoever wrote it."""

from __future__ import annotations

import ast
import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from server import log
from server.config import Config
from server.settings import read

ROOT = Path(__file__).resolve().parents[2]
CANARY = "15837510047 Kari Nordmann"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    stream = io.StringIO()
    log.configure(config("debug"), stream=stream)
    yield stream
    root.handlers[:], root.level, logging.raiseExceptions = before
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.captureWarnings(False)
    structlog.reset_defaults()


def config(level: str, form: str = "json") -> Config:
    raw = {
        "node": {"name": "n", "state": "s", "policy": "p"},
        "listener": {"main": {"bind": "127.0.0.1:0"}},
        "log": {"level": level, "form": form},
    }
    return read(raw, Path("/"))


def only(stream: io.StringIO) -> dict[str, object]:
    (line,) = stream.getvalue().splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def test_listed_keys_are_shown_and_others_dropped(lines: io.StringIO) -> None:
    structlog.get_logger().info("answer cut", correlation="c1", bytes=12, patient=CANARY, title=CANARY)
    line = only(lines)
    assert (line["event"], line["correlation"], line["bytes"], line["dropped"]) == ("answer cut", "c1", 12, 2)
    assert "Nordmann" not in lines.getvalue()


@pytest.mark.parametrize(
    "planted", ["15837510047", "x15837510047y", 15837510047, ["15837510047"], {"a": "15837510047"}]
)
def test_personal_numbers_are_masked_even_under_listed_keys(lines: io.StringIO, planted: object) -> None:
    structlog.get_logger().info("masked", reason=planted)
    assert "15837510047" not in lines.getvalue()


def test_one_event_is_one_short_line(lines: io.StringIO) -> None:
    structlog.get_logger().info("flood", reason="a\nb\x1b[31m" + "z" * 9000)
    assert "\x1b" not in lines.getvalue()
    assert len(lines.getvalue()) < 600
    assert only(lines)


def test_an_object_shows_its_type_and_nothing_of_itself(lines: io.StringIO) -> None:
    class Secret:
        def __repr__(self) -> str:
            return CANARY

    structlog.get_logger().info("object", reason=Secret())
    assert only(lines)["reason"] == "Secret"


@pytest.mark.parametrize(
    "name", ["spyne.protocol", "zeep.transports", "aiohttp.access", "sqlalchemy.engine", "asyncio"]
)
def test_a_library_shows_where_it_spoke_and_not_what_it_said(lines: io.StringIO, name: str) -> None:
    logging.getLogger(name).error("message %s", CANARY)
    assert "Nordmann" not in lines.getvalue()
    assert lines.getvalue() == "" or only(lines)["logger"] == name


def test_a_library_s_exception_shows_its_type_only(lines: io.StringIO) -> None:
    try:
        raise KeyError(CANARY)
    except KeyError:
        logging.getLogger("some.library").exception("failed with %s", CANARY)
    assert only(lines)["error"] == "KeyError"
    assert "Nordmann" not in lines.getvalue()


def test_our_own_exceptions_show_type_chain_and_place(lines: io.StringIO) -> None:
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as cause:
            raise ValueError(CANARY) from cause
    except ValueError:
        structlog.get_logger().error("defect", exc_info=True)
    line = only(lines)
    assert line["error"] == "ValueError from KeyError"
    assert "test_log.py:" in str(line["where"])
    assert "Nordmann" not in lines.getvalue()


def test_a_line_that_cannot_be_formatted_is_not_printed_with_its_arguments(
    lines: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("some.library").error("%d", CANARY)
    assert "Nordmann" not in lines.getvalue() + "".join(capsys.readouterr())


def test_warnings_go_the_same_way(lines: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log.configure(config("debug"), stream=lines)
        warnings.warn(CANARY, stacklevel=1)
        logging.captureWarnings(False)
    assert "Nordmann" not in lines.getvalue()


def test_info_is_silent_about_details(lines: io.StringIO) -> None:
    log.configure(config("warning"), stream=lines)
    structlog.get_logger().info("ready")
    logging.getLogger("some.library").info("ready")
    assert lines.getvalue() == ""


CRASH = """
import sys, threading, structlog
from server import log
log.configure()
class Broken:
    def __del__(self):
        raise ValueError(sys.argv[1])
def crash():
    raise ValueError(sys.argv[1])
thread = threading.Thread(target=crash)
thread.start(); thread.join()
Broken()
raise KeyError(sys.argv[1])
"""


def test_a_crash_tells_types_and_places_only() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CRASH, CANARY], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 1
    assert "Nordmann" not in ran.stdout + ran.stderr
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [line["error"] for line in lines] == ["ValueError", "ValueError", "KeyError"]


def test_the_words_of_every_line_are_written_in_the_source() -> None:
    """A variable as the event would carry whatever it holds past the list of keys."""
    found = []
    for package in ("audit", "registry", "repository_proxy", "server", "simulators"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "log"
                    and node.func.attr in ("debug", "info", "warning", "error", "exception")
                    and not (node.args and isinstance(node.args[0], ast.Constant))
                ):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found


class Full(io.StringIO):
    """A log file on a disk without space."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        self.write("")


def test_a_line_that_cannot_be_written_stops_nobody(lines: io.StringIO) -> None:
    log.configure(config("debug"), stream=Full())
    structlog.get_logger().error("answer cut", correlation="c1")
    logging.getLogger("library").warning("said something")
    assert lines.getvalue() == ""


def test_a_correlation_is_shown_whatever_digits_it_happens_to_have(lines: io.StringIO) -> None:
    structlog.get_logger().info("answer cut", correlation="cfd21845247839bf5754444fb8e03e8a")
    structlog.get_logger().info("answer cut", correlation="15837510047", reason="cfd21845247839bf5754444fb8e03e8a")
    shown, odd = map(json.loads, lines.getvalue().splitlines())
    assert shown["correlation"] == "cfd21845247839bf5754444fb8e03e8a"
    assert (odd["correlation"], "21845247839" in odd["reason"]) == ("[number]", False)
