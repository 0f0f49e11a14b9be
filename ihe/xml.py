"""The only place where bytes become XML and XML becomes bytes: hostile input ends here, as `Mangled`, nothing fetched.

Sources: XML 1.0 (fifth edition), SOAP 1.2 part 1 section 5 (no document type declaration, no processing instruction).
"""

from __future__ import annotations

import queue
import re
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import islice
from typing import Any

from lxml import etree

from ihe.errors import Mangled, XdsError, XdsFailure, clip
from ihe.names import RIM, Code

Element = etree._Element
"""A parsed element. Other packages name the type from here, so that one package alone depends on the parser."""

KiB = 1024
MiB = 1024 * KiB
WHITESPACE = " \t\r\n"
"""White space as XML has it; a no-break space is part of an identifier, not around it."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How large a message may be before it is refused: bytes, elements, depth, and per element attributes and xmlns."""

    bytes: int
    nodes: int
    depth: int
    attributes: int
    declarations: int


REQUEST = Budget(bytes=2 * MiB, nodes=50_000, depth=64, attributes=256, declarations=64)
"""For requests. A full ITI-42 has some 40 elements and 4 KiB per entry, so this is several hundred entries at once."""
ANSWER = Budget(bytes=16 * MiB, nodes=200_000, depth=64, attributes=256, declarations=64)
"""For what hospitals answer; whoever reads the connection sets the tighter limit on its bytes."""

_DECLARATION = re.compile(
    rb"<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*(?:\"1\.0\"|'1\.0')"
    rb"(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*(?:\"([A-Za-z0-9._-]+)\"|'([A-Za-z0-9._-]+)'))?"
    rb"(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*(?:\"(?:yes|no)\"|'(?:yes|no)'))?[ \t\r\n]*\?>"
)
_STARTS_DECLARATION = (b"<?xml ", b"<?xml\t", b"<?xml\r", b"<?xml\n")
_TAG = re.compile(rb"[^<>\"'!][^<>\"']*+(?:(?:\"[^\"]*+\"|'[^']*+')[^<>\"']*+)*+>")
_VALUE = re.compile(rb"\"[^\"]*+\"|'[^']*+'")
_ALWAYS_REFUSED = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REFUSED_IN_ATTRIBUTE = re.compile('[&<>"\t\n\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')
_ILLEGAL = dict.fromkeys(
    [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF],
    "\N{REPLACEMENT CHARACTER}",
)
_IN_TEXT = _ILLEGAL | {0x26: "&amp;", 0x3C: "&lt;", 0x3E: "&gt;", 0x0D: "&#13;"}
_IN_ATTRIBUTE = _IN_TEXT | {0x22: "&quot;", 0x09: "&#9;", 0x0A: "&#10;"}


class _PerThread(threading.local):
    """One parser and one compiled copy of each schema per thread: both keep an error log that threads cannot share."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self.parser = _parser()
        self.parsed = 0
        self.reader: _Reader | None = None


def _parser() -> etree.XMLParser:
    # collect_ids: a duplicate xml:id is an error only where ids are collected.
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        remove_comments=True,
        collect_ids=True,
    )


_mine = _PerThread()

WORN = 8 * MiB
"""Bytes after which a thread's table of names is no longer trusted to stay small.

libxml2 keeps every element, attribute and namespace name it meets until the thread ends. Honest messages share a few
hundred; a hostile one of 2 MiB was measured to leave 16 MB behind, so that a thread holds some 64 MB of them at most.
"""
TIRED = 1 * MiB
"""Bytes after which the thread that parses for a worn one is replaced: some thousand honest messages."""


def worn() -> bool:
    """True when a pool does well to replace this thread: from here on each parse takes the way through another."""
    return _mine.parsed > WORN


class NotWellFormed(Mangled):
    """XML that breaks off. What the parser says may quote the content, so it is kept apart from the reason."""

    def __init__(self, line: int, column: int, said: str) -> None:
        super().__init__(f"not well-formed XML, line {line}")
        self.line, self.column, self.said = line, column, said


def read(raw: bytes, budget: Budget = REQUEST) -> Element:
    """The root element of `raw`, safe to walk: no DTD, no entity, no processing instruction, no comment, within budget.

    Bytes are UTF-8, or UTF-16 with a byte order mark; whatever else they claim to be, they are refused.
    Raises: Mangled, with a reason that repeats nothing of the content.
    """
    raw = _utf8(raw, budget)
    _weigh(raw, budget)
    try:
        root = _parse(raw)
    except etree.XMLSyntaxError as wrong:
        raise NotWellFormed(wrong.lineno or 1, (wrong.offset or 0) + 1, wrong.msg or "") from None
    except ValueError:
        raise Mangled("not well-formed XML") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise Mangled("a document type declaration is not accepted")
    # A processing instruction before or after the root is its sibling, which no walk below the root ever meets.
    if root.getprevious() is not None or root.getnext() is not None or _has_instruction(raw, root):
        raise Mangled("a processing instruction is not accepted")
    if _deeper_than(budget.depth)(root):
        raise Mangled("too deeply nested")
    # Elements are at most as many as opening brackets: only a large message is counted one by one.
    if raw.count(b"<") > budget.nodes and sum(1 for _ in root.iter()) > budget.nodes:
        raise Mangled("too many elements")
    return root


def _parse(raw: bytes) -> Element:
    _mine.parsed += len(raw)
    if not worn():
        return etree.fromstring(raw, _mine.parser)
    # Only the end of a thread gives its table of names back, so one that can be ended reads for this one.
    if _mine.reader is None or _mine.reader.parsed > TIRED:
        _mine.reader = _Reader()
    return _mine.reader.parse(raw)


class _Reader:
    """A thread of its own that parses for a worn one; it ends with this object, and its parser with it."""

    def __init__(self) -> None:
        self.parsed = 0
        self._asked: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._found: queue.SimpleQueue[Element | etree.XMLSyntaxError | ValueError] = queue.SimpleQueue()
        threading.Thread(target=_read_on, args=(self._asked, self._found), name="xml", daemon=True).start()
        weakref.finalize(self, self._asked.put, None)

    def parse(self, raw: bytes) -> Element:
        self.parsed += len(raw)
        self._asked.put(raw)
        found = self._found.get()
        if isinstance(found, etree.XMLSyntaxError | ValueError):
            raise found
        return found


def _read_on(
    asked: queue.SimpleQueue[bytes | None], found: queue.SimpleQueue[Element | etree.XMLSyntaxError | ValueError]
) -> None:
    parser = _parser()
    while (raw := asked.get()) is not None:
        try:
            found.put(etree.fromstring(raw, parser))
        except (etree.XMLSyntaxError, ValueError) as wrong:
            found.put(wrong)


def _utf8(raw: bytes, budget: Budget) -> bytes:
    """`raw` as UTF-8 without a byte order mark, checked strictly and against its own declaration."""
    if len(raw) > budget.bytes:
        raise Mangled("message too large")
    declared = b"utf-8"
    try:
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff") and raw[:4] != b"\xff\xfe\x00\x00":
            raw = raw.decode("utf-16").encode("utf-8")
            declared = b"utf-16"
        else:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
            raw.decode("utf-8")
    except UnicodeError:
        raise Mangled("not UTF-8") from None
    if raw.startswith(_STARTS_DECLARATION):
        found = _DECLARATION.match(raw)
        if found is None:
            raise Mangled("not an XML 1.0 declaration")
        named = (found[1] or found[2] or declared).lower()
        if named != declared:
            raise Mangled("declared encoding is not accepted")
    return raw


def _weigh(raw: bytes, budget: Budget) -> None:
    """Refuses before parsing what would cost too much to parse, counting brackets, equal signs and xmlns.

    `<` cannot stand in an attribute value, so each piece between two of them holds at most one start tag.
    """
    # Anywhere, not only in the prolog: an entity is expanded, and an ATTLIST default applied, before a tree exists.
    if b"<!DOCTYPE" in raw:
        raise Mangled("a document type declaration is not accepted")
    if raw.count(b"<") > 2 * budget.nodes:
        raise Mangled("too many elements")
    if raw.count(b"=") <= budget.attributes and raw.count(b"xmlns") <= budget.declarations:
        return
    for piece in raw.split(b"<"):
        if piece.count(b"=") > budget.attributes or piece.count(b"xmlns") > budget.declarations:
            tag = _TAG.match(piece)
            names = b"" if tag is None else _VALUE.sub(b"", tag[0])
            if names.count(b"xmlns") > budget.declarations:
                raise Mangled("too many namespace declarations on one element")
            if names.count(b"=") > budget.attributes:
                raise Mangled("too many attributes on one element")


def _has_instruction(raw: bytes, root: Element) -> bool:
    # Searched from the third byte so that the declaration does not count; a hit inside CDATA is settled by the walk.
    return raw.find(b"<?", 2) > 0 and next(root.iter(etree.ProcessingInstruction), None) is not None


@lru_cache(maxsize=16)
def _deeper_than(depth: int) -> Callable[[Element], bool]:
    # One location path per level, walked in C: three times faster than counting levels here.
    path = etree.XPath("boolean(" + "/*" * (depth + 1) + ")")
    return lambda root: bool(path(root))


_LOOSE_TEXT = etree.XPath("boolean(.//text()[normalize-space()][not(parent::r:Value)])", namespaces={"r": RIM})


def has_loose_text(objects: Element) -> bool:
    """Whether any text below a list of registry objects stands elsewhere than in a value of a slot."""
    return bool(_LOOSE_TEXT(objects))  # in C: 7 us for a document, a third of what every text and tail would take here


def write(element: Element) -> bytes:
    """`element` alone as UTF-8, with every namespace it needs, without declaration and without what follows it."""
    written: bytes = etree.tostring(element, encoding="UTF-8", xml_declaration=False, with_tail=False)
    return written


def text(element: Element | None) -> str:
    """The whole text below `element` without surrounding white space; empty for an absent element."""
    if element is None:
        return ""
    if len(element) == 0:
        return (element.text or "").strip(WHITESPACE)
    return "".join(str(piece) for piece in element.itertext()).strip(WHITESPACE)


def escape_text(plain: str) -> str:
    """`plain` as XML text, whatever it holds: what XML cannot carry becomes U+FFFD."""
    if plain.isprintable() and "&" not in plain and "<" not in plain and ">" not in plain:
        return plain  # nearly everything, in a third of the time that the search takes
    return plain if _ALWAYS_REFUSED.search(plain) is None else plain.translate(_IN_TEXT)


def escape_attribute(plain: str) -> str:
    """`plain` as the inside of an attribute in double quotes; tabs and line breaks survive normalisation."""
    if plain.isprintable() and "&" not in plain and "<" not in plain and ">" not in plain and '"' not in plain:
        return plain
    return plain if _REFUSED_IN_ATTRIBUTE.search(plain) is None else plain.translate(_IN_ATTRIBUTE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which a message breaks its schema: line of the message, XPath from the body element, what is wrong."""

    line: int
    path: str
    message: str


MOST_FINDINGS = 50
"""A message wrong in more ways than this is not read by anybody; each finding becomes one RegistryError."""
MOST_WORDS = 400
"""Length of one finding. The longest the official schemas produce (a list of fifteen expected elements) fits."""


class SchemaUnusable(RuntimeError):
    """A schema of ours is missing, broken, or reaches outside our own folder: a fault of the installation."""


_compiling = threading.Lock()
"""While it compiles, the library keeps its built-in types and the loader of includes where all threads share them: two
first requests at once were seen to end in a schema without its imports, in a third of fresh processes."""

ATTEMPTS = 5
"""A message that is read meanwhile takes the loader away as well, and cannot be made to wait: one compilation in thirty
was seen to fail so in a process's first moments. Compiled again it has its imports."""


class Schema:
    """Says where and how a message breaks one of the standard's schemas. Belongs to the thread that made it."""

    __slots__ = ("_compiled",)

    def __init__(self, compiled: etree.XMLSchema) -> None:
        self._compiled = compiled

    @classmethod
    def load(cls, name: str) -> Schema:
        """Compiles the schema called `name` in SCHEMAS. Raises SchemaUnusable."""
        return cls.compile(resources.files("schemas"), SCHEMAS[name])

    @classmethod
    def compile(cls, folder: Traversable, path: str) -> Schema:
        """Compiles `folder`/`path`, taking includes and imports from `folder` alone. Raises SchemaUnusable."""
        resolver = _FromFolder(folder)
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        parser.resolvers.add(resolver)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with _compiling:
                    root = etree.fromstring(resolver.content(path), parser, base_url=_FromFolder.PREFIX + path)
                    return cls(etree.XMLSchema(root))
            except (etree.LxmlError, OSError, KeyError) as wrong:
                if attempt == ATTEMPTS or not isinstance(wrong, etree.XMLSchemaParseError):
                    raise SchemaUnusable(f"schema {path}: {clip(str(wrong), MOST_WORDS)}") from wrong
        raise AssertionError("the last attempt returns or raises")

    def findings(self, element: Element) -> tuple[Finding, ...]:
        """Everything wrong with `element` and what is below it, in document order; empty when it is valid."""
        if self._compiled.validate(element):
            return ()
        entries: Iterable[Any] = self._compiled.error_log  # type: ignore[assignment]  # iterable, though not in the stubs
        return tuple(
            Finding(entry.line, clip(entry.path or "", MOST_WORDS), clip(entry.message, MOST_WORDS))
            for entry in islice(entries, MOST_FINDINGS)
        )


class _FromFolder(etree.Resolver):
    """Answers every schema location from one folder; any other location gives something that is no schema."""

    PREFIX = "schemas:///"

    def __init__(self, folder: Traversable) -> None:
        self._folder = folder

    def content(self, path: str) -> bytes:
        steps = path.split("/")
        if any(step in ("", ".", "..") for step in steps):
            raise KeyError(path)
        return self._folder.joinpath(*steps).read_bytes()

    def resolve(self, system_url: str, public_id: str, context: Any) -> Any:  # type: ignore[override]  # context is left out of the stubs
        location = system_url or ""
        if location.startswith(self.PREFIX):
            try:
                return self.resolve_string(self.content(location[len(self.PREFIX) :]), context, base_url=location)
            except (OSError, KeyError):
                pass
        # Not empty: a location that gives nothing is skipped by the library, one that gives no schema is an error.
        return self.resolve_string(b"<refused/>", context, base_url=location)


SCHEMAS = {
    "query": "ebrs/query.xsd",
    "lcm": "ebrs/lcm.xsd",
    "rs": "ebrs/rs.xsd",
    "rim": "ebrs/rim.xsd",
    "xds": "ihe/XDS.b_DocumentRepository.xsd",
    "saml": "saml/assertion.xsd",
    "feed": "hl7/PatientIdentityFeed.xsd",
}
"""The schemas a message is judged by, as paths in the package `schemas`."""


def schema(name: str) -> Schema:
    """This thread's compiled schema called `name` in SCHEMAS, compiled once. Raises SchemaUnusable."""
    known = _mine.schemas.get(name)
    if known is None:
        known = _mine.schemas[name] = Schema.load(name)
    return known


def demand(name: str, element: Element, code: Code) -> None:
    """Returns if `element` is valid by the schema called `name`.

    Raises: XdsFailure with one error of `code` per finding: the finding's words as context, its XPath as location.
    """
    findings = schema(name).findings(element)
    if findings:
        raise XdsFailure(tuple(XdsError(code, f"line {found.line}: {found.message}", found.path) for found in findings))
