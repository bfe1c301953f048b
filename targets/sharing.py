"""Which kernels several threads may share: how many independent outputs ("units") they have, and what one costs.

A unit's bits depend on nothing that another unit computes, so they are the same however units are divided. What one
unit costs only decides whether a kernel is worth sharing (``chm_share`` in runtime/native/chm_threads.c); a float
operation on a state counts as several multiply-adds of the integer products.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from chimerac.compiler.ir.layouts import panel_rows_of
from chimerac.compiler.ir.types import TensorType

INT8_ROWS = 8  #: rows of an int8 table that are multiplied together
LINEAR_ROWS = 4  #: rows of a float matrix that are multiplied together
MOST_HEADS = 4  #: heads that attention computes together
FLOAT = 4  #: cost of a float multiply-add, in integer ones


@dataclass(frozen=True)
class Sharing:
    """Units of a kernel, and the multiply-adds of one of them for one token."""

    units: int
    work: int


class Kernel(Protocol):
    """What the rules read of a ``KernelSpec``."""

    @property
    def op(self) -> str: ...

    @property
    def operands(self) -> tuple[TensorType, ...]: ...

    def integer(self, name: str) -> int: ...


def attention_heads(heads: int) -> int:
    """Heads that one unit of window_attention computes."""
    return next(size for size in range(MOST_HEADS, 0, -1) if heads % size == 0)


def sharing_of(spec: Kernel) -> Sharing | None:
    """How a kernel is shared; None if it runs on one thread."""
    rule = _RULES.get(spec.op)
    return None if rule is None else rule(spec)


def _columns(spec: Kernel) -> int:
    """Rows of activations that a token has: 1, or one per chosen expert."""
    return math.prod(d for d in spec.operands[0].shape[:-1] if isinstance(d, int))


def _ternary(spec: Kernel) -> Sharing:
    """Units are panels of rows, or single ones before packing; of every expert where there are several."""
    layout = spec.operands[2].layout
    panel = panel_rows_of(layout) if layout else 1
    return Sharing(-(-spec.integer("rows") // panel), panel * spec.integer("columns") * _columns(spec))


def _int8(spec: Kernel) -> Sharing:
    units = -(-spec.integer("rows") // INT8_ROWS)
    return Sharing(units, 2 * INT8_ROWS * spec.integer("columns") * _columns(spec))


def _linear(spec: Kernel) -> Sharing:
    height, width = (int(d) for d in spec.operands[1].shape)
    return Sharing(-(-height // LINEAR_ROWS), FLOAT * LINEAR_ROWS * width * _columns(spec))


def _matrix_state(spec: Kernel) -> Sharing:
    """gated_delta and mlstm: units are heads, a token reads and writes the head's matrix."""
    heads, keys, values = (int(d) for d in spec.operands[5].shape)
    return Sharing(heads, 2 * FLOAT * keys * values)


def _titans(products: int) -> Callable[[Kernel], Sharing]:
    def rule(spec: Kernel) -> Sharing:
        heads, width = (int(d) for d in spec.operands[0].shape[1:])
        return Sharing(heads, products * FLOAT * width * width)

    return rule


def _attention(spec: Kernel) -> Sharing:
    heads, width = (int(d) for d in spec.operands[0].shape[1:])
    block = attention_heads(heads)
    return Sharing(heads // block, 2 * FLOAT * block * width * spec.integer("window"))


_RULES: dict[str, Callable[[Kernel], Sharing]] = {
    "ternary_matmul": _ternary,
    "grouped_ternary_matmul": _ternary,
    "int8_matmul": _int8,
    "linear": _linear,
    "gated_delta": _matrix_state,
    "mlstm": _matrix_state,
    "titans_apply": _titans(2),
    "titans_update": _titans(7),
    "window_attention": _attention,
}
