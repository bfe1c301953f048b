"""Kernels of matmul and unfold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx

from chimerac.compiler.ir.ops.matrices import MATMUL_ROWS, numbers, rows_shared, windows
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps, lanes8_sums
from chimerac.targets.kernels.movement import Axis, Index, scatter, steps_of
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, integer

ROWS = MATMUL_ROWS
TOGETHER = 2  #: rows of the other operand for which these are loaded once


def build_matmul(spec: KernelSpec, isa: Isa) -> Any:
    """a[..., M, K], b[..., N, K] → [..., M, N]: blocks of rows of one operand, which threads divide, stay in the cache
    while the rows of the other pass by."""
    return _Product(spec, isa).build()


class _Product:
    def __init__(self, spec: KernelSpec, isa: Isa) -> None:
        self.b = b = KernelBuilder(spec, isa)
        self.shapes = [t.shape for t in spec.operands]
        self.result = spec.results[0].shape
        self.kept = int(rows_shared(spec.operands))  #: the operand whose rows stay, 0 or 1
        self.width = int(self.shapes[0][-1])
        self.kept_rows = int(str(self.shapes[self.kept][-2]))
        self.passing_rows = b.extent((self.shapes[1 - self.kept][-2],))
        self.columns = b.extent((self.result[-1],))
        self.steps = [steps_of(b, shape) for shape in self.shapes]

    def build(self) -> Any:
        self._batches(0, [0, 0], 0)
        return self.b.finish()

    def _batches(self, axis: int, base: list[Index], row: Index) -> None:
        """The axes before those of the matrices, along which an operand of extent 1 stays where it is."""
        b, batch = self.b, self.result[:-2]
        if axis == len(batch):
            size = b.extent(self.result[-2:])
            self._blocks([b.let(integer(place)) for place in base], b.let(integer(row * size)))
            return
        extent = b.extent((batch[axis],))
        with b.loop(extent) as i:
            moved = []
            for place, shape, step in zip(base, self.shapes, self.steps, strict=True):
                own = axis - (len(batch) - (len(shape) - 2))
                moved.append(place if own < 0 or shape[own] == 1 else place + i * step[own])
            self._batches(axis + 1, moved, row * extent + i)

    def _blocks(self, base: list[Index], out: Index) -> None:
        b = self.b
        whole, left = divmod(self.kept_rows, ROWS)
        if whole:
            with b.loop(b.let(tirx.Min(b.end, integer(whole)) - b.begin)) as i:
                self._pass_by(base, out, b.let((b.begin + i) * ROWS), ROWS)
        if left:
            with b.when(tirx.GT(b.end, integer(whole))):
                self._pass_by(base, out, integer(whole * ROWS), left)

    def _pass_by(self, base: list[Index], out: Index, first: Index, count: int) -> None:
        b, rows = self.b, self.passing_rows
        pairs = rows // TOGETHER if isinstance(rows, int) else b.let(tirx.truncdiv(rows, integer(TOGETHER)))
        if not isinstance(pairs, int) or pairs:
            with b.loop(pairs) as i:
                self._products(base, out, first, count, b.let(integer(i * TOGETHER)), TOGETHER)
        rest = rows - pairs * TOGETHER
        if not isinstance(rest, int) or rest:
            with b.loop(rest):
                self._products(base, out, first, count, b.let(integer(pairs * TOGETHER)), 1)

    def _products(self, base: list[Index], out: Index, first: Index, count: int, row: Index, rows: int) -> None:
        """Dot products of ``count`` rows that stay and ``rows`` that pass by."""
        b, kept, passing = self.b, self.b.operands[self.kept], self.b.operands[1 - self.kept]
        here, there = base[self.kept], base[1 - self.kept]

        def terms(i: Expr, lanes: int) -> list[Expr]:
            ops = TirOps(b, lanes)
            others = [b.hold(passing.load(there + (row + r) * self.width + i, lanes)) for r in range(rows)]
            found = []
            for k in range(count):
                own = b.hold(kept.load(here + (first + k) * self.width + i, lanes))
                found += [ops.mul(other, own) for other in others]
            return found

        sums = lanes8_sums(b, self.width, terms, count * rows)
        for k in range(count):
            for r in range(rows):
                m, n = (row + r, first + k) if self.kept else (first + k, row + r)
                b.store(b.results[0], out + m * self.columns + n, sums[k * rows + r])


def build_unfold(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., C, S…] → [..., places…, C, kernel…]."""
    b = KernelBuilder(spec, isa)
    shape, attributes = spec.operands[0].shape, dict(spec.attributes)
    places, kernel = windows(attributes, shape)
    stride, dilation = numbers(attributes, "stride"), numbers(attributes, "dilation")
    rank = len(kernel)
    outer = len(shape) - rank - 1
    steps = steps_of(b, shape)
    axes = [Axis(extent, step) for extent, step in zip(shape[:outer], steps[:outer], strict=True)]
    axes += [Axis(p, steps[outer + 1 + i] * stride[i]) for i, p in enumerate(places)]
    axes.append(Axis(shape[outer], steps[outer]))
    axes += [Axis(k, steps[outer + 1 + i] * dilation[i]) for i, k in enumerate(kernel)]
    scatter(b, b.operands[0], 0, axes)
    return b.finish()


KERNELS: Mapping[str, Build] = {"matmul": build_matmul, "unfold": build_unfold}
