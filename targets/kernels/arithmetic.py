"""The exact numerics of compiler/ir/numerics.py as TensorIR: single operations, and the sum in its fixed order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import tirx

from chimerac.targets.kernels.tensorir import (
    Expr,
    KernelBuilder,
    constant,
    integer,
    intrinsic,
    reinterpret,
    shuffle,
    with_lanes,
)


class TirOps:
    """``numerics.Ops`` over TensorIR: every operation is a statement, on scalars or vectors of ``lanes`` lanes."""

    def __init__(self, builder: KernelBuilder, lanes: int) -> None:
        self.builder, self.lanes = builder, lanes
        self._float = with_lanes("float32", lanes)
        self._int = with_lanes("int32", lanes)
        self._wide = with_lanes("int64", lanes)

    def f32(self, value: float) -> Expr:
        return constant(value, self._float)

    def i32(self, value: int) -> Expr:
        return constant(value, self._int)

    def add(self, a: Expr, b: Expr) -> Expr:
        return self.builder.hold(tirx.Add(a, b))

    def sub(self, a: Expr, b: Expr) -> Expr:
        return self.builder.hold(tirx.Sub(a, b))

    def mul(self, a: Expr, b: Expr) -> Expr:
        # without the fence, LLVM may fuse the product with an addition that uses it
        return self.builder.hold(intrinsic("llvm.arithmetic.fence", self._float, tirx.Mul(a, b)))

    def div(self, a: Expr, b: Expr) -> Expr:
        # LLVM makes a division by a power of two a product, and that could be fused, too
        return self.builder.hold(intrinsic("llvm.arithmetic.fence", self._float, tirx.Div(a, b)))

    def sqrt(self, a: Expr) -> Expr:
        return self.builder.hold(intrinsic("llvm.sqrt", self._float, a))

    def round_even(self, a: Expr) -> Expr:
        return self.builder.hold(intrinsic("llvm.nearbyint", self._float, a))

    # comparisons stay expressions, because TVM cannot bind a vector of truth values to a name

    def less(self, a: Expr, b: Expr) -> Expr:
        return tirx.LT(a, b)

    def greater(self, a: Expr, b: Expr) -> Expr:
        return tirx.GT(a, b)

    def equal(self, a: Expr, b: Expr) -> Expr:
        return tirx.EQ(a, b)

    def select(self, condition: Expr, a: Expr, b: Expr) -> Expr:
        return self.builder.hold(tirx.Select(condition, a, b))

    def bits(self, a: Expr) -> Expr:
        return self.builder.hold(reinterpret(a, self._int))

    def from_bits(self, a: Expr) -> Expr:
        return self.builder.hold(reinterpret(a, self._float))

    def to_int(self, a: Expr) -> Expr:
        return self.builder.hold(tirx.Cast(self._int, a))

    def to_float(self, a: Expr) -> Expr:
        return self.builder.hold(tirx.Cast(self._float, a))

    def iadd(self, a: Expr, b: Expr) -> Expr:
        return self._wrapping(tirx.Add, a, b)

    def isub(self, a: Expr, b: Expr) -> Expr:
        return self._wrapping(tirx.Sub, a, b)

    def imul(self, a: Expr, b: Expr) -> Expr:
        return self._wrapping(tirx.Mul, a, b)

    def idiv(self, a: Expr, b: Expr) -> Expr:
        return self.builder.hold(tirx.Div(a, b))

    def iand(self, a: Expr, b: Expr) -> Expr:
        return self.builder.hold(tirx.bitwise_and(a, b))

    def ior(self, a: Expr, b: Expr) -> Expr:
        return self.builder.hold(tirx.bitwise_or(a, b))

    def ixor(self, a: Expr, b: Expr) -> Expr:
        return self.builder.hold(tirx.bitwise_xor(a, b))

    def ishl(self, a: Expr, count: int) -> Expr:
        return self.builder.hold(tirx.shift_left(a, self.i32(count)))

    def isar(self, a: Expr, count: int) -> Expr:
        return self.builder.hold(tirx.shift_right(a, self.i32(count)))

    def iless(self, a: Expr, b: Expr) -> Expr:
        return tirx.LT(a, b)

    def iequal(self, a: Expr, b: Expr) -> Expr:
        return tirx.EQ(a, b)

    def iselect(self, condition: Expr, a: Expr, b: Expr) -> Expr:
        return self.builder.hold(tirx.Select(condition, a, b))

    def _wrapping(self, node: Callable[[Expr, Expr], Expr], a: Expr, b: Expr) -> Expr:
        # TVM marks 32-bit sums as never overflowing; LLVM narrows this form back to one plain 32-bit instruction
        wide = node(tirx.Cast(self._wide, a), tirx.Cast(self._wide, b))
        return self.builder.hold(tirx.Cast(self._int, wide))


def lanes8_sums(
    builder: KernelBuilder, length: int | Expr, terms: Callable[[Expr, int], Sequence[Expr]], count: int = 1
) -> list[Expr]:
    """``numpy_math.lanes8_sum`` of ``count`` rows at once.

    Args:
        length: elements to sum; may depend on the call.
        terms: gives, for an index and a number of lanes (8, or 1 at the end), the next elements of every row.

    Returns:
        float32 scalars.
    """
    vector, scalar = TirOps(builder, 8), TirOps(builder, 1)
    lanes = [builder.local("float32", 8) for _ in range(count)]
    for row in lanes:
        builder.store(row, 0, vector.f32(0.0))
    whole = length // 8 if isinstance(length, int) else builder.let(tirx.truncdiv(length, integer(8)))
    if not isinstance(length, int) or whole:
        with builder.loop(whole) as i:
            start = builder.let(i * 8)
            for row, term in zip(lanes, terms(start, 8), strict=True):
                builder.store(row, 0, vector.add(row.load(0, 8), term))
    if not isinstance(length, int):
        with builder.loop(length - whole * 8) as j:
            for row, term in zip(lanes, terms(builder.let(whole * 8 + j), 1), strict=True):
                builder.store(row, j, scalar.add(row.load(j), term))
    else:
        for j in range(length % 8):
            for row, term in zip(lanes, terms(integer(whole * 8 + j), 1), strict=True):
                builder.store(row, j, scalar.add(row.load(j), term))
    sums = []
    for row in lanes:
        eight = builder.let(row.load(0, 8))
        four = TirOps(builder, 4).add(shuffle([eight], range(4)), shuffle([eight], range(4, 8)))
        two = TirOps(builder, 2).add(shuffle([four], range(2)), shuffle([four], range(2, 4)))
        sums.append(scalar.add(shuffle([two], [0]), shuffle([two], [1])))
    return sums
