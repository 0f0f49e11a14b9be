"""A patient register that tells a registry who there is and who is one person: ITI-44 over SOAP, or ITI-8 over MLLP.

Written from the standard and not from our reader of it: an integrator sees here what a registry wants to be sent. Only
identifiers are sent; a name is made up where the message's form wants one. Sources: ITI TF-2 3.8, 3.44.
"""

from __future__ import annotations

import socket
import ssl
import uuid
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from ihe import soap, xml
from ihe.errors import Mangled, clip
from ihe.names import HL7, SOAP12, WSA, WSA_ANONYMOUS, Action

DEVICE, REGISTRY = "2.999.60.2", "2.999.60.1"
"""OIDs of the two systems in a message; the arc is for examples."""
LONGEST_ANSWER = 64 * 1024
"""Bytes of an acknowledgement read."""
LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Told:
    """What a message tells: a patient, or that `subsumed` lives on under that patient. Both are CX."""

    patient_id: str
    subsumed: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What the registry said: AA, AE or AR (ITI-8), CA, CE or CR (ITI-44); empty where there was no acknowledgement."""

    code: str
    why: str = ""


def adt(told: Told, at: datetime, control_id: str) -> bytes:
    """An HL7 v2.3.1 message: ADT^A04, or ADT^A40 for a merge."""
    event = "A40" if told.subsumed else "A04"
    lines = [
        f"MSH|^~\\&|REGISTER|SIMULATED|INNSYN|NODE|{at:%Y%m%d%H%M%S}||ADT^{event}|{control_id}|P|2.3.1||||||8859/1",
        f"EVN|{event}|{at:%Y%m%d%H%M%S}",
        f"PID|||{told.patient_id}||EKSEMPEL^TEST",
        *([f"MRG|{told.subsumed}"] if told.subsumed else []),
        "PV1||N",
    ]
    return "".join(f"{line}\r" for line in lines).encode("iso8859-1", "replace")


def prpa(told: Told, at: datetime, message_id: str) -> tuple[Action, bytes]:
    """An HL7 v3 message and its action: PRPA_IN201301UV02, or PRPA_IN201304UV02 for a merge."""
    action = Action.FEED_MERGE if told.subsumed else Action.FEED_ADD
    name = action.body.rpartition("}")[2]
    prior = (
        '<replacementOf typeCode="RPLC"><priorRegistration classCode="REG" moodCode="EVN"><statusCode code="obsolete"/>'
        f'<subject1 typeCode="SBJ"><priorRegisteredRole classCode="PAT">{_id(told.subsumed)}</priorRegisteredRole>'
        "</subject1></priorRegistration></replacementOf>"
        if told.subsumed
        else ""
    )
    return action, (
        f'<{name} xmlns="{HL7}" ITSVersion="XML_1.0"><id root="{DEVICE}" extension="{message_id}"/>'
        f'<creationTime value="{at:%Y%m%d%H%M%S}"/>'
        f'<interactionId root="2.16.840.1.113883.1.6" extension="{name}"/><processingCode code="P"/>'
        f'<processingModeCode code="T"/><acceptAckCode code="AL"/>{_party("receiver", "RCV", REGISTRY)}'
        f'{_party("sender", "SND", DEVICE)}<controlActProcess classCode="CACT" moodCode="EVN">'
        '<subject typeCode="SUBJ" contextConductionInd="false"><registrationEvent classCode="REG" moodCode="EVN">'
        '<id nullFlavor="NA"/><statusCode code="active"/><subject1 typeCode="SBJ"><patient classCode="PAT">'
        f'{_id(told.patient_id)}<statusCode code="active"/><patientPerson classCode="PSN" determinerCode="INSTANCE">'
        "<name><family>Eksempel</family><given>Test</given></name></patientPerson></patient></subject1>"
        f'<custodian typeCode="CST"><assignedEntity classCode="ASSIGNED"><id root="{DEVICE}"/></assignedEntity>'
        f"</custodian>{prior}</registrationEvent></subject></controlActProcess></{name}>"
    ).encode()


def _id(cx: str) -> str:
    number, _, authority = cx.partition("^^^&")
    root, extension = (xml.escape_attribute(each) for each in (authority.removesuffix("&ISO"), number))
    return f'<id root="{root}" extension="{extension}"/>'


def _party(role: str, kind: str, oid: str) -> str:
    device = f'<device classCode="DEV" determinerCode="INSTANCE"><id root="{oid}"/></device>'
    return f'<{role} typeCode="{kind}">{device}</{role}>'


def tell_mllp(
    host: str, port: int, told: Told, at: datetime, context: ssl.SSLContext | None, timeout: float = 30.0
) -> Acknowledged:
    """Sends one message over a connection of its own. `context` None is for the same machine only (ValueError).

    Raises OSError where no acknowledgement came.
    """
    if context is None and host not in LOCAL:
        raise ValueError("a register speaks TLS with its certificate, or plain MLLP on the same machine")
    control_id = uuid.uuid4().hex[:20]
    with socket.create_connection((host, port), timeout) as plain:
        line = plain if context is None else context.wrap_socket(plain, server_hostname=host)
        line.sendall(b"\x0b" + adt(told, at, control_id) + b"\x1c\r")
        raw = b""
        while not raw.endswith(b"\x1c\r") and len(raw) <= LONGEST_ANSWER:
            piece = line.recv(4096)
            if not piece:
                raise ConnectionError("the connection ended without an acknowledgement")
            raw += piece
    segments = {each[:3]: each.split("|") for each in raw.strip(b"\x0b\x1c\r").decode("ascii", "replace").split("\r")}
    said, error = segments.get("MSA", []), segments.get("ERR", [])
    if len(said) < 3 or said[2] != control_id:
        return Acknowledged("", "the answer does not acknowledge the message")
    return Acknowledged(said[1], " at ".join(clip(each) for each in reversed(error[2:4])))


def tell_soap(
    url: str, told: Told, at: datetime, context: ssl.SSLContext | None, timeout: float = 30.0
) -> Acknowledged:
    """Posts one message. `context` None is for plain http on the same machine only (ValueError).

    Raises OSError where no answer came.
    """
    where = urlsplit(url)
    host = where.hostname or ""
    connection: HTTPConnection
    if where.scheme == "https" and context is not None:
        connection = HTTPSConnection(host, where.port, timeout=timeout, context=context)
    elif where.scheme == "http" and context is None and host in LOCAL:
        connection = HTTPConnection(host, where.port, timeout=timeout)
    else:
        raise ValueError("a register speaks https with its certificate, or http on the same machine")
    action, body = prpa(told, at, uuid.uuid4().hex)
    message = (
        f'<soap12:Envelope xmlns:soap12="{SOAP12}" xmlns:wsa="{WSA}"><soap12:Header>'
        f'<wsa:Action soap12:mustUnderstand="1">{action}</wsa:Action>'
        f"<wsa:MessageID>urn:uuid:{uuid.uuid4()}</wsa:MessageID>"
        f"<wsa:ReplyTo><wsa:Address>{WSA_ANONYMOUS}</wsa:Address></wsa:ReplyTo></soap12:Header><soap12:Body>"
    ).encode()
    headers = {"Content-Type": f'application/soap+xml; charset=UTF-8; action="{action}"'}
    try:
        connection.request("POST", where.path or "/", message + body + soap.SUFFIX, headers)
        return read_acknowledgement(connection.getresponse().read(LONGEST_ANSWER))
    except HTTPException as broken:
        raise ConnectionError(f"the answer broke off: {type(broken).__name__}") from broken
    finally:
        connection.close()


def read_acknowledgement(raw: bytes) -> Acknowledged:
    """What a SOAP answer says, whatever it is."""
    try:
        answer = soap.read_answer(raw)
    except Mangled as wrong:
        return Acknowledged("", f"no SOAP answer: {wrong}")
    names = {"h": HL7}
    found = None if answer.body is None else answer.body.find("h:acknowledgement", names)
    code = None if found is None else found.find("h:typeCode", names)
    if found is None or code is None:
        return Acknowledged("", answer.fault or "the answer is no acknowledgement")
    detail = found.find("h:acknowledgementDetail", names)
    parts = [] if detail is None else [xml.text(detail.find(f"h:{each}", names)) for each in ("text", "location")]
    return Acknowledged(code.get("code", ""), clip(" at ".join(filter(None, parts)), 500))
