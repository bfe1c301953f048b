"""Which kernels may be in a batch: none that needs, or would change, the memory of another one."""

from __future__ import annotations

import pytest

from chimerac.compiler.ir.module import Op
from chimerac.targets.code.batches import Batch
from chimerac.targets.code.places import Arena, Argument, Input, LastRow, Logits, Place, Result, Row, StateSlot, Weight

READ: tuple[Place, ...] = (Arena(0, 64), Weight("w"), Input("position"), Argument(0))
WRITTEN: tuple[Place, ...] = (Arena(128, 100), StateSlot("s", 0), Result(1))


@pytest.mark.parametrize(
    ("reads", "writes", "ends"),
    [
        ((), (), False),
        ((Arena(0, 64), Arena(64, 64), Arena(228, 4), Weight("w"), Input("position")), (Arena(256, 64),), False),
        ((Arena(64, 65),), (), True),  # its first byte
        ((Arena(227, 1),), (), True),  # and its last
        ((), (Arena(200, 64),), True),
        ((), (Arena(63, 1),), True),  # what the batch reads
        ((LastRow(Arena(128, 100), 4),), (), True),
        ((), (Row(Arena(128, 100), 4, 0),), True),
        ((StateSlot("s", None),), (), True),
        ((StateSlot("s", 1),), (), True),
        ((StateSlot("t", 0),), (Logits(), Result(0)), False),
        ((), (Result(1),), True),
    ],
)
def test_what_ends_a_batch(reads: tuple[Place, ...], writes: tuple[Place, ...], ends: bool) -> None:
    batch = Batch()
    assert not batch.must_end(reads, writes)
    assert not batch.end()
    batch.add(Op("other", (), ()), READ, WRITTEN)
    assert batch.must_end(reads, writes) == ends
    assert batch.end()
    assert not batch.must_end(reads, writes)
