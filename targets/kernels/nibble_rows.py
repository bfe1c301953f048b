"""Rows of a cache of codes of 4 bits, two in a byte: how they are made, and the scales of several of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.compiler.ir.ops.cached_rows import CODE_BLOCK, LARGEST_NIBBLE, bytes_of_nibbles, spans
from chimerac.compiler.ir.ops.definition import blocks
from chimerac.compiler.ir.ops.rotations import scale_of
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.cached_rows import AHEAD, ask_ahead, scale_bits
from chimerac.targets.kernels.halves import decode
from chimerac.targets.kernels.tensorir import (
    Expr,
    KernelBuilder,
    Memory,
    constant,
    integer,
    reinterpret,
    shuffle,
    splat,
    strips,
    with_lanes,
)
from chimerac.targets.kernels.vectors import pieces
from chimerac.targets.kernels.walsh_hadamard import combined

Place = Callable[[Expr], Expr]  #: of a row that is taken, in a cache of all heads


def rotate(b: KernelBuilder, rows: Memory, start: Expr, width: int, to: Memory, place: Expr) -> None:
    """``rotated`` of a row that begins there; ``to`` may be the same memory."""
    for begin, end, size in spans(width):
        with b.loop((end - begin) // size) as i:
            at, value, half = b.let(i * size + begin), b.let(rows.load(start + (i * size + begin), size)), 1
            while half < size:
                value = combined(b, value, size, half)
                half *= 2
            ops = TirOps(b, size)
            b.store(to, place + at, ops.mul(value, ops.f32(float(scale_of(size)))))


@dataclass(frozen=True)
class NibbleRows:
    """A cache of rows of ``width`` numbers as bytes, and their scales."""

    b: KernelBuilder
    cache: Memory
    scales: Memory
    width: int

    @property
    def blocks(self) -> int:
        """Of a row, each with a scale."""
        return blocks(self.width, CODE_BLOCK)

    @property
    def bytes(self) -> int:
        """Of a row."""
        return bytes_of_nibbles(self.width)

    def keep(self, row: Expr, new: Memory, start: Expr) -> None:
        """Put the numbers that begin there into a row."""
        b = self.b
        codes, turned = b.local("int8", 2 * self.bytes), b.local("float32", self.width)
        rotate(b, new, start, self.width, turned, integer(0))
        strips(b, 2 * self.bytes, lambda at, lanes: b.store(codes, at, constant(0, with_lanes("int8", lanes))), 32)
        first = b.let(row * self.blocks)
        whole, rest = divmod(self.width, CODE_BLOCK)
        if whole:
            with b.loop(whole) as block:
                begin = b.let(block * CODE_BLOCK)
                self._code(turned, begin, CODE_BLOCK, codes, first + block)
        if rest:
            begin = integer(whole * CODE_BLOCK)
            self._code(turned, begin, rest, codes, first + whole)
        place = b.let(row * self.bytes)
        with b.loop(self.bytes // CODE_BLOCK) as pair:
            low, high = (
                b.let(reinterpret(codes.load((2 * pair + half) * CODE_BLOCK, CODE_BLOCK), "uint8x32"))
                for half in (0, 1)
            )
            four = constant(4, "uint8x32")
            low = tirx.bitwise_and(low, constant(15, "uint8x32"))
            b.store(self.cache, place + pair * CODE_BLOCK, tirx.bitwise_or(low, tirx.shift_left(high, four)))

    def _code(self, row: Memory, start: Expr, extent: int, codes: Memory, scale_place: Expr) -> None:
        """The codes of a block of a row, at the same place, and its scale."""
        b, scalar = self.b, TirOps(self.b, 1)
        high, low = self._ends(row, start, extent)
        negated = scalar.sub(scalar.f32(0.0), low)
        size = scale_bits(b, numerics.maximum(scalar, high, negated), float(LARGEST_NIBBLE))
        sign = b.hold(tirx.Select(scalar.greater(high, negated), constant(0x8000, "uint16"), constant(0, "uint16")))
        bits = b.let(tirx.bitwise_or(size, sign))
        b.store(self.scales, scale_place, bits)
        scale = decode(b, bits, 1)

        def code(at: Expr, lanes: int) -> None:
            ops = TirOps(b, lanes)
            found = ops.round_even(ops.div(b.let(row.load(start + at, lanes)), splat(scale, lanes)))
            found = numerics.maximum(ops, found, ops.f32(float(-LARGEST_NIBBLE)))
            found = numerics.minimum(ops, found, ops.f32(float(LARGEST_NIBBLE - 1)))
            b.store(codes, start + at, tirx.Cast(with_lanes("int8", lanes), ops.to_int(found)))

        strips(b, extent, code)

    def _ends(self, row: Memory, start: Expr, extent: int) -> tuple[Expr, Expr]:
        """The largest of some numbers and 0, and the smallest, but for what is no number."""
        b, scalar = self.b, TirOps(self.b, 1)
        found = []
        for pick in (numerics.maximum, numerics.minimum):
            ends = b.local("float32", 8)
            b.store(ends, 0, constant(0.0, "float32x8"))

            def some(at: Expr, lanes: int, pick: Callable[..., Expr] = pick, ends: Memory = ends) -> None:
                b.store(ends, 0, pick(TirOps(b, lanes), b.let(row.load(start + at, lanes)), b.let(ends.load(0, lanes))))

            strips(b, extent, some)
            lanes = [b.let(ends.load(i)) for i in range(8)]
            while len(lanes) > 1:
                lanes = [pick(scalar, x, y) for x, y in zip(lanes[::2], lanes[1::2], strict=True)]
            found += lanes
        return found[0], found[1]


class Taken:
    """Scales of some rows that are taken from a cache, those of a block after one another."""

    def __init__(self, cache: NibbleRows, rows: int) -> None:
        self.b, self.cache, self.rows = cache.b, cache, rows
        self.lanes = 16 if rows % 16 == 0 else 8
        self.bits = self.b.local("uint16", rows * cache.blocks)
        self.scales = self.b.local("float32", rows * cache.blocks)

    def take(self, place: Place, each: Callable[[Expr, Expr], None]) -> None:
        """Take the rows at these places; ``each`` is told which one, and where its bytes begin."""
        b, cache = self.b, self.cache
        with b.loop(self.rows) as r:
            row = b.let(place(r))
            start = b.let(row * cache.bytes)
            ask_ahead(b, cache.cache, start, cache.bytes)
            each(r, start)
            scale = b.let(row * cache.blocks)
            if b.isa.prefetch_bytes:
                b.prefetch(cache.scales, b.let(scale + AHEAD // cache.bytes * cache.blocks))
            for at, lanes in pieces(cache.blocks, 8):
                b.store(self.bits, r * cache.blocks + at, cache.scales.load(scale + at, lanes))
        # later than their parts were stored, for which processors would wait
        lanes = self.lanes
        for first in range(0, self.rows, lanes):
            starts = range(first * cache.blocks, (first + lanes) * cache.blocks, lanes)
            rows = [decode(b, b.let(self.bits.load(at, lanes)), lanes) for at in starts]
            for block in range(cache.blocks):
                own = shuffle(rows, range(block, lanes * cache.blocks, cache.blocks))
                b.store(self.scales, block * self.rows + first, b.let(own))

    def of(self, block: Expr, at: int, lanes: int) -> Expr:
        """Scales of a block of the rows from ``at`` on."""
        return self.b.let(self.scales.load(block * self.rows + at, lanes))
