"""Kernels of products of chosen rows (compiler/ir/ops/chosen.py).

Some rows at a time, the numbers of the chosen ones are gathered; then several are multiplied together as the dense
product does it, while those that follow are asked for. Rows of trits, which lie apart, are brought into panels first:
what the dense product reads. Where fewer rows are left than are multiplied together, the last one is repeated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from tvm import tirx

from chimerac.compiler.ir.ops.chosen import ROWS
from chimerac.compiler.ir.ops.linear import LINEAR_ROWS
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps, lanes8_sums
from chimerac.targets.kernels.int8 import ROWS as INT8_ROWS
from chimerac.targets.kernels.int8 import RowGroup, padding_of
from chimerac.targets.kernels.linear import load_wide
from chimerac.targets.kernels.open_list import OpenList
from chimerac.targets.kernels.packed import Place, Product
from chimerac.targets.kernels.tensorir import (
    Build,
    Expr,
    KernelBuilder,
    Memory,
    integer,
    reinterpret,
    shuffle,
    strips,
)
from chimerac.targets.kernels.ternary import Panels, TernaryBody
from chimerac.targets.kernels.ternary_tables import Operands
from chimerac.targets.kernels.vectors import float_lanes

AHEAD = 32768  #: bytes of rows that are asked for before they are read
MOST_AHEAD = 16  #: times as many rows as are multiplied together
PIECE = 4096  #: rows whose chosen ones are gathered at a time
LINE = 64  #: bytes of a cache line
STREAM = 8  #: lines of a row behind which processors follow by themselves
CHUNK = 16  #: bytes of a row that are moved into a panel at a time


class _Chosen(ABC):
    """What all formats share: which rows, and when they are asked for."""

    together: int  #: rows that are multiplied at once
    ahead: int  #: how many times as many rows are asked for before they are read

    def __init__(self, spec: KernelSpec, b: KernelBuilder) -> None:
        self.spec, self.b = spec, b
        self.chosen, self.out = b.operands[0], b.results[0]
        self.rows, self.columns = int(spec.operands[0].shape[-1]), int(spec.operands[1].shape[-1])
        self.tokens = b.extent(spec.operands[0].shape[:-1])
        self.list = OpenList(b, self.chosen, PIECE)

    @property
    @abstractmethod
    def parts(self) -> list[tuple[Memory, int]]:
        """What weights consist of, and elements of a row of it."""

    def far_ahead(self) -> int:
        """``ahead`` for rows that are too short for processors to follow."""
        row_bytes = sum(elements * np.dtype(memory.dtype).itemsize for memory, elements in self.parts)
        return min(-(-AHEAD // (self.together * row_bytes)), MOST_AHEAD)

    def build(self) -> Any:
        b = self.b
        first = b.let(b.begin * ROWS)
        last = b.let(tirx.Min(b.end * ROWS, integer(self.rows)))
        pieces = b.let(tirx.truncdiv(last - first + (PIECE - 1), integer(PIECE)))
        with b.loop(self.tokens) as token:
            self.begin(token)
            with b.loop(pieces) as i:
                begin = b.let(first + i * PIECE)
                self._piece(token, begin, b.let(tirx.Min(last - begin, integer(PIECE))))
        return b.finish()

    def _piece(self, token: Expr, begin: Expr, extent: Expr) -> None:
        b, several = self.b, self.together
        own = b.let(token * self.rows)
        strips(
            b,
            extent,
            lambda i, lanes: b.store(self.out, own + begin + i, TirOps(b, lanes).f32(0.0)),
            float_lanes(b.isa),
        )
        self.list.found.set(integer(0))
        self.list.gather(b.let(own + begin), begin, extent)
        count = self.list.count()

        def numbers(place: Expr) -> list[Expr]:
            return [self.list.number(b.let(tirx.Min(place + j, count - 1))) for j in range(several)]

        ahead = self.ahead * several
        with b.loop(b.let(tirx.Min(count, integer(ahead)))) as i:
            number = self.list.number(i)
            for matrix, elements in self.parts:
                step = LINE // np.dtype(matrix.dtype).itemsize
                for line in range(0, elements, step):
                    b.prefetch(matrix, number * elements + line)
        with b.loop(b.let(tirx.truncdiv(count + (several - 1), integer(several)))) as i:
            place = b.let(i * several)
            rows = numbers(place)
            for number, value in zip(rows, self.products(token, rows, numbers(b.let(place + ahead))), strict=True):
                b.store(self.out, own + number, value)

    def begin(self, token: Expr) -> None:  # noqa: B027 (most formats need nothing of a token alone)
        """What the products of a token share."""

    @abstractmethod
    def products(self, token: Expr, rows: list[Expr], following: list[Expr]) -> list[Expr]:
        """Of the vector of a token with some rows, of which the last ones may be the same; while they are read, those
        that follow are asked for."""


class _Floats(_Chosen):
    together = LINEAR_ROWS
    ahead = 1

    @property
    def parts(self) -> list[tuple[Memory, int]]:
        return [(self.b.operands[2], self.columns)]

    def products(self, token: Expr, rows: list[Expr], following: list[Expr]) -> list[Expr]:
        b, (_, x, weight) = self.b, self.b.operands
        begins, asked = ([b.let(row * self.columns) for row in some] for some in (rows, following))
        start, line = b.let(token * self.columns), LINE // np.dtype(weight.dtype).itemsize
        for begin in asked:
            for first in range(0, min(self.columns, STREAM * line), line):
                b.prefetch(weight, begin + first)

        def terms(i: Expr, lanes: int) -> list[Expr]:
            value, ops = b.let(x.load(start + i, lanes)), TirOps(b, lanes)
            return [ops.mul(value, load_wide(b, weight, begin + i, lanes)) for begin in begins]

        return lanes8_sums(b, self.columns, terms, len(rows))


class _Int8(_Chosen):
    together = INT8_ROWS

    def __init__(self, spec: KernelSpec, b: KernelBuilder) -> None:
        super().__init__(spec, b)
        self.groups = -(-self.columns // spec.integer("group"))
        self.padding = padding_of(b, spec)
        self.ahead = self.far_ahead()

    @property
    def parts(self) -> list[tuple[Memory, int]]:
        return [(self.b.operands[3], self.columns), (self.b.operands[4], self.groups)]

    def products(self, token: Expr, rows: list[Expr], following: list[Expr]) -> list[Expr]:
        b = self.b
        starts = [b.let(row * self.columns) for row in following]
        for row in following:
            b.prefetch(b.operands[4], row * self.groups)
        group = RowGroup(b, b.operands[1:], self.spec, rows, token, self.padding, starts)
        value = group.product()
        return [shuffle([value], [lane]) for lane in range(INT8_ROWS)]


class _Ternary(_Chosen):
    """Rows are moved into as many panels as the dense product works on at a time."""

    def __init__(self, spec: KernelSpec, b: KernelBuilder) -> None:
        super().__init__(spec, b)
        isa = b.isa
        self.panels = max(isa.joined_panels, isa.panels_per_pass)
        self.together = self.panels * isa.panel_rows
        self.product = replace(Product.of_sizes(spec, isa, "t2"), rows=self.together)
        self.packed = b.aligned("uint8", self.product.matrix_bytes, LINE)
        self.scales = b.aligned("uint16", self.product.matrix_scales, LINE)
        self.values = b.local("float32", self.together)
        self.body = TernaryBody(b, self.product)
        self.row = self.product.panel_bytes // isa.panel_rows
        self.ahead = self.far_ahead()

    @property
    def parts(self) -> list[tuple[Memory, int]]:
        return [(self.b.operands[3], self.row), (self.b.operands[4], self.product.groups)]

    def begin(self, token: Expr) -> None:
        b, product = self.b, self.product
        codes = Place(b.operands[1], b.let(token * product.columns))
        scales = Place(b.operands[2], b.let(token * product.blocks))
        operands = Operands(codes, scales, Place(self.packed), Place(self.scales), Place(self.values))
        self.multiply: Panels = self.body.column(operands)

    def products(self, token: Expr, rows: list[Expr], following: list[Expr]) -> list[Expr]:
        high, joined = self.b.isa.panel_rows, self.b.isa.joined_panels
        for panel in range(self.panels):
            some = slice(panel * high, (panel + 1) * high)
            self._move(rows[some], following[some], panel)
        numbers = [integer(panel) for panel in range(self.panels)]
        self.multiply([numbers[i : i + joined] for i in range(0, self.panels, joined)])
        return [self.values.load(i) for i in range(self.together)]

    def _move(self, rows: list[Expr], following: list[Expr], panel: int) -> None:
        """The weights and scales of some rows into a panel."""
        b, high, product = self.b, len(rows), self.product
        begins, asked = ([b.let(row * self.row) for row in some] for some in (rows, following))
        for row in following:
            b.prefetch(b.operands[4], row * product.groups)
        with b.loop(self.row // CHUNK) as i:
            place = b.let(i * CHUNK)
            for begin in asked:
                b.prefetch(b.operands[3], begin + place)
            words = [reinterpret(b.operands[3].load(begin + place, CHUNK), "int32x4") for begin in begins]
            target = b.let(i * (CHUNK * high) + panel * product.panel_bytes)
            for word, across in enumerate(_turned(b, words)):
                b.store(self.packed, target + word * 4 * high, reinterpret(across, f"uint8x{4 * high}"))
        starts = [b.let(row * product.groups) for row in rows]
        with b.loop(product.groups) as g:
            for r, start in enumerate(starts):
                place = g * high + (panel * product.groups * high + r)
                b.store(self.scales, place, b.operands[4].load(start + g))


def _turned(b: KernelBuilder, rows: list[Expr]) -> list[Expr]:
    """Vectors of four words each as four vectors: of the first words, the second ones, and so on."""
    half = len(rows) // 2
    pairs = [b.hold(shuffle([rows[r], rows[r + half]], range(8))) for r in range(half)]
    low, high = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
    halves = [[b.hold(shuffle(pairs[r : r + 2], lanes)) for r in (0, 2)] for lanes in (low, high)]
    first, second = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
    return [b.hold(shuffle(half, lanes)) for half in halves for lanes in (first, second)]


def build(spec: KernelSpec, isa: Isa) -> Any:
    """chosen f32[..., F], x[..., K], weight[F, K] → [..., F]; threads divide the rows."""
    return _Floats(spec, KernelBuilder(spec, isa)).build()


def build_int8(spec: KernelSpec, isa: Isa) -> Any:
    """chosen f32[..., F], codes i8[..., K], scales f32[..., B], weights, weight_scales f16[F, G] → [..., F]."""
    return _Int8(spec, KernelBuilder(spec, isa)).build()


def build_ternary(spec: KernelSpec, isa: Isa) -> Any:
    """As ``build_int8``, of trits. Panels are read from a cache, in one order and by one token at a time."""
    cached = replace(isa, prefetch_bytes=0, sum_tables=False)
    return _Ternary(spec, KernelBuilder(spec, cached)).build()


KERNELS: Mapping[str, Build] = {
    "chosen_linear": build,
    "int8_chosen_matmul": build_int8,
    "ternary_chosen_matmul": build_ternary,
}
