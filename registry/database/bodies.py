"""Bodies of objects as the database keeps them: deflated with a dictionary that is itself in the database.

A 7 KB entry is mostly words that every entry repeats; with a dictionary it takes about 300 bytes instead of 1 200.
Losing a dictionary would lose every body written with it, so dictionaries are rows that are never changed or deleted,
and each body names its own: `codec` is the dictionary's id, 0 means deflate without one.
"""

from __future__ import annotations

import zlib

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ihe.canonical import HEAD, PART, PATIENT, SELF, VERSION
from ihe.names import (
    FOLDER_CODE,
    IS_FOLDER,
    IS_SUBMISSION_SET,
    OBJECT_TYPE,
    REFERENCE_ID_LIST,
    SIGNED_AT,
    STABLE_ENTRY,
    EntryScheme,
    IdScheme,
    SetScheme,
)
from registry.database.tables import body_dict

PLAIN = 0
LEVEL = 6
"""Deflate level: 9 gains under 1 % on bodies of this size, 1 loses 8 %."""
LARGEST_BODY = 16 * 1024 * 1024
"""A body inflates to at most this; a submission itself is at most 2 MiB, so more means a damaged row."""


_HEAD_BYTES = 6
"""RFC 1950: two bytes that say how it was deflated, four that sum up the dictionary. The body's own sum is the end."""


class BodyLost(Exception):
    """A stored body cannot be inflated: its dictionary is missing or its bytes are damaged."""


class Bodies:
    """Deflates and inflates bodies; holds every dictionary of one database."""

    def __init__(self, dictionaries: dict[int, bytes]) -> None:
        self._dictionaries = dictionaries
        self._sums = {number: zlib.adler32(each).to_bytes(4) for number, each in dictionaries.items()}
        self._current = max(dictionaries, default=PLAIN)

    @classmethod
    def read(cls, connection: Connection) -> Bodies:
        """The dictionaries of this database; new bodies use the newest."""
        rows = connection.execute(sa.select(body_dict.c.id, body_dict.c.dictionary))
        return cls({number: bytes(dictionary) for number, dictionary in rows})

    def deflate(self, body: bytes) -> tuple[int, bytes]:
        """The codec and the stored bytes of a body."""
        if self._current == PLAIN:
            return PLAIN, zlib.compress(body, LEVEL)
        press = zlib.compressobj(LEVEL, zdict=self._dictionaries[self._current])
        return self._current, press.compress(body) + press.flush()

    def inflate(self, codec: int, stored: bytes) -> bytes:
        """The body as it was registered. Raises BodyLost."""
        try:
            if codec == PLAIN:
                expand = zlib.decompressobj()
                body = expand.decompress(stored, LARGEST_BODY)
                whole = expand.eof
            else:
                # zlib would sum up the whole dictionary for every body, which takes as long as a third of inflating it.
                # What it compares, the two sums in the stream (RFC 1950), is compared here.
                expand = zlib.decompressobj(-zlib.MAX_WBITS, self._dictionaries[codec])
                body = expand.decompress(stored[_HEAD_BYTES:], LARGEST_BODY)
                whole = expand.eof and stored[_HEAD_BYTES - 4 : _HEAD_BYTES] == self._sums[codec]
                whole = whole and expand.unused_data == zlib.adler32(body).to_bytes(4)
        except (KeyError, zlib.error) as error:
            raise BodyLost(f"codec {codec}") from error
        if not whole:
            raise BodyLost(f"codec {codec}")
        return body


def first_dictionary() -> bytes:
    """The dictionary a new registry begins with: entries in canonical form (ihe.canonical) without their values.

    Deflate reaches nearer text with fewer bits, so what nearly every entry has stands at the end.
    """
    slots = (
        "intendedRecipient",
        "submissionTime",
        SIGNED_AT,
        REFERENCE_ID_LIST,
        "URI",
        "legalAuthenticator",
        "creationTime",
        "languageCode",
        "serviceStopTime",
        "serviceStartTime",
        "hash",
        "size",
        "repositoryUniqueId",
        "sourcePatientId",
    )
    authors = ("authorTelecommunication", "authorSpecialty", "authorRole", "authorInstitution", "authorPerson")
    rare = [f'classificationNode="{node}"' for node in (IS_FOLDER, IS_SUBMISSION_SET)]
    rare += [_classification(scheme, 1) for scheme in (FOLDER_CODE, *SetScheme)]
    rare += [_identifier(scheme, name, 1) for scheme, name in zip(IdScheme, _IDENTIFIED, strict=True)]
    rare += ["text/xml", "&amp;2.16.578.1.12.4.1.4.4&amp;ISO", "2.16.578.1.12.4.1.1.9603", "urn:ihe:iti:xds:2017:"]
    rare += ["20200101", "Internet^", "PID-3|PID-7|PID-8|M", "PID-8|F", "2.16.840.1.113883.", *map(_slot, authors)]
    coded = [*EntryScheme][1:]
    entry = f'<ExtrinsicObject{HEAD} mimeType="application/pdf" objectType="{STABLE_ENTRY}">'
    entry += "".join(map(_slot, slots)).replace("</Value>", "^^^&amp;2.16.578.1.12.4.1.4.1&amp;ISO</Value>", 1)
    entry += '<Slot name="sourcePatientInfo"><ValueList><Value>PID-5|</Value><Value>PID-7|</Value></ValueList></Slot>'
    entry += f'{_name("")}<VersionInfo versionName="{VERSION}"/>'
    entry += _classification(EntryScheme.AUTHOR, 1, "".join(map(_slot, reversed(authors))))
    entry += "".join(_classification(scheme, number) for number, scheme in enumerate(coded, 2))
    entry += _identifier(IdScheme.ENTRY_PATIENT_ID, "XDSDocumentEntry.patientId", 9, PATIENT)
    entry += _identifier(IdScheme.ENTRY_UNIQUE_ID, "XDSDocumentEntry.uniqueId", 10)
    return ("".join(rare) + entry + "</ExtrinsicObject>").encode()


_IDENTIFIED = (
    "XDSDocumentEntry.patientId",
    "XDSDocumentEntry.uniqueId",
    "XDSSubmissionSet.patientId",
    "XDSSubmissionSet.sourceId",
    "XDSSubmissionSet.uniqueId",
    "XDSFolder.patientId",
    "XDSFolder.uniqueId",
)


def _slot(name: str) -> str:
    return f'<Slot name="{name}"><ValueList><Value></Value></ValueList></Slot>'


def _name(value: str) -> str:
    return f'<Name><LocalizedString charset="UTF-8" value="{value}"/></Name>'


def _classification(scheme: str, number: int, slots: str = "") -> str:
    return (
        f'<Classification classificationScheme="{scheme}" classifiedObject="{SELF}" id="{PART}{number:04x}"'
        f' nodeRepresentation="" objectType="{OBJECT_TYPE}Classification">'
        f"{slots or _slot('codingScheme') + _name('')}</Classification>"
    )


def _identifier(scheme: str, name: str, number: int, value: str = "") -> str:
    return (
        f'<ExternalIdentifier id="{PART}{number:04x}" identificationScheme="{scheme}"'
        f' objectType="{OBJECT_TYPE}ExternalIdentifier" registryObject="{SELF}" value="{value}">{_name(name)}'
        "</ExternalIdentifier>"
    )
