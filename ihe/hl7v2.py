"""HL7 v2 messages of the patient identity feed: which patient a message names, and the acknowledgement it gets.

Only what a registry needs is read (ITI TF-2 3.8): the header, PID-3 and MRG-1. Names, addresses and the rest of a
message are never taken out of it. Sources: ITI TF-2 3.8 and C.2; HL7 2.3.1 to 2.5.1 chapter 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import hl7

from ihe.errors import clip
from ihe.values import is_oid

VERSIONS = frozenset({"2.3", "2.3.1", "2.4", "2.5", "2.5.1"})
"""MSH-12 that are answered; what the registry reads is alike in all of them."""
ADDS = frozenset({"A01", "A04", "A05"})
IGNORED = frozenset({"A08"})
"""An update of demographic data, of which a registry keeps none (ITI TF-2 3.8.4.1.3)."""
MERGES = frozenset({"A40"})
EVENTS = ADDS | IGNORED | MERGES
CHARSETS: Mapping[str, str] = {
    "ASCII": "ascii",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",  # no value of table 0211, and sent all the same
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
}
"""HL7 table 0211, as far as it is met in Europe."""
_HEADER = re.compile(r"MSH([^\w\s])([^\w\s]{4,5})\1", re.ASCII)
_ESCAPE = re.compile(r"\\([^\\]*)\\")
LONGEST_ECHO = 199
"""Characters of MSH-10 that an acknowledgement repeats; the field has 20 by 2.3.1, 199 by later editions."""


class Answer(StrEnum):
    """MSA-1 in original mode (HL7 table 0008)."""

    ACCEPT = "AA"
    ERROR = "AE"
    REJECT = "AR"


class Fault(StrEnum):
    """What is wrong, as an error code and its text (HL7 table 0357)."""

    SEQUENCE = "100^Segment sequence error"
    MISSING = "101^Required field missing"
    DATA_TYPE = "102^Data type error"
    TYPE = "200^Unsupported message type"
    EVENT = "201^Unsupported event code"
    VERSION = "203^Unsupported version id"
    UNKNOWN_KEY = "204^Unknown key identifier"
    DUPLICATE_KEY = "205^Duplicate key identifier"
    INTERNAL = "207^Application internal error"


@dataclass(frozen=True, slots=True)
class Header:
    """What an acknowledgement is made from, as far as it could be read."""

    sender: tuple[str, str] = ("", "")
    """MSH-3 and MSH-4, as sent."""
    receiver: tuple[str, str] = ("", "")
    event: str = ""
    control_id: str = ""
    processing: str = "P"
    version: str = "2.3.1"


@dataclass(frozen=True, slots=True)
class Identifier:
    """One CX as sent: its id and its assigning authority, as namespace, as OID, or as both."""

    number: str
    namespace: str
    authority: str
    """An OID, or empty where the message gives none."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What one message tells: patients, and for a merge the identifiers that are no longer used."""

    header: Header
    patients: tuple[Identifier, ...]
    """The repetitions of PID-3."""
    subsumed: tuple[Identifier, ...] = ()
    """MRG-1."""


@dataclass(slots=True)
class Unacceptable(Exception):
    """A message that is answered with AE or AR. `str()` repeats nothing of it."""

    header: Header
    answer: Answer
    fault: Fault
    location: str
    """ERR-2: segment, its number, field, repetition, component."""

    def __str__(self) -> str:
        return f"{self.fault.value.partition('^')[2]} at {self.location or 'the message'}"


SEPARATORS = (b"|", b"^", b"&", b"~", b"\r", b"\n")
MOST_SEPARATORS = 4000
"""Fields, repetitions and components together: a feed's largest has some hundreds, and 64 KiB of nothing but
repetitions take 1.4 s to split."""


def read(raw: bytes, charset: str) -> Notice:
    """The one message in `raw`, a frame's content. `charset` is Python's name of what MSH-18 empty stands for.

    Raises: Unacceptable, and nothing else for any bytes.
    """
    if sum(raw.count(each) for each in SEPARATORS) > MOST_SEPARATORS:
        raise Unacceptable(Header(), Answer.REJECT, Fault.SEQUENCE, "MSH^1")
    # Every character set that is served holds ASCII as it is, and the header is ASCII.
    segments = _segments(raw.decode("latin-1"))
    header = _header(segments[0])
    named = _text(segments[0], 18, 0).strip().upper()
    encoding = CHARSETS.get(named) if named else charset
    if encoding is None:
        raise Unacceptable(header, Answer.ERROR, Fault.DATA_TYPE, "MSH^1^18")
    _served(segments[0], header)
    try:
        segments = _segments(raw.decode(encoding))
    except UnicodeDecodeError:
        raise Unacceptable(header, Answer.ERROR, Fault.DATA_TYPE, "MSH^1^18") from None
    return _notice(segments, header)


def _segments(text: str) -> list[hl7.Segment]:
    text = text.replace("\r\n", "\r").replace("\n", "\r").strip("\r ")
    begun = _HEADER.match(text)
    separators = begun[1] + begun[2] if begun else ""
    if begun is None or len(set(separators)) != len(separators):
        raise Unacceptable(Header(), Answer.REJECT, Fault.SEQUENCE, "MSH^1")
    return [each for each in hl7.parse(text) if str(each[0])]


def _header(segment: hl7.Segment) -> Header:
    kind, event = _text(segment, 9, 0, 0), _text(segment, 9, 0, 1)
    header = Header(
        sender=(_raw(segment, 3), _raw(segment, 4)),
        receiver=(_raw(segment, 5), _raw(segment, 6)),
        event=event if kind == "ADT" and event in EVENTS else "",
        control_id=_raw(segment, 10),
        processing=_raw(segment, 11) or "P",
    )
    version = _text(segment, 12, 0, 0)
    return Header(
        header.sender,
        header.receiver,
        header.event,
        header.control_id,
        header.processing,
        version if version in VERSIONS else "2.3.1",
    )


def _served(segment: hl7.Segment, header: Header) -> None:
    """Whether this is a message that a registry understands (ITI TF-2 C.2.3)."""
    if not header.control_id:
        raise Unacceptable(header, Answer.REJECT, Fault.MISSING, "MSH^1^10")
    if _text(segment, 9, 0, 0) != "ADT":
        raise Unacceptable(header, Answer.REJECT, Fault.TYPE, "MSH^1^9^1^1")
    if not header.event:
        raise Unacceptable(header, Answer.REJECT, Fault.EVENT, "MSH^1^9^1^2")
    structure = _text(segment, 9, 0, 2)
    if structure not in ("", "ADT_A39" if header.event in MERGES else "ADT_A01", f"ADT_{header.event}"):
        raise Unacceptable(header, Answer.REJECT, Fault.TYPE, "MSH^1^9^1^3")
    if _text(segment, 12, 0, 0) not in VERSIONS:
        raise Unacceptable(header, Answer.REJECT, Fault.VERSION, "MSH^1^12")


def _notice(segments: list[hl7.Segment], header: Header) -> Notice:
    named = [str(each[0]) for each in segments]
    persons = [each for each in segments if str(each[0]) == "PID"]
    merged = [each for each in segments if str(each[0]) == "MRG"]
    if header.event in IGNORED:
        return Notice(header, ())
    if len(persons) != 1 or named.count("MSH") != 1:
        raise Unacceptable(header, Answer.ERROR, Fault.SEQUENCE, "PID^1" if persons == [] else "PID^2")
    patients = _identifiers(persons[0], 3, header, "PID^1^3")
    if header.event not in MERGES:
        return Notice(header, patients)
    if len(merged) != 1:
        raise Unacceptable(header, Answer.ERROR, Fault.SEQUENCE, "MRG^1" if merged == [] else "MRG^2")
    return Notice(header, patients, _identifiers(merged[0], 1, header, "MRG^1^1"))


def _identifiers(segment: hl7.Segment, number: int, header: Header, where: str) -> tuple[Identifier, ...]:
    """The repetitions of a CX field that have an id. Raises Unacceptable for one that cannot be read, or none."""
    found: list[Identifier] = []
    for repetition in range(_repetitions(segment, number)):
        try:
            value = _unescaped(_text(segment, number, repetition, 0))
            namespace = _unescaped(_text(segment, number, repetition, 3, 0))
            authority = _unescaped(_text(segment, number, repetition, 3, 1))
            kind = _text(segment, number, repetition, 3, 2)
        except ValueError:
            raise Unacceptable(header, Answer.ERROR, Fault.DATA_TYPE, f"{where}^{repetition + 1}") from None
        if authority and (kind != "ISO" or not is_oid(authority)):
            authority = ""  # a DNS name or a UUID names none of our domains
        if value:
            found.append(Identifier(value, namespace, authority))
    if not found:
        raise Unacceptable(header, Answer.ERROR, Fault.MISSING, where)
    return tuple(found)


def _repetitions(segment: hl7.Segment, number: int) -> int:
    if number >= len(segment):
        return 0
    field = segment[number]
    return len(field) if len(field) and not isinstance(field[0], str) else 1


def _text(segment: hl7.Segment, number: int, *path: int) -> str:
    """One piece of a field by repetition, component and subcomponent, each counted from 0 and the first if left out.

    The library leaves out levels that a field does not use, so a plain text stands for its own first piece.
    """
    if number >= len(segment):
        return ""
    # Below the field itself, which holds its repetitions, or one text.
    piece: object = segment[number]
    if isinstance(piece, list) and len(piece) == 1 and isinstance(piece[0], str):
        return piece[0] if not any(path) else ""
    for place in (*path, 0, 0, 0)[:3]:
        if isinstance(piece, str):
            return piece if place == 0 else ""
        assert isinstance(piece, list)
        if place >= len(piece):
            return ""
        piece = piece[place]
    return str(piece)


def _unescaped(text: str) -> str:
    """Separators that were escaped, as they are meant. Raises ValueError for any other escape: no id needs one.

    (The library's own way repeats a character as often as a message asks for.)
    """
    meant = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}

    def one(found: re.Match[str]) -> str:
        if found[1] not in meant:
            raise ValueError("an escape that no identifier has")
        return meant[found[1]]

    if text.count("\\") % 2:
        raise ValueError("half an escape")
    return _ESCAPE.sub(one, text)


def _raw(segment: hl7.Segment, number: int) -> str:
    """A field as it was sent, to be repeated: clipped, and empty where it would end a field of ours."""
    sent = str(segment[number]) if number < len(segment) else ""
    return clip(sent, LONGEST_ECHO) if "|" not in sent else ""


def write_ack(header: Header, answer: Answer, at: datetime, own_id: str, refused: Unacceptable | None = None) -> bytes:
    """The acknowledgement of a message in original mode, in ASCII; `own_id` is its own MSH-10.

    MSA-3 and MSA-6 stay empty (ITI TF-2 C.2.3). Characters beyond ASCII, which a control id has not, become `?`.
    """
    kind = f"ACK^{header.event}" if header.event else "ACK"
    stamp = at.strftime("%Y%m%d%H%M%S%z")
    names = [*header.receiver, *header.sender]
    lines = [
        "|".join(["MSH", "^~\\&", *names, stamp, "", kind, own_id, header.processing, header.version]),
        f"MSA|{answer.value}|{header.control_id}",
    ]
    if refused is not None:
        lines.append(f"ERR||{refused.location}|{refused.fault.value}^HL70357|E")
    return "".join(f"{line}\r" for line in lines).encode("ascii", "replace")
