"""PyTorch modules that are no language models → IR: tensors in, tensors out, as often as somebody calls.

A module has one graph, ``call``. Shapes are those of the example, but for one axis that may vary, where the caller says
so. Buffers that forward changes are states, which live from call to call.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.export.graph_signature import OutputKind
from torch.fx import Node
from torch.utils import _pytree as pytree

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.module import Graph, Module
from chimerac.frontends.export.tensors import check_apart, check_numbers
from chimerac.frontends.export.tracing import leaves_of, trace
from chimerac.frontends.export.walker import Walker
from chimerac.runtime.bundle_format.constants import MAX_TENSORS
from chimerac.runtime.bundle_format.entries import FLOATS, INTEGERS, Port, is_port_name

#: The result of a module that returns one tensor.
ONLY = "output"
#: All that an i32 can be.
WHOLE = (-(1 << 31), (1 << 31) - 1)


@dataclass(frozen=True)
class Plain:
    """What came of a module.

    Attributes:
        module: with a graph ``call`` of the role call, whose inputs and results are in the order of these. In the IR
            floats are f32, all else is i32, and a float without axes has one of extent 1.
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
        UserError: CHM210 to CHM216 and CHM242 as of ``import_module``; CHM212 also where the example is none of
            forward's.
    """
    arguments = () if isinstance(example, Mapping) else tuple(example)
    named = dict(example) if isinstance(example, Mapping) else {}
    try:
        bound = inspect.signature(module.forward).bind(*arguments, **named)
    except TypeError as error:
        hint = "give one value for each argument of forward"
        raise UserError("CHM212", f"{type(module).__name__}.forward: {error}", hint=hint) from None
    arguments, named = _apart((arguments, named))
    check_numbers(module)
    program, mutations = trace(module, arguments, named, dynamic_shapes)
    check_apart(module, mutations)
    names = [name for name, leaf in leaves_of(dict(bound.arguments)) if isinstance(leaf, torch.Tensor)]
    within = list(_identifiers(names))
    walker = Walker(program, mutations, {}, lambda index, node: within[index], checked_ids=False)
    values = walker.run()
    results = tuple(_results(walker, program))
    inputs = tuple(_input(walker, label, node) for label, node in zip(names, _placeholders(program), strict=True))
    _check_names("an input", inputs)
    _check_names("a result", results)
    tokens = _most(program, block) if any(value.type.is_dynamic for value in walker.inputs) else 1
    graph = Graph("call", tuple(walker.inputs), tuple(walker.scopes[0].ops), values, tokens, "call")
    made = Module(name, {"call": graph}, walker.constants, walker.states, tokens, walker.loops)
    return Plain(made, inputs, results, tuple(walker.notes))


def _most(program: torch.export.ExportedProgram, block: int) -> int:
    """Most elements of the axis that varies: the block, or what PyTorch was told where that is less."""
    for bounds in program.range_constraints.values():
        if bounds.upper < block:  # which an infinity is not
            block = int(bounds.upper)
    return block


def _apart(example: tuple[tuple[Any, ...], dict[str, Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Every tensor on its own: PyTorch takes two arguments that are one tensor for one input."""
    apart: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_map_only(torch.Tensor, torch.clone, example)
    return apart


def _identifiers(names: Iterable[str]) -> Iterator[str]:
    """Names of values of the IR, all different."""
    taken: set[str] = set()
    for name in names:
        found = plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        while found in taken:
            found = f"{plain}_{len(taken)}"
        taken.add(found)
        yield found


def _placeholders(program: torch.export.ExportedProgram) -> Iterator[Node]:
    """The nodes of the inputs that are tensors, in order."""
    taken = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in taken and isinstance(node.meta.get("val"), torch.Tensor):
            yield node


def _results(walker: Walker, program: torch.export.ExportedProgram) -> Iterator[Port]:
    spec = program.call_spec.out_spec
    assert spec is not None
    labels = [label for label, _ in leaves_of(spec.unflatten(list(range(spec.num_leaves))))]
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


def _input(walker: Walker, name: str, node: Node) -> Port:
    """An input with the values that its integers may have: of its type, and of the tables that it numbers rows of."""
    port = _port(walker, name, node)
    low, high = INTEGERS.get(port.dtype) or WHOLE
    for below, above in walker.bounds.get(walker.values[node.name].name, ()):
        low, high = max(low, below), min(high, above)
    return port if port.is_float or (low, high) == WHOLE else replace(port, values=(low, max(low, high)))


def _port(walker: Walker, name: str, node: Node) -> Port:
    dtype = str(node.meta["val"].dtype).removeprefix("torch.")
    if dtype not in FLOATS and dtype not in INTEGERS:
        hint = f"types are {', '.join((*FLOATS, *INTEGERS))}"
        raise UserError("CHM212", f"{name} is of the type {dtype}, which no caller can give or take", hint=hint)
    return Port(name, walker.shape(node), dtype)


def _check_names(what: str, ports: Sequence[Port]) -> None:
    """Raise UserError CHM212 for names that a manifest cannot hold, two of one name, or too many."""
    for port in ports:
        if not is_port_name(port.name):
            raise UserError("CHM212", f"{what} is called {port.name!r}", hint="take up to 128 characters that print")
    twice = [name for name, count in Counter(port.name for port in ports).items() if count > 1]
    if twice:
        raise UserError("CHM212", f"two tensors are called {twice[0]}", hint="a dot in a key makes names the same")
    if len(ports) > MAX_TENSORS:
        raise UserError("CHM212", f"there are {len(ports)} tensors; {MAX_TENSORS} are possible", hint="join some")
