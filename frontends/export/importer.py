"""PyTorch module → IR, through ``torch.export``.

The module's contract (docs/architecture.md): ``forward(tokens i32[T], position i32[]) -> logits f32[T, V]``, with T
dynamic; parameters and unchanged buffers become constants; buffers that forward mutates become recurrent state, whose
initial value is the buffer's content, and so do those that its ``given_states`` names, which runtimes change. A module
may want an axis of one more in front, ``[1, T]`` in and ``[1, T, V]`` out, and may return its logits beside other
things, as ``logits`` or first of all. ``chimera::loop_begin`` and ``chimera::loop_end`` mark a region that runs several
times per call: its states get one copy per iteration, except those that only ops guarded by ``write`` change.

A module of another form, ``forward(tokens) -> logits``, sees a whole text at once (whole_sequence.py); it may give the
logits of the last token only.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.context import check_caches
from chimerac.compiler.ir.module import Graph, Module, Op, Parts, Value
from chimerac.compiler.ir.types import TOKENS, Dim
from chimerac.frontends.export.attention import recognise
from chimerac.frontends.export.carried import going_on, is_carried
from chimerac.frontends.export.chunked import token_by_token
from chimerac.frontends.export.flattened import keep_apart
from chimerac.frontends.export.functional import Mutations
from chimerac.frontends.export.look_ups import check_look_ups
from chimerac.frontends.export.position_tables import with_contexts
from chimerac.frontends.export.tensors import check_apart, check_numbers
from chimerac.frontends.export.tracing import TracingError, tensors_of, trace
from chimerac.frontends.export.walker import Walker
from chimerac.frontends.export.whole_sequence import takes_whole_sequences

#: What forward must look like.
CONTRACT = "the contract is forward(tokens i32[T], position i32[]) -> logits f32[T,V], or forward(tokens) -> logits"


def import_module(
    module: torch.nn.Module,
    *,
    name: str,
    block: int,
    computed: Mapping[str, Parts] | None = None,
    notes: list[str] | None = None,
    context: int | None = None,
) -> Module:
    """The IR of a PyTorch module.

    Args:
        module: see the module docstring; put in eval mode by the caller.
        name: name of the IR module.
        block: most tokens of one call.
        computed: parameters whose values come from here when they are needed, not from the module, by name.
        notes: gets a line for each parameter whose type was changed.
        context: most tokens of a text, of a module that looks back at all of it and does not say how long it may be.

    Raises:
        UserError: CHM210 for a module that torch.export cannot trace, CHM211 for an op that the IR has not, CHM212 for
            a signature other than the contract's, CHM213 for operands that an op does not take and states in the memory
            of other tensors, CHM214 for misplaced marks of looped regions, CHM215 for a second size that varies, CHM216
            for a parameter or buffer that is neither a float nor an integer of 32 bits, or has no numbers, CHM217 for a
            table with fewer rows than there are tokens, CHM223 for a cache that is not written at the position of the
            call, or has too few rows, CHM224 for attention that has no form with a cache, or nothing that says how
            long a text may be, CHM242 for a parameter that holds NaN or infinity.
    """
    tokens = torch.zeros(min(3, block), dtype=torch.int32)
    position = torch.zeros((), dtype=torch.int32)
    alone = takes_whole_sequences(module)
    try:
        inspect.signature(module.forward).bind(tokens, *(() if alone else (position,)))
    except TypeError as error:
        raise UserError("CHM212", f"{type(module).__name__}.forward: {error}", hint=CONTRACT) from None
    check_numbers(module, computed or ())
    with ExitStack() as forms:
        if alone:
            forms.enter_context(going_on(module))
            forms.enter_context(token_by_token(module))
        program, mutations = _trace(module, tokens, () if alone else (position,), block)
    check_apart(module, mutations)
    keep_apart(program.graph)
    recognise(program, mutations, block, context, alone)
    whole = alone and is_carried(name for names in mutations.values() for name in names)
    given: tuple[str, ...] = getattr(module, "given_states", ())
    walker = Walker(program, mutations, computed or {}, _input_name, whole_sequence=whole, runtime_states=given)
    results = walker.run()
    logits = _logits(walker, program, results)
    inputs = list(walker.inputs)
    if alone:
        inputs.append(walker.position())
    if len(inputs) != 2 or logits is None:
        returned = ", ".join(str(r.type) for r in results) or "nothing"
        taken = ", ".join(str(v.type) for v in walker.inputs) or "nothing"
        message = f"{type(module).__name__}.forward takes {taken} and returns {returned}"
        raise UserError("CHM212", message, hint=CONTRACT)
    ops = walker.scopes[0].ops
    if len(inputs[0].type.shape) == 2:
        inputs[0] = _without_batch(walker, inputs[0], ops)
    if len(logits.type.shape) == 3:
        flat = Value(walker.fresh("logits"), logits.type.with_shape(logits.type.shape[1:]))
        ops.append(Op("reshape", (logits,), (flat,), {"shape": ",".join(map(str, flat.type.shape))}))
        logits = flat
    ops = with_contexts(ops, inputs[1], walker.constants)
    graph = Graph("main", tuple(inputs), tuple(ops), (logits,), block)
    made = Module(name, {"main": graph}, walker.constants, walker.states, block, walker.loops)
    check_look_ups(made)
    check_caches(made)
    if notes is not None:
        notes += walker.notes
    return made


def _input_name(index: int, node: Node) -> str:
    if index == 0 and len(node.meta["val"].shape) > 1:
        return "batch"
    return ("tokens", "position")[index] if index < 2 else node.name


def _trace(
    module: torch.nn.Module, tokens: torch.Tensor, position: tuple[torch.Tensor, ...], block: int
) -> tuple[ExportedProgram, Mutations]:
    """The program for tokens [T], or [1, T] where it is that which forward takes.

    A module without a position often asks whether there is more than one token, which does not matter to what it
    computes; it is traced with more.
    """
    dimension = torch.export.Dim("T", min=1 if position else 2, max=max(block, 1 if position else 2))
    fixed = (None,) * len(position)
    try:
        return trace(module, (tokens, *position), {}, ({0: dimension}, *fixed))
    except TracingError as error:
        try:
            return trace(module, (tokens[None], *position), {}, ({1: dimension}, *fixed))
        except TracingError as second:
            error.batched = second.error
            raise error from error.error


def _logits(walker: Walker, program: ExportedProgram, results: tuple[Value, ...]) -> Value | None:
    """Which result the logits are: the only one, the one of that name, or the first."""
    spec = program.call_spec.out_spec
    places: dict[str, Any] = tensors_of(spec.unflatten(list(range(spec.num_leaves)))) if spec is not None else {"": 0}
    kept = {name: value for (name, _), value in zip(places.items(), results, strict=False)}
    if len(kept) > 1 and not any(n == "logits" or n.startswith("logits.") for n in kept) and not _first(kept):
        return None
    found = kept.get("logits", results[0] if results else None)
    batched = len(walker.inputs[0].type.shape) == 2 if walker.inputs else False
    wanted: list[tuple[Dim, ...]] = [(1, TOKENS) if batched else (TOKENS,)]
    if walker.whole_sequence:
        wanted.append((1, 1) if batched else (1,))
    if found is None or found.type.dtype != "f32" or found.type.shape[:-1] not in wanted:
        return None
    return found


def _first(kept: Mapping[str, Value]) -> bool:
    """Whether the first result alone has the shape of logits, so that nobody can take another one for them."""
    first, *others = kept.values()
    return all(other.type != first.type for other in others)


def _without_batch(walker: Walker, tokens: Value, ops: list[Op]) -> Value:
    """The input of the graph, of which what the module takes is another shape."""
    flat = Value("tokens", tokens.type.with_shape((TOKENS,)))
    ops.insert(0, Op("reshape", (flat,), (tokens,), {"shape": f"1,{TOKENS}"}))
    return flat
