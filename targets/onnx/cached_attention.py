"""Attention with a cache: a ``Loop`` over the chunks of rows that the tokens of a call see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto

from chimerac.compiler.ir.context import ATTENTION
from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops.cached_attention import CHUNK, LEAST, edge_of, slopes_of
from chimerac.compiler.ir.ops.cached_rows import CODE_BLOCK, LARGEST_HALF, LEAST_SCALE
from chimerac.compiler.ir.ops.definition import blocks
from chimerac.compiler.ir.types import TensorType
from chimerac.targets.onnx.context import Context, Translate
from chimerac.targets.onnx.functions import call
from chimerac.targets.onnx.graph import Nodes, tensor, untyped
from chimerac.targets.onnx.nibbles import Nibbles

MINUS_INFINITY = np.float32(-np.inf)


def build_cached_attention(context: Context, op: Op) -> tuple[str, ...]:
    """The caches with the new rows, and what the tokens see of them; G heads of the cache have g query heads each."""
    nodes = context.nodes
    q, k, v = (context.value(o) for o in op.operands[:3])
    start, tokens = context.index(op.operands[5]), nodes.extent(q, 0)
    at = nodes.cached(("positions", start, tokens), lambda: (nodes.op("Add", nodes.arange(tokens), start),))[0]
    kept, rows = (int(d) for d in op.operands[3].type.shape[:2])
    held = [_Rows.of(context, op, *places) for places in ((3, 1, 6), (4, 2, 7))]
    keys, values = (one.keep(nodes, new, at, rows) for one, new in zip(held, (k, v), strict=True))
    window = op.integer("window") or rows
    first = nodes.op("Max", nodes.op("Sub", start, nodes.i64(window - 1)), nodes.i64(0))
    first = nodes.op("Div", first, nodes.i64(CHUNK))
    last = nodes.op("Sub", nodes.op("Add", start, nodes.op("Squeeze", tokens)), nodes.i64(1))
    chunks = nodes.op("Add", nodes.op("Sub", nodes.op("Div", last, nodes.i64(CHUNK)), first), nodes.i64(1))
    heads, width, value_width = (int(op.operands[i].type.shape[axis]) for i, axis in ((0, 1), (0, 2), (2, 2)))
    nibbles = keys.nibbles
    if nibbles is None:
        queries = nodes.reshape(q, -1, kept, heads // kept, 1, width), ""
    else:
        queries = nibbles.query(nodes, q, kept, heads // kept)

    seen = _Seen(op, keys, queries, at, first, (heads, width, rows, window))
    begin = [
        nodes.op("Expand", nodes.f32(value), nodes.op("Concat", tokens, nodes.i64([heads, size]), axis=0))
        for value, size in ((LEAST, 1), (0.0, 1), (0.0, value_width))
    ]
    edge = edge_of(op.attributes)
    if edge is not None:
        begin[0] = _largest(nodes, seen, chunks, begin[0])
    body = nodes.subgraph()
    chunk, going, top, total, out = (body.pool.fresh(n) for n in ("chunk", "going", "top", "total", "sums"))
    scores, valid, place = seen.scores(body, chunk)
    highest = body.op("Max", top, body.op("ReduceMax", scores, body.i64([2]), keepdims=1))
    below = body.op("Sub", scores, highest)
    weights = call(body, "exp", below)
    fading = call(body, "exp", body.op("Sub", top, highest))
    whole = body.reshape(body.lanes8_sum(weights, CHUNK), -1, heads, 1)
    whole = body.op("Add", body.op("Mul", total, fading), whole)
    if edge is not None:
        weights = body.op("Where", body.op("Greater", below, body.f32(edge)), weights, body.f32(0.0))
    before = body.op("Mul", out, fading)
    if values.nibbles is None:
        weights = body.reshape(body.transpose(weights, 2, 0, 1), CHUNK, -1, kept, heads // kept, 1)
        held_values = body.transpose(values.found(body, place), 1, 0, 2)
        added = body.op("Mul", weights, body.unsqueeze(held_values, 1, 3))  # [rows, T, G, g, dv]
        added = body.reshape(added, CHUNK, -1, heads, value_width)
        added = body.op("Where", body.unsqueeze(body.transpose(valid, 2, 0, 1), 3), added, body.f32(0.0))
        summed = body.sum_first(body.op("Concat", body.unsqueeze(before, 0), added, axis=0))
    else:
        codes = values.found_codes(body, place)
        summed = values.nibbles.added(body, before, weights, codes, kept, heads // kept)
    ends = [body.op("Identity", going), highest, whole, summed]
    graph = body.graph(
        "chunk",
        [tensor(chunk, "int64", []), tensor(going, "bool", []), *(untyped(name) for name in (top, total, out))],
        [untyped(name) for name in ends],
    )
    _, total, out = nodes.emit("Loop", chunks, "", *begin, outputs=3, body=graph)
    scales = [one.scales for one in (keys, values) if one.scales is not None]
    y = nodes.op("Div", out, total)
    if values.nibbles is not None:
        y = values.nibbles.rotated(nodes, y, heads)
    return y, keys.cache, values.cache, *scales


@dataclass(frozen=True)
class _Seen:
    """The scores of the queries of a call with the rows that they see.

    Attributes:
        queries: [T, G, g, 1, d]; or codes and scales (``Nibbles.query``).
        at: positions of the tokens; first: the first chunk.
        sizes: heads of queries, d, rows of the cache, the window.
    """

    op: Op
    keys: _Rows
    queries: tuple[str, str]
    at: str
    first: str
    sizes: tuple[int, int, int, int]

    def scores(self, body: Nodes, chunk: str) -> tuple[str, str, str]:
        """Of a chunk, [T, H, rows], -inf where a row is not seen; [T, 1, rows], whether it is; places in the cache."""
        heads, width, rows, window = self.sizes
        base = body.op("Mul", body.op("Add", self.first, chunk), body.i64(CHUNK))
        positions = body.op("Add", body.i64(np.arange(CHUNK)), base)
        place = body.op("Mod", positions, body.i64(rows))
        ahead = body.op("Sub", body.unsqueeze(self.at, 1), positions)  # [T, rows]
        valid = body.op("And", body.op("GreaterOrEqual", ahead, body.i64(0)), body.op("Less", ahead, body.i64(window)))
        valid = body.unsqueeze(valid, 1)
        if self.keys.nibbles is None:
            seen = body.unsqueeze(self.keys.found(body, place), 1)  # [G, 1, rows, d]
            sums = body.lanes8_sum(body.op("Mul", self.queries[0], seen), width)
        else:
            sums = self.keys.nibbles.dots(body, self.queries, self.keys.found_codes(body, place))
        scores = body.op("Mul", body.reshape(sums, -1, heads, CHUNK), body.f32(self.op.number("scale")))
        slopes = slopes_of(self.op.attributes)
        if slopes is not None:
            behind = body.unsqueeze(body.to_float(body.op("Neg", ahead)), 1)  # [T, 1, rows]
            scores = body.op("Add", scores, body.op("Mul", body.f32(slopes[:, None]), behind))
        return body.op("Where", valid, scores, body.f32(MINUS_INFINITY)), valid, place


def _largest(nodes: Nodes, seen: _Seen, chunks: str, least: str) -> str:
    """The largest score of each query, [T, H, 1]."""
    body = nodes.subgraph()
    chunk, going, top = (body.pool.fresh(n) for n in ("chunk", "going", "top"))
    scores, _, _ = seen.scores(body, chunk)
    highest = body.op("Max", top, body.op("ReduceMax", scores, body.i64([2]), keepdims=1))
    graph = body.graph(
        "look",
        [tensor(chunk, "int64", []), tensor(going, "bool", []), untyped(top)],
        [untyped(body.op("Identity", going)), untyped(highest)],
    )
    return nodes.emit("Loop", chunks, "", least, body=graph)[0]


@dataclass(frozen=True)
class _Rows:
    """A cache [G, R, d] of floats, or of codes with scales [G, R, blocks]; [G, R, bytes] of codes of 4 bits."""

    cache: str
    type: TensorType
    scales: str | None
    width: int

    @staticmethod
    def of(context: Context, op: Op, cache: int, new: int, scales: int) -> _Rows:
        """By the places of its operands, and of that of its new rows."""
        held, *more = (op.operands[i] for i in (cache, scales) if i < len(op.operands))
        width = int(op.operands[new].type.shape[2])
        return _Rows(context.value(held), held.type, context.value(more[0]) if more else None, width)

    @property
    def nibbles(self) -> Nibbles | None:
        """How codes of 4 bits are computed with; None where there are others."""
        return Nibbles(self.width) if self.type.dtype == "u8" else None

    def keep(self, nodes: Nodes, new: str, at: str, rows: int) -> _Rows:
        """With the rows [T, G, d] of tokens at these positions."""
        place = nodes.unsqueeze(nodes.op("Mod", at, nodes.i64(rows)), 0, 2)
        if self.scales is not None:
            codes, scales = (
                self.nibbles.coded(nodes, new, int(self.type.shape[0])) if self.nibbles else self._coded(nodes, new)
            )
            return replace(
                self, cache=_put(nodes, self.cache, codes, place), scales=_put(nodes, self.scales, scales, place)
            )
        if self.type.dtype == "f16":
            bounded = nodes.op("Clip", new, nodes.f32(-LARGEST_HALF), nodes.f32(LARGEST_HALF))
            new = nodes.op("Cast", bounded, to=TensorProto.FLOAT16)
        return replace(self, cache=_put(nodes, self.cache, new, place))

    def found(self, nodes: Nodes, place: str) -> str:
        """Rows as float32 [G, rows, d]."""
        found = nodes.op("Gather", self.cache, place, axis=1)
        if self.scales is None:
            return nodes.to_float(found) if self.type.dtype == "f16" else found
        scales = nodes.to_float(nodes.op("Gather", self.scales, place, axis=1))
        wide = nodes.op("Mul", self._parts(nodes, nodes.to_float(found)), nodes.unsqueeze(scales, 3))
        return self._whole(nodes, wide)

    def found_codes(self, nodes: Nodes, place: str) -> tuple[str, str]:
        """Of rows: codes of 4 bits f32 [G, rows, blocks, CODE_BLOCK], scales f32 [G, rows, blocks]."""
        assert self.nibbles is not None
        assert self.scales is not None
        codes = self.nibbles.codes(nodes, nodes.op("Gather", self.cache, place, axis=1))
        return codes, nodes.to_float(nodes.op("Gather", self.scales, place, axis=1))

    def _coded(self, nodes: Nodes, new: str) -> tuple[str, str]:
        """``coded`` of rows [T, G, d]."""
        parts = self._parts(nodes, new)
        largest = nodes.op("ReduceMax", nodes.op("Abs", parts), nodes.i64([3]), keepdims=1)
        scales = nodes.op("Div", largest, nodes.f32(127.0))
        scales = nodes.op("Clip", scales, nodes.f32(LEAST_SCALE), nodes.f32(LARGEST_HALF))
        scales = nodes.op("Cast", scales, to=TensorProto.FLOAT16)
        rounded = nodes.op("Round", nodes.op("Div", parts, nodes.to_float(scales)))
        codes = nodes.op("Clip", rounded, nodes.f32(-127.0), nodes.f32(127.0))
        codes = nodes.op("Cast", self._whole(nodes, codes), to=TensorProto.INT8)
        return codes, nodes.op("Squeeze", scales, nodes.i64([3]))

    def _parts(self, nodes: Nodes, rows: str) -> str:
        """[A, B, d] -> [A, B, blocks, CODE_BLOCK], with zeros beyond d."""
        padded = nodes.pad_last(rows, 3, -self.width % CODE_BLOCK)
        return nodes.reshape(padded, 0, 0, -1, CODE_BLOCK)

    def _whole(self, nodes: Nodes, parts: str) -> str:
        """The inverse of ``_parts``."""
        rows = nodes.reshape(parts, 0, 0, blocks(self.width, CODE_BLOCK) * CODE_BLOCK)
        return nodes.slice(rows, 0, self.width, 2) if self.width % CODE_BLOCK else rows


def _put(nodes: Nodes, cache: str, new: str, place: str) -> str:
    """A cache [G, R, n] with the rows [T, G, n] at these places [1, T, 1]."""
    new = nodes.transpose(new, 1, 0, 2)
    return nodes.op("ScatterElements", cache, nodes.op("Expand", place, nodes.op("Shape", new)), new, axis=1)


TRANSLATORS: Mapping[str, Translate] = dict.fromkeys(ATTENTION, build_cached_attention)
