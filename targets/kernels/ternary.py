"""Kernel of ternary_matmul, and its body for the grouped product of experts.

Lanes are output rows (layouts.py), so nothing is summed across lanes. With codes 0, 1, 2 for the weights -1, 0, 1 a
block's sum is ``sum(code * activation) - sum(activation)``, and the last term is the same for all rows. Products of
codes and activations add up in 16 bits over a block (at most 127 · block in magnitude), then in 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from chimerac.compiler.errors import InternalError
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.halves import decode
from chimerac.targets.layouts import COLUMN_PADDING, COLUMNS_PER_STEP, padded
from chimerac.targets.tensorir import (
    Expr,
    KernelBuilder,
    Memory,
    TirOps,
    constant,
    intrinsic,
    reinterpret,
    splat,
)

PLANES = 4
COLUMN_TILE = 4  #: tokens that share the unpacking of a weight vector
LARGEST_BLOCK = 256  #: 127 · 256 < 2**15


@dataclass(frozen=True)
class Place:
    """Memory from an element on."""

    memory: Memory
    start: int | Expr = 0

    def load(self, index: int | Expr, lanes: int = 1) -> Expr:
        return self.memory.load(self.start + index, lanes)


@dataclass(frozen=True)
class Product:
    """Sizes of a matrix product with packed trits."""

    rows: int
    columns: int
    group: int
    block: int
    panel_rows: int

    @staticmethod
    def of(spec: KernelSpec, isa: Isa) -> Product:
        """From the attributes of an op."""
        product = Product(
            *(spec.integer(name) for name in ("rows", "columns", "group", "block")), panel_rows=isa.panel_rows
        )
        if product.block % COLUMNS_PER_STEP or product.block > LARGEST_BLOCK or product.group % product.block:
            raise InternalError(f"no ternary kernel for group {product.group}, block {product.block}")
        return product

    @property
    def panels(self) -> int:
        return -(-self.rows // self.panel_rows)

    @property
    def groups(self) -> int:
        return -(-self.columns // self.group)

    @property
    def blocks(self) -> int:
        return -(-self.columns // self.block)

    @property
    def step_bytes(self) -> int:
        """Bytes of the weights of 16 columns of a panel: one vector."""
        return 4 * self.panel_rows

    @property
    def panel_bytes(self) -> int:
        return padded(self.columns, COLUMN_PADDING) // COLUMNS_PER_STEP * self.step_bytes

    @property
    def matrix_bytes(self) -> int:
        """Bytes of one packed matrix; expert e starts at e times this."""
        return self.panels * self.panel_bytes

    @property
    def matrix_scales(self) -> int:
        """fp16 scales of one matrix."""
        return self.panels * self.groups * self.panel_rows


def build(spec: KernelSpec, isa: Isa) -> Any:
    """codes i8[..., K], scales f32[..., B], weights u8 in ``t2.r<R>``, weight_scales ``panel.r<R>`` → f32[..., N]."""
    b = KernelBuilder(spec, isa)
    codes, scales, weights, weight_scales = (Place(o) for o in b.operands)
    count = b.extent(spec.operands[0].shape[:-1])
    TernaryBody(b, Product.of(spec, isa)).emit(codes, scales, weights, weight_scales, Place(b.results[0]), count)
    return b.finish()


class TernaryBody:
    """Statements of a product of ``count`` activation columns with one packed matrix; may be emitted in a loop."""

    def __init__(self, builder: KernelBuilder, product: Product) -> None:
        self.b, self.product = builder, product
        self._sums = builder.local("int32", COLUMN_TILE * product.blocks)
        self._rest = product.columns % product.block
        self._tail = builder.local("int8", COLUMN_TILE * product.block) if self._rest else None

    def emit(
        self, codes: Place, scales: Place, weights: Place, weight_scales: Place, result: Place, count: int | Expr
    ) -> None:
        """Rows ``count`` of codes[count, K] and scales[count, B] → result[count, N]; all places at their first element."""
        b, product = self.b, self.product

        def columns(first: Expr, tile: int) -> None:
            _Tile(
                self,
                Place(codes.memory, b.let(codes.start + first * product.columns)),
                Place(scales.memory, b.let(scales.start + first * product.blocks)),
                weights,
                weight_scales,
                Place(result.memory, b.let(result.start + first * product.rows)),
                tile,
            ).emit()

        if isinstance(count, int):
            tiles, rest = divmod(count, COLUMN_TILE)
        else:
            tiles = b.let(tirx.truncdiv(count, COLUMN_TILE))
            rest = count - tiles * COLUMN_TILE
        if not isinstance(tiles, int) or tiles:
            with b.loop(tiles) as i:
                columns(b.let(i * COLUMN_TILE), COLUMN_TILE)
        if not isinstance(rest, int) or rest:
            with b.loop(rest) as i:
                columns(b.let(tiles * COLUMN_TILE + i), 1)


@dataclass
class _Tile:
    """One tile of columns times the whole matrix."""

    body: TernaryBody
    codes: Place
    scales: Place
    weights: Place
    weight_scales: Place
    result: Place
    width: int

    def emit(self) -> None:
        b, product = self.body.b, self.body.product
        self._prepare()
        together = max(1, b.isa.panels_per_pass // self.width)
        passes = product.panels // together
        if passes:
            with b.loop(passes) as i:
                # each panel of a pass is a sequential stream of its own, far from the others
                self._panels([b.let(i + j * passes) for j in range(together)])
        if product.panels % together:
            with b.loop(product.panels % together) as i:
                self._panels([b.let(passes * together + i)])

    def _prepare(self) -> None:
        """The sum of each block of activations, and a zero-padded copy of an incomplete last block."""
        b, product = self.body.b, self.body.product
        tail, rest = self.body._tail, self.body._rest
        for column in range(self.width):
            if tail is not None:
                for i in range(padded(rest, COLUMNS_PER_STEP)):
                    value = constant(0, "int8")
                    if i < rest:
                        value = self.codes.load((column + 1) * product.columns - rest + i)
                    b.store(tail, column * product.block + i, value)
                self._sum(Place(tail, column * product.block), rest, (column + 1) * product.blocks - 1)
            if product.columns >= product.block:
                with b.loop(product.columns // product.block) as k:
                    start = self.codes.start + column * product.columns + k * product.block
                    self._sum(Place(self.codes.memory, start), product.block, column * product.blocks + k)

    def _sum(self, codes: Place, extent: int, slot: int | Expr) -> None:
        b = self.body.b
        total: Any = constant(0, "int32")
        for start in range(0, extent, COLUMNS_PER_STEP):
            wide = tirx.Cast("int32x16", codes.load(start, COLUMNS_PER_STEP))
            total = b.let(tirx.Add(total, intrinsic("llvm.vector.reduce.add", "int32", wide)))
        b.store(self.body._sums, slot, total)

    def _panels(self, panels: Sequence[Expr]) -> None:
        b, product = self.body.b, self.body.product
        ops = TirOps(b, product.panel_rows)
        sums = [[b.cell(ops.f32(0.0)) for _ in panels] for _ in range(self.width)]
        starts = [b.let(self.weights.start + p * product.panel_bytes) for p in panels]
        scale_starts = [b.let(self.weight_scales.start + p * (product.groups * product.panel_rows)) for p in panels]
        per_group = product.group // product.block

        def group(g: int | Expr, extents: Sequence[int]) -> None:
            partial: list[list[Any]] = [[None] * len(panels) for _ in range(self.width)]
            for k, extent in enumerate(extents):
                index = g * per_group + k
                for column, row in enumerate(self._block(index, extent, starts)):
                    scale = b.let(splat(self.scales.load(column * product.blocks + index), product.panel_rows))
                    for j, total in enumerate(row):
                        value = ops.mul(scale, ops.to_float(total))
                        before = partial[column][j]
                        partial[column][j] = value if before is None else ops.add(before, value)
            for j in range(len(panels)):
                bits = self.weight_scales.memory.load(scale_starts[j] + g * product.panel_rows, product.panel_rows)
                scale = decode(b, bits, product.panel_rows)
                for column in range(self.width):
                    cell = sums[column][j]
                    cell.set(ops.add(cell.get(), ops.mul(scale, partial[column][j])))

        whole, rest = divmod(product.columns, product.group)
        if whole:
            with b.loop(whole) as g:
                group(g, [product.block] * per_group)
        if rest:
            extents = [product.block] * (rest // product.block)
            group(whole, extents + ([rest % product.block] if rest % product.block else []))
        for column in range(self.width):
            for panel, cell in zip(panels, sums[column], strict=True):
                self._store(column, panel, cell.get())

    def _block(self, index: int | Expr, extent: int, starts: Sequence[Expr]) -> list[list[Expr]]:
        """Integer sums of a block: int32 vectors per column and panel."""
        b, product = self.body.b, self.body.product
        lanes = product.panel_rows
        halves = f"int16x{2 * lanes}"
        dot4, dot2 = b.isa.primitives["dot2_u8_i8"], b.isa.primitives["dot2_i16"]
        totals: list[list[Any]] = [[None] * len(starts) for _ in range(self.width)]
        for step in range(-(-extent // COLUMNS_PER_STEP)):
            offset = (index * (product.block // COLUMNS_PER_STEP) + step) * product.step_bytes
            packed = [
                b.let(reinterpret(self.weights.memory.load(start + offset, product.step_bytes), f"u{halves}"))
                for start in starts
            ]
            for plane in range(PLANES):
                place = step * COLUMNS_PER_STEP + 4 * plane
                shared = [self._activations(index, place, column, extent) for column in range(self.width)]
                for j, vector in enumerate(packed):
                    shifted = tirx.shift_right(vector, constant(2 * plane, f"u{halves}")) if plane else vector
                    masked = tirx.bitwise_and(shifted, constant(0x0303, f"u{halves}"))
                    codes = b.let(reinterpret(masked, f"uint8x{4 * lanes}"))
                    for column, activations in enumerate(shared):
                        value = dot4.build(codes, activations)
                        before = totals[column][j]
                        totals[column][j] = b.let(value if before is None else tirx.Add(before, value))
        ones = constant(1, halves)
        for column in range(self.width):
            total = b.let(splat(self.body._sums.load(column * product.blocks + index), lanes))
            totals[column] = [b.let(tirx.Sub(dot2.build(t, ones), total)) for t in totals[column]]
        return totals

    def _activations(self, index: int | Expr, place: int, column: int, extent: int) -> Expr:
        """Four activations, repeated for every row of a panel."""
        b, product = self.body.b, self.body.product
        if extent == product.block:
            four = self.codes.load(column * product.columns + index * product.block + place, 4)
        else:
            assert self.body._tail is not None
            four = self.body._tail.load(column * product.block + place, 4)
        word = b.hold(reinterpret(four, "int32"))
        return b.let(reinterpret(splat(word, product.panel_rows), f"int8x{4 * product.panel_rows}"))

    def _store(self, column: int, panel: Expr, value: Expr) -> None:
        b, product = self.body.b, self.body.product
        target, start = self.result.memory, self.result.start + column * product.rows + panel * product.panel_rows
        rest = product.rows % product.panel_rows
        if not rest:
            b.store(target, start, value)
            return
        with b.when(tirx.LT(panel, constant(product.panels - 1, "int32"))):
            b.store(target, start, value)
        with b.when(tirx.EQ(panel, constant(product.panels - 1, "int32"))):
            for lane in range(rest):
                b.store(target, start + lane, tirx.Shuffle([value], [constant(lane, "int32")]))
