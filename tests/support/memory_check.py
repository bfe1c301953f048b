"""Follows which value's bytes lie where while a planned graph runs: a brute-force check of a memory plan.

Every result of an op gets a number; reads of memory must find, in every byte of the place, the number of the value that
the IR means. Copies move numbers. A loop runs twice, so that what its first round leaves is seen by the second.
"""

from __future__ import annotations

from itertools import count

import numpy as np

from chimerac.compiler.ir.module import Graph, Module, Op, Value
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.scans import Scan
from chimerac.compiler.ir.types import TOKENS, TensorType
from chimerac.targets.code.places import (
    Arena,
    Copy,
    GraphPlan,
    Input,
    LastRow,
    Logits,
    MemoryPlan,
    Place,
    Row,
    StateSlot,
    Weight,
)


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
        self.row: dict[int, int] = {}  # scan → its running row

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
            case Row(base, row_bytes, scan):
                assert size <= row_bytes
                rows = Value(value.name, TensorType("u8", ((self.row[scan] + 1) * row_bytes,)))
                return self.memory(base, rows)[-row_bytes:][:size]
            case Logits():
                return self.logits[:size]
        raise AssertionError(f"{value} cannot be written to {place}")

    def find(self, value: Value, where: str, place: Place | None = None) -> None:
        """Check that a value is where it should be."""
        place = place or self.places.places[value.name]
        if isinstance(place, Input | Weight) or (isinstance(place, Row) and isinstance(place.base, Input | Weight)):
            return  # never written: `memory` refuses
        found = self.memory(place, value)
        assert (found == self.meaning[value.name]).all(), f"{where} does not find {value} in {place}"

    def set(self, value: Value, number: int) -> None:
        self.meaning[value.name] = number
        self.memory(self.places.places[value.name], value)[:] = number

    def ops(self, ops: tuple[Op, ...], index: int, *, in_loop: bool) -> int:
        for op in ops:
            for copy in self.places.copies.get(index, ()):
                self.copy(copy, check=op.name != "state.read")
            index += 1
            if op.name == "loop":
                index = self.loop(op, index)
            elif op.name == "scan":
                index = self.scan(Scan.of(op), index)
            elif op.name == "constant":
                self.meaning[op.results[0].name] = next(self.fresh)
            elif op.name in ("state.read", "state.write"):
                self.access(op, in_loop=in_loop)
            elif OPS[op.name].relabels is not None:
                self.meaning[op.results[0].name] = self.meaning[op.operands[0].name]
            else:
                self.kernel(op)
        return index

    def copy(self, copy: Copy, *, check: bool = True) -> None:
        if isinstance(copy.source, Weight | Input):
            self.memory(copy.target, copy.value)[:] = self.meaning[copy.value.name]
            return
        if check:
            self.find(copy.value, "a copy", copy.source)
        if isinstance(copy.source, Row) and isinstance(copy.source.base, Input | Weight):
            self.memory(copy.target, copy.value)[:] = self.meaning[copy.value.name]
            return
        self.memory(copy.target, copy.value)[:] = self.memory(copy.source, copy.value)

    def scan(self, scan: Scan, index: int) -> int:
        """Two rows; a sequence that is computed has one number, so each of its rows has."""
        for begin, carried in zip(scan.begin, scan.carried, strict=True):
            self.meaning[carried.name] = self.meaning[begin.name]
        for sequence, row in zip(scan.sequences, scan.rows, strict=True):
            self.find(sequence, "the scan")
            self.meaning[row.name] = self.meaning[sequence.name]
        numbers: list[list[int]] = []
        end, first = index, index - 1
        single = scan.length == 1 or (scan.length == TOKENS and self.graph.tokens == 1)
        rows = [0] if single else [1, 0] if scan.reverse else [0, 1]
        for self.row[first] in rows:
            for carried in scan.carried:
                self.find(carried, "a row")
            end = self.ops(scan.region.ops, index, in_loop=False)
            numbers.append([self.meaning[v.name] for v in scan.made])
            for copy in self.places.copies[end]:
                self.copy(copy)
            following = [self.meaning[v.name] for v in scan.following]
            self.meaning.update(zip((v.name for v in scan.carried), following, strict=True))
        for carried, final in zip(scan.carried, scan.end, strict=True):
            self.meaning[final.name] = self.meaning[carried.name]
        for i, (stacked, row) in enumerate(zip(scan.stacked, scan.made, strict=True)):
            for place, made in zip(rows, numbers, strict=True):
                self.row[first] = place
                where = Row(self.places.places[stacked.name], row.type.bytes(), first)
                found = self.memory(where, row)
                assert (found == made[i]).all(), f"row {place} of {stacked} is not there"
            self.set(stacked, next(self.fresh))
        return end + 1

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
