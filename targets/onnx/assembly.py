"""What an ONNX model is put together from: nodes, inputs, outputs, states, metadata, and a file of weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from chimerac.compiler.ir.module import Module
from chimerac.targets.onnx.context import Context
from chimerac.targets.onnx.graph import MICROSOFT, ONNX_TYPES, Nodes, Pool, tensor
from chimerac.targets.onnx.states import StateValue
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


class States:
    """The states of a module as inputs ``state.NAME`` and outputs ``present.NAME`` of its model."""

    def __init__(self, module: Module, pool: Pool) -> None:
        self.module = module
        self.inputs = [self._tensor(pool.fresh(f"state.{name}"), name) for name in module.states]
        self._presents = {name: pool.fresh(f"present.{name}") for name in module.states}

    def enter(self, context: Context, at_start: str | None) -> None:
        """Give a translation the values that came in; the model puts initial ones in place, where ``at_start`` is true.

        Args:
            at_start: whether nothing was run before, bool[]; None where no state starts from another value than zero.
        """
        for name, state in self.module.states.items():
            value = f"state.{name}"
            if state.initial is not None:
                assert at_start is not None
                value = context.nodes.op("Where", at_start, context.initial(state.initial), value)
            context.states[name] = StateValue(value, state.iterations)

    def leave(self, context: Context) -> tuple[dict[str, str], list[ValueInfoProto]]:
        """Output → value, and the outputs."""
        results = {self._presents[name]: context.states[name].all(context.nodes) for name in self.module.states}
        return results, [self._tensor(self._presents[name], name) for name in self.module.states]

    def _tensor(self, value: str, name: str) -> ValueInfoProto:
        return tensor(value, self.module.states[name].type.numpy.name, _state_shape(self.module, name))


def assemble(
    module: Module,
    nodes: Nodes,
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    results: dict[str, str],
    interface: Mapping[str, object],
) -> OnnxModel:
    """The model.

    Args:
        results: output → value that it is.
        interface: what a caller must know besides names and types of inputs and outputs.
    """
    pool = nodes.pool
    _rename(nodes, results)
    small = {n: a for n, a in pool.initializers.items() if a.nbytes < EXTERNAL_BYTES}
    opset = FUSED_OPSET if pool.fused else OPSET
    proto = helper.make_model(
        helper.make_graph(
            nodes.nodes,
            module.name or "model",
            list(inputs),
            list(outputs),
            [numpy_helper.from_array(array, name) for name, array in small.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)],
        ir_version=IR_VERSION,
        producer_name="chimerac",
        producer_version=__version__,
    )
    helper.set_model_props(proto, {INTERFACE: json.dumps(interface, sort_keys=True)})
    return OnnxModel(proto, {n: a for n, a in pool.initializers.items() if n not in small})


def _state_shape(module: Module, name: str) -> list[int]:
    state = module.states[name]
    shape = [int(d) for d in state.type.shape]
    return shape if state.iterations == 1 else [state.iterations, *shape]


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
