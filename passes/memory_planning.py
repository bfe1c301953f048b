"""Decides where every value lives, so that generated code allocates nothing.

Weights lie in sections, recurrent state in the session's state region, everything else in one arena that is reused as
values die. Values that only relabel memory (``reshape``, ``last_token``) and results written in place of an operand
share that operand's place. Offsets are multiples of 64 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.memory import (
    Arena,
    Copy,
    GraphPlan,
    Input,
    LastRow,
    Logits,
    MemoryPlan,
    Place,
    StateSlot,
    Weight,
    align,
)
from chimerac.compiler.ir.module import Graph, Module, Op, Value, walk
from chimerac.compiler.ir.ops import OPS

def plan_memory(module: Module) -> MemoryPlan:
    """The plan of a lowered module."""
    offsets, position = {}, 0
    for name, state in module.states.items():
        offsets[name] = position
        position += align(state.type.bytes() * state.iterations)
    graphs = {name: _Planner(module, graph).plan() for name, graph in module.graphs.items()}
    arena = max((g.arena_bytes for g in graphs.values()), default=0)
    return MemoryPlan(graphs, offsets, position, arena)


@dataclass
class _Buffer:
    """An arena allocation in the making: alive from op ``first`` to op ``last``, both included."""

    bytes: int
    first: int
    last: int
    offset: int = -1
    names: list[str] = field(default_factory=list)


class _Planner:
    def __init__(self, module: Module, graph: Graph) -> None:
        self.module, self.graph = module, graph
        self.places: dict[str, Place] = {}
        self.buffers: dict[str, _Buffer] = {}  # value name → its buffer
        self.copies: dict[int, tuple[Copy, ...]] = {}
        self.last_use: dict[str, int] = {}
        self.rows: dict[str, Value] = {}  # value name → the tensor whose last row it is
        self.index = 0

    def plan(self) -> GraphPlan:
        self._find_last_uses()
        for value in self.graph.inputs:
            self.places[value.name] = Input(value.name)
        self.index = 0
        self._assign(self.graph.ops, in_loop=False)
        buffers = list({id(b): b for b in self.buffers.values()}.values())
        arena = _pack(buffers)
        for name, buffer in self.buffers.items():
            self.places[name] = Arena(buffer.offset, buffer.bytes)
        self._place_relabelled()
        copies = {
            index: tuple(Copy(self._final(c.source), self._final(c.target), c.value) for c in group)
            for index, group in self.copies.items()
        }
        return GraphPlan(self.places, copies, arena, sum(align(b.bytes) for b in buffers))

    # lifetimes --------------------------------------------------------------------------------------------------

    def _find_last_uses(self) -> None:
        def visit(ops: tuple[Op, ...], start: int) -> int:
            index = start
            for op in ops:
                here = index
                index += 1
                for region in op.regions:
                    first = index
                    index = visit(region.ops, index)
                    inside = {r.name for inner in walk(region.ops) for r in inner.results}
                    for name, used in self.last_use.items():
                        if used >= first and name not in inside:  # what a loop reads must outlive all its iterations
                            self.last_use[name] = index
                    for value in region.results:
                        self.last_use[value.name] = index
                    index += 1
                for value in op.operands:
                    self.last_use[value.name] = max(self.last_use.get(value.name, 0), index - 1 if op.regions else here)
            return index

        end = visit(self.graph.ops, 0)
        for value in self.graph.results:
            self.last_use[value.name] = end

    # places -----------------------------------------------------------------------------------------------------

    def _assign(self, ops: tuple[Op, ...], *, in_loop: bool) -> None:
        for op in ops:
            here = self.index
            self.index += 1
            if op.name == "loop":
                self._assign_loop(op, here)
            elif op.name == "constant":
                self.places[op.results[0].name] = Weight(op.text("name"))
            elif op.name == "state.read":
                self.places[op.results[0].name] = self._state(op, in_loop)
            elif op.name in ("reshape", "last_token"):
                self._alias(op)
            elif op.name != "state.write":
                self._assign_results(op, here)

    def _state(self, op: Op, in_loop: bool) -> StateSlot:
        name = op.text("name")
        if "iteration" in op.attributes:
            return StateSlot(name, op.integer("iteration"))
        several = self.module.states[name].iterations > 1
        return StateSlot(name, None if in_loop and several else 0)

    def _alias(self, op: Op) -> None:
        """The result shares its operand's memory; ``last_token`` adds the offset once buffers have theirs."""
        source, result = op.operands[0], op.results[0]
        if source.name in self.buffers:
            buffer = self.buffers[source.name]
            buffer.last = max(buffer.last, self.last_use.get(result.name, 0))
            self.buffers[result.name] = buffer
        else:
            self.places[result.name] = self.places[source.name]
        if op.name == "last_token":
            self.rows[result.name] = source
        elif source.name in self.rows:
            self.rows[result.name] = self.rows[source.name]

    def _assign_results(self, op: Op, here: int) -> None:
        in_place = OPS[op.name].in_place
        for index, result in enumerate(op.results):
            if index in in_place:
                self._overwrite(op.operands[in_place[index]], result, here)
            elif result == self.graph.results[0]:
                self.places[result.name] = Logits()
            else:
                self._allocate(result, here)

    def _allocate(self, value: Value, first: int) -> _Buffer:
        size = value.type.bytes(self.graph.tokens)
        buffer = _Buffer(size, first, max(first, self.last_use.get(value.name, first)))
        self.buffers[value.name] = buffer
        return buffer

    def _overwrite(self, operand: Value, result: Value, here: int) -> None:
        """Put ``result`` where ``operand`` is, or copy first if the old value is still needed or may not change."""
        place = self.places.get(operand.name)
        needed = self.last_use.get(operand.name, 0) > here
        if needed or isinstance(place, Weight | Input):
            self._allocate(result, here)
            source = place if place is not None else _Pending(operand.name)
            copy = Copy(source, _Pending(result.name), operand)
            self.copies[here] = (*self.copies.get(here, ()), copy)
        elif operand.name in self.buffers:
            buffer = self.buffers[operand.name]
            buffer.last = max(buffer.last, self.last_use.get(result.name, here))
            self.buffers[result.name] = buffer
        else:
            assert place is not None
            self.places[result.name] = place

    def _assign_loop(self, op: Op, here: int) -> None:
        region = op.regions[0]
        write, carried = region.arguments
        self.places[write.name] = Input("write")
        buffer = self._allocate(carried, here)
        self._assign(region.ops, in_loop=True)
        buffer.last = self.index  # the end of the loop
        result = op.results[0]
        buffer.last = max(buffer.last, self.last_use.get(result.name, self.index))
        self.buffers[result.name] = buffer
        if region.results[0].name not in self.buffers:
            raise InternalError("the result of a looped region must be computed in it", stage="memory_planning")
        self.index += 1

    # after packing ----------------------------------------------------------------------------------------------

    def _final(self, place: Place) -> Place:
        return self.places[place.name] if isinstance(place, _Pending) else place

    def _place_relabelled(self) -> None:
        for name, source in self.rows.items():
            if source.type.is_dynamic:
                self.places[name] = LastRow(self.places[name], source.type.bytes(1))


@dataclass(frozen=True)
class _Pending(Input):
    """Stands for the place of a value whose buffer has no offset yet."""


def _pack(buffers: list[_Buffer]) -> int:
    """Give each buffer an offset such that buffers alive together do not overlap; the size of the arena.

    Largest first, each at the lowest offset that is free over its whole life.
    """
    placed: list[_Buffer] = []
    total = 0
    for buffer in sorted(buffers, key=lambda b: (-b.bytes, b.first)):
        offset = 0
        for other in sorted(_alive_with(buffer, placed), key=lambda b: b.offset):
            if offset + align(buffer.bytes) <= other.offset:
                break
            offset = max(offset, other.offset + align(other.bytes))
        buffer.offset = offset
        total = max(total, offset + align(buffer.bytes))
        placed.append(buffer)
    return total


def _alive_with(buffer: _Buffer, placed: list[_Buffer]) -> Iterator[_Buffer]:
    return (b for b in placed if b.first <= buffer.last and buffer.first <= b.last)
