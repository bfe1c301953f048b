"""Kernels of products that read the rows of open neurons only (compiler/ir/ops/sparse.py).

Some neurons at a time, the numbers of the open ones are gathered; then each run of outputs takes the rows of a few of
them, in ascending order, while the sums stay in registers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from tvm import tirx

from chimerac.compiler.ir.layouts import words_of
from chimerac.compiler.ir.ops.sparse import OUTPUTS, outputs_together
from chimerac.targets.isa import Isa
from chimerac.targets.isa.definition import Primitive
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.halves import decode
from chimerac.targets.kernels.linear import load_wide
from chimerac.targets.kernels.open_list import OpenList
from chimerac.targets.kernels.tensorir import (
    Build,
    Expr,
    KernelBuilder,
    Memory,
    integer,
    reinterpret,
    shuffle,
    splat,
    strips,
)
from chimerac.targets.kernels.vectors import float_lanes

NEURONS = 4096  #: whose open ones are gathered at a time
TOGETHER = 4  #: neurons whose rows are added while sums are in registers
AHEAD = 32768  #: bytes of rows that are asked for before they are added
MOST_AHEAD = 16  #: times as many neurons as are added together: those are in the list that is there already
LINE = 64  #: bytes of a cache line
WORD = 16  #: outputs that share a word of trits


class _Weights:
    """Rows of a float or int8 matrix [F, N]."""

    per_byte = 1  #: outputs in an element

    def __init__(self, b: KernelBuilder, memory: Memory, row: int) -> None:
        self.b, self.memory, self.row = b, memory, row

    def begin(self, neuron: Expr) -> Expr:
        """Where the row of a neuron begins."""
        return self.b.let(neuron * self.row)

    def ask(self, begin: Expr, output: Expr, extent: int) -> None:
        """For the cache lines of some outputs of a row."""
        outputs = LINE // np.dtype(self.memory.dtype).itemsize * self.per_byte
        for first in range(0, extent, outputs):
            self.b.prefetch(self.memory, begin + tirx.truncdiv(output + first, integer(self.per_byte)))

    def add(self, total: Expr, factor: Expr, begin: Expr, output: Expr, lanes: int) -> Expr:
        """The sums of some outputs with what a neuron adds to them."""
        ops = TirOps(self.b, lanes)
        if self.memory.dtype == "int8":
            value = ops.to_float(self.memory.load(begin + output, lanes))
        else:
            value = load_wide(self.b, self.memory, begin + output, lanes)
        return ops.add(total, ops.mul(splat(factor, lanes), value))


class Trits(_Weights):
    """Rows of trits, two bits each: byte c of a word holds columns c, 4 + c, 8 + c, 12 + c of 16, lowest bits first."""

    per_byte = 4

    def add(self, total: Expr, factor: Expr, begin: Expr, output: Expr, lanes: int) -> Expr:
        """``output`` is a multiple of 16 and ``lanes`` 16, or they are those of a single output."""
        ops = TirOps(self.b, lanes)
        if lanes == 1:
            return ops.add(total, ops.mul(factor, self._value(self.code(begin, output), 1)))
        place = self.b.let(begin + tirx.truncdiv(output, integer(4)))
        choose = self.b.isa.primitives.get("choose_f32")
        if choose is not None:
            return ops.add(total, self._chosen(choose, factor, self._shifted(place)))
        return ops.add(total, ops.mul(splat(factor, lanes), self._value(self.codes(place), lanes)))

    def codes(self, place: Expr) -> Expr:
        """The codes of the 16 outputs of a word: -1, 0 and 1 as 0, 1 and 2."""
        ops = TirOps(self.b, WORD)
        if self.b.isa.vector_bytes <= 16:
            return self._planes(place)
        return ops.iand(self._shifted(place), ops.i32(3))

    def _value(self, codes: Expr, lanes: int) -> Expr:
        ops = TirOps(self.b, lanes)
        return ops.to_float(ops.isub(codes, ops.i32(1)))

    def code(self, begin: Expr, output: Expr) -> Expr:
        """The code of one output."""
        b = self.b
        within = b.let(tirx.truncmod(output, integer(WORD)))
        place = tirx.truncdiv(output, integer(WORD)) * 4 + tirx.truncmod(within, integer(4))
        packed = b.hold(tirx.Cast("int32", self.memory.load(b.let(begin + place))))
        shift = tirx.truncdiv(within, integer(4)) * 2
        return TirOps(b, 1).iand(tirx.shift_right(packed, shift), integer(3))

    def _shifted(self, place: Expr) -> Expr:
        """The word of 16 outputs in 16 lanes, each with the code of its output in the lowest bits."""
        word = self.b.let(reinterpret(self.memory.load(place, 4), "int32"))
        shifts = [tirx.IntImm("int32", 8 * (lane % 4) + 2 * (lane // 4)) for lane in range(WORD)]
        return self.b.hold(tirx.shift_right(splat(word, WORD), shuffle(shifts, range(WORD))))

    def _planes(self, place: Expr) -> Expr:
        """The codes of 16 outputs where lanes have no shifts of their own: those of a plane have one."""
        ops = TirOps(self.b, 4)
        packed = self.b.hold(tirx.Cast("int32x4", self.memory.load(place, 4)))
        return shuffle([ops.iand(ops.isar(packed, 2 * plane), ops.i32(3)) for plane in range(4)], range(WORD))

    def _chosen(self, choose: Primitive, factor: Expr, codes: Expr) -> Expr:
        """-factor, 0 or factor, or NaN; the signs of zeros do not matter, as a sum is never -0."""
        b, scalar = self.b, TirOps(self.b, 1)
        zero = scalar.f32(0.0)
        each = [scalar.sub(zero, factor), scalar.mul(factor, zero), factor, zero]
        values = b.hold(shuffle(each * 2, range(8)))
        halves = [shuffle([codes], range(first, first + 8)) for first in (0, 8)]
        return shuffle([b.hold(choose.build(values, b.hold(half))) for half in halves], range(WORD))


class _Product:
    def __init__(self, spec: KernelSpec, isa: Isa, trits: bool) -> None:
        self.b = b = KernelBuilder(spec, isa)
        self.hidden, memory = b.operands[:2]
        self.scales: Memory | None = b.operands[2] if len(b.operands) > 2 else None
        self.neurons = int(spec.operands[0].shape[-1])
        self.outputs = int(spec.results[0].shape[-1])
        self.group = spec.integer("group") if self.scales is not None else self.outputs
        self.groups = -(-self.outputs // self.group)
        self.weights = Trits(b, memory, words_of(self.outputs, "t2")) if trits else _Weights(b, memory, self.outputs)
        self.lanes = WORD if trits else float_lanes(isa)
        self.together = outputs_together(self.group, self.outputs)
        self.run = min(self.group, OUTPUTS) if self.together == OUTPUTS else self.group
        self.rows = b.extent(spec.operands[0].shape[:-1])
        self.open = OpenList(b, self.hidden, NEURONS + TOGETHER)
        row_bytes = self.weights.row * np.dtype(memory.dtype).itemsize
        self.ahead = min(-(-AHEAD // (TOGETHER * row_bytes)), MOST_AHEAD)

    def build(self) -> Any:
        b, per = self.b, self.together // self.run
        self.first, self.last = (
            b.let(b.begin * per),
            b.let(tirx.Min(b.end * per, integer(-(-self.outputs // self.run)))),
        )
        with b.loop(self.rows) as row:
            self._each_run(lambda begin, extent: self._clear(row, begin, extent))
            self.open.found.set(integer(0))
            whole, rest = divmod(self.neurons, NEURONS)
            if whole:
                with b.loop(whole) as piece:
                    self._piece(row, b.let(piece * NEURONS), NEURONS)
            if rest:
                self._piece(row, integer(whole * NEURONS), rest)
            with b.loop(self.open.count()) as i:
                self._add(row, [self.open.number(i)], [])
        return b.finish()

    def _each_run(self, body: Any) -> None:
        """``body(first output, outputs)`` for the runs of this call."""
        b, (whole, rest) = self.b, divmod(self.outputs, self.run)
        if whole:
            with b.loop(b.let(tirx.Min(self.last, integer(whole)) - self.first)) as i:
                body(b.let((self.first + i) * self.run), self.run)
        if rest:
            with b.when(tirx.GT(self.last, integer(whole))):
                body(integer(whole * self.run), rest)

    def _clear(self, row: Expr, begin: Expr, extent: int) -> None:
        b = self.b

        def clear(i: Expr, lanes: int) -> None:
            b.store(b.results[0], row * self.outputs + begin + i, TirOps(b, lanes).f32(0.0))

        strips(b, extent, clear, float_lanes(b.isa))

    def _piece(self, row: Expr, first: Expr, extent: int) -> None:
        """Finds the open ones of some neurons, and adds what they and those left give, in groups of ``TOGETHER``."""
        b = self.b
        self.open.gather(b.let(row * self.neurons + first), first, extent)
        count = self.open.count()
        several = b.let(tirx.truncdiv(count, integer(TOGETHER)))
        with b.loop(b.let(tirx.Min(several, integer(self.ahead)) * TOGETHER)) as i:
            neuron = self.open.number(i)
            self._ask_scales(neuron)
            self._each_run(partial(self.weights.ask, self.weights.begin(neuron)))
        with b.loop(several) as i:
            following = [tirx.Min((i + self.ahead) * TOGETHER + j, count - 1) for j in range(TOGETHER)]
            ahead = [self.open.number(b.let(place)) for place in following]
            self._add(row, [self.open.number(i * TOGETHER + j) for j in range(TOGETHER)], ahead)
        left = b.let(count - several * TOGETHER)
        with b.loop(left) as i:
            b.store(self.open.numbers, i, self.open.number(several * TOGETHER + i))
        self.open.found.set(left)

    def _add(self, row: Expr, neurons: list[Expr], ahead: list[Expr]) -> None:
        """Adds the rows of some neurons, while those of others are asked for."""
        b, out = self.b, self.b.results[0]
        place = b.let(row * self.neurons)
        values = [b.let(self.hidden.load(place + neuron)) for neuron in neurons]
        begins = [self.weights.begin(neuron) for neuron in neurons]
        asked = [self.weights.begin(neuron) for neuron in ahead]
        for neuron in ahead:
            self._ask_scales(neuron)
        sums = b.let(row * self.outputs)

        def run(begin: Expr, extent: int) -> None:
            factors = [self._factor(*pair, begin) for pair in zip(values, neurons, strict=True)]
            for start in asked:
                self.weights.ask(start, begin, extent)

            def add(i: Expr, lanes: int) -> None:
                output = b.let(begin + i)
                total = b.let(out.load(sums + output, lanes))
                for factor, start in zip(factors, begins, strict=True):
                    total = self.weights.add(total, factor, start, output, lanes)
                b.store(out, sums + output, total)

            strips(b, extent, add, self.lanes)

        self._each_run(run)

    def _ask_scales(self, neuron: Expr) -> None:
        if self.scales is not None:
            self.b.prefetch(self.scales, self.b.let(neuron * self.groups))

    def _factor(self, value: Expr, neuron: Expr, output: Expr) -> Expr:
        """What the weights of a neuron are multiplied with for the outputs of a run."""
        if self.scales is None:
            return value
        b = self.b
        group = integer(0) if self.groups == 1 else tirx.truncdiv(output, integer(self.group))
        scale = decode(b, self.scales.load(b.let(neuron * self.groups + group)), 1)
        return TirOps(b, 1).mul(value, scale)


def build(spec: KernelSpec, isa: Isa, trits: bool = False) -> Any:
    """hidden f32[..., F], weight [F, N], perhaps weight_scales f16[F, G] → [..., N]; threads divide the outputs."""
    return _Product(spec, isa, trits).build()


KERNELS: Mapping[str, Build] = {
    "sparse_linear": build,
    "int8_sparse_matmul": build,
    "ternary_sparse_matmul": partial(build, trits=True),
}
