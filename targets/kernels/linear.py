"""Kernel of linear: float matrix products, several rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from chimerac.compiler.ir.ops.linear import LINEAR_ROWS
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps, lanes8_sums
from chimerac.targets.kernels.halves import decode
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, Memory, integer, with_lanes

ROWS = LINEAR_ROWS  #: dot products at a time: enough independent sums to hide the latency of an addition
COLUMNS = 16  #: that each row is multiplied with while it is in the nearest cache


def load_wide(b: KernelBuilder, source: Memory, index: Expr, lanes: int) -> Expr:
    """Elements of a float32, bf16 or f16 operand as float32."""
    value = source.load(index, lanes)
    if source.type is None or source.type.dtype == "f32":
        return value
    if source.type.dtype == "f16":
        return decode(b, value, lanes)
    ops = TirOps(b, lanes)
    return ops.from_bits(ops.ishl(b.hold(tirx.Cast(with_lanes("int32", lanes), value)), 16))


@dataclass(frozen=True)
class Rows:
    """``count`` rows of a matrix: ``first``, ``first + apart``, …"""

    first: Expr
    apart: Expr
    count: int

    def __iter__(self) -> Iterator[Expr]:
        return (self.first + r * self.apart for r in range(self.count))


def dot_rows(b: KernelBuilder, x: Memory, start: Expr, weight: Memory, rows: Rows, width: int) -> list[Expr]:
    """Dot products of ``x[start:start+width]`` with some rows of ``weight[N, width]``."""
    begins = [b.let(row * width) for row in rows]

    def terms(i: Expr, lanes: int) -> list[Expr]:
        value = b.let(x.load(start + i, lanes))
        ops = TirOps(b, lanes)
        return [ops.mul(value, load_wide(b, weight, begin + i, lanes)) for begin in begins]

    return lanes8_sums(b, width, terms, rows.count)


def build(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., K], weight[N, K] and perhaps bias[N] → [..., N].

    The rows of a thread are as many runs as are multiplied together, each read from its beginning to its end: hardware
    follows long streams, not short ones. Some columns at a time take each row, so that it is read once for them.
    """
    b = KernelBuilder(spec, isa)
    x, weight = b.operands[:2]
    bias = b.operands[2] if len(b.operands) == 3 else None
    height, width = (int(d) for d in spec.operands[1].shape)
    columns, whole = b.extent(spec.operands[0].shape[:-1]), height // ROWS

    def products(column: Expr, rows: Rows) -> None:
        sums = dot_rows(b, x, b.let(column * width), weight, rows, width)
        for row, total in zip(rows, sums, strict=True):
            if bias is not None:
                total = TirOps(b, 1).add(total, bias.load(row))
            b.store(b.results[0], column * height + row, total)

    def all_rows(first: Expr, count: int | Expr) -> None:
        if whole:
            runs = b.let(tirx.Min(b.end, integer(whole)) - b.begin)
            with b.loop(runs) as i, b.loop(count) as column:
                products(b.let(first + column), Rows(b.let(b.begin * ROWS + i), runs, ROWS))
        if height % ROWS:
            with b.when(tirx.GT(b.end, integer(whole))), b.loop(count) as column:
                products(b.let(first + column), Rows(integer(whole * ROWS), integer(1), height % ROWS))

    if isinstance(columns, int) and columns <= COLUMNS:
        all_rows(integer(0), columns)
    else:
        with b.loop(b.let(tirx.truncdiv(integer(0) + columns + (COLUMNS - 1), integer(COLUMNS)))) as tile:
            first = b.let(tile * COLUMNS)
            all_rows(first, b.let(tirx.Min(integer(COLUMNS), columns - first)))
    return b.finish()


KERNELS: Mapping[str, Build] = {"linear": build}
