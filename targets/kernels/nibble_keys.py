"""Dot products of queries with keys that are codes of 4 bits: of integers, with queries that become codes of 8 bits."""

from __future__ import annotations

from tvm import tirx

from chimerac.compiler.ir.ops.cached_rows import CODE_BLOCK
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.cached_rows import scale_bits
from chimerac.targets.kernels.halves import decode
from chimerac.targets.kernels.int8_sums import ROWS, block_sums
from chimerac.targets.kernels.nibble_rows import NibbleRows, Place, Taken, rotate
from chimerac.targets.kernels.norms import quantise_blocks
from chimerac.targets.kernels.tensorir import (
    Expr,
    Memory,
    constant,
    integer,
    reinterpret,
    shuffle,
    splat,
    strips,
    with_lanes,
)

WORD = 4  #: codes that an instruction multiplies in a lane
STEP = 16 * WORD  #: bytes of a row that a register of 64 bytes holds
TO_UNSIGNED = -0x77777778  #: as bytes 0x88: turns codes c to c + 8
LOW_HALVES = 0x0F0F0F0F


class NibbleKeys:
    """Some rows of keys and some queries, both as codes with zeros up to a whole block.

    Attributes:
        rows: of keys that are taken at a time. Eight share a query's codes; sixteen, in registers of 64 bytes, are
            turned, so that they are the lanes and a query's codes are repeated.
    """

    def __init__(self, keys: NibbleRows, queries: int, wide: bool) -> None:
        self.b, self.keys, self.wide = keys.b, keys, wide
        b, self.rows = self.b, 16 if wide else ROWS
        self.width = 2 * keys.bytes  #: codes of a row
        self.codes = b.aligned("int8", queries * self.width, 64)
        self.query = b.local("float32", keys.width)
        self.scales = b.local("float32", queries * keys.blocks)
        self.taken = Taken(keys, self.rows)
        self.stride = -(-keys.bytes // STEP) * STEP if wide else self.width  #: bytes of a row that is held
        self.held = b.aligned("int8", self.rows * self.stride, 64)
        self.turned = b.aligned("int32", 2 * self.stride // WORD * self.rows, 64) if wide else None
        self.offsets = b.local("int32", queries * keys.blocks)  #: what c + 8 adds to the sums of a query
        self._clear(self.codes, queries * self.width)
        if wide and self.stride != keys.bytes:
            self._clear(self.held, self.rows * self.stride)

    def _clear(self, memory: Memory, size: int) -> None:
        b = self.b
        strips(b, size, lambda at, lanes: b.store(memory, at, constant(0, with_lanes("int8", lanes))), 32)

    def keep(self, query: Expr, q: Memory, start: Expr) -> None:
        """Code the numbers of q that begin there as a query."""
        b, blocks = self.b, self.keys.blocks
        own, first = b.let(query * self.width), b.let(query * blocks)

        def scale(block: Expr, largest: Expr) -> Expr:
            found = decode(b, scale_bits(b, largest, 127.0), 1)
            b.store(self.scales, first + block, found)
            return found

        def load(at: Expr, lanes: int) -> Expr:
            return self.query.load(at, lanes)

        rotate(b, q, start, self.keys.width, self.query, integer(0))
        quantise_blocks(b, load, self.keys.width, CODE_BLOCK, self.codes, own, scale)
        if not self.wide:
            return
        with b.loop(blocks) as block:
            total = b.cell(constant(0, "int32"))
            with b.loop(CODE_BLOCK) as i:
                code = self.codes.load(own + block * CODE_BLOCK + i)
                total.set(tirx.Add(total.get(), b.hold(tirx.Cast("int32", code))))
            b.store(self.offsets, first + block, tirx.Mul(total.get(), constant(-8, "int32")))

    def take(self, place: Place) -> None:
        """Take the rows of keys at these places."""
        self.taken.take(place, self._hold if self.wide else self._unpack)
        if self.turned is not None:
            for step in range(0, self.stride, STEP):
                self._turn(self.turned, step)

    def _hold(self, r: Expr, start: Expr) -> None:
        b, to = self.b, self.b.let(r * self.stride)

        def copy(at: Expr, lanes: int) -> None:
            found = reinterpret(b.let(self.keys.cache.load(start + at, lanes)), with_lanes("int8", lanes))
            b.store(self.held, to + at, found)

        strips(b, self.keys.bytes, copy, STEP if self.stride == self.keys.bytes else CODE_BLOCK)

    def _unpack(self, r: Expr, start: Expr) -> None:
        b, to = self.b, self.b.let(r * self.width)
        eight, last = constant(8, "int8x32"), constant(15, "int8x32")
        for at in range(0, self.keys.bytes, CODE_BLOCK):
            packed = b.let(self.keys.cache.load(start + at, CODE_BLOCK))
            halves = packed, b.let(tirx.shift_right(packed, constant(4, "uint8x32")))
            for half, found in enumerate(halves):
                code = tirx.bitwise_and(reinterpret(found, "int8x32"), last)
                b.store(self.held, to + (2 * at + half * CODE_BLOCK), tirx.Sub(tirx.bitwise_xor(code, eight), eight))

    def _turn(self, to: Memory, step: int) -> None:
        """Words of 16 rows from a step on, to words of a column after one another, low halves of bytes apart."""
        b = self.b
        flip = constant(TO_UNSIGNED, "int32x16")
        rows = [
            b.hold(tirx.bitwise_xor(reinterpret(self.held.load(r * self.stride + step, STEP), "int32x16"), flip))
            for r in range(16)
        ]

        def merge(u: Expr, v: Expr, *lanes: int) -> Expr:
            """Of each four lanes: 0 to 3 are the first vector's, 4 to 7 the second's."""
            picked = [four + lane % 4 + lane // 4 * 16 for four in range(0, 16, 4) for lane in lanes]
            return b.hold(shuffle([u, v], picked))

        def fours(u: Expr, v: Expr, *which: int) -> Expr:
            """Four groups of four lanes: 0 to 3 are the first vector's, 4 to 7 the second's."""
            return b.hold(shuffle([u, v], [4 * group + lane for group in which for lane in range(4)]))

        twos = [
            [merge(rows[r], rows[r + 1], *lanes) for lanes in ((0, 4, 1, 5), (2, 6, 3, 7))] for r in range(0, 16, 2)
        ]
        columns = [
            [
                merge(u, v, *lanes)
                for u, v in zip(twos[g], twos[g + 1], strict=True)
                for lanes in ((0, 1, 4, 5), (2, 3, 6, 7))
            ]
            for g in range(0, 8, 2)
        ]  # [rows 4g to 4g + 3][column j of each four]
        for j, (p, q, r, s) in enumerate(zip(*columns, strict=True)):
            for half in (0, 2):
                low, high = (fours(u, v, half, half + 1, half + 4, half + 5) for u, v in ((p, q), (r, s)))
                for k in (0, 1):
                    self._store_words(to, step // WORD + 4 * (half + k) + j, fours(low, high, k, k + 2, k + 4, k + 6))

    def _store_words(self, to: Memory, word: int, packed: Expr) -> None:
        """The codes of both blocks that a column of packed words has."""
        pair, at = divmod(word * WORD, CODE_BLOCK)
        ops = TirOps(self.b, 16)
        for half, found in enumerate((packed, ops.isar(packed, 4))):
            place = ((2 * pair + half) * CODE_BLOCK + at) // WORD
            self.b.store(to, place * 16, ops.iand(found, ops.i32(LOW_HALVES)))

    def dots(self, query: Expr) -> Expr:
        """Of a query with the rows that were taken, a lane each."""
        b, ops = self.b, TirOps(self.b, self.rows)
        own, first = b.let(query * self.width), b.let(query * self.keys.blocks)
        total: Expr = None
        for block in range(self.keys.blocks):
            sums = self._turned_sums(own, first, block) if self.wide else self._sums(own, block)
            scale = splat(b.let(self.scales.load(first + block)), self.rows)
            term = ops.mul(ops.to_float(sums), ops.mul(scale, self.taken.of(block, 0, self.rows)))
            total = term if total is None else ops.add(total, term)
        return total

    def _sums(self, own: Expr, block: int) -> Expr:
        dot, start = self.b.isa.int8_dot.of(CODE_BLOCK), block * CODE_BLOCK
        return block_sums(
            self.b,
            dot,
            CODE_BLOCK,
            lambda at: self.codes.load(own + (start + at), dot.step),
            lambda row, at: self.held.load(row * self.width + start + at, dot.step),
        )

    def _turned_sums(self, own: Expr, first: Expr, block: int) -> Expr:
        b, turned = self.b, self.turned
        assert turned is not None
        total = splat(b.hold(self.offsets.load(first + block)), 16)
        for word in range(block * CODE_BLOCK, (block + 1) * CODE_BLOCK, WORD):
            codes = reinterpret(splat(b.hold(reinterpret(self.codes.load(own + word, WORD), "int32")), 16), "int8x64")
            keys = reinterpret(turned.load(word // WORD * 16, 16), "uint8x64")
            total = b.hold(b.isa.primitives["add_dot4_u8_i8_16"].build(total, keys, codes))
        return total
