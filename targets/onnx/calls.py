"""A module of tensors as an ONNX model: its inputs and results under their names, states as further ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from onnx import TensorProto, ValueInfoProto

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Module, Value, walk
from chimerac.runtime.bundle_format import Entry, Port
from chimerac.targets.onnx.assembly import OnnxModel, States, assemble
from chimerac.targets.onnx.context import Context
from chimerac.targets.onnx.graph import Nodes, Pool, tensor
from chimerac.targets.onnx.translate import find_translator


def emit_call(module: Module, entries: Sequence[Entry], *, fused: bool) -> OnnxModel:
    """The ONNX form of a lowered module with one graph of the role call.

    The metadata says by which names inputs and results go, in their order: theirs, but where a name is taken already.
    An input ``position``, the number of calls before this one, is there where a state starts from other values than 0.

    Raises:
        UserError: CHM301, an op has no ONNX form, or the module has loops.
    """
    (entry,) = entries
    graph = module.graphs[entry.name]
    if any(op.name == "loop" for op in walk(graph.ops)):
        raise UserError("CHM301", "looped regions of a module of tensors cannot be built for onnx")
    pool = Pool(fused)
    nodes, states = Nodes(pool), States(module, pool)
    names = [pool.fresh(port.name) for port in entry.inputs]
    inputs = [_declared(name, port) for name, port in zip(names, entry.inputs, strict=True)]
    context = Context(module, nodes, partial(find_translator, fused=fused))
    for value, name, port in zip(graph.inputs, names, entry.inputs, strict=True):
        context.values[value.name] = name if len(port.shape) == len(value.type.shape) else nodes.reshape(name, 1)
    position = None
    if any(state.initial is not None for state in module.states.values()):
        position = pool.fresh("position")
        inputs.append(tensor(position, "int32", []))
    at_start = None if position is None else nodes.op("Equal", nodes.to_int(position), nodes.i64(0))
    states.enter(context, at_start)
    context.translate(graph.ops)
    made = [pool.fresh(port.name) for port in entry.results]
    results = {
        name: _result(context, value, port)
        for name, value, port in zip(made, graph.results, entry.results, strict=True)
    }
    outputs = [_declared(name, port) for name, port in zip(made, entry.results, strict=True)]
    kept, presents = states.leave(context)
    interface = {
        "call": {"inputs": names, "results": made, "position": position},
        "exact": not fused,
        "copies": {name: state.iterations for name, state in module.states.items()},
    }
    return assemble(module, nodes, (*inputs, *states.inputs), (*outputs, *presents), results | kept, interface)


def _declared(name: str, port: Port) -> ValueInfoProto:
    return tensor(name, port.computed.name, port.shape)


def _result(context: Context, value: Value, port: Port) -> str:
    """A result in the type and shape that callers see."""
    name = context.value(value)
    if not port.is_float:
        name = context.nodes.op("Cast", name, to=TensorProto.INT32)  # some numbers are int64 within
    return name if len(port.shape) == len(value.type.shape) else context.nodes.reshape(name)
