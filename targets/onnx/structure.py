"""Constants, states and loops."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.module import Op, fewest_iterations, walk
from chimerac.targets.onnx.context import Context, Translate
from chimerac.targets.onnx.graph import Nodes, tensor, untyped
from chimerac.targets.onnx.states import StateValue

#: Inputs of the model that a loop reads.
LOOPS, EXIT_THRESHOLD = "loops", "exit_threshold"
#: Name under which ``Context.values`` keeps how often the loop ran, int64[]; IR names have no space.
ITERATIONS = "iterations of the loop"
_FALSE = np.array(False)


def build_constant(context: Context, op: Op) -> tuple[str, ...]:
    """Remembered only: whoever uses the constant decides in which form the model has it."""
    context.constants[op.results[0].name] = op.text("name")
    return ()


def build_state_read(context: Context, op: Op) -> tuple[str, ...]:
    """One copy of a state; copy 0 unless the op names another."""
    copy = op.integer("iteration") if "iteration" in op.attributes else 0
    return (context.states[op.text("name")].read(context.nodes, copy),)


def build_state_write(context: Context, op: Op) -> tuple[str, ...]:
    """Sets one copy of a state."""
    copy = op.integer("iteration") if "iteration" in op.attributes else 0
    context.states[op.text("name")].write(copy, context.value(op.operands[0]))
    return ()


def build_loop(context: Context, op: Op) -> tuple[str, ...]:
    """``Loop``: the carried value and states of one copy go from iteration to iteration; of a state with a copy for
    each iteration, iteration i reads row i, and the rows that it writes are collected.
    """
    nodes, region = context.nodes, op.regions[0]
    used = dict.fromkeys(o.text("name") for o in walk(region.ops) if o.name in ("state.read", "state.write"))
    written = {o.text("name") for o in walk(region.ops) if o.name == "state.write"}
    whole = {name: context.states[name].all(nodes) for name in used}
    single = [name for name in used if context.states[name].copies == 1 and name in written]
    several = [name for name in used if context.states[name].copies > 1]
    if any(context.states[name].copies != op.integer("maximum") for name in several):
        raise InternalError("a state of a loop has neither one copy nor one for each iteration", stage="onnx")

    body = nodes.subgraph()
    fresh = body.pool.fresh
    iteration, going, carried, ran = fresh("iteration"), fresh("going"), fresh("carried"), fresh("ran")
    inside = {name: fresh(f"before.{name}") for name in single}
    states = {name: StateValue(inside.get(name, whole[name]), 1) for name in used}
    for name in several:
        states[name] = StateValue(body.op("Gather", whole[name], iteration, axis=0), 1)
    inner = context.inside(body, states)
    write, argument = region.arguments
    first = body.op("Equal", iteration, body.i64(0))
    inner.values[write.name] = body.op("Cast", first, to=TensorProto.INT32)
    inner.values[argument.name] = carried
    inner.translate(region.ops)
    result = inner.value(region.results[0])
    goes_on = body.op("Not", _converged(body, iteration, result, carried, op))
    after = [result, *(inner.states[name].all(body) for name in single)]
    rows = [inner.states[name].all(body) for name in several]
    outputs = [goes_on, *after, body.op("Add", iteration, body.i64(1)), *rows]
    unique = _all_different(body, outputs)
    graph = body.graph(
        "iteration",
        [
            tensor(iteration, "int64", []),
            tensor(going, "bool", []),
            *(untyped(name) for name in (carried, *inside.values())),
            tensor(ran, "int64", []),
        ],
        [untyped(name) for name in unique],
    )
    start = [context.value(op.operands[0]), *(whole[name] for name in single), nodes.i64(0)]
    made = list(nodes.emit("Loop", LOOPS, "", *start, outputs=len(start) + len(several), body=graph))
    looped = made.pop(0)
    for name in single:
        context.states[name] = StateValue(made.pop(0), 1)
    iterations = made.pop(0)
    context.values[ITERATIONS] = iterations
    end = nodes.i64([(1 << 31) - 1])
    for name in several:
        if name in written:
            kept = nodes.op("Slice", whole[name], nodes.unsqueeze(iterations, 0), end, nodes.i64([0]))
            joined = nodes.op("Concat", made.pop(0), kept, axis=0)
            context.states[name] = StateValue(joined, context.states[name].copies)
        else:
            made.pop(0)
    return (looped,)


def _all_different(nodes: Nodes, values: list[str]) -> list[str]:
    """The values with copies for those that another graph makes or that come twice."""
    found: list[str] = []
    for value in values:
        own = nodes.own(value)
        found.append(nodes.op("Identity", own) if own in found else own)
    return found


def _converged(nodes: Nodes, iteration: str, now: str, before: str, op: Op) -> str:
    """Whether the loop may end: a threshold is given, enough iterations are done, and no row has moved by more."""
    like = op.regions[0].results[0]
    wanted = nodes.op("Greater", EXIT_THRESHOLD, nodes.f32(0.0))
    later = nodes.op("GreaterOrEqual", iteration, nodes.i64(max(1, fewest_iterations(op) - 1)))
    then, other = nodes.subgraph(), nodes.subgraph()
    width = math.prod(int(d) for d in like.type.shape[1:])

    def size(x: str) -> str:
        return then.op("Sqrt", then.lanes8_sum(then.op("Mul", x, x), width))

    limit = then.op("Mul", EXIT_THRESHOLD, size(now))
    moved = size(then.op("Sub", now, before))
    still = then.to_int(then.op("Greater", moved, limit))
    ends = then.op("Equal", then.op("ReduceSum", still, keepdims=0), then.i64(0))
    stays = other.op("Identity", nodes.pool.constant(_FALSE, "false"))
    return nodes.branch(nodes.op("And", wanted, later), then, [ends], other, [stays])[0]


TRANSLATORS: Mapping[str, Translate] = {
    "constant": build_constant,
    "state.read": build_state_read,
    "state.write": build_state_write,
    "loop": build_loop,
}
