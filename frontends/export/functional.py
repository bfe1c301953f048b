"""An exported graph without mutation: what a buffer is set to is a value of the graph like any other.

``ExportedProgram.run_decompositions`` does this for any program by tracing it once more, which takes longer than the
export itself. Modules of ours only ever ``copy_`` a finished value into a buffer, and for such a graph it is enough to
let whoever reads the buffer afterwards read that value.
"""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import GraphModule, Node

from chimerac.compiler.errors import UserError
from chimerac.frontends.export.decompositions import table

#: fx node name → the buffers whose new value it is.
Mutations = dict[str, list[str]]

_COPY = torch.ops.aten.copy_.default


def functional(program: ExportedProgram, known: Collection[str]) -> tuple[ExportedProgram, Mutations]:
    """The program without mutation, and what it sets its buffers to.

    Args:
        program: freshly exported; it may be changed.
        known: names of the ops that need no decomposition, none of which mutates anything.
    """
    copies = _plain_copies(program, known)
    if copies is None:
        program = program.run_decompositions(table(known) if _unknown(program, known) else {})
        return program, _declared(program)
    last: dict[str, Node] = {}
    order = {node: index for index, node in enumerate(program.graph.nodes)}
    buffers = _buffers(program)
    for copy in copies:
        buffer, value = copy.args[0], copy.args[1]
        assert isinstance(buffer, Node)
        assert isinstance(value, Node)
        copy.replace_all_uses_with(value)
        here = order[copy]
        for user in [user for user in buffer.users if order[user] > here]:
            user.replace_input_with(buffer, value)
        last[buffers[buffer]] = value
        program.graph.erase_node(copy)
    mutations: Mutations = {}
    for target, value in last.items():
        mutations.setdefault(value.name, []).append(target)
    return program, mutations


def _unknown(program: ExportedProgram, known: Collection[str]) -> bool:
    """Whether a graph has an op that PyTorch may know how to write with others; copies are no such op."""
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"] + _inner_targets(program)
    return any(isinstance(t, torch._ops.OpOverload) and t is not _COPY and str(t) not in known for t in targets)


def _inner_targets(program: ExportedProgram) -> list[Any]:
    """What the graphs that are arguments of nodes call."""
    inner = [m for m in program.graph_module.modules() if isinstance(m, GraphModule) and m is not program.graph_module]
    return [node.target for module in inner for node in module.graph.nodes if node.op == "call_function"]


def _declared(program: ExportedProgram) -> Mutations:
    mutations: Mutations = {}
    for spec in program.graph_signature.output_specs:
        if spec.kind == OutputKind.PARAMETER_MUTATION:
            hint = "what a call leaves for the next is a buffer: register_buffer"
            raise UserError("CHM213", f"forward changes the parameter {spec.target}", hint=hint)
        if spec.kind == OutputKind.BUFFER_MUTATION:
            mutations.setdefault(spec.arg.name, []).append(str(spec.target))
    return mutations


def _buffers(program: ExportedProgram) -> dict[Node, str]:
    """The placeholders of buffers, with their names in the module."""
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs if spec.kind == InputKind.BUFFER}
    nodes = (node for node in program.graph.nodes if node.op == "placeholder" and node.name in specs)
    return {node: str(specs[node.name].target) for node in nodes}


def _plain_copies(program: ExportedProgram, known: Collection[str]) -> list[Node] | None:
    """The copies of whole values into buffers, in order, if nothing else in the graph mutates anything, or sees it."""
    if any(target is not operator.getitem and str(target) not in known for target in _inner_targets(program)):
        return None
    buffers = _buffers(program)
    order = {node: index for index, node in enumerate(program.graph.nodes)}
    views: dict[Node, Node] = {}  # what may share the memory of a buffer → the buffer
    copies: list[Node] = []
    copied: dict[Node, int] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node in buffers:
            views[node] = node
        if node.op != "call_function":
            continue
        if node.target is _COPY:
            buffer, value = node.args[:2]
            if not (isinstance(buffer, Node) and isinstance(value, Node)) or buffer not in buffers:
                return None
            if value.op != "call_function" or value in views or not _alike(buffer, value):
                return None
            copies.append(node)
            copied[buffer] = order[node]
        elif node.target is not operator.getitem and str(node.target) not in known:
            return None
        elif (root := next((views[used] for used in node.all_input_nodes if used in views), None)) and _is_view(node):
            views[node] = root
    stale = any(
        order[user] > copied[root]
        for view, root in views.items()
        if root in copied and view is not root
        for user in view.users
    )
    return None if stale else copies


def _is_view(node: Node) -> bool:
    """Whether a result may share memory with an operand."""
    if node.target is operator.getitem:
        return True
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        return False
    assert isinstance(node.target, torch._ops.OpOverload)
    return any(returned.alias_info is not None for returned in node.target._schema.returns)


def _alike(one: Node, other: Node) -> bool:
    """Whether two nodes are tensors of one shape and type, so that a copy is the value itself."""
    first, second = one.meta["val"], other.meta["val"]
    return bool(first.dtype == second.dtype and tuple(first.shape) == tuple(second.shape))
