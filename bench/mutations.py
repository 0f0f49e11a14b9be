"""Spoils messages: bytes here and there, or the tree of the XML inside; by chance, the same for the same dice."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from lxml import etree

from bench.seeds import Seed
from ihe import mtom
from ihe.errors import Mangled

WORDS: tuple[bytes, ...] = (
    *(b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"]]>", b"<![CDATA[", b"<!--", b"-->", b"<?a b?>", b"\x00", b"\xff"),
    *(b"&#0;", b"&#xFFFE;", b"&#x1F600;", b"&lt;", b"'", b"''", b'"', b"(", b")", b",", b"%", b"_", b"^^^&", b"\\"),
    *(b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"--", b"\r\n--uuid-" + b"a" * 32, b"--\r\n", b"\t", b" " * 300),
    *(b'xmlns:x="urn:x"', b'xmlns=""', b'xml:id="a"', b'xsi:type="x:y"', b'href="cid:root"', b"urn:uuid:", b"9" * 40),
    *(b"Content-Transfer-Encoding: base64\r\n", b"Content-ID: <root>\r\n", b"\xef\xbb\xbf", b"\xfe\xff", b"\xc0\x80"),
    *(
        b"<x>" * 70,
        b"</x>",
        b"<x/>",
        b"a" * 5000,
        b"-1",
        b"1e400",
        b"20219999",
        b"NaN",
        b"\xe2\x80\xae",
        b"\xed\xa0\x80",
    ),
)
TEXTS: tuple[str, ...] = (
    *("", " ", "'", "''''", "('a','b'", "()", "('')", "%" * 300, "_%_%", "\u202e", "\ufffd", "\u00a0", "9" * 40, "-1"),
    *("urn:uuid:" + "0" * 36, "urn:uuid:00000000-0000-4000-8000-00000000000G", "a" * 5000, "'x')", "20210230", "2021"),
    *("1^^^&1&ISO", "code^^scheme", "^^", "'^^^&&ISO'", "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"),
    *(
        "cid:%00",
        "cid:",
        "https://127.0.0.1:1/",
        "\U0001f600" * 40,
        "2.999." + "1" * 70,
        "http://www.w3.org/2005/08/addressing/none",
    ),
    *("'; DROP TABLE document; --", "${jndi:x}", "{0}", "%s%n", "../../etc/passwd", "\u0130\u0131\u00df", "1", "true"),
)
NAMESPACES = ("", "urn:x", "http://www.w3.org/2003/05/soap-envelope", "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0")
_READER = etree.XMLParser(resolve_entities=False, no_network=True)


def spoilt(seeds: Sequence[Seed], dice: random.Random) -> Seed:
    """One of the seeds, spoilt."""
    seed = dice.choice(seeds)
    if dice.random() < 0.7:
        seed = _by_tree(seed, dice)
        if dice.random() < 0.9:
            return seed
    raw = bytes_spoilt(seed.raw, [each.raw for each in seeds], dice)
    content_type = seed.content_type
    if dice.random() < 0.05:
        content_type = bytes_spoilt(content_type.encode(), [b"; boundary=a"], dice).decode("latin-1")
    return Seed(seed.path, content_type, raw)


def bytes_spoilt(raw: bytes, others: Sequence[bytes], dice: random.Random) -> bytes:
    """One to four changes to bytes."""
    spoilt = bytearray(raw)
    for _ in range(dice.choice([1, 1, 1, 2, 3, 4])):
        at = dice.randrange(len(spoilt) + 1)
        to = min(len(spoilt), at + dice.choice([1, 1, 2, 4, 16, 64, 300]))
        match dice.randrange(9):
            case 0 if at < len(spoilt):
                spoilt[at] ^= 1 << dice.choice([0, 1, 2, 3, 4, 5, 7])
            case 1 if at < len(spoilt):
                spoilt[at] = dice.randrange(32, 127)
            case 2:
                del spoilt[at:to]
            case 3:
                spoilt[at:at] = spoilt[at:to] * dice.choice([1, 1, 2, 50])
            case 4:
                del spoilt[at:]
            case 5:
                spoilt[at:to] = bytes(dice.randrange(32, 127) for _ in range(to - at))
            case 6:
                other = dice.choice(others)
                begin = dice.randrange(len(other) + 1)
                spoilt[at:to] = other[begin : begin + dice.choice([8, 64, 512])]
            case _:
                spoilt[at : dice.choice([at, to])] = dice.choice(WORDS)
    return bytes(spoilt)


def _by_tree(seed: Seed, dice: random.Random) -> Seed:
    packed = seed.content_type.startswith("multipart/")
    try:
        raw = mtom.read_package(seed.raw, seed.content_type).root if packed else seed.raw
        root = etree.fromstring(raw, _READER)
    except (Mangled, etree.XMLSyntaxError):
        return seed
    for _ in range(dice.choice([1, 1, 2, 3, 5])):
        _change(root, dice)
    written: bytes = etree.tostring(root)
    if packed:
        writer = mtom.new_writer("a" * 32)
        return Seed(seed.path, writer.content_type, writer.root(written) + writer.end())
    return Seed(seed.path, seed.content_type, written)


def _change(root: etree._Element, dice: random.Random) -> None:
    elements = [each for each in root.iter() if isinstance(each.tag, str)]
    victim, other = dice.choice(elements), dice.choice(elements)
    changes: tuple[Callable[[], object], ...] = (
        lambda: setattr(victim, "text", dice.choice(TEXTS)),
        lambda: setattr(victim, "text", dice.choice(TEXTS)),
        lambda: setattr(victim, "tail", dice.choice(TEXTS)),
        lambda: victim.attrib and victim.set(dice.choice(list(victim.attrib)), dice.choice(TEXTS)),
        lambda: victim.attrib and victim.set(dice.choice(list(victim.attrib)), dice.choice(TEXTS)),
        lambda: victim.attrib and victim.attrib.pop(dice.choice(list(victim.attrib))),
        lambda: victim.set(
            dice.choice(["id", "home", "x", "{urn:x}y", "{http://www.w3.org/XML/1998/namespace}id"]), "a"
        ),
        lambda: victim is not root and victim.getparent().remove(victim),
        lambda: victim is not root and victim.addnext(_copy(victim)),
        lambda: victim is not root and other.append(_copy(victim)),
        lambda: setattr(
            victim, "tag", f"{{{dice.choice(NAMESPACES)}}}{etree.QName(victim).localname}".replace("{}", "")
        ),
        lambda: victim.insert(0, etree.Comment("x")),
        lambda: victim.insert(0, etree.ProcessingInstruction("x", "y")),
        lambda: etree.SubElement(victim, "{http://www.w3.org/2004/08/xop/include}Include", href=dice.choice(TEXTS)),
        lambda: _deep(victim, dice.choice([10, 70, 300])),
        lambda: [etree.SubElement(victim, f"x{number}") for number in range(dice.choice([5, 300]))],
    )
    try:
        dice.choice(changes)()
    except (ValueError, TypeError, etree.XMLSyntaxError):
        # The library refuses to build some of what is wanted; bytes are spoilt elsewhere.
        return


def _copy(element: etree._Element) -> etree._Element:
    return etree.fromstring(etree.tostring(element, with_tail=False), _READER)


def _deep(element: etree._Element, depth: int) -> None:
    for _ in range(depth):
        element = etree.SubElement(element, "deep")
