"""Unrolls looped regions for a fixed number of iterations.

Without this pass a loop stays a loop: the number of iterations is then chosen at run time, up to the maximum, and may
end early (adaptive exit). Unrolled, each iteration is straight-line code with its own copy of the state, and states of
iterations that never run are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Constant, Module, Op, Region, State, Value, walk
from chimerac.compiler.ir.types import TensorType, i32
from chimerac.passes.base import Builder, Rewritten, rewrite


def check_loops(loops: int, minimum: int, maximum: int) -> None:
    """Raise UserError CHM310 unless a loop of ``minimum`` to ``maximum`` iterations can be unrolled ``loops`` times."""
    if not minimum <= loops <= maximum:
        raise UserError("CHM310", f"cannot unroll {loops} iterations", hint=f"the model allows {minimum} to {maximum}")


@dataclass(frozen=True)
class LoopUnrolling:
    """Runs every looped region exactly ``loops`` times."""

    loops: int
    name: str = "loop_unrolling"

    def run(self, module: Module) -> Rewritten:
        check_loops(self.loops, module.fewest_loops, module.loops[1])
        states = {n: replace(s, iterations=min(s.iterations, self.loops)) for n, s in module.states.items()}
        flags = {f"write${value}": Constant(TensorType("i32", ()), np.array(value, np.int32)) for value in (0, 1)}
        bodies = 0

        def unroll(op: Op, builder: Builder) -> Sequence[Value] | None:
            nonlocal bodies
            if op.name != "loop":
                return None
            bodies += 1
            region = op.regions[0]
            carried = op.operands[0]
            for iteration in range(self.loops):
                write = builder.constant(f"write${int(iteration == 0)}", i32())
                values = {region.arguments[0].name: write, region.arguments[1].name: carried}
                for inner in region.ops:
                    _copy(inner, values, builder, iteration, states)
                carried = values.get(region.results[0].name, region.results[0])
            return (carried,)

        changed = module.map_graphs(lambda graph: rewrite(graph, unroll))
        if not bodies:
            return Rewritten(module, ("the model has no looped region",))
        changed = replace(
            changed, states=states, constants={**changed.constants, **flags}, loops=(self.loops, self.loops)
        )
        ops = sum(1 for g in changed.graphs.values() for _ in walk(g.ops))
        return Rewritten(changed, (f"unrolled {bodies} regions {self.loops} times: {ops} ops",))


def _copy(op: Op, values: dict[str, Value], builder: Builder, iteration: int, states: Mapping[str, State]) -> None:
    """Append a copy of ``op`` for one iteration, renaming its results."""
    attributes = dict(op.attributes)
    if op.name.startswith("state."):
        state = states[op.text("name")]
        attributes["iteration"] = min(iteration, state.iterations - 1)
    results = tuple(replace(r, name=builder.fresh(f"{r.name}_i{iteration}")) for r in op.results)
    operands = tuple(values.get(v.name, v) for v in op.operands)
    regions = tuple(_copy_region(region, dict(values), builder, iteration, states) for region in op.regions)
    builder.ops.append(replace(op, operands=operands, results=results, attributes=attributes, regions=regions))
    values.update((old.name, new) for old, new in zip(op.results, results, strict=True))


def _copy_region(
    region: Region, values: dict[str, Value], builder: Builder, iteration: int, states: Mapping[str, State]
) -> Region:
    """A copy of the region of a scan."""
    arguments = tuple(replace(a, name=builder.fresh(f"{a.name}_i{iteration}")) for a in region.arguments)
    values.update((old.name, new) for old, new in zip(region.arguments, arguments, strict=True))
    inside = builder.inside()
    for op in region.ops:
        _copy(op, values, inside, iteration, states)
    return Region(arguments, tuple(inside.ops), tuple(values.get(v.name, v) for v in region.results))
