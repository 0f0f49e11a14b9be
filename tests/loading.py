"""Submissions for nodes with the conformance example's configuration, as many as a test needs, always the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from server.config import Config
from simulators import source
from simulators.papers import history
from simulators.people import PEOPLE
from simulators.source import Submission
from tests.nodes import CONFORMANCE, STUB, configured

PLAIN = {'codes = "codes.toml"': ""}
"""Takes the test kit's code set out of the configuration: these submissions have Norwegian codes."""


def node(folder: Path, replaced: Mapping[str, str] | None = None) -> Config:
    """A node's folder with an empty registry, whose machine `toolkit` may register these submissions."""
    return configured(folder, {**PLAIN, **(replaced or {})}, CONFORMANCE)


def submissions(number: int, seed: int = 1) -> Iterator[Submission]:
    """One document each, of one hospital's repository, patients in turn."""
    each = -(-number // len(PEOPLE))
    made = [source.submissions(history(person, each, 1000 * seed)) for person in PEOPLE]
    for turn in range(number):
        sent = next(made[turn % len(made)])
        repository = sent.papers[0].source.repository_unique_id
        body = sent.body.replace(f">{repository}<".encode(), f">{STUB}<".encode())
        yield Submission(sent.unique_id, sent.papers, body)
