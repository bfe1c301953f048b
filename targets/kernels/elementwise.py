"""Kernels of the element-wise ops and of fused chains of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chimerac.compiler.ir.module import Attribute
from chimerac.compiler.ir.ops.elementwise import ELEMENTWISE, evaluate_expression
from chimerac.compiler.ir.types import Dim
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Build, KernelBuilder, Memory, splat, strips

LANES = 8


@dataclass(frozen=True)
class Axis:
    """A loop of the kernel: its extent and, per operand, the step in elements, both as (static part, times T)."""

    static: int
    dynamic: bool
    steps: tuple[tuple[int, bool], ...]


def build(spec: KernelSpec, isa: Isa) -> Any:
    """``spec.op`` of ``ELEMENTWISE``, or ``fused`` with its expression; operands broadcast as in numpy."""
    b = KernelBuilder(spec, isa)
    *outer, inner = collapse(spec.results[0].shape, [t.shape for t in spec.operands])

    def times(value: tuple[int, bool]) -> Any:
        return value[0] * b.n if value[1] else value[0]

    def element(places: list[Any], place: Any, lanes: int) -> None:
        ops = TirOps(b, lanes)
        values = []
        for operand, start, (step, _) in zip(b.operands, places, inner.steps, strict=True):
            if not isinstance(operand, Memory):  # a number that the kernel is given
                values.append(splat(operand, lanes))
                continue
            loaded = operand.load(start + place, lanes) if step else splat(operand.load(start), lanes)
            values.append(b.hold(loaded))
        b.store(b.results[0], places_of_result[0] + place, apply(spec, ops, values))

    places_of_result: list[Any] = [0]

    def nest(axes: list[Axis], places: list[Any], row: Any) -> None:
        if axes:
            axis = axes[0]
            extent = times((axis.static, axis.dynamic))
            with b.loop(extent) as i:
                nest(
                    axes[1:],
                    [p + i * times(s) for p, s in zip(places, axis.steps, strict=True)],
                    row * extent + i,
                )
            return
        extent = times((inner.static, inner.dynamic))
        places_of_result[0] = row * extent
        if inner.static % LANES == 0:  # no elements are left over, whatever T is
            with b.loop(extent // LANES if not inner.dynamic else b.n * (inner.static // LANES)) as i:
                element(places, i * LANES, LANES)
        else:
            strips(b, extent, lambda place, lanes: element(places, place, lanes), LANES)

    nest(outer, [0] * len(spec.operands), 0)
    return b.finish()


def apply(spec: KernelSpec, ops: TirOps, values: list[Any]) -> Any:
    """The op of a spec on values already loaded."""
    if spec.op == "fused":
        expression: Attribute = spec.attribute("expression")
        return evaluate_expression(str(expression), ops, values)
    return ELEMENTWISE[spec.op].meaning(ops, *values)


def collapse(result: tuple[Dim, ...], operands: list[tuple[Dim, ...]]) -> list[Axis]:
    """The fewest loops that visit every element: neighbouring axes merge where every operand steps evenly over both."""
    rank = len(result)
    axes: list[Axis] = []
    for position in range(rank):
        steps = []
        for shape in operands:
            full = (1,) * (rank - len(shape)) + shape
            following = full[position + 1 :]
            size = (math.prod(d for d in following if isinstance(d, int)), any(isinstance(d, str) for d in following))
            steps.append((0, False) if full[position] == 1 else size)
        extent = result[position]
        axes.append(Axis(extent if isinstance(extent, int) else 1, isinstance(extent, str), tuple(steps)))
    merged: list[Axis] = []
    for axis in axes:
        if axis.static == 1 and not axis.dynamic:
            continue
        if merged and all(_even(a, b, axis) for a, b in zip(merged[-1].steps, axis.steps, strict=True)):
            before = merged.pop()
            axis = Axis(before.static * axis.static, before.dynamic or axis.dynamic, axis.steps)
        merged.append(axis)
    return merged or [Axis(1, False, ((0, False),) * len(operands))]


def _even(outer: tuple[int, bool], inner: tuple[int, bool], axis: Axis) -> bool:
    if not inner[0]:
        return not outer[0]
    return outer == (inner[0] * axis.static, inner[1] or axis.dynamic)


KERNELS: Mapping[str, Build] = dict.fromkeys((*ELEMENTWISE, "fused"), build)
