"""Products of two computed matrices, and patches under windows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.matrices import numbers, windows
from chimerac.targets.onnx.context import Context, Translate, last, one_result, shape_of


def build_matmul(context: Context, op: Op) -> tuple[str, ...]:
    """Every product, then their sums."""
    a, b = op.operands
    nodes = context.nodes
    rows, others = len(a.type.shape) - 1, len(b.type.shape) - 2
    if nodes.pool.fused:
        order = [*range(others), others + 1, others]
        return (nodes.op("MatMul", context.value(a), nodes.transpose(context.value(b), *order)),)
    products = nodes.op("Mul", nodes.unsqueeze(context.value(a), rows), nodes.unsqueeze(context.value(b), others))
    return (nodes.reshape(nodes.lanes8_sum(products, last(a)), *shape_of(one_result(op))),)


def build_unfold(context: Context, op: Op) -> tuple[str, ...]:
    """Each axis by the numbers of what is under the window at each place; then axes in their order."""
    (x,) = op.operands
    nodes = context.nodes
    places, kernel = windows(op.attributes, x.type.shape)
    stride, dilation = numbers(op.attributes, "stride"), numbers(op.attributes, "dilation")
    rank = len(kernel)
    outer = len(x.type.shape) - rank - 1
    result = context.value(x)
    for i in range(rank):
        ids = np.arange(places[i])[:, None] * stride[i] + np.arange(kernel[i]) * dilation[i]
        result = nodes.op("Gather", result, nodes.i64(ids), axis=outer + 1 + 2 * i)
    order = [*range(outer), *(outer + 1 + 2 * i for i in range(rank)), outer, *(outer + 2 + 2 * i for i in range(rank))]
    return (nodes.transpose(result, *order),)


TRANSLATORS: Mapping[str, Translate] = {"matmul": build_matmul, "unfold": build_unfold}
