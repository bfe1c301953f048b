"""Ops that move, relabel or look up elements."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from chimerac.compiler.ir.module import Op, Value
from chimerac.compiler.ir.ops.definition import blocks
from chimerac.compiler.ir.ops.movement import axis_of, parse_shape, permutation, tokens_axis
from chimerac.compiler.ir.types import TOKENS
from chimerac.targets.onnx.context import Context, Translate, last, one_result, shape_of
from chimerac.targets.onnx.products import int8_blocks, ternary_blocks


def build_reshape(context: Context, op: Op) -> tuple[str, ...]:
    """The same elements in another shape."""
    return (context.nodes.reshape(context.value(op.operands[0]), *shape_of(one_result(op))),)


def build_slice(context: Context, op: Op) -> tuple[str, ...]:
    """Elements of an axis."""
    x, nodes = op.operands[0], context.nodes
    axis = axis_of(op.attributes, x.type.shape)
    start, stop, step = op.integer("start"), op.integer("stop"), op.attributes.get("step", 1)
    if step == 1:
        return (nodes.slice(context.value(x), start, stop, axis),)
    end = stop if stop >= 0 else -(1 << 31)  # -1 would count from the end
    bounds = (nodes.i64([v]) for v in (start, end, axis, int(str(step))))
    return (nodes.op("Slice", context.value(x), *bounds),)


def build_concat(context: Context, op: Op) -> tuple[str, ...]:
    """Side by side along an axis."""
    axis = int(str(op.attributes.get("axis", -1)))
    return (context.nodes.op("Concat", *(context.value(v) for v in op.operands), axis=axis),)


def build_transpose(context: Context, op: Op) -> tuple[str, ...]:
    """Axes in another order."""
    x = op.operands[0]
    return (context.nodes.transpose(context.value(x), *permutation(op.attributes, len(x.type.shape))),)


def build_broadcast(context: Context, op: Op) -> tuple[str, ...]:
    """Repeated; an extent of 1 leaves what the operand has."""
    x, *like = op.operands
    nodes, shape = context.nodes, parse_shape(op.text("shape"))
    extents = nodes.i64([1 if d == TOKENS else int(d) for d in shape])
    if like:
        place = shape.index(TOKENS)
        parts = [nodes.i64([int(d) for d in part]) for part in (shape[:place], shape[place + 1 :])]
        extents = nodes.op("Concat", parts[0], tokens_of(context, like[0]), parts[1], axis=0)
    return (nodes.op("Expand", context.value(x), extents),)


def tokens_of(context: Context, like: Value) -> str:
    """How many tokens a value has, int64[1]."""
    return context.nodes.extent(context.value(like), like.type.shape.index(TOKENS))


def build_iota(context: Context, op: Op) -> tuple[str, ...]:
    """0, 1, 2, …"""
    places = context.nodes.arange(tokens_of(context, op.operands[0]))
    return (context.nodes.op("Cast", places, to=TensorProto.INT32),)


def build_token_count(context: Context, op: Op) -> tuple[str, ...]:
    """The tokens of the call."""
    count = context.nodes.op("Squeeze", tokens_of(context, op.operands[0]))
    return (context.nodes.op("Cast", count, to=TensorProto.INT32),)


def build_pad(context: Context, op: Op) -> tuple[str, ...]:
    """A value before and after the elements of an axis."""
    x, nodes = op.operands[0], context.nodes
    value = np.array(op.number("value"), x.type.numpy)
    pads = nodes.i64([op.integer("before"), op.integer("after")])
    axes = nodes.i64([op.integer("axis")])
    return (nodes.op("Pad", context.value(x), pads, nodes.pool.constant(value, "filling"), axes),)


def build_gather(context: Context, op: Op) -> tuple[str, ...]:
    """Elements of an axis by their numbers."""
    return (_by_number("Gather", context, op),)


def build_take_along(context: Context, op: Op) -> tuple[str, ...]:
    """Elements of an axis, each by a number of its own."""
    return (_by_number("GatherElements", context, op),)


def _by_number(operator: str, context: Context, op: Op) -> str:
    x, ids = op.operands
    axis, nodes = op.integer("axis"), context.nodes
    last = nodes.pool.constant(np.array(int(x.type.shape[axis]) - 1, np.int32), "last")
    first = nodes.pool.constant(np.array(0, np.int32), "first")
    places = nodes.op("Max", nodes.op("Min", context.value(ids), last), first)
    return nodes.op(operator, context.value(x), places, axis=axis)


def build_last_token(context: Context, op: Op) -> tuple[str, ...]:
    """The last row."""
    axis = tokens_axis(op.operands[0].type.shape)
    return (context.nodes.slice(context.value(op.operands[0]), -1, (1 << 31) - 1, axis),)


def build_embedding(context: Context, op: Op) -> tuple[str, ...]:
    """Rows of a float32 table."""
    ids, table = op.operands
    rows, is_narrow = context.narrow(table)
    found = context.nodes.op("Gather", rows, context.value(ids), axis=0)
    return (context.nodes.to_float(found) if is_narrow else found,)


def build_look_up(context: Context, op: Op) -> tuple[str, ...]:
    """Rows of the int8 table that the product with the same weight reads, times their scales."""
    ids, table, scales = op.operands
    nodes, tokens = context.nodes, context.value(ids)
    rows, width, group = (*map(int, table.type.shape), op.integer("group"))
    parts = int8_blocks(context, table, rows, width)
    picked = [nodes.op("Gather", part, tokens, axis=0) for part in parts]  # [T, 1, bytes] each
    codes = nodes.op("Concat", *picked, axis=2) if len(picked) > 1 else picked[0]
    codes = nodes.op("Sub", nodes.to_float(codes), nodes.f32(128.0))
    codes = nodes.slice(nodes.op("Squeeze", codes, nodes.i64([1])), 0, width, 1)
    assert last(one_result(op)) == width
    return (_scaled(context, codes, scales, tokens, width, group),)


def build_ternary_look_up(context: Context, op: Op) -> tuple[str, ...]:
    """Rows of the table of 2-bit codes that the product with the same weight reads, times their scales."""
    ids, table, scales = op.operands
    nodes, tokens = context.nodes, context.value(ids)
    rows, width = op.integer("rows"), op.integer("columns")
    parts = ternary_blocks(context, table, rows, width)
    picked = [nodes.op("Gather", part, tokens, axis=0) for part in parts]  # [T, 1, bytes] each
    packed = nodes.to_float(nodes.op("Concat", *picked, axis=2) if len(picked) > 1 else picked[0])
    # floor(byte / 4**i) for i = 0 to 4; a code is one of these less four times the next: all exact
    shifted = [packed, *(nodes.op("Floor", nodes.op("Mul", packed, nodes.f32(0.25**i))) for i in range(1, 4))]
    higher = [nodes.op("Mul", value, nodes.f32(4.0)) for value in shifted[1:]]
    codes = [*(nodes.op("Sub", a, b) for a, b in zip(shifted[:3], higher, strict=True)), shifted[3]]
    trits = nodes.op("Sub", nodes.op("Concat", *(nodes.unsqueeze(c, 3) for c in codes), axis=3), nodes.f32(2.0))
    trits = nodes.slice(nodes.reshape(trits, 0, -1), 0, width, 1)
    return (_scaled(context, trits, scales, tokens, width, op.integer("group")),)


def _scaled(context: Context, codes: str, scales: Value, tokens: str, width: int, group: int) -> str:
    """Codes [T, D] times the scales of the tokens' rows."""
    nodes = context.nodes
    by_group = nodes.op("Gather", context.value(scales), tokens, axis=0)  # [T, G]
    column = [c // group for c in range(width)]
    factors = nodes.op("Gather", by_group, nodes.i64(column), axis=1) if blocks(width, group) > 1 else by_group
    return nodes.op("Mul", codes, factors)


TRANSLATORS: Mapping[str, Translate] = {
    "reshape": build_reshape,
    "slice": build_slice,
    "concat": build_concat,
    "last_token": build_last_token,
    "transpose": build_transpose,
    "broadcast": build_broadcast,
    "pad": build_pad,
    "gather": build_gather,
    "take_along": build_take_along,
    "iota": build_iota,
    "token_count": build_token_count,
    "embedding": build_embedding,
    "look_up": build_look_up,
    "ternary_look_up": build_ternary_look_up,
}
