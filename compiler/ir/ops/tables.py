"""Look-ups: rows of a table of tokens, in the formats that a table may have.

Symbols: T tokens, V rows of the table, D columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import (
    Attributes,
    OpDef,
    Packed,
    Types,
    Work,
    attribute_int,
    blocks,
    imported,
    require,
    require_tensor,
)
from chimerac.compiler.ir.ops.linear import quantise_rows, ternarise, to_bfloat16, wide
from chimerac.compiler.ir.types import TensorType

F32 = np.float32


def look_up(ids: np.ndarray, codes: np.ndarray, scales: np.ndarray, group: int) -> np.ndarray:
    """Dequantised rows of a table of small integers: f32[T, D]."""
    columns = np.repeat(scales[ids].astype(F32), group, axis=-1)[..., : codes.shape[1]]
    rows: np.ndarray = codes[ids].astype(F32) * columns
    return rows


def _ternary_look_up_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    ids, table, scales = arrays
    # slices, because a packed table unpacks nothing else
    rows = [look_up(np.zeros(1, int), table[i : i + 1], scales[i : i + 1], op.integer("group")) for i in ids.tolist()]
    return (np.concatenate(rows),)


def infer_embedding(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    ids, table, *scales = operands
    require(ids.dtype == "i32" and len(table.shape) == 2, f"look-up of {ids} in {table}")
    require(not table.is_dynamic, f"table {table} must have a fixed shape")
    if scales and not table.layout:
        groups = blocks(int(table.shape[1]), attribute_int(attributes, "group"))
        require(scales[0] == TensorType("f16", (table.shape[0], groups)), f"scales {scales[0]} of {table}")
    return (TensorType("f32", (*ids.shape, table.shape[1])),)


def _infer_ternary_look_up(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    ids, table, scales = operands
    rows, columns = attribute_int(attributes, "rows"), attribute_int(attributes, "columns")
    require_tensor(ids, "i32", 1, "ids")
    if not table.layout:
        require(table == TensorType("i8", (rows, columns)), f"table {table} is not i8[{rows},{columns}]")
        groups = blocks(columns, attribute_int(attributes, "group"))
        require(scales == TensorType("f16", (rows, groups)), f"scales {scales} of {table}")
    return (TensorType("f32", (*ids.shape, columns)),)


ONE_ROW = Work(one_row=True)

OPS = [
    OpDef(
        "embedding",
        "rows of a float32, bf16 or f16 table as float32",
        ("ids", "table"),
        infer_embedding,
        lambda op, arrays: (wide(arrays[1][arrays[0]]),),
        work=ONE_ROW,
    ),
    imported(
        "bfloat16_embedding",
        "rows of a table, rounded to bfloat16",
        ("ids", "table"),
        infer_embedding,
        lambda op, arrays: (wide(to_bfloat16(arrays[1][arrays[0]])),),
        work=ONE_ROW,
    ),
    imported(
        "int8_embedding",
        "rows of a table, quantised as int8_linear quantises it",
        ("ids", "table"),
        infer_embedding,
        lambda op, arrays: (look_up(arrays[0], *quantise_rows(arrays[1], op.integer("group")), op.integer("group")),),
        {"group": int},
        work=ONE_ROW,
    ),
    imported(
        "ternary_embedding",
        "rows of a table, ternarised as ternary_linear does it",
        ("ids", "table"),
        infer_embedding,
        lambda op, arrays: (look_up(arrays[0], *ternarise(arrays[1], op.integer("group")), op.integer("group")),),
        {"group": int},
        work=ONE_ROW,
    ),
    OpDef(
        "ternary_look_up",
        "dequantised rows of a table of trits with group scales",
        ("ids", "table", "table_scales"),
        _infer_ternary_look_up,
        _ternary_look_up_reference,
        {"rows": int, "columns": int, "group": int},
        packed=Packed("table", "table_scales"),
        work=ONE_ROW,
    ),
    OpDef(
        "look_up",
        "dequantised rows of an int8 table with group scales",
        ("ids", "table", "table_scales"),
        infer_embedding,
        lambda op, arrays: (look_up(arrays[0], arrays[1], arrays[2], op.integer("group")),),
        {"group": int},
        work=ONE_ROW,
    ),
]
