"""Where the submissions of a first load lie: folders, archives and single files of XML."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ihe import xml

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True, slots=True)
class File:
    """One submission as it lies there."""

    name: str
    raw: bytes

    @property
    def key(self) -> str:
        """Names this content under this name."""
        return hashlib.sha256(self.name.encode(errors="surrogateescape") + b"\0" + self.raw).hexdigest()[:32]


def files(paths: Iterable[Path]) -> Iterator[File]:
    """Every .xml file below these folders and in these archives, in the order of their names, and each file named.

    Raises OSError, tarfile.TarError.
    """
    for path in paths:
        if path.is_dir():
            for found in _below(path):
                yield File(str(found), _read(found))
        elif path.name.endswith(TARS):
            with tarfile.open(path) as archive:
                for member in archive:
                    content = archive.extractfile(member) if _wanted(member.name) and member.isfile() else None
                    if content is not None:
                        yield File(f"{path}:{member.name}", content.read(xml.REQUEST.bytes + 1))
        else:
            yield File(str(path), _read(path))


def count(paths: Iterable[Path]) -> int | None:
    """How many files there are; None where an archive would have to be unpacked to know."""
    number = 0
    for path in paths:
        if path.is_dir():
            number += sum(1 for _ in _below(path))
        elif path.name.endswith(TARS):
            if not path.name.endswith(".tar"):
                return None
            with tarfile.open(path) as archive:
                number += sum(1 for member in archive if _wanted(member.name) and member.isfile())
        else:
            number += 1
    return number


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        wanted = (Path(place, name) for name in sorted(names) if _wanted(name))
        # A pipe among them would be waited for, and a device read.
        yield from (path for path in wanted if path.is_file())


def _wanted(name: str) -> bool:
    return name.lower().endswith(".xml") and not name.rpartition("/")[2].startswith(".")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        # One byte more than any submission may have: it is then refused for its size.
        return file.read(xml.REQUEST.bytes + 1)
