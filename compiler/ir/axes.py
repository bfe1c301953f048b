"""The fewest loops that visit every element of a result and of the operands that are broadcast to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chimerac.compiler.ir.types import Dim


@dataclass(frozen=True)
class Axis:
    """A loop of the kernel: its extent and, per operand, the step in elements, both as (static part, times T)."""

    static: int
    dynamic: bool
    steps: tuple[tuple[int, bool], ...]


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
