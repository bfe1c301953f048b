"""Norms, quantisation of activations, and dense products in float32: reductions in the order of ``lanes8_sum``."""

from __future__ import annotations

from collections.abc import Mapping

from chimerac.compiler.ir.module import Op, Value
from chimerac.compiler.ir.ops.definition import blocks
from chimerac.targets.onnx.context import Context, Translate, last, rows_like, shape_of
from chimerac.targets.onnx.graph import Nodes


def build_rms_norm(context: Context, op: Op) -> tuple[str, ...]:
    """x / sqrt(mean(x²) + eps) * weight."""
    x, weight = op.operands
    return (rms_norm(context, context.value(x), x, context.value(weight), op.number("eps")),)


def rms_norm(context: Context, x: str, like: Value, weight: str, eps: float) -> str:
    """``x`` of the type of ``like``, normalised along its last axis; the weight is broadcast."""
    nodes, width = context.nodes, last(like)
    mean = nodes.op("Div", nodes.lanes8_sum(nodes.op("Mul", x, x), width), nodes.f32(width))
    scale = one_over_sqrt(nodes, nodes.op("Add", mean, nodes.f32(eps)))
    return nodes.op("Mul", nodes.op("Mul", x, rows_like(context, scale, like, 1)), weight)


def build_l2_norm(context: Context, op: Op) -> tuple[str, ...]:
    """x / sqrt(sum(x²) + eps)."""
    (like,) = op.operands
    nodes, x = context.nodes, context.value(like)
    total = nodes.lanes8_sum(nodes.op("Mul", x, x), last(like))
    scale = one_over_sqrt(nodes, nodes.op("Add", total, nodes.f32(op.number("eps"))))
    return (nodes.op("Mul", x, rows_like(context, scale, like, 1)),)


def one_over_sqrt(nodes: Nodes, x: str) -> str:
    """1 / sqrt(x)."""
    return _one_over(nodes, nodes.op("Sqrt", x))


def _one_over(nodes: Nodes, x: str) -> str:
    """As -(-1 / x): ONNX Runtime replaces (1 / x) * y by y / x, which rounds once less."""
    return nodes.op("Neg", nodes.op("Div", nodes.f32(-1.0), x))


def build_quantize(context: Context, op: Op) -> tuple[str, ...]:
    """int8 codes of blocks and their scales."""
    (x,) = op.operands
    return _quantized(context, op, context.value(x))


def build_rms_norm_quantize(context: Context, op: Op) -> tuple[str, ...]:
    """rms_norm, then quantize."""
    x, weight = op.operands
    return _quantized(context, op, rms_norm(context, context.value(x), x, context.value(weight), op.number("eps")))


def _quantized(context: Context, op: Op, x: str) -> tuple[str, str]:
    """``x``, of the type of the first operand, by the op's rule."""
    rule = quantize_row if op.attributes.get("row") else quantize
    return rule(context, x, op.operands[0], op.integer("block"))


def quantize_row(context: Context, x: str, like: Value, block: int) -> tuple[str, str]:
    """As ``quantize``, with one scale for all of a row."""
    nodes, axis = context.nodes, len(like.type.shape) - 1
    largest = nodes.op("ReduceMax", nodes.op("Abs", x), nodes.i64([axis]), keepdims=1)
    factor = nodes.op("Mul", _one_over(nodes, nodes.op("Max", largest, nodes.f32(1e-5))), nodes.f32(127.0))
    codes = nodes.op("Clip", nodes.op("Round", nodes.op("Mul", x, factor)), nodes.f32(-127.0), nodes.f32(127.0))
    scale = _one_over(nodes, factor)
    count = blocks(last(like), block)
    return codes, nodes.op("Concat", *[scale] * count, axis=axis) if count > 1 else scale


def quantize(context: Context, x: str, like: Value, block: int) -> tuple[str, str]:
    """Codes, as float32 of the shape of ``like``, and scales [..., blocks], of ``x``, which has this shape too."""
    nodes, width = context.nodes, last(like)
    count = blocks(width, block)
    padded = nodes.pad_last(x, len(like.type.shape), -width % block)
    parts = nodes.reshape(padded, -1, count, block)
    largest = nodes.op("ReduceMax", nodes.op("Abs", parts), nodes.i64([2]), keepdims=1)
    scales = nodes.op("Div", nodes.op("Max", largest, nodes.f32(1e-5)), nodes.f32(127.0))
    rounded = nodes.op("Round", nodes.op("Div", parts, scales))
    codes = nodes.op("Clip", rounded, nodes.f32(-127.0), nodes.f32(127.0))
    lead = shape_of(like)[:-1]
    codes = nodes.reshape(codes, *lead, count * block)
    if width % block:
        codes = nodes.slice(codes, 0, width, len(lead))
    return codes, nodes.reshape(scales, *lead, count)


def build_linear(context: Context, op: Op) -> tuple[str, ...]:
    """x @ weight.T + bias."""
    x, weight, *bias = op.operands
    y = dense(context, x, context.widened(weight), int(weight.type.shape[0]))
    return (context.nodes.op("Add", y, context.value(bias[0])) if bias else y,)


def dense(context: Context, x: Value, weight: str, rows: int) -> str:
    """``linear.dense``: every product of x[..., K] with a float32 weight[rows, K], then their sums."""
    nodes, width = context.nodes, last(x)
    products = nodes.op("Mul", nodes.reshape(context.value(x), -1, 1, width), weight)
    return nodes.reshape(nodes.lanes8_sum(products, width), *shape_of(x)[:-1], rows)


TRANSLATORS: Mapping[str, Translate] = {
    "rms_norm": build_rms_norm,
    "l2_norm": build_l2_norm,
    "quantize": build_quantize,
    "rms_norm_quantize": build_rms_norm_quantize,
    "linear": build_linear,
}
