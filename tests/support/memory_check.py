"""Follows which value's bytes lie where while a planned graph runs: a brute-force check of a memory plan.

Every result of an op gets a number; reads of memory must find, in every byte of the place, the number of the value that
the IR means. Copies move numbers. A loop runs twice, so that what its first round leaves is seen by the second.
"""

from __future__ import annotations

from itertools import count

import numpy as np

from chimerac.compiler.ir.module import Graph, Module, Op, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.targets.code.places import Arena, GraphPlan, Input, LastRow, Logits, MemoryPlan, Place, StateSlot, Weight


def check_plan(module: Module, plan: MemoryPlan) -> None:
    """Raise AssertionError where a value is not where the plan says when it is needed."""
    for name, graph in module.graphs.items():
        _Run(module, graph, plan, plan.graphs[name]).run()


class _Run:
    def __init__(self, module: Module, graph: Graph, plan: MemoryPlan, places: GraphPlan) -> None:
        self.module, self.graph, self.plan, self.places = module, graph, plan, places
        self.arena = np.full(places.arena_bytes, -1)
        self.state = np.full(plan.state_bytes, -1)
        self.logits = np.full(graph.results[0].type.bytes(1), -1)
        self.fresh = count()
        self.meaning: dict[str, int] = {}  # value → number
        self.states: dict[tuple[str, int], int] = {}
        self.iteration = 0

    def run(self) -> None:
        for name, state in self.module.states.items():
            for i in range(state.iterations):
                self.states[name, i] = next(self.fresh)
                self.memory(StateSlot(name, i), self.state_value(name))[:] = self.states[name, i]
        for value in self.graph.inputs:
            self.meaning[value.name] = next(self.fresh)
        self.ops(self.graph.ops, 0, in_loop=False)
        self.find(self.graph.results[0], "the result")
        for (name, i), number in self.states.items():
            found = self.memory(StateSlot(name, i), self.state_value(name))
            assert (found == number).all(), f"state {name}, copy {i}, does not hold its new value"

    def state_value(self, name: str) -> Value:
        return Value(name, self.module.states[name].type)

    def memory(self, place: Place, value: Value) -> np.ndarray:
        size = value.type.bytes(self.graph.tokens)
        match place:
            case Arena(offset, bytes_):
                assert offset % 64 == 0
                assert offset + bytes_ <= self.places.arena_bytes
                assert size <= bytes_
                return self.arena[offset : offset + size]
            case StateSlot(name, iteration):
                one = self.module.states[name].type.bytes()
                start = self.plan.state_offsets[name] + one * (self.iteration if iteration is None else iteration)
                return self.state[start : start + size]
            case LastRow(base, row_bytes):
                assert size == row_bytes
                whole = Value(value.name, value.type.with_shape(("T", *value.type.shape[1:])))
                return self.memory(base, whole)[-row_bytes:]
            case Logits():
                return self.logits[:size]
        raise AssertionError(f"{value} cannot be written to {place}")

    def find(self, value: Value, where: str, place: Place | None = None) -> None:
        """Check that a value is where it should be."""
        place = place or self.places.places[value.name]
        if isinstance(place, Input | Weight):
            return  # never written: `memory` refuses
        found = self.memory(place, value)
        assert (found == self.meaning[value.name]).all(), f"{where} does not find {value} in {place}"

    def set(self, value: Value, number: int) -> None:
        self.meaning[value.name] = number
        self.memory(self.places.places[value.name], value)[:] = number

    def ops(self, ops: tuple[Op, ...], index: int, *, in_loop: bool) -> int:
        for op in ops:
            for copy in self.places.copies.get(index, ()):
                if isinstance(copy.source, Weight | Input):
                    self.memory(copy.target, copy.value)[:] = self.meaning[copy.value.name]
                else:
                    if op.name != "state.read":
                        self.find(copy.value, "a copy", copy.source)
                    self.memory(copy.target, copy.value)[:] = self.memory(copy.source, copy.value)
            index += 1
            if op.name == "loop":
                index = self.loop(op, index)
            elif op.name == "constant":
                self.meaning[op.results[0].name] = next(self.fresh)
            elif op.name in ("state.read", "state.write"):
                self.access(op, in_loop=in_loop)
            elif OPS[op.name].relabels is not None:
                self.meaning[op.results[0].name] = self.meaning[op.operands[0].name]
            else:
                self.kernel(op)
        return index

    def access(self, op: Op, *, in_loop: bool) -> None:
        name = op.text("name")
        copies = self.module.states[name].iterations
        i = op.integer("iteration") if "iteration" in op.attributes else min(self.iteration, copies - 1) * in_loop
        if op.name == "state.read":
            self.meaning[op.results[0].name] = self.states[name, i]
            return
        value = op.operands[0]
        self.find(value, f"the write of state {name}")
        self.states[name, i] = self.meaning[value.name]
        self.memory(StateSlot(name, i), value)[:] = self.states[name, i]

    def kernel(self, op: Op) -> None:
        in_place = OPS[op.name].in_place
        overwritten = {operand: self.places.places[op.results[r].name] for r, operand in in_place.items()}
        for i, value in enumerate(op.operands):
            self.find(value, op.name, overwritten.get(i))
        for result in op.results:
            self.set(result, next(self.fresh))
        for result in op.results:
            self.find(result, f"another result of {op.name}")

    def loop(self, op: Op, index: int) -> int:
        region = op.regions[0]
        write, carried = region.arguments
        self.meaning[write.name] = next(self.fresh)
        self.find(op.operands[0], "the loop")
        self.set(carried, self.meaning[op.operands[0].name])
        end = index
        for self.iteration in range(2):
            end = self.ops(region.ops, index, in_loop=True)
            self.find(region.results[0], "the end of the loop")
            self.find(carried, "the test for convergence")
            self.set(carried, self.meaning[region.results[0].name])
        self.iteration = 0
        self.meaning[op.results[0].name] = self.meaning[carried.name]
        return end + 1
