"""Blocks of people who become one and two again, for the tests of that."""

from __future__ import annotations

from datetime import timedelta

from policy.blocks import Block, BlockKind, Setter
from registry.blocks import BlockBook
from tests.registry.submissions import NOW

LATER = NOW + timedelta(hours=1)


def a_block(block_id: str, patient_id: str, *documents: str) -> Block:
    kind = BlockKind.DOCUMENT if documents else BlockKind.RESERVATION
    setter = Setter.SOURCE if documents else Setter.PATIENT
    return Block(block_id, kind, patient_id, setter, NOW, documents=frozenset(documents))


def held(blocks: BlockBook, patient_id: str) -> set[str]:
    """The blocks of a person by the ids they were set with."""
    return {each.block_id.partition("+")[0] for each in blocks.list(patient_id)}


def in_force(blocks: BlockBook, patient_id: str) -> set[str]:
    """Those of them that have not ended an hour later."""
    return {each.block_id.partition("+")[0] for each in blocks.list(patient_id) if each.in_force(LATER)}
