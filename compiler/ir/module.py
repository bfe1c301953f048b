"""The data structures of the IR: frozen, so that a pass makes new modules and never changes one in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

import numpy as np

from chimerac.compiler.errors import InternalError
from chimerac.compiler.ir.types import TensorType

#: What an attribute may hold: it must print and parse back.
Attribute = int | float | str
#: The part of what a model computes outside of its modules: most often the logits.
HEAD = "head"


@dataclass(frozen=True)
class Value:
    """A result of an op, an input of a graph or an argument of a region. Names are unique in a graph."""

    name: str
    type: TensorType

    def __str__(self) -> str:
        return f"%{self.name}"


@dataclass(frozen=True)
class Region:
    """Ops nested in an op; they may use values of the graph around them."""

    arguments: tuple[Value, ...]
    ops: tuple[Op, ...]
    results: tuple[Value, ...]


@dataclass(frozen=True)
class Op:
    """One operation. ``name`` is a key of ``ops.OPS``, which says what the rest means.

    Attributes:
        part: the part of the model that it belongs to, for example ``layers.3.mixer``; costs and measured times are
            given by part.
        location: where it comes from, module path and source line: a text for messages and comments, on which nothing
            else depends.
    """

    name: str
    operands: tuple[Value, ...]
    results: tuple[Value, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    part: str = HEAD
    location: str = field(default="", compare=False)

    def integer(self, name: str) -> int:
        """An attribute that must be an integer."""
        value = self.attributes[name]
        assert isinstance(value, int)
        return value

    def number(self, name: str) -> float:
        """An attribute that must be a number."""
        value = self.attributes[name]
        assert isinstance(value, int | float)
        return float(value)

    def text(self, name: str) -> str:
        """An attribute that must be a string."""
        value = self.attributes[name]
        assert isinstance(value, str)
        return value


#: What a graph is for: the whole model as it was imported, with logits of every token; one token and its logits; some
#: tokens and the logits of the last; a tree of tokens and the logits of each; the states after a path of that tree; a
#: token and scores of what may follow it, from a state that the others leave; anything else, which is called by its
#: name.
Role = Literal["main", "decode", "prefill", "verify", "commit", "draft", "call"]


@dataclass(frozen=True)
class Graph:
    """One entry point: inputs, straight-line ops, results.

    Attributes:
        tokens: the most tokens a call may have; 1 for decoding.
        role: what it is for; but for ``call``, a module has one graph of a role at most.
    """

    name: str
    inputs: tuple[Value, ...]
    ops: tuple[Op, ...]
    results: tuple[Value, ...]
    tokens: int
    role: Role = "main"


#: Makes an array part by part; the parts follow each other along the first axis.
Parts = Callable[[], Iterable[np.ndarray]]


@dataclass(frozen=True)
class Constant:
    """A weight.

    Attributes:
        source: an array of the shape and dtype of ``type``, never written to; or what computes it, which must be the
            same each time, so that the weights of a large model need not be in memory together. A weight that is given
            as integers with scales has a ``quantised.Quantised`` here, which computes its floats.
    """

    type: TensorType
    source: np.ndarray | Parts

    @property
    def computed(self) -> bool:
        """Whether each use of ``data`` computes it."""
        return not isinstance(self.source, np.ndarray)

    @property
    def data(self) -> np.ndarray:
        """The whole array."""
        if isinstance(self.source, np.ndarray):
            return self.source
        shape = tuple(int(d) for d in self.type.shape)
        parts = iter(self.source())
        first = next(parts, None)
        if first is not None and first.shape == shape and first.dtype == self.type.numpy:
            return first  # all of it
        whole = np.empty(shape, self.type.numpy)
        end = 0
        for part in () if first is None else chain((first,), parts):
            whole[end : end + len(part)] = part
            end += len(part)
        assert end == len(whole), f"the parts have {end} rows, {self.type} is expected"
        return whole

    def parts(self) -> Iterable[np.ndarray]:
        """The array in parts along the first axis."""
        return (self.source,) if isinstance(self.source, np.ndarray) else self.source()


@dataclass(frozen=True)
class State:
    """Recurrent state that survives from call to call.

    Attributes:
        type: of one copy.
        iterations: copies; more than one when a looped region keeps its own copy per iteration.
        initial: name of the constant with the initial value; None for zeros.
    """

    type: TensorType
    iterations: int = 1
    initial: str | None = None


@dataclass(frozen=True)
class Module:
    """A model: entry graphs over shared constants and states.

    Attributes:
        block: a call never crosses an absolute position that is a multiple of this, nor has more tokens.
        loops: (default, maximum) iterations of the looped regions; (1, 1) without any.
    """

    name: str
    graphs: Mapping[str, Graph]
    constants: Mapping[str, Constant]
    states: Mapping[str, State]
    block: int
    loops: tuple[int, int] = (1, 1)

    def entry(self, role: Role) -> Graph:
        """The graph of a role; ``InternalError`` if there is none."""
        for graph in self.graphs.values():
            if graph.role == role:
                return graph
        raise InternalError(f"module {self.name} has no graph of the role {role}")

    @property
    def has_tokens(self) -> bool:
        """Whether it is a language model; if not, its graphs have the role call: tensors in, tensors out."""
        return any(graph.role != "call" for graph in self.graphs.values())

    @property
    def usual(self) -> Graph:
        """The graph of a call as most are, by which costs are told: one token, or the first graph of the role call."""
        return self.entry("decode" if self.has_tokens else "call")

    @property
    def fewest_loops(self) -> int:
        """Fewest iterations of the looped regions that a call may ask for, or leave them after."""
        ops = (op for graph in self.graphs.values() for op in walk(graph.ops) if op.name == "loop")
        return max((fewest_iterations(op) for op in ops), default=1)

    def with_graph(self, graph: Graph) -> Module:
        """This module with the graph of the same name replaced or added."""
        return replace(self, graphs={**self.graphs, graph.name: graph})

    def map_graphs(self, change: Callable[[Graph], Graph]) -> Module:
        """This module with every graph changed."""
        return replace(self, graphs={name: change(graph) for name, graph in self.graphs.items()})


def fewest_iterations(loop: Op) -> int:
    """Fewest iterations of a ``loop``."""
    return loop.integer("minimum") if "minimum" in loop.attributes else 1


def walk(ops: tuple[Op, ...]) -> Iterator[Op]:
    """Every op in order, those in regions after the op that holds them."""
    for op in ops:
        yield op
        for region in op.regions:
            yield from walk(region.ops)


def used_values(ops: tuple[Op, ...]) -> Iterator[Value]:
    """Every use of a value by these ops, region results included."""
    for op in walk(ops):
        yield from op.operands
        for region in op.regions:
            yield from region.results


def done_after(body: Graph | Region) -> list[list[str]]:
    """For each op of a body the names of its values, made there or before, that nothing after it needs."""
    last = {value.name: index for index, op in enumerate(body.ops) for value in op.results}
    for index, op in enumerate(body.ops):
        last.update((value.name, index) for value in used_values((op,)) if value.name in last)
    for value in body.results:
        last.pop(value.name, None)
    done: list[list[str]] = [[] for _ in body.ops]
    for name, index in last.items():
        done[index].append(name)
    return done
