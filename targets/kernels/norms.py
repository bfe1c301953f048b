"""Kernels of rms_norm, l2_norm, quantize and rms_norm_quantize: one pass over each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from tvm import tirx

from chimerac.compiler.ir import numerics
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps, lanes8_sums
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, Memory, integer, splat, strips

Load = Callable[[Expr, int], Expr]


def inverse_norm(b: KernelBuilder, load: Load, width: int, eps: float, *, mean: bool) -> Expr:
    """``1 / sqrt(sum or mean of squares + eps)`` of a row."""

    def square(i: Expr, lanes: int) -> list[Expr]:
        x = b.let(load(i, lanes))
        return [TirOps(b, lanes).mul(x, x)]

    ops = TirOps(b, 1)
    (total,) = lanes8_sums(b, width, square)
    if mean:
        total = ops.div(total, ops.f32(float(width)))
    return ops.div(ops.f32(1.0), ops.sqrt(ops.add(total, ops.f32(float(np.float32(eps))))))


def rms_normalised(
    b: KernelBuilder, x: Memory, start: Expr, weight: Memory, weight_start: int | Expr, width: int, eps: float
) -> Load:
    """What reads ``rms_norm`` of a row, after computing the row's scale."""
    scale = inverse_norm(b, lambda i, lanes: x.load(start + i, lanes), width, eps, mean=True)

    def load(i: Expr, lanes: int) -> Expr:
        ops = TirOps(b, lanes)
        return ops.mul(ops.mul(x.load(start + i, lanes), splat(scale, lanes)), weight.load(weight_start + i, lanes))

    return load


def quantise_row(
    b: KernelBuilder, load: Load, width: int, block: int, codes: Memory, start: Expr, scales: Memory, scale_start: Expr
) -> None:
    """int8 codes of a row of ``width`` and the scales of its blocks; ``linear.quantise_blocks`` is the meaning."""
    scalar = TirOps(b, 1)

    def scale(place: Expr, largest: Expr) -> Expr:
        bounded = numerics.maximum(scalar, largest, scalar.f32(float(np.float32(1e-5))))
        found = scalar.div(bounded, scalar.f32(127.0))
        b.store(scales, scale_start + place, found)
        return found

    quantise_blocks(b, load, width, block, codes, start, scale)


def quantise_blocks(
    b: KernelBuilder,
    load: Load,
    width: int,
    block: int,
    codes: Memory,
    start: Expr,
    scale: Callable[[Expr, Expr], Expr],
) -> None:
    """int8 codes of a row of ``width``; ``scale`` of a block is told which one it is, and its largest magnitude."""
    values = b.local("float32", block)
    whole, rest = divmod(width, block)
    if whole:
        with b.loop(whole) as k:
            _quantise_block(b, load, b.let(k * block), block, values, codes, start, partial(scale, k))
    if rest:
        _quantise_block(b, load, integer(whole * block), rest, values, codes, start, partial(scale, integer(whole)))


def _quantise_block(
    b: KernelBuilder,
    load: Load,
    first: Expr,
    extent: int,
    values: Memory,
    codes: Memory,
    start: Expr,
    scale_of: Callable[[Expr], Expr],
) -> None:
    vector, scalar = TirOps(b, 8), TirOps(b, 1)
    largest = b.local("float32", 8)
    b.store(largest, 0, vector.f32(0.0))

    def measure(i: Expr, lanes: int) -> None:
        ops = TirOps(b, lanes)
        x = b.let(load(first + i, lanes))
        b.store(values, i, x)
        # a NaN is not greater than anything, so it never becomes the maximum
        b.store(largest, 0, numerics.maximum(ops, numerics.absolute(ops, x), largest.load(0, lanes)))

    strips(b, extent, measure)
    lanes = [b.let(largest.load(i)) for i in range(8)]
    while len(lanes) > 1:
        lanes = [numerics.maximum(scalar, x, y) for x, y in zip(lanes[::2], lanes[1::2], strict=True)]
    scale = scale_of(lanes[0])

    def quantise(i: Expr, lanes: int) -> None:
        ops = TirOps(b, lanes)
        rounded = ops.round_even(ops.div(values.load(i, lanes), splat(scale, lanes)))
        clamped = numerics.maximum(ops, rounded, ops.f32(-127.0))
        clamped = numerics.minimum(ops, clamped, ops.f32(127.0))
        narrow = tirx.Cast("int8" if lanes == 1 else f"int8x{lanes}", ops.to_int(clamped))
        b.store(codes, start + first + i, narrow)

    strips(b, extent, quantise)


def build_rms_norm(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., D], weight[D] → [..., D]."""
    b = KernelBuilder(spec, isa)
    x, weight = b.operands
    width = int(spec.operands[0].shape[-1])
    with b.loop(b.extent(spec.operands[0].shape[:-1])) as row:
        start = b.let(row * width)
        load = rms_normalised(b, x, start, weight, 0, width, spec.number("eps"))
        strips(b, width, lambda i, lanes: b.store(b.results[0], start + i, load(i, lanes)))
    return b.finish()


def build_l2_norm(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., D] → [..., D]."""
    b = KernelBuilder(spec, isa)
    x = b.operands[0]
    width = int(spec.operands[0].shape[-1])
    with b.loop(b.extent(spec.operands[0].shape[:-1])) as row:
        start = b.let(row * width)
        scale = inverse_norm(b, lambda i, lanes: x.load(start + i, lanes), width, spec.number("eps"), mean=False)

        def write(i: Expr, lanes: int) -> None:
            b.store(b.results[0], start + i, TirOps(b, lanes).mul(x.load(start + i, lanes), splat(scale, lanes)))

        strips(b, width, write)
    return b.finish()


def build_quantize(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., D] → codes i8[..., D], scales f32[..., ceil(D / block)]."""
    b = KernelBuilder(spec, isa)
    x = b.operands[0]
    _quantise_rows(b, lambda start: lambda i, lanes: x.load(start + i, lanes))
    return b.finish()


def build_rms_norm_quantize(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., D], weight[D] → codes i8[..., D], scales f32[..., ceil(D / block)]."""
    b = KernelBuilder(spec, isa)
    x, weight = b.operands
    width = int(spec.operands[0].shape[-1])
    _quantise_rows(b, lambda start: rms_normalised(b, x, start, weight, 0, width, spec.number("eps")))
    return b.finish()


def _quantise_rows(b: KernelBuilder, row_load: Callable[[Expr], Load]) -> None:
    spec = b.spec
    width, count = int(spec.results[0].shape[-1]), int(spec.results[1].shape[-1])
    with b.loop(b.extent(spec.operands[0].shape[:-1])) as row:
        start, scale_start = b.let(row * width), b.let(row * count)
        load = row_load(start)
        quantise_row(b, load, width, spec.integer("block"), b.results[0], start, b.results[1], scale_start)


KERNELS: Mapping[str, Build] = {
    "rms_norm": build_rms_norm,
    "l2_norm": build_l2_norm,
    "quantize": build_quantize,
    "rms_norm_quantize": build_rms_norm_quantize,
}
