"""Products of two float matrices that are both computed, and the patches that make convolutions such products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chimerac.compiler.ir import numpy_math
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import FLOAT_WORK, Attributes, OpDef, Shared, Types, Work, require, static
from chimerac.compiler.ir.ops.elementwise import broadcast
from chimerac.compiler.ir.ops.movement import parse_shape
from chimerac.compiler.ir.types import TOKENS, Dim, TensorType

MATMUL_ROWS = 4  #: rows of the second operand that are multiplied together
_PIECE = 1 << 22  #: products that the reference has in memory at a time


def _infer_matmul(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    a, b = operands
    fits = a.dtype == b.dtype == "f32" and len(a.shape) >= 2 and len(b.shape) >= 2
    require(fits, f"cannot multiply {a} and {b}")
    width = static(a.shape[-1], "the axis that a product adds up")
    require(width == b.shape[-1] and width > 0, f"{a} and {b} differ in their last axis")
    shape = (*broadcast([a.shape[:-2], b.shape[:-2]]), a.shape[-2], b.shape[-2])
    require(shape.count(TOKENS) <= 1, f"the product of {a} and {b} has two axes of tokens")
    return (TensorType("f32", shape),)


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Each row of a [..., M, K] times each of b [..., N, K], dot products by ``lanes8_sum``: [..., M, N]."""
    step = max(1, _PIECE // max(1, a[..., :1, :].size * b[..., :1].size))
    pieces = [
        numpy_math.lanes8_sum(a[..., i : i + step, None, :] * b[..., None, :, :]) for i in range(0, a.shape[-2], step)
    ]
    return np.concatenate(pieces, axis=-2)


def _batches(operands: Types) -> int:
    shape = broadcast([operands[0].shape[:-2], operands[1].shape[:-2]])
    return math.prod(d for d in shape if isinstance(d, int))


def _products(operands: Types, attributes: Attributes) -> int:
    a, b = operands
    return math.prod(d for d in (_batches(operands), a.shape[-2], b.shape[-2], a.shape[-1]) if isinstance(d, int))


def rows_shared(operands: Types) -> bool:
    """Whether threads divide the rows of the second operand; else those of the first."""
    return isinstance(operands[1].shape[-2], int)


def _units(operands: Types, attributes: Attributes) -> int:
    rows = operands[1 if rows_shared(operands) else 0].shape[-2]
    return int(rows)


def _work(operands: Types, attributes: Attributes) -> int:
    return max(1, FLOAT_WORK * _products(operands, attributes) // max(1, _units(operands, attributes)))


def numbers(attributes: Attributes, name: str) -> tuple[int, ...]:
    """A text attribute of numbers: ``"3,3"`` → (3, 3)."""
    text = attributes[name]
    require(isinstance(text, str), f'attribute {name!r} must be text such as "3,3"')
    found = parse_shape(str(text))
    require(len(found) > 0 and all(isinstance(n, int) and n > 0 for n in found), f"{name} {text!r} are no sizes")
    return tuple(int(n) for n in found)


def windows(attributes: Attributes, shape: Sequence[Dim]) -> tuple[list[int], tuple[int, ...]]:
    """Of an ``unfold``: how often a window fits each of the last axes, and its sizes."""
    kernel, stride, dilation = (numbers(attributes, name) for name in ("kernel", "stride", "dilation"))
    rank = len(kernel)
    require(len(stride) == len(dilation) == rank, "kernel, stride and dilation differ in their number of axes")
    require(len(shape) > rank, f"a window of {rank} axes needs one axis more")
    places = []
    for extent, k, s, d in zip(shape[-rank:], kernel, stride, dilation, strict=True):
        span = static(extent, "an axis under a window") - (k - 1) * d - 1
        require(span >= 0, f"a window of {(k - 1) * d + 1} does not fit an axis of {extent}")
        places.append(span // s + 1)
    return places, kernel


def _infer_unfold(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source = operands[0]
    places, kernel = windows(attributes, source.shape)
    outer = source.shape[: len(source.shape) - len(kernel) - 1]
    channels = source.shape[len(outer)]
    return (source.with_shape((*outer, *places, channels, *kernel)),)


def _unfold_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    (x,) = arrays
    places, kernel = windows(op.attributes, x.shape)
    stride, dilation = numbers(op.attributes, "stride"), numbers(op.attributes, "dilation")
    rank = len(kernel)
    outer = x.ndim - rank - 1
    axes = [
        (np.arange(p)[:, None] * s + np.arange(k) * d)
        for p, k, s, d in zip(places, kernel, stride, dilation, strict=True)
    ]
    result = x
    for i, indices in enumerate(axes):  # each axis becomes one of places and one of the window's
        result = np.take(result, indices, axis=outer + 1 + 2 * i)
    before, channels = range(outer), outer
    order = [*before, *(outer + 1 + 2 * i for i in range(rank)), channels, *(outer + 2 + 2 * i for i in range(rank))]
    return (np.array(result.transpose(order), order="C"),)


OPS = [
    OpDef(
        "matmul",
        "rows of a [..., M, K] times rows of b [..., N, K]: [..., M, N]; axes before these broadcast",
        ("a", "b"),
        _infer_matmul,
        lambda op, arrays: (matmul(*arrays),),
        folds=True,
        work=Work(_products, Shared(_units, _work, lambda operands, attributes: MATMUL_ROWS)),
    ),
    OpDef(
        "unfold",
        "the patches under a window that moves over the last axes: x [..., C, S…] to [..., places…, C, kernel…]",
        ("x",),
        _infer_unfold,
        _unfold_reference,
        {"kernel": str, "stride": str, "dilation": str},
        row_wise=True,
        folds=True,
    ),
]
