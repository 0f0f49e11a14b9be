"""Values as their data type would have them, where it is plain what was meant: the type's own check judges each mend.

A mend never invents: what cannot be read with certainty from the value itself is left to the sender.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone

from ihe import values
from ihe.values import Check

_WRITTEN = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})(?:[T ]?([0-9]{2}):?([0-9]{2})(?::?([0-9]{2})(?:[.,][0-9]+)?)?)?"
    r"\s*(Z|[+-][0-9]{2}:?(?:[0-9]{2})?)?"
)
_NORWEGIAN = re.compile(r"([0-9]{2})\.([0-9]{2})\.([0-9]{4})")


def mended(check: Check, text: str) -> str | None:
    """`text` as `check` accepts it, or None where nobody could know what was meant."""
    for candidate in _candidates(check, text):
        if candidate != text and check(candidate) is None:
            return candidate
    return None


def check_of(text: str, expected: str) -> Check | None:
    """The check that answers `expected` to `text`."""
    return next((check for check in _MENDS if check(text) == expected), None)


def _candidates(check: Check, text: str) -> Iterator[str]:
    bare = text.strip()
    yield bare
    if (mend := _MENDS.get(check)) is not None:
        yield from mend(bare)


def _dtm(text: str) -> Iterator[str]:
    if (day := _NORWEGIAN.fullmatch(text)) is not None:
        yield f"{day[3]}{day[2]}{day[1]}"
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return
    year, month, day_of, hour, minute, second, zone = found.groups()
    if hour is None or zone is None:
        yield "".join(part for part in (year, month, day_of, hour, minute, second) if part)
        return
    try:
        local = datetime(
            int(year), int(month), int(day_of), int(hour), int(minute), int(second or 0), tzinfo=_zone(zone)
        )
        in_utc = local.astimezone(UTC)
    except (ValueError, OverflowError):
        return
    yield in_utc.strftime("%Y%m%d%H%M%S" if second else "%Y%m%d%H%M")


def _zone(text: str) -> timezone:
    if text == "Z":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _uuid(text: str) -> Iterator[str]:
    yield text.lower()
    plain = text.lower().removeprefix("urn:uuid:").strip("{} ")
    yield f"urn:uuid:{plain}"
    yield f"urn:uuid:{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"


def _oid(text: str) -> Iterator[str]:
    bare = text.lower().removeprefix("urn:oid:").strip(". ")
    yield bare
    yield re.sub(r"(^|\.)0+(?=[0-9])", r"\1", bare)


def _oid_urn(text: str) -> Iterator[str]:
    for bare in _oid(text):
        yield f"urn:oid:{bare}"


def _cx(text: str) -> Iterator[str]:
    parts = [part.strip() for part in text.replace("&amp;", "&").split("^") if part.strip()]
    if len(parts) != 2:
        return
    # namespace&oid&type, whatever the namespace and the type are, or the OID alone.
    authority = parts[1].split("&")
    for oid in _oid(authority[1] if len(authority) > 1 else authority[0]):
        yield f"{parts[0]}^^^&{oid}&ISO"


def _sha1(text: str) -> Iterator[str]:
    digits = re.sub(r"[\s:-]|^(?:0x|sha-?1[:=]?)", "", text, flags=re.IGNORECASE)
    yield digits.lower()
    try:
        yield base64.b64decode(text, validate=True).hex()
    except (binascii.Error, ValueError):
        return


def _size(text: str) -> Iterator[str]:
    yield re.sub(r"\s|,|(?:bytes|octets|b)$", "", text, flags=re.IGNORECASE)
    yield re.sub(r"\.0+$", "", text)


def _language(text: str) -> Iterator[str]:
    yield text.replace("_", "-")


def _mime(text: str) -> Iterator[str]:
    yield text.partition(";")[0].strip()


def _xcn(text: str) -> Iterator[str]:
    parts = text.split("^")
    if len(parts) >= 9:
        for oid in _oid(parts[8].strip("&").partition("&")[0]):
            yield "^".join([*parts[:8], f"&{oid}&ISO", *parts[9:]])


def _xon(text: str) -> Iterator[str]:
    parts = text.split("^")
    if len(parts) >= 6:
        for oid in _oid(parts[5].strip("&").partition("&")[0]):
            yield "^".join([*parts[:5], f"&{oid}&ISO", *parts[6:]])


def _xtn(text: str) -> Iterator[str]:
    bare = text.strip("^ ").removeprefix("mailto:").removeprefix("tel:")
    if re.fullmatch(r"[^@\s^]+@[^@\s^]+", bare):
        yield f"^^Internet^{bare}"
    elif re.fullmatch(r"\+?[0-9 ()-]{5,20}", bare):
        yield f"^PRS^PH^^^^{bare}"


def _availability(text: str) -> Iterator[str]:
    yield f"urn:ihe:iti:2010:DocumentAvailability:{text.rpartition(':')[2].capitalize()}"


def _nothing(text: str) -> Iterator[str]:
    return iter(())


_MENDS: dict[Check, Callable[[str], Iterator[str]]] = {
    values.dtm: _dtm,
    values.uuid: _uuid,
    values.oid: _oid,
    values.oid_urn: _oid_urn,
    values.cx: _cx,
    values.sha1: _sha1,
    values.size: _size,
    values.language: _language,
    values.mime: _mime,
    values.xcn: _xcn,
    values.xon: _xon,
    values.xtn: _xtn,
    values.availability: _availability,
    values.cxi: _nothing,
    values.unique_id: _nothing,
    values.recipient: _nothing,
    values.patient_field: _nothing,
}
