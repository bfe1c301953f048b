"""Transforms of rows to another basis: sums and differences, one step after the other."""

from __future__ import annotations

from collections.abc import Mapping

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.rotations import scale_of
from chimerac.targets.onnx.context import Context, Translate, shape_of
from chimerac.targets.onnx.graph import Nodes


def build_walsh_hadamard(context: Context, op: Op) -> tuple[str, ...]:
    """Of each block of the last axis."""
    nodes, (x,) = context.nodes, op.operands
    return (nodes.reshape(transformed(nodes, context.value(x), op.integer("block")), *shape_of(x)),)


def transformed(nodes: Nodes, value: str, block: int) -> str:
    """The same of numbers of any shape, whose blocks lie after one another; the result has another shape.

    Elements that are combined are beside each other on an axis of two.
    """
    half = 1
    while half < block:
        pairs = nodes.reshape(value, -1, 2, half)
        first, second = (nodes.op("Gather", pairs, nodes.i64([side]), axis=1) for side in (0, 1))
        value = nodes.op("Concat", nodes.op("Add", first, second), nodes.op("Sub", first, second), axis=1)
        half *= 2
    return nodes.op("Mul", value, nodes.f32(float(scale_of(block))))


TRANSLATORS: Mapping[str, Translate] = {"walsh_hadamard": build_walsh_hadamard}
