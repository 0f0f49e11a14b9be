"""Changes to a sample message, each by the id of what it changes: a sample says what it breaks and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from ihe import xml
from ihe.ebrim_read import OBJECT_LIST
from ihe.names import RIM, AssociationType
from ihe.spelling import IN_RIM

Edit = Callable[[xml.Element], None]
_REFERENCES = ("id", "classifiedObject", "registryObject", "sourceObject", "targetObject")


def _named(message: xml.Element, of: str) -> xml.Element:
    return next(each for each in message.iter() if each.get("id") == of)


def _fragment(text: str) -> list[xml.Element]:
    return list(xml.read(f'<fragment xmlns="{RIM}">{text}</fragment>'.encode()))


def _slot(name: str, values: tuple[str, ...]) -> str:
    told = "".join(f"<Value>{xml.escape_text(each)}</Value>" for each in values)
    return f'<Slot name="{name}"><ValueList>{told}</ValueList></Slot>'


def _remove(element: xml.Element) -> None:
    parent = element.getparent()
    assert parent is not None
    parent.remove(element)


def attribute(of: str, name: str, value: str) -> Edit:
    """Sets an attribute."""
    return lambda message: _named(message, of).set(name, value)


def slot(of: str, name: str, *values: str) -> Edit:
    """Gives an object or part this slot, in place of one of that name."""

    def change(message: xml.Element) -> None:
        without_slot(of, name)(message)
        _named(message, of).insert(0, _fragment(_slot(name, values))[0])

    return change


def without_slot(of: str, name: str) -> Edit:
    """Takes a slot away."""

    def change(message: xml.Element) -> None:
        for each in _named(message, of).findall(f"{IN_RIM}Slot"):
            if each.get("name") == name:
                _remove(each)

    return change


def without_name(of: str) -> Edit:
    """Takes a title or display name away."""

    def change(message: xml.Element) -> None:
        for each in _named(message, of).findall(f"{IN_RIM}Name"):
            _remove(each)

    return change


def gone(of: str) -> Edit:
    """Takes an object or part away."""
    return lambda message: _remove(_named(message, of))


def inside(of: str, fragment: str) -> Edit:
    """Adds ebRIM to an object or part, where the schema has it."""

    def change(message: xml.Element) -> None:
        parent = _named(message, of)
        for each in _fragment(fragment):
            siblings = [number for number, child in enumerate(parent) if child.tag == each.tag]
            parent.insert(siblings[-1] + 1 if siblings else len(parent), each)

    return change


def more(fragment: str) -> Edit:
    """Adds ebRIM to the list of objects."""

    def change(message: xml.Element) -> None:
        objects = message.find(OBJECT_LIST)
        assert objects is not None
        objects.extend(_fragment(fragment))

    return change


def related(of: str, kind: AssociationType, source: str, target: str) -> Edit:
    """Adds an association without slots."""
    return more(
        f'<Association id="{of}" associationType="{kind.value}" sourceObject="{source}" targetObject="{target}"/>'
    )


def renamed(old: str, new: str) -> Edit:
    """Gives an object another id, wherever it is named."""

    def change(message: xml.Element) -> None:
        for each in message.iter():
            for name in _REFERENCES:
                if each.get(name) == old:
                    each.set(name, new)

    return change


def copied(old: str, new: str) -> Edit:
    """Adds another of an object, it and its parts with ids of their own."""

    def change(message: xml.Element) -> None:
        original = _named(message, old)
        copy = deepcopy(original)
        for each in copy.iter():
            for name in _REFERENCES:
                told = each.get(name)
                if told is not None:
                    each.set(name, new + told.removeprefix(old))
        original.addnext(copy)

    return change
