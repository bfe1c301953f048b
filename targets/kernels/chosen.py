"""Kernels of products of chosen rows (compiler/ir/ops/chosen.py).

Some rows at a time, the numbers of the chosen ones are gathered; then each is multiplied as the dense product does it,
while those that follow are asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
from tvm import tirx

from chimerac.compiler.ir.layouts import words_of
from chimerac.compiler.ir.ops.chosen import ROWS
from chimerac.compiler.ir.ops.linear import LINEAR_ROWS
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps, lanes8_sums
from chimerac.targets.kernels.halves import decode
from chimerac.targets.kernels.linear import load_wide
from chimerac.targets.kernels.open_list import OpenList
from chimerac.targets.kernels.sparse import WORD, Trits
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, Memory, integer, shuffle, strips, with_lanes
from chimerac.targets.kernels.vectors import float_lanes

PIECE = 4096  #: rows whose chosen ones are gathered at a time
AHEAD = 4  #: rows that are asked for before they are read
ASKED = 8  #: cache lines of such a row; what follows them is a stream, which processors follow
LINE = 64  #: bytes of a cache line

Kind = Literal["float", "int8", "ternary"]


class _Chosen(ABC):
    """What all formats share: which rows, and when they are asked for."""

    together = 1  #: rows that are multiplied at once

    def __init__(self, spec: KernelSpec, isa: Isa) -> None:
        self.spec, self.b = spec, KernelBuilder(spec, isa)
        b = self.b
        self.chosen, self.out = b.operands[0], b.results[0]
        self.rows, self.columns = int(spec.operands[0].shape[-1]), int(spec.operands[1].shape[-1])
        self.tokens = b.extent(spec.operands[0].shape[:-1])
        self.list = OpenList(b, self.chosen, PIECE)

    def build(self) -> Any:
        b = self.b
        first = b.let(b.begin * ROWS)
        last = b.let(tirx.Min(b.end * ROWS, integer(self.rows)))
        pieces = b.let(tirx.truncdiv(last - first + (PIECE - 1), integer(PIECE)))
        with b.loop(self.tokens) as token, b.loop(pieces) as i:
            begin = b.let(first + i * PIECE)
            self._piece(token, begin, b.let(tirx.Min(last - begin, integer(PIECE))))
        return b.finish()

    def _piece(self, token: Expr, begin: Expr, extent: Expr) -> None:
        b = self.b
        own = b.let(token * self.rows)
        strips(
            b,
            extent,
            lambda i, lanes: b.store(self.out, own + begin + i, TirOps(b, lanes).f32(0.0)),
            float_lanes(b.isa),
        )
        self.list.found.set(integer(0))
        self.list.gather(b.let(own + begin), integer(0), extent)
        count, several = self.list.count(), self.together
        whole = b.let(tirx.truncdiv(self.list.count(), integer(several)))

        def some(place: Expr, rows: int) -> None:
            ahead = [self.list.number(b.let(tirx.Min(place + AHEAD + j, count - 1))) for j in range(rows)]
            for number in ahead:
                self.ask(b.let(begin + number))
            numbers = [b.let(begin + self.list.number(place + j)) for j in range(rows)]
            for number, value in zip(numbers, self.products(token, numbers), strict=True):
                b.store(self.out, own + number, value)

        with b.loop(whole) as i:
            some(b.let(i * several), several)
        if several > 1:
            with b.loop(b.let(count - whole * several)) as i:
                some(b.let(whole * several + i), 1)

    def ask_for(self, memory: Memory, begin: Expr, elements: int) -> None:
        """For the first cache lines of some elements."""
        step = LINE // np.dtype(memory.dtype).itemsize
        for line in range(0, min(elements, ASKED * step), step):
            self.b.prefetch(memory, begin + line)

    @abstractmethod
    def ask(self, row: Expr) -> None:
        """For the weights of a row."""

    @abstractmethod
    def products(self, token: Expr, rows: list[Expr]) -> list[Expr]:
        """Of the vector of a token with some rows."""


class _Floats(_Chosen):
    together = LINEAR_ROWS

    def ask(self, row: Expr) -> None:
        self.ask_for(self.b.operands[2], self.b.let(row * self.columns), self.columns)

    def products(self, token: Expr, rows: list[Expr]) -> list[Expr]:
        b, (_, x, weight) = self.b, self.b.operands
        begins, start = [b.let(row * self.columns) for row in rows], b.let(token * self.columns)

        def terms(i: Expr, lanes: int) -> list[Expr]:
            value, ops = b.let(x.load(start + i, lanes)), TirOps(b, lanes)
            return [ops.mul(value, load_wide(b, weight, begin + i, lanes)) for begin in begins]

        return lanes8_sums(b, self.columns, terms, len(rows))


class _Integers(_Chosen):
    """Sums of blocks are exact; scales multiply them in the order of ``linear.quantised_product``."""

    def __init__(self, spec: KernelSpec, isa: Isa, kind: Kind) -> None:
        super().__init__(spec, isa)
        self.group, self.block = spec.integer("group"), spec.integer("block")
        self.groups, self.blocks = -(-self.columns // self.group), -(-self.columns // self.block)
        self.weights = self.b.operands[3]
        self.trits = Trits(self.b, self.weights, words_of(self.columns, "t2")) if kind == "ternary" else None
        self.row = self.columns if self.trits is None else self.trits.row

    def ask(self, row: Expr) -> None:
        self.ask_for(self.weights, self.b.let(row * self.row), self.row)
        self.b.prefetch(self.b.operands[4], self.b.let(row * self.groups))

    def products(self, token: Expr, rows: list[Expr]) -> list[Expr]:
        b, ops, total = self.b, TirOps(self.b, 1), self.b.cell(TirOps(self.b, 1).f32(0.0))
        begin, start, scale_row = b.let(rows[0] * self.row), b.let(token * self.columns), b.let(rows[0] * self.groups)

        def group(g: Expr, columns: int) -> None:
            partial_sum: Expr | None = None
            for inside in range(0, columns, self.block):
                column = b.let(g * self.group + inside)
                found = ops.to_float(self._sum(begin, start, column, min(self.block, columns - inside)))
                number = b.let(token * self.blocks + g * (self.group // self.block) + inside // self.block)
                term = ops.mul(b.operands[2].load(number), found)
                partial_sum = term if partial_sum is None else ops.add(partial_sum, term)
            scale = decode(b, b.operands[4].load(b.let(scale_row + g)), 1)
            total.set(ops.add(total.get(), ops.mul(scale, partial_sum)))

        whole, rest = divmod(self.columns, self.group)
        if whole:
            with b.loop(whole) as g:
                group(g, self.group)
        if rest:
            group(integer(whole), rest)
        return [total.get()]

    def _sum(self, begin: Expr, start: Expr, column: Expr, extent: int) -> Expr:
        """Of the products of some columns of a row with the codes of a token."""
        b, wide, scalar = self.b, TirOps(self.b, WORD), TirOps(self.b, 1)
        codes, found = b.operands[1], integer(0)
        vector: Expr | None = None
        for word in range(0, extent // WORD * WORD, WORD):
            given = b.hold(tirx.Cast(with_lanes("int32", WORD), codes.load(start + column + word, WORD)))
            product = wide.imul(given, self._weights(begin, b.let(column + word)))
            vector = product if vector is None else wide.iadd(vector, product)
        if vector is not None:
            for lanes in (8, 4, 2, 1):
                halves = [b.hold(shuffle([vector], range(first, first + lanes))) for first in (0, lanes)]
                vector = TirOps(b, lanes).iadd(*halves)
            found = vector
        for j in range(extent // WORD * WORD, extent):
            given = b.hold(tirx.Cast("int32", codes.load(start + column + j)))
            found = scalar.iadd(found, scalar.imul(given, self._weight(begin, b.let(column + j))))
        return found

    def _weights(self, begin: Expr, column: Expr) -> Expr:
        """16 of a row, from a multiple of 16 on."""
        b, ops = self.b, TirOps(self.b, WORD)
        if self.trits is None:
            return b.hold(tirx.Cast(with_lanes("int32", WORD), self.weights.load(begin + column, WORD)))
        return ops.isub(self.trits.codes(b.let(begin + tirx.truncdiv(column, integer(4)))), ops.i32(1))

    def _weight(self, begin: Expr, column: Expr) -> Expr:
        """One of a row."""
        if self.trits is None:
            return self.b.hold(tirx.Cast("int32", self.weights.load(begin + column)))
        return TirOps(self.b, 1).isub(self.trits.code(begin, column), integer(1))


def build(spec: KernelSpec, isa: Isa) -> Any:
    """chosen f32[..., F], x[..., K], weight[F, K] → [..., F]; threads divide the rows."""
    return _Floats(spec, isa).build()


def build_integers(spec: KernelSpec, isa: Isa, kind: Kind) -> Any:
    """chosen f32[..., F], codes i8[..., K], scales f32[..., B], weights, weight_scales f16[F, G] → [..., F]."""
    return _Integers(spec, isa, kind).build()


KERNELS: Mapping[str, Build] = {
    "chosen_linear": build,
    "int8_chosen_matmul": partial(build_integers, kind="int8"),
    "ternary_chosen_matmul": partial(build_integers, kind="ternary"),
}
