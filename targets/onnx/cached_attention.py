"""Attention with a cache: a ``Loop`` over the chunks of rows that the tokens of a call see."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.cached_attention import CHUNK, LARGEST_HALF, LEAST
from chimerac.targets.onnx.context import Context, Translate
from chimerac.targets.onnx.functions import call
from chimerac.targets.onnx.graph import Nodes, tensor, untyped

MINUS_INFINITY = np.float32(-np.inf)


def build_cached_attention(context: Context, op: Op) -> tuple[str, ...]:
    """The caches with the new rows, and what the tokens see of them; G heads of the cache have g query heads each."""
    nodes = context.nodes
    q, k, v, keys, values = (context.value(o) for o in op.operands[:5])
    start, tokens = context.index(op.operands[5]), nodes.extent(q, 0)
    at = nodes.cached(("positions", start, tokens), lambda: (nodes.op("Add", nodes.arange(tokens), start),))[0]
    kept, rows = (int(d) for d in op.operands[3].type.shape[:2])
    halves = op.operands[3].type.dtype == "f16"
    keys, values = (_keep(nodes, cache, new, at, rows, halves) for cache, new in ((keys, k), (values, v)))
    window = op.integer("window") or rows
    first = nodes.op("Max", nodes.op("Sub", start, nodes.i64(window - 1)), nodes.i64(0))
    first = nodes.op("Div", first, nodes.i64(CHUNK))
    last = nodes.op("Sub", nodes.op("Add", start, nodes.op("Squeeze", tokens)), nodes.i64(1))
    chunks = nodes.op("Add", nodes.op("Sub", nodes.op("Div", last, nodes.i64(CHUNK)), first), nodes.i64(1))
    heads, width, value_width = (int(op.operands[i].type.shape[axis]) for i, axis in ((0, 1), (0, 2), (4, 2)))
    queries = nodes.reshape(q, -1, kept, heads // kept, 1, width)

    body = nodes.subgraph()
    chunk, going, top, total, out = (body.pool.fresh(n) for n in ("chunk", "going", "top", "total", "sums"))
    base = body.op("Mul", body.op("Add", first, chunk), body.i64(CHUNK))
    positions = body.op("Add", body.i64(np.arange(CHUNK)), base)
    place = body.op("Mod", positions, body.i64(rows))
    ahead = body.op("Sub", body.unsqueeze(at, 1), positions)  # [T, rows]
    valid = body.op("And", body.op("GreaterOrEqual", ahead, body.i64(0)), body.op("Less", ahead, body.i64(window)))
    valid = body.unsqueeze(valid, 1)
    seen = body.unsqueeze(_rows(body, keys, place, halves), 1)  # [G, 1, rows, d]
    sums = body.lanes8_sum(body.op("Mul", queries, seen), width)
    scores = body.op("Mul", body.reshape(sums, -1, heads, CHUNK), body.f32(op.number("scale")))
    scores = body.op("Where", valid, scores, body.f32(MINUS_INFINITY))
    highest = body.op("Max", top, body.op("ReduceMax", scores, body.i64([2]), keepdims=1))
    weights = call(body, "exp", body.op("Sub", scores, highest))
    fading = call(body, "exp", body.op("Sub", top, highest))
    whole = body.reshape(body.lanes8_sum(weights, CHUNK), -1, heads, 1)
    whole = body.op("Add", body.op("Mul", total, fading), whole)
    weights = body.reshape(body.transpose(weights, 2, 0, 1), CHUNK, -1, kept, heads // kept, 1)
    seen = body.transpose(_rows(body, values, place, halves), 1, 0, 2)
    added = body.op("Mul", weights, body.unsqueeze(seen, 1, 3))  # [rows, T, G, g, dv]
    added = body.reshape(added, CHUNK, -1, heads, value_width)
    added = body.op("Where", body.unsqueeze(body.transpose(valid, 2, 0, 1), 3), added, body.f32(0.0))
    before = body.unsqueeze(body.op("Mul", out, fading), 0)
    summed = body.sum_first(body.op("Concat", before, added, axis=0))
    ends = [body.op("Identity", going), highest, whole, summed]
    graph = body.graph(
        "chunk",
        [tensor(chunk, "int64", []), tensor(going, "bool", []), *(untyped(name) for name in (top, total, out))],
        [untyped(name) for name in ends],
    )
    begin = [
        nodes.op("Expand", nodes.f32(value), nodes.op("Concat", tokens, nodes.i64([heads, size]), axis=0))
        for value, size in ((LEAST, 1), (0.0, 1), (0.0, value_width))
    ]
    _, total, out = nodes.emit("Loop", chunks, "", *begin, outputs=3, body=graph)
    return nodes.op("Div", out, total), keys, values


def _keep(nodes: Nodes, cache: str, new: str, at: str, rows: int, halves: bool) -> str:
    """A cache [G, R, d] with the rows [T, G, d] of tokens at these positions."""
    if halves:
        bounded = nodes.op("Clip", new, nodes.f32(-LARGEST_HALF), nodes.f32(LARGEST_HALF))
        new = nodes.op("Cast", bounded, to=TensorProto.FLOAT16)
    new = nodes.transpose(new, 1, 0, 2)
    place = nodes.unsqueeze(nodes.op("Mod", at, nodes.i64(rows)), 0, 2)
    return nodes.op("ScatterElements", cache, nodes.op("Expand", place, nodes.op("Shape", new)), new, axis=1)


def _rows(nodes: Nodes, cache: str, place: str, halves: bool) -> str:
    """Rows of a cache as float32 [G, rows, d]."""
    found = nodes.op("Gather", cache, place, axis=1)
    return nodes.to_float(found) if halves else found


TRANSLATORS: Mapping[str, Translate] = {"cached_attention": build_cached_attention}
