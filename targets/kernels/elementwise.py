"""Kernels of the element-wise ops and of fused chains of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx

from chimerac.compiler.ir.axes import Axis, collapse
from chimerac.compiler.ir.module import Attribute
from chimerac.compiler.ir.ops.elementwise import ELEMENTS_TOGETHER, ELEMENTWISE, evaluate_expression
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels.arithmetic import TirOps
from chimerac.targets.kernels.tensorir import Build, KernelBuilder, Memory, integer, splat, strips

LANES = 8


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
        if spec.sharing is not None:
            first = b.let(times((1, inner.dynamic)) * (b.begin * ELEMENTS_TOGETHER))
            end = tirx.Min(b.end * ELEMENTS_TOGETHER, integer(inner.static))
            extent = b.let(times((1, inner.dynamic)) * end - first)
            if inner.static % LANES == 0:
                with b.loop(b.let(tirx.truncdiv(extent, integer(LANES)))) as i:
                    element(places, first + i * LANES, LANES)
            else:
                strips(b, extent, lambda place, lanes: element(places, first + place, lanes), LANES)
        elif inner.static % LANES == 0:  # no elements are left over, whatever T is
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


KERNELS: Mapping[str, Build] = dict.fromkeys((*ELEMENTWISE, "fused"), build)
