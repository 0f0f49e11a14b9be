"""Finds the message in a file: a bare body, an envelope, a package with or without its header lines, a whole dump.

What is no message at all is answered with one sentence that says what it is instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ihe import mtom, xml
from ihe.errors import Mangled, clip
from ihe.soap import SIMPLE_TYPE

LARGEST = 64 * xml.MiB
"""Bytes looked at. A node takes requests of a few MiB; a package with documents in it may be larger."""
_HTTP = re.compile(
    rb"(?:POST|PUT|GET) [^\r\n]* HTTP/[0-9.]+[ \t]*\r?\n|(?:content-|mime-|host|soapaction|user-agent|accept|transfer-|"
    rb"connection|date|expect|cache-control|via|authorization|x-|forwarded)[a-z0-9-]*[ \t]*:",
    re.IGNORECASE,
)
_ANSWER = re.compile(rb"HTTP/[0-9.]+ [0-9]{3}")
_LINE = re.compile(rb"([A-Za-z][A-Za-z0-9-]*)[ \t]*:[ \t]*(.*)", re.DOTALL)
_BLANK = re.compile(rb"\r?\n[ \t]*\r?\n")
_FIRST_BOUNDARY = re.compile(rb"\s{0,64}--([0-9A-Za-z'()+_,./:=?-][0-9A-Za-z'()+_,./:=? -]{0,69})[ \t]*\r?\n")
_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "is compressed with gzip: gunzip -c FILE | innsyn explain -"),
    (b"%PDF", "is a PDF, a document and no message about one"),
    (b"PK\x03\x04", "is a ZIP archive: unpack it and name the message in it"),
    (b"BZh", "is compressed with bzip2: bunzip2 -c FILE | innsyn explain -"),
    (b"\xfd7zXZ", "is compressed with xz: xz -dc FILE | innsyn explain -"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: zstd -dc FILE | innsyn explain -"),
    (b"\x89PNG", "is a picture"),
    (b"\xff\xd8\xff", "is a picture"),
    (b"GIF8", "is a picture"),
    (b"\xd4\xc3\xb2\xa1", "is a packet capture: save the HTTP body of one request from it"),
    (b"\n\r\r\n", "is a packet capture: save the HTTP body of one request from it"),
    (b"\x16\x03", "is TLS as it travelled: save the message where it is not encrypted"),
    (b"\x7fELF", "is a program"),
    (b"\xff\xfe\x00\x00", "is UTF-32, which is not accepted: save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "is UTF-32, which is not accepted: save it as UTF-8"),
    (b"<\x00", "is UTF-16 without a byte order mark: save it as UTF-8"),
    (b"\x00<", "is UTF-16 without a byte order mark: save it as UTF-8"),
    (b"MSH|", "is an HL7 v2 message; patients are fed with ITI-8, which is not explained here"),
    (b"{", "is JSON; document sharing speaks SOAP, and MHD with FHIR is another interface"),
    (b"[", "is JSON; document sharing speaks SOAP, and MHD with FHIR is another interface"),
)


class Unreadable(ValueError):
    """A file that is no message; `str()` says what it is, after "the file"."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request as a node would get it, and where in the file its XML stands."""

    body: bytes
    content_type: str
    envelope: bytes
    """The XML: the body itself, or the root part of the package in it."""
    before: bytes
    """What stands before it in the file."""
    notes: tuple[str, ...] = ()
    broken: str = ""
    """Why the package could not be opened, or empty; the body is all there is then."""


def open_file(raw: bytes) -> Message:
    """The message in `raw`. Raises Unreadable for what is none."""
    if not raw.strip():
        raise Unreadable("is empty" if not raw else "holds nothing but white space")
    if len(raw) > LARGEST:
        raise Unreadable(f"is larger than {LARGEST // xml.MiB} MiB; a node takes requests of a few MiB")
    _must_be_text(raw.lstrip(b" \t\r\n") if not raw.startswith(b"\n\r") else raw)
    if _ANSWER.match(raw):
        raise Unreadable("is an HTTP answer; what was asked is needed, the request")
    if _HTTP.match(raw):
        return _with_headers(raw)
    if (found := _FIRST_BOUNDARY.match(raw)) is not None:
        content_type = f'{mtom.MULTIPART}; type="{mtom.XOP}"; boundary="{found[1].rstrip().decode("ascii")}"'
        return _package(raw, content_type, b"", ("the Content-Type line is missing, so the usual one was assumed",))
    if b"\x00" in raw[:1000] and not raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("is binary, where a message is XML or a multipart package")
    if not raw.lstrip().startswith((b"<", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("is neither XML nor a multipart package nor an HTTP request")
    return Message(raw, SIMPLE_TYPE, raw, b"")


def _must_be_text(raw: bytes) -> None:
    for start, sentence in _KINDS:
        if raw.startswith(start):
            raise Unreadable(sentence)
    if re.match(rb"(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html)[\s>]", raw[:1000], re.IGNORECASE | re.DOTALL):
        title = re.search(rb"<title[^>]*>([^<]{1,80})", raw[:4000], re.IGNORECASE)
        said = f", {' '.join(title[1].decode('utf-8', 'replace').split())!r}" if title else ""
        raise Unreadable(f"is an HTML page{said}: most often the error page of a proxy in front of the node")


def _with_headers(raw: bytes) -> Message:
    end = _BLANK.search(raw)
    if end is None:
        raise Unreadable("has HTTP header lines and no body: a blank line stands between the two")
    head, body = raw[: end.start()], raw[end.end() :]
    headers: dict[str, str] = {}
    for line in re.split(rb"\r?\n(?![ \t])", head):
        if (found := _LINE.fullmatch(line)) is not None:
            value = " ".join(found[2].decode("latin-1").split())
            headers.setdefault(found[1].decode("ascii").lower(), value)
    if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise Unreadable(f"has a body with Content-Encoding {clip(headers['content-encoding'])}: save it unpacked")
    if not body.strip():
        raise Unreadable("has HTTP header lines and an empty body")
    if "chunked" in headers.get("transfer-encoding", "").lower() and re.match(rb"[0-9A-Fa-f]{1,8}\r?\n", body):
        raise Unreadable("has a body cut in HTTP chunks: save it as the SOAP stack's log shows it, in one piece")
    content_type = headers.get("content-type", "")
    before = raw[: end.end()]
    if not content_type:
        inner = open_file(body)
        note = "there is no Content-Type line"
        return Message(inner.body, inner.content_type, inner.envelope, before + inner.before, (note, *inner.notes))
    if content_type.partition(";")[0].strip().lower() == mtom.MULTIPART:
        return _package(body, content_type, before, ())
    return Message(body, content_type, body, before)


def _package(body: bytes, content_type: str, before: bytes, notes: tuple[str, ...]) -> Message:
    """The package in `body`, as it is, or as it was before a tool wrote it into a file line by line."""
    try:
        return _opened(body, content_type, before, notes)
    except Mangled as wrong:
        restored = _restored(body, content_type)
        try:
            note = "the file has other line ends than a package travels with, and was read as if it had not"
            return _opened(restored, content_type, before, (*notes, note))
        except Mangled:
            return Message(body, content_type, b"", before, notes, str(wrong))


def _opened(body: bytes, content_type: str, before: bytes, notes: tuple[str, ...]) -> Message:
    root = mtom.read_package(body, content_type).root.lstrip(b" \t\r\n")
    at = body.find(root)
    if at < 0:
        notes = (*notes, "lines are counted from the start of the root part, which is encoded")
    return Message(body, content_type, root, before + body[:at] if at >= 0 else b"", notes)


def _restored(body: bytes, content_type: str) -> bytes:
    """CR LF at every line end and no blanks after header and boundary lines: what text tools take from a package."""
    lines = body.replace(b"\r\n", b"\n").lstrip(b"\n").split(b"\n")
    try:
        boundary = mtom.parameters(content_type)[1].get("boundary", "").encode("latin-1", "replace")
    except Mangled:
        return body
    in_header, written = False, []
    for line in lines:
        opens = bool(boundary) and line.startswith(b"--" + boundary)
        if opens or in_header:
            line = line.rstrip(b" \t")
        in_header = (opens and not line.endswith(b"--")) or (in_header and bool(line))
        written.append(line)
    whole = b"\r\n".join(written).rstrip(b"\r\n") + b"\r\n"
    return whole
