"""The descriptor in ``model.c``: where the code comes from, and its sections, states, entries and steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from chimerac.compiler.ir.context import cache_axes, context_of
from chimerac.compiler.ir.module import Module, walk
from chimerac.runtime.bundle_format import Entry
from chimerac.runtime.bundle_format.constants import DRAFT_IDS, DRAFT_STATE, KNOT_HIT, KNOT_MEMORY, KNOT_SKETCH
from chimerac.targets.code.descriptions import c_string, described_entry, tensor_array
from chimerac.targets.code.places import MemoryPlan
from chimerac.targets.code.variants import KernelSet


@dataclass(frozen=True)
class Identity:
    """What the descriptor says about where the code comes from, and the kernel variants to choose among.

    Attributes:
        entries: of a module without tokens: what the callers of its graphs see, by their names.
        weights_sha256: of the weights file.
        model_sha256: of the weights in the layout that targets share.
    """

    target: str
    config_sha256: str
    weights_sha256: str
    model_sha256: str
    kernel_sets: tuple[KernelSet, ...] = ()
    entries: tuple[Entry, ...] = ()


def descriptor(
    module: Module, plan: MemoryPlan, identity: Identity, sections: list[str], steps: Mapping[tuple[str, str], int]
) -> Iterator[str]:
    """Its lines, with the tables that it points to.

    Args:
        sections: of the weights file that the code or the initial states need.
        steps: (part, op) of every kernel → bytes of weights that it reads for a token.
    """
    index = {name: i for i, name in enumerate(sections)}
    vocabulary = module.usual.results[0].type.shape[-1] if module.has_tokens else 0
    if sections:
        yield "static const chm_section_desc sections[] = {"
        for name in sections:
            yield f"  {{{c_string(name)}, {module.constants[name].type.bytes()}}},"
        yield "};"
    if module.states:
        yield "static const chm_state_desc states[] = {"
        for name, state in module.states.items():
            initial = index[state.initial] if state.initial else "CHM_NO_SECTION"
            size = state.type.bytes() * state.iterations
            copies = (state.iterations,) if state.iterations > 1 else ()
            shape = ",".join(str(int(extent)) for extent in (*copies, *state.type.shape))
            place = f"{plan.state_offsets[name]}, {size}, {initial}, {state.iterations}"
            yield f"  {{{c_string(name)}, {place}, {c_string(state.type.dtype.upper())}, {c_string(shape)}}},"
        yield "};"
    caches = list(_caches(module))
    if caches:
        yield from ("static const chm_cache_desc caches[] = {", *caches, "};")
    if steps:
        yield "#if CHM_HAS_CLOCK"
        yield "static const chm_step_desc steps[] = {"
        yield from (f"  {{{c_string(part)}, {c_string(op)}, {read}}}," for (part, op), read in steps.items())
        yield "};"
        yield "#endif"
    for entry in identity.entries:
        yield from tensor_array(f"{entry.name}_inputs", entry.inputs)
        yield from tensor_array(f"{entry.name}_results", entry.results)
    described = {entry.name: described_entry(entry) for entry in identity.entries}
    yield "static const chm_entry_desc entries[] = {"
    for graph in module.graphs.values():
        if graph.role == "call":
            yield f"  CHM_CALL_ENTRY({graph.name}, {graph.tokens}, {described[graph.name]}),"
        else:
            yield f"  CHM_ENTRY({graph.name}, CHM_ROLE_{graph.role.upper()}, {graph.tokens}),"
    yield "};"
    yield from _draft_tables(module)
    speculates = any(graph.role == "verify" for graph in module.graphs.values())
    fields: Mapping[str, object] = {
        "abi": "CHM_MODEL_ABI",
        "name": c_string(module.name),
        "target": c_string(identity.target),
        "config_sha256": c_string(identity.config_sha256),
        "weights_sha256": c_string(identity.weights_sha256),
        "model_sha256": c_string(identity.model_sha256),
        "vocab": vocabulary,
        "block": module.block,
        **({"context": context} if (context := context_of(module)) else {}),
        "min_loops": module.fewest_loops if _is_looped(module) else module.loops[1],
        "max_loops": module.loops[1],
        "default_loops": module.loops[0],
        "state_bytes": plan.state_bytes,
        "arena_bytes": plan.arena_bytes,
        "n_sections": len(sections),
        "n_states": len(module.states),
        "sections": "sections" if sections else "0",
        "states": "states" if module.states else "0",
        **({"n_caches": len(caches), "caches": "caches"} if caches else {}),
        **({"kept_bytes": plan.trees.kept_bytes, "speculation": "&chm_speculation_by_trees"} if speculates else {}),
        **_draft(module),
        **_knot(module),
        "n_entries": len(module.graphs),
        "entries": "entries",
    }
    if identity.kernel_sets:
        fields = {**fields, "n_kernel_sets": len(identity.kernel_sets), "kernel_sets": "kernel_sets"}
    if len(identity.kernel_sets) > 1:
        fields = {**fields, "kernel_set": "&kernel_set"}
    yield "const chm_model_desc chm_model = {"
    yield from (f"  .{name} = {value}," for name, value in fields.items())
    yield "#if CHM_HAS_CLOCK"
    yield from (f"  .n_steps = {len(steps)},", f"  .steps = {'steps' if steps else '0'},")
    yield "#endif"
    yield "};"


def _draft_tables(module: Module) -> Iterator[str]:
    if any(graph.role == "draft" for graph in module.graphs.values()):
        yield f"static const int32_t draft_ids[] = {{{','.join(map(str, module.constants[DRAFT_IDS].data))}}};"


def _draft(module: Module) -> dict[str, object]:
    """What the runtime has to know of the head that guesses tokens."""
    graph = next((g for g in module.graphs.values() if g.role == "draft"), None)
    if graph is None:
        return {}
    return {
        "draft_state": list(module.states).index(DRAFT_STATE),
        "draft_scores": graph.results[0].type.shape[-1],
        "draft_ids": "draft_ids",
    }


def _knot(module: Module) -> dict[str, object]:
    """What the runtime has to know of the memory that span knots read."""
    op = next((op for graph in module.graphs.values() for op in walk(graph.ops) if op.name == "knot_relax"), None)
    if op is None:
        return {}
    states = list(module.states)
    names = {"memory": KNOT_MEMORY, "hit": KNOT_HIT, "sketch": KNOT_SKETCH}
    places = (f".{name} = {states.index(state)}" for name, state in names.items())
    numbers = f".flips = {op.integer('flips')}, .rounds = {op.integer('rounds')}"
    floats = (f".{name} = {float(np.float32(op.number(name))).hex()}f" for name in ("weight", "early_exit"))
    return {"knot": f"{{.calls = &chm_knots_with_memory, {', '.join((*places, numbers, *floats))}}}"}


def _caches(module: Module) -> Iterator[str]:
    """Rows of the table of states that have a row for each position."""
    axes = cache_axes(module)
    for number, (name, state) in enumerate(module.states.items()):
        if axis := axes.get(name):
            extents = [state.iterations] * (state.iterations > 1) + [int(extent) for extent in state.type.shape]
            size = math.prod(extents[axis + 1 :]) * state.type.numpy.itemsize
            yield f"  {{{number}, {extents[axis]}, {axis}, {size}}},"


def _is_looped(module: Module) -> bool:
    return any(op.name == "loop" for op in module.usual.ops)
