"""Constants of one computation: it runs once, whoever asks first, and nothing stays in memory afterwards."""

from __future__ import annotations

import threading

import numpy as np

from chimerac.compiler.ir.shared_parts import made_together
from chimerac.compiler.ir.types import TensorType

TYPES = [TensorType("i8", (4, 3)), TensorType("f16", (4, 1)), TensorType("f32", (4,))]


def test_one_computation_for_all() -> None:
    made: list[list[np.ndarray]] = []

    def make() -> list[np.ndarray]:
        made.append([np.full([int(d) for d in t.shape], len(made) + 1, t.numpy) for t in TYPES])
        return made[-1]

    constants = made_together(TYPES, make)
    assert [c.type for c in constants] == TYPES
    assert not made
    assert all(c.computed for c in constants)
    for index in (2, 0, 1):
        assert constants[index].data.tolist() == made[0][index].tolist()
    assert len(made) == 1
    assert constants[1].data[0, 0] == 2  # asked for once more, it is computed once more


def test_threads_share_it() -> None:
    runs: list[int] = []
    both = threading.Barrier(2)

    def make() -> list[np.ndarray]:
        runs.append(1)
        return [np.zeros((4, 3), np.int8), np.ones((4, 1), np.float16)]

    constants = made_together(TYPES[:2], make)
    found: dict[int, np.ndarray] = {}

    def ask(index: int) -> None:
        both.wait()
        found[index] = constants[index].data

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 1
    assert not found[0].any()
    assert found[1].all()
