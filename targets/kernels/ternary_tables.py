"""Product of many columns of activations with packed trits, by tables instead of multiplications.

A byte of the form of two bits has the trits of 4 columns of a row. All sums that these can make of the activations, 81,
are written to a table once, for 16 tokens side by side; each row then finds its own with one load and one addition,
where multiplying takes twice as many instructions. This is the method of four Russians (Arlazarov, Dinic, Kronrod and
Faradzhev 1970) with integers in place of bits. Integer sums are exact in any order, and what is added to them comes in
the order of docs/numerics.md, so the bits are those of ternary.py.

Lanes are tokens here. Tables of up to 64 columns are made at a time, and all rows pass by them; their sums so far lie
on the stack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tvm import tirx

from chimerac.compiler.ir.layouts import COLUMNS_PER_STEP
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.halves import decode
from chimerac.targets.kernels.packed import Place, Product
from chimerac.targets.kernels.tensorir import Expr, KernelBuilder, constant, integer, shuffle, splat
from chimerac.targets.kernels.trit_codes import PLANES

TOKENS = 16  #: side by side in an entry of a table
PAIR = 2 * TOKENS  #: elements of a cache line, which an entry of a table and one of its neighbour share
SPAN = 171 * PAIR  #: elements of two tables: bytes of four codes 0, 1, 2 are 0 to 170
MOST_COLUMNS = 64  #: of which there are tables at a time: they stay in the nearest cache
PANELS = 256  #: whose sums are kept on the stack
LEAST_PANELS = 16  #: of a call: fewer do not pay for the tables
SMALLEST = 64  #: panels of a matrix that has tables: they gain little for smaller ones, and triple the time to compile
CACHE_LINE = 64
PANELS_AHEAD = 4  #: whose weights are asked for


@dataclass(frozen=True)
class Operands:
    """Where the first token of a product, its matrix and its result begin."""

    codes: Place
    scales: Place
    weights: Place
    weight_scales: Place
    result: Place

    def moved(self, b: KernelBuilder, product: Product, tokens: int | Expr) -> Operands:
        """Those of so many tokens further on."""
        return replace(
            self,
            codes=Place(self.codes.memory, b.let(integer(self.codes.start + tokens * product.columns))),
            scales=Place(self.scales.memory, b.let(integer(self.scales.start + tokens * product.blocks))),
            result=Place(self.result.memory, b.let(integer(self.result.start + tokens * product.rows))),
        )


def stretch_of(product: Product) -> int:
    """Columns that have tables at a time; 0 where products of these sizes are not made with tables."""
    columns = math.gcd(product.run, MOST_COLUMNS)
    fits = product.form == "t2" and columns % product.piece == 0 and product.columns % COLUMNS_PER_STEP == 0
    return columns if fits and product.panels >= SMALLEST else 0


class TableProduct:
    """Statements of a product of 16 tokens with one packed matrix; may be emitted in a loop."""

    def __init__(self, b: KernelBuilder, product: Product) -> None:
        self.b, self.product, self.stretch = b, product, stretch_of(product)
        self.ops = TirOps(b, TOKENS)
        #: how many elements behind a row's sums those of a group are that has more columns than there are tables for
        self.apart = PANELS * product.panel_rows * TOKENS if self.stretch < product.run else 0
        self.columns = b.local("int16", self.stretch * TOKENS)
        self.tables = b.aligned("int16", self.stretch // PLANES // 2 * SPAN, CACHE_LINE)
        self.scales = b.local("float32", self.stretch // product.piece * TOKENS)
        self.row_scales = b.local("float32", product.panel_rows)
        size, kind = PANELS * product.panel_rows * TOKENS, "int32" if product.one_block else "float32"
        self.sums = b.aligned(kind, size + self.apart, CACHE_LINE)

    def emit(self, operands: Operands, times: Expr) -> None:
        """The results of ``times`` times 16 tokens and the panels ``begin`` to ``end``."""
        b = self.b
        with b.loop(b.let(tirx.truncdiv(b.end - b.begin + (PANELS - 1), integer(PANELS)))) as i:
            first = b.let(b.begin + i * PANELS)
            count = b.let(tirx.Min(b.end - first, integer(PANELS)))
            with b.loop(times) as j:
                self._some(operands.moved(b, self.product, b.let(j * TOKENS)), first, count)

    def _some(self, operands: Operands, first: Expr, count: Expr) -> None:
        """The results of ``count`` panels, at most ``PANELS``."""
        b, product = self.b, self.product
        zero = constant(0, f"{self.sums.dtype}x{TOKENS}")
        with b.loop(b.let(count * product.panel_rows)) as row:
            b.store(self.sums, row * TOKENS, zero)
        whole, rest = divmod(product.columns, product.run)
        if whole:
            with b.loop(whole) as run:
                self._run(operands, first, count, run, product.run)
        if rest:
            self._run(operands, first, count, integer(whole), rest)
        with b.loop(count) as panel:
            self._finish(operands, panel, b.let(first + panel))

    def _run(self, operands: Operands, first: Expr, count: Expr, run: Expr, extent: int) -> None:
        """Add the products of ``extent`` columns, those of a run, or what is left at the end of a row."""
        for begin in range(0, extent, self.stretch):
            columns = min(self.stretch, extent - begin)
            start = self.b.let(run * self.product.run + begin)
            self._prepare(operands, start, columns)
            ends = begin + columns == extent and not self.product.one_group
            with self.b.loop(count) as panel:
                self._panel(operands, panel, self.b.let(first + panel), start, columns, (run, begin > 0, ends))

    # ---- tables ----

    def _prepare(self, operands: Operands, start: Expr, columns: int) -> None:
        """Tables of the columns from ``start`` on, and the scales of their blocks."""
        b, product = self.b, self.product
        if not product.one_block:
            block = b.let(tirx.truncdiv(start, integer(product.piece)))
            for k in range(-(-columns // product.piece)):
                for token in range(TOKENS):
                    scale = operands.scales.load(block + (token * product.blocks + k))
                    b.store(self.scales, k * TOKENS + token, scale)
        with b.loop(columns // COLUMNS_PER_STEP) as step:
            place = b.let(start + step * COLUMNS_PER_STEP)
            tokens = [b.let(operands.codes.load(place + t * product.columns, COLUMNS_PER_STEP)) for t in range(TOKENS)]
            for column, codes in enumerate(transposed(b, tokens)):
                wide = tirx.Cast(f"int16x{TOKENS}", codes)
                b.store(self.columns, (step * COLUMNS_PER_STEP + column) * TOKENS, wide)
            with b.loop(PLANES // 2) as pair:
                for side in range(2):
                    self._table(step, pair, side)

    def _table(self, step: Expr, pair: Expr, side: int) -> None:
        """The table of the byte of channel ``2 * pair + side`` of 16 columns."""
        b = self.b
        first = b.let((step * COLUMNS_PER_STEP + pair * 2 + side) * TOKENS)
        values = [b.let(self.columns.load(first + p * PLANES * TOKENS, TOKENS)) for p in range(PLANES)]
        table = b.let((step * (PLANES // 2) + pair) * SPAN + side * TOKENS)
        sums: dict[int, Expr] = {0: constant(0, f"int16x{TOKENS}")}
        for plane in reversed(range(PLANES)):
            value, place = values[plane], 1 << 2 * plane
            sums = {
                code + trit * place: b.let(change)
                for code, total in sums.items()
                for trit, change in enumerate((tirx.Sub(total, value), total, tirx.Add(total, value)))
            }
        for code, total in sums.items():
            b.store(self.tables, table + code * PAIR, total)

    # ---- rows ----

    def _panel(
        self, operands: Operands, panel: Expr, number: Expr, start: Expr, columns: int, place: tuple[Expr, bool, bool]
    ) -> None:
        """Add the products of a panel's rows with the columns from ``start`` on. ``place``: the number of the run, and
        whether something of it was added before, and whether it ends here."""
        b, product = self.b, self.product
        run, continues, ends = place
        size = columns // COLUMNS_PER_STEP * product.vector_bytes
        weights = b.let(
            operands.weights.start
            + number * product.panel_bytes
            + tirx.truncdiv(start, integer(COLUMNS_PER_STEP)) * product.vector_bytes
        )
        if b.isa.prefetch_bytes:
            for line in range(0, size, CACHE_LINE):
                b.prefetch(operands.weights.memory, weights + (PANELS_AHEAD * product.panel_bytes + line))
        if ends:
            self._load_row_scales(operands, number, run)
        with b.loop(product.panel_rows) as row:
            here = b.let(weights + row * PLANES)
            target = b.let((panel * product.panel_rows + row) * TOKENS)
            self._row(operands, here, target, columns, (row, continues, ends))

    def _load_row_scales(self, operands: Operands, number: Expr, group: Expr) -> None:
        b, product = self.b, self.product
        place = operands.weight_scales.start + (number * product.groups + group) * product.panel_rows
        bits = b.let(operands.weight_scales.memory.load(place, product.panel_rows))
        b.store(self.row_scales, 0, decode(b, bits, product.panel_rows))

    def _row(
        self, operands: Operands, weights: Expr, target: Expr, columns: int, place: tuple[Expr, bool, bool]
    ) -> None:
        b, ops, product = self.b, self.ops, self.product
        row, continues, ends = place
        extents = [min(product.piece, columns - begin) for begin in range(0, columns, product.piece)]
        totals = [self._sum(operands, weights, k, extent) for k, extent in enumerate(extents)]
        if product.one_block:
            for total in totals:
                wide = tirx.Cast(f"int32x{TOKENS}", total)
                b.store(self.sums, target, tirx.Add(b.let(self.sums.load(target, TOKENS)), wide))
            return
        group = target + (0 if product.one_group else self.apart)
        value = b.let(self.sums.load(group, TOKENS)) if continues or product.one_group else None
        for k, total in enumerate(totals):
            number = ops.to_float(b.let(tirx.Cast(f"int32x{TOKENS}", total)))
            scaled = ops.mul(b.let(self.scales.load(k * TOKENS, TOKENS)), number)
            value = scaled if value is None else ops.add(value, scaled)
        if ends:
            scaled = ops.mul(b.let(splat(self.row_scales.load(row), TOKENS)), value)
            group, value = target, ops.add(b.let(self.sums.load(target, TOKENS)), scaled)
        b.store(self.sums, group, value)

    def _sum(self, operands: Operands, weights: Expr, piece: int, extent: int) -> Expr:
        """The integer sum of a piece of a row, for each token."""
        b, product = self.b, self.product
        total: Expr | None = None
        first = piece * product.piece // COLUMNS_PER_STEP
        for step in range(first, first + extent // COLUMNS_PER_STEP):
            for channel in range(PLANES):
                code = operands.weights.memory.load(weights + (step * product.vector_bytes + channel))
                place = b.let(tirx.Mul(tirx.Cast("int32", code), integer(PAIR)))
                pair, side = divmod(step * PLANES + channel, 2)
                entry = self.tables.load(place + (pair * SPAN + side * TOKENS), TOKENS)
                total = b.let(entry if total is None else tirx.Add(total, entry))
        return total

    # ---- results ----

    def _finish(self, operands: Operands, panel: Expr, number: Expr) -> None:
        """Results of a panel: rows become lanes, and what has one scale for a row gets it."""
        b, product = self.b, self.product
        rows = product.panel_rows
        ops = TirOps(b, rows)
        if product.one_group:
            self._load_row_scales(operands, number, integer(0))
        for begin in range(0, TOKENS, rows):
            places = [b.let((panel * rows + r) * TOKENS + begin) for r in range(rows)]
            vectors = transposed(b, [b.let(self.sums.load(place, rows)) for place in places])
            for token, value in enumerate(vectors, start=begin):
                if product.one_block:
                    scale = b.let(splat(operands.scales.load(token), rows))
                    value = ops.mul(scale, ops.to_float(value))
                if product.one_group:
                    scaled = ops.mul(b.let(self.row_scales.load(0, rows)), value)
                    value = ops.add(ops.f32(0.0), scaled)
                product.store_panel(b, operands.result, token, number, value)


def transposed(b: KernelBuilder, vectors: Sequence[Expr]) -> list[Expr]:
    """As many vectors as they have lanes, a power of two: lane i of vector j becomes lane j of vector i."""
    count = len(vectors)
    found = list(vectors)
    for _ in range(count.bit_length() - 1):
        pairs = [(found[i], found[i + count // 2]) for i in range(count // 2)]
        found = [
            b.let(shuffle(pair, [lane + source for lane in lanes for source in (0, count)]))
            for pair in pairs
            for lanes in (range(count // 2), range(count // 2, count))
        ]
    return found
