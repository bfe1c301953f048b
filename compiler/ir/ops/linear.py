"""Matrix products, of floats and of integers with scales, and how weights become such integers.

Order of operations (the same on every target, see docs/numerics.md):

* a float product uses ``numpy_math.lanes8_sum``: 8 virtual lanes and a fixed tree;
* integer products are exact in any order;
* a quantised product adds one group after the other: ``y = y + s_g * (a_2g * acc_2g + a_2g+1 * acc_2g+1)`` with every
  float32 product and sum rounded on its own. Where one scale is for a whole row of weights, and one for a whole row of
  activations, that is one product of both scales and one exact sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from chimerac.compiler.ir import numpy_math
from chimerac.compiler.ir.layouts import panel_rows_of
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import (
    FLOAT_WORK,
    Attributes,
    Count,
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
    rows_per_token,
)
from chimerac.compiler.ir.ops.norms import pad_last, quantise_blocks, quantise_row
from chimerac.compiler.ir.types import TensorType
from chimerac.compiler.ir.unpacking import Rows

F32 = np.float32


def quantised_product(
    codes: np.ndarray, scales: np.ndarray, weights: Rows, weight_scales: Rows, group: int, block: int
) -> np.ndarray:
    """Product of int8 activations and small-integer weights, both with scales.

    Args:
        codes: i8[..., K]; scales: f32[..., ceil(K/block)].
        weights: i8[N, K]; weight_scales: f16[N, ceil(K/group)].

    Returns:
        f32[..., N].
    """
    # a piece of rows at a time: as floats a whole matrix would leave the cache, and a large one fill the memory
    step = max(1, _PIECE // max(1, weights.shape[1]) // _TOGETHER) * _TOGETHER
    pieces = [
        _product_rows(codes, scales, weights[i : i + step], weight_scales[i : i + step], group // block, block)
        for i in range(0, weights.shape[0], step)
    ]
    return np.concatenate(pieces, axis=-1)


_PIECE = 1 << 18  #: weights of a piece: 1 MB as float32, which stay near the processor
_TOGETHER = 64  #: a piece has a multiple of so many rows, hence whole panels of a packed matrix


def _product_rows(
    codes: np.ndarray, scales: np.ndarray, weights: np.ndarray, weight_scales: np.ndarray, per_group: int, block: int
) -> np.ndarray:
    # Whatever the order of its additions, fused or not, a sum of a block's integer products is exact as long as the sum
    # of their magnitudes is a whole number that the float type has: numpy may use its fastest product.
    exact = F32 if 128 * _largest(weights, block) * block <= 1 << 24 else np.float64
    lead, count = codes.shape[:-1], weights.shape[0]
    q = pad_last(codes, block).reshape(math.prod(lead), -1, block).astype(exact)
    w = pad_last(weights, block).astype(exact).reshape(count, -1, block)
    sums = np.matmul(q.transpose(1, 0, 2), w.transpose(1, 2, 0)).astype(F32, copy=False)  # [blocks, tokens, N]
    sums = sums.reshape(-1, *lead, count)
    s = weight_scales.astype(F32)
    y = np.zeros((*lead, count), F32)
    for g in range(s.shape[1]):
        partial = scales[..., g * per_group, None] * sums[g * per_group]
        for b in range(g * per_group + 1, min((g + 1) * per_group, sums.shape[0])):
            partial = partial + scales[..., b, None] * sums[b]
        y = y + s[:, g] * partial
    return y


def _largest(weights: np.ndarray, block: int) -> int:
    """What no magnitude exceeds; looked for where blocks are so long that it matters: trits are less than int8."""
    if 128 * 128 * block <= 1 << 24 or not weights.size:
        return 128
    return max(int(weights.max()), -int(weights.min()))


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 numbers rounded to bfloat16, half to even: their bits, u16 of the same shape."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def wide(x: np.ndarray) -> np.ndarray:
    """The float32 numbers of bfloat16 bits or of float16; float32 numbers as they are."""
    if x.dtype == np.uint16:
        return (x.astype(np.uint32) << np.uint32(16)).view(F32)
    return x.astype(F32, copy=False)


def dense(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``x @ weight.T`` in float32, each dot product by ``lanes8_sum``: f32[..., N]; weight in any float type."""
    step = max(1, _PIECE // max(1, x.size))  # rows whose products are in memory at a time
    rows = range(0, max(1, weight.shape[0]), step)
    return np.concatenate([numpy_math.lanes8_sum(x[..., None, :] * wide(weight[i : i + step])) for i in rows], axis=-1)


def _infer_linear(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    x, weight, *biases = operands
    require_row(x, "operand")
    require(weight.dtype in ("f32", "bf16", "f16") and len(weight.shape) == 2, f"weight {weight} is no float matrix")
    require(weight.shape[1] == x.shape[-1], f"{x} times {weight}")
    require(len(biases) <= 1 and all(b.shape == weight.shape[:1] for b in biases), f"bias of {weight}")
    return (TensorType("f32", (*x.shape[:-1], weight.shape[0])),)


def _linear_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    y = dense(arrays[0], arrays[1])
    return (y + arrays[2] if len(arrays) == 3 else y,)


def _infer_product(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    codes, scales, weights, weight_scales = operands
    rows, columns = attribute_int(attributes, "rows"), attribute_int(attributes, "columns")
    group, block = attribute_int(attributes, "group"), attribute_int(attributes, "block")
    require(group % block == 0, f"group {group} is not a multiple of block {block}")
    require(codes.dtype == "i8" and codes.shape[-1:] == (columns,), f"{codes} has not {columns} columns")
    require(scales.shape == (*codes.shape[:-1], blocks(columns, block)), f"activation scales {scales}")
    if not weights.layout:
        require(weights == TensorType("i8", (rows, columns)), f"weights {weights} are not i8[{rows},{columns}]")
        require(weight_scales == TensorType("f16", (rows, blocks(columns, group))), f"weight scales {weight_scales}")
    return (TensorType("f32", (*codes.shape[:-1], rows)),)


def _product_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    codes, scales, weights, weight_scales = arrays
    return (quantised_product(codes, scales, weights, weight_scales, op.integer("group"), op.integer("block")),)


def _infer_ternary_linear(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    group, block = attribute_int(attributes, "group"), attribute_int(attributes, "block")
    require(group % block == 0, f"group {group} is not a multiple of block {block}")
    return infer_rounding_linear(operands, attributes)


def infer_rounding_linear(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    """Of an op that rounds its weight, which is float32."""
    require_tensor(operands[1], "f32", 2, "weight")
    return _infer_linear(operands, attributes)


def ternarise(weight: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Group absmean ternarisation of float weights: trits i8[..., N, K] and scales f16[..., N, ceil(K/group)].

    ``s = max(mean|W|, 1e-5)`` rounded to fp16, ``t = round half to even of W / s`` clamped to ±1. A group that is
    ternary already, all its numbers being 0 or of one magnitude m, keeps it: ``s = max(m, 2**-24)``. So trits times
    their scales give the same trits and scales again (docs/decisions/0008-already-ternary.md).
    """
    magnitude = np.abs(pad_last(weight, group)).astype(np.float64)
    magnitude = magnitude.reshape(*weight.shape[:-1], -1, group)
    counts = np.full(magnitude.shape[-2], group)
    if weight.shape[-1] % group:
        counts[-1] = weight.shape[-1] % group
    sums = magnitude.sum(axis=-1)
    size = np.maximum(sums / counts, 1e-5)
    if _may_be_ternary(magnitude):
        largest = magnitude.max(axis=-1)
        # no number is more than the largest, so the sum tells; it is exact where it is near to this product
        ternary = (sums == np.count_nonzero(magnitude, axis=-1) * largest) & (largest > 0)
        size = np.where(ternary, np.maximum(largest, LEAST_SCALE), size)
    scale = size.astype(np.float16)
    return _round_to_scale(weight, scale, group, 1), scale


LEAST_SCALE = 2.0**-24  #: the smallest fp16 number above 0


def _may_be_ternary(magnitude: np.ndarray) -> bool:
    """Whether some group [..., group] begins with zeros and equal numbers only; no group of trained weights does."""
    begin = magnitude[..., :8]
    alike = (begin == 0) | (begin == begin.max(axis=-1, keepdims=True))
    return bool(alike.all(axis=-1).any())


def quantise_rows(weight: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Group absmax int8 quantisation of float weights: codes i8[N, K] and scales f16[N, ceil(K/group)]."""
    magnitude = np.abs(pad_last(weight, group)).reshape(*weight.shape[:-1], -1, group)
    scale = (np.maximum(magnitude.max(axis=-1), F32(1e-5)) / F32(127)).astype(np.float16)
    return _round_to_scale(weight, scale, group, 127), scale


def _round_to_scale(weight: np.ndarray, scale: np.ndarray, group: int, limit: int) -> np.ndarray:
    columns = np.repeat(scale.astype(F32), group, axis=-1)[..., : weight.shape[-1]]
    return np.clip(np.rint(weight / columns), -limit, limit).astype(np.int8)


def _ternary_linear_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    group, block = op.integer("group"), op.integer("block")
    codes, scales = quantise_blocks(arrays[0], block)
    return (quantised_product(codes, scales, *ternarise(arrays[1], group), group, block),)


def _ternary_row_linear_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    group, block = op.integer("group"), op.integer("block")
    codes, scales = quantise_row(arrays[0], block)
    return (quantised_product(codes, scales, *ternarise(arrays[1], group), group, block),)


def _int8_linear_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    group, block = op.integer("group"), op.integer("block")
    codes, scales = quantise_blocks(arrays[0], block)
    return (quantised_product(codes, scales, *quantise_rows(arrays[1], group), group, block),)


INT8_ROWS = 8  #: rows of an int8 table that are multiplied together
LINEAR_ROWS = 4  #: rows of a float matrix that are multiplied together

#: Attributes of products of codes with scales.
PRODUCT: Mapping[str, type[int]] = {"rows": int, "columns": int, "group": int, "block": int}


def product_rows(operands: Types, attributes: Attributes) -> int:
    """Rows of the matrix of weights."""
    return attribute_int(attributes, "rows")


def product_columns(operands: Types, attributes: Attributes) -> int:
    """Products of a row of weights with what a token has."""
    return attribute_int(attributes, "columns") * rows_per_token(operands)


def matrix_products(operands: Types, attributes: Attributes) -> int:
    """One for each element of the second operand, a matrix."""
    return operands[1].elements()


def panels_of(operand: int) -> Count:
    """Rows of a panel of packed weights, 1 before packing."""

    def rows(operands: Types, attributes: Attributes) -> int:
        layout = operands[operand].layout
        return panel_rows_of(layout) if layout else 1

    return rows


def _products(operands: Types, attributes: Attributes) -> int:
    return attribute_int(attributes, "rows") * attribute_int(attributes, "columns")


_INT8_ROWS = Shared(
    units=product_rows,
    work=lambda operands, attributes: 2 * product_columns(operands, attributes),
    together=lambda operands, attributes: INT8_ROWS,
)
_FLOAT_ROWS = Shared(
    units=lambda operands, attributes: int(operands[1].shape[0]),
    work=lambda operands, attributes: FLOAT_WORK * int(operands[1].shape[1]) * rows_per_token(operands),
    together=lambda operands, attributes: LINEAR_ROWS,
)

OPS = [
    OpDef(
        "linear",
        "x @ weight.T + bias in float32; the weight may be bf16 or f16",
        ("x", "weight", "*bias"),
        _infer_linear,
        _linear_reference,
        row_wise=True,
        work=Work(matrix_products, _FLOAT_ROWS),
    ),
    imported(
        "ternary_linear",
        "x times the ternarised weight, activations quantised to int8 (BitNet b1.58)",
        ("x", "weight"),
        _infer_ternary_linear,
        _ternary_linear_reference,
        {"group": int, "block": int},
        row_wise=True,
    ),
    imported(
        "ternary_row_linear",
        "x times the ternarised weight, activations quantised to int8 with one scale for all channels of a token",
        ("x", "weight"),
        _infer_ternary_linear,
        _ternary_row_linear_reference,
        {"group": int, "block": int},
        row_wise=True,
    ),
    imported(
        "int8_linear",
        "x times the int8-quantised weight, activations quantised to int8",
        ("x", "weight"),
        _infer_ternary_linear,
        _int8_linear_reference,
        {"group": int, "block": int},
        row_wise=True,
    ),
    OpDef(
        "ternary_matmul",
        "product of int8 activations and trits with their scales",
        ("codes", "scales", "weights", "weight_scales"),
        _infer_product,
        _product_reference,
        PRODUCT,
        integer_product=True,
        packed=Packed("weights", "weight_scales"),
        work=Work(_products, Shared(product_rows, product_columns, panels_of(2), elements=True)),
    ),
    OpDef(
        "int8_matmul",
        "product of int8 activations and int8 weights with their scales",
        ("codes", "scales", "weights", "weight_scales"),
        _infer_product,
        _product_reference,
        PRODUCT,
        integer_product=True,
        work=Work(_products, _INT8_ROWS),
    ),
    imported(
        "bfloat16_linear",
        "x @ weight.T in float32, the weight rounded to bfloat16",
        ("x", "weight"),
        infer_rounding_linear,
        lambda op, arrays: (dense(arrays[0], to_bfloat16(arrays[1])),),
        row_wise=True,
    ),
]
