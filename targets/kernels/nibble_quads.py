"""The sums of nibble_values.py in registers of 64 bytes: an instruction multiplies the codes of four rows."""

from __future__ import annotations

from tvm import tirx

from chimerac.compiler.ir.ops.cached_attention import GROUP
from chimerac.compiler.ir.ops.cached_rows import CODE_BLOCK
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.nibble_keys import LOW_HALVES, STEP, TO_UNSIGNED
from chimerac.targets.kernels.nibble_rows import NibbleRows, Place, Taken
from chimerac.targets.kernels.nibble_values import Weights
from chimerac.targets.kernels.tensorir import Expr, Memory, constant, integer, reinterpret, shuffle, splat, with_lanes
from chimerac.targets.kernels.vectors import pieces

QUAD = 4  #: rows that an instruction multiplies
LANES = 16
PARTS = 4  #: registers that four rows of packed bytes fill


class NibbleQuads:
    """``GROUP`` rows of values, as bytes c + 8 of four rows after one another."""

    def __init__(self, values: NibbleRows) -> None:
        self.b, self.values = values.b, values
        b = self.b
        self.steps = values.bytes // STEP
        self.taken = Taken(values, GROUP)
        self.weights = Weights(self.taken, LANES)
        self.held = b.aligned("int8", GROUP * values.bytes, 64)
        self.codes = b.aligned("int32", GROUP // QUAD * self.steps * 2 * PARTS * LANES, 64)
        self.words = b.aligned("int8", 4 * self.steps * GROUP, 64)  #: codes of weights, those of a block together
        for block in range(values.blocks, 4 * self.steps):
            b.store(self.words, block * GROUP, constant(0, with_lanes("int8", GROUP)))

    @staticmethod
    def fits(values: NibbleRows) -> bool:
        """Whether a row fills registers."""
        return values.bytes % STEP == 0

    def take(self, place: Place) -> None:
        """Take the rows of values at these places."""
        b, size = self.b, self.values.bytes

        def hold(r: Expr, start: Expr) -> None:
            for at in range(0, size, STEP):
                packed = b.let(self.values.cache.load(start + at, STEP))
                b.store(self.held, r * size + at, reinterpret(packed, "int8x64"))

        self.taken.take(place, hold)
        with b.loop(GROUP // QUAD) as quad:
            for step in range(self.steps):
                rows = [b.let(self.held.load((quad * QUAD + r) * size + step * STEP, STEP)) for r in range(QUAD)]
                place_of_codes = b.let((quad * self.steps + step) * (2 * PARTS * LANES))
                self._unpack(self._interleaved(rows), place_of_codes)

    def _interleaved(self, rows: list[Expr]) -> list[Expr]:
        """Bytes of four rows: part k has in each quarter those at 4 k to 4 k + 3 of the quarter, row by row."""
        b = self.b

        def merge(u: Expr, v: Expr, high: int, lanes: int) -> Expr:
            """The low or the high halves of each quarter, in turns."""
            quarter = lanes // 4
            picked = [
                first + side * lanes
                for start in range(0, lanes, quarter)
                for first in range(start + high * quarter // 2, start + (high + 1) * quarter // 2)
                for side in (0, 1)
            ]
            return b.let(shuffle([u, v], picked))

        parts = []
        for half in (0, 1):
            one, two = (b.let(reinterpret(merge(rows[r], rows[r + 1], half, 64), "int16x32")) for r in (0, 2))
            parts += [b.hold(reinterpret(merge(one, two, high, 32), "int32x16")) for high in (0, 1)]
        return parts

    def _unpack(self, parts: list[Expr], to: Expr) -> None:
        ops = TirOps(self.b, LANES)
        for k, part in enumerate(parts):
            packed = ops.ixor(part, ops.i32(TO_UNSIGNED))
            for half, found in enumerate((packed, ops.isar(packed, 4))):
                self.b.store(self.codes, to + (half * PARTS + k) * LANES, ops.iand(found, ops.i32(LOW_HALVES)))

    def add(self, scores: Memory, own: Expr, rows: tuple[Expr, Expr], out: Memory, to: Expr) -> None:
        """As of ``NibbleValues``."""
        b = self.b

        def put(place: Expr, code: Expr) -> None:
            b.store(self.words, place, tirx.Cast(with_lanes("int8", LANES), code))

        self.weights.code(scores, own, rows, put)
        for step in range(self.steps):
            for half, sums in enumerate(self._sums(step)):
                for block in (4 * step + half, 4 * step + half + 2):
                    if block < self.values.blocks:
                        self._finish(block, sums, out, to)

    def _sums(self, step: int) -> list[list[Expr]]:
        """Of the blocks in the low halves of bytes, and of those in the high ones, in the order of the parts."""
        b = self.b
        dot = b.isa.primitives["add_dot4_u8_i8_16"].build
        eights = constant(8, "uint8x64")
        found = []
        for half in (0, 1):
            blocks = [
                b.hold(reinterpret(b.let(self.words.load((4 * step + half + two) * GROUP, GROUP)), "int32x8"))
                for two in (0, 2)
            ]
            words = b.hold(shuffle(blocks, range(LANES)))
            zero = b.hold(splat(integer(0), LANES))
            beyond, sums = zero, [zero] * PARTS
            for quad in range(GROUP // QUAD):
                both = [quad] * 8 + [8 + quad] * 8
                weights = b.let(reinterpret(b.hold(shuffle([words], both)), "int8x64"))
                beyond = b.hold(dot(beyond, eights, weights))
                first = ((quad * self.steps + step) * 2 + half) * PARTS
                for k in range(PARTS):
                    codes = reinterpret(b.hold(self.codes.load((first + k) * LANES, LANES)), "uint8x64")
                    sums[k] = b.hold(dot(sums[k], codes, weights))
            found.append([TirOps(b, LANES).isub(total, beyond) for total in sums])
        return found

    def _finish(self, block: int, sums: list[Expr], out: Memory, to: Expr) -> None:
        """Add the sums of a block to those of the query."""
        begin, quarter = block * CODE_BLOCK, block % 4 // 2 * 2
        for at, lanes in pieces(min(CODE_BLOCK, self.values.width - begin), LANES):
            picked = [c % 16 // 4 * LANES + 4 * (quarter + c // 16) + c % 4 for c in range(at, at + lanes)]
            self.weights.add(block, self.b.hold(shuffle(sums, picked)), out, to + (begin + at))
