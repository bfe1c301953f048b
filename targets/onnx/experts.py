"""Mixture of experts: routing by TopK, and per expert the products of its contiguous rows.

Symbols: T tokens, k experts per token, P = T k sorted rows, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from chimerac.compiler.ir.module import Op, Value
from chimerac.targets.onnx.context import Context, Translate, last
from chimerac.targets.onnx.functions import call
from chimerac.targets.onnx.graph import Nodes
from chimerac.targets.onnx.norms import dense, rms_norm
from chimerac.targets.onnx.products import block_scales, code_blocks, matmul, scaled_sum, widths
from chimerac.targets.onnx.weights import pack_blocks


def build_route(context: Context, op: Op) -> tuple[str, ...]:
    """TopK gives the lower of equal experts first, as our sort does."""
    x, router, bias = op.operands
    nodes = context.nodes
    scores = call(nodes, "sigmoid", dense(context, x, context.widened(router), int(router.type.shape[0])))
    biased = nodes.op("Add", scores, context.value(bias))
    _, chosen = nodes.emit("TopK", biased, nodes.i64([op.integer("top_k")]), outputs=2, axis=1)
    picked = nodes.op("GatherElements", scores, chosen, axis=1)
    total = nodes.sum_first(nodes.transpose(picked, 1, 0))
    total = nodes.unsqueeze(nodes.op("Add", total, nodes.f32(1e-20)), 1)
    return chosen, nodes.op("Div", picked, total)


def build_sort_pairs(context: Context, op: Op) -> tuple[str, ...]:
    """A stable sort by expert: of the keys expert * P + pair, which are all different."""
    nodes, slots = context.nodes, last(op.operands[0])
    flat = nodes.reshape(context.index(op.operands[0]), -1)
    pairs = nodes.op("Shape", flat)
    keys = nodes.op("Add", nodes.op("Mul", flat, pairs), nodes.arange(pairs))
    _, order = nodes.emit("TopK", keys, pairs, outputs=2, largest=0)
    _, place = nodes.emit("TopK", order, pairs, outputs=2, largest=0)  # sorting a permutation gives its inverse
    before = nodes.op("Less", flat, nodes.i64([[e] for e in range(op.integer("experts") + 1)]))
    offsets = nodes.op("ReduceSum", nodes.to_int(before), nodes.i64([1]), keepdims=0)
    return nodes.reshape(order, -1, slots), nodes.reshape(place, -1, slots), offsets


def build_gather_rows(context: Context, op: Op) -> tuple[str, ...]:
    """The row of each sorted pair's token."""
    x, order = (context.value(o) for o in op.operands)
    nodes = context.nodes
    tokens = nodes.cached(("tokens", order), lambda: (nodes.op("Div", order, nodes.i64(last(op.operands[1]))),))[0]
    return (nodes.op("Gather", x, tokens, axis=0),)


def expert_of_rows(nodes: Nodes, offsets: str, pairs: str) -> str:
    """int64[P]: the expert of each sorted row, which is the number of experts that end at or before it."""

    def make() -> tuple[str, ...]:
        ends = nodes.unsqueeze(nodes.slice(offsets, 1, (1 << 31) - 1, 0), 1)
        ended = nodes.op("LessOrEqual", ends, nodes.arange(pairs))
        return (nodes.op("ReduceSum", nodes.to_int(ended), nodes.i64([0]), keepdims=0),)

    return nodes.cached(("expert of rows", offsets, pairs), make)[0]


def pairs_of(nodes: Nodes, x: str, slots: int) -> str:
    """int64[1]: rows of a value [T, k, ...]."""
    tokens = nodes.extent(x, 0)
    return nodes.cached(("pairs", tokens, slots), lambda: (nodes.op("Mul", tokens, nodes.i64([slots])),))[0]


def build_grouped_rms_norm(context: Context, op: Op) -> tuple[str, ...]:
    """rms_norm with the weight of each row's expert."""
    x, weight, offsets = op.operands
    nodes, value, slots = context.nodes, context.value(x), int(x.type.shape[1])
    experts = expert_of_rows(nodes, context.value(offsets), pairs_of(nodes, value, slots))
    gathered = nodes.op("Gather", context.value(weight), experts, axis=0)  # [P, F]
    return (rms_norm(context, value, x, nodes.reshape(gathered, -1, slots, last(x)), op.number("eps")),)


def build_grouped_product(context: Context, op: Op, bits: int) -> tuple[str, ...]:
    """Each expert's rows, possibly none, times its weights; then the scales, for all rows at once."""
    codes, scales, weights, weight_scales, offsets = op.operands
    nodes, slots = context.nodes, int(codes.type.shape[1])
    block, rows, columns = op.integer("block"), op.integer("rows"), op.integer("columns")
    experts = int(offsets.type.shape[0]) - 1
    value = context.value(codes)
    parts = _expert_blocks(context, op, weights, experts, bits)
    starts = context.value(offsets)
    counts = counts_of_experts(nodes, starts, experts)
    pieces, excess = code_blocks(nodes, value, columns, block)  # [1, P, block] each

    def split(piece: str) -> tuple[str, ...]:
        return nodes.emit("Split", piece, counts, outputs=experts, axis=1) if experts > 1 else (piece,)

    by_expert = [nodes.cached(("experts", piece), partial(split, piece)) for piece in pieces]
    stacked = []
    for index, width in enumerate(widths(columns, block)):
        sums = [matmul(context, by_expert[index][e], parts[e][index], width, rows, bits, block) for e in range(experts)]
        stacked.append(nodes.op("Concat", *sums, axis=1) if experts > 1 else sums[0])  # [1, P, N]
    joined = nodes.op("Concat", *stacked, axis=0) if len(stacked) > 1 else stacked[0]
    scale_table = context.weight(
        context.constant_name(weight_scales),
        "expert groups",
        lambda: [np.ascontiguousarray(context.array(weight_scales, rows, columns).transpose(2, 0, 1), np.float32)],
    )[0]  # [G, E, N]
    first = context.weight(
        context.constant_name(weights),
        f"first.b{block}",
        lambda: [np.ascontiguousarray(context.array(weights, rows, columns)[..., ::block].transpose(2, 0, 1))],
    )[0]  # [blocks, E, N]
    chosen = expert_of_rows(nodes, starts, pairs_of(nodes, value, slots))
    first = nodes.to_float(nodes.op("Gather", first, chosen, axis=1))
    joined = nodes.op("Sub", joined, nodes.op("Mul", excess, first))
    group_scales = nodes.op("Gather", scale_table, chosen, axis=1)
    result = scaled_sum(nodes, op, joined, block_scales(nodes, context.value(scales), len(pieces)), group_scales)
    return (nodes.reshape(result, -1, slots, rows),)


def _expert_blocks(context: Context, op: Op, weights: Value, experts: int, bits: int) -> list[list[str]]:
    """Packed weights by expert and block."""
    block, rows, columns = op.integer("block"), op.integer("rows"), op.integer("columns")

    def make() -> list[np.ndarray]:
        codes = context.array(weights, rows, columns)
        return [part for e in range(experts) for part in pack_blocks(codes[e], block, bits)]

    flat = context.weight(context.constant_name(weights), f"{'t2' if bits == 2 else 'i8'}.b{block}", make)
    count = len(flat) // experts
    return [flat[e * count : (e + 1) * count] for e in range(experts)]


def build_grouped_linear(context: Context, op: Op) -> tuple[str, ...]:
    """Every product of a row with the matrix of its expert, then their sums."""
    x, weight, offsets = op.operands
    nodes, value, slots, width = context.nodes, context.value(x), int(x.type.shape[1]), last(x)
    chosen = expert_of_rows(nodes, context.value(offsets), pairs_of(nodes, value, slots))
    matrices = nodes.op("Gather", context.value(weight), chosen, axis=0)  # [P, N, K]
    products = nodes.op("Mul", nodes.reshape(value, -1, 1, width), matrices)
    return (nodes.reshape(nodes.lanes8_sum(products, width), -1, slots, int(weight.type.shape[1])),)


def counts_of_experts(nodes: Nodes, offsets: str, experts: int) -> str:
    """int64[E]: rows of each expert."""

    def make() -> tuple[str, ...]:
        after, before = nodes.slice(offsets, 1, experts + 1, 0), nodes.slice(offsets, 0, experts, 0)
        return (nodes.op("Sub", after, before),)

    return nodes.cached(("counts", offsets), make)[0]


def build_combine_experts(context: Context, op: Op) -> tuple[str, ...]:
    """The weighted sum of each token's rows; the slots are axis 0."""
    rows, place, weights = op.operands
    nodes = context.nodes
    flat = nodes.reshape(context.value(rows), -1, last(rows))
    picked = nodes.op("Gather", flat, nodes.transpose(context.value(place), 1, 0), axis=0)  # [k, T, D]
    factors = nodes.unsqueeze(nodes.transpose(context.value(weights), 1, 0), 2)
    return (nodes.sum_first(nodes.op("Mul", factors, picked)),)


TRANSLATORS: Mapping[str, Translate] = {
    "route": build_route,
    "sort_pairs": build_sort_pairs,
    "gather_rows": build_gather_rows,
    "grouped_rms_norm": build_grouped_rms_norm,
    "grouped_ternary_matmul": partial(build_grouped_product, bits=2),
    "grouped_int8_matmul": partial(build_grouped_product, bits=8),
    "grouped_linear": build_grouped_linear,
    "combine_experts": build_combine_experts,
}
