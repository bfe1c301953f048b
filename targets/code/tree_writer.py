"""Writes the graphs that run trees of tokens: a loop over the paths of the tree, each with states of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chimerac.compiler.ir.module import Op
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.trees import MOST_NODES, ROW_STATES, Replay, Walk
from chimerac.targets.code.graph_writer import GraphWriter
from chimerac.targets.code.places import StateSlot, following

_ROWS_FOR = {6: 1, 7: 2}  #: of window_attention: operand that is a state → operand with the rows that it writes there


class TreeWriter(GraphWriter):
    """A graph that verifies or commits."""

    def _tree(self, op: Op, here: int, indent: str) -> Iterator[str]:
        yield from self._walk(op, here, indent) if op.name == "walk" else self._replay(op, here, indent)

    def _walk(self, op: Op, here: int, indent: str) -> Iterator[str]:
        """Keep the rows, and run the region for each path."""
        found = Walk.of(op)
        plan = self.plan.trees.walks[found.number]
        for value, kept in zip(found.sequences, plan.sequences, strict=bool(plan.sequences)):
            rows = self._pointer(self._place(value))
            yield f"{indent}memcpy({self._pointer(kept)}, {rows}, {self._bytes(value.type)}); /* keep {value} */"
        yield from self._rows(found.number, "chm_keep_rows", indent)
        if not found.region.ops:
            return
        yield f"{indent}for (int32_t path = 0; path < call->n_paths; ++path) {{ /* {' '.join(map(str, op.results))} */"
        inner = indent + "  "
        yield f"{inner}const chm_path *const p = call->paths + path;"
        yield f"{inner}const int32_t n = p->count, row{here} = p->begin, depth = p->depth;"
        yield f"{inner}const int32_t place = call->position + depth;"
        yield f"{inner}(void)n, (void)row{here}, (void)depth, (void)place;"
        if plan.slots:
            slots, size = self.plan.slots_offset, self.plan.trees.slot_bytes
            yield f"{inner}uint8_t *const slot = arena + {slots} + (size_t)p->slot * {size};"
        for name, offset in plan.slots.items():
            kind = self.module.states[name]
            committed = self._pointer(StateSlot(name, None if self.in_loop and kind.iterations > 1 else 0))
            where = f"arena + {slots + offset}, {size}, {committed}, {kind.type.bytes()}"
            yield f"{inner}chm_branch(p, {where}); /* state {name} */"
        if self.in_loop:
            yield from self._rows_of_path(found, inner)
        yield from self._path(op, here, inner, plan.slots)
        yield f"{indent}}}"

    def _replay(self, op: Op, here: int, indent: str) -> Iterator[str]:
        """Run the region for the nodes of the chosen path, those with neighbouring numbers together."""
        found = Replay.of(op)
        self.in_loop, self.write = found.looped, "write"
        inner = indent + "    "
        count = "call->loops" if found.looped else "1"
        yield f"{indent}for (int32_t iteration = 0; iteration < {count}; ++iteration) {{"
        yield f"{indent}  const int32_t write = iteration == 0;"
        yield f"{indent}  (void)write;"
        yield from self._rows(found.number, "chm_return_rows", indent + "  ")
        yield f"{indent}  for (int32_t path = 0; path < call->n_paths; ++path) {{"
        yield f"{inner}const chm_path *const p = call->paths + path;"
        yield f"{inner}const int32_t n = p->count, row{here} = p->begin, place = call->position + p->depth;"
        yield f"{inner}(void)n, (void)row{here}, (void)place;"
        yield from self._path(op, here, inner, {})
        yield f"{indent}  }}"
        yield f"{indent}}}"
        self.in_loop = False

    def _path(self, op: Op, here: int, indent: str, slots: Mapping[str, int]) -> Iterator[str]:
        self.step, self.slots = -1, slots
        yield from self._ops(op.regions[0].ops, here + 1, indent)
        yield from self._join(indent)
        yield from (f"{indent}{self._copy(copy)}" for copy in self.graph_plan.copies[following(op, here) - 1])
        self.step, self.slots = -1, {}

    def _rows(self, number: int, function: str, indent: str) -> Iterator[str]:
        """Keep the rows of states that nodes overwrite, or bring them back; of a state with one copy for all iterations
        those that are overwritten in the first."""
        for name, (state, kept) in self.plan.trees.walks[number].states.items():
            several = self.module.states[name].iterations > 1
            slot = StateSlot(name, None if self.in_loop and several else 0)
            rows = f"call->kept + {kept.offset}" if not several else self._pointer(kept)
            first = "if (iteration == 0) " if self.in_loop and not several else ""
            sizes = f"{state.blocks}, {state.rows}, {state.row_bytes}, {MOST_NODES}"
            yield f"{indent}{first}{function}(call, {rows}, {self._pointer(slot)}, {sizes}); /* state {name} */"

    def _rows_of_path(self, found: Walk, indent: str) -> Iterator[str]:
        """In later iterations a window has the rows that the nodes of the path wrote in the first one."""
        reads = {op.results[0].name: op.text("name") for op in found.region.ops if op.name == "state.read"}
        places = [value.name for value in found.rows]
        plan = self.plan.trees.walks[found.number]
        for op in found.region.ops:
            if OPS[op.name].guard is None or op.name not in ROW_STATES:
                continue
            for operand in ROW_STATES[op.name]:
                name = reads[op.operands[operand].name]
                kept = plan.sequences[places.index(op.operands[_ROWS_FOR[operand]].name)].offset
                state = plan.states[name][0]
                target = self._pointer(StateSlot(name, 0))
                sizes = f"{state.rows}, {state.row_bytes}"
                yield f"{indent}if (iteration) chm_put_path(call, p, call->kept + {kept}, {target}, {sizes});"
