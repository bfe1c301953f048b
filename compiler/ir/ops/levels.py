"""Tables of numbers that are each one of L levels between -c and c, held as codes of 3 bytes.

The value of code q is ``c * ((2q - (L - 1)) / (L - 1))``, quotient and product rounded to float32: both numbers of the
quotient are whole and below 2^24, so it is exact but for its one rounding, on every target.

Codes of a row [D] lie in three runs of D bytes, the lowest bytes first: u8[V, 3, D].
"""

from __future__ import annotations

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
    imported,
    require,
    require_row,
    require_tensor,
    rows_per_token,
)
from chimerac.compiler.ir.ops.linear import LINEAR_ROWS, dense, infer_rounding_linear
from chimerac.compiler.ir.ops.tables import ONE_ROW, infer_embedding
from chimerac.compiler.ir.types import TensorType

F32 = np.float32
BYTES = 3  #: of a code
MOST_LEVELS = 1 << 24


def codes_of(x: np.ndarray, levels: int, limit: float) -> np.ndarray:
    """The nearest codes int32 of numbers, which are clamped to ±limit; halves to even."""
    scaled = (np.clip(x.astype(np.float64), -limit, limit) + limit) * ((levels - 1) / (2 * limit))
    return np.rint(scaled).astype(np.int32)


def values_of(codes: np.ndarray, levels: int, limit: float) -> np.ndarray:
    """The float32 numbers that codes stand for."""
    numerator = (2 * codes.astype(np.int64) - (levels - 1)).astype(F32)
    found: np.ndarray = numerator / F32(levels - 1) * F32(limit)
    return found


def pack(codes: np.ndarray) -> np.ndarray:
    """Codes int32 [..., D] as their bytes, u8[..., 3, D]."""
    return np.stack([(codes >> 8 * i & 0xFF).astype(np.uint8) for i in range(BYTES)], axis=-2)


def unpack(packed: np.ndarray) -> np.ndarray:
    """Codes int32 [..., D] of u8[..., 3, D]."""
    wide = packed.astype(np.int32)
    found: np.ndarray = wide[..., 0, :] | wide[..., 1, :] << 8 | wide[..., 2, :] << 16
    return found


def _rule(op: Op) -> tuple[int, float]:
    return op.integer("levels"), op.number("limit")


def _checked(attributes: Attributes) -> None:
    levels, limit = attribute_int(attributes, "levels"), attributes.get("limit")
    require(2 <= levels <= MOST_LEVELS, f"{levels} levels")
    require(isinstance(limit, float) and 0 < limit < float("inf"), f"a limit of {limit}")


def _rounded(op: Op, weight: np.ndarray) -> np.ndarray:
    return values_of(codes_of(weight, *_rule(op)), *_rule(op))


def _packed(op: Op, packed: np.ndarray) -> np.ndarray:
    return values_of(unpack(packed), *_rule(op))


def _infer_linear(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    _checked(attributes)
    return infer_rounding_linear(operands, attributes)


def _infer_embedding(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    _checked(attributes)
    require_tensor(operands[1], "f32", 2, "table")
    return infer_embedding(operands, attributes)


def _table(operands: Types, attributes: Attributes) -> TensorType:
    """The type of the values of codes."""
    _checked(attributes)
    table = operands[1]
    require_tensor(table, "u8", 3, "codes")
    require(not table.is_dynamic and table.shape[1] == BYTES, f"codes {table}")
    return TensorType("f32", (table.shape[0], table.shape[2]))


def _infer_matmul(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    table = _table(operands, attributes)
    require_row(operands[0], "operand")
    require(operands[0].shape[-1] == table.shape[1], f"{operands[0]} times {operands[1]}")
    return (TensorType("f32", (*operands[0].shape[:-1], table.shape[0])),)


def _infer_look_up(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    return infer_embedding((operands[0], _table(operands, attributes)), attributes)


def _look_up(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return (_packed(op, arrays[1][arrays[0]]),)


_ATTRIBUTES = {"levels": int, "limit": float}
_WORK = Work(
    lambda operands, attributes: operands[1].elements() // BYTES,
    Shared(
        units=lambda operands, attributes: int(operands[1].shape[0]),
        work=lambda operands, attributes: FLOAT_WORK * int(operands[1].shape[2]) * rows_per_token(operands),
        together=lambda operands, attributes: LINEAR_ROWS,
    ),
)

OPS = [
    imported(
        "levels_linear",
        "x @ weight.T in float32, each weight the nearest of so many levels",
        ("x", "weight"),
        _infer_linear,
        lambda op, arrays: (dense(arrays[0], _rounded(op, arrays[1])),),
        _ATTRIBUTES,
        row_wise=True,
    ),
    imported(
        "levels_embedding",
        "rows of a table, each number the nearest of so many levels",
        ("ids", "table"),
        _infer_embedding,
        lambda op, arrays: (_rounded(op, arrays[1][arrays[0]]),),
        _ATTRIBUTES,
        work=ONE_ROW,
    ),
    OpDef(
        "levels_matmul",
        "x @ weight.T in float32, the weight as codes of 3 bytes",
        ("x", "codes"),
        _infer_matmul,
        lambda op, arrays: (dense(arrays[0], _packed(op, arrays[1])),),
        _ATTRIBUTES,
        row_wise=True,
        work=_WORK,
    ),
    OpDef(
        "levels_look_up",
        "rows of a table of codes of 3 bytes as float32",
        ("ids", "codes"),
        _infer_look_up,
        _look_up,
        _ATTRIBUTES,
        work=ONE_ROW,
    ),
]
