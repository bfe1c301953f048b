"""Several constants that come from one computation, which runs once for all of them.

What they hold is not the business of this file: see quantised.py for codes and scales.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from chimerac.compiler.ir.module import Constant
from chimerac.compiler.ir.types import TensorType


def made_together(types: Sequence[TensorType], make: Callable[[], Sequence[np.ndarray]]) -> tuple[Constant, ...]:
    """Constants of these types, whose arrays ``make`` computes, all at once and the same each time.

    They are asked for one after the other, perhaps by several threads, so what the first asks for is kept until each of
    the others was; then memory is free again, and who asks once more has it computed again.
    """
    shared = _Shared(make)
    return tuple(Constant(type_, partial(shared.parts, index)) for index, type_ in enumerate(types))


class _Shared:
    def __init__(self, make: Callable[[], Sequence[np.ndarray]]) -> None:
        self.make = make
        self.kept: dict[int, np.ndarray] = {}
        self.lock = threading.Lock()

    def parts(self, index: int) -> list[np.ndarray]:
        with self.lock:
            if index not in self.kept:
                self.kept = dict(enumerate(self.make()))
            return [self.kept.pop(index)]
