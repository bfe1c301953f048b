"""Kernel of linear: float matrix products, several rows at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx

from chimerac.compiler.ir.ops.linear import LINEAR_ROWS
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps, lanes8_sums
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, Memory, integer, with_lanes

ROWS = LINEAR_ROWS  #: dot products at a time: enough independent sums to hide the latency of an addition


def load_wide(b: KernelBuilder, source: Memory, index: Expr, lanes: int) -> Expr:
    """Elements of a float32 or bf16 operand as float32."""
    value = source.load(index, lanes)
    if source.type is None or source.type.dtype != "bf16":
        return value
    ops = TirOps(b, lanes)
    return ops.from_bits(ops.ishl(b.hold(tirx.Cast(with_lanes("int32", lanes), value)), 16))


def dot_rows(
    b: KernelBuilder, x: Memory, start: Expr, weight: Memory, first: Expr, rows: int, width: int
) -> list[Expr]:
    """Dot products of ``x[start:start+width]`` with ``rows`` rows of ``weight[N, width]`` from row ``first``."""

    def terms(i: Expr, lanes: int) -> list[Expr]:
        value = b.let(x.load(start + i, lanes))
        ops = TirOps(b, lanes)
        return [ops.mul(value, load_wide(b, weight, (first + r) * width + i, lanes)) for r in range(rows)]

    return lanes8_sums(b, width, terms, rows)


def build(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., K], weight[N, K] and perhaps bias[N] → [..., N]."""
    b = KernelBuilder(spec, isa)
    x, weight = b.operands[:2]
    bias = b.operands[2] if len(b.operands) == 3 else None
    height, width = (int(d) for d in spec.operands[1].shape)
    with b.loop(b.extent(spec.operands[0].shape[:-1])) as column:
        start = b.let(column * width)

        def produce(first: Expr, rows: int) -> None:
            for r, total in enumerate(dot_rows(b, x, start, weight, first, rows, width)):
                if bias is not None:
                    total = TirOps(b, 1).add(total, bias.load(first + r))
                b.store(b.results[0], column * height + first + r, total)

        whole = height // ROWS
        if whole:
            with b.loop(b.let(tirx.Min(b.end, integer(whole)) - b.begin)) as i:
                produce(b.let((b.begin + i) * ROWS), ROWS)
        if height % ROWS:
            with b.when(tirx.GT(b.end, integer(whole))):
                produce(whole * ROWS, height % ROWS)
    return b.finish()


KERNELS: Mapping[str, Build] = {"linear": build}
