"""Transforms of rows to another basis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import (
    FLOAT_WORK,
    Attributes,
    OpDef,
    Shared,
    Types,
    Work,
    attribute_int,
    require,
    require_row,
)
from chimerac.compiler.ir.types import TensorType

F32 = np.float32
LEAST_BLOCK = 16  #: elements of the smallest transform: a vector of the widest instruction set


def walsh_hadamard(x: np.ndarray, block: int) -> np.ndarray:
    """Each ``block`` elements of the last axis times the Hadamard matrix in Sylvester's order, over sqrt(block).

    Sums and differences of neighbours come first, then of those two apart, four, and so on; the scale is last.
    """
    shape, half = x.shape, 1
    while half < block:
        pairs = x.reshape(-1, 2, half)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
        half *= 2
    scaled: np.ndarray = x.reshape(shape) * scale_of(block)
    return scaled


def scale_of(block: int) -> np.float32:
    """1 / sqrt(block), rounded to float32."""
    return F32(1 / math.sqrt(block))


def _reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return (walsh_hadamard(arrays[0], op.integer("block")),)


def _infer(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require_row(operands[0], "operand")
    block, width = attribute_int(attributes, "block"), int(operands[0].shape[-1])
    power = block >= LEAST_BLOCK and block & (block - 1) == 0
    require(
        power and width % block == 0, f"{operands[0]} has no blocks of {block}, a power of two from {LEAST_BLOCK} on"
    )
    return (operands[0],)


def blocks_of_row(operands: Types, attributes: Attributes) -> int:
    """Transforms of a row, none of which needs another."""
    return int(operands[0].shape[-1]) // attribute_int(attributes, "block")


def _additions(operands: Types, attributes: Attributes) -> int:
    block = attribute_int(attributes, "block")
    return FLOAT_WORK * block * (block.bit_length() - 1)


OPS = [
    OpDef(
        "walsh_hadamard",
        "the Walsh-Hadamard transform of each block of the last axis, over sqrt(block)",
        ("x",),
        _infer,
        _reference,
        {"block": int},
        torch="chimera.walsh_hadamard.default",
        row_wise=True,
        work=Work(shared=Shared(blocks_of_row, _additions)),
    ),
]
