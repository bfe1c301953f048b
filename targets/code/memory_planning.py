"""Decides where every value lives, so that generated code allocates nothing.

Weights lie in sections, recurrent state in the session's state region, everything else in one arena that is reused as
values die. Values that only relabel memory (``reshape``, ``last_token``) and results written in place of an operand
share that operand's place. A state that is read is used where it is, and an op may overwrite it with the state's next
value; what is still needed after that is copied to the arena first. Offsets are multiples of 64 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.module import Graph, Module, Op, Region, Value, walk
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.scans import Scan
from chimerac.compiler.ir.trees import SLOTS
from chimerac.targets.code.chains import held_until
from chimerac.targets.code.places import (
    Arena,
    Argument,
    Copy,
    GraphPlan,
    Input,
    LastRow,
    Logits,
    MemoryPlan,
    Place,
    Result,
    Row,
    StateSlot,
    TreePlan,
    Weight,
    align,
    count,
    following,
    numbered,
)
from chimerac.targets.code.tree_plans import plan_trees


def plan_memory(module: Module) -> MemoryPlan:
    """The plan of a lowered module."""
    offsets, position = {}, 0
    for name, state in module.states.items():
        offsets[name] = position
        position += align(state.type.bytes() * state.iterations)
    trees = plan_trees(module)
    graphs = {name: _Planner(module, graph, trees).plan() for name, graph in module.graphs.items()}
    arena = max((g.arena_bytes for g in graphs.values()), default=0)
    return MemoryPlan(graphs, offsets, position, arena + SLOTS * trees.slot_bytes, arena, trees)


@dataclass
class _Buffer:
    """An arena allocation in the making: alive from op ``first`` to op ``last``, both included."""

    bytes: int
    first: int
    last: int
    offset: int = -1
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Access:
    """A ``state.read`` or ``state.write`` by its number."""

    index: int
    slot: StateSlot
    value: Value

    def touches(self, slot: StateSlot) -> bool:
        """Whether this is (or may be, in some iteration) an access to the memory of ``slot``."""
        either = None in (self.slot.iteration, slot.iteration)
        return self.slot.name == slot.name and (either or self.slot.iteration == slot.iteration)


class _Planner:
    def __init__(self, module: Module, graph: Graph, trees: TreePlan) -> None:
        self.module, self.graph, self.trees = module, graph, trees
        self.places: dict[str, Place] = {}
        self.buffers: dict[str, _Buffer] = {}  # value name → its buffer
        self.copies: dict[int, tuple[Copy, ...]] = {}
        self.last_use: dict[str, int] = {}
        self.last_need: dict[str, int] = {}  # the same over all values that relabel one
        self.origin: dict[str, str] = {}  # relabelled value → the value that it relabels
        self.reads: list[_Access] = []
        self.writes: list[_Access] = []
        self.residents: list[_Access] = []  # values that live in a state's memory, in order of their making
        self.rows: dict[str, Value] = {}  # value name → the tensor whose last row it is
        self.row_places: dict[str, Row] = {}  # value made in a scan → the row of a result where it is put at once
        self.wanted: dict[str, Place] = {}  # value name → where the caller wants it

    def plan(self) -> GraphPlan:
        self._find_last_uses()
        self._find_wanted()
        for index, value in enumerate(self.graph.inputs):
            self.places[value.name] = Argument(index) if self.graph.role == "call" else Input(value.name)
        self._assign(self.graph.ops, 0, in_loop=False)
        buffers = list({id(b): b for b in self.buffers.values()}.values())
        arena = _pack(buffers)
        for name, buffer in self.buffers.items():
            self.places[name] = Arena(buffer.offset, buffer.bytes)
        self._place_relabelled()
        self.places = {name: self._final(place) for name, place in self.places.items()}
        copies = {
            index: tuple(
                c
                for c in (Copy(self._final(c.source), self._final(c.target), c.value) for c in group)
                if c.source != c.target
            )
            for index, group in self.copies.items()
        }
        return GraphPlan(self.places, copies, arena, sum(align(b.bytes) for b in buffers))

    # lifetimes --------------------------------------------------------------------------------------------------

    def _find_last_uses(self) -> None:
        self._visit(self.graph.ops, 0, in_loop=False)
        for value in self.graph.results:
            self.last_use[value.name] = count(self.graph.ops)
        for name, origin in self.origin.items():
            self.last_need[origin] = max(self.last_need.get(origin, 0), self.last_use.get(name, 0))

    def _visit(self, ops: tuple[Op, ...], start: int, *, in_loop: bool) -> None:
        """Note the accesses and last uses of some ops, the first of which has the number ``start``."""
        held = held_until(list(numbered(ops, start)), by_tokens=self.graph.role == "prefill")
        for here, op in numbered(ops, start):
            if OPS[op.name].relabels is not None:
                self.origin[op.results[0].name] = self._origin(op.operands[0])
            elif op.name == "state.read":
                self.reads.append(_Access(here, self._state(op, in_loop), op.results[0]))
            elif op.name == "state.write":
                self.writes.append(_Access(here, self._state(op, in_loop), op.operands[0]))
            used_at = self._visit_regions(op, here, in_loop=in_loop) if op.regions else held.get(here, here)
            for index, value in enumerate(op.operands):
                until = here if index in OPS[op.name].in_place.values() else used_at
                self.last_use[value.name] = max(self.last_use.get(value.name, 0), until)

    def _visit_regions(self, op: Op, here: int, *, in_loop: bool) -> int:
        """The same for the loop bodies of the op numbered ``here``; the number of its end."""
        first = here + 1
        for region in op.regions:
            self._visit(region.ops, first, in_loop=_is_looped(op, in_loop))
            end = first + count(region.ops)
            inside = {r.name for inner in walk(region.ops) for r in inner.results}
            for name, used in self.last_use.items():
                if used >= first and name not in inside:  # what a loop reads must outlive all its iterations
                    self.last_use[name] = end
            for value in region.results:
                self.last_use[value.name] = end
            first = end + 1
        return first - 1

    def _find_wanted(self) -> None:
        """Which ops can write right where the caller wants their results, under any of the names of these."""
        if self.graph.role != "call":
            self.wanted = {value.name: Logits() for value in self.graph.results}
            return
        sizes = {v.name: v.type.elements(self.graph.tokens) for op in self.graph.ops for v in op.results}
        for index, value in enumerate(self.graph.results):
            origin = self._origin(value)
            if sizes.get(origin) == value.type.elements(self.graph.tokens):  # a last row is a part of its origin
                self.wanted.setdefault(origin, Result(index))

    def _origin(self, value: Value) -> str:
        return self.origin.get(value.name, value.name)

    def _needed_until(self, value: Value) -> int:
        """The last use of a value's memory under any of its names."""
        origin = self._origin(value)
        return max(self.last_use.get(origin, 0), self.last_need.get(origin, 0))

    def _outlives_slot(self, read: _Access) -> bool:
        """Whether a state's value is used after a write to the state."""
        until = self._needed_until(read.value)
        return any(w.touches(read.slot) and read.index < w.index < until for w in self.writes)

    # places -----------------------------------------------------------------------------------------------------

    def _assign(self, ops: tuple[Op, ...], start: int, *, in_loop: bool) -> None:
        for here, op in numbered(ops, start):
            if op.name == "loop":
                self._assign_loop(op, here)
            elif op.name == "scan":
                self._assign_scan(op, here, in_loop=in_loop)
            elif op.name in ("walk", "replay"):
                self._assign_tree(op, here, in_loop=in_loop)
            elif op.name == "constant":
                self.places[op.results[0].name] = Weight(op.text("name"))
            elif op.name == "state.read":
                self._read_state(next(r for r in self.reads if r.index == here))
            elif OPS[op.name].relabels is not None:
                self._alias(op)
            elif op.name != "state.write":
                self._assign_results(op, here)

    def _state(self, op: Op, in_loop: bool) -> StateSlot:
        name = op.text("name")
        if "iteration" in op.attributes:
            return StateSlot(name, op.integer("iteration"))
        several = self.module.states[name].iterations > 1
        return StateSlot(name, None if in_loop and several else 0)

    def _read_state(self, read: _Access) -> None:
        """The value is the state's memory, or a copy made now when a write would come before its last use."""
        if self._outlives_slot(read):
            self._allocate(read.value, read.index)
            self.copies[read.index] = (Copy(read.slot, _Pending(read.value.name), read.value),)
        else:
            self.places[read.value.name] = read.slot
            self.residents.append(read)

    def _alias(self, op: Op) -> None:
        """The result shares its operand's memory; that of the last row is added once buffers have their offsets."""
        source, result = op.operands[0], op.results[0]
        if source.name in self.buffers:
            buffer = self.buffers[source.name]
            buffer.last = max(buffer.last, self.last_use.get(result.name, 0))
            self.buffers[result.name] = buffer
        else:
            self.places[result.name] = self.places[source.name]
        if OPS[op.name].relabels == "last row":
            self.rows[result.name] = source
        elif source.name in self.rows:
            self.rows[result.name] = self.rows[source.name]

    def _assign_results(self, op: Op, here: int) -> None:
        in_place = OPS[op.name].in_place
        for index, result in enumerate(op.results):
            if index in in_place:
                self._overwrite(op, op.operands[in_place[index]], result, here)
            elif result.name in self.wanted:
                self.places[result.name] = self.wanted[result.name]
            elif result.name in self.row_places:
                self.places[result.name] = self.row_places[result.name]
            else:
                self._allocate(result, here)

    def _allocate(self, value: Value, first: int) -> _Buffer:
        size = value.type.bytes(self.graph.tokens)
        buffer = _Buffer(size, first, max(first, self.last_use.get(value.name, first)))
        self.buffers[value.name] = buffer
        return buffer

    def _overwrite(self, op: Op, operand: Value, result: Value, here: int) -> None:
        """Put ``result`` where ``operand`` is, or copy first if the old value is still needed or may not change."""
        place = self.places.get(operand.name)
        twice = sum(self._origin(v) == self._origin(operand) for v in op.operands) > 1
        needed = twice or self._needed_until(operand) > here or operand.name in self.rows
        fixed = isinstance(place, Weight | Input | Logits | Argument | Result | Row)
        if needed or fixed or (isinstance(place, StateSlot) and not self._may_change(place, operand, result, here)):
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
            if isinstance(place, StateSlot):
                self.residents.append(_Access(here, place, result))

    def _may_change(self, slot: StateSlot, operand: Value, result: Value, here: int) -> bool:
        """Whether ``result`` is what the state holds next, and nothing else needs the state's memory meanwhile."""
        writes = [w for w in self.writes if w.index > here and w.touches(slot)]
        if not writes or writes[0].value != result or writes[0].slot != slot:
            return False
        overtaken = any(w.index < self._needed_until(result) for w in writes[1:])
        read_again = any(r.touches(slot) and here < r.index < writes[0].index for r in self.reads)
        shared = any(
            r.touches(slot) and r.value.name != self._origin(operand) and self._needed_until(r.value) >= here
            for r in self.residents
        )
        return not (overtaken or read_again or shared)

    def _assign_loop(self, op: Op, here: int) -> None:
        region = op.regions[0]
        write, carried = region.arguments
        self.places[write.name] = Input("write")
        buffer = self._allocate(carried, here)
        self._assign(region.ops, here + 1, in_loop=True)
        result, end = op.results[0], following(op, here) - 1
        buffer.last = max(end, self.last_use.get(result.name, end))
        self.buffers[result.name] = buffer
        if region.results[0].name not in self.buffers:
            raise InternalError("the result of a looped region must be computed in it", stage="memory_planning")

    def _assign_scan(self, op: Op, here: int, *, in_loop: bool) -> None:
        """Carried values have buffers of their own, into which the next ones are copied after each row; rows are where
        the sequences are."""
        scan, end = Scan.of(op), following(op, here) - 1
        starts: list[Copy] = []
        for begin, carried, final in zip(scan.begin, scan.carried, scan.end, strict=True):
            buffer = self._allocate(carried, here)
            buffer.last = max(end, self.last_use.get(final.name, end))
            self.buffers[final.name] = buffer
            starts.append(Copy(_Pending(begin.name), _Pending(carried.name), begin))
        self.copies[here] = tuple(starts)
        for sequence, row in zip(scan.sequences, scan.rows, strict=True):
            self.places[row.name] = Row(_Pending(sequence.name), row.type.bytes(), here)
        for stacked in scan.stacked:
            buffer = self._allocate(stacked, here)
            buffer.last = max(end, buffer.last)
        targets = [Row(_Pending(s.name), v.type.bytes(), here) for s, v in zip(scan.stacked, scan.made, strict=True)]
        self._place_rows(scan.region, scan.made, targets)
        self._assign(scan.region.ops, here + 1, in_loop=in_loop)
        ends = [Copy(_Pending(v.name), target, v) for v, target in zip(scan.made, targets, strict=True)]
        self.copies[end] = (*ends, *self._carry(scan, end))

    def _place_rows(self, region: Region, made: Sequence[Value], targets: Sequence[Row]) -> None:
        """Let kernels of a region write rows where they are to be in the end."""
        made_here = {r.name: o for o in region.ops for i, r in enumerate(o.results) if i not in OPS[o.name].in_place}
        for value, target in zip(made, targets, strict=True):
            origin = self._origin(value)
            if origin in made_here and OPS[made_here[origin].name].has_kernel:
                self.row_places.setdefault(origin, target)

    def _assign_tree(self, op: Op, here: int, *, in_loop: bool) -> None:
        """Rows of a path are in the sequences of all nodes, or in what was kept of these."""
        region, end = op.regions[0], following(op, here) - 1
        first, second, *rows = region.arguments
        self.places[first.name] = Input("place")
        self.places[second.name] = Input("depth" if op.name == "walk" else "write")
        kept = self.trees.walks[op.integer("walk")].sequences
        for index, row in enumerate(rows):
            base = _Pending(op.operands[1 + index].name) if op.name == "walk" else kept[index]
            self.places[row.name] = Row(base, row.type.bytes(1), here)
        for result in op.results:
            buffer = self._allocate(result, here)
            buffer.last = max(end, buffer.last)
        targets = [Row(_Pending(r.name), r.type.bytes(1), here) for r in op.results]
        self._place_rows(region, region.results, targets)
        self._assign(region.ops, here + 1, in_loop=_is_looped(op, in_loop))
        self.copies[end] = tuple(Copy(_Pending(v.name), t, v) for v, t in zip(region.results, targets, strict=True))

    def _carry(self, scan: Scan, end: int) -> Iterator[Copy]:
        """The copies that make the next carried values those of the next row: of what is overwritten, another first."""
        own = {carried.name for carried in scan.carried}
        ready: list[Copy] = []
        for value, carried in zip(scan.following, scan.carried, strict=True):
            source: Place = _Pending(value.name)
            if self._origin(value) in own - {carried.name}:
                apart = Value(f"{value.name} for {carried.name}", value.type)
                self._allocate(apart, end)
                yield Copy(source, _Pending(apart.name), value)
                source = _Pending(apart.name)
            if self._origin(value) != carried.name:
                ready.append(Copy(source, _Pending(carried.name), value))
        yield from ready

    # after packing ----------------------------------------------------------------------------------------------

    def _final(self, place: Place) -> Place:
        if isinstance(place, Row):
            return replace(place, base=self._final(place.base))
        return self._final(self.places[place.name]) if isinstance(place, _Pending) else place

    def _place_relabelled(self) -> None:
        for name, source in self.rows.items():
            if source.type.is_dynamic:
                self.places[name] = LastRow(self.places[name], source.type.bytes(1))


def _is_looped(op: Op, in_loop: bool) -> bool:
    """Whether the region of an op runs for each iteration."""
    return bool(op.integer("looped")) if op.name == "replay" else in_loop if op.name == "walk" else True


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
