"""Kernel of window_attention: scores of one head in a local array, keys a few rows at a time, the ring in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.vectors import float_lanes, lanes8_tree, panels, row_sums
from chimerac.targets.tensorir import KernelBuilder, Memory, TirOps, constant, shuffle, splat, strips, with_lanes

MINUS_INFINITY = -0x00800000  #: bits of the float32


def build(spec: KernelSpec, isa: Isa) -> Any:
    """Softmax attention of each token over, in this order: P persistent rows, its slot, the last ``window`` positions.

    q, k, v, slot[T,H,d]; persistent_k, persistent_v[P,H,d]; ring_k, ring_v[C,H,d] with position p in row p mod C. The
    new keys and values enter the ring first, if ``write``; C >= window + tokens, so none of them is in the way.
    """
    return _Attention(spec, isa).build()


class _Attention:
    def __init__(self, spec: KernelSpec, isa: Isa) -> None:
        self.isa = isa
        self.b = b = KernelBuilder(spec, isa)
        self.q, self.k, self.v, self.persistent_k, self.persistent_v, self.slot = b.operands[:6]
        self.ring_k, self.ring_v, self.position, self.write = b.operands[6:]
        self.out = b.results[0]
        self.heads, self.width = (int(d) for d in spec.operands[0].shape[1:])
        self.persistent = int(spec.operands[3].shape[0])
        self.capacity = int(spec.operands[6].shape[0])
        self.window = spec.integer("window")
        self.scale = float(np.float32(spec.number("scale")))
        self.rows = float_lanes(isa)
        # behind the last score there is room for the rest of a group of rows and for filling up to 8 lanes
        self.scores = b.local("float32", self.persistent + 1 + self.window + 8)

    def build(self) -> Any:
        b = self.b
        with (
            b.when(tirx.NE(self.write, tirx.IntImm("int32", 0))),
            b.loop(b.extent(self.b.spec.operands[0].shape[:1])) as t,
        ):
            self._remember(t)
        with b.loop(b.extent(self.b.spec.operands[0].shape[:1])) as t:
            position = self.position + t
            seen = b.let(tirx.Min(position + 1, tirx.IntImm("int32", self.window)))
            first = b.let(tirx.truncmod(position + 1 - seen, tirx.IntImm("int32", self.capacity)))
            with b.loop(self.heads) as head:
                self._head(t, head, seen, first)
        return b.finish()

    def _remember(self, t: Any) -> None:
        b, row = self.b, self.heads * self.width
        place = b.let(tirx.truncmod(self.position + t, tirx.IntImm("int32", self.capacity)) * row)

        def copy(start: Any, lanes: int) -> None:
            b.store(self.ring_k, place + start, b.let(self.k.load(t * row + start, lanes)))
            b.store(self.ring_v, place + start, b.let(self.v.load(t * row + start, lanes)))

        strips(b, row, copy, float_lanes(self.isa))

    def _head(self, t: Any, head: Any, seen: Any, first: Any) -> None:
        b, slot = self.b, self.persistent
        query = b.let((t * self.heads + head) * self.width)

        def ring_row(j: Any) -> Any:
            place = b.let(first + j)
            return tirx.Select(place >= self.capacity, place - self.capacity, place)

        if self.persistent:
            self._scores(query, head, self.persistent_k, 0, self.persistent, lambda j: j)
        b.store(self.scores, slot, self._dot(query, self.slot, [query]))
        self._scores(query, head, self.ring_k, slot + 1, seen, ring_row)
        total = self._softmax(seen + slot + 1)
        self._mix(query, head, ring_row, seen, total)

    def _dot(self, query: Any, keys: Memory, places: list[Any]) -> Any:
        """Scaled scores of the key rows at these places, one lane each."""
        b = self.b

        def terms(start: Any, lanes: int) -> list[Any]:
            q = b.let(self.q.load(query + start, lanes))
            return [TirOps(b, lanes).mul(q, b.let(keys.load(place + start, lanes))) for place in places]

        ops = TirOps(b, len(places))
        return ops.mul(row_sums(b, terms, len(places), self.width), ops.f32(self.scale))

    def _scores(self, query: Any, head: Any, keys: Memory, at: int, count: Any, row: Callable[[Any], Any]) -> None:
        """Scores ``at`` and on, of ``count`` rows of ``keys``; the last group repeats the last row, for no reader."""
        b = self.b
        with b.loop(tirx.truncdiv(count + (self.rows - 1), self.rows)) as group:
            begin = b.let(group * self.rows)
            last = count - 1
            places = [
                b.let((row(tirx.Min(begin + j, last)) * self.heads + head) * self.width) for j in range(self.rows)
            ]
            b.store(self.scores, begin + at, self._dot(query, keys, places))

    def _softmax(self, count: Any) -> Any:
        """Scores to weights ``exp(score - largest)``; the sum of them."""
        b, scores = self.b, self.scores
        ops, scalar = TirOps(b, 8), TirOps(b, 1)
        # minus infinity weighs +0, which is how the fixed-order sum fills its lanes
        b.store(scores, count, ops.from_bits(ops.i32(MINUS_INFINITY)))
        largest = b.cell(ops.from_bits(ops.i32(MINUS_INFINITY)))
        groups = b.let(tirx.truncdiv(count + 7, 8))
        with b.loop(groups) as i:
            largest.set(numerics.maximum(ops, b.let(scores.load(i * 8, 8)), largest.get()))
        top = largest.get()
        highest = b.let(shuffle([top], [0]))
        for lane in range(1, 8):
            highest = numerics.maximum(scalar, b.let(shuffle([top], [lane])), highest)
        total = b.cell(constant(0.0, "float32x8"))
        with b.loop(groups) as i:
            weights = numerics.exp(ops, ops.sub(b.let(scores.load(i * 8, 8)), splat(highest, 8)))
            b.store(scores, i * 8, weights)
            total.set(ops.add(total.get(), weights))
        return lanes8_tree(b, [total.get()])

    def _mix(self, query: Any, head: Any, ring_row: Callable[[Any], Any], seen: Any, total: Any) -> None:
        """Weighted sum of the value rows in order, over the sum of the weights."""
        b, slot = self.b, self.persistent
        for panel in panels(self.width, self.isa):
            sums = [b.cell(constant(0.0, with_lanes("float32", lanes))) for _, lanes in panel]

            def add(index: Any, values: Memory, place: Any, panel: Any = panel, sums: Any = sums) -> None:
                weight = b.let(self.scores.load(index))
                for cell, (start, lanes) in zip(sums, panel, strict=True):
                    ops = TirOps(b, lanes)
                    value = b.let(values.load(place + start, lanes))
                    cell.set(ops.add(cell.get(), ops.mul(splat(weight, lanes), value)))

            if self.persistent:
                with b.loop(self.persistent) as j:
                    add(j, self.persistent_v, b.let((j * self.heads + head) * self.width))
            add(slot, self.slot, query)
            with b.loop(seen) as j:
                add(slot + 1 + j, self.ring_v, b.let((ring_row(j) * self.heads + head) * self.width))
            for cell, (start, lanes) in zip(sums, panel, strict=True):
                b.store(self.out, query + start, TirOps(b, lanes).div(cell.get(), splat(total, lanes)))
