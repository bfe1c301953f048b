"""Kernel of window_attention: a block of heads at a time, its scores in local arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.compiler.ir.ops.attention import heads_together
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Build, KernelBuilder, Memory, integer, shuffle, splat, strips
from chimerac.targets.kernels.vectors import float_lanes, lanes8_tree, panels, pieces, row_sums

MINUS_INFINITY = -0x00800000  #: bits of the float32
ROWS_PER_VISIT = 16  #: value rows that one head adds before the next head of the block does


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
        self.tokens = b.extent(spec.operands[0].shape[:1])
        self.heads, self.width = (int(d) for d in spec.operands[0].shape[1:])
        self.persistent = int(spec.operands[3].shape[0])
        self.capacity = int(spec.operands[6].shape[0])
        self.window = spec.integer("window")
        self.scale = float(np.float32(spec.number("scale")))
        self.rows = float_lanes(isa)
        # rows of the ring are read a block of heads wide, and each head needs an array of scores
        self.block = heads_together(self.heads, self.width)
        # behind the last score there is room for the rest of a group of rows and for filling up to 8 lanes
        self.stride = self.persistent + 1 + self.window + 8
        self.scores = b.local("float32", self.block * self.stride)
        self.totals = b.local("float32", self.block)
        self.sums = b.local("float32", self.block * self.width)

    def build(self) -> Any:
        b = self.b
        with b.units() as block:
            first_head = b.let(block * self.block)
            with b.when(tirx.NE(self.write, integer(0))), b.loop(self.tokens) as t:
                self._remember(t, first_head)
            with b.loop(self.tokens) as t:
                self._attend(t, first_head)
        return b.finish()

    def _remember(self, t: Any, first_head: Any) -> None:
        """Put a token's keys and values of a block of heads into the ring."""
        b, row, shift = self.b, self.heads * self.width, first_head * self.width
        place = b.let(tirx.truncmod(self.position + t, integer(self.capacity)) * row + shift)
        own = b.let(t * row + shift)

        def copy(start: Any, lanes: int) -> None:
            b.store(self.ring_k, place + start, self.k.load(own + start, lanes))
            b.store(self.ring_v, place + start, self.v.load(own + start, lanes))

        strips(b, self.block * self.width, copy, float_lanes(self.isa))

    def _attend(self, t: Any, first_head: Any) -> None:
        """Results of a token for a block of heads."""
        b, persistent = self.b, self.persistent
        position = self.position + t
        seen = b.let(tirx.Min(position + 1, integer(self.window)))
        first = b.let(tirx.truncmod(position + 1 - seen, integer(self.capacity)))
        own = b.let((t * self.heads + first_head) * self.width)  #: the token's row in q, slot and the result

        def ring_row(j: Any) -> Any:
            place = b.let(first + j)
            return tirx.Select(place >= self.capacity, place - self.capacity, place)

        def place_in(row: Callable[[Any], Any]) -> Callable[[Any], Any]:
            return lambda j: (row(j) * self.heads + first_head) * self.width

        segments = [  # keys, values, rows, where row j begins, place among the scores
            (self.slot, self.slot, 1, lambda j: own, persistent),
            (self.ring_k, self.ring_v, seen, place_in(ring_row), persistent + 1),
        ]
        if persistent:
            whole = (self.persistent_k, self.persistent_v, persistent, place_in(lambda j: j), 0)
            segments.insert(0, whole)
        for keys, _, count, place, at in segments:
            self._scores(own, keys, count, place, at)
        with b.loop(self.block) as head:
            self._softmax(head, seen + (persistent + 1))
        strips(b, self.block * self.width, self._clear, float_lanes(self.isa))
        for _, values, count, place, at in segments:
            self._mix(values, count, place, at)
        with b.loop(self.block) as head:
            self._store(head, own)

    def _scores(self, own: Any, keys: Memory, count: Any, place: Callable[[Any], Any], at: int) -> None:
        """Scaled scores of ``count`` rows; a last group repeats the last row, and what follows overwrites it."""
        b = self.b
        rows = 1 if isinstance(count, int) and count == 1 else self.rows
        groups = tirx.truncdiv(integer(count) + (rows - 1), integer(rows)) if rows > 1 else 1
        with b.loop(groups) as group:
            begin = b.let(group * rows)
            places = [b.let(place(tirx.Min(begin + j, integer(count) - 1))) for j in range(rows)]
            with b.loop(self.block) as head:
                shift = b.let(head * self.width)

                def terms(start: Any, lanes: int, shift: Any = shift) -> list[Any]:
                    q = b.let(self.q.load(own + shift + start, lanes))
                    ops = TirOps(b, lanes)
                    return [ops.mul(q, keys.load(row + shift + start, lanes)) for row in places]

                ops = TirOps(b, rows)
                scaled = ops.mul(row_sums(b, terms, rows, self.width), ops.f32(self.scale))
                b.store(self.scores, head * self.stride + at + begin, scaled)

    def _softmax(self, head: Any, count: Any) -> None:
        """Scores of a head to weights ``exp(score - largest)``, and the sum of these."""
        b, scores = self.b, self.scores
        ops, scalar = TirOps(b, 8), TirOps(b, 1)
        begin = b.let(head * self.stride)
        # minus infinity weighs +0, which is how the fixed-order sum fills its lanes
        b.store(scores, begin + count, ops.from_bits(ops.i32(MINUS_INFINITY)))
        largest = b.cell(ops.from_bits(ops.i32(MINUS_INFINITY)))
        groups = b.let(tirx.truncdiv(count + 7, integer(8)))
        with b.loop(groups) as i:
            largest.set(numerics.maximum(ops, b.let(scores.load(begin + i * 8, 8)), largest.get()))
        top = largest.get()
        highest = b.let(shuffle([top], [0]))
        for lane in range(1, 8):
            highest = numerics.maximum(scalar, b.let(shuffle([top], [lane])), highest)
        total = b.cell(ops.f32(0.0))
        with b.loop(groups) as i:
            weights = numerics.exp(ops, ops.sub(b.let(scores.load(begin + i * 8, 8)), splat(highest, 8)))
            b.store(scores, begin + i * 8, weights)
            total.set(ops.add(total.get(), weights))
        b.store(self.totals, head, lanes8_tree(b, [total.get()]))

    def _clear(self, start: Any, lanes: int) -> None:
        self.b.store(self.sums, start, TirOps(self.b, lanes).f32(0.0))

    def _mix(self, values: Memory, count: Any, place: Callable[[Any], Any], at: int) -> None:
        """Add the weighted rows, in order, to the sums of every head."""
        b = self.b
        visits = tirx.truncdiv(integer(count) + (ROWS_PER_VISIT - 1), integer(ROWS_PER_VISIT))
        with b.loop(1 if isinstance(count, int) and count == 1 else visits) as visit, b.loop(self.block) as head:
            begin = b.let(visit * ROWS_PER_VISIT)
            shift = b.let(head * self.width)
            for panel in panels(self.width, float_lanes(self.isa)):
                cells = [b.cell(self.sums.load(shift + start, lanes)) for start, lanes in panel]
                with b.loop(tirx.Min(integer(count) - begin, integer(ROWS_PER_VISIT))) as i:
                    row = b.let(place(begin + i) + shift)
                    weight = b.let(self.scores.load(head * self.stride + (at + begin + i)))
                    for cell, (start, lanes) in zip(cells, panel, strict=True):
                        ops = TirOps(b, lanes)
                        cell.set(ops.add(cell.get(), ops.mul(splat(weight, lanes), values.load(row + start, lanes))))
                for cell, (start, _) in zip(cells, panel, strict=True):
                    b.store(self.sums, shift + start, cell.get())

    def _store(self, head: Any, own: Any) -> None:
        b = self.b
        total = b.let(self.totals.load(head))
        shift = b.let(head * self.width)
        for start, lanes in pieces(self.width, float_lanes(self.isa)):
            value = TirOps(b, lanes).div(self.sums.load(shift + start, lanes), splat(total, lanes))
            b.store(self.out, own + shift + start, value)


KERNELS: Mapping[str, Build] = {"window_attention": build}
