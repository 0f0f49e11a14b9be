"""Certificates and keys as files: what is wrong with them, found before a caller or a hospital finds it.

Judged at the real time, whatever a node's decisions believe. Source: RFC 5280; ITI TF-2 3.19 (node authentication).
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

SOON = timedelta(days=30)
"""Expiry nearer than this is a warning: about what an order at a national certificate authority takes, twice."""
LARGEST = 1024 * 1024
"""Bytes of a PEM file; a bundle of 140 authorities has 220 000."""


class CertificateTrouble(Exception):
    """A file that is not the certificate or key it should be; `str()` is a sentence about it without its content."""


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Every certificate in a PEM file, at least one. Raises CertificateTrouble."""
    raw = _read(path)
    try:
        return tuple(x509.load_pem_x509_certificates(raw))
    except ValueError:
        raise CertificateTrouble("holds no readable certificate (PEM)") from None


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's DER in lower-case hex: how a peer's certificate is named everywhere here."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def fingerprints(entries: Sequence[str]) -> frozenset[str]:
    """The fingerprints an [identity] section means: fingerprints as they are, of files the first certificate's.

    Raises CertificateTrouble.
    """
    return frozenset(
        each if is_fingerprint(each) else fingerprint(read_certificates(Path(each))[0]) for each in entries
    )


def is_fingerprint(entry: str) -> bool:
    """Whether an entry of [identity] certificates is a fingerprint and not a file."""
    return len(entry) == 64 and all(each in "0123456789abcdef" for each in entry)


def troubles(path: Path, wall: datetime, *, authority: bool = False) -> Iterator[str]:
    """What keeps the certificates in this file from being used at `wall`."""
    try:
        found = read_certificates(path)
    except CertificateTrouble as problem:
        yield str(problem)
        return
    for number, certificate in enumerate(found, start=1):
        which = "" if len(found) == 1 else f"certificate {number} of {len(found)} "
        if certificate.not_valid_after_utc <= wall:
            yield f"{which}expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
        if certificate.not_valid_before_utc > wall:
            yield f"{which}is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        if authority and not _may_sign(certificate):
            yield f"{which}is not a certificate authority's"


def warnings(path: Path, wall: datetime) -> Iterator[str]:
    """What will keep them from being used soon."""
    try:
        found = read_certificates(path)
    except CertificateTrouble:
        return
    for certificate in found:
        left = certificate.not_valid_after_utc - wall
        if timedelta() < left <= SOON:
            yield f"expires on {certificate.not_valid_after_utc:%Y-%m-%d}, in {left.days} days"


def key_troubles(key: Path, certificate: Path) -> Iterator[str]:
    """What is wrong with a private key: unreadable, open to others, or not that of the certificate."""
    try:
        private = load_pem_private_key(_read(key), password=None)
    except CertificateTrouble as problem:
        yield str(problem)
        return
    except TypeError:
        yield "is encrypted: a node starts without anybody to type a password"
        return
    except ValueError:
        yield "holds no readable private key (PEM)"
        return
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & 0o077:
        yield f"is open to others (mode {mode:04o}): chmod 600"
    try:
        public = read_certificates(certificate)[0].public_key()
    except CertificateTrouble:
        return
    if _spki(public) != _spki(private.public_key()):
        yield f"is not the key of {certificate.name}"


def _spki(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise CertificateTrouble("is too large for a PEM file")
        return path.read_bytes()
    except OSError as problem:
        raise CertificateTrouble(f"cannot be read: {problem.strerror}") from None
