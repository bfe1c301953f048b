"""Kernels that only move elements: slice, concat, embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.linear import load_wide
from chimerac.targets.kernels.tensorir import Build, Expr, KernelBuilder, Memory, strips


def copy(
    b: KernelBuilder, source: Memory, start: int | Expr, target: Memory, target_start: int | Expr, extent: int | Expr
) -> None:
    """Copy a run of elements."""

    def move(i: Expr, lanes: int) -> None:
        b.store(target, target_start + i, source.load(start + i, lanes))

    strips(b, extent, move)


def build_slice(spec: KernelSpec, isa: Isa) -> Any:
    """Columns start to stop of the last axis of x[..., D]."""
    b = KernelBuilder(spec, isa)
    source, taken = int(spec.operands[0].shape[-1]), int(spec.results[0].shape[-1])
    with b.loop(b.extent(spec.results[0].shape[:-1])) as row:
        copy(b, b.operands[0], row * source + spec.integer("start"), b.results[0], row * taken, taken)
    return b.finish()


def build_concat(spec: KernelSpec, isa: Isa) -> Any:
    """Operands side by side along the last axis."""
    b = KernelBuilder(spec, isa)
    total = int(spec.results[0].shape[-1])
    with b.loop(b.extent(spec.results[0].shape[:-1])) as row:
        place = 0
        for operand, type_ in zip(b.operands, spec.operands, strict=True):
            width = int(type_.shape[-1])
            copy(b, operand, row * width, b.results[0], row * total + place, width)
            place += width
    return b.finish()


def build_embedding(spec: KernelSpec, isa: Isa) -> Any:
    """Rows ids[...] of table[V, D], float32 or bf16, as float32."""
    b = KernelBuilder(spec, isa)
    ids, table = b.operands
    width = int(spec.operands[1].shape[1])
    with b.loop(b.extent(spec.operands[0].shape)) as i:
        row = b.let(b.let(ids.load(i)) * width)

        def move(k: Expr, lanes: int) -> None:
            b.store(b.results[0], i * width + k, load_wide(b, table, row + k, lanes))

        strips(b, width, move)
    return b.finish()


KERNELS: Mapping[str, Build] = {"slice": build_slice, "concat": build_concat, "embedding": build_embedding}
