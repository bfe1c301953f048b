"""What a pass is, and the tools that passes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from chimerac.compiler.ir.module import Attribute, Constant, Graph, Module, Op, Parts, Region, Value, used_values, walk
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.ir.types import TensorType


@dataclass(frozen=True)
class Rewritten:
    """The module a pass made, and one line for each thing it did or could not do (for the report)."""

    module: Module
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PassRecord:
    """What one pass did, for the report."""

    name: str
    seconds: float
    ops: int  #: ops of all graphs afterwards
    notes: tuple[str, ...]


class Pass(Protocol):
    """A frozen dataclass whose fields are the pass's options. Valid IR in, valid IR out, same numbers."""

    @property
    def name(self) -> str:
        """The file name of the pass, also its name on the command line."""

    def run(self, module: Module) -> Rewritten:
        """The rewritten module; the given one is unchanged."""


class Builder:
    """Makes ops with fresh value names in one graph.

    Args:
        taken: names that exist already; fresh names are added to it.
    """

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self.ops: list[Op] = []

    def inside(self) -> Builder:
        """A builder of a region's ops."""
        return Builder(self._taken)

    def fresh(self, hint: str) -> str:
        """A new name that starts with ``hint``."""
        name, count = hint, 1
        while name in self._taken:
            count += 1
            name = f"{hint}_{count}"
        self._taken.add(name)
        return name

    def emit(
        self,
        name: str,
        operands: Sequence[Value],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        hint: str | None = None,
        like: Op | None = None,
    ) -> tuple[Value, ...]:
        """Append an op whose result types follow from the op table; its results.

        Args:
            hint: what the results' names begin with; the op's name when None.
            like: the op that it stands for, whose part of the model and location it gets.
        """
        attributes = dict(attributes or {})
        types = OPS[name].infer([o.type for o in operands], attributes)
        results = tuple(Value(self.fresh(hint or name.split(".")[0]), t) for t in types)
        op = Op(name, tuple(operands), results, attributes)
        self.ops.append(op if like is None else replace(op, part=like.part, location=like.location))
        return results

    def constant(self, name: str, type_: TensorType) -> Value:
        """Append a reference to a constant of the module."""
        value = Value(self.fresh("c_" + name.replace(".", "_")), type_)
        self.ops.append(Op("constant", (), (value,), {"name": name}))
        return value


def graph_names(graph: Graph) -> set[str]:
    """Every value name of a graph, regions included."""
    names = {v.name for v in graph.inputs}
    for op in walk(graph.ops):
        names.update(v.name for v in op.results)
        for region in op.regions:
            names.update(v.name for v in region.arguments)
    return names


#: Given an op (operands already substituted) and a builder: the values that replace its results, or None to keep it.
Rule = Callable[[Op, Builder], Sequence[Value] | None]


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """The graph with every op offered to ``rule`` once, in order, regions included."""
    taken = graph_names(graph)
    substitution: dict[str, Value] = {}

    def swap(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(substitution.get(v.name, v) for v in values)

    def ops(source: tuple[Op, ...]) -> tuple[Op, ...]:
        builder = Builder(taken)
        for op in source:
            regions = tuple(Region(r.arguments, ops(r.ops), swap(r.results)) for r in op.regions)
            op = replace(op, operands=swap(op.operands), regions=regions)
            replacement = rule(op, builder)
            if replacement is None:
                builder.ops.append(op)
            else:
                substitution.update((old.name, new) for old, new in zip(op.results, replacement, strict=True))
        return tuple(builder.ops)

    body = ops(graph.ops)
    return replace(graph, ops=body, results=swap(graph.results))


def constant_names(graph: Graph) -> dict[str, str]:
    """Value name → constant name, for every reference to a constant in a graph."""
    return {op.results[0].name: op.text("name") for op in walk(graph.ops) if op.name == "constant"}


def uses(graph: Graph) -> dict[str, int]:
    """Value name → how often ops, regions and results of the graph use it."""
    counts: dict[str, int] = {}
    for value in (*used_values(graph.ops), *graph.results):
        counts[value.name] = counts.get(value.name, 0) + 1
    return counts


@dataclass
class NewConstants:
    """Constants that a pass derives from others, made once however many graphs ask for them."""

    module: Module
    made: dict[str, Constant] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)  #: quantised constant → its channels per scale

    def derive(self, name: str, make: Callable[[], np.ndarray], layout: str = "") -> TensorType:
        """The type of constant ``name``, computing its data on first request."""
        if name not in self.made:
            data = make()
            self.made[name] = Constant(replace(TensorType.of(data), layout=layout), data)
        return self.made[name].type

    def derive_computed(self, name: str, type_: TensorType, parts: Parts) -> TensorType:
        """The type of constant ``name``, whose data is computed whenever it is used."""
        return self.made.setdefault(name, Constant(type_, parts)).type

    def added_to(self, module: Module) -> Module:
        """The module with the derived constants."""
        return replace(module, constants={**module.constants, **self.made})
