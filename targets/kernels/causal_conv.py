"""Kernel of causal_conv: channels are lanes, the last inputs stay in registers while the tokens pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx

from chimerac.compiler.ir.ops.recurrent import CHANNELS_TOGETHER
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Build, KernelBuilder, constant, integer, shuffle, strips, with_lanes
from chimerac.targets.kernels.vectors import float_lanes


def build(spec: KernelSpec, isa: Isa) -> Any:
    """x[T,D], weight[D,W], tail[W-1,D] → y[T,D] = sum_j weight[:,j] * input W-1-j tokens ago, j ascending from +0."""
    b = KernelBuilder(spec, isa)
    x, weight, tail = b.operands
    y = b.results[0]
    channels, width = (int(d) for d in spec.operands[1].shape)

    def channel_block(first: Any, lanes: int) -> None:
        ops = TirOps(b, lanes)
        zero = constant(0.0, with_lanes("float32", lanes))
        rows = [b.let(weight.load((first + i) * width, width)) for i in range(lanes)]
        taps = [b.let(shuffle(rows, range(j, lanes * width, width))) for j in range(width)]
        past = [b.cell(b.let(tail.load(j * channels + first, lanes))) for j in range(width - 1)]
        with b.loop(b.extent(spec.operands[0].shape[:1])) as t:
            place = t * channels + first
            inputs = [*(cell.get() for cell in past), b.let(x.load(place, lanes))]
            total = zero
            for tap, value in zip(taps, inputs, strict=True):
                total = ops.add(total, ops.mul(tap, value))
            b.store(y, place, total)
            for cell, value in zip(past, inputs[1:], strict=True):
                cell.set(value)
        for j, cell in enumerate(past):
            b.store(tail, j * channels + first, cell.get())

    first = b.let(b.begin * CHANNELS_TOGETHER)
    end = b.let(tirx.Min(b.end * CHANNELS_TOGETHER, integer(channels)))
    strips(b, b.let(end - first), lambda place, lanes: channel_block(first + place, lanes), float_lanes(isa))
    return b.finish()


KERNELS: Mapping[str, Build] = {"causal_conv": build}
