"""Kernel of cached_attention: a chunk of rows at a time for all query heads, and some tokens, that read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.compiler.ir.context import ATTENTION
from chimerac.compiler.ir.ops.cached_attention import CHUNK, GROUP, LEAST, edge_of, slopes_of
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.cached_rows import CacheRows
from chimerac.targets.kernels.nibble_keys import NibbleKeys
from chimerac.targets.kernels.nibble_quads import NibbleQuads
from chimerac.targets.kernels.nibble_rows import NibbleRows, rotate
from chimerac.targets.kernels.nibble_values import NibbleValues
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, Memory, integer, shuffle, splat, strips
from chimerac.targets.kernels.vectors import float_lanes, lanes8_tree, panels, place_of_row, row_sums

MINUS_INFINITY = -0x00800000  #: bits of the float32
QUERIES = 16  #: rows of q that pass by a chunk while it is in the cache, if one token has not more of them
PAGE = 4096  #: bytes in which processors read ahead; rows that fill it together are read one after the other
ROWS_PER_VISIT = 16  #: value rows that one query adds before the next one does


def build(spec: KernelSpec, isa: Isa) -> Any:
    """Attention of q[T,H,d] over caches [G,R,d] and [G,R,dv], which take k[T,G,d] and v[T,G,dv] first.

    Position p lies in row p mod R. Caches of codes have scales [G,R,blocks], which are the last operands. The result
    doubles as the weighted sums so far.
    """
    return _Attention(spec, isa).build()


class _Attention:
    def __init__(self, spec: KernelSpec, isa: Isa) -> None:
        self.isa = isa
        self.b = b = KernelBuilder(spec, isa)
        self.q, self.k, self.v, keys, values, self.position, *scales = b.operands
        self.out = b.results[0]
        self.tokens = b.extent(spec.operands[0].shape[:1])
        self.heads = int(spec.operands[0].shape[1])
        self.kept, self.rows = (int(d) for d in spec.operands[3].shape[:2])
        self.key_width, self.value_width = (int(t.shape[2]) for t in spec.operands[1:3])
        self.group = self.heads // self.kept
        self.window = spec.integer("window") or self.rows
        self.scale = float(np.float32(spec.number("scale")))
        self.wide = isa.wide_lanes > 0 and spec.wide
        self.lanes = isa.wide_lanes if self.wide else float_lanes(isa)
        self.slopes = self._slopes()
        self.edge = edge_of(dict(spec.attributes))  #: what a score may be below the largest of its query
        self.tile = max(1, QUERIES // self.group)  #: tokens that pass by a chunk together
        queries = self.tile * self.group
        self.scores = b.local("float32", queries * CHUNK)
        self.tops, self.totals = (b.local("float32", queries) for _ in range(2))
        self.decoded: Memory | None = None
        self.floats: tuple[CacheRows, CacheRows] | None = None
        self.nibbles: tuple[NibbleKeys, NibbleValues | NibbleQuads] | None = None
        self.caches: tuple[CacheRows | NibbleRows, CacheRows | NibbleRows]
        if keys.dtype == "uint8":
            held = NibbleRows(b, keys, scales[0], self.key_width), NibbleRows(b, values, scales[1], self.value_width)
            wide = self.wide and NibbleQuads.fits(held[1])
            mixed = NibbleQuads(held[1]) if wide else NibbleValues(held[1], self.lanes)
            self.nibbles, self.caches = (NibbleKeys(held[0], queries, self.wide), mixed), held
            self.lanes = self.nibbles[0].rows
            return
        key_scales, value_scales = scales or (None, None)
        floats = CacheRows(b, keys, key_scales, self.key_width, self.lanes)
        self.floats = self.caches = floats, CacheRows(b, values, value_scales, self.value_width, self.lanes)
        widest = max(self.lanes * self.key_width, ROWS_PER_VISIT * self.value_width)
        direct = floats.plain and not self.wide and 4 * self.lanes * max(self.key_width, self.value_width) < PAGE
        self.decoded = None if direct else b.aligned("float32", widest, 64)

    def _slopes(self) -> Memory | None:
        """Slopes of the query heads, where they have some."""
        found = slopes_of(dict(self.b.spec.attributes))
        if found is None:
            return None
        memory = self.b.local("float32", self.heads)
        for head, slope in enumerate(found.tolist()):
            self.b.store(memory, head, TirOps(self.b, 1).f32(slope))
        return memory

    def build(self) -> Any:
        b = self.b
        with b.units() as head:
            with b.loop(self.tokens) as t:
                row = b.let(tirx.truncmod(self.position + t, integer(self.rows)))
                for cache, new in zip(self.caches, (self.k, self.v), strict=True):
                    own = b.let((t * self.kept + head) * cache.width)
                    cache.keep(b.let(head * self.rows + row), new, own)
            tokens = integer(self.tokens)
            with b.loop(b.let(tirx.truncdiv(tokens + (self.tile - 1), integer(self.tile)))) as i:
                first = b.let(i * self.tile)
                _Tile(self, head, first, b.let(tirx.Min(tokens - first, integer(self.tile)))).run()
        return b.finish()

    def unpack(self, cache: CacheRows, rows: int, place: Callable[[Expr], Expr]) -> Memory:
        """So many rows of a cache, which are at these places, one after the other as float32."""
        assert self.decoded is not None
        with self.b.loop(rows) as r:
            cache.unpack(place(r), self.decoded, self.b.let(r * cache.width))
        return self.decoded

    def products(self, place: Callable[[Expr], Expr]) -> Callable[[Expr, Expr, int], list[Expr]]:
        """Of a query that begins there with the keys at these places: from a channel on so many, for ``row_sums``."""
        b, width = self.b, self.key_width
        assert self.floats is not None
        keys, _ = self.floats
        if not self.wide:
            if self.decoded is None:
                memory, places = keys.cache, [b.let(place(integer(r)) * width) for r in range(self.lanes)]
            else:
                memory = self.unpack(keys, self.lanes, place)
                places = [integer(r * width) for r in range(self.lanes)]

            def of_rows(own: Expr, first: Expr, lanes: int) -> list[Expr]:
                q = b.let(self.q.load(own + first, lanes))
                return [TirOps(b, lanes).mul(q, memory.load(place + first, lanes)) for place in places]

            return of_rows
        assert self.decoded is not None
        decoded = self.decoded
        with b.loop(self.lanes) as r:
            vector, half = place_of_row(r)
            keys.unpack(place(r), decoded, b.let(vector * (2 * width) + half * 8), spread=True)

        def of_pairs(own: Expr, first: Expr, lanes: int) -> list[Expr]:
            q = b.let(shuffle([b.let(self.q.load(own + first, lanes))] * 2, range(16)))
            return [TirOps(b, 16).mul(q, decoded.load(2 * width * i + 2 * first, 16)) for i in range(8)]

        return of_pairs


class _Tile:
    """Some tokens and one head of the cache."""

    def __init__(self, whole: _Attention, head: Expr, first: Expr, count: Expr) -> None:
        self.whole, self.b, self.head, self.first = whole, whole.b, head, first
        b = self.b
        self.queries = b.let(count * whole.group)
        self.last = b.let(whole.position + (first + count - 1))  #: the last position that the last token sees
        self.begin = b.let(self._begin(whole.position + first))  #: the first position that the first token sees
        # unrolled, the rows of keys would be kept on the stack from query to query, which is slower than reading them
        self.steps = b.let(tirx.Max(integer(whole.key_width // 8), integer(0) - whole.position))

    def run(self) -> None:
        b, whole = self.b, self.whole
        with b.loop(self.queries) as i:
            b.store(whole.tops, i, TirOps(b, 1).f32(LEAST))
            b.store(whole.totals, i, TirOps(b, 1).f32(0.0))
            row = self._row(i)
            if whole.nibbles is not None:
                whole.nibbles[0].keep(i, whole.q, b.let(row * whole.key_width))
            out = b.let(row * whole.value_width)
            strips(b, whole.value_width, lambda s, n: b.store(whole.out, out + s, TirOps(b, n).f32(0.0)), whole.lanes)
        first = b.let(tirx.truncdiv(self.begin, integer(CHUNK)))
        chunks = b.let(tirx.truncdiv(self.last, integer(CHUNK)) - first + 1)
        if whole.edge is not None:
            with b.loop(chunks) as i:
                self._look(b.let((first + i) * CHUNK))
        with b.loop(chunks) as i:
            self._chunk(b.let((first + i) * CHUNK))
        with b.loop(self.queries) as i:
            self._finish(i)

    def _begin(self, position: Expr) -> Expr:
        """The first position that the token at this one sees."""
        return tirx.Max(position - (self.whole.window - 1), integer(0))

    def _row(self, query: Expr) -> Expr:
        """The row of q and of the result."""
        token = self.first + tirx.truncdiv(query, integer(self.whole.group))
        return self.b.let(token * self.whole.heads + self._head(query))

    def _head(self, query: Expr) -> Expr:
        """The head of q."""
        group = self.whole.group
        return self.head * group + tirx.truncmod(query, integer(group))

    def _position(self, query: Expr) -> Expr:
        """That of the token of q."""
        return self.b.let(self.whole.position + self.first + tirx.truncdiv(query, integer(self.whole.group)))

    def _bounds(self, base: Expr) -> tuple[Expr, Expr, Expr]:
        """The first and the last position of a chunk that some token sees, and the row of the first."""
        b = self.b
        low = b.let(tirx.Max(base, self.begin))
        high = b.let(tirx.Min(base + (CHUNK - 1), self.last))
        return low, high, b.let(tirx.truncmod(low, integer(self.whole.rows)))

    def _look(self, base: Expr) -> None:
        """What a chunk does to the largest scores."""
        self._scores(base, *self._bounds(base))
        with self.b.loop(self.queries) as i:
            self._softmax(i, base, look=True)

    def _chunk(self, base: Expr) -> None:
        bounds = self._bounds(base)
        self._scores(base, *bounds)
        with self.b.loop(self.queries) as i:
            self._softmax(i, base)
        (self._mix if self.whole.nibbles is None else self._mix_nibbles)(base, *bounds)

    def _place(self, position: Expr, low: Expr, start: Expr) -> Expr:
        """The row of a position of a chunk in a cache of all heads; ``start`` is that of ``low`` in a head's."""
        b, rows = self.b, self.whole.rows
        row = b.let(start + (position - low))
        wrapped = tirx.Select(row >= rows, row - rows, row) if rows >= CHUNK else tirx.truncmod(row, integer(rows))
        return b.let(self.head * rows + wrapped)

    def _inside(self, position: Expr, low: Expr, high: Expr, start: Expr, row: Expr) -> Expr:
        """The row of a position, or of the next one from low to high."""
        return self._place(self.b.let(tirx.Max(tirx.Min(position + row, high), low)), low, start)

    def _scores(self, base: Expr, low: Expr, high: Expr, start: Expr) -> None:
        """Scaled scores of each query with the rows low to high; what a group has beyond repeats one of them."""
        b, whole = self.b, self.whole
        lanes = whole.lanes
        begin = b.let(tirx.truncdiv(low - base, integer(lanes)))
        with b.loop(b.let(tirx.truncdiv(high - base, integer(lanes)) - begin + 1)) as i:
            at = b.let((begin + i) * lanes)
            dots = self._dots(partial(self._inside, b.let(base + at), low, high, start))
            with b.loop(self.queries) as query:
                ops = TirOps(b, lanes)
                scaled = ops.mul(dots(query), ops.f32(whole.scale))
                if whole.slopes is not None:
                    slope = splat(b.let(whole.slopes.load(self._head(query))), lanes)
                    behind = b.hold(tirx.Ramp(b.let(base + at - self._position(query)), integer(1), lanes))
                    scaled = ops.add(scaled, ops.mul(slope, ops.to_float(behind)))
                b.store(whole.scores, query * CHUNK + at, scaled)

    def _dots(self, place: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
        """Of a query with the keys at these places, a lane each."""
        b, whole = self.b, self.whole
        if whole.nibbles is not None:
            keys = whole.nibbles[0]
            keys.take(place)
            return keys.dots
        products, width = whole.products(place), whole.key_width

        def dots(query: Expr) -> Expr:
            terms = partial(products, b.let(self._row(query) * width))
            return row_sums(b, terms, whole.lanes, width, self.steps)

        return dots

    def _seen(self, query: Expr, base: Expr) -> tuple[Expr, Expr]:
        """The first and the last row of a chunk that a query sees, counted from its beginning; last < first: none."""
        b, position = self.b, self._position(query)
        first = b.let(tirx.Max(self._begin(position) - base, integer(0)))
        return first, b.let(tirx.Min(position - base, integer(CHUNK - 1)))

    def _softmax(self, query: Expr, base: Expr, look: bool = False) -> None:
        """Scores of a query to weights, with its maximum, sum, and the weighted sums so far; or its maximum alone."""
        b, scores = self.b, self.whole.scores
        size = max(8, self.whole.lanes)
        ops, eights, scalar = TirOps(b, size), TirOps(b, 8), TirOps(b, 1)
        low, high = self._seen(query, base)
        own = b.let(query * CHUNK)
        minus_infinity = b.let(scalar.from_bits(scalar.i32(MINUS_INFINITY)))
        first = b.let(tirx.truncdiv(low, integer(size)))
        with b.when(low <= high):
            groups = b.let(tirx.truncdiv(high, integer(size)) - first + 1)
            for begin, end in ((first * size, low), (high + 1, (first + groups) * size)):
                with b.loop(b.let(end - begin)) as j:
                    b.store(scores, own + begin + j, minus_infinity)
            largest = b.cell(splat(minus_infinity, size))
            with b.loop(groups) as i:
                there = b.let(own + (first + i) * size)
                largest.set(numerics.maximum(ops, b.let(scores.load(there, size)), largest.get()))
            before = b.let(self.whole.tops.load(query))
            lanes, top = largest.get(), before
            for lane in range(size):
                top = numerics.maximum(scalar, b.let(shuffle([lanes], [lane])), top)
            b.store(self.whole.tops, query, top)
            if look:
                return
            total = b.cell(eights.f32(0.0))
            with b.loop(groups) as i:
                there = b.let(own + (first + i) * size)
                below = ops.sub(b.let(scores.load(there, size)), splat(top, size))
                weights = b.let(numerics.exp(ops, below))
                b.store(scores, there, self._gated(weights, below, size))
                for eight in range(0, size, 8):
                    some = weights if size == 8 else b.let(shuffle([weights], range(eight, eight + 8)))
                    total.set(eights.add(total.get(), some))
            fading = numerics.exp(scalar, scalar.sub(before, top))
            kept = scalar.mul(b.let(self.whole.totals.load(query)), fading)
            b.store(self.whole.totals, query, scalar.add(kept, lanes8_tree(b, [total.get()])))
            with b.when(tirx.Not(scalar.equal(fading, scalar.f32(1.0)))):
                self._each(query, lambda values, lanes: TirOps(b, lanes).mul(values, splat(fading, lanes)))

    def _gated(self, weights: Expr, below: Expr, lanes: int) -> Expr:
        """Weights, by how much their scores are below the largest, without those that are too small."""
        ops, edge = TirOps(self.b, lanes), self.whole.edge
        return weights if edge is None else ops.select(ops.less(ops.f32(float(edge)), below), weights, ops.f32(0.0))

    def _each(self, query: Expr, change: Callable[[Expr, int], Expr]) -> None:
        """Change the sums of a query."""
        b, whole = self.b, self.whole
        out = b.let(self._row(query) * whole.value_width)

        def some(start: Expr, lanes: int) -> None:
            b.store(whole.out, out + start, change(b.let(whole.out.load(out + start, lanes)), lanes))

        strips(b, whole.value_width, some, whole.lanes)

    def _mix(self, base: Expr, low: Expr, high: Expr, start: Expr) -> None:
        """Add the weighted value rows of a chunk, in order, to the sums of each query."""
        b, whole = self.b, self.whole
        width = whole.value_width
        assert whole.floats is not None
        _, values = whole.floats
        begin = b.let(tirx.truncdiv(low - base, integer(ROWS_PER_VISIT)))
        with b.loop(b.let(tirx.truncdiv(high - base, integer(ROWS_PER_VISIT)) - begin + 1)) as i:
            at = b.let((begin + i) * ROWS_PER_VISIT)
            decoded: Memory | None = None
            if whole.decoded is not None:
                inside = partial(self._inside, b.let(base + at), low, high, start)
                decoded = whole.unpack(values, ROWS_PER_VISIT, inside)
            with b.loop(self.queries) as query:
                first, last = self._seen(query, base)
                first = b.let(tirx.Max(first, at))
                count = b.let(tirx.Min(last, at + (ROWS_PER_VISIT - 1)) - first + 1)
                with b.when(count > 0):
                    out = b.let(self._row(query) * width)
                    for panel in panels(width, whole.lanes):
                        cells = [b.cell(whole.out.load(out + s, lanes)) for s, lanes in panel]
                        with b.loop(count) as j:
                            place = b.let(first + j)
                            weight = b.let(whole.scores.load(query * CHUNK + place))
                            row = self._place(base + place, low, start) if decoded is None else place - at
                            row = b.let(row * width)
                            rows = values.cache if decoded is None else decoded
                            for cell, (s, lanes) in zip(cells, panel, strict=True):
                                ops = TirOps(b, lanes)
                                product = ops.mul(splat(weight, lanes), rows.load(row + s, lanes))
                                cell.set(ops.add(cell.get(), product))
                        for cell, (s, _) in zip(cells, panel, strict=True):
                            b.store(whole.out, out + s, cell.get())

    def _mix_nibbles(self, base: Expr, low: Expr, high: Expr, start: Expr) -> None:
        """The same of codes of 4 bits, ``GROUP`` rows at a time."""
        b, whole = self.b, self.whole
        assert whole.nibbles is not None
        values = whole.nibbles[1]
        begin = b.let(tirx.truncdiv(low - base, integer(GROUP)))
        with b.loop(b.let(tirx.truncdiv(high - base, integer(GROUP)) - begin + 1)) as i:
            at = b.let((begin + i) * GROUP)
            values.take(partial(self._inside, b.let(base + at), low, high, start))
            with b.loop(self.queries) as query:
                first, last = self._seen(query, base)
                first = b.let(tirx.Max(first, at) - at)
                count = b.let(tirx.Min(last - at, integer(GROUP - 1)) - first + 1)
                with b.when(count > 0):
                    out = b.let(self._row(query) * whole.value_width)
                    values.add(whole.scores, b.let(query * CHUNK + at), (first, count), whole.out, out)

    def _finish(self, query: Expr) -> None:
        """Divide the sums of a query by the sum of its weights, and turn them back if values were turned."""
        b = self.b
        total = b.let(self.whole.totals.load(query))
        self._each(query, lambda values, lanes: TirOps(b, lanes).div(values, splat(total, lanes)))
        if self.whole.nibbles is not None:
            width = self.whole.value_width
            out = b.let(self._row(query) * width)
            rotate(b, self.whole.out, out, width, self.whole.out, out)


KERNELS: Mapping[str, Build] = dict.fromkeys(ATTENTION, build)
