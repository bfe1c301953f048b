"""Kernels that only move elements: slices, transposes, broadcasts, gathers; the axis of tokens may be anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx

from chimerac.compiler.ir.ops.movement import axis_of, permutation
from chimerac.compiler.ir.types import Dim
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.linear import load_wide
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, Memory, constant, integer, splat, strips

Index = int | Expr


def copy(
    b: KernelBuilder, source: Memory, start: int | Expr, target: Memory, target_start: int | Expr, extent: int | Expr
) -> None:
    """Copy a run of elements."""

    def move(i: Expr, lanes: int) -> None:
        b.store(target, target_start + i, source.load(start + i, lanes))

    strips(b, extent, move)


@dataclass(frozen=True)
class Axis:
    """An axis of a result: its extent, and how far apart its elements are in the operand."""

    extent: Dim
    step: Index


def steps_of(b: KernelBuilder, shape: Sequence[Dim]) -> list[Index]:
    """How far apart the elements of each axis are."""
    return [b.extent(shape[i + 1 :]) for i in range(len(shape))]


def scatter(b: KernelBuilder, source: Memory | Expr, base: Index, axes: Sequence[Axis]) -> None:
    """Write the whole result, whose element at (i, j, …) is the operand's at base + i * step + j * step + ….

    A ``source`` that is no memory is a number that the kernel is given.
    """
    target = b.results[0]
    kept = merged([axis for axis in axes if axis.extent != 1] or [Axis(1, 0)])
    *outer, inner = kept

    def nest(rest: Sequence[Axis], place: Index, row: Index) -> None:
        if rest:
            extent = b.extent((rest[0].extent,))
            with b.loop(extent) as i:
                nest(rest[1:], place + i * rest[0].step, row * extent + i)
            return
        width = b.extent((inner.extent,))
        start, first = b.let(integer(row * width)), b.let(integer(place + base))
        if not isinstance(source, Memory):
            strips(b, width, lambda i, lanes: b.store(target, start + i, splat(source, lanes)))
        elif isinstance(inner.step, int) and inner.step == 1:
            copy(b, source, first, target, start, width)
        elif isinstance(inner.step, int) and inner.step == 0:
            value = b.hold(source.load(first))
            strips(b, width, lambda i, lanes: b.store(target, start + i, splat(value, lanes)))
        else:
            with b.loop(width) as i:
                b.store(target, start + i, source.load(first + i * inner.step))

    nest(outer, 0, 0)


def merged(axes: Sequence[Axis]) -> list[Axis]:
    """Neighbouring axes as one where the outer one goes on where the inner one ends; axes of tokens stay apart."""
    found: list[Axis] = []
    for axis in axes:
        if found and _goes_on(found[-1], axis):
            found[-1] = Axis(_fixed(found[-1]) * _fixed(axis), axis.step)
        else:
            found.append(axis)
    return found


def _goes_on(outer: Axis, inner: Axis) -> bool:
    fixed = all(isinstance(number, int) for axis in (outer, inner) for number in (axis.extent, axis.step))
    return fixed and bool(outer.step == inner.step * _fixed(inner))


def _fixed(axis: Axis) -> int:
    """An extent that is fixed."""
    return int(axis.extent)


def around(b: KernelBuilder, shape: Sequence[Dim], axis: int) -> tuple[Index, Index]:
    """How many places the axes before one have, and how many those behind it."""
    return b.extent(shape[:axis]), b.extent(shape[axis + 1 :])


def build_slice(spec: KernelSpec, isa: Isa) -> Any:
    """Elements start to stop of an axis."""
    attributes = dict(spec.attributes)
    if "axis" in attributes or "step" in attributes:
        return _general_slice(spec, isa)
    b = KernelBuilder(spec, isa)
    source, taken = int(spec.operands[0].shape[-1]), int(spec.results[0].shape[-1])
    with b.loop(b.extent(spec.results[0].shape[:-1])) as row:
        copy(b, b.operands[0], row * source + spec.integer("start"), b.results[0], row * taken, taken)
    return b.finish()


def _general_slice(spec: KernelSpec, isa: Isa) -> Any:
    b = KernelBuilder(spec, isa)
    attributes = dict(spec.attributes)
    shape = spec.operands[0].shape
    axis = axis_of(attributes, shape)
    steps = steps_of(b, shape)
    step = int(str(attributes.get("step", 1)))
    axes = [Axis(extent, steps[i] * step if i == axis else steps[i]) for i, extent in enumerate(spec.results[0].shape)]
    scatter(b, b.operands[0], steps[axis] * spec.integer("start"), axes)
    return b.finish()


def build_concat(spec: KernelSpec, isa: Isa) -> Any:
    """Operands side by side along an axis."""
    b = KernelBuilder(spec, isa)
    axis = axis_of(dict(spec.attributes), spec.results[0].shape)
    outer, inner = around(b, spec.results[0].shape, axis)
    total = int(spec.results[0].shape[axis]) * inner
    with b.loop(outer) as row:
        place: Index = 0
        for operand, type_ in zip(b.operands, spec.operands, strict=True):
            width = int(type_.shape[axis]) * inner
            copy(b, operand, row * width, b.results[0], row * total + place, width)
            place = place + width
    return b.finish()


def build_transpose(spec: KernelSpec, isa: Isa) -> Any:
    """Axes in another order."""
    b = KernelBuilder(spec, isa)
    shape = spec.operands[0].shape
    steps = steps_of(b, shape)
    perm = permutation(dict(spec.attributes), len(shape))
    scatter(b, b.operands[0], 0, [Axis(shape[axis], steps[axis]) for axis in perm])
    return b.finish()


def build_broadcast(spec: KernelSpec, isa: Isa) -> Any:
    """Repeated along axes of 1 and new ones."""
    b = KernelBuilder(spec, isa)
    source, result = spec.operands[0].shape, spec.results[0].shape
    steps = steps_of(b, source)
    missing = len(result) - len(source)
    axes = [
        Axis(extent, 0 if i < missing or source[i - missing] == 1 else steps[i - missing])
        for i, extent in enumerate(result)
    ]
    scatter(b, b.operands[0], 0, axes)
    return b.finish()


def build_pad(spec: KernelSpec, isa: Isa) -> Any:
    """A value before and after the elements of an axis."""
    b = KernelBuilder(spec, isa)
    axis, target = spec.integer("axis"), b.results[0]
    outer, inner = around(b, spec.results[0].shape, axis)
    total, width = (int(t.shape[axis]) * inner for t in (spec.results[0], spec.operands[0]))
    before, after = spec.integer("before") * inner, spec.integer("after") * inner
    filling = constant(spec.number("value"), target.dtype)

    def fill(start: Index, extent: Index) -> None:
        if not isinstance(extent, int) or extent:
            strips(b, extent, lambda i, lanes: b.store(target, start + i, splat(filling, lanes)))

    with b.loop(outer) as row:
        start = b.let(integer(row * total))
        fill(start, before)
        copy(b, b.operands[0], row * width, target, start + before, width)
        fill(start + before + width, after)
    return b.finish()


def clamped(place: Expr, extent: int) -> Expr:
    """An index within an axis: what is beyond an end is that end."""
    return tirx.Max(tirx.Min(place, integer(extent - 1)), integer(0))


def build_gather(spec: KernelSpec, isa: Isa) -> Any:
    """Elements of an axis by their numbers."""
    b = KernelBuilder(spec, isa)
    source, ids = b.operands
    axis = spec.integer("axis")
    outer, inner = around(b, spec.operands[0].shape, axis)
    extent, count = int(spec.operands[0].shape[axis]), b.extent(spec.operands[1].shape)
    with b.loop(outer) as row, b.loop(count) as i:
        number = ids.load(i) if isinstance(ids, Memory) else ids
        place = b.let(clamped(b.hold(number), extent))
        copy(b, source, (row * extent + place) * inner, b.results[0], (row * count + i) * inner, inner)
    return b.finish()


def build_take_along(spec: KernelSpec, isa: Isa) -> Any:
    """Elements of an axis, each by a number of its own."""
    b = KernelBuilder(spec, isa)
    source, ids = b.operands
    axis = spec.integer("axis")
    outer, inner = around(b, spec.operands[0].shape, axis)
    extent, count = int(spec.operands[0].shape[axis]), int(spec.operands[1].shape[axis])
    with b.loop(outer) as row, b.loop(count) as i:
        start = b.let(integer((row * count + i) * inner))
        with b.loop(inner) as k:
            place = b.let(clamped(b.hold(ids.load(start + k)), extent))
            b.store(b.results[0], start + k, source.load((row * extent + place) * inner + k))
    return b.finish()


def build_iota(spec: KernelSpec, isa: Isa) -> Any:
    """0, 1, 2, …"""
    b = KernelBuilder(spec, isa)
    with b.loop(b.n) as i:
        b.store(b.results[0], i, i)
    return b.finish()


def build_token_count(spec: KernelSpec, isa: Isa) -> Any:
    """The tokens of the call."""
    b = KernelBuilder(spec, isa)
    b.store(b.results[0], 0, b.n)
    return b.finish()


def build_embedding(spec: KernelSpec, isa: Isa) -> Any:
    """Rows ids[...] of table[V, D], float32, bf16 or f16, as float32."""
    b = KernelBuilder(spec, isa)
    ids, table = b.operands
    width = int(spec.operands[1].shape[1])
    with b.loop(b.extent(spec.operands[0].shape)) as i:
        row = b.let(b.let(ids.load(i)) * width)

        def move(k: Expr, lanes: int) -> None:
            b.store(b.results[0], i * width + k, load_wide(b, table, row + k, lanes))

        strips(b, width, move)
    return b.finish()


KERNELS: Mapping[str, Build] = {
    "slice": build_slice,
    "concat": build_concat,
    "transpose": build_transpose,
    "broadcast": build_broadcast,
    "pad": build_pad,
    "gather": build_gather,
    "take_along": build_take_along,
    "iota": build_iota,
    "token_count": build_token_count,
    "embedding": build_embedding,
}
