"""Kernel of knot_relax: token by token, everything about a sketch on the stack; without a memory a copy of the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx

from chimerac.compiler.ir.ops.knots import NORM_EPS, WORD_BITS
from chimerac.compiler.ir.ops.rotations import LEAST_BLOCK
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps, lanes8_sums
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, integer, splat, strips
from chimerac.targets.kernels.vectors import float_lanes
from chimerac.targets.kernels.walsh_hadamard import Transform

KEY_BITS = 31  #: of a positive float, whose bits are in its order


def build(spec: KernelSpec, isa: Isa) -> Any:
    """u[..., D], kappa[D], signs[2, n/2], memory i32[1, n/32], hit[1, 1] → [..., D]."""
    b = KernelBuilder(spec, isa)
    u, out, hit = b.operands[0], b.results[0], b.operands[4]
    width = int(spec.operands[0].shape[-1])
    read = tirx.GT(hit.load(0), TirOps(b, 1).f32(0.0))
    knot = _Knot(b, spec)
    with b.loop(b.extent(spec.operands[0].shape[:-1])) as row:
        start = b.let(row * width)
        with b.when(tirx.Not(read)):
            strips(b, width, lambda i, lanes: b.store(out, start + i, b.let(u.load(start + i, lanes))))
        with b.when(read):
            knot.run(start)
    return b.finish()


class _Knot:
    """One row: its sketch, the descent, and the way back."""

    def __init__(self, b: KernelBuilder, spec: KernelSpec) -> None:
        self.b, self.spec = b, spec
        self.width, self.half = int(spec.operands[0].shape[-1]), int(spec.operands[2].shape[-1])
        self.bits = 2 * self.half
        self.lanes = min(float_lanes(b.isa), LEAST_BLOCK)
        self.ops, self.one = TirOps(b, self.lanes), TirOps(b, 1)
        self.transform = Transform(b, self.half)
        self.f = b.local("float32", self.bits)  # the sketch before its signs; then what the descent moved
        self.fields = b.local("float32", self.bits)  # z h

    def run(self, start: Expr) -> None:
        """The row that begins at ``start``."""
        b, half = self.b, self.half
        u, _, signs, _, _ = b.operands
        for copy in range(2):
            place = copy * half
            zero = self.ops.f32(0.0)
            with b.loop(half // self.lanes) as i:
                b.store(self.f, b.let(place + i * self.lanes), zero)
            strips(
                b,
                self.width,
                lambda i, lanes, place=place: b.store(  # type: ignore[misc]
                    self.f,
                    place + i,
                    TirOps(b, lanes).mul(b.let(u.load(start + i, lanes)), b.let(signs.load(place + i, lanes))),
                ),
            )
            self.transform.run(self.f, self.f, place)
        self._normalise()
        self._fields()
        active = b.cell(integer(1))
        with b.loop(self.spec.integer("rounds")), b.when(tirx.EQ(active.get(), integer(1))):
            change = self._round()
            least = self.one.f32(-self.spec.number("early_exit"))
            with b.when(tirx.Not(tirx.LE(change, least))):
                active.set(integer(0))
        self._back(start)

    def _vectors(self) -> Any:
        return self.b.loop(self.bits // self.lanes)

    def _normalise(self) -> None:
        """f / (mean |f| + epsilon)."""
        b, one = self.b, self.one
        (total,) = lanes8_sums(b, self.bits, lambda i, lanes: [self._absolute(i, lanes)])
        below = one.add(one.mul(total, one.f32(1 / self.bits)), one.f32(float(NORM_EPS)))
        with self._vectors() as i:
            place = b.let(i * self.lanes)
            b.store(self.f, place, self.ops.div(b.let(self.f.load(place, self.lanes)), splat(below, self.lanes)))

    def _absolute(self, place: Expr, lanes: int) -> Expr:
        ops = TirOps(self.b, lanes)
        bits = ops.bits(self.b.let(self.f.load(place, lanes)))
        return ops.from_bits(ops.iand(bits, ops.i32(0x7FFFFFFF)))

    def _sign(self, value: Expr, ops: TirOps) -> Expr:
        """1 where a number is not below 0, else -1, of no number too."""
        zero, plus, minus = ops.f32(0.0), ops.f32(1.0), ops.f32(-1.0)
        return ops.select(ops.greater(value, zero), plus, ops.select(ops.equal(value, zero), plus, minus))

    def _pulled(self, place: Expr, bit: Expr) -> tuple[Expr, Expr]:
        """z and z h of an element, with the bit of the memory."""
        b, one = self.b, self.one
        pull = 0.5 * self.spec.number("weight")
        value = b.let(self.f.load(place))
        sign = self._sign(value, one)
        towards = one.iselect(one.iequal(bit, one.i32(1)), one.f32(pull), one.f32(-pull))
        return sign, one.mul(sign, one.add(value, towards))

    def _each_bit(self) -> Any:
        return self.b.loop(self.bits // WORD_BITS)

    def _fields(self) -> None:
        b, memory = self.b, self.b.operands[3]
        with self._each_bit() as word:
            value = b.let(memory.load(word))
            with b.loop(WORD_BITS) as i:
                place = b.let(word * WORD_BITS + i)
                bit = b.let(tirx.bitwise_and(tirx.shift_right(value, i), integer(1)))
                b.store(self.fields, place, self._pulled(place, bit)[1])

    def _key(self, value: Expr, ops: TirOps) -> Expr:
        """The bits of -value of what is below 0, else 0: greater ones lower E more."""
        below = ops.less(value, ops.f32(0.0))
        return ops.iselect(below, ops.iand(ops.bits(value), ops.i32(0x7FFFFFFF)), ops.i32(0))

    def _count(self, least: Expr) -> Expr:
        """Keys that are no less."""
        b, ops, lanes = self.b, self.ops, self.lanes
        counts = b.local("int32", lanes)
        b.store(counts, 0, ops.i32(0))
        with self._vectors() as i:
            key = self._key(b.let(self.fields.load(i * lanes, lanes)), ops)
            more = ops.iselect(ops.iless(key, splat(least, lanes)), ops.i32(0), ops.i32(1))
            b.store(counts, 0, ops.iadd(b.let(counts.load(0, lanes)), more))
        total = b.cell(integer(0))
        for lane in range(lanes):
            total.set(total.get() + b.let(counts.load(lane)))
        return total.get()

    def _round(self) -> Expr:
        """Turn the best bits; by how much E changed."""
        b, one, flips = self.b, self.one, self.spec.integer("flips")
        threshold = b.cell(integer(0))  # the greatest number that as many keys as may be turned are not below
        bit = b.cell(integer(1 << (KEY_BITS - 1)))
        with b.loop(KEY_BITS):
            tried = b.let(tirx.bitwise_or(threshold.get(), bit.get()))
            with b.when(tirx.GE(self._count(tried), integer(flips))):
                threshold.set(tried)
            bit.set(b.let(tirx.shift_right(bit.get(), integer(1))))
        least = b.hold(threshold.get())
        left = b.cell(b.let(integer(flips) - self._count(b.let(least + 1))))  # of keys that equal it
        lanes = b.local("float32", 8)
        b.store(lanes, 0, TirOps(b, 8).f32(0.0))
        with b.loop(self.bits) as i:
            value = b.let(self.fields.load(i))
            key = self._key(value, one)
            equal = b.let(
                tirx.Cast(
                    "int32",
                    tirx.And(tirx.And(tirx.EQ(key, least), tirx.GT(key, integer(0))), tirx.GT(left.get(), integer(0))),
                )
            )
            left.set(b.let(left.get() - equal))
            taken = b.hold(tirx.Cast("int32", tirx.Or(tirx.GT(key, least), tirx.EQ(equal, integer(1)))))
            lane = b.let(tirx.truncmod(i, integer(8)))
            term = one.select(tirx.EQ(taken, integer(1)), value, one.f32(0.0))
            b.store(lanes, lane, one.add(b.let(lanes.load(lane)), term))
            b.store(self.fields, i, one.select(tirx.EQ(taken, integer(1)), one.mul(value, one.f32(-1.0)), value))
        four = [one.add(b.let(lanes.load(j)), b.let(lanes.load(j + 4))) for j in range(4)]
        two = [one.add(four[j], four[j + 2]) for j in range(2)]
        return one.mul(one.add(two[0], two[1]), one.f32(2 / self.bits))

    def _back(self, start: Expr) -> None:
        """u + kappa P^T (z_end - z_0) / n."""
        b, one, half, memory = self.b, self.one, self.half, self.b.operands[3]
        with self._each_bit() as word:
            value = b.let(memory.load(word))
            with b.loop(WORD_BITS) as i:
                place = b.let(word * WORD_BITS + i)
                bit = b.let(tirx.bitwise_and(tirx.shift_right(value, i), integer(1)))
                sign, before = self._pulled(place, bit)
                now = b.let(self.fields.load(place))
                turned = tirx.And(tirx.LT(before, one.f32(0.0)), tirx.GT(now, one.f32(0.0)))
                b.store(self.f, place, one.select(turned, one.mul(sign, one.f32(-2.0)), one.f32(0.0)))
        for copy in range(2):
            self.transform.run(self.f, self.f, copy * half)
        u, kappa, signs, _, _ = b.operands
        out = b.results[0]

        def channels(i: Expr, lanes: int) -> None:
            ops = TirOps(b, lanes)
            first, second = (
                ops.mul(b.let(self.f.load(copy + i, lanes)), b.let(signs.load(copy + i, lanes))) for copy in (0, half)
            )
            back = ops.mul(ops.add(first, second), ops.f32(1 / self.bits))
            moved = ops.mul(b.let(kappa.load(i, lanes)), back)
            b.store(out, start + i, ops.add(b.let(u.load(start + i, lanes)), moved))

        strips(b, self.width, channels)


KERNELS: Mapping[str, Build] = {"knot_relax": build}
