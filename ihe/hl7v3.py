"""HL7 v3 messages of the patient identity feed: which patient a message names, and the acknowledgement it gets.

Read strictly where a mistake would name somebody else (which message it is, whose identifier, how many), and with
patience everywhere else: agents of devices, empty addresses, ids without a value and other numbers of the person
(asOtherIDs) are what real senders write and nothing to us. Source: ITI TF-2 3.44 and appendix O.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ihe import xml
from ihe.names import HL7, Action
from ihe.values import is_oid

INTERACTIONS = "2.16.840.1.113883.1.6"
"""Root of every HL7 v3 interaction id."""
LONGEST_ECHO = 256
"""Characters of a message id's extension that an acknowledgement repeats; a longer one is answered without it."""


class Answer(StrEnum):
    """acknowledgement/typeCode."""

    ACCEPT = "CA"
    ERROR = "CE"
    REJECT = "CR"


class Fault(StrEnum):
    """What is wrong (HL7 v3 AcknowledgementDetailCode)."""

    MISSING = "SYN105"
    DATA_TYPE = "SYN102"
    TOO_MANY = "SYN110"
    INTERACTION = "NS200"
    UNKNOWN_KEY = "KEY204"
    DUPLICATE_KEY = "KEY205"
    INTERNAL = "INTERR"


@dataclass(frozen=True, slots=True)
class InstanceId:
    """An II: a root and, below it, an extension (empty where there is none)."""

    root: str
    extension: str


@dataclass(frozen=True, slots=True)
class Header:
    """What an acknowledgement is made from, as far as it could be read."""

    message: InstanceId | None = None
    sender: str = ""
    """The sending device's OID."""
    receiver: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """What one message tells: one patient's identifiers, and for a merge those that are no longer used."""

    header: Header
    patients: tuple[InstanceId, ...]
    """patient/id, those without a value left out; roots may be other domains' too."""
    subsumed: tuple[InstanceId, ...] = ()
    """priorRegisteredRole/id."""


@dataclass(slots=True)
class Unacceptable(Exception):
    """A message that is answered with CE or CR. `str()` repeats nothing of it."""

    header: Header
    answer: Answer
    fault: Fault
    sentence: str
    location: str = ""
    """XPath of the element at fault."""

    def __str__(self) -> str:
        return self.sentence


def read(action: Action, body: xml.Element) -> Notice:
    """The message of this action, whose root element the envelope's reader has compared with it already.

    Raises: Unacceptable, and nothing else for any element.
    """
    reading = _Reading(body, action.body.rpartition("}")[2])
    return reading.notice(merges=action is Action.FEED_MERGE)


class _Reading:
    """One message, by paths that are repeated to the sender where nothing is found at them."""

    def __init__(self, body: xml.Element, name: str) -> None:
        self._body, self._name = body, name
        devices = {role: self._device(role) for role in ("sender", "receiver")}
        message = _all(body, "id")
        found = _instance(message[0]) if len(message) == 1 else None
        if found is not None and len(found.extension) > LONGEST_ECHO:
            found = None
        self.header = Header(found, devices["sender"], devices["receiver"])

    def notice(self, merges: bool) -> Notice:
        interaction = self._one(self._body, "interactionId")
        if (interaction.get("root"), interaction.get("extension")) != (INTERACTIONS, self._name):
            sentence = "interactionId is not that of the message"
            raise self._wrong(Fault.INTERACTION, sentence, "interactionId", Answer.REJECT)
        if self.header.message is None:
            raise self._wrong(Fault.MISSING, "the message has no id that could be answered", "id", Answer.REJECT)
        path = "controlActProcess/subject/registrationEvent"
        event = self._one(self._body, path)
        patients = self._ids(event, path, "subject1/patient")
        replaced = _all(event, "replacementOf")
        if not merges:
            if replaced:
                raise self._wrong(Fault.TOO_MANY, "only a merge replaces a registration", f"{path}/replacementOf")
            return Notice(self.header, patients)
        prior = self._ids(event, path, "replacementOf/priorRegistration/subject1/priorRegisteredRole")
        if len(prior) > 1:
            raise self._wrong(Fault.TOO_MANY, "exactly one identifier is subsumed", f"{path}/replacementOf")
        return Notice(self.header, patients, prior)

    def _ids(self, event: xml.Element, path: str, role: str) -> tuple[InstanceId, ...]:
        """The identifiers of the one `role` below the event. Raises Unacceptable where there is none."""
        where = f"{path}/{role}/id"
        found: list[InstanceId] = []
        for each in _all(self._one(event, role, path), "id"):
            if each.get("nullFlavor") is not None:
                continue
            instance = _instance(each)
            if instance is None or not instance.extension:
                raise self._wrong(Fault.DATA_TYPE, "an identifier has an OID as root, and an extension", where)
            found.append(instance)
        if not found:
            raise self._wrong(Fault.MISSING, "no identifier", where)
        return tuple(found)

    def _one(self, parent: xml.Element, path: str, above: str = "") -> xml.Element:
        """The element at a path each of whose steps is there exactly once."""
        for number, step in enumerate(path.split("/"), start=1):
            found = _all(parent, step)
            if len(found) != 1:
                steps = [each for each in (above, *path.split("/")[:number]) if each]
                fault, sentence = (Fault.TOO_MANY, "more than one") if found else (Fault.MISSING, "missing")
                raise self._wrong(fault, f"{step} is {sentence}", "/".join(steps))
            parent = found[0]
        return parent

    def _device(self, role: str) -> str:
        """A device's OID, or empty: nothing is decided by it."""
        found = self._body.find(f"{{{HL7}}}{role}/{{{HL7}}}device/{{{HL7}}}id")
        root = "" if found is None else found.get("root") or ""
        return root if is_oid(root) else ""

    def _wrong(self, fault: Fault, sentence: str, path: str, answer: Answer = Answer.ERROR) -> Unacceptable:
        return Unacceptable(self.header, answer, fault, sentence, f"/{self._name}/{path}")


def _all(parent: xml.Element, name: str) -> list[xml.Element]:
    return parent.findall(f"{{{HL7}}}{name}")


def _instance(element: xml.Element) -> InstanceId | None:
    """An id as it stands, white space around its parts left out; None where its root is no OID."""
    root = (element.get("root") or "").strip(xml.WHITESPACE)
    return InstanceId(root, (element.get("extension") or "").strip(xml.WHITESPACE)) if is_oid(root) else None


def write_ack(
    header: Header, answer: Answer, at: datetime, own_id: InstanceId, refused: Unacceptable | None = None
) -> bytes:
    """MCCI_IN000002UV01: the acknowledgement of a message. `own_id` is its own id."""
    target = '<id nullFlavor="UNK"/>' if header.message is None else _id(header.message)
    detail = ""
    if refused is not None:
        detail = (
            f'<acknowledgementDetail typeCode="E"><code code="{refused.fault.value}"/>'
            f"<text>{xml.escape_text(refused.sentence)}</text>"
            f"<location>{xml.escape_text(refused.location)}</location></acknowledgementDetail>"
        )
    return (
        f'<MCCI_IN000002UV01 xmlns="{HL7}" ITSVersion="XML_1.0">{_id(own_id)}'
        f'<creationTime value="{at:%Y%m%d%H%M%S%z}"/>'
        f'<interactionId root="{INTERACTIONS}" extension="MCCI_IN000002UV01"/>'
        '<processingCode code="P"/><processingModeCode code="T"/><acceptAckCode code="NE"/>'
        f"{_party('receiver', 'RCV', header.sender)}{_party('sender', 'SND', header.receiver)}"
        f'<acknowledgement><typeCode code="{answer.value}"/><targetMessage>{target}</targetMessage>{detail}'
        "</acknowledgement></MCCI_IN000002UV01>"
    ).encode()


def _id(instance: InstanceId) -> str:
    extension = f' extension="{xml.escape_attribute(instance.extension)}"' if instance.extension else ""
    return f'<id root="{xml.escape_attribute(instance.root)}"{extension}/>'


def _party(role: str, kind: str, oid: str) -> str:
    device = f'<id root="{oid}"/>' if oid else '<id nullFlavor="UNK"/>'
    return f'<{role} typeCode="{kind}"><device classCode="DEV" determinerCode="INSTANCE">{device}</device></{role}>'
