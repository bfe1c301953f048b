"""Kernels of rms_norm, l2_norm, quantize and rms_norm_quantize: one pass over each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
    """int8 codes of a row of ``width`` and the scales of its blocks; ``norms.quantise_blocks`` is the meaning."""
    scalar = TirOps(b, 1)

    def scale(place: Expr, largest: Expr) -> Expr:
        found = scalar.div(_bounded(scalar, largest), scalar.f32(127.0))
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
    def keep(i: Expr, lanes: int) -> Expr:
        x = b.let(load(first + i, lanes))
        b.store(values, i, x)
        return x

    scale = scale_of(_largest(b, keep, extent))

    def quantise(i: Expr, lanes: int) -> None:
        ops = TirOps(b, lanes)
        b.store(codes, start + first + i, _code(ops, ops.div(values.load(i, lanes), splat(scale, lanes))))

    strips(b, extent, quantise)


def quantise_whole_row(
    b: KernelBuilder, load: Load, width: int, count: int, codes: Memory, start: Expr, scales: Memory, scale_start: Expr
) -> None:
    """int8 codes of a row of ``width`` with one scale, written ``count`` times; ``norms.quantise_row`` is the meaning.

    The row is read twice, which takes no memory for rows of any width.
    """
    scalar = TirOps(b, 1)
    largest = _bounded(scalar, _largest(b, load, width))
    factor = b.let(scalar.mul(scalar.div(scalar.f32(1.0), largest), scalar.f32(127.0)))
    scale = b.let(scalar.div(scalar.f32(1.0), factor))
    with b.loop(count) as k:
        b.store(scales, scale_start + k, scale)

    def quantise(i: Expr, lanes: int) -> None:
        ops = TirOps(b, lanes)
        b.store(codes, start + i, _code(ops, ops.mul(load(i, lanes), splat(factor, lanes))))

    strips(b, width, quantise)


def _largest(b: KernelBuilder, load: Load, extent: int) -> Expr:
    """The largest magnitude of some numbers."""
    vector, scalar = TirOps(b, 8), TirOps(b, 1)
    largest = b.local("float32", 8)
    b.store(largest, 0, vector.f32(0.0))

    def measure(i: Expr, lanes: int) -> None:
        ops = TirOps(b, lanes)
        # a NaN is not greater than anything, so it never becomes the maximum
        b.store(largest, 0, numerics.maximum(ops, numerics.absolute(ops, load(i, lanes)), largest.load(0, lanes)))

    strips(b, extent, measure)
    lanes = [b.let(largest.load(i)) for i in range(8)]
    while len(lanes) > 1:
        lanes = [numerics.maximum(scalar, x, y) for x, y in zip(lanes[::2], lanes[1::2], strict=True)]
    return lanes[0]


def _bounded(ops: TirOps, largest: Expr) -> Expr:
    found: Expr = numerics.maximum(ops, largest, ops.f32(float(np.float32(1e-5))))
    return found


def _code(ops: TirOps, x: Expr) -> Expr:
    """x rounded half to even and clamped to int8 but -128."""
    clamped = numerics.maximum(ops, ops.round_even(x), ops.f32(-127.0))
    clamped = numerics.minimum(ops, clamped, ops.f32(127.0))
    return tirx.Cast("int8" if ops.lanes == 1 else f"int8x{ops.lanes}", ops.to_int(clamped))


@contextmanager
def _rows(b: KernelBuilder) -> Iterator[Expr]:
    """A loop over all rows, or over those of the heads of this call."""
    shape = b.spec.operands[0].shape
    if b.spec.sharing is None:
        with b.loop(b.extent(shape[:-1])) as row:
            yield row
    else:
        with b.loop(b.extent(shape[:1])) as token, b.units() as head:
            yield b.let(token * int(shape[1]) + head)


def build_rms_norm(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., D], weight[D] → [..., D]."""
    b = KernelBuilder(spec, isa)
    x, weight = b.operands
    width = int(spec.operands[0].shape[-1])
    with _rows(b) as row:
        start = b.let(row * width)
        load = rms_normalised(b, x, start, weight, 0, width, spec.number("eps"))
        strips(b, width, lambda i, lanes: b.store(b.results[0], start + i, load(i, lanes)))
    return b.finish()


def build_l2_norm(spec: KernelSpec, isa: Isa) -> Any:
    """x[..., D] → [..., D]."""
    b = KernelBuilder(spec, isa)
    x = b.operands[0]
    width = int(spec.operands[0].shape[-1])
    with _rows(b) as row:
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
        places = (b.results[0], start, b.results[1], scale_start)
        if dict(spec.attributes).get("row"):
            quantise_whole_row(b, load, width, count, *places)
        else:
            quantise_row(b, load, width, spec.integer("block"), *places)


KERNELS: Mapping[str, Build] = {
    "rms_norm": build_rms_norm,
    "l2_norm": build_l2_norm,
    "quantize": build_quantize,
    "rms_norm_quantize": build_rms_norm_quantize,
}
