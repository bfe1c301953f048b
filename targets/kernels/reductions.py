"""Kernels that reduce rows, and of softmax, layer norm, running sums and sorting."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.compiler.ir.ops.reductions import INT_MAX, INT_MIN
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps, lanes8_sums
from chimerac.targets.kernels.norms import Load, inverse_norm
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, Memory, constant, integer, splat, strips


class Rows:
    """The rows of the first operand, one after the other."""

    def __init__(self, spec: KernelSpec, isa: Isa) -> None:
        self.b = KernelBuilder(spec, isa)
        self.spec = spec
        self.width = int(spec.operands[0].shape[-1])
        self.count = self.b.extent(spec.operands[0].shape[:-1])
        self.source: Memory = self.b.operands[0]
        self.floats = spec.operands[0].dtype == "f32"

    def each(self, body: Callable[[Expr, Expr, Load], None]) -> Any:
        """``body(row, start, load)`` for each; the function."""
        with self.b.loop(self.count) as row:
            start = self.b.let(integer(row * self.width))
            body(row, start, lambda i, lanes: self.b.hold(self.source.load(start + i, lanes)))
        return self.b.finish()


def row_sum(b: KernelBuilder, load: Load, width: int) -> Expr:
    """``lanes8_sum`` of a row."""
    return lanes8_sums(b, width, lambda i, lanes: [load(i, lanes)])[0]


def row_extreme(b: KernelBuilder, load: Load, width: int, *, largest: bool) -> Expr:
    """``reductions.extreme`` of a row of floats."""
    memory = b.local("float32", 8)
    b.store(memory, 0, constant(-math.inf if largest else math.inf, "float32x8"))

    def better(ops: TirOps, old: Expr, new: Expr) -> Expr:
        return ops.select(ops.greater(new, old) if largest else ops.less(new, old), new, old)

    whole = width // 8
    if whole:
        with b.loop(whole) as i:
            b.store(memory, 0, better(TirOps(b, 8), b.hold(memory.load(0, 8)), load(i * 8, 8)))
    for j in range(width % 8):
        b.store(memory, j, better(TirOps(b, 1), b.hold(memory.load(j)), load(integer(whole * 8 + j), 1)))
    lanes = [b.hold(memory.load(j)) for j in range(8)]
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [better(TirOps(b, 1), lanes[j], lanes[j + half]) for j in range(half)]
    return lanes[0]


def _fold(b: KernelBuilder, width: int, start: Expr, combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """One element after the other."""
    cell = b.cell(start)
    with b.loop(width) as i:
        cell.set(combine(cell.get(), i))
    return cell.get()


def build_sum(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., K] → [..., 1]."""
    rows = Rows(spec, isa)
    b, ops = rows.b, TirOps(rows.b, 1)

    def body(row: Expr, start: Expr, load: Load) -> None:
        if rows.floats:
            b.store(b.results[0], row, row_sum(b, load, rows.width))
        else:
            b.store(b.results[0], row, _fold(b, rows.width, ops.i32(0), lambda t, i: ops.iadd(t, load(i, 1))))

    return rows.each(body)


def _extreme(*, largest: bool) -> Build:
    def build(spec: KernelSpec, isa: Isa) -> Any:
        rows = Rows(spec, isa)
        b, ops = rows.b, TirOps(rows.b, 1)

        def better(old: Expr, new: Expr) -> Expr:
            return ops.iselect(ops.iless(old, new) if largest else ops.iless(new, old), new, old)

        def body(row: Expr, start: Expr, load: Load) -> None:
            if rows.floats:
                found = row_extreme(b, load, rows.width, largest=largest)
            else:
                first = ops.i32(INT_MIN if largest else INT_MAX)
                found = _fold(b, rows.width, first, lambda old, i: better(old, load(i, 1)))
            b.store(b.results[0], row, found)

        return rows.each(body)

    return build


def build_product(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., K] → [..., 1]."""
    rows = Rows(spec, isa)
    b, ops = rows.b, TirOps(rows.b, 1)
    times = ops.mul if rows.floats else ops.imul

    def body(row: Expr, start: Expr, load: Load) -> None:
        first = load(integer(0), 1)
        rest = _fold(b, rows.width - 1, first, lambda t, i: times(t, load(i + 1, 1))) if rows.width > 1 else first
        b.store(b.results[0], row, rest)

    return rows.each(body)


def _place(*, largest: bool) -> Build:
    def build(spec: KernelSpec, isa: Isa) -> Any:
        rows = Rows(spec, isa)
        b, ops = rows.b, TirOps(rows.b, 1)
        lost = -math.inf if largest else math.inf

        def beyond(new: Expr, old: Expr) -> Expr:
            smaller, larger = (old, new) if largest else (new, old)
            return ops.less(smaller, larger) if rows.floats else ops.iless(smaller, larger)

        def body(row: Expr, start: Expr, load: Load) -> None:
            best = b.cell(ops.f32(lost) if rows.floats else load(integer(0), 1))
            place = b.cell(ops.i32(0))
            with b.loop(rows.width) as i:
                new, old = load(i, 1), best.get()
                choose = ops.select if rows.floats else ops.iselect
                place.set(ops.iselect(beyond(new, old), i, place.get()))
                best.set(choose(beyond(new, old), new, old))
            b.store(b.results[0], row, place.get())

        return rows.each(body)

    return build


def build_cumsum(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., K] → [..., K]."""
    rows = Rows(spec, isa)
    b, ops = rows.b, TirOps(rows.b, 1)
    add = ops.add if rows.floats else ops.iadd

    def body(row: Expr, start: Expr, load: Load) -> None:
        total = b.cell(load(integer(0), 1))
        b.store(b.results[0], start, total.get())
        if rows.width > 1:
            with b.loop(rows.width - 1) as i:
                total.set(add(total.get(), load(i + 1, 1)))
                b.store(b.results[0], start + i + 1, total.get())

    return rows.each(body)


def _softmax(*, logarithm: bool) -> Build:
    def build(spec: KernelSpec, isa: Isa) -> Any:
        rows = Rows(spec, isa)
        b, result = rows.b, rows.b.results[0]

        def body(row: Expr, start: Expr, load: Load) -> None:
            largest = row_extreme(b, load, rows.width, largest=True)

            def moved(i: Expr, lanes: int) -> Expr:
                return TirOps(b, lanes).sub(load(i, lanes), splat(largest, lanes))

            def exponential(i: Expr, lanes: int) -> Expr:
                value = numerics.exp(TirOps(b, lanes), moved(i, lanes))
                if not logarithm:
                    b.store(result, start + i, value)
                return value

            total = row_sum(b, exponential, rows.width)
            if logarithm:
                total = numerics.log(TirOps(b, 1), total)

            def write(i: Expr, lanes: int) -> None:
                ops = TirOps(b, lanes)
                if logarithm:
                    value = ops.sub(moved(i, lanes), splat(total, lanes))
                else:
                    value = ops.div(b.hold(result.load(start + i, lanes)), splat(total, lanes))
                b.store(result, start + i, value)

            strips(b, rows.width, write)

        return rows.each(body)

    return build


def build_layer_norm(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., D], perhaps weight[D] and bias[D] → [..., D]."""
    rows = Rows(spec, isa)
    b, affine = rows.b, rows.b.operands[1:]
    result = b.results[0]

    def body(row: Expr, start: Expr, load: Load) -> None:
        one = TirOps(b, 1)
        mean = one.div(row_sum(b, load, rows.width), one.f32(float(rows.width)))

        def moved(i: Expr, lanes: int) -> Expr:
            return TirOps(b, lanes).sub(load(i, lanes), splat(mean, lanes))

        scale = inverse_norm(b, moved, rows.width, spec.number("eps"), mean=True)

        def write(i: Expr, lanes: int) -> None:
            ops = TirOps(b, lanes)
            value = ops.mul(moved(i, lanes), splat(scale, lanes))
            for operand, combine in zip(affine, (ops.mul, ops.add), strict=False):
                value = combine(value, b.hold(operand.load(i, lanes)))
            b.store(result, start + i, value)

        strips(b, rows.width, write)

    return rows.each(body)


def build_sort(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., K] → [..., K] and places i32[..., K], by heap sort in place: with its place each element is another."""
    rows = Rows(spec, isa)
    b = rows.b
    values, places = b.results
    ops = TirOps(b, 1)
    descending = bool(spec.integer("descending"))

    def key(value: Expr) -> Expr:
        if not rows.floats:
            return value
        zero = ops.select(ops.equal(value, ops.f32(0.0)), ops.f32(0.0), value)
        bits = ops.bits(zero)
        is_nan = ops.iless(ops.i32(0x7F800000), ops.iand(bits, ops.i32(0x7FFFFFFF)))
        bits = ops.iselect(is_nan, ops.i32(INT_MAX), bits)
        return ops.iselect(ops.iless(bits, ops.i32(0)), ops.ixor(bits, ops.i32(INT_MAX)), bits)

    def behind(start: Expr, i: Expr, j: Expr) -> Expr:
        """Whether element i comes after element j."""
        first, second = (key(b.hold(values.load(start + k))) for k in (i, j))
        if descending:
            first, second = second, first
        later = ops.iselect(
            ops.iless(b.hold(places.load(start + j)), b.hold(places.load(start + i))), ops.i32(1), ops.i32(0)
        )
        larger = ops.iselect(ops.iless(second, first), ops.i32(1), ops.i32(0))
        return b.hold(tirx.Select(ops.iequal(first, second), later, larger))

    def swap(start: Expr, i: Expr, j: Expr) -> None:
        for memory in (values, places):
            one, other = b.hold(memory.load(start + i)), b.hold(memory.load(start + j))
            b.store(memory, start + i, other)
            b.store(memory, start + j, one)

    def sink(start: Expr, top: Expr, end: Expr, depth: int) -> None:
        """Let the element at ``top`` sink in the heap of elements before ``end``, whose last is its root."""
        at = b.cell(b.hold(top))
        with b.loop(depth):
            here = b.let(at.get())
            child = b.cell(b.hold(here * 2 + 1))
            with b.when(tirx.LT(child.get(), end)):
                other = b.let(child.get() + 1)
                with b.when(tirx.LT(other, end)):
                    child.set(
                        ops.iselect(ops.iequal(behind(start, other, child.get()), ops.i32(1)), other, child.get())
                    )
                lower = b.let(child.get())
                with b.when(ops.iequal(behind(start, lower, here), ops.i32(1))):
                    swap(start, here, lower)
                    at.set(lower)

    def body(row: Expr, start: Expr, load: Load) -> None:
        width = rows.width
        depth = max(1, width.bit_length())
        with b.loop(width) as i:
            b.store(values, start + i, load(i, 1))
            b.store(places, start + i, b.hold(i))
        if width > 1:
            with b.loop(width // 2) as i:
                sink(start, b.let(integer(width // 2 - 1) - i), integer(width), depth)
            with b.loop(width - 1) as i:
                end = b.let(integer(width - 1) - i)
                swap(start, integer(0), end)
                sink(start, integer(0), end, depth)

    return rows.each(body)


KERNELS: Mapping[str, Build] = {
    "reduce_sum": build_sum,
    "reduce_max": _extreme(largest=True),
    "reduce_min": _extreme(largest=False),
    "reduce_prod": build_product,
    "argmax": _place(largest=True),
    "argmin": _place(largest=False),
    "cumsum": build_cumsum,
    "softmax": _softmax(logarithm=False),
    "log_softmax": _softmax(logarithm=True),
    "layer_norm": build_layer_norm,
    "sort": build_sort,
}
