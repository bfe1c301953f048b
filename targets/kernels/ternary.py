"""Kernel of ternary_matmul, and its body for the grouped product of experts.

Lanes are output rows (compiler/ir/layouts.py), so nothing is summed across lanes. With codes 0, 1, 2 for the weights
-1, 0, 1 a block's sum is ``sum(code * activation) - sum(activation)``, and the last term is the same for all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx

from chimerac.compiler.ir.layouts import COLUMNS_PER_STEP, words_per_vector
from chimerac.targets.isa import Isa, TernaryDot
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.halves import decode
from chimerac.targets.kernels.packed import Place, Product
from chimerac.targets.kernels.scaled_sums import ScaledSums, SumOfBlocks, SumOfRow, SumsOfGroups
from chimerac.targets.kernels.tensorir import (
    Build,
    Expr,
    KernelBuilder,
    Memory,
    constant,
    integer,
    intrinsic,
    reinterpret,
    shuffle,
    splat,
    with_lanes,
)
from chimerac.targets.kernels.ternary_tables import LEAST_PANELS, TOKENS, Operands, TableProduct, stretch_of
from chimerac.targets.kernels.trit_codes import PLANES, WordCodes, period_of, to_two_bits, two_bit_vectors

#: (the numbers of the panels of each vector) → statements of the product with them.
Panels = Callable[[Sequence[Sequence[Expr]]], None]

CACHE_LINE = 64  #: bytes
CACHED_BYTES = 1 << 18  #: of weights that several tiles of columns take in turn


def build(spec: KernelSpec, isa: Isa) -> Any:
    """codes i8[..., K], scales f32[..., B], packed weights u8, weight_scales ``panel.r<R>`` → f32[..., N]."""
    b = KernelBuilder(spec, isa)
    codes, scales, weights, weight_scales = (Place(o) for o in b.operands)
    count = b.extent(spec.operands[0].shape[:-1])
    TernaryBody(b, Product.of(spec, isa)).emit(codes, scales, weights, weight_scales, Place(b.results[0]), count)
    return b.finish()


class TernaryBody:
    """Statements of a product of ``count`` activation columns with one packed matrix; may be emitted in a loop."""

    def __init__(self, builder: KernelBuilder, product: Product) -> None:
        self.b, self.product = builder, product
        tile = builder.isa.columns_per_pass
        self.sums = builder.local("int32", tile * product.pieces)
        self.words = builder.local("int32", tile * product.steps * self.step_words)
        self.two_bits = self._scratch() if self.converts else None
        self.tables = TableProduct(builder, product) if builder.isa.sum_tables and stretch_of(product) else None

    @property
    def converts(self) -> bool:
        """Whether panels are brought into the form of two bits before they are multiplied."""
        return self.product.form == "t5" and self.b.isa.base3_codes is None

    def _scratch(self) -> Memory:
        vectors = two_bit_vectors(self.product.panel_bytes // self.product.vector_bytes)
        streams = max(self.b.isa.joined_panels, self.b.isa.panels_per_pass)
        return self.b.local("uint8", streams * vectors * self.product.vector_bytes)

    @property
    def step_words(self) -> int:
        """Room for the prepared words of 16 activations."""
        isa, piece = self.b.isa, self.product.piece
        return max(isa.dot(columns, piece).words for columns in (1, isa.columns_per_pass)) * PLANES

    def emit(
        self, codes: Place, scales: Place, weights: Place, weight_scales: Place, result: Place, count: int | Expr
    ) -> None:
        """codes[count, K] and scales[count, B] → result[count, N]; each place is that of the first element."""
        b = self.b

        operands = Operands(codes, scales, weights, weight_scales, result)
        done: int | Expr = 0
        if self.tables is not None and (not isinstance(count, int) or count >= TOKENS):
            enough = b.end - b.begin >= LEAST_PANELS
            times = b.let(tirx.Select(enough, tirx.truncdiv(integer(count), integer(TOKENS)), integer(0)))
            self.tables.emit(operands, times)
            done = b.let(times * TOKENS)
        left = count - done
        if isinstance(left, int) and left <= self.tiles[0]:
            self._columns(operands, done, left, b.begin, b.end)
            return
        # rows that several tiles of columns are multiplied with stay in a cache meanwhile
        left = b.let(integer(left))
        some = tirx.Select(left <= self.tiles[0], b.end - b.begin, integer(self.rows_in_cache))
        some = b.let(tirx.Max(some, integer(1)))
        with b.loop(b.let(tirx.truncdiv(b.end - b.begin + some - 1, some))) as i:
            begin = b.let(b.begin + i * some)
            self._columns(operands, done, left, begin, b.let(tirx.Min(begin + some, b.end)))

    def column(self, operands: Operands) -> Panels:
        """Prepares one column of activations; what comes back emits its products with some panels, side by side."""
        places = (operands.codes, operands.scales, operands.weights, operands.weight_scales, operands.result)
        tile = _Tile(self, *places, Place(self.sums), Place(self.words), 1, integer(0), integer(0))
        tile.prepare()
        return tile.panels

    @property
    def rows_in_cache(self) -> int:
        """Panels that stay in the second-level cache."""
        return max(LEAST_PANELS, CACHED_BYTES // self.product.panel_bytes)

    def _columns(self, operands: Operands, first: int | Expr, count: int | Expr, begin: Expr, end: Expr) -> None:
        """The products of ``count`` columns from ``first`` on with the panels ``begin`` to ``end``."""
        b = self.b
        done, left = first, count
        for tile in self.tiles:
            times = left // tile if isinstance(left, int) else b.let(tirx.truncdiv(left, integer(tile)))
            if not isinstance(times, int) or times:
                with b.loop(times) as i:
                    here = operands.moved(b, self.product, b.let(done + i * tile))
                    places = (here.codes, here.scales, here.weights, here.weight_scales, here.result)
                    _Tile(self, *places, Place(self.sums), Place(self.words), tile, begin, end).emit()
                done, left = done + times * tile, left - times * tile
                if not isinstance(left, int):
                    done, left = b.let(integer(done)), b.let(left)

    @property
    def tiles(self) -> list[int]:
        """Columns at a time: as many as the instruction set has registers for, then two, then one."""
        return sorted({1, min(2, self.b.isa.columns_per_pass), self.b.isa.columns_per_pass}, reverse=True)


@dataclass
class _Tile:
    """One tile of columns times the panels ``begin`` to ``end``."""

    body: TernaryBody
    codes: Place
    scales: Place
    weights: Place
    weight_scales: Place
    result: Place
    sums: Place
    words: Place
    width: int
    begin: Expr
    end: Expr

    @property
    def dot(self) -> TernaryDot:
        """The inner step."""
        return self.body.b.isa.dot(self.width, self.body.product.piece)

    def emit(self) -> None:
        b = self.body.b
        self.prepare()
        joined = b.isa.joined_panels
        together = max(joined, b.isa.panels_per_pass // self.width // joined * joined)
        count = b.let(self.end - self.begin)
        passes = b.let(tirx.truncdiv(count, integer(together))) if together > 1 else count
        with b.loop(passes) as i:
            # each panel of a pass is a sequential stream of its own, far from the others
            panels = [b.let(self.begin + i + j * passes) for j in range(together)]
            self.panels([panels[j : j + joined] for j in range(0, together, joined)])
        if together > 1:
            with b.loop(b.let(count - passes * together)) as i:
                self.panels([[b.let(self.begin + passes * together + i)]])

    def prepare(self) -> None:
        """The activations as the instruction set wants them, zeros behind the last, and the sum of each piece."""
        b, product = self.body.b, self.body.product
        whole, rest = divmod(product.columns, product.piece)
        for column in range(self.width):
            if whole:
                with b.loop(whole) as k:
                    self._prepare_piece(column, k, product.piece)
            if rest:
                self._prepare_piece(column, whole, rest)

    def _prepare_piece(self, column: int, index: int | Expr, extent: int) -> None:
        b, product = self.body.b, self.body.product
        total: Any = None  # 16 lanes, each of at most a 16th of the largest block
        for start in range(0, extent, COLUMNS_PER_STEP):
            place = b.let(integer(column * product.columns + index * product.piece + start))
            codes = self._sixteen(place, min(COLUMNS_PER_STEP, extent - start))
            wide = tirx.Cast("int16x16", codes)
            total = b.let(wide if total is None else tirx.Add(total, wide))
            if not self.direct:
                for i, vector in enumerate(self._prepared(codes)):
                    b.store(self.body.words, self._words(column, index, start // COLUMNS_PER_STEP) + i * PLANES, vector)
        total = intrinsic("llvm.vector.reduce.add", "int32", tirx.Cast("int32x16", total))
        b.store(self.body.sums, column * product.pieces + index, total)

    @property
    def direct(self) -> bool:
        """Whether the words are the activations where they are."""
        return self.dot.prepare is None and self.body.product.columns % COLUMNS_PER_STEP == 0

    def _prepared(self, codes: Expr) -> list[Expr]:
        return [reinterpret(codes, f"int32x{PLANES}")] if self.dot.prepare is None else self.dot.prepare(codes)

    def _sixteen(self, place: Expr, count: int) -> Expr:
        """``count`` activations and zeros."""
        b = self.body.b
        if count == COLUMNS_PER_STEP:
            return b.let(self.codes.load(place, COLUMNS_PER_STEP))
        padded_codes = b.local("int8", COLUMNS_PER_STEP)
        b.store(padded_codes, 0, constant(0, f"int8x{COLUMNS_PER_STEP}"))
        for i in range(count):
            b.store(padded_codes, i, self.codes.load(place + i))
        return b.let(padded_codes.load(0, COLUMNS_PER_STEP))

    def _words(self, column: int, index: int | Expr, step: int | Expr) -> Expr:
        """Where the prepared words of a piece's step are."""
        product = self.body.product
        first = index * (product.piece // COLUMNS_PER_STEP) + (column * product.steps + step)
        return first * self.body.step_words

    def panels(self, vectors: Sequence[Sequence[Expr]]) -> None:
        """The product with some panels. ``vectors``: the panels of each vector; a single one is computed twice where
        several are joined."""
        b, product = self.body.b, self.body.product
        joined = b.isa.joined_panels
        vectors = [panels if len(panels) == joined else [*panels] * joined for panels in vectors]
        starts = [[b.let(self.weights.start + p * product.panel_bytes) for p in panels] for panels in vectors]
        weights, form = self.weights.memory, product.form
        if self.body.two_bits is not None:
            starts = self._two_bit_starts(starts)
            weights, form = self.body.two_bits, "t2"
        scale_bytes = product.groups * product.panel_rows
        scale_starts = [[b.let(self.weight_scales.start + p * scale_bytes) for p in panels] for panels in vectors]
        sums = self._sums(len(vectors))
        per_run, run_words = product.run // product.piece, product.run // 4

        def run(
            tile: _Tile, g: int, extents: Sequence[int], words: WordCodes, scale_starts: Sequence[Sequence[Expr]]
        ) -> None:
            """Run ``g`` from where the tile and the others begin; its pieces have these extents."""
            for k, extent in enumerate(extents):
                index = g * per_run + k
                start = g * run_words + k * product.piece // 4
                for column, row in enumerate(tile._block(index, extent, words, start, len(vectors))):
                    sums.add(column, row, tile.scales, index)
            sums.end_run(scale_starts, g)

        period = period_of(form, run_words)
        period_bytes = period * run_words // words_per_vector(form) * product.vector_bytes
        whole, rest = divmod(product.columns, product.run * period)

        def period_from(i: int | Expr) -> tuple[_Tile, WordCodes, list[list[Expr]]]:
            """Everything from period ``i`` on, so that all that follows lies at constant distances."""
            streams = [[b.let(start + i * period_bytes) for start in panels] for panels in starts]
            if b.isa.prefetch_bytes and self.body.two_bits is None:
                self._prefetch(streams, period_bytes)
            words = WordCodes(b, form, 0, lambda vector: [self._packed(weights, stream, vector) for stream in streams])
            scale_step = 0 if product.one_group else period * product.panel_rows
            return self._moved(i * period), words, [[b.let(p + i * scale_step) for p in ps] for ps in scale_starts]

        if whole:
            with b.loop(whole) as i:
                tile, words, places = period_from(i)
                for g in range(period):
                    run(tile, g, [product.piece] * per_run, words, places)
        if rest:
            tile, words, places = period_from(whole)
            for g in range(-(-rest // product.run)):
                extent = min(product.run, rest - g * product.run)
                extents = [min(product.piece, extent - start) for start in range(0, extent, product.piece)]
                run(tile, g, extents, words, places)
        for column, values in enumerate(sums.results(self.scales, scale_starts)):
            self._store(column, vectors, values)

    def _prefetch(self, streams: Sequence[Sequence[Expr]], size: int) -> None:
        """Ask for what each stream reads later, as many bytes as it reads now."""
        b = self.body.b
        for start in dict.fromkeys(start for panels in streams for start in panels):
            for line in range(0, size, CACHE_LINE):
                b.prefetch(self.weights.memory, start + (b.isa.prefetch_bytes + line))

    def _sums(self, count: int) -> ScaledSums:
        """What becomes of the sums of pieces, for each column and ``count`` vectors."""
        product = self.body.product

        def weight_scales(places: Sequence[Expr], group: int) -> Expr:
            here = group * product.panel_rows
            bits = [self.weight_scales.memory.load(p + here, product.panel_rows) for p in places]
            return decode(self.body.b, self._joined(bits), self.lanes)

        kind = SumOfRow if product.one_block else SumOfBlocks if product.one_group else SumsOfGroups
        return kind(self.body.b, self.lanes, self.width, count, product.blocks, weight_scales)

    def _moved(self, runs: int | Expr) -> _Tile:
        """The tile as seen from a run of columns on."""
        b, product = self.body.b, self.body.product
        pieces, words = product.run // product.piece, product.run // COLUMNS_PER_STEP * self.body.step_words
        blocks = 0 if product.one_block else pieces
        return replace(
            self,
            codes=Place(self.codes.memory, b.let(integer(self.codes.start + runs * product.run))),
            scales=Place(self.scales.memory, b.let(integer(self.scales.start + runs * blocks))),
            sums=Place(self.sums.memory, b.let(integer(self.sums.start + runs * pieces))),
            words=Place(self.words.memory, b.let(integer(self.words.start + runs * words))),
        )

    @property
    def lanes(self) -> int:
        """Rows of a vector."""
        return self.body.product.panel_rows * self.body.b.isa.joined_panels

    def _joined(self, parts: Sequence[Expr]) -> Expr:
        """One vector of several, side by side."""
        if len(parts) == 1:
            return self.body.b.let(parts[0])
        lanes = int(parts[0].ty.dtype.lanes)
        return self.body.b.let(shuffle(parts, range(lanes * len(parts))))

    def _two_bit_starts(self, starts: Sequence[Sequence[Expr]]) -> list[list[Expr]]:
        """Bring the panels that start at these places into the form of two bits, and say where."""
        b, target, size = self.body.b, self.body.two_bits, self.body.product.vector_bytes
        assert target is not None
        vectors = self.body.product.panel_bytes // size
        places: list[list[Expr]] = []
        for panels in starts:
            places.append([])
            for start in panels:
                place = integer(sum(map(len, places)) * two_bit_vectors(vectors) * size)
                to_two_bits(b, self.weights.memory, start, vectors, target, place, size)
                places[-1].append(place)
        return places

    def _packed(self, weights: Memory, streams: Sequence[Expr], vector: int | Expr) -> Expr:
        """A vector of each of the panels that start at these places, side by side."""
        offset, size = vector * self.body.product.vector_bytes, self.body.product.vector_bytes
        loaded = self._joined([weights.load(start + offset, size) for start in streams])
        return self.body.b.let(reinterpret(loaded, f"uint16x{2 * self.lanes}"))

    def _block(self, index: int | Expr, extent: int, codes: WordCodes, first: int, count: int) -> list[list[Expr]]:
        """Integer sums of a piece, whose words are those from ``first`` on: int32 for each column and vector."""
        b, product = self.body.b, self.body.product
        steps, most = -(-extent // COLUMNS_PER_STEP), self.dot.largest_block // COLUMNS_PER_STEP
        sums = self._piece(index, 0, min(most, steps), codes, first, count)
        for begin in range(most, steps, most):  # more than the sums have room for
            before = [[b.let(s) for s in row] for row in sums]
            piece = self._piece(index, begin, min(most, steps - begin), codes, first, count)
            sums = [[tirx.Add(x, y) for x, y in zip(*rows, strict=True)] for rows in zip(before, piece, strict=True)]
        totals = []
        for column in range(self.width):
            total = b.let(splat(self.sums.load(column * product.pieces + index), self.lanes))
            totals.append([b.let(tirx.Sub(s, total)) for s in sums[column]])
        return totals

    def _piece(
        self, index: int | Expr, begin: int, steps: int, codes: WordCodes, first: int, count: int
    ) -> list[list[Expr]]:
        """The sums over some steps of piece ``index``, from ``begin`` on, for each column and vector."""
        sums: list[list[list[Expr]]] = [[[] for _ in range(count)] for _ in range(self.width)]
        if self.body.b.isa.step_loops and codes.form == "t2" and steps > 1:
            sums = self._looped(sums, index, begin, steps, codes.moved(first // PLANES + begin))
        else:
            for step in range(begin, begin + steps):
                sums = self._step(sums, index, step, codes, first + step * PLANES)
        return [[self.dot.finish(s) for s in row] for row in sums]

    def _step(
        self, sums: list[list[list[Expr]]], index: int | Expr, step: int | Expr, codes: WordCodes, first: int
    ) -> list[list[list[Expr]]]:
        """The sums of piece ``index`` with the products of 16 of its columns, whose words begin with ``first``."""
        b, sums = self.body.b, [list(row) for row in sums]
        words = [self._repeated(column, index, step) for column in range(self.width)]
        for plane in range(PLANES):
            vectors, place = codes.word(first + plane)
            for column in range(self.width):
                now = words[column](plane)
                for j, vector in enumerate(vectors):
                    sums[column][j] = [b.let(s) for s in self.dot.accumulate(sums[column][j], vector, place, now)]
        return sums

    def _looped(
        self, sums: list[list[list[Expr]]], index: int | Expr, begin: int, steps: int, codes: WordCodes
    ) -> list[list[list[Expr]]]:
        """Steps of a piece from ``begin`` on, whose words are those of ``codes``: one, and a loop over the others."""
        b = self.body.b
        sums = self._step(sums, index, begin, codes, 0)
        cells = [[[b.cell(s) for s in vector] for vector in row] for row in sums]
        with b.loop(b.hidden(steps - 1)) as i:
            step = b.let(i + 1)
            before = [[[c.get() for c in v] for v in row] for row in cells]
            now = self._step(before, index, b.let(begin + step) if begin else step, codes.moved(step), 0)
            for cell, value in zip(_flat(cells), _flat(now), strict=True):
                cell.set(value)
        return [[[c.get() for c in vector] for vector in row] for row in cells]

    def _repeated(self, column: int, index: int | Expr, step: int | Expr) -> Callable[[int], list[Expr]]:
        """plane → the words of a step, each in every row's lane."""
        b, lanes = self.body.b, self.lanes
        load = self._word_loader(column, index, step)
        words = range(self.dot.words)
        if self.dot.from_lanes:
            vectors = [b.let(load(i, 0, PLANES)) for i in words]
            return lambda plane: [b.let(shuffle([vector] * (lanes // PLANES), [plane] * lanes)) for vector in vectors]
        return lambda plane: [b.let(splat(load(i, plane, 1), lanes)) for i in words]

    def _word_loader(self, column: int, index: int | Expr, step: int | Expr) -> Callable[[int, int, int], Expr]:
        """(index of the word, plane, count) → words of planes from there on."""
        product = self.body.product
        if not self.direct:
            place = self.body.b.let(integer(self._words(column, index, step)))
            return lambda i, plane, count: self.words.load(place + i * PLANES + plane, count)
        start = column * product.columns + index * product.piece + step * COLUMNS_PER_STEP
        return lambda i, plane, count: reinterpret(
            self.codes.load(start + plane * 4, 4 * count), with_lanes("int32", count)
        )

    def _store(self, column: int, vectors: Sequence[Sequence[Expr]], values: Sequence[Expr]) -> None:
        """The results of a column for the panels of each vector."""
        rows = self.body.product.panel_rows
        for panels, value in zip(vectors, values, strict=True):
            for j, panel in enumerate(dict.fromkeys(panels)):
                here = range(j * rows, (j + 1) * rows)
                part = shuffle([value], here) if len(panels) > 1 else value
                self.body.product.store_panel(self.body.b, self.result, column, panel, part)


def _flat(nested: Sequence[Sequence[Sequence[Any]]]) -> list[Any]:
    return [value for row in nested for vector in row for value in vector]


KERNELS: Mapping[str, Build] = {"ternary_matmul": build}
