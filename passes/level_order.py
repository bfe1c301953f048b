"""Puts ops that threads share next to one another where none needs another's result: they are handed over together."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from chimerac.compiler.ir.module import Module, Op, Region
from chimerac.compiler.ir.ops import OPS
from chimerac.passes.base import Rewritten


@dataclass(frozen=True)
class LevelOrder:
    """Within each part of the model: what one thread computes as soon as it can, then all that threads share and that
    is ready, and so on."""

    name: str = "level_order"

    def run(self, module: Module) -> Rewritten:
        changed = module.map_graphs(lambda graph: replace(graph, ops=_ordered(graph.ops)))
        before, after = (sum(_hand_overs(graph.ops) for graph in m.graphs.values()) for m in (module, changed))
        return Rewritten(changed, (f"{after} hand-overs to threads in place of {before}",))


def _hand_overs(ops: Sequence[Op]) -> int:
    """Stretches of shared ops."""
    kernels = [op for op in ops if op.regions or OPS[op.name].has_kernel]
    inside = sum(_hand_overs(region.ops) for op in kernels for region in op.regions)
    return inside + sum(shared for shared, _ in groupby(kernels, _is_shared))


def _is_shared(op: Op) -> bool:
    return OPS[op.name].work.sharing([value.type for value in op.operands], op.attributes) is not None


def _ordered(ops: Sequence[Op]) -> tuple[Op, ...]:
    found: list[Op] = []
    for stretch in _stretches(ops):
        if not stretch[0].regions:
            found += _levels(stretch)
            continue
        (op,) = stretch
        regions = (Region(r.arguments, _ordered(r.ops), r.results) for r in op.regions)
        found.append(replace(op, regions=tuple(regions)))
    return tuple(found)


def _stretches(ops: Sequence[Op]) -> Iterator[list[Op]]:
    """Ops whose kernels belong to one part, and each op with regions by itself."""
    stretch: list[Op] = []
    part: str | None = None
    for op in ops:
        own = op.part if OPS[op.name].has_kernel else part
        if stretch and (op.regions or (part is not None and own != part)):
            yield stretch
            stretch, own = [], op.part if OPS[op.name].has_kernel else None
        if op.regions:
            yield [op]
        else:
            stretch.append(op)
            part = own
    if stretch:
        yield stretch


def _levels(ops: Sequence[Op]) -> Iterator[Op]:
    """The ops of one part in their new order."""
    followers: list[list[int]] = [[] for _ in ops]
    waiting = [0] * len(ops)
    for index, before in enumerate(_dependencies(ops)):
        waiting[index] = len(before)
        for other in before:
            followers[other].append(index)
    alone = [index for index, count in enumerate(waiting) if not count and not _is_shared(ops[index])]
    shared = [index for index, count in enumerate(waiting) if not count and _is_shared(ops[index])]
    while alone or shared:
        if alone:
            level = [heapq.heappop(alone)]
        else:
            level, shared = sorted(shared), []
        for index in level:
            yield ops[index]
            for other in followers[index]:
                waiting[other] -= 1
                if not waiting[other]:
                    shared.append(other) if _is_shared(ops[other]) else heapq.heappush(alone, other)


def _dependencies(ops: Sequence[Op]) -> Iterator[set[int]]:
    """For each op, those that must come before it: what makes its operands, and what reads a memory before it changes.

    Memory is that of states, which are read and written in their order, and of operands that an op overwrites: any
    other order would take a copy.
    """
    maker: dict[str, int] = {}  # value name → op
    memory: dict[str, str] = {}  # value name → what it shares memory with: another value, or a state
    readers: dict[str, set[int]] = {}
    writer: dict[str, int] = {}  # state → its last write
    for index, op in enumerate(ops):
        used = [memory.get(value.name, value.name) for value in op.operands]
        before = {maker[value.name] for value in op.operands if value.name in maker}
        if op.name in ("state.read", "state.write"):
            state = f"state {op.text('name')}"
            before |= {writer[state]} if state in writer else set()
            if op.name == "state.read":
                used.append(state)
                memory[op.results[0].name] = state
            else:
                before |= readers.pop(state, set())
                writer[state] = index
        elif OPS[op.name].relabels is not None:
            memory[op.results[0].name] = used[0]
        for operand in OPS[op.name].in_place.values():
            before |= readers.get(used[operand], set())
        for name in used:
            readers.setdefault(name, set()).add(index)
        maker.update((value.name, index) for value in op.results)
        yield before - {index}
