"""Whether a text is what its data type says, without ever changing it: OID, UUID, DTM, CX, XCN, XON, XTN and the like.

Every check answers `None` for a good value, or what was expected in words a sender can act on; nothing is trimmed,
folded or repaired, because identifiers are opaque. Sources: ITI TF-3 table 4.2.3.1.7-2, HL7 v2.5 chapter 2A,
ISO 8824, RFC 4122, RFC 5646, RFC 6838.
"""

from __future__ import annotations

import re
import unicodedata
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass

Check = Callable[[str], str | None]
"""`None`, or what was expected instead."""

OID_MOST = 64
_OID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DTM = re.compile(
    r"[0-9]{4}((0[1-9]|1[0-2])((0[1-9]|[12][0-9]|3[01])(([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9])?)?)?)?)?"
)
_HASH = re.compile(r"[0-9a-fA-F]{40}")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")
_MIME = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_URN = re.compile(r"(?i:urn):[A-Za-z0-9][A-Za-z0-9-]{1,31}(:[!-~]+)?")
_SIZE = re.compile(r"[0-9]{1,18}")
_PRINTABLE = re.compile(r"[!-~]([ -~]*[!-~])?")
_FIELD = re.compile(r"PID-([1-9]|[12][0-9]|3[0-9])\|.*", re.DOTALL)

UNIQUE_ID_MOST = 256
"""What the schema allows for an external identifier. The profile sets no limit for a document's uniqueId."""
AVAILABILITY = frozenset(
    {"urn:ihe:iti:2010:DocumentAvailability:Online", "urn:ihe:iti:2010:DocumentAvailability:Offline"}
)


def nfc(text: str) -> str:
    """`text` as it is compared: Unicode NFC (ITI TF-3 appendix F). What is stored and returned stays as it was sent."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_oid(text: str) -> bool:
    """A bare OID: no leading zeros, at most 64 characters.

    A root arc above 2 names nothing (ISO 8824), but it stands in test messages of several makers and harms nobody.
    """
    return len(text) <= OID_MOST and _OID.fullmatch(text) is not None


def is_uuid(text: str) -> bool:
    """`urn:uuid:` and lower-case hexadecimal, the only spelling the framework allows (TF-3 table 4.2.3.1.7-2)."""
    return _UUID.fullmatch(text) is not None


def is_symbolic(text: str) -> bool:
    """An id that links objects inside one submission and means nothing outside it (TF-3 4.2.3.1.3)."""
    return not text.startswith("urn:uuid:")


def is_urn(text: str) -> bool:
    """A URN of printable characters (RFC 8141), or the beginning of one, as it stands in test messages: `urn:att`."""
    return _URN.fullmatch(text) is not None


def is_dtm(text: str) -> bool:
    """A time in UTC of 4, 6, 8, 10, 12 or 14 digits that the calendar knows."""
    if _DTM.fullmatch(text) is None or text.startswith("0000"):
        return False
    return len(text) < 8 or int(text[6:8]) <= monthrange(int(text[:4]), int(text[4:6]))[1]


def earliest(text: str) -> str:
    """A DTM filled up to seconds with its lowest legal value, so that times of different precision can be compared."""
    return text + "00000101000000"[len(text) :]


def oid(text: str) -> str | None:
    """OID without prefix."""
    return None if is_oid(text) else "an OID without prefix or leading zeros, at most 64 characters"


def oid_urn(text: str) -> str | None:
    """homeCommunityId."""
    return None if text.startswith("urn:oid:") and is_oid(text[8:]) else "urn:oid: and an OID"


def uuid(text: str) -> str | None:
    """A symbolic id, or a UUID in its one spelling; `urn:uuid:` and something else is neither."""
    return None if is_symbolic(text) or is_uuid(text) else "urn:uuid: and a UUID in lower case"


def dtm(text: str) -> str | None:
    """Date and time (DTM)."""
    return None if is_dtm(text) else "a time in UTC as YYYY[MM[DD[hh[mm[ss]]]]]"


def sha1(text: str) -> str | None:
    """hash."""
    return None if _HASH.fullmatch(text) else "a SHA-1 hash as 40 hexadecimal digits"


def size(text: str) -> str | None:
    """size, in octets."""
    return None if _SIZE.fullmatch(text) else "a number of octets, 0 or more"


def language(text: str) -> str | None:
    """languageCode."""
    return None if _LANGUAGE.fullmatch(text) else "a language tag of RFC 5646"


def mime(text: str) -> str | None:
    """mimeType."""
    return None if _MIME.fullmatch(text) else "a media type as type/subtype, without parameters"


def unique_id(text: str) -> str | None:
    """A document's uniqueId: opaque, but printable, because it travels in headers, logs and file names of others."""
    if len(text) <= UNIQUE_ID_MOST and _PRINTABLE.fullmatch(text):
        return None
    return f"an identifier of 1 to {UNIQUE_ID_MOST} printable ASCII characters"


def availability(text: str) -> str | None:
    """documentAvailability."""
    return None if text in AVAILABILITY else "urn:ihe:iti:2010:DocumentAvailability:Online or ...:Offline"


@dataclass(frozen=True, slots=True)
class Cx:
    """An identifier and the OID of who assigned it."""

    id: str
    authority: str

    @property
    def text(self) -> str:
        """The only spelling the framework knows: `id^^^&oid&ISO`."""
        return f"{self.id}^^^&{self.authority}&ISO"


def read_cx(text: str) -> Cx | None:
    """The two parts of a CX, or None for anything but `id^^^&oid&ISO`, exactly (TF-3 table 4.2.3.1.7-2)."""
    parts = text.split("^")
    if len(parts) != 4 or not parts[0].strip() or parts[0] != parts[0].strip() or parts[1] or parts[2]:
        return None
    authority = _authority(parts[3])
    return None if authority is None else Cx(parts[0], authority)


def _authority(text: str) -> str | None:
    """The OID of an assigning authority `&oid&ISO`."""
    parts = text.split("&")
    return parts[1] if len(parts) == 3 and not parts[0] and parts[2] == "ISO" and is_oid(parts[1]) else None


def cx(text: str) -> str | None:
    """patientId, sourcePatientId."""
    return None if read_cx(text) else "an identifier as id^^^&OID&ISO"


def cxi(text: str) -> str | None:
    """referenceIdList: an identifier, its authority where it needs one, and in component 5 what kind it is."""
    parts = text.split("^")
    if not 5 <= len(parts) <= 6 or not parts[0] or parts[1] or parts[2] or not parts[4]:
        return "a reference as id^^^&OID&ISO^kind"
    if "&" in parts[3] and len(parts[3].split("&")) != 3:
        return "an assigning authority as name or &id&type in component 4"
    return None


def xcn(text: str) -> str | None:
    """A person: an id or a family name, and where component 9 is given, an authority `&OID&ISO`."""
    parts = text.split("^") + [""] * 9
    if not parts[0] and not parts[1]:
        return "a person with an id (component 1) or a family name (component 2)"
    if parts[8] and _authority(parts[8]) is None:
        return "an assigning authority as &OID&ISO in component 9"
    return None


def xon(text: str) -> str | None:
    """An organisation: a name, and an authority unless its id is an OID."""
    parts = text.split("^") + [""] * 10
    if not parts[0]:
        return "an organisation with a name (component 1)"
    if parts[5] and _authority(parts[5]) is None:
        return "an assigning authority as &OID&ISO in component 6"
    if parts[9] and not parts[5] and not is_oid(parts[9]):
        return "an assigning authority in component 6, because the id in component 10 is not an OID"
    return None


def xtn(text: str) -> str | None:
    """A telecommunication address: `^^Internet^a@b`, or a telephone with equipment type and number."""
    parts = text.split("^") + [""] * 12
    if parts[2] == "Internet" or parts[2] == "X.400":
        return None if parts[3] else "an address in component 4"
    if parts[2] and (parts[6] or parts[11] or parts[3]):
        return None
    return "^^Internet^address, or a telephone type in component 3 and a number in component 7 or 12"


def recipient(text: str) -> str | None:
    """intendedRecipient: organisation, person and address between vertical bars, at least one of them."""
    parts = text.split("|")
    if len(parts) > 3 or not any(parts):
        return "organisation|person|address with at least one of them"
    for part, check in zip(parts, (xon, xcn, xtn), strict=False):
        if part and (wrong := check(part)):
            return wrong
    return None


def patient_field(text: str) -> str | None:
    """sourcePatientInfo: one PID field. Which fields ought not to be sent is left to the sender (TF-3 4.2.3.2.23)."""
    return None if _FIELD.fullmatch(text) else "PID-n|value with n from 1 to 39"
