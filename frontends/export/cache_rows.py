"""Keys and values that a module keeps in buffers: what a call puts there, at the positions of its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Graph, Node

from chimerac.frontends.export.evaluated import Evaluated
from chimerac.frontends.export.functional import Mutations

aten = torch.ops.aten

#: Ops between a buffer and its use that only move elements.
_MOVES: tuple[Any, ...] = (
    aten.transpose.int,
    aten.permute.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.clone.default,
    aten.contiguous.default,
    aten.alias.default,
)


@dataclass
class Written:
    """A buffer of ``rows`` rows, some of which a call overwrites.

    Attributes:
        put: the ``index_put`` whose result is the buffer afterwards.
        index: the rows, [T].
        axis: along which they lie.
        moves: from the buffer to [..., S, d], in order.
    """

    program: ExportedProgram
    mutations: Mutations
    put: Node
    index: Node
    axis: int
    rows: int
    moves: list[Node]

    def at(self, evaluated: Evaluated, tokens: int, position: int) -> bool:
        """Whether the rows are the positions of the tokens of a call."""
        if not evaluated.is_free(self.index):
            return False
        found = evaluated.of(self.index, tokens)
        return torch.equal(found.flatten().to(torch.int64), position + torch.arange(tokens))

    def new_rows(self, graph: Graph) -> Node:
        """What the call puts into the buffer, moved as the buffer is: [..., T, d]."""
        source: Any = self.put.args[2]
        rank = self.put.meta["val"].dim()
        for _ in range(rank - source.meta["val"].dim()):
            source = _called(graph, aten.unsqueeze.default, source, 0)
        for move in self.moves:
            source = _called(graph, move.target, source, *move.args[1:])
        node: Node = source
        return node

    def forget(self) -> None:
        """The buffer is no state of the module any more."""
        buffer = self.put.args[0]
        assert isinstance(buffer, Node)
        self.mutations.pop(self.put.name, None)
        for user in [user for user in self.put.users if user.op == "output"]:
            user.replace_input_with(self.put, buffer)


def _called(graph: Graph, target: Any, source: Node, *arguments: Any) -> Node:
    made = graph.call_function(target, (source, *arguments))
    made.meta = {**source.meta, "val": target(source.meta["val"], *arguments)}
    return made


def written(program: ExportedProgram, mutations: Mutations, node: Node) -> Written | None:
    """The buffer that a node [..., S, d] is; None if it is none.

    Nothing else may use the buffer: its other rows are those that former calls have put there.
    """
    moves: list[Node] = []
    at: Any = node
    while isinstance(at, Node) and at.target in _MOVES:
        moves.insert(0, at)
        at = at.args[0]
    if not isinstance(at, Node) or at.target is not aten.index_put.default:
        return None
    buffers = {spec.arg.name for spec in program.graph_signature.input_specs if spec.kind == InputKind.BUFFER}
    given: Any = at.args
    buffer, indices, source = given[:3]
    chosen = [i for i, index in enumerate(indices) if index is not None]
    if not isinstance(buffer, Node) or buffer.name not in buffers or len(buffer.users) > 1 or any(given[3:]):
        return None
    if at.name not in mutations or len(chosen) != 1 or not isinstance(source, Node):
        return None
    (axis,) = chosen
    shape, put = at.meta["val"].shape, source.meta["val"].shape
    if indices[axis].meta["val"].dim() != 1 or len(put) > len(shape):
        return None
    if list(map(str, put[len(put) - (len(shape) - axis - 1) :])) != list(map(str, shape[axis + 1 :])):
        return None
    if _axis_after(moves, axis, len(shape)) != -2:
        return None
    return Written(program, mutations, at, indices[axis], axis, int(shape[axis]), moves)


def _axis_after(moves: list[Node], axis: int, rank: int) -> int:
    """Where an axis is after some moves, counted from the end."""
    places = torch.empty([2 if i == axis else 1 for i in range(rank)], device="meta")
    for move in moves:
        target: Any = move.target
        if target not in (aten.clone.default, aten.contiguous.default, aten.alias.default):
            places = target(places, *move.args[1:])
    return list(places.shape).index(2) - places.dim()
