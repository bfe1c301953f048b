"""How many neurons were open in products that read the rows of open ones only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chimerac.compiler.ir.module import Op

#: Ops whose first operand says of each row of a matrix whether it is read: a hidden vector, or what was chosen.
_SPARSE = frozenset({"sparse_linear", "int8_sparse_matmul", "ternary_sparse_matmul"})
_CHOSEN = frozenset({"chosen_linear", "int8_chosen_matmul", "ternary_chosen_matmul"})
PRODUCTS = _SPARSE | _CHOSEN


@dataclass
class Activity:
    """Sums over all that was run.

    Attributes:
        neurons, opened: elements of hidden vectors, and those of them that were not 0.
        weights, read: elements of the rows of all neurons, and of those that were open or chosen.
    """

    neurons: int = 0
    opened: int = 0
    weights: int = 0
    read: int = 0

    def add(self, op: Op, hidden: np.ndarray) -> None:
        """An op of ``PRODUCTS`` was run with this hidden vector."""
        row = op.results[0] if op.name in _SPARSE else op.operands[1]
        outputs, opened = int(row.type.shape[-1]), int(np.count_nonzero(hidden))
        if op.name in _SPARSE:
            self.neurons += hidden.size
            self.opened += opened
        self.weights += hidden.size * outputs
        self.read += opened * outputs
