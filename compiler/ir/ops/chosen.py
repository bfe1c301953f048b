"""Products of chosen rows: what a cheap predictor says may be open is computed, and other rows are not read.

Symbols: F rows, K columns. ``y_f = x · w_f`` where ``chosen_f`` is not 0 (or -0), as the dense product of the same kind
computes it, bit for bit; +0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import (
    FLOAT_WORK,
    Attributes,
    OpDef,
    Packed,
    Shared,
    Types,
    Work,
    attribute_int,
    blocks,
    imported,
    require,
    require_row,
    require_tensor,
)
from chimerac.compiler.ir.ops.linear import (
    PRODUCT,
    dense,
    quantise_rows,
    quantised_product,
    ternarise,
)
from chimerac.compiler.ir.ops.norms import quantise_blocks
from chimerac.compiler.ir.types import TensorType

F32 = np.float32
ROWS = 64  #: that no two threads divide
SLACK = 1e-4  #: of a product, which no sum of 10,000 float32 products loses
Arrays = Sequence[np.ndarray]


def _where(chosen: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.where(chosen != 0, y, F32(0)),)


def _float(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    chosen, x, weight = arrays
    return _where(chosen, dense(x, weight))


def _rounded(
    quantise: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]],
) -> Callable[..., tuple[np.ndarray, ...]]:
    def reference(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
        chosen, x, weight = arrays
        group, block = op.integer("group"), op.integer("block")
        codes = quantise_blocks(x, block)
        return _where(chosen, quantised_product(*codes, *quantise(weight, group), group, block))

    return reference


def _integers(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
    chosen, codes, scales, weights, weight_scales = arrays
    group, block = op.integer("group"), op.integer("block")
    return _where(chosen, quantised_product(codes, scales, weights, weight_scales, group, block))


def _infer_float(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    chosen, x, weight = operands
    require_row(chosen, "what is chosen")
    require_row(x, "operand")
    require(weight.dtype in ("f32", "bf16", "f16") and len(weight.shape) == 2, f"weight {weight} is no float matrix")
    require(weight.shape[1] == x.shape[-1], f"{x} times {weight}")
    require(chosen.shape == (*x.shape[:-1], weight.shape[0]), f"{chosen} and the rows of {weight} for {x}")
    return (chosen,)


def _infer_rounding(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require_tensor(operands[2], "f32", 2, "weight")
    _sizes(attributes)
    return _infer_float(operands, attributes)


def _sizes(attributes: Attributes) -> tuple[int, int]:
    group, block = attribute_int(attributes, "group"), attribute_int(attributes, "block")
    require(block > 0 and block % 16 == 0 and group % block == 0, f"groups of {group} in blocks of {block}")
    return group, block


def _infer_integers(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    chosen, codes, scales, weights, weight_scales = operands
    rows, columns = attribute_int(attributes, "rows"), attribute_int(attributes, "columns")
    group, block = _sizes(attributes)
    require_row(chosen, "what is chosen")
    require(codes.dtype == "i8" and codes.shape[-1:] == (columns,), f"{codes} has not {columns} columns")
    require(scales.shape == (*codes.shape[:-1], blocks(columns, block)), f"activation scales {scales}")
    require(chosen.shape == (*codes.shape[:-1], rows), f"{chosen} and {rows} rows for {codes}")
    if not weights.layout:
        require(weights == TensorType("i8", (rows, columns)), f"weights {weights} are not i8[{rows},{columns}]")
        require(weight_scales == TensorType("f16", (rows, blocks(columns, group))), f"weight scales {weight_scales}")
    return (chosen,)


def row_lengths(weight: np.ndarray, group: int) -> np.ndarray:
    """What bounds a product by that of the int8 codes: f32 [F, 2] of a weight [F, K].

    ``|x · w - x̂ · ŵ| <= |x| |w - ŵ| + |x - x̂| |ŵ|`` with ŵ the value of the codes of w, x̂ of those of x. The lengths of
    w - ŵ and ŵ, each with a part of 10^-4 of the length of its row for what float32 rounds.
    """
    codes, scales = quantise_rows(weight, group)
    near = codes * np.repeat(scales.astype(np.float64), group, axis=-1)[:, : weight.shape[1]]
    wide = weight.astype(np.float64)
    left, whole, rounded = (np.sqrt(np.square(rows).sum(axis=-1)) for rows in (wide - near, wide, near))
    return np.stack([left + SLACK * whole, rounded * (1 + SLACK)], axis=-1).astype(F32)


def _infer_lengths(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require_tensor(operands[0], "f32", 2, "weight")
    require(attribute_int(attributes, "group") > 0, "group must be positive")
    return (TensorType("f32", (operands[0].shape[0], 2)),)


def _columns(operands: Types, attributes: Attributes) -> int:
    return int(operands[1].shape[-1])


def _rows(operands: Types, attributes: Attributes) -> int:
    return int(operands[0].shape[-1])


_WORK = Work(
    lambda operands, attributes: _rows(operands, attributes) * _columns(operands, attributes),
    Shared(
        _rows,
        lambda operands, attributes: FLOAT_WORK * _columns(operands, attributes),
        lambda operands, attributes: ROWS,
    ),
)


def _imported(kind: str, quantise: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]) -> OpDef:
    return imported(
        f"{kind}_chosen_linear",
        f"chosen_linear as {kind}_linear computes it",
        ("chosen", "x", "weight"),
        _infer_rounding,
        _rounded(quantise),
        {"group": int, "block": int},
        row_wise=True,
    )


def _lowered(kind: str, packed: Packed | None) -> OpDef:
    return OpDef(
        f"{kind}_chosen_matmul",
        f"rows of {kind}_matmul where `chosen` is not 0; other rows are not read",
        ("chosen", "codes", "scales", "weights", "weight_scales"),
        _infer_integers,
        _integers,
        PRODUCT,
        integer_product=True,
        packed=packed,
        work=_WORK,
    )


OPS = [
    OpDef(
        "chosen_linear",
        "rows of x @ weight.T where `chosen` is not 0; other rows are not read; the weight may be bf16 or f16",
        ("chosen", "x", "weight"),
        _infer_float,
        _float,
        torch="chimera.chosen_linear.default",
        row_wise=True,
        work=_WORK,
    ),
    imported(
        "int8_row_lengths",
        "of each row w: |w - w'| and |w'|, w' its int8 codes' value, and a part of 10^-4 of them",
        ("weight",),
        _infer_lengths,
        lambda op, arrays: (row_lengths(arrays[0], op.integer("group")),),
        {"group": int},
    ),
    _imported("ternary", ternarise),
    _imported("int8", quantise_rows),
    _lowered("ternary", Packed("weights", "weight_scales", panel_rows=1)),
    _lowered("int8", None),
]
