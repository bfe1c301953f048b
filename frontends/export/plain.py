"""PyTorch modules that are no language models → IR: tensors in, tensors out, as often as somebody calls.

A module has one graph, ``call``. Shapes are those of the example, but for one axis that may vary, where the caller says
so. Buffers that forward changes are states, which live from call to call.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export.graph_signature import OutputKind
from torch.fx import Node

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Graph, Module
from chimerac.compiler.ir.types import Dim
from chimerac.frontends.export.tracing import tensors_of, trace
from chimerac.frontends.export.walker import Walker

#: The result of a module that returns one tensor.
ONLY = "output"


@dataclass(frozen=True)
class Port:
    """An input or a result as PyTorch has it.

    Attributes:
        name: of an argument of forward, and what it is called within: ``x``, ``batch.mask``; of a result ``logits``,
            ``0``, ``hidden.0``, or ``output`` where it is the only one.
        shape: ``"T"`` for the axis that varies. In the IR a float without axes has one of extent 1.
        dtype: PyTorch's: ``float32``, ``int64``, ``bool``. In the IR floats are f32, all else is i32.
    """

    name: str
    shape: tuple[Dim, ...]
    dtype: str


@dataclass(frozen=True)
class Plain:
    """What came of a module.

    Attributes:
        module: with a graph ``call`` of the role call, whose inputs and results are in the order of these.
        notes: a line for each parameter whose type was changed.
    """

    module: Module
    inputs: tuple[Port, ...]
    results: tuple[Port, ...]
    notes: tuple[str, ...]


def import_plain(
    module: torch.nn.Module,
    example: Sequence[Any] | Mapping[str, Any],
    *,
    name: str,
    dynamic_shapes: Any = None,
    block: int = 16,
) -> Plain:
    """The IR of a module.

    Args:
        module: put in eval mode by the caller.
        example: the arguments of a call, by place or by name; their types and shapes are those of every call.
        name: of the IR module.
        dynamic_shapes: as ``torch.export.export`` takes it, with one symbol, if an axis varies.
        block: most elements along that axis.

    Raises:
        UserError: CHM210 to CHM216 as of ``import_module``; CHM212 also where the example is none of forward's.
    """
    arguments = () if isinstance(example, Mapping) else tuple(example)
    named = dict(example) if isinstance(example, Mapping) else {}
    try:
        bound = inspect.signature(module.forward).bind(*arguments, **named)
    except TypeError as error:
        hint = "give one value for each argument of forward"
        raise UserError("CHM212", f"{type(module).__name__}.forward: {error}", hint=hint) from None
    program, mutations = trace(module, arguments, named, dynamic_shapes)
    names = list(tensors_of(dict(bound.arguments)))
    walker = Walker(program, mutations, {}, lambda index, node: _identifier(names[index]), checked_ids=False)
    values = walker.run()
    results = tuple(_results(walker, program))
    inputs = tuple(
        _port(walker, label, node) for label, node in zip(names, _placeholders(walker, program), strict=True) if node
    )
    tokens = block if any(value.type.is_dynamic for value in walker.inputs) else 1
    graph = Graph("call", tuple(walker.inputs), tuple(walker.scopes[0].ops), values, tokens, "call")
    made = Module(name, {"call": graph}, walker.constants, walker.states, tokens, walker.loops)
    return Plain(made, inputs, results, tuple(walker.notes))


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _placeholders(walker: Walker, program: torch.export.ExportedProgram) -> Iterator[Node | None]:
    """The nodes of the inputs in order; None of those that are no tensors."""
    taken = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in taken:
            yield node if isinstance(node.meta.get("val"), torch.Tensor) else None


def _results(walker: Walker, program: torch.export.ExportedProgram) -> Iterator[Port]:
    spec = program.call_spec.out_spec
    assert spec is not None
    labels = list(tensors_of(spec.unflatten(list(range(spec.num_leaves)))))
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    kinds = [s.kind for s in program.graph_signature.output_specs]
    if OutputKind.USER_INPUT_MUTATION in kinds:
        raise UserError("CHM211", "forward changes one of its arguments", hint="return the new value instead")
    given = [n for n, kind in zip(output.args[0], kinds, strict=True) if kind == OutputKind.USER_OUTPUT]
    for label, node in zip(labels, given, strict=True):
        if isinstance(node, Node):
            yield _port(walker, label or ONLY, node)
        elif node is not None:
            raise UserError("CHM212", f"result {label or ONLY} is {node!r}, no tensor", hint="return tensors")


def _port(walker: Walker, name: str, node: Node) -> Port:
    held = node.meta["val"]
    return Port(name, walker.shape(node), str(held.dtype).removeprefix("torch."))
