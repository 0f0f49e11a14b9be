"""Which answers a traced node sent, when, and to which submission or query."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.traced import WRITES, Step
from bench.writers import Attempt
from ihe.names import Action

_CORRELATION = re.compile(rb"x-correlation-id: ([0-9a-f]{32})")
_RELATES = re.compile(rb"<wsa:RelatesTo>([^<]*)</wsa:RelatesTo>")
_SUCCESS = b"ResponseStatusType:Success"


@dataclass(frozen=True)
class Acknowledgement:
    """One Success, from the moment at which its first byte may have left."""

    begun: int
    """Place in the trace at which the sending of it began."""
    correlation: str
    message_id: str
    registers: bool
    """Of a submission; else of a query."""


def acknowledgements(steps: Iterable[Step]) -> Iterator[Acknowledgement]:
    """Every Success that was sent, in order."""
    begun: dict[str, Step] = {}
    heads: dict[str, bytes] = {}
    for step in steps:
        if step.name not in WRITES or not step.where.startswith("socket:"):
            continue
        # An answer's head and body may leave by one call or by two.
        if step.data.startswith(b"HTTP/1.1 "):
            begun[step.where], heads[step.where] = step, b""
        if step.where not in begun:
            continue
        heads[step.where] += step.data[:4096]
        text = heads[step.where]
        if _SUCCESS not in text or (correlation := _CORRELATION.search(text)) is None:
            continue
        relates = _RELATES.search(text)
        yield Acknowledgement(
            begun.pop(step.where).begun,
            correlation[1].decode(),
            relates[1].decode() if relates else "",
            Action.REGISTER.reply.encode() in text,
        )


def by_attempt(steps: Sequence[Step], attempts: Sequence[Attempt]) -> dict[str, Acknowledgement]:
    """The first acknowledgement of each submission, by its MessageID."""
    known = {each.message_id for each in attempts}
    found: dict[str, Acknowledgement] = {}
    for each in acknowledgements(steps):
        if each.registers and each.message_id in known:
            found.setdefault(each.message_id, each)
    return found
