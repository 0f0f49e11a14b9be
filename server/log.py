"""What operators see on stderr: our own words and a short list of harmless values, never anything about a patient.

Two rules make that hold without trusting who writes a line. A key that is not on the list is dropped, and a value that
looks like a personal number is masked. A line from a library shows where it was written and not what it says: zeep,
spyne, SQLAlchemy and aiohttp put messages, parameters and addresses into theirs. Exceptions show their types and where
they were raised, not their texts. Logging itself never prints a line it failed to format.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

from ihe.errors import clip
from server.config import Config

KEYS = frozenset(
    {
        # the line itself
        *("event", "level", "timestamp", "logger", "where", "error", "pid", "worker", "number", "exit"),
        # an exchange: the correlation leads to the audit trail, which holds the rest
        *("correlation", "listener", "listeners", "transaction", "status", "reason", "ending", "phase", "code"),
        *("hospital", "repository", "bytes", "seconds", "count", "documents", "parts"),
        # the node
        *(
            "version",
            "generation",
            "signal",
            "node",
            "address",
            "host",
            "port",
            "folder",
            "file",
            "line",
            "free_mib",
            "too_slow",
            "what",
        ),
        *("open_seconds", "trouble", "path", "sentence", "days", "certificate_subject"),
    }
)
"""Keys that may be shown. Whatever names a person, a document or a message is not among them and may not become so."""

LONGEST = 200
_NUMBERS = re.compile(r"\d{11,}")
"""Personal numbers have 11 digits. Longer runs are masked too: one may stand inside."""
_CORRELATION = re.compile(r"[0-9a-f]{32}")
"""What server/gate.py gives an exchange: one in twenty has eleven digits in a row, and masked it would lead nowhere."""
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_OURS = ("audit", "ihe", "policy", "registry", "repository_proxy", "server", "simulators")


def configure(config: Config | None = None, *, stream: TextIO | None = None) -> None:
    """Sets up logging for this process, once, before anything else runs. Without a configuration: info, by terminal."""
    level = _LEVELS[config.log.level] if config else logging.INFO
    form = config.log.form if config else "auto"
    out = stream or sys.stderr
    console = form == "console" or (form == "auto" and out.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=True)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exceptions_without_words,
            _listed_keys_only,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Unfailing(out))),
        cache_logger_on_first_use=False,
    )
    _quiet_libraries(level)
    _hooks()


class _Unfailing:
    """A stream that loses what it cannot write: on a full disk an exception out of a log line would take the place of
    the answer to a caller."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> None:
        """Writes `text`, or nothing."""
        with contextlib.suppress(OSError, ValueError):
            self._out.write(text)

    def flush(self) -> None:
        """Pushes it out as far as that goes."""
        with contextlib.suppress(OSError, ValueError):
            self._out.flush()


def _listed_keys_only(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drops every key that is not listed, says how many, and makes the rest short and plain."""
    kept: dict[str, Any] = {key: _shown(key, value) for key, value in line.items() if key in KEYS}
    if len(kept) < len(line):
        kept["dropped"] = len(line) - len(kept)
    return kept


def _shown(key: str, value: object) -> object:
    ours = key == "correlation" and isinstance(value, str) and _CORRELATION.fullmatch(value)
    return value if ours else plain(value)


def plain(value: object, depth: int = 2) -> object:
    """`value` as something short and harmless: text is clipped and long numbers in it are masked."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 10**10 else "[number]"
    if isinstance(value, str):
        return _NUMBERS.sub("[number]", clip(str(value), LONGEST))
    if depth and isinstance(value, Mapping):
        return {str(plain(str(key))): plain(each, depth - 1) for key, each in list(value.items())[:20]}
    if depth and isinstance(value, list | tuple | frozenset | set):
        return [plain(each, depth - 1) for each in list(value)[:20]]
    # An object's repr is its author's choice, and often all of its fields.
    return type(value).__name__


def _exceptions_without_words(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    info = line.pop("exc_info", None)
    if info:
        problem = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else sys.exc_info()[1]
        if problem is not None:
            line["error"], line["where"] = wordless(problem)
    return line


def wordless(problem: BaseException) -> tuple[str, str]:
    """The types along the chain of an exception, and where it was raised; texts of exceptions repeat their input."""
    names: list[str] = []
    each: BaseException | None = problem
    while each is not None and len(names) < 5:
        names.append(type(each).__name__)
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    frames = traceback.extract_tb(problem.__traceback__)
    ours = [frame for frame in frames if f"/{_package(frame.filename)}/" in frame.filename]
    where = (ours or list(frames))[-3:]
    return " from ".join(names), " > ".join(f"{_short(frame.filename)}:{frame.lineno}" for frame in where)


def _package(path: str) -> str:
    return next((name for name in _OURS if f"/{name}/" in path and "site-packages" not in path), "\0")


def _short(path: str) -> str:
    return "/".join(path.rsplit("/", 2)[-2:])


class _WhereOnly(logging.Handler):
    """Tells that a library had something to say, and where in its code; not what."""

    def emit(self, record: logging.LogRecord) -> None:
        words: dict[str, object] = {"logger": record.name, "where": f"{_short(record.pathname)}:{record.lineno}"}
        if record.exc_info and record.exc_info[1] is not None:
            words["error"] = wordless(record.exc_info[1])[0]
        level = min(_LEVELS.values(), key=lambda each: abs(each - record.levelno))
        structlog.get_logger().log(level, "library message", **words)


def _quiet_libraries(level: int) -> None:
    # With raiseExceptions a line that cannot be formatted is printed with all its arguments.
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [_WhereOnly()]
    # Below warning a line without its words says nothing; at debug it tells at least that something happened.
    root.setLevel(logging.DEBUG if level <= logging.DEBUG else logging.WARNING)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in ("spyne", "zeep", "aiohttp.access", "uvicorn.access"):
        logging.getLogger(name).disabled = level > logging.DEBUG


def _hooks() -> None:
    """Uncaught exceptions go the same way: Python's own hooks print texts, and the values in them."""

    def uncaught(_: type[BaseException], problem: BaseException, __: TracebackType | None) -> None:
        _tell(problem)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            _tell(args.exc_value)

    def unraisable(args: Any) -> None:
        if args.exc_value is not None:
            _tell(args.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, unraisable


def _tell(problem: BaseException) -> None:
    error, where = wordless(problem)
    structlog.get_logger().error("uncaught exception", error=error, where=where)
