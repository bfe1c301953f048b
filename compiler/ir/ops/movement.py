"""Ops that move elements, or give them another shape; their values stay what they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import Attributes, OpDef, Types, attribute_int, require, static
from chimerac.compiler.ir.types import TOKENS, Dim, TensorType


def _infer_reshape(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source = operands[0]
    text = attributes["shape"]
    require(isinstance(text, str), "attribute 'shape' must be text such as \"T,4,32\"")
    shape = parse_shape(str(text))
    require(all(d == TOKENS or (isinstance(d, int) and d >= 0) for d in shape), f"no shape {text!r}")
    require(shape.count(TOKENS) == source.shape.count(TOKENS), f"cannot reshape {source} to {text}")
    require(source.elements(7) == TensorType(source.dtype, shape).elements(7), f"cannot reshape {source} to {text}")
    return (source.with_shape(shape),)


def parse_shape(text: str) -> tuple[Dim, ...]:
    """``"T,4,32"`` → ("T", 4, 32)."""
    return tuple(int(d) if d.lstrip("-").isdigit() else d for d in (p.strip() for p in text.split(",")) if d)


def _reshape_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    shape = parse_shape(op.text("shape"))
    return (arrays[0].reshape([-1 if d == TOKENS else int(d) for d in shape]),)


def _infer_slice(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source = operands[0]
    require(len(source.shape) > 0, f"cannot slice {source}")
    start, stop = attribute_int(attributes, "start"), attribute_int(attributes, "stop")
    last = static(source.shape[-1], "the sliced axis")
    require(0 <= start < stop <= last, f"slice {start}:{stop} outside an axis of {last}")
    return (source.with_shape((*source.shape[:-1], stop - start)),)


def _slice_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return (np.ascontiguousarray(arrays[0][..., op.integer("start") : op.integer("stop")]),)


def _infer_concat(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require(len(operands) > 0 and all(o.shape for o in operands), "operands must have a last axis")
    require(len({(o.dtype, o.shape[:-1]) for o in operands}) == 1, "operands differ in more than the last axis")
    return (operands[0].with_shape((*operands[0].shape[:-1], sum(static(o.shape[-1], "last axis") for o in operands))),)


def _concat_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return (np.concatenate(arrays, axis=-1),)


def _infer_last(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require(len(operands[0].shape) > 0, f"{operands[0]} has no rows")
    return (operands[0].with_shape((1, *operands[0].shape[1:])),)


OPS = [
    OpDef(
        "reshape",
        "the same elements in another shape",
        ("x",),
        _infer_reshape,
        _reshape_reference,
        {"shape": str},
        relabels="all",
        folds=True,
    ),
    OpDef(
        "slice",
        "columns start to stop of the last axis",
        ("x",),
        _infer_slice,
        _slice_reference,
        {"start": int, "stop": int},
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "concat",
        "operands side by side along the last axis",
        ("*x",),
        _infer_concat,
        _concat_reference,
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "last_token",
        "the row of the last token of the call",
        ("x",),
        _infer_last,
        lambda op, arrays: (arrays[0][-1:],),
        relabels="last row",
    ),
]
