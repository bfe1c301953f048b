"""Where what a tree of tokens needs beside values lives: the states of its paths, and what is kept until one is chosen.

States of paths are in slots at the end of the arena, all states of a walk side by side. Kept from ``verify`` to
``commit``, in memory of the session: the rows that walks got, by iteration, and those of caches that nodes overwrite.
"""

from __future__ import annotations

from chimerac.compiler.ir.module import Module, walk
from chimerac.compiler.ir.trees import MOST_NODES, Walk, branching_states, row_states, walks
from chimerac.targets.code.places import Kept, TreePlan, WalkPlan, align


def plan_trees(module: Module) -> TreePlan:
    """The plan of a lowered module; empty without a graph that verifies."""
    replayed = {op.integer("walk") for g in module.graphs.values() for op in walk(g.ops) if op.name == "replay"}
    planned: dict[int, WalkPlan] = {}
    end, slot_bytes = 0, 0

    def keep(size: int, iterations: int) -> Kept:
        nonlocal end
        rows = Kept(end, align(size))
        end += rows.stride * iterations
        return rows

    for found, looped in walks(module):
        iterations = module.loops[1] if looped else 1
        kept = _sequences(found) if found.number in replayed else ()
        sequences = tuple(keep(size, iterations) for size in kept)
        states = {}
        for state in row_states(module, found.region):
            copies = min(iterations, module.states[state.name].iterations)
            states[state.name] = (state, keep(state.blocks * MOST_NODES * state.row_bytes, copies))
        slots: dict[str, int] = {}
        used = 0
        for name in branching_states(module, found.region):
            slots[name] = used
            used += align(module.states[name].type.bytes())
        slot_bytes = max(slot_bytes, used)
        planned[found.number] = WalkPlan(sequences, states, slots)
    return TreePlan(planned, end, slot_bytes)


def _sequences(found: Walk) -> tuple[int, ...]:
    return tuple(MOST_NODES * value.type.bytes(1) for value in found.sequences)
