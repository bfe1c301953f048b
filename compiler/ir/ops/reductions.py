"""Reductions of the last axis, and what is made of them: softmax, layer norm, running sums, orders.

Reductions keep the axis, with one element. Of floats, sums are those of ``numpy_math.lanes8_sum``; a NaN is never
larger or smaller than anything, so that maxima and minima leave it out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from chimerac.compiler.ir import numpy_math
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import Attributes, OpDef, Reference, Types, require, static
from chimerac.compiler.ir.types import TensorType

F32 = np.float32
INT_MIN, INT_MAX = -(2**31), 2**31 - 1


def _last(source: TensorType, dtypes: Sequence[str]) -> int:
    require(source.dtype in dtypes and len(source.shape) > 0, f"{source} is not {' or '.join(dtypes)} with an axis")
    extent = static(source.shape[-1], "the reduced axis")
    require(extent > 0, f"{source} has nothing along its last axis")
    return extent


def _infer_reduction(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    _last(operands[0], ("f32", "i32"))
    return (operands[0].with_shape((*operands[0].shape[:-1], 1)),)


def _infer_place(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    _last(operands[0], ("f32", "i32"))
    return (TensorType("i32", (*operands[0].shape[:-1], 1)),)


def _infer_same(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    _last(operands[0], ("f32",))
    return (operands[0],)


def _infer_running(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    _last(operands[0], ("f32", "i32"))
    return (operands[0],)


def _infer_layer_norm(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source, *affine = operands
    width = _last(source, ("f32",))
    require(len(affine) <= 2, "a layer norm has a weight and a bias at most")
    for operand in affine:
        require(operand == TensorType("f32", (width,)), f"{operand} does not match the last axis of {source}")
    return (source,)


def _infer_sort(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    _last(operands[0], ("f32", "i32"))
    require(attributes.get("descending") in (0, 1), "attribute 'descending' is 0 or 1")
    return operands[0], TensorType("i32", operands[0].shape)


def add_up(x: np.ndarray) -> np.ndarray:
    """The sum of the last axis, which stays."""
    if x.dtype == F32:
        return numpy_math.lanes8_sum(x)[..., None]
    return np.asarray(np.sum(x, axis=-1, keepdims=True, dtype=np.int32))


def extreme(x: np.ndarray, *, largest: bool) -> np.ndarray:
    """The largest or smallest of the last axis: of 8 lanes, as ``lanes8_sum`` has them, then of these.

    A number replaces what was found so far if it is beyond it; a NaN never is. Without numbers an infinity.
    """
    if x.dtype != F32:
        return np.asarray((np.max if largest else np.min)(x, axis=-1, keepdims=True), np.int32)
    beyond = np.greater if largest else np.less
    start = F32(-math.inf if largest else math.inf)

    def better(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(beyond(b, a), b, a)

    steps = -(-x.shape[-1] // 8)
    padded = np.full((*x.shape[:-1], steps * 8), start, F32)
    padded[..., : x.shape[-1]] = x
    lanes = np.full((*x.shape[:-1], 8), start, F32)
    for step in range(steps):
        lanes = better(lanes, padded[..., step * 8 : step * 8 + 8])
    four = better(lanes[..., :4], lanes[..., 4:])
    two = better(four[..., :2], four[..., 2:])
    return better(two[..., :1], two[..., 1:])


def product(x: np.ndarray) -> np.ndarray:
    """The product of the last axis, one element after the other."""
    result = x[..., :1].copy()
    for i in range(1, x.shape[-1]):
        result *= x[..., i : i + 1]
    return result


def place_of(x: np.ndarray, *, largest: bool) -> np.ndarray:
    """Where the largest or smallest of the last axis is first; 0 where there are only NaN."""
    lost = -math.inf if largest else math.inf
    known = np.where(np.isnan(x), F32(lost), x) if x.dtype == F32 else x
    return np.asarray((np.argmax if largest else np.argmin)(known, axis=-1)[..., None], np.int32)


def running_sum(x: np.ndarray) -> np.ndarray:
    """The sums of the first 1, 2, … elements of the last axis, one after the other."""
    result = x.copy()
    for i in range(1, x.shape[-1]):
        result[..., i] += result[..., i - 1]
    return result


def softmax(x: np.ndarray) -> np.ndarray:
    """``e / sum(e)`` with ``e = exp(x - max x)``, along the last axis."""
    exponentials = numpy_math.exp_f32(x - extreme(x, largest=True))
    return np.asarray(exponentials / add_up(exponentials))


def log_softmax(x: np.ndarray) -> np.ndarray:
    """``d - log(sum(exp d))`` with ``d = x - max x``, along the last axis."""
    moved = x - extreme(x, largest=True)
    return np.asarray(moved - numpy_math.log_f32(add_up(numpy_math.exp_f32(moved))))


def layer_norm(x: np.ndarray, affine: Sequence[np.ndarray], eps: float) -> np.ndarray:
    """``d * (1 / sqrt(mean(d²) + eps))`` with ``d = x - mean x``, along the last axis; times a weight, plus a bias."""
    width = F32(x.shape[-1])
    moved = x - add_up(x) / width
    scale = F32(1) / np.sqrt(add_up(moved * moved) / width + F32(eps))
    result = moved * scale
    for operand, combine in zip(affine, (np.multiply, np.add), strict=False):
        result = combine(result, operand)
    return np.asarray(result, F32)


def keys(x: np.ndarray) -> np.ndarray:
    """int32 numbers in the order of floats, zeros of both signs being the same and NaN the largest."""
    if x.dtype != F32:
        return x
    bits = np.where(np.isnan(x), F32(np.nan), np.where(x == 0, F32(0), x)).astype(F32).view(np.int32)
    bits = np.where(np.isnan(x), np.int32(INT_MAX), bits)
    return np.where(bits < 0, bits ^ np.int32(INT_MAX), bits)


def sort(x: np.ndarray, *, descending: bool) -> tuple[np.ndarray, np.ndarray]:
    """The last axis in order, what is equal in the order it had; and where each element was."""
    order = np.argsort(~keys(x) if descending else keys(x), axis=-1, kind="stable")
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


def _of(function: Callable[[np.ndarray], np.ndarray]) -> Reference:
    def reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        return (function(arrays[0]),)

    return reference


def _reduction(name: str, doc: str, function: Callable[[np.ndarray], np.ndarray]) -> OpDef:
    return OpDef(name, doc, ("x",), _infer_reduction, _of(function), row_wise=True, folds=True)


OPS = [
    _reduction("reduce_sum", "the sum of the last axis", add_up),
    _reduction("reduce_max", "the largest of the last axis", lambda x: extreme(x, largest=True)),
    _reduction("reduce_min", "the smallest of the last axis", lambda x: extreme(x, largest=False)),
    _reduction("reduce_prod", "the product of the last axis, one element after the other", product),
    OpDef(
        "argmax",
        "where the largest of the last axis is first",
        ("x",),
        _infer_place,
        _of(lambda x: place_of(x, largest=True)),
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "argmin",
        "where the smallest of the last axis is first",
        ("x",),
        _infer_place,
        _of(lambda x: place_of(x, largest=False)),
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "cumsum",
        "sums of the first 1, 2, … elements of the last axis",
        ("x",),
        _infer_running,
        _of(running_sum),
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "softmax",
        "exp(x - max) / sum of these, along the last axis",
        ("x",),
        _infer_same,
        _of(softmax),
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "log_softmax",
        "x - max - log(sum of exp(x - max)), along the last axis",
        ("x",),
        _infer_same,
        _of(log_softmax),
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "layer_norm",
        "d / sqrt(mean(d²) + eps) with d = x - mean(x) along the last axis; times a weight, plus a bias"
        " (arXiv 1607.06450)",
        ("x", "*affine"),
        _infer_layer_norm,
        lambda op, arrays: (layer_norm(arrays[0], arrays[1:], op.number("eps")),),
        {"eps": float},
        row_wise=True,
    ),
    OpDef(
        "sort",
        "the last axis in order, stable, and where each element was; NaN is the largest",
        ("x",),
        _infer_sort,
        lambda op, arrays: sort(arrays[0], descending=bool(op.integer("descending"))),
        {"descending": int},
        row_wise=True,
    ),
]
