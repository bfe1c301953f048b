"""Trees of tokens: what ``walk`` and ``replay`` consist of, and which states keep a row for each position.

A tree has nodes 0, 1, …, each after its parent; node 0 continues the sequence, and a node stands for the token at the
position of the call plus its depth. ``verify`` computes the logits of every node as if the tokens of its path had been
run one by one; ``commit`` makes the states those after one path. Nothing is rounded otherwise than in token-by-token
decoding, because each recurrence runs over the tokens of a path, from the state that the path before left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chimerac.compiler.ir.module import Module, Op, Region, Value, walk
from chimerac.compiler.ir.types import TensorType, i32

#: Most nodes of a tree.
MOST_NODES = 20
#: States of nodes with several children that are held at a time, where the smallest subtree comes first.
SLOTS = 4
#: Ops that write rows of their states in place, at the position: operands → axis of the rows.
ROW_STATES: Mapping[str, Mapping[int, int]] = {
    "cached_attention": {3: 1, 4: 1},
    "cached_attention_int8": {3: 1, 4: 1, 6: 1, 7: 1},
    "cached_attention_int4": {3: 1, 4: 1, 6: 1, 7: 1},
    "window_attention": {6: 0, 7: 0},
}


@dataclass(frozen=True)
class Walk:
    """A ``walk`` by its parts.

    The region takes i32 ``place``, the position of its first token, i32 ``depth``, the same less the position of the
    call, and for each sequence [T, ...] the rows of its tokens; it yields rows of the results.
    """

    number: int
    position: Value
    sequences: tuple[Value, ...]
    region: Region
    place: Value
    depth: Value
    rows: tuple[Value, ...]
    made: tuple[Value, ...]
    results: tuple[Value, ...]

    @staticmethod
    def of(op: Op) -> Walk:
        """The parts of an op that is a ``walk``."""
        (region,) = op.regions
        place, depth, *rows = region.arguments
        return Walk(
            op.integer("walk"),
            op.operands[0],
            op.operands[1:],
            region,
            place,
            depth,
            tuple(rows),
            region.results,
            op.results,
        )


@dataclass(frozen=True)
class Replay:
    """A ``replay`` by its parts; its region takes ``place``, i32 ``write`` (1 in the first iteration) and rows."""

    number: int
    looped: bool
    region: Region
    place: Value
    write: Value
    rows: tuple[Value, ...]

    @staticmethod
    def of(op: Op) -> Replay:
        """The parts of an op that is a ``replay``."""
        (region,) = op.regions
        place, write, *rows = region.arguments
        return Replay(op.integer("walk"), bool(op.integer("looped")), region, place, write, tuple(rows))


def problem_of(op: Op) -> str | None:
    """What is wrong with the types of a ``walk`` or ``replay``; None if nothing is."""
    arguments = [v.type for v in op.regions[0].arguments]
    if arguments[:2] != [i32(), i32()] or not all(is_rows(t) for t in arguments[2:]):
        return "region arguments are not two numbers and rows of tokens"
    if op.name == "walk" and [v.type for v in op.operands] != [i32(), *arguments[2:]]:
        return "region arguments do not match the position and the sequences"
    if not all(is_rows(v.type) for v in op.regions[0].results):
        return "region results are no rows of tokens"
    return "a replay has no results" if op.name == "replay" and op.regions[0].results else None


def is_rows(type_: TensorType) -> bool:
    """Whether a value lies in memory token by token."""
    shape = type_.shape
    return type_.is_dynamic and all(d == 1 for d in shape[: shape.index("T")]) and shape.count("T") == 1


@dataclass(frozen=True)
class RowState:
    """A state of a region that keeps a row for each position: [blocks, rows] of so many bytes."""

    name: str
    blocks: int
    rows: int
    row_bytes: int


def row_states(module: Module, region: Region) -> list[RowState]:
    """Those of a region."""
    reads = {op.results[0].name: op.text("name") for op in region.ops if op.name == "state.read"}
    found: dict[str, RowState] = {}
    for op in region.ops:
        for operand, axis in ROW_STATES.get(op.name, {}).items():
            name = reads[op.operands[operand].name]
            type_ = module.states[name].type
            shape = [int(d) for d in type_.shape]
            size = math.prod(shape[axis + 1 :]) * type_.numpy.itemsize
            found[name] = RowState(name, math.prod(shape[:axis]), shape[axis], size)
    return list(found.values())


def branching_states(module: Module, region: Region) -> list[str]:
    """Names of the states of a region of which each path of the tree needs one of its own."""
    kept = {state.name for state in row_states(module, region)}
    names = (op.text("name") for op in region.ops if op.name == "state.read")
    return [name for name in dict.fromkeys(names) if name not in kept]


def walks(module: Module) -> Iterator[tuple[Walk, bool]]:
    """The walks of the graph that verifies, and whether each is in a looped region."""
    for graph in module.graphs.values():
        if graph.role == "verify":
            looped = {id(inner) for op in graph.ops if op.name == "loop" for inner in walk(op.regions[0].ops)}
            yield from ((Walk.of(op), id(op) in looped) for op in walk(graph.ops) if op.name == "walk")


def depths(parents: Sequence[int]) -> list[int]:
    """The depth of each node; parents are nodes before it, and -1 of node 0."""
    found: list[int] = []
    for node, parent in enumerate(parents):
        if not (parent == -1 if node == 0 else 0 <= parent < node):
            raise ValueError(f"node {node} has the parent {parent}")
        found.append(found[parent] + 1 if node else 0)
    return found
