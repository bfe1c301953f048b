"""Reductions of the last axis, softmax, layer norm, running sums and orders."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import TensorProto

from chimerac.compiler.ir.module import Op
from chimerac.targets.onnx.body import Body
from chimerac.targets.onnx.context import Context, Translate, last, shape_of
from chimerac.targets.onnx.functions import log
from chimerac.targets.onnx.norms import one_over_sqrt
from chimerac.targets.onnx.powers import total_exp


def _row_sum(context: Context, x: str, op: Op) -> str:
    """``lanes8_sum`` of the last axis, which stays: the other extents are those of the op's operand."""
    (like, *_) = op.operands
    nodes = context.nodes
    return nodes.reshape(nodes.lanes8_sum(x, last(like)), *shape_of(like)[:-1], 1)


def build_sum(context: Context, op: Op) -> tuple[str, ...]:
    """The sum."""
    (x,) = op.operands
    if x.type.dtype == "f32":
        return (_row_sum(context, context.value(x), op),)
    return (context.nodes.op("ReduceSum", context.value(x), context.nodes.i64([-1]), keepdims=1),)


def build_max(context: Context, op: Op) -> tuple[str, ...]:
    """The largest."""
    return (_extreme(context, op, "ReduceMax"),)


def build_min(context: Context, op: Op) -> tuple[str, ...]:
    """The smallest."""
    return (_extreme(context, op, "ReduceMin"),)


def _extreme(context: Context, op: Op, operator: str) -> str:
    return context.nodes.op(operator, context.value(op.operands[0]), context.nodes.i64([-1]), keepdims=1)


def build_product(context: Context, op: Op) -> tuple[str, ...]:
    """The product, one element after the other."""
    (x,) = op.operands
    nodes, width = context.nodes, last(x)
    if width == 1:
        return (context.value(x),)
    parts = nodes.emit("Split", context.value(x), nodes.i64([1] * width), outputs=width, axis=-1)
    result = parts[0]
    for part in parts[1:]:
        result = nodes.op("Mul", result, part)
    return (result,)


def build_argmax(context: Context, op: Op) -> tuple[str, ...]:
    """Where the largest is."""
    return (_place(context, op, "ArgMax"),)


def build_argmin(context: Context, op: Op) -> tuple[str, ...]:
    """Where the smallest is."""
    return (_place(context, op, "ArgMin"),)


def _place(context: Context, op: Op, operator: str) -> str:
    place = context.nodes.op(operator, context.value(op.operands[0]), axis=-1, keepdims=1)
    return context.nodes.op("Cast", place, to=TensorProto.INT32)


def build_cumsum(context: Context, op: Op) -> tuple[str, ...]:
    """Sums of the first elements."""
    return (context.nodes.op("CumSum", context.value(op.operands[0]), context.nodes.i64(-1)),)


def _moved(context: Context, op: Op) -> str:
    return context.nodes.op("Sub", context.value(op.operands[0]), _extreme(context, op, "ReduceMax"))


def build_softmax(context: Context, op: Op) -> tuple[str, ...]:
    """exp(x - max) over the sum of these."""
    nodes = context.nodes
    if nodes.pool.fused:
        return (nodes.op("Softmax", context.value(op.operands[0]), axis=-1),)
    exponentials = total_exp(Body(nodes), _moved(context, op))
    return (nodes.op("Div", exponentials, _row_sum(context, exponentials, op)),)


def build_log_softmax(context: Context, op: Op) -> tuple[str, ...]:
    """x - max, less the logarithm of the sum of its exponentials."""
    nodes = context.nodes
    if nodes.pool.fused:
        return (nodes.op("LogSoftmax", context.value(op.operands[0]), axis=-1),)
    moved = _moved(context, op)
    total = _row_sum(context, total_exp(Body(nodes), moved), op)
    return (nodes.op("Sub", moved, log(Body(nodes), total)),)


def build_layer_norm(context: Context, op: Op) -> tuple[str, ...]:
    """d / sqrt(mean(d²) + eps) with d = x - mean(x), times a weight, plus a bias."""
    x, *affine = op.operands
    nodes, width = context.nodes, context.nodes.f32(last(x))
    mean = nodes.op("Div", _row_sum(context, context.value(x), op), width)
    moved = nodes.op("Sub", context.value(x), mean)
    square = nodes.op("Div", _row_sum(context, nodes.op("Mul", moved, moved), op), width)
    scale = one_over_sqrt(nodes, nodes.op("Add", square, nodes.f32(op.number("eps"))))
    result = nodes.op("Mul", moved, scale)
    for operand, operator in zip(affine, ("Mul", "Add"), strict=False):
        result = nodes.op(operator, result, context.value(operand))
    return (result,)


def build_sort(context: Context, op: Op) -> tuple[str, ...]:
    """The order: of two that are equal, ``TopK`` takes the first."""
    (x,) = op.operands
    nodes = context.nodes
    count = nodes.i64([last(x)])
    values, places = nodes.emit(
        "TopK", context.value(x), count, outputs=2, axis=-1, largest=op.integer("descending"), sorted=1
    )
    return values, nodes.op("Cast", places, to=TensorProto.INT32)


TRANSLATORS: Mapping[str, Translate] = {
    "reduce_sum": build_sum,
    "reduce_max": build_max,
    "reduce_min": build_min,
    "reduce_prod": build_product,
    "argmax": build_argmax,
    "argmin": build_argmin,
    "cumsum": build_cumsum,
    "softmax": build_softmax,
    "log_softmax": build_log_softmax,
    "layer_norm": build_layer_norm,
    "sort": build_sort,
}
