"""Joins chains of element-wise ops into one ``fused`` op, so that intermediate values never reach memory.

An op is absorbed into its only user when both have the same result shape (so nothing is computed twice) and both stand
in the same region. Ops that broadcast a smaller value stay apart. Element-wise ops repeat what is smaller by
themselves, so they read what a ``broadcast`` repeats, where the shape is that of other operands, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from chimerac.compiler.ir.module import Graph, Module, Op, Region, Value, walk
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.ops.elementwise import broadcast, parse_expression
from chimerac.passes.base import Builder, Rewritten, rewrite, uses

#: A fused expression with more operands than this would run out of vector registers.
MOST_OPERANDS = 8


@dataclass(frozen=True)
class FuseElementwise:
    """Needs single uses only; costs nothing in accuracy, as every step rounds as before."""

    name: str = "fuse_elementwise"

    def run(self, module: Module) -> Rewritten:
        before = after = 0
        graphs = {}
        for name, graph in module.graphs.items():
            graph = _read_smaller(graph)
            counts = uses(graph)
            before += _elementwise(graph.ops)
            graphs[name] = _fuse_graph(graph, counts)
            after += _elementwise(graphs[name].ops)
        notes = (f"{before} element-wise ops became {after}",) if before else ()
        return Rewritten(replace(module, graphs=graphs), notes)


def _elementwise(ops: tuple[Op, ...]) -> int:
    return sum(OPS[o.name].elementwise + sum(_elementwise(r.ops) for r in o.regions) for o in ops)


def _read_smaller(graph: Graph) -> Graph:
    repeated = {op.results[0].name: op.operands[0] for op in walk(graph.ops) if op.name == "broadcast"}

    def rule(op: Op, builder: Builder) -> tuple[Value, ...] | None:
        if not OPS[op.name].elementwise:
            return None
        operands = list(op.operands)
        for i, value in enumerate(operands):
            smaller = repeated.get(value.name)
            others = [v.type.shape for v in (*operands[:i], *operands[i + 1 :])]
            if smaller is not None and others and broadcast([*others, smaller.type.shape]) == op.results[0].type.shape:
                operands[i] = smaller
        if tuple(operands) == op.operands:
            return None
        builder.ops.append(replace(op, operands=tuple(operands)))
        return op.results

    return rewrite(graph, rule) if repeated else graph


def _fuse_graph(graph: Graph, counts: dict[str, int]) -> Graph:
    return replace(graph, ops=_fuse(graph.ops, counts))


def _fuse(ops: tuple[Op, ...], counts: dict[str, int]) -> tuple[Op, ...]:
    kept: list[Op | None] = []
    producer: dict[str, int] = {}  # value name → index in kept of the element-wise op that makes it
    for op in ops:
        if op.regions:
            op = replace(op, regions=tuple(Region(r.arguments, _fuse(r.ops, counts), r.results) for r in op.regions))
        if OPS[op.name].elementwise:
            for value in dict.fromkeys(op.operands):
                index = producer.get(value.name)
                source = kept[index] if index is not None else None
                if source is None or index is None or counts[value.name] != op.operands.count(value):
                    continue
                if source.results[0].type.shape != op.results[0].type.shape:
                    continue
                joined = _join(source, op)
                if joined is not None:
                    kept[index] = None
                    op = joined
            producer[op.results[0].name] = len(kept)
        kept.append(op)
    return tuple(op for op in kept if op is not None)


def _steps(op: Op) -> list[tuple[str, tuple[str, ...]]]:
    """The op as steps over ``a<i>`` and ``t<j>``."""
    if op.name == "fused":
        return parse_expression(op.text("expression"))
    return [(op.name, tuple(f"a{i}" for i in range(len(op.operands))))]


def _join(source: Op, user: Op) -> Op | None:
    """``user`` with ``source`` computed inside it; None if that needs too many operands."""
    absorbed = source.results[0]
    operands: list[Value] = list(dict.fromkeys(source.operands))
    operands += [v for v in dict.fromkeys(user.operands) if v != absorbed and v not in operands]
    if len(operands) > MOST_OPERANDS:
        return None
    first, second = _steps(source), _steps(user)

    def rename(argument: str, of: Op, shift: int) -> str:
        number = int(argument[1:])
        if argument[0] == "t":
            return f"t{number + shift}"
        value = of.operands[number]
        return f"t{len(first) - 1}" if value == absorbed else f"a{operands.index(value)}"

    steps = [(n, tuple(rename(a, source, 0) for a in arguments)) for n, arguments in first]
    steps += [(n, tuple(rename(a, user, len(first)) for a in arguments)) for n, arguments in second]
    expression = ";".join(f"{n}({','.join(arguments)})" for n, arguments in steps)
    return replace(user, name="fused", operands=tuple(operands), attributes={"expression": expression})
