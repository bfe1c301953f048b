"""Products whose rows of shut neurons are not read: the rows of neurons that are open for some token are gathered."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from chimerac.compiler.ir.module import Op, Value
from chimerac.targets.onnx.context import Context, Translate, last, one_result, shape_of
from chimerac.targets.onnx.graph import Nodes

TRITS_OF_BYTE = 4


def _open(nodes: Nodes, hidden: str, neurons: int) -> str:
    """int64[K]: the neurons that are not 0 in some row of hidden [R, F], ascending."""

    def make() -> tuple[str, ...]:
        shut = nodes.op("Equal", hidden, nodes.f32(0.0))
        counts = nodes.op("ReduceMax", nodes.to_int(nodes.op("Not", shut)), nodes.i64([0]), keepdims=0)
        return (nodes.reshape(nodes.op("NonZero", counts), -1),)

    return nodes.cached(("open", hidden, neurons), make)[0]


def _ascending(context: Context, op: Op, factors: str, rows: str) -> str:
    """The sum over the first axis of factors [K, R, 1 or N] times rows [K, 1, N]."""
    nodes, outputs = context.nodes, last(op.results[0])
    products = nodes.op("Mul", factors, rows)  # [K, R, N]
    # behind a row of zeros there is something to add up; two columns, or it would be the sum of a row
    start = nodes.op("Slice", products, nodes.i64([0]), nodes.i64([0]), nodes.i64([0]))
    products = nodes.op("Concat", start, products, axis=0)
    if outputs == 1:
        products = nodes.op("Concat", products, products, axis=2)
    sums = nodes.sum_first(products)
    if outputs == 1:
        sums = nodes.slice(sums, 0, 1, 1)
    return nodes.reshape(sums, *shape_of(one_result(op)))


def _gathered(context: Context, op: Op) -> tuple[str, str]:
    """Numbers of the open neurons, and the values of each: f32[K, R, 1]."""
    nodes, hidden = context.nodes, op.operands[0]
    neurons = last(hidden)
    flat = nodes.reshape(context.value(hidden), -1, neurons)
    chosen = _open(nodes, flat, neurons)
    values = nodes.transpose(nodes.op("Gather", flat, chosen, axis=1), 1, 0)
    return chosen, nodes.unsqueeze(values, 2)


def build_float(context: Context, op: Op) -> tuple[str, ...]:
    """The rows of a float matrix; one of 16 bits is widened behind the look-up."""
    nodes = context.nodes
    if nodes.pool.fused:
        return (nodes.op("MatMul", context.value(op.operands[0]), context.widened(op.operands[1])),)
    table, is_narrow = context.narrow(op.operands[1])
    chosen, values = _gathered(context, op)
    rows = nodes.unsqueeze(nodes.op("Gather", table, chosen, axis=0), 1)
    return (_ascending(context, op, values, nodes.to_float(rows) if is_narrow else rows),)


def build_integers(context: Context, op: Op, trits: bool) -> tuple[str, ...]:
    """The rows of a matrix of integers; values are multiplied with the scales first."""
    _, weights, scales = op.operands
    nodes, outputs, group = context.nodes, op.integer("columns"), op.integer("group")
    chosen, values = _gathered(context, op)
    codes = _trits(context, op, weights, chosen) if trits else _codes(context, op, weights, chosen)
    held = context.weight(
        context.constant_name(scales), "by neuron", lambda: [context.array(scales, *_size(op)).astype(np.float32)]
    )[0]
    by_group = nodes.unsqueeze(nodes.op("Gather", held, chosen, axis=0), 1)
    factors = nodes.op("Mul", values, by_group)  # [K, R, G]
    if group < outputs:
        factors = nodes.op("Gather", factors, nodes.i64(np.arange(outputs) // group), axis=2)
    return (_ascending(context, op, factors, nodes.unsqueeze(codes, 1)),)


def _size(op: Op) -> tuple[int, int]:
    return op.integer("rows"), op.integer("columns")


def _codes(context: Context, op: Op, weights: Value, chosen: str) -> str:
    """Rows [K, N] of int8 codes as float32."""
    name = context.constant_name(weights)
    table = context.weight(name, "by neuron", lambda: [context.array(weights, *_size(op))])[0]
    return context.nodes.to_float(context.nodes.op("Gather", table, chosen, axis=0))


def _trits(context: Context, op: Op, weights: Value, chosen: str) -> str:
    """Rows [K, N] of trits as float32: four are in a byte, as codes in base 4."""
    nodes, outputs = context.nodes, op.integer("columns")

    def pack() -> list[np.ndarray]:
        plain = context.array(weights, *_size(op))
        codes = np.ones((len(plain), -(-outputs // TRITS_OF_BYTE) * TRITS_OF_BYTE), np.uint8)
        codes[:, :outputs] = plain + 1
        fours = codes.reshape(len(plain), -1, TRITS_OF_BYTE)
        return [fours[..., 0] | fours[..., 1] << 2 | fours[..., 2] << 4 | fours[..., 3] << 6]

    table = context.weight(context.constant_name(weights), "t2 by neuron", pack)[0]
    packed = nodes.unsqueeze(nodes.op("Gather", table, chosen, axis=0), 2)
    shifts = nodes.pool.constant(np.array([0, 2, 4, 6], np.uint8), "shifts")
    codes = nodes.op("BitShift", packed, shifts, direction="RIGHT")
    codes = nodes.op("Mod", nodes.to_int(codes), nodes.i64(4))
    width = -(-outputs // TRITS_OF_BYTE) * TRITS_OF_BYTE
    whole = nodes.reshape(nodes.to_float(codes), -1, width)
    return nodes.op("Sub", nodes.slice(whole, 0, outputs, 1) if width > outputs else whole, nodes.f32(1.0))


TRANSLATORS: Mapping[str, Translate] = {
    "sparse_linear": build_float,
    "ternary_sparse_matmul": partial(build_integers, trits=True),
    "int8_sparse_matmul": partial(build_integers, trits=False),
}
