"""Kernels of int8_matmul, grouped_int8_matmul and look_up, on plain row-major tables of int8 weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product as product_of
from typing import Any

from tvm import tirx

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.ops.linear import INT8_ROWS
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.halves import decode
from chimerac.targets.kernels.int8_sums import across, each
from chimerac.targets.kernels.tensorir import (
    Build,
    Cell,
    Expr,
    KernelBuilder,
    Memory,
    constant,
    integer,
    shuffle,
    splat,
    strips,
)

LINE = 64  #: bytes of a cache line
ROWS = INT8_ROWS  #: rows at a time; they share the activations and fill a vector of results


def build_matmul(spec: KernelSpec, isa: Isa) -> Any:
    """codes i8[..., K], scales f32[..., B], weights i8[N, K], weight_scales f16[N, G] → f32[..., N].

    Rows are the outer loop, so that a group of rows is read from memory once for all tokens. The rows of a thread are
    as many runs as a group has rows, each read from its beginning to its end: hardware follows long streams.
    """
    b = KernelBuilder(spec, isa)
    _Table(b, spec).times(b.extent(spec.operands[0].shape[:-1]))
    return b.finish()


def build_grouped_matmul(spec: KernelSpec, isa: Isa) -> Any:
    """int8_matmul of rows offsets[e] to offsets[e+1] with table e of the weights i8[E, N, K]."""
    b = KernelBuilder(spec, isa)
    table, offsets = _Table(b, spec), b.operands[4]
    with b.loop(int(spec.operands[4].shape[0]) - 1) as expert:
        begin = b.let(offsets.load(expert))
        count = b.let(offsets.load(expert + 1) - begin)
        with b.when(tirx.GT(count, integer(0))):
            table.times(count, begin, b.let(expert * table.rows))
    return b.finish()


class _Table:
    """Rows of int8 weights, of one matrix or of one after the other."""

    def __init__(self, b: KernelBuilder, spec: KernelSpec) -> None:
        self.b, self.spec = b, spec
        self.rows, self.padding = spec.integer("rows"), padding_of(b, spec)

    def times(self, count: int | Expr, first: int | Expr = 0, matrix: int | Expr = 0) -> None:
        """Tokens ``first`` to ``first + count`` times the matrix whose first row is ``matrix``."""
        b, rows = self.b, self.rows

        def products(places: list[Expr], stored: int) -> None:
            with b.loop(count) as i:
                token = first + i
                rows_here = [matrix + place for place in places]
                value = RowGroup(b, b.operands[:4], self.spec, rows_here, token, self.padding).product()
                for lane in range(stored):
                    b.store(b.results[0], token * rows + places[lane], shuffle([value], [lane]))

        whole, rest = divmod(rows, ROWS)
        if whole:
            runs = b.let(tirx.Min(b.end, integer(whole)) - b.begin)
            with b.loop(runs) as i:
                products([b.let(b.begin * ROWS + r * runs + i) for r in range(ROWS)], ROWS)
        if rest:  # what is beyond the last row repeats it and is not stored
            with b.when(tirx.GT(b.end, integer(whole))):
                products([integer(min(whole * ROWS + r, rows - 1)) for r in range(ROWS)], rest)


def padding_of(b: KernelBuilder, spec: KernelSpec) -> Memory | None:
    """Where the last columns of rows are filled up with zeros, if vectors do not divide rows."""
    columns, group, block = (spec.integer(name) for name in ("columns", "group", "block"))
    step = b.isa.int8_dot.of(block).step
    if block % step or not b.isa.blocks.take(block, group):
        raise InternalError(f"no int8 kernel for group {group}, block {block}")
    if columns % step == 0:
        return None
    padding = b.local("int8", step * (ROWS + 1))
    for i in range(ROWS + 1):
        b.store(padding, i * step, constant(0, f"int8x{step}"))
    return padding


class RowGroup:
    """Product of one token's codes with ``ROWS`` rows of the table; rows that begin at ``asked`` are asked for."""

    def __init__(
        self,
        b: KernelBuilder,
        operands: Sequence[Memory],
        spec: KernelSpec,
        places: list[Expr],
        token: Expr,
        padding: Memory | None,
        asked: Sequence[Expr] = (),
    ) -> None:
        self.b, self.places, self.padding, self.asked = b, places, padding, asked
        self.codes, self.scales, self.weights, self.weight_scales = operands
        self.columns, self.group, self.block = (spec.integer(name) for name in ("columns", "group", "block"))
        self.dot = b.isa.int8_dot.of(self.block)
        self.starts = [b.let(p * self.columns) for p in places]
        self.groups = -(-self.columns // self.group)
        self.scale_starts = [b.let(p * self.groups) for p in places]
        self.code_start = b.let(token * self.columns)
        self.block_start = b.let(token * -(-self.columns // self.block))

    def product(self) -> Expr:
        b, ops = self.b, TirOps(self.b, ROWS)
        cell = b.cell(ops.f32(0.0))
        whole, rest = divmod(self.columns, self.group)
        per_group = self.group // self.block

        def group(g: int | Expr, extents: list[int]) -> None:
            partial: Any = None
            for start, line in product_of(self.asked, range(0, sum(extents), LINE)):
                b.prefetch(self.weights, start + g * self.group + line)
            for k, extent in enumerate(extents):
                index = g * per_group + k
                scale = splat(self.scales.load(self.block_start + index), ROWS)
                value = ops.mul(scale, ops.to_float(self._block(index * self.block, extent)))
                partial = value if partial is None else ops.add(partial, value)
            bits = self._gather([self.weight_scales.load(start + g) for start in self.scale_starts])
            cell.set(ops.add(cell.get(), ops.mul(decode(b, bits, ROWS), partial)))

        if whole:
            with b.loop(whole) as g:
                group(g, [self.block] * per_group)
        if rest:
            extents = [self.block] * (rest // self.block)
            group(whole, extents + ([rest % self.block] if rest % self.block else []))
        return cell.get()

    def _gather(self, values: list[Expr]) -> Expr:
        b = self.b
        row = b.local("uint16", ROWS)
        for r, value in enumerate(values):
            b.store(row, r, value)
        return row.load(0, ROWS)

    def _block(self, first: int | Expr, extent: int) -> Expr:
        """Integer sums of a block, one lane per row."""
        b, finish = self.b, self.dot.finish
        totals: list[Expr] = []
        for start in range(0, ROWS, self.dot.rows):
            sums = self._sums(first, extent, range(start, start + self.dot.rows))
            totals += [b.let(finish(total)) for total in sums] if finish else sums
        return across(b, totals, self.dot.lanes)

    def _sums(self, first: int | Expr, extent: int, rows: range) -> list[Any]:
        """The sums of some rows of the group over a block, as ``Int8Dot.accumulate`` leaves them."""
        b, step = self.b, self.dot.step
        whole, short = divmod(extent, step)
        sums: list[Any] = [None for _ in rows]
        if b.isa.step_loops and whole > 1:
            sums = self._step(sums, first, rows, 0)
            cells = [each(total, b.cell) for total in sums]
            with b.loop(b.hidden(whole - 1)) as i:
                before = [each(cell, Cell.get) for cell in cells]
                for cell, total in zip(cells, self._step(before, first + (i + 1) * step, rows, 0), strict=True):
                    _set(cell, total)
            sums = [each(cell, Cell.get) for cell in cells]
        else:
            for i in range(whole):
                sums = self._step(sums, first + i * step, rows, 0)
        return self._step(sums, first + whole * step, rows, short) if short else sums

    def _step(self, sums: Sequence[Any], first: int | Expr, rows: range, short: int) -> list[Any]:
        """The sums with the products of the columns of a step, or of its first ``short`` ones."""
        dot, let = self.dot, self.b.let
        codes = each(dot.prepare(self._some(self.codes, self.code_start + first, short, ROWS)), let)
        found = []
        for r, total in zip(rows, sums, strict=True):
            weights = self._some(self.weights, self.starts[r] + first, short, r)
            found.append(each(dot.accumulate(total, codes, (dot.prepare_weights or dot.prepare)(weights)), let))
        return found

    def _some(self, source: Memory, place: Expr, short: int, slot: int) -> Expr:
        """As many elements as the instruction set takes at a time, or the last ``short`` ones of a row and zeros."""
        b, step = self.b, self.dot.step
        if not short:
            return b.let(source.load(place, step))
        assert self.padding is not None
        for i in range(short):
            b.store(self.padding, slot * step + i, source.load(place + i))
        return b.let(self.padding.load(slot * step, step))


def build_look_up(spec: KernelSpec, isa: Isa) -> Any:
    """ids i32[...], table i8[V, D], table_scales f16[V, G] → f32[..., D]."""
    b = KernelBuilder(spec, isa)
    ids, table, scales = b.operands
    width, group = int(spec.operands[1].shape[1]), spec.integer("group")
    groups = -(-width // group)
    with b.loop(b.extent(spec.operands[0].shape)) as i:
        row = b.let(ids.load(i))

        def part(g: int | Expr, extent: int) -> None:
            scale = decode(b, scales.load(row * groups + g), 1)

            def element(k: Expr, lanes: int) -> None:
                ops = TirOps(b, lanes)
                place = g * group + k
                value = ops.to_float(table.load(row * width + place, lanes))
                b.store(b.results[0], i * width + place, ops.mul(value, splat(scale, lanes)))

            strips(b, extent, element)

        if width >= group:
            with b.loop(width // group) as g:
                part(g, group)
        if width % group:
            part(width // group, width % group)
    return b.finish()


def _set(cell: Any, value: Any) -> None:
    for one, vector in zip(cell, value, strict=True) if isinstance(cell, list) else [(cell, value)]:
        one.set(vector)


KERNELS: Mapping[str, Build] = {
    "int8_matmul": build_matmul,
    "grouped_int8_matmul": build_grouped_matmul,
    "look_up": build_look_up,
}
