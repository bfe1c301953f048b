"""Transforms of rows to another basis: sums and differences, one step after the other."""

from __future__ import annotations

from collections.abc import Mapping

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.rotations import scale_of
from chimerac.targets.onnx.context import Context, Translate, shape_of


def build_walsh_hadamard(context: Context, op: Op) -> tuple[str, ...]:
    """Elements that are combined are beside each other on an axis of two."""
    nodes, (x,) = context.nodes, op.operands
    block, half, value = op.integer("block"), 1, context.value(x)
    while half < block:
        pairs = nodes.reshape(value, -1, 2, half)
        first, second = (nodes.op("Gather", pairs, nodes.i64([side]), axis=1) for side in (0, 1))
        value = nodes.op("Concat", nodes.op("Add", first, second), nodes.op("Sub", first, second), axis=1)
        half *= 2
    return (nodes.op("Mul", nodes.reshape(value, *shape_of(x)), nodes.f32(float(scale_of(block)))),)


TRANSLATORS: Mapping[str, Translate] = {"walsh_hadamard": build_walsh_hadamard}
