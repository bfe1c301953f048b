"""Rows of a cache of keys or values, as a kernel keeps and reads them: float32, float16, or codes with scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.compiler.ir.ops.cached_rows import CODE_BLOCK, LARGEST_HALF, LEAST_SCALE
from chimerac.compiler.ir.ops.definition import blocks
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.halves import decode, encode
from chimerac.targets.kernels.norms import quantise_blocks
from chimerac.targets.kernels.tensorir import Expr, KernelBuilder, Memory, shuffle, splat, strips
from chimerac.targets.kernels.vectors import pieces

LINE = 64  #: bytes that memory is read in
AHEAD = 4096  #: bytes from a row that is read to the one that is asked for


def ask_ahead(b: KernelBuilder, cache: Memory, place: Expr, width: int) -> None:
    """For what will be read soon after a row: processors do not read on by themselves where a page ends."""
    if b.isa.prefetch_bytes:
        size = np.dtype(cache.dtype).itemsize
        for at in range(0, width, LINE // size):
            b.prefetch(cache, b.let(place + (AHEAD // size + at)))


def scale_bits(b: KernelBuilder, largest: Expr, codes: float) -> Expr:
    """The scale that makes the largest magnitude of a block that of the codes, as the bits of fp16."""
    ops = TirOps(b, 1)
    found = numerics.maximum(ops, ops.div(largest, ops.f32(codes)), ops.f32(LEAST_SCALE))
    return encode(b, numerics.minimum(ops, found, ops.f32(LARGEST_HALF)), 1)


@dataclass(frozen=True)
class CacheRows:
    """A cache of rows of ``width`` numbers; ``lanes`` of them are converted at a time.

    Attributes:
        scales: of codes, [.., blocks]; None of floats.
    """

    b: KernelBuilder
    cache: Memory
    scales: Memory | None
    width: int
    lanes: int

    @property
    def plain(self) -> bool:
        """Whether rows are float32, which need no conversion."""
        return self.cache.dtype == "float32"

    def keep(self, row: Expr, new: Memory, start: Expr) -> None:
        """Put the numbers that begin there into a row."""
        b, place = self.b, self.b.let(row * self.width)
        if self.scales is not None:
            self._keep_coded(row, new, start)
            return

        def copy(at: Expr, lanes: int) -> None:
            value = new.load(start + at, lanes)
            if not self.plain:
                ops = TirOps(b, lanes)
                bounded = numerics.minimum(ops, b.let(value), ops.f32(LARGEST_HALF))
                value = encode(b, numerics.maximum(ops, bounded, ops.f32(-LARGEST_HALF)), lanes)
            b.store(self.cache, place + at, value)

        strips(b, self.width, copy, self.lanes)

    def _keep_coded(self, row: Expr, new: Memory, start: Expr) -> None:
        b, scales = self.b, self.scales
        assert scales is not None
        place = b.let(row * blocks(self.width, CODE_BLOCK))

        def scale(block: Expr, largest: Expr) -> Expr:
            bits = scale_bits(b, largest, 127.0)
            b.store(scales, place + block, bits)
            return decode(b, bits, 1)

        def load(at: Expr, lanes: int) -> Expr:
            return new.load(start + at, lanes)

        quantise_blocks(b, load, self.width, CODE_BLOCK, self.cache, b.let(row * self.width), scale)

    def unpack(self, row: Expr, to: Memory, start: Expr, *, spread: bool = False) -> None:
        """The numbers of a row as float32; ``spread``: in eights that are 16 apart, for another row between them."""
        b, place = self.b, self.b.let(row * self.width)
        ask_ahead(b, self.cache, place, self.width)

        def put(at: Expr, lanes: int, values: Expr) -> None:
            if not spread:
                b.store(to, start + at, values)
                return
            values = b.let(values)
            for eight in range(0, lanes, 8):
                b.store(to, start + 2 * (at + eight), b.let(shuffle([values], range(eight, eight + 8))))

        if self.scales is None:

            def convert(at: Expr, lanes: int) -> None:
                found = self.cache.load(place + at, lanes)
                put(at, lanes, found if self.plain else decode(b, found, lanes))

            strips(b, self.width, convert, self.lanes)
            return
        first = b.let(row * blocks(self.width, CODE_BLOCK))
        count = blocks(self.width, CODE_BLOCK)
        scales = b.local("float32", count)  # several are converted at once, and each is read into all lanes
        for block, lanes in pieces(count, self.lanes):
            b.store(scales, block, decode(b, b.let(self.scales.load(first + block, lanes)), lanes))
        for block in range(count):
            scale = b.let(scales.load(block))
            begin = block * CODE_BLOCK
            for at, lanes in pieces(min(CODE_BLOCK, self.width - begin), self.lanes):
                ops = TirOps(b, lanes)
                codes = self.cache.load(place + (begin + at), lanes)
                number = ops.to_float(tirx.Cast("int32" if lanes == 1 else f"int32x{lanes}", codes))
                put(begin + at, lanes, ops.mul(number, splat(scale, lanes)))
