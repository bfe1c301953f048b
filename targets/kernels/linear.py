"""Kernels of linear and grouped_linear: float matrix products, several rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
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


def dot_rows(
    b: KernelBuilder,
    x: Memory,
    start: Expr,
    weight: Memory,
    rows: Rows,
    width: int,
    *,
    ahead: int = 0,
    load: Callable[[Expr, int], Expr] | None = None,
    apart: int | None = None,
) -> list[Expr]:
    """Dot products of ``x[start:start+width]`` with some rows of ``weight[N, width]``.

    ``load`` gives elements of the weight from a place on as float32, where it is none of floats; ``apart`` is then how
    far its rows are from each other. ``ahead``: elements after those of a row that are asked for when it is read, so
    that they come from memory in time; 0: none are.
    """
    begins = [b.let(row * (apart or width)) for row in rows]
    load = load or partial(load_wide, b, weight)

    def terms(i: Expr, lanes: int) -> list[Expr]:
        value = b.let(x.load(start + i, lanes))
        if ahead and lanes > 1:
            for begin in begins:
                b.prefetch(weight, begin + i + ahead)
        ops = TirOps(b, lanes)
        return [ops.mul(value, load(begin + i, lanes)) for begin in begins]

    return lanes8_sums(b, width, terms, rows.count)


def build(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., K], weight[N, K] and perhaps bias[N] → [..., N].

    The rows of a thread are as many runs as are multiplied together, each read from its beginning to its end: hardware
    follows long streams, not short ones. Some columns at a time take each row, so that it is read once for them.
    """
    b = KernelBuilder(spec, isa)
    matrix = Matrix(b, spec, b.operands[2] if len(b.operands) == 3 else None)
    matrix.times_all(b.extent(spec.operands[0].shape[:-1]))
    return b.finish()


def build_grouped(spec: KernelSpec, isa: Isa) -> Any:
    """linear of rows offsets[e] to offsets[e+1] of x[T, k, K] with matrix e of the weight[E, N, K]."""
    b = KernelBuilder(spec, isa)
    matrix, offsets = Matrix(b, spec), b.operands[2]
    with b.loop(int(spec.operands[2].shape[0]) - 1) as expert:
        begin = b.let(offsets.load(expert))
        count = b.let(offsets.load(expert + 1) - begin)
        with b.when(tirx.GT(count, integer(0))):
            matrix.times_many(count, begin, b.let(expert * matrix.height))
    return b.finish()


class Matrix:
    """A float matrix, or one after the other."""

    def __init__(self, b: KernelBuilder, spec: KernelSpec, bias: Memory | None = None) -> None:
        self.b, self.bias = b, bias
        self.x, self.weight = b.operands[:2]
        self.height, self.width = (int(d) for d in spec.operands[1].shape[-2:])
        self.ahead = 0

    def times_all(self, columns: int | Expr) -> None:
        """All columns."""
        if isinstance(columns, int) and columns <= COLUMNS:
            if columns == 1:  # each row is read once, and from memory, which is slower than what is done with it
                self.ahead = self.b.isa.prefetch_bytes // self.b.spec.operands[1].numpy.itemsize
            self.times(integer(0), columns)
        else:
            self.times_many(columns)

    def times_many(self, columns: int | Expr, begin: int | Expr = 0, matrix: int | Expr = 0) -> None:
        """Columns ``begin`` to ``begin + columns``, some at a time."""
        b = self.b
        with b.loop(b.let(tirx.truncdiv(integer(0) + columns + (COLUMNS - 1), integer(COLUMNS)))) as tile:
            first = b.let(tile * COLUMNS)
            self.times(begin + first, b.let(tirx.Min(integer(COLUMNS), columns - first)), matrix)

    def times(self, first: Expr, count: int | Expr, matrix: int | Expr = 0) -> None:
        """Some columns times the matrix whose first row is ``matrix``."""
        b, whole = self.b, self.height // ROWS
        if whole:
            runs = b.let(tirx.Min(b.end, integer(whole)) - b.begin)
            with b.loop(runs) as i, b.loop(count) as column:
                self._products(b.let(first + column), Rows(b.let(b.begin * ROWS + i), runs, ROWS), matrix)
        if self.height % ROWS:
            with b.when(tirx.GT(b.end, integer(whole))), b.loop(count) as column:
                rows = Rows(integer(whole * ROWS), integer(1), self.height % ROWS)
                self._products(b.let(first + column), rows, matrix)

    def _products(self, column: Expr, rows: Rows, matrix: int | Expr) -> None:
        b, placed = self.b, Rows(matrix + rows.first, rows.apart, rows.count)
        start = b.let(column * self.width)
        for row, total in zip(rows, self.sums(start, placed), strict=True):
            if self.bias is not None:
                total = TirOps(b, 1).add(total, self.bias.load(row))
            b.store(b.results[0], column * self.height + row, total)

    def sums(self, start: Expr, rows: Rows) -> list[Expr]:
        """Products of the column that begins at ``start`` with some rows."""
        return dot_rows(self.b, self.x, start, self.weight, rows, self.width, ahead=self.ahead)


KERNELS: Mapping[str, Build] = {"linear": build, "grouped_linear": build_grouped}
