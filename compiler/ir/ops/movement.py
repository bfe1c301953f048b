"""Ops that move elements, or give them another shape; their values stay what they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import (
    Attributes,
    OpDef,
    TypeRuleError,
    Types,
    attribute_int,
    require,
    static,
)
from chimerac.compiler.ir.types import TOKENS, Dim, TensorType


def parse_shape(text: str) -> tuple[Dim, ...]:
    """``"T,4,32"`` → ("T", 4, 32)."""
    return tuple(int(d) if d.lstrip("-").isdigit() else d for d in (p.strip() for p in text.split(",")) if d)


def axis_of(attributes: Attributes, shape: Sequence[Dim]) -> int:
    """The attribute ``axis``, the last one where there is none, of a value of that shape."""
    require(len(shape) > 0, "there is no axis")
    axis = attribute_int(attributes, "axis") if "axis" in attributes else len(shape) - 1
    require(0 <= axis < len(shape), f"there is no axis {axis} of {len(shape)}")
    return axis


def _shape_attribute(attributes: Attributes) -> tuple[Dim, ...]:
    text = attributes["shape"]
    require(isinstance(text, str), "attribute 'shape' must be text such as \"T,4,32\"")
    shape = parse_shape(str(text))
    require(all(d == TOKENS or (isinstance(d, int) and d >= 0) for d in shape), f"no shape {text!r}")
    return shape


def _contiguous(array: np.ndarray) -> np.ndarray:
    return np.array(array, order="C")


def _infer_reshape(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source = operands[0]
    shape = _shape_attribute(attributes)
    text = str(attributes["shape"])
    require(source != TensorType("i32", ()), "an integer without axes has no memory to relabel: broadcast it")
    require(shape.count(TOKENS) == source.shape.count(TOKENS), f"cannot reshape {source} to {text}")
    require(source.elements(7) == TensorType(source.dtype, shape).elements(7), f"cannot reshape {source} to {text}")
    return (source.with_shape(shape),)


def _reshape_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    shape = parse_shape(op.text("shape"))
    return (arrays[0].reshape([-1 if d == TOKENS else int(d) for d in shape]),)


def _infer_slice(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source = operands[0]
    axis = axis_of(attributes, source.shape)
    start, stop = attribute_int(attributes, "start"), attribute_int(attributes, "stop")
    step = attribute_int(attributes, "step") if "step" in attributes else 1
    extent = static(source.shape[axis], "the sliced axis")
    require(step != 0, "the step of a slice is 0")
    places = range(start, stop, step)
    inside = len(places) > 0 and 0 <= places[0] < extent and 0 <= places[-1] < extent
    require(
        inside,
        f"slice {start}:{stop}:{step} outside an axis of {extent}"
        if step != 1
        else f"slice {start}:{stop} outside an axis of {extent}",
    )
    require(step != 1 or stop <= extent, f"slice {start}:{stop} outside an axis of {extent}")
    return (source.with_shape((*source.shape[:axis], len(places), *source.shape[axis + 1 :])),)


def _slice_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    axis = axis_of(op.attributes, arrays[0].shape)
    step = op.integer("step") if "step" in op.attributes else 1
    places = np.arange(op.integer("start"), op.integer("stop"), step)
    return (_contiguous(np.take(arrays[0], places, axis)),)


def _infer_concat(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    require(len(operands) > 0 and all(o.shape for o in operands), "operands must have a last axis")
    axis = axis_of(attributes, operands[0].shape)
    require(len({len(o.shape) for o in operands}) == 1, "operands differ in the number of axes")
    others = {(o.dtype, *o.shape[:axis], None, *o.shape[axis + 1 :]) for o in operands}
    require(len(others) == 1, "operands differ in more than the axis along which they are joined")
    total = sum(static(o.shape[axis], "the axis of a concat") for o in operands)
    return (operands[0].with_shape((*operands[0].shape[:axis], total, *operands[0].shape[axis + 1 :])),)


def _concat_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return (np.concatenate(arrays, axis=axis_of(op.attributes, arrays[0].shape)),)


def tokens_axis(shape: Sequence[Dim]) -> int:
    """The axis that ``last_token`` takes the last of: that of the tokens where only axes of 1 are before it, else 0."""
    if TOKENS in shape and all(d == 1 for d in shape[: list(shape).index(TOKENS)]):
        return list(shape).index(TOKENS)
    return 0


def _infer_last(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    shape = operands[0].shape
    require(len(shape) > 0, f"{operands[0]} has no rows")
    axis = tokens_axis(shape)
    require(TOKENS not in shape[axis + 1 :], f"the tokens of {operands[0]} are not its rows")
    return (operands[0].with_shape((*shape[:axis], 1, *shape[axis + 1 :])),)


def _last_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    axis = tokens_axis(op.operands[0].type.shape)
    return (arrays[0].take([arrays[0].shape[axis] - 1], axis),)


def permutation(attributes: Attributes, rank: int) -> tuple[int, ...]:
    """The attribute ``perm``: axis i of the result is axis perm[i] of the operand."""
    text = attributes["perm"]
    require(isinstance(text, str), "attribute 'perm' must be text such as \"1,0,2\"")
    perm = parse_shape(str(text))
    require(sorted(map(str, perm)) == sorted(map(str, range(rank))), f"{text!r} is no order of {rank} axes")
    return tuple(int(axis) for axis in perm)


def _infer_transpose(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source = operands[0]
    perm = permutation(attributes, len(source.shape))
    return (source.with_shape(tuple(source.shape[axis] for axis in perm)),)


def _transpose_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return (_contiguous(arrays[0].transpose(permutation(op.attributes, arrays[0].ndim))),)


def _infer_broadcast(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source, *like = operands
    shape = _shape_attribute(attributes)
    missing = len(shape) - len(source.shape)
    fits = missing >= 0 and all(d in (1, s) for d, s in zip(source.shape, shape[max(missing, 0) :], strict=True))
    require(fits, f"cannot broadcast {source} to {attributes['shape']}")
    require(shape.count(TOKENS) <= 1, "one axis at most is that of the tokens")
    require(len(like) == (TOKENS in shape and not source.is_dynamic), "one more operand says how many tokens there are")
    require(all(o.is_dynamic for o in like), "the operand that says how many tokens there are has no such axis")
    return (source.with_shape(shape),)


def _broadcast_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    count = tokens_of(op, arrays)
    shape = [count if d == TOKENS else int(d) for d in parse_shape(op.text("shape"))]
    return (_contiguous(np.broadcast_to(arrays[0], shape)),)


def tokens_of(op: Op, arrays: Sequence[np.ndarray]) -> int:
    """How many tokens the operands of an op have; 1 where none has an axis of them."""
    for value, array in zip(op.operands, arrays, strict=True):
        if value.type.is_dynamic:
            return int(array.shape[value.type.shape.index(TOKENS)])
    return 1


def _infer_pad(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source = operands[0]
    axis = axis_of(attributes, source.shape)
    before, after = attribute_int(attributes, "before"), attribute_int(attributes, "after")
    require(source.dtype in ("f32", "i32"), f"{source} is neither f32 nor i32")
    require(before >= 0 and after >= 0, "a pad is not negative: slice")
    extent = static(source.shape[axis], "the padded axis") + before + after
    return (source.with_shape((*source.shape[:axis], extent, *source.shape[axis + 1 :])),)


def _pad_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    x = arrays[0]
    widths = [(0, 0)] * x.ndim
    widths[axis_of(op.attributes, x.shape)] = (op.integer("before"), op.integer("after"))
    return (np.pad(x, widths, constant_values=x.dtype.type(op.number("value"))),)


def _infer_gather(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source, ids = operands
    axis = axis_of(attributes, source.shape)
    extent = static(source.shape[axis], "the axis of a gather")
    require(ids.dtype == "i32" and extent > 0, f"cannot gather {ids} of {source}")
    shape = (*source.shape[:axis], *ids.shape, *source.shape[axis + 1 :])
    require(shape.count(TOKENS) <= 1, f"{ids} of {source} has two axes of tokens")
    return (source.with_shape(shape),)


def _gather_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    x, ids = arrays
    axis = axis_of(op.attributes, x.shape)
    return (_contiguous(np.take(x, np.clip(ids, 0, x.shape[axis] - 1), axis)),)


def _infer_take_along(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    source, ids = operands
    axis = axis_of(attributes, source.shape)
    require(ids.dtype == "i32" and static(source.shape[axis], "the axis") > 0, f"cannot take {ids} of {source}")
    same = len(ids.shape) == len(source.shape) and all(
        a == b for i, (a, b) in enumerate(zip(ids.shape, source.shape, strict=True)) if i != axis
    )
    require(same and ids.shape[axis] != TOKENS, f"{ids} and {source} differ in more than axis {axis}")
    return (source.with_shape(ids.shape),)


def _take_along_reference(op: Op, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    x, ids = arrays
    axis = axis_of(op.attributes, x.shape)
    return (np.take_along_axis(x, np.clip(ids, 0, x.shape[axis] - 1), axis),)


def _require_dynamic(operand: TensorType) -> None:
    if not operand.is_dynamic:
        raise TypeRuleError(f"{operand} has no axis of tokens")


def _infer_iota(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    _require_dynamic(operands[0])
    return (TensorType("i32", (TOKENS,)),)


def _infer_token_count(operands: Types, attributes: Attributes) -> tuple[TensorType, ...]:
    _require_dynamic(operands[0])
    return (TensorType("i32", ()),)


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
        "elements start to stop by step (1) of an axis (the last); a step below 0 goes backwards",
        ("x",),
        _infer_slice,
        _slice_reference,
        {"start": int, "stop": int, "axis": int, "step": int},
        optional=("axis", "step"),
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "concat",
        "operands side by side along an axis (the last)",
        ("*x",),
        _infer_concat,
        _concat_reference,
        {"axis": int},
        optional=("axis",),
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "last_token",
        "the row of the last token of the call",
        ("x",),
        _infer_last,
        _last_reference,
        relabels="last row",
    ),
    OpDef(
        "transpose",
        "axes in another order: axis i of the result is axis perm[i]",
        ("x",),
        _infer_transpose,
        _transpose_reference,
        {"perm": str},
        folds=True,
    ),
    OpDef(
        "broadcast",
        "repeated along axes of 1, and along new ones in front; what has tokens only then says how many by `like`",
        ("x", "*like"),
        _infer_broadcast,
        _broadcast_reference,
        {"shape": str},
    ),
    OpDef(
        "pad",
        "some elements of a value before and after those of an axis",
        ("x",),
        _infer_pad,
        _pad_reference,
        {"axis": int, "before": int, "after": int, "value": float},
        row_wise=True,
        folds=True,
    ),
    OpDef(
        "gather",
        "those elements of an axis that the ids number; an id beyond either end is that end; `context`: most tokens "
        "of a text, where the ids are their places",
        ("x", "ids"),
        _infer_gather,
        _gather_reference,
        {"axis": int, "context": int},
        ("context",),
        folds=True,
        context=lambda operands, attributes: int(attributes.get("context", 0)),
    ),
    OpDef(
        "take_along",
        "as gather, with ids of its own for each place along the other axes",
        ("x", "ids"),
        _infer_take_along,
        _take_along_reference,
        {"axis": int},
        folds=True,
    ),
    OpDef(
        "iota",
        "0, 1, 2, … for the tokens of the call",
        ("like",),
        _infer_iota,
        lambda op, arrays: (np.arange(tokens_of(op, arrays), dtype=np.int32),),
    ),
    OpDef(
        "token_count",
        "how many tokens the call has",
        ("like",),
        _infer_token_count,
        lambda op, arrays: (np.array(tokens_of(op, arrays), np.int32),),
    ),
]
