"""A lowered module as an ONNX model file and a file of weights beside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from chimerac.compiler.ir.context import cache_axes, context_of
from chimerac.compiler.ir.module import Module, walk
from chimerac.runtime.bundle_format import Entry
from chimerac.targets.onnx.assembly import OnnxModel, States, assemble
from chimerac.targets.onnx.calls import emit_call
from chimerac.targets.onnx.context import Context
from chimerac.targets.onnx.graph import Nodes, Pool, tensor
from chimerac.targets.onnx.structure import EXIT_THRESHOLD, ITERATIONS, LOOPS
from chimerac.targets.onnx.translate import find_translator


def emit(module: Module, entries: Sequence[Entry] = (), *, fused: bool = False) -> OnnxModel:
    """The ONNX form of a lowered module: its prefill entry, which also runs single tokens, or its entry of tensors.

    Args:
        entries: what callers of a module without tokens see.
        fused: large operators in place of sequences that give our bits (fused.py).

    Raises:
        UserError: CHM301, an op has no ONNX form.
    """
    if not module.has_tokens:
        return emit_call(module, entries, fused=fused)
    graph = module.entry("prefill")
    tokens, position = graph.inputs
    pool = Pool(fused)
    nodes = Nodes(pool)
    looped = any(op.name == "loop" for op in graph.ops)
    inputs = [tensor(pool.fresh("tokens"), "int32", ["T"]), tensor(pool.fresh("position"), "int32", [])]
    if looped:
        inputs += [tensor(pool.fresh(LOOPS), "int64", []), tensor(pool.fresh(EXIT_THRESHOLD), "float32", [])]
    context = Context(
        module, nodes, partial(find_translator, fused=fused), {tokens.name: "tokens", position.name: "position"}
    )
    states = States(module, pool)
    inputs += states.inputs
    logits, iterations = pool.fresh("logits"), pool.fresh("iterations")
    initial = any(state.initial is not None for state in module.states.values())
    states.enter(context, nodes.op("Equal", context.index(position), nodes.i64(0)) if initial else None)
    context.translate(graph.ops)

    results = {logits: nodes.reshape(context.value(graph.results[0]), -1)}
    outputs = [tensor(logits, "float32", [int(graph.results[0].type.shape[-1])])]
    if looped:
        results[iterations] = context.values[ITERATIONS]
        outputs.append(tensor(iterations, "int64", []))
    kept, presents = states.leave(context)
    return assemble(module, nodes, inputs, (*outputs, *presents), results | kept, _interface(module, fused))


def _interface(module: Module, fused: bool) -> dict[str, object]:
    """What a caller must know besides names and types of inputs and outputs."""
    looped = any(op.name == "loop" for op in walk(module.entry("prefill").ops))
    return {
        "block": module.block,
        "loops": [module.loops[0], module.loops[1]],
        "chooses_loops": looped,
        **({"fewest_loops": module.fewest_loops} if module.fewest_loops > 1 else {}),
        **({"context": context} if (context := context_of(module)) else {}),
        "exact": not fused,
        **({"rows": axes} if (axes := cache_axes(module)) else {}),
        "copies": {name: state.iterations for name, state in module.states.items()},
    }
