"""Messages made from a schema itself, and messages made wrong: what two schemas are compared by.

`Grammar` reads one folder of .xsd files and writes random instances of any element it declares, so that parts no sample
ever used (filter queries, people, services) are compared too. `mutate` changes one thing in a message.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from lxml import etree

XS = "{http://www.w3.org/2001/XMLSchema}"
XSI = "{http://www.w3.org/2001/XMLSchema-instance}"
XML = "{http://www.w3.org/XML/1998/namespace}"
MOST = 60
"""Elements of one instance after which nothing optional is added: the query types refer to each other without end."""
DEEP = 2
"""Depth from which optional parts become rare, so that one branch does not use up what an instance may have."""

VALUES: dict[str, list[str]] = {
    "string": ["", "text", "ærlig & <sann>", " a  b "],
    "anySimpleType": ["", "UTF-8"],
    "anyURI": ["urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d", "", "Document01"],
    "boolean": ["true", "0", " 1 "],
    "integer": ["-1", "0", "+12"],
    "float": ["1.5", "INF"],
    "dateTime": ["2020-11-10T12:00:00Z", "2020-11-10T12:00:00.5+01:00"],
    "duration": ["P1D", "PT5M"],
    "NCName": ["a"],
    "language": ["nb-NO", "en"],
    "base64Binary": ["", "aGVp"],
    "ID": ["a1"],
}
ODD = ["", " ", "x", "true", "-1", "1e400", "2020-13-01T00:00:00Z", "P1", "nb_NO!", "a b", "æ" * 5, "x" * 17, "x" * 33]
ODD += ["x" * 64, "x" * 65, "x" * 256, "x" * 257, "x" * 1024, "x" * 1025, "%%%", "a#b#c", "aGVp=", "LeafClass", "AND"]


class Grammar:
    """The components of every schema below `folder`, and random instances of them."""

    def __init__(self, folder: Path) -> None:
        self.components: dict[tuple[str, str], etree._Element] = {}
        self.standing_in: dict[str, list[str]] = {}
        self.left = 0
        self.depth = 0
        for path in sorted(folder.rglob("*.xsd")):
            schema = etree.parse(path).getroot()
            for child in schema.iterchildren(f"{XS}*"):
                if child.get("name"):
                    self.components[child.tag, self.named(child, child.get("name", ""))] = child
                if child.get("substitutionGroup"):
                    head = self.resolve(child, child.get("substitutionGroup", ""))
                    self.standing_in.setdefault(head, []).append(self.named(child, child.get("name", "")))

    @staticmethod
    def named(node: etree._Element, name: str) -> str:
        return f"{{{node.getroottree().getroot().get('targetNamespace', '')}}}{name}"

    @staticmethod
    def resolve(node: etree._Element, qname: str) -> str:
        prefix, _, local = qname.rpartition(":")
        namespace = node.nsmap.get(prefix or None) or (
            "http://www.w3.org/XML/1998/namespace" if prefix == "xml" else ""
        )
        return f"{{{namespace}}}{local}"

    def elements(self, *namespaces: str) -> list[str]:
        return sorted(
            name for tag, name in self.components if tag == f"{XS}element" and name[1:].startswith(namespaces)
        )

    def instance(self, name: str, dice: random.Random) -> etree._Element:
        """A random instance of a global element, mostly valid: abstract elements have none."""
        self.left, self.depth = MOST, 0
        return self.element(self.components[f"{XS}element", name], name, dice)

    def element(self, declared: etree._Element, name: str, dice: random.Random) -> etree._Element:
        made = etree.Element(name)
        self.left -= 1
        self.depth += 1
        inline = declared.find(f"{XS}complexType")
        if inline is not None:
            self.fill(made, inline, dice)
        elif declared.find(f"{XS}simpleType") is not None:
            made.text = self.value(declared, dice)
        else:
            named = self.resolve(declared, declared.get("type", "xs:string"))
            known = self.components.get((f"{XS}complexType", named))
            if known is None:
                made.text = self.value(declared, dice)
            else:
                if known.get("abstract") or dice.random() < 0.1:
                    named = self.derived(named, dice, made)
                self.fill(made, self.components[f"{XS}complexType", named], dice)
        self.depth -= 1
        return made

    def derived(self, named: str, dice: random.Random, made: etree._Element) -> str:
        """A type further down, named in xsi:type; the type itself where there is none."""
        below = sorted(self.below(named))
        if not below:
            return named
        chosen = etree.QName(dice.choice(sorted(below)))
        made.set(f"{XSI}type", chosen)  # type: ignore[arg-type]
        return chosen.text

    def below(self, named: str) -> Iterator[str]:
        """Every type that extends a type, at any distance, abstract ones too: naming those is an error to agree on."""
        for (tag, name), node in self.components.items():
            for extension in node.iter(f"{XS}extension") if tag == f"{XS}complexType" else ():
                if self.resolve(extension, extension.get("base", "")) == named:
                    yield name
                    yield from self.below(name)

    def fill(self, made: etree._Element, node: etree._Element, dice: random.Random) -> None:
        for child in node.iterchildren(f"{XS}*"):
            kind = etree.QName(child).localname
            if kind in {"sequence", "choice", "group", "element", "any"}:
                self.particle(made, child, dice)
            elif kind in {"complexContent", "simpleContent"}:
                self.fill(made, child, dice)
            elif kind == "extension":
                base = self.resolve(child, child.get("base", ""))
                if (f"{XS}complexType", base) in self.components:
                    self.fill(made, self.components[f"{XS}complexType", base], dice)
                else:
                    made.text = dice.choice(VALUES.get(etree.QName(base).localname, [""]))
                self.fill(made, child, dice)
            elif kind == "attribute" and (child.get("use") == "required" or dice.random() < 0.4):
                name = self.resolve(child, child.get("ref", "")) if child.get("ref") else child.get("name", "")
                known = self.components.get((f"{XS}attribute", name), child)
                made.set(name, self.value(known, dice))

    def particle(self, made: etree._Element, node: etree._Element, dice: random.Random) -> None:
        least = int(node.get("minOccurs", "1"))
        most = node.get("maxOccurs", "1")
        rare = self.depth > DEEP and dice.random() < 0.8
        extra = 0 if self.left <= 0 or rare else dice.choice([0, 0, 2] if most == "unbounded" else [0, 1])
        count = least + extra if most == "unbounded" else min(int(most), least + extra)
        kind = etree.QName(node).localname
        for _ in range(count):
            if kind == "group":
                self.fill(made, self.components[f"{XS}group", self.resolve(node, node.get("ref", ""))], dice)
            elif kind == "element":
                made.append(self.child(node, dice))
            elif kind == "any":
                made.append(etree.Element("{urn:elsewhere}anything"))
            else:
                self.fill(made, node, dice)

    def child(self, node: etree._Element, dice: random.Random) -> etree._Element:
        if not node.get("ref"):
            return self.element(node, self.named(node, node.get("name", "")), dice)
        name = self.resolve(node, node.get("ref", ""))
        chosen = dice.choice([name, *self.standing_in.get(name, [])])
        if self.standing_in.get(chosen):
            chosen = dice.choice([chosen, *self.standing_in[chosen]])
        return self.element(self.components[f"{XS}element", chosen], chosen, dice)

    def value(self, node: etree._Element, dice: random.Random) -> str:
        listed = [facet.get("value", "") for facet in node.iter(f"{XS}enumeration")]
        if listed:
            return dice.choice(listed)
        union = node.find(f".//{XS}union")
        named = union.get("memberTypes", "") if union is not None else node.get("type", "xs:string")
        restriction = node.find(f".//{XS}restriction")
        if union is None and restriction is not None:
            named = restriction.get("base", "")
        resolved = self.resolve(union if union is not None else node, named)
        known = self.components.get((f"{XS}simpleType", resolved))
        if known is not None:
            return self.value(known, dice)
        return dice.choice(VALUES[etree.QName(resolved).localname])


def _any(root: etree._Element, dice: random.Random) -> etree._Element:
    return dice.choice(list(root.iter("{*}*")))


def drop(root: etree._Element, dice: random.Random) -> None:
    target = _any(root, dice)
    if (parent := target.getparent()) is not None:
        parent.remove(target)


def duplicate(root: etree._Element, dice: random.Random) -> None:
    target = _any(root, dice)
    if target.getparent() is not None:
        target.addnext(copy.deepcopy(target))


def swap(root: etree._Element, dice: random.Random) -> None:
    target = _any(root, dice)
    if (following := target.getnext()) is not None and isinstance(following.tag, str):
        following.addnext(target)


def move(root: etree._Element, dice: random.Random) -> None:
    target, goal = _any(root, dice), _any(root, dice)
    if target.getparent() is not None and target not in [goal, *goal.iterancestors()]:
        goal.append(target)


def rename(root: etree._Element, dice: random.Random) -> None:
    target, other = _any(root, dice), _any(root, dice)
    name = etree.QName(target)
    target.tag = dice.choice([other.tag, f"{{{name.namespace}}}{name.localname.lower()}", f"{{urn:x}}{name.localname}"])


def drop_attribute(root: etree._Element, dice: random.Random) -> None:
    target = _any(root, dice)
    if target.attrib:
        del target.attrib[dice.choice(sorted(target.attrib))]


def add_attribute(root: etree._Element, dice: random.Random) -> None:
    target, other = _any(root, dice), _any(root, dice)
    name = dice.choice(
        ["extra", "home", "comment", f"{XML}lang", f"{XML}space", "{urn:x}y", f"{XSI}nil", *other.attrib]
    )
    target.set(name, other.get(name, dice.choice(ODD)))


def alter_attribute(root: etree._Element, dice: random.Random) -> None:
    target = _any(root, dice)
    if target.attrib:
        target.set(dice.choice(sorted(target.attrib)), dice.choice(ODD))


def alter_text(root: etree._Element, dice: random.Random) -> None:
    target = dice.choice([e for e in root.iter("{*}*") if not len(e)])
    target.text = dice.choice(ODD)


def stray_text(root: etree._Element, dice: random.Random) -> None:
    _any(root, dice).tail = None
    _any(root, dice).text = "stray"


MUTATIONS: tuple[Callable[[etree._Element, random.Random], None], ...] = (
    drop,
    duplicate,
    swap,
    move,
    rename,
    drop_attribute,
    add_attribute,
    alter_attribute,
    alter_text,
    stray_text,
)


def mutate(root: etree._Element, dice: random.Random) -> etree._Element:
    """A copy of a message with one thing in it changed."""
    changed = copy.deepcopy(root)
    dice.choice(MUTATIONS)(changed, dice)
    return changed
