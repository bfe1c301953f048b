"""Kernels of the expert dispatch: route, sort, gather, the norm and the product of each expert's rows, combine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.norms import rms_normalised
from chimerac.targets.kernels.packed import Place, Product
from chimerac.targets.kernels.tensorir import Build, KernelBuilder, splat, strips
from chimerac.targets.kernels.ternary import TernaryBody
from chimerac.targets.kernels.vectors import clamped, float_lanes, row_sums

_CHOSEN = -0x80000000  #: sort key below that of every score
_NOT_A_NUMBER = -0x7FFFFFFF  #: sort key of a NaN, below that of minus infinity


def build_route(spec: KernelSpec, isa: Isa) -> Any:
    """x[T,D], router[E,D], bias[E] → experts i32[T,k] by descending ``sigmoid(x·router) + bias``, and weights f32[T,k].

    Scores are compared as integers that order as the floats do, so that a NaN, too, gives k different experts.
    """
    b = KernelBuilder(spec, isa)
    x, router, bias = b.operands
    chosen, weights = b.results
    experts, width = (int(d) for d in spec.operands[1].shape)
    top_k = spec.integer("top_k")
    rows = float_lanes(isa)
    groups = -(-experts // rows)
    scores, keys, picked = b.local("float32", groups * rows), b.local("int32", experts), b.local("float32", top_k)
    scalar = TirOps(b, 1)

    def score(t: Any) -> None:
        with b.loop(groups) as group:
            places = [b.let(clamped(group * rows + j, experts) * width) for j in range(rows)]

            def terms(start: Any, lanes: int) -> list[Any]:
                value = b.let(x.load(t * width + start, lanes))
                return [TirOps(b, lanes).mul(value, b.let(router.load(place + start, lanes))) for place in places]

            b.store(scores, group * rows, numerics.sigmoid(TirOps(b, rows), row_sums(b, terms, rows, width)))
        with b.loop(experts) as e:
            biased = scalar.bits(scalar.add(b.let(scores.load(e)), b.let(bias.load(e))))
            magnitude = scalar.iand(biased, scalar.i32(0x7FFFFFFF))
            flipped = scalar.ixor(biased, scalar.i32(0x7FFFFFFF))
            key = scalar.iselect(scalar.iless(biased, scalar.i32(0)), flipped, biased)
            is_nan = scalar.iless(scalar.i32(0x7F800000), magnitude)
            b.store(keys, e, scalar.iselect(is_nan, scalar.i32(_NOT_A_NUMBER), key))

    def pick(slot: Any, place: Any) -> None:
        best, where = b.cell(scalar.i32(_CHOSEN)), b.cell(scalar.i32(0))
        with b.loop(experts) as e:
            key = b.let(keys.load(e))
            better = scalar.iless(best.get(), key)  # not equal: a tie stays with the lower expert
            where.set(scalar.iselect(better, e, where.get()))
            best.set(scalar.iselect(better, key, best.get()))
        expert = where.get()
        b.store(chosen, place, expert)
        b.store(picked, slot, b.let(scores.load(expert)))
        b.store(keys, expert, scalar.i32(_CHOSEN))

    with b.loop(b.extent(spec.operands[0].shape[:1])) as t:
        score(t)
        with b.loop(top_k) as slot:
            pick(slot, t * top_k + slot)
        total = b.let(picked.load(0))
        for slot in range(1, top_k):
            total = scalar.add(total, b.let(picked.load(slot)))
        total = scalar.add(total, scalar.f32(float(np.float32(1e-20))))
        with b.loop(top_k) as slot:
            b.store(weights, t * top_k + slot, scalar.div(b.let(picked.load(slot)), total))
    return b.finish()


def build_sort_pairs(spec: KernelSpec, isa: Isa) -> Any:
    """Stable counting sort of experts i32[T,k]: order i32[T,k], its inverse i32[T,k], offsets i32[E+1]."""
    b = KernelBuilder(spec, isa)
    (chosen,) = b.operands
    order, place, offsets = b.results
    experts = spec.integer("experts")
    pairs = b.extent(spec.operands[0].shape)
    next_place = b.local("int32", experts)
    one = tirx.IntImm("int32", 1)
    with b.loop(experts + 1) as e:
        b.store(offsets, e, tirx.IntImm("int32", 0))
    with b.loop(pairs) as pair:
        expert = b.let(chosen.load(pair))
        b.store(offsets, expert + 1, b.let(offsets.load(expert + 1)) + one)
    with b.loop(experts) as e:
        begin = b.let(offsets.load(e))
        b.store(next_place, e, begin)
        b.store(offsets, e + 1, b.let(offsets.load(e + 1)) + begin)
    with b.loop(pairs) as pair:
        expert = b.let(chosen.load(pair))
        sorted_place = b.let(next_place.load(expert))
        b.store(next_place, expert, sorted_place + one)
        b.store(order, sorted_place, pair)
        b.store(place, pair, sorted_place)
    return b.finish()


def build_gather_rows(spec: KernelSpec, isa: Isa) -> Any:
    """Row order[i] / k of x[T,D], for each pair i: [T,k,D] of any element type."""
    b = KernelBuilder(spec, isa)
    x, order = b.operands
    rows = b.results[0]
    width, top_k = int(spec.operands[0].shape[1]), int(spec.operands[1].shape[1])
    lanes = isa.vector_bytes // spec.operands[0].numpy.itemsize
    with b.loop(b.extent(spec.operands[1].shape)) as pair:
        source = b.let(tirx.truncdiv(order.load(pair), tirx.IntImm("int32", top_k)) * width)

        def copy(start: Any, count: int) -> None:
            b.store(rows, pair * width + start, b.let(x.load(source + start, count)))

        strips(b, width, copy, lanes)
    return b.finish()


def build_grouped_rms_norm(spec: KernelSpec, isa: Isa) -> Any:
    """``x * (1 / sqrt(mean(x²) + eps)) * weight`` of rows offsets[e] to offsets[e+1] of x[T,k,F] with weight[e]."""
    b = KernelBuilder(spec, isa)
    x, weight, offsets = b.operands
    out = b.results[0]
    experts, width = (int(d) for d in spec.operands[1].shape)

    with b.loop(experts) as expert:
        begin = b.let(offsets.load(expert))
        with b.loop(b.let(offsets.load(expert + 1)) - begin) as i:
            row = b.let((begin + i) * width)
            load = rms_normalised(b, x, row, weight, expert * width, width, spec.number("eps"))

            def write(start: Any, lanes: int, row: Any = row, load: Any = load) -> None:
                b.store(out, row + start, load(start, lanes))

            strips(b, width, write)
    return b.finish()


def build_grouped_ternary_matmul(spec: KernelSpec, isa: Isa) -> Any:
    """ternary_matmul of rows offsets[e] to offsets[e+1] with matrix e of the packed weights u8[E, bytes]."""
    b = KernelBuilder(spec, isa)
    codes, scales, weights, weight_scales, offsets = b.operands
    product = Product.of(spec, isa)
    body = TernaryBody(b, product)
    with b.loop(int(spec.operands[4].shape[0]) - 1) as expert:
        begin = b.let(offsets.load(expert))
        count = b.let(offsets.load(expert + 1) - begin)
        body.emit(
            Place(codes, b.let(begin * product.columns)),
            Place(scales, b.let(begin * product.blocks)),
            Place(weights, b.let(expert * product.matrix_bytes)),
            Place(weight_scales, b.let(expert * product.matrix_scales)),
            Place(b.results[0], b.let(begin * product.rows)),
            count,
        )
    return b.finish()


def build_combine(spec: KernelSpec, isa: Isa) -> Any:
    """``sum_j weights[t,j] * rows[place[t,j]]`` in slot order: rows[T,k,D] → [T,D]."""
    b = KernelBuilder(spec, isa)
    rows, place, weights = b.operands
    out = b.results[0]
    top_k, width = (int(d) for d in spec.operands[0].shape[1:])
    with b.loop(b.extent(spec.operands[0].shape[:1])) as t:
        slots = [(b.let(place.load(t * top_k + j) * width), b.let(weights.load(t * top_k + j))) for j in range(top_k)]

        def add(start: Any, lanes: int) -> None:
            ops = TirOps(b, lanes)
            terms = [ops.mul(splat(w, lanes), b.let(rows.load(source + start, lanes))) for source, w in slots]
            total = terms[0]
            for term in terms[1:]:
                total = ops.add(total, term)
            b.store(out, t * width + start, total)

        strips(b, width, add, float_lanes(isa))
    return b.finish()


KERNELS: Mapping[str, Build] = {
    "route": build_route,
    "sort_pairs": build_sort_pairs,
    "gather_rows": build_gather_rows,
    "grouped_rms_norm": build_grouped_rms_norm,
    "grouped_ternary_matmul": build_grouped_ternary_matmul,
    "combine_experts": build_combine,
}
