"""N6 for sets, folders and associations: what a caller may not see leaves no trace in the answer to any stored query.

Each world is asked twice: as it is, and with every object deleted from its database that no question about its own id
shows. All answers must be equal, byte for byte. What shows is held against the rule by the rows themselves: both ends
of an association, something in a set or folder that ever had anything.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from uuid import UUID

from bench.filings import Registered, alone, filed_world, links_of, questions
from bench.n6_no_trace import Tally, difference, queried
from bench.registries import Built, Hospitals, Workshop
from bench.worlds import World

_REFERENCES = re.compile(rb'<ObjectRef[^>]* id="([^"]*)"')


def compare(seeds: Iterable[int], workshop: Workshop, hospitals: Hospitals) -> Tally:
    """Builds and asks the worlds of these seeds."""
    tally = Tally()
    for seed in seeds:
        _compare(filed_world(seed), workshop, hospitals, tally)
    return tally


def _compare(asked: World, workshop: Workshop, hospitals: Hospitals, tally: Tally) -> None:
    with workshop.built(asked, hospitals) as whole:
        known = Registered.of(whole.path)
        everything = [each for uuids in known.uuids.values() for each in uuids]
        visible = _visible(whole, known, everything)
        tally.worlds, tally.visible = tally.worlds + 1, tally.visible + len(visible)
        tally.hidden += len(everything) - len(visible)
        for line in _against_the_rule(whole.path, visible):
            tally.disagreements.append(f"seed {asked.seed}: {line}")
        with workshop.reduced(whole, visible) as less:
            for name, call in questions(asked, known):
                one, other = queried(whole, call), queried(less, call)
                tally.answers += 1
                shown = {each.decode() for each in _REFERENCES.findall(one)}
                if one != other:
                    tally.differences.append(f"seed {asked.seed}: {name}: {difference(one, other)}")
                elif shown - visible:
                    tally.differences.append(f"seed {asked.seed}: {name}: shows what hides elsewhere")


def _visible(whole: Built, known: Registered, everything: list[str]) -> frozenset[str]:
    found = {uuid for uuid, call in alone(known) if uuid.encode() in _REFERENCES.findall(queried(whole, call))}
    for call in links_of(everything):
        found |= {each.decode() for each in _REFERENCES.findall(queried(whole, call))}
    return frozenset(found)


def _against_the_rule(path: Path, visible: frozenset[str]) -> Iterable[str]:
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT entry_uuid, source, target, type FROM association").fetchall()
    members: dict[str, list[str]] = {}
    for row in rows:
        link, source, target = (f"urn:uuid:{UUID(bytes=raw)}" for raw in row[:3])
        if row[3] == 0:
            members.setdefault(source, []).append(target)
        if (link in visible) is not ({source, target} <= visible):
            yield f"association {link} shows {link in visible}, its ends {source in visible}, {target in visible}"
    for holder, held in members.items():
        if holder in visible and visible.isdisjoint(held):
            yield f"{holder} shows, and nothing in it"
