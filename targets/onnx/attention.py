"""Rotary positions and attention over a bounded window."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chimerac.compiler.ir import numerics
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.attention import rope_frequencies
from chimerac.targets.onnx.context import Context, Translate
from chimerac.targets.onnx.functions import call
from chimerac.targets.onnx.graph import Nodes

#: For scores that are masked out: far below any score, and its difference to one is still finite.
LEAST = np.float32(-1e38)


def positions(context: Context, op: Op, like: str) -> str:
    """int64[T]: the position of each token of the call."""
    nodes = context.nodes
    start = context.index(op.operands[1] if op.name == "rope" else op.operands[8])
    tokens = nodes.extent(like, 0)
    return nodes.cached(("positions", start, tokens), lambda: (nodes.op("Add", nodes.arange(tokens), start),))[0]


def build_rope(context: Context, op: Op) -> tuple[str, ...]:
    """Turns of pairs (x[j], x[j + d/2])."""
    nodes, x = context.nodes, context.value(op.operands[0])
    width = int(op.operands[0].type.shape[2])
    at = positions(context, op, x)
    sine, cosine = nodes.cached(
        ("angles", at, width, op.number("theta")), lambda: _angles(nodes, at, width, op.number("theta"))
    )
    a, b = nodes.emit("Split", x, outputs=2, axis=2, num_outputs=2)
    left = nodes.op("Sub", nodes.op("Mul", a, cosine), nodes.op("Mul", b, sine))
    right = nodes.op("Add", nodes.op("Mul", b, cosine), nodes.op("Mul", a, sine))
    return (nodes.op("Concat", left, right, axis=2),)


def _angles(nodes: Nodes, at: str, width: int, theta: float) -> tuple[str, ...]:
    """Sines and cosines [T, 1, d/2], as ``numerics.sin_cos_phase``; the phase modulo one turn is in int64."""
    turns = nodes.op("Mul", nodes.unsqueeze(at, 1), nodes.i64(rope_frequencies(width, theta).astype(np.int64)))
    # phase + 1/8 turn, modulo one turn: the quadrant is its whole number of quarters, the rest is centred on 0
    shifted = nodes.op("Mod", nodes.op("Add", turns, nodes.i64(1 << 29)), nodes.i64(1 << 32))
    quadrant = nodes.op("Div", shifted, nodes.i64(1 << 30))
    rest = nodes.op("Sub", nodes.op("Mod", shifted, nodes.i64(1 << 30)), nodes.i64(1 << 29))
    t = nodes.op("Mul", nodes.to_float(rest), nodes.f32(numerics.PHASE_TO_RADIANS))
    sine, cosine = call(nodes, "sine", t), call(nodes, "cosine", t)
    odd = nodes.op("Equal", nodes.op("Mod", quadrant, nodes.i64(2)), nodes.i64(1))
    tables = ([1.0, 1.0, -1.0, -1.0], [1.0, -1.0, -1.0, 1.0])  # sign of the sine, of the cosine, by quadrant
    signs = [nodes.op("Gather", nodes.f32(np.array(table)), quadrant, axis=0) for table in tables]
    values = nodes.op("Where", odd, cosine, sine), nodes.op("Where", odd, sine, cosine)
    return tuple(nodes.unsqueeze(nodes.op("Mul", value, sign), 1) for value, sign in zip(values, signs, strict=True))


def build_window_attention(context: Context, op: Op) -> tuple[str, ...]:
    """Softmax attention over persistent slots, the token's own slot, and the ring; what is attended to is axis 0."""
    q, k, v, fixed_k, fixed_v, slot, ring_k, ring_v = (context.value(o) for o in op.operands[:8])
    nodes, write = context.nodes, op.operands[9]
    window, capacity = op.integer("window"), int(op.operands[6].type.shape[0])
    persistent, heads, width = (int(d) for d in op.operands[3].type.shape)
    at = positions(context, op, q)
    flag = context.static(write)
    if flag != 0:
        place = nodes.unsqueeze(nodes.op("Mod", at, nodes.i64(capacity)), 1)
        written = [nodes.op("ScatterND", ring, place, new) for ring, new in ((ring_k, k), (ring_v, v))]
        if flag is None:
            now = context.flag(write)
            written = [nodes.op("Where", now, new, old) for new, old in zip(written, (ring_k, ring_v), strict=True)]
        ring_k, ring_v = written
    first = nodes.op("Max", nodes.op("Sub", at, nodes.i64(window - 1)), nodes.i64(0))
    seen = nodes.op("Add", first, nodes.i64([[i] for i in range(window)]))  # [window, T]: ascending positions
    valid = nodes.op("LessOrEqual", seen, at)
    index = nodes.op("Mod", seen, nodes.i64(capacity))
    tokens = nodes.extent(q, 0)
    spread = nodes.op("Concat", nodes.i64([persistent]), tokens, nodes.i64([heads, width]), axis=0)

    def attended(fixed: str, ring: str) -> str:
        parts = [nodes.op("Expand", nodes.unsqueeze(fixed, 1), spread)] if persistent else []
        parts += [nodes.unsqueeze(slot, 0), nodes.op("Gather", ring, index, axis=0)]
        return nodes.op("Concat", *parts, axis=0)  # [L, T, H, d]

    length = persistent + 1 + window
    sums = nodes.lanes8_sum(nodes.op("Mul", q, attended(fixed_k, ring_k)), width)
    scores = nodes.op("Mul", nodes.reshape(sums, length, -1, heads), nodes.f32(op.number("scale")))
    missing = nodes.unsqueeze(nodes.op("Not", valid), 2)
    tail = nodes.slice(scores, length - window, length, 0)
    tail = nodes.op("Where", missing, nodes.f32(LEAST), tail)
    scores = nodes.op("Concat", nodes.slice(scores, 0, length - window, 0), tail, axis=0)
    largest = nodes.op("ReduceMax", scores, nodes.i64([0]), keepdims=1)
    weights = call(nodes, "exp", nodes.op("Sub", scores, largest))  # exactly 0 where masked
    total = nodes.lanes8_sum_first(weights, length, 3)
    values = nodes.op("Mul", nodes.unsqueeze(weights, 3), attended(fixed_v, ring_v))
    return nodes.op("Div", nodes.sum_first(values), nodes.unsqueeze(total, 2)), ring_k, ring_v


TRANSLATORS: Mapping[str, Translate] = {"rope": build_rope, "window_attention": build_window_attention}
