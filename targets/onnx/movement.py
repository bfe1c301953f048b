"""Ops that move, relabel or look up elements."""

from __future__ import annotations

from collections.abc import Mapping

from chimerac.compiler.ir.module import Op, Value
from chimerac.compiler.ir.ops.definition import blocks
from chimerac.targets.onnx.context import Context, Translate, last, one_result, shape_of
from chimerac.targets.onnx.products import int8_blocks, ternary_blocks


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
    "embedding": build_embedding,
    "look_up": build_look_up,
    "ternary_look_up": build_ternary_look_up,
}
