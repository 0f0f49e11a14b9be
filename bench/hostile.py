"""The process of N4: spoils messages and hands them to readers and operations. `python -m bench.hostile FILE`.

Every input is made from the seed and its own number, so that one found can be made again. Results go to the file named
in the settings; a crash of this process is a result too.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from audit.event import Ending
from bench.machine import resident
from bench.mutations import bytes_spoilt, spoilt
from bench.operations import Operations
from bench.processes import settings_of
from bench.seeds import Seed, answers, others, own
from ihe import mtom, xml
from ihe.errors import Mangled
from ihe.soap import Reply, packaging_of
from repository_proxy.failures import UpstreamFailed
from repository_proxy.relay import DocumentEnds, Relay

SLOW = 1.0
HUNG = 60.0
"""Seconds after which one input is taken for a hang, and the process ends with a trace."""


@dataclass
class Results:
    """What happened, and what must not have."""

    inputs: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    uncaught: list[str] = field(default_factory=list)
    last_resort: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)
    grown: int = 0
    seeds: int = 0
    foreign: int = 0


class Hostile:
    """One run."""

    def __init__(self, folder: Path, seed: int, loop: asyncio.Runner) -> None:
        self.results = Results()
        self.operations = Operations(folder, loop)
        mine, theirs = own(self.operations.token()), others()
        self.seeds = mine + theirs
        self.packages = [(each.content_type, each.raw) for each in mine if each.content_type.startswith("multipart/")]
        self.answers = answers()
        self.fetches = self.operations.fetches()
        self.seed = seed
        self.results.seeds, self.results.foreign = len(self.seeds), len(theirs)
        self.defects: list[str] = []
        structlog.configure(processors=[self._heard])

    def _heard(self, _: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if line.get("event") in ("defect", "uncaught exception"):
            self.defects.append(f"{line.get('error')} at {line.get('where')}")
        raise structlog.DropEvent

    def run(self, count: int, seconds: float) -> None:
        """`count` inputs, or as many as fit."""
        begun, base = time.monotonic(), 0
        for number in range(count):
            if number % 100 == 0:
                faulthandler.dump_traceback_later(HUNG, exit=True)
                if time.monotonic() - begun > seconds:
                    break
            if number == min(1000, count // 3):
                base = resident(os.getpid(), anonymous=True)
            self._one(number)
        faulthandler.cancel_dump_traceback_later()
        self.results.grown = resident(os.getpid(), anonymous=True) - base

    def _one(self, number: int) -> None:
        dice = random.Random(f"{self.seed} {number}")
        before = time.process_time()
        try:
            match number % 10:
                case 0:
                    self._package(number, *dice.choice(self.packages), dice)
                case 1:
                    self._answer(number, *dice.choice(self.answers), dice)
                case _:
                    message = spoilt(self.seeds, dice)
                    # Mostly as it gets furthest: with a token as a doctor, without one as a machine.
                    self._message(number, message, (b"Assertion" not in message.raw) is (dice.random() < 0.9))
        except Exception as wrong:  # noqa: BLE001 - that none comes out is the claim
            self.results.uncaught.append(f"{number}: {type(wrong).__name__} {str(wrong)[:200]}")
        self.results.inputs += 1
        if (took := time.process_time() - before) > SLOW:
            self.results.slow.append(f"{number}: {took:.1f} s of CPU")

    def _message(self, number: int, seed: Seed, machine: bool) -> None:
        if packaging_of(seed.content_type) is None:
            self.results.sent["refused by the edge (415)"] += 1
            return
        self.defects.clear()
        reply = self.operations.answered(seed, machine)
        if self.defects or (reply.status == 500 and b"; quote " in reply.body):
            self.results.last_resort.append(f"{number}: {self.defects[:1] or reply.body[-300:]}")
        self._well_formed(number, reply)
        fault = reply.status == 500
        word = (
            "fault"
            if fault
            else next((w for w in ("Failure", "PartialSuccess", "Success") if w.encode() in reply.body), "?")
        )
        self.results.sent[word] += 1

    def _well_formed(self, number: int, reply: Reply) -> None:
        try:
            raw = reply.body
            if reply.content_type.startswith("multipart/"):
                raw = mtom.read_package(raw, reply.content_type, mtom.ANSWER).root
            xml.read(raw, xml.ANSWER)
        except Mangled as wrong:
            self.results.malformed.append(f"{number}: {reply.status} {wrong}")

    def _package(self, number: int, content_type: str, raw: bytes, dice: random.Random) -> None:
        raw = bytes_spoilt(raw, [each for _, each in self.packages], dice)
        self.results.sent["package, whole and byte by byte"] += 1
        limits = dice.choice([mtom.REQUEST, mtom.ANSWER])
        if _read([raw], content_type, limits) != _read(_bytes(raw), content_type, limits):
            self.results.unequal.append(f"{number}: package")

    def _answer(self, number: int, content_type: str, raw: bytes, dice: random.Random) -> None:
        raw = bytes_spoilt(raw, [each for _, each in self.answers], dice)
        self.results.sent["hospital's answer, whole and byte by byte"] += 1
        fetches = self.fetches
        if _relayed([raw], content_type, fetches) != _relayed(_bytes(raw), content_type, fetches):
            self.results.unequal.append(f"{number}: hospital's answer")


def _bytes(raw: bytes) -> list[bytes]:
    return [raw[at : at + 1] for at in range(len(raw))]


def _read(chunks: list[bytes], content_type: str, limits: mtom.Limits) -> object:
    """The content of every part, or that it was refused."""
    found: list[tuple[str, bytearray]] = []
    try:
        reader = mtom.Reader(content_type, limits)
        for chunk in chunks:
            for event in reader.feed(chunk):
                if isinstance(event, mtom.PartBegins):
                    found.append((repr(event), bytearray()))
                elif isinstance(event, mtom.Content):
                    found[-1][1].extend(event.chunk)
        reader.close()
    except Mangled:
        return None
    return found


def _relayed(chunks: list[bytes], content_type: str, fetches: list[Any]) -> object:
    """Which documents came whole and with which bytes, or that the answer was refused."""
    content, endings = bytearray(), []
    try:
        relay = Relay(fetches, content_type)
        for chunk in chunks:
            for step in relay.feed(chunk):
                if isinstance(step, bytes):
                    content += step
                elif isinstance(step, DocumentEnds):
                    endings.append((step.fetch.place, step.ending))
        for step in relay.close():
            if isinstance(step, DocumentEnds):
                endings.append((step.fetch.place, step.ending))
    except UpstreamFailed:
        return None
    whole = all(ending is Ending.COMPLETE for _, ending in endings)
    return endings, bytes(content) if whole else b""


def main() -> None:
    settings = settings_of(sys.argv)
    faulthandler.enable()
    with asyncio.Runner() as loop:
        hostile = Hostile(Path(settings["folder"]), settings["seed"], loop)
        hostile.run(settings["count"], settings["seconds"])
        hostile.operations.close()
    Path(settings["results"]).write_text(json.dumps(vars(hostile.results)))


if __name__ == "__main__":
    main()
