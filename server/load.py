"""A hospital's existing documents into the registry: files of submissions, judged and recorded as ITI-42 judges them.

Each file goes through registry.register.register itself, as one machine identity, in this process: the same rules, the
same audit records, the same transaction; many at a time, so that they share commits. Whatever was registered is noted
in a journal, and left out when the load is started again; noted too late, it is sent again, which changes nothing.
"""

from __future__ import annotations

import contextlib
import queue
import re
import secrets
import sys
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ihe import soap, xml
from ihe.errors import FaultCode, Mangled, SoapFault, clip
from ihe.names import LCM, RS, SOAP11, SOAP12, Action, Code, ResponseStatus
from ihe.soap import Call, Packaging
from policy.facts import Peer, Subject
from registry.desk import Desk
from registry.register import register
from server.load_files import File, count, files
from server.load_journal import Journal, Outcome, Problem, Told

Progress = Callable[[str, int, int | None], None]

LANES = 16
"""Submissions at a time; one patient's stay in one lane, so that a replacement follows what it replaces."""
WAITING = 64
"""Files read ahead per lane."""
PATIENCE = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts while the database is busy."""
LISTENER = "load"
_CX = re.compile(rb"[^\"<>]{1,64}\^\^\^&amp;[0-9.]{1,64}&amp;ISO")
_RULE = re.compile(r"([a-z0-9-]+) \(")


@dataclass(slots=True)
class Summary:
    """A finished or interrupted load."""

    registered: int = 0
    known: int = 0
    """Left out, for the journal has them."""
    interrupted: bool = False
    others: dict[str, Told] = field(default_factory=dict)
    """What is not in the registry, by file."""


class LoadStopped(Exception):
    """Nothing more can be loaded; `str()` says why. What the journal has is registered."""


# One file ------------------------------------------------------------------------------------------------------------


def load_one(file: File, desk: Desk) -> Told:
    """Registers one file as `desk.identify` says who sends. Raises LoadStopped where nothing can be recorded."""
    try:
        call = Call(Action.REGISTER, _submission(file.raw), None, clip(file.name, 256), Packaging.SIMPLE)
    except Mangled as mangled:
        return Told(file.name, file.key, Outcome.UNREADABLE, (Problem("", "", str(mangled)),))
    for pause in (*PATIENCE, None):
        problems = _registered(call, desk)
        if not problems:
            return Told(file.name, file.key, Outcome.REGISTERED)
        if not any(each.code == Code.REGISTRY_BUSY for each in problems):
            return Told(file.name, file.key, Outcome.REFUSED, problems)
        if pause is not None:
            time.sleep(pause)
    return Told(file.name, file.key, Outcome.PUT_OFF, problems)


def _submission(raw: bytes) -> xml.Element:
    """The lcm:SubmitObjectsRequest of a file, bare or in a SOAP envelope of any version. Raises Mangled."""
    root = xml.read(raw)
    for version in (SOAP12, SOAP11):
        if root.tag == f"{{{version}}}Envelope":
            body = root.find(f"{{{version}}}Body")
            if body is None or len(body) != 1:
                raise Mangled("the envelope has no body with one message")
            root = body[0]
    if root.tag != f"{{{LCM}}}SubmitObjectsRequest":
        raise Mangled("the file holds no lcm:SubmitObjectsRequest")
    return root


def _registered(call: Call, desk: Desk) -> tuple[Problem, ...]:
    """Nothing where it is registered, else all that is wrong with it."""
    peer = Peer(LISTENER, "", "", secrets.token_hex(16))
    try:
        reply = register(call, peer, desk)
    except SoapFault as fault:
        if fault.code is FaultCode.RECEIVER:
            raise LoadStopped(fault.reason) from fault
        return (Problem(str(fault.code), "", fault.reason),)
    answer = soap.read_answer(reply.body).body
    if answer is None or answer.get("status") == ResponseStatus.SUCCESS:
        return ()
    return tuple(_problem(each) for each in answer.iter(f"{{{RS}}}RegistryError"))


def _problem(error: xml.Element) -> Problem:
    text = error.get("codeContext", "")
    rule = _RULE.match(text)
    return Problem(error.get("errorCode", ""), rule[1] if rule else "", text)


# All of them ---------------------------------------------------------------------------------------------------------


class _Lane(threading.Thread):
    """Registers the files of some patients, one after the other."""

    def __init__(self, number: int, desk: Desk, done: queue.SimpleQueue[Told | LoadStopped]) -> None:
        super().__init__(name=f"load-{number}", daemon=True)
        self.waiting: queue.Queue[File | None] = queue.Queue(WAITING)
        self._desk, self._done = desk, done

    def run(self) -> None:
        """Until it is given None."""
        try:
            while (file := self.waiting.get()) is not None:
                self._done.put(load_one(file, self._desk))
        except LoadStopped as why:
            self._refuse(why)
        finally:
            if sys.exception() is not None:
                self._refuse(LoadStopped("a lane ended by a defect"))

    def _refuse(self, why: LoadStopped) -> None:
        """Nobody must wait for room in a lane that takes nothing any more."""
        self._done.put(why)
        while self.waiting.get() is not None:
            continue


class Loader:
    """Loads what the journal does not have, again and again while that helps: a file may refer to a later one."""

    def __init__(
        self, desk: Desk, journal: Journal, progress: Progress, *, share: tuple[int, int] = (1, 1), lanes: int = LANES
    ) -> None:
        """The desk identifies every file's sender as one machine. Of `share` (number, of how many) loads beside each
        other each takes its own patients, and leaves the others' files alone."""
        self.summary = Summary()
        """As far as it has come, also while it runs and where it ended early."""
        self._desk, self._journal, self._progress, self._lanes = desk, journal, progress, lanes
        self._number, self._shares = share[0] - 1, share[1]
        self._looked = 0
        self._total: int | None = None
        self._stopped: LoadStopped | None = None

    def run(self, paths: Sequence[Path]) -> Summary:
        """Raises LoadStopped; OSError and tarfile.TarError for files that cannot be read."""
        self._total = count(paths)
        self.summary.known = self._pass(paths)
        while self._helps_again():
            before = self.summary.registered
            self._pass(paths)
            if self.summary.registered == before:
                break
        return self.summary

    def interrupt(self) -> None:
        """Takes no further file; what is under way is registered and noted. For a signal's handler."""
        self.summary.interrupted = True

    def _helps_again(self) -> bool:
        waits = any(_waits(each) for each in self.summary.others.values())
        return waits and self.summary.registered > 0 and not self.summary.interrupted

    def _pass(self, paths: Sequence[Path]) -> int:
        """Every file once; returns how many the journal had. What was given to a lane is awaited, whatever happens."""
        done: queue.SimpleQueue[Told | LoadStopped] = queue.SimpleQueue()
        lanes = [_Lane(number, self._desk, done) for number in range(self._lanes)]
        for lane in lanes:
            lane.start()
        known = self._looked = 0
        try:
            for file in files(paths):
                patient = _patient(file.raw)
                if patient % self._shares != self._number:
                    self._look()
                elif self._journal.has(file):
                    known += 1
                    self._look()
                else:
                    lanes[patient // self._shares % len(lanes)].waiting.put(file)
                while not done.empty():
                    self._take(done.get())
                if self._stopped is not None or self.summary.interrupted:
                    break
        finally:
            for lane in lanes:
                lane.waiting.put(None)
            while any(lane.is_alive() for lane in lanes) or not done.empty():
                with contextlib.suppress(queue.Empty):
                    self._take(done.get(timeout=0.2))
            self._journal.flush()
        if self._stopped is not None:
            raise self._stopped
        return known

    def _take(self, told: Told | LoadStopped) -> None:
        if isinstance(told, LoadStopped):
            self._stopped = self._stopped or told
            return
        self._journal.add(told)
        if told.outcome is Outcome.REGISTERED:
            self.summary.registered += 1
            self.summary.others.pop(told.file, None)
        else:
            self.summary.others[told.file] = told
        self._look()

    def _look(self) -> None:
        self._looked += 1
        if self._looked % 100 == 0:
            self._journal.flush()
        self._progress("loading", self._looked, self._total)


def _patient(raw: bytes) -> int:
    """The same number for all files that name the same patient first; only a hint, for what follows is order alone."""
    named = _CX.search(raw)
    return zlib.crc32(named[0] if named else b"")


def _waits(told: Told) -> bool:
    """Whether a file may go in once others have: it refers to something that is not registered."""
    return any(each.code == Code.UNRESOLVED_REFERENCE for each in told.problems)


def as_sender(desk: Desk, subject: Subject) -> Desk:
    """The desk, for which everything is sent by this machine."""
    return replace(desk, identify=lambda call, peer, now: subject)
