"""Kernel of rope: phases in integers, sine and cosine once per token for all heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.compiler.ir.ops.attention import rope_frequencies
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Build, KernelBuilder, constant, splat, with_lanes
from chimerac.targets.kernels.vectors import float_lanes, pieces


def build(spec: KernelSpec, isa: Isa) -> Any:
    """x[T,H,d] with each pair (x[j], x[j+d/2]) turned by position * frequency[j]."""
    b = KernelBuilder(spec, isa)
    x, position = b.operands
    out = b.results[0]
    heads, width = (int(d) for d in spec.operands[0].shape[1:])
    half = width // 2
    cut = pieces(half, float_lanes(isa))
    # 64 bits wide: the product with a position overflows 32 bits, and only its low half matters
    frequencies = b.local("int64", half)
    for j, frequency in enumerate(rope_frequencies(width, spec.number("theta"))):
        b.store(frequencies, j, constant(int(frequency), "int64"))
    with b.loop(b.extent(spec.operands[0].shape[:1])) as t:
        place = b.let(tirx.Cast("int64", position + t))
        turns = []
        for start, lanes in cut:
            product = b.let(tirx.Mul(splat(place, lanes), b.let(frequencies.load(start, lanes))))
            phase = b.let(tirx.Cast(with_lanes("int32", lanes), product))
            turns.append(numerics.sin_cos_phase(TirOps(b, lanes), phase))
        with b.loop(heads) as head:
            row = b.let((t * heads + head) * width)
            for (start, lanes), (sine, cosine) in zip(cut, turns, strict=True):
                ops = TirOps(b, lanes)
                first = b.let(x.load(row + start, lanes))
                second = b.let(x.load(row + half + start, lanes))
                b.store(out, row + start, ops.sub(ops.mul(first, cosine), ops.mul(second, sine)))
                b.store(out, row + half + start, ops.add(ops.mul(second, cosine), ops.mul(first, sine)))
    return b.finish()


KERNELS: Mapping[str, Build] = {"rope": build}
