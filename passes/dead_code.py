"""Removes ops without effect, and constants and states that nothing names."""

from __future__ import annotations

from dataclasses import dataclass, replace

from chimerac.compiler.ir.module import Module, Op, Region, walk
from chimerac.passes.base import Rewritten
from chimerac.runtime.bundle_format.constants import DRAFT_IDS, KNOT_MEMORY, KNOT_SKETCH


@dataclass(frozen=True)
class DeadCode:
    """Keeps what the results and the state writes need."""

    name: str = "dead_code"

    def run(self, module: Module) -> Rewritten:
        removed = 0
        graphs = {}
        for name, graph in module.graphs.items():
            live = {v.name for v in graph.results}
            ops = _sweep(graph.ops, live)
            removed += sum(1 for _ in walk(graph.ops)) - sum(1 for _ in walk(ops))
            graphs[name] = replace(graph, ops=ops)
        named = {op.text("name") for g in graphs.values() for op in walk(g.ops) if op.name == "constant"}
        touched = {op.text("name") for g in graphs.values() for op in walk(g.ops) if op.name.startswith("state.")}
        touched |= {KNOT_SKETCH} if KNOT_MEMORY in touched else set()  # which is for runtimes
        states = {n: s for n, s in module.states.items() if n in touched}
        named |= {DRAFT_IDS} if any(g.role == "draft" for g in graphs.values()) else set()  # which runtimes read
        named |= {s.initial for s in states.values() if s.initial}
        constants = {n: c for n, c in module.constants.items() if n in named}
        dropped = len(module.constants) - len(constants)
        notes = (f"removed {removed} ops and {dropped} constants",) if removed or dropped else ()
        return Rewritten(replace(module, graphs=graphs, constants=constants, states=states), notes)


def _sweep(ops: tuple[Op, ...], live: set[str]) -> tuple[Op, ...]:
    """Ops that are needed, last to first; adds what they use to ``live``."""
    kept: list[Op] = []
    for op in reversed(ops):
        if op.name not in ("state.write", "loop") and not any(r.name in live for r in op.results):
            continue
        regions = []
        for region in op.regions:
            live.update(v.name for v in region.results)
            regions.append(Region(region.arguments, _sweep(region.ops, live), region.results))
        live.update(v.name for v in op.operands)
        kept.append(replace(op, regions=tuple(regions)))
    return tuple(reversed(kept))
