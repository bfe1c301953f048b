"""Ops that move, relabel or look up elements."""

from __future__ import annotations

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.definition import blocks
from chimerac.targets.onnx.context import Context, last, one_result, shape_of
from chimerac.targets.onnx.products import int8_blocks


def build_reshape(context: Context, op: Op) -> tuple[str, ...]:
    """The same elements in another shape."""
    return (context.nodes.reshape(context.value(op.operands[0]), *shape_of(one_result(op))),)


def build_slice(context: Context, op: Op) -> tuple[str, ...]:
    """Columns of the last axis."""
    x = op.operands[0]
    start, stop = op.integer("start"), op.integer("stop")
    return (context.nodes.slice(context.value(x), start, stop, len(x.type.shape) - 1),)


def build_concat(context: Context, op: Op) -> tuple[str, ...]:
    """Side by side along the last axis."""
    return (context.nodes.op("Concat", *(context.value(v) for v in op.operands), axis=-1),)


def build_last_token(context: Context, op: Op) -> tuple[str, ...]:
    """The last row."""
    return (context.nodes.slice(context.value(op.operands[0]), -1, (1 << 31) - 1, 0),)


def build_embedding(context: Context, op: Op) -> tuple[str, ...]:
    """Rows of a float32 table."""
    ids, table = op.operands
    return (context.nodes.op("Gather", context.value(table), context.value(ids), axis=0),)


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
    by_group = nodes.op("Gather", context.value(scales), tokens, axis=0)  # [T, G]
    column = [c // group for c in range(width)]
    factors = nodes.op("Gather", by_group, nodes.i64(column), axis=1) if blocks(width, group) > 1 else by_group
    assert last(one_result(op)) == width
    return (nodes.op("Mul", codes, factors),)
