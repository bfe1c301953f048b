"""Tables of codes of 3 bytes (compiler/ir/ops/levels.py), decoded in float32: whole numbers below 2^24 are exact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chimerac.compiler.ir.module import Op
from chimerac.targets.onnx.context import Context, Translate
from chimerac.targets.onnx.norms import dense


def _values(context: Context, op: Op, codes: str) -> str:
    """Codes u8 [R, 3, D] as float32 [R, D]."""
    nodes, most, limit = context.nodes, op.integer("levels") - 1, op.number("limit")
    places = nodes.pool.constant(np.array([1, 1 << 8, 1 << 16], np.float32)[:, None], "places")
    parts = nodes.op("Mul", nodes.to_float(codes), places)
    low, middle, high = (nodes.op("Squeeze", nodes.slice(parts, i, i + 1, 1), nodes.i64([1])) for i in range(3))
    code = nodes.op("Add", nodes.op("Add", low, middle), high)
    distance = nodes.op("Sub", nodes.op("Mul", code, nodes.f32(2.0)), nodes.f32(float(most)))
    value = nodes.op("Div", distance, nodes.f32(float(most)))
    return value if limit == 1.0 else nodes.op("Mul", value, nodes.f32(limit))


def build_look_up(context: Context, op: Op) -> tuple[str, ...]:
    """Rows of a table."""
    ids, codes = (context.value(operand) for operand in op.operands)
    return (_values(context, op, context.nodes.op("Gather", codes, ids, axis=0)),)


def build_matmul(context: Context, op: Op) -> tuple[str, ...]:
    """Every product with the decoded table, then their sums."""
    nodes, (x, codes) = context.nodes, op.operands
    name = context.value(codes)
    table = nodes.cached(("levels", name), lambda: (_values(context, op, name),))[0]
    if nodes.pool.fused:
        return (nodes.op("MatMul", context.value(x), nodes.transpose(table, 1, 0)),)
    return (dense(context, x, table, int(codes.type.shape[0])),)


TRANSLATORS: Mapping[str, Translate] = {"levels_look_up": build_look_up, "levels_matmul": build_matmul}
