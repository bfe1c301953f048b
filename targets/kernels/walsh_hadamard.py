"""Kernel of walsh_hadamard: a block stays in the nearest cache; two steps a pass once vectors are apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chimerac.compiler.ir.ops.rotations import LEAST_BLOCK, scale_of
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, Memory, shuffle
from chimerac.targets.kernels.vectors import float_lanes


def build(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., K] → [..., K]: of each block sums and differences of elements 1, 2, 4, … apart, over sqrt(block)."""
    b = KernelBuilder(spec, isa)
    width, block = int(spec.operands[0].shape[-1]), spec.integer("block")
    transform = Transform(b, block)
    with b.units() as unit, b.loop(b.extent(spec.operands[0].shape[:-1])) as row:
        transform.run(b.operands[0], b.results[0], b.let(row * width + unit * block))
    return b.finish()


def combined(b: KernelBuilder, value: Expr, lanes: int, half: int) -> Expr:
    """Sums and differences of the elements ``half`` apart of one vector."""
    ops, places = TirOps(b, lanes), range(lanes)
    first = b.let(shuffle([value], [i & ~half for i in places]))
    second = b.let(shuffle([value], [i | half for i in places]))
    both = [b.let(ops.add(first, second)), b.let(ops.sub(first, second))]
    return b.let(shuffle(both, [i + lanes if i & half else i for i in places]))


class Transform:
    """The steps of one block, between which it is in a local array."""

    def __init__(self, b: KernelBuilder, block: int) -> None:
        self.b, self.block = b, block
        self.lanes = min(float_lanes(b.isa), LEAST_BLOCK)
        self.ops = TirOps(b, self.lanes)
        self.values = b.local("float32", block)

    def run(self, source: Memory, result: Memory, start: int | Expr) -> None:
        """Transform the block of ``source`` that begins at ``start``, to the same place of ``result``."""
        b, lanes = self.b, self.lanes
        with b.loop(self.block // lanes) as i:
            value = b.let(source.load(start + i * lanes, lanes))
            half = 1
            while half < lanes:
                value = combined(b, value, lanes, half)
                half *= 2
            b.store(self.values, i * lanes, value)
        half = lanes
        while half < self.block:
            steps = 2 if 4 * half <= self.block else 1
            self._apart(half, steps)
            half <<= steps
        scale = self.ops.f32(float(scale_of(self.block)))
        with b.loop(self.block // lanes) as i:
            b.store(result, start + i * lanes, self.ops.mul(b.let(self.values.load(i * lanes, lanes)), scale))

    def _apart(self, half: int, steps: int) -> None:
        """One or two steps of elements ``half`` apart, and twice that: of two or four vectors at a time."""
        b, lanes, count = self.b, self.lanes, 1 << steps
        with b.loop(self.block // (half * count)) as group, b.loop(half // lanes) as i:
            first = b.let(group * (half * count) + i * lanes)
            values = [b.let(self.values.load(first + k * half, lanes)) for k in range(count)]
            for step in range(steps):
                values = self._step(values, 1 << step)
            for k, value in enumerate(values):
                b.store(self.values, first + k * half, value)

    def _step(self, values: list[Expr], apart: int) -> list[Expr]:
        made = list(values)
        for k in range(len(values)):
            if not k & apart:
                one, other = values[k], values[k | apart]
                made[k], made[k | apart] = self.b.let(self.ops.add(one, other)), self.b.let(self.ops.sub(one, other))
        return made


KERNELS: Mapping[str, Build] = {"walsh_hadamard": build}
