"""Computes equal things once: ops with the same name, operands and attributes, and constants with the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chimerac.compiler.ir.module import Graph, Module, Op, Region, Value
from chimerac.passes.base import Rewritten


@dataclass(frozen=True)
class CommonSubexpressions:
    """Ops inside a region may reuse values of the graph around it, never the other way round."""

    name: str = "common_subexpressions"

    def run(self, module: Module) -> Rewritten:
        names = _merged_constants(module)
        merged = [0]
        graphs = {n: _merge(graph, names, merged) for n, graph in module.graphs.items()}
        states = {
            n: replace(s, initial=names[s.initial]) if s.initial is not None else s for n, s in module.states.items()
        }
        notes = (f"merged {merged[0]} ops",) if merged[0] else ()
        return Rewritten(replace(module, graphs=graphs, states=states), notes)


def _merged_constants(module: Module) -> dict[str, str]:
    """Constant name → the first constant with the same type and bytes."""
    first: dict[tuple[str, bytes], str] = {}
    names = {}
    for name, constant in module.constants.items():
        if constant.computed:  # too large to look at for the chance that two are the same
            names[name] = name
            continue
        key = (str(constant.type), hashlib.sha256(constant.data.tobytes()).digest())
        names[name] = first.setdefault(key, name)
    return names


def _merge(graph: Graph, constants: dict[str, str], merged: list[int]) -> Graph:
    substitution: dict[str, Value] = {}

    def swap(values: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(substitution.get(v.name, v) for v in values)

    def ops(source: tuple[Op, ...], known: dict[object, Op]) -> tuple[Op, ...]:
        kept: list[Op] = []
        for op in source:
            attributes = dict(op.attributes)
            if op.name == "constant":
                attributes["name"] = constants[op.text("name")]
            regions = tuple(Region(r.arguments, ops(r.ops, dict(known)), swap(r.results)) for r in op.regions)
            op = replace(op, operands=swap(op.operands), attributes=attributes, regions=regions)
            if op.name.startswith("state.") or op.regions:
                kept.append(op)
                continue
            key = (op.name, tuple(v.name for v in op.operands), tuple(sorted(attributes.items())))
            if key in known:
                substitution.update((a.name, b) for a, b in zip(op.results, known[key].results, strict=True))
                merged[0] += op.name != "constant"
                continue
            known[key] = op
            kept.append(op)
        return tuple(kept)

    body = ops(graph.ops, {})
    return replace(graph, ops=body, results=swap(graph.results))
