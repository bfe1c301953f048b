"""Weighted sums of values that are codes of 4 bits: of integers, with weights that become codes of 8 bits."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.compiler.ir.ops.cached_attention import GROUP, LEAST_TOP
from chimerac.compiler.ir.ops.cached_rows import CODE_BLOCK
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.nibble_rows import NibbleRows, Place, Taken
from chimerac.targets.kernels.tensorir import (
    Cell,
    Expr,
    Memory,
    constant,
    integer,
    lanes_of,
    reinterpret,
    shuffle,
    splat,
    type_of,
    with_lanes,
)
from chimerac.targets.kernels.vectors import ACCUMULATORS, pieces

LARGEST = 127.0  #: code of a weight


class Weights:
    """The weights of a query for ``GROUP`` rows that are taken, as codes for each block.

    Attributes:
        steps: what sums of products of the codes are to be multiplied by.
    """

    def __init__(self, taken: Taken, lanes: int) -> None:
        self.b, self.taken, self.lanes = taken.b, taken, max(8, lanes)
        self.steps = self.b.local("float32", taken.cache.blocks)

    def code(self, scores: Memory, own: Expr, rows: tuple[Expr, Expr], put: Callable[[Expr, Expr], None]) -> None:
        """Code the weights of the rows, which begin there, times the scales of each block.

        Args:
            rows: that are seen, the first one and how many; the weights of all others become 0.
            put: takes int32 codes and their place: ``GROUP`` of the first block, then of the next.
        """
        b, (first, count) = self.b, rows
        for begin, size in ((integer(0), first), (b.let(first + count), b.let(integer(GROUP) - first - count))):
            with b.loop(size) as j:
                b.store(scores, own + begin + j, TirOps(b, 1).f32(0.0))
        with b.loop(self.taken.cache.blocks) as block:
            self._code(scores, own, block, put)

    def _code(self, scores: Memory, own: Expr, block: Expr, put: Callable[[Expr, Expr], None]) -> None:
        b, lanes = self.b, self.lanes
        ops, scalar = TirOps(b, lanes), TirOps(b, 1)
        starts = range(0, GROUP, lanes)
        scaled = [ops.mul(b.let(scores.load(own + at, lanes)), self.taken.of(block, at, lanes)) for at in starts]
        largest, width = ops.f32(LEAST_TOP), lanes
        for some in scaled:
            largest = numerics.maximum(ops, numerics.absolute(ops, some), largest)
        while width > 1:
            width //= 2
            halves = [b.let(shuffle([largest], range(at, at + width))) for at in (0, width)]
            largest = numerics.maximum(TirOps(b, width), *halves)
        b.store(self.steps, block, scalar.div(largest, scalar.f32(LARGEST)))
        factor = splat(scalar.div(scalar.f32(LARGEST), largest), lanes)
        for at, some in zip(starts, scaled, strict=True):
            # no product is larger than 127 when rounded, but it may be no number
            found = numerics.maximum(ops, ops.round_even(ops.mul(some, factor)), ops.f32(-LARGEST))
            put(block * GROUP + at, ops.to_int(found))

    def add(self, block: int, sums: Expr, out: Memory, place: Expr) -> None:
        """Add integer sums of some channels of a block to what lies there."""
        b, lanes = self.b, lanes_of(type_of(sums))[1]
        ops, place = TirOps(b, lanes), b.let(place)
        product = ops.mul(ops.to_float(sums), splat(b.let(self.steps.load(block)), lanes))
        b.store(out, place, ops.add(b.let(out.load(place, lanes)), product))


class NibbleValues:
    """``GROUP`` rows of values as codes of 16 bits, the even channels of a block before the odd ones."""

    def __init__(self, values: NibbleRows, lanes: int) -> None:
        self.b, self.values, self.lanes = values.b, values, lanes
        b = self.b
        self.width = 2 * values.bytes  #: codes of a row
        self.vector = 2 * lanes  #: of 16 bits
        self.taken = Taken(values, GROUP)
        self.codes = b.aligned("int16", GROUP * self.width, 64)
        self.weights = Weights(self.taken, lanes)
        self.twice = b.local("int32", values.blocks * GROUP)  #: codes of weights, in both halves

    def take(self, place: Place) -> None:
        """Take the rows of values at these places."""
        self.taken.take(place, self._unpack)

    def _unpack(self, r: Expr, start: Expr) -> None:
        b, to = self.b, self.b.let(r * self.width)
        for at in range(0, self.values.bytes, CODE_BLOCK):
            packed = b.let(reinterpret(b.let(self.values.cache.load(start + at, CODE_BLOCK)), "int16x16"))
            for plane in range(4):
                found = packed if plane == 3 else b.let(tirx.shift_left(packed, constant(12 - 4 * plane, "int16x16")))
                odd, block = divmod(plane, 2)
                place = to + (2 * at + block * CODE_BLOCK + odd * 16)
                b.store(self.codes, place, tirx.shift_right(found, constant(12, "int16x16")))

    def add(self, scores: Memory, own: Expr, rows: tuple[Expr, Expr], out: Memory, to: Expr) -> None:
        """Add the rows that a query sees to its sums.

        Args:
            own: where the weights of the rows begin in ``scores``; those of rows that are not seen become 0.
            rows: that are seen: the first one, and how many.
        """
        b, (first, count) = self.b, rows
        ops = TirOps(b, self.weights.lanes)

        def put(place: Expr, code: Expr) -> None:
            b.store(self.twice, place, ops.ior(ops.iand(code, ops.i32(0xFFFF)), ops.ishl(code, 16)))

        self.weights.code(scores, own, rows, put)
        per_block = CODE_BLOCK // self.vector
        at_once = max(1, ACCUMULATORS // per_block)
        for begin in range(0, self.values.blocks, at_once):
            self._add_blocks(range(begin, min(begin + at_once, self.values.blocks)), first, count, out, to)

    def _add_blocks(self, some: range, first: Expr, count: Expr, out: Memory, to: Expr) -> None:
        b, vector = self.b, self.vector
        kind, starts = with_lanes("int16", vector), range(0, CODE_BLOCK, vector)
        cells = [[b.cell(constant(0, kind)) for _ in starts] for _ in some]
        with b.loop(count) as j:
            place = b.let(first + j)
            row = b.let(place * self.width)
            for block, own in zip(some, cells, strict=True):
                weight = b.hold(reinterpret(splat(self.twice.load(block * GROUP + place), vector // 2), kind))
                for cell, at in zip(own, starts, strict=True):
                    codes = self.codes.load(row + (block * CODE_BLOCK + at), vector)
                    cell.set(tirx.Add(cell.get(), b.hold(tirx.Mul(codes, weight))))
        for block, own in zip(some, cells, strict=True):
            self._finish(block, own, out, to)

    def _finish(self, block: int, cells: list[Cell], out: Memory, to: Expr) -> None:
        """Add the sums of a block, which are in the order of its codes, to those of the query."""
        b, begin, sums = self.b, block * CODE_BLOCK, [cell.get() for cell in cells]
        for at, lanes in pieces(min(CODE_BLOCK, self.values.width - begin), self.lanes):
            picked = b.hold(shuffle(sums, [i // 2 + i % 2 * 16 for i in range(at, at + lanes)]))
            self.weights.add(block, b.hold(tirx.Cast(with_lanes("int32", lanes), picked)), out, to + (begin + at))
