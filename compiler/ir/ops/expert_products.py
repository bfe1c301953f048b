"""Products of each expert's rows with that expert's matrix, of matrices in any format.

Symbols: T tokens, k experts per token, E experts, N rows and K columns of a matrix. Rows [T, k, ...] are sorted by
expert; rows offsets[e] to offsets[e + 1] of the T·k are those of expert e.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import (
    FLOAT_WORK,
    Attributes,
    OpDef,
    Shared,
    Types,
    Work,
    imported,
    require,
    require_tensor,
    static,
)
from chimerac.compiler.ir.ops.experts import chosen_products, grouped_product, infer_grouped_product, per_expert
from chimerac.compiler.ir.ops.linear import (
    INT8_ROWS,
    LINEAR_ROWS,
    PRODUCT,
    dense,
    product_columns,
    product_rows,
    quantise_rows,
    quantised_product,
    ternarise,
    to_bfloat16,
)
from chimerac.compiler.ir.ops.norms import quantise_blocks
from chimerac.compiler.ir.ops.rounded import to_float16
from chimerac.compiler.ir.types import TensorType

Arrays = Sequence[np.ndarray]
#: Some rows and a matrix, to their product.
Product = Callable[[Op, np.ndarray, np.ndarray], np.ndarray]


def _grouped(product: Product) -> Callable[[Op, Arrays], tuple[np.ndarray, ...]]:
    """The reference that does for each expert's rows what ``product`` does."""

    def reference(op: Op, arrays: Arrays) -> tuple[np.ndarray, ...]:
        x, weight, offsets = arrays
        flat = x.reshape(-1, x.shape[-1])
        out = np.zeros((len(flat), weight.shape[1]), np.float32)
        for e, rows in per_expert(offsets):
            out[rows] = product(op, flat[rows], weight[e])
        return (out.reshape(*x.shape[:2], -1),)

    return reference


def _ternary(op: Op, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    group, block = op.integer("group"), op.integer("block")
    return quantised_product(*quantise_blocks(x, block), *ternarise(weight, group), group, block)


def _int8(op: Op, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    group, block = op.integer("group"), op.integer("block")
    return quantised_product(*quantise_blocks(x, block), *quantise_rows(weight, group), group, block)


def _infer(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    x, weight, offsets = operands
    require_tensor(x, "f32", 3, "x")
    require_tensor(offsets, "i32", 1, "offsets")
    require(
        weight.dtype in ("f32", "bf16", "f16") and len(weight.shape) == 3, f"weight {weight} is not of several matrices"
    )
    experts = static(offsets.shape[0], "offsets") - 1
    require(weight.shape[0] == experts and weight.shape[2] == x.shape[2], f"weight {weight} for {x}, {offsets}")
    return (x.with_shape((*x.shape[:2], weight.shape[1])),)


def _infer_rounding(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require_tensor(operands[1], "f32", 3, "weight")
    return _infer(operands, attributes)


def _float_products(operands: Types, attributes: Attributes) -> int:
    slots, (_, rows, columns) = int(operands[0].shape[1]), operands[1].shape
    return slots * int(rows) * int(columns)


_INT8_ROWS = Shared(
    units=product_rows,
    work=lambda operands, attributes: 2 * product_columns(operands, attributes),
    together=lambda operands, attributes: INT8_ROWS,
)
_FLOAT_ROWS = Shared(
    units=lambda operands, attributes: int(operands[1].shape[1]),
    work=lambda operands, attributes: FLOAT_WORK * int(operands[1].shape[2]) * int(operands[0].shape[1]),
    together=lambda operands, attributes: LINEAR_ROWS,
)
_SIZES = {"group": int, "block": int}


def _rounded(kind: str, doc: str, attributes: Mapping[str, type[int]], product: Product) -> OpDef:
    return imported(
        f"grouped_{kind}_linear",
        f"grouped_linear with {doc}",
        ("x", "weight", "offsets"),
        _infer_rounding,
        _grouped(product),
        attributes,
    )


OPS = [
    OpDef(
        "grouped_linear",
        "x @ weight.T of each expert's rows with that expert's weight, in float32; the weight may be bf16 or f16",
        ("x", "weight", "offsets"),
        _infer,
        _grouped(lambda op, x, weight: dense(x, weight)),
        torch="chimera.grouped_linear.default",
        work=Work(_float_products, _FLOAT_ROWS, experts="offsets"),
    ),
    _rounded("ternary", "the weight ternarised and activations quantised to int8", _SIZES, _ternary),
    _rounded("int8", "weight and activations quantised to int8", _SIZES, _int8),
    _rounded("float16", "the weight rounded to float16", {}, lambda op, x, weight: dense(x, to_float16(weight))),
    _rounded("bfloat16", "the weight rounded to bfloat16", {}, lambda op, x, weight: dense(x, to_bfloat16(weight))),
    OpDef(
        "grouped_int8_matmul",
        "int8_matmul of each expert's rows with that expert's weights",
        ("codes", "scales", "weights", "weight_scales", "offsets"),
        infer_grouped_product,
        grouped_product,
        PRODUCT,
        integer_product=True,
        work=Work(chosen_products, _INT8_ROWS, experts="offsets"),
    ),
]
