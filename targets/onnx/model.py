"""A lowered module as an ONNX model file and a file of weights beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from chimerac.compiler.ir.module import Module, walk
from chimerac.targets.onnx.context import Context
from chimerac.targets.onnx.graph import MICROSOFT, ONNX_TYPES, Nodes, Pool, tensor
from chimerac.targets.onnx.states import StateValue
from chimerac.targets.onnx.structure import EXIT_THRESHOLD, ITERATIONS, LOOPS
from chimerac.targets.onnx.translate import find_translator
from chimerac.version import __version__

#: Version of the standard operators, and of the file format: the lowest that have all that is used.
OPSET = 21
FUSED_OPSET = 23  #: has RMSNormalization
IR_VERSION = 10
#: Arrays of fewer bytes are in the model file.
EXTERNAL_BYTES = 1024
EXTERNAL_ALIGNMENT = 64
#: Key of the model's metadata with what a caller must know, as JSON.
INTERFACE = "chimerac.interface"


@dataclass(frozen=True)
class OnnxModel:
    """A model whose larger weights are still arrays; ``write`` puts them into a file."""

    proto: ModelProto
    weights: dict[str, np.ndarray]

    def count(self) -> int:
        """Nodes, those of subgraphs included."""
        return sum(1 for _ in _walk(self.proto.graph.node))

    def write(self, path: Path, data_name: str) -> None:
        """Write the model to ``path`` and its weights beside it; the same model gives the same bytes."""
        proto = ModelProto()
        proto.CopyFrom(self.proto)
        end = 0
        with open(path.parent / data_name, "wb") as file:
            for name, array in self.weights.items():
                start = -(-end // EXTERNAL_ALIGNMENT) * EXTERNAL_ALIGNMENT
                file.write(bytes(start - end))
                array.astype(array.dtype.newbyteorder("<"), copy=False).tofile(file)
                end = start + array.nbytes
                proto.graph.initializer.append(_external(name, array, data_name, start))
        path.write_bytes(proto.SerializeToString(deterministic=True))


def emit(module: Module, *, fused: bool = False) -> OnnxModel:
    """The ONNX form of a lowered module: its prefill entry, which also runs single tokens.

    Args:
        fused: large operators in place of sequences that give our bits (fused.py).

    Raises:
        UserError: CHM301, an op has no ONNX form.
    """
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
    for name, state in module.states.items():
        inputs.append(tensor(pool.fresh(f"state.{name}"), state.type.numpy.name, _state_shape(module, name)))
    presents = {name: pool.fresh(f"present.{name}") for name in module.states}
    logits, iterations = pool.fresh("logits"), pool.fresh("iterations")

    def at_start() -> str:
        key = ("at start",)
        return nodes.cached(key, lambda: (nodes.op("Equal", context.index(position), nodes.i64(0)),))[0]

    for name, state in module.states.items():
        value = f"state.{name}"
        if state.initial is not None:
            value = nodes.op("Where", at_start(), context.initial(state.initial), value)
        context.states[name] = StateValue(value, state.iterations)
    context.translate(graph.ops)

    results = {logits: nodes.reshape(context.value(graph.results[0]), -1)}
    outputs = [tensor(logits, "float32", [int(graph.results[0].type.shape[-1])])]
    if looped:
        results[iterations] = context.values[ITERATIONS]
        outputs.append(tensor(iterations, "int64", []))
    for name, state in module.states.items():
        results[presents[name]] = context.states[name].all(nodes)
        outputs.append(tensor(presents[name], state.type.numpy.name, _state_shape(module, name)))
    _rename(nodes, results)

    small = {n: a for n, a in pool.initializers.items() if a.nbytes < EXTERNAL_BYTES}
    proto = helper.make_model(
        helper.make_graph(
            nodes.nodes,
            module.name or "model",
            inputs,
            outputs,
            [numpy_helper.from_array(array, name) for name, array in small.items()],
        ),
        opset_imports=[helper.make_opsetid("", FUSED_OPSET if fused else OPSET), helper.make_opsetid(MICROSOFT, 1)],
        ir_version=IR_VERSION,
        producer_name="chimerac",
        producer_version=__version__,
    )
    helper.set_model_props(proto, {INTERFACE: json.dumps(_interface(module, fused), sort_keys=True)})
    return OnnxModel(proto, {n: a for n, a in pool.initializers.items() if n not in small})


def _state_shape(module: Module, name: str) -> list[int]:
    state = module.states[name]
    shape = [int(d) for d in state.type.shape]
    return shape if state.iterations == 1 else [state.iterations, *shape]


def _interface(module: Module, fused: bool) -> dict[str, object]:
    """What a caller must know besides names and types of inputs and outputs."""
    looped = any(op.name == "loop" for op in walk(module.entry("prefill").ops))
    return {
        "block": module.block,
        "loops": [module.loops[0], module.loops[1]],
        "chooses_loops": looped,
        **({"fewest_loops": module.fewest_loops} if module.fewest_loops > 1 else {}),
        "exact": not fused,
        "copies": {name: state.iterations for name, state in module.states.items()},
    }


def _external(name: str, array: np.ndarray, file: str, offset: int) -> TensorProto:
    proto = TensorProto(name=name, data_type=ONNX_TYPES[array.dtype.name], dims=array.shape)
    proto.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", offset), ("length", array.nbytes)):
        proto.external_data.add(key=key, value=str(value))
    return proto


def _graphs(node: NodeProto) -> Iterator[GraphProto]:
    yield from (attribute.g for attribute in node.attribute if attribute.HasField("g"))


def _walk(nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for graph in _graphs(node):
            yield from _walk(graph.node)


def _rename(nodes: Nodes, results: dict[str, str]) -> None:
    """Give values the names of the model's outputs: those of ``results`` (output → value)."""
    made = {name for node in nodes.nodes for name in node.output}
    names: dict[str, str] = {}
    for output, value in results.items():
        if value in made and value not in names:
            names[value] = output
        else:  # an input, or an output already
            nodes.nodes.append(helper.make_node("Identity", [value], [output]))
    for node in _walk(nodes.nodes):
        for field in (node.input, node.output):
            for index, name in enumerate(field):
                if name in names:
                    field[index] = names[name]
        for graph in _graphs(node):
            for info in graph.output:
                info.name = names.get(info.name, info.name)
